"""The course's hardened networks: how each is trained, shipped and loaded (notebook 07).

    run = pipeline.start(profile="quick")
    model, autoencoder, card = network(run, "single_step")       # from weights/, put there by make(run, "single_step")

Each begins with the run's initial classifier. All of the training split is used (or what the recipe says), choices are
made on validation images, and no test image is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import artifacts, attacks, classifiers, evaluation, pipeline, settings, training
from ..artifacts import provenance
from ..attacks import losses
from ..backend import devices, keras
from ..classifiers import efficientnet
from ..datasets import Split
from ..defenses import autoencoder as ae_module
from ..defenses import smoothing
from ..pipeline import Run
from ..settings import CourseError
from ..training import Samples, adversarial, noise

RECIPES = {
    "single_step": adversarial.Recipe(
        "single-step adversarial training",
        "de Jorge et al. 2022, Make some noise (N-FGSM)",
        steps=1,
        step_size=6 / 255,
        epochs=30,
        noise=1.5,
        projected=False,
    ),
    "madry": adversarial.Recipe(
        "PGD adversarial training",
        "Madry et al. 2018, Towards deep learning models resistant to adversarial attacks",
        steps=7,
        step_size=2 / 255,
        epochs=8,
    ),
    "joint": adversarial.Recipe(
        "autoencoder and classifier trained together",
        "the paper's pipeline, trained as de Jorge et al. 2022 train a classifier",
        steps=1,
        step_size=6 / 255,
        epochs=20,
        noise=1.5,
        projected=False,
        with_autoencoder=True,
    ),
    "few_images": adversarial.Recipe(
        "single-step adversarial training on 2,000 images",
        "Rice, Wong & Kolter 2020, Overfitting in adversarially robust deep learning",
        steps=1,
        step_size=6 / 255,
        epochs=40,
        noise=1.5,
        projected=False,
        images=2000,
    ),
    "collapsing": adversarial.Recipe(
        "single-step adversarial training from a start within the budget",
        "Wong, Rice & Kolter 2020, Fast is better than free",
        steps=1,
        step_size=10 / 255,
        epochs=10,
    ),
    "noise_25": noise.Recipe(
        "trained on noise, sigma 0.25",
        "Cohen et al. 2019, Certified adversarial robustness",
        0.25,
        epochs=12,
        rate=0.05,
    ),
    "noise_50": noise.Recipe(
        "trained on noise, sigma 0.5",
        "Cohen et al. 2019, Certified adversarial robustness",
        0.5,
        epochs=12,
        rate=0.05,
    ),
    "denoiser_25": noise.Recipe(
        "autoencoder as denoiser, sigma 0.25",
        "Salman et al. 2020, Denoised smoothing",
        0.25,
        epochs=12,
        rate=3e-3,
        stability_epochs=6,
    ),
}
"""By name. N-FGSM takes noise of twice eps and a step of eps; here both are three quarters of that: on validation
images, which chose it, the full size cost some points without an attack and gained none in the worst case."""

FAILURES = ("few_images", "collapsing")
"""Those that show how adversarial training fails: what they leave is a history, no weights."""

Recipe = adversarial.Recipe | noise.Recipe

WATCHED = 500
"""Validation images that are attacked, or made noisy, after every epoch."""


def make(run: Run, name: str) -> dict:
    """Train a network and ship it in weights/; goes on where it was stopped.

    Args:
        run: gives data, initial classifier, budget and seed; and its autoencoder, which ``joint`` begins with.
        name: a key of RECIPES.

    Returns:
        The card.

    Raises:
        CourseError: there is no such recipe.
    """
    recipe = recipe_of(name)
    devices.check_one(f"training {name}")  # its attack or noise is drawn for a whole batch
    front = _begins_with(run, recipe)
    chosen = run.data.train.head(getattr(recipe, "images", None) or len(run.data.train))
    config = {
        "data": run.data.sha256,
        "model": run.model,
        "initial": classifiers.weights_sha256(run.classifier),
        "autoencoder": classifiers.weights_sha256(front) if front else None,
        "recipe": asdict(recipe),
        "eps": run.eps if isinstance(recipe, adversarial.Recipe) else None,
        "seed": run.seed,
        "n": len(chosen),
        "precision": settings.training_precision(),
        "watched": WATCHED,
        **pipeline.unusual_steps(run.eps),  # of the PGD that is watched, and chooses the epoch
        "code": artifacts.code_version(
            adversarial, smoothing, training, attacks, losses, classifiers, efficientnet, ae_module
        ),
    }
    if front and isinstance(recipe, adversarial.Recipe) and run.networks != "shipped":
        config["autoencoder_profile"] = run.profile.name

    def train(path: Path) -> None:
        keras.utils.set_random_seed(run.seed)
        classifier = classifiers.clone(run.classifier, config["precision"])
        samples, folder = Samples([chosen.pixels], chosen.labels), artifacts.checkpoints("hardened", config)
        options = {"seed": run.seed, "folder": folder}
        if isinstance(recipe, adversarial.Recipe):
            model = adversarial.joined(front, classifier) if front else classifier
            options |= {"eps": run.eps, "watch": _watch_pgd(run, classifier, front, chosen)}
            history = adversarial.train(model, samples, recipe, **options)
        else:
            options["watch"] = _watch_noise(run, classifier, front, recipe.sigma)
            if front:
                history = noise.train_denoiser(front, classifier, samples, recipe, **options)
            else:
                history = noise.train_on_noise(classifier, samples, recipe, **options)
        parts = {"classifier": classifier} | ({"autoencoder": front} if front else {})
        weights = {
            f"{part}{k:03d}": w for part, model in parts.items() for k, w in enumerate(model.get_weights())
        }
        with open(path, "wb") as file:
            np.savez(file, history=np.array(json.dumps(history)), **weights)

    with np.load(artifacts.make("hardened", config, ".npz", train)) as stored:
        history = json.loads(str(stored["history"]))
        classifier, front = (
            classifiers.clone(run.classifier),
            ae_module.build_autoencoder() if front else None,
        )
        for part, model in {"classifier": classifier, "autoencoder": front}.items():
            if model:
                model.set_weights([stored[key] for key in sorted(stored.files) if key.startswith(part)])
    return _ship(run, name, recipe, classifier, front, config, history)


def _begins_with(run: Run, recipe: Recipe) -> keras.Model | None:
    """The autoencoder that is to be trained, if one is: the run's, or, to remove noise, a new one."""
    if isinstance(recipe, noise.Recipe):
        if recipe.stability_epochs is None:
            return None
        keras.utils.set_random_seed(run.seed)
        return ae_module.build_autoencoder()
    if not recipe.with_autoencoder:
        return None
    copy = ae_module.build_autoencoder()  # trained on: the run's own stays as it is
    copy.set_weights(pipeline.autoencoder(run)[0].get_weights())
    return copy


def _watch_pgd(
    run: Run, classifier: keras.Model, autoencoder: keras.Model | None, chosen: Split
) -> Callable[[], dict[str, float]]:
    """Measures accuracy on validation images as they are and under the paper's PGD, and on training images under it."""
    assessed = classifiers.clone(classifier)  # in float32; one copy, so that the attack is traced once
    model = _defended(autoencoder, assessed)

    def under_pgd(split: Split) -> float:
        images, labels = split.take()
        moved = pipeline.attack(model, images, labels, "pgd", run.eps, run.seed)
        return float(evaluation.is_correct(model, moved, labels).mean())

    def on_epoch_end() -> dict[str, float]:
        assessed.set_weights(classifier.get_weights())
        held_out = run.data.validation.head(WATCHED)
        return {
            "clean": float(evaluation.is_correct(model, *held_out.take()).mean()),
            "pgd": under_pgd(held_out),
            "training_pgd": under_pgd(chosen.head(WATCHED // 2)),
        }

    return on_epoch_end


def _watch_noise(
    run: Run, classifier: keras.Model, denoiser: keras.Model | None, sigma: float
) -> Callable[[], dict[str, float]]:
    """Measures accuracy on noisy validation images."""
    assessed = classifiers.clone(classifier)
    model = _defended(denoiser, assessed)
    images, labels = run.data.validation.head(WATCHED).take()
    noise = np.random.default_rng(run.seed).normal(0, sigma, images.shape)
    noisy = (images + noise).astype(np.float32)

    def on_epoch_end() -> dict[str, float]:
        assessed.set_weights(classifier.get_weights())
        return {"noisy": float(evaluation.is_correct(model, noisy, labels).mean())}

    return on_epoch_end


def _defended(autoencoder: keras.Model | None, classifier: keras.Model) -> keras.Model:
    return ae_module.defended(autoencoder, classifier) if autoencoder else classifier


def _ship(
    run: Run,
    name: str,
    recipe: Recipe,
    classifier: keras.Model,
    autoencoder: keras.Model | None,
    config: dict,
    history: list[dict],
) -> dict:
    card = {
        "part": name,
        "title": recipe.title,
        "source": recipe.source,
        **config,
        "initial_sha256": config["initial"],
        "data": run.data.provenance,
        # By the median, so that an epoch in which the machine slept or did other work does not count as training.
        "minutes": round(len(history) * float(np.median([record["seconds"] for record in history])) / 60, 1),
        "commit": provenance.commit(),
        "history": history,
    }
    if isinstance(recipe, adversarial.Recipe):
        card["kept_epoch"] = max(history, key=lambda record: record["pgd"])["epoch"]
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}")
    if name not in FAILURES:
        classifiers.save_weights(classifiers.network_of(classifier), file)
        card["weights_sha256"] = classifiers.weights_sha256(classifier)
        card["file_sha256"] = provenance.sha256_of(file)
        card["parameters"] = _parameters(classifier)
        if autoencoder:
            classifiers.save_weights(autoencoder, _front(file))
            card["autoencoder_sha256"] = provenance.sha256_of(_front(file))
            card["parameters"] += _parameters(autoencoder)
    settings.write_atomically(file.with_suffix(".json"), json.dumps(card, indent=1).encode())
    return card


def _parameters(model: keras.Model) -> int:
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def _front(file: Path) -> Path:
    """Where the autoencoder of a pair is, whose classifier is in ``file``."""
    return file.with_name(f"{file.stem}_ae.h5")


def network(run: Run, name: str) -> tuple[keras.Model, keras.Model | None, dict]:
    """A network that the course ships.

    Returns:
        The model to assess (a classifier, or the defense of one), its autoencoder (None for a classifier alone), and
        its card (card).

    Raises:
        CourseError: there is no such recipe; the weights are not there, damaged, or of another initial classifier.
    """
    recipe_of(name)
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}")
    if name in FAILURES:
        raise CourseError(f"{name} only shows how training fails; its history is in card(run, {name!r})")
    about = classifiers.card_of(file)
    if about["initial_sha256"] != classifiers.weights_sha256(run.classifier):
        raise CourseError(
            f"weights/{run.data.name}/{file.name} began with another initial classifier than this one; make it anew: "
            f"{command(run, name)}"
        )
    classifier = classifiers.clone(run.classifier)
    classifiers.load_weights(classifier, file)
    if "autoencoder_sha256" not in about:
        return classifier, None, about
    autoencoder, front = ae_module.build_autoencoder(), _front(file)
    if not front.is_file() or provenance.sha256_of(front) != about["autoencoder_sha256"]:
        raise CourseError(
            f"weights/{run.data.name}/{front.name} is missing or damaged (git checkout weights)"
        )
    autoencoder.load_weights(str(front))
    return ae_module.defended(autoencoder, classifier), autoencoder, about


def command(run: Run, name: str) -> str:
    """What trains and ships it for the run's network and data."""
    return f"python -m helpers robust {name} --dataset {run.data.name} --model {run.model}"


def card(run: Run, name: str) -> dict:
    """What is recorded of a training, also where no weights are shipped: recipe, minutes, and ``history`` with an entry
    for each epoch: loss, seconds, and accuracies of validation images (``clean``, ``pgd``, or ``noisy``; and
    ``training_pgd`` of training images).

    Raises:
        CourseError: there is no such recipe or no record of it.
    """
    recipe_of(name)
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}").with_suffix(".json")
    if not file.is_file():
        raise CourseError(f"weights/{run.data.name}/{file.name} is not there; make it: {command(run, name)}")
    return json.loads(file.read_text())


def recorded(run: Run, name: str) -> bool:
    """Whether the course has that training of the run's initial classifier: its card, and what belongs to it."""
    recipe_of(name)
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}").with_suffix(".json")
    return file.is_file() and card(run, name)["initial_sha256"] == classifiers.weights_sha256(run.classifier)


def shipped(run: Run) -> list[str]:
    """The recipes whose networks the course ships for the run's initial classifier."""
    return [name for name in RECIPES if name not in FAILURES and recorded(run, name)]


def recipe_of(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        CourseError: there is none.
    """
    if name not in RECIPES:
        raise CourseError(f"unknown recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
