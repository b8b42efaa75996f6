"""The recipe by which the architectures of the search are trained, and its numbers of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Unpack

from .. import training
from ..backend import keras
from ..pipeline import Run


@dataclass(frozen=True)
class SearchRecipe(training.Recipe):
    """The training of every architecture of the search: with Adam, on clean, FGSM and PGD images.

    The attacks are made for the initial classifier (transfer attacks).

    Attributes:
        images: The number of training images; each epoch shows each of them in three forms.
        epochs: The number of epochs, far fewer than the paper's 100, with smaller batches.
        batch_size: The number of images in one step.
        rates: The first and the last learning rate.
        validated: The number of validation images for the measurement, clean and under transfer attacks.
        attacked: The number of these that are also attacked end-to-end.
    """

    images: int = 20_000
    epochs: int = 4
    batch_size: int = 32
    rates: tuple[float, float] = (5e-3, 5e-4)
    validated: int = 1_000
    attacked: int = 500

    def begin(self, build: Callable[[], keras.Model], seed: int) -> keras.Model:
        """Return the autoencoder with random weights (Recipe.begin)."""
        keras.utils.set_random_seed(seed)
        return build()

    def train(
        self,
        networks: training.Pair,
        samples: training.Samples,
        *,
        eps: float,
        **options: Unpack[training.Options],
    ) -> list[dict]:
        """Train the autoencoder; the classifier stays as it is (Recipe.train)."""
        return training.train_autoencoder(
            networks.autoencoder,
            samples,
            epochs=self.epochs,
            batch_size=self.batch_size,
            rates=self.rates,
            **options,
        )


RECIPE = SearchRecipe()
"""The recipe of the networks that the course ships; each saw 240,000 images."""

LIVE = SearchRecipe(images=256, epochs=3, validated=64, attacked=32)
"""The recipe of the few networks that a notebook trains if too few are shipped; only a demonstration."""


def on_recipe(run: Run, recipe: SearchRecipe) -> Run:
    """Return the run with the recipe's numbers of images, without validation images in the training split."""
    n = min(recipe.images, len(run.data.train))
    validated = min(recipe.validated, len(run.data.validation))
    return replace(run, profile=replace(run.profile, n_train=n, n_validation=validated))
