"""Measure how each departure of the paper's released code from its text changes every cell of a table.

    python -m helpers audit            # writes figures/audit.json

Each variant is a whole run, from the attacks to the table, kept in the artifact store like any other.
Differences are paired: both numbers come from the same test images.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import evaluation, pipeline, settings
from ..pipeline import Run
from ..pipeline.protocol import Protocol
from ..settings import CourseError, Networks

VARIANTS = {
    "raw_gradient": ("attack without normalisation", Protocol(attack_normalises=False)),
    "imagenet": ("ImageNet's mean and deviation", Protocol(statistics="imagenet")),
    "softmax_attack": ("attack's loss on softmax outputs", Protocol(attack_loss="of_softmax")),
    "softmax_tuning": ("fine-tuning takes logits for probabilities", Protocol(tune_on_logits=False)),
    "best_on_test": ("weights that were best on test images", Protocol(selection="test")),
    "clean_ae": ("autoencoder also sees clean images", Protocol(autoencoder_sees_clean=True)),
    "plateau": ("autoencoder's rate drops on plateaus", Protocol(plateau=True)),
    "all": (
        "all of these together",
        Protocol(False, "imagenet", "of_softmax", False, "test", True, True),
    ),
}
"""For each departure, its title and the protocol with it."""

ANEW = "attack_anew", "attacks made anew for what is assessed", "departure"
"""One more departure: the tables follow the released code (transfer attacks), this row the paper's text."""

SEEDS = 2
"""The number of other seeds that are run, to show what chance alone changes."""


def audit(run: Run, initial_only: bool = False) -> dict:
    """Measure the transfer table of a run, and how each departure and other seeds change it.

    Args:
        run: the run.
        initial_only: measure only the initial classifier's three cells, which need no training, under the
            departures that affect them.

    Returns:
        A network's part of audit.json: its parameters, and rows of ``variant``, ``title``, ``kind`` (course,
        departure or seed), ``records``, and ``differences`` from the first row on the same images, in points
        with a 95% interval.
    """
    answers_of = pipeline.undefended_answers if initial_only else pipeline.static_answers
    baseline = answers_of(run)
    runs = {
        (name, title, "departure"): pipeline.departing(run, protocol)
        for name, (title, protocol) in VARIANTS.items()
        if not initial_only or name == "all" or _concerns_the_attack(protocol)
    }
    for k in range(1, SEEDS + 1):
        runs[f"seed_{run.seed + k}", f"seed {run.seed + k}", "seed"] = replace(
            run, seed=run.seed + k, networks=Networks.TRAINED
        )
    rows = [_row("course", "the course", "course", baseline, baseline)]
    with settings.progress(len(runs), "audit") as bar:
        for about, other in runs.items():
            rows.append(_row(*about, answers_of(other), baseline))
            bar.update()
    if not initial_only:
        rows.append(_row(*ANEW, _made_anew(run, baseline), baseline))
    parameters = {"model": run.model, "profile": run.profile.name, "seed": run.seed, "eps": run.eps}
    return {"parameters": parameters, "data": run.data.provenance, "rows": rows}


def check_recordable(run: Run, initial_only: bool) -> None:
    """Check that an audit may be recorded in figures/audit.json, before it is computed.

    Raises:
        CourseError: the run is not one of the course's networks on CIFAR-10 at the paper's budget, or a
            fuller audit is already recorded.
    """
    why = ""
    if not run.comparable or run.weights != "course" or run.profile.name == "smoke":
        why = "holds audits of the course's networks on CIFAR-10, in quick or full, at 8/255"
    elif (
        initial_only
        and (found := pipeline.recorded_audit(run.model))
        and len(found["rows"][0]["records"]) > 3
    ):
        why = f"has the whole audit of {run.model}, which one of the initial classifier alone would replace"
    if why:
        raise CourseError(f"figures/audit.json {why}; name another file: --out")


def _made_anew(run: Run, baseline: list[pipeline.Answers]) -> list[pipeline.Answers]:
    """Return the answers of the same cells under attacks on the assessed model itself (n_sweep images)."""
    aware = {a.cell: a for a in pipeline.aware_answers(run)}

    def anew(answers: pipeline.Answers) -> pipeline.Answers:
        threat = "grey_box" if answers.fields["defense"] == "none" else "adaptive"
        return aware.get(
            pipeline.Answers({**answers.fields, "threat": threat}, answers.correct).cell, answers
        )

    return [anew(answers) for answers in baseline]


def _concerns_the_attack(protocol: Protocol) -> bool:
    return bool({"attack_normalises", "statistics", "attack_loss"} & set(protocol.changes()))


def _row(
    name: str, title: str, kind: str, answers: list[pipeline.Answers], baseline: list[pipeline.Answers]
) -> dict:
    return {
        "variant": name,
        "title": title,
        "kind": kind,
        "records": [a.record() for a in answers],
        "differences": [
            _difference(b.correct[: len(a.correct)], a.correct)
            for a, b in zip(answers, baseline, strict=True)
        ],
    }


def _difference(before: np.ndarray, after: np.ndarray) -> dict:
    points, low, high = (100 * x for x in evaluation.paired_difference(before, after))
    return {"points": points, "low": low, "high": high}


def write(found: dict, file: Path) -> None:
    """Write a network's audit into the file, and keep those of other networks."""
    others = settings.read_json(file) if file.is_file() else {}
    both = {**others, found["parameters"]["model"]: found}
    settings.write_atomically(file, json.dumps({k: both[k] for k in sorted(both)}, indent=1).encode())
