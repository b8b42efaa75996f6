"""install.py makes an environment, completes it, or replaces it, and says so in one line."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections import namedtuple
from pathlib import Path

import pytest

from helpers import settings

posix = pytest.mark.skipif(
    os.name != "posix", reason="the folders of an environment are named otherwise there"
)
FILES = (
    "install.py",
    "Makefile",
    "pyproject.toml",
    *(f"requirements{k}.lock" for k in ("", "-test", "-sweep", "-peers")),
)


def load(folder: Path):
    spec = importlib.util.spec_from_file_location("install", folder / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder with the files that installing needs, and a space in its name."""
    folder = tmp_path / "my course"
    folder.mkdir()
    for name in FILES:
        shutil.copy(settings.ROOT / name, folder)
    shutil.copy(settings.ROOT / "requirements.txt", folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def install(course, monkeypatch):
    """The module without uv. It makes real environments, installs nothing, and notes what it would."""
    module = load(course)
    module.calls = []

    def run(command):
        if "venv" in command:
            venv.create(command[-1], with_pip=False, symlinks=True)
            pip = next(Path(command[-1]).glob("lib/python*/site-packages")) / "pip.py"
            pip.touch()
            module.calls.append("venv")
        else:
            module.calls.append(command[-1])
        return ""

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "uv", lambda: None)
    return module


def lines(capfd) -> list[str]:
    return capfd.readouterr().err.splitlines()


@posix
def test_an_environment_is_made_once(install, course, capfd):
    assert install.main([]) == 0
    assert install.calls == ["venv", "requirements.lock", "."] and len(lines(capfd)) == 1
    assert install.main([]) == 0 and install.calls[3:] == [] and lines(capfd) == []
    assert install.main(["test"]) == 0 and install.calls[3:] == ["requirements-test.lock", "."]
    assert install.main([]) == 0 and install.calls[5:] == []
    (course / "requirements.lock").write_text("six==1.17.0\n")
    assert install.main([]) == 0 and install.calls[5:] == ["requirements.lock", "."]


@posix
def test_the_peers_get_an_environment_of_their_own(install, course, monkeypatch, capfd):
    wanted = []
    monkeypatch.setattr(install, "install", lambda python, what, for_uv=(): wanted.append([python, *what]))
    assert install.main(["peers"]) == 0 and install.calls == ["venv"]
    assert {python for python, *_ in wanted} == {str(Path(".venv-peers") / "bin" / "python")}
    assert all(what[:2] == ["--constraint", "requirements-peers.lock"] for _, *what in wanted)
    assert [what[2:] for _, *what in wanted] == [["torch", "numpy", "scipy"], ["--no-deps", "torchattacks"]]
    assert install.main(["peers"]) == 0 and len(wanted) == 2 and not (course / ".venv").exists()


@posix
def test_what_was_interrupted_is_completed(install, capfd, monkeypatch):
    run = install.run

    def interrupted(command):
        if "venv" not in command:
            raise KeyboardInterrupt
        return run(command)

    monkeypatch.setattr(install, "run", interrupted)
    assert install.main([]) == 130 and install.calls == ["venv"]
    monkeypatch.setattr(install, "run", run)
    assert install.main([]) == 0 and install.calls == ["venv", "requirements.lock", "."]


@posix
def test_packages_that_cannot_be_installed_leave_no_note(install, monkeypatch, capfd):
    run = install.run
    monkeypatch.setattr(install, "run", lambda command: run(command) if "venv" in command else "no network")
    assert install.main([]) == 2
    assert lines(capfd)[-1].startswith("error: pip could not install: no network")
    monkeypatch.setattr(install, "run", run)
    assert install.main([]) == 0 and install.calls == ["venv", "requirements.lock", "."]


def make_foreign(folder: Path) -> None:
    """An environment that somebody else made, with pip and without the course's packages."""
    venv.create(folder, with_pip=False, symlinks=True)
    (next(folder.glob("lib/python*/site-packages")) / "pip.py").touch()


def make_without_pip(folder: Path) -> None:
    venv.create(folder, with_pip=False, symlinks=True)


def make_of_another_python(folder: Path) -> None:
    make_foreign(folder)
    python = folder / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\necho '[3, 9, true]'\n")
    python.chmod(0o755)


def make_moved(folder: Path) -> None:
    make_foreign(folder.with_name("before"))
    folder.with_name("before").rename(folder)


def make_dangling(folder: Path) -> None:
    make_foreign(folder)
    python = folder / "bin" / "python"
    python.unlink()
    python.symlink_to(folder / "removed" / "python3")


def make_empty(folder: Path) -> None:
    folder.mkdir()


def make_link_to_nothing(folder: Path) -> None:
    folder.symlink_to(folder.with_name("nowhere"))


REPLACED = {
    make_without_pip: "has no pip",
    make_of_another_python: "has Python 3.9",
    make_moved: "was made in another folder",
    make_dangling: "has no Python that starts",
    make_empty: "has no Python that starts",
    make_link_to_nothing: "has no Python that starts",
}


@posix
@pytest.mark.parametrize("spoil", REPLACED, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_completed_is_replaced_with_one_line(install, course, capfd, spoil):
    spoil(course / ".venv")
    assert install.main([]) == 0
    first, _ = lines(capfd)
    assert first == f".venv {REPLACED[spoil]}: it is made anew"
    assert install.calls == ["venv", "requirements.lock", "."]
    assert install.main([]) == 0 and lines(capfd) == []


@posix
def test_a_foreign_environment_is_completed(install, course, capfd):
    make_foreign(course / ".venv")
    (course / ".venv" / "theirs").touch()
    assert install.main([]) == 0
    assert install.calls == ["requirements.lock", "."] and (course / ".venv" / "theirs").exists()
    assert len(lines(capfd)) == 1


@posix
def test_with_uv_no_pip_is_needed(install, course, monkeypatch):
    make_without_pip(course / ".venv")
    monkeypatch.setattr(install, "uv", lambda: "/usr/bin/uv")
    ran = []
    monkeypatch.setattr(install, "run", lambda command: ran.append(command) or "")
    assert install.main([]) == 0
    assert [command[:3] for command in ran] == [["/usr/bin/uv", "pip", "install"]] * 2
    assert ["--compile-bytecode" in command for command in ran] == [True, False]


@posix
def test_pip_is_tried_where_uv_fails(install, course, monkeypatch, capfd):
    make_foreign(course / ".venv")
    monkeypatch.setattr(install, "uv", lambda: "uv")
    ran = []

    def run(command):
        ran.append(command[0])
        return "no index" if command[0] == "uv" else ""

    monkeypatch.setattr(install, "run", run)
    assert install.main([]) == 0
    assert ran == ["uv", str(Path(".venv") / "bin" / "python")] * 2
    assert "uv could not install (no index): pip is tried" in lines(capfd)


@posix
@pytest.mark.parametrize("writable", [True, False])
def test_a_read_only_folder_is_told_from_a_python_that_makes_no_environment(
    install, monkeypatch, capfd, writable
):
    monkeypatch.setattr(install, "run", lambda command: "Permission denied")
    monkeypatch.setattr(os, "access", lambda path, mode: writable)
    assert install.main([]) == 2
    assert ("read-only here: copy it" in lines(capfd)[-1]) == (not writable)


Version = namedtuple("Version", "major minor micro releaselevel serial")


@pytest.mark.parametrize("minor", [10, 14])
@pytest.mark.parametrize("exact", [[], ["--exact"]])
def test_a_python_that_is_not_supported_is_told_what_to_do(install, course, monkeypatch, capfd, minor, exact):
    monkeypatch.setattr(sys, "version_info", Version(3, minor, 0, "final", 0))
    monkeypatch.setattr(install, "probe", lambda python: None)  # nor is there another one
    assert install.main(exact) == 2 and not (course / ".venv").exists()
    (line,) = lines(capfd)
    assert line.startswith(f"error: this is Python 3.{minor}") and "3.11 to 3.13" in line
    assert line.endswith("make PYTHON=python3.13")


@posix
def test_another_python_of_this_machine_is_taken(install, monkeypatch, capfd):
    real = install.probe
    monkeypatch.setattr(sys, "version_info", Version(3, 14, 0, "final", 0))
    monkeypatch.setattr(
        install, "probe", lambda python: [3, 12, True] if python == "python3.12" else real(python)
    )
    assert install.main([]) == 0
    assert lines(capfd)[0] == "Python 3.14 is not supported: python3.12 is used"
    assert install.main(["--exact"]) == 2  # who names 3.14 gets no other


def test_python_is_named_alike_everywhere(course):
    (major, first), (_, end) = load(course).bounds()
    named = f"{major}.{first} to {major}.{end - 1}"
    assert named == "3.11 to 3.13"
    for name in ("README.md", ".ci/run"):
        assert f"Python {named}" in (settings.ROOT / name).read_text(), name
    for lock in settings.ROOT.glob("requirements*.lock"):
        assert f"--python-version {major}.{first}" in lock.read_text(), lock.name


def test_no_python_that_is_supported_is_excluded_by_a_lock():
    """A marker may choose a version by Python's; each package is there for every Python that needs it."""
    for lock in settings.ROOT.glob("requirements*.lock"):
        pins = {}
        for line in lock.read_text().splitlines():
            if match := re.match(r"([a-z0-9-]+)==\S+(?: ; (.*))?$", line):
                pins.setdefault(match[1], []).append(match[2] or "")
        whole = {name for name, markers in pins.items() if "" in markers}
        direct = re.findall(r"^([A-Za-z0-9_-]+)==", lock.with_suffix(".txt").read_text(), re.MULTILINE)
        assert {re.sub("_", "-", name).lower() for name in direct} <= whole, lock.name


def test_an_old_python_can_read_the_installer():
    source = (settings.ROOT / "install.py").read_text()
    compile(source, "install.py", "exec", flags=0)
    import ast

    ast.parse(source, feature_version=(3, 7))
    assert not re.search(r"\bf['\"]|:=", source)


@posix
def test_the_environment_of_a_notebook_gets_what_it_lacks(install, monkeypatch):
    """On Colab most packages are there already, and its kernel has loaded some of them."""
    import importlib.metadata as metadata

    pins = dict(
        line.strip().split("==")
        for line in (settings.ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    found = {name: "0.1" for name in pins if name not in ("tf_keras", "tf2cv", "latex2mathml")}

    def version(name):
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(metadata, "version", version)
    installed = []
    monkeypatch.setattr(install, "install", lambda python, what: installed.extend([python, *what]))
    assert install.main(["here"]) == 0
    assert installed[0] == sys.executable
    assert {pin.split("==")[0] for pin in installed[1:]} == {
        "tensorflow",
        "tf_keras",
        "tf2cv",
        "latex2mathml",
    }
    found.update(pins)
    installed.clear()
    assert install.main(["here"]) == 0 and not installed


def test_an_unknown_purpose(install, capfd):
    assert install.main(["everything"]) == 2
    assert lines(capfd) == ["error: unknown purpose 'everything'; choose course, test, sweep, peers or here"]


@posix
@pytest.mark.slow
@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_real_environment_in_a_folder_with_a_space(course, tool):
    """Real packages from a real index; a moved folder then works again. Skipped where no index answers."""
    if tool == "uv" and load(course).uv() is None:
        pytest.skip("there is no uv here")
    (course / "requirements.lock").write_text("six==1.17.0\n")
    (course / "helpers").mkdir()
    (course / "helpers" / "__init__.py").touch()
    path = os.environ["PATH"]
    if tool == "pip":  # a PATH on which there is no uv
        folders = [folder for folder in path.split(os.pathsep) if not (Path(folder) / "uv").exists()]
        path = os.pathsep.join(folders)

    def made(folder):
        command = [sys.executable, "install.py"]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300
        )
        if "could not install" in done.stderr:
            pytest.skip(f"no index of packages answers: {done.stderr.splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        code = "import helpers, six; print(helpers.__file__)"
        command = [folder / ".venv" / "bin" / "python", "-I", "-c", code]
        place = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout
        assert Path(place.strip()).samefile(folder / "helpers" / "__init__.py")
        return done.stderr

    first = made(course)
    assert f"with {tool}" in first and made(course) == ""
    assert json.loads((course / ".venv" / "installed.json").read_text()).keys() == {"course"}
    moved = course.with_name("moved course")
    course.rename(moved)
    assert ".venv was made in another folder: it is made anew" in made(moved)
