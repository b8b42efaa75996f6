"""What the records of a sweep's measurement stand for. Needs no TensorFlow: a sweep's cost is told at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What one record of a measurement stands for; the names are those of evaluation.Record."""

    stage: str
    defense: str
    input: str
    threat: str


_UNDEFENDED = (Cell("initial", "none", "regular", "static"), Cell("initial", "none", "pgd", "static"))

CELLS = {
    "none": _UNDEFENDED,
    "paper": (
        *_UNDEFENDED,
        Cell("initial", "ae", "regular", "static"),
        Cell("fine_tuned", "none", "regular", "static"),
        Cell("fine_tuned", "ae", "regular", "static"),
        Cell("initial", "ae", "pgd", "static"),
        Cell("fine_tuned", "none", "pgd", "static"),
        Cell("fine_tuned", "ae", "pgd", "static"),
        Cell("initial", "ae", "pgd", "adaptive"),
        Cell("fine_tuned", "ae", "pgd", "adaptive"),
    ),
}
"""What a measurement's records are, by autoencoder. Static: attacked once, against the initial classifier; adaptive:
against all that is assessed."""
