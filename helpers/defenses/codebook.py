"""The codebook of a VQ-VAE, and how many of its codes are in use.

The quantiser is that of van den Oord, Vinyals & Kavukcuoglu 2017, "Neural discrete representation learning".
"""

from __future__ import annotations

import numpy as np

from ..attacks.adaptive import straight_through
from ..backend import keras, tf
from ..settings import CourseError


class Codebook(keras.layers.Layer):
    """Replace every vector by the nearest code.

    The choice of a code has no gradient. The encoder receives the gradient of the chosen code, as if it were
    the vector itself (straight-through), and a loss that pulls it towards that code (commitment). The codes
    follow the encoder: each is a moving average of the vectors that chose it (appendix A.1). A dead code,
    which fewer than one vector in ten batches chose, is moved to a vector of the current batch. All codes
    start dead.
    """

    def __init__(self, codes: int, decay: float = 0.99, commitment: float = 0.25, **kwargs):
        """Set up the layer.

        Args:
            codes: number of codes.
            decay: share of the moving averages that a step keeps.
            commitment: weight of the commitment loss, which is among the model's ``losses`` in training mode.
            **kwargs: arguments of keras.layers.Layer.
        """
        super().__init__(**kwargs)
        self.codes, self.decay, self.commitment = codes, decay, commitment

    def build(self, shape):
        """Create the codes and their moving averages, all zero."""

        def zeros(name: str, *size: int) -> tf.Variable:
            return self.add_weight(name=name, shape=size, initializer="zeros", trainable=False)

        self.vectors = zeros("vectors", self.codes, shape[-1])
        self.counts = zeros("counts", self.codes)
        self.sums = zeros("sums", self.codes, shape[-1])
        super().build(shape)

    def call(self, inputs, training=None):
        """Replace vectors [..., d] by codes. In training mode, also update the codes and add the loss."""
        if training:
            self._follow(tf.stop_gradient(tf.reshape(inputs, (-1, inputs.shape[-1]))))
        quantised = tf.stop_gradient(tf.gather(self.vectors, self.indices(inputs)))
        if training:
            self.add_loss(self.commitment * tf.reduce_mean(tf.square(quantised - inputs)))
        return straight_through(lambda _: quantised)(inputs)

    def indices(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the index of the code nearest to each vector of [..., d]: integers [...]."""
        # |x - v|^2 = |x|^2 - 2 x v + |v|^2, and |x|^2 is the same for all codes v.
        distances = tf.reduce_sum(self.vectors**2, 1) - 2 * tf.tensordot(inputs, self.vectors, [[-1], [1]])
        return tf.argmin(distances, -1)

    def _follow(self, inputs: tf.Tensor) -> None:
        """Update the moving averages with vectors [n, d]."""
        dead = self.counts < 0.1
        # Take evenly spaced vectors of the shuffled images. With 32 x 256 vectors and 512 codes, all of them
        # come from an image's first column, next to the padding, so they vary less than they might. Notebook
        # 03 counts how many codes are in use nevertheless.
        spread = tf.gather(inputs, tf.range(self.codes) * tf.shape(inputs)[0] // self.codes)
        self.vectors.assign(tf.where(dead[:, None], spread, self.vectors))
        self.sums.assign(tf.where(dead[:, None], spread, self.sums))
        self.counts.assign(tf.where(dead, 1.0, self.counts))
        nearest, kept = self.indices(inputs), self.decay
        chosen = tf.math.unsorted_segment_sum(tf.ones_like(inputs[:, 0]), nearest, self.codes)
        total = tf.math.unsorted_segment_sum(inputs, nearest, self.codes)
        self.counts.assign(kept * self.counts + (1 - kept) * chosen)
        self.sums.assign(kept * self.sums + (1 - kept) * total)
        self.vectors.assign(self.sums / self.counts[:, None])


def codebook_of(model: keras.Model) -> Codebook | None:
    """Return an autoencoder's codebook, or None."""
    return next((layer for layer in model.layers if isinstance(layer, Codebook)), None)


def code_counts(model: keras.Model, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Count how often an autoencoder uses each of its codes.

    Args:
        model: an autoencoder with a codebook.
        images: float32 [n, 32, 32, 3] in [0, 1].
        batch_size: images in a batch.

    Returns:
        Integers [codes].

    Raises:
        CourseError: the autoencoder has no codebook.
    """
    codebook = codebook_of(model)
    if codebook is None:
        raise CourseError(f"{model.name} has no codebook")
    encoder = keras.Model(model.input, codebook.input)
    counts = np.zeros(codebook.codes, np.int64)
    for first in range(0, len(images), batch_size):
        chosen = codebook.indices(encoder(images[first : first + batch_size], training=False))
        counts += np.bincount(np.ravel(chosen), minlength=codebook.codes)
    return counts


def perplexity(counts: np.ndarray) -> float:
    """Compute how many equally used codes have the same entropy: from 1 to len(counts)."""
    p = counts[counts > 0] / np.sum(counts)
    return float(np.exp(-np.sum(p * np.log(p))))
