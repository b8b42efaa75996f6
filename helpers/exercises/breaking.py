"""Checks of notebook 06, exercises 3, 4 and 6: accuracy by budget, an attack through a rounding, and a random
defense."""

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
    """Accept five accuracies in percent that do not rise, and a function that measures accuracy under PGD at
    several budgets, tried on a linear classifier, whose exact curve is known, and on another one."""
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
            f"{BUDGETS[rise + 1]}/255; accuracy cannot rise: what the smaller budget allows, the larger one "
            "does, too"
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
            raise Wrong(f"{len(case.budgets)} budgets give as many accuracies, but {len(found)} came back")
        if found.max() > 1:
            raise Wrong(f"your accuracies are {_list(found)}; give them in [0, 1]")
        _compare_curve(found, case)
    return (
        "at budget 0 it is the clean accuracy, and then it falls as far as it must, and no further than it "
        "can; now see what became of your prediction"
    )


class Case(NamedTuple):
    """What a curve is measured on: at each of the budgets no attack can leave less than ``least``, and a
    plain PGD leaves ``ours``; the first budget is 0."""

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
        # Black and white only, so that half of all steps lead out of [0, 1].
        (toys.linear(), toys.images().round(), (0, 0.5, 2, 4, 8)),
        (toys.network(), toys.images(), (0, 0.5, 1, 2)),
    ):
        labels, budgets = toys.answers(model, images), tuple(level / 255 for level in levels)
        labels[:3] = (labels[:3] + 1) % 10  # so that not all are right to begin with
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
            hint = "that is the share that is broken"
        elif abs(found[0] - 1) < 0.011:
            hint = "divide by all images, not by those that were right before"
        raise Wrong(f"at budget 0 you measure {found[0]:.2f}, and the clean accuracy is {clean:.2f}; {hint}")
    for eps, accuracy, least, ours in list(zip(case.budgets, found, case.least, case.ours, strict=True))[1:]:
        at = f"{shown}. At {255 * eps:g}/255"
        if accuracy < least - 0.011:
            raise Wrong(
                f"{at} no attack can leave less than {least:.2f} of this linear classifier: your images "
                "move further than their budget, or leave [0, 1]"
            )
        if accuracy > ours + 2.5 / n:
            hint = "is the budget used in full, and the attack aimed at this model?"
            if np.allclose(found, clean, atol=0.05):
                hint = "the accuracy hardly falls at all; does the attack know the budget, in [0, 1]?"
            elif np.ptp(found[1:]) < 0.011:
                hint = "it is the same at every budget; does the loop pass the budget on?"
            raise Wrong(f"{at} a plain PGD leaves {ours:.2f}; {hint}")
        if accuracy < ours - 6.5 / n:
            raise Wrong(f"{at} a plain PGD leaves {ours:.2f}: do your images move further than their budget?")


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _least(model: keras.Model, images: np.ndarray, labels: np.ndarray, eps: float) -> float:
    """Return the least accuracy that any attack within eps and [0, 1] can leave of a linear model,
    exactly."""
    kernel = model.layers[-1].get_weights()[0].astype(np.float64)
    logits = np.asarray(model(tf.constant(images))).astype(np.float64)
    flat = images.reshape(len(images), -1).astype(np.float64)
    up, down = np.minimum(eps, 1 - flat), np.minimum(eps, flat)
    stands = []
    for k, label in enumerate(labels):
        towards = kernel - kernel[:, [label]]
        gain = (np.maximum(towards, 0) * up[k, :, None] + np.maximum(-towards, 0) * down[k, :, None]).sum(0)
        margin = logits[k, label] - logits[k]
        stands.append(all(margin[j] > gain[j] for j in range(10) if j != label))
    return float(np.mean(stands))


# ----------------------------------------------------------------------------------------- a rounding before

LEVELS = 32


def rounded(images: tf.Tensor) -> tf.Tensor:
    """Round every value to the nearest of 32 levels from 0 to 1."""
    return tf.round(tf.convert_to_tensor(images, tf.float32) * (LEVELS - 1)) / (LEVELS - 1)


ROUNDED = "attack_rounded(autoencoder, classifier, images, labels, eps)"


@check("06.4", f"write through_rounding(images) and {ROUNDED}")
def check_rounded(through_rounding: Callable, attack_rounded: Callable) -> str:
    """Accept rounded's value with the identity's gradient, and any attack within the rules that breaks a
    classifier behind a rounding and an autoencoder."""
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
            f"a value moved by {distance:.3f}, but eps is {EPS:.3f}; you return rounded images, and the "
            "attacker hands in what will be rounded"
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
        hint = "is every step taken uphill, from where the last one ended?"
        if coming_through < 0.3:
            hint = (
                f"only {100 * coming_through:.0f}% of your change comes through the autoencoder: replace "
                "the gradient of the rounding alone; the autoencoder has a gradient, and no stand-in is as "
                "good"
            )
        elif toys.losses(defended, moved, labels).mean() < toys.losses(defended, images, labels).mean():
            hint = "the loss of the true classes fell: go up"
        raise Wrong(
            f"behind rounding and autoencoder {robust} of {len(images)} images are still right; {hint}"
        )
    return (
        f"the value is the rounding's, the gradient passes, and {len(images) - robust} of {len(images)} "
        "images are broken: a stand-in where there is no gradient, the gradient where there is one"
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
            hint = "the images came back as they were"
        raise Wrong(
            f"the value must be that of exercises.rounded, but {hint}; only the gradient is replaced, or "
            "you would attack another defense than the one assessed"
        )
    gradient = tape.gradient(total, images) if total is not None else None
    if gradient is None:
        raise Wrong(
            "the value is right, but TensorFlow finds no gradient: tf.round has none, and NumPy cuts it; "
            "add something whose value is 0 and whose gradient is the identity's"
        )
    found = as_array(gradient, "the gradient", images.shape)
    if not np.allclose(found, weights, atol=1e-4):
        ratio = float(np.sum(found * weights) / np.sum(weights**2))
        hint = f"it is {ratio:.3g} times what it should be"
        if not found.any():
            hint = "it is zero everywhere"
        elif not np.allclose(found, ratio * weights, atol=1e-4):
            hint = "it is another function's; the stand-in is the identity"
        raise Wrong(f"the value is right, but not the gradient, which should pass unchanged: {hint}")


# ---------------------------------------------------------------------------------------------- open problem


class Dice:
    """A linear classifier of small pictures that first moves each image by a random number of rows and
    columns, from 0 to 7, around the edges; other numbers for every image and every call.

    dice(images) gives logits [n, 10] as TensorFlow tensors, dice.classifier(images) those without a move.
    """

    MOVES = 8

    def __init__(self) -> None:
        rng = np.random.default_rng(9)
        images = rng.uniform(0.45, 0.55, (24, 1, 1, 3)) + rng.uniform(-0.01, 0.01, (24, 32, 32, 3))
        self.images = images.astype(np.float32)
        colour, detail = rng.normal(0, 0.05, (1, 1, 3, 10)), rng.normal(0, 0.5, (32, 32, 3, 10))
        kernel = (colour + detail - detail.mean((0, 1))).reshape(-1, 10).astype(np.float32)
        self._kernel, self._bias = kernel, -(self.images.reshape(24, -1) @ kernel).mean(0)
        self._generator = tf.random.Generator.from_seed(
            0
        )  # its own, so that a student's draws stay as they are
        self._all = tf.constant(np.indices((self.MOVES, self.MOVES)).reshape(2, -1).T, tf.int32)
        self.labels = self._over_all_moves(self.images).mean(1).argmax(1).astype(np.int32)

    def classifier(self, images: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.reshape(images, (-1, len(self._kernel))), self._kernel) + self._bias

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        images = tf.convert_to_tensor(images, tf.float32)
        return self._moved(images, self._generator.uniform((tf.shape(images)[0], 2), 0, self.MOVES, tf.int32))

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The share of right answers over all 64 moves of every image: what is expected of a draw,
        exactly."""
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
    """Accept any attack within the rules after which at most a fifth of Dice's answers are right, over all
    moves."""
    dice = Dice()
    call = "attack_dice(model, images, labels, eps)"
    answer = ask(attack_dice, dice, *as_tensors(dice.images, dice.labels), EPS, call=call)
    moved = as_attacked(answer, dice.images, EPS)
    left, clean = dice.accuracy(moved, dice.labels), dice.accuracy(dice.images, dice.labels)
    if left > 0.2:
        one = np.asarray(dice.classifier(tf.constant(moved, tf.float32))).argmax(1)
        hint = "which direction hurts for every draw? Average the gradient over more draws"
        if np.abs(moved - dice.images).max() < 0.1 * EPS:
            hint = "no value moved"
        elif left > 0.95 * clean:
            hint = "that is as good as no attack; does the loss of the true classes grow?"
        elif np.mean(one == dice.labels) < 0.1 and left > 0.5:
            hint = (
                "the images are broken where nothing is moved, and only there: the attack left the dice out"
            )
        raise Wrong(
            f"over all 64 moves {100 * left:.0f}% of the answers are still right ({100 * clean:.0f}% "
            f"without an attack), and at most 20% should be; {hint}"
        )
    return (
        f"over all 64 moves {100 * left:.0f}% of the answers are right, {100 * clean:.0f}% without an "
        "attack: chance made the gradient noisy, not the classifier robust"
    )
