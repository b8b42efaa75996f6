"""The networks that the course knows, by name. Needs no TensorFlow, so that the command line answers at once.

To add a network is to add an entry to MODELS; what it is called, how it is made and trained all stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..settings import CourseError
from . import efficientnet, imagenet

if TYPE_CHECKING:
    from ..backend import keras
    from ..settings import Profile


@dataclass(frozen=True)
class Beginning:
    """What training can begin from in place of random weights, where it is installed; and how it then trains.

    Attributes:
        provenance: what it is, with a checksum, for the card; None where it is not installed.
        fill: puts it into an untrained network of the builder.
        install: the command that installs it.
        epochs, peak_rate: as for Network, on either data set.
        averaging: what is other than in training.AVERAGING_RECIPE.
    """

    provenance: Callable[[], str | None]
    fill: Callable[[keras.Model], None]
    install: str
    epochs: int
    peak_rate: float
    averaging: dict[str, float]


@dataclass(frozen=True)
class Round:
    """A cycle of training and the averaging after it.

    Attributes:
        epochs: of the cycle (training.SECOND_RECIPE).
        averaging_epochs: of the averaging (training.AVERAGING_RECIPE).
        why: why there is another round, and what was known when it was decided; for the card.
    """

    epochs: int
    averaging_epochs: int
    why: str


@dataclass(frozen=True)
class Network:
    """A classifier of the course.

    Attributes:
        title: as text and tables name it.
        builder: tf2cv's name for it, or a function that makes it untrained: images [n, 32, 32, 3], normalised, to
            logits [n, 10]. The function imports TensorFlow only when it is called.
        epochs: by data set, how long ``make weights`` trains, fixed before the test images are looked at. A card tells
            how long its own weights were trained.
        averaging_epochs: how long it then trains on, to average the weights (training.AVERAGING_RECIPE).
        peak_rate: the highest learning rate of that training (training.BASE_RECIPE).
        second_round: by data set, how ``make weights`` goes on from the averaged weights; none where none is named.
        second_phase: fine-tuned first on all six sources, then on clean images and the autoencoder's outputs only, as
            the paper does SEPreResNet-56; else on all six.
        most_tune_epochs: of those without a second phase: fine-tuned for no more passes over the six sources than this,
            whatever the profile says (in a quick run, too, so that it shows what the full run does); for a network so
            large that the profile's would take too long.
        table: the number of the paper's table that reports it; None if there is none.
        begins_with: what ``make weights`` begins with where it is installed; None if there is nothing but random
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
        """tf2cv's name for it, under which it has weights; None if tf2cv has no such network."""
        return self.builder if isinstance(self.builder, str) else None

    @property
    def source(self) -> str:
        """Where the network comes from, as its card says."""
        return f"tf2cv {self.tf2cv}" if self.tf2cv else f"helpers.networks.{self.builder.__name__}"

    def phases(self, profile: Profile) -> list[tuple[bool, int]]:
        """The schedule of fine-tuning: for each phase, whether it sees all six sources (else clean images and the
        autoencoder's outputs), and for how many epochs."""
        if self.second_phase:
            return [(True, profile.tune_epochs_first), (False, profile.tune_epochs_final)]
        return [(True, min(profile.tune_epochs, self.most_tune_epochs or profile.tune_epochs))]

    @property
    def place(self) -> str:
        """Where the paper reports it, in words."""
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
        {"cifar10": 40, "patches10": 12},  # an epoch takes several times as long as ResNet-20's
        averaging_epochs=15,
        second_round={
            "cifar10": Round(
                40,
                10,
                why="after the first round 92.88% of 5,000 validation images and 92.59% of the 10,000 test images were "
                "right, less than the 93.5% aimed at; its length was fixed before it began, by the time there was",
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
            # So few epochs at the recipe's rate would end below where they began, and it averages from the fourth on.
            # Here the mean is of the base training's end (epoch 0) and of both.
            averaging={"epochs": 2, "rate": 0.005, "first_averaged": 0},
        ),
    ),
}


def check_model(model: str) -> None:
    """Refuse a name that is not a key of MODELS."""
    if model not in MODELS:
        raise CourseError(f"unknown model {model!r}; choose one of {', '.join(MODELS)}")
