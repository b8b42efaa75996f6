"""The course's first picture: one photograph, one step of growing size, and what the classifier answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import attacks
from ..attacks import Model
from ..backend import tf
from ..datasets import Data, storage
from ..evaluation import predict
from .loss_landscape import gradient_at

SMALL = 2 / 255
"""A step that most people do not see in a photograph."""


@dataclass(frozen=True, eq=False)
class Strip:
    """One photograph after one step along the gradient's sign, for growing budgets.

    Attributes:
        levels: the budgets, in grey levels of 255, [k]; the first is 0.
        images: the photographs, float32 [k, 32, 32, 3] in [0, 1].
        answers: the classifier's answers, [k].
        confidences: their softmax probabilities, [k].
        classes: the names of the classes.
        label: the true class.
    """

    levels: np.ndarray
    images: np.ndarray
    answers: np.ndarray
    confidences: np.ndarray
    classes: tuple[str, ...]
    label: int

    @property
    def said(self) -> list[str]:
        """What the classifier says of each photograph."""
        return [
            f"{self.classes[answer]} {100 * sure:.1f}%"
            for answer, sure in zip(self.answers, self.confidences, strict=True)
        ]

    @property
    def finding(self) -> str:
        """The first budget whose step changes the answer, and the two answers."""
        changed = np.flatnonzero(self.answers != self.answers[0])
        if not len(changed):
            return f"No step of up to {self.levels[-1]}/255 changes the answer: {self.said[0]}"
        level = self.levels[changed[0]]
        return f"A step of {level}/255 is enough: {self.said[0]} becomes {self.said[changed[0]]}"


def photograph(classifier: Model, data: Data, eps: float = SMALL, among: int = 200) -> int:
    """Return the number of the first test image that FGSM turns into another class with more confidence.

    Args:
        classifier: the classifier.
        data: the data set.
        eps: the budget.
        among: how many test images to try; 0 is returned if none of them is one.
    """
    images, labels = data.test.take(among)
    before, sure = _answers(classifier, images)
    after, surer = _answers(classifier, attacks.fgsm(classifier, images, labels, eps))
    found = (before == labels) & (after != labels) & (surer > sure)
    return int(np.argmax(found))


def strip(classifier: Model, data: Data, number: int, largest: int = 16) -> Strip:
    """Take one step along the gradient's sign from a test image, of each size up to ``largest`` levels."""
    image, label = storage.to_float(data.test.pixels[number]), int(data.test.labels[number])
    levels = np.arange(largest + 1)
    steps = levels[:, None, None, None] / np.float32(255) * np.sign(gradient_at(classifier, image, label))
    images = np.clip(image + steps, 0, 1).astype(np.float32)
    answers, sure = _answers(classifier, images)
    return Strip(levels, images, answers, sure, data.classes, label)


def _answers(classifier: Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the likeliest classes [n] and their probabilities [n]."""
    probabilities = np.asarray(tf.nn.softmax(predict(classifier, images)))
    return probabilities.argmax(1), probabilities.max(1)
