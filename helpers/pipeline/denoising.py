"""The paper's autoencoder (section 2, Preprocessing), and the images that it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from .. import artifacts, classifiers, evaluation, training
from ..artifacts import bundles
from ..backend import keras
from ..datasets import storage
from ..defenses import autoencoder as autoencoder_module
from ..settings import Networks, note
from .attacked import inputs
from .bottleneck import channels_told
from .matching import SOURCES
from .run import Run
from .shipped import is_taken, load_or_train, load_shipped, trained_as


def autoencoder(run: Run) -> tuple[keras.Model, list[dict]]:
    """Return the paper's autoencoder, trained to turn attacked images into clean ones, and its history."""
    if is_taken(run, "ae"):
        return load_shipped(
            run,
            "ae",
            autoencoder_module.build_autoencoder,
            partial(classifiers.load_into, title="the autoencoder"),
        )
    profile = run.profile
    config = {
        **run.config(autoencoder_module, training),
        "n": profile.n_train,
        "epochs": profile.ae_epochs,
        "batch": profile.ae_batch,
        "rates": profile.ae_rates,
        "validation": profile.n_validation,
    }

    def build() -> keras.Model:
        keras.utils.set_random_seed(run.seed)
        return autoencoder_module.build_autoencoder()

    def train(path: Path) -> None:
        model = build()
        clean = inputs(run, "train", "regular")
        kinds = SOURCES if run.protocol.autoencoder_sees_clean else ("fgsm", "pgd")
        samples = training.Samples([inputs(run, "train", kind) for kind in kinds], clean)
        history = training.train_autoencoder(
            model,
            samples,
            epochs=profile.ae_epochs,
            batch_size=profile.ae_batch,
            rates=profile.ae_rates,
            seed=run.seed,
            folder=artifacts.checkpoints("autoencoder", config),
            on_epoch_end=_validation_error(run, model),
            plateau=run.protocol.plateau,
        )
        bundles.save(path, history, model.get_weights())
        note(f"autoencoder: {channels_told(model, run.data.validation)}")

    # A process that waits for another one's autoencoder helps to attack the training images.
    return load_or_train("autoencoder", config, build, train, partial(_attack_training_images, run))


def schedule_told(run: Run) -> str:
    """Say how the run's autoencoder was trained, beside the paper's schedule."""
    profile = trained_as(run, "ae")
    own = profile == run.profile
    seen = 2 * (len(run.split("train")) if own else profile.n_train)
    first, last = profile.ae_rates
    return (
        f"{'This run' if own else 'Shipped with the course'} ({profile.name}): {profile.ae_epochs} epochs of "
        f"{seen:,} attacked images, batches of {profile.ae_batch}, "
        f"{profile.ae_epochs * (seen // profile.ae_batch):,} steps, rate {first:g} falling to {last:g}. "
        "The paper's: 100 epochs of 100,000 images, 0.001 falling to 0.0001."
    )


def _attack_training_images(run: Run) -> None:
    for kind in ("fgsm", "pgd"):
        inputs(run, "train", kind)


def _validation_error(run: Run, model: keras.Model) -> Callable[[], dict[str, float]]:
    """Return a function that measures the mean squared error on attacked validation images."""
    if not run.profile.n_validation:
        return dict
    clean = storage.to_float(inputs(run, "validation", "regular"))
    attacked = {kind: storage.to_float(inputs(run, "validation", kind)) for kind in ("fgsm", "pgd")}
    return lambda: {
        f"validation_{kind}": float(np.mean((evaluation.predict(model, images) - clean) ** 2))
        for kind, images in attacked.items()
    }


def reconstructed(run: Run, split: str, kind: str) -> np.ndarray:
    """Return the autoencoder's outputs for inputs(run, split, kind), as a memory-mapped uint16 array."""
    model, _ = autoencoder(run)
    images = inputs(run, split, kind)
    config = {
        **run.config(autoencoder_module),
        "autoencoder": classifiers.weights_sha256(model),
        "input": kind,
        "split": split,
        "n": len(images),
    }

    def fill(out: np.ndarray) -> None:
        for first in range(0, len(images), 1000):
            part = slice(first, first + 1000)
            out[part] = storage.to_uint16(evaluation.predict(model, images[part]))

    return artifacts.make_array("reconstructed", config, images.shape, fill)


def source(run: Run, split: str, name: str) -> np.ndarray:
    """Return the images of one of the six sources, in storage form.

    Args:
        run: the run.
        split: ``train``, ``validation`` or ``test``.
        name: regular, fgsm, pgd, ae(regular), ae(fgsm) or ae(pgd).
    """
    return reconstructed(run, split, name[3:-1]) if name.startswith("ae(") else inputs(run, split, name)


def examples(run: Run, name: str, n: int) -> np.ndarray:
    """Return the first n training images of a source (source), in storage form.

    A run with shipped networks attacks only these n training images.
    """
    if run.networks is Networks.SHIPPED:
        run = replace(run, profile=replace(run.profile, n_train=n))
    return source(run, "train", name)[:n]
