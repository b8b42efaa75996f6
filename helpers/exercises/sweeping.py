"""Checks of notebook 08's exercises: the spread between seeds, a paired difference, claims, a grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import settings
from ..settings import CourseError
from .predicates import as_array, hint_for
from .verdict import Wrong, ask, check

LARGEST_GRID = 60
"""The largest number of jobs in the grid of exercise 08.4: about an hour on two cores."""


@check("08.1", "write spread(accuracies)")
def check_spread(spread: Callable) -> str:
    """Accept a function from accuracies [seeds, cells] to mean and sample deviation, each [cells]."""
    rng = np.random.default_rng(0)
    for seeds, cells in ((3, 4), (5, 2)):
        accuracies = rng.uniform(0.2, 0.9, (seeds, cells))
        answer = ask(spread, accuracies, call="spread(accuracies)")
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong("return two arrays: mean, deviation")
        for name, found, truth in zip(
            ("mean", "deviation"), answer, (accuracies.mean(0), accuracies.std(0, ddof=1)), strict=True
        ):
            found = as_array(found, f"your {name}")
            if found.shape == (seeds,) != (cells,):
                raise Wrong(
                    f"your {name} has a number for each seed; return one for each cell: average over axis 0"
                )
            found = as_array(found, f"your {name}", (cells,))
            if np.allclose(found, truth, rtol=1e-6):
                continue
            own = accuracies[:, 0]
            hints = (
                (own.std(), "you divide by the number of seeds; the sample deviation divides by one less"),
                (own.var(ddof=1), "that is the variance; take its root"),
                (
                    own.var(),
                    "that is a variance, and divided by the number of seeds; take ddof=1 and the root",
                ),
                (
                    own.std(ddof=1) / np.sqrt(seeds),
                    "that is the standard error of the mean, not the deviation",
                ),
                (np.ptp(own), "that is the highest minus the lowest"),
                (100 * truth[0], "give it in [0, 1], as the accuracies are"),
                (np.median(own), "that is the median"),
                (own.max(), "that is the best seed; a reader who trains once cannot choose the seed"),
            )
            hint = hint_for(found[0], hints, "compare with notebook 08's table")
            raise Wrong(f"the {name} of {_list(own)} is {truth[0]:.4f}, not {found[0]:.4f}; {hint}")
    return "compare a difference between two methods with this spread, if each was trained once"


@check("08.2", "write paired(before, after)")
def check_paired(paired: Callable) -> str:
    """Accept a function for a paired difference and its 95% interval.

    It takes answers on the same images, booleans [n] each, and returns after - before, low and high. The
    interval may come from the normal approximation or another within a few percent of its width.
    """
    rng = np.random.default_rng(1)
    for n, chances in ((500, (0.85, 0.6)), (800, (0.3, 0.45))):
        hard = rng.random(n)  # images that are hard for one are hard for the other
        before, after = (hard + rng.normal(0, 0.1, n) < chance for chance in chances)
        answer = ask(paired, before, after, call="paired(before, after)")
        found = as_array(answer, "your difference, low and high", (3,))
        each = after.astype(float) - before
        truth, half = each.mean(), 1.96 * each.std(ddof=1) / np.sqrt(n)
        if not np.isclose(found[0], truth, atol=0.1 * half):
            hints = (
                (-truth, "that is before minus after"),
                (100 * truth, "give it in [0, 1], as a share of the images"),
                (each.sum(), "that is a number of images; divide by n"),
                (np.abs(each).mean(), "that is the share whose answer changed, in either direction"),
            )
            hint = hint_for(found[0], hints, "return the mean of after minus the mean of before", 0.01)
            raise Wrong(
                f"accuracy goes from {before.mean():.3f} to {after.mean():.3f}, but you return "
                f"{found[0]:+.3f}; {hint}"
            )
        low, high = found[1:]
        if not low < high:
            raise Wrong(
                f"your interval runs from {low:.4f} to {high:.4f}; return difference, low, high in this order"
            )
        width, alone = (high - low) / 2, [a.std(ddof=1) / np.sqrt(n) for a in (before, after)]
        if not (np.isclose(width, half, rtol=0.04) and np.isclose((high + low) / 2, truth, atol=0.1 * half)):
            hints = (
                (
                    1.96 * np.hypot(*alone),
                    "that is for two different sets of images; these are the same images, so pair them",
                ),
                (half / 1.96, "that is one standard error; 95% needs 1.96 of them"),
                (1.96 * sum(alone), "you add the two widths; use each image's difference instead"),
                (1.645 / 1.96 * half, "that is a 90% interval"),
                (half * np.sqrt(n), "divide by the root of n: a mean varies less than a single value"),
                (1.96 * alone[1], "that is the interval of `after` alone"),
                (1.96 * alone[0], "that is the interval of `before` alone"),
                (1.96 * each.var(ddof=1) / np.sqrt(n), "you use the variance; use the standard deviation"),
            )
            hint = hint_for(
                width,
                hints,
                "take the mean of after - before, image by image, and 1.96 standard errors",
                0.03,
            )
            raise Wrong(f"the interval should be about ±{half:.4f}, but yours is ±{width:.4f}; {hint}")
    return "narrower than for two sets of images, since images that are hard for one are hard for the other"


@check("08.3", "write survives(points)")
def check_survives(survives: Callable) -> str:
    """Accept a function from differences [seeds, cells] to booleans [cells]: positive in all seeds or not."""
    points = np.array(
        [
            [3.0, 2.0, -1.0, 4.0, 0.5, 8.0, -9.0, 1.0],
            [1.0, 9.0, -2.0, 0.0, 0.2, -0.1, 1.0, -2.0],
            [2.0, -0.5, -3.0, 5.0, 0.1, 9.0, 1.0, -2.0],
        ]
    )
    truth = (points > 0).all(0)
    answer = ask(survives, points, call="survives(points)")
    found = as_array(answer, "your answer")
    if found.shape == ():
        raise Wrong("you return a single answer; return one for each cell")
    if found.shape == (len(points),):
        raise Wrong(
            f"you return {len(points)} answers, one for each seed; return one for each of the {len(truth)} "
            "cells: combine along axis 0"
        )
    found = as_array(found, "your answer", truth.shape)
    if not np.isin(found, (0, 1)).all():
        raise Wrong(f"return True or False for each cell; your first answer is {found[0]:g}")
    if (wrong := np.flatnonzero(found.astype(bool) != truth)).size:
        cell = wrong[0]
        mistakes = (
            ((points > 0).any(0), "you ask for one seed only"),
            (points.mean(0) > 0, "the mean may be above zero even if a seed disagrees"),
            ((points > 0).mean(0) > 0.5, "a majority is not every seed"),
            ((points >= 0).all(0), "at zero the claim does not hold: neither one is higher"),
            (
                np.abs(np.sign(points).sum(0)) == len(points),
                "seeds that agree on the opposite refute the claim",
            ),
            (points[0] > 0, "you look at the first seed only"),
            (~truth, "those are the cells where it does not survive"),
        )
        hint = next(
            (text for guess, text in mistakes if np.array_equal(found.astype(bool), guess)),
            "every seed counts",
        )
        raise Wrong(
            f"the seeds give {_list(points[:, cell], '+.1f')}, but you return {bool(found[cell])}; {hint}"
        )
    return "if one seed contradicts a claim, the claim is about some seeds, not about the method"


@check("08.4", "write the grid")
def check_grid(grid: str) -> str:
    """Accept the text of a valid grid that answers the question of exercise 08.4.

    It compares defenses trained on a smaller and a larger budget under attacks of the smaller one. It has at
    least three seeds and at most LARGEST_GRID jobs.
    """
    import yaml

    from ..sweeps.grid import checked
    from ..sweeps.jobs import measurements, trainings

    if not isinstance(grid, str):
        raise Wrong(
            f"give the grid as text, as you would write it into a file, not as a {type(grid).__name__}"
        )
    try:
        asked = yaml.safe_load(grid)
    except yaml.YAMLError as error:
        raise Wrong(f"this is not valid YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(asked, dict):
        raise Wrong("a grid consists of lines 'key: value'; this has no keys")
    try:
        found = checked("your grid", asked)
    except CourseError as error:
        raise Wrong(str(error)) from error
    trained, attacked = (
        sorted(settings.check_eps(v) for v in getattr(found, key)) for key in ("trained_eps", "eps")
    )
    if "paper" not in found.autoencoder:
        raise Wrong("without an autoencoder nothing is trained; the question is about the defense")
    if len(trained) < 2:
        raise Wrong(
            f"all defenses are trained on {255 * trained[0]:g}/255; give trained_eps a smaller and a larger "
            "budget"
        )
    if not any(abs(trained[0] - budget) < 1e-9 for budget in attacked):
        raise Wrong(
            f"the question is about attacks of the smaller budget, {255 * trained[0]:g}/255, but you measure "
            f"{_list(255 * np.array(attacked), 'g')} of 255"
        )
    if len(found.seed) < 3:
        raise Wrong(
            f"{len(found.seed)} seed{'s' if len(found.seed) > 1 else ''} cannot show the spread; take 3 or "
            "more"
        )
    if (jobs := len(measurements(found)) + len(trainings(found))) > LARGEST_GRID:
        raise Wrong(
            f"that makes {jobs} jobs, more than {LARGEST_GRID}; leave out what the question does not need"
        )
    return f"{jobs} jobs, {len(trainings(found))} of them trainings: run them, and read their records"


def _list(values: np.ndarray, form: str = ".2f") -> str:
    return ", ".join(f"{value:{form}}" for value in values)
