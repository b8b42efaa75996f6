"""An attack that can be drawn: a small classifier of images with two values, and one point of their square.

The classifier takes images [n, 1, 2, 1] and returns logits [n, 2], so the attacks on it are the course's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

from ..backend import keras, tf
from ..evaluation import predict
from .loss_landscape import Path, fgsm_path, gradient_at, pgd_path

POINT, EPS, STEP_SIZE = (0.26, 0.76), 0.12, 0.03
"""The attacked point, the budget and PGD's step size: chosen so that one step is too few."""


SCALE = 4.0
"""Of the classifier's first layer, which maps [0, 1] to [-2, 2]."""


@dataclass(frozen=True, eq=False)
class Regions:
    """A classifier's answers over the unit square, and one attacked point.

    Attributes:
        axis: the coordinates at which the answers are known, [k], the same for both values.
        probability: of class 1, [k, k]. The first axis is the second value, as in a picture.
        points, labels: what the classifier was trained on, [n, 2] and [n].
        point: the attacked point, [2].
        label: its class.
        eps: the budget.
        gradient: of the loss at the point, [2].
        paths: by the attack's title, its path; the images are [k, 1, 2, 1].
    """

    axis: np.ndarray
    probability: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    point: np.ndarray
    label: int
    eps: float
    gradient: np.ndarray
    paths: dict[str, Path]


def data(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of the unit square, float32 [n, 2]. Those above a wave are of class 1."""
    points = np.random.default_rng(seed).random((n, 2), np.float32)
    return points, (points[:, 1] > _wave(points[:, 0])).astype(np.int32)


def _wave(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.22 * np.sin(2 * np.pi * x)


@cache
def classifier(seed: int = 0, hidden: int = 16, decay: float = 1e-3) -> keras.Model:
    """Train the toy's classifier on the points of ``data``, by L-BFGS; this takes a fraction of a second.

    Args:
        seed: of the points and of the initial weights.
        hidden: the number of hidden units.
        decay: the factor of the weights' squares in the loss.
    """
    points, labels = data(seed=seed)
    shapes = [(2, hidden), (hidden,), (hidden, 2), (2,)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])

    def weights_of(flat: np.ndarray) -> list[np.ndarray]:
        parts = np.split(flat, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        first, first_bias, second, second_bias = weights_of(flat)
        inputs = SCALE * (points - 0.5)
        active = np.tanh(inputs @ first + first_bias)
        share = softmax(active @ second + second_bias, axis=1)
        loss = -np.log(share[np.arange(len(labels)), labels]).mean() + decay * flat @ flat
        error = (share - np.eye(2)[labels]) / len(labels)
        before = error @ second.T * (1 - active**2)
        parts = inputs.T @ before, before.sum(0), active.T @ error, error.sum(0)
        return loss, np.concatenate([part.ravel() for part in parts]) + 2 * decay * flat

    start = np.random.default_rng(seed).normal(0, 0.5, ends[-1])
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    layers = keras.layers
    scaled = layers.Rescaling(SCALE, offset=-SCALE / 2)
    dense = layers.Dense(hidden, activation="tanh"), layers.Dense(2)
    model = keras.Sequential([keras.Input((1, 2, 1)), layers.Flatten(), scaled, *dense], name="toy_regions")
    model.set_weights(weights_of(found.x))
    return model


def as_images(points: np.ndarray) -> np.ndarray:
    """Return points [n, 2] as images of two values, float32 [n, 1, 2, 1]."""
    return np.asarray(points, np.float32).reshape(-1, 1, 2, 1)


def regions(
    point: tuple[float, float] = POINT, eps: float = EPS, step_size: float = STEP_SIZE, side: int = 121
) -> Regions:
    """Train the toy's classifier, and attack one point of the class that the wave gives it.

    Args:
        point: the point.
        eps: the budget.
        step_size: of PGD, which begins at the point itself.
        side: the number of coordinates at which the answers are measured.
    """
    model, (image,) = classifier(), as_images(np.array(point))
    label = int(point[1] > _wave(np.float64(point[0])))
    axis = np.linspace(0, 1, side)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    logits = predict(model, as_images(grid))
    paths = {
        "FGSM": fgsm_path(model, image, label, eps),
        "PGD": pgd_path(model, image, label, eps, step_size=step_size, random_start=False),
    }
    return Regions(
        axis=axis,
        probability=np.asarray(tf.nn.softmax(logits))[:, 1].reshape(side, side),
        points=data()[0],
        labels=data()[1],
        point=image.ravel(),
        label=label,
        eps=eps,
        gradient=gradient_at(model, image, label).ravel(),
        paths=paths,
    )
