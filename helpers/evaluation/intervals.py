"""Accuracies and differences between accuracies, with their 95% intervals."""

from __future__ import annotations

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
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    if before.shape != after.shape or not len(before):
        raise CourseError(f"answers of shape {before.shape} and {after.shape} are not pairs")
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    n, more, less = len(before) + 2, gained + 0.5, lost + 0.5
    middle = (more - less) / n
    half = Z * float(np.sqrt(more + less - (more - less) ** 2 / n)) / n
    return (gained - lost) / len(before), max(-1.0, middle - half), min(1.0, middle + half)
