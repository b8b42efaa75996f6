"""The paper's tables as pictures: before and after the defense, and by what the attacker knows."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES, STAGE_TITLES, THREAT_TITLES, cells, knowing
from ..pipeline.published import PAPER
from .style import (
    GREY,
    HOLLOW,
    PALETTE,
    draw_arrow,
    draw_band,
    draw_guessing,
    finish,
    systems_axis,
    with_error,
)

_LOOKS = {"none": ("s", PALETTE[3]), "ae": ("o", PALETTE[0])}
_SOURCES_COLORS = (PALETTE[7], PALETTE[0], PALETTE[3])


def results_figure(records: list[dict], model: str, title: str, comparable: bool = True) -> Figure:
    """Draw what the autoencoder does to each accuracy, before and after fine-tuning.

    Each arrow runs from the classifier alone to the classifier behind the autoencoder. Bars are 95%
    intervals, and hollow markers the paper's values, where it has any.

    Args:
        comparable: whether the paper's values may be drawn (pipeline.Run.comparable).
        model: a key of registry.MODELS.
        records: the records to draw.
        title: the title.
    """
    ours, paper = cells(records), PAPER.get(model, {}) if comparable else {}
    kinds = ("pgd", "fgsm", "regular")
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.4), sharey=True)
    for axis, stage in zip(axes, ("initial", "fine_tuned"), strict=True):
        for y, kind in enumerate(kinds):
            ends = [(100 * ours[kind, stage, defense]["accuracy"], y) for defense in _LOOKS]
            draw_arrow(axis, *ends)
            for defense, (marker, color) in _LOOKS.items():
                name = DEFENSE_TITLES[defense]
                value, error = with_error([ours[kind, stage, defense]])
                look = {"fmt": marker, "color": color, "capsize": 3, "label": name if y == 0 else None}
                axis.errorbar(value, y, xerr=error, **look)
                if paper:
                    look = HOLLOW | {"mec": color, "label": f"paper, {name}" if y == 0 else None}
                    axis.plot(paper[kind, stage, defense], y - 0.28, marker, markersize=6, **look)
        axis.set(xlim=(-3, 103), ylim=(-0.6, 2.5), xlabel="accuracy (%)")
        axis.set_title(f"{STAGE_TITLES[stage]} classifier")
        axis.set_yticks(range(3), [INPUT_TITLES[kind] for kind in kinds])
    return finish(figure, title, ncols=4, axis=axes[0])


def knowledge_figure(static: list[dict], aware: list[dict], title: str) -> Figure:
    """Draw accuracy behind the autoencoder under PGD, by what the attacker knows.

    There is a marker for the initial and one for the fine-tuned classifier.

    Args:
        static: records of the transfer attack.
        aware: records of the grey-box and of the adaptive attack.
        title: the title.
    """
    attackers = {
        "static": "oblivious:\ninitial classifier only\n(the released code)",
        "grey_box": "grey-box:\nthis classifier,\nnot its AE",
        "adaptive": "end-to-end:\nAE and classifier",
    }
    figure, axis = plt.subplots(figsize=(6.8, 3.6))
    for offset, (stage, marker) in zip((-0.12, 0.12), (("initial", "o"), ("fine_tuned", "s")), strict=True):
        values, error = with_error(
            [cells(static + aware, threat)["pgd", stage, "ae"] for threat in attackers]
        )
        label = f"{STAGE_TITLES[stage]} + AE"
        axis.errorbar(np.arange(3) + offset, values, yerr=error, fmt=marker, capsize=3, label=label)
    draw_guessing(axis)
    axis.set(xlim=(-0.5, 2.5), ylim=(-2, 101), ylabel="accuracy under PGD (%)", title=title)
    axis.set_xlabel("what the attacker knows")
    axis.set_xticks(range(3), list(attackers.values()))
    axis.legend()
    return figure


def answer_figure(rows: Mapping[str, dict], title: str, claimed: tuple[str, float] | None = None) -> Figure:
    """Draw the report's short answer: what is left under PGD, from the paper's claim to the repair.

    Args:
        rows: records by their label, from top to bottom.
        title: the title, which states the finding.
        claimed: the label and the percentage of a published number, which comes first.
    """
    labels = [*([claimed[0]] if claimed else []), *rows]
    places = dict(zip(labels, range(len(labels))[::-1], strict=True))
    figure, axis = plt.subplots(figsize=(7.2, 0.7 + 0.3 * len(labels)))
    axis.set(xlim=(-3, 103), ylim=(-0.6, len(labels) - 0.4), xlabel="accuracy (%), with its 95% interval")
    axis.set_yticks(list(places.values()), labels)
    if claimed:
        axis.plot(claimed[1], places[claimed[0]], "D", **HOLLOW)
    _draw_row(axis, {places[label]: record for label, record in rows.items()}, fmt="o", color=PALETTE[0])
    axis.axvline(10, color=GREY, linestyle=":", linewidth=1)
    axis.annotate(
        "guessing",
        (10, 1),
        (3, -3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        fontsize=9,
        color=GREY,
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def sources_figure(series: Mapping[str, Mapping[str, dict]], title: str) -> Figure:
    """Draw accuracy on each source of the mixed batch, for two or more classifiers.

    With two classifiers an arrow runs from the first to the second. Bars are 95% intervals.

    Args:
        series: by the classifier's label, the records (or proportions) by the source's title, from top to
            bottom.
        title: the title, which states the finding.
    """
    sources = list(next(iter(series.values())))
    places = dict(zip(sources, range(len(sources))[::-1], strict=True))
    figure, axis = plt.subplots(figsize=(7.6, 1.2 + 0.4 * len(sources)))
    axis.set(xlim=(-3, 103), ylim=(-0.6, len(sources) - 0.4), xlabel="accuracy (%), with its 95% interval")
    axis.set_yticks(list(places.values()), sources)
    for source, y in places.items() if len(series) == 2 else ():
        draw_arrow(axis, *((100 * found[source]["accuracy"], y) for found in series.values()))
    looks = zip(series.items(), "osD", _SOURCES_COLORS, strict=False)
    for k, ((label, found), marker, color) in enumerate(looks):
        lower = 0.2 * (k - 1) if len(series) > 2 else 0  # so that markers do not hide each other
        rows = {places[name] - lower: record for name, record in found.items()}
        _draw_row(axis, rows, fmt=marker, color=color, label=label)
    return finish(figure, title, ncols=len(series), axis=axis)


def paper_figure(records: list[dict], model: str, title: str, comparable: bool = True) -> Figure:
    """Draw Table 2 or 3 for the report's summary: each cell with its 95% interval, and the paper's value.

    Args:
        records: of the transfer attack; cells without a record are left out.
        comparable: whether the paper's values may be drawn (published.comparable).
        model: a key of registry.MODELS.
        title: the title.
    """
    found, paper = cells(records), PAPER.get(model, {}) if comparable else {}
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.5), sharey=True)
    for axis, kind in zip(axes, ("regular", "fgsm", "pgd"), strict=True):
        rows = systems_axis(axis, INPUT_TITLES[kind])
        here = {y: found[kind, *system] for system, y in rows.items() if (kind, *system) in found}
        _draw_row(axis, here, fmt="o", color=PALETTE[0], label="this run")
        theirs = {y - 0.25: paper[kind, *system] for system, y in rows.items() if (kind, *system) in paper}
        if theirs:
            axis.plot(list(theirs.values()), list(theirs), "D", label="paper", **HOLLOW)
    return finish(figure, title, ncols=2, axis=axes[0])


def _draw_row(axis: Axes, records: dict[float, dict], **look) -> None:
    """Draw records by row, with 95% intervals; nothing if there are none."""
    if records:
        values, error = with_error(list(records.values()))
        axis.errorbar(values, list(records), xerr=error, capsize=3, **look)


def threats_figure(records: list[dict], title: str) -> Figure:
    """Draw the transfer attack against the adaptive one, for the report's summary.

    Each arrow runs from the accuracy on images made for the initial classifier to that on images made for
    everything that is assessed. Bars are 95% intervals.

    Args:
        records: of any threat; cells without a record are left out.
        title: the title.
    """
    found = {threat: knowing(records, threat) for threat in ("static", "adaptive")}
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7), sharey=True)
    for axis, kind in zip(axes, ("fgsm", "pgd"), strict=True):
        rows = systems_axis(axis, INPUT_TITLES[kind])
        for system, y in rows.items():
            ends = [known[kind, *system] for known in found.values() if (kind, *system) in known]
            if len(ends) == 2:
                draw_arrow(axis, *((100 * r["accuracy"], y) for r in ends))
        for (threat, known), marker, color in zip(found.items(), "os", (PALETTE[0], PALETTE[3]), strict=True):
            here = {y: known[kind, *system] for system, y in rows.items() if (kind, *system) in known}
            short = THREAT_TITLES[threat].partition(" (")[0]  # the legend leaves room for the run's mark
            _draw_row(axis, here, fmt=marker, color=color, label=short)
        axis.axvline(10, color=GREY, linestyle=":", linewidth=1, label="guessing")
    return finish(figure, title, ncols=3, axis=axes[1])


def certified_figure(
    curves: dict[str, list[dict]], published: dict[str, dict[float, float]], eps: float, title: str
) -> Figure:
    """Draw certified accuracy against the l2 radius.

    The upper axis shows the budget of the largest linf ball that the l2 ball contains.

    Args:
        curves: by title, records whose eps is the radius; the 95% interval is shaded.
        published: by source, percent by radius: hollow markers.
        eps: the linf budget whose smallest enclosing l2 ball is marked.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(8.2, 4.2))
    for (name, records), style in zip(curves.items(), ("-", "--", "-.", ":"), strict=False):
        draw_band(axis, [r["eps"] for r in records], records, alpha=0.15, linestyle=style, label=name)
    for (name, points), marker in zip(published.items(), "osD^", strict=False):
        axis.plot(list(points), list(points.values()), marker, label=name, **HOLLOW)
    per_value = 255 / np.sqrt(32 * 32 * 3)
    reach = eps * np.sqrt(32 * 32 * 3)
    axis.axvline(reach, color=GREY, linestyle=":", linewidth=1)
    text = f"contains the $L_\\infty$ ball of {255 * eps:.3g}/255 "
    axis.text(reach, 99, text, ha="right", va="top", fontsize=9, color=GREY)
    axis.set(xlim=(0, 1.05 * reach), ylim=(0, 101))
    axis.set(xlabel="radius ($L_2$, images in [0, 1])", ylabel="certified accuracy (%)")
    upper = axis.secondary_xaxis("top", functions=(lambda r: r * per_value, lambda e: e / per_value))
    upper.set_xlabel("eps of the largest $L_\\infty$ ball inside (grey levels of 255)")
    return finish(figure, title)


def tradeoff_figure(
    systems: dict[str, tuple[dict, dict]], published: dict[str, tuple[float, float]], title: str
) -> Figure:
    """Draw clean accuracy against accuracy under the strongest attack.

    Args:
        systems: by title, the record of the clean images and that of the worst case.
        published: by source, both numbers in percent, the second under AutoAttack: hollow markers.
        title: the title.
    """
    figure, axis = plt.subplots(figsize=(8.6, 3.8))
    for (name, pair), marker, color in zip(systems.items(), "osD^v<>", PALETTE, strict=False):
        (x, y), (across, up) = zip(*(with_error([r]) for r in pair), strict=True)
        axis.errorbar(x, y, xerr=across, yerr=up, fmt=marker, color=color, capsize=3, label=name)
    for (name, (x, y)), marker in zip(published.items(), "osD^", strict=False):
        axis.plot(x, y, marker, label=f"{name} (AutoAttack)", **HOLLOW)
    axis.set(xlabel="accuracy without an attack (%)", ylabel="accuracy in the worst case (%)", title=title)
    axis.set_ylim(bottom=-2)
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def audit_figure(audit: dict, title: str) -> Figure:
    """Draw what each departure from the protocol, and each other seed, does to each cell, in points.

    Numbers are bold where the 95% interval does not contain 0.

    Args:
        audit: the result of deviations.audit.
        title: the title.
    """
    first, *rows = audit["rows"]
    points = np.array([[d["points"] for d in row["differences"]] for row in rows])
    width = max(1.9 + 0.62 * points.shape[1], 7.8)  # the titles need room even beside few cells
    figure, axis = plt.subplots(figsize=(width, 1.6 + 0.36 * len(rows)))
    limit = max(5.0, np.abs(points).max())
    sns.heatmap(points, ax=axis, cmap="vlag_r", center=0, vmin=-limit, vmax=limit, linewidths=0.5, cbar=False)
    for y, row in enumerate(rows):
        for x, d in enumerate(row["differences"]):
            weight = "bold" if d["low"] > 0 or d["high"] < 0 else "normal"
            color = "white" if abs(d["points"]) > 0.6 * limit else "black"
            look = {"ha": "center", "va": "center", "fontsize": 9.5, "fontweight": weight, "color": color}
            axis.text(x + 0.5, y + 0.5, f"{d['points']:+.1f}", **look)
    columns = [
        f"{INPUT_TITLES[r['input']]}\n{STAGE_TITLES[r['stage']]}\n{DEFENSE_TITLES[r['defense']]}"
        for r in first["records"]
    ]
    columns = [text.replace("-", "-\n") for text in columns]
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=9.5, rotation=0)
    axis.set_yticks(np.arange(len(rows)) + 0.5, _with_counts(first, rows), fontsize=10, rotation=0)
    axis.set_title(title)
    axis.grid(False)
    return figure


def _with_counts(first: dict, rows: list[dict]) -> list[str]:
    """Return the rows' titles, with n where it is not the first row's."""
    n = first["records"][0]["n"]
    counts = [min(r["n"] for r in row["records"]) for row in rows]
    return [row["title"] + (f"\n(n = {k:,})" if k != n else "") for row, k in zip(rows, counts, strict=True)]
