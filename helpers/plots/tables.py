"""Tables of results: beside the paper's numbers, by attacker, by departure; and the README's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import settings
from ..classifiers.registry import MODELS
from ..evaluation.titles import (
    CELLS,
    DEFENSE_TITLES,
    INPUT_TITLES,
    PAPER_THREATS,
    STAGE_TITLES,
    THREAT_TITLES,
    cells,
    percent,
)
from ..pipeline import comparisons
from ..pipeline.published import PAPER, PAPER_DIFFERENCES, of_the_paper
from ..pipeline.recorded import recorded_static

if TYPE_CHECKING:
    from ..pipeline import Answers

README_MARKERS = ("<!-- results -->", "<!-- /results -->")


def paper_table(records: list[dict], model: str, comparable: bool = True) -> pd.DataFrame:
    """Set this run beside the paper's Table 2 or 3 and the recorded full run, in percent.

    A network that the paper does not report has no column for the paper.

    Args:
        records: of this run.
        comparable: whether the paper's and the recorded run's numbers may be shown (published.comparable).
        model: a key of registry.MODELS.
    """
    ours, full, paper = cells(records), cells(recorded_static(model)), PAPER.get(model, {})
    columns = {"paper": {}, "this run [95% interval]": {}, "recorded full run": {}}
    for cell in CELLS:
        row = (INPUT_TITLES[cell[0]], STAGE_TITLES[cell[1]], DEFENSE_TITLES[cell[2]])
        columns["paper"][row] = f"{paper[cell]:.2f}" if paper else ""
        columns["this run [95% interval]"][row] = percent(ours.get(cell))
        columns["recorded full run"][row] = percent(full[cell]) if cell in full else "not recorded yet"
    frame = pd.DataFrame(columns).rename_axis(["input", "stage", "defense"])
    if not comparable:
        return frame[["this run [95% interval]"]]
    return frame if paper else frame.drop(columns="paper")


def differences_table(answers: Mapping[str, Answers], model: str, comparable: bool = True) -> pd.DataFrame:
    """Tabulate the differences that the paper discusses, under transfer attacks.

    The intervals are paired and count one claim each. The p-values are McNemar's with Holm's correction for
    all rows.

    Args:
        answers: of the static table, by cell (Answers.cell).
        model: the network.
        comparable: whether the paper's numbers may be shown (published.comparable).
    """
    found = comparisons.of_the_paper(answers)
    paper, rows = PAPER.get(model, {}) if comparable else {}, {}
    for (a, b), one in zip(PAPER_DIFFERENCES, found, strict=True):
        row = rows[_place(a), _place(b)] = {"points": f"{one.points:+.1f} [{one.low:+.1f}, {one.high:+.1f}]"}
        row["p"] = one.p_text
        if paper:
            theirs = paper[b] - paper[a]
            agreement = {1: "yes", -1: "no", 0: "undecided"}[int(np.sign(theirs)) * one.sign]
            row |= {"the paper": f"{theirs:+.1f}", "same sign": agreement}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["from", "to"])
    return frame


def _place(cell: tuple[str, str, str]) -> str:
    return f"{INPUT_TITLES[cell[0]]}, {STAGE_TITLES[cell[1]]}, {DEFENSE_TITLES[cell[2]]}"


def threat_table(records: list[dict]) -> pd.DataFrame:
    """Tabulate accuracy by stage, defense and kind of image, with one column for each attacker."""
    rows = {}
    for r in records:
        if r["input"] == "regular":
            continue
        row = (STAGE_TITLES[r["stage"]], DEFENSE_TITLES[r["defense"]], INPUT_TITLES[r["input"]])
        rows.setdefault(row, {})[r["threat"]] = percent(r)
    for (_, defense, _), row in rows.items():
        if defense == DEFENSE_TITLES["none"] and "grey_box" in row:
            row["adaptive"] = row["grey_box"]  # without a defense, the classifier is all there is to know
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(PAPER_THREATS)).fillna("–")
    frame = frame.rename(columns=THREAT_TITLES)
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["stage", "defense", "input"])
    return frame.sort_index(ascending=[False, False, True])


def audit_table(audit: dict) -> pd.DataFrame:
    """Tabulate what each departure from the protocol, and each other seed, does to every cell.

    Changes are in points, with their 95% intervals.
    """
    rows = {}
    for row in audit["rows"]:
        for r, d in zip(row["records"], row["differences"], strict=True):
            place = (row["title"], STAGE_TITLES[r["stage"]], DEFENSE_TITLES[r["defense"]])
            change = f"{d['points']:+.1f} [{d['low']:+.1f}, {d['high']:+.1f}]"
            text = percent(r) if row["kind"] == "course" else change
            rows.setdefault(place, {})[INPUT_TITLES[r["input"]]] = text
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["", "stage", "defense"])
    return frame


def beside_seeds(audit: dict) -> str:
    """Say which departures move a cell further than another seed does, and beyond its 95% interval."""
    seeds = [row["differences"] for row in audit["rows"] if row["kind"] == "seed"]
    spread = [max(abs(d["points"]) for d in cell) for cell in zip(*seeds, strict=True)]
    more, less = [], []
    for row in audit["rows"]:
        if row["kind"] == "departure":
            moved = [
                abs(d["points"])
                for d, chance in zip(row["differences"], spread, strict=True)
                if abs(d["points"]) > chance and not d["low"] <= 0 <= d["high"]
            ]
            if moved:
                more.append(
                    f"{row['title']} ({len(moved)} of {len(spread)} cells, by up to {max(moved):.1f} points)"
                )
            else:
                less.append(row["title"])
    return (
        f"Another seed moves a cell of the table by up to {max(spread):.1f} points. These departures move "
        f"some cells further than any seed did, and beyond their intervals: {', '.join(more) or 'none'}. "
        f"These move no cell that far: {', '.join(less) or 'none'}."
    )


def readme_table(results: dict) -> str:
    """Return the README's tables as Markdown, in the form of the paper's.

    Args:
        results: the recorded results (pipeline.recorded_results).
    """
    lines = [
        "Accuracy in percent with its Wilson 95% interval, beside the paper's if it has one. "
        "*Transfer attack*: the attacker is oblivious; the images were attacked once, against the initial "
        "classifier (the paper's static protocol). *Grey-box*: the attacker knows the classifier of the row, "
        "but not its autoencoder. *End-to-end*: the attacker is adaptive (white-box) and differentiates "
        "through autoencoder and classifier together, so only a row with an autoencoder has this number.",
    ]
    if any(run["parameters"]["profile"] != "full" for run in results["runs"].values()):
        lines.append("A quick run is shown if no full run is recorded yet.")
    for model, run in results["runs"].items():
        lines += ["", *_readme_table_of(model, run["parameters"], results["records"])]
    return "\n".join(lines)


def _readme_table_of(model: str, parameters: dict, records: list[dict]) -> list[str]:
    ours = [r for r in of_the_paper(records, parameters["eps"]) if r["model"] == model]
    static, aware = cells(ours), [cells(ours, threat) for threat in ("grey_box", "adaptive")]

    def counts(*tables: dict[tuple, dict]) -> str:
        # Of the cells of this table only: other notebooks record other cells with another n.
        return ", ".join(f"{n:,}" for n in sorted({t[c]["n"] for t in tables for c in CELLS if c in t}))

    n, few = counts(static), counts(*aware)
    also = f" (grey-box and end-to-end: {few})" if few else ""
    table, paper = MODELS[model].table, PAPER.get(model, {})
    about = f"the paper's Table {table}" if table else "in none of the paper's tables"
    titles = ["input", "classifier", "defense", *(["paper"] if paper else [])]
    columns = [*titles, *(THREAT_TITLES[threat] for threat in PAPER_THREATS)]
    lines = [
        f"**{MODELS[model].title}** ({about}): recorded {parameters['profile']} run, "
        f"seed {parameters['seed']}, n = {n} test images{also}.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    for cell in CELLS:
        theirs = [f"{paper[cell]:.2f}"] if paper else []
        titles = (INPUT_TITLES[cell[0]], STAGE_TITLES[cell[1]], DEFENSE_TITLES[cell[2]], *theirs)
        known = [percent(found[cell]) if cell in found and cell[0] != "regular" else "" for found in aware]
        lines.append(f"| {' | '.join(titles)} | {percent(static.get(cell))} | {' | '.join(known)} |")
    return lines


def write_between(file: Path, markers: tuple[str, str], text: str) -> None:
    """Replace what a text file has between two markers."""
    head, _, rest = file.read_text().partition(markers[0])
    _, _, tail = rest.partition(markers[1])
    settings.write_atomically(file, f"{head}{markers[0]}\n{text}\n{markers[1]}{tail}".encode())
