"""Figures. Each function draws one and returns it; show displays it with its alternative text."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ..classifiers.registry import MODELS
from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES, STAGE_TITLES, SYSTEMS, cells, knowing, title_of
from ..pipeline.published import PAPER
from ..sweeps import cost

plt.style.use(Path(__file__).with_name("course.mplstyle"))
PALETTE = sns.color_palette("colorblind")
COLORS = {"regular": PALETTE[0], "fgsm": PALETTE[1], "pgd": PALETTE[3], "noise": PALETTE[7]}
MARKERS = {"regular": "o", "fgsm": "s", "pgd": "D", "noise": "^"}


def show(figure: Figure, alt: str, name: str, mark: str = "") -> None:
    """Display a figure in a notebook, with a text for those who cannot see it.

    Args:
        alt: what the figure shows, in a sentence or two.
        name: the file name under which the report keeps it.
        mark: what the reader must know of the run (pipeline.Run.label): printed below the figure.
    """
    from IPython.display import display

    data = base64.b64encode(png(figure, mark)).decode()
    display(
        {"image/png": data, "text/plain": alt}, metadata={"image/png": {"alt": alt, "name": name}}, raw=True
    )


def png(figure: Figure, mark: str = "") -> bytes:
    """A figure as a PNG file, and the figure closed. The file names no time and no library: the same figure gives the
    same bytes.

    Args:
        mark: see show.
    """
    if mark:
        size = max(9, figure.get_figwidth())  # points; wide figures are printed smaller
        figure.text(0.995, -0.01, mark, ha="right", va="top", fontsize=size, color="#666666")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def say(text: str) -> None:
    """Display Markdown: sentences that read their numbers from variables."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def gallery(
    rows: dict[str, np.ndarray],
    titles: dict[str, Sequence[str]] | None = None,
    wrong: dict[str, Sequence[bool]] | None = None,
    size: float = 1.15,
) -> Figure:
    """Rows of images under each other.

    Args:
        rows: by row title, float images [n, h, w, 3] in [0, 1].
        titles: by row title, n short texts to print above the images.
        wrong: by row title, which of these are wrong answers: printed bold and orange.
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
                axis.set_title(titles[name][k], fontsize=max(9, width), loc="center", **look)  # see png
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=max(10, width))
    return figure


def magnified(delta: np.ndarray, eps: float) -> np.ndarray:
    """A perturbation as an image: grey is no change, full brightness is +eps or more."""
    return np.clip(0.5 + delta / (2 * max(eps, 1e-12)), 0, 1)


def accuracy_curve(records: list[dict], x: str, xlabel: str, title: str, scale: float = 1.0) -> Figure:
    """Accuracy in percent against eps or steps, one line an input, with the 95% interval shaded."""
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    for kind in dict.fromkeys(r["input"] for r in records):
        points = sorted((r for r in records if r["input"] == kind), key=lambda r: r[x])
        xs = [scale * r[x] for r in points]
        accuracy, low, high = (
            np.array([100 * r[k] for r in points]) for k in ("accuracy", "ci_low", "ci_high")
        )
        axis.plot(xs, accuracy, marker=MARKERS[kind], color=COLORS[kind], label=INPUT_TITLES[kind])
        axis.fill_between(xs, low, high, color=COLORS[kind], alpha=0.2, linewidth=0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    _guessing(axis)
    axis.set(xlabel=xlabel, ylabel="accuracy (%)", ylim=(0, 101), title=title)
    if len(axis.get_lines()) > 2:
        axis.legend()
    return figure


def _guessing(axis) -> None:
    """The accuracy of one class in ten, named outside the axes, where no point lies."""
    axis.axhline(10, color="#666666", linestyle=":", linewidth=1)
    axis.annotate(
        "guessing",
        (1, 10),
        (4, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color="#666666",
    )


def training_curve(
    history: list[dict],
    series: dict[str, str],
    ylabel: str,
    title: str,
    log: bool = False,
    marks: dict[float, str] | None = None,
    level: tuple[float, str] | None = None,
) -> Figure:
    """Numbers of a training history against epochs.

    Args:
        series: by key of the history, the line's label.
        marks: by epoch, what begins there: a dotted line with that text.
        level: a number to compare with, and its name: a dotted line across.
    """
    figure, axis = plt.subplots(figsize=(7.6, 3.4))
    epochs = range(1, len(history) + 1)
    styles = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
    drawn = {key: label for key, label in series.items() if key in history[0]}
    for (key, label), style in zip(drawn.items(), styles, strict=False):
        axis.plot(
            epochs,
            [h[key] for h in history],
            linestyle=style,
            label=label,
            marker="." if len(epochs) < 8 else "",
        )
    axis.set(xlabel="epoch", ylabel=ylabel, title=title)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if log:
        axis.set_yscale("log")
    for epoch, text in (marks or {}).items():
        axis.axvline(epoch, color="#666666", linestyle=":", linewidth=1)
        axis.annotate(
            text,
            (epoch, 0),
            (4, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=9,
            color="#666666",
            rotation=90 if len(marks) > 1 else 0,  # side by side there is no room for several
        )
    if level:
        axis.axhline(level[0], color="#666666", linestyle=":", label=level[1])
    figure.legend(loc="outside right center")
    return figure


def results_figure(records: list[dict], model: str, title: str, comparable: bool = True) -> Figure:
    """Tables 2 and 3 as a picture: what the autoencoder does to each accuracy, before and after fine-tuning.

    Each arrow runs from the classifier alone to the classifier behind the autoencoder; bars are 95% intervals, and
    hollow markers the paper's values, left out where they are not comparable (pipeline.Run.comparable) or there are
    none.
    """
    ours = cells(records)
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.4), sharey=True)
    for axis, stage in zip(axes, ("initial", "fine_tuned"), strict=True):
        for y, kind in enumerate(("pgd", "fgsm", "regular")):
            pair = [ours[kind, stage, defense] for defense in ("none", "ae")]
            values = [100 * r["accuracy"] for r in pair]
            axis.annotate(
                "",
                (values[1], y),
                (values[0], y),
                arrowprops={"arrowstyle": "-|>", "color": "#888888", "lw": 1.5},
            )
            for r, value, defense, color in zip(
                pair, values, ("none", "ae"), (PALETTE[3], PALETTE[0]), strict=True
            ):
                error = [[max(0, value - 100 * r["ci_low"])], [max(0, 100 * r["ci_high"] - value)]]
                label = DEFENSE_TITLES[defense] if y == 0 else None
                marker = "s" if defense == "none" else "o"
                axis.errorbar(value, y, xerr=error, fmt=marker, color=color, label=label, capsize=3)
                if not comparable or model not in PAPER:
                    continue
                paper = PAPER[model][kind, stage, defense]
                axis.plot(
                    paper,
                    y - 0.28,
                    marker=marker,
                    mfc="white",
                    mec=color,
                    linestyle="",
                    markersize=6,
                    label=f"paper, {DEFENSE_TITLES[defense]}" if y == 0 else None,
                )
        axis.set(
            xlim=(-3, 103), ylim=(-0.6, 2.5), xlabel="accuracy (%)", title=f"{STAGE_TITLES[stage]} classifier"
        )
        axis.set_yticks(range(3), [INPUT_TITLES[k] for k in ("pgd", "fgsm", "regular")])
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def knowledge_figure(static: list[dict], aware: list[dict], title: str) -> Figure:
    """Accuracy behind the autoencoder under PGD, by what the attacker knows, before and after fine-tuning."""
    rungs = [
        ("static", "initial classifier only\n(the released code)"),
        ("grey_box", "this classifier,\nnot its AE"),
        ("adaptive", "AE and classifier"),
    ]
    figure, axis = plt.subplots(figsize=(6.8, 3.6))
    for offset, (stage, marker) in zip((-0.12, 0.12), (("initial", "o"), ("fine_tuned", "s")), strict=True):
        found = [cells(static + aware, threat)["pgd", stage, "ae"] for threat, _ in rungs]
        values = np.array([100 * r["accuracy"] for r in found])
        error = np.abs([[100 * r["ci_low"] for r in found], [100 * r["ci_high"] for r in found]] - values)
        axis.errorbar(
            np.arange(3) + offset,
            values,
            yerr=error,
            fmt=marker,
            capsize=3,
            label=f"{STAGE_TITLES[stage]} + AE",
        )
    _guessing(axis)
    axis.set(xlim=(-0.5, 2.5), ylim=(-2, 101), ylabel="accuracy under PGD (%)", title=title)
    axis.set_xlabel("what the attacker knows")
    axis.set_xticks(range(3), [text for _, text in rungs])
    axis.legend()
    return figure


def paper_figure(records: list[dict], model: str, title: str, comparable: bool = True) -> Figure:
    """Tables 2 and 3 as a picture for the report's summary: every cell with its 95% interval, the paper's beside it.

    Args:
        records: static; a cell that is missing is left out.
        comparable: whether the paper's values may be drawn (published.comparable).
    """
    found, paper = cells(records), PAPER.get(model, {}) if comparable else {}
    rows = dict(zip(SYSTEMS, range(len(SYSTEMS))[::-1], strict=True))
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.5), sharey=True)
    for axis, kind in zip(axes, ("regular", "fgsm", "pgd"), strict=True):
        here = {y: found[kind, *system] for system, y in rows.items() if (kind, *system) in found}
        if here:
            values, error = _with_error(list(here.values()))
            axis.errorbar(
                values, list(here), xerr=error, fmt="o", color=PALETTE[0], capsize=3, label="this run"
            )
        theirs = {y: paper[kind, *system] for system, y in rows.items() if (kind, *system) in paper}
        if theirs:
            axis.plot(
                list(theirs.values()),
                [y - 0.25 for y in theirs],
                "D",
                mfc="white",
                mec="#555555",
                label="paper",
            )
        axis.set(
            xlim=(-3, 103), ylim=(-0.6, len(rows) - 0.5), xlabel="accuracy (%)", title=INPUT_TITLES[kind]
        )
        axis.set_yticks(list(rows.values()), [title_of(system) for system in rows])
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def threats_figure(records: list[dict], title: str) -> Figure:
    """Static against adaptive, for the report's summary: an arrow for each classifier and attack, from the accuracy on
    images made for the initial classifier to that on images made for all that is assessed, with 95% intervals.

    Args:
        records: of any threat; what is missing is left out.
    """
    found = {threat: knowing(records, threat) for threat in ("static", "adaptive")}
    rows = dict(zip(SYSTEMS, range(len(SYSTEMS))[::-1], strict=True))
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7), sharey=True)
    for axis, kind in zip(axes, ("fgsm", "pgd"), strict=True):
        ends = {
            system: [100 * found[t][kind, *system]["accuracy"] for t in found if (kind, *system) in found[t]]
            for system in rows
        }
        for system, pair in ends.items():
            if len(pair) == 2:
                arrow = {"arrowstyle": "-|>", "color": "#888888", "lw": 1.5}
                axis.annotate("", (pair[1], rows[system]), (pair[0], rows[system]), arrowprops=arrow)
        for (threat, known), marker, color in zip(found.items(), "os", (PALETTE[0], PALETTE[3]), strict=True):
            here = {y: known[kind, *system] for system, y in rows.items() if (kind, *system) in known}
            if here:
                values, error = _with_error(list(here.values()))
                axis.errorbar(
                    values, list(here), xerr=error, fmt=marker, color=color, capsize=3, label=threat
                )
        axis.axvline(10, color="#666666", linestyle=":", linewidth=1, label="guessing")
        axis.set(
            xlim=(-3, 103), ylim=(-0.6, len(rows) - 0.5), xlabel="accuracy (%)", title=INPUT_TITLES[kind]
        )
        axis.set_yticks(list(rows.values()), [title_of(system) for system in rows])
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def ladder_figure(rungs: dict[str, dict[str, dict]], clean: dict[str, dict], title: str) -> Figure:
    """Accuracy under attackers who know more and more, from top to bottom, with 95% intervals.

    Args:
        rungs: by stage's title, and by rung's title in order, records (ladder.titled).
        clean: by stage's title, the record of the unchanged images: a dashed line.
    """
    names = list(next(iter(rungs.values())))
    figure, axis = plt.subplots(figsize=(7.6, 0.9 + 0.42 * len(names)))
    rows = np.arange(len(names))[::-1]
    shifts = np.linspace(0.14, -0.14, len(rungs)) if len(rungs) > 1 else [0.0]
    for (stage, found), shift, marker, color in zip(rungs.items(), shifts, "os^D", PALETTE, strict=False):
        values, error = _with_error([found[name] for name in names])
        axis.errorbar(values, rows + shift, xerr=error, fmt=marker, color=color, capsize=3, label=stage)
        for value, end, row in zip(values, values + error[1], rows + shift, strict=True):
            axis.annotate(
                f"{value:.1f}",
                (end, row),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=color,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        axis.axvline(100 * clean[stage]["accuracy"], color=color, linestyle="--", linewidth=1)
    axis.axvline(10, color="#666666", linestyle=":", linewidth=1)
    axis.text(10.6, rows[0] + 0.5, "guessing", va="center", fontsize=9, color="#666666")
    axis.set(
        xlim=(-3, 103), ylim=(-0.6, len(names) - 0.2), xlabel="accuracy (%); dashed: no attack", title=title
    )
    axis.set_yticks(rows, names)
    if len(rungs) > 1:
        axis.legend()
    return figure


def _with_error(records: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies in percent, and how far the intervals reach down and up, as errorbar takes them."""
    values = np.array([100 * r["accuracy"] for r in records])
    ends = np.array([[100 * r["ci_low"] for r in records], [100 * r["ci_high"] for r in records]])
    return values, np.maximum(0, [values - ends[0], ends[1] - values])


def budgets_figure(curves: dict[str, list[dict]], title: str) -> Figure:
    """Accuracy against the budget, a line for each attacker, with the 95% interval shaded.

    Args:
        curves: by attacker's title, records.
    """
    figure, axis = plt.subplots(figsize=(7.6, 3.8))
    for (name, records), marker, color in zip(curves.items(), "^osD", PALETTE, strict=False):
        points = sorted(records, key=lambda r: r["eps"])
        budgets = [255 * r["eps"] for r in points]
        values, (below, above) = _with_error(points)
        axis.plot(budgets, values, marker=marker, color=color, label=name)
        axis.fill_between(budgets, values - below, values + above, color=color, alpha=0.2, linewidth=0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    _guessing(axis)
    axis.set(xlabel="eps (grey levels of 255)", ylabel="accuracy (%)", ylim=(-3, 101), title=title)
    figure.legend(loc="outside right center")
    return figure


def certified_figure(
    curves: dict[str, list[dict]], published: dict[str, dict[float, float]], eps: float, title: str
) -> Figure:
    """Certified accuracy against the l2 radius; the upper axis has the linf budget that such a ball contains.

    Args:
        curves: by title, records whose eps is the radius; the 95% interval is shaded.
        published: by source, percent by radius: hollow markers.
        eps: the linf budget whose smallest surrounding l2 ball is marked.
    """
    figure, axis = plt.subplots(figsize=(8.2, 4.2))
    for (name, records), style in zip(curves.items(), ("-", "--", "-.", ":"), strict=False):
        radii = [r["eps"] for r in records]
        values, (below, above) = _with_error(records)
        (line,) = axis.plot(radii, values, linestyle=style, label=name)
        axis.fill_between(
            radii, values - below, values + above, color=line.get_color(), alpha=0.15, linewidth=0
        )
    for (name, points), marker in zip(published.items(), "osD^", strict=False):
        axis.plot(
            list(points),
            list(points.values()),
            marker=marker,
            mfc="white",
            mec="#555555",
            linestyle="",
            label=name,
        )
    per_value = 255 / np.sqrt(32 * 32 * 3)
    reach = eps * np.sqrt(32 * 32 * 3)
    axis.axvline(reach, color="#666666", linestyle=":", linewidth=1)
    axis.text(
        reach,
        99,
        f"holds the linf ball of {255 * eps:.3g}/255 ",
        ha="right",
        va="top",
        fontsize=9,
        color="#666666",
    )
    axis.set(
        xlim=(0, 1.05 * reach),
        ylim=(0, 101),
        xlabel="radius (l2, images in [0, 1])",
        ylabel="certified accuracy (%)",
    )
    upper = axis.secondary_xaxis("top", functions=(lambda r: r * per_value, lambda e: e / per_value))
    upper.set_xlabel("eps of the largest linf ball inside (grey levels of 255)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def tradeoff_figure(
    systems: dict[str, tuple[dict, dict]], published: dict[str, tuple[float, float]], title: str
) -> Figure:
    """Accuracy without an attack against accuracy under the strongest.

    Args:
        systems: by title, the record of unchanged images and that of the worst case.
        published: by source, both numbers in percent, the second under AutoAttack: hollow markers.
    """
    figure, axis = plt.subplots(figsize=(8.6, 3.8))
    for (name, pair), marker, color in zip(systems.items(), "osD^v<>", PALETTE, strict=False):
        (x, y), (across, up) = zip(*(_with_error([r]) for r in pair), strict=True)
        axis.errorbar(x, y, xerr=across, yerr=up, fmt=marker, color=color, capsize=3, label=name)
    for (name, (x, y)), marker in zip(published.items(), "osD^", strict=False):
        axis.plot(x, y, marker=marker, mfc="white", mec="#555555", linestyle="", label=f"{name} (AutoAttack)")
    axis.set(xlabel="accuracy without an attack (%)", ylabel="accuracy in the worst case (%)", title=title)
    axis.set_ylim(bottom=-2)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def latent_figure(
    points: dict[str, tuple[int, int]],
    series: dict[str, dict[str, dict]],
    marked: str,
    title: str,
    others: Sequence[str] = (),
    bare: dict[str, dict] | None = None,
) -> Figure:
    """Accuracy behind each autoencoder against the numbers that its encoder hands on.

    Args:
        points: by autoencoder's title, latent size and depth; depths have markers of their own, and stand beside each
            other where their sizes are the same.
        series: by line's name, by autoencoder's title, a record: a colour each, with the 95% interval.
        marked: the title of the one that the others are compared with: ringed.
        others: titles of those that are of another family than the rest: they have markers of their own, not a depth's.
        bare: by line's name, the record without any autoencoder: a dashed line each.
    """
    figure, axis = plt.subplots(figsize=(8.6, 4.8))
    depths = dict(zip(sorted({points[t][1] for t in points if t not in others}), "^osDv", strict=False))
    own = dict(zip(others, cycle("P*X"), strict=False))
    alike = {size: sorted(t for t in points if points[t][0] == size) for size, _ in points.values()}
    for ties in alike.values():
        ties.sort(key=lambda title: points[title][1])
    for (name, records), color in zip(series.items(), (PALETTE[0], PALETTE[1], PALETTE[3]), strict=False):
        for autoencoder, record in records.items():
            size, depth = points[autoencoder]
            ties = alike[size]
            value, error = _with_error([record])
            shifted = size * 1.1 ** (ties.index(autoencoder) - (len(ties) - 1) / 2)
            marker, width = (own[autoencoder], 9) if autoencoder in own else (depths[depth], 6)
            axis.errorbar(shifted, value, yerr=error, fmt=marker, color=color, capsize=2, markersize=width)
            if autoencoder == marked:
                axis.plot(shifted, value, "o", markersize=15, mfc="none", mec="#555555", clip_on=False)
        axis.plot([], [], color=color, linewidth=5, label=name)
        if bare and name in bare:
            axis.axhline(100 * bare[name]["accuracy"], color=color, linestyle="--", linewidth=1, zorder=1)
    for depth, marker in depths.items():
        axis.plot([], [], marker, color="#555555", label=f"{depth} strided layer{'s' * (depth != 1)}")
    for autoencoder, marker in own.items():
        axis.plot([], [], marker, color="#555555", markersize=9, label=autoencoder)
    axis.plot([], [], "o", markersize=11, mfc="none", mec="#555555", label=marked)
    if bare:
        axis.plot([], [], color="#555555", linestyle="--", linewidth=1, label="no autoencoder")
    _guessing(axis)
    sizes = sorted({size for size, _ in points.values()})
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, ha="right", fontsize=9)
    axis.minorticks_off()
    xlabel = "numbers handed to the decoder (an image has 3,072);\nequal sizes stand side by side"
    axis.set(xlabel=xlabel, ylabel="accuracy on test images (%)")
    axis.set(ylim=(-4, 104), yticks=range(0, 101, 20), title=title)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def error_figure(
    errors: dict[str, float],
    series: dict[str, dict[str, dict]],
    unchanged: float,
    title: str,
    named: dict[str, str] | None = None,
) -> Figure:
    """Accuracy on test images behind each autoencoder against what it leaves of the perturbation.

    Args:
        errors: by autoencoder, the mean squared error between what it makes of attacked validation images and the
            originals (comparison.attacked_error).
        series: by line's name, by autoencoder, a record: a colour and a marker each, with the 95% interval.
        unchanged: the error of the attacked images themselves: a dashed line.
        named: by autoencoder, a text to write above its points, with a thin line down to them.
    """
    figure, axis = plt.subplots(figsize=(8.6, 4.6))
    looks = zip((PALETTE[0], PALETTE[1], PALETTE[3]), "osD", strict=True)
    for (name, records), (color, marker) in zip(series.items(), looks, strict=False):
        value, error = _with_error(list(records.values()))
        x = [errors[autoencoder] for autoencoder in records]
        axis.errorbar(x, value, yerr=error, fmt=marker, color=color, capsize=2, markersize=6, label=name)
    axis.axvline(unchanged, color="#555555", linestyle="--", linewidth=1, label="the attacked image itself")
    for row, autoencoder in enumerate(
        sorted(named or {}, key=errors.get, reverse=True)
    ):  # so that no line meets a text
        x, y = errors[autoencoder], 108 + 8 * row
        axis.plot([x, x], [0, y], color="#999999", linewidth=0.8, zorder=0)
        axis.annotate(named[autoencoder], (x, y), (3, 0), textcoords="offset points", va="center", fontsize=9)
    _guessing(axis)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    xlabel = "mean squared error on attacked validation images (FGSM and PGD);\nsmaller is better"
    axis.set(xlabel=xlabel, ylabel="accuracy on test images (%)", ylim=(-4, 104 + 8 * len(named or {})))
    axis.set(yticks=range(0, 101, 20), title=title)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def codes_figure(counts: np.ndarray, title: str, images: str) -> Figure:
    """How often each code of a codebook is used, from the most used to the least, in percent.

    Args:
        images: on which images, in words.
    """
    figure, axis = plt.subplots(figsize=(7.6, 2.8))
    shares = 100 * np.sort(counts)[::-1] / counts.sum()
    axis.fill_between(np.arange(1, len(shares) + 1), shares, step="mid", color=PALETTE[0], linewidth=0)
    axis.axhline(
        100 / len(shares), color="#666666", linestyle=":", linewidth=1, label="if all were used equally"
    )
    axis.set(xlim=(0.5, len(shares) + 0.5), xlabel=f"code, from the most used to the least; {images}")
    axis.set(ylabel="share (%)", title=title)
    axis.set_ylim(bottom=0)
    axis.legend()
    return figure


def audit_figure(audit: dict, title: str) -> Figure:
    """What each departure from the protocol, and each other seed, does to each cell (audit.audit), in points.

    Bold numbers are those whose 95% interval does not hold 0.
    """
    first, *rows = audit["rows"]
    points = np.array([[d["points"] for d in row["differences"]] for row in rows])
    width = max(1.9 + 0.62 * points.shape[1], 7.8)  # the titles are long beside few cells, too
    figure, axis = plt.subplots(figsize=(width, 1.6 + 0.36 * len(rows)))
    limit = max(5.0, np.abs(points).max())
    sns.heatmap(points, ax=axis, cmap="vlag_r", center=0, vmin=-limit, vmax=limit, linewidths=0.5, cbar=False)
    for y, row in enumerate(rows):
        for x, d in enumerate(row["differences"]):
            sure = d["low"] > 0 or d["high"] < 0
            axis.text(
                x + 0.5,
                y + 0.5,
                f"{d['points']:+.1f}",
                ha="center",
                va="center",
                fontsize=9.5,
                fontweight="bold" if sure else "normal",
                color="white" if abs(d["points"]) > 0.6 * limit else "black",
            )
    columns = [
        f"{INPUT_TITLES[r['input']]}\n{STAGE_TITLES[r['stage']]}\n{DEFENSE_TITLES[r['defense']]}".replace(
            "-", "-\n"
        )
        for r in first["records"]
    ]
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=9.5, rotation=0)
    n = first["records"][0]["n"]
    counts = [min(r["n"] for r in row["records"]) for row in rows]
    titles = [
        row["title"] + (f"\n(n = {k:,})" if k != n else "") for row, k in zip(rows, counts, strict=True)
    ]
    axis.set_yticks(np.arange(len(rows)) + 0.5, titles, fontsize=10, rotation=0)
    axis.set_title(title)
    axis.grid(False)
    return figure


def heat_maps(grids: dict[str, pd.DataFrame], title: str) -> Figure:
    """Accuracy against budget and steps, one map for each title, all on one scale (seeds.grid_of)."""
    figure, axes = plt.subplots(
        1, len(grids), figsize=(1.6 + 3.1 * len(grids), 3.3), sharey=True, squeeze=False
    )
    for axis, (name, frame) in zip(axes[0], grids.items(), strict=True):
        last = axis is axes[0][-1]
        sns.heatmap(
            frame,
            ax=axis,
            cmap="viridis",
            vmin=0,
            vmax=100,
            annot=True,
            fmt=".0f",
            linewidths=0.5,
            cbar=last,
            cbar_kws={"label": "accuracy (%), mean of the seeds"} if last else None,
        )
        axis.set(xlabel="PGD's steps", ylabel="eps (grey levels of 255)" if axis is axes[0][0] else "")
        axis.set_title(name, fontsize=10)
        axis.set_yticks(np.arange(len(frame)) + 0.5, [f"{eps:g}" for eps in frame.index], rotation=0)
        axis.grid(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def seeds_figure(differences: dict[str, list[dict]], title: str) -> Figure:
    """How much each claim holds, in points: a marker for each seed, budget and number of steps (seeds.check)."""
    figure, axis = plt.subplots(figsize=(8.2, 1.1 + 0.75 * len(differences)))
    rows = np.arange(len(differences))[::-1]
    known = sorted({r["seed"] for found in differences.values() for r in found})
    shifts = dict(zip(known, np.linspace(0.24, -0.24, len(known)) if len(known) > 1 else [0.0], strict=True))
    for number, (seed, marker) in enumerate(zip(known, "os^Dv<>" * len(known), strict=False)):
        for y, found in zip(rows, differences.values(), strict=True):
            points = [r["points"] for r in found if r["seed"] == seed]
            axis.plot(
                points,
                np.full(len(points), y + shifts[seed]),
                marker,
                color=PALETTE[number % len(PALETTE)],
                alpha=0.7,
                markersize=5,
                label=f"seed {seed}" if y == rows[0] else None,
            )
    axis.axvline(0, color="#666666", linestyle=":", linewidth=1)
    axis.set(
        xlabel="points of accuracy by which it holds; left of 0 it does not", ylim=(-0.6, len(rows) - 0.4)
    )
    axis.set_yticks(rows, [textwrap.fill(name, 34) for name in differences])
    axis.set_title(title)
    figure.legend(loc="outside right center")
    return figure


def cost_figure(steps: list[dict], title: str) -> Figure:
    """Measured seconds of each step against its work, and its memory against its images (figures/cost.json), with the
    lines that predictions follow. The networks have markers of their own."""
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.9))
    names = list(dict.fromkeys(s["name"] for s in steps if s["n"]))
    models = list(dict.fromkeys(s["model"] for s in steps))
    for name, color in zip(names, PALETTE, strict=False):
        for model, marker in zip(models, "os^D", strict=False):
            mine = [s for s in steps if (s["name"], s["model"]) == (name, model)]
            for axis, x, y in (
                (axes[0], [s["n"] * s["times"] for s in mine], [s["seconds"] for s in mine]),
                (axes[1], [s["n"] for s in mine], [s["peak_mib"] for s in mine]),
            ):
                if not mine:
                    continue
                fit, ends = cost.line(x, y), np.geomspace(min(x), max(x), 30)
                axis.plot(x, y, marker, color=color, markersize=5, alpha=0.8)
                label = f"{name}, {MODELS[model].title}" if axis is axes[0] else None
                axis.plot(
                    ends,
                    [fit(e) for e in ends],
                    color=color,
                    linestyle="-" if marker == "o" else "--",
                    label=label,
                )
    axes[0].set(xscale="log", yscale="log", xlabel="images x passes", ylabel="seconds")
    axes[1].set(xscale="log", xlabel="images", ylabel="peak memory (MiB)")
    axes[1].set_ylim(bottom=0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    figure.legend(loc="outside right center", fontsize=9)
    return figure
