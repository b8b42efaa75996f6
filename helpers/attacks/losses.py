"""The losses that attacks maximise: functions of labels [n] and logits [n, classes] that return [n].

Each grows as the classifier comes closer to an error. Attacks take the name of one of LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable

from ..backend import tf
from ..settings import CourseError

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return -log softmax(logits)[label], the loss of the original FGSM and PGD."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the largest wrong logit minus the label's (Carlini & Wagner 2017, f6), positive for an error.

    It still has a gradient when the classifier is so sure that the gradient of the cross-entropy underflows.
    """
    return _largest_other(labels, logits) - _at(labels, logits)


def dlr(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the difference-of-logits ratio (Croce & Hein 2020, eq. 6), for at least three classes.

    It is the margin divided by the distance from the largest to the third largest logit. So scaling the
    logits, which can hide the gradient of the cross-entropy, does not change it.
    """
    top = tf.math.top_k(logits, 3).values
    return margin(labels, logits) / (top[:, 0] - top[:, 2] + 1e-12)


def dlr_towards(labels: tf.Tensor, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the targeted difference-of-logits ratio (Croce & Hein 2020, eq. 7), for at least four classes.

    It grows as the logits of ``targets`` overtake those of ``labels``.
    """
    top = tf.math.top_k(logits, 4).values
    scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12
    return (_at(targets, logits) - _at(labels, logits)) / scale


def of_softmax(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy of softmax outputs, a mistake of the paper's released code.

    Keras clips probabilities to [1e-7, 1 - 1e-7], so a classifier that is surer than that has no gradient.
    """
    probability = tf.clip_by_value(_at(labels, tf.nn.softmax(logits)), 1e-7, 1 - 1e-7)
    return -tf.math.log(probability)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "margin": margin,
    "dlr": dlr,
    "of_softmax": of_softmax,
}


def named(name: str) -> Loss:
    """Return the loss of this name.

    Raises:
        CourseError: there is no such loss.
    """
    if name not in LOSSES:
        raise CourseError(f"unknown loss {name!r}; choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def _at(classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.gather(logits, classes, batch_dims=1)


def _largest_other(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    is_label = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    return tf.reduce_max(tf.where(is_label, logits.dtype.min, logits), 1)
