"""The reader's words for the keys of records, and records as text.

Records have short keys that never change, because figures/results.json is compared from run to run. Tables,
figures, the report and the README show the words below, and take them from here. Needs no TensorFlow.

A record's ``stage`` tells how the classifier was trained, ``defense`` what comes before it, ``input`` what
the images are and ``threat`` what the attacker knows. Three keys differ from the field's words for them:
``regular`` images are clean images, a ``static`` attack is a transfer attack by an oblivious attacker, and an
``adaptive`` attack goes end to end, through the defense and the classifier. Three studies add keys of their
own, with titles of their own: the robust models (more stages), the baselines (more defenses) and the search
(``ae:`` and an architecture as defense).
"""

from __future__ import annotations

STAGE_TITLES = {"initial": "initial", "fine_tuned": "fine-tuned", "adversarial": "adversarially trained"}
"""How the classifier was trained: on clean images, then on clean and attacked ones (the paper's mixed
batches), or by adversarial training."""

DEFENSE_TITLES = {"none": "no AE", "ae": "with AE"}
"""What comes before the classifier: nothing, or the denoising autoencoder (AE)."""

INPUT_TITLES = {
    "regular": "clean",
    "noise": "random signs",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "bpda": "PGD with BPDA",
    "apgd": "APGD",
    "square": "Square",
    "worst_case": "worst case",
    "certified": "certified",
}
"""What the images are. Random signs move every value by eps, up or down. BPDA takes the gradient of the
defense for that of the identity. The worst case counts an image as correct only if it withstands every attack
of a set."""

THREAT_TITLES = {
    "static": "transfer attack (oblivious attacker)",
    "grey_box": "grey-box",
    "adaptive": "end-to-end (adaptive, white-box)",
    "transfer": "transfer from another network",
    "black_box": "black-box",
    "any": "any attacker",
}
"""What the attacker knows. An oblivious attacker made the images once, against the initial classifier, and
does not know what is assessed (the paper's "static" protocol). A grey-box attacker knows the assessed
classifier but not its autoencoder. An adaptive attacker knows both, and attacks them end-to-end. A
black-box attacker sees the logits alone. A certificate holds for any attacker."""

PAPER_THREATS = ("static", "grey_box", "adaptive")
"""The attackers that the paper's systems are measured against, from the weakest to the strongest."""

SYSTEMS = tuple((stage, defense) for stage in ("initial", "fine_tuned") for defense in ("none", "ae"))
"""The columns of the paper's tables: stage and defense."""

CELLS = tuple((kind, *system) for kind in ("regular", "fgsm", "pgd") for system in SYSTEMS)
"""The cells of the paper's tables, row by row: input, stage and defense."""


def cells(records: list[dict], threat: str = "static") -> dict[tuple[str, str, str], dict]:
    """Index the records of one threat by (input, stage, defense)."""
    return {(r["input"], r["stage"], r["defense"]): r for r in records if r["threat"] == threat}


def knowing(records: list[dict], threat: str) -> dict[tuple[str, str, str], dict]:
    """Index by (input, stage, defense) the records of an attacker who knows this much.

    Without a defense the classifier is all there is to know: there, ``grey_box`` also counts as ``adaptive``.
    """
    found = cells(records, threat)
    if threat == "adaptive":
        bare = {cell: r for cell, r in cells(records, "grey_box").items() if cell[2] == "none"}
        found = {**bare, **found}
    return found


def title_of(system: tuple[str, str]) -> str:
    """Name a column of the paper's tables, given its stage and defense."""
    return STAGE_TITLES[system[0]] + (" + AE" if system[1] == "ae" else "")


def capitalize(title: str) -> str:
    """Capitalize the first letter. Unlike str.capitalize, keep other capitals (PGD, ResNet) as they are."""
    return title[:1].upper() + title[1:]


def percent(record: dict | None) -> str:
    """Write a record's accuracy with its 95% interval, in percent; a dash if there is no record."""
    if record is None:
        return "–"
    return f"{100 * record['accuracy']:.1f} [{100 * record['ci_low']:.1f}, {upper_limit(record)}]"


def upper_limit(record: dict) -> str:
    """Write the upper limit of a record's interval, in percent: also 0 of n has one above 0."""
    high = 100 * record["ci_high"]
    return f"{high:.2f}" if 0 < high < 0.05 else f"{high:.1f}"
