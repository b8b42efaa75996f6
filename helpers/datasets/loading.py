"""The entrance to the data sets: ``load``."""

from __future__ import annotations

from dataclasses import replace

from ..settings import CourseError
from . import cifar10
from .types import Data

NAMES = ("cifar10", "patches10", "auto")


def load(name: str = "auto") -> Data:
    """Load a data set.

    Args:
        name: ``cifar10``, ``patches10``, or ``auto`` (CIFAR-10 if it is available, patches10 if not).

    Raises:
        CourseError: the name is unknown, or CIFAR-10 was requested and is missing or damaged.
    """
    if name not in NAMES:
        raise CourseError(f"unknown data set {name!r}; choose one of {', '.join(NAMES)}")
    if name == "patches10":
        return _load_patches10()
    try:
        return cifar10.load()
    except cifar10.CifarNotFound as missing:
        if name == "cifar10":
            raise
        notice = (
            "This is NOT CIFAR-10. CIFAR-10 was not found, so everything below was measured on patches10, "
            "the course's built-in substitute (32x32 crops of ten photographs). Its numbers cannot be "
            "compared with the paper's. Remedies: " + missing.remedies
        )
        return _load_patches10(notice)


def _load_patches10(notice: str = "") -> Data:
    from . import patches10  # only here, because it imports scikit-image

    return replace(patches10.load(), notice=notice)
