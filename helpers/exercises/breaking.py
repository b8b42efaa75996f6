"""Checks of notebook 06, exercises 3, 4 and 6: accuracy by budget, a rounding, and a random defense."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from .. import attacks
from ..backend import keras, tf
from . import toys
from .predicates import as_array, as_attacked, as_tensors
from .results import toy_defense
from .verdict import Wrong, ask, check, untouched

EPS = 8 / 255


# ------------------------------------------------------------------------------------- predict, then measure

BUDGETS = (0, 2, 4, 8, 16)
"""The budgets of the prediction, in 1/255."""


@check("06.3", "set predicted before you measure, and write curve(model, images, labels, budgets)")
def check_curve(predicted: object, curve: Callable) -> str:
    """Accept five accuracies in percent that do not rise, and a function that measures such a curve.

    The function is tried on a linear classifier, whose lowest possible curve is known, and on a network.
    """
    guess = as_array(predicted, "predicted")
    if guess.shape != (len(BUDGETS),):
        raise Wrong(
            f"predicted should have {len(BUDGETS)} numbers, one for each budget, but has {guess.size}"
        )
    if guess.min() < 0 or guess.max() > 100 or guess.max() <= 1:
        raise Wrong(f"you predicted {_list(guess)}; give percent, from 0 to 100")
    rise = int(np.diff(guess).argmax())
    if guess[rise + 1] > guess[rise]:
        raise Wrong(
            f"you predicted {guess[rise]:g}% at {BUDGETS[rise]}/255 and {guess[rise + 1]:g}% at "
            f"{BUDGETS[rise + 1]}/255; accuracy cannot rise: the larger budget allows every change that the "
            "smaller one allows"
        )
    call = "curve(model, images, labels, budgets)"
    for case in _cases():
        with untouched(case.model):
            answer = ask(
                curve, case.model, case.images.copy(), case.labels.copy(), list(case.budgets), call=call
            )
        found = as_array(
            list(answer.values()) if isinstance(answer, dict) else answer, "your accuracies"
        ).reshape(-1)
        if len(found) != len(case.budgets):
            raise Wrong(f"return one accuracy for each of the {len(case.budgets)} budgets, not {len(found)}")
        if found.max() > 1:
            raise Wrong(f"your accuracies are {_list(found)}; give them in [0, 1]")
        _compare_curve(found, case)
    return (
        "at budget 0 it is the clean accuracy, and then it falls as far as it should, and no further than "
        "is possible; now compare it with your prediction"
    )


class Case(NamedTuple):
    """A classifier and images to measure a curve on.

    At each budget, no attack can leave less than ``least``, and a plain PGD leaves ``ours``. The first budget
    is 0.
    """

    model: keras.Model
    images: np.ndarray
    labels: np.ndarray
    budgets: tuple[float, ...]
    least: list[float]
    ours: list[float]


@cache
def _cases() -> list[Case]:
    cases = []
    for model, images, levels in (
        # Only black and white, so that half of all steps would leave [0, 1].
        (toys.linear(), toys.images().round(), (0, 0.5, 2, 4, 8)),
        (toys.network(), toys.images(), (0, 0.5, 1, 2)),
    ):
        labels, budgets = toys.answers(model, images), tuple(level / 255 for level in levels)
        labels[:3] = (labels[:3] + 1) % 10  # so that a few are misclassified from the start
        ours = [np.mean(toys.answers(model, images) == labels)]
        for eps in budgets[1:]:
            moved = attacks.pgd(model, images, labels, eps, step_size=eps / 4, random_start=False)
            ours.append(np.mean(toys.answers(model, moved) == labels))
        exact = len(model.layers) == 2
        least = [_least(model, images, labels, eps) if exact else 0.0 for eps in budgets]
        cases.append(Case(model, images, labels, budgets, least, ours))
    return cases


def _compare_curve(found: np.ndarray, case: Case) -> None:
    n, clean = len(case.images), case.ours[0]
    shown = "you measure " + ", ".join(
        f"{255 * eps:g}/255: {accuracy:.2f}" for eps, accuracy in zip(case.budgets, found, strict=True)
    )
    if abs(found[0] - clean) > 0.011:
        hint = "a budget of 0 allows no change"
        if abs(found[0] - (1 - clean)) < 0.011:
            hint = "that is the share of broken images"
        elif abs(found[0] - 1) < 0.011:
            hint = "divide by the number of all images, not of those that were right before"
        raise Wrong(f"at budget 0 you measure {found[0]:.2f}, and the clean accuracy is {clean:.2f}; {hint}")
    for eps, accuracy, least, ours in list(zip(case.budgets, found, case.least, case.ours, strict=True))[1:]:
        at = f"{shown}. At {255 * eps:g}/255"
        if accuracy < least - 0.011:
            raise Wrong(
                f"{at} no attack can leave less than {least:.2f} for this linear classifier: your images "
                "move further than the budget, or leave [0, 1]"
            )
        if accuracy > ours + 2.5 / n:
            hint = "does the attack use the whole budget, and does it attack this model?"
            if np.allclose(found, clean, atol=0.05):
                hint = "the accuracy hardly falls; does the attack get the budget, in [0, 1]?"
            elif np.ptp(found[1:]) < 0.011:
                hint = "it is the same at every budget; does the loop pass the budget on?"
            raise Wrong(f"{at} a plain PGD leaves {ours:.2f}; {hint}")
        if accuracy < ours - 6.5 / n:
            raise Wrong(f"{at} a plain PGD leaves {ours:.2f}: do your images move further than the budget?")


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _least(model: keras.Model, images: np.ndarray, labels: np.ndarray, eps: float) -> float:
    """Return the lowest accuracy that any attack within eps and [0, 1] can reach on a linear model."""
    kernel = model.layers[-1].get_weights()[0].astype(np.float64)
    logits = np.asarray(model(tf.constant(images))).astype(np.float64)
    flat = images.reshape(len(images), -1).astype(np.float64)
    up, down = np.minimum(eps, 1 - flat), np.minimum(eps, flat)
    robust = []
    for k, label in enumerate(labels):
        towards = kernel - kernel[:, [label]]
        gain = (np.maximum(towards, 0) * up[k, :, None] + np.maximum(-towards, 0) * down[k, :, None]).sum(0)
        margin = logits[k, label] - logits[k]
        robust.append(all(margin[j] > gain[j] for j in range(10) if j != label))
    return float(np.mean(robust))


# ----------------------------------------------------------------------------------------- a rounding before

LEVELS = 32


def rounded(images: tf.Tensor) -> tf.Tensor:
    """Round every value to the nearest of 32 levels from 0 to 1."""
    return tf.round(tf.convert_to_tensor(images, tf.float32) * (LEVELS - 1)) / (LEVELS - 1)


ROUNDED = "attack_rounded(autoencoder, classifier, images, labels, eps)"


@check("06.4", f"write through_rounding(images) and {ROUNDED}")
def check_rounded(through_rounding: Callable, attack_rounded: Callable) -> str:
    """Accept a straight-through rounding, and an attack on a classifier behind it and an autoencoder.

    The rounding has the value of ``rounded`` and the gradient of the identity. Any attack within the rules
    that breaks the images will do.
    """
    _check_straight_through(through_rounding)
    autoencoder, classifier, images, _ = toy_defense()

    def answers(x: np.ndarray) -> np.ndarray:
        return np.asarray(classifier(autoencoder(rounded(x)))).argmax(1).astype(np.int32)

    labels = answers(images)
    with untouched(classifier):
        answer = ask(attack_rounded, autoencoder, classifier, *as_tensors(images, labels), EPS, call=ROUNDED)
    moved = as_array(answer, "your images", images.shape)
    distance = float(np.abs(moved - images).max())
    if EPS + 1e-5 < distance < 3 * EPS and np.abs(moved - rounded(moved)).max() < 1e-5:
        raise Wrong(
            f"a value moved by {distance:.3f}, but eps is {EPS:.3f}; you return rounded images, but the "
            "attacker's images come before the rounding"
        )
    moved = as_attacked(moved, images, EPS)
    if distance < 0.1 * EPS:
        raise Wrong(
            f"no value moved by more than {distance:.2g}, but eps is {EPS:.3f}; was the gradient zero?"
        )
    robust = int(np.sum(answers(moved) == labels))
    if robust > 2:
        before, after = (np.asarray(autoencoder(rounded(x))) for x in (images, moved))
        coming_through = np.abs(after - before).mean() / np.abs(moved - images).mean()
        defended = keras.Sequential([autoencoder, classifier])
        hint = "does every step go uphill, from where the last one ended?"
        if coming_through < 0.3:
            hint = (
                f"only {100 * coming_through:.0f}% of your change gets through the autoencoder: replace "
                "only the gradient of the rounding; the autoencoder has a gradient of its own, which is "
                "better than any approximation"
            )
        elif toys.losses(defended, moved, labels).mean() < toys.losses(defended, images, labels).mean():
            hint = "the loss of the true classes fell: it should rise"
        raise Wrong(
            f"behind rounding and autoencoder {robust} of {len(images)} images are still right; {hint}"
        )
    return (
        f"the value is the rounding's, the gradient passes, and {len(images) - robust} of {len(images)} "
        "images are broken: approximate the gradient where there is none, and use it where there is one"
    )


def _check_straight_through(through_rounding: Callable) -> None:
    images = tf.constant(toys.images(4) * np.float32(0.9) + np.float32(0.043))
    weights = tf.constant(np.random.default_rng(13).normal(0, 1, images.shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        out = ask(through_rounding, images, call="through_rounding(images)")
        total = tf.reduce_sum(weights * out) if tf.is_tensor(out) else None
    value = as_array(out, "the rounded images", images.shape)
    off = np.abs(value - rounded(images)).max()
    if off > 1e-5:
        hint = f"they are off by up to {off:.3f}"
        if np.abs(value - images).max() < 1e-5:
            hint = "you return the images unchanged"
        raise Wrong(
            f"the value must be that of exercises.rounded, but {hint}; replace only the gradient, or you "
            "attack a different defense from the one assessed"
        )
    gradient = tape.gradient(total, images) if total is not None else None
    if gradient is None:
        raise Wrong(
            "the value is right, but TensorFlow finds no gradient: tf.round has none, and NumPy cuts it "
            "off; add a term whose value is 0 and whose gradient is the identity's"
        )
    found = as_array(gradient, "the gradient", images.shape)
    if not np.allclose(found, weights, atol=1e-4):
        ratio = float(np.sum(found * weights) / np.sum(weights**2))
        hint = f"it is {ratio:.3g} times what it should be"
        if not found.any():
            hint = "it is zero everywhere"
        elif not np.allclose(found, ratio * weights, atol=1e-4):
            hint = "it belongs to another function; use the identity"
        raise Wrong(f"the value is right, but not the gradient, which should pass unchanged: {hint}")


# ---------------------------------------------------------------------------------------------- open problem


class Dice:
    """A linear classifier of small pictures that first shifts each image at random.

    The shift is 0 to 7 rows and columns, wraps around the edges, and is drawn anew for every image in every
    call. dice(images) returns logits [n, 10] as TensorFlow tensors; dice.classifier(images) does not shift.
    """

    MOVES = 8

    def __init__(self) -> None:
        rng = np.random.default_rng(9)
        images = rng.uniform(0.45, 0.55, (24, 1, 1, 3)) + rng.uniform(-0.01, 0.01, (24, 32, 32, 3))
        self.images = images.astype(np.float32)
        colour, detail = rng.normal(0, 0.05, (1, 1, 3, 10)), rng.normal(0, 0.5, (32, 32, 3, 10))
        kernel = (colour + detail - detail.mean((0, 1))).reshape(-1, 10).astype(np.float32)
        self._kernel, self._bias = kernel, -(self.images.reshape(24, -1) @ kernel).mean(0)
        # A generator of its own leaves a student's random numbers as they are.
        self._generator = tf.random.Generator.from_seed(0)
        self._all = tf.constant(np.indices((self.MOVES, self.MOVES)).reshape(2, -1).T, tf.int32)
        self.labels = self._over_all_moves(self.images).mean(1).argmax(1).astype(np.int32)

    def classifier(self, images: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.reshape(images, (-1, len(self._kernel))), self._kernel) + self._bias

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        images = tf.convert_to_tensor(images, tf.float32)
        return self._moved(images, self._generator.uniform((tf.shape(images)[0], 2), 0, self.MOVES, tf.int32))

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Return the exact expected accuracy: the share of right answers over all 64 shifts of each image."""
        return float(
            np.mean(self._over_all_moves(np.asarray(images)).argmax(2) == np.asarray(labels)[:, None])
        )

    def _moved(self, images: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        rows, columns = ((tf.range(32)[None] + by[:, k : k + 1]) % 32 for k in (0, 1))
        turned = tf.gather(images, rows, axis=1, batch_dims=1)
        return self.classifier(tf.gather(turned, columns, axis=2, batch_dims=1))

    def _over_all_moves(self, images: np.ndarray) -> np.ndarray:
        many = tf.repeat(tf.constant(images, tf.float32), len(self._all), axis=0)
        logits = self._moved(many, tf.tile(self._all, (len(images), 1)))
        return logits.numpy().reshape(len(images), -1, 10)


@check("06.6", "write attack_dice(model, images, labels, eps)")
def check_attack_dice(attack_dice: Callable) -> str:
    """Accept any attack within the rules after which at most 20% of Dice's answers are right.

    The share is taken over all shifts.
    """
    dice = Dice()
    call = "attack_dice(model, images, labels, eps)"
    answer = ask(attack_dice, dice, *as_tensors(dice.images, dice.labels), EPS, call=call)
    moved = as_attacked(answer, dice.images, EPS)
    left, clean = dice.accuracy(moved, dice.labels), dice.accuracy(dice.images, dice.labels)
    if left > 0.2:
        one = np.asarray(dice.classifier(tf.constant(moved, tf.float32))).argmax(1)
        hint = "which direction hurts for every shift? Average the gradient over more draws"
        if np.abs(moved - dice.images).max() < 0.1 * EPS:
            hint = "no value moved"
        elif left > 0.95 * clean:
            hint = "that is no better than no attack; does the loss of the true classes grow?"
        elif np.mean(one == dice.labels) < 0.1 and left > 0.5:
            hint = "the images are broken only if nothing is shifted: the attack left out the random shift"
        raise Wrong(
            f"over all 64 shifts {100 * left:.0f}% of the answers are still right ({100 * clean:.0f}% "
            f"without an attack), and at most 20% should be; {hint}"
        )
    return (
        f"over all 64 shifts {100 * left:.0f}% of the answers are right, {100 * clean:.0f}% without an "
        "attack: the random shift made the gradient noisy, not the classifier robust"
    )
