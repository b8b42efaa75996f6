"""Checks of an attack's arguments. Each error says what is wrong and what to do about it."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from ..backend import tf
from ..settings import CourseError, check_eps
from .gradient import NORMS, Model, logits_of


def checked(
    model: Model, images: np.ndarray, labels: np.ndarray, eps: float, norm: str = "linf"
) -> tuple[np.ndarray, np.ndarray]:
    """Check what every attack is given, and return images as float32 and labels as int32.

    Raises:
        CourseError: images, labels, eps, the norm or the model's outputs are invalid.
    """
    if norm not in NORMS:
        raise CourseError(f"unknown norm {norm!r}; choose one of {', '.join(NORMS)}")
    check_batch(images, labels)
    check_eps(eps, norm=norm)
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int32)
    _check_model(model, images[:1], labels)
    return images, labels


def check_count(count: int, name: str, why: str) -> None:
    """Check that a count is an integer of at least 1; ``why`` ends the error message."""
    if not isinstance(count, Integral) or count < 1:
        raise CourseError(f"{name} is {count!r}; {why}")


def check_seed(seed: int) -> None:
    """Check that a seed is an integer of at least 0."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**64:
        raise CourseError(f"seed is {seed!r}; it must be a whole number of at least 0")


def check_batch(images: np.ndarray, labels: np.ndarray) -> None:
    """Check that images are floats [n, h, w, c] in [0, 1], and labels are n integers."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or not len(images):
        raise CourseError(
            f"images have shape {images.shape}; a batch [n, height, width, channels], n > 0, is needed"
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise CourseError(f"images are {images.dtype}; divide them by 255 and pass float32 in [0, 1]")
    if not np.isfinite(images).all():
        raise CourseError("images hold values that are not numbers (NaN or infinity)")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        is_bytes = low >= 0 and high > 2
        remedy = "divide them by 255" if is_bytes else "clip them, or leave normalisation to the model"
        raise CourseError(f"images must be in [0, 1], but run from {low:.4g} to {high:.4g}; {remedy}")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        remedy = ""
        if labels.ndim == 2:
            is_one_hot = labels.shape[1] > 1
            remedy = "; take argmax over the last axis" if is_one_hot else "; flatten them with labels[:, 0]"
        raise CourseError(
            f"labels must be {len(images)} integers, but are {labels.dtype} {labels.shape}{remedy}"
        )


def _check_model(model: Model, one_image: np.ndarray, labels: np.ndarray) -> None:
    if not callable(model):
        raise CourseError(f"the model is a {type(model).__name__}, which cannot be called with images")
    logits = np.asarray(logits_of(model, tf.constant(one_image, tf.float32)))
    if logits.ndim != 2 or len(logits) != 1:
        raise CourseError(
            f"the model returned shape {logits.shape} for one image; logits [n, classes] are needed"
        )
    if logits.min() >= 0 and abs(logits.sum() - 1) < 1e-4:
        raise CourseError(
            "the model's outputs are probabilities that sum to 1; take the softmax off and return logits"
        )
    low, high, last = int(np.min(labels)), int(np.max(labels)), logits.shape[1] - 1
    if low < 0 or high > last:
        raise CourseError(f"labels run from {low} to {high}, but the model knows the classes 0 to {last}")
