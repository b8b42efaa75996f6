"""The ladder of knowledge: one defense, and attackers who know more and more of it (notebook 06).

    answers = climb(run, "fine_tuned")       # by rung: which images were still classified correctly

All rungs are measured on the same images. A stronger attacker ought to break what a weaker one breaks; where one does
not, ``exceptions`` counts the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import artifacts, attacks, classifiers, evaluation, pipeline, settings
from ..attacks import STEPS, attack_ensemble, auto_pgd, square_attack, step_size_for
from ..backend import keras
from ..classifiers import registry
from ..datasets import storage
from ..datasets.storage import to_float
from ..defenses import autoencoder
from ..evaluation.titles import STAGE_TITLES, percent
from ..pipeline import Answers, Run
from ..settings import CourseError

MANY_STEPS = 100


@dataclass(frozen=True)
class Rung:
    """An attacker.

    Attributes:
        title: as tables and figures name it.
        knows: what the attacker knows.
        input, threat: the record's (evaluation.Record).
    """

    title: str
    knows: str
    input: str
    threat: str


RUNGS = {
    "noise": Rung("random noise", "nothing", "noise", "static"),
    "other_network": Rung(
        "PGD on another network", "another classifier of the same images", "pgd", "transfer"
    ),
    "static": Rung("PGD on the initial classifier", "the classifier before fine-tuning", "pgd", "static"),
    "grey_box": Rung("PGD on this classifier", "the classifier, not its autoencoder", "pgd", "grey_box"),
    "square": Rung("Square", "no weights, but the defense's answers", "square", "black_box"),
    "pgd": Rung(f"PGD-{STEPS} through both", "autoencoder and classifier", "pgd", "adaptive"),
    "pgd_100": Rung(f"PGD-{MANY_STEPS} through both", "autoencoder and classifier", "pgd", "adaptive"),
    "apgd": Rung("APGD through both", "autoencoder and classifier", "apgd", "adaptive"),
    "worst_case": Rung("worst case of all", "autoencoder and classifier", "worst_case", "adaptive"),
}
"""From the attacker who knows least to the one who knows most, as far as that is an order: Square knows no weights but
the defense's answers, and the attacks through both differ in effort only."""

CHEAP = ("noise", "static", "grey_box", "pgd")
"""The rungs that are measured at several budgets (over_budgets)."""


@dataclass(frozen=True)
class Attacker:
    """How a rung attacks: ``attack`` aims at ``target`` and returns the images; ``steps`` counts gradients, Square's
    queries, or is 0."""

    target: keras.Model
    steps: int
    attack: Callable[[np.ndarray, np.ndarray], np.ndarray]


def climb(
    run: Run, stage: str, n: int | None = None, effort: str | None = None, rungs: Sequence[str] = tuple(RUNGS)
) -> dict[str, Answers]:
    """The answers of a stage's classifier behind the autoencoder, under the attack of every rung.

    Args:
        stage: initial or fine_tuned.
        n: the first n test images; default: the profile's n_ladder.
        effort: of APGD, Square and the worst case, a name in worst_case.EFFORTS; default: effort_of.
        rungs: names in RUNGS. The worst case is that of the others which are asked for, and of the ensemble on what
            these leave standing.

    Returns:
        By rung, in order. ``other_network`` is left out where the course ships no other network for these images.

    Raises:
        CourseError: unknown stage, effort or rung.
    """
    classifier, defended = _defense(run, stage)
    effort = effort or effort_of(run)
    return measure(run, stage, "ae", defended, classifier, run.eps, n or run.profile.n_ladder, effort, rungs)


def effort_of(run: Run) -> str:
    """The effort that climb takes if it is not told another: ``standard`` in a full run, else ``quick``."""
    return "standard" if run.profile.name == "full" else "quick"


def over_budgets(
    run: Run, stage: str, budgets: Sequence[float], n: int | None = None
) -> dict[float, dict[str, Answers]]:
    """The rungs of CHEAP at several budgets; defense and arguments as for climb."""
    classifier, defended = _defense(run, stage)
    n = n or run.profile.n_ladder
    return {eps: measure(run, stage, "ae", defended, classifier, eps, n, "quick", CHEAP) for eps in budgets}


def _defense(run: Run, stage: str) -> tuple[keras.Model, keras.Model]:
    if stage not in ("initial", "fine_tuned"):
        raise CourseError(f"unknown stage {stage!r}; choose initial or fine_tuned")
    classifier = pipeline.stages(run)[stage]
    return classifier, autoencoder.defended(pipeline.autoencoder(run)[0], classifier)


def measure(
    run: Run,
    stage: str,
    defense: str,
    model: keras.Model,
    classifier: keras.Model,
    eps: float,
    n: int,
    effort: str,
    rungs: Sequence[str],
) -> dict[str, Answers]:
    """climb for any defended model, and any budget.

    Args:
        stage, defense: the records'.
        model: what is assessed.
        classifier: the classifier in it, which the grey-box attacker knows.
    """
    if unknown := set(rungs) - set(RUNGS):
        raise CourseError(f"unknown rungs {', '.join(sorted(unknown))}; choose from {', '.join(RUNGS)}")
    chosen = run.data.test.head(n)
    images, labels = chosen.take()
    found: dict[str, Answers] = {}
    with settings.progress(len(rungs), f"{stage}, {255 * eps:.3g}/255") as bar:
        for name in (rung for rung in RUNGS if rung in rungs):
            if name == "worst_case":
                spent = attack_ensemble.EFFORTS[effort]
                standing = (
                    np.all([answers.correct for answers in found.values()], 0) if found else np.full(n, True)
                )
                steps = spent.steps * (spent.restarts + spent.classes)
                compute = _worst_case_of(run, model, images, labels, eps, effort, standing)
                target, about = model, {"standing": [int(s) for s in standing]}
            elif (attacker := _attacker(run, name, model, classifier, eps, effort)) is None:
                continue
            else:
                target, steps, about = attacker.target, attacker.steps, {}
                compute = _attacked_by(attacker, model, images, labels)
            config = {
                **run.config(autoencoder, evaluation, auto_pgd, square_attack, attack_ensemble),
                "assessed": pipeline.checksum(model),
                "target": pipeline.checksum(target),
                "rung": name,
                "budget": eps,
                "steps": steps,
                "effort": effort if name in ("apgd", "square", "worst_case") else "",
                "n": n,
                **about,
                **pipeline.unusual_steps(eps),
            }
            correct = np.array(artifacts.make_json("ladder", config, compute), bool)
            fields = {
                "dataset": run.data.name,
                "profile": run.profile.name,
                "model": run.model,
                "stage": stage,
                "defense": defense,
                "input": RUNGS[name].input,
                "threat": RUNGS[name].threat,
                "eps": eps,
                "steps": steps,
                "seed": run.seed,
            }
            found[name] = Answers(fields, correct)
            bar.update()
    return found


def _attacker(
    run: Run, name: str, model: keras.Model, classifier: keras.Model, eps: float, effort: str
) -> Attacker | None:
    spent, seed = attack_ensemble.EFFORTS[effort], run.seed

    def pgd(target: keras.Model, steps: int = STEPS) -> Attacker:
        step_size = step_size_for(eps) if steps == STEPS else step_size_for(eps) / 2
        options = {"step_size": step_size, "steps": steps, "seed": seed}
        aimed = pipeline.for_attack(target)
        return Attacker(target, steps, lambda x, y: attacks.pgd(aimed, x, y, eps, **options))

    if name == "noise":
        return Attacker(model, 0, lambda x, y: attacks.random_signs(x, eps, seed))
    if name == "other_network":
        other = other_network(run)
        return pgd(other) if other else None
    if name == "static":
        return pgd(run.classifier)
    if name == "grey_box":
        return pgd(classifier)
    if name == "square":
        options = {"queries": spent.queries, "seed": seed}
        return Attacker(model, spent.queries, lambda x, y: square_attack.square(model, x, y, eps, **options))
    if name == "apgd":
        aimed = pipeline.for_attack(model)
        return Attacker(
            model, spent.steps, lambda x, y: auto_pgd.apgd(aimed, x, y, eps, steps=spent.steps, seed=seed)
        )
    return pgd(model, MANY_STEPS if name == "pgd_100" else STEPS)


def _attacked_by(attacker: Attacker, model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Callable:
    def compute() -> list[int]:
        moved = to_float(storage.to_uint16(attacker.attack(images, labels)))
        return [int(right) for right in evaluation.is_correct(model, moved, labels)]

    return compute


def _worst_case_of(
    run: Run,
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    effort: str,
    standing: np.ndarray,
) -> Callable:
    def compute() -> list[int]:
        correct = standing.copy()
        if left := list(np.flatnonzero(standing)):
            aimed = pipeline.for_attack(model)
            moved = attack_ensemble.worst_case(
                aimed, images[left], labels[left], eps, effort=effort, seed=run.seed
            ).images
            correct[left] = evaluation.is_correct(model, moved, labels[left])
        return [int(right) for right in correct]

    return compute


def other_network(run: Run) -> keras.Model | None:
    """The course's initial classifier of another kind for the same images, if it ships one."""
    for name in registry.MODELS:
        if name != run.model and classifiers.shipped(run.data.name, name).is_file():
            return classifiers.load(name, run.data)
    return None


def exceptions(answers: dict[str, Answers], stronger: str, weaker: str) -> int:
    """How many images the stronger attacker leaves standing though the weaker one broke them."""
    return int((answers[stronger].correct & ~answers[weaker].correct).sum())


def l2_norm(changes: np.ndarray) -> np.ndarray:
    """The l2 length of each image's change: [n, h, w, 3] to [n]."""
    return np.sqrt((np.asarray(changes, np.float64) ** 2).sum((1, 2, 3)))


def titled(answers: dict[str, Answers]) -> dict[str, dict]:
    """The rungs' records, by title."""
    return {RUNGS[name].title: found.record() for name, found in answers.items()}


def table(answers: dict[str, dict[str, Answers]]) -> pd.DataFrame:
    """Rungs in rows, with what the attacker knows; accuracy and interval of each stage in columns."""
    rows = {}
    for stage, found in answers.items():
        for name, one in found.items():
            row = rows.setdefault(RUNGS[name].title, {"the attacker knows": RUNGS[name].knows})
            row[STAGE_TITLES[stage]] = percent(one.record())
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("attack")
