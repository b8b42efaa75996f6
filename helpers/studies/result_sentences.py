"""What notebook 05 found, in words: each sentence is chosen by what was measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..classifiers.registry import MODELS
from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES, STAGE_TITLES, cells, percent
from ..pipeline import Answers, Run, comparisons
from ..pipeline.published import PAPER, PAPER_DIFFERENCES

BEHIND = ("pgd", "fine_tuned", "ae")
"""The cell on which the paper's claim rests."""

ATTACKERS = {"static": "oblivious", "grey_box": "grey-box", "adaptive": "end-to-end"}
"""The three attackers by the key of a record's threat, from the one who knows least."""


def caption(run: Run, static: list[dict]) -> str:
    """Say which table of the paper a run's table stands beside, and on how many images it was measured."""
    network = MODELS[run.model]
    label = f"; **{run.label}**" if run.label else ""
    return f"{network.place}, {network.title}; accuracy in percent, n = {static[0]['n']:,}{label}."


def results_title(static: list[dict]) -> str:
    """Return the title of the figure of the paper's table."""
    found = cells(static)
    before, after = (
        100 * (found["pgd", stage, "ae"]["correct"] - found["pgd", stage, "none"]["correct"]) / static[0]["n"]
        for stage in ("initial", "fine_tuned")
    )
    return (
        f"Under PGD, the autoencoder moves accuracy by {before:+.1f} points before fine-tuning, "
        f"{after:+.1f} after it"
    )


def results_alt(static: list[dict]) -> str:
    """Describe the figure of the paper's table."""
    found = cells(static)
    said = (
        f"{STAGE_TITLES[stage]}, {INPUT_TITLES[kind]}: "
        + " to ".join(f"{100 * found[kind, stage, defense]['accuracy']:.1f}" for defense in DEFENSE_TITLES)
        for stage in ("initial", "fine_tuned")
        for kind in ("regular", "fgsm", "pgd")
    )
    return (
        "Accuracy in percent, with arrows from the classifier alone to the classifier behind the "
        f"autoencoder. {'; '.join(said)}."
    )


def signs(run: Run, answers: Mapping[str, Answers]) -> str:
    """Say how many of the differences that the paper discusses have its sign here.

    Args:
        run: the run.
        answers: of the paper's table under transfer attacks, by cell.
    """
    found = comparisons.of_the_paper(answers)
    paper = PAPER.get(run.model) if run.comparable else None
    tested = "McNemar's test, p < 0.05 after Holm's correction"
    if not paper:
        beyond = sum(one.sign != 0 for one in found)
        return f"**{beyond} of {len(found)} differences are beyond chance** ({tested})."
    theirs = [np.sign(paper[b] - paper[a]) for a, b in PAPER_DIFFERENCES]
    agree = [one.sign * sign for one, sign in zip(found, theirs, strict=True)]
    return (
        f"**{agree.count(1)} of {len(found)} differences have the paper's sign**, {agree.count(-1)} the "
        f"other, {agree.count(0)} are undecided ({tested})."
    )


def counts(static: list[dict], aware: list[dict]) -> str:
    """Say on how many images each attacker was measured."""
    return (
        f"Accuracy in percent; n = {static[0]['n']:,} for the transfer attack, {aware[0]['n']:,} (the first "
        "of them) for the others."
    )


def knowledge_title(records: list[dict]) -> str:
    """Return the title of the figure of the three attackers."""
    told = (
        f"{100 * cells(records, threat)[BEHIND]['accuracy']:.1f}% {title}"
        for threat, title in ATTACKERS.items()
    )
    return f"The same defense: {', '.join(told)}"


def knowledge_alt(records: list[dict]) -> str:
    """Describe the figure of the three attackers."""
    said = (
        f"{title} {percent(cells(records, threat)['pgd', stage, 'ae'])} ({STAGE_TITLES[stage]})"
        for stage in ("initial", "fine_tuned")
        for threat, title in ATTACKERS.items()
    )
    return (
        "Accuracy behind the autoencoder under PGD, in percent, against what the attacker knows: "
        f"{'; '.join(said)}."
    )


def audit_title(audit: dict) -> str:
    """Return the title of the figure of an audit: its two largest effects beside those of other seeds.

    Args:
        audit: a network's part of figures/audit.json (pipeline.recorded_audit).
    """
    most = {
        row["title"]: max((d["points"] for d in row["differences"]), key=abs)
        for row in audit["rows"]
        if row["kind"] == "departure" and row["variant"] != "all"
    }
    first, second = sorted(most, key=lambda title: -abs(most[title]))[:2]
    seeds = max(
        abs(d["points"]) for row in audit["rows"] if row["kind"] == "seed" for d in row["differences"]
    )
    return (
        f"At most, in points: {first} {most[first]:+.1f},\n"
        f"{second} {most[second]:+.1f}; another seed {seeds:.1f}"
    )


def audit_alt(audit: dict) -> str:
    """Describe the figure of an audit."""
    return (
        "A grid with departures and seeds in rows and the cells of the table in columns; each field says by "
        f"how many points accuracy changes. {' '.join(audit_title(audit).split())}."
    )


def audit_mark(audit: dict) -> str:
    """Return the mark of the figure of an audit: the run that it was measured in."""
    record = audit["rows"][0]["records"][0]
    return f"{audit['parameters']['profile']} run, {record['dataset']}, n = {record['n']:,}"
