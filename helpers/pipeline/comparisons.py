"""Claims about two accuracies each: the difference with its interval, and a test that counts all claims made.

If it is known which images were right in both conditions, interval and test are paired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import fisher_exact

from .. import evaluation
from .published import PAPER_DIFFERENCES, cell_of

if TYPE_CHECKING:
    from .results import Answers

LEVEL = 0.05
"""The probability, at most, that any of the claims made together is false."""


@dataclass(frozen=True)
class Comparison:
    """How far accuracy rises from one condition to another.

    Attributes:
        points: the difference, in points.
        low, high: its 95% interval, which counts this claim alone.
        p: the p-value, by Holm's correction for all claims made together.
        n: how many images are behind both numbers; 0 if it is not known which images were right.
    """

    points: float
    low: float
    high: float
    p: float
    n: int

    @property
    def sign(self) -> int:
        """1 if accuracy rises and -1 if it falls beyond chance, else 0."""
        return int(np.sign(self.points)) if self.p < LEVEL else 0

    @property
    def p_text(self) -> str:
        """The p-value in words, such as ``p < 0.001``."""
        return f"p = {self.p:.2g}" if self.p >= 0.001 else "p < 0.001"

    def __str__(self) -> str:
        return f"{self.points:+.1f} points [{self.low:+.1f}, {self.high:+.1f}], {self.p_text}"


def of_answers(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[Comparison]:
    """Compare conditions on the same images: paired intervals, McNemar's test.

    Args:
        pairs: booleans, which images were right, before and after. If one has more images than the other,
            the first of them count.
    """
    return _together([_paired(before, after) for before, after in pairs])


def of_the_paper(answers: Mapping[str, Answers]) -> list[Comparison]:
    """Compare the cells whose differences the paper discusses (published.PAPER_DIFFERENCES).

    Args:
        answers: of the paper's table under transfer attacks, by cell (Answers.cell).
    """

    def correct(cell: tuple[str, str, str]) -> np.ndarray:
        kind, stage, defense = cell
        return answers[f"static/{stage}/{defense}/{kind}"].correct

    return of_answers((correct(a), correct(b)) for a, b in PAPER_DIFFERENCES)


def of_records(
    pairs: Sequence[tuple[dict, dict]], answers: Mapping[str, np.ndarray] | None = None
) -> list[Comparison]:
    """Compare records, paired where the answers of both are known.

    Elsewhere the interval is Newcombe's and the test Fisher's, both for independent samples. They are
    usually too wide for the same images.

    Args:
        pairs: records, before and after.
        answers: which images were right, by the cell's name (Answers.cell).
    """

    def known(record: dict) -> np.ndarray | None:
        correct = (answers or {}).get(cell_of(record))
        fits = correct is not None and (len(correct), correct.sum()) == (record["n"], record["correct"])
        return correct if fits else None

    def compared(a: dict, b: dict) -> Comparison:
        before, after = known(a), known(b)
        return _unpaired(a, b) if before is None or after is None else _paired(before, after)

    return _together([compared(a, b) for a, b in pairs])


def _paired(before: np.ndarray, after: np.ndarray) -> Comparison:
    n = min(len(before), len(after))
    before, after = before[:n], after[:n]
    points, low, high = (100 * x for x in evaluation.paired_difference(before, after))
    return Comparison(points, low, high, evaluation.mcnemar(before, after), n)


def _unpaired(a: dict, b: dict) -> Comparison:
    points, low, high = (100 * x for x in evaluation.difference(a, b))
    p = fisher_exact([[r["correct"], r["n"] - r["correct"]] for r in (a, b)]).pvalue
    return Comparison(points, low, high, float(p), 0)


def _together(found: list[Comparison]) -> list[Comparison]:
    adjusted = evaluation.holm([one.p for one in found])
    return [Comparison(c.points, c.low, c.high, p, c.n) for c, p in zip(found, adjusted, strict=True)]
