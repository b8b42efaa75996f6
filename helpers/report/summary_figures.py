"""The figures of the report's first page."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from .. import pipeline, plots
from ..classifiers.registry import MODELS
from ..evaluation.titles import INPUT_TITLES, SYSTEMS, title_of
from .sentences import DEFENDED, INPUTS


def draw(
    parameters: dict,
    dataset: str,
    records: list[dict],
    transfer: dict,
    adaptive: dict,
    robust: Mapping[str, tuple[object, dict]],
) -> dict[str, dict]:
    """Draw the figures ``answer``, ``paper`` and ``threats``, if they have records.

    Args:
        parameters: of the run.
        dataset: the name of its data.
        records: the records of the paper's systems and inputs.
        transfer: those under transfer attacks, by cell.
        adaptive: those under end-to-end attacks, by cell.
        robust: the robust networks' worst cases, by title (sentences.worst_cases).

    Returns:
        By figure: its name, alternative text and PNG bytes.
    """
    model, eps = parameters["model"], parameters["eps"]
    label = pipeline.run_label(dataset, parameters["profile"], eps, parameters["weights"])
    paper = pipeline.PAPER.get(model, {}) if pipeline.comparable(dataset, eps) else {}
    drawn = {}
    if DEFENDED in transfer and DEFENDED in adaptive:
        rows = {
            "rebuilt, unknown to its attacker": transfer[DEFENDED],
            "rebuilt, known to its attacker": adaptive[DEFENDED],
        }
        rows |= {f"{title}, worst case": record for title, (_, record) in robust.items()}
        drawn["answer"] = _answer(rows, paper)
    if transfer:
        drawn["paper"] = _paper(transfer, model, bool(paper))
    if adaptive:
        drawn["threats"] = _threats(records, transfer, adaptive)
    return {
        name: {"name": f"summary_{name}", "alt": alt, "png": plots.png(figure, label)}
        for name, (figure, alt) in drawn.items()
    }


def _answer(rows: dict[str, dict], paper: dict) -> tuple[Figure, str]:
    """Draw the short answer: the paper's claim, the defense rebuilt, and the repair."""
    unknown, known, *_ = (f"{100 * record['accuracy']:.0f}%" for record in rows.values())
    title = f"Under PGD the defense keeps {unknown}, and {known} once its attacker knows it"
    said = "; ".join(f"{label} {100 * record['accuracy']:.1f}%" for label, record in rows.items())
    alt = f"Accuracy under PGD and, for networks trained against attackers, in the worst case: {said}."
    return plots.answer_figure(rows, title, ("the paper's claim", paper[DEFENDED]) if paper else None), alt


def _paper(transfer: dict, model: str, comparable: bool) -> tuple[Figure, str]:
    runs = "the paper and this run" if comparable else "this run"
    title = f"{MODELS[model].title}: {runs}, transfer attacks"
    alt = f"Accuracy with 95% intervals under transfer attacks. {_in_words(transfer)}"
    if comparable:
        alt += " Hollow markers are the paper's values, in the table below."
    return plots.paper_figure(list(transfer.values()), model, title, comparable), alt


def _threats(records: list[dict], transfer: dict, adaptive: dict) -> tuple[Figure, str]:
    title = "Transfer against end-to-end attacks"
    if DEFENDED in transfer and DEFENDED in adaptive:
        unknown, known = (100 * r[DEFENDED]["accuracy"] for r in (transfer, adaptive))
        title = f"The same defense under PGD: {unknown:.0f}% unknown, {known:.0f}% known to its attacker"
    alt = (
        "Arrows from the accuracy under transfer attacks to that under end-to-end ones, by classifier. "
        f"End-to-end: {_in_words(adaptive)}"
    )
    return plots.threats_figure(records, title), alt


def _in_words(found: dict) -> str:
    """Return records as text, one sentence for each input."""
    parts = []
    for kind in INPUTS:
        cells = [(kind, *system) for system in SYSTEMS if (kind, *system) in found]
        if cells:
            values = [f"{title_of(cell[1:])} {100 * found[cell]['accuracy']:.1f}%" for cell in cells]
            parts.append(f"{INPUT_TITLES[kind]}: {', '.join(values)}.")
    return " ".join(parts)
