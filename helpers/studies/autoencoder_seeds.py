"""How far the paper's autoencoder varies with its seed, and which of several seeds is shipped.

    run = pipeline.start("cifar10", "resnet20", "full")
    card = make(run, 3)                          # trains it and puts it into weights/<dataset>/seeds/

All seeds share the attacked images of the run; the seed decides the first weights and the order of the
images. Validation images are held out. The rule was fixed before any training: the seed with the median
validation loss is shipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import artifacts, classifiers, evaluation, pipeline, settings, training
from ..artifacts import bundles, cards
from ..backend import keras
from ..datasets.storage import to_float
from ..defenses import autoencoder
from ..pipeline import Run
from .comparison import active_channels

KINDS = ("fgsm", "pgd")
"""The attacked images that it is trained on (the paper, section 2)."""


def make(run: Run, seed: int) -> dict:
    """Train the autoencoder of this seed, measure it on validation images and ship it with its card.

    Args:
        run: Gives the attacked training images; the images of its validation split are held out.
        seed: Decides the first weights and the order of the images.

    Returns:
        The card. ``validation`` has the mean squared errors on clean and attacked validation images,
        ``active_channels`` the number of channels of the bottleneck that are active on them.
    """
    settings.check_seed(seed)
    n, profile = min(len(run.data.train), run.profile.n_train), run.profile
    config = {
        **run.config(autoencoder, training),
        "autoencoder_seed": seed,
        "n": n,
        "epochs": profile.ae_epochs,
        "batch": profile.ae_batch,
        "rates": profile.ae_rates,
    }

    def train(path: Path) -> None:
        keras.utils.set_random_seed(seed)
        model, clean = autoencoder.build_autoencoder(), pipeline.inputs(run, "train", "regular")[:n]
        samples = training.Samples([pipeline.inputs(run, "train", kind)[:n] for kind in KINDS], clean)
        history = training.train_autoencoder(
            model,
            samples,
            epochs=profile.ae_epochs,
            batch_size=profile.ae_batch,
            rates=profile.ae_rates,
            seed=seed,
            folder=artifacts.checkpoints("autoencoder_seeds", config),
        )
        bundles.save(path, history, model.get_weights())

    made = bundles.load(artifacts.make("autoencoder_seeds", config, ".npz", train).path)
    model, target = autoencoder.build_autoencoder(), file_of(run, seed)
    model.set_weights(made.weights)
    classifiers.save_weights(model, target)
    return cards.write(
        target,
        None,
        part="autoencoder_seed",
        model=run.model,
        profile=profile.name,
        seed=run.seed,
        autoencoder_seed=seed,
        eps=run.eps,
        trained_on=n,
        data=run.data.provenance,
        initial_sha256=classifiers.weights_sha256(run.classifier),
        weights_sha256=classifiers.weights_sha256(model),
        **validated(run, model),
        history=made.history,
    )


def file_of(run: Run, seed: int) -> Path:
    """Return where the autoencoder of a seed is shipped."""
    return settings.WEIGHTS / run.data.name / "seeds" / f"{run.model}_ae_{seed}.h5"


def validated(run: Run, model: keras.Model) -> dict:
    """Return the errors on validation images, and how many channels of the bottleneck are active on them."""
    clean = to_float(run.data.validation.pixels)
    labels = run.data.validation.labels
    target = pipeline.for_attack(run.classifier)
    attacked = {kind: pipeline.attack(target, clean, labels, kind, run.eps, run.seed) for kind in KINDS}
    errors = {
        kind: float(np.mean((evaluation.predict(model, images) - clean) ** 2))
        for kind, images in {"regular": clean, **attacked}.items()
    }
    loss = float(np.mean([errors[kind] for kind in KINDS]))
    return {
        "validation": {"n": len(clean), "loss": loss, "errors": errors},
        "active_channels": active_channels(model, clean)[0],
    }
