"""The results of the search for an autoencoder: latent size, error, attackers, codebook."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from .style import GREY, PALETTE, draw_guessing, with_error

_COLORS = (PALETTE[0], PALETTE[1], PALETTE[3])
_SYMBOL = "#555555"
"""The colour of markers in a legend that explain a shape and not a line."""


def hump_figure(
    sizes: Sequence[int],
    lines: dict[str, list[dict]],
    title: str,
    *,
    curve: np.ndarray | None = None,
    bare: dict[str, dict] | None = None,
    further: dict[str, list[np.ndarray]] | None = None,
    marked: int | None = None,
) -> Figure:
    """Draw accuracy behind autoencoders that differ in their latent size alone.

    Args:
        sizes: the latent sizes, smallest first; each number is a float of 32 bits.
        lines: by the line's name, a record for each size: a colour and a marker each, with the 95% interval.
        title: the title.
        curve: coefficients of a parabola in log2 of the size, for accuracy in [0, 1] (latent_size.Hump).
        bare: by the line's name, the record without an autoencoder: a dashed line each.
        further: by the line's name, accuracies in [0, 1] of further training seeds, [sizes] each: small dots.
        marked: the index of a size to ring on the last line.
    """
    figure, axis = plt.subplots(figsize=(8.6, 4.4))
    for (name, records), color, marker in zip(lines.items(), _COLORS, "osD", strict=False):
        values, error = with_error(records)
        look = {"fmt": marker, "color": color, "capsize": 3, "markersize": 6}
        axis.errorbar(sizes, values, yerr=error, label=name, **look)
        for other in (further or {}).get(name, ()):
            axis.plot(sizes, 100 * other, marker, color=color, markersize=3, alpha=0.6)
        if bare and name in bare:
            level = 100 * bare[name]["accuracy"]
            axis.axhline(level, color=color, linestyle="--", linewidth=1, zorder=1)
            text, place = f"{name}, no autoencoder", {"xytext": (0, 3), "textcoords": "offset points"}
            axis.annotate(text, (sizes[0], level), fontsize=9, color=GREY, **place)
    if curve is not None:
        x = np.geomspace(sizes[0], sizes[-1], 200)
        axis.plot(x, 100 * np.polyval(curve, np.log2(x)), color=GREY, linewidth=1.5, label="fitted parabola")
    if marked is not None:
        ring = {"markersize": 15, "mfc": "none", "mec": _SYMBOL, "clip_on": False}
        axis.plot(sizes[marked], values[marked], "o", label="highest on validation images", **ring)
    draw_guessing(axis)
    _size_axis(axis, sizes)
    axis.set(ylim=(-4, 104), yticks=range(0, 101, 20), ylabel="accuracy (%)", title=title)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def _size_axis(axis: Axes, sizes: Sequence[int]) -> None:
    """Label a logarithmic axis of latent sizes, in numbers and in bits."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(sizes), [f"{size:,}\n{32 * size:,}" for size in sizes], fontsize=9)
    axis.minorticks_off()
    axis.set_xlabel("latent size: numbers (above) and bits (below);\nan image has 3,072 numbers, 24,576 bits")


def passing_figure(
    sizes: Sequence[int],
    errors: Sequence[float],
    shares: dict[str, list[tuple[float, float, float]]],
    title: str,
) -> Figure:
    """Draw what autoencoders of growing latent size lose of an image, and let through of a perturbation.

    Args:
        sizes: the latent sizes, smallest first.
        errors: the mean squared error on clean images, [sizes].
        shares: by the perturbation's name, the share of its norm that comes through, with its interval, for
            each size.
        title: the title.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.0))
    left.plot(sizes, errors, "o-", color=PALETTE[0])
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    left.set_ylabel("mean squared error on clean images")
    left.set_title("What is lost of the image", fontsize=11)
    colors = (PALETTE[3], PALETTE[7])
    for (name, found), color, marker in zip(shares.items(), colors, "D^", strict=False):
        values, low, high = (100 * np.array(column) for column in zip(*found, strict=True))
        right.plot(sizes, values, f"{marker}-", color=color, label=name)
        right.fill_between(sizes, low, high, color=color, alpha=0.25, linewidth=0)
    right.set(ylim=(0, None), ylabel="share of its norm (%)")
    right.set_title("What comes through of a perturbation", fontsize=11)
    right.legend()
    for axis in (left, right):
        _size_axis(axis, sizes)
        axis.set_xticks(list(sizes), [f"{size:,}" for size in sizes], fontsize=9)
        axis.set_xlabel("latent size (numbers)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def pareto_figure(
    points: dict[str, tuple[int, float]], front: Sequence[str], kinds: dict[str, str], title: str
) -> Figure:
    """Draw accuracy against latent size in bits, and the Pareto front as a staircase.

    Args:
        points: by the autoencoder's title, its latent size in bits and its accuracy in [0, 1].
        front: the titles on the Pareto front: filled markers, with their names. The others are hollow.
        kinds: by title, the kind of autoencoder: a marker and a colour each.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(8.6, 4.6))
    looks = dict(zip(dict.fromkeys(kinds.values()), zip("oP*Xs", PALETTE, strict=False), strict=False))
    for name in sorted(points, key=lambda name: name in front):  # the front's points lie on top
        bits, accuracy = points[name]
        marker, color = looks[kinds[name]]
        fill = color if name in front else "none"
        axis.plot(bits, 100 * accuracy, marker, color=color, mfc=fill, markersize=9)
    for kind, (marker, color) in looks.items():
        axis.plot([], [], marker, color=color, markersize=8, label=kind)
    ends = sorted(points[name] for name in front)
    stairs = [*(bits for bits, _ in ends), 2 * max(bits for bits, _ in points.values())]
    axis.step(stairs, [*(100 * a for _, a in ends), 100 * ends[-1][1]], where="post", color=GREY, zorder=1)
    axis.plot([], [], color=GREY, label="Pareto front (filled)")
    middle = np.sqrt(min(bits for bits, _ in points.values()) * stairs[-1])
    for name in front:
        bits, accuracy = points[name]
        side, shift = ("left", -4) if bits < middle else ("right", 4)
        place = {"textcoords": "offset points", "ha": side, "fontsize": 9}
        axis.annotate(name, (bits, 100 * accuracy), (shift, 8), **place)
    axis.set_xscale("log", base=2)
    sizes = [2**k for k in range(int(np.log2(min(stairs))), int(np.log2(max(stairs))) + 1)]
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30, ha="right", fontsize=9)
    axis.minorticks_off()
    axis.set(xlabel="latent size (bits; an image has 24,576)", ylabel="mean of three accuracies (%)")
    axis.set(ylim=(0, 104), title=title)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def attackers_figure(rows: dict[str, dict[str, dict]], title: str) -> Figure:
    """Draw, for each autoencoder, its accuracy for attackers who know more and more.

    Args:
        rows: by the autoencoder's title and the attacker's, a record: a marker and a colour each attacker.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(8.6, 0.9 + 0.3 * len(rows)))
    for number, records in enumerate(rows.values()):
        y = len(rows) - number
        ends = [100 * r["accuracy"] for r in records.values()]
        axis.plot([min(ends), max(ends)], [y, y], color="#cccccc", linewidth=1, zorder=0)
        for (attacker, record), color, marker in zip(records.items(), _COLORS, "osD", strict=False):
            value, error = with_error([record])
            look = {"fmt": marker, "color": color, "label": None if number else attacker}
            axis.errorbar(value, [y], xerr=error, **look)
    axis.set_yticks(range(len(rows), 0, -1), list(rows), fontsize=9)
    axis.axvline(10, color=GREY, linestyle=":", linewidth=1, label="guessing")
    axis.set(xlim=(-2, 102), ylim=(0.4, len(rows) + 0.6))
    axis.set(xlabel="accuracy on test images (%)", title=title)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


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
