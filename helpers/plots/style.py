"""The style that all figures share, and how a notebook shows them.

One palette, which colour-blind readers can tell apart; one style sheet (course.mplstyle), loaded with this
module.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.titles import SYSTEMS, title_of

plt.style.use(Path(__file__).with_name("course.mplstyle"))
PALETTE = sns.color_palette("colorblind")
COLORS = {"regular": PALETTE[0], "fgsm": PALETTE[1], "pgd": PALETTE[3], "noise": PALETTE[7]}
MARKERS = {"regular": "o", "fgsm": "s", "pgd": "D", "noise": "^"}
GREY = "#666666"
"""Baselines, and the text beside them."""

HOLLOW = {"mfc": "white", "mec": "#555555", "linestyle": ""}
"""The look of published numbers: markers without a fill."""


def show(figure: Figure, alt: str, name: str, mark: str = "") -> None:
    """Display a figure in a notebook, with alternative text.

    Args:
        figure: closed afterwards.
        alt: what the figure shows, in one or two sentences.
        name: the file name that the report gives it.
        mark: a note on the run (pipeline.Run.label), printed below the figure, or above it.
    """
    from IPython.display import display

    data = base64.b64encode(png(figure, mark)).decode()
    metadata = {"image/png": {"alt": alt, "name": name}}
    display({"image/png": data, "text/plain": alt}, metadata=metadata, raw=True)


def png(figure: Figure, mark: str = "") -> bytes:
    """Render a figure as PNG and close it.

    The file names neither a time nor a library, so the same figure always gives the same bytes.

    Args:
        mark: see show.
        figure: the figure.
    """
    if mark:
        size = max(9, figure.get_figwidth())  # points; the report shrinks wide figures
        # Above the figure where a legend (an "outside lower" one) is below it.
        above = any(getattr(legend, "_outside_loc", None) == "lower" for legend in figure.legends)
        y, va = (1.01, "bottom") if above else (-0.01, "top")
        figure.text(0.995, y, mark, ha="right", va=va, fontsize=size, color=GREY)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def say(text: str) -> None:
    """Display Markdown whose numbers come from variables; nothing if there is no text."""
    from IPython.display import Markdown, display

    if text:
        display(Markdown(text))


# ----------------------------------------------------------------------------------- parts of several figures


def with_error(records: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Return accuracies and the sizes of their error bars, in the form that ``errorbar`` takes.

    Returns:
        Accuracies [n] in percent, and how far each interval reaches down and up [2, n].
    """
    values, low, high = (
        np.array([100 * r[name] for r in records]) for name in ("accuracy", "ci_low", "ci_high")
    )
    return values, np.maximum(0, [values - low, high - values])


def draw_band(axis: Axes, x: Sequence[float], records: Sequence[dict], alpha: float = 0.2, **look) -> None:
    """Draw accuracies against ``x`` as a line, with the 95% intervals shaded."""
    values, (below, above) = with_error(records)
    (line,) = axis.plot(x, values, **look)
    axis.fill_between(x, values - below, values + above, color=line.get_color(), alpha=alpha, linewidth=0)


def draw_guessing(axis: Axes) -> None:
    """Draw the accuracy of guessing one class in ten, labelled outside the axes, where no point lies."""
    axis.axhline(10, color=GREY, linestyle=":", linewidth=1)
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axis.annotate("guessing", (1, 10), (4, 0), va="center", fontsize=9, color=GREY, **place)


def draw_arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a grey arrow between two points of the data."""
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#888888", "lw": 1.5})


def systems_axis(axis: Axes, title: str) -> dict[tuple[str, str], int]:
    """Prepare an axis with one row for each column of the paper's tables.

    Returns:
        The row of each system (stage, defense), from top to bottom.
    """
    rows = dict(zip(SYSTEMS, range(len(SYSTEMS))[::-1], strict=True))
    axis.set(xlim=(-3, 103), ylim=(-0.6, len(rows) - 0.5), xlabel="accuracy (%)", title=title)
    axis.set_yticks(list(rows.values()), [title_of(system) for system in rows])
    return rows


def finish(figure: Figure, title: str, ncols: int | None = None, axis: Axes | None = None) -> Figure:
    """Set the title of a figure of several axes, and its legend.

    Args:
        ncols: columns of a legend below the axes; one at their right if None.
        axis: the axes whose labels the legend lists; all axes if None.
        figure: the figure.
        title: the title.
    """
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    labels = axis.get_legend_handles_labels() if axis else ()
    if ncols:
        figure.legend(*labels, loc="outside lower center", ncols=ncols)
    else:
        figure.legend(*labels, loc="outside right center", fontsize=9)
    return figure
