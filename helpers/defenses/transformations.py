"""Simple input transformations, as defenses: images float32 [n, h, w, c] in [0, 1] in, the same form out.

Guo et al. 2018 ("Countering adversarial images using input transformations") and Xu et al. 2018 ("Feature squeezing")
proposed them. JPEG and bit depth are not differentiable, and an attack needs a stand-in for their gradient
(adaptive.straight_through; Athalye et al. 2018); blur is an ordinary layer.
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
    """Each image compressed as a JPEG of this quality (1 to 100) and decompressed."""
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
    """Every value rounded to one of 2^bits levels from 0 to 1."""
    if not isinstance(bits, Integral) or not 1 <= bits <= 8:
        raise CourseError(f"bits is {bits!r}; it is a whole number from 1 to 8")
    levels = float(2**bits - 1)
    return tf.round(images * levels) / levels


def blur(images: tf.Tensor, sigma: float = 0.7) -> tf.Tensor:
    """A Gaussian blur of this deviation, in pixels; at the edge the outermost pixels are repeated."""
    if not isinstance(sigma, Real) or not 0 < sigma <= 8:
        raise CourseError(f"sigma is {sigma!r}; it is a number of pixels above 0, at most 8")
    reach, channels = int(np.ceil(3 * sigma)), images.shape[-1]
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    padded = images
    for axis in (1, 2):  # tf.pad repeats no edge
        first, last = tf.split(padded, [1, -1], axis)[0], tf.split(padded, [-1, 1], axis)[1]
        padded = tf.concat([tf.repeat(first, reach, axis), padded, tf.repeat(last, reach, axis)], axis)
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        kernel = tf.tile(tf.reshape(weights, shape), [1, 1, channels, 1])
        padded = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")
    return padded


@dataclass(frozen=True)
class Defense:
    """A transformation as the course measures it.

    Attributes:
        title: as tables name it.
        apply: the transformation.
        differentiable: whether its own gradient is of use to an attacker.
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
    """The classifier behind a transformation: what is assessed.

    Raises:
        CourseError: no transformation has that name.
    """
    apply = _named(name).apply
    return lambda images: logits_of(classifier, apply(images))


def to_attack(name: str, classifier: Model) -> Model:
    """The same function, with a gradient an attack can use: its own, or a straight-through one (BPDA)."""
    defense = _named(name)
    return before(name, classifier) if defense.differentiable else straight_through(defense.apply, classifier)


def _named(name: str) -> Defense:
    if name not in DEFENSES:
        raise CourseError(f"unknown transformation {name!r}; choose one of {', '.join(DEFENSES)}")
    return DEFENSES[name]
