"""Attacked images, and accuracy against budget, steps and epochs."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.titles import INPUT_TITLES
from .style import COLORS, GREY, HOLLOW, MARKERS, PALETTE, draw_band, draw_guessing, with_error


def gallery(
    rows: dict[str, np.ndarray],
    titles: dict[str, Sequence[str]] | None = None,
    wrong: dict[str, Sequence[bool]] | None = None,
    size: float = 1.15,
) -> Figure:
    """Draw rows of images, one below the other.

    Args:
        rows: by row title, float images [n, h, w, 3] in [0, 1].
        titles: by row title, n short texts, printed above the images.
        wrong: by row title, which of these texts are wrong answers: printed bold and orange.
        size: of an image, in inches.
    """
    count, height = len(next(iter(rows.values()))), (size + 0.05) * len(rows) + 0.23 * len(titles or {})
    width = size * count + 1.1
    figure, axes = plt.subplots(len(rows), count, figsize=(width, height), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for k, (axis, image) in enumerate(zip(line, images, strict=True)):
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if titles and name in titles:
                bad = bool(wrong and name in wrong and wrong[name][k])
                look = {"color": PALETTE[3], "fontweight": "bold"} if bad else {}
                # Points grow with the width, since the report shrinks wide figures.
                axis.set_title(titles[name][k], fontsize=max(9, width), loc="center", **look)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=max(10, width))
    return figure


def magnified(delta: np.ndarray, eps: float) -> np.ndarray:
    """Return a perturbation as an image: grey is no change, full brightness +eps or more."""
    return np.clip(0.5 + delta / (2 * max(eps, 1e-12)), 0, 1)


def accuracy_curve(records: list[dict], x: str, xlabel: str, title: str, scale: float = 1.0) -> Figure:
    """Draw accuracy against budget or steps, one line for each kind of image, with the 95% interval shaded.

    Args:
        x: the field of the records on the horizontal axis, multiplied by ``scale``.
        records: the records to draw.
        scale: a factor of the values on the horizontal axis.
        title: the title.
        xlabel: the label of the horizontal axis.
    """
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    for kind in dict.fromkeys(r["input"] for r in records):
        points = sorted((r for r in records if r["input"] == kind), key=lambda r: r[x])
        look = {"marker": MARKERS[kind], "color": COLORS[kind], "label": INPUT_TITLES[kind]}
        draw_band(axis, [scale * r[x] for r in points], points, **look)
    axis.xaxis.get_major_locator().set_params(integer=True)
    draw_guessing(axis)
    axis.set(xlabel=xlabel, ylabel="accuracy (%)", ylim=(0, 101), title=title)
    if len(axis.get_lines()) > 2:
        axis.legend()
    return figure


def steps_figure(records: list[dict], title: str, beside: dict[str, dict] | None = None) -> Figure:
    """Draw accuracy against the number of steps, the numbers of steps side by side.

    Accuracy is on a scale that is logarithmic above 1%, so that small ones can be told apart.

    Args:
        records: by growing number of steps.
        title: the title.
        beside: by title, further records to draw as hollow markers at their number of steps.
    """
    figure, axis = plt.subplots(figsize=(7.6, 3.8))
    counts = [r["steps"] for r in records]
    places = range(len(counts))
    draw_band(axis, places, records, marker=MARKERS["pgd"], color=COLORS["pgd"], label="PGD")
    label = {"textcoords": "offset points", "fontsize": 9}
    for place, record in zip(places, records, strict=True):
        axis.annotate(f"{100 * record['accuracy']:.3g}", (place, 100 * record["accuracy"]), (6, 5), **label)
    for (name, record), marker in zip((beside or {}).items(), "so^", strict=False):
        place, value = counts.index(record["steps"]), 100 * record["accuracy"]
        axis.plot(place, value, marker=marker, markersize=8, label=f"{name}: {value:.3g}", **HOLLOW)
    axis.set_yscale("symlog", linthresh=1, linscale=0.6)
    ticks = [0, 0.5, 1, 3, 10, 30, 100]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    draw_guessing(axis)
    axis.set_xticks(places, [str(count) for count in counts])
    axis.set(xlabel="number of steps", ylabel="accuracy (%)", ylim=(-0.1, 130), title=title)
    axis.legend()
    return figure


def budgets_figure(curves: dict[str, list[dict]], title: str) -> Figure:
    """Draw accuracy against the budget, one line for each attacker, with the 95% interval shaded.

    Args:
        curves: by the attacker's title, records.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(7.6, 3.8))
    for (name, records), marker, color in zip(curves.items(), "^osD", PALETTE, strict=False):
        points = sorted(records, key=lambda r: r["eps"])
        draw_band(axis, [255 * r["eps"] for r in points], points, marker=marker, color=color, label=name)
    axis.xaxis.get_major_locator().set_params(integer=True)
    draw_guessing(axis)
    axis.set(xlabel="eps (grey levels of 255)", ylabel="accuracy (%)", ylim=(-3, 101), title=title)
    figure.legend(loc="outside right center")
    return figure


def training_curve(
    history: list[dict],
    series: dict[str, str],
    ylabel: str,
    title: str,
    log: bool = False,
    marks: dict[float, str] | None = None,
    level: tuple[float, str] | None = None,
) -> Figure:
    """Draw numbers of a training history against epochs.

    Args:
        series: by key of the history, the line's label.
        log: whether the vertical axis is logarithmic.
        marks: by epoch, what begins there: a dotted line with that text.
        level: a number to compare with and its name: a dotted line across.
        history: a record for each epoch.
        title: the title.
        ylabel: the label of the vertical axis.
    """
    figure, axis = plt.subplots(figsize=(7.6, 3.4))
    epochs = range(1, len(history) + 1)
    styles = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
    drawn = {key: label for key, label in series.items() if key in history[0]}
    marker = "." if len(epochs) < 8 else ""
    for (key, label), style in zip(drawn.items(), styles, strict=False):
        axis.plot(epochs, [h[key] for h in history], linestyle=style, label=label, marker=marker)
    axis.set(xlabel="epoch", ylabel=ylabel, title=title)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if log:
        axis.set_yscale("log")
    _draw_marks(axis, marks or {})
    if level:
        axis.axhline(level[0], color=GREY, linestyle=":", label=level[1])
    figure.legend(loc="outside right center")
    return figure


def _draw_marks(axis: Axes, marks: dict[float, str]) -> None:
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    rotation = 90 if len(marks) > 1 else 0  # several texts do not fit side by side
    for epoch, text in marks.items():
        axis.axvline(epoch, color=GREY, linestyle=":", linewidth=1)
        axis.annotate(text, (epoch, 0), (4, 4), fontsize=9, color=GREY, rotation=rotation, **place)


def ladder_figure(rungs: dict[str, dict[str, dict]], clean: dict[str, dict], title: str) -> Figure:
    """Draw accuracy under attackers who know more and more, from top to bottom, with 95% intervals.

    Args:
        rungs: by the stage's title and the rung's title, in order, records (threat_ladder.titled).
        clean: by the stage's title, the record of the clean images: a dashed line.
        title: the title.
    """
    names = list(next(iter(rungs.values())))
    figure, axis = plt.subplots(figsize=(7.6, 0.9 + 0.42 * len(names)))
    rows = np.arange(len(names))[::-1]
    shifts = np.linspace(0.14, -0.14, len(rungs)) if len(rungs) > 1 else [0.0]
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    for (stage, found), shift, marker, color in zip(rungs.items(), shifts, "os^D", PALETTE, strict=False):
        values, error = with_error([found[name] for name in names])
        axis.errorbar(values, rows + shift, xerr=error, fmt=marker, color=color, capsize=3, label=stage)
        look = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": color, "bbox": box}
        for value, end, row in zip(values, values + error[1], rows + shift, strict=True):
            axis.annotate(f"{value:.1f}", (end, row), (4, 0), **look)
        axis.axvline(100 * clean[stage]["accuracy"], color=color, linestyle="--", linewidth=1)
    axis.axvline(10, color=GREY, linestyle=":", linewidth=1)
    axis.text(10.6, rows[0] + 0.5, "guessing", va="center", fontsize=9, color=GREY)
    xlabel = "accuracy (%); dashed: no attack"
    axis.set(xlim=(-3, 103), ylim=(-0.6, len(names) - 0.2), xlabel=xlabel, title=title)
    axis.set_yticks(rows, names)
    if len(rungs) > 1:
        axis.legend()
    return figure
