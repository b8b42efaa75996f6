"""Adaptive attacks on defenses that are random or hide their gradient (Athalye et al. 2018).

Both functions return a model that every attack of the course can be aimed at:

    pgd(expectation(noisy_classifier, samples=16), images, labels, eps)
    pgd(straight_through(quantise, then=classifier), images, labels, eps)

A differentiable defense, such as an autoencoder, needs neither: attack the whole pipeline end-to-end.
"""

from __future__ import annotations

from collections.abc import Callable

from ..backend import tf
from ..settings import check_count, plain_numbers
from .gradient import Model, logits_of

Transformation = Callable[[tf.Tensor], tf.Tensor]


@plain_numbers
def expectation(model: Model, samples: int) -> Model:
    """Average a random model's predictions over draws: expectation over transformation (EOT).

    Args:
        model: images to logits, with new random numbers for each image in each call.
        samples: the number of draws for each image. The cost of an attack grows in proportion.

    Returns:
        A model from images [n, h, w, c] to the logarithm of the mean predicted probabilities [n, classes].
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
    """Replace a transformation's gradient: backward pass differentiable approximation (BPDA).

    Args:
        defense: images to images. It need not be differentiable, and may call NumPy through
            tf.numpy_function.
        then: the classifier that follows, if any.
        backward: the differentiable function whose gradient replaces the defense's. The identity is the usual
            choice for a defense that changes images little.

    Returns:
        A model whose value is exactly then(defense(images)). Its gradient is that of ``then`` at the defended
        images, passed back through ``backward``.
    """

    def defended(images: tf.Tensor) -> tf.Tensor:
        approximation = backward(images)
        exact = tf.reshape(tf.stop_gradient(defense(images)), tf.shape(approximation))
        # The difference is 0 and has the approximation's gradient.
        through = exact + (approximation - tf.stop_gradient(approximation))
        through.set_shape(approximation.shape)
        return through if then is None else logits_of(then, through)

    return defended
