"""The course's networks, by name. Needs no TensorFlow, so that the command line answers at once.

To add a network, add an entry to MODELS: its title, how it is built and how it is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..artifacts import imagenet
from ..settings import CourseError
from . import efficientnet

if TYPE_CHECKING:
    from ..backend import keras
    from ..settings import Profile


@dataclass(frozen=True)
class Beginning:
    """Weights that training can begin from instead of random ones, if they are installed.

    Attributes:
        provenance: describes them, with a checksum, for the card; returns None if they are not installed.
        fill: loads them into an untrained network.
        install: the command that installs them.
        epochs, peak_rate: as for Network, on either data set.
        averaging: the differences from base_recipes.AVERAGING_RECIPE.
    """

    provenance: Callable[[], str | None]
    fill: Callable[[keras.Model], None]
    install: str
    epochs: int
    peak_rate: float
    averaging: dict[str, float]


@dataclass(frozen=True)
class Round:
    """A second cycle of training, followed by averaging.

    Attributes:
        epochs: of the cycle (base_recipes.SECOND_RECIPE).
        averaging_epochs: of the averaging (base_recipes.AVERAGING_RECIPE).
        why: the reason for the round and what was known when it was decided, for the card.
    """

    epochs: int
    averaging_epochs: int
    why: str


@dataclass(frozen=True)
class Network:
    """A classifier of the course.

    Attributes:
        title: its name in text and tables.
        builder: its name in tf2cv, or a function that builds it untrained: normalised images [n, 32, 32, 3]
            to logits [n, 10]. The function imports TensorFlow only when it is called.
        epochs: for each data set, the epochs of ``make weights``, fixed before the test images were looked
        at.
        averaging_epochs: the epochs of averaging that follow (base_recipes.AVERAGING_RECIPE).
        peak_rate: the highest learning rate (base_recipes.BASE_RECIPE).
        second_round: for each data set, how ``make weights`` continues after the averaging, if at all.
        second_phase: whether fine-tuning has a second phase on clean images and the autoencoder's outputs
            only, as for the paper's SEPreResNet-56. All six sources are used otherwise.
        most_tune_epochs: the largest number of fine-tuning epochs in any profile, for a network without a
            second phase that is too large for the profile's number.
        table: the number of the paper's table that reports it, if any.
        begins_with: the weights that ``make weights`` begins with if they are installed; None for random
            weights.
    """

    title: str
    builder: str | Callable[[], keras.Model]
    epochs: dict[str, int]
    averaging_epochs: int = 25
    peak_rate: float = 0.1
    second_round: Mapping[str, Round] = field(default_factory=dict)
    second_phase: bool = False
    most_tune_epochs: int | None = None
    table: int | None = None
    begins_with: Beginning | None = None

    @property
    def tf2cv(self) -> str | None:
        """Its name in tf2cv, or None if tf2cv does not have it."""
        return self.builder if isinstance(self.builder, str) else None

    @property
    def source(self) -> str:
        """Where the network comes from, as the card says."""
        if isinstance(self.builder, str):
            return f"tf2cv {self.builder}"
        return f"helpers.networks.{self.builder.__name__}"

    def phases(self, profile: Profile) -> list[tuple[bool, int]]:
        """Return the phases of fine-tuning: whether one uses all six sources, and its number of epochs."""
        if self.second_phase:
            return [(True, profile.tune_epochs_first), (False, profile.tune_epochs_final)]
        return [(True, min(profile.tune_epochs, self.most_tune_epochs or profile.tune_epochs))]

    @property
    def place(self) -> str:
        """The paper's table that reports it, in words."""
        return (
            f"Table {self.table} of the paper"
            if self.table
            else "In none of the paper's tables, but in their form"
        )


MODELS = {
    "resnet20": Network("ResNet-20", "resnet20_cifar10", {"cifar10": 100, "patches10": 12}, table=2),
    "sepreresnet56": Network(
        "SEPreResNet-56",
        "sepreresnet56_cifar10",
        {"cifar10": 40, "patches10": 12},  # an epoch takes several times longer than ResNet-20's
        averaging_epochs=15,
        second_round={
            "cifar10": Round(
                40,
                10,
                why="after the first round 92.88% of 5,000 validation images and 92.59% of the 10,000 "
                "test images were right, less than the 93.5% aimed at; its length was fixed before it "
                "began, by the time there was",
            )
        },
        second_phase=True,
        table=3,
    ),
    "efficientnet_b0": Network(
        "EfficientNet-B0",
        efficientnet.efficientnet_b0,
        {"cifar10": 30, "patches10": 12},
        averaging_epochs=10,
        most_tune_epochs=1,  # the paper's three would be 900,000 images in a full run
        begins_with=Beginning(
            imagenet.provenance,
            imagenet.begin,
            imagenet.INSTALL,
            epochs=6,
            peak_rate=0.05,
            # So few epochs at the recipe's rate would lose accuracy, and the recipe averages only from the
            # fourth. Here the average includes the end of the base training (epoch 0) and both epochs.
            averaging={"epochs": 2, "rate": 0.005, "first_averaged": 0},
        ),
    ),
}


def check_model(model: str) -> None:
    """Check that a name is a key of MODELS."""
    if model not in MODELS:
        raise CourseError(f"unknown model {model!r}; choose one of {', '.join(MODELS)}")
