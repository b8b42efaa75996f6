"""A data set and its splits, the same for CIFAR-10 and its substitute."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .storage import to_float


@dataclass(frozen=True)
class Split:
    """Images as they are stored: ``pixels`` uint8 [n, 32, 32, 3], ``labels`` int32 [n]."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the first n images (default: all) as float32 [n, 32, 32, 3] in [0, 1], and their labels."""
        return to_float(self.pixels[:n]), self.labels[:n]

    def head(self, n: int) -> Split:
        """Return the first n images as they are stored."""
        return Split(self.pixels[:n], self.labels[:n])


@dataclass(frozen=True)
class Data:
    """A data set. The official training split is divided into a training and a validation split.

    Attributes:
        name: ``cifar10`` or ``patches10``.
        train, validation, test: the splits.
        classes: the ten class names, by label.
        mean, std: of each channel, in [0, 1]; the classifier normalises with them.
        provenance: the origin of the images, their checksum and their number, for the report.
        notice: a warning that a report shows first; usually empty.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    provenance: dict = field(default_factory=dict)
    notice: str = ""

    @property
    def sha256(self) -> str:
        """The checksum of the data."""
        return self.provenance["sha256"]

    def training_images(self, n: int) -> Split:
        """Return the first n images to train on.

        Validation images are among them only if the training split has fewer than n. The paper trains on all
        50,000 and chooses nothing by validation.
        """
        if n <= len(self.train):
            return self.train.head(n)
        return Split(
            np.concatenate([self.train.pixels, self.validation.pixels])[:n],
            np.concatenate([self.train.labels, self.validation.labels])[:n],
        )
