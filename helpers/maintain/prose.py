"""Write the numbers of the notebooks' prose from figures/results.json (python -m helpers.maintain.prose).

In a Markdown cell, ``<!--= pgd -->0.0<!--/-->`` is the recorded accuracy in percent under PGD. Words before
a colon choose the record, a word after it the field: ``<!--= pgd fine_tuned ae adaptive : n -->``. The field
``paper`` is the paper's number for the same cell. What is not said is the initial classifier without a
defense, under transfer attacks with the paper's budget and steps; ``eps=4`` (of 255), ``steps=5`` and
``radius=0.25`` (a certificate's, in l2) say otherwise, and ``stage=madry`` names a stage that only one
notebook has. ``<!--? pgd < fgsm < 50 -->`` writes nothing: it is a claim of the sentence beside it, which a
test compares with the records.

``sweep=seeds`` takes the records of a sweep in figures/sweeps instead. Its ``seed=1`` chooses one seed;
without it, a field says what all of them give: ``<!--= sweep=seeds pgd ae eps=4 steps=50 : mean -->``.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
import pandas as pd

from .. import pipeline, report, settings
from ..evaluation.titles import INPUT_TITLES, STAGE_TITLES, THREAT_TITLES, upper_limit
from ..pipeline.published import PAPER, PAPER_STEPS
from ..settings import CourseError, write_atomically
from ..studies import seeds
from ..sweeps import results

NUMBER = re.compile(r"(<!--= (.+?) -->)(.*?)(<!--/-->)", re.DOTALL)
CLAIM = re.compile(r"<!--\? (.+?) -->", re.DOTALL)
TOLD = {"model": "resnet20", "dataset": "cifar10", "profile": "full", "seed": 0}
"""The run that the notebooks' prose tells."""


def _of_the_paper(record: dict) -> float:
    """Return the paper's number for a record's cell, in percent."""
    cell = record["input"], record["stage"], record["defense"]
    if cell not in PAPER.get(record["model"], {}):
        raise CourseError(f"the paper has no number for {', '.join(cell)}")
    return PAPER[record["model"]][cell]


_FIELDS = {
    "accuracy": lambda r: f"{100 * r['accuracy']:.1f}",
    "low": lambda r: f"{100 * r['ci_low']:.1f}",
    "high": upper_limit,
    "n": lambda r: f"{r['n']:,}",
    "correct": lambda r: f"{r['correct']:,}",
    "wrong": lambda r: f"{r['n'] - r['correct']:,}",
    "paper": lambda r: f"{_of_the_paper(r):.2f}",
}
_ACROSS_SEEDS = {
    "mean": lambda row: row["mean"],
    "lowest": lambda row: row["lowest"],
    "highest": lambda row: row["highest"],
    "range": lambda row: row["highest"] - row["lowest"],
    "deviation": lambda row: row["deviation"],
    "images": lambda row: row["of the images alone"],
}
"""What a row of seeds.spread says, in percent."""

_ORDERS = {"<": operator.lt, ">": operator.gt}


def found(words: str, records: list[dict]) -> dict:
    """Return the record that words choose.

    Raises:
        CourseError: there is none, or more than one.
    """
    fitting = fitting_records(words, records)
    if len(fitting) != 1:
        raise CourseError(f"{len(fitting)} records are {words!r}; say which one is meant")
    return fitting[0]


def fitting_records(words: str, records: list[dict]) -> list[dict]:
    """Return all records that words choose, of ``records`` or of the sweep that the words name."""
    wanted: dict = {**TOLD, "stage": "initial", "defense": "none", "threat": "static"}
    for word in words.split():
        name, _, value = word.partition("=")
        if name == "sweep":
            recorded = results.recorded(value)
            records, wanted["profile"] = recorded["records"], recorded["grid"]["profile"]
            del wanted["seed"]
        elif value:
            wanted |= _said(name, value)
        elif word in INPUT_TITLES:
            wanted["input"] = word
        elif word in THREAT_TITLES:
            wanted["threat"] = word
        else:
            wanted["stage" if word in STAGE_TITLES else "defense"] = word
    kind = wanted.get("input")
    wanted.setdefault("eps", 0.0 if kind == "regular" else settings.EPS)
    wanted.setdefault("steps", PAPER_STEPS.get(kind, 0))
    return [r for r in records if all(_same(r.get(name), value) for name, value in wanted.items())]


def _said(name: str, value: str) -> dict:
    """Return the field of a record that ``name=value`` chooses."""
    if name == "radius":
        return {"eps": float(value)}
    if not value.isdigit():
        return {name: value}
    return {name: int(value) / 255 if name == "eps" else int(value)}


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        return isinstance(one, int | float) and abs(one - other) < 1e-9
    return one == other


def text_of(words: str, records: list[dict]) -> str:
    """Return what stands between the marks of a number: a record's accuracy, or the field after the colon."""
    chosen, _, field = words.partition(":")
    field = field.strip() or "accuracy"
    if field in _ACROSS_SEEDS:
        return f"{_ACROSS_SEEDS[field](_spread(chosen, records)):.1f}"
    if field not in _FIELDS:
        raise CourseError(
            f"there is no field {field!r}; choose one of {', '.join([*_FIELDS, *_ACROSS_SEEDS])}"
        )
    return _FIELDS[field](found(chosen, records))


def _spread(words: str, records: list[dict]) -> pd.Series:
    """Return what the seeds of a sweep's cell give (seeds.spread)."""
    fitting = fitting_records(words, records)
    cells = {tuple(r[name] for name in (*seeds.PLACE, "eps", "steps")) for r in fitting}
    if len(cells) != 1:
        raise CourseError(f"{len(cells)} cells are {words!r}; say which one is meant")
    (cell,) = cells
    return seeds.spread(fitting, cell[:4]).iloc[0]


def holds(claim: str, records: list[dict]) -> bool:
    """Return whether a chain of ``<`` or ``>`` between accuracies (or numbers of percent) is true."""
    parts = re.split(r"\s+([<>])\s+", claim.strip())
    values = [_value(part, records) for part in parts[::2]]
    pairs = zip(values, parts[1::2], values[1:], strict=False)
    return len(values) > 1 and all(_ORDERS[order](a, b) for a, order, b in pairs)


def _value(part: str, records: list[dict]) -> float:
    if re.fullmatch(r"[\d.]+", part):
        return float(part)
    return float(text_of(part, records)) if ":" in part else 100 * found(part, records)["accuracy"]


def filled(text: str, records: list[dict]) -> str:
    """Return a text with today's number between each pair of marks."""
    return NUMBER.sub(lambda m: f"{m[1]}{text_of(m[2], records)}{m[4]}", text)


def write(notebooks: Iterable[Path] | None = None) -> list[str]:
    """Write the numbers into notebooks (default: all that a report shows); return the changed ones' names."""
    records, changed = pipeline.recorded_results()["records"], []
    for notebook in report.chapters() if notebooks is None else notebooks:
        content = nbformat.read(notebook, as_version=4)
        before = [cell.source for cell in content.cells]
        for cell in content.cells:
            cell.source = filled(cell.source, records) if cell.cell_type == "markdown" else cell.source
        if [cell.source for cell in content.cells] != before:
            write_atomically(notebook, nbformat.writes(content).encode())
            changed.append(notebook.name)
    return changed


def untrue(notebook: Path, records: list[dict]) -> list[str]:
    """Return the claims of a notebook that the records contradict."""
    cells = nbformat.read(notebook, as_version=4).cells
    claims = [claim for cell in cells if cell.cell_type == "markdown" for claim in CLAIM.findall(cell.source)]
    return [claim for claim in claims if not holds(claim, records)]


if __name__ == "__main__":
    sys.stdout.write("\n".join(write()) + "\n")
