"""Ship the networks that a run trained: put them into weights/, each with its card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from .. import classifiers, settings
from ..artifacts import cards
from ..backend import keras
from . import schedules
from .denoising import autoencoder
from .run import Run, phases_of
from .shipped import PARTS, is_taken, weight_file
from .tuning import after_phase, part_after


def parts_of(run: Run) -> dict[str, Callable[[], tuple[keras.Model, list[dict]]]]:
    """Return the networks that a run trains, in order, by the names of their shipped parts.

    Returns:
        By name, a function that makes the network and returns it with its history.
    """
    phases = phases_of(run)
    tuned = {
        part_after(run, phase): partial(after_phase, run, phases, phase, True)
        for phase in range(1, len(phases) + 1)
    }
    return {"ae": partial(autoencoder, run), **tuned}


def ship(run: Run, parts: Sequence[str] = PARTS) -> None:
    """Put a run's autoencoder and fine-tuned classifier into weights/, each with its card.

    Args:
        run: the run.
        parts: which networks (parts_of). One that is not trained yet is trained; one that came from weights/
            stays.
    """
    for part in (part for part in parts if not is_taken(run, part)):
        model, history = parts_of(run)[part]()
        file = weight_file(run, part)
        classifiers.save_weights(model if part == "ae" else classifiers.network_of(model), file)
        cards.write(
            file,
            classifiers.parameter_count(model),
            part=part,
            model=run.model,
            profile=run.profile.name,
            seed=run.seed,
            eps=run.eps,
            protocol=run.protocol.changes(),
            trained_on=len(run.split("train")),
            data=run.data.provenance,
            initial_sha256=classifiers.weights_sha256(run.classifier),
            weights_sha256=classifiers.weights_sha256(model),
            **({} if part == "ae" else _tuning(run)),
            history=history,
        )


def _tuning(run: Run) -> dict:
    """Return what the card of a fine-tuned classifier adds about its training."""
    return {
        "phases": phases_of(run),
        "schedule": schedules.schedule_of(run.model, run.schedule),
        "precision": settings.training_precision(),
        "autoencoder_weights_sha256": classifiers.weights_sha256(autoencoder(run)[0]),
    }
