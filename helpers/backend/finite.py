"""What is not a number, image by image."""

from __future__ import annotations

import numpy as np

from ..settings import CourseError


class NotANumber(CourseError):
    """The error for images that have no numbers. ``what`` has none; ``positions`` are those of the images."""

    def __init__(self, what: str, positions: np.ndarray) -> None:
        self.what, self.positions = what, positions
        more = f" and {len(positions) - 1} more" if len(positions) > 1 else ""
        super().__init__(f"{what}: image {positions[0]}{more} (counted from 0)")


def refuse(bad: np.ndarray, what: str, positions: np.ndarray | None = None) -> None:
    """Raise NotANumber if some of the images are bad (booleans [n]); positions [n] are theirs."""
    if bad.any():
        raise NotANumber(what, np.flatnonzero(bad) if positions is None else positions[bad])


def has_nan(values: np.ndarray) -> np.ndarray:
    """Return which images' values hold a NaN: booleans [n]."""
    return np.asarray(np.isnan(values).reshape(len(values), -1).any(1))


def without_nan(values: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
    """Return what a model or an attack gave for images; raise NotANumber if it is NaN for some of them."""
    refuse(has_nan(values), "the model's logits or gradients are not numbers (NaN)", positions)
    return values
