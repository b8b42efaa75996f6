"""The loss around one image: along lines, over a plane, and on the way of an attack.

    fgsm = loss_landscape.fgsm_path(classifier, image, label, eps)
    surface = loss_landscape.surface(classifier, image, label, eps, {"FGSM": fgsm})

An image is float32 [h, w, c] in [0, 1], a model any callable from images to logits. A point that leaves
[0, 1] is clipped, as an attack's is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import attacks
from ..attacks import STEPS, Model
from ..attacks.losses import cross_entropy
from ..backend import tf


@dataclass(frozen=True, eq=False)
class Path:
    """The way of an attack on one image.

    Attributes:
        images: the image itself, then the image after each move, float32 [k, h, w, c]; the last is attacked.
        losses: the cross-entropy at each of them, [k].
    """

    images: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True, eq=False)
class Surface:
    """The loss over a plane through an image.

    Attributes:
        levels: the distances along each direction at which the loss is known, [k].
        losses: [k, k]. The first axis is the second direction, as in a picture.
        reach: the largest change of any value at each point, before clipping, [k, k].
        eps: the budget.
        shadows: by attack, its path projected onto the plane, [steps, 2].
        paths: by attack, its path.
        across: the name of the second direction.
    """

    levels: np.ndarray
    losses: np.ndarray
    reach: np.ndarray
    eps: float
    shadows: dict[str, np.ndarray]
    paths: dict[str, Path]
    across: str = "random signs"

    @property
    def finding(self) -> str:
        """The loss at the image, and where each attack ends."""
        ends = [f"{name} ends at {path.losses[-1]:.2g}" for name, path in self.paths.items()]
        start = next(iter(self.paths.values())).losses[0]
        return f"From a loss of {start:.2g}, {' and '.join(ends)}"


@dataclass(frozen=True, eq=False)
class Lines:
    """The loss along straight lines from an image.

    Attributes:
        levels: how far every value is moved, [k], from 0 to 2 eps.
        gradient: the loss along the gradient's sign, [k].
        random: the loss along random sign directions, [m, k].
        eps: the budget.
    """

    levels: np.ndarray
    gradient: np.ndarray
    random: np.ndarray
    eps: float

    @property
    def at_eps(self) -> int:
        """The place of eps among the levels."""
        return int(np.argmin(np.abs(self.levels - self.eps)))

    @property
    def finding(self) -> str:
        """The loss at eps along the gradient's sign, and the mean of those along random signs."""
        climbed, drifted = self.gradient[self.at_eps], self.random[:, self.at_eps].mean()
        return f"Loss at eps: {climbed:.2f} along the gradient's sign, {drifted:.2f} along random signs"


def losses_of(model: Model, images: np.ndarray, label: int) -> np.ndarray:
    """Return the cross-entropy of images [n, h, w, c] that are all of one class, float64 [n]."""
    logits = attacks.logits_in_batches(model, np.asarray(images, np.float32))
    labels = np.full(len(logits), label, np.int32)
    return np.asarray(cross_entropy(labels, tf.constant(logits)), np.float64)


def gradient_at(model: Model, image: np.ndarray, label: int) -> np.ndarray:
    """Return the gradient of the loss at an image, like the image."""
    labels = tf.constant([label], tf.int32)
    return np.asarray(attacks.input_gradient(model, tf.constant(image[None]), labels))[0]


def random_directions(image: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Draw random signs for every value of an image, float32 [count, h, w, c]."""
    return np.random.default_rng(seed).choice(np.float32([-1, 1]), (count, *image.shape))


def fgsm_path(model: Model, image: np.ndarray, label: int, eps: float) -> Path:
    """Return the two points of FGSM: the image and the attacked image."""
    attacked = attacks.fgsm(model, image[None], np.array([label]), eps)
    return _path(model, np.stack([image, attacked[0]]), label)


def pgd_path(
    model: Model,
    image: np.ndarray,
    label: int,
    eps: float,
    *,
    step_size: float,
    steps: int = STEPS,
    random_start: bool = True,
    seed: int = 0,
) -> Path:
    """Return the points of PGD: the image, the random start if there is one, and the point after each step.

    An attack with fewer steps is the beginning of one with more, so each point is an attack of its own.
    """
    options = {"step_size": step_size, "random_start": random_start, "seed": seed}
    points = [image]
    if random_start:
        points.append(attacks.random_start_for(image[None], eps, "linf", seed, np.arange(1))[0])
    for taken in range(1, steps + 1):
        attacked = attacks.pgd(model, image[None], np.array([label]), eps, steps=taken, **options)
        points.append(attacked[0])
    return _path(model, np.stack(points), label)


def _path(model: Model, images: np.ndarray, label: int) -> Path:
    return Path(images, losses_of(model, images, label))


def lines(
    model: Model, image: np.ndarray, label: int, eps: float, count: int = 10, points: int = 41, seed: int = 0
) -> Lines:
    """Measure the loss along the gradient's sign and along random sign directions, up to 2 eps.

    Args:
        model: the model.
        image: the image.
        label: its true class.
        eps: the budget.
        count: the number of random directions.
        points: the number of levels; an odd one has eps among them.
        seed: of the random directions.
    """
    directions = np.stack([np.sign(gradient_at(model, image, label)), *random_directions(image, count, seed)])
    levels = np.linspace(0, 2 * eps, points, dtype=np.float32)
    moved = np.clip(image + levels[:, None, None, None] * directions[:, None], 0, 1)
    losses = losses_of(model, moved.reshape(-1, *image.shape), label).reshape(len(directions), points)
    return Lines(levels, losses[0], losses[1:], eps)


def surface(
    model: Model,
    image: np.ndarray,
    label: int,
    eps: float,
    paths: Mapping[str, Path],
    points: int = 31,
    seed: int = 0,
    towards: str = "",
) -> Surface:
    """Measure the loss over the plane of the gradient's sign and a second direction.

    The second direction is random signs, or leads towards the end of one of the paths: then that end lies in
    the plane, as FGSM's does.

    Args:
        model: the model.
        image: the image, in the middle.
        label: its true class.
        eps: the budget.
        paths: by the attack's title, the paths whose shadows on the plane are wanted.
        points: the number of levels in each direction, which reach 1.5 eps.
        seed: of the random direction.
        towards: the title of the path to whose end the second direction leads; random signs if empty.
    """
    first = np.sign(gradient_at(model, image, label))
    (second,) = random_directions(image, 1, seed)
    if towards:
        second = _beyond(paths[towards].images[-1] - image, first)
    levels = np.linspace(-1.5 * eps, 1.5 * eps, points, dtype=np.float32)
    along, aside = (grid[..., None, None, None] for grid in np.meshgrid(levels, levels))
    change = along * first + aside * second
    moved = np.clip(image + change, 0, 1).reshape(-1, *image.shape)
    losses = losses_of(model, moved, label).reshape(points, points)
    reach = np.abs(change).max((2, 3, 4))
    plane = np.stack([first.ravel(), second.ravel()], axis=1)
    shadows = {name: _shadow(path.images - image, plane) for name, path in paths.items()}
    across = f"what {towards} adds to it" if towards else "random signs"
    return Surface(levels, losses, reach, eps, shadows, dict(paths), across)


def _beyond(change: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the part of a change that is orthogonal to a direction; its largest value is 1."""
    rest = change - np.vdot(change, first) / np.vdot(first, first) * first
    return rest / max(np.abs(rest).max(), np.float32(1e-12))


def _shadow(changes: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Project changes [n, h, w, c] onto the plane of two directions [values, 2]; return points [n, 2]."""
    return np.linalg.lstsq(plane, changes.reshape(len(changes), -1).T, rcond=None)[0].T
