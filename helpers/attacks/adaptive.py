"""What an attack needs against a defense that is random, or whose gradient says nothing (Athalye et al. 2018).

Both functions take a model and return one that every attack of the course can be aimed at:

    pgd(expectation(noisy_classifier, samples=16), images, labels, eps)
    pgd(straight_through(quantise, then=classifier), images, labels, eps)

A defense that is differentiable, such as an autoencoder, needs neither: aim at the whole pipeline.
"""

from __future__ import annotations

from collections.abc import Callable

from ..backend import tf
from .gradient import Model, check_count, logits_of

Transformation = Callable[[tf.Tensor], tf.Tensor]


def expectation(model: Model, samples: int) -> Model:
    """A randomised model's prediction, averaged over draws: expectation over transformation (EOT).

    Args:
        model: images to logits, with fresh randomness for every image of a batch and in every call.
        samples: draws an image; each costs what an attack on a model without randomness does.

    Returns:
        Images [n, h, w, c] to the logarithm of the mean predicted probabilities [n, classes]. Its gradient is that of
        the expected probability, up to the draws.
    """
    check_count(samples, "samples", "an expectation takes at least 1")

    def averaged(images: tf.Tensor) -> tf.Tensor:
        logits = logits_of(model, tf.repeat(images, samples, axis=0))
        each = tf.reshape(tf.nn.log_softmax(logits), (-1, samples, logits.shape[-1]))
        return tf.reduce_logsumexp(each, axis=1) - tf.math.log(float(samples))

    return averaged


def straight_through(
    defense: Transformation, then: Model | None = None, backward: Transformation = tf.identity
) -> Model:
    """A transformation whose gradient is replaced: backward pass differentiable approximation (BPDA).

    Args:
        defense: images to images; need not be differentiable, and may call NumPy through tf.numpy_function.
        then: the classifier behind it; none if the transformation alone is wanted.
        backward: the differentiable function whose gradient stands in for the defense's. The identity is the usual
            choice for a defense that returns roughly what it was given.

    Returns:
        A function whose value is then(defense(images)), exactly, and whose gradient is that of then at the defended
        images, passed on through ``backward``.
    """

    def defended(images: tf.Tensor) -> tf.Tensor:
        stand_in = backward(images)
        exact = tf.reshape(tf.stop_gradient(defense(images)), tf.shape(stand_in))
        through = exact + (
            stand_in - tf.stop_gradient(stand_in)
        )  # the bracket is 0, and has stand_in's gradient
        through.set_shape(stand_in.shape)
        return through if then is None else logits_of(then, through)

    return defended
