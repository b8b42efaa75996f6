"""The course's classifiers, nearly all tf2cv's: images float32 [n, 32, 32, 3] in [0, 1] in, logits [n, 10] out."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from .. import settings
from ..artifacts import cards
from ..backend import keras, tf
from ..datasets import Data
from ..settings import CourseError
from .registry import MODELS, check_model

WEIGHT_CHOICES = ("course", "tf2cv", "none")


class Normalize(keras.layers.Layer):
    """(image - mean) / std per channel, so that everything outside the classifier sees images in [0, 1]."""

    def __init__(self, mean, std, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self.mean = np.asarray(mean, np.float32)
        self.std = np.asarray(std, np.float32)

    def call(self, images):
        return (images - tf.cast(self.mean, images.dtype)) / tf.cast(self.std, images.dtype)


def build(model: str, mean, std, precision: str = "float32", padding_inside: bool = True) -> keras.Model:
    """An untrained classifier with its normalisation inside.

    Args:
        model: a key of registry.MODELS.
        mean, std: three numbers each, of the data set (datasets.Data).
        precision: a Keras policy; ``mixed_bfloat16`` computes in bfloat16 and keeps float32 weights. Logits
            are float32 either way.
        padding_inside: let convolutions pad by themselves; tf2cv pads before them, which is the same and slower.

    Raises:
        CourseError: unknown model.
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
        # AutoGraph would translate the source of some sixty tf2cv methods, in which there is nothing to translate.
        network.call = tf.autograph.experimental.do_not_convert(network.call)
        network(tf.zeros([1, 32, 32, 3]))  # creates the weights, in the layers' order
    finally:
        keras.mixed_precision.set_global_policy(before)
    return network


def _made(builder: str | Callable[[], keras.Model]) -> keras.Model:
    if callable(builder):
        return builder()
    from tf2cv.model_provider import get_model  # late: it imports a hundred networks

    return get_model(builder, pretrained=False)


def _pad_inside_convolutions(network: keras.Model) -> None:
    """Let TensorFlow's convolutions pad by themselves where tf2cv pads before them: the same function, faster.

    Each layer is spared a pass over memory, forward and backward. A stride of 2 is left alone: there TensorFlow's
    "same" pads on one side only.
    """
    from tf2cv.models.common import Conv2d

    for layer in network.submodules:
        if isinstance(layer, Conv2d) and layer.use_pad:
            conv = getattr(layer, convolution_in(layer))
            padding = tuple(size // 2 for size in conv.kernel_size)
            if conv.strides == (1, 1) and layer.pad.padding == tuple((size, size) for size in padding):
                layer.use_pad, conv.padding = False, "same"


def convolution_in(wrapper: keras.layers.Layer) -> str:
    """The attribute of tf2cv's Conv2d under which it keeps its Keras layer: depthwise convolutions have their own."""
    return "dw_conv" if wrapper.use_dw_conv else "conv"


def network_of(classifier: keras.Model) -> keras.Model:
    """The network inside a classifier made by build: what weight files hold."""
    return next(layer for layer in classifier.layers if isinstance(layer, keras.Model))


def clone(classifier: keras.Model, precision: str = "float32", padding_inside: bool = True) -> keras.Model:
    """A second classifier with the same weights, to train or to change; the options are build's."""
    normalize = classifier.get_layer("normalize")
    copy = build(classifier.name, normalize.mean, normalize.std, precision, padding_inside)
    copy.set_weights(classifier.get_weights())
    return copy


def renormalised(classifier: keras.Model, mean, std) -> keras.Model:
    """The same network behind another normalisation: mean and std, three numbers each."""
    copy = build(classifier.name, mean, std)
    copy.set_weights(classifier.get_weights())
    return copy


def parameter_count(model: keras.Model) -> int:
    """Return the number of trainable parameters."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def weights_sha256(model: keras.Model) -> str:
    """A checksum of a model's weights themselves: two files with the same numbers have the same one."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def load_weights(classifier: keras.Model, path: Path) -> None:
    """Fill a classifier from a weight file (HDF5, tf2cv's layout).

    Raises:
        CourseError: no such file, a damaged one, or one of another network.
    """
    if not path.is_file():
        raise CourseError(f"there is no weight file {path.name} in {path.parent.name}/; check the path")
    network = network_of(classifier)
    try:
        with h5py.File(path) as file:  # by itself, so that a damaged file is told from one of another network
            file.visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError) as error:
        raise CourseError(
            f"the weight file {path.name} is truncated or damaged; fetch or train it again"
        ) from error
    try:
        with tempfile.TemporaryDirectory() as scratch:  # Keras chooses the format by the name's ending
            network.load_weights(shutil.copy(path, Path(scratch) / "weights.h5"))
    except (ValueError, KeyError) as error:
        raise CourseError(
            f"{path.name} holds the weights of another network than {MODELS[classifier.name].title} "
            f"({len(network.weights)} arrays); choose the model that it was trained for"
        ) from error


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights as HDF5."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "weights.h5"
        model.save_weights(str(file))
        settings.write_atomically(path, file.read_bytes())


def shipped(dataset: str, model: str) -> Path:
    """Where the course keeps its own weights; the card lies beside them, ending in .json."""
    return settings.WEIGHTS / dataset / f"{model}.h5"


def load(model: str, data: Data, weights: str = "course", precision: str = "float32") -> keras.Model:
    """A classifier with its weights.

    Args:
        model: a key of registry.MODELS.
        data: what it classifies; its mean and deviation go into the classifier.
        weights: ``course`` (shipped, trained by ``make weights``), ``tf2cv`` (the official download, CIFAR-10 only),
            ``none`` (untrained), or the path of a weight file.

    Raises:
        CourseError: unknown model; weights that are not there, damaged, or of another network.
    """
    classifier = build(model, data.mean, data.std, precision)
    if weights == "course":
        file = shipped(data.name, model)
        if not file.is_file() or not file.with_suffix(".json").is_file():
            raise CourseError(
                f"the course ships no weights of {MODELS[model].title} for {data.name}; train them with "
                f"'make weights DATASET={data.name} MODEL={model}', or choose WEIGHTS=none or a file"
            )
        card_of(file)
        load_weights(classifier, file)
    elif weights == "tf2cv":
        load_weights(classifier, _download_tf2cv(model, data))
    elif weights != "none":
        load_weights(classifier, Path(weights).expanduser())
    return classifier


def card_of(file: Path) -> dict:
    """The card of a shipped weight file, which lies beside it and ends in .json.

    Raises:
        CourseError: the file or its card is not there, or the file is not the one that the card describes.
    """
    return cards.read(file)


def _download_tf2cv(model: str, data: Data) -> Path:
    if data.name != "cifar10":
        raise CourseError(f"tf2cv's weights are for CIFAR-10, not for {data.name}; choose WEIGHTS=course")
    title = MODELS[model].title
    if not MODELS[model].tf2cv:
        raise CourseError(f"tf2cv has no weights of {title} for these images; choose WEIGHTS=course")
    from tf2cv.models.model_store import get_model_file

    try:
        return Path(get_model_file(MODELS[model].tf2cv))
    except Exception as error:  # whatever requests, zipfile or tf2cv raise: the file could not be had
        if "different hash" in str(error):
            raise CourseError(
                f"tf2cv's weights of {title} were downloaded, but their checksum is not the published one; try again, "
                "or choose WEIGHTS=course"
            ) from error
        raise CourseError(
            f"tf2cv's weights of {title} could not be downloaded ({type(error).__name__}); connect to the network, or "
            "choose WEIGHTS=course"
        ) from error
