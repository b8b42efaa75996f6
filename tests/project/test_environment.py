"""The pins agree wherever they are written, and TensorFlow comes with the Keras that tf2cv needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml

from helpers import settings

TEST_EXTRAS = {"adversarial-robustness-toolbox", "cleverhans", "pytest", "nbval", "ruff"}


def pins(lines) -> dict[str, set[str]]:
    """Versions by name, names as PyPI compares them. A lock file may pin two, for different systems."""
    found = {}
    for line in lines:
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", line.strip()):
            found.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), set()).add(match[2])
    return found


def pins_in(name: str) -> dict[str, set[str]]:
    return pins((settings.ROOT / name).read_text().splitlines())


def test_every_requirement_is_pinned():
    for name in (f"requirements{kind}.txt" for kind in ("", "-test", "-sweep", "-peers")):
        lines = [line.strip() for line in (settings.ROOT / name).read_text().splitlines()]
        wanted = [line for line in lines if line and not line.startswith(("#", "-r "))]
        assert len(pins(wanted)) == len(wanted) > 0


def test_conda_has_the_same_pins():
    environment = yaml.safe_load((settings.ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pins(pip) == pins_in("requirements.txt") and len(pins(pip)) > 10
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    assert any(re.match(r"python *=+ *3\.1[123]\b", entry) for entry in conda) and "pip" in str(conda)
    elsewhere = {re.split(r"[ =<>]", entry)[0].lower() for entry in conda} & set(pins(pip))
    assert not elsewhere  # no package is asked for from conda and from pip


@pytest.mark.parametrize("name", [f"requirements{kind}" for kind in ("", "-test", "-sweep", "-peers")])
def test_the_lock_holds_every_pin(name):
    locked = pins_in(f"{name}.lock")
    for package, versions in pins_in(f"{name}.txt").items():
        assert locked.get(package) == versions
    assert len(locked) > (20 if name.endswith("peers") else 50)


def test_the_test_lock_extends_the_students():
    student, test = pins_in("requirements.lock"), pins_in("requirements-test.lock")
    assert {package: test.get(package) for package in student} == student
    assert set(test) - set(student) >= TEST_EXTRAS


def test_torchattacks_brings_nothing_that_it_does_not_import():
    assert not {"torchvision", "requests"} & set(pins_in("requirements-peers.lock"))


def test_a_student_does_not_install_the_test_extras():
    for name in ("requirements.txt", "requirements.lock"):
        assert not TEST_EXTRAS & set(pins_in(name))


def test_what_is_installed_is_what_is_pinned():
    wanted = pins_in("requirements.txt")
    assert {package: {version(package)} for package in wanted} == wanted


def python(code: str, **env: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    env = kept | {"PYTHONPATH": str(settings.ROOT)} | env
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.deep
def test_tensorflow_before_helpers_is_explained():
    done = python("import tensorflow, helpers")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: TensorFlow was imported before helpers")
    assert "import helpers first" in last and "TF_USE_LEGACY_KERAS=1" in last


@pytest.mark.deep
def test_tensorflow_before_helpers_with_the_flag():
    done = python(
        "import tensorflow, helpers; print(tensorflow.keras.Model.__module__)", TF_USE_LEGACY_KERAS="1"
    )
    assert done.returncode == 0 and done.stdout.startswith("tf_keras.")


@pytest.mark.deep
def test_helpers_before_tensorflow():
    done = python("import helpers, tensorflow; print(tensorflow.keras.Model.__module__)")
    assert done.returncode == 0 and done.stdout.startswith("tf_keras.")


def test_the_command_line_answers_a_wrong_word_without_tensorflow():
    """It takes seconds to load."""
    code = "import sys; from helpers.cli.app import main; main(['clean', '-h'])"
    done = python(f"import atexit; atexit.register(lambda: print('tensorflow' in sys.modules)); {code}")
    assert done.returncode == 0 and done.stdout.strip().endswith("False")


def test_the_course_can_be_cited_and_passed_on():
    citation = yaml.safe_load((settings.ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["title"] and citation["authors"]
    assert citation["license"] == "MIT" and (settings.ROOT / "LICENSE").read_text().startswith("MIT License")
    assert "Denoising with Networks" in citation["references"][0]["title"]


def test_binder_and_codespaces_get_a_python_that_the_course_runs_on():
    """repo2docker copies the whole course before it builds if environment.yml installs it from there."""
    project = (settings.ROOT / "pyproject.toml").read_text()
    first, end = map(int, re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project).groups())
    environment = yaml.safe_load((settings.ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "--editable ." in pip and "name" in environment
    container = json.loads((settings.ROOT / ".devcontainer" / "devcontainer.json").read_text())
    asked = [str(environment["dependencies"][0]), container["image"]]
    minors = [int(re.search(r"[=:]3\.(\d+)", text)[1]) for text in asked]
    assert all(first <= minor < end for minor in minors)
    assert container["postCreateCommand"].split()[1:] == ["install.py", "test"]
