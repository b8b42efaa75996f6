"""The measurements of a run: which test images each model classifies correctly (Tables 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from .. import artifacts, classifiers, evaluation
from ..attacks import STEPS
from ..backend import keras
from ..defenses import autoencoder as autoencoder_module
from ..evaluation import accuracy
from ..settings import plain_numbers
from .attacked import attack_config, attacked_images, checksum, inputs, steps_of
from .denoising import autoencoder, source
from .matching import SOURCES
from .published import cell_of
from .run import Run
from .tuning import stages


@dataclass(frozen=True, eq=False)
class Answers:
    """The images that a model classified correctly.

    Attributes:
        fields: the fields of the record (evaluation.Record), which name the model and the attack.
        correct: booleans [n].
    """

    fields: dict
    correct: np.ndarray

    @property
    def cell(self) -> str:
        """The name of the table's cell, unique among those of static_answers and aware_answers."""
        return cell_of(self.fields)

    def record(self) -> dict:
        """Return the record: the fields, the counts and the accuracy with its interval."""
        return evaluation.record(self.correct, **self.fields)


def static_table(run: Run) -> list[dict]:
    """Return the twelve records of the paper's Table 2 or 3: stage x defense x input.

    As in the paper's released code, all attacked images were made against the initial classifier (inputs).
    The fine-tuned classifier and the autoencoder are therefore tested by a transfer attack.
    """
    return [answers.record() for answers in static_answers(run)]


def static_answers(run: Run) -> list[Answers]:
    """Return the answers that static_table counts."""
    return [a for stage, classifier in stages(run).items() for a in _answers_of_stage(run, stage, classifier)]


def undefended_answers(run: Run) -> list[Answers]:
    """Return the initial classifier's part of static_answers, which needs no training."""
    return _answers_of(run, "initial", "none", run.classifier)


def static_records(run: Run, stage: str, classifier: keras.Model) -> list[dict]:
    """Return one stage's six records of static_table."""
    return [answers.record() for answers in _answers_of_stage(run, stage, classifier)]


def _answers_of_stage(run: Run, stage: str, classifier: keras.Model) -> list[Answers]:
    defended = autoencoder_module.defended(autoencoder(run)[0], classifier)
    return _answers_of(run, stage, "none", classifier) + _answers_of(run, stage, "ae", defended)


def _answers_of(run: Run, stage: str, defense: str, model: keras.Model) -> list[Answers]:
    labels, found = run.split("test").labels, []
    for kind in SOURCES:
        images = inputs(run, "test", kind)
        config = {**_assessed(run, model), "cell": [stage, defense, kind, "static"], "n": len(labels)}
        correct = _cached_correct(config, partial(evaluation.is_correct, model, images, labels))
        found.append(Answers(run.fields(stage, defense, kind, "static"), correct))
    return found


def aware_table(run: Run) -> list[dict]:
    """Return the records of the same defenses against attackers who know more about them (n_sweep images).

    A ``grey_box`` attack differentiates the assessed classifier, without its autoencoder. An ``adaptive``
    attack differentiates autoencoder and classifier end-to-end.
    """
    return [answers.record() for answers in aware_answers(run)]


def aware_answers(run: Run) -> list[Answers]:
    """Return the answers that aware_table counts."""
    ae, _ = autoencoder(run)
    found = []
    for stage, classifier in stages(run).items():
        defended = autoencoder_module.defended(ae, classifier)
        for kind in ("fgsm", "pgd"):
            for defense, assessed, target, threat in (
                ("none", classifier, classifier, "grey_box"),
                ("ae", defended, classifier, "grey_box"),
                ("ae", defended, defended, "adaptive"),
            ):
                fields = {"stage": stage, "defense": defense, "threat": threat}
                found.append(attacked_answers(run, assessed, target, kind, run.eps, **fields))
    return found


def answers(run: Run) -> dict[str, np.ndarray]:
    """Return which test images were classified correctly, by cell (Answers.cell); verify compares these."""
    return {answers.cell: answers.correct for answers in static_answers(run) + aware_answers(run)}


@plain_numbers
def attacked_answers(
    run: Run,
    assessed: keras.Model,
    target: keras.Model,
    kind: str,
    eps: float,
    *,
    stage: str,
    defense: str,
    threat: str,
    steps: int = STEPS,
) -> Answers:
    """Attack ``target`` on the first n_sweep test images, and assess ``assessed`` on the attacked images.

    Args:
        run: the run.
        assessed: the model that classifies the attacked images.
        target: the model that the attack differentiates.
        kind: ``regular``, ``noise``, ``fgsm`` or ``pgd``.
        eps: the budget.
        stage: the record's stage.
        defense: the record's defense.
        threat: what the attacker knows.
        steps: of PGD.
    """

    def assess() -> np.ndarray:
        moved = attacked_images(run, target, kind, eps, steps=steps)
        return evaluation.is_correct(assessed, moved, run.data.test.head(run.profile.n_sweep).labels)

    config = {
        **_assessed(run, assessed),
        "attack": attack_config(run, target, kind, eps, steps),
        "cell": [stage, defense, kind, threat],
    }
    taken = steps_of(kind, steps)
    budget = eps if taken or kind == "noise" else 0.0
    fields = run.fields(stage, defense, kind, threat, budget, taken)
    return Answers(fields, _cached_correct(config, assess))


def attacked_record(
    run: Run, assessed: keras.Model, target: keras.Model, kind: str, eps: float, **options
) -> dict:
    """Return the record of attacked_answers; the arguments are the same."""
    return attacked_answers(run, assessed, target, kind, eps, **options).record()


def accuracy_against_eps(run: Run, budgets: Sequence[float]) -> list[dict]:
    """Return the initial classifier's records under noise, FGSM and PGD at several budgets."""
    return [_of_initial(run, kind, eps) for eps in budgets for kind in ("noise", "fgsm", "pgd")]


def accuracy_against_steps(run: Run, counts: Sequence[int]) -> list[dict]:
    """Return the initial classifier's records under PGD with several numbers of steps."""
    return [_of_initial(run, "pgd", run.eps, steps=steps) for steps in counts]


def _of_initial(run: Run, kind: str, eps: float, **steps: int) -> dict:
    fields = {"stage": "initial", "defense": "none", "threat": "grey_box"}
    return attacked_record(run, run.classifier, run.classifier, kind, eps, **fields, **steps)


def correct(run: Run, classifier: keras.Model, split: str, name: str) -> np.ndarray:
    """Return which images of one of the six sources a classifier gets right: booleans [n]."""
    images, labels = source(run, split, name), run.split(split).labels
    config = {**_assessed(run, classifier), "source": name, "split": split, "n": len(labels)}
    if name.startswith("ae("):
        config["autoencoder"] = classifiers.weights_sha256(autoencoder(run)[0])
    return _cached_correct(config, lambda: evaluation.is_correct(classifier, images, labels))


def _assessed(run: Run, model: keras.Model) -> dict:
    return {**run.config(autoencoder_module, accuracy), "assessed": checksum(model)}


def _cached_correct(config: dict, assess: Callable[[], np.ndarray]) -> np.ndarray:
    return np.array(artifacts.make_json("correct", config, lambda: [int(c) for c in assess()]), bool)
