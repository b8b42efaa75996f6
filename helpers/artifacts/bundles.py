"""A history bundle: the weights of one or several networks and the history of their training, in one file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..settings import CourseError
from .arrays import load_npz

_ONLY = "w"
"""The name of the network in a bundle that holds only one."""


class Bundle(NamedTuple):
    """What a bundle holds.

    Attributes:
        history: a record for each epoch.
        networks: the weights of each network, by name, in the order of ``model.get_weights()``.
    """

    history: list[dict]
    networks: dict[str, list[np.ndarray]]

    @property
    def weights(self) -> list[np.ndarray]:
        """The weights of the only network."""
        return self.networks.get(_ONLY, [])


def save(
    path: Path, history: list[dict], weights: Sequence[np.ndarray] | Mapping[str, Sequence[np.ndarray]]
) -> None:
    """Write a bundle.

    Args:
        path: the file (``.npz``).
        history: a record for each epoch, of JSON's types.
        weights: a network's ``get_weights()``, or those of several networks by name. A name must not end in a
            digit.
    """
    networks = weights if isinstance(weights, Mapping) else {_ONLY: weights}
    arrays = {f"{name}{k:03d}": array for name, found in networks.items() for k, array in enumerate(found)}
    with open(path, "wb") as file:
        np.savez(file, history=np.array(json.dumps(history)), **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Bundle:
    """Read a bundle.

    Raises:
        CourseError: the file is damaged or of another kind.
    """
    networks: dict[str, list[np.ndarray]] = {}
    stored = load_npz(path)
    history = _history(path, stored)
    for key in sorted(stored, key=_place):
        if key != "history":
            networks.setdefault(_place(key)[0], []).append(stored[key])
    return Bundle(history, networks)


def load_history(path: Path) -> list[dict]:
    """Read only the history of a bundle; errors are those of load."""
    return _history(path, load_npz(path))


def _history(path: Path, stored: Mapping[str, np.ndarray]) -> list[dict]:
    try:
        history = json.loads(str(stored["history"]))
        if not isinstance(history, list) or not all(isinstance(record, dict) for record in history):
            raise ValueError
    except (KeyError, ValueError, RecursionError):
        raise CourseError(
            f"{path.parent.name}/{path.name} holds no history of a training; delete it, and it is made again"
        ) from None
    return history


def _place(key: str) -> tuple[str, int]:
    """Split an array's key into the network's name and the array's number."""
    found = re.fullmatch(r"(.*?)(\d+)", key)
    return (found[1], int(found[2])) if found else (key, 0)
