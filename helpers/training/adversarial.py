"""Adversarial training: a classifier, or autoencoder and classifier together, trained on attacks against itself.

The attack is made anew for every batch, on the network as it stands (Madry et al. 2018, "Towards deep learning models
resistant to adversarial attacks"). What is kept is the epoch whose accuracy under PGD is best on validation images.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import attacks, training
from ..backend import keras, tf

BATCH = 128
MOMENTUM = 0.9


@dataclass(frozen=True)
class Recipe:
    """How a network is made robust.

    Attributes:
        title: as tables name it.
        source: whose method it is.
        steps, step_size: of the attack in training, which starts at random unless not ``random_start``.
        noise: how far from the image it starts at most, in eps.
        projected: the attacked image stays in the eps-ball and in [0, 1]. Not so with N-FGSM (de Jorge et al. 2022,
            "Make some noise"), whose one step is added to noise of twice eps, against catastrophic overfitting.
        epochs: of SGD with Nesterov momentum, one cycle up to ``peak_rate`` and linearly down to zero.
        with_autoencoder: the paper's autoencoder stands in front and is trained along; the attack goes through both.
        autoencoder_rate: its learning rate, as a share of the classifier's. At the classifier's own rate, training on
            CIFAR-10 is lost within a hundred steps: its loss stays that of guessing.
        images: of the training split that are used; None: all.
    """

    title: str
    source: str
    steps: int
    step_size: float
    epochs: int
    random_start: bool = True
    noise: float = 1.0
    projected: bool = True
    peak_rate: float = 0.15
    weight_decay: float = 2e-4
    with_autoencoder: bool = False
    autoencoder_rate: float = 0.01
    images: int | None = None


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
    front = {
        v.ref() for layer in model.layers if layer.name == "autoencoder" for v in layer.trainable_variables
    }
    rates = [recipe.autoencoder_rate if v.ref() in front else 1.0 for v in variables]
    kernels = [v for v in variables if len(v.shape) > 1]

    def cross_entropy(images, labels):
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=True))
        return tf.reduce_mean(each)

    def attacked(images, labels):
        moved = images
        if recipe.random_start:
            draw = tf.stack([tf.constant(seed, tf.int64), optimizer.iterations])
            reach = recipe.noise * eps
            moved = images + tf.random.stateless_uniform(tf.shape(images), draw, -reach, reach)
            moved = tf.clip_by_value(moved, 0.0, 1.0) if recipe.projected else moved

        def ascend(k, moved):
            with tf.GradientTape() as tape:
                tape.watch(moved)
                loss = cross_entropy(moved, labels)
            ahead = moved + recipe.step_size * tf.sign(tape.gradient(loss, moved))
            return k + 1, attacks.project(ahead, images, eps, "linf") if recipe.projected else ahead

        if recipe.steps == 1:
            return tf.stop_gradient(ascend(0, moved)[1])
        return tf.stop_gradient(tf.while_loop(lambda k, _: k < recipe.steps, ascend, (0, moved))[1])

    @tf.function(reduce_retracing=True, autograph=False)
    def step(images, labels):
        images = attacked(images, labels)
        with tf.GradientTape() as tape:
            loss = cross_entropy(images, labels)
            total = loss + recipe.weight_decay * tf.add_n([tf.nn.l2_loss(k) for k in kernels])
        gradients = [rate * g for rate, g in zip(rates, tape.gradient(total, variables), strict=True)]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
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
    on_epoch_end: Callable[[], dict[str, float]],
) -> list[dict]:
    """Train by a recipe; the model ends with the weights of its best epoch.

    Args:
        model: trained on from where it is.
        samples: training images and labels.
        eps: the attack's budget.
        folder: of the checkpoints.
        on_epoch_end: measures after each epoch, on validation images; ``pgd`` among its numbers is the accuracy that decides
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
        scores = on_epoch_end()
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
            on_epoch_end=keep_best,
            on_epoch_begin=stop_if_collapsed,
        )
    with np.load(kept) as stored:
        model.set_weights([stored[f"arr_{k}"] for k in range(len(stored.files) - 1)])
    return seen


def joined(autoencoder: keras.Model, classifier: keras.Model) -> keras.Model:
    """Both as one model to be trained: unlike autoencoder.defended, it leaves BatchNorm's mode to the caller."""
    images = keras.Input((32, 32, 3))
    return keras.Model(images, classifier(autoencoder(images)), name=f"ae_{classifier.name}")
