"""The results of a sweep, and its cost."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..classifiers.registry import MODELS
from .style import GREY, PALETTE, finish


def heat_maps(grids: dict[str, pd.DataFrame], title: str) -> Figure:
    """Draw accuracy against budget and steps, one map for each title, all on one scale.

    Args:
        grids: by title, percent with eps in the index and steps in the columns (seeds.grid_of).
        title: the title.
    """
    size = 1.6 + 3.1 * len(grids), 3.3
    figure, axes = plt.subplots(1, len(grids), figsize=size, sharey=True, squeeze=False)
    for axis, (name, frame) in zip(axes[0], grids.items(), strict=True):
        last = axis is axes[0][-1]
        bar = {"label": "accuracy (%), mean of the seeds"} if last else None
        scale = {"cmap": "viridis", "vmin": 0, "vmax": 100, "cbar": last, "cbar_kws": bar}
        sns.heatmap(frame, ax=axis, annot=True, fmt=".0f", linewidths=0.5, **scale)
        axis.set(xlabel="PGD's steps", ylabel="eps (grey levels of 255)" if axis is axes[0][0] else "")
        axis.set_title(name, fontsize=10)
        axis.set_yticks(np.arange(len(frame)) + 0.5, [f"{eps:g}" for eps in frame.index], rotation=0)
        axis.grid(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


MARKERS = "os^Dv<>"
"""A marker for each seed; they begin again when they run out."""

COST_TITLES = {
    "attack": "attack on the classifier",
    "attack through ae": "end-to-end attack",
    "assess": "assessing",
    "autoencoder": "training the autoencoder",
    "reconstruct": "reconstructing",
    "fine-tune": "fine-tuning",
}
"""The reader's words for the steps of a job (sweeps.cost.Step)."""


def spread_figure(cells: list[dict], title: str) -> Figure:
    """Draw what each seed gives on the interval that the number of test images leaves, a row for each cell.

    Args:
        cells: what seeds.against_images returns.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(8.2, 1.4 + 0.27 * len(cells)))
    rows = np.arange(len(cells))[::-1]
    low, high = (np.array([cell[name] for cell in cells]) for name in ("low", "high"))
    axis.barh(rows, high - low, left=low, height=0.62, color="#dddddd", label="95% interval of the images")
    known = sorted({seed for cell in cells for seed in cell["by_seed"]})
    for number, (seed, marker) in enumerate(zip(known, MARKERS * len(known), strict=False)):
        values = [cell["by_seed"].get(seed, np.nan) for cell in cells]
        look = {"color": PALETTE[number % len(PALETTE)], "markersize": 6, "linestyle": "", "alpha": 0.85}
        axis.plot(values, rows, marker, label=f"seed {seed}", **look)
    wide = low.min() - 1, high.max() + 1
    axis.set(xlabel="accuracy (%)", ylabel="eps, PGD's steps", xlim=wide, ylim=(-0.7, len(cells) - 0.3))
    axis.set_yticks(rows, [f"{255 * cell['eps']:.3g}/255, {cell['steps']}" for cell in cells])
    return finish(figure, title, ncols=len(known) + 1)


def seeds_figure(differences: dict[str, list[dict]], title: str) -> Figure:
    """Draw by how many points each claim holds: a marker for each seed, budget and number of steps.

    Args:
        differences: by claim, the result of seeds.check.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(8.2, 1.1 + 0.75 * len(differences)))
    rows = np.arange(len(differences))[::-1]
    known = sorted({r["seed"] for found in differences.values() for r in found})
    shifts = dict(zip(known, np.linspace(0.24, -0.24, len(known)) if len(known) > 1 else [0.0], strict=True))
    for number, (seed, marker) in enumerate(zip(known, MARKERS * len(known), strict=False)):
        look = {"color": PALETTE[number % len(PALETTE)], "alpha": 0.7, "markersize": 5}
        for y, found in zip(rows, differences.values(), strict=True):
            points = [r["points"] for r in found if r["seed"] == seed]
            label = f"seed {seed}" if y == rows[0] else None
            axis.plot(points, np.full(len(points), y + shifts[seed]), marker, label=label, **look)
    axis.axvline(0, color=GREY, linestyle=":", linewidth=1)
    axis.set_xlabel("points of accuracy by which it holds; left of 0 it does not")
    axis.set(ylim=(-0.6, len(rows) - 0.4), title=title)
    axis.set_yticks(rows, [textwrap.fill(name, 34) for name in differences])
    figure.legend(loc="outside right center")
    return figure


def cost_figure(
    steps: list[dict],
    title: str,
    fit: Callable[[Sequence[float], Sequence[float]], Callable[[float], float]],
) -> Figure:
    """Draw the measured time and memory of each step against its work, with fitted lines.

    Steps are told apart by colour and marker, networks by line style.

    Args:
        steps: of figures/cost.json (cost.recorded).
        fit: returns the line through points (cost.line), from which costs are predicted.
        title: the title.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.9))
    names = list(dict.fromkeys(s["name"] for s in steps if s["n"]))
    models = list(dict.fromkeys(s["model"] for s in steps))
    for name, color, marker in zip(names, PALETTE, MARKERS, strict=False):
        for model, style in zip(models, ("-", "--", ":", "-."), strict=False):
            found = [s for s in steps if (s["name"], s["model"]) == (name, model)]
            if not found:
                continue
            work, images = [s["n"] * s["times"] for s in found], [s["n"] for s in found]
            label = COST_TITLES.get(name, name) + (f", {MODELS[model].title}" if len(models) > 1 else "")
            for axis, x, y, shown in (
                (axes[0], work, [s["seconds"] for s in found], label),
                (axes[1], images, [s["peak_mib"] for s in found], None),
            ):
                line, ends = fit(x, y), np.geomspace(min(x), max(x), 30)
                axis.plot(x, y, marker, color=color, markersize=5, alpha=0.8)
                look = {"color": color, "linestyle": style, "marker": marker, "markevery": []}
                axis.plot(ends, [line(e) for e in ends], label=shown, **look)
    axes[0].set(xscale="log", yscale="log", xlabel="images x passes", ylabel="seconds")
    axes[1].set(xscale="log", xlabel="images", ylabel="peak memory (MiB)")
    axes[1].set_ylim(bottom=0)
    return finish(figure, title)
