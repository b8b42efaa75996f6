"""The course's robust models: how each is trained, shipped and loaded (notebook 07).

    run = pipeline.start(profile="quick")
    make(run, "single_step")                                     # trains it and puts it into weights/
    model, autoencoder, card = network(run, "single_step")       # loads it

Training begins with the run's initial classifier and uses the whole training split, unless the recipe says
otherwise. Validation images decide what is kept; test images are never used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from .. import artifacts, attacks, classifiers, defenses, pipeline, settings, training
from ..artifacts import bundles, cards, provenance
from ..attacks import losses
from ..backend import devices, keras
from ..classifiers import efficientnet
from ..datasets import Split
from ..defenses import autoencoder as autoencoders
from ..defenses import smoothing
from ..pipeline import Run
from ..settings import CourseError
from ..training import AdversarialRecipe, DenoiserRecipe, NoiseRecipe, Pair, Recipe, Samples

RECIPES: dict[str, AdversarialRecipe | NoiseRecipe] = {
    "single_step": AdversarialRecipe(
        "single-step adversarial training",
        "de Jorge et al. 2022, Make some noise (N-FGSM)",
        steps=1,
        step_size=6 / 255,
        epochs=30,
        noise=1.5,
        projected=False,
    ),
    "madry": AdversarialRecipe(
        "PGD adversarial training",
        "Madry et al. 2018, Towards deep learning models resistant to adversarial attacks",
        steps=7,
        step_size=2 / 255,
        epochs=8,
    ),
    "joint": AdversarialRecipe(
        "autoencoder and classifier trained together",
        "the paper's pipeline, trained as de Jorge et al. 2022 train a classifier",
        steps=1,
        step_size=6 / 255,
        epochs=20,
        noise=1.5,
        projected=False,
        with_autoencoder=True,
    ),
    "few_images": AdversarialRecipe(
        "single-step adversarial training on 2,000 images",
        "Rice, Wong & Kolter 2020, Overfitting in adversarially robust deep learning",
        steps=1,
        step_size=6 / 255,
        epochs=40,
        noise=1.5,
        projected=False,
        images=2000,
    ),
    "collapsing": AdversarialRecipe(
        "single-step adversarial training from a start within the budget",
        "Wong, Rice & Kolter 2020, Fast is better than free",
        steps=1,
        step_size=10 / 255,
        epochs=10,
    ),
    "noise_25": NoiseRecipe(
        "trained on noise, sigma 0.25",
        "Cohen et al. 2019, Certified adversarial robustness",
        0.25,
        epochs=12,
        rate=0.05,
    ),
    "noise_50": NoiseRecipe(
        "trained on noise, sigma 0.5",
        "Cohen et al. 2019, Certified adversarial robustness",
        0.5,
        epochs=12,
        rate=0.05,
    ),
    "denoiser_25": DenoiserRecipe(
        "autoencoder as denoiser, sigma 0.25",
        "Salman et al. 2020, Denoised smoothing",
        0.25,
        epochs=12,
        rate=3e-3,
        stability_epochs=6,
    ),
}
"""The recipes by name.

N-FGSM uses noise of twice eps and a step of eps. Here both are three quarters of that: on validation images,
the full size cost some points of clean accuracy and gained none in the worst case.
"""

FAILURES = ("few_images", "collapsing")
"""The recipes that show how adversarial training fails; they leave a history and no weights."""

WATCHED = 500
"""The number of validation images that are attacked, or made noisy, after every epoch."""


def make(run: Run, name: str) -> dict:
    """Train a network and ship it in weights/; resume where an earlier call was stopped.

    Args:
        run: Provides data, initial classifier, budget and seed; ``joint`` begins with its autoencoder.
        name: A key of RECIPES.

    Returns:
        The card.

    Raises:
        CourseError: There is no such recipe.
    """
    recipe = recipe_of(name)
    devices.check_one(f"training {name}")  # its attack or noise is drawn for a whole batch
    autoencoder = recipe.begin(partial(_autoencoder_of, run), run.seed)
    chosen = run.data.train.head(recipe.images or len(run.data.train))
    config = _configuration(run, recipe, autoencoder, len(chosen))

    def train(path: Path) -> None:
        keras.utils.set_random_seed(run.seed)
        networks = Pair(classifiers.clone(run.classifier, config["precision"]), autoencoder)
        history = recipe.train(
            networks,
            Samples([chosen.pixels], chosen.labels),
            eps=run.eps,
            seed=run.seed,
            folder=artifacts.checkpoints("hardened", config),
            on_epoch_end=_after_each_epoch(run, recipe, networks, chosen),
        )
        weights = {name: model.get_weights() for name, model in _parts(networks).items()}
        bundles.save(path, history, weights)

    made = bundles.load(artifacts.make("hardened", config, ".npz", train).path)
    networks = Pair(classifiers.clone(run.classifier), defenses.build_autoencoder() if autoencoder else None)
    for part, model in _parts(networks).items():
        model.set_weights(made.networks[part])
    return _ship(run, name, recipe, networks, config, made.history)


def _configuration(run: Run, recipe: Recipe, autoencoder: keras.Model | None, images: int) -> dict:
    """Return everything that a training depends on."""
    config = {
        "data": run.data.sha256,
        "model": run.model,
        "initial": classifiers.weights_sha256(run.classifier),
        "autoencoder": classifiers.weights_sha256(autoencoder) if autoencoder else None,
        "recipe": asdict(recipe),
        "eps": run.eps if recipe.attacks else None,
        "seed": run.seed,
        "n": images,
        "precision": settings.training_precision(),
        "watched": WATCHED,
        **pipeline.unusual_steps(run.eps),  # of the PGD that chooses the epoch
        "code": artifacts.code_version(
            training, attacks, losses, classifiers, efficientnet, smoothing, autoencoders
        ),
    }
    if autoencoder and recipe.attacks and run.networks != "shipped":
        config["autoencoder_profile"] = run.profile.name
    return config


def _autoencoder_of(run: Run) -> keras.Model:
    """Return a copy of the run's autoencoder."""
    copy = defenses.build_autoencoder()
    copy.set_weights(pipeline.autoencoder(run)[0].get_weights())
    return copy


def _after_each_epoch(
    run: Run, recipe: Recipe, networks: Pair, chosen: Split
) -> Callable[[], dict[str, float]]:
    """Return the function that measures the networks on validation images and on some training images."""
    assessed = classifiers.clone(networks.classifier)  # one float32 copy, so the attack is traced once
    model = _defended(Pair(assessed, networks.autoencoder))
    held_out, trained_on = run.data.validation.head(WATCHED).take(), chosen.head(WATCHED // 2).take()

    def measure() -> dict[str, float]:
        assessed.set_weights(networks.classifier.get_weights())
        return recipe.on_epoch_end(model, held_out, trained_on, eps=run.eps, seed=run.seed)

    return measure


def _defended(networks: Pair) -> keras.Model:
    if networks.autoencoder is None:
        return networks.classifier
    return defenses.defended(networks.autoencoder, networks.classifier)


def _parts(networks: Pair) -> dict[str, keras.Model]:
    parts = {"classifier": networks.classifier, "autoencoder": networks.autoencoder}
    return {name: model for name, model in parts.items() if model}


def _ship(
    run: Run,
    name: str,
    recipe: AdversarialRecipe | NoiseRecipe,
    networks: Pair,
    config: dict,
    history: list[dict],
) -> dict:
    """Write the card and, unless the recipe shows a failure, the weights; return the card."""
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}")
    fields, parameters = {}, None
    if epoch := recipe.kept_epoch(history):
        fields["kept_epoch"] = epoch
    if name not in FAILURES:
        classifiers.save_weights(classifiers.network_of(networks.classifier), file)
        parameters = sum(map(classifiers.parameter_count, _parts(networks).values()))
        fields["weights_sha256"] = classifiers.weights_sha256(networks.classifier)
        if networks.autoencoder:
            beside = _autoencoder_file(file)
            classifiers.save_weights(networks.autoencoder, beside)
            fields["autoencoder_sha256"] = provenance.sha256_of(beside)
    return cards.write(
        file,
        parameters,
        part=name,
        title=recipe.title,
        source=recipe.source,
        **{**config, "data": run.data.provenance},
        initial_sha256=config["initial"],
        # By the median, so that an epoch during which the machine slept does not count as training.
        minutes=round(len(history) * float(np.median([record["seconds"] for record in history])) / 60, 1),
        **fields,
        history=history,
    )


def _autoencoder_file(file: Path) -> Path:
    """Return the file of the autoencoder whose classifier is in ``file``."""
    return file.with_name(f"{file.stem}_ae.h5")


def network(run: Run, name: str) -> tuple[keras.Model, keras.Model | None, dict]:
    """Load a network that the course ships.

    Returns:
        The model to assess (a classifier, perhaps behind an autoencoder), the autoencoder (None for a
        classifier alone), and the card.

    Raises:
        CourseError: There is no such recipe, or the weights are missing, damaged, or made for another initial
            classifier.
    """
    recipe_of(name)
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}")
    if name in FAILURES:
        raise CourseError(f"{name} only shows how training fails; its history is in card(run, {name!r})")
    initial = classifiers.weights_sha256(run.classifier)
    about = cards.read(file, {"initial_sha256": initial}, f"train it: {command(run, name)}")
    classifier = classifiers.clone(run.classifier)
    classifiers.load_weights(classifier, file)
    if "autoencoder_sha256" not in about:
        return classifier, None, about
    autoencoder, beside = defenses.build_autoencoder(), _autoencoder_file(file)
    if not beside.is_file() or provenance.sha256_of(beside) != about["autoencoder_sha256"]:
        raise CourseError(
            f"weights/{run.data.name}/{beside.name} is missing or damaged (git checkout weights)"
        )
    classifiers.load_into(autoencoder, beside, "the autoencoder")
    return defenses.defended(autoencoder, classifier), autoencoder, about


def command(run: Run, name: str) -> str:
    """Return the command that trains and ships a recipe for the run's network and data."""
    return f"python -m helpers robust {name} --dataset {run.data.name} --model {run.model}"


def card(run: Run, name: str) -> dict:
    """Return the card of a training, which exists even if no weights are shipped.

    It has the recipe, the minutes, and a ``history`` with a record for each epoch: loss, seconds, accuracies
    on validation images (``clean``, ``pgd``, or ``noisy``), and ``training_pgd`` on training images.

    Raises:
        CourseError: There is no such recipe, or it has no card.
    """
    recipe_of(name)
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}")
    return cards.read(file, remedy=f"train it: {command(run, name)}", check_file=False)


def recorded(run: Run, name: str) -> bool:
    """Return whether there is a card of this training, started from the run's initial classifier."""
    recipe_of(name)
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}")
    return cards.status(file, {"initial_sha256": classifiers.weights_sha256(run.classifier)}).is_shipped


def shipped(run: Run) -> list[str]:
    """Return the recipes whose networks the course ships for the run's initial classifier."""
    return [name for name in RECIPES if name not in FAILURES and recorded(run, name)]


def recipe_of(name: str) -> AdversarialRecipe | NoiseRecipe:
    """Return the recipe with this name.

    Raises:
        CourseError: There is none.
    """
    if name not in RECIPES:
        raise CourseError(f"unknown recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
