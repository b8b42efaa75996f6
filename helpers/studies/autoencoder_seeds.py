"""How much the paper's autoencoder varies with its seed, and which of several seeds is shipped.

    run = pipeline.start("cifar10", "resnet20", "full")
    card = make(run, 3)                          # trains it and puts it into weights/<dataset>/seeds/
    table(cards_of("cifar10", "resnet20"))       # active channels and validation losses; the median is marked

All seeds share the attacked images of the run; the seed determines the initial weights and the order of the
images. Validation images are held out. The rule was fixed before any training: the course ships the seed with
the median validation loss.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .. import artifacts, classifiers, evaluation, pipeline, settings, training
from ..artifacts import bundles, cards
from ..backend import keras
from ..datasets.storage import to_float
from ..defenses import autoencoder
from ..pipeline import Protocol, Run
from ..settings import CourseError

KINDS = ("fgsm", "pgd")
"""The attacked images that it is validated on (the paper, section 2)."""


RECIPES = {
    "paper": (Protocol(), None),
    "released": (Protocol(autoencoder_sees_clean=True, plateau=True), 64),
}
"""By name, the switches of the protocol and the batch size (None: the profile's): the paper's text, and its
released code."""


def recipe_of(name: str) -> tuple[Protocol, int | None]:
    """Return a recipe (RECIPES).

    Raises:
        CourseError: there is none of that name.
    """
    if name not in RECIPES:
        raise CourseError(f"unknown recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def make(run: Run, seed: int, recipe: str = "paper") -> dict:
    """Train the autoencoder of this seed, measure it on validation images and ship it with its card.

    Args:
        run: Provides the attacked training images; its validation split is held out.
        seed: Determines the initial weights and the order of the images.
        recipe: A key of RECIPES.

    Returns:
        The card. ``validation`` has the errors on validation images, ``active_channels`` how many are active.
    """
    settings.check_seed(seed)
    n, profile = min(len(run.data.train), run.profile.n_train), run.profile
    protocol, batch = recipe_of(recipe)[0], recipe_of(recipe)[1] or profile.ae_batch
    config = {
        **run.config(autoencoder, training),
        "autoencoder_seed": seed,
        "n": n,
        "epochs": profile.ae_epochs,
        "rates": profile.ae_rates,
        "batch": batch,
        "recipe": protocol.changes(),
    }

    def train(path: Path) -> None:
        keras.utils.set_random_seed(seed)
        model = autoencoder.build_autoencoder()
        history = training.train_autoencoder(
            model,
            _samples(run, protocol, n),
            epochs=profile.ae_epochs,
            batch_size=batch,
            rates=profile.ae_rates,
            plateau=protocol.plateau,
            seed=seed,
            folder=artifacts.checkpoints("autoencoder_seeds", config),
        )
        bundles.save(path, history, model.get_weights())

    made = bundles.load(artifacts.make("autoencoder_seeds", config, ".npz", train).path)
    model, file = autoencoder.build_autoencoder(), file_of(run.data.name, run.model, seed, recipe)
    model.set_weights(made.weights)
    classifiers.save_weights(model, file)
    return cards.write(
        file,
        None,
        part="autoencoder_seed",
        model=run.model,
        profile=profile.name,
        seed=run.seed,
        autoencoder_seed=seed,
        recipe={"name": recipe, "epochs": profile.ae_epochs, "batch": batch, **protocol.changes()},
        eps=run.eps,
        trained_on=n,
        data=run.data.provenance,
        initial_sha256=classifiers.weights_sha256(run.classifier),
        weights_sha256=classifiers.weights_sha256(model),
        **validated(run, model),
        history=made.history,
    )


def _samples(run: Run, protocol: Protocol, n: int) -> training.Samples:
    """Return the protocol's sources of the first n training images, with the clean images as targets."""
    kinds = pipeline.SOURCES if protocol.autoencoder_sees_clean else KINDS
    sources = [pipeline.inputs(run, "train", kind)[:n] for kind in kinds]
    return training.Samples(sources, pipeline.inputs(run, "train", "regular")[:n])


def file_of(dataset: str, model: str, seed: int, recipe: str = "paper") -> Path:
    """Return the path of the shipped autoencoder of a seed."""
    middle = "ae" if recipe == "paper" else f"ae_{recipe}"
    return settings.WEIGHTS / dataset / "seeds" / f"{model}_{middle}_{seed}.h5"


def cards_of(dataset: str, model: str, recipe: str = "paper") -> dict[int, dict]:
    """Return the cards of the shipped autoencoders of a network, by seed."""
    files = file_of(dataset, model, 0, recipe).parent.glob(f"{model}_ae*.json")
    found = [cards.read_alone(file.with_suffix(".h5")) for file in files]
    # The first cards, of the paper's recipe, do not name it.
    own = [card for card in found if card.get("recipe", {"name": "paper"})["name"] == recipe]
    return {card["autoencoder_seed"]: card for card in sorted(own, key=lambda c: c["autoencoder_seed"])}


def chosen(cards: dict[int, dict]) -> int:
    """Return the seed with the median validation loss; of an even number, the lower of the middle two.

    Raises:
        CourseError: there are no cards.
    """
    if not cards:
        raise CourseError(
            "no autoencoder of another seed is shipped; train some: python -m helpers seeds 0 1 2"
        )
    ranked = sorted(cards, key=lambda seed: (cards[seed]["validation"]["loss"], seed))
    return ranked[(len(ranked) - 1) // 2]


def table(cards: dict[int, dict]) -> pd.DataFrame:
    """Tabulate the autoencoders by seed: active channels, validation loss, errors, and which is chosen."""
    median = chosen(cards)
    rows = {
        seed: {
            "active channels": card["active_channels"],
            "validation loss": round(card["validation"]["loss"], 6),
            **{f"error, {kind}": round(error, 6) for kind, error in card["validation"]["errors"].items()},
            "": "median" if seed == median else "",
        }
        for seed, card in cards.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("seed")


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
        "active_channels": pipeline.active_channels(model, clean)[0],
    }
