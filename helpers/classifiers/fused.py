"""Fused BatchNorm: the same classifier for inference, but faster to differentiate.

In inference BatchNorm is an affine function of each channel, scale * x + shift. After a convolution it can
be fused into the kernel and a bias, which saves a pass over memory, forward and backward. The fused copy
equals the classifier up to float32 rounding. Attacks use the copy; accuracy is measured on the classifier
itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import keras
from ..settings import CourseError
from . import registry
from .networks import clone, convolution_in, network_of


def fuse(model: keras.Model, precision: str = "float32") -> keras.Model:
    """Copy a classifier, or a defense that ends in one, with fused BatchNorm, for inference only.

    The copy does not follow later changes of the classifier's weights.

    Args:
        model: from classifiers.build or load, or from autoencoder.defended.
        precision: of the classifier. ``mixed_bfloat16`` suits attacks where it is fast; the copy then
            rounds more.

    Raises:
        CourseError: the model is neither.
    """
    if model.name in registry.MODELS:
        return _fused_classifier(model, precision)
    *preprocessors, last = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if not preprocessors or last.name not in registry.MODELS:
        raise CourseError(
            f"{model.name} cannot be fused; a classifier from classifiers.load can, or a defense of one"
        )
    images = outputs = keras.Input(model.input_shape[1:])
    for layer in (*preprocessors, _fused_classifier(last, precision)):
        outputs = layer(outputs, training=False)
    return keras.Model(images, outputs, name=model.name)


def _fused_classifier(classifier: Any, precision: str) -> keras.Model:
    copy = clone(classifier, precision)
    from tf2cv.models.common import ConvBlock, PreConvBlock
    from tf2cv.models.preresnet import PreResBlock

    blocks: list[Any] = list(network_of(copy).submodules)
    for block in blocks:
        if isinstance(block, ConvBlock) and block.use_bn:
            _fuse(block.conv, block)
        elif isinstance(block, PreResBlock):  # its first convolution feeds only the second one's BatchNorm
            _fuse(block.conv1.conv, block.conv2)
    for block in blocks:
        if isinstance(block, PreConvBlock) and block.use_bn:  # it follows a sum, not a convolution
            affine: Any = _Affine(block.bn)
            block.bn = affine
    return copy


def _fuse(wrapper: Any, normalized: Any) -> None:
    """Fuse the BatchNorm of tf2cv's block ``normalized`` into the convolution ``wrapper`` before it."""
    name = convolution_in(wrapper)
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
    """Compute scale * x + shift for each channel."""

    def __init__(self, norm: keras.layers.BatchNormalization):
        super().__init__(trainable=False, dtype=norm.dtype_policy)
        scale, shift = _affine(norm)
        self.scale = self.add_weight(
            name="scale", shape=scale.shape, initializer=keras.initializers.Constant(scale)
        )
        self.shift = self.add_weight(
            name="shift", shape=shift.shape, initializer=keras.initializers.Constant(shift)
        )

    def call(self, x, training=None):
        """Apply the function."""
        return x * self.scale + self.shift
