"""Several attacks in turn, and for each image whether any of them broke it: an upper bound on robust accuracy.

AutoAttack-style (Croce & Hein 2020), not AutoAttack: there is no FAB, and the budgets are others. Do not put its
numbers beside those that AutoAttack gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..settings import CourseError, progress
from .auto_pgd import apgd, apgd_targeted
from .gradient import Model, check_count, check_seed, checked, fooled
from .square_attack import square

Attack = Callable[[Model, np.ndarray, np.ndarray, float, int], np.ndarray]
"""From (model, images, labels, eps, seed) to attacked images."""


@dataclass(frozen=True)
class Effort:
    """What the ensemble spends on an image.

    Attributes:
        steps: of either APGD.
        restarts: of APGD on cross-entropy.
        classes: wrong classes that targeted APGD tries.
        queries: of Square.
    """

    steps: int
    restarts: int
    classes: int
    queries: int


EFFORTS = {
    "standard": Effort(steps=100, restarts=1, classes=9, queries=1000),
    "quick": Effort(steps=20, restarts=1, classes=3, queries=200),
}
"""``standard``, for numbers to report: up to 1,010 gradients and 1,000 queries an image. ``quick``, for a first look:
up to 84 and 200; it may leave images standing that ``standard`` breaks."""


@dataclass(frozen=True, eq=False)
class Result:
    """What became of each image.

    Attributes:
        images: float32 [n, h, w, c]: the adversarial example found, or the original image where none was.
        broken_by: str [n]: ``clean`` (misclassified without an attack), the name of the first attack that succeeded,
            or "" for an image that all attacks left standing.
        attacks: the attacks' names, in the order they were run.
    """

    images: np.ndarray
    broken_by: np.ndarray
    attacks: tuple[str, ...]

    @property
    def standing(self) -> np.ndarray:
        """Booleans [n]: classified correctly, and broken by none. Their mean is the robust accuracy."""
        return self.broken_by == ""

    def counts(self) -> dict[str, int]:
        """How many images each attack broke, first ``clean``; each image counts once."""
        return {name: int((self.broken_by == name).sum()) for name in ("clean", *self.attacks)}


def ensemble(effort: str = "standard", batch_size: int = 128) -> dict[str, Attack]:
    """The attacks that worst_case runs, in order: APGD on cross-entropy, APGD on the targeted DLR loss, Square.

    To add one: ``worst_case(..., attacks=ensemble("quick") | {"mine": attack})``.

    Args:
        effort: a name in EFFORTS.

    Raises:
        CourseError: there is none.
    """
    if effort not in EFFORTS:
        raise CourseError(f"unknown effort {effort!r}; choose one of {', '.join(EFFORTS)}")
    spent = EFFORTS[effort]

    def apgd_ce(model, images, labels, eps, seed):
        options = {"steps": spent.steps, "restarts": spent.restarts, "seed": seed, "batch_size": batch_size}
        return apgd(model, images, labels, eps, **options)

    def apgd_t(model, images, labels, eps, seed):
        options = {"steps": spent.steps, "classes": spent.classes, "seed": seed, "batch_size": batch_size}
        return apgd_targeted(model, images, labels, eps, **options)

    def square_queries(model, images, labels, eps, seed):
        return square(model, images, labels, eps, queries=spent.queries, seed=seed, batch_size=batch_size)

    return {"apgd-ce": apgd_ce, "apgd-t": apgd_t, "square": square_queries}


def worst_case(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    attacks: Mapping[str, Attack] | None = None,
    effort: str = "standard",
    seed: int = 0,
    batch_size: int = 128,
    title: str = "worst case",
) -> Result:
    """Each image's worst case over several attacks in linf, AutoAttack-style (not AutoAttack; see the module).

    Images that the model misclassifies as they are count as broken. Each attack then gets the images still standing,
    and breaks those whose attacked version the model, asked anew, misclassifies.

    Args:
        model: a callable from float32 images [n, h, w, c] in [0, 1] to logits [n, classes]; a Keras model is called in
            inference mode.
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n], the true classes.
        eps: the largest change of any value in [0, 1]; the paper's is 8/255.
        attacks: by name, in the order to run them; default: ensemble(effort, batch_size). An attack counts images by
            their place among those it is given.
        effort: a name in EFFORTS; without effect where ``attacks`` are given.
        seed: handed to every attack.
        title: of the progress bar, which moves on when an attack is done.

    Raises:
        CourseError: an argument is not of that form, or an attack returned images outside the ball or [0, 1].
    """
    images, labels = checked(model, images, labels, eps)
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    check_seed(seed)
    attacks = dict(ensemble(effort, batch_size) if attacks is None else attacks)
    if {"", "clean"} & set(attacks):
        raise CourseError("an attack is named '' or 'clean', which the result uses for other ends; rename it")
    found, broken_by = images.copy(), np.full(len(images), "", object)
    broken_by[fooled(model, images, labels, batch_size=batch_size)] = "clean"
    with progress(len(images) * len(attacks), title) as bar:
        for name, attack in attacks.items():
            standing = np.flatnonzero(broken_by == "")
            if len(standing):
                originals, truth = images[standing], labels[standing]
                # Copies, so that an attack that writes to its arguments cannot move the ball.
                attacked = np.asarray(attack(model, originals.copy(), truth.copy(), eps, seed))
                _check_inside(name, attacked, originals, eps)
                broken = fooled(model, attacked, truth, batch_size=batch_size)
                found[standing[broken]], broken_by[standing[broken]] = attacked[broken], name
            bar.update(len(images))
    return Result(found, broken_by.astype(str), tuple(attacks))


def _check_inside(name: str, attacked: np.ndarray, images: np.ndarray, eps: float) -> None:
    """Refuse what is no set of attacked images. NaN fails each comparison, and so is refused too."""
    if attacked.shape != images.shape or attacked.dtype != np.float32:
        raise CourseError(
            f"attack {name!r} returned {attacked.dtype} {attacked.shape}; float32 {images.shape} was expected"
        )
    if not (attacked.min() >= 0 and attacked.max() <= 1):
        raise CourseError(f"attack {name!r} returned values outside [0, 1]; have it clip them")
    moved = np.abs(attacked - images).max()
    if not moved <= eps + 1e-6:
        raise CourseError(f"attack {name!r} moved a value by {moved:.4g}, more than eps = {eps:.4g}")
