"""Checks of the parameters that many functions share.

A number may be given as people and papermill give it: as the text ``8/255``, as a fraction, or as ``2.0``
where a whole number is needed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from .errors import CourseError
from .wording import shown

EPS = 8 / 255
"""The paper's attack budget (section 2): 8 of 255 grey levels, for images scaled to [0, 1]."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def check_seed(seed: Any) -> int:
    """Check that Keras and NumPy will accept a seed, and return it.

    Raises:
        CourseError: it is not a whole number from 0 to 2**32 - 1.
    """
    number = whole_number(seed)
    if number is None or not 0 <= number < 2**32:
        raise CourseError(f"seed is {shown(seed)}; it must be a whole number from 0 to {2**32 - 1}")
    return number


def check_eps(eps: Any, name: str = "eps", norm: str = "linf") -> float:
    """Check an attack budget and return it as a float.

    Args:
        eps: the budget; for linf in [0, 1], for l2 any non-negative number.
        name: what the message calls it.
        norm: ``linf`` or ``l2``.

    Raises:
        CourseError: it is negative, not finite, not a number, or above 1 for linf (grey levels were meant).
    """
    number = _number(eps)
    if number is None or number < 0:
        raise CourseError(f"{name} is {shown(eps)}; it must be a number in [0, 1], such as 8/255")
    if number > 1 and norm == "linf":
        raise CourseError(
            f"{name} is {number:g}, but images are in [0, 1]: write {number:g}/255 for {number:g} grey levels"
        )
    return number


def plain_numbers(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function take text ("8/255"), fractions and ``2.0`` for its parameters of type float or int.

    What is not a number is passed on unchanged, for the function to refuse.
    """
    signature = inspect.signature(function)
    kinds = {"float": _number, "int": whole_number}
    convert = {p.name: kinds[p.annotation] for p in signature.parameters.values() if p.annotation in kinds}

    @wraps(function)
    def with_plain_numbers(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
        given = signature.bind(*args, **options)
        for name, value in given.arguments.items():
            if (
                name in convert
                and not isinstance(value, int)
                and (number := convert[name](value)) is not None
            ):
                given.arguments[name] = number
        return function(*given.args, **given.kwargs)

    return with_plain_numbers


def whole_number(value: Any) -> int | None:
    """Return a value as a whole number, or None if it is not one."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)  # exact, also where a float would not be
    number = _number(value)
    return None if number is None or number != int(number) else int(number)


def _number(value: Any) -> float | None:
    """Return a value as a float, or None if it is not a finite number."""
    try:
        if isinstance(value, str):
            numerator, slash, denominator = value.partition("/")
            number = float(numerator) / (float(denominator) if slash else 1.0)
        else:
            number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except (ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) else None


def check_count(count: int, name: str, why: str) -> None:
    """Check that a count is an integer of at least 1; ``why`` ends the error message."""
    if not isinstance(count, Integral) or count < 1:
        raise CourseError(f"{name} is {count!r}; {why}")
