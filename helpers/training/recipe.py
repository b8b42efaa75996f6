"""What every recipe says: how training begins, what it does, and what it measures after each epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Unpack

from ..backend import keras
from .loop import Options
from .samples import Batch, Samples


@dataclass(frozen=True, eq=False)
class Pair:
    """A classifier and, where there is one, the autoencoder before it."""

    classifier: keras.Model
    autoencoder: keras.Model | None = None


class Recipe(ABC):
    """How networks are trained. Subclasses are frozen dataclasses, and a card holds their fields.

    Attributes:
        attacks: Whether training attacks the networks within a budget eps.
        images: How many training images are used; None means all.
    """

    attacks: ClassVar[bool] = False
    images: int | None = None

    def begin(self, build: Callable[[], keras.Model], seed: int) -> keras.Model | None:
        """Return the autoencoder that is to be trained, or None if only a classifier is.

        Args:
            build: Returns the autoencoder to begin with, unless the recipe makes a new one.
            seed: Decides weights that are drawn at random.
        """
        return None

    @abstractmethod
    def train(
        self, networks: Pair, samples: Samples, *, eps: float, **options: Unpack[Options]
    ) -> list[dict]:
        """Train the networks in place and return the history.

        Args:
            networks: With the weights that training begins with.
            samples: Training images and their targets.
            eps: The budget of attacks made during training.
            **options: Passed on to run.
        """

    def on_epoch_end(
        self, model: keras.Model, held_out: Batch, trained_on: Batch, *, eps: float, seed: int
    ) -> dict[str, float]:
        """Measure a model after an epoch and return accuracies in [0, 1] by name.

        Args:
            model: The networks as one model, images to logits.
            held_out: Validation images and labels.
            trained_on: Some training images and labels.
            eps: The budget of attacks.
            seed: Decides random starts and noise.
        """
        return {}

    def kept_epoch(self, history: list[dict]) -> int | None:
        """Return the epoch whose weights are kept, or None if it is always the last."""
        return None
