"""Adversarial training of a classifier, or of an autoencoder and a classifier together.

Each batch is attacked anew, with the network's current weights (Madry et al. 2018, "Towards deep learning
models resistant to adversarial attacks"). The epoch with the best accuracy under PGD on validation images is
kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np

from .. import attacks
from ..backend import keras, tf
from .augmentation import crop_and_flip
from .loop import Options, Step, run
from .recipe import Pair, Recipe
from .samples import Batch, Samples
from .schedules import OneCycle
from .steps import cross_entropy, perturbed_step

BATCH = 128
MOMENTUM = 0.9


@dataclass(frozen=True)
class AdversarialRecipe(Recipe):
    """How a network is trained adversarially.

    Attributes:
        title: The name in tables.
        source: The publication of the method.
        steps: The steps of the attack during training.
        step_size: The size of each step.
        epochs: Epochs of SGD with Nesterov momentum, in one cycle of the learning rate.
        random_start: Whether the attack starts from noise around the image.
        noise: The largest size of that noise, in eps.
        projected: Whether the attacked image stays in the eps-ball and in [0, 1]. N-FGSM (de Jorge et al.
            2022, "Make some noise") only adds its one step to the noise, against catastrophic overfitting.
        peak_rate: The highest learning rate.
        weight_decay: The factor of the L2 decay of the kernels.
        with_autoencoder: Whether an autoencoder is attacked and trained together with the classifier.
        autoencoder_rate: The autoencoder's learning rate as a share of the classifier's. At a share of 1,
            training on CIFAR-10 fails within a hundred steps: the loss stays at that of guessing.
        images: How many training images are used; None means all.
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
    attacks: ClassVar[bool] = True

    def begin(self, build: Callable[[], keras.Model], seed: int) -> keras.Model | None:
        """Return the given autoencoder if it is to be trained (Recipe.begin)."""
        return build() if self.with_autoencoder else None

    def train(
        self, networks: Pair, samples: Samples, *, eps: float, **options: Unpack[Options]
    ) -> list[dict]:
        """Train on attacked images; the networks end with the weights of their best epoch (Recipe.train).

        The best epoch is the one with the highest ``pgd`` among the numbers that ``on_epoch_end`` returns.
        Training ends early if ``pgd`` falls to less than half of its best (catastrophic overfitting).
        """
        model = networks.classifier
        if networks.autoencoder:
            model = joined(networks.autoencoder, model)
        schedule = OneCycle(self.peak_rate, samples.steps(BATCH, self.epochs))
        optimizer = keras.optimizers.SGD(schedule, MOMENTUM, nesterov=True)
        best, measure = _BestEpoch(model, options["folder"]), options.pop("on_epoch_end", dict)

        def keep_best() -> dict[str, float]:
            scores = measure()
            best.offer(scores["pgd"])
            return scores

        options["on_epoch_end"] = keep_best
        try:
            history = run(
                adversarial_step(model, optimizer, self, eps, options["seed"]),
                samples,
                epochs=self.epochs,
                batch_size=BATCH,
                state={"model": model, "optimizer": optimizer},
                title=f"{model.name}: {self.title}",
                augment=crop_and_flip,
                on_epoch_begin=_stop_if_collapsed,
                **options,
            )
        except _Collapsed as collapse:
            history = collapse.history
        best.restore()
        return history

    def on_epoch_end(
        self, model: keras.Model, held_out: Batch, trained_on: Batch, *, eps: float, seed: int
    ) -> dict[str, float]:
        """Measure accuracy on clean images and under the paper's PGD (Recipe.on_epoch_end)."""

        def under_pgd(images: np.ndarray, labels: np.ndarray) -> float:
            moved = attacks.pgd(model, images, labels, eps, step_size=attacks.step_size_for(eps), seed=seed)
            return accuracy(model, moved, labels)

        return {
            "clean": accuracy(model, *held_out),
            "pgd": under_pgd(*held_out),
            "training_pgd": under_pgd(*trained_on),
        }

    def kept_epoch(self, history: list[dict]) -> int | None:
        """Return the epoch with the highest accuracy under PGD."""
        return max(history, key=lambda record: record["pgd"])["epoch"]


def accuracy(model: attacks.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that the model classifies correctly, in [0, 1]."""
    return float((~attacks.fooled(model, images, labels)).mean())


def adversarial_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    recipe: AdversarialRecipe,
    eps: float,
    seed: int,
) -> Step:
    """Build a step of cross-entropy on images attacked just now (Madry et al. 2018, eq. 2.1).

    BatchNorm is in training mode during the attack as well, as in Madry's and Wong's code, so the attack
    climbs the same loss that the step then lowers.

    The recipe gives the attack and the decay of the kernels, ``eps`` the budget of the attack. The random
    starts depend only on the seed and on the number of the step.
    """

    def attack(images, labels, number):
        moved = images
        if recipe.random_start:
            draw, reach = tf.stack([tf.constant(seed, tf.int64), number]), recipe.noise * eps
            moved = images + tf.random.stateless_uniform(tf.shape(images), draw, -reach, reach)
            moved = tf.clip_by_value(moved, 0.0, 1.0) if recipe.projected else moved

        def ascend(k, moved):
            with tf.GradientTape() as tape:
                tape.watch(moved)
                loss = cross_entropy(model, moved, labels)
            ahead = moved + recipe.step_size * tf.sign(tape.gradient(loss, moved))
            return k + 1, attacks.project(
                ahead, images, tf.constant(eps), "linf"
            ) if recipe.projected else ahead

        if recipe.steps == 1:
            return tf.stop_gradient(ascend(0, moved)[1])
        return tf.stop_gradient(tf.while_loop(lambda k, _: k < recipe.steps, ascend, (0, moved))[1])

    autoencoder = {
        v.ref() for layer in model.layers if layer.name == "autoencoder" for v in layer.trainable_variables
    }
    rates = [recipe.autoencoder_rate if v.ref() in autoencoder else 1.0 for v in model.trainable_variables]
    return perturbed_step(model, optimizer, attack, recipe.weight_decay, rates)


def joined(autoencoder: keras.Model, classifier: keras.Model) -> keras.Model:
    """Join both into one model to train; unlike in defenses.defended, the caller sets BatchNorm's mode."""
    images = keras.Input((32, 32, 3))
    return keras.Model(images, classifier(autoencoder(images)), name=f"ae_{classifier.name}")


class _BestEpoch:
    """The weights of the best epoch so far, kept in a file so that a resumed training finds them."""

    def __init__(self, model: keras.Model, folder: Path):
        self._model, self._file = model, folder / "kept.npz"

    def offer(self, score: float) -> None:
        """Keep the model's weights if this score is the best so far."""
        if self._file.is_file() and score <= float(np.load(self._file)["pgd"]):
            return
        scratch = self._file.with_name("keeping.npz")
        with open(scratch, "wb") as file:
            np.savez(file, *self._model.get_weights(), pgd=score)
        scratch.replace(self._file)

    def restore(self) -> None:
        """Give the model the weights that were kept."""
        with np.load(self._file) as stored:
            self._model.set_weights([stored[f"arr_{k}"] for k in range(len(stored.files) - 1)])


class _Collapsed(Exception):
    """Training has overfitted to its own attack."""

    def __init__(self, history: list[dict]):
        super().__init__()
        self.history = list(history)


def _stop_if_collapsed(history: list[dict]) -> None:
    scores = [record["pgd"] for record in history]
    if scores and scores[-1] < max(scores) / 2:
        raise _Collapsed(history)
