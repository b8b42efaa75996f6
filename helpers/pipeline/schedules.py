"""Fine-tuning schedules: for each phase the images, the epochs and the learning rates.

The shipped networks were fine-tuned by ``decay``. To ship networks of the other schedule, train them
(``python -m helpers networks --schedule paper --replace``), and then let CURRENT name it: until then, a full
run goes on taking the shipped networks for its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..classifiers import registry
from ..settings import CourseError, Profile

SCHEDULES = {
    "decay": "one decay of the rate from 1e-4 to 1e-5 over all phases, as long as the profile says",
    "paper": "the paper's text for ResNet-20, the author's log for SEPReResNet-56: constant rates",
}
"""The schedules by name."""

CURRENT = "decay"
"""The schedule of a run that asks for none."""


@dataclass(frozen=True)
class Phase:
    """A phase of fine-tuning.

    Attributes:
        all_six: whether all six sources are used; otherwise clean images and the autoencoder's outputs only.
        epochs: passes over them.
        rates: the learning rate at the beginning and at the end of the phase; None leaves it to one decay
            over all phases (training.rates_of_phases).
    """

    all_six: bool
    epochs: int
    rates: tuple[float, float] | None = None


PAPER = {
    "resnet20": (Phase(True, 3, (1e-4, 1e-4)),),
    "sepreresnet56": (
        Phase(True, 3, (1e-4, 1e-4)),
        Phase(False, 1, (1e-4, 1e-4)),
        Phase(False, 3, (1e-5, 1e-5)),
    ),
}
"""The schedule ``paper`` by network, whatever the profile. A network that the paper does not report has none.

Source: the paper, section 2, Fine-Tuning; and the log of its released code.
"""


def check_schedule(name: str) -> None:
    """Check that there is a schedule of this name.

    Raises:
        CourseError: there is none.
    """
    if name not in SCHEDULES:
        raise CourseError(f"unknown schedule {name!r}; choose one of {', '.join(SCHEDULES)}")


def schedule_of(model: str, name: str) -> str:
    """Return the schedule that a network is fine-tuned by; one without the paper's follows ``decay``."""
    return name if model in PAPER else "decay"


def phases(model: str, profile: Profile, name: str) -> list[Phase]:
    """Return the phases of a network's fine-tuning.

    Args:
        model: a key of registry.MODELS.
        profile: says how long the phases of ``decay`` are.
        name: a key of SCHEDULES.
    """
    if schedule_of(model, name) == "paper":
        return list(PAPER[model])
    return [Phase(all_six, epochs) for all_six, epochs in registry.MODELS[model].phases(profile)]
