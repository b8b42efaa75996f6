"""Randomised smoothing (Cohen, Rosenfeld & Kolter 2019, "Certified adversarial robustness via randomized smoothing").

The smoothed classifier answers what the base classifier answers most often under Gaussian noise. Around an image whose
leading class has probability at least p, it gives the same answer for every change of Euclidean length below
sigma * Phi^-1(p): a certificate, true of every attack, that holds with the chosen confidence.

The base classifier must know the noise: trained on it (noisy_classifier_step), or behind a denoiser that was (Salman et
al. 2020, "Denoised smoothing").
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, norm

from .attacks import Model, check_batch, check_count, check_seed, logits_of
from .backend import keras, tf
from .settings import CourseError, progress
from .training import Decay, OneCycle, Samples, Step, crop_and_flip, run

BATCH = 128

ABSTAIN = -1
"""The prediction where the samples do not tell which class leads."""


@dataclass(frozen=True, eq=False)
class Certificates:
    """What is certified of each image.

    Attributes:
        predictions: int [n], the smoothed classifier's class, or ABSTAIN.
        radii: float [n], the Euclidean radius within which it is constant; 0 where it abstains.
    """

    predictions: np.ndarray
    radii: np.ndarray

    def certified(self, labels: np.ndarray, radius: float) -> np.ndarray:
        """Booleans [n]: classified correctly, and certified at this radius (paper, section 4)."""
        return (self.predictions == labels) & (self.radii >= radius)


def certify(
    model: Model,
    images: np.ndarray,
    sigma: float,
    *,
    select: int = 100,
    samples: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    batch_size: int = 500,
    classes: int = 10,
) -> Certificates:
    """Certify the smoothed classifier (Cohen et al. 2019, section 3.2.2, CERTIFY).

    ``select`` draws choose the class; another ``samples`` bound its probability from below (Clopper-Pearson). Where the
    bound is not above a half it abstains.

    Args:
        model: a callable from float32 images [n, h, w, c] to logits; not smoothed.
        images: float32 [n, h, w, c] in [0, 1].
        sigma: the noise's standard deviation, in units of [0, 1]. Noisy images are not clipped.
        alpha: the probability, for each image, that its certificate is wrong.
        seed: an image's noise depends on it and on the image's position alone.
        batch_size: noisy images classified at a time.

    Raises:
        CourseError: an argument is not of that form.
    """
    check_batch(images, np.zeros(len(images), int))
    for count, name in ((select, "select"), (samples, "samples"), (batch_size, "batch_size")):
        check_count(count, name, "at least 1 is needed")
    check_seed(seed)
    check_sigma(sigma)
    if not isinstance(alpha, Real) or not 0 < alpha < 1:
        raise CourseError(f"alpha is {alpha!r}; it is a probability between 0 and 1, such as 0.001")
    predictions, radii = np.full(len(images), ABSTAIN), np.zeros(len(images))
    with progress(len(images), "certifying") as bar:
        for k, image in enumerate(np.asarray(images, np.float32)):
            first = noisy_counts(model, image, sigma, select, (seed, 2 * k), batch_size, classes)
            leading = int(first.argmax())
            counts = noisy_counts(model, image, sigma, samples, (seed, 2 * k + 1), batch_size, classes)
            lower = lower_bound(int(counts[leading]), samples, alpha)
            if lower > 0.5:
                predictions[k], radii[k] = leading, sigma * norm.ppf(lower)
            bar.update()
    return Certificates(predictions, radii)


def noisy_counts(
    model: Model, image: np.ndarray, sigma: float, samples: int, seed: tuple[int, int], batch_size: int, classes: int
) -> np.ndarray:
    """How often each class is the answer under Gaussian noise: int [classes]."""
    counts, size = np.zeros(classes, int), min(batch_size, samples)
    for number, first in enumerate(range(0, samples, size)):
        draw = tf.random.experimental.stateless_fold_in(tf.constant(seed, tf.int64), number)
        answers = _answers_under_noise(model, tf.constant(image), sigma, draw, size).numpy()
        counts += np.bincount(answers[: samples - first], minlength=classes)
    return counts


@tf.function(reduce_retracing=True, autograph=False)
def _answers_under_noise(model, image, sigma, seed, size):
    noise = tf.random.stateless_normal((size, *image.shape), seed)
    return tf.argmax(logits_of(model, image + sigma * noise), 1)


def lower_bound(hits: int, samples: int, alpha: float) -> float:
    """The one-sided Clopper-Pearson lower bound of a probability (scipy's exact interval)."""
    return float(binomtest(hits, samples, alternative="greater").proportion_ci(1 - alpha, method="exact").low)


def largest_radius(sigma: float, samples: int, alpha: float = 0.001) -> float:
    """What can be certified at most, where every sample agrees: so much more needs more samples or noise."""
    return float(sigma * norm.ppf(lower_bound(samples, samples, alpha)))


def linf_within(radius: float | np.ndarray, dimensions: int = 32 * 32 * 3) -> float | np.ndarray:
    """The eps of the largest linf ball inside an l2 ball: a change of eps in every value is eps * sqrt(dimensions)
    long."""
    return radius / np.sqrt(dimensions)


def l2_around(eps: float, dimensions: int = 32 * 32 * 3) -> float:
    """The radius of the smallest l2 ball that holds an linf ball: what must be certified to certify eps."""
    return eps * float(np.sqrt(dimensions))


def check_sigma(sigma: float) -> None:
    """Refuse what is no standard deviation of noise on images in [0, 1]."""
    if not isinstance(sigma, Real) or not 0 < sigma <= 2:
        raise CourseError(f"sigma is {sigma!r}; it is the noise's deviation on images in [0, 1], such as 0.25")


# ---------------------------------------------------------------------------------------------------------- training


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
    classifier: keras.Model, samples: Samples, recipe: Recipe, *, seed: int, folder: Path, watch=dict
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
        watch=watch,
    )


def train_denoiser(
    denoiser: keras.Model,
    classifier: keras.Model,
    samples: Samples,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    watch=dict,
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
            denoiser_step(denoiser, optimizer, recipe.sigma, seed, classifier if phase == "stability" else None),
            samples,
            epochs=epochs,
            batch_size=size,
            seed=seed,
            state={"model": denoiser, "optimizer": optimizer},
            folder=folder / phase,
            title=f"{recipe.title}, {phase}",
            augment=crop_and_flip,
            watch=watch,
        )
        history += [{**record, "phase": phase} for record in part]
    return history


def noisy(images: tf.Tensor, sigma: float, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Images with Gaussian noise that depends on the seed and a number (an optimizer's step count) alone."""
    draw = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
    return images + sigma * tf.random.stateless_normal(tf.shape(images), draw)


def noisy_classifier_step(
    classifier: keras.Model, optimizer: keras.optimizers.Optimizer, sigma: float, seed: int, weight_decay: float = 5e-4
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
