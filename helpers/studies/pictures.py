"""A reader's own pictures: what the shipped networks take them for, and what an attack changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import classifiers, datasets, evaluation, pipeline, settings
from ..attacks import STEPS, answers_of, step_size_for
from ..backend import keras, tf
from ..backend.finite import without_nan
from ..datasets import Data, Split
from ..defenses import autoencoder as autoencoder_module
from ..evaluation.titles import STAGE_TITLES
from ..pipeline import Run
from ..settings import CourseError, Networks
from .image_files import SIDE, Picture, printable

ATTACKS = {"fgsm": "FGSM", "pgd": "PGD"}
STAGES = tuple(STAGE_TITLES)[:2]
ANSWERS = {"none": "", "ae": " behind the autoencoder"}
"""Who answers, and how sentences call it: the classifier alone, or with the autoencoder before it."""
FORMS = ("clean", "attacked", "saved")
"""The forms of a picture. The last is the attacked image as its PNG file has it, rounded to 8 bits."""
NO_ANSWER = "no answer (NaN)"
"""Stands for the class where the logits are not numbers."""


@dataclass(frozen=True, eq=False)
class Systems:
    """What answers.

    Attributes:
        classes: names by label.
        models: classifiers by key of ANSWERS; ``ae`` only where the course ships an autoencoder.
    """

    classes: tuple[str, ...]
    models: dict[str, keras.Model]


@dataclass(frozen=True)
class Attack:
    """An attack on pictures.

    Attributes:
        kind: a key of ATTACKS.
        eps: the budget, in [0, 1].
        end_to_end: whether it differentiates through autoencoder and classifier, or through the classifier.
        seed: of PGD's random start.
    """

    kind: str
    eps: float = settings.EPS
    end_to_end: bool = False
    seed: int = 0

    @property
    def target(self) -> str:
        """The key of the attacked system."""
        return "ae" if self.end_to_end else "none"


def load(dataset: str = "cifar10", model: str = "resnet20", stage: str = "initial") -> Systems:
    """Load the shipped networks. Those for CIFAR-10 need no data.

    Args:
        dataset: a name in datasets.NAMES.
        model: a key of registry.MODELS.
        stage: of the classifier: ``initial`` or ``fine_tuned``.

    Raises:
        CourseError: the course does not ship these networks.
    """
    if stage not in STAGES:
        raise CourseError(f"unknown stage {stage!r}; choose one of {', '.join(STAGES)}")
    data = _cifar10_without_images() if dataset == "cifar10" else datasets.load(dataset)
    classifier = classifiers.load(model, data)
    profile = settings.profile("quick")
    run = Run(data, classifier, model, profile, 0, settings.EPS, "course", Networks.SHIPPED)
    if stage == "fine_tuned":
        classifier, _ = pipeline.fine_tuned(run)
    models = {"none": classifier}
    if classifiers.shipped(data.name, f"{model}_ae").is_file():
        autoencoder, _ = pipeline.autoencoder(run)
        models["ae"] = autoencoder_module.defended(autoencoder, classifier)
    return Systems(data.classes, models)


def _cifar10_without_images() -> Data:
    nothing = Split(np.zeros((0, SIDE, SIDE, 3), np.uint8), np.zeros(0, np.int32))
    constants = datasets.CIFAR_CLASSES, datasets.CIFAR_MEAN, datasets.CIFAR_STD
    return Data("cifar10", nothing, nothing, nothing, *constants)


def attack(systems: Systems, images: np.ndarray, how: Attack) -> np.ndarray:
    """Attack pictures. They have no labels, so the attack leads away from the attacked system's own answers.

    Args:
        systems: what load returns.
        images: float32 [n, 32, 32, 3] in [0, 1].
        how: the attack.

    Raises:
        CourseError: there is no such attack, no autoencoder to go through, or no answer to a picture (NaN).
    """
    if how.kind not in ATTACKS:
        raise CourseError(f"unknown attack {how.kind!r}; choose one of {', '.join(ATTACKS)}")
    if how.target not in systems.models:
        raise CourseError(
            "the course ships no autoencoder of this network for these images; attack the classifier alone"
        )
    target = systems.models[how.target]
    labels = without_nan(_logits(target, images)).argmax(1)
    return pipeline.attack(pipeline.for_attack(target), images, labels, how.kind, how.eps, how.seed)


def _logits(system: keras.Model, images: np.ndarray) -> np.ndarray:
    return evaluation.predict(system, images, min(len(images), 250))


def answers(systems: Systems, pictures: Sequence[Picture], forms: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return what each system answers for each form of each picture.

    Args:
        systems: what load returns.
        pictures: the pictures, for their names and sizes.
        forms: images float32 [n, 32, 32, 3] by key of FORMS.

    Returns:
        A row for each picture: ``file``, ``width``, ``height``; and for each form and system the columns
        ``FORM_class`` and ``FORM_confidence``, or ``FORM_ae_class`` and ``FORM_ae_confidence``: the likeliest
        class and its softmax probability, or NO_ANSWER and 0.
    """
    columns = {
        "file": [picture.name for picture in pictures],
        "width": [picture.width for picture in pictures],
        "height": [picture.height for picture in pictures],
    }
    for form, images in forms.items():
        for defense, system in systems.models.items():
            probabilities = np.asarray(tf.nn.softmax(_logits(system, images)))
            of, likeliest = column(form, defense), answers_of(probabilities)
            columns[f"{of}_class"] = [NO_ANSWER if k < 0 else systems.classes[k] for k in likeliest]
            columns[f"{of}_confidence"] = np.nan_to_num(probabilities.max(1).astype(float)).round(6)
    return pd.DataFrame(columns)


def column(form: str, defense: str) -> str:
    """Return how the columns of a form and a system begin (answers)."""
    return form if defense == "none" else f"{form}_{defense}"


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Return the answers as a table to read, with confidences in percent, and without the saved images'."""
    shown = {
        "size": [f"{width}×{height}" for width, height in zip(found["width"], found["height"], strict=True)]
    }
    for form, before in {"clean": "", "attacked": "attacked: "}.items():
        for defense, behind in {"none": "answer", "ae": "with autoencoder"}.items():
            of = column(form, defense)
            if f"{of}_class" in found:
                pairs = zip(found[f"{of}_class"], found[f"{of}_confidence"], strict=True)
                shown[f"{before}{behind}"] = [
                    name if name == NO_ANSWER else f"{name} {100 * sure:.1f}%" for name, sure in pairs
                ]
    return pd.DataFrame(shown, index=list(map(printable, found["file"])))


def threat_model(how: Attack) -> str:
    """Say in two sentences who attacks."""
    steps = "one step" if how.kind == "fgsm" else f"{STEPS} steps of {step_size_for(how.eps):.3g}"
    aim = (
        "autoencoder and classifier together (end-to-end)"
        if how.end_to_end
        else "the classifier alone, and knows nothing of the autoencoder"
    )
    return (
        f"{ATTACKS[how.kind]} in {steps} changes every value by at most {255 * how.eps:.3g}/255. "
        f"It is aimed at {aim}. "
        "Pictures have no labels, so it leads away from what the attacked network answered."
    )


def what_changed(found: pd.DataFrame) -> list[str]:
    """Say in sentences how many answers the attack changed, and how many stay changed in the saved files."""
    told = []
    for defense, where in ANSWERS.items():
        clean, attacked, saved = (f"{column(form, defense)}_class" for form in FORMS)
        if attacked not in found:
            continue
        changed = found[attacked] != found[clean]
        text = f"The attack changed {changed.sum()} of {len(found)} answers{where}"
        if saved in found:
            after = found[saved] != found[clean]
            text += (
                f"; read again from the files, {(changed & after).sum()} of these {changed.sum()} are changed"
            )
            if new := int((after & ~changed).sum()):
                text += f", and {new} more"
        told.append(f"{text}.")
    return told


def notes(
    systems: Systems, found: pd.DataFrame, how: Attack | None = None, folder: Path | None = None
) -> str:
    """Say what a reader of the table has to know, a sentence a line.

    Args:
        systems: what load returns.
        found: what answers returns.
        how: the attack, if there was one.
        folder: where the attacked images were saved, if they were.
    """
    lines = [
        f"A network sees the largest square in the middle of a picture, resized to {SIDE}×{SIDE}.",
        f"Whatever that shows, it answers with one of {', '.join(systems.classes)}.",
    ]
    if "ae" not in systems.models:
        lines.append("The course ships no autoencoder for these images, so the classifier answers alone.")
    if how:
        lines += [threat_model(how), *what_changed(found)]
    if folder:
        lines.append(
            f"The attacked images are in {folder}/, as PNG files of {SIDE}×{SIDE} with 8 bits a value."
        )
    return "\n".join(lines)
