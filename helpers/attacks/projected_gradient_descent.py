"""Projected gradient descent (PGD): many small steps, each projected back onto the eps-ball."""

from __future__ import annotations

import numpy as np

from ..backend import tf
from ..backend.finite import without_nan
from ..settings import CourseError, check_count, check_eps, plain_numbers
from . import losses
from .batches import fooled, in_batches
from .checks import check_seed, checked
from .gradient import Model, input_gradient, project, steepest
from .random_points import random_start_for

STEP_SIZE, STEPS = 0.01, 10
"""The paper's choice (section 2)."""


@plain_numbers
def step_size_for(eps: float) -> float:
    """Return the paper's step size, or eps / 4 if that is larger, so that ten steps can cross the ball."""
    return max(STEP_SIZE, eps / 4)


@plain_numbers
def pgd(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    step_size: float = STEP_SIZE,
    steps: int = STEPS,
    restarts: int = 1,
    random_start: bool = True,
    seed: int = 0,
    norm: str = "linf",
    loss: str = "cross_entropy",
    targeted: bool = False,
    batch_size: int = 128,
) -> np.ndarray:
    """Attack images with PGD (Madry et al. 2018; the paper, section 2).

    Args:
        model: a callable from images to logits (see gradient.py).
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n]: the true classes, or the target classes if ``targeted``.
        eps: the radius of the ball, in the norm; the paper's is 8/255 in linf.
        step_size: of one step, in the unit of eps.
        steps: the number of steps, at least 1.
        restarts: the number of tries, each from another random point, on images that no try has broken.
        random_start: whether to begin at a uniformly random point of the eps-ball.
        seed: of the random start. A start depends only on it, the try and the image's place in ``images``.
        norm: ``linf`` or ``l2``.
        loss: the loss to maximise, a name in losses.LOSSES.
        targeted: whether to move towards the labels instead of away from them.
        batch_size: the number of images attacked at once.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1].

    Raises:
        CourseError: as for ``fgsm``.
    """
    model, images, labels = checked(model, images, labels, eps, norm)
    _check(step_size, norm, steps, restarts, random_start, seed, batch_size)
    maximised, direction = losses.named(loss), -step_size if targeted else step_size
    # Tensors, because TensorFlow would trace a new graph for every new Python number.
    numbers = tf.constant(eps, tf.float32), tf.constant(direction, tf.float32), tf.constant(steps, tf.int32)
    attacked, remaining = images.copy(), np.arange(len(images))
    for attempt in range(restarts):
        start, originals, truth = images[remaining], images[remaining], labels[remaining]
        if random_start:
            start = random_start_for(originals, eps, norm, seed, remaining, attempt)

        def ascend(*batch):
            return model.graph(_ascend)(*batch, *numbers, norm=norm, loss=maximised)

        moved = without_nan(in_batches(ascend, (start, originals, truth), batch_size), remaining)
        attacked[remaining] = moved
        if attempt + 1 < restarts:
            remaining = remaining[~fooled(model, moved, truth, targeted, batch_size)]
            if not len(remaining):
                break
    return attacked


def _ascend(model, start, images, labels, eps, step_size, steps, norm, loss):
    """Take all steps on one batch in one graph. A negative step size descends. A NaN makes the image NaN."""

    def step(k, attacked, lost):
        gradient = input_gradient(model, attacked, labels, loss)
        moved = attacked + step_size * steepest(gradient, norm)
        lost |= tf.reduce_any(tf.math.is_nan(gradient), [1, 2, 3], keepdims=True)  # clipping may hide it
        return k + 1, project(moved, images, eps, norm), lost

    begin = 0, start, tf.zeros_like(start[:, :1, :1, :1], tf.bool)
    _, attacked, lost = tf.while_loop(lambda k, *_: k < steps, step, begin)
    return tf.where(lost, np.nan, attacked)


def _check(step_size, norm, steps, restarts, random_start, seed, batch_size) -> None:
    check_eps(step_size, "step_size", norm)
    check_count(steps, "steps", "an attack takes at least 1")
    check_count(restarts, "restarts", "an attack is tried at least once")
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    check_seed(seed)
    if restarts > 1 and not random_start:
        raise CourseError(
            f"restarts is {restarts}, but without a random start every try is the same; leave it at 1"
        )
