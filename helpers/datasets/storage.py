"""Conversion of images between integers in storage and float32 in [0, 1]."""

from __future__ import annotations

import hashlib

import numpy as np


def to_float(stored: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Convert uint8 or uint16 images to float32 in [0, 1], in a new array or in ``out``."""
    largest = np.float32(np.iinfo(stored.dtype).max)
    return np.divide(stored, largest, out=out, dtype=np.float32, casting="unsafe")


def to_uint16(images: np.ndarray) -> np.ndarray:
    """Convert images in [0, 1] to uint16, which holds every k/255 exactly, since 65535 = 255 x 257."""
    return np.rint(np.asarray(images, np.float64) * 65535).astype(np.uint16)


def checksum(*arrays: np.ndarray) -> str:
    """Return the sha256 of pixels and labels, in the order given, whatever file they came from."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, "<i4" if array.dtype.kind == "i" else array.dtype).data)
    return digest.hexdigest()
