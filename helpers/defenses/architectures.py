"""The autoencoders of the search.

They are the paper's, others of its form, two stronger ones, and a blur as a control that learns nothing. Each
turns float32 images [n, 32, 32, 3] in [0, 1] into images of the same form, so that any of them can be put
before a classifier (autoencoder.defended). To add one, add an entry to ARCHITECTURES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..backend import keras
from ..settings import CourseError
from . import transformations
from .autoencoder import build_autoencoder
from .codebook import Codebook

layers = keras.layers

PIXELS = 32 * 32 * 3
"""Number of values in an image."""


@dataclass(frozen=True)
class Architecture:
    """An autoencoder of the search.

    Attributes:
        title: its name in tables and figures.
        build: makes it, untrained.
        latent: its latent size: how many numbers the encoder passes to the decoder, through the bottleneck
            and past it. A code counts as one number. PIXELS if nothing is encoded.
        depth: number of strided layers in the encoder, each of which halves height and width.
        trained: whether it has anything to learn.
        bits_each: bits in which one of these numbers is stored: 32 for a float, 9 for one of 512 codes.
    """

    title: str
    build: Callable[[], keras.Model]
    latent: int
    depth: int
    trained: bool = True
    bits_each: int = 32

    @property
    def bits(self) -> int:
        """The latent size in bits, in which floats and codes can be compared."""
        return self.latent * self.bits_each


def convolutional(depth: int, channels: int) -> keras.Model:
    """Build an autoencoder of Table 1's form with another depth or another bottleneck.

    convolutional(2, 8) is Table 1.

    Args:
        depth: number of strided convolutions, and of transposed ones. All have 16 channels, except the two at
            the bottleneck.
        channels: channels of the bottleneck, whose height and width are 32 / 2^depth.
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
    """Build a small U-Net (Ronneberger et al. 2015).

    It estimates a correction that is added to the image, as DnCNN does (Zhang et al. 2017, "Beyond a Gaussian
    denoiser"). Skip connections carry fine detail past the bottleneck, from each size of the encoder to the
    same size of the decoder. So no detail needs to be lost, and training only asks for the removal of the
    perturbation.
    """
    relu = {"kernel_size": 3, "padding": "same", "activation": "relu"}
    images = keras.Input((32, 32, 3))
    fine = layers.Conv2D(width, name="encode0", **relu)(images)
    half = layers.Conv2D(2 * width, strides=2, name="encode1", **relu)(fine)
    bottleneck = layers.Conv2D(4 * width, strides=2, name="encode2", **relu)(half)
    bottleneck = layers.Conv2D(4 * width, name="bottleneck", **relu)(bottleneck)
    up = layers.Conv2DTranspose(2 * width, strides=2, name="decode1", **relu)(bottleneck)
    up = layers.Conv2D(2 * width, name="join1", **relu)(layers.Concatenate(name="skip1")([half, up]))
    up = layers.Conv2DTranspose(width, strides=2, name="decode0", **relu)(up)
    up = layers.Conv2D(width, name="join0", **relu)(layers.Concatenate(name="skip0")([fine, up]))
    correction = layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", name="correction")(up)
    corrected = layers.Add(name="corrected")([images, correction])
    return keras.Model(images, layers.ReLU(max_value=1.0, name="image")(corrected), name="unet")


def vq_vae(codes: int = 512, channels: int = 32) -> keras.Model:
    """Build a VQ-VAE, in which each of 16 x 16 vectors becomes one of the codes (Codebook).

    With 512 codes, the bottleneck is 256 numbers from 0 to 511, or 288 bytes. Table 1's is 512 numbers of any
    value.
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
    """Wrap the Gaussian blur (transformations.blur) in a model without weights."""
    return keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Lambda(transformations.blur, name="blur")], name="blur"
    )


def _convolutional(depth: int, channels: int) -> Architecture:
    size = 32 // 2**depth
    return Architecture(
        f"{size} x {size} x {channels}",
        partial(convolutional, depth, channels),
        size * size * channels,
        depth,
    )


ARCHITECTURES = {
    "d1_c2": _convolutional(1, 2),
    "d1_c8": _convolutional(1, 8),
    "d2_c2": _convolutional(2, 2),
    "d2_c4": _convolutional(2, 4),
    "paper": Architecture("Table 1, 8 x 8 x 8", build_autoencoder, 8 * 8 * 8, 2),
    "d2_c16": _convolutional(2, 16),
    "d2_c32": _convolutional(2, 32),
    "d2_c64": _convolutional(2, 64),
    "d3_c8": _convolutional(3, 8),
    "d3_c32": _convolutional(3, 32),
    "d3_c64": _convolutional(3, 64),
    "vq_vae": Architecture("VQ-VAE, 16 x 16 codes", vq_vae, 16 * 16, 1, bits_each=9),
    "unet": Architecture("U-Net", unet, 32 * 32 * 8 + 16 * 16 * 16 + 8 * 8 * 32, 2),
    "blur": Architecture("Gaussian blur, 0.7 pixels", blur, PIXELS, 0, trained=False),
}
"""The architectures by name; ``d2_c4`` has depth 2 and 4 channels in the bottleneck, and ``paper`` is Table
1."""


def architecture_of(name: str) -> Architecture:
    """Look up an architecture by its name.

    Raises:
        CourseError: there is no such architecture.
    """
    if name not in ARCHITECTURES:
        raise CourseError(f"unknown autoencoder {name!r}; choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
