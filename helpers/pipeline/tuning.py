"""The paper's fine-tuning of the classifier (section 2, Fine-Tuning)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .. import artifacts, classifiers, evaluation, settings, training
from ..artifacts import bundles
from ..backend import keras
from ..defenses import autoencoder as autoencoder_module
from . import schedules
from .denoising import autoencoder, source
from .run import Run, phases_of
from .shipped import is_taken, load_or_train, load_shipped

Phases = Sequence[tuple[Sequence[str], int]]
"""A schedule: for each phase the names of its sources (denoising.source), and its epochs."""


def fine_tuned(run: Run, phases: Phases = ()) -> tuple[keras.Model, list[dict]]:
    """Return the classifier, fine-tuned on clean, attacked and reconstructed images, and its history.

    Args:
        run: the run.
        phases: a schedule to use instead of the paper's (phases_of), for experiments.
    """
    own = list(phases or phases_of(run))
    return after_phase(run, own, len(own), papers=not phases)


def stages(run: Run) -> dict[str, keras.Model]:
    """Return the classifiers that the tables compare, by stage."""
    return {"initial": run.classifier, "fine_tuned": fine_tuned(run)[0]}


def part_after(run: Run, phase: int) -> str:
    """Return the name of the part (parts_of) that the first ``phase`` phases of the schedule produce."""
    return "fine_tuned" if phase == len(phases_of(run)) else f"fine_tuned_{phase}"


def after_phase(run: Run, phases: Phases, phase: int, papers: bool) -> tuple[keras.Model, list[dict]]:
    """Return the classifier after the first ``phase`` phases, and its history.

    Each phase is an artifact of its own.

    Args:
        run: the run.
        phases: the schedule.
        phase: how many phases; 0 returns the initial classifier.
        papers: whether the schedule is the paper's, whose results may be shipped.
    """
    if not phase:
        return run.classifier, []
    if papers and is_taken(run, part := part_after(run, phase)):
        return load_shipped(run, part, partial(classifiers.clone, run.classifier), classifiers.load_weights)
    before, history = after_phase(run, phases, phase - 1, papers)
    ae, _ = autoencoder(run)
    schedule = schedules.schedule_of(run.model, run.schedule)
    config = {
        **run.config(autoencoder_module, training),
        **({} if schedule == "decay" else {"schedule": schedule}),
        "autoencoder": classifiers.weights_sha256(ae),
        "begins_with": classifiers.weights_sha256(before),
        "n": run.profile.n_train,
        "phases": phases,
        "phase": phase,
        "precision": settings.training_precision(),
        "validation": run.profile.n_validation,
    }

    def train(path: Path) -> None:
        folder = artifacts.checkpoints("fine_tuned", config)
        model, found = _tune(run, before, phases, phase, folder)
        bundles.save(path, history + found, model.get_weights())

    return load_or_train("fine_tuned", config, partial(classifiers.clone, run.classifier), train)


def _tune(
    run: Run, before: keras.Model, phases: Phases, phase: int, folder: Path
) -> tuple[keras.Model, list[dict]]:
    """Train a copy of the classifier through one phase; return the copy, and the phase's history."""
    keras.utils.set_random_seed(run.seed)
    model, (names, epochs) = classifiers.clone(before, settings.training_precision()), phases[phase - 1]
    best = BestOnTest(run, model, folder) if run.protocol.selection == "test" else None
    labels = run.split("train").labels
    history = training.fine_tune(
        model,
        training.Samples([source(run, "train", name) for name in names], labels),
        epochs,
        seed=run.seed,
        folder=folder,
        phase=phase,
        rates=_rates(run, phases, len(labels))[phase - 1],
        on_epoch_end=best or _validation_accuracy(run, model),
        on_logits=run.protocol.tune_on_logits,
    )
    if best:
        best.restore()
    return model, history


def _rates(run: Run, phases: Phases, images: int) -> list[tuple[float, float]]:
    """Return each phase's learning rates: the schedule's own, or the parts of one decay."""
    own = [phase.rates for phase in schedules.phases(run.model, run.profile, run.schedule)]
    if list(phases) == phases_of(run) and all(own):
        return [rates for rates in own if rates]
    return training.rates_of_phases([(len(sources) * images, epochs) for sources, epochs in phases])


def _validation_accuracy(run: Run, model: keras.Model) -> Callable[[], dict[str, float]]:
    """Return a function that measures the accuracy on each of the six sources, on validation images."""
    if not run.profile.n_validation:
        return dict
    labels = run.split("validation").labels
    images = {name: source(run, "validation", name) for name in phases_of(run)[0][0]}
    return lambda: {name: float(evaluation.is_correct(model, x, labels).mean()) for name, x in images.items()}


class BestOnTest:
    """Keep the weights of each epoch in which the accuracy on any source's test images is the best so far.

    The paper's released code selects weights like this. It is a mistake: test images must not select
    anything.
    """

    def __init__(self, run: Run, model: keras.Model, folder: Path):
        self._run, self._model, self._file = run, model, folder / "kept.npz"

    def __call__(self) -> dict[str, float]:
        labels = self._run.split("test").labels
        scores = {
            name: float(evaluation.is_correct(self._model, source(self._run, "test", name), labels).mean())
            for name in phases_of(self._run)[0][0]
        }
        best = dict.fromkeys(scores, 0.0)
        if self._file.is_file():
            best = bundles.load_history(self._file)[0]
        if any(scores[name] > best[name] for name in scores):
            highest = {name: max(scores[name], best[name]) for name in scores}
            scratch = self._file.with_name(
                "kept.part.npz"
            )  # so that a killed run leaves the previous file whole
            bundles.save(scratch, [highest], self._model.get_weights())
            os.replace(scratch, self._file)
        return scores

    def restore(self) -> None:
        self._model.set_weights(bundles.load(self._file).weights)
