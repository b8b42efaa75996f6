"""Auto-PGD (Croce & Hein 2020): PGD that needs no step size, with an untargeted and a targeted loss.

It differs from the authors' code in three ways: it starts uniformly in the eps-ball (theirs: on its boundary); in l2 it
clips to [0, 1] before it returns to the ball (theirs: after); and it takes the checkpoints and conditions as the paper
has them (theirs rounds the checkpoints otherwise for step counts other than 100, and compares a little otherwise).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..backend import tf
from ..settings import CourseError
from .gradient import (
    Model,
    check_count,
    check_seed,
    checked,
    in_batches,
    input_gradient,
    logits_in_batches,
    logits_of,
    losses,
    project,
    random_start_for,
    steepest,
)

MOMENTUM = 0.75
"""alpha in the paper's eq. 1: how much of a move is the new step; the rest is the move before it."""

RHO = 0.75
"""The share of steps between two checkpoints that must raise the loss for the step size to stay (condition 1)."""


def apgd(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    loss: str = "cross_entropy",
    steps: int = 100,
    restarts: int = 1,
    seed: int = 0,
    norm: str = "linf",
    batch_size: int = 128,
) -> np.ndarray:
    """Auto-PGD (Croce & Hein 2020, algorithm 1): gradient ascent with momentum, in steps of at first 2 eps.

    At checkpoints the step is halved for each image whose loss has stopped rising, which goes on from its best point.

    Args:
        model: a callable from float32 images [n, h, w, c] in [0, 1] to logits [n, classes]; a Keras model is called in
            inference mode.
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n], the true classes.
        eps: the largest change: of any value in [0, 1] (linf; the paper's is 8/255), or the Euclidean length of an
            image's whole change (l2). l2 differs from linf in the step (along the gradient) and the projection alone.
        loss: what is maximised: a name in losses.LOSSES.
        steps: how many; at least 1.
        restarts: how often to try, each time from another random point, the images that no try has broken.
        seed: a start depends on it, the try and the image's position in ``images`` alone, not on the batch size.
        norm: ``linf`` or ``l2``.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1]: for each image the first point found that is
        misclassified (an image that is so from the outset is returned as it is), else that of the highest loss.

    Raises:
        CourseError: an argument is not of that form, the loss needs more classes than the model has, or no gradient
            flows from the model's outputs to the images.
    """
    images, labels, clean = _prepared(model, images, labels, eps, norm, steps, seed, batch_size)
    check_count(restarts, "restarts", "an attack is tried at least once")
    losses.named(loss)
    if loss == "dlr":
        _check_classes(clean, 3)
    return _attack(model, images, labels, eps, clean, [None] * restarts, loss, steps, seed, norm, batch_size)


def apgd_targeted(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    steps: int = 100,
    classes: int = 9,
    seed: int = 0,
    norm: str = "linf",
    batch_size: int = 128,
) -> np.ndarray:
    """Auto-PGD on the targeted difference-of-logits ratio (Croce & Hein 2020, section 5): towards one wrong class after
    another, the likeliest first, on the images that no try has broken.

    The goal is any wrong answer, not the target.

    Args:
        model, images, labels, eps, steps, seed, norm: as for apgd. The model needs at least four classes.
        classes: how many wrong classes to try; all of them, where the model knows no more.

    Returns:
        As for apgd.

    Raises:
        CourseError: as for apgd.
    """
    images, labels, clean = _prepared(model, images, labels, eps, norm, steps, seed, batch_size)
    check_count(classes, "classes", "at least 1 wrong class is tried")
    _check_classes(clean, 4)
    wrong = clean.copy()
    wrong[np.arange(len(labels)), labels] = -np.inf
    targets = np.argsort(-wrong, axis=1, kind="stable")[:, : min(classes, clean.shape[1] - 1)].astype(
        np.int32
    )
    return _attack(
        model, images, labels, eps, clean, list(targets.T), "targeted", steps, seed, norm, batch_size
    )


def checkpoints(steps: int) -> list[int]:
    """The steps after which the step size may be halved (Croce & Hein 2020, section 3.3): ceil(p steps) for p = 0.22,
    0.41, ..., 0.99, each gap 0.03 shorter than the one before, but at least 0.06. A small number of steps repeats some.
    """
    percents = [0, 22]  # whole numbers, because 0.7 * 100 is a little above 70 and would be rounded up
    while (following := percents[-1] + max(percents[-1] - percents[-2] - 3, 6)) <= 100:
        percents.append(following)
    return [-(-percent * steps // 100) for percent in percents[1:]]


def _attack(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    clean: np.ndarray,
    tries: Sequence[np.ndarray | None],
    loss: str,
    steps: int,
    seed: int,
    norm: str,
    batch_size: int,
) -> np.ndarray:
    """One try after another; each is the classes [n] to move towards, or None. ``clean`` are the images' logits."""
    # As tensors: another Python number would trace the graph anew.
    numbers = (
        tf.constant(eps, tf.float32),
        tf.constant(steps, tf.int32),
        tf.constant(checkpoints(steps), tf.int32),
    )
    attacked, highest = images.copy(), np.full(len(images), -np.inf, np.float32)
    standing = np.flatnonzero(clean.argmax(1) == labels)
    for attempt, targets in enumerate(tries):
        if not len(standing):
            break
        truth = labels[standing]
        given = (truth,) if targets is None else (truth, targets[standing])
        start = random_start_for(images[standing], eps, norm, seed, standing, attempt)

        def ascend(start, originals, *classes):
            return _ascend(model, start, originals, classes, *numbers, norm=norm, loss=loss)

        points = in_batches(ascend, (start, images[standing], *given), batch_size)
        logits = logits_in_batches(model, points, batch_size)
        values, broken = np.asarray(_value(loss, given, tf.constant(logits))), logits.argmax(1) != truth
        better = broken | (values > highest[standing])
        attacked[standing[better]], highest[standing[better]] = points[better], values[better]
        standing = standing[~broken]
    return attacked


class _Search(NamedTuple):
    """Where each image of a batch is; all but k and last_check are by image."""

    k: tf.Tensor
    point: tf.Tensor
    previous: tf.Tensor
    value: tf.Tensor
    gradient: tf.Tensor
    found: tf.Tensor  # the first point that was misclassified
    broken: tf.Tensor
    best: tf.Tensor
    best_value: tf.Tensor
    best_gradient: tf.Tensor
    step_size: tf.Tensor
    last_check: tf.Tensor
    rises: tf.Tensor  # since the last checkpoint
    value_at_check: tf.Tensor  # best_value then
    halved: tf.Tensor  # the step size, then


@tf.function(reduce_retracing=True, autograph=False)
def _ascend(model, start, images, classes, eps, steps, checkpoints, norm, loss):
    """Algorithm 1 on one batch, as one graph; stops early when every image is broken, which changes no result."""

    def step(*state):
        at = _Search(*state)
        k = at.k + 1
        share = tf.where(at.k == 0, 1.0, MOMENTUM)
        stepped = at.point + _per_image(at.step_size) * steepest(at.gradient, norm)
        new, old = project(stepped, images, eps, norm) - at.point, at.point - at.previous
        point = project(at.point + share * new + (1 - share) * old, images, eps, norm)
        value, gradient, wrong = _evaluate(model, point, classes, loss)

        better = value > at.best_value
        best, best_gradient = _where(better, point, at.best), _where(better, gradient, at.best_gradient)
        best_value = tf.where(better, value, at.best_value)
        rises = at.rises + tf.cast(value > at.value, tf.float32)

        too_few = rises < RHO * tf.cast(k - at.last_check, tf.float32)  # condition 1
        no_gain = ~at.halved & (best_value == at.value_at_check)  # condition 2
        is_check = tf.reduce_any(checkpoints == k)
        halve = is_check & (too_few | no_gain)
        return _Search(
            k=k,
            point=_where(halve, best, point),
            previous=at.point,
            value=tf.where(halve, best_value, value),
            gradient=_where(halve, best_gradient, gradient),
            found=_where(wrong & ~at.broken, point, at.found),
            broken=at.broken | wrong,
            best=best,
            best_value=best_value,
            best_gradient=best_gradient,
            step_size=tf.where(halve, at.step_size / 2, at.step_size),
            last_check=tf.where(is_check, k, at.last_check),
            rises=tf.where(is_check, 0.0, rises),
            value_at_check=tf.where(is_check, best_value, at.value_at_check),
            halved=tf.where(is_check, halve, at.halved),
        )

    def goes_on(*state):
        at = _Search(*state)
        return (at.k < steps) & ~tf.reduce_all(at.broken)

    value, gradient, broken = _evaluate(model, start, classes, loss)
    nought = tf.zeros_like(value)
    first = _Search(
        k=0,
        point=start,
        previous=start,
        value=value,
        gradient=gradient,
        found=start,
        broken=broken,
        best=start,
        best_value=value,
        best_gradient=gradient,
        step_size=nought + 2 * eps,
        last_check=0,
        rises=nought,
        value_at_check=value,
        halved=tf.zeros_like(broken),
    )
    end = _Search(*tf.while_loop(goes_on, step, first))
    return _where(end.broken, end.found, end.best)


def _evaluate(model, points, classes, loss):
    """The loss [n], its gradient with respect to the points, and whether they are misclassified [n]."""
    with tf.GradientTape() as tape:
        tape.watch(points)
        logits = logits_of(model, points)
        value = _value(loss, classes, logits)
    return value, tape.gradient(value, points), tf.argmax(logits, 1, tf.int32) != classes[0]


def _value(loss, classes, logits):
    """The loss [n]; ``classes`` are the labels, and, for the targeted loss, the targets."""
    return (
        losses.dlr_towards(*classes, logits) if loss == "targeted" else losses.named(loss)(*classes, logits)
    )


def _where(chosen: tf.Tensor, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """For each image, by a boolean [n], one or the other."""
    return tf.where(_per_image(chosen), images, others)


def _per_image(values: tf.Tensor) -> tf.Tensor:
    """From [n] to [n, 1, 1, 1]."""
    return values[:, None, None, None]


def _prepared(model, images, labels, eps, norm, steps, seed, batch_size):
    """Refuse bad input; the images as float32, the labels as int32, and the images' logits."""
    images, labels = checked(model, images, labels, eps, norm)
    check_count(steps, "steps", "an attack takes at least 1")
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    check_seed(seed)
    input_gradient(model, tf.constant(images[:1]), tf.constant(labels[:1]))  # raises where there is none
    return images, labels, logits_in_batches(model, images, batch_size)


def _check_classes(logits: np.ndarray, least: int) -> None:
    if logits.shape[1] < least:
        raise CourseError(
            f"the difference-of-logits ratio needs {least} classes, but the model knows {logits.shape[1]}; "
            "take another loss"
        )
