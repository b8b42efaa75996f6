"""Running attacks and models on many images, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..backend import devices, tf
from ..backend.finite import has_nan
from ..backend.tracing import Model, logits_of, traced


def in_batches(
    attack: Callable[..., tf.Tensor], arrays: tuple[np.ndarray, ...], batch_size: int
) -> np.ndarray:
    """Return attack(*arrays), computed batch by batch.

    There are as few batches as ``batch_size`` allows, all of one size, so that the graph is traced only
    once. The last one is filled up with copies. Where there are several devices, they share each batch.

    Args:
        attack: a function of batches.
        arrays: arrays of equal length.
        batch_size: the largest number of images in a batch.
    """
    n = len(arrays[0])
    size = -(-n // -(-n // batch_size))
    size += -size % devices.COUNT
    attack = devices.everywhere(attack)
    outputs = []
    for first in range(0, n, size):
        parts = [array[first : first + size] for array in arrays]
        fill = [(0, size - len(parts[0]))]
        padded = [np.pad(part, fill + [(0, 0)] * (part.ndim - 1), mode="edge") for part in parts]
        outputs.append(np.asarray(attack(*padded))[: len(parts[0])])
    return np.concatenate(outputs)


def logits_in_batches(model: Model, images: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Return the model's outputs for many images: float32 [n, classes]."""
    return in_batches(traced(model, images).graph(logits_of), (images,), batch_size)


def answers_of(logits: np.ndarray) -> np.ndarray:
    """Return the class of the largest logit [n]; -1, which is no class, where a logit is NaN."""
    return np.where(has_nan(logits), -1, logits.argmax(1))


def fooled(
    model: Model, images: np.ndarray, labels: np.ndarray, targeted: bool = False, batch_size: int = 128
) -> np.ndarray:
    """Return which images are misclassified, or, if targeted, classified as their label: booleans [n]."""
    answers = answers_of(logits_in_batches(model, images, batch_size))
    return (answers == labels) if targeted else (answers != labels)
