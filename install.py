"""Make the course's virtual environment, or complete it.

python3 install.py          what the course needs, in .venv
python3 install.py test     what its tests need, too
python3 install.py sweep    Snakemake, in .venv-sweep
python3 install.py peers    PyTorch, which the benchmark compares with, in .venv-peers
python3 install.py here     what the course needs and this Python lacks (for Colab)

make calls it before each command. It uses uv where that is installed, and pip otherwise. An environment that
is whole is left alone. One that is not is completed or, where that cannot be done, made anew, and a line says
why. Old versions of Python must be able to read this file, so that they can say which one is needed.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
LOCKS = {
    "course": "requirements.lock",
    "test": "requirements-test.lock",
    "sweep": "requirements-sweep.lock",
    "peers": "requirements-peers.lock",
}
FOLDERS = {"course": ".venv", "test": ".venv", "sweep": ".venv-sweep", "peers": ".venv-peers"}
STATE = "installed.json"
"""A file in an environment: the checksum of what was installed for each purpose. It is written last."""

PROBE = (
    "import importlib.util as u, json, sys;"
    "print(json.dumps([sys.version_info[0], sys.version_info[1], bool(u.find_spec('pip'))]))"
)


class Problem(Exception):
    """An error with a one-line message for the user."""


def main(words):
    """Install what the words of the command line ask for; return the exit status."""
    os.chdir(ROOT)
    exact = "--exact" in words  # only this Python will do, not another that is supported
    purpose = ([word for word in words if word != "--exact"] or ["course"])[0]
    try:
        if purpose == "here":
            install_here()
        elif purpose in LOCKS:
            prepare(FOLDERS[purpose], exact)
            complete(FOLDERS[purpose], purpose)
        else:
            raise Problem("unknown purpose {!r}; choose course, test, sweep, peers or here".format(purpose))
    except Problem as problem:
        say("error: {}".format(problem))
        return 2
    except KeyboardInterrupt:
        say("interrupted; the same command goes on")
        return 130
    return 0


def say(text):
    """Print a line for the person who waits."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


# ------------------------------------------------------------------------------------------ environments


def prepare(folder, exact=False):
    """Make an environment unless there is one that can be used."""
    if os.path.lexists(folder):
        why = fault(folder, exact)
        if not why:
            return
        say("{} {}: it is made anew".format(folder, why))
        if os.path.islink(folder):
            os.unlink(folder)
        else:
            shutil.rmtree(folder)
    make(folder, base(exact))


def fault(folder, exact=False):
    """Return why an environment cannot be used, or an empty text."""
    found = probe(python_of(folder))
    if not found:
        return "has no Python that starts"
    version, has_pip = tuple(found[:2]), found[2]
    if not supported(version):
        return "has Python {}.{}".format(*version)
    if exact and version != tuple(sys.version_info[:2]):
        return "has Python {}.{}, and another was asked for".format(*version)
    if made_at(folder) not in (None, os.path.realpath(folder)):
        return "was made in another folder"
    if not has_pip and not uv():
        return "has no pip"
    return ""


def python_of(folder):
    """Return where an environment's Python is."""
    return os.path.join(folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))


def probe(python):
    """Return a Python's major and minor version, and whether it has pip; None if it does not start."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        return json.loads(done.stdout.decode())
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def made_at(folder):
    """Return the folder for which an environment was made, which its scripts name, or None."""
    try:
        with open(os.path.join(folder, "bin", "activate")) as file:
            found = re.search(r"^\s*(?:export )?VIRTUAL_ENV=(['\"]?)(/.*)\1\s*$", file.read(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return os.path.realpath(found.group(2)) if found else None


def make(folder, python):
    """Make an environment with a Python."""
    if uv() and run([uv(), "venv", "--quiet", "--seed", "--python", python, folder]) == "":
        return
    said = run([python, "-m", "venv", folder])
    if said and not os.access(ROOT, os.W_OK):
        raise Problem(
            "the course's folder is read-only here: copy it to a folder of your own, and start there"
        )
    if said:
        raise Problem(
            "{} could not make {} ({}); Debian and Ubuntu: apt-get install python3-venv; anywhere: "
            "install uv".format(python, folder, said)
        )


# ---------------------------------------------------------------------------------------------- Pythons


def bounds():
    """Return the first version of Python that is supported, and the first that is not any more."""
    with open("pyproject.toml", encoding="utf-8") as file:
        found = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', file.read())
    return (3, int(found.group(1))), (3, int(found.group(2)))


def supported(version):
    """Return whether the course runs on a version of Python."""
    first, end = bounds()
    return first <= version < end


def base(exact):
    """Return a supported Python: this one, or else another of this machine unless only this one will do."""
    mine = tuple(sys.version_info[:2])
    if supported(mine):
        return sys.executable
    (major, first), (_, end) = bounds()
    names = ["python{}.{}".format(major, minor) for minor in reversed(range(first, end))]
    for name in [] if exact else names:
        found = probe(name)
        if found and supported(tuple(found[:2])):
            say("Python {}.{} is not supported: {} is used".format(mine[0], mine[1], name))
            return name
    raise Problem(
        "this is Python {}.{}, and the course (TensorFlow) needs {}.{} to {}.{}: install one (with uv: "
        "uv python install {}.{}), then: make PYTHON={}".format(
            mine[0], mine[1], major, first, major, end - 1, major, end - 1, names[0]
        )
    )


# --------------------------------------------------------------------------------------------- packages


def complete(folder, purpose):
    """Install what an environment lacks for a purpose."""
    state, wanted = read_state(folder), {purpose: checksum(LOCKS[purpose], "pyproject.toml")}
    if purpose == "test":  # its lock file holds the course's too
        wanted["course"] = checksum(LOCKS["course"], "pyproject.toml")
    if all(state.get(name) == value for name, value in wanted.items()):
        return
    say("installing {} into {} with {} ...".format(LOCKS[purpose], folder, "uv" if uv() else "pip (minutes)"))
    if purpose == "peers":
        install_peers(python_of(folder), LOCKS[purpose])
    else:
        # As pip does: otherwise each process compiles TensorFlow anew where PYTHONDONTWRITEBYTECODE is set.
        install(python_of(folder), ["-r", LOCKS[purpose]], for_uv=["--compile-bytecode"])
    if FOLDERS[purpose] == ".venv":
        install(python_of(folder), ["--no-deps", "--editable", "."])
    state.update(wanted)
    scratch = os.path.join(folder, STATE + ".tmp")
    with open(scratch, "w") as file:
        json.dump(state, file)
    os.replace(scratch, os.path.join(folder, STATE))


def install_peers(python, lock):
    """Install PyTorch (with uv its build without CUDA), and torchattacks without the rest of what it names.

    torchattacks imports neither torchvision nor requests, and would ask for an old release of the latter.
    """
    pins = ["--constraint", lock]
    install(python, pins + ["torch", "numpy", "scipy"], for_uv=["--torch-backend", "cpu"])
    install(python, pins + ["--no-deps", "torchattacks"])


def read_state(folder):
    """Return what is noted of an environment."""
    try:
        with open(os.path.join(folder, STATE)) as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def checksum(*names):
    """Return the checksum of some files of the course."""
    digest = hashlib.sha256()
    for name in names:
        with open(name, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def install(python, what, for_uv=()):
    """Install packages with uv, or with pip if there is no uv or it fails (it ignores pip's settings)."""
    command = ["pip", "install", "--quiet", "--python", python] + list(for_uv) + what
    said = run([uv()] + command) if uv() else "there is no uv"
    if said and uv():
        say("uv could not install ({}): pip is tried".format(said))
    if said:
        said = run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"] + what)
    if said:
        raise Problem("pip could not install: {}; the same command goes on where it stopped".format(said))


def install_here():
    """Install what this Python lacks, and leave alone what its notebook may have loaded already."""
    from importlib.metadata import PackageNotFoundError, version

    if not supported(tuple(sys.version_info[:2])):
        base(exact=True)  # says what is needed
    missing = []
    with open("requirements.txt", encoding="utf-8") as file:
        pins = [line.strip() for line in file if "==" in line and not line.startswith("#")]
    for pin in pins:
        name, wanted = pin.split("==")
        try:
            found = version(name)
        except PackageNotFoundError:
            found = None
        # Keras 2 comes with the TensorFlow of the same version; everything else may be of another.
        if found is None or (name in ("tensorflow", "tf_keras") and found != wanted):
            missing.append(pin)
    if missing:
        say("installing {} ...".format(", ".join(missing)))
        install(sys.executable, missing)


def run(command):
    """Run a command; return an empty text, or the last line of what it said when it failed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "exit status {}".format(done.returncode)


def uv():
    """Return the command of uv, or None where it is not installed or does not start."""
    if "path" not in _UV:
        path = shutil.which("uv")
        _UV["path"] = path if path and run([path, "--version"]) == "" else None
    return _UV["path"]


_UV = {}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
