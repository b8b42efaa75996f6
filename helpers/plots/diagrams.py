"""Concept pictures, drawn from what was computed: decision regions, the loss around an image, a pipeline.

Every colour is backed by a marker, a line style or a word, and the paper is white, so that a picture says the
same on a dark page, in print and without colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from .attacks import gallery, magnified
from .style import COLORS, GREY, MARKERS, PALETTE, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..studies.first_look import Strip
    from ..studies.gradient_flow import Flow
    from ..studies.loss_landscape import Lines, Surface
    from ..studies.toy_regions import Regions

_KIND = {"FGSM": "fgsm", "PGD": "pgd"}
_OUTLINE = {"mec": "black", "mew": 0.8}
_BOX = {"fill": False, "linestyle": "--", "linewidth": 1.5, "edgecolor": "black"}


def strip_figure(strip: Strip, levels: Sequence[int], title: str) -> Figure:
    """Draw one photograph after steps of growing size, what each step changes, and the answers.

    Args:
        strip: what was computed (studies.first_look.strip).
        levels: the sizes to draw, in grey levels of 255.
        title: the title.
    """
    drawn = np.searchsorted(strip.levels, levels)
    changes = strip.images[drawn] - strip.images[0]
    rows = {
        "the photograph": strip.images[drawn],
        "the change,\nmagnified": np.stack([magnified(c, max(1e-9, np.abs(c).max())) for c in changes]),
    }
    said = ["\n".join((f"step {strip.levels[k]}/255", *strip.said[k].rsplit(" ", 1))) for k in drawn]
    wrong = [strip.answers[k] != strip.label for k in drawn]
    figure = gallery(rows, {"the photograph": said}, {"the photograph": wrong}, size=1.35)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def regions_figure(regions: Regions, title: str) -> Figure:
    """Draw the decision regions of a classifier of two values, and two attacks on one point.

    Args:
        regions: what was computed (studies.toy_regions.regions).
        title: the title.
    """
    figure, (whole, close) = plt.subplots(1, 2, figsize=(9, 4.6))
    for axis in (whole, close):
        _draw_regions(axis, regions)
        axis.add_patch(Rectangle(regions.point - regions.eps, 2 * regions.eps, 2 * regions.eps, **_BOX))
        axis.set(xlabel="first value", ylabel="second value", aspect="equal")
        axis.grid(False)
    for label, marker in enumerate("o^"):
        points = regions.points[regions.labels == label]
        look = {"linestyle": "", "markersize": 3.5, "color": PALETTE[(0, 1)[label]], "alpha": 0.8}
        whole.plot(*points.T, marker=marker, label=f"class {label}", **look)
    whole.plot(*regions.point, "*", color="black", markersize=12)
    whole.set(xlim=(0, 1), ylim=(0, 1))
    whole.set_title("The classifier, and a point in its box", fontsize=11)
    whole.legend(loc="lower left", frameon=True, framealpha=0.9)
    margin = 1.7 * regions.eps
    for limits, middle in zip((close.set_xlim, close.set_ylim), regions.point, strict=True):
        limits(middle - margin, middle + margin)
    _draw_attacks(close, regions)
    for label, (x, y) in enumerate(((0.5, 0.03), (0.97, 0.92))):
        name = f"class {label if regions.label else 1 - label}"
        close.text(x, y, name, transform=close.transAxes, ha="right", fontweight="bold")
    close.set_title("The box from near", fontsize=11)
    return finish(figure, title, ncols=2, axis=close)


def _draw_regions(axis: Axes, regions: Regions) -> None:
    """Colour both sides of the decision boundary, and draw the boundary."""
    grid = regions.axis, regions.axis, regions.probability
    light = [(*PALETTE[k], 0.16) for k in (0, 1)]
    axis.contourf(*grid, levels=[-0.01, 0.5, 1.01], colors=light)
    axis.contour(*grid, levels=[0.5], colors=["black"], linewidths=1.5)


def _draw_attacks(axis: Axes, regions: Regions) -> None:
    """Draw the gradient and the ways of the attacks, each with the loss at its end."""
    point, length = regions.point, 0.8 * regions.eps
    tip = point + length * regions.gradient / np.linalg.norm(regions.gradient)
    axis.annotate("", tip, point, arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 1.5, "ls": ":"})
    axis.plot([], [], ":", color=GREY, label="the gradient's direction")
    for (name, path), style in zip(regions.paths.items(), ("--", "-"), strict=True):
        kind = _KIND[name]
        color, marker = COLORS[kind], MARKERS[kind]
        points = path.images.reshape(len(path.images), 2)
        label = f"{name}: loss {path.losses[-1]:.2f} at its end"
        axis.plot(*points.T, style, marker=marker, color=color, markersize=6, label=label, **_OUTLINE)
    loss = next(iter(regions.paths.values())).losses[0]
    axis.plot(*point, "*", color="black", markersize=14, label=f"the point: loss {loss:.2f}", linestyle="")


def surface_figure(surface: Surface, title: str) -> Figure:
    """Draw the loss over a plane through an image, the box's cut and the attacks' shadows.

    Args:
        surface: what was computed (studies.loss_landscape.surface).
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(7.0, 5.6))
    levels = 255 * surface.levels
    drawn = axis.contourf(levels, levels, surface.losses, levels=12, cmap="viridis")
    lines = axis.contour(levels, levels, surface.losses, levels=drawn.levels[::3], colors="white")
    axis.clabel(lines, fmt="%.3g", fontsize=9)
    figure.colorbar(drawn, ax=axis, label="loss (cross-entropy)")
    budget = 255 * surface.eps
    axis.contour(levels, levels, 255 * surface.reach, levels=[budget], colors="white", linestyles="--")
    axis.plot([], [], "--", color=GREY, label=f"the $L_\\infty$ box of {budget:.3g}/255")
    for (name, shadow), style in zip(surface.shadows.items(), ("--", "-"), strict=False):
        kind, loss = _KIND[name], surface.paths[name].losses[-1]
        look = {"color": COLORS[kind], "marker": MARKERS[kind], "markersize": 6, **_OUTLINE}
        axis.plot(*(255 * shadow.T), style, label=f"{name}, projected; loss {loss:.1f} at its end", **look)
    start = next(iter(surface.paths.values())).losses[0]
    axis.plot(0, 0, "*", color="white", markersize=14, label=f"the image: loss {start:.2g}", **_OUTLINE)
    axis.set(
        xlabel="along the gradient's sign (grey levels of 255)",
        ylabel=f"along {surface.across} (grey levels of 255)",
        aspect="equal",
    )
    axis.grid(False)
    return finish(figure, title, ncols=2, axis=axis)


def lines_figure(lines: Lines, title: str) -> Figure:
    """Draw the loss along the gradient's sign and along random signs.

    Args:
        lines: what was computed (studies.loss_landscape.lines).
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(7.6, 3.8))
    levels = 255 * lines.levels
    axis.plot(levels, lines.gradient, color=COLORS["fgsm"], label="the gradient's sign")
    for k, losses in enumerate(lines.random):
        label = f"random signs ({len(lines.random)} draws)" if k == 0 else None
        axis.plot(levels, losses, "--", color=COLORS["noise"], linewidth=1, label=label)
    axis.axvline(255 * lines.eps, color=GREY, linestyle=":", linewidth=1)
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axis.annotate("eps", (255 * lines.eps, 1), (4, -10), fontsize=10, color=GREY, **place)
    ends = {"the gradient's sign": lines.gradient, "random signs": lines.random.mean(0)}
    for losses, marker in zip(ends.values(), (MARKERS["fgsm"], MARKERS["noise"]), strict=True):
        value = losses[lines.at_eps]
        axis.plot(255 * lines.eps, value, marker, color="black", markersize=5)
        axis.annotate(f"{value:.2f}", (255 * lines.eps, value), (6, 6), textcoords="offset points")
    axis.set(xlabel="every value moved by (grey levels of 255)", ylabel="loss (cross-entropy)", title=title)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


_COLUMNS = {"image": 0.075, "autoencoder": 0.28, "reconstructed": 0.475, "classifier": 0.68, "logits": 0.9}
"""The middles of the pipeline's parts, in widths of the figure."""
_ROWS = {"adaptive": 0.45, "grey_box": 0.26, "static": 0.07}
_FORWARD = 0.78
_REACHES = {"adaptive": "image", "grey_box": "reconstructed", "static": "reconstructed"}
_KNOWS = {
    "adaptive": "End-to-end: through classifier and autoencoder, to the image",
    "grey_box": "Grey-box: through this classifier, to its input; the autoencoder is not in it",
    "static": "Oblivious: through another classifier, to its input; nothing of the defense is in it",
}
_STYLES = {"adaptive": "-", "grey_box": "--", "static": ":"}


def pipeline_figure(flow: Flow, title: str) -> Figure:
    """Draw a defense from image to logits, and how far back each attacker's gradient flows.

    Args:
        flow: what was computed (studies.gradient_flow.flow).
        title: the title.
    """
    figure = plt.figure(figsize=(9, 5.4), layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_axis_off()
    figure.text(0.01, 0.965, title, fontsize=12)
    _draw_forward(figure, axis, flow)
    note = "Squares below: the gradient's sign for each value, where the attacker's gradient ends."
    axis.text(0.01, 0.565, note, fontsize=9, color=GREY)
    for key, gradient in flow.gradients.items():
        _draw_backward(figure, axis, key, gradient)
    return figure


def _draw_forward(figure: Figure, axis: Axes, flow: Flow) -> None:
    """Draw the image's way to the logits."""
    answer = int(np.argmax(flow.logits))
    notes = {"image": flow.classes[flow.label], "reconstructed": "what the classifier sees"}
    for name, image in (("image", flow.image), ("reconstructed", flow.reconstructed)):
        _draw_image(figure, image, _COLUMNS[name], _FORWARD, 0.11)
        axis.text(_COLUMNS[name], _FORWARD - 0.135, notes[name], ha="center", va="top", fontsize=10)
    for name in ("autoencoder", "classifier"):
        _draw_part(axis, name, _COLUMNS[name], _FORWARD, "white")
    bars = figure.add_axes((_COLUMNS["logits"] - 0.06, _FORWARD - 0.1, 0.13, 0.2))
    heights = flow.logits - flow.logits.min()
    drawn = bars.barh(range(len(heights)), heights, color="#bbbbbb")
    drawn[answer].set(facecolor=PALETTE[0], hatch="//", edgecolor="black")
    bars.set_axis_off()
    bars.invert_yaxis()
    axis.text(_COLUMNS["logits"], _FORWARD - 0.135, f"logits: {flow.classes[answer]}", ha="center", va="top")
    edges = [(0.14, 0.205), (0.355, 0.41), (0.54, 0.605), (0.755, 0.83)]
    for start, end in edges:
        _draw_arrow(axis, start, end, _FORWARD, "black", "-")


def _draw_backward(figure: Figure, axis: Axes, key: str, gradient: np.ndarray) -> None:
    """Draw how far back one attacker's gradient flows, and what it is there."""
    y, end = _ROWS[key], _COLUMNS[_REACHES[key]]
    color, style = PALETTE[list(_ROWS).index(key) + 1], _STYLES[key]
    axis.text(0.99, y + 0.09, _KNOWS[key], ha="right", va="center", fontsize=10)
    axis.text(_COLUMNS["logits"], y, "loss", ha="center", va="center", fontsize=10)
    _draw_arrow(axis, _COLUMNS["logits"] - 0.03, end + 0.05, y, color, style)
    passed = ["classifier", "autoencoder"] if key == "adaptive" else ["classifier"]
    for name in passed:
        title = "another classifier" if key == "static" else name
        _draw_part(axis, title, _COLUMNS[name], y, "#eeeeee" if key == "static" else "white", 0.085)
    _draw_image(figure, magnified(np.sign(gradient), 1.0), end, y, 0.066)
    if end > _COLUMNS["image"]:
        axis.plot([end - 0.065] * 2, [y - 0.055, y + 0.055], "-", color="black", linewidth=3)
        _draw_arrow(axis, end - 0.085, _COLUMNS["image"] + 0.06, y, GREY, "--", 1.0)
        middle = (end + _COLUMNS["image"]) / 2
        axis.text(middle, y + 0.018, "put on the image as it is", ha="center", fontsize=9, color=GREY)


def _draw_image(figure: Figure, image: np.ndarray, x: float, y: float, half: float) -> None:
    """Draw an image around a point; ``half`` is half its height in heights of the figure."""
    width = half * figure.get_figheight() / figure.get_figwidth()
    axis = figure.add_axes((x - width, y - half, 2 * width, 2 * half))
    axis.imshow(image, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(True)


def _draw_part(axis: Axes, title: str, x: float, y: float, color: str, height: float = 0.14) -> None:
    """Draw a network as a box with its name."""
    box = FancyBboxPatch((x - 0.07, y - height / 2), 0.14, height, boxstyle="round,pad=0.005", zorder=3)
    box.set(facecolor=color, edgecolor="black", linewidth=1.2)
    axis.add_patch(box)
    axis.text(x, y, title.replace(" ", "\n"), ha="center", va="center", fontsize=10, zorder=4)


def _draw_arrow(
    axis: Axes, start: float, end: float, y: float, color: object, style: str, width: float = 2.0
) -> None:
    """Draw a level arrow."""
    look = {"arrowstyle": "-|>", "color": color, "lw": width, "ls": style, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (end, y), (start, y), arrowprops=look)
