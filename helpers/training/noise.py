"""Training on noisy images: classifiers and denoisers for randomized smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..attacks import logits_of
from ..backend import keras, tf
from ..defenses.smoothing import BATCH, check_sigma
from .loop import Decay, OneCycle, Samples, Step, crop_and_flip, run


@dataclass(frozen=True)
class Recipe:
    """How a network learns to see through noise.

    Attributes:
        title: as tables name it.
        source: whose method it is.
        sigma: the noise's standard deviation, in units of [0, 1].
        epochs: of SGD for a classifier (one cycle up to ``rate``), of Adam for a denoiser (from ``rate`` to a tenth).
        stability_epochs: a denoiser's further epochs on the stability loss; None where a classifier is trained.
    """

    title: str
    source: str
    sigma: float
    epochs: int
    rate: float
    stability_epochs: int | None = None


def train_on_noise(
    classifier: keras.Model, samples: Samples, recipe: Recipe, *, seed: int, folder: Path, on_epoch_end=dict
) -> list[dict]:
    """Train a classifier on noisy images; the last epoch's weights stay. Arguments and history as for training.run."""
    size = min(BATCH, len(samples))
    schedule = OneCycle(recipe.rate, recipe.epochs * (len(samples) // size))
    optimizer = keras.optimizers.SGD(schedule, 0.9, nesterov=True)
    return run(
        noisy_classifier_step(classifier, optimizer, recipe.sigma, seed),
        samples,
        epochs=recipe.epochs,
        batch_size=size,
        seed=seed,
        state={"model": classifier, "optimizer": optimizer},
        folder=folder,
        title=f"{classifier.name}: {recipe.title}",
        augment=crop_and_flip,
        on_epoch_end=on_epoch_end,
    )


def train_denoiser(
    denoiser: keras.Model,
    classifier: keras.Model,
    samples: Samples,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    on_epoch_end=dict,
) -> list[dict]:
    """Train a denoiser on the squared error, then on the stability of the classifier behind it, which stays as it is
    (Salman et al. 2020, section 3: "STAB+MSE"). Arguments and history as for training.run; each record has its loss's
    name under ``phase``."""
    history, size = [], min(BATCH, len(samples))
    for phase, epochs, first in (
        ("mse", recipe.epochs, recipe.rate),
        ("stability", recipe.stability_epochs, recipe.rate / 10),
    ):
        steps = epochs * (len(samples) // size)
        optimizer = keras.optimizers.Adam(Decay(first, first / 10, steps))
        part = run(
            denoiser_step(
                denoiser, optimizer, recipe.sigma, seed, classifier if phase == "stability" else None
            ),
            samples,
            epochs=epochs,
            batch_size=size,
            seed=seed,
            state={"model": denoiser, "optimizer": optimizer},
            folder=folder / phase,
            title=f"{recipe.title}, {phase}",
            augment=crop_and_flip,
            on_epoch_end=on_epoch_end,
        )
        history += [{**record, "phase": phase} for record in part]
    return history


def noisy(images: tf.Tensor, sigma: float, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Images with Gaussian noise that depends on the seed and a number (an optimizer's step count) alone."""
    draw = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
    return images + sigma * tf.random.stateless_normal(tf.shape(images), draw)


def noisy_classifier_step(
    classifier: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    sigma: float,
    seed: int,
    weight_decay: float = 5e-4,
) -> Step:
    """One step of cross-entropy on noisy images (Cohen et al. 2019, section 3.3), with L2 decay of the kernels."""
    check_sigma(sigma)
    variables = classifier.trainable_variables
    kernels = [v for v in variables if len(v.shape) > 1]

    @tf.function(reduce_retracing=True, autograph=False)
    def step(images, labels):
        seen = noisy(images, sigma, seed, optimizer.iterations)
        with tf.GradientTape() as tape:
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, classifier(seen, training=True))
            loss = tf.reduce_mean(each)
            total = loss + weight_decay * tf.add_n([tf.nn.l2_loss(k) for k in kernels])
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return loss

    return step


def denoiser_step(
    denoiser: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    sigma: float,
    seed: int,
    classifier: keras.Model | None = None,
) -> Step:
    """One step of a denoiser: images in, images out (Salman et al. 2020, section 3).

    Args:
        classifier: none, and the loss is the mean squared error (MSE); or the classifier that will stand behind, which
            is not changed, and the loss is the cross-entropy between what it answers to the denoised and to the clean
            image (stability, STAB).
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
