"""FGSM and PGD as the paper has them: pure functions of a model and images that return attacked images.

A model is any callable that takes float32 images [n, h, w, c] in [0, 1] and returns logits [n, classes]: a classifier,
or a defense with a classifier behind it. A Keras model is called in inference mode: BatchNorm uses what it learned.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import numpy as np

from ..backend import devices, keras, tf
from ..settings import CourseError, check_eps
from . import losses

Model = Callable[[tf.Tensor], tf.Tensor]
NORMS = ("linf", "l2")

STEP_SIZE, STEPS = 0.01, 10
"""PGD's, as in the paper (section 2)."""


def fgsm(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    norm: str = "linf",
    loss: str = "cross_entropy",
    targeted: bool = False,
    batch_size: int = 128,
) -> np.ndarray:
    """The fast gradient sign method (Goodfellow et al. 2015; the paper, section 1): one step of eps.

    Args:
        model: see the module's docstring.
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n]; the true classes, or, if targeted, the classes to be mistaken for.
        eps: the largest change: of any value in [0, 1] (linf; the paper's is 8/255), or the Euclidean length of an
            image's whole change (l2; images of 32 x 32 are commonly attacked with 0.5).
        norm: ``linf`` or ``l2``. In l2 the step follows the gradient itself, scaled to the length eps.
        loss: what is maximised: a name in losses.LOSSES.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1].

    Raises:
        CourseError: images, labels, eps or the model's outputs are not of that form; the message says which.
    """
    return pgd(
        model,
        images,
        labels,
        eps,
        step_size=eps,
        steps=1,
        random_start=False,
        norm=norm,
        loss=loss,
        targeted=targeted,
        batch_size=batch_size,
    )


def pgd(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    step_size: float = 0.01,
    steps: int = 10,
    restarts: int = 1,
    random_start: bool = True,
    seed: int = 0,
    norm: str = "linf",
    loss: str = "cross_entropy",
    targeted: bool = False,
    batch_size: int = 128,
) -> np.ndarray:
    """Projected gradient descent (Madry et al. 2018; the paper, section 2: ten steps of 0.01 from a random start).

    Each step follows the sign of the loss's gradient with respect to the image (l2: the gradient's direction), returns
    to the eps-ball around the original, then to [0, 1].

    Args:
        model, images, labels, eps, norm, loss, targeted: as for fgsm.
        step_size: of one step, in eps's unit.
        steps: how many; at least 1.
        restarts: how often to try, each time from another random point. An image that one try has broken is kept as
            it is; the others are tried again.
        random_start: begin at a point drawn uniformly from the eps-ball. It depends on the seed, the try and the
            image's position in ``images`` alone, not on the batch size.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1].

    Raises:
        CourseError: as for fgsm.
    """
    images, labels = checked(model, images, labels, eps, norm)
    check_eps(step_size, "step_size", norm)
    check_count(steps, "steps", "an attack takes at least 1")
    check_count(restarts, "restarts", "an attack is tried at least once")
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    check_seed(seed)
    if restarts > 1 and not random_start:
        raise CourseError(
            f"restarts is {restarts}, but without a random start every try is the same; leave it at 1"
        )
    maximised, direction = losses.named(loss), -step_size if targeted else step_size
    # As tensors: another Python number would trace the graph anew.
    numbers = tf.constant(eps, tf.float32), tf.constant(direction, tf.float32), tf.constant(steps, tf.int32)
    attacked, standing = images.copy(), np.arange(len(images))
    for attempt in range(restarts):
        start = images[standing]
        if random_start:
            start = random_start_for(start, eps, norm, seed, standing, attempt)

        def ascend(start, originals, truth):
            return _ascend(model, start, originals, truth, *numbers, norm=norm, loss=maximised)

        attacked[standing] = in_batches(ascend, (start, images[standing], labels[standing]), batch_size)
        if attempt + 1 < restarts:
            broken = fooled(model, attacked[standing], labels[standing], targeted, batch_size)
            standing = standing[~broken]
        if not len(standing):
            break
    return attacked


def step_size_for(eps: float) -> float:
    """PGD's step: the paper's 0.01, or, at budgets for which that is too short, a quarter of eps, so that ten steps can
    cross the ball."""
    return max(STEP_SIZE, eps / 4)


@tf.function(reduce_retracing=True, autograph=False)
def _ascend(model, start, images, labels, eps, direction, steps, norm, loss):
    """All steps of PGD on one batch, as one graph; ``direction`` is the step size, negative to descend."""

    def step(k, attacked):
        uphill = steepest(input_gradient(model, attacked, labels, loss), norm)
        return k + 1, project(attacked + direction * uphill, images, eps, norm)

    return tf.while_loop(lambda k, _: k < steps, step, (0, start))[1]


def input_gradient(
    model: Model, images: tf.Tensor, labels: tf.Tensor, loss: losses.Loss = losses.cross_entropy
) -> tf.Tensor:
    """The gradient of the loss with respect to the images.

    The loss is summed over the batch, not averaged, so an image's gradient does not depend on its neighbours.

    Raises:
        CourseError: the model cannot be differentiated.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(loss(labels, logits_of(model, images)))
    gradient = tape.gradient(total, images)
    if gradient is None:
        raise CourseError(
            "the model has no gradient with respect to its images (tf.round, tf.argmax or NumPy cut it off); give it "
            "one with adaptive.straight_through, or attack it without gradients (square)"
        )
    return gradient


def steepest(gradient: tf.Tensor, norm: str) -> tf.Tensor:
    """The direction of length 1 in which a linear function with this gradient grows most: its sign, or itself
    normalised."""
    if norm == "linf":
        return tf.sign(gradient)
    return gradient / tf.sqrt(tf.maximum(_squared_length(gradient), 1e-30))


def project(moved: tf.Tensor, images: tf.Tensor, eps: tf.Tensor, norm: str) -> tf.Tensor:
    """Back into the eps-ball around the images and into [0, 1]."""
    if norm == "linf":
        return tf.clip_by_value(moved, tf.maximum(images - eps, 0.0), tf.minimum(images + eps, 1.0))
    # Into [0, 1] first: shrinking towards the image does not leave it again. (In linf the order is all one.)
    change = tf.clip_by_value(moved, 0.0, 1.0) - images
    length = tf.sqrt(_squared_length(change))
    # A length that exceeds eps by rounding alone is let be, so that one step of eps stays what it is.
    shrink = tf.where(length > eps * (1 + 1e-6), eps / length, 1.0)
    return tf.clip_by_value(images + change * shrink, 0.0, 1.0)


def _squared_length(images: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(images), [1, 2, 3], keepdims=True)


def logits_of(model: Model, images: tf.Tensor) -> tf.Tensor:
    """The model's outputs, with BatchNorm and dropout in inference mode where there are any."""
    return model(images, training=False) if isinstance(model, keras.Model) else model(images)


# ---------------------------------------------------------------------------------------------------------- batches


def in_batches(
    attack: Callable[..., tf.Tensor], arrays: tuple[np.ndarray, ...], batch_size: int
) -> np.ndarray:
    """attack(*arrays), a batch at a time; all arrays have the same length.

    The batches are as few as ``batch_size`` allows and all of one size, so that the attack's graph is traced for one
    shape only; what the last one lacks is filled up with copies. Where there are many devices, they share each batch.
    """
    n = len(arrays[0])
    size = -(-n // -(-n // batch_size))
    size += -size % devices.COUNT
    attack = devices.everywhere(attack)
    outputs = []
    for first in range(0, n, size):
        parts = [a[first : first + size] for a in arrays]
        fill = [(0, size - len(parts[0]))]
        padded = [np.pad(a, fill + [(0, 0)] * (a.ndim - 1), mode="edge") for a in parts]
        outputs.append(np.asarray(attack(*padded))[: len(parts[0])])
    return np.concatenate(outputs)


def logits_in_batches(model: Model, images: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """The model's outputs for many images: float32 [n, classes]."""
    return in_batches(lambda x: _logits(model, x), (images,), batch_size)


_logits = tf.function(logits_of, reduce_retracing=True, autograph=False)


def fooled(
    model: Model, images: np.ndarray, labels: np.ndarray, targeted: bool = False, batch_size: int = 128
) -> np.ndarray:
    """Which images reach the attack's goal: not the label, or, if targeted, the label. Booleans [n]."""
    answers = logits_in_batches(model, images, batch_size).argmax(1)
    return (answers == labels) if targeted else (answers != labels)


# ----------------------------------------------------------------------------------------------------- random points


def random_noise(images: np.ndarray, eps: float, seed: int, first: int = 0) -> np.ndarray:
    """Images moved to a point drawn uniformly from the eps-ball (linf), then clipped: PGD's start.

    Args:
        first: the number of the first image; image k gets the same noise whatever it is batched with.
    """
    return random_start_for(images, eps, "linf", seed, first + np.arange(len(images)))


def random_start_for(
    images: np.ndarray, eps: float, norm: str, seed: int, numbers: np.ndarray, attempt: int = 0
) -> np.ndarray:
    """Images moved to a point drawn uniformly from the eps-ball, then clipped to [0, 1].

    Args:
        numbers: of the images; the draw depends on the seed, the attempt and the image's number alone.
    """
    if norm == "linf":
        change = np.float32(eps) * _uniform(images.shape[1:], seed, numbers, attempt)
    else:
        change = np.float32(eps) * _in_unit_ball(images.shape[1:], seed, numbers, attempt)
    return np.clip(images + change, 0, 1).astype(np.float32)


def random_signs(images: np.ndarray, eps: float, seed: int, first: int = 0) -> np.ndarray:
    """Images whose every value is moved by eps, up or down at random, then clipped: the baseline that an attack must
    beat, since FGSM moves values just as far."""
    signs = np.sign(_uniform(images.shape[1:], seed, first + np.arange(len(images))))
    return np.clip(images + np.float32(eps) * signs, 0, 1).astype(np.float32)


def _uniform(shape: tuple[int, ...], seed: int, numbers: np.ndarray, attempt: int = 0) -> np.ndarray:
    """A draw from [-1, 1) for every value of the images of these numbers."""
    size = int(np.prod(shape))
    blocks = -(-size // 8)  # one block of Philox's counter yields eight float32
    draws = [_generator(seed, attempt, k * blocks).random(size, np.float32) for k in numbers]
    return 2 * np.reshape(draws, (len(draws), *shape)) - 1


def _in_unit_ball(shape: tuple[int, ...], seed: int, numbers: np.ndarray, attempt: int = 0) -> np.ndarray:
    """A point of the Euclidean unit ball for each of the images of these numbers."""
    size, points = int(np.prod(shape)), []
    for k in numbers:
        generator = _generator(seed, attempt, k * 4 * size)  # more blocks than a draw can use
        direction = generator.standard_normal(size, np.float32)
        points.append(direction / np.linalg.norm(direction) * generator.random() ** (1 / size))
    return np.reshape(points, (len(points), *shape)).astype(np.float32)


def _generator(seed: int, attempt: int, block: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed + (attempt << 64)).advance(int(block)))


# ------------------------------------------------------------------------------------------------------ bad input


def checked(
    model: Model, images: np.ndarray, labels: np.ndarray, eps: float, norm: str = "linf"
) -> tuple[np.ndarray, np.ndarray]:
    """What every attack begins with: refuse bad input, and return images as float32 and labels as int32.

    Raises:
        CourseError: images, labels, eps, the norm or the model's outputs are not what an attack takes.
    """
    if norm not in NORMS:
        raise CourseError(f"unknown norm {norm!r}; choose one of {', '.join(NORMS)}")
    check_batch(images, labels)
    check_eps(eps, norm=norm)
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int32)
    _check_model(model, images[:1], labels)
    return images, labels


def check_count(count: int, name: str, why: str) -> None:
    """Refuse what is not a whole number of at least 1."""
    if not isinstance(count, Integral) or count < 1:
        raise CourseError(f"{name} is {count!r}; {why}")


def check_seed(seed: int) -> None:
    """Refuse a seed that is not a whole number of at least 0."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**64:
        raise CourseError(f"seed is {seed!r}; it must be a whole number of at least 0")


def check_batch(images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse images that are not float32 [n, h, w, c] in [0, 1], or labels that are not n whole numbers."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or not len(images):
        raise CourseError(
            f"images have shape {images.shape}; a batch [n, height, width, channels], n > 0, is needed"
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise CourseError(f"images are {images.dtype}; divide them by 255 and pass float32 in [0, 1]")
    if not np.isfinite(images).all():
        raise CourseError("images hold values that are not numbers (NaN or infinity)")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        hint = (
            "; divide them by 255"
            if high > 2 and low >= 0
            else "; clip them, or leave normalisation to the model"
        )
        raise CourseError(f"images must be in [0, 1], but run from {low:.4g} to {high:.4g}{hint}")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        hint = ""
        if labels.ndim == 2:
            hint = (
                "; take argmax over the last axis"
                if labels.shape[1] > 1
                else "; flatten them with labels[:, 0]"
            )
        raise CourseError(
            f"labels must be {len(images)} integers, but are {labels.dtype} {labels.shape}{hint}"
        )


def _check_model(model: Model, one_image: np.ndarray, labels: np.ndarray) -> None:
    if not callable(model):
        raise CourseError(f"the model is a {type(model).__name__}, which cannot be called with images")
    logits = np.asarray(logits_of(model, tf.constant(one_image, tf.float32)))
    if logits.ndim != 2 or len(logits) != 1:
        raise CourseError(
            f"the model returned shape {logits.shape} for one image; logits [n, classes] are needed"
        )
    if logits.min() >= 0 and abs(logits.sum() - 1) < 1e-4:
        raise CourseError(
            "the model's outputs are probabilities that sum to 1; take the softmax off and return logits"
        )
    if np.min(labels) < 0 or np.max(labels) >= logits.shape[1]:
        low, high = int(np.min(labels)), int(np.max(labels))
        raise CourseError(
            f"labels run from {low} to {high}, but the model knows the classes 0 to {logits.shape[1] - 1}"
        )
