"""The threat ladder: one defense, and attackers who know more and more about it (notebook 06).

    answers = climb(run, "fine_tuned")       # by rung: which images were still classified correctly

All rungs are measured on the same images. A stronger attacker should break every image that a weaker one
breaks; ``exceptions`` counts the images where this fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from .. import artifacts, attacks, classifiers, evaluation, pipeline, settings
from ..attacks import STEPS, attack_ensemble, step_size_for
from ..backend import keras
from ..classifiers import registry
from ..datasets import Split, storage
from ..datasets.storage import to_float
from ..defenses import autoencoder
from ..evaluation import accuracy
from ..evaluation.titles import INPUT_TITLES, STAGE_TITLES, percent
from ..pipeline import Answers, Run
from ..settings import CourseError

MANY_STEPS = 100


@dataclass(frozen=True)
class Rung:
    """An attacker.

    Attributes:
        title: its name in tables and figures.
        knows: what the attacker knows.
        input: the record's input (evaluation.Record).
        threat: the record's threat.
    """

    title: str
    knows: str
    input: str
    threat: str


RUNGS = {
    "noise": Rung(INPUT_TITLES["noise"], "nothing", "noise", "static"),
    "other_network": Rung(
        "PGD on another network", "another classifier of the same images", "pgd", "transfer"
    ),
    "static": Rung("PGD on the initial classifier", "the classifier before fine-tuning", "pgd", "static"),
    "grey_box": Rung("PGD on this classifier", "the classifier, not its autoencoder", "pgd", "grey_box"),
    "square": Rung("Square", "no weights, but the defense's answers", "square", "black_box"),
    "pgd": Rung(f"PGD-{STEPS} end-to-end", "autoencoder and classifier", "pgd", "adaptive"),
    "pgd_100": Rung(f"PGD-{MANY_STEPS} end-to-end", "autoencoder and classifier", "pgd", "adaptive"),
    "apgd": Rung("APGD end-to-end", "autoencoder and classifier", "apgd", "adaptive"),
    "worst_case": Rung("worst case of all", "autoencoder and classifier", "worst_case", "adaptive"),
}
"""From the attacker who knows least to the one who knows most.

The order is not strict: Square knows no weights but sees the defense's answers, and the end-to-end attacks
differ only in effort.
"""

CHEAP = ("noise", "static", "grey_box", "pgd")
"""The rungs that are measured at several budgets (over_budgets)."""


@dataclass(frozen=True, eq=False)
class Defense:
    """A defended model that the rungs attack.

    Attributes:
        stage: the records' stage.
        name: the records' defense.
        model: the model that is assessed.
        classifier: the classifier in it, which the grey-box attacker knows.
    """

    stage: str
    name: str
    model: keras.Model
    classifier: keras.Model


@dataclass(frozen=True, eq=False)
class Attacker:
    """How a rung attacks a defense.

    Attributes:
        target: the model that the attack differentiates or queries.
        steps: the gradients per restart, or Square's queries, or 0.
        assess: takes images and labels, attacks, and returns which images the defense still classifies
            correctly.
        config: everything the answers depend on besides target, steps and the run.
    """

    target: keras.Model
    steps: int
    assess: Callable[[np.ndarray, np.ndarray], np.ndarray]
    config: dict = field(default_factory=dict)


def climb(
    run: Run, stage: str, n: int | None = None, effort: str | None = None, rungs: Sequence[str] = tuple(RUNGS)
) -> dict[str, Answers]:
    """Attack a stage's classifier behind the autoencoder on every rung.

    Args:
        run: the run.
        stage: ``initial`` or ``fine_tuned``.
        n: the number of test images; default: the profile's n_ladder.
        effort: of APGD, Square and the worst case, a name in attacks.EFFORTS; default: effort_of.
        rungs: names in RUNGS. The worst case combines the other requested rungs with an ensemble of attacks
            on the images that these leave robust.

    Returns:
        The answers by rung, in order. ``other_network`` is left out if the course ships no other network for
        these images.

    Raises:
        CourseError: the stage, the effort or a rung is unknown.
    """
    return measure(
        run, _defense(run, stage), run.eps, n or run.profile.n_ladder, effort or effort_of(run), rungs
    )


def effort_of(run: Run) -> str:
    """Return the effort that climb takes by default: ``standard`` in a full run, else ``quick``."""
    return "standard" if run.profile.name == "full" else "quick"


def over_budgets(
    run: Run, stage: str, budgets: Sequence[float], n: int | None = None
) -> dict[float, dict[str, Answers]]:
    """Measure the rungs of CHEAP at several budgets; the arguments are those of climb."""
    defense, n = _defense(run, stage), n or run.profile.n_ladder
    return {eps: measure(run, defense, eps, n, "quick", CHEAP) for eps in budgets}


def _defense(run: Run, stage: str) -> Defense:
    if stage not in ("initial", "fine_tuned"):
        raise CourseError(f"unknown stage {stage!r}; choose initial or fine_tuned")
    classifier = pipeline.stages(run)[stage]
    return Defense(stage, "ae", autoencoder.defended(pipeline.autoencoder(run)[0], classifier), classifier)


def measure(
    run: Run, defense: Defense, eps: float, n: int, effort: str, rungs: Sequence[str], first: int = 0
) -> dict[str, Answers]:
    """Attack any defense at any budget; otherwise like climb.

    Args:
        run: the run.
        defense: the defended model.
        eps: the budget.
        n: the number of test images.
        effort: a name in attacks.EFFORTS.
        rungs: names in RUNGS.
        first: the index of the first test image. A long measurement can so be made in parts, each with random
            numbers of its own.
    """
    if unknown := set(rungs) - set(RUNGS):
        raise CourseError(f"unknown rungs {', '.join(sorted(unknown))}; choose from {', '.join(RUNGS)}")
    test, end = run.data.test, first + n
    images, labels = Split(test.pixels[first:end], test.labels[first:end]).take()
    part, place = replace(run, seed=run.seed + first), {"first": first} if first else {}
    found: dict[str, Answers] = {}
    with settings.progress(len(rungs), f"{defense.stage}, {255 * eps:.3g}/255") as bar:
        for name in (rung for rung in RUNGS if rung in rungs):
            if name == "worst_case":
                robust = np.all([labels >= 0, *(answers.correct for answers in found.values())], axis=0)
                attacker = _worst_case(part, defense, eps, effort, robust)
            else:
                attacker = _attacker(part, name, defense, eps, effort)
            if attacker:
                correct = _measured(part, name, defense, attacker, eps, effort, images, labels, **place)
                rung = RUNGS[name]
                fields = run.fields(defense.stage, defense.name, rung.input, rung.threat, eps, attacker.steps)
                found[name] = Answers(fields, correct)
                bar.update()
    return found


def _measured(
    run: Run,
    name: str,
    defense: Defense,
    attacker: Attacker,
    eps: float,
    effort: str,
    images: np.ndarray,
    labels: np.ndarray,
    **place: int,
) -> np.ndarray:
    """Return a rung's answers (booleans [n]) from the artifact store; attack if they are not there."""
    config = {
        **run.config(autoencoder, accuracy),
        "assessed": pipeline.checksum(defense.model),
        "target": pipeline.checksum(attacker.target),
        "rung": name,
        "budget": eps,
        "steps": attacker.steps,
        "effort": effort if name in ("apgd", "square", "worst_case") else "",
        "n": len(images),
        **attacker.config,
        **place,
        **pipeline.unusual_steps(eps),
    }

    def compute() -> list[int]:
        return [int(right) for right in attacker.assess(images, labels)]

    return np.array(artifacts.make_json("ladder", config, compute), bool)


def _attacker(run: Run, name: str, defense: Defense, eps: float, effort: str) -> Attacker | None:
    """Return the attacker of a rung other than the worst case, or None if there is no other network."""
    spent, seed, model = attack_ensemble.EFFORTS[effort], run.seed, defense.model

    def attacker(target: keras.Model, steps: int, attack: Callable) -> Attacker:
        def assess(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            moved = to_float(storage.to_uint16(attack(images, labels)))
            return evaluation.is_correct(model, moved, labels)

        return Attacker(target, steps, assess)

    def pgd(target: keras.Model, steps: int = STEPS) -> Attacker:
        step_size = step_size_for(eps) if steps == STEPS else step_size_for(eps) / 2
        options = {"step_size": step_size, "steps": steps, "seed": seed}

        def attack(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            # Built here, because answers that are in the store need no copy.
            aimed = pipeline.for_attack(target, precision=run.crafting)
            return attacks.pgd(aimed, images, labels, eps, **options)

        return attacker(target, steps, attack)

    if name == "noise":
        return attacker(model, 0, lambda x, y: attacks.random_signs(x, eps, seed))
    if name == "other_network":
        other = other_network(run)
        return pgd(other) if other else None
    if name == "static":
        return pgd(run.classifier)
    if name == "grey_box":
        return pgd(defense.classifier)
    if name == "square":
        options = {"queries": spent.queries, "seed": seed}
        return attacker(model, spent.queries, lambda x, y: attacks.square(model, x, y, eps, **options))
    if name == "apgd":
        options = {"steps": spent.steps, "seed": seed}
        return attacker(
            model,
            spent.steps,
            lambda x, y: attacks.apgd(pipeline.for_attack(model), x, y, eps, **options),
        )
    return pgd(model, MANY_STEPS if name == "pgd_100" else STEPS)


def _worst_case(run: Run, defense: Defense, eps: float, effort: str, robust: np.ndarray) -> Attacker:
    """Return an attacker that runs the ensemble on the images that no other rung broke (booleans [n])."""
    spent, model = attack_ensemble.EFFORTS[effort], defense.model

    def assess(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        correct = robust.copy()
        if left := list(np.flatnonzero(robust)):
            aimed = pipeline.for_attack(model)
            moved = attacks.worst_case(
                aimed, images[left], labels[left], eps, effort=effort, seed=run.seed
            ).images
            correct[left] = evaluation.is_correct(model, moved, labels[left])
        return correct

    steps = spent.steps * (spent.restarts + spent.classes)
    return Attacker(model, steps, assess, {"robust": [int(r) for r in robust]})


def other_network(run: Run) -> keras.Model | None:
    """Return an initial classifier of another architecture for the same images, if the course ships one."""
    for name in registry.MODELS:
        if name != run.model and classifiers.shipped(run.data.name, name).is_file():
            return classifiers.load(name, run.data)
    return None


def exceptions(answers: dict[str, Answers], stronger: str, weaker: str) -> int:
    """Count the images that the stronger attacker leaves robust although the weaker one broke them."""
    return int((answers[stronger].correct & ~answers[weaker].correct).sum())


def l2_norm(changes: np.ndarray) -> np.ndarray:
    """Return the l2 norm of each image's change: [n, h, w, 3] to [n]."""
    return np.sqrt((np.asarray(changes, np.float64) ** 2).sum((1, 2, 3)))


def titled(answers: dict[str, Answers]) -> dict[str, dict]:
    """Return the rungs' records by title."""
    return {RUNGS[name].title: found.record() for name, found in answers.items()}


def table(answers: dict[str, dict[str, Answers]]) -> pd.DataFrame:
    """Tabulate, for each rung, what the attacker knows and each stage's accuracy with its interval."""
    rows = {}
    for stage, found in answers.items():
        for name, one in found.items():
            row = rows.setdefault(RUNGS[name].title, {"the attacker knows": RUNGS[name].knows})
            row[STAGE_TITLES[stage]] = percent(one.record())
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("attack")
