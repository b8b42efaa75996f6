"""Checks of notebook 08's exercises: the spread between seeds, a paired difference, what survives, and a
grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import settings
from ..settings import CourseError
from .predicates import as_array, hint_for
from .verdict import Wrong, ask, check

LARGEST_GRID = 60
"""Jobs that the grid of exercise 08.4 may have: about an hour on two cores."""


@check("08.1", "write spread(accuracies)")
def check_spread(spread: Callable) -> str:
    """Accept a function from accuracies [seeds, cells] to their mean and their sample deviation, each
    [cells]."""
    rng = np.random.default_rng(0)
    for seeds, cells in ((3, 4), (5, 2)):
        accuracies = rng.uniform(0.2, 0.9, (seeds, cells))
        answer = ask(spread, accuracies, call="spread(accuracies)")
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong("two things are asked for: return mean, deviation")
        for name, found, truth in zip(
            ("mean", "deviation"), answer, (accuracies.mean(0), accuracies.std(0, ddof=1)), strict=True
        ):
            found = as_array(found, f"your {name}")
            if found.shape == (seeds,) != (cells,):
                raise Wrong(
                    f"your {name} has a number for each seed; one for each cell is asked for: average over "
                    "axis 0"
                )
            found = as_array(found, f"your {name}", (cells,))
            if np.allclose(found, truth, rtol=1e-6):
                continue
            own = accuracies[:, 0]
            hints = (
                (own.std(), "you divide by the number of seeds; a sample's deviation divides by one less"),
                (own.var(ddof=1), "that is the variance; take its root"),
                (own.var(), "that is a variance, and divided by the number of seeds"),
                (
                    own.std(ddof=1) / np.sqrt(seeds),
                    "that is the standard error of the mean, not the deviation",
                ),
                (np.ptp(own), "that is highest less lowest"),
                (100 * truth[0], "give it in [0, 1], as the accuracies are"),
                (np.median(own), "that is the median"),
                (own.max(), "that is the best seed; the reader who has one draw does not get to choose it"),
            )
            hint = hint_for(found[0], hints, "compare with notebook 08's table")
            raise Wrong(f"the {name} of {_list(own)} is {truth[0]:.4f}, and you say {found[0]:.4f}; {hint}")
    return "it is what to hold a difference between two methods against, if each was trained once"


@check("08.2", "write paired(before, after)")
def check_paired(paired: Callable) -> str:
    """Accept a function from answers on the same images, booleans [n] each, to the difference after - before
    and the ends of its 95% interval, by the normal approximation or another to within a few percent of its
    width."""
    rng = np.random.default_rng(1)
    for n, chances in ((500, (0.85, 0.6)), (800, (0.3, 0.45))):
        hard = rng.random(n)  # what is hard for one is hard for the other
        before, after = (hard + rng.normal(0, 0.1, n) < chance for chance in chances)
        answer = ask(paired, before, after, call="paired(before, after)")
        found = as_array(answer, "your difference, low and high", (3,))
        each = after.astype(float) - before
        truth, half = each.mean(), 1.96 * each.std(ddof=1) / np.sqrt(n)
        if not np.isclose(found[0], truth, atol=0.1 * half):
            hints = (
                (-truth, "that is before less after"),
                (100 * truth, "give it in [0, 1], as a share of the images"),
                (each.sum(), "that is a number of images; divide by n"),
                (np.abs(each).mean(), "that is the share whose answer changed, in either direction"),
            )
            hint = hint_for(found[0], hints, "it is the mean of after less the mean of before", 0.01)
            raise Wrong(
                f"accuracy goes from {before.mean():.3f} to {after.mean():.3f}, and you say "
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
                    "that treats the two as other images; these are the same, image by image",
                ),
                (half / 1.96, "that is one standard error; 95% are 1.96 of them"),
                (1.96 * sum(alone), "that adds the two widths; look at each image's difference instead"),
                (1.645 / 1.96 * half, "that is a 90% interval"),
                (half * np.sqrt(n), "the deviation of a mean is smaller by the root of n"),
                (1.96 * alone[1], "that is the interval of `after` alone"),
                (1.96 * alone[0], "that is the interval of `before` alone"),
                (1.96 * each.var(ddof=1) / np.sqrt(n), "you took the variance where the deviation belongs"),
            )
            hint = hint_for(
                width,
                hints,
                "take the mean of after - before, image by image, and 1.96 standard errors",
                0.03,
            )
            raise Wrong(f"the interval should be about ±{half:.4f} wide, and yours is ±{width:.4f}; {hint}")
    return "narrower than for two sets of images, since what is hard for one is hard for the other"


@check("08.3", "write survives(points)")
def check_survives(survives: Callable) -> str:
    """Accept a function from differences [seeds, cells] to the cells, booleans, where each seed's is above
    zero."""
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
        raise Wrong("one answer for each cell is asked for; you return a single one")
    if found.shape == (len(points),):
        raise Wrong(
            f"you return {len(points)} answers, one for each seed; there are {len(truth)} cells: go along "
            "axis 0"
        )
    found = as_array(found, "your answer", truth.shape)
    if not np.isin(found, (0, 1)).all():
        raise Wrong(f"True or False for each cell is asked for; your first is {found[0]:g}")
    if (wrong := np.flatnonzero(found.astype(bool) != truth)).size:
        cell = wrong[0]
        mistakes = (
            ((points > 0).any(0), "that asks for one seed only"),
            (points.mean(0) > 0, "the mean may be above zero though a seed disagrees"),
            ((points > 0).mean(0) > 0.5, "a majority is not every seed"),
            ((points >= 0).all(0), "at zero the claim does not hold: neither is higher"),
            (
                np.abs(np.sign(points).sum(0)) == len(points),
                "seeds that agree on the opposite refute the claim",
            ),
            (points[0] > 0, "that looks at the first seed only"),
            (~truth, "that is where it does not survive"),
        )
        hint = next(
            (text for guess, text in mistakes if np.array_equal(found.astype(bool), guess)),
            "every seed counts",
        )
        raise Wrong(
            f"the seeds give {_list(points[:, cell], '+.1f')}, and you say {bool(found[cell])}; {hint}"
        )
    return "a claim that one seed denies is a claim about a seed"


@check("08.4", "write the grid")
def check_grid(grid: str) -> str:
    """Accept the text of a valid grid that compares defenses trained on a small and on a large budget, at
    the small one, on the same images, over three seeds or more, in LARGEST_GRID jobs at most."""
    import yaml

    from ..sweeps.grid import checked
    from ..sweeps.jobs import measurements, trainings

    if not isinstance(grid, str):
        raise Wrong(
            f"the grid's text is asked for, as it would stand in a file; yours is a {type(grid).__name__}"
        )
    try:
        asked = yaml.safe_load(grid)
    except yaml.YAMLError as error:
        raise Wrong(f"this is no YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(asked, dict):
        raise Wrong("a grid is lines of 'key: value'; this holds no keys")
    try:
        found = checked("your grid", asked)
    except CourseError as error:
        raise Wrong(str(error)) from error
    trained, attacked = (
        sorted(settings.check_eps(v) for v in getattr(found, key)) for key in ("trained_eps", "eps")
    )
    if "paper" not in found.autoencoder:
        raise Wrong("nothing is trained without an autoencoder; the defense is what the question is about")
    if len(trained) < 2:
        raise Wrong(
            f"all defenses are trained on {255 * trained[0]:g}/255; give trained_eps a smaller and a larger "
            "one"
        )
    if not any(abs(trained[0] - budget) < 1e-9 for budget in attacked):
        raise Wrong(
            f"the question is about attacks of the smaller budget, {255 * trained[0]:g}/255, and you measure "
            f"{_list(255 * np.array(attacked), 'g')} of 255"
        )
    if len(found.seed) < 3:
        raise Wrong(
            f"{len(found.seed)} seed{'s' if len(found.seed) > 1 else ''} can tell little of the spread; "
            "take 3 or more"
        )
    if (jobs := len(measurements(found)) + len(trainings(found))) > LARGEST_GRID:
        raise Wrong(
            f"that makes {jobs} jobs; leave out what the question does not need, down to {LARGEST_GRID}"
        )
    return f"{jobs} jobs, {len(trainings(found))} of them trainings: run them, and read what they say"


def _list(values: np.ndarray, form: str = ".2f") -> str:
    return ", ".join(f"{value:{form}}" for value in values)
