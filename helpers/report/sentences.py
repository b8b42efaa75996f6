"""The sentences of the report's first page.

Each sentence is chosen by what was measured, so it stays true whatever the result. If no notebook published a
number, the page says that it is missing and claims nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from .. import pipeline, settings
from ..classifiers.registry import MODELS
from ..evaluation.titles import INPUT_TITLES, percent, title_of
from ..pipeline import ROBUSTBENCH, comparisons
from ..pipeline.comparisons import Comparison
from ..pipeline.published import PAPER_DIFFERENCES
from ..plots import tables
from ..studies import baselines

Cell = tuple[str, str, str]
"""Input, stage and defense."""

BARE: Cell = ("pgd", "initial", "none")
"""The cell that shows what PGD does to the initial classifier."""

DEFENDED: Cell = ("pgd", "fine_tuned", "ae")
"""The cell on which the paper's claim rests."""

INPUTS = ("regular", "fgsm", "pgd")


@dataclass(frozen=True)
class Claim:
    """A sentence that a reader may believe, this run's verdict on it, and the numbers behind the verdict."""

    text: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Judged:
    """Two records, and how far accuracy rises from the first to the second."""

    before: dict
    after: dict
    found: Comparison


PROTOCOL = "the paper's protocol"
HELPS = "The autoencoder helps against PGD images made for the initial classifier."
HELPS_FURTHER = "Fine-tuning helps further against the same images."
COSTS = "The defense costs accuracy on clean images."
ADAPTIVE = "The defense is as good against an attacker who knows it."
BETTER = "Against that attacker it is better than no defense."


def judge(transfer: dict, adaptive: dict, answers: Mapping[str, np.ndarray] | None) -> dict[str, Judged]:
    """Test what the page says of two numbers each, all of it together.

    Args:
        transfer: records under transfer attacks, by cell.
        adaptive: records under adaptive attacks, by cell.
        answers: which images were classified correctly, by the name of the cell.

    Returns:
        By statement, which is true if accuracy rises; without those whose records are missing.
    """
    bare, defended, known = transfer.get(BARE), transfer.get(DEFENDED), adaptive.get(DEFENDED)
    behind, clean = transfer.get(("pgd", "initial", "ae")), transfer.get(("regular", "initial", "none"))
    pairs = {
        PROTOCOL: (bare, defended),
        HELPS: (bare, behind),
        HELPS_FURTHER: (behind, defended),
        COSTS: (transfer.get(("regular", *DEFENDED[1:])), clean),
        ADAPTIVE: (defended, known),
        BETTER: (bare, known),
    }
    measured = {text: (a, b) for text, (a, b) in pairs.items() if a and b}
    found = comparisons.of_records(list(measured.values()), answers)
    return {text: Judged(*pair, one) for (text, pair), one in zip(measured.items(), found, strict=True)}


def _said(record: dict) -> str:
    """Return a record for use in a sentence: accuracy and its 95% interval."""
    return percent(record).replace(" [", "% [", 1)


def under_the_protocol(transfer: dict, paper: dict, judged: dict[str, Judged]) -> str:
    """Say whether the defense helps under the paper's protocol."""
    if PROTOCOL not in judged:
        return "No notebook measured whether the defense helps under the paper's protocol."
    verdicts = {1: "helps", -1: "does harm", 0: "makes no difference that this run can see"}
    helps = verdicts[judged[PROTOCOL].found.sign]
    theirs = f" (the paper: {paper[BARE]:.2f}% and {paper[DEFENDED]:.2f}%)" if paper else ""
    return (
        f"Under the paper's protocol, with attacks on the initial classifier, the defense {helps}: under PGD "
        f"the initial classifier is right on {_said(transfer[BARE])} of the images, and the fine-tuned one "
        f"behind its autoencoder on {_said(transfer[DEFENDED])}{theirs}."
    )


def under_adaptive_attack(transfer: dict, adaptive: dict, judged: dict[str, Judged]) -> str:
    """Say what is left of the defense when its attacker knows it."""
    if ADAPTIVE not in judged:
        return "No notebook measured what an attacker who knows the defense achieves."
    before, left = transfer[DEFENDED], adaptive[DEFENDED]
    sign = judged[ADAPTIVE].found.sign
    if sign > 0:
        verdict = "does better, so doubt that attack"
    elif sign == 0:
        verdict = "does no worse that this run can see"
    else:
        verdict = "falls" if left["accuracy"] < before["accuracy"] / 2 else "loses a part of that"
    return (
        "Against an attacker who differentiates through autoencoder and classifier together, the same "
        f"defense {verdict}: the same ten steps within the same budget leave {_said(left)}."
    )


def worst_cases(records: list[dict]) -> dict[str, tuple[baselines.System, dict]]:
    """Return the adversarially trained networks of notebook 07 with their worst cases, by title."""
    return {
        system.title: (system, r)
        for system in baselines.SYSTEMS.values()
        for r in records
        if system.network
        and (r["stage"], r["defense"], r["input"]) == (system.stage, system.defense, "worst_case")
    }


def robust_networks(records: list[dict]) -> list[str]:
    """Say what the adversarially trained networks of notebook 07 keep. All are named, not only the best."""
    found = worst_cases(records)
    if not found:
        return []
    clean = {(r["stage"], r["defense"]): r for r in records if r["input"] == "regular"}

    def named(title: str, system: baselines.System, worst: dict) -> str:
        unattacked = clean.get((system.stage, system.defense))
        aside = f" ({100 * unattacked['accuracy']:.1f}% clean)" if unattacked else ""
        return f"{title} {_said(worst)}{aside}"

    said = "; ".join(named(title, *pair) for title, pair in found.items())
    n = min(r["n"] for _, r in found.values())
    return [
        "Networks of about the same size were trained against an attacker who knows them. In the worst case "
        f"of several attacks they keep: {said} (n = {n:,})."
    ]


def comparison(transfer: dict, paper: dict, answers: Mapping[str, np.ndarray] | None) -> str:
    """Compare the paper's differences and numbers with this run's."""
    both = {cell: value for cell, value in paper.items() if cell in transfer}
    if not both:
        return ""
    distance = {cell: 100 * transfer[cell]["accuracy"] - value for cell, value in both.items()}
    far = max(distance, key=lambda cell: abs(distance[cell]))
    signs = _signs(transfer, both, answers)
    inside = sum(
        100 * transfer[cell]["ci_low"] <= value <= 100 * transfer[cell]["ci_high"]
        for cell, value in both.items()
    )
    return (
        f"The paper discusses {sum(signs.values())} differences (the effect of the attacks, of the "
        f"autoencoder, and of fine-tuning behind it). Here {signs['same']} have the paper's sign, "
        f"{signs['other']} the other, and {signs['undecided']} are undecided (p above 0.05 with Holm's "
        "correction for all of them). The accuracies themselves differ from the paper's by more than "
        f"{median(map(abs, distance.values())):.1f} points in half of {len(both)} cells, and at most by "
        f"{abs(distance[far]):.1f} ({INPUT_TITLES[far[0]]}, {title_of(far[1:])}: paper {both[far]:.2f}%, "
        f"this run {_said(transfer[far])}). The paper's number lies within this run's interval in {inside} "
        f"of {len(both)} cells."
    )


def _signs(transfer: dict, paper: dict, answers: Mapping[str, np.ndarray] | None) -> dict[str, int]:
    """Count the paper's differences that have the same sign here, the other one, or neither for certain."""
    pairs = [(a, b) for a, b in PAPER_DIFFERENCES if a in paper and b in paper]
    found = comparisons.of_records([(transfer[a], transfer[b]) for a, b in pairs], answers)
    agree = [one.sign * np.sign(paper[b] - paper[a]) for one, (a, b) in zip(found, pairs, strict=True)]
    return {"same": agree.count(1), "other": agree.count(-1), "undecided": agree.count(0)}


def adaptive(
    transfer: dict, aware: dict, records: list[dict], answers: Mapping[str, np.ndarray] | None
) -> str:
    """Say how much lower the accuracy is when the attacker knows the defense."""
    behind = [cell for cell in aware["adaptive"] if cell[2] == "ae" and cell in transfer]
    if not behind:
        return "No notebook of this run measured an attacker who knows the defense."
    pairs = [(transfer[cell], aware["adaptive"][cell]) for cell in behind]
    lower = sum(one.sign < 0 for one in comparisons.of_records(pairs, answers))
    said = [
        f"Behind the autoencoder, an attacker who knows it lowers accuracy further in {lower} of "
        f"{len(behind)} comparisons (p below 0.05 with Holm's correction for all of them)."
    ]
    if (half := aware["grey_box"].get(DEFENDED)) and DEFENDED in behind:
        said.append(
            f"PGD images made for the fine-tuned classifier without its autoencoder leave {_said(half)}; "
            f"made for both, {_said(aware['adaptive'][DEFENDED])}."
        )
    system = (*DEFENDED[1:], "worst_case")
    if worst := [r for r in records if (r["stage"], r["defense"], r["input"]) == system]:
        said.append(f"All attacks of this run together leave {_said(worst[-1])} (n = {worst[-1]['n']:,}).")
    return " ".join(said)


CLAIMS = HELPS, HELPS_FURTHER, COSTS, ADAPTIVE, BETTER


def claims(judged: dict[str, Judged]) -> list[Claim]:
    """Return what a reader may believe, each with this run's verdict."""
    return [_claim(text, judged.get(text)) for text in CLAIMS]


def _claim(text: str, judged: Judged | None) -> Claim:
    if not judged:
        return Claim(text, "not measured", "no notebook of this run published the numbers")
    verdict = {1: "yes", -1: "no", 0: "undecided"}[judged.found.sign]
    same = f" (on the same {judged.found.n:,} images)" if judged.found.n else ""
    return Claim(text, verdict, f"{percent(judged.before)} to {percent(judged.after)}: {judged.found}{same}")


def doubts(parameters: dict, dataset: str, paper: dict, failed: int, networks: str) -> list[str]:
    """Return what a reader should doubt."""
    model, profile, weights = (parameters[key] for key in ("model", "profile", "weights"))
    said = []
    if failed:
        said.append("A notebook failed, so its measurements are missing; a missing number is not a finding.")
    if profile != "full":
        does = "assesses" if networks == "shipped" else "trains on a subset and assesses"
        said.append(f"A {profile} run {does} few images.")
    said += [
        f"One seed ({parameters['seed']}), one training of each network: the intervals cover only the choice "
        "of test images.",
        "The end-to-end numbers are upper bounds: a stronger attack can only lower them.",
        "Neither table has an attacker who can only query the model, or one who trains a substitute.",
    ]
    if paper and weights != "tf2cv":
        said.append("The paper starts from tf2cv's networks, this run from others, so accuracies may differ.")
    said += _about_training(parameters, dataset)
    if weights == "none":
        said.append("The initial classifier was not trained at all: these numbers only test the machinery.")
    if paper and (audit := pipeline.recorded_audit(model)):
        said.append(f"The paper's released code departs from its text. {tables.beside_seeds(audit)}")
    if paper:
        name, (clean, attacked) = next(iter(ROBUSTBENCH.items()))
        said.append(
            f"For scale: RobustBench lists {name}, which was adversarially trained, with {clean}% on clean "
            f"images and {attacked}% under AutoAttack at this budget."
        )
    return said


def _about_training(parameters: dict, dataset: str) -> list[str]:
    """Say how a network's training differs: what it began with, and how long it is fine-tuned."""
    network, said = MODELS[parameters["model"]], []
    card = settings.WEIGHTS / dataset / f"{parameters['model']}.json"
    if network.begins_with and parameters["weights"] == "course" and card.is_file():
        begins = settings.read_json(card).get("begins_with", "other weights").partition(" (")[0]
        said.append(f"The initial classifier's own training began with {begins}.")
    if network.most_tune_epochs:
        times = "one pass" if network.most_tune_epochs == 1 else f"at most {network.most_tune_epochs} passes"
        said.append(f"Because of the time it takes, it is fine-tuned for {times} over the six sources.")
    return said
