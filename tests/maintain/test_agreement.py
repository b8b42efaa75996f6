"""AutoAttack here and in PyTorch: what runs where, and what is said."""

import numpy as np
import pytest

from helpers import evaluation
from helpers.cli.app import main
from helpers.maintain import agreement, peers
from helpers.settings import CourseError
from helpers.studies import autoattack, baselines


class FakeRun:
    model, seed = "resnet20", 0


@pytest.fixture
def fake(monkeypatch):
    """Systems without networks, and four images of which the course breaks the last two."""
    monkeypatch.setattr(autoattack, "check", lambda *_: None)
    monkeypatch.setattr(
        autoattack, "measure", lambda run, name, n, norm: np.array(["", "", "square", "clean"])
    )
    monkeypatch.setattr(autoattack, "entry", lambda *given: {"port": given[-1]})
    monkeypatch.setattr(peers, "why_not", lambda model: "")
    monkeypatch.setattr(agreement, "port", lambda run, name, n, norm: np.arange(n) == 0)
    monkeypatch.setattr(
        baselines, "built", lambda run, name: ("system", "system" if name == "madry" else "part")
    )


def test_both_attack_a_classifier(fake):
    found, robust, theirs = agreement.measure(FakeRun, "madry", 4, n_port=3)
    assert robust.tolist() == [True, True, False, False] and theirs.tolist() == [True, False, False]
    assert found["port"] is theirs


def test_only_the_course_attacks_what_pytorch_does_not_know(fake, monkeypatch, capsys):
    assert agreement.measure(FakeRun, "joint", 4)[2] is None
    assert "not compared with PyTorch: PyTorch has no autoencoder" in capsys.readouterr().err
    assert agreement.measure(FakeRun, "madry", 4, n_port=0)[2] is None
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(peers, "why_not", lambda model: "there is none")
    assert agreement.measure(FakeRun, "madry", 4)[2] is None
    assert "not compared with PyTorch: there is none" in capsys.readouterr().err


def test_a_negative_number_of_images_is_refused(fake):
    with pytest.raises(CourseError, match="--port is -1; it is a number of images, or 0 for none"):
        agreement.measure(FakeRun, "madry", 4, n_port=-1)


def test_what_was_found_is_told():
    found = {"model": "resnet20", "system": "madry", "norm": "linf"}
    found |= evaluation.proportion(np.arange(10) < 4)
    assert agreement.told(found).startswith("ResNet-20, PGD adversarial training, linf: 40.0 [")
    found["torchattacks"] = autoattack.agreement(np.arange(10) < 4, np.arange(5) < 3)
    assert agreement.told(found).endswith("ours 80.0%; robust only to ours 1, only to theirs 0")


def test_an_unknown_section_is_named(capsys):
    assert main(["bench", "--only", "speed"]) == 2
    assert "unknown section 'speed'; choose one of pgd, peaks, training" in capsys.readouterr().err
