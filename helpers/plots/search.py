"""The results of the search for an autoencoder: size, error, codebook."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from .style import GREY, PALETTE, draw_guessing, with_error

_COLORS = (PALETTE[0], PALETTE[1], PALETTE[3])
_SYMBOL = "#555555"
"""The colour of markers in a legend that explain a shape and not a line."""


def latent_figure(
    points: dict[str, tuple[int, int]],
    series: dict[str, dict[str, dict]],
    marked: str,
    title: str,
    others: Sequence[str] = (),
    bare: dict[str, dict] | None = None,
) -> Figure:
    """Draw accuracy behind each autoencoder against its latent size.

    Args:
        points: by the autoencoder's title, latent size and depth. Each depth has its own marker. Autoencoders
            of the same size are drawn side by side.
        series: by the line's name and the autoencoder's title, a record: one colour each, with the 95%
            interval.
        marked: the title of the autoencoder that the others are compared with: ringed.
        others: titles of autoencoders of another family; each has its own marker.
        bare: by the line's name, the record without an autoencoder: a dashed line each.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(8.6, 4.8))
    depths = dict(zip(sorted({points[t][1] for t in points if t not in others}), "^osDv", strict=False))
    own = dict(zip(others, cycle("P*X"), strict=False))
    places = _side_by_side(points)
    for (name, records), color in zip(series.items(), _COLORS, strict=False):
        for autoencoder, record in records.items():
            value, error = with_error([record])
            known = autoencoder in own
            marker = own[autoencoder] if known else depths[points[autoencoder][1]]
            look = {"fmt": marker, "color": color, "capsize": 2, "markersize": 9 if known else 6}
            axis.errorbar(places[autoencoder], value, yerr=error, **look)
            if autoencoder == marked:
                ring = {"markersize": 15, "mfc": "none", "mec": _SYMBOL, "clip_on": False}
                axis.plot(places[autoencoder], value, "o", **ring)
        axis.plot([], [], color=color, linewidth=5, label=name)
        if bare and name in bare:
            axis.axhline(100 * bare[name]["accuracy"], color=color, linestyle="--", linewidth=1, zorder=1)
    _explain_markers(axis, depths, own, marked, bool(bare))
    draw_guessing(axis)
    sizes = sorted({size for size, _ in points.values()})
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, ha="right", fontsize=9)
    axis.minorticks_off()
    axis.set_xlabel("latent size (an image has 3,072 values);\nequal sizes are drawn side by side")
    axis.set(ylim=(-4, 104), yticks=range(0, 101, 20), ylabel="accuracy on test images (%)", title=title)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def _side_by_side(points: dict[str, tuple[int, int]]) -> dict[str, float]:
    """Return where to draw each autoencoder: at its size, or beside it where several have the same size."""
    places = {}
    for size in {size for size, _ in points.values()}:
        ties = sorted((t for t in points if points[t][0] == size), key=lambda t: (points[t][1], t))
        for k, title in enumerate(ties):
            places[title] = size * 1.1 ** (k - (len(ties) - 1) / 2)
    return places


def _explain_markers(
    axis: Axes, depths: dict[int, str], own: dict[str, str], marked: str, bare: bool
) -> None:
    """Add what each marker means to the legend."""
    for depth, marker in depths.items():
        axis.plot([], [], marker, color=_SYMBOL, label=f"{depth} strided layer{'s' * (depth != 1)}")
    for autoencoder, marker in own.items():
        axis.plot([], [], marker, color=_SYMBOL, markersize=9, label=autoencoder)
    axis.plot([], [], "o", markersize=11, mfc="none", mec=_SYMBOL, label=marked)
    if bare:
        axis.plot([], [], color=_SYMBOL, linestyle="--", linewidth=1, label="no autoencoder")


def error_figure(
    errors: dict[str, float],
    series: dict[str, dict[str, dict]],
    unchanged: float,
    title: str,
    named: dict[str, str] | None = None,
) -> Figure:
    """Draw accuracy on test images behind each autoencoder against the error that it leaves.

    Args:
        errors: by autoencoder, the mean squared error between its reconstructions of attacked validation
            images and the originals (comparison.attacked_error).
        series: by the line's name and the autoencoder, a record: one colour and marker each, with the 95%
            interval.
        unchanged: the error of the attacked images themselves: a dashed line.
        named: by autoencoder, a text above its points, joined to them by a thin line.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(8.6, 4.6))
    for (name, records), color, marker in zip(series.items(), _COLORS, "osD", strict=False):
        value, error = with_error(list(records.values()))
        x = [errors[autoencoder] for autoencoder in records]
        axis.errorbar(x, value, yerr=error, fmt=marker, color=color, capsize=2, markersize=6, label=name)
    axis.axvline(unchanged, color=_SYMBOL, linestyle="--", linewidth=1, label="the attacked image itself")
    # From right to left, so that no line crosses a text.
    for row, autoencoder in enumerate(sorted(named or {}, key=errors.get, reverse=True)):
        x, y = errors[autoencoder], 108 + 8 * row
        axis.plot([x, x], [0, y], color="#999999", linewidth=0.8, zorder=0)
        axis.annotate(named[autoencoder], (x, y), (3, 0), textcoords="offset points", va="center", fontsize=9)
    draw_guessing(axis)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("mean squared error on attacked validation images (FGSM and PGD);\nsmaller is better")
    axis.set(ylabel="accuracy on test images (%)", ylim=(-4, 104 + 8 * len(named or {})))
    axis.set(yticks=range(0, 101, 20), title=title)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def codes_figure(counts: np.ndarray, title: str, images: str) -> Figure:
    """Draw how often each code of a codebook is used, in percent, from the most used to the least.

    Args:
        counts: [codes].
        images: which images were encoded, in words.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(7.6, 2.8))
    shares = 100 * np.sort(counts)[::-1] / counts.sum()
    axis.fill_between(np.arange(1, len(shares) + 1), shares, step="mid", color=PALETTE[0], linewidth=0)
    label = "if all were used equally"
    axis.axhline(100 / len(shares), color=GREY, linestyle=":", linewidth=1, label=label)
    axis.set(xlim=(0.5, len(shares) + 0.5), xlabel=f"code, from the most used to the least; {images}")
    axis.set(ylabel="share (%)", title=title)
    axis.set_ylim(bottom=0)
    axis.legend()
    return figure
