"""The author's released pair under attackers who know more and more (python -m helpers author).

What is measured goes into figures/results.json, under ``author``, with ``source: "author"`` in each record,
and figures/author/answers.npz keeps which images were classified correctly. So the numbers can be shown and
compared where the author's files are not.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd

from .. import pipeline, settings
from ..artifacts import provenance
from ..evaluation import percent
from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES, THREAT_TITLES
from ..pipeline import Answers, Run, comparisons
from ..pipeline.published import AUTHOR_LOG
from ..settings import CourseError
from . import released_pair, threat_ladder
from .released_pair import Pair
from .threat_ladder import Defense

SOURCE = "author"
"""The records' source, and the name of their part of results.json."""

STRONG = ("noise", "square", "pgd_100", "apgd", "worst_case")
"""The rungs of the ladder that take a hundred steps or more, or queries; and random signs."""

PART = 1000
"""How many images the strong rungs are measured on between two checkpoints."""


def begin() -> Run:
    """Begin the run whose data, budget and seed the measurement shares.

    Its initial classifier is the course's SEPreResNet-56. It stands in for the author's own initial
    classifier, which is not among the released files: attacks on it are transfer attacks.
    """
    return pipeline.start("cifar10", released_pair.MODEL, "full", networks="shipped")


def climb(run: Run, pair: Pair, n: int, n_strong: int) -> list[Answers]:
    """Attack the pair on every rung.

    Args:
        run: of begin.
        pair: the released networks.
        n: how many test images for clean images, FGSM and PGD-10, with and without the autoencoder.
        n_strong: how many for the rungs in STRONG, behind the autoencoder.

    Returns:
        The answers, from the attacker who knows least to the one who knows most; each kind once.

    Raises:
        CourseError: there are fewer test images.
    """
    if (most := max(n, n_strong)) > len(run.data.test):
        raise CourseError(f"{most:,} images are asked for, but there are {len(run.data.test):,} test images")
    return [*of_the_tables(run, pair, n), *_strong(run, pair, n_strong)]


def of_the_tables(run: Run, pair: Pair, n: int) -> list[Answers]:
    """Measure what the paper's tables have: clean images, FGSM and PGD."""
    run, defended = replace(run, profile=replace(run.profile, n_sweep=n)), pair.defended
    models = {"none": pair.classifier, "ae": defended}
    attackers = [("static", "regular", pair.classifier, tuple(models))]
    for kind in ("fgsm", "pgd"):
        attackers.append(("transfer", kind, run.classifier, tuple(models)))
        attackers.append(("grey_box", kind, pair.classifier, tuple(models)))
        attackers.append(("adaptive", kind, defended, ("ae",)))
    found = []
    with settings.progress(len(attackers), f"the author's pair, {n:,} images") as bar:
        for threat, kind, target, defenses in attackers:
            for name in defenses:
                fields = {"stage": "fine_tuned", "defense": name, "threat": threat}
                found.append(pipeline.attacked_answers(run, models[name], target, kind, run.eps, **fields))
            bar.update()
    return found


def _strong(run: Run, pair: Pair, n: int) -> list[Answers]:
    """Measure the rungs in STRONG in parts. The worst case counts the other rungs' images too."""
    defense = Defense("fine_tuned", "ae", pair.defended, pair.classifier)
    rungs = ("static", "grey_box", "pgd", *STRONG)
    parts = [
        threat_ladder.measure(run, defense, run.eps, min(PART, n - first), "standard", rungs, first)
        for first in range(0, n, PART)
    ]
    return [
        Answers(parts[0][name].fields, np.concatenate([part[name].correct for part in parts]))
        for name in parts[0]
        if name in STRONG
    ]


# ------------------------------------------------------------------------------------------- what is recorded


def section(run: Run, answers: list[Answers]) -> dict:
    """Return the part of results.json: the data, the commit, the files' checksums, and the records."""
    return {
        "parameters": {"model": run.model, "profile": run.profile.name, "seed": run.seed, "eps": run.eps},
        "data": run.data.provenance,
        "commit": provenance.commit(),
        "files": released_pair.SHA256,
        "records": [{**one.record(), "source": SOURCE} for one in answers],
    }


def write(found: dict, answers: list[Answers]) -> None:
    """Write the part into figures/results.json, and the answers into figures/author/answers.npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name_of(one.fields): one.correct for one in answers})
    settings.write_atomically(_answers_file(), buffer.getvalue())
    results = {**pipeline.recorded_results(), SOURCE: found}
    settings.write_atomically(settings.FIGURES / "results.json", json.dumps(results, indent=1).encode())


def name_of(record: dict) -> str:
    """Return the name of a record's answers in answers.npz."""
    return "/".join(str(record[key]) for key in ("threat", "defense", "input", "steps"))


def _answers_file():
    return settings.FIGURES / SOURCE / "answers.npz"


def recorded() -> dict | None:
    """Return what is recorded of the pair (section), or None."""
    return pipeline.recorded_results().get(SOURCE)


def recorded_answers() -> dict[str, np.ndarray]:
    """Return the recorded answers, booleans [n], by name_of; empty if none are recorded."""
    if not _answers_file().is_file():
        return {}
    with np.load(_answers_file()) as stored:
        return {name: stored[name] for name in stored.files}


def readme_table(results: dict) -> str:
    """Return the README's table of the pair, in Markdown; empty if it is not recorded.

    Args:
        results: the recorded results (pipeline.recorded_results).
    """
    if SOURCE not in results:
        return ""
    frame = table(results[SOURCE]["records"]).reset_index()
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.to_numpy().tolist()]
    return "\n".join(
        [
            "**The author's own networks** (notebook 06): the SEPreResNet-56 and the autoencoder that he "
            "released, accuracy in percent. His log's attacks were made for his initial network, which he "
            "did not release; *transfer* here is from the course's. `python -m helpers author FOLDER` "
            "measures this again from his files.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
        ]
    )


def summary(records: list[dict]) -> str:
    """Say what is left of the pair's accuracy for attackers who know more and more."""
    found = {(r["threat"], r["defense"], r["input"], r["steps"]): r for r in records}
    clean, stranger = found["static", "ae", "regular", 0], found["transfer", "ae", "pgd", 10]
    half, whole = found["grey_box", "ae", "pgd", 10], found["adaptive", "ae", "pgd", 10]
    worst = next(r for r in records if r["input"] == "worst_case")
    return (
        f"The author's own pair classifies {percent(clean)}% of {clean['n']:,} clean images correctly. "
        f"PGD made for another network leaves {percent(stranger)}%. An attacker who knows the classifier "
        f"leaves {percent(half)}%, one who knows the autoencoder too {percent(whole)}% (n = {whole['n']:,}), "
        f"and all attacks together {percent(worst)}% (n = {worst['n']:,})."
    )


def steps(answers: dict[str, np.ndarray]) -> str:
    """Say what each thing that the attacker learns takes from the pair, as a list in Markdown.

    Args:
        answers: of recorded_answers.
    """
    said = ("the classifier", "transfer", "grey_box"), ("the autoencoder too", "grey_box", "adaptive")
    pairs = [[answers[f"{threat}/ae/pgd/10"] for threat in pair] for _, *pair in said]
    found = comparisons.of_answers(pairs)
    return "\n".join(
        f"- knowing {words}: {one}, n = {one.n:,}" for (words, *_), one in zip(said, found, strict=True)
    )


def table(records: list[dict]) -> pd.DataFrame:
    """Tabulate the records, beside the numbers in the author's own log."""
    rows = {}
    for r in records:
        attack = INPUT_TITLES[r["input"]] + (f"-{r['steps']}" if r["input"] == "pgd" else "")
        knows = "–" if r["input"] == "regular" else THREAT_TITLES[r["threat"]]
        row = rows.setdefault((attack, knows), {"n": f"{r['n']:,}"})
        row[DEFENSE_TITLES[r["defense"]]] = percent(r)
        log = AUTHOR_LOG.get((r["input"], r["defense"])) if r["threat"] in ("static", "transfer") else None
        if log is not None:
            row[f"his log, {DEFENSE_TITLES[r['defense']]}"] = f"{log:.2f}"
    columns = [*DEFENSE_TITLES.values(), *(f"his log, {title}" for title in DEFENSE_TITLES.values()), "n"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns).fillna("–")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["images", "attacker"])
    return frame
