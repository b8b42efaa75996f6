"""The two figures of the report's first page."""

from __future__ import annotations

from .. import pipeline, plots
from ..classifiers.registry import MODELS
from ..evaluation.titles import INPUT_TITLES, SYSTEMS, title_of
from .sentences import DEFENDED, INPUTS


def draw(
    parameters: dict, dataset: str, records: list[dict], transfer: dict, adaptive: dict
) -> dict[str, dict]:
    """Draw the figures ``paper`` and ``threats``, if they have records.

    Args:
        parameters: of the run.
        dataset: the name of its data.
        records: the records of the paper's systems and inputs.
        transfer: those under transfer attacks, by cell.
        adaptive: those under end-to-end attacks, by cell.

    Returns:
        By figure: its name, alternative text and PNG bytes.
    """
    model, eps = parameters["model"], parameters["eps"]
    label = pipeline.run_label(dataset, parameters["profile"], eps, parameters["weights"])
    found = {}
    if transfer:
        comparable = pipeline.comparable(dataset, eps) and model in pipeline.PAPER
        runs = "the paper and this run" if comparable else "this run"
        title = f"{MODELS[model].title}: {runs}, transfer attacks"
        alt = f"Accuracy with 95% intervals under transfer attacks. {_in_words(transfer)}"
        if comparable:
            alt += " Hollow markers are the paper's values, in the table below."
        figure = plots.paper_figure(list(transfer.values()), model, title, comparable)
        found["paper"] = {"name": "summary_paper", "alt": alt, "png": plots.png(figure, label)}
    if adaptive:
        title = "Transfer against end-to-end attacks"
        if DEFENDED in transfer and DEFENDED in adaptive:
            unknown, known = (100 * r[DEFENDED]["accuracy"] for r in (transfer, adaptive))
            title = f"The same defense under PGD: {unknown:.0f}% unknown, {known:.0f}% known to its attacker"
        alt = (
            "Arrows from the accuracy under transfer attacks to that under end-to-end ones, by classifier. "
            f"End-to-end: {_in_words(adaptive)}"
        )
        figure = plots.threats_figure(records, title)
        found["threats"] = {"name": "summary_threats", "alt": alt, "png": plots.png(figure, label)}
    return found


def _in_words(found: dict) -> str:
    """Return records as text, one sentence for each input."""
    parts = []
    for kind in INPUTS:
        cells = [(kind, *system) for system in SYSTEMS if (kind, *system) in found]
        if cells:
            values = [f"{title_of(cell[1:])} {100 * found[cell]['accuracy']:.1f}%" for cell in cells]
            parts.append(f"{INPUT_TITLES[kind]}: {', '.join(values)}.")
    return " ".join(parts)
