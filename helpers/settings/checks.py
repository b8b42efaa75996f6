"""Checks of the parameters that many functions share."""

from __future__ import annotations

import math
from numbers import Integral, Real

from .errors import CourseError

EPS = 8 / 255
"""The paper's attack budget (section 2): 8 of 255 grey levels, for images scaled to [0, 1]."""


def check_seed(seed: int) -> None:
    """Check that Keras and NumPy will accept a seed.

    Raises:
        CourseError: it is not a whole number from 0 to 2**32 - 1.
    """
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise CourseError(f"seed is {seed!r}; it must be a whole number from 0 to {2**32 - 1}")


def check_eps(eps: float, name: str = "eps", norm: str = "linf") -> None:
    """Check an attack budget.

    Args:
        eps: the budget; for linf in [0, 1], for l2 any non-negative number.
        name: what the message calls it.
        norm: ``linf`` or ``l2``.

    Raises:
        CourseError: it is negative, not finite, not a number, or above 1 for linf (grey levels were meant).
    """
    if not isinstance(eps, Real) or not math.isfinite(eps) or eps < 0:
        raise CourseError(f"{name} is {eps!r}; it must be a number in [0, 1], such as 8/255")
    if eps > 1 and norm == "linf":
        raise CourseError(
            f"{name} is {eps:g}, but images are in [0, 1]: write {eps:g}/255 for {eps:g} grey levels"
        )
