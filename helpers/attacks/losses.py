"""What an attack maximises, image by image: functions of labels [n] and logits [n, classes] that return [n].

All grow as the classifier comes to err. Every attack takes the name of one of LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable

from ..backend import tf
from ..settings import CourseError

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """-log softmax(logits)[label]; what FGSM and PGD were published with."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The largest other logit less the label's (Carlini & Wagner 2017, f6): above 0, the classifier errs.

    It has a gradient where the classifier is so sure that cross-entropy's has underflowed.
    """
    return _largest_other(labels, logits) - _at(labels, logits)


def dlr(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The difference-of-logits ratio (Croce & Hein 2020, eq. 6): the margin over the distance from the largest to the
    third largest logit. Scaling the logits, which can hide cross-entropy's gradient, leaves it as it is.

    Needs at least three classes.
    """
    top = tf.math.top_k(logits, 3).values
    return margin(labels, logits) / (top[:, 0] - top[:, 2] + 1e-12)


def dlr_towards(labels: tf.Tensor, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The targeted difference-of-logits ratio (Croce & Hein 2020, eq. 7): grows as ``targets`` overtake ``labels``.

    Needs at least four classes.
    """
    top = tf.math.top_k(logits, 4).values
    scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12
    return (_at(targets, logits) - _at(labels, logits)) / scale


def of_softmax(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The cross-entropy as it should not be taken, on softmax outputs: Keras keeps them in [1e-7, 1 - 1e-7], and a
    classifier surer than that has no gradient. The paper's released code attacks with it; the audit needs it."""
    probability = tf.clip_by_value(_at(labels, tf.nn.softmax(logits)), 1e-7, 1 - 1e-7)
    return -tf.math.log(probability)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "margin": margin,
    "dlr": dlr,
    "of_softmax": of_softmax,
}


def named(name: str) -> Loss:
    """The loss of that name.

    Raises:
        CourseError: there is none.
    """
    if name not in LOSSES:
        raise CourseError(f"unknown loss {name!r}; choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def _at(classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.gather(logits, classes, batch_dims=1)


def _largest_other(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    is_label = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    return tf.reduce_max(tf.where(is_label, logits.dtype.min, logits), 1)
