"""How images are stored: uint8 or uint16, and the way to and from float32 in [0, 1]."""

from __future__ import annotations

import numpy as np


def to_float(stored: np.ndarray) -> np.ndarray:
    """Storage to float32 in [0, 1]. uint16 holds k/255 exactly, since 65535 = 255 x 257."""
    return stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max)


def to_uint16(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1] in storage form."""
    return np.rint(np.asarray(images, np.float64) * 65535).astype(np.uint16)
