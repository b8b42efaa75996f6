"""What a cross table (studies.gap) says about the gap to the paper: which cause explains how many points.

Works on records and answers alone; needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from .. import settings
from ..classifiers.registry import MODELS
from ..evaluation import paired_difference
from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES
from ..pipeline.published import PAPER

CELLS = tuple((kind, defense) for defense in ("none", "ae") for kind in ("fgsm", "pgd"))
"""The attacked cells of the initial columns: input and defense."""

CLOSE = 2.0
"""How many points may remain before a cell counts as unexplained."""


class Combination(NamedTuple):
    """A combination of the cross table's factors, by their names."""

    base: str
    attack: str
    autoencoder: str


START = Combination("shipped", "right", "shipped")
"""The course's tables."""

CAUSES = {
    "autoencoder": ("the autoencoder's recipe", {"autoencoder": ("released", "author")}),
    "raw_gradient": ("the raw gradient", {"attack": ("raw",)}),
    "softmax": ("the loss on softmax outputs", {"attack": ("raw_softmax",)}),
    "base": (
        "the base network's recipe",
        {"base": ("mixup_label_smoothing", "mixup", "label_smoothing")},
    ),
}
"""The causes in the order of the explanation: a title, and the factor with its levels.

The first level that is measured is taken. What is known of the released code comes first, and what can only
be supposed, how tf2cv's networks were trained, last. Order and levels were fixed before the table was
measured.
"""

_TITLES = {
    "shipped": "the course's",
    "right": "right gradient",
    "raw": "raw gradient",
    "raw_softmax": "raw gradient, softmax loss",
    "released": "the released recipe",
    "author": "the author's",
    "label_smoothing": "label smoothing",
    "mixup": "mixup",
    "mixup_label_smoothing": "mixup and label smoothing",
}


def explained(model: str, answers: Mapping[Combination, Mapping[str, np.ndarray]]) -> list[dict]:
    """Decompose the gap of each attacked cell into steps from the course's number to the paper's.

    Args:
        model: a key of registry.MODELS.
        answers: by combination (``none`` for no autoencoder) and input, which images were right: booleans
            [n].

    Returns:
        Steps in order: ``input``, ``defense``, ``cause``, ``title``, the combination they lead ``to``,
        ``accuracy`` there in percent, ``points`` with the paired 95% interval (``low``, ``high``), and the
        smallest and largest effect of the same cause under any levels of the others (``least``, ``most``).
        The first step of a cell is the course itself, and the last one the paper: its ``points`` remain
        unexplained. A cause that is not measured has no step.
    """
    steps = []
    for kind, defense in CELLS:
        found = {place: by_kind[kind] for place, by_kind in answers.items() if kind in by_kind}
        place = START if defense == "ae" else START._replace(autoencoder="none")
        if place not in found:
            continue
        about, chain = {"input": kind, "defense": defense}, [place]
        steps.append(about | _step("course", "the course", place, found[place]))
        for cause, (title, levels) in CAUSES.items():
            changed = _next(chain[-1], levels, found)
            if changed is None or (cause == "softmax" and chain[-1].attack != "raw"):
                continue
            change = {n: v for n, v in changed._asdict().items() if v != getattr(chain[-1], n)}
            chain.append(changed)
            level = "" if "attack" in change else f" ({_words(change)})"
            step = _step(cause, f"{title}{level}", changed, found[changed])
            interval = _interval(found[chain[-2]], found[changed])
            steps.append(about | step | interval | _range(cause, change, chain, found))
        theirs = PAPER.get(model, {}).get((kind, "initial", defense))
        if theirs is not None:
            remains = theirs - steps[-1]["accuracy"]
            steps.append(
                about | {"cause": "paper", "title": "the paper", "accuracy": theirs, "points": remains}
            )
    return steps


def _next(place: Combination, levels: dict, found: Mapping[Combination, np.ndarray]) -> Combination | None:
    """Return the combination after the first measured level of a cause, or None."""
    ((factor, names),) = levels.items()
    if factor == "autoencoder" and place.autoencoder == "none":
        return None
    candidates = (place._replace(**{factor: name}) for name in names)
    return next((candidate for candidate in candidates if candidate in found), None)


def _step(cause: str, title: str, place: Combination, correct: np.ndarray) -> dict:
    return {
        "cause": cause,
        "title": title,
        "to": place._asdict(),
        "accuracy": 100 * float(np.mean(correct)),
        "n": len(correct),
    }


def _interval(before: np.ndarray, after: np.ndarray) -> dict:
    points, low, high = (100 * x for x in paired_difference(before, after))
    return {"points": points, "low": low, "high": high}


def _range(
    cause: str, change: dict, chain: list[Combination], found: Mapping[Combination, np.ndarray]
) -> dict:
    """Return the smallest and the largest effect of a change, under any levels of the other factors."""
    ((factor, level),) = change.items()
    before = getattr(chain[-2], factor)
    others = [name for name in Combination._fields if name != factor]
    bare = chain[0].autoencoder == "none"
    effects = []
    for values in product(*({getattr(place, name) for place in found} for name in others)):
        rest = dict(zip(others, values, strict=True))
        if "autoencoder" in rest and (rest["autoencoder"] == "none") != bare:
            continue
        pair = [Combination(**rest, **{factor: name}) for name in (before, level)]
        if all(place in found for place in pair):
            first, second = (100 * float(np.mean(found[place])) for place in pair)
            effects.append(second - first)
    return {"least": min(effects), "most": max(effects)}


def _words(change: dict) -> str:
    return ", ".join(_TITLES.get(level, level.replace("_", " ")) for level in change.values())


# ------------------------------------------------------------------------------------------------- reading


def recorded(model: str) -> dict | None:
    """Return a network's part of figures/gap.json, or None where none is recorded."""
    file = settings.FIGURES / "gap.json"
    return settings.read_json(file).get(model) if file.is_file() else None


def steps_of(found: dict, kind: str, defense: str) -> list[dict]:
    """Return the steps of one cell, from the course's number to the paper's."""
    return [step for step in found["steps"] if (step["input"], step["defense"]) == (kind, defense)]


def cells_of(found: dict) -> list[list[dict]]:
    """Return the steps of each attacked cell that is measured."""
    return [steps for cell in CELLS if (steps := steps_of(found, *cell))]


def headline(found: dict) -> str:
    """Say, for the title of a figure, in how many cells the causes explain the paper's number."""
    last = [steps[-1]["points"] for steps in cells_of(found) if steps[-1]["cause"] == "paper"]
    close = sum(abs(points) <= CLOSE for points in last)
    return (
        f"Known causes lead to within {CLOSE:g} points of the paper in {close} of {len(last)} attacked cells"
    )


def described(found: dict) -> str:
    """Say what the waterfall does not show: the nearest combinations, the spread, and what is missing."""
    near = _nearest_of_each(found)
    said = "\n".join(["Of the combinations that were measured, the nearest to the paper is", "", *near])
    return "\n\n".join(filter(None, [said if near else "", spread_in_words(found), not_measured(found)]))


def alt(found: dict) -> str:
    """Describe the waterfall."""
    return (
        "One panel for each attacked cell of the initial classifier: bars lead from the course's accuracy, "
        f"cause by cause, to the paper's; what remains is hatched. {sentences(found)}"
    )


def mark(found: dict) -> str:
    """Return the mark of the waterfall: what was measured, on how many images."""
    return f"transfer attacks, CIFAR-10, n = {found['parameters']['images']:,}"


def sentences(found: dict) -> str:
    """Say in two sentences which cause explains how many points of the gap, and what remains."""
    model = found["parameters"]["model"]
    cells = {cell: steps for cell in CELLS if (steps := steps_of(found, *cell))}
    said = []
    for cause, (title, _) in CAUSES.items():
        moved = [
            f"{step['points']:+.1f} ({_cell(cell)})"
            for cell, steps in cells.items()
            for step in steps
            if step["cause"] == cause
        ]
        said.append(f"{title} {', '.join(moved)}" if moved else f"{title} is not measured")
    n = found["parameters"]["images"]
    first = (
        f"On the way from {MODELS[model].title}'s cells to the paper's, in points of accuracy (n = {n:,}): "
    )
    last = [(cell, steps[-1]["points"]) for cell, steps in cells.items() if steps[-1]["cause"] == "paper"]
    if not last:
        return f"{first}{'; '.join(said)}. The paper has no number to compare with."
    close = sum(abs(points) <= CLOSE for _, points in last)
    remaining = ", ".join(f"{points:+.1f} ({_cell(cell)})" for cell, points in last)
    return (
        f"{first}{'; '.join(said)}. After all of these {remaining} remain unexplained, at most {CLOSE:g} "
        f"points in {close} of {len(last)} cells."
    )


def _nearest_of_each(found: dict) -> list[str]:
    """Name the combinations nearest to the paper: of all cells at once, and of each column alone."""
    said = []
    for words, defenses in (("in all cells at once", ("none", "ae")), *_COLUMNS):
        if best := nearest(found, defenses):
            place, largest = best
            said.append(f"- {words}: {_combination(place)}; up to {largest:.1f} points away")
    return said


_COLUMNS = tuple(
    (f"in the cells {words} AE", (name,)) for words, name in (("without", "none"), ("with", "ae"))
)


def nearest(found: dict, defenses: Sequence[str] = ("none", "ae")) -> tuple[Combination, float] | None:
    """Return the combination that is nearest to the paper, and its largest distance in any cell, in points.

    Args:
        found: a network's part of gap.json.
        defenses: the columns that one combination has to explain. The cells without an autoencoder do not
            depend on it; there, the combination's is ``none`` if no other column is asked for.

    Returns:
        None if no combination has all of the cells, or the paper none of them.
    """
    paper = PAPER.get(found["parameters"]["model"], {})
    accuracies: dict[Combination, dict] = {}
    for r in found["records"]:
        place = Combination(r["base"], r["attack"], r["autoencoder"])
        accuracies.setdefault(place, {})[r["input"]] = 100 * r["accuracy"]
    distances = {}
    for place in accuracies:
        bare = place._replace(autoencoder="none")
        if not paper or bare not in accuracies or (place == bare) == ("ae" in defenses):
            continue
        sides = {"none": accuracies[bare], "ae": accuracies[place]}
        distances[place] = max(
            abs(sides[defense][kind] - paper[kind, "initial", defense])
            for kind, defense in CELLS
            if defense in defenses
        )
    if not distances:
        return None
    best = min(distances, key=lambda place: distances[place])
    return best, distances[best]


def not_measured(found: dict) -> str:
    """Say which networks of the cross table were not there."""
    names = ", ".join(
        _TITLES.get(m["network"], m["network"].replace("_", " ")) for m in found["not_measured"]
    )
    return f"Not measured, because the networks are not there: {names}." if names else ""


def spread_over_seeds(found: dict) -> dict[tuple[str, str, str], dict]:
    """Return how far every cell of the initial columns varies with the autoencoder's seed.

    Returns:
        By (input, stage, defense): the number of ``seeds``, and the ``lowest``, ``mean`` and ``highest``
        accuracy in percent, with their standard ``deviation`` (NaN for one seed). Base network and attack are
        the course's.
    """
    values: dict[tuple[str, str, str], list[float]] = {}
    for r in found["records"]:
        if (r["base"], r["attack"]) == START[:2] and r["autoencoder"].startswith("seed_"):
            values.setdefault((r["input"], r["stage"], r["defense"]), []).append(100 * r["accuracy"])
    return {
        cell: {
            "seeds": len(each),
            "lowest": min(each),
            "mean": float(np.mean(each)),
            "highest": max(each),
            "deviation": float(np.std(each, ddof=1)) if len(each) > 1 else float("nan"),
        }
        for cell, each in values.items()
    }


def spread_in_words(found: dict) -> str:
    """Say how far the cells behind the autoencoder vary with its seed; empty if no seed is measured."""
    spread = spread_over_seeds(found)
    if not spread:
        return ""
    each = ", ".join(
        f"{INPUT_TITLES[cell[0]]} {values['lowest']:.1f} to {values['highest']:.1f}"
        for cell, values in spread.items()
    )
    seeds = next(iter(spread.values()))["seeds"]
    return f"Over {seeds} seeds of the autoencoder, in percent behind it: {each}."


def _cell(cell: tuple[str, str]) -> str:
    return f"{INPUT_TITLES[cell[0]]} {DEFENSE_TITLES[cell[1]]}"


def _combination(place: Combination) -> str:
    base, attack, autoencoder = (_TITLES.get(name, name.replace("_", " ")) for name in place)
    behind = "" if place.autoencoder == "none" else f", autoencoder {autoencoder}"
    return f"base network {base}, {attack}{behind}"
