"""What all gradient attacks share: the input gradient, the direction of a step, and the projection.

A model is any callable from float32 images [n, h, w, c] in [0, 1] to logits [n, classes]: a classifier, or a
defense followed by one. A Keras model is called in inference mode, where BatchNorm uses its stored
statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import keras, tf
from ..settings import CourseError
from . import losses

Model = Callable[[tf.Tensor], tf.Tensor]
NORMS = ("linf", "l2")


def logits_of(model: Model, images: tf.Tensor) -> tf.Tensor:
    """Return the model's outputs; BatchNorm and dropout are in inference mode."""
    return model(images, training=False) if isinstance(model, keras.Model) else model(images)


def input_gradient(
    model: Model, images: tf.Tensor, labels: tf.Tensor, loss: losses.Loss = losses.cross_entropy
) -> tf.Tensor:
    """Return the gradient of the loss with respect to the images.

    The loss is summed over the batch, not averaged, so that an image's gradient does not depend on the
    others.

    Raises:
        CourseError: the model cannot be differentiated.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(loss(labels, logits_of(model, images)))
    gradient: Any = tape.gradient(total, images)
    if gradient is None:
        raise CourseError(
            "the model has no gradient with respect to its images (tf.round, tf.argmax or NumPy cut it off); "
            "give it one with adaptive.straight_through, or attack it without gradients (square)"
        )
    return gradient


def steepest(gradient: tf.Tensor, norm: str) -> tf.Tensor:
    """Return the unit-norm direction of steepest ascent: the gradient's sign (linf) or direction (l2)."""
    if norm == "linf":
        return tf.sign(gradient)
    return gradient / tf.sqrt(tf.maximum(_squared_norm(gradient), 1e-30))


def project(moved: tf.Tensor, images: tf.Tensor, eps: tf.Tensor, norm: str) -> tf.Tensor:
    """Project moved images onto the eps-ball around the originals and into [0, 1]."""
    if norm == "linf":
        return tf.clip_by_value(moved, tf.maximum(images - eps, 0.0), tf.minimum(images + eps, 1.0))
    # Clip first: shrinking the change afterwards stays inside [0, 1].
    change = tf.clip_by_value(moved, 0.0, 1.0) - images
    size = tf.sqrt(_squared_norm(change))
    # Ignore an excess that is only rounding error, so that a single step of eps is left unchanged.
    shrink = tf.where(size > eps * (1 + 1e-6), eps / size, 1.0)
    return tf.clip_by_value(images + change * shrink, 0.0, 1.0)


def _squared_norm(images: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(images), [1, 2, 3], keepdims=True)
