"""The networks that the paper's author released: read and checked, never copied.

They state no licence, so the course does not ship them; it ships what it measured on them (released_ladder).
Whoever has the two files from the folder ``model_weight`` of the author's repository can measure it again.

    pair = load(Path("model_weight"))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from .. import classifiers
from ..artifacts import provenance
from ..backend import keras
from ..defenses import autoencoder
from ..pipeline.protocol import IMAGENET_MEAN, IMAGENET_STD
from ..settings import CourseError

MODEL = "sepreresnet56"
"""The architecture of the released classifier."""

CLASSIFIER, AUTOENCODER = "robustnet.h5", "safetynet.h5"
"""The files: the fine-tuned classifier, and the autoencoder that stands before it."""

SHA256 = {
    CLASSIFIER: "03227dd2a832432efdbad8df0d1f1200c8eae6b9dc1a6715c8172e7c4cd45cf8",
    AUTOENCODER: "6a317b3e2f423c2ad7fd0dda56c53d144010931df4ef9feedbe631a9d864fa8d",
}
"""The checksums of the released files."""

_LAYERS = (
    "sequential/conv2d",
    "sequential/conv2d_1",
    *(f"sequential_1/{name}" for name in ("conv2d_transpose", "conv2d_transpose_1", "conv2d_2")),
)
_ARRAYS = [f"{layer}/{name}:0" for layer in _LAYERS for name in ("kernel", "bias")]
"""The autoencoder's arrays in its file, in the order of autoencoder.build_autoencoder's weights."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The released classifier and autoencoder.

    The classifier normalises with ImageNet's mean and deviation, as its training did.
    """

    classifier: keras.Model
    autoencoder: keras.Model

    @property
    def defended(self) -> keras.Model:
        """The classifier behind the autoencoder."""
        return autoencoder.defended(self.autoencoder, self.classifier)


def load(folder: Path) -> Pair:
    """Load the released pair.

    Args:
        folder: holds both files.

    Raises:
        CourseError: a file is missing, is damaged, holds another network, or holds other weights than those
            that were released.
    """
    if missing := [name for name in SHA256 if not (folder / name).is_file()]:
        raise CourseError(
            f"there is no {' and no '.join(missing)} in {folder.name}/; name the folder with the author's "
            f"two files, {CLASSIFIER} and {AUTOENCODER} (model_weight in his repository)"
        )
    pair = Pair(classifiers.build(MODEL, IMAGENET_MEAN, IMAGENET_STD), autoencoder.build_autoencoder())
    classifiers.load_weights(pair.classifier, folder / CLASSIFIER)
    pair.autoencoder.set_weights(_autoencoder_weights(folder / AUTOENCODER, pair.autoencoder))
    for name, expected in SHA256.items():
        if (found := provenance.sha256_of(folder / name)) != expected:
            raise CourseError(
                f"{name} holds the right network with other weights than the author's: its sha256 begins "
                f"with {found[:12]}, that of the released file with {expected[:12]}; fetch the file again"
            )
    return pair


def _autoencoder_weights(path: Path, model: keras.Model) -> list[np.ndarray]:
    """Read the autoencoder's kernels and biases, in the order of the model's layers."""
    try:
        with h5py.File(path) as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            found = [np.asarray(file[name], np.float32) for name in _ARRAYS]
    except (OSError, RuntimeError) as error:
        raise CourseError(f"{path.name} is truncated or damaged; fetch it again") from error
    except KeyError:
        found, names = [], []
    shapes = [tuple(weight.shape) for weight in model.weights]
    if len(names) != len(shapes) or [array.shape for array in found] != shapes:
        raise CourseError(
            f"{path.name} holds another network than the paper's autoencoder (Table 1: five layers, "
            f"{classifiers.parameter_count(model):,} parameters)"
        )
    return found
