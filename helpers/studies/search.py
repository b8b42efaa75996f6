"""The search for the autoencoder (notebook 03): every architecture trained alike, shipped and measured; comparison
compares them.

    run = pipeline.start(profile="quick")
    make(run, "d2_c16")                          # trains it and puts it into weights/<dataset>/search/
    model = network(run, "d2_c16")               # loads it
    records = [answers.record() for answers in assessed(run, "d2_c16", model).values()]

Targets are the paper's: images attacked once, against the initial classifier, and as they are, back to the originals.
Choices are made by validation images (a card's ``validation``); test images only report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Unpack

import numpy as np

from .. import artifacts, attacks, classifiers, datasets, evaluation, pipeline, settings, training
from ..artifacts import bundles, cards
from ..attacks import STEPS, adaptive
from ..backend import devices, keras
from ..datasets.storage import to_float
from ..defenses import architectures, autoencoder, codebook
from ..defenses.architectures import ARCHITECTURES, Architecture, architecture_of
from ..pipeline import SOURCES, Answers, Run
from ..settings import CourseError


@dataclass(frozen=True)
class SearchRecipe(training.Recipe):
    """How every architecture of the search is trained: with Adam, on clean, FGSM and PGD images.

    The attacks are aimed at the initial classifier (transfer attacks).

    Attributes:
        images: How many training images are used; each epoch shows each of them in three forms.
        epochs: Far fewer than the paper's 100, with smaller batches.
        batch_size: The images in one step.
        rates: The first and the last learning rate.
        validated: On how many validation images the trained network is measured, clean and under transfer attacks.
        attacked: How many of these are also attacked end-to-end.
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
"""The recipe of the few networks that a notebook trains when too few are shipped; it only shows that all of it runs."""

FEW = ("d2_c2", "paper", "vq_vae", "blur")
"""The architectures of a smoke run, and of any run when too few are shipped."""

ADAPTIVE = {
    "pgd": "PGD through autoencoder and classifier",
    "bpda": "the same, the autoencoder's gradient replaced by the identity's",
}
"""The end-to-end attacks, by the name that records use."""


# ---------------------------------------------------------------------------------------------------------- networks


def trained(run: Run, name: str, recipe: SearchRecipe = RECIPE) -> tuple[keras.Model, list[dict]]:
    """An architecture trained by the recipe, and its history; from the artifact store if it is there.

    Attacked images are shared by all architectures. Training goes on where it was stopped.

    Raises:
        CourseError: there is no such architecture.
    """
    architecture = architecture_of(name)
    devices.check_one(f"training {name}")  # a codebook follows the whole batch
    if not architecture.trained:
        return architecture.build(), []
    run = on_recipe(run, recipe)
    config = {
        **run.config(autoencoder, architectures, codebook, training),
        "architecture": name,
        "n": run.profile.n_train,
        "epochs": recipe.epochs,
        "batch": recipe.batch_size,
        "rates": recipe.rates,
    }

    def train(path: Path) -> None:
        model, history = fitted(run, architecture, recipe, artifacts.checkpoints("search", config))
        bundles.save(path, history, model.get_weights())

    model, made = architecture.build(), bundles.load(artifacts.make("search", config, ".npz", train).path)
    model.set_weights(made.weights)
    return model, made.history


def fitted(
    run: Run, architecture: Architecture, recipe: SearchRecipe, folder: Path
) -> tuple[keras.Model, list[dict]]:
    """An architecture trained by the recipe, here and now, and its history; checkpoints go into the folder."""
    model, run = recipe.begin(architecture.build, run.seed), on_recipe(run, recipe)
    sources = [pipeline.inputs(run, "train", kind) for kind in SOURCES]
    samples = training.Samples(sources, pipeline.inputs(run, "train", "regular"))
    networks = training.Pair(run.classifier, model)
    return model, recipe.train(networks, samples, eps=run.eps, seed=run.seed, folder=folder)


def on_recipe(run: Run, recipe: SearchRecipe) -> Run:
    """The same run with the recipe's numbers of images; never so many that validation images are trained on."""
    n = min(recipe.images, len(run.data.train))
    validated = min(recipe.validated, len(run.data.validation))
    return replace(run, profile=replace(run.profile, n_train=n, n_validation=validated))


def make(run: Run, name: str, recipe: SearchRecipe = RECIPE) -> dict:
    """Train an architecture, measure it on validation images and ship it: weights and card into
    weights/<dataset>/search/.

    Returns:
        The card.

    Raises:
        CourseError: there is no such architecture, or it has nothing to train.
    """
    architecture = architecture_of(name)
    if not architecture.trained:
        raise CourseError(f"{name} has nothing to train; it is measured as it is")
    model, history = trained(run, name, recipe)
    file = file_of(run, name)
    classifiers.save_weights(model, file)
    known = about(run, name, model, recipe)
    return cards.write(
        file,
        known.pop("parameters"),
        **known,
        part="search",
        model=run.model,
        recipe=asdict(recipe),
        trained_on=on_recipe(run, recipe).profile.n_train,
        eps=run.eps,
        seed=run.seed,
        data=run.data.provenance,
        initial_sha256=classifiers.weights_sha256(run.classifier),
        weights_sha256=classifiers.weights_sha256(model),
        minutes=round(sum(record["seconds"] for record in history) / 60, 1),
        history=history,
    )


def file_of(run: Run, name: str) -> Path:
    """Where an architecture's weights are shipped; the card lies beside them, ending in .json."""
    return settings.WEIGHTS / run.data.name / "search" / f"{run.model}_{name}.h5"


def network(run: Run, name: str) -> keras.Model:
    """An architecture with the weights that the course ships (make); one that learns nothing, as it is.

    Raises:
        CourseError: there is no such architecture; its weights are not there, damaged, or of another initial
            classifier.
    """
    architecture = architecture_of(name)
    model = architecture.build()
    if architecture.trained:
        card(run, name)
        model.load_weights(str(file_of(run, name)))
    return model


def card(run: Run, name: str) -> dict:
    """The card of a shipped architecture (make), whose weights are held to it.

    Raises:
        CourseError: as network.
    """
    architecture_of(name)
    command = f"python -m helpers search {name} --dataset {run.data.name} --model {run.model}"
    initial = classifiers.weights_sha256(run.classifier)
    return cards.read(file_of(run, name), {"initial_sha256": initial}, f"train it: {command}")


def available(run: Run) -> list[str]:
    """The architectures that are there without training: those shipped for this run's initial classifier, seed and
    budget that were trained by RECIPE, and those that learn nothing."""
    ours = {
        "initial_sha256": classifiers.weights_sha256(run.classifier),
        "seed": run.seed,
        "eps": run.eps,
        "recipe": asdict(RECIPE),
    }
    return [
        name
        for name, architecture in ARCHITECTURES.items()
        if not architecture.trained or cards.status(file_of(run, name), ours).is_shipped
    ]


def is_shipped(run: Run) -> bool:
    """Whether the course ships enough to compare: all of FEW that learn. One or two of a search that was interrupted
    would leave nothing to compare them with."""
    return {name for name in _few() if ARCHITECTURES[name].trained} <= set(available(run))


def _few() -> list[str]:
    return [name for name in FEW if name in ARCHITECTURES]


@dataclass(frozen=True, eq=False)
class Candidate:
    """An autoencoder of the search, ready to be measured.

    Attributes:
        model: the autoencoder.
        card: what is known of it from training and validation images (about, make).
    """

    model: keras.Model
    card: dict


def candidates(run: Run) -> dict[str, Candidate]:
    """What notebook 03 compares, by name: all that are shipped for this run; in a smoke run those of FEW. Where not
    enough are shipped (is_shipped), all of FEW are trained here, by LIVE: what RECIPE trained is not mixed in.

    What has nothing to train is measured here, on as many validation images as the others were, or in a smoke run on
    LIVE's.
    """
    shipped = is_shipped(run)
    names = available(run) if shipped else _few()
    if run.profile.name == "smoke":
        names = [name for name in names if name in FEW]
    recipe, found = RECIPE if shipped and run.profile.name != "smoke" else LIVE, {}
    for name in names:
        if shipped and ARCHITECTURES[name].trained:
            found[name] = Candidate(network(run, name), card(run, name))
        else:
            model, history = trained(run, name, recipe)
            found[name] = Candidate(model, {**about(run, name, model, recipe), "history": history})
    return found


def tryout(run: Run) -> Run:
    """The same run on as few test images as a smoke run's: for autoencoders that LIVE trained, of which many images
    would tell no more."""
    few = settings.PROFILES["smoke"]
    n_test, n_sweep = min(run.profile.n_test, few.n_test), min(run.profile.n_sweep, few.n_sweep)
    return replace(run, profile=replace(run.profile, n_test=n_test, n_sweep=n_sweep))


# -------------------------------------------------------------------------------------------------------- measuring


def about(run: Run, name: str, model: keras.Model, recipe: SearchRecipe = RECIPE) -> dict:
    """What is known of an autoencoder without test images.

    Returns:
        name, title, latent, depth, parameters; ``mse`` by input (regular, fgsm, pgd): the mean squared error between
        what it makes of validation images and the originals; ``validation``: how the initial classifier fares behind it
        (evaluation.proportion), as they are, under static attacks, and under PGD through both (``adaptive``).
    """
    architecture, held_out = architecture_of(name), on_recipe(run, recipe)
    labels = held_out.split("validation").labels
    clean = to_float(pipeline.inputs(held_out, "validation", "regular"))
    defended, mse, scores = autoencoder.defended(model, run.classifier), {}, {}
    for kind in SOURCES:
        images = pipeline.inputs(held_out, "validation", kind)
        mse[kind] = float(np.mean((evaluation.predict(model, images) - clean) ** 2))
        scores[kind] = evaluation.proportion(evaluation.is_correct(defended, images, labels))
    few, config = held_out.data.validation.head(recipe.attacked), _config(held_out, name, model)
    correct = artifacts.make_json(
        "search_attacks",
        {**config, "attack": "pgd", "split": "validation", "n": len(few)},
        partial(_attacked, run, model, few, "pgd"),
    )
    scores["adaptive"] = evaluation.proportion(np.array(correct, bool))
    return {
        "name": name,
        "title": architecture.title,
        "latent": architecture.latent,
        "depth": architecture.depth,
        "parameters": classifiers.parameter_count(model),
        "mse": mse,
        "validation": scores,
    }


def assessed(
    run: Run, name: str, model: keras.Model, attacks_through: tuple[str, ...] = ("pgd",)
) -> dict[str, Answers]:
    """The initial classifier's answers behind an autoencoder, on test images.

    Args:
        name: the records' defense is ``ae:<name>``.
        attacks_through: names in ADAPTIVE; on the profile's n_sweep images, the others on n_test.

    Returns:
        By name: regular, fgsm and pgd are static, ``adaptive`` is PGD through both, ``bpda`` as ADAPTIVE has it.

    Raises:
        CourseError: there is no such attack.
    """
    if unknown := set(attacks_through) - set(ADAPTIVE):
        raise CourseError(f"unknown attack {', '.join(sorted(unknown))}; choose from {', '.join(ADAPTIVE)}")
    config = _config(run, name, model)
    labels, defended = run.split("test").labels, autoencoder.defended(model, run.classifier)
    found = {}
    for kind in SOURCES:
        images = pipeline.inputs(run, "test", kind)
        correct = artifacts.make_json(
            "search_static",
            {**config, "input": kind, "n": len(labels)},
            lambda images=images: [int(right) for right in evaluation.is_correct(defended, images, labels)],
        )
        found[kind] = Answers(_fields(run, name, kind, "static"), np.array(correct, bool))
    few = run.data.test.head(run.profile.n_sweep)
    for kind in attacks_through:
        correct = artifacts.make_json(
            "search_attacks",
            {**config, "attack": kind, "split": "test", "n": len(few)},
            partial(_attacked, run, model, few, kind),
        )
        key = "adaptive" if kind == "pgd" else kind
        found[key] = Answers(_fields(run, name, kind, "adaptive"), np.array(correct, bool))
    return found


def _config(run: Run, name: str, model: keras.Model) -> dict:
    # By name as well as by weights: a blur has none.
    return {
        **run.config(autoencoder, architectures, codebook, adaptive, evaluation),
        "architecture": name,
        "assessed": classifiers.weights_sha256(model),
    }


def _attacked(run: Run, model: keras.Model, chosen: datasets.Split, kind: str) -> list[int]:
    """Which images the initial classifier still names behind the autoencoder after an attack through both."""
    images, labels = chosen.take()
    aimed = end_to_end(model, pipeline.for_attack(run.classifier), kind)
    moved = pipeline.attack(aimed, images, labels, "pgd", run.eps, run.seed)
    correct = evaluation.is_correct(autoencoder.defended(model, run.classifier), moved, labels)
    return [int(right) for right in correct]


@lru_cache(maxsize=64)
def end_to_end(model: keras.Model, classifier: keras.Model, kind: str = "pgd") -> attacks.Model:
    """What an attacker aims at who knows the autoencoder: images to logits. The same each time, so that its graph is
    traced once.

    Args:
        kind: ``pgd`` differentiates through both (and through a codebook straight through, as it is built); ``bpda``
            takes the autoencoder's gradient for the identity's (Athalye et al. 2018).
    """
    if kind == "bpda":
        return adaptive.straight_through(lambda images: model(images, training=False), then=classifier)
    return autoencoder.defended(model, classifier)


def _fields(run: Run, name: str, kind: str, threat: str) -> dict:
    return {
        "dataset": run.data.name,
        "profile": run.profile.name,
        "model": run.model,
        "stage": "initial",
        "defense": f"ae:{name}",
        "input": kind,
        "threat": threat,
        "eps": 0.0 if kind == "regular" else run.eps,
        "steps": {"regular": 0, "fgsm": 1}.get(kind, STEPS),
        "seed": run.seed,
    }
