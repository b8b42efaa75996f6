"""Auto-PGD (Croce & Hein 2020): PGD that chooses its own step size, untargeted and targeted.

It differs from the authors' code in three ways. It starts uniformly in the eps-ball, not on the boundary.
In l2 it clips to [0, 1] before it projects onto the ball, not after. And it computes the checkpoints and
the conditions as in the paper, which their code rounds and compares slightly differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..backend import tf
from ..backend.finite import without_nan
from ..backend.tracing import Model, Traced, gradient_of, logits_of
from ..settings import CourseError, check_count, plain_numbers
from . import losses
from .batches import in_batches, logits_in_batches
from .checks import check_seed, checked
from .gradient import project, steepest
from .random_points import random_start_for

MOMENTUM = 0.75
"""alpha in eq. 1: the weight of the new step in a move; the rest repeats the move before it."""

RHO = 0.75
"""The fraction of the steps since a checkpoint that must raise the loss (condition 1)."""


@plain_numbers
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
    """Attack images with Auto-PGD (Croce & Hein 2020, algorithm 1): gradient ascent with momentum.

    The step size is 2 eps at first. At checkpoints it is halved for each image whose loss has stopped
    rising, and the search goes on from the best point so far.

    Args:
        model: a callable from images to logits (see gradient.py).
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n], the true classes.
        eps: the radius of the ball, in the norm; the paper's is 8/255 in linf.
        loss: the loss to maximise, a name in losses.LOSSES.
        steps: the number of steps, at least 1.
        restarts: the number of tries, each from another random point. Later tries attack only the images that
            earlier ones did not break.
        seed: of the random starts. A start depends only on it, the try and the image's place in ``images``.
        norm: ``linf`` or ``l2``.
        batch_size: the number of images attacked at once.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1]: the first misclassified point that
        was found, or else the point of the highest loss. Images that are misclassified from the start are
        unchanged.

    Raises:
        CourseError: an argument is invalid, the loss needs more classes, or the model has no gradient.
    """
    model, images, labels, logits = _prepared(model, images, labels, eps, norm, steps, seed, batch_size)
    check_count(restarts, "restarts", "an attack is tried at least once")
    losses.named(loss)
    if loss == "dlr":
        _check_classes(logits, 3)
    ascent = _Ascent(model, eps, steps, norm, loss)
    return _try_all(ascent, images, labels, logits, [None] * restarts, seed, batch_size)


@plain_numbers
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
    """Attack images with Auto-PGD towards one wrong class after another (Croce & Hein 2020, section 5).

    The loss is the targeted difference-of-logits ratio. The likeliest wrong class comes first. Any wrong
    answer counts as a success, not only the target.

    Args:
        model: as for ``apgd``, with at least four classes.
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n], the true classes.
        eps: the radius of the ball, in the norm.
        steps: the number of steps towards each class, at least 1.
        classes: the number of wrong classes to try, if the model has so many.
        seed: of the random starts.
        norm: ``linf`` or ``l2``.
        batch_size: the number of images attacked at once.

    Returns:
        Attacked images, as for ``apgd``.

    Raises:
        CourseError: as for ``apgd``.
    """
    model, images, labels, logits = _prepared(model, images, labels, eps, norm, steps, seed, batch_size)
    check_count(classes, "classes", "at least 1 wrong class is tried")
    _check_classes(logits, 4)
    ascent = _Ascent(model, eps, steps, norm, "targeted")
    tries = list(likeliest_wrong(logits, labels, classes))
    return _try_all(ascent, images, labels, logits, tries, seed, batch_size)


def likeliest_wrong(logits: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the likeliest wrong classes, in order: int32 [classes, n], or fewer where there are fewer."""
    wrong = logits.copy()
    wrong[np.arange(len(labels)), labels] = -np.inf
    order = np.argsort(-wrong, axis=1, kind="stable")[:, : min(classes, logits.shape[1] - 1)]
    return order.T.astype(np.int32)


def checkpoints(steps: int) -> list[int]:
    """Return the steps after which the step size may be halved (Croce & Hein 2020, section 3.3).

    They are ceil(p steps) for p = 0.22, 0.41, ..., 0.99. Each gap is 0.03 shorter than the one before, but at
    least 0.06. With few steps, some of them coincide.
    """
    percents = [0, 22]  # integers, because 0.7 * 100 is a little above 70 and would be rounded up
    while (following := percents[-1] + max(percents[-1] - percents[-2] - 3, 6)) <= 100:
        percents.append(following)
    return [-(-percent * steps // 100) for percent in percents[1:]]


class _Ascent(NamedTuple):
    """What all tries have in common."""

    model: Traced
    eps: float
    steps: int
    norm: str
    loss: str

    def __call__(self, start, images, *classes):
        """Run one try on a batch."""
        # As tensors, because TensorFlow would trace a new graph for every new Python number.
        eps, steps = tf.constant(self.eps, tf.float32), tf.constant(self.steps, tf.int32)
        checks = tf.constant(checkpoints(self.steps), tf.int32)
        graph = self.model.graph(_ascend)
        return graph(start, images, classes, eps, steps, checks, norm=self.norm, loss=self.loss)


def _try_all(
    ascent: _Ascent,
    images: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    tries: Sequence[np.ndarray | None],
    seed: int,
    batch_size: int,
) -> np.ndarray:
    """Run one try after another on the images not yet broken; a try is its target classes [n], or None."""
    attacked, highest = images.copy(), np.full(len(images), -np.inf, np.float32)
    remaining = np.flatnonzero(logits.argmax(1) == labels)
    for attempt, targets in enumerate(tries):
        if not len(remaining):
            break
        originals, truth = images[remaining], labels[remaining]
        classes = (truth,) if targets is None else (truth, targets[remaining])
        start = random_start_for(originals, ascent.eps, ascent.norm, seed, remaining, attempt)
        points = without_nan(in_batches(ascent, (start, originals, *classes), batch_size), remaining)
        outputs = logits_in_batches(ascent.model, points, batch_size)
        values = np.asarray(_value(ascent.loss, classes, tf.constant(outputs)))
        broken = outputs.argmax(1) != truth
        better = broken | (values > highest[remaining])
        attacked[remaining[better]], highest[remaining[better]] = points[better], values[better]
        remaining = remaining[~broken]
    return attacked


class _Search(NamedTuple):
    """The state of the search for each image of a batch; k and last_check are common to all."""

    k: tf.Tensor  # the number of steps taken
    point: tf.Tensor
    previous: tf.Tensor
    value: tf.Tensor
    gradient: tf.Tensor
    found: tf.Tensor  # the first misclassified point
    broken: tf.Tensor
    lost: tf.Tensor  # whether the model gave a NaN before the image was broken
    best: tf.Tensor
    best_value: tf.Tensor
    best_gradient: tf.Tensor
    step_size: tf.Tensor
    last_check: tf.Tensor
    rises: tf.Tensor  # how often the loss rose since the last checkpoint
    value_at_check: tf.Tensor  # best_value at the last checkpoint
    halved: tf.Tensor  # whether the step size was halved there


def _ascend(model, start, images, classes, eps, steps, checkpoints, norm, loss):
    """Run algorithm 1 on one batch in one graph, until every image is broken or all steps are taken."""

    def evaluate(points):
        return _evaluate(model, points, classes, loss)

    def step(*state):
        return _step(_Search(*state), evaluate, images, eps, checkpoints, norm)

    def goes_on(*state):
        at = _Search(*state)
        return (at.k < steps) & ~tf.reduce_all(at.broken)

    end = _Search(*tf.while_loop(goes_on, step, _begin(start, evaluate, eps)))
    return _where(end.lost, end.best + np.nan, _where(end.broken, end.found, end.best))


def _begin(start: tf.Tensor, evaluate: Callable, eps: tf.Tensor) -> _Search:
    value, gradient, broken, lost = evaluate(start)
    zeros, zero = tf.zeros_like(value), tf.constant(0)
    return _Search(
        k=zero,
        point=start,
        previous=start,
        value=value,
        gradient=gradient,
        found=start,
        broken=broken,
        lost=lost,
        best=start,
        best_value=value,
        best_gradient=gradient,
        step_size=zeros + 2 * eps,
        last_check=zero,
        rises=zeros,
        value_at_check=value,
        halved=tf.zeros_like(broken),
    )


def _step(at: _Search, evaluate: Callable, images, eps, checkpoints, norm) -> _Search:
    """Take one step with momentum; at a checkpoint, halve the step size of images whose loss has stalled."""
    k = at.k + 1
    alpha = tf.where(at.k == 0, 1.0, MOMENTUM)
    stepped = at.point + _per_image(at.step_size) * steepest(at.gradient, norm)
    new_move, old_move = project(stepped, images, eps, norm) - at.point, at.point - at.previous
    point = project(at.point + alpha * new_move + (1 - alpha) * old_move, images, eps, norm)
    value, gradient, wrong, lost = evaluate(point)

    better = value > at.best_value
    best, best_gradient = _where(better, point, at.best), _where(better, gradient, at.best_gradient)
    best_value = tf.where(better, value, at.best_value)
    rises = at.rises + tf.cast(value > at.value, tf.float32)

    too_few_rises = rises < RHO * tf.cast(k - at.last_check, tf.float32)  # condition 1
    no_gain = tf.logical_not(at.halved) & (best_value == at.value_at_check)  # condition 2
    is_check = tf.reduce_any(checkpoints == k)
    halve = is_check & (too_few_rises | no_gain)
    return _Search(
        k=k,
        point=_where(halve, best, point),
        previous=at.point,
        value=tf.where(halve, best_value, value),
        gradient=_where(halve, best_gradient, gradient),
        found=_where(wrong & tf.logical_not(at.broken), point, at.found),
        broken=at.broken | wrong,
        lost=at.lost | (lost & tf.logical_not(at.broken)),
        best=best,
        best_value=best_value,
        best_gradient=best_gradient,
        step_size=tf.where(halve, at.step_size / 2, at.step_size),
        last_check=tf.where(is_check, k, at.last_check),
        rises=tf.where(is_check, 0.0, rises),
        value_at_check=tf.where(is_check, best_value, at.value_at_check),
        halved=tf.where(is_check, halve, at.halved),
    )


def _evaluate(model, points, classes, loss):
    """Return the loss [n], its gradient at the points, and which images are wrong and give a NaN [n]."""
    with tf.GradientTape() as tape:
        tape.watch(points)
        logits = logits_of(model, points)
        value = _value(loss, classes, logits)
    gradient = gradient_of(value, points, tape)
    lost = tf.reduce_any(tf.math.is_nan(gradient), [1, 2, 3]) | tf.reduce_any(tf.math.is_nan(logits), 1)
    return value, gradient, tf.argmax(logits, 1, tf.int32) != classes[0], lost


def _value(loss: str, classes: tuple, logits: tf.Tensor) -> tf.Tensor:
    """Return the loss [n]; ``classes`` are the labels, and for the targeted loss also the targets."""
    if loss == "targeted":
        return losses.dlr_towards(classes[0], classes[1], logits)
    return losses.named(loss)(classes[0], logits)


def _where(chosen: tf.Tensor, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Choose between two images, for each of n."""
    return tf.where(_per_image(chosen), images, others)


def _per_image(values: tf.Tensor) -> tf.Tensor:
    """Reshape [n] to [n, 1, 1, 1]."""
    return values[:, None, None, None]


def _prepared(model, images, labels, eps, norm, steps, seed, batch_size):
    """Check the arguments; return the model with its graphs, images, labels, and the images' logits."""
    check_count(steps, "steps", "an attack takes at least 1")
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    check_seed(seed)
    model, images, labels = checked(model, images, labels, eps, norm)
    return model, images, labels, without_nan(logits_in_batches(model, images, batch_size))


def _check_classes(logits: np.ndarray, least: int) -> None:
    if logits.shape[1] < least:
        raise CourseError(
            f"the difference-of-logits ratio needs {least} classes, but the model knows {logits.shape[1]}; "
            "take another loss"
        )
