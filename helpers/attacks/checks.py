"""Checks of an attack's arguments. Each error says what is wrong and what to do about it."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from ..backend.finite import refuse
from ..backend.tracing import Model, Traced, traced
from ..settings import CourseError, check_eps
from .gradient import NORMS


def checked(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    norm: str = "linf",
    by_gradient: bool = True,
) -> tuple[Traced, np.ndarray, np.ndarray]:
    """Check what every attack is given; return the model with its graphs, float32 images and int32 labels.

    Raises:
        CourseError: images, labels, eps, the norm or the model's outputs are invalid.
    """
    check_norm(norm)
    check_eps(eps, norm=norm)
    check_batch(images, labels)
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int32)
    check_callable(model)
    model = traced(model, images, by_gradient)
    check_classes(model.sample, labels)
    check_logits(model.sample)
    return model, images, labels


def check_norm(norm: str) -> None:
    """Check that a norm is one of NORMS."""
    if norm not in NORMS:
        raise CourseError(f"unknown norm {norm!r}; choose one of {', '.join(NORMS)}")


def check_seed(seed: int) -> None:
    """Check that a seed is an integer of at least 0."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**64:
        raise CourseError(f"seed is {seed!r}; it must be a whole number of at least 0")


def check_batch(images: np.ndarray, labels: np.ndarray) -> None:
    """Check that images are floats [n, h, w, c] in [0, 1], and labels are n integers."""
    check_labels(labels, len(check_images(images)))


def check_images(images: np.ndarray, stored: bool = False) -> np.ndarray:
    """Check that images are floats [n, h, w, c] in [0, 1] (or may be ``stored``); return them as an array."""
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise CourseError(
            f"images have shape {images.shape}; a batch [n, height, width, channels], n > 0, is needed"
        )
    if stored and images.dtype in (np.uint8, np.uint16):
        return images
    if images.dtype.kind != "f":
        raise CourseError(f"images are {images.dtype}; divide them by 255 and pass float32 in [0, 1]")
    finite = np.isfinite(images).reshape(len(images), -1).all(1)
    refuse(np.logical_not(finite), "images hold values that are not numbers (NaN or infinity)")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        is_bytes = low >= 0 and high > 2
        remedy = "divide them by 255" if is_bytes else "clip them, or leave normalisation to the model"
        raise CourseError(f"images must be in [0, 1], but run from {low:.4g} to {high:.4g}; {remedy}")
    return images


def check_labels(labels: np.ndarray, n: int) -> None:
    """Check that labels are n integers."""
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        remedy = ""
        if labels.ndim == 2:
            is_one_hot = labels.shape[1] > 1
            remedy = "; take argmax over the last axis" if is_one_hot else "; flatten them with labels[:, 0]"
        raise CourseError(f"labels must be {n} integers, but are {labels.dtype} {labels.shape}{remedy}")


def check_callable(model: Model) -> None:
    """Check that a model can be called."""
    if not callable(model):
        raise CourseError(f"the model is a {type(model).__name__}, which cannot be called with images")


def check_classes(outputs: np.ndarray, labels: np.ndarray) -> None:
    """Check that the outputs for one image are [1, classes], with a class for every label."""
    if outputs.ndim != 2 or len(outputs) != 1:
        raise CourseError(
            f"the model returned shape {outputs.shape} for one image; logits [n, classes] are needed"
        )
    if outputs.shape[1] < 2:
        raise CourseError(
            "the model returned one output for an image; logits of at least two classes are needed. Turn a "
            "sigmoid's logit z into two: tf.concat([tf.zeros_like(z), z], axis=1)"
        )
    low, high, last = int(np.min(labels)), int(np.max(labels)), outputs.shape[1] - 1
    if low < 0 or high > last:
        raise CourseError(f"labels run from {low} to {high}, but the model knows the classes 0 to {last}")


def check_logits(logits: np.ndarray) -> None:
    """Check that the outputs for one image are not probabilities."""
    if logits.min() >= 0 and abs(logits.sum() - 1) < 1e-4:
        raise CourseError(
            "the model's outputs are probabilities that sum to 1; take the softmax off and return logits"
        )
