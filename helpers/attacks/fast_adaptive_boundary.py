"""FAB-T (Croce & Hein 2020b): look for the nearest point across the decision boundary, one class at a time.

It is the targeted version that AutoAttack runs. It differs from the authors' code in one way: an image's
search ends with its first misclassified point inside the eps-ball, because nothing nearer is asked for.
"""

from __future__ import annotations

import numpy as np

from ..backend import tf
from ..backend.finite import without_nan
from ..backend.tracing import Model, gradient_of, logits_of
from ..settings import check_count, plain_numbers
from .auto_pgd import likeliest_wrong
from .batches import in_batches, logits_in_batches
from .checks import checked

FORWARD, BACKWARD, LARGEST_PULL = 1.05, 0.9, 0.1
"""eta, beta and alpha_max of the paper, with the values of AutoAttack."""


@plain_numbers
def fab_targeted(
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
    """Attack images with FAB-T (Croce & Hein 2020b, algorithm 1; its targeted version: section 3 of 2020a).

    Each step takes the boundary between the true class and the target to be the plane that the gradient
    gives. It moves onto that plane, and is pulled a little towards the original image.

    Args:
        model: a callable from images to logits (see gradient.py).
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n], the true classes.
        eps: the radius of the ball, in the norm.
        steps: the number of steps towards each class, at least 1.
        classes: the number of wrong classes to try, the likeliest first, if the model has so many.
        seed: not used, because the search has no random numbers; every attack of the ensemble is given one.
        norm: ``linf`` or ``l2``.
        batch_size: the number of images attacked at once.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1]; the original where no misclassified
        point was found in the ball.

    Raises:
        CourseError: an argument is invalid, or the model has no gradient.
    """
    check_count(steps, "steps", "an attack takes at least 1")
    check_count(classes, "classes", "at least 1 wrong class is tried")
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    model, images, labels = checked(model, images, labels, eps, norm)
    logits = without_nan(logits_in_batches(model, images, batch_size))
    # Tensors, because TensorFlow would trace a new graph for every new Python number.
    numbers = tf.constant(eps, tf.float32), tf.constant(steps, tf.int32)

    def search(*batch):
        return model.graph(_search)(*batch, *numbers, norm=norm)

    attacked, remaining = images.copy(), np.flatnonzero(logits.argmax(1) == labels)
    for targets in likeliest_wrong(logits, labels, classes):
        if not len(remaining):
            break
        batch = images[remaining], labels[remaining], targets[remaining]
        points = without_nan(in_batches(search, batch, batch_size), remaining)
        attacked[remaining] = points
        broken = logits_in_batches(model, points, batch_size).argmax(1) != labels[remaining]
        remaining = remaining[~broken]
    return attacked


def _search(model, images, labels, targets, eps, steps, norm):
    """Search from each image of a batch towards its target class, in one graph."""

    def step(k, point, found, broken, lost):
        lead, gradient = _lead(model, point, labels, targets)
        lost |= tf.reduce_any(tf.math.is_nan(gradient), [1, 2, 3]) | tf.math.is_nan(lead)
        # The plane on which the target draws level is w·z = w·point - lead, with w the gradient.
        level = _inner(gradient, point) - lead
        to_plane = step_to_plane(point, gradient, level, norm)
        from_image = step_to_plane(images, gradient, level, norm)
        near, far = (tf.maximum(_size(change, norm), 1e-8) for change in (to_plane, from_image))
        pull = _per_image(tf.minimum(near / (near + far), LARGEST_PULL))
        moved = (1 - pull) * (point + FORWARD * to_plane) + pull * (images + FORWARD * from_image)
        moved = tf.clip_by_value(moved, 0.0, 1.0)
        wrong = tf.argmax(logits_of(model, moved), 1, tf.int32) != labels
        success = wrong & (_size(moved - images, norm) <= eps)
        found = tf.where(_per_image(success & ~broken), moved, found)
        # From across the boundary, go back towards the image: the next crossing may be nearer.
        point = tf.where(_per_image(wrong), images + BACKWARD * (moved - images), moved)
        return k + 1, point, found, broken | success, lost & ~broken

    nothing = tf.zeros_like(labels, tf.bool)
    begin = 0, images, images, nothing, nothing
    end = tf.while_loop(lambda k, _, __, broken, ___: (k < steps) & ~tf.reduce_all(broken), step, begin)
    return tf.where(_per_image(end[4]), np.nan, end[2])


def _lead(model, points, labels, targets):
    """Return how far the targets' logits lead over the labels' [n], and the gradient of that."""
    with tf.GradientTape() as tape:
        tape.watch(points)
        logits = logits_of(model, points)
        lead = tf.gather(logits, targets, batch_dims=1) - tf.gather(logits, labels, batch_dims=1)
    return lead, gradient_of(lead, points, tape)


def step_to_plane(points: tf.Tensor, normal: tf.Tensor, level: tf.Tensor, norm: str) -> tf.Tensor:
    """Return the shortest change of each point that takes it onto a plane and keeps it in [0, 1].

    Args:
        points: float32 [n, h, w, c] in [0, 1].
        normal: the planes' normals w, of the same shape. The planes are w·z = level.
        level: float32 [n].
        norm: in which the change is short: ``linf`` or ``l2``.

    Returns:
        The changes, float32 [n, h, w, c]; where [0, 1] does not reach the plane, the change to the corner
        that comes nearest.
    """
    missing = level - _inner(normal, points)
    direction = tf.sign(normal) * _per_image(tf.sign(missing))
    slope = tf.abs(normal)
    room = tf.where(direction > 0, 1 - points, points)  # how far a value may move in its direction
    if norm == "linf":  # every value moves by t, as far as it may
        t = _per_image(_reach(slope, room, tf.abs(missing)))
        return direction * tf.minimum(t, room)
    # In l2 each value moves in proportion to the slope.
    t = _per_image(_reach(tf.square(slope), tf.math.divide_no_nan(room, slope), tf.abs(missing)))
    return direction * tf.minimum(t * slope, room)


def _reach(weights: tf.Tensor, ends: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Return the least t [n] at which the sum of weights * min(t, ends) is what is wanted.

    The sum is a concave function of t made of straight pieces. So Newton's steps from 0 never go too far, and
    arrive after a few. Where the sum never gets there, t passes the last end.
    """
    last = tf.reduce_max(ends, [1, 2, 3])

    def newton(_, t):
        at = _per_image(t)
        missing = wanted - _sum(weights * tf.minimum(at, ends))
        slope = _sum(tf.where(ends > at, weights, 0.0))
        following = tf.where(slope > 0, t + missing / tf.maximum(slope, 1e-30), last)
        following = tf.clip_by_value(following, t, last)
        return tf.reduce_any(following > t * (1 + 1e-6)), following

    begin = tf.constant(True), tf.zeros_like(wanted)
    return tf.while_loop(lambda moves, _: moves, newton, begin, maximum_iterations=50)[1]


def _inner(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return _sum(one * other)


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, [1, 2, 3])


def _size(change: tf.Tensor, norm: str) -> tf.Tensor:
    if norm == "linf":
        return tf.reduce_max(tf.abs(change), [1, 2, 3])
    return tf.sqrt(_sum(tf.square(change)))


def _per_image(values: tf.Tensor) -> tf.Tensor:
    """Reshape [n] to [n, 1, 1, 1]."""
    return values[:, None, None, None]
