"""Adversarial training: a classifier, or autoencoder and classifier together, trained on attacks against itself.

    run = pipeline.start(profile="quick")
    model, autoencoder, card = network(run, "single_step")       # from weights/, put there by make(run, ...)

The attack is made anew for every batch, on the network as it stands (Madry et al. 2018, "Towards deep learning models
resistant to adversarial attacks"). What is kept is the epoch whose accuracy under PGD is best on validation images.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from . import artifacts, attacks, classifiers, datasets, evaluation, pipeline, provenance, settings, training
from . import autoencoder as ae_module
from .backend import keras, tf
from .datasets import Split
from .pipeline import STEP_SIZE, STEPS, Run
from .settings import CourseError

BATCH = 128
MOMENTUM = 0.9
WATCHED = 500
"""Validation images that are attacked after every epoch."""


@dataclass(frozen=True)
class Recipe:
    """How a network is made robust.

    Attributes:
        title: as tables name it.
        source: whose method it is.
        steps, step_size: of the attack in training, which starts at random in the eps-ball unless not
            ``random_start``.
        epochs: of SGD with Nesterov momentum, one cycle up to ``peak_rate`` and linearly down to zero.
        with_autoencoder: the paper's autoencoder stands in front and is trained along; the attack goes through both.
        images: of the training split that are used; None: all.
    """

    title: str
    source: str
    steps: int
    step_size: float
    epochs: int
    random_start: bool = True
    peak_rate: float = 0.15
    weight_decay: float = 2e-4
    with_autoencoder: bool = False
    images: int | None = None


RECIPES = {
    "single_step": Recipe(
        "single-step adversarial training",
        "Wong, Rice & Kolter 2020, Fast is better than free",
        steps=1,
        step_size=10 / 255,
        epochs=30,
    ),
    "madry": Recipe(
        "PGD adversarial training",
        "Madry et al. 2018, Towards deep learning models resistant to adversarial attacks",
        steps=7,
        step_size=2 / 255,
        epochs=10,
    ),
    "joint": Recipe(
        "autoencoder and classifier trained together",
        "the paper's pipeline, trained as Madry et al. 2018 train a classifier",
        steps=1,
        step_size=10 / 255,
        epochs=20,
        with_autoencoder=True,
    ),
    "few_images": Recipe(
        "single-step adversarial training on 2,000 images",
        "Rice, Wong & Kolter 2020, Overfitting in adversarially robust deep learning",
        steps=1,
        step_size=10 / 255,
        epochs=60,
        images=2000,
    ),
    "collapsing": Recipe(
        "single step from the image itself, too long",
        "Wong, Rice & Kolter 2020, on catastrophic overfitting",
        steps=1,
        step_size=16 / 255,
        epochs=30,
        random_start=False,
        images=5000,
    ),
}
"""By name. The first three are for use, the others show how such training fails."""


class Collapsed(Exception):
    """Training has overfitted to its own attack: accuracy under PGD fell to less than half of what it had been."""


def adversarial_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, recipe: Recipe, eps: float, seed: int
) -> training.Step:
    """One step of cross-entropy on images attacked just now (Madry et al. 2018, eq. 2.1), with L2 decay of the kernels.

    BatchNorm is in training mode in the attack's passes, too (as in Madry's and Wong's code), so that a single step
    climbs the very loss that is then lowered.

    Args:
        model: to be trained whole; float32 images [n, h, w, c] in [0, 1] to logits.
        eps: the attack's budget.
        seed: of the attack's random starts, which depend on it and on the optimizer's step count alone.
    """
    variables = model.trainable_variables
    kernels = [v for v in variables if len(v.shape) > 1]

    def cross_entropy(images, labels):
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=True))
        return tf.reduce_mean(each)

    def attacked(images, labels):
        moved = images
        if recipe.random_start:
            draw = tf.stack([tf.constant(seed, tf.int64), optimizer.iterations])
            moved = tf.clip_by_value(images + tf.random.stateless_uniform(tf.shape(images), draw, -eps, eps), 0.0, 1.0)

        def ascend(k, moved):
            with tf.GradientTape() as tape:
                tape.watch(moved)
                loss = cross_entropy(moved, labels)
            ahead = moved + recipe.step_size * tf.sign(tape.gradient(loss, moved))
            return k + 1, attacks.project(ahead, images, eps, "linf")

        if recipe.steps == 1:
            return tf.stop_gradient(ascend(0, moved)[1])
        return tf.stop_gradient(tf.while_loop(lambda k, _: k < recipe.steps, ascend, (0, moved))[1])

    @tf.function(reduce_retracing=True, autograph=False)
    def step(images, labels):
        images = attacked(images, labels)
        with tf.GradientTape() as tape:
            loss = cross_entropy(images, labels)
            total = loss + recipe.weight_decay * tf.add_n([tf.nn.l2_loss(k) for k in kernels])
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return loss

    return step


def train(
    model: keras.Model,
    samples: training.Samples,
    recipe: Recipe,
    *,
    eps: float,
    seed: int,
    folder: Path,
    watch: Callable[[], dict[str, float]],
) -> list[dict]:
    """Train by a recipe; the model ends with the weights of its best epoch.

    Args:
        model: trained on from where it is.
        samples: training images and labels.
        eps: the attack's budget.
        folder: of the checkpoints.
        watch: measures after each epoch, on validation images; ``pgd`` among its numbers is the accuracy that decides
            which epoch is kept.

    Returns:
        The history. Where accuracy under PGD fell to less than half of its best, training has collapsed (catastrophic
        overfitting) and ends there.
    """
    size = min(BATCH, len(samples))
    steps = recipe.epochs * (len(samples) // size)
    optimizer = keras.optimizers.SGD(training.OneCycle(recipe.peak_rate, steps), MOMENTUM, nesterov=True)
    kept = folder / "kept.npz"

    def keep_best() -> dict[str, float]:
        scores = watch()
        best = float(np.load(kept)["pgd"]) if kept.is_file() else -1.0
        if scores["pgd"] > best:
            with open(folder / "keeping.npz", "wb") as file:
                np.savez(file, *model.get_weights(), pgd=scores["pgd"])
            (folder / "keeping.npz").replace(kept)
        return scores

    def stop_if_collapsed(history: list[dict]) -> None:
        seen[:] = history
        scores = [record["pgd"] for record in history]
        if scores and scores[-1] < max(scores) / 2:
            raise Collapsed

    seen: list[dict] = []
    with suppress(Collapsed):  # ``seen`` then has what was measured until there
        seen = training.run(
            adversarial_step(model, optimizer, recipe, eps, seed),
            samples,
            epochs=recipe.epochs,
            batch_size=size,
            seed=seed,
            state={"model": model, "optimizer": optimizer},
            folder=folder,
            title=f"{model.name}: {recipe.title}",
            augment=training.crop_and_flip,
            watch=keep_best,
            prepare=stop_if_collapsed,
        )
    with np.load(kept) as stored:
        model.set_weights([stored[f"arr_{k}"] for k in range(len(stored.files) - 1)])
    return seen


# --------------------------------------------------------------------------------------------- the course's networks


def joined(autoencoder: keras.Model, classifier: keras.Model) -> keras.Model:
    """Both as one model to be trained: unlike autoencoder.defended, it leaves BatchNorm's mode to the caller."""
    images = keras.Input((32, 32, 3))
    return keras.Model(images, classifier(autoencoder(images)), name=f"ae_{classifier.name}")


def make(run: Run, name: str) -> dict:
    """Train one of the course's robust networks, from the initial classifier on, and ship it in weights/.

    All of the training split is used (or what the recipe says); the epoch is chosen on validation images; no test image
    is looked at.

    Args:
        run: gives data, classifier, budget and seed, and, to begin with, its autoencoder.
        name: a key of RECIPES.

    Returns:
        The card. Networks that only show a failure have a card and no weights.
    """
    recipe = recipe_of(name)
    autoencoder = pipeline.autoencoder(run)[0] if recipe.with_autoencoder else None
    data, precision = run.data, settings.training_precision()
    chosen = data.train.head(recipe.images or len(data.train))
    config = {
        "data": data.sha256,
        "model": run.model,
        "initial": classifiers.weights_sha256(run.classifier),
        "autoencoder": classifiers.weights_sha256(autoencoder) if autoencoder else None,
        "recipe": asdict(recipe),
        "eps": run.eps,
        "seed": run.seed,
        "n": len(chosen),
        "precision": precision,
    }

    def train_it(path: Path) -> None:
        keras.utils.set_random_seed(run.seed)
        classifier, front = classifiers.copied(run.classifier, precision), None
        if autoencoder:
            front = ae_module.build()
            front.set_weights(autoencoder.get_weights())
        history = train(
            joined(front, classifier) if front else classifier,
            training.Samples([chosen.pixels], chosen.labels),
            recipe,
            eps=run.eps,
            seed=run.seed,
            folder=artifacts.checkpoints("robust", config),
            watch=_watch(run, classifier, front, chosen),
        )
        weights = classifier.get_weights() + (front.get_weights() if front else [])
        with open(path, "wb") as file:
            np.savez(file, *weights, history=np.array(json.dumps(history)))

    with np.load(artifacts.make("robust", config, ".npz", train_it)) as stored:
        history = json.loads(str(stored["history"]))
        weights = [stored[f"arr_{k}"] for k in range(len(stored.files) - 1)]
    classifier, front = classifiers.copied(run.classifier), ae_module.build() if autoencoder else None
    count = len(classifier.get_weights())
    classifier.set_weights(weights[:count])
    if front:
        front.set_weights(weights[count:])
    return _ship(run, name, recipe, classifier, front, {**config, "data": data.provenance}, history)


def _watch(
    run: Run, classifier: keras.Model, autoencoder: keras.Model | None, chosen: Split
) -> Callable[[], dict[str, float]]:
    """Measures accuracy on validation images as they are and under the paper's PGD, and on training images under it."""
    assessed = classifiers.copied(classifier)  # in float32; one copy, so that the attack is traced once
    model = _defended(autoencoder, assessed)

    def under_pgd(split: Split) -> float:
        images, labels = split.take()
        moved = attacks.pgd(model, images, labels, run.eps, step_size=STEP_SIZE, steps=STEPS, seed=run.seed)
        return float(evaluation.is_correct(model, moved, labels).mean())

    def watch() -> dict[str, float]:
        assessed.set_weights(classifier.get_weights())
        held_out = run.data.validation.head(WATCHED)
        return {
            "clean": float(evaluation.is_correct(model, *held_out.take()).mean()),
            "pgd": under_pgd(held_out),
            "training_pgd": under_pgd(chosen.head(WATCHED // 2)),
        }

    return watch


def _defended(autoencoder: keras.Model | None, classifier: keras.Model) -> keras.Model:
    return ae_module.defended(autoencoder, classifier) if autoencoder else classifier


def _ship(
    run: Run, name: str, recipe: Recipe, classifier: keras.Model, autoencoder: keras.Model | None, about: dict,
    history: list[dict],
) -> dict:  # fmt: skip
    card = {
        "part": name,
        "title": recipe.title,
        "source": recipe.source,
        **about,
        "initial_sha256": about["initial"],
        "minutes": round(sum(record["seconds"] for record in history) / 60, 1),
        "kept_epoch": max(history, key=lambda record: record["pgd"])["epoch"],
        "commit": provenance.commit(),
        "history": history,
    }
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}")
    if recipe.images is None:
        classifiers.save_weights(classifiers.network_of(classifier), file)
        card["weights_sha256"] = classifiers.weights_sha256(classifier)
        card["file_sha256"] = datasets.sha256_of(file)
        card["parameters"] = _parameters(classifier)
        if autoencoder:
            front = _front(file)
            classifiers.save_weights(autoencoder, front)
            card["autoencoder_sha256"] = datasets.sha256_of(front)
            card["parameters"] += _parameters(autoencoder)
    settings.write_atomically(file.with_suffix(".json"), json.dumps(card, indent=1).encode())
    return card


def _parameters(model: keras.Model) -> int:
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def _front(file: Path) -> Path:
    """Where the autoencoder of a pair is, whose classifier is in ``file``."""
    return file.with_name(f"{file.stem}_ae.h5")


def network(run: Run, name: str) -> tuple[keras.Model, keras.Model | None, dict]:
    """A robust network that the course ships.

    Returns:
        The model to assess (a classifier, or the defense of one), its autoencoder (None for a classifier alone), and
        its card, whose ``history`` has an entry for each epoch: loss, ``clean`` and ``pgd`` (accuracy of validation
        images), ``training_pgd``, seconds.

    Raises:
        CourseError: there is no such recipe; the weights are not there, damaged, or of another initial classifier.
    """
    recipe, file = recipe_of(name), classifiers.shipped(run.data.name, f"{run.model}_{name}")
    if recipe.images is not None:
        raise CourseError(f"{name} only shows how training fails; its history is in card(run, {name!r})")
    about = classifiers.card_of(file)
    classifier = classifiers.copied(run.classifier)
    classifiers.load_weights(classifier, file)
    if not recipe.with_autoencoder:
        return classifier, None, about
    autoencoder = ae_module.build()
    if not _front(file).is_file() or datasets.sha256_of(_front(file)) != about["autoencoder_sha256"]:
        raise CourseError(f"weights/{run.data.name}/{_front(file).name} is missing or damaged (git checkout weights)")
    autoencoder.load_weights(str(_front(file)))
    return ae_module.defended(autoencoder, classifier), autoencoder, about


def card(run: Run, name: str) -> dict:
    """What is recorded of a training: its recipe and history, also where no weights are shipped.

    Raises:
        CourseError: there is no such recipe or no record of it.
    """
    recipe_of(name)
    file = classifiers.shipped(run.data.name, f"{run.model}_{name}").with_suffix(".json")
    if not file.is_file():
        raise CourseError(f"weights/{run.data.name}/{file.name} is not there; make it: python -m helpers robust {name}")
    return json.loads(file.read_text())


def recipe_of(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        CourseError: there is none.
    """
    if name not in RECIPES:
        raise CourseError(f"unknown recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
