"""Read a sweep (notebook 08): how results vary between seeds, and which conclusions hold for every seed."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from ..evaluation import difference, wilson
from ..settings import CourseError

Place = tuple[str, str, str, str]
"""(stage, defense, input, threat) of a record."""

PLACE = ("stage", "defense", "input", "threat")

CLAIMS: dict[str, tuple[Place, Place]] = {
    "the autoencoder helps against images made for the classifier": (
        ("initial", "none", "pgd", "static"),
        ("initial", "ae", "pgd", "static"),
    ),
    "fine-tuning helps against the same images": (
        ("initial", "ae", "pgd", "static"),
        ("fine_tuned", "ae", "pgd", "static"),
    ),
    "the autoencoder costs accuracy on clean images": (
        ("initial", "ae", "regular", "static"),
        ("initial", "none", "regular", "static"),
    ),
    "an end-to-end attack leaves less than a transfer attack": (
        ("fine_tuned", "ae", "pgd", "adaptive"),
        ("fine_tuned", "ae", "pgd", "static"),
    ),
}
"""The conclusions of notebooks 02 to 06: the place of the lower accuracy and that of the higher one."""


def at(records: list[dict], place: Place) -> dict[tuple[float, int, int], dict]:
    """Return the records of one place by (eps, steps, seed).

    Raises:
        CourseError: there are none, or two have the same eps, steps and seed.
    """
    found = {}
    for r in records:
        if tuple(r[name] for name in PLACE) == place:
            key = r["eps"], r["steps"], r["seed"]
            if key in found:
                raise CourseError(
                    f"two records of {', '.join(place)} have eps {key[0]:.4g}, {key[1]} steps, seed {key[2]}"
                )
            found[key] = r
    if not found:
        raise CourseError(f"the sweep has no record of {', '.join(place)}")
    return found


def grid_of(records: list[dict], place: Place) -> pd.DataFrame:
    """Tabulate the mean accuracy over seeds, in percent: budgets (grey levels of 255) by steps."""
    cells = defaultdict(list)
    for (eps, steps, _), r in at(records, place).items():
        cells[round(255 * eps, 3), steps].append(100 * r["accuracy"])
    frame = pd.Series({key: float(np.mean(values)) for key, values in cells.items()}).unstack()
    return frame.rename_axis("eps (grey levels)").rename_axis("steps", axis=1)


def spread(records: list[dict], place: Place) -> pd.DataFrame:
    """Tabulate the spread over seeds, for each budget and number of steps.

    Returns:
        The number of seeds; the lowest, mean and highest accuracy in percent; their standard deviation; and
        the standard deviation that sampling n images would give if every seed had the same accuracy.
    """
    cells = defaultdict(list)
    for (eps, steps, _), r in at(records, place).items():
        cells[round(255 * eps, 3), steps].append(r)
    rows = {}
    for key, found in sorted(cells.items()):
        values = np.array([100 * r["accuracy"] for r in found])
        mean, n = values.mean(), found[0]["n"]
        rows[key] = {
            "seeds": len(found),
            "lowest": values.min(),
            "mean": mean,
            "highest": values.max(),
            "deviation": values.std(ddof=1) if len(found) > 1 else np.nan,
            "of the images alone": np.sqrt(mean * (100 - mean) / n),
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["eps (grey levels)", "steps"])
    return frame


def against_images(records: list[dict], place: Place) -> list[dict]:
    """Set what the seeds give beside what a finite test set leaves open, for each budget and number of steps.

    Returns:
        For each cell its eps and steps; ``by_seed``, the accuracies in percent; their mean; ``low`` and
        ``high``, the Wilson 95% interval of a network that has this mean on n images; and ``inside``,
        whether all seeds lie in it.
    """
    cells = defaultdict(list)
    for (eps, steps, _), r in sorted(at(records, place).items()):
        cells[eps, steps].append(r)
    rows = []
    for (eps, steps), found in cells.items():
        by_seed = {r["seed"]: 100 * r["accuracy"] for r in found}
        correct, n = round(np.mean([r["correct"] for r in found])), found[0]["n"]
        low, high = (100 * limit for limit in wilson(correct, n))
        inside = all(low <= value <= high for value in by_seed.values())
        mean = float(np.mean(list(by_seed.values())))
        about = {"eps": eps, "steps": steps, "by_seed": by_seed, "mean": mean}
        rows.append({**about, "low": low, "high": high, "inside": inside})
    return rows


def check(records: list[dict], claim: str) -> list[dict]:
    """Check a claim in every cell of the sweep.

    If one of the two places has no attack, its record is compared with every budget of the same seed. A sweep
    keeps counts, not which images were right, so the intervals are Newcombe's for different images, which are
    too wide rather than too narrow where the same images are behind both.

    Args:
        records: of the sweep.
        claim: a key of CLAIMS.

    Returns:
        For each cell its eps, steps and seed, and the difference in points with its 95% interval.

    Raises:
        CourseError: a record is missing.
    """
    lower, higher = (at(records, place) for place in CLAIMS[claim])
    cells = {key for key in {**lower, **higher} if key[1]} or {**lower, **higher}
    rows = []
    for eps, steps, seed in sorted(cells):
        pair = [_matching(found, eps, steps, seed) for found in (lower, higher)]
        if None in pair:
            raise CourseError(
                f"the sweep is incomplete: a record for seed {seed}, eps {eps:.4g}, {steps} steps is missing"
            )
        points, low, high = (100 * x for x in difference(*pair))
        rows.append({"eps": eps, "steps": steps, "seed": seed, "points": points, "low": low, "high": high})
    return rows


def _matching(found: dict, eps: float, steps: int, seed: int) -> dict | None:
    return found.get((eps, steps, seed)) or found.get((0.0, 0, seed))


def verdicts(records: list[dict]) -> pd.DataFrame:
    """Tabulate, for each claim, in how many cells it holds.

    Returns:
        The number of cells; the number in which the claim holds for every seed and beyond the interval; the
        number in which it holds for every seed, but for some within the interval; the number in which it
        fails for some seed; and the smallest and largest difference in points.
    """
    rows = {}
    for claim in CLAIMS:
        cells = defaultdict(list)
        for row in check(records, claim):
            cells[row["eps"], row["steps"]].append(row)
        sure = [all(r["low"] > 0 for r in found) for found in cells.values()]
        agree = [all(r["points"] > 0 for r in found) for found in cells.values()]
        points = [r["points"] for found in cells.values() for r in found]
        rows[claim] = {
            "cells": len(cells),
            "sure in every seed": sum(sure),
            "the seeds agree": sum(a and not s for a, s in zip(agree, sure, strict=True)),
            "they do not": sum(not a for a in agree),
            "least (points)": min(points),
            "most (points)": max(points),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
