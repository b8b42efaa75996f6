"""Fine-tuning a classifier on clean, attacked and restored images (the paper, section 2, "Fine-Tuning")."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Unpack

from ..backend import keras
from .loop import Options, run
from .samples import Samples
from .schedules import Decay
from .steps import classifier_step

FINE_TUNE_BATCH = 256
FINE_TUNE_RATES = (1e-4, 1e-5)
"""The learning rate at the beginning of the first phase and at the end of the last."""


def fine_tune(
    classifier: keras.Model,
    samples: Samples,
    epochs: int,
    *,
    phase: int = 1,
    rates: tuple[float, float] = FINE_TUNE_RATES,
    on_logits: bool = True,
    **options: Unpack[Options],
) -> list[dict]:
    """Fine-tune a classifier with Adam on batches that mix all sources.

    Args:
        classifier: Ends with the weights of the last epoch.
        samples: Images of all sources, and labels.
        epochs: How many passes over the samples.
        phase: The number of the phase, from 1; each phase has a new optimizer and a seed of its own.
        rates: The learning rate at the beginning and at the end of this phase (rates_of_phases).
        on_logits: As for classifier_step.
        **options: Passed on to run.

    Returns:
        The history; each record also has the phase.
    """
    optimizer = keras.optimizers.Adam(Decay(*rates, samples.steps(FINE_TUNE_BATCH, epochs)))
    options["seed"] += 1000 * (phase - 1)
    history = run(
        classifier_step(classifier, optimizer, on_logits=on_logits),
        samples,
        epochs=epochs,
        batch_size=FINE_TUNE_BATCH,
        state={"model": classifier, "optimizer": optimizer},
        title=f"{classifier.name}: fine-tuning, phase {phase}",
        **options,
    )
    return [{**record, "phase": phase} for record in history]


def rates_of_phases(lengths: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Return the rates between which each phase decays, so that together they are one decay.

    Args:
        lengths: The images of an epoch and the number of epochs, for each phase.
    """
    steps = [epochs * (images // min(FINE_TUNE_BATCH, images)) for images, epochs in lengths]
    first, last = FINE_TUNE_RATES
    ends = [first * (last / first) ** (sum(steps[:k]) / sum(steps)) for k in range(len(steps) + 1)]
    return list(itertools.pairwise(ends))
