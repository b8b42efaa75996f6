"""Records: one for each measurement, with what was assessed, against what, and the accuracy."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ..settings import ANSWERS_MIME, RECORDS_MIME
from .intervals import proportion


@dataclass(frozen=True)
class Record:
    """One measurement of accuracy.

    A run gives ``dataset``, ``profile``, ``model`` and ``seed``. The titles of stages, defenses, inputs and
    threats are explained in ``titles``.

    Attributes:
        dataset: name of the data set.
        profile: name of the profile that sets the sample sizes.
        model: name of the network in the registry.
        stage: how the classifier was trained.
        defense: what the images pass through before the classifier.
        input: what the images are: clean, moved by random signs, or made by an attack.
        threat: what the attacker knows.
        eps: the attack's budget, in [0, 1]; 0 without an attack. For a certificate, its l2 radius.
        steps: the attack's steps; 0 without an attack.
        n: number of images.
        correct: number of images classified correctly.
        accuracy: correct / n, in [0, 1].
        ci_low: lower limit of the accuracy's Wilson 95% interval.
        ci_high: upper limit of the interval.
        seed: seed of the run.
    """

    dataset: str
    profile: str
    model: str
    stage: str
    defense: str
    input: str
    threat: str
    eps: float
    steps: int
    n: int
    correct: int
    accuracy: float
    ci_low: float
    ci_high: float
    seed: int


def record(correct: np.ndarray, **fields) -> dict:
    """Make a record.

    Args:
        correct: booleans [n], whether each image was classified correctly.
        **fields: the other fields of Record, from ``dataset`` to ``steps``, and ``seed``.

    Returns:
        The record as a plain dict, ready for JSON.
    """
    return asdict(Record(**proportion(correct), **fields))


def publish(records: list[dict], answers: Mapping[str, np.ndarray] | None = None) -> None:
    """Attach records to the output of the notebook cell that calls this.

    The report collects them from there.

    Args:
        records: the records.
        answers: booleans [n], which images were classified correctly, by the table's cell; with them the
            report can compare two numbers image by image.
    """
    from IPython.display import display

    def packed(correct: np.ndarray) -> list:
        return [len(correct), b64encode(np.packbits(correct).tobytes()).decode()]

    bits = {cell: packed(correct) for cell, correct in (answers or {}).items()}
    display({RECORDS_MIME: records, "text/plain": ""} | ({ANSWERS_MIME: bits} if bits else {}), raw=True)
