"""The report's first page, computed from a run's records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import pipeline
from ..evaluation import titles
from . import sentences, summary_figures
from .sentences import INPUTS, Claim


@dataclass(frozen=True)
class Summary:
    """The contents of the first page.

    Attributes:
        answer: the short answer, as sentences.
        comparison: the paper against this run, as text; empty if they cannot be compared.
        adaptive: transfer against end-to-end attacks, as text.
        claims: what to believe.
        doubts: what to doubt, as sentences.
        transfer: records under transfer attacks, by cell (input, stage, defense).
        aware: records under ``grey_box`` and ``adaptive`` attacks, by threat and cell.
        counts: the number of assessed images, as text, by threat.
        figures: name, alternative text and PNG bytes of the figures ``answer``, ``paper`` and ``threats``,
            if they have records.
    """

    answer: list[str]
    comparison: str
    adaptive: str
    claims: list[Claim]
    doubts: list[str]
    transfer: dict
    aware: dict
    counts: dict[str, str]
    figures: dict[str, dict]


def of_run(
    parameters: dict,
    dataset: str,
    records: list[dict],
    failed: int = 0,
    answers: Mapping[str, np.ndarray] | None = None,
    networks: str = "trained",
) -> Summary:
    """Return the summary of a run.

    Args:
        parameters: of its notebooks.
        dataset: the name of the data that ``auto`` found.
        records: everything that its notebooks published.
        failed: the number of notebooks that failed.
        answers: which images were classified correctly, by cell, where it is known.
        networks: ``shipped`` if all networks are those of an earlier full run, else ``trained``.
    """
    model, eps = parameters["model"], parameters["eps"]
    budget = {"regular": 0}
    every = [r for r in records if r["model"] == model and r["eps"] == budget.get(r["input"], eps)]
    here = pipeline.of_the_paper(every, eps)
    here.sort(key=lambda r: r["n"])  # if a cell was measured twice, the larger number of images counts
    transfer = {cell: r for cell, r in titles.knowing(here, "static").items() if cell[0] in INPUTS}
    aware = {threat: _attacked(titles.knowing(here, threat)) for threat in ("grey_box", "adaptive")}
    paper = pipeline.PAPER.get(model, {}) if pipeline.comparable(dataset, eps) else {}
    judged = sentences.judge(transfer, aware["adaptive"], answers)
    return Summary(
        answer=[
            sentences.under_the_protocol(transfer, paper, judged),
            sentences.under_adaptive_attack(transfer, aware["adaptive"], judged),
            *sentences.robust_networks(every),
        ],
        comparison=sentences.comparison(transfer, paper, answers),
        adaptive=sentences.adaptive(transfer, aware, every, answers),
        claims=sentences.claims(judged),
        doubts=sentences.doubts(parameters, dataset, paper, failed, networks),
        transfer=transfer,
        aware=aware,
        counts={threat: _counts(cells) for threat, cells in {"transfer": transfer, **aware}.items()},
        figures=summary_figures.draw(
            parameters, dataset, here, transfer, aware["adaptive"], sentences.worst_cases(every)
        ),
    )


def _attacked(found: dict) -> dict:
    """Return the records of attacked images."""
    return {cell: r for cell, r in found.items() if cell[0] in ("fgsm", "pgd")}


def _counts(found: dict) -> str:
    """Return the numbers of images of records, as text."""
    return " and ".join(f"{n:,}" for n in sorted({r["n"] for r in found.values()}, reverse=True))
