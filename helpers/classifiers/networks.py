"""Building classifiers: images float32 [n, 32, 32, 3] in [0, 1] in, logits [n, 10] out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..backend import keras, tf
from .registry import MODELS, check_model


class Normalize(keras.layers.Layer):
    """Compute (image - mean) / std per channel, so that everything outside sees images in [0, 1]."""

    def __init__(self, mean, std, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self.mean = np.asarray(mean, np.float32)
        self.std = np.asarray(std, np.float32)

    def call(self, images):
        """Normalise images."""
        return (images - tf.cast(self.mean, images.dtype)) / tf.cast(self.std, images.dtype)


def build(model: str, mean, std, precision: str = "float32", padding_inside: bool = True) -> keras.Model:
    """Build an untrained classifier that normalises its images.

    Args:
        model: a key of registry.MODELS.
        mean: of each channel of the data set, three numbers.
        std: of each channel, three numbers.
        precision: a Keras policy. ``mixed_bfloat16`` computes in bfloat16 and keeps weights and logits in
        float32.
        padding_inside: whether convolutions pad by themselves. tf2cv pads before them, which is the same
            function but slower.

    Raises:
        CourseError: the model is unknown.
    """
    network = _network(model, precision, padding_inside)
    images = keras.Input((32, 32, 3), dtype=tf.float32)
    logits = network(Normalize(mean, std, dtype="float32", name="normalize")(images))
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
    return keras.Model(images, logits, name=model)


def _network(model: str, precision: str, padding_inside: bool) -> keras.Model:
    check_model(model)
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        network = _made(MODELS[model].builder)
        if padding_inside:
            _pad_inside_convolutions(network)
        # AutoGraph would translate the source of some sixty tf2cv methods, which need no translation.
        network.call = tf.autograph.experimental.do_not_convert(network.call)
        network(tf.zeros([1, 32, 32, 3]))  # creates the weights in the order of the layers
    finally:
        keras.mixed_precision.set_global_policy(before)
    return network


def _made(builder: str | Callable[[], keras.Model]) -> keras.Model:
    if callable(builder):
        return builder()
    from tf2cv.model_provider import get_model  # only here, because it imports a hundred networks

    return get_model(builder, pretrained=False)


def _pad_inside_convolutions(network: keras.Model) -> None:
    """Let TensorFlow's convolutions pad, which saves a pass over memory in each layer and changes no result.

    Convolutions with a stride of 2 stay as they are, because TensorFlow's "same" pads them on one side only.
    """
    from tf2cv.models.common import Conv2d

    for layer in network.submodules:
        if isinstance(layer, Conv2d) and layer.use_pad:
            conv = getattr(layer, convolution_in(layer))
            padding = tuple(size // 2 for size in conv.kernel_size)
            if conv.strides == (1, 1) and layer.pad.padding == tuple((size, size) for size in padding):
                layer.use_pad, conv.padding = False, "same"


def convolution_in(wrapper) -> str:
    """Return the attribute of tf2cv's Conv2d that holds its Keras layer."""
    return "dw_conv" if wrapper.use_dw_conv else "conv"


def network_of(classifier: keras.Model) -> keras.Model:
    """Return the network inside a classifier, without the normalisation: what weight files hold."""
    return next(layer for layer in classifier.layers if isinstance(layer, keras.Model))


def clone(classifier: keras.Model, precision: str = "float32", padding_inside: bool = True) -> keras.Model:
    """Copy a classifier with its weights; the options are those of ``build``."""
    normalize = classifier.get_layer("normalize")
    copy = build(classifier.name, normalize.mean, normalize.std, precision, padding_inside)
    copy.set_weights(classifier.get_weights())
    return copy


def renormalised(classifier: keras.Model, mean, std) -> keras.Model:
    """Copy a classifier, but normalise with another mean and std, three numbers each."""
    copy = build(classifier.name, mean, std)
    copy.set_weights(classifier.get_weights())
    return copy


def parameter_count(model: keras.Model) -> int:
    """Return the number of trainable parameters."""
    return sum(int(tf.size(weight)) for weight in model.trainable_weights)
