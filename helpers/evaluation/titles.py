"""The reader's words for the keys of records, and records as text."""

from __future__ import annotations

INPUT_TITLES = {"regular": "Regular", "noise": "Random noise", "fgsm": "FGSM", "pgd": "PGD"}
STAGE_TITLES = {"initial": "initial", "fine_tuned": "fine-tuned", "adversarial": "adversarially trained"}
DEFENSE_TITLES = {"none": "no AE", "ae": "with AE"}
SYSTEMS = tuple((stage, defense) for stage in ("initial", "fine_tuned") for defense in ("none", "ae"))
"""The columns of the paper's tables: stage and defense."""
CELLS = tuple((kind, *system) for kind in ("regular", "fgsm", "pgd") for system in SYSTEMS)
"""The cells of the paper's tables, row by row: input, stage and defense."""

THREAT_TITLES = {
    "static": "attack made once, against the initial classifier",
    "grey_box": "attack on this classifier, without its AE",
    "adaptive": "attack through AE and classifier",
}


def cells(records: list[dict], threat: str = "static") -> dict[tuple[str, str, str], dict]:
    """Records by (input, stage, defense)."""
    return {(r["input"], r["stage"], r["defense"]): r for r in records if r["threat"] == threat}


def knowing(records: list[dict], threat: str) -> dict[tuple[str, str, str], dict]:
    """Records by (input, stage, defense), for an attacker who knows that much. Without a defense there is nothing more
    to know than the classifier: there, ``grey_box`` stands for ``adaptive``."""
    found = cells(records, threat)
    if threat == "adaptive":
        bare = {cell: r for cell, r in cells(records, "grey_box").items() if cell[2] == "none"}
        found = {**bare, **found}
    return found


def title_of(system: tuple[str, str]) -> str:
    """A column of the paper's tables in words: stage and defense."""
    return STAGE_TITLES[system[0]] + (" + AE" if system[1] == "ae" else "")


def capitalize(title: str) -> str:
    """A title as a sentence begins; unlike str.capitalize, it leaves other capitals (PGD, ResNet) as they are."""
    return title[:1].upper() + title[1:]


def percent(record: dict | None) -> str:
    """A record as text: accuracy and its 95% interval, in percent."""
    if record is None:
        return "–"
    high = 100 * record["ci_high"]
    upper = (
        f"{high:.2f}" if 0 < high < 0.05 else f"{high:.1f}"
    )  # with two decimals: an upper limit is never 0
    return f"{100 * record['accuracy']:.1f} [{100 * record['ci_low']:.1f}, {upper}]"
