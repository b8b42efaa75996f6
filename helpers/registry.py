"""The networks that the course knows, by name. Needs no TensorFlow, so that the command line answers at once."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import CourseError


@dataclass(frozen=True)
class Network:
    """A classifier of the course.

    Attributes:
        title: as text and tables name it.
        tf2cv: the name that tf2cv has for it.
        table: the number of the paper's table that reports it.
    """

    title: str
    tf2cv: str
    table: int


MODELS = {
    "resnet20": Network("ResNet-20", "resnet20_cifar10", 2),
    "sepreresnet56": Network("SEPreResNet-56", "sepreresnet56_cifar10", 3),
}


def check_model(model: str) -> None:
    """Refuse a name that is not a key of MODELS."""
    if model not in MODELS:
        raise CourseError(f"unknown model {model!r}; choose one of {', '.join(MODELS)}")
