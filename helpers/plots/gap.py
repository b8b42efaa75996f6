"""The gap between the course's numbers and the paper's, as a waterfall."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES
from .style import GREY, PALETTE

_UP, _DOWN, _TOTAL = PALETTE[0], PALETTE[1], PALETTE[7]


def waterfall_figure(cells: Sequence[list[dict]], title: str) -> Figure:
    """Draw how each cell gets from the course's number to the paper's, cause by cause.

    Grey bars are accuracies. A coloured bar is what one cause adds or takes, with its points and, as a thin
    line, its smallest and largest effect under other levels of the other causes. The hatched bar is what
    remains unexplained.

    Args:
        cells: the steps of each cell (studies.gap_explained.steps_of).
        title: of the figure.
    """
    rows = -(-len(cells) // 2)
    longest = max(len(steps) for steps in cells)
    figure, axes = plt.subplots(
        rows, min(2, len(cells)), figsize=(9, 0.5 + rows * (0.9 + 0.32 * (longest + 1))), squeeze=False
    )
    for axis, steps in zip(axes.flat, cells, strict=False):
        _draw(axis, steps)
    for axis in axes.flat[len(cells) :]:
        axis.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def _draw(axis: Axes, steps: list[dict]) -> None:
    """Draw one cell, from top to bottom."""
    first, *causes = steps
    labels, before = [], first["accuracy"]
    for y, step in enumerate(steps):
        if step is first:
            axis.barh(y, before, color=_TOTAL)
            _write(axis, y, before, f"{before:.1f}")
        else:
            points = step["points"]
            look = {"color": _UP if points >= 0 else _DOWN}
            if step["cause"] == "paper":
                look = {"color": "white", "edgecolor": GREY, "hatch": "////", "linewidth": 0.8}
            axis.barh(y, points, left=before, **look)
            reach = [before, before + points]
            if "least" in step and step["most"] > step["least"]:
                line = [before + step["least"], before + step["most"]]
                axis.plot(line, [y + 0.28] * 2, color="black", linewidth=1.2)
                reach += line
            _write(axis, y, max(reach), f"{points:+.1f}")
            before += points
        labels.append("not explained" if step["cause"] == "paper" else _wrapped(step["title"]))
    if causes and causes[-1]["cause"] == "paper":
        axis.barh(len(steps), before, color=_TOTAL)
        _write(axis, len(steps), before, f"{before:.1f}")
        labels.append("the paper")
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    axis.set(xlim=(min(0.0, axis.get_xlim()[0]), 100), ylim=(len(labels) - 0.4, -0.6))
    axis.set_xlabel("accuracy (%)")
    axis.set_title(f"{INPUT_TITLES[first['input']]}, {DEFENSE_TITLES[first['defense']]}", fontsize=11)
    axis.grid(False, axis="y")


def _write(axis: Axes, y: float, x: float, text: str) -> None:
    axis.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=9)


def _wrapped(title: str) -> str:
    """Break a title before its bracket."""
    return title.replace(" (", "\n(")
