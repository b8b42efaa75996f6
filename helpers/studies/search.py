"""The search for the autoencoder (notebooks 03, 03b): all architectures are trained and measured alike.

    run = pipeline.start(profile="quick")
    make(run, "d2_c16")                          # trains it and puts it into weights/<dataset>/search/
    model = network(run, "d2_c16")               # loads it
    records = [answers.record() for answers in assessed(run, "d2_c16", model).values()]

Each is trained to restore the originals from clean images and from images attacked once, with the initial
classifier as target. Choices use only validation images (a card's ``validation``); test images are used only
for the report. The module comparison compares the architectures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from .. import artifacts, attacks, classifiers, datasets, evaluation, pipeline, settings, training
from ..artifacts import bundles, cards
from ..attacks import STEPS, adaptive
from ..backend import devices, keras
from ..datasets.storage import to_float
from ..defenses import architectures, autoencoder, codebook
from ..defenses.architectures import ARCHITECTURES, Architecture, architecture_of
from ..evaluation import accuracy
from ..pipeline import SOURCES, Answers, Run
from ..settings import CourseError
from .search_recipe import LIVE, RECIPE, SearchRecipe, on_recipe

FEW = ("d2_c2", "paper", "vq_vae", "blur")
"""The architectures of a smoke run, and of any run when too few are shipped."""

ADAPTIVE = {
    "pgd": "PGD through autoencoder and classifier",
    "bpda": "the same, the autoencoder's gradient replaced by the identity's",
}
"""The end-to-end attacks, by the name that records use."""


# ----------------------------------------------------------------------------------------------------------
# networks


def trained(run: Run, name: str, recipe: SearchRecipe = RECIPE) -> tuple[keras.Model, list[dict]]:
    """Return an architecture trained by the recipe, and its history; train it if the store does not have it.

    All architectures share the attacked images. Training resumes where it was stopped.

    Raises:
        CourseError: There is no such architecture.
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
        if told := pipeline.channels_told(model, run.data.validation):
            settings.note(f"{name}: {told}")

    model, made = architecture.build(), bundles.load(artifacts.make("search", config, ".npz", train).path)
    model.set_weights(made.weights)
    return model, made.history


def fitted(
    run: Run, architecture: Architecture, recipe: SearchRecipe, folder: Path
) -> tuple[keras.Model, list[dict]]:
    """Train an architecture now, with checkpoints in the folder, and return it with its history."""
    model, run = recipe.begin(architecture.build, run.seed), on_recipe(run, recipe)
    sources = [pipeline.inputs(run, "train", kind) for kind in SOURCES]
    samples = training.Samples(sources, pipeline.inputs(run, "train", "regular"))
    networks = training.Pair(run.classifier, model)
    return model, recipe.train(networks, samples, eps=run.eps, seed=run.seed, folder=folder)


def make(run: Run, name: str, recipe: SearchRecipe = RECIPE) -> dict:
    """Train an architecture, measure it on validation images, and ship it in weights/<dataset>/search/.

    Returns:
        The card.

    Raises:
        CourseError: There is no such architecture, or it has nothing to train.
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
    """Return the path of an architecture's shipped weights, of the run's seed."""
    return path_of(run.data.name, run.model, name, run.seed)


def path_of(dataset: str, model: str, name: str, seed: int = 0) -> Path:
    """Return the path of an architecture's shipped weights. Seeds other than 0 are in the file's name."""
    other = f"_seed{seed}" if seed else ""
    return settings.WEIGHTS / dataset / "search" / f"{model}_{name}{other}.h5"


def network(run: Run, name: str) -> keras.Model:
    """Return an architecture with its shipped weights, if it has any weights.

    Raises:
        CourseError: There is no such architecture, or its weights are missing, damaged, or made for another
            initial classifier.
    """
    architecture = architecture_of(name)
    model = architecture.build()
    if architecture.trained:
        card(run, name)
        classifiers.load_into(model, file_of(run, name), name)
    return model


def card(run: Run, name: str) -> dict:
    """Return the card of a shipped architecture after checking the weights against it.

    Raises:
        CourseError: As for network.
    """
    architecture_of(name)
    command = f"python -m helpers search {name} --dataset {run.data.name} --model {run.model}"
    command += f" --seed {run.seed}" if run.seed else ""
    initial = classifiers.weights_sha256(run.classifier)
    return cards.read(file_of(run, name), {"initial_sha256": initial}, f"train it: {command}")


def available(run: Run) -> list[str]:
    """Return the architectures that need no training here.

    These are the ones that RECIPE trained and the course ships for this run's initial classifier, seed and
    budget, and the ones without weights.
    """
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


def is_shipped(run: Run, few: Sequence[str] = ()) -> bool:
    """Return whether the course ships enough architectures to compare: all that learn of ``few`` (FEW)."""
    return {name for name in _known(few or FEW) if ARCHITECTURES[name].trained} <= set(available(run))


def _known(names: Sequence[str]) -> list[str]:
    return [name for name in names if name in ARCHITECTURES]


@dataclass(frozen=True, eq=False)
class Candidate:
    """An autoencoder of the search, ready to be measured.

    Attributes:
        model: The autoencoder.
        card: Its training and its results on validation images (about, make).
    """

    model: keras.Model
    card: dict


def candidates(run: Run, among: Sequence[str] = (), few: Sequence[str] = ()) -> dict[str, Candidate]:
    """Return the autoencoders that notebooks 03 and 03b compare, by name.

    These are the architectures shipped for this run, or only ``few`` of them in a smoke run. If too few are
    shipped (is_shipped), ``few`` are trained here by LIVE, so that the two recipes never mix. Architectures
    without weights are measured here on as many validation images as the others.

    Args:
        run: The run, whose seed is the networks' as well.
        among: The architectures to choose from; all if empty.
        few: The architectures of a smoke run, and of any run when too few are shipped; FEW if empty.
    """
    shipped, few = is_shipped(run, few), _known(few or FEW)
    names = [name for name in available(run) if not among or name in among] if shipped else few
    if run.profile.name == "smoke":
        names = [name for name in names if name in few]
    recipe, found = recipe_of(run, shipped), {}
    for name in names:
        if shipped and ARCHITECTURES[name].trained:
            found[name] = Candidate(network(run, name), card(run, name))
        else:
            model, history = trained(run, name, recipe)
            found[name] = Candidate(model, {**about(run, name, model, recipe), "history": history})
    return found


def recipe_of(run: Run, shipped: bool) -> SearchRecipe:
    """Return the recipe whose numbers of images a run's candidates are measured on."""
    return RECIPE if shipped and run.profile.name != "smoke" else LIVE


def tryout(run: Run) -> Run:
    """Return the run with as few test images as a smoke run has, for autoencoders that LIVE trained."""
    few = settings.PROFILES["smoke"]
    n_test, n_sweep = min(run.profile.n_test, few.n_test), min(run.profile.n_sweep, few.n_sweep)
    return replace(run, profile=replace(run.profile, n_test=n_test, n_sweep=n_sweep))


# --------------------------------------------------------------------------------------------------------
# measuring


def about(run: Run, name: str, model: keras.Model, recipe: SearchRecipe = RECIPE) -> dict:
    """Measure an autoencoder on validation images.

    Returns:
        The architecture's name, title, latent size, depth and parameters; ``mse``, by input (regular, fgsm,
        pgd), the mean squared error between restored images and the originals; and ``validation``, the
        accuracy of the initial classifier behind it (evaluation.proportion): on clean images, under transfer
        attacks, and under end-to-end PGD (``adaptive``).
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
    """Return the initial classifier's answers to test images behind an autoencoder.

    Args:
        run: Provides the classifier, the images and the budget.
        name: The defense in records is ``ae:<name>``.
        model: The autoencoder.
        attacks_through: Keys of ADAPTIVE. These attacks use n_sweep images of the profile, the others n_test.

    Returns:
        The answers by name: ``regular`` is without an attack, fgsm and pgd are transfer attacks, ``adaptive``
        is end-to-end PGD, and ADAPTIVE describes ``bpda``.

    Raises:
        CourseError: There is no such attack.
    """
    if unknown := set(attacks_through) - set(ADAPTIVE):
        raise CourseError(f"unknown attack {', '.join(sorted(unknown))}; choose from {', '.join(ADAPTIVE)}")
    found, config = _transfer(run, name, model, "test"), _config(run, name, model)
    few = run.data.test.head(run.profile.n_sweep)
    for kind in attacks_through:
        correct = artifacts.make_json(
            "search_attacks",
            {**config, "attack": kind, "split": "test", "n": len(few)},
            partial(_attacked, run, model, few, kind),
        )
        key = "adaptive" if kind == "pgd" else kind
        fields = run.fields("initial", f"ae:{name}", kind, "adaptive", steps=STEPS)
        found[key] = Answers(fields, np.array(correct, bool))
    return found


def held_out(run: Run, name: str, model: keras.Model, recipe: SearchRecipe = RECIPE) -> dict[str, Answers]:
    """Return the initial classifier's answers to validation images, as assessed does to test images.

    Only clean images and transfer attacks are measured. A card has only the counts of these answers; a
    comparison of two autoencoders on the same images needs the answers themselves.
    """
    return _transfer(on_recipe(run, recipe), name, model, "validation")


def _transfer(run: Run, name: str, model: keras.Model, split: str) -> dict[str, Answers]:
    """Return the answers to clean images and under transfer attacks, by kind."""
    config = {**_config(run, name, model), "split": split}
    labels, defended = run.split(split).labels, autoencoder.defended(model, run.classifier)
    found = {}
    for kind in SOURCES:
        images = pipeline.inputs(run, split, kind)
        correct = artifacts.make_json(
            "search_static",
            {**config, "input": kind, "n": len(labels)},
            lambda images=images: [int(right) for right in evaluation.is_correct(defended, images, labels)],
        )
        found[kind] = Answers(run.fields("initial", f"ae:{name}", kind, "static"), np.array(correct, bool))
    return found


def _config(run: Run, name: str, model: keras.Model) -> dict:
    # The name belongs here as well as the weights, because a blur has no weights.
    return {
        **run.config(autoencoder, architectures, codebook, adaptive, accuracy),
        "architecture": name,
        "assessed": classifiers.weights_sha256(model),
    }


def _attacked(run: Run, model: keras.Model, chosen: datasets.Split, kind: str) -> list[int]:
    """Return which images are still classified correctly after an end-to-end attack."""
    images, labels = chosen.take()
    aimed = end_to_end(model, pipeline.for_attack(run.classifier, precision=run.crafting), kind)
    moved = pipeline.attack(aimed, images, labels, "pgd", run.eps, run.seed)
    correct = evaluation.is_correct(autoencoder.defended(model, run.classifier), moved, labels)
    return [int(right) for right in correct]


@lru_cache(maxsize=64)
def end_to_end(model: keras.Model, classifier: keras.Model, kind: str = "pgd") -> attacks.Model:
    """Return the model, images to logits, that an attacker who knows the autoencoder differentiates.

    The same arguments give the same model, so that its graph is traced once.

    Args:
        model: The autoencoder.
        classifier: The classifier behind it.
        kind: ``pgd`` attacks end-to-end; a codebook passes the gradient straight through. ``bpda``
            replaces the autoencoder's gradient with the identity's (Athalye et al. 2018).
    """
    if kind == "bpda":
        return adaptive.straight_through(lambda images: model(images, training=False), then=classifier)
    return autoencoder.defended(model, classifier)
