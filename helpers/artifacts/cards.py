"""The card of a weight file: what the weights are, how they were made, and what training reported.

A card is a JSON file beside the weight file, with the same stem. It holds the checksum of the weight file, so
that a damaged or replaced file is noticed before it is used.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .. import settings
from ..settings import CourseError
from . import provenance

FIELDS = {
    "part": "what the weights are: ae, fine_tuned, search, or a recipe's name; base cards have none",
    "model": "the classifier's name in the registry",
    "parameters": "the number of trainable parameters",
    "seed": "the run's seed",
    "eps": "the attack budget of the images trained on, in [0, 1]",
    "trained_on": "the number of training images",
    "data": "the provenance of the data: dataset, origin, sha256, sizes of the splits",
    "initial_sha256": "the checksum of the initial classifier's weights",
    "weights_sha256": "the checksum of the weights themselves (classifiers.weights_sha256)",
    "file_sha256": "the checksum of the weight file",
    "commit": "the commit of the tree that trained",
    "minutes": "the time that training took",
    "history": "a record for each epoch",
}
"""The fields that cards have in common. A card may have others, and an old one may lack some."""

_REMEDY = "record a run (make report, make record), or train it live"
_IN_WORDS = {"initial_sha256": "initial classifier", "autoencoder_weights_sha256": "autoencoder"}


class State(enum.Enum):
    """Whether the wanted weights are there."""

    SHIPPED = "shipped"
    """They are there."""
    WANTED = "wanted"
    """There is no card: they have not been made yet."""
    STALE = "stale"
    """There are weights of that name, but they were made differently."""


class Status(NamedTuple):
    """The state of a weight file, and which wanted fields its card contradicts."""

    state: State
    differing: tuple[str, ...] = ()

    @property
    def is_shipped(self) -> bool:
        """Whether the wanted weights are there."""
        return self.state is State.SHIPPED

    def __bool__(self) -> bool:
        return self.is_shipped  # a tuple would always be true


def card_file(weights_file: Path) -> Path:
    """Return the path of a weight file's card."""
    return weights_file.with_suffix(".json")


def write(weights_file: Path, model_parameters: int | None, **fields: Any) -> dict:
    """Write the card of a weight file.

    Args:
        weights_file: the file, already written. If it does not exist, the card describes only the training.
        model_parameters: the number of trainable parameters.
        fields: the other FIELDS, and any further ones, of JSON's types. The file's checksum and the commit
            are added here.

    Returns:
        The card.
    """
    found = dict(fields)
    if model_parameters is not None:
        found["parameters"] = int(model_parameters)
    if weights_file.is_file():
        found["file_sha256"] = provenance.sha256_of(weights_file)
    found.setdefault("commit", provenance.commit())
    common = {name: found.pop(name) for name in FIELDS if name in found}
    history = {"history": common.pop("history")} if "history" in common else {}
    card = {**common, **found, **history}  # the history is long, so it comes last
    settings.write_atomically(card_file(weights_file), json.dumps(card, indent=1).encode())
    return card


def read(
    weights_file: Path, wanted: dict | None = None, remedy: str = _REMEDY, check_file: bool = True
) -> dict:
    """Read the card of a weight file, and check the file against it.

    Args:
        weights_file: the file.
        wanted: fields that the card must agree with, such as initial_sha256.
        remedy: what the user can do if the weights are missing or differ; ends the error message.
        check_file: whether the weight file itself must be there and undamaged. A training that ships no
            weights has only a card.

    Raises:
        CourseError: the file or its card is not there; the file is not the one that the card describes; or
            the card contradicts a wanted field, is damaged, or has a field of another type than FIELDS says.
    """
    card = card_file(weights_file)
    if not card.is_file() or (check_file and not weights_file.is_file()):
        raise CourseError(f"the course ships no {_place(weights_file)}; {remedy}")
    found = _checked(card)
    if check_file and found.get("file_sha256") != provenance.sha256_of(weights_file):
        raise CourseError(
            f"the weight file {_place(weights_file)} is not the one its card describes; it is truncated or "
            "was replaced: restore it (git checkout weights) or name another file with WEIGHTS="
        )
    if differing := _differing(found, wanted or {}):
        raise CourseError(
            f"{_place(weights_file)} was made with another {' and another '.join(map(_in_words, differing))} "
            f"than this one; {remedy}"
        )
    return found


def status(weights_file: Path, wanted: dict) -> Status:
    """Return whether the course ships weights that were made in the wanted way.

    Only the card is read; ``read`` checks the weight file. A wanted field that the card lacks does not count
    as differing, because old cards lack some.

    Args:
        weights_file: the file.
        wanted: fields and the values that they should have.
    """
    try:
        card = _checked(card_file(weights_file))
    except FileNotFoundError:
        return Status(State.WANTED)
    differing = _differing(card, wanted)
    return Status(State.STALE if differing else State.SHIPPED, differing)


def read_alone(weights_file: Path) -> dict:
    """Read the card of a weight file, and leave the file alone.

    Raises:
        FileNotFoundError: there is no card.
        CourseError: the card is damaged, or has a field of another type than FIELDS says.
    """
    return _checked(card_file(weights_file))


def _checked(card: Path) -> dict:
    """Read a card and check the types of its FIELDS."""
    found = settings.read_json(card)
    wrong = [name for name, right in _IS_RIGHT.items() if name in found and not right(found[name])]
    if wrong:
        raise CourseError(
            f"the card {_place(card)} is damaged: {wrong[0]} is {settings.shown(found[wrong[0]])}; "
            "restore it (git checkout weights)"
        )
    return found


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_history(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(record, dict) for record in value)


_IS_RIGHT: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("parameters", "seed", "trained_on"), _is_count),
    **dict.fromkeys(("part", "model", "commit", "begins_with"), _is_text),
    **dict.fromkeys(("initial_sha256", "weights_sha256", "file_sha256", "autoencoder_sha256"), _is_text),
    "minutes": lambda value: type(value) in (int, float),
    "eps": lambda value: value is None or type(value) in (int, float),
    "data": lambda value: isinstance(value, dict),
    "history": _is_history,
}
"""What each field must be, if the card has it."""


def _differing(card: dict, wanted: dict) -> tuple[str, ...]:
    # In JSON's form, where a tuple is a list.
    given = json.loads(json.dumps(wanted))
    return tuple(name for name, value in given.items() if name in card and not _are_equal(card[name], value))


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, (int, float)):
        # 8/255 may have been written with fewer digits.
        return math.isclose(one, other, rel_tol=0, abs_tol=1e-9)
    return one == other


def _in_words(field: str) -> str:
    return _IN_WORDS.get(field, field.replace("_", " "))


def _place(file: Path) -> str:
    """Return where a weight file is, without the names of this machine's folders."""
    if file.is_relative_to(settings.WEIGHTS):
        return f"weights/{file.relative_to(settings.WEIGHTS).as_posix()}"
    return f"{file.parent.name}/{file.name}"
