"""FGSM and PGD as the paper has them: pure functions of a model and images that return attacked images.

A model is any callable that takes float32 images [n, h, w, c] in [0, 1] and returns logits [n, classes]: a classifier,
or a defense with a classifier behind it. A Keras model is called in inference mode: BatchNorm uses what it learned.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import numpy as np

from .backend import keras, tf
from .settings import CourseError, check_eps

Model = Callable[[tf.Tensor], tf.Tensor]


def fgsm(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    targeted: bool = False,
    batch_size: int = 128,
) -> np.ndarray:
    """The fast gradient sign method (Goodfellow et al. 2015; the paper, section 1): one step of eps.

    Args:
        model: see the module's docstring.
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n]; the true classes, or, if targeted, the classes to be mistaken for.
        eps: the largest change of any value, in [0, 1]; the paper's is 8/255.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1].

    Raises:
        CourseError: images, labels, eps or the model's outputs are not of that form; the message says which.
    """
    return pgd(
        model, images, labels, eps,
        step_size=eps, steps=1, random_start=False, targeted=targeted, batch_size=batch_size,
    )  # fmt: skip


def pgd(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    step_size: float = 0.01,
    steps: int = 10,
    random_start: bool = True,
    seed: int = 0,
    targeted: bool = False,
    batch_size: int = 128,
) -> np.ndarray:
    """Projected gradient descent (Madry et al. 2018; the paper, section 2: ten steps of 0.01 from a random start).

    Each step follows the sign of the gradient of the cross-entropy with respect to the image, returns to the eps-ball
    around the original, then to [0, 1].

    Args:
        model, images, labels, eps, targeted: as for fgsm.
        step_size: of one step, in [0, 1].
        steps: how many; at least 1.
        random_start: begin at a point drawn uniformly from the eps-ball. It depends on the seed and the image's
            position in ``images`` alone, not on the batch size.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1].

    Raises:
        CourseError: as for fgsm.
    """
    check_batch(images, labels)
    check_eps(eps)
    check_eps(step_size, "step_size")
    check_count(steps, "steps", "an attack takes at least 1")
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    if seed < 0:
        raise CourseError(f"seed is {seed}; it must be 0 or more")
    _check_model(model, images[:1], labels)
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int32)
    attacked = np.empty_like(images)
    direction = tf.constant(-step_size if targeted else step_size, tf.float32)
    for first in range(0, len(images), batch_size):
        rows = slice(first, first + batch_size)
        batch, truth = images[rows], labels[rows]
        start = random_noise(batch, eps, seed, first) if random_start else batch
        # A last, smaller batch is filled up, so that the graph is traced for one shape only.
        fill = [(0, min(batch_size, len(images)) - len(batch))]
        padded = [tf.constant(np.pad(a, fill + [(0, 0)] * (a.ndim - 1), mode="edge")) for a in (start, batch, truth)]
        moved = _ascend(model, *padded, tf.constant(eps, tf.float32), direction, tf.constant(steps, tf.int32))
        attacked[rows] = moved[: len(batch)]
    return attacked


def random_noise(images: np.ndarray, eps: float, seed: int, first: int = 0) -> np.ndarray:
    """Images moved to a point drawn uniformly from the eps-ball, then clipped: PGD's start.

    Args:
        first: the number of the first image; image k gets the same noise whatever it is batched with.
    """
    return np.clip(images + np.float32(eps) * _uniform(images, seed, first), 0, 1).astype(np.float32)


def random_signs(images: np.ndarray, eps: float, seed: int, first: int = 0) -> np.ndarray:
    """Images whose every value is moved by eps, up or down at random, then clipped: the baseline that an attack must
    beat, since FGSM moves values just as far."""
    return np.clip(images + np.float32(eps) * np.sign(_uniform(images, seed, first)), 0, 1).astype(np.float32)


def _uniform(images: np.ndarray, seed: int, first: int) -> np.ndarray:
    """A draw from [-1, 1) for every value; it depends on the seed and the image's number alone."""
    size = int(np.prod(images.shape[1:]))
    blocks = -(-size // 8)  # one block of Philox's counter yields eight float32
    generator = np.random.Generator(np.random.Philox(key=seed).advance(first * blocks))
    return 2 * generator.random((len(images), blocks * 8), np.float32)[:, :size].reshape(images.shape) - 1


@tf.function(reduce_retracing=True)
def _ascend(model, start, images, labels, eps, direction, steps):
    """All steps of PGD on one batch, as one graph; ``direction`` is the step size, negative to descend."""
    low, high = tf.maximum(images - eps, 0.0), tf.minimum(images + eps, 1.0)
    attacked = start
    for _ in tf.range(steps):
        attacked = tf.clip_by_value(attacked + direction * tf.sign(input_gradient(model, attacked, labels)), low, high)
    return attacked


def input_gradient(model: Model, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The gradient of the cross-entropy with respect to the images.

    The loss is summed over the batch, not averaged, so an image's gradient does not depend on its neighbours.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = logits_of(model, images)
        loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    return tape.gradient(loss, images)


def logits_of(model: Model, images: tf.Tensor) -> tf.Tensor:
    """The model's outputs, with BatchNorm and dropout in inference mode where there are any."""
    return model(images, training=False) if isinstance(model, keras.Model) else model(images)


# ------------------------------------------------------------------------------------------------------ bad input


def check_count(count: int, name: str, why: str) -> None:
    """Refuse what is not a whole number of at least 1."""
    if not isinstance(count, Integral) or count < 1:
        raise CourseError(f"{name} is {count!r}; {why}")


def check_batch(images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse images that are not float32 [n, h, w, c] in [0, 1], or labels that are not n whole numbers."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or not len(images):
        raise CourseError(f"images have shape {images.shape}; a batch [n, height, width, channels], n > 0, is needed")
    if not np.issubdtype(images.dtype, np.floating):
        raise CourseError(f"images are {images.dtype}; divide them by 255 and pass float32 in [0, 1]")
    if not np.isfinite(images).all():
        raise CourseError("images hold values that are not numbers (NaN or infinity)")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        hint = "; divide them by 255" if high > 2 and low >= 0 else "; clip them, or leave normalisation to the model"
        raise CourseError(f"images must be in [0, 1], but run from {low:.4g} to {high:.4g}{hint}")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        hint = "; take argmax over the last axis" if labels.ndim == 2 and labels.shape[-1] > 1 else ""
        raise CourseError(f"labels must be {len(images)} integers, but are {labels.dtype} {labels.shape}{hint}")


def _check_model(model: Model, one_image: np.ndarray, labels: np.ndarray) -> None:
    if not callable(model):
        raise CourseError(f"the model is a {type(model).__name__}, which cannot be called with images")
    logits = np.asarray(logits_of(model, tf.constant(one_image, tf.float32)))
    if logits.ndim != 2 or len(logits) != 1:
        raise CourseError(f"the model returned shape {logits.shape} for one image; logits [n, classes] are needed")
    if logits.min() >= 0 and abs(logits.sum() - 1) < 1e-4:
        raise CourseError("the model's outputs are probabilities that sum to 1; take the softmax off and return logits")
    if np.min(labels) < 0 or np.max(labels) >= logits.shape[1]:
        low, high = int(np.min(labels)), int(np.max(labels))
        raise CourseError(
            f"labels run from {low} to {high}, but the model knows the classes 0 to {logits.shape[1] - 1}"
        )
