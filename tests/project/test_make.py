"""The Makefile hands its parameters on, and refuses those that it does not know."""

import os
import shutil
import subprocess

import pytest

from helpers import settings


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_an_unknown_parameter_of_make_is_refused():
    def make(*words):
        return subprocess.run(["make", "-n", *words], cwd=settings.ROOT, capture_output=True, text=True)

    wrong = make("report", "EPZ=4/255")
    assert wrong.returncode == 2 and "there is no parameter EPZ; there are PYTHON PROFILE" in wrong.stderr
    right = make("report", "MODEL=sepreresnet56", "EPS=4/255", "WEIGHTS=my file.h5")
    assert right.returncode == 0 and '--eps "4/255"' in right.stdout and '"my file.h5"' in right.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_verify_asks_for_every_network_unless_one_is_named():
    # What the tests themselves were called with (make test MODEL=...) would be handed on in MAKEFLAGS.
    environment = {name: value for name, value in os.environ.items() if name not in ("MODEL", "MAKEFLAGS")}

    def verify(*words):
        words = ["make", "-n", "verify", *words]
        return subprocess.run(
            words, cwd=settings.ROOT, capture_output=True, text=True, env=environment
        ).stdout

    assert "helpers verify" in verify() and "--model" not in verify()
    assert 'helpers verify --model "sepreresnet56"' in verify("MODEL=sepreresnet56")
