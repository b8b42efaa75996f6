"""Weights of classifiers: load, save, compare and download them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import numpy as np

from .. import settings
from ..artifacts import cards, hdf5
from ..backend import keras
from ..datasets import Data
from ..settings import CourseError
from .networks import build, network_of
from .registry import MODELS


def load(model: str, data: Data, weights: str = "course", precision: str = "float32") -> keras.Model:
    """Build a classifier and load its weights.

    Args:
        model: a key of registry.MODELS.
        data: the data set to classify; the classifier normalises with its mean and std.
        weights: ``course`` (shipped, trained by ``make weights``), ``tf2cv`` (the official download, for
            CIFAR-10 only), ``none`` (untrained), or the path of a weight file.
        precision: as for ``build``.

    Raises:
        CourseError: the model is unknown, or the weights are missing, damaged, or of another network.
    """
    classifier = build(model, data.mean, data.std, precision)
    if weights == "course":
        file = shipped(data.name, model)
        if not file.is_file() or not cards.card_file(file).is_file():
            raise CourseError(
                f"the course ships no weights of {MODELS[model].title} for {data.name}; train them with "
                f"'make weights DATASET={data.name} MODEL={model}', or choose WEIGHTS=none or a file"
            )
        cards.read(file)
        load_weights(classifier, file)
    elif weights == "tf2cv":
        load_weights(classifier, _download_tf2cv(model, data))
    elif weights != "none":
        load_weights(classifier, settings.find_file(weights) or Path(weights))
    return classifier


def shipped(dataset: str, model: str) -> Path:
    """Return where the course keeps its own weights; their card is beside them and ends in .json."""
    return settings.WEIGHTS / dataset / f"{model}.h5"


def card_of(file: Path) -> dict:
    """Read the card of a shipped weight file.

    Raises:
        CourseError: the file or its card is missing, or the card describes another file.
    """
    return cards.read(file)


def load_weights(classifier: keras.Model, path: Path) -> None:
    """Load a weight file into a classifier (HDF5, tf2cv's layout).

    Raises:
        CourseError: the file is missing, damaged, or of another network.
    """
    load_into(network_of(classifier), path, MODELS[classifier.name].title)


def load_into(network: keras.Model, path: Path, title: str) -> None:
    """Load a weight file into any network, such as an autoencoder; errors are those of load_weights.

    Args:
        network: the network.
        path: the file.
        title: of the network, for an error message.
    """
    if settings.find_file(path) is None:
        raise CourseError(f"there is no weight file {path.name} in {path.parent.name}/; check the path")
    own = sum(weight.nbytes for weight in network.get_weights())
    hdf5.check(path, most=8 * own + (1 << 20))
    before = network.get_weights()
    try:
        with tempfile.TemporaryDirectory() as scratch:  # Keras tells the format by the file's suffix
            network.load_weights(shutil.copy(path, Path(scratch) / "weights.h5"))
    except Exception as error:  # Keras checks little, and raises whatever comes of it
        network.set_weights(before)
        raise CourseError(
            f"{path.name} holds the weights of another network than {title} ({len(before)} arrays); "
            "choose the model that it was trained for"
        ) from error
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        network.set_weights(before)
        raise CourseError(f"{path.name} holds numbers that are not finite; fetch or train it again")


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights as HDF5."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "weights.h5"
        model.save_weights(str(file))
        settings.write_atomically(path, file.read_bytes())


def weights_sha256(model: keras.Model) -> str:
    """Return a checksum of the weights themselves, which does not depend on the file that holds them."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _download_tf2cv(model: str, data: Data) -> Path:
    if data.name != "cifar10":
        raise CourseError(f"tf2cv's weights are for CIFAR-10, not for {data.name}; choose WEIGHTS=course")
    title = MODELS[model].title
    if not MODELS[model].tf2cv:
        raise CourseError(f"tf2cv has no weights of {title} for these images; choose WEIGHTS=course")
    from tf2cv.models.model_store import get_model_file

    try:
        return Path(get_model_file(MODELS[model].tf2cv))
    except Exception as error:  # requests, zipfile and tf2cv raise many kinds
        if "different hash" in str(error):
            raise CourseError(
                f"tf2cv's weights of {title} were downloaded, but their checksum is not the published one; "
                "try again, or choose WEIGHTS=course"
            ) from error
        raise CourseError(
            f"tf2cv's weights of {title} could not be downloaded ({type(error).__name__}); "
            "connect to the network, or choose WEIGHTS=course"
        ) from error
