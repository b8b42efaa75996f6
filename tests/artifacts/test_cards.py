"""The card of a weight file: written, read, and compared with what is wanted."""

from __future__ import annotations

import json

import pytest

from helpers import settings
from helpers.artifacts import cards
from helpers.settings import CourseError

FIELDS = {"model": "resnet20", "seed": 0, "eps": 8 / 255, "initial_sha256": "abc", "phases": [[1, 2]]}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A weight file with its card."""
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    file = tmp_path / "cifar10" / "resnet20_ae.h5"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    cards.write(file, 3795, history=[{"loss": 1.0}], **FIELDS)
    return file


def test_a_card_is_read_as_it_was_written(weights):
    card = cards.read(weights)
    assert card.items() >= FIELDS.items()
    assert card["parameters"] == 3795 and len(card["file_sha256"]) == 64 and card["commit"]
    assert list(card)[-1] == "history" and json.loads(cards.card_file(weights).read_text()) == card


def test_a_training_without_weights_has_a_card(weights):
    file = weights.with_name("resnet20_collapsing.h5")
    cards.write(file, None, seed=0)
    assert cards.read(file, check_file=False)["seed"] == 0
    assert cards.status(file, {"seed": 0}).is_shipped
    with pytest.raises(CourseError, match="weights/cifar10/resnet20_collapsing.h5"):
        cards.read(file)


@pytest.mark.parametrize("lost", [".h5", ".json"])
def test_what_is_not_there(weights, lost):
    weights.with_suffix(lost).unlink()
    with pytest.raises(CourseError, match=r"ships no weights/cifar10/resnet20_ae.h5; make it: now"):
        cards.read(weights, remedy="make it: now")


def test_a_damaged_file(weights):
    weights.write_bytes(b"weight")
    with pytest.raises(CourseError, match=r"resnet20_ae.h5 is not the one its card describes"):
        cards.read(weights)
    assert cards.read(weights, check_file=False)["seed"] == 0


def test_weights_of_another_making_are_refused(weights):
    assert cards.read(weights, wanted={"initial_sha256": "abc", "seed": 0})
    with pytest.raises(CourseError, match="another initial classifier and another seed.*; make it: now"):
        cards.read(
            weights, wanted={"initial_sha256": "abd", "eps": 8 / 255, "seed": 1}, remedy="make it: now"
        )


@pytest.mark.parametrize(
    "wanted, differing",
    [
        (FIELDS, ()),
        ({"phases": ((1, 2),), "eps": 0.03137254902}, ()),
        ({"minutes": 3}, ()),
        ({"eps": 0.0314}, ("eps",)),
        ({"seed": 1, "phases": [[1, 2]], "model": "other"}, ("seed", "model")),
    ],
)
def test_the_status_tells_what_differs(weights, wanted, differing):
    found = cards.status(weights, wanted)
    assert found.differing == differing and found.is_shipped is bool(found) is not bool(differing)
    assert found.state is (cards.State.STALE if differing else cards.State.SHIPPED)


def test_the_status_of_what_is_not_there(weights):
    found = cards.status(weights.with_name("other.h5"), FIELDS)
    assert found.state is cards.State.WANTED and not found.is_shipped


def test_every_card_of_the_course_is_read():
    files = sorted(settings.WEIGHTS.rglob("*.json"))
    assert len(files) > 20
    for file in files:
        weights = file.with_suffix(".h5")
        card = cards.read(weights, check_file=weights.is_file())
        assert card["model"] and card["history"]
        assert cards.status(weights, {"model": card["model"], "seed": card["seed"]}).is_shipped
