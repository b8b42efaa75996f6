"""Simple input transformations as defenses.

Guo et al. 2018 ("Countering adversarial images using input transformations") and Xu et al. 2018 ("Feature
squeezing") proposed them. Each turns float32 images [n, h, w, c] in [0, 1] into images of the same form. JPEG
and bit depth are not differentiable, so an attack needs an approximate gradient (adaptive.straight_through;
Athalye et al. 2018). The blur is an ordinary layer. To add a transformation, write its function and an entry
in DEFENSES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real

import numpy as np

from ..attacks import Model, logits_of
from ..attacks.adaptive import straight_through
from ..backend import tf
from ..settings import CourseError

Transformation = Callable[[tf.Tensor], tf.Tensor]


def jpeg(images: tf.Tensor, quality: int = 75) -> tf.Tensor:
    """Compress each image as a JPEG of this quality (1 to 100), and decompress it."""
    if not isinstance(quality, Integral) or not 1 <= quality <= 100:
        raise CourseError(f"quality is {quality!r}; JPEG's is a whole number from 1 to 100")

    def through(pixels: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_jpeg(
            tf.io.encode_jpeg(pixels, quality=quality, chroma_downsampling=True), channels=3
        )

    pixels = tf.cast(tf.round(255 * tf.clip_by_value(images, 0.0, 1.0)), tf.uint8)
    decoded = tf.map_fn(through, pixels, fn_output_signature=tf.uint8)
    return tf.cast(tf.reshape(decoded, tf.shape(images)), tf.float32) / 255


def bit_depth(images: tf.Tensor, bits: int = 4) -> tf.Tensor:
    """Round every value to one of 2^bits levels from 0 to 1; bits is from 1 to 8."""
    if not isinstance(bits, Integral) or not 1 <= bits <= 8:
        raise CourseError(f"bits is {bits!r}; it is a whole number from 1 to 8")
    levels = float(2**bits - 1)
    return tf.round(images * levels) / levels


def blur(images: tf.Tensor, sigma: float = 0.7) -> tf.Tensor:
    """Blur with a Gaussian of this deviation in pixels (at most 8). The edge's pixels are repeated."""
    if not isinstance(sigma, Real) or not 0 < sigma <= 8:
        raise CourseError(f"sigma is {sigma!r}; it is a number of pixels above 0, at most 8")
    reach, channels = int(np.ceil(3 * sigma)), images.shape[-1]
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    padded = images
    for axis in (1, 2):  # tf.pad cannot repeat the edge
        first, last = tf.split(padded, [1, -1], axis)[0], tf.split(padded, [-1, 1], axis)[1]
        padded = tf.concat([tf.repeat(first, reach, axis), padded, tf.repeat(last, reach, axis)], axis)
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        kernel = tf.repeat(tf.reshape(weights, shape), channels, axis=2)
        padded = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")
    return padded


@dataclass(frozen=True)
class Defense:
    """A transformation with its settings.

    Attributes:
        title: its name in tables.
        apply: the transformation.
        differentiable: whether an attacker can use its own gradient.
    """

    title: str
    apply: Transformation
    differentiable: bool


DEFENSES = {
    "jpeg": Defense("JPEG, quality 75", partial(jpeg, quality=75), differentiable=False),
    "bit_depth": Defense("4 bits a value", partial(bit_depth, bits=4), differentiable=False),
    "blur": Defense("Gaussian blur, 0.7 pixels", partial(blur, sigma=0.7), differentiable=True),
}


def before(name: str, classifier: Model) -> Model:
    """Put a transformation before a classifier: the function that is assessed.

    Raises:
        CourseError: there is no such transformation.
    """
    apply = _named(name).apply
    return lambda images: logits_of(classifier, apply(images))


def to_attack(name: str, classifier: Model) -> Model:
    """Return the same function with a gradient that an attack can use.

    It is the transformation's own gradient or, if that is useless, a straight-through one (BPDA).

    Raises:
        CourseError: there is no such transformation.
    """
    defense = _named(name)
    return before(name, classifier) if defense.differentiable else straight_through(defense.apply, classifier)


def _named(name: str) -> Defense:
    if name not in DEFENSES:
        raise CourseError(f"unknown transformation {name!r}; choose one of {', '.join(DEFENSES)}")
    return DEFENSES[name]
