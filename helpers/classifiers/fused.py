"""BatchNorm folded into the convolutions: the same classifier in inference, faster to differentiate.

In inference BatchNorm is the affine function scale * x + shift of each channel. Behind a convolution it goes into the
kernel and a bias, and a pass over memory less remains for each, forward and backward. The folded copy equals the
classifier up to float32's rounding; attacks aim at it, accuracy is measured on the classifier itself.
"""

from __future__ import annotations

import numpy as np

from .. import classifiers
from ..backend import keras
from ..settings import CourseError
from . import registry


def fuse(model: keras.Model, precision: str = "float32") -> keras.Model:
    """A copy of a classifier, or of a defense that ends in one, for inference only, without BatchNorm behind the
    classifier's convolutions.

    Later changes of the classifier's weights do not reach the copy.

    Args:
        model: made by classifiers.build or load, or by autoencoder.defended.
        precision: of the classifier. ``mixed_bfloat16`` is for attacks where that is fast; the copy then rounds, and so
            errs a little.

    Raises:
        CourseError: the model is neither.
    """
    if model.name in registry.MODELS:
        return _folded_classifier(model, precision)
    *front, last = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if not front or last.name not in registry.MODELS:
        raise CourseError(
            f"{model.name} cannot be folded; a classifier from classifiers.load can, or a defense of one"
        )
    images = outputs = keras.Input(model.input_shape[1:])
    for layer in (*front, _folded_classifier(last, precision)):
        outputs = layer(outputs, training=False)
    return keras.Model(images, outputs, name=model.name)


def _folded_classifier(classifier: keras.Model, precision: str) -> keras.Model:
    copy = classifiers.clone(classifier, precision)
    from tf2cv.models.common import ConvBlock, PreConvBlock
    from tf2cv.models.preresnet import PreResBlock

    blocks = list(classifiers.network_of(copy).submodules)
    for block in blocks:
        if isinstance(block, ConvBlock) and block.use_bn:
            _fold(block.conv, block)
        elif isinstance(
            block, PreResBlock
        ):  # its first convolution feeds nothing but the second one's BatchNorm
            _fold(block.conv1.conv, block.conv2)
    for block in blocks:
        if (
            isinstance(block, PreConvBlock) and block.use_bn
        ):  # behind a sum there is no convolution to fold into
            block.bn = _Affine(block.bn)
    return copy


def _fold(wrapper: keras.layers.Layer, normalized: keras.layers.Layer) -> None:
    """Put the BatchNorm of tf2cv's block ``normalized`` into tf2cv's convolution ``wrapper`` that feeds it."""
    name = classifiers.convolution_in(wrapper)
    conv = getattr(wrapper, name)
    scale, shift = _affine(normalized.bn)
    kernel, *bias = conv.get_weights()
    new = type(conv).from_config({**conv.get_config(), "use_bias": True})
    new.build((None, None, None, kernel.shape[2]))
    # A depthwise kernel is [h, w, channels, 1], any other [h, w, channels in, channels out].
    scaled = kernel * (scale[:, None] if name == "dw_conv" else scale)
    new.set_weights([scaled, shift + (bias[0] * scale if bias else 0)])
    setattr(wrapper, name, new)
    normalized.use_bn = False
    del normalized.bn


def _affine(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    gamma, beta, mean, variance = (w.numpy().astype(np.float64) for w in norm.weights)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


class _Affine(keras.layers.Layer):
    """scale * x + shift, of each channel."""

    def __init__(self, norm: keras.layers.BatchNormalization):
        super().__init__(trainable=False, dtype=norm.dtype_policy)
        scale, shift = _affine(norm)
        self.scale = self.add_weight("scale", scale.shape, initializer=keras.initializers.Constant(scale))
        self.shift = self.add_weight("shift", shift.shape, initializer=keras.initializers.Constant(shift))

    def call(self, x, training=None):
        return x * self.scale + self.shift
