"""The autoencoders of the search: the paper's, others around it, two stronger ones, and a control that learns nothing.

Each takes float32 images [n, 32, 32, 3] in [0, 1] and returns images of the same form, so that any of them can stand
before a classifier (autoencoder.defended). To add one is to add an entry to ARCHITECTURES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..attacks.adaptive import straight_through
from ..backend import keras, tf
from ..settings import CourseError
from . import autoencoder, transformations

layers = keras.layers

PIXELS = 32 * 32 * 3
"""How many numbers an image is."""


@dataclass(frozen=True)
class Architecture:
    """An autoencoder of the search.

    Attributes:
        title: as tables and figures name it.
        build: makes it, untrained.
        latent: how many numbers the encoder hands to the decoder, at the waist and past it. A code of a codebook
            counts as one number, though it takes fewer bits. Where nothing is encoded: PIXELS.
        depth: strided layers of the encoder, each halving height and width.
        trained: whether it has anything to learn.
    """

    title: str
    build: Callable[[], keras.Model]
    latent: int
    depth: int
    trained: bool = True


def convolutional(depth: int, channels: int) -> keras.Model:
    """Table 1's form, deeper or shallower, wider or narrower at the waist.

    Args:
        depth: strided convolutions down, and as many transposed ones up. All but those at the waist have 16 channels.
        channels: at the waist, whose height and width are 32 / 2^depth. convolutional(2, 8) is Table 1.
    """
    relu = {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            *(layers.Conv2D(16, name=f"encode{k + 1}", **relu) for k in range(depth - 1)),
            layers.Conv2D(channels, name=f"encode{depth}", **relu),
            layers.Conv2DTranspose(channels, name="decode1", **relu),
            *(layers.Conv2DTranspose(16, name=f"decode{k + 2}", **relu) for k in range(depth - 1)),
            layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="image"),
        ],
        name=f"convolutional_{depth}_{channels}",
    )


def unet(width: int = 8) -> keras.Model:
    """A small U-Net (Ronneberger et al. 2015) that estimates what is to be added to the image, as DnCNN does (Zhang et
    al. 2017, "Beyond a Gaussian denoiser").

    What is fine goes past its waist, from each size of the encoder to the same size of the decoder; so nothing has to
    be lost, and removing the perturbation is all that training asks for.
    """
    relu = {"kernel_size": 3, "padding": "same", "activation": "relu"}
    images = keras.Input((32, 32, 3))
    fine = layers.Conv2D(width, name="encode0", **relu)(images)
    half = layers.Conv2D(2 * width, strides=2, name="encode1", **relu)(fine)
    waist = layers.Conv2D(4 * width, strides=2, name="encode2", **relu)(half)
    waist = layers.Conv2D(4 * width, name="waist", **relu)(waist)
    up = layers.Conv2DTranspose(2 * width, strides=2, name="decode1", **relu)(waist)
    up = layers.Conv2D(2 * width, name="join1", **relu)(layers.Concatenate(name="skip1")([half, up]))
    up = layers.Conv2DTranspose(width, strides=2, name="decode0", **relu)(up)
    up = layers.Conv2D(width, name="join0", **relu)(layers.Concatenate(name="skip0")([fine, up]))
    correction = layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", name="correction")(up)
    corrected = layers.Add(name="corrected")([images, correction])
    return keras.Model(images, layers.ReLU(max_value=1.0, name="image")(corrected), name="unet")


class Codebook(layers.Layer):
    """Every vector replaced by the nearest of a list of learned ones: the quantiser of a VQ-VAE (van den Oord, Vinyals
    & Kavukcuoglu 2017, "Neural discrete representation learning").

    The choice has no gradient. The encoder is given that of the chosen vector, as if the two were the same
    (straight-through), and a loss that draws it towards what it chose (commitment). The list follows the encoder: each
    code is a moving average of the vectors that chose it (the paper's appendix A.1). A code that fewer than one vector
    in ten batches choose is put where a vector of this batch is; so all begin, and none is lost.

    Args:
        codes: how many there are.
        decay: of the moving averages, a step.
        commitment: weight of that loss, among the model's ``losses`` in training mode.
    """

    def __init__(self, codes: int, decay: float = 0.99, commitment: float = 0.25, **kwargs):
        super().__init__(**kwargs)
        self.codes, self.decay, self.commitment = codes, decay, commitment

    def build(self, shape):
        fixed = {"initializer": "zeros", "trainable": False}
        self.vectors = self.add_weight("vectors", (self.codes, shape[-1]), **fixed)
        self.counts = self.add_weight("counts", (self.codes,), **fixed)
        self.sums = self.add_weight("sums", (self.codes, shape[-1]), **fixed)
        super().build(shape)

    def call(self, inputs, training=None):
        if training:
            self._follow(tf.stop_gradient(tf.reshape(inputs, (-1, inputs.shape[-1]))))
        quantised = tf.stop_gradient(self.quantised(inputs))
        if training:
            self.add_loss(self.commitment * tf.reduce_mean(tf.square(quantised - inputs)))
        return straight_through(lambda _: quantised)(inputs)

    def quantised(self, inputs: tf.Tensor) -> tf.Tensor:
        """Each of the vectors [..., d] replaced by the nearest code; without a gradient of use."""
        return tf.gather(self.vectors, self.indices(inputs))

    def indices(self, inputs: tf.Tensor) -> tf.Tensor:
        """The number of the code nearest to each of the vectors [..., d]."""
        # |x - v|^2 = |x|^2 - 2 x v + |v|^2, and |x|^2 is the same for all v.
        distances = tf.reduce_sum(self.vectors**2, 1) - 2 * tf.tensordot(inputs, self.vectors, [[-1], [1]])
        return tf.argmin(distances, -1)

    def _follow(self, inputs: tf.Tensor) -> None:
        """A step of the moving averages, on vectors [n, d]."""
        idle = self.counts < 0.1
        # Evenly spaced vectors of images that are shuffled. With 32 x 256 vectors and 512 codes they all are of an
        # image's first column, whose border is padded: a narrower choice than it might be. Notebook 03 counts the codes
        # that are in use for all that.
        spread = tf.gather(inputs, tf.range(self.codes) * tf.shape(inputs)[0] // self.codes)
        self.vectors.assign(tf.where(idle[:, None], spread, self.vectors))
        self.sums.assign(tf.where(idle[:, None], spread, self.sums))
        self.counts.assign(tf.where(idle, 1.0, self.counts))
        nearest, kept = self.indices(inputs), self.decay
        chosen = tf.math.unsorted_segment_sum(tf.ones_like(inputs[:, 0]), nearest, self.codes)
        total = tf.math.unsorted_segment_sum(inputs, nearest, self.codes)
        self.counts.assign(kept * self.counts + (1 - kept) * chosen)
        self.sums.assign(kept * self.sums + (1 - kept) * total)
        self.vectors.assign(self.sums / self.counts[:, None])


def vq_vae(codes: int = 512, channels: int = 32) -> keras.Model:
    """A VQ-VAE: between encoder and decoder, each of 16 x 16 vectors becomes one of the codes (Codebook).

    The waist is 256 numbers from 0 to 511, or 288 bytes, where Table 1 passes 512 numbers of any value.
    """
    relu = {"kernel_size": 3, "padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(channels, strides=2, name="encode1", **relu),
            layers.Conv2D(channels, name="encode2", **relu),
            layers.Conv2D(channels // 2, 1, name="project"),
            Codebook(codes, name="codebook"),
            layers.Conv2D(channels, name="decode1", **relu),
            layers.Conv2DTranspose(channels, strides=2, name="decode2", **relu),
            layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="image"),
        ],
        name="vq_vae",
    )


def blur() -> keras.Model:
    """A Gaussian blur (transformations.blur), as a model without weights."""
    return keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Lambda(transformations.blur, name="blur")], name="blur"
    )


def _around(depth: int, channels: int) -> Architecture:
    size = 32 // 2**depth
    return Architecture(
        f"{size} x {size} x {channels}",
        partial(convolutional, depth, channels),
        size * size * channels,
        depth,
    )


ARCHITECTURES = {
    "d1_c2": _around(1, 2),
    "d1_c8": _around(1, 8),
    "d2_c2": _around(2, 2),
    "d2_c4": _around(2, 4),
    "paper": Architecture("Table 1, 8 x 8 x 8", autoencoder.build_autoencoder, 8 * 8 * 8, 2),
    "d2_c16": _around(2, 16),
    "d2_c32": _around(2, 32),
    "d2_c64": _around(2, 64),
    "d3_c8": _around(3, 8),
    "d3_c32": _around(3, 32),
    "d3_c64": _around(3, 64),
    "vq_vae": Architecture("VQ-VAE, 16 x 16 codes", vq_vae, 16 * 16, 1),
    "unet": Architecture("U-Net", unet, 32 * 32 * 8 + 16 * 16 * 16 + 8 * 8 * 32, 2),
    "blur": Architecture("Gaussian blur, 0.7 pixels", blur, PIXELS, 0, trained=False),
}
"""By name: depth and channels at the waist, or a name of its own. ``paper`` is Table 1."""


def architecture_of(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        CourseError: there is none.
    """
    if name not in ARCHITECTURES:
        raise CourseError(f"unknown autoencoder {name!r}; choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


# ------------------------------------------------------------------------------------------------------------- codes


def codebook_of(model: keras.Model) -> Codebook | None:
    """The codebook in an autoencoder, if it has one."""
    return next((layer for layer in model.layers if isinstance(layer, Codebook)), None)


def code_counts(model: keras.Model, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """How often an autoencoder uses each of its codes for images, float32 [n, 32, 32, 3] in [0, 1]: integers [codes].

    Raises:
        CourseError: it has no codebook.
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
    """How many codes are in use: as many as, used equally often, would have the same entropy. From 1 to len(counts)."""
    p = counts[counts > 0] / np.sum(counts)
    return float(np.exp(-np.sum(p * np.log(p))))
