"""Randomized smoothing.

The smoothed classifier gives the answer that the base classifier gives most often under Gaussian noise. If
that answer has probability at least p at an image, it is the same for every change whose Euclidean norm is
below sigma * Phi^-1(p). This is a certificate: it holds against every attack, with the chosen confidence
(Cohen, Rosenfeld & Kolter 2019, "Certified adversarial robustness via randomized smoothing").

The base classifier must cope with noise. It is trained on noisy images (training.noise), or has a denoiser
before it (Salman et al. 2020, "Denoised smoothing").
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.stats import binomtest, norm

from ..attacks import Model, check_batch, check_seed, logits_of
from ..backend import tf
from ..backend.tracing import traced
from ..settings import CourseError, check_count, plain_numbers, progress

ABSTAIN = -1
"""The prediction if the samples do not show which class leads."""


@dataclass(frozen=True, eq=False)
class Certificates:
    """The certificates of n images.

    Attributes:
        predictions: int [n], the smoothed classifier's class, or ABSTAIN.
        radii: float [n], the l2 radius within which the class stays the same; 0 if the classifier abstains.
    """

    predictions: np.ndarray
    radii: np.ndarray

    def certified(self, labels: np.ndarray, radius: float) -> np.ndarray:
        """Return which images are classified correctly and certified at this l2 radius: booleans [n]."""
        return (self.predictions == labels) & (self.radii >= radius)


@plain_numbers
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

    The classifier abstains if the bound on the leading class's probability is not above a half.

    Args:
        model: the base classifier, a callable from float32 images [n, h, w, c] to logits.
        images: float32 [n, h, w, c] in [0, 1].
        sigma: the noise's standard deviation, in units of [0, 1]. Noisy images are not clipped.
        select: number of noisy samples that choose the leading class.
        samples: number of further samples that bound its probability from below (Clopper-Pearson).
        alpha: the probability that an image's certificate is wrong.
        seed: an image's noise depends only on the seed and on the image's position.
        batch_size: noisy images in a batch.
        classes: number of classes.

    Raises:
        CourseError: an argument does not have this form.
    """
    check_batch(images, np.zeros(len(images), int))
    for count, name in ((select, "select"), (samples, "samples"), (batch_size, "batch_size")):
        check_count(count, name, "at least 1 is needed")
    check_seed(seed)
    check_sigma(sigma)
    if not isinstance(alpha, Real) or not 0 < alpha < 1:
        raise CourseError(f"alpha is {alpha!r}; it is a probability between 0 and 1, such as 0.001")
    model = traced(model, np.asarray(images, np.float32))
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
    model: Model,
    image: np.ndarray,
    sigma: float,
    samples: int,
    seed: tuple[int, int],
    batch_size: int,
    classes: int,
) -> np.ndarray:
    """Count how often each class is the answer under Gaussian noise: int [classes]. A NaN is no answer."""
    counts, size = np.zeros(classes, int), min(batch_size, samples)
    answers_under_noise = traced(model, image[None]).graph(_answers_under_noise)
    for number, first in enumerate(range(0, samples, size)):
        draw = tf.random.fold_in(tf.constant(seed, tf.int64), number)
        answers = answers_under_noise(tf.constant(image), sigma, draw, size).numpy()[: samples - first]
        counts += np.bincount(answers[answers >= 0], minlength=classes)
    return counts


def _answers_under_noise(model, image, sigma, seed, size):
    noise = tf.random.stateless_normal((size, *image.shape), seed)
    logits = logits_of(model, image + sigma * noise)
    return tf.where(tf.reduce_any(tf.math.is_nan(logits), 1), -1, tf.argmax(logits, 1, tf.int32))


def lower_bound(hits: int, samples: int, alpha: float) -> float:
    """Compute the one-sided Clopper-Pearson lower bound of a probability, given ``hits`` of ``samples``."""
    return float(binomtest(hits, samples, alternative="greater").proportion_ci(1 - alpha, method="exact").low)


def largest_radius(sigma: float, samples: int, alpha: float = 0.001) -> float:
    """Compute the radius that is certified if every sample agrees.

    A larger one needs more samples or more noise.
    """
    return float(sigma * norm.ppf(lower_bound(samples, samples, alpha)))


def linf_within(radius: float | np.ndarray, dimensions: int = 32 * 32 * 3) -> float | np.ndarray:
    """Compute eps of the largest linf ball in an l2 ball.

    A change of eps in every value has l2 norm eps * sqrt(dimensions).
    """
    return radius / np.sqrt(dimensions)


def l2_around(eps: float, dimensions: int = 32 * 32 * 3) -> float:
    """Compute the radius of the smallest l2 ball around an linf ball, as a certificate for eps needs it."""
    return eps * float(np.sqrt(dimensions))


def check_sigma(sigma: float) -> None:
    """Raise CourseError unless sigma is a standard deviation that suits images in [0, 1]."""
    if not isinstance(sigma, Real) or not 0 < sigma <= 2:
        raise CourseError(
            f"sigma is {sigma!r}; it is the noise's deviation on images in [0, 1], such as 0.25"
        )
