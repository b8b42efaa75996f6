"""Training images and their targets, read one batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..backend import arrays
from ..datasets.storage import to_float
from ..settings import CourseError
from .augmentation import Augmentation

Batch = tuple[np.ndarray, np.ndarray]
"""Images, float32 [n, h, w, c] in [0, 1], and their targets: labels [n], or images of the same shape."""


class Samples:
    """Stored images from one or more sources, each paired with a target.

    The sources are parallel: row i of every source shows the same photograph. They may be memory-mapped, so a
    mixture of any size takes no more memory than one batch.

    Args:
        sources: Arrays [n, h, w, c], uint8 (k means k/255) or uint16 (k means k/65535).
        targets: Labels [n], or stored images [n, h, w, c], which an autoencoder is to restore.

    Raises:
        CourseError: A source does not have one image for each target.
    """

    def __init__(self, sources: Sequence[np.ndarray], targets: np.ndarray):
        if any(len(source) != len(targets) for source in sources):
            sizes = [len(source) for source in sources]
            raise CourseError(f"sources of {sizes} images and {len(targets)} targets do not match")
        self.sources, self.targets = list(sources), targets

    def __len__(self) -> int:
        return len(self.sources) * len(self.targets)

    def steps(self, batch_size: int, epochs: int = 1) -> int:
        """Return the number of full batches in some epochs."""
        return epochs * (len(self) // min(batch_size, len(self)))

    def read(self, rows: np.ndarray) -> Batch:
        """Return the samples with these numbers; the sources are numbered one after another."""
        which, row = np.divmod(rows, len(self.targets))
        images = arrays.empty((len(rows), *self.sources[0].shape[1:]))
        for k in np.unique(which):
            images[which == k] = self.sources[k][row[which == k]]
        largest = np.array([np.iinfo(source.dtype).max for source in self.sources], np.float32)
        flat = images.reshape(len(rows), -1)
        flat /= largest[which, None]
        targets = self.targets[row]
        if targets.ndim == 1:
            return images, targets
        return images, to_float(targets, out=arrays.empty(targets.shape))

    def batches(
        self, size: int, seed: int, epoch: int, augment: Augmentation | None = None
    ) -> Iterator[Batch]:
        """Yield one shuffled pass in full batches; the same seed and epoch give the same pass."""
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        size = min(size, len(order))
        for start in range(0, len(order) - size + 1, size):
            images, targets = self.read(order[start : start + size])
            yield (augment(images, rng) if augment else images), targets
