"""Accuracies and differences between accuracies, with 95% intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from ..settings import CourseError

Z = 1.959964
"""The 97.5% quantile of the normal distribution."""


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Compute the Wilson interval of a proportion.

    Args:
        correct: number of images classified correctly.
        n: number of images.
        level: the probability that the interval covers the true proportion, in (0, 1).

    Returns:
        The lower and the upper limit, in [0, 1].

    Raises:
        CourseError: n is 0, or correct is not in 0..n.
    """
    if n < 1 or not 0 <= correct <= n:
        raise CourseError(f"{correct} correct of {n} is not a proportion")
    interval = binomtest(correct, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def proportion(correct: np.ndarray) -> dict:
    """Count the true values among booleans [n].

    Returns:
        n, correct (the count), accuracy (correct / n), ci_low and ci_high (its Wilson 95% interval).
    """
    n, hits = len(correct), int(np.sum(correct))
    low, high = wilson(hits, n)
    return {"n": n, "correct": hits, "accuracy": hits / n, "ci_low": low, "ci_high": high}


def difference(a: dict, b: dict) -> tuple[float, float, float]:
    """Compute how far accuracy rises from record a to record b, with a 95% interval.

    The interval is Newcombe's for independent samples (1998, method 10), from the Wilson limits of both
    records. It is usually too wide if both records are about the same images: then use paired_difference.

    Returns:
        The difference, its lower and its upper limit, in [-1, 1].
    """
    low = np.hypot(b["accuracy"] - b["ci_low"], a["ci_high"] - a["accuracy"])
    high = np.hypot(b["ci_high"] - b["accuracy"], a["accuracy"] - a["ci_low"])
    middle = b["accuracy"] - a["accuracy"]
    return middle, middle - float(low), middle + float(high)


def paired_difference(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """Compute how far accuracy rises on the same images, with a 95% interval.

    The interval is the Wald interval after half an image is added to each of the four outcomes (Agresti & Min
    2005, "Simple improved confidence intervals for comparing matched proportions").

    Args:
        before: booleans [n], whether each image was classified correctly.
        after: the same for the same images under another condition.

    Returns:
        The difference, its lower and its upper limit, in [-1, 1].

    Raises:
        CourseError: the two arrays do not match, or are empty.
    """
    gained, lost = _changed(before, after)
    n, more, less = len(before) + 2, gained + 0.5, lost + 0.5
    middle = (more - less) / n
    half = Z * float(np.sqrt(more + less - (more - less) ** 2 / n)) / n
    return (gained - lost) / len(before), max(-1.0, middle - half), min(1.0, middle + half)


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """Test whether accuracy differs between two conditions on the same images.

    Only images that are right under one condition and wrong under the other tell. If the conditions are
    equally good, each of these is as likely to be of one kind as of the other. The test is the exact one:
    binomial and two-sided (McNemar 1947, Psychometrika 12, 153).

    Args:
        before: booleans [n], whether each image was classified correctly.
        after: the same for the same images under another condition.

    Returns:
        The p-value.

    Raises:
        CourseError: the two arrays do not match, or are empty.
    """
    gained, lost = _changed(before, after)
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several claims that are made together (Holm 1979, Scand. J. Statist. 6, 65).

    Whoever makes each claim whose adjusted p-value is below 0.05 makes any false one with a probability of
    at most 5%, however the claims depend on each other.

    Returns:
        The adjusted p-values, in the order given.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted.tolist()


def _changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Count the images that become right, and those that become wrong."""
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    if before.shape != after.shape or not len(before):
        raise CourseError(f"answers of shape {before.shape} and {after.shape} are not pairs")
    return int((after & ~before).sum()), int((before & ~after).sum())
