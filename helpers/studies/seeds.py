"""Reading a sweep: how far its records spread over seeds, and which conclusions do not depend on one."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from ..evaluation import difference
from ..settings import CourseError

Place = tuple[str, str, str, str]
"""(stage, defense, input, threat) of a record."""

CLAIMS: dict[str, tuple[Place, Place]] = {
    "the autoencoder helps against images made for the classifier": (
        ("initial", "none", "pgd", "static"),
        ("initial", "ae", "pgd", "static"),
    ),
    "fine-tuning helps against the same images": (
        ("initial", "ae", "pgd", "static"),
        ("fine_tuned", "ae", "pgd", "static"),
    ),
    "the autoencoder costs accuracy on unattacked images": (
        ("initial", "ae", "regular", "static"),
        ("initial", "none", "regular", "static"),
    ),
    "an attack through both leaves less than the static one": (
        ("fine_tuned", "ae", "pgd", "adaptive"),
        ("fine_tuned", "ae", "pgd", "static"),
    ),
}
"""What notebooks 02 to 06 conclude, as the place of lower and that of higher accuracy."""


def at(records: list[dict], place: Place) -> dict[tuple[float, int, int], dict]:
    """The records of one place by (eps, steps, seed).

    Raises:
        CourseError: there are none, or two of them have the same eps, steps and seed.
    """
    found = {}
    for r in records:
        if (r["stage"], r["defense"], r["input"], r["threat"]) == place:
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
    """Mean accuracy over seeds, in percent: budgets (grey levels of 255) in the rows, steps in the columns."""
    cells = defaultdict(list)
    for (eps, steps, _), r in at(records, place).items():
        cells[round(255 * eps, 3), steps].append(100 * r["accuracy"])
    frame = pd.Series({key: float(np.mean(values)) for key, values in cells.items()}).unstack()
    return frame.rename_axis("eps (grey levels)").rename_axis("steps", axis=1)


def spread(records: list[dict], place: Place) -> pd.DataFrame:
    """Over seeds, for each budget and number of steps: lowest, mean and highest accuracy in percent, the deviation
    between seeds, and the deviation that n images alone would give if every seed had the same accuracy."""
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


def check(records: list[dict], claim: str) -> list[dict]:
    """A claim (CLAIMS) in every cell: eps, steps, seed, and by how much it holds, in points, with its 95% interval.

    Where one of the two places has no attack, its record of the same seed stands for every budget.
    """
    lower, higher = (at(records, place) for place in CLAIMS[claim])
    cells = {key for key in {**lower, **higher} if key[1]} or {**lower, **higher}
    rows = []
    for eps, steps, seed in sorted(cells):
        pair = [_matching(found, eps, steps, seed) for found in (lower, higher)]
        if None in pair:
            raise CourseError(
                f"the sweep is not whole: seed {seed}, eps {eps:.4g}, {steps} steps lacks a record"
            )
        points, low, high = (100 * x for x in difference(*pair))
        rows.append({"eps": eps, "steps": steps, "seed": seed, "points": points, "low": low, "high": high})
    return rows


def _matching(found: dict, eps: float, steps: int, seed: int) -> dict | None:
    return found.get((eps, steps, seed)) or found.get((0.0, 0, seed))


def verdicts(records: list[dict]) -> pd.DataFrame:
    """For each claim: in how many cells it holds in every seed and beyond the interval, in every seed but within the
    interval in some, and in how many not in every seed; and the smallest and largest difference in points."""
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
