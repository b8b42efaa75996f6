"""Training on noisy images: classifiers and denoisers for randomized smoothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from ..attacks import logits_of
from ..backend import keras, tf
from ..defenses import build_autoencoder
from ..defenses.smoothing import check_sigma
from .adversarial import accuracy
from .augmentation import crop_and_flip
from .loop import Options, Step, run
from .recipe import Pair, Recipe
from .samples import Batch, Samples
from .schedules import Decay, OneCycle
from .steps import perturbed_step

BATCH = 128
"""The number of images in one step of training on noise."""


@dataclass(frozen=True)
class NoiseRecipe(Recipe):
    """How a classifier is trained on noisy images (Cohen et al. 2019, section 3.3).

    Attributes:
        title: The name in tables.
        source: The publication of the method.
        sigma: The standard deviation of the noise, for images in [0, 1].
        epochs: Epochs of SGD, in one cycle of the learning rate.
        rate: The highest learning rate.
        stability_epochs: None; only a DenoiserRecipe has any.
    """

    title: str
    source: str
    sigma: float
    epochs: int
    rate: float
    stability_epochs: int | None = None

    def train(
        self, networks: Pair, samples: Samples, *, eps: float, **options: Unpack[Options]
    ) -> list[dict]:
        """Train the classifier; it ends with the weights of the last epoch (Recipe.train)."""
        classifier = networks.classifier
        schedule = OneCycle(self.rate, samples.steps(BATCH, self.epochs))
        optimizer = keras.optimizers.SGD(schedule, 0.9, nesterov=True)
        return run(
            noisy_classifier_step(classifier, optimizer, self.sigma, options["seed"]),
            samples,
            epochs=self.epochs,
            batch_size=BATCH,
            state={"model": classifier, "optimizer": optimizer},
            title=f"{classifier.name}: {self.title}",
            augment=crop_and_flip,
            **options,
        )

    def on_epoch_end(
        self, model: keras.Model, held_out: Batch, trained_on: Batch, *, eps: float, seed: int
    ) -> dict[str, float]:
        """Measure accuracy on noisy validation images (Recipe.on_epoch_end)."""
        images, labels = held_out
        seen = images + np.random.default_rng(seed).normal(0, self.sigma, images.shape)
        return {"noisy": accuracy(model, seen.astype(np.float32), labels)}


@dataclass(frozen=True)
class DenoiserRecipe(NoiseRecipe):
    """How an autoencoder is trained to remove noise before a classifier (Salman et al. 2020, section 3).

    Attributes:
        epochs: Epochs of Adam on the mean squared error, whose rate falls from ``rate`` to a tenth of it.
        stability_epochs: Further epochs on the stability loss, from a tenth of ``rate`` to a hundredth.
    """

    stability_epochs: int = 6

    def begin(self, build: Callable[[], keras.Model], seed: int) -> keras.Model | None:
        """Return a new autoencoder with random weights (Recipe.begin)."""
        keras.utils.set_random_seed(seed)
        return build_autoencoder()

    def train(
        self, networks: Pair, samples: Samples, *, eps: float, **options: Unpack[Options]
    ) -> list[dict]:
        """Train on the mean squared error, then on the stability of the classifier (Recipe.train).

        The classifier stays as it is. Each record of the history has the name of its loss under ``phase``.
        """
        denoiser, folder, history = networks.autoencoder, options["folder"], []
        assert denoiser is not None, "begin returns one"
        for phase, behind, epochs, first in (
            ("mse", None, self.epochs, self.rate),
            ("stability", networks.classifier, self.stability_epochs, self.rate / 10),
        ):
            options["folder"] = folder / phase
            optimizer = keras.optimizers.Adam(Decay(first, first / 10, samples.steps(BATCH, epochs)))
            part = run(
                denoiser_step(denoiser, optimizer, self.sigma, options["seed"], behind),
                samples,
                epochs=epochs,
                batch_size=BATCH,
                state={"model": denoiser, "optimizer": optimizer},
                title=f"{self.title}, {phase}",
                augment=crop_and_flip,
                **options,
            )
            history += [{**record, "phase": phase} for record in part]
        return history


def noisy(images: tf.Tensor, sigma: float, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Add Gaussian noise that depends only on the seed and on a number, such as that of the step."""
    draw = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
    return images + sigma * tf.random.stateless_normal(tf.shape(images), draw)


def noisy_classifier_step(
    classifier: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    sigma: float,
    seed: int,
    weight_decay: float = 5e-4,
) -> Step:
    """Build a step of cross-entropy on noisy images (Cohen et al. 2019, section 3.3), with L2 decay.

    Raises:
        CourseError: ``sigma`` is out of range.
    """
    check_sigma(sigma)

    def add_noise(images, labels, number):
        return noisy(images, sigma, seed, number)

    return perturbed_step(classifier, optimizer, add_noise, weight_decay)


def denoiser_step(
    denoiser: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    sigma: float,
    seed: int,
    classifier: keras.Model | None = None,
) -> Step:
    """Build a step of a denoiser (Salman et al. 2020, section 3).

    Without a classifier, the loss is the mean squared error (MSE). With one, it is the cross-entropy between
    the classifier's answers to the denoised and to the clean images (STAB); the classifier is not changed.

    Raises:
        CourseError: ``sigma`` is out of range.
    """
    check_sigma(sigma)
    variables = denoiser.trainable_variables

    @tf.function(reduce_retracing=True, autograph=False)
    def step(images, _):
        seen = noisy(images, sigma, seed, optimizer.iterations)
        with tf.GradientTape() as tape:
            restored = denoiser(seen, training=True)
            if classifier is None:
                loss = tf.reduce_mean(tf.square(restored - images))
            else:
                answers = tf.argmax(logits_of(classifier, images), 1)
                logits = logits_of(classifier, restored)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(answers, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step
