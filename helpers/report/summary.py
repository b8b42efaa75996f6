"""The report's first page in words and figures, all computed from a run's records.

Every sentence is chosen by what was measured, so that it stays true whatever that is. What no notebook published is
said to be missing, and nothing is said of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import median

from .. import pipeline, plots, settings
from ..classifiers.registry import MODELS
from ..evaluation import difference, titles
from ..evaluation.titles import INPUT_TITLES, SYSTEMS, capitalize, percent, title_of
from ..pipeline import PAPER, ROBUSTBENCH
from ..plots import tables
from ..studies import baselines

DEFENDED = ("pgd", "fine_tuned", "ae")
"""The cell that the paper's claim rests on."""

INPUTS = ("regular", "fgsm", "pgd")

STEPS_OF_THE_PAPER = (
    *((("regular", "initial", "none"), (kind, "initial", "none")) for kind in ("fgsm", "pgd")),
    *(((kind, stage, "none"), (kind, stage, "ae")) for stage in ("initial", "fine_tuned") for kind in INPUTS),
    *(((kind, "initial", "ae"), (kind, "fine_tuned", "ae")) for kind in INPUTS),
)
"""Pairs of cells whose difference the paper discusses: what the attacks take, what the autoencoder gives and costs,
what fine-tuning gives behind it."""


@dataclass(frozen=True)
class Claim:
    """A sentence that somebody may believe, what this run says of it, and the numbers that say so."""

    text: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Summary:
    """What the first page says.

    Attributes:
        answer: the short answer, in sentences.
        comparison: the paper against this run, in words; empty where they cannot be compared.
        adaptive: transfer against end-to-end attacks, in words.
        claims: what to believe.
        doubts: what to doubt, sentences.
        static, aware: records by cell (input, stage, defense); aware by threat first.
        counts: how many images, by threat, in words.
        figures: name, alt and PNG bytes of the figures ``paper`` and ``threats``; without those that have no record.
    """

    answer: list[str]
    comparison: str
    adaptive: str
    claims: list[Claim]
    doubts: list[str]
    static: dict
    aware: dict
    counts: dict[str, str]
    figures: dict[str, dict]


def of_run(parameters: dict, dataset: str, records: list[dict], failed: int = 0) -> Summary:
    """The summary of a run.

    Args:
        parameters: of its notebooks.
        dataset: the name of the data that ``auto`` found.
        records: all that its notebooks pipeline.
        failed: how many notebooks did not run to their end.
    """
    model, eps = parameters["model"], parameters["eps"]
    everything = [
        r for r in records if r["model"] == model and r["eps"] == (0 if r["input"] == "regular" else eps)
    ]
    here = pipeline.of_the_paper(everything, eps)
    here.sort(key=lambda r: r["n"])  # where a cell was measured twice, on more images counts
    static = {cell: r for cell, r in titles.knowing(here, "static").items() if cell[0] in INPUTS}
    aware = {threat: _attacked(titles.knowing(here, threat)) for threat in ("grey_box", "adaptive")}
    paper = PAPER.get(model, {}) if pipeline.comparable(dataset, eps) else {}
    return Summary(
        answer=[
            _under_the_protocol(static, paper),
            _against_one_who_knows(static, aware["adaptive"]),
            *_repairs(everything),
        ],
        comparison=_comparison(static, paper),
        adaptive=_adaptive(static, aware, everything),
        claims=_claims(static, aware["adaptive"]),
        doubts=_doubts(parameters, dataset, paper, failed),
        static=static,
        aware=aware,
        counts={threat: _counts(cells) for threat, cells in {"static": static, **aware}.items()},
        figures=_figures(parameters, dataset, here, static, aware["adaptive"]),
    )


def _attacked(found: dict) -> dict:
    return {cell: r for cell, r in found.items() if cell[0] in ("fgsm", "pgd")}


def _counts(found: dict) -> str:
    return " and ".join(f"{n:,}" for n in sorted({r["n"] for r in found.values()}, reverse=True))


# ------------------------------------------------------------------------------------------------------------ words


def _said(record: dict) -> str:
    """A record within a sentence: accuracy and its 95% interval."""
    return percent(record).replace(" [", "% [", 1)


def _under_the_protocol(static: dict, paper: dict) -> str:
    bare = "pgd", "initial", "none"
    if bare not in static or DEFENDED not in static:
        return "Whether the defense helps under the paper's own protocol was not measured: no notebook published it."
    _, low, high = difference(static[bare], static[DEFENDED])
    helps = "helps" if low > 0 else "does harm" if high < 0 else "makes no difference that this run can see"
    theirs = f" (the paper: {paper[bare]:.2f}% and {paper[DEFENDED]:.2f}%)" if paper else ""
    return (
        f"Under the paper's own protocol, images attacked once and for the initial classifier, the defense {helps}: "
        f"under PGD the initial classifier is right on {_said(static[bare])}, the fine-tuned one behind its "
        f"autoencoder on {_said(static[DEFENDED])}{theirs}."
    )


def _against_one_who_knows(static: dict, adaptive: dict) -> str:
    if DEFENDED not in static or DEFENDED not in adaptive:
        return (
            "What an attacker achieves who knows of the defense was not measured: no notebook published it."
        )
    before, left = static[DEFENDED], adaptive[DEFENDED]
    _, low, high = difference(before, left)
    if low > 0:
        verdict = "does better, so doubt that attack"
    elif high >= 0:
        verdict = "does no worse that this run can see"
    else:
        verdict = "falls" if left["accuracy"] < before["accuracy"] / 2 else "loses a part of that"
    return (
        "Against an attacker who differentiates through autoencoder and classifier together, the same defense "
        f"{verdict}: the same ten steps within the same budget leave {_said(left)}."
    )


def _repairs(records: list[dict]) -> list[str]:
    """What networks keep that were trained against their own attacker (notebook 07); all of them, best or not."""
    found = {
        system.title: (system, r)
        for system in baselines.SYSTEMS.values()
        for r in records
        if system.network
        and (r["stage"], r["defense"], r["input"]) == (system.stage, system.defense, "worst_case")
    }
    if not found:
        return []
    clean = {(r["stage"], r["defense"]): r for r in records if r["input"] == "regular"}
    said = [
        f"{title} {_said(r)}"
        + (
            f" ({100 * clean[s.stage, s.defense]['accuracy']:.1f}% unchanged)"
            if (s.stage, s.defense) in clean
            else ""
        )
        for title, (s, r) in found.items()
    ]
    return [
        "Trained against an attacker who knows them, networks of about that size keep in the worst case of several "
        f"attacks: {'; '.join(said)} (n = {min(r['n'] for _, r in found.values()):,})."
    ]


def _comparison(static: dict, paper: dict) -> str:
    both = {cell: value for cell, value in paper.items() if cell in static}
    if not both:
        return ""
    distance = {cell: 100 * static[cell]["accuracy"] - value for cell, value in both.items()}
    far = max(distance, key=lambda cell: abs(distance[cell]))
    inside = sum(
        100 * static[c]["ci_low"] <= value <= 100 * static[c]["ci_high"] for c, value in both.items()
    )
    steps = [(a, b) for a, b in STEPS_OF_THE_PAPER if a in both and b in both]
    signs = {"same": 0, "undecided": 0, "other": 0}
    for a, b in steps:
        _, low, high = difference(static[a], static[b])
        rises = both[b] > both[a]
        signs["undecided" if low <= 0 <= high else "same" if rises == (low > 0) else "other"] += 1
    return (
        f"The paper discusses {len(steps)} differences (what the attacks take, what the autoencoder gives and "
        f"costs, what fine-tuning gives behind it): {signs['same']} with the paper's sign here, {signs['other']} with "
        f"the other, {signs['undecided']} undecided (the 95% interval holds 0). Sizes differ: in half of "
        f"{len(both)} cells by more than {median(map(abs, distance.values())):.1f} points, at most by "
        f"{abs(distance[far]):.1f} ({_cell(far)}: paper {both[far]:.2f}%, this run {_said(static[far])}). The paper's "
        f"number lies within this run's interval in {inside} of {len(both)}."
    )


def _adaptive(static: dict, aware: dict, records: list[dict]) -> str:
    pairs = {
        cell: (static[cell], aware["adaptive"][cell])
        for cell in aware["adaptive"]
        if cell[2] == "ae" and cell in static
    }
    if not pairs:
        return "No notebook of this run measured an attacker who knows of the defense."
    lower = sum(difference(s, a)[2] < 0 for s, a in pairs.values())
    said = [
        f"Behind the autoencoder, an attacker who knows it lowers accuracy further in {lower} of {len(pairs)} "
        "comparisons (the 95% interval of the difference is below 0)."
    ]
    if (half := aware["grey_box"].get(DEFENDED)) and DEFENDED in pairs:
        said.append(
            f"Made for the fine-tuned classifier without its autoencoder, PGD images leave {_said(half)}; made for "
            f"both, {_said(aware['adaptive'][DEFENDED])}."
        )
    if worst := [
        r for r in records if (r["stage"], r["defense"], r["input"]) == (*DEFENDED[1:], "worst_case")
    ]:
        said.append(f"All attacks of this run together leave {_said(worst[-1])} (n = {worst[-1]['n']:,}).")
    return " ".join(said)


def _claims(static: dict, adaptive: dict) -> list[Claim]:
    bare, behind, clean = ("pgd", "initial", "none"), ("pgd", "initial", "ae"), ("regular", "initial", "none")
    return [
        _claim(
            "The autoencoder helps against PGD images made for the initial classifier.",
            static.get(bare),
            static.get(behind),
        ),
        _claim(
            "Fine-tuning helps further against the same images.", static.get(behind), static.get(DEFENDED)
        ),
        _claim(
            "The defense costs accuracy on unchanged images.",
            static.get(("regular", *DEFENDED[1:])),
            static.get(clean),
        ),
        _claim(
            "The defense is as good against an attacker who knows it.",
            static.get(DEFENDED),
            adaptive.get(DEFENDED),
            "no",
            "undecided",
            "yes",
        ),
        _claim(
            "Against that attacker it is better than no defense.", static.get(bare), adaptive.get(DEFENDED)
        ),
    ]


def _claim(
    text: str, a: dict | None, b: dict | None, falls: str = "no", level: str = "undecided", rises: str = "yes"
) -> Claim:
    """A claim about the difference from record a to record b: what it means that it is negative, not to be told from 0,
    or positive."""
    if not a or not b:
        return Claim(text, "not measured", "no notebook of this run published the numbers")
    points, low, high = (100 * x for x in difference(a, b))
    verdict = falls if high < 0 else rises if low > 0 else level
    evidence = f"{percent(a)} to {percent(b)}: {points:+.1f} points [{low:+.1f}, {high:+.1f}]"
    return Claim(text, verdict, evidence)


def _doubts(parameters: dict, dataset: str, paper: dict, failed: int) -> list[str]:
    model = parameters["model"]
    said = [
        f"One seed ({parameters['seed']}), one training of each network: the intervals are for the choice of test "
        "images only."
    ]
    if parameters["profile"] != "full":
        said.insert(0, f"A {parameters['profile']} run trains on a subset and assesses few images.")
    if failed:
        said.insert(0, "A notebook failed: what it measures is missing, and what is missing is no finding.")
    said.append("The adaptive numbers are bounds from above: a stronger attack can only lower them.")
    said.append(
        "An attacker who may only ask for answers, or trains a substitute, is not in these two tables."
    )
    if paper and parameters["weights"] != "tf2cv":
        said.append(
            "The paper starts from tf2cv's trained networks, this run from others, so sizes need not agree."
        )
    said += _of_its_training(parameters, dataset)
    if parameters["weights"] == "none":
        said.append(
            "The initial classifier was not trained at all: these numbers test the machinery and nothing else."
        )
    if paper and (audit := pipeline.recorded_audit(model)):
        said.append(f"The paper's released code departs from its text. {tables.beside_seeds(audit)}")
    if paper:
        name, (clean, attacked) = next(iter(ROBUSTBENCH.items()))
        said.append(
            f"For scale: RobustBench lists {name}, trained on attacked images, with {clean}% on unchanged images and "
            f"{attacked}% under AutoAttack at this budget."
        )
    return said


def _of_its_training(parameters: dict, dataset: str) -> list[str]:
    """What sets a network apart from the course's others: what it began with, and how long it is fine-tuned."""
    network, said = MODELS[parameters["model"]], []
    card = settings.WEIGHTS / dataset / f"{parameters['model']}.json"
    if network.begins_with and parameters["weights"] == "course" and card.is_file():
        begins = json.loads(card.read_text())["begins_with"].partition(" (")[0]
        said.append(f"The initial classifier's own training began with {begins}.")
    if network.most_tune_epochs:
        times = "one pass" if network.most_tune_epochs == 1 else f"at most {network.most_tune_epochs} passes"
        said.append(f"For the time that it takes, it is fine-tuned for {times} over the six sources.")
    return said


def _cell(cell: tuple[str, str, str]) -> str:
    return f"{INPUT_TITLES[cell[0]]}, {title_of(cell[1:])}"


# ---------------------------------------------------------------------------------------------------------- figures


def _figures(
    parameters: dict, dataset: str, records: list[dict], static: dict, adaptive: dict
) -> dict[str, dict]:
    model, eps = parameters["model"], parameters["eps"]
    mark = pipeline.run_label(dataset, parameters["profile"], eps, parameters["weights"])
    comparable, found = pipeline.comparable(dataset, eps) and model in PAPER, {}
    if static:
        title = f"{MODELS[model].title}: {'the paper and this run' if comparable else 'this run'}, images attacked once"
        alt = f"Accuracy with 95% intervals, images attacked once. {_in_words(static)}"
        if comparable:
            alt += " Hollow markers are the paper's values, in the table below."
        figure = plots.paper_figure(list(static.values()), model, title, comparable)
        found["paper"] = {"name": "summary_paper", "alt": alt, "png": plots.png(figure, mark)}
    if adaptive:
        if DEFENDED in static and DEFENDED in adaptive:
            ends = (100 * r[DEFENDED]["accuracy"] for r in (static, adaptive))
            title = "The same defense under PGD: {:.0f}% unknown, {:.0f}% known to its attacker".format(*ends)
        else:
            title = "Transfer against end-to-end attacks"
        alt = (
            "Arrows from the accuracy under transfer attacks to that under end-to-end ones, for each classifier. "
            f"End-to-end: {_in_words(adaptive)}"
        )
        figure = plots.threats_figure(records, title)
        found["threats"] = {"name": "summary_threats", "alt": alt, "png": plots.png(figure, mark)}
    return found


def _in_words(found: dict) -> str:
    parts = []
    for kind in INPUTS:
        values = [
            f"{title_of(system)} {100 * found[kind, *system]['accuracy']:.1f}%"
            for system in SYSTEMS
            if (kind, *system) in found
        ]
        if values:
            parts.append(f"{capitalize(INPUT_TITLES[kind])}: {', '.join(values)}.")
    return " ".join(parts)
