"""Random changes of training images that leave their labels true."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A function from a batch of images [n, h, w, c] to images of the same shape."""


def crop_and_flip(images: np.ndarray, rng: np.random.Generator, pad: int = 4) -> np.ndarray:
    """Crop each image at random after padding it with zeros, and mirror every other one on average."""
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    top, left = rng.integers(0, 2 * pad + 1, (2, n))
    columns = left[:, None] + np.arange(width)
    flipped = rng.random(n) < 0.5
    columns[flipped] = columns[flipped, ::-1]
    rows = top[:, None] + np.arange(height)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def cut_out(images: np.ndarray, rng: np.random.Generator, size: int = 8) -> np.ndarray:
    """Cover a random square of each image with grey; the square may reach over the edge.

    Source: DeVries & Taylor 2017, "Improved regularization of convolutional neural networks with cutout".
    """
    n, height, width, _ = images.shape
    middle = rng.integers(0, (height, width), (n, 2))
    rows = np.abs(np.arange(height) - middle[:, :1] + 0.5) < size / 2
    columns = np.abs(np.arange(width) - middle[:, 1:] + 0.5) < size / 2
    return np.where((rows[:, :, None] & columns[:, None, :])[..., None], np.float32(0.5), images)


AUGMENTATIONS: dict[str, Augmentation] = {
    "crop after padding by 4, mirror": crop_and_flip,
    "crop after padding by 4, mirror, cutout of 8 x 8": lambda x, rng: cut_out(crop_and_flip(x, rng), rng),
}
"""The augmentations, under the names that recipes and cards use."""
