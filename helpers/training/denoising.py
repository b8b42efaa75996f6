"""Training an autoencoder to turn attacked images back into the originals (the paper, section 2)."""

from __future__ import annotations

from typing import Unpack

from ..backend import keras
from .loop import Options, run
from .samples import Samples
from .schedules import Decay, rate_on_plateau
from .steps import autoencoder_step


def train_autoencoder(
    autoencoder: keras.Model,
    samples: Samples,
    *,
    epochs: int,
    batch_size: int,
    rates: tuple[float, float],
    plateau: bool = False,
    **options: Unpack[Options],
) -> list[dict]:
    """Train an autoencoder with Adam.

    Args:
        autoencoder: Images to images.
        samples: Attacked images, with the originals as targets.
        epochs: How many passes over the samples.
        batch_size: The images in one step.
        rates: The first and the last learning rate; between them it decays by the same factor at every step.
        plateau: Lower the rate by rate_on_plateau instead, as the paper's released code does.
        **options: Passed on to run.

    Returns:
        The history.
    """
    decay = Decay(*rates, samples.steps(batch_size, epochs))
    optimizer = keras.optimizers.Adam(rates[0] if plateau else decay)

    def on_epoch_begin(history: list[dict]) -> None:
        if plateau:
            optimizer.learning_rate.assign(rate_on_plateau([record["loss"] for record in history], *rates))

    return run(
        autoencoder_step(autoencoder, optimizer),
        samples,
        epochs=epochs,
        batch_size=batch_size,
        state={"model": autoencoder, "optimizer": optimizer},
        title="autoencoder",
        on_epoch_begin=on_epoch_begin,
        **options,
    )
