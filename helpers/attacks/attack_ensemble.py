"""Several attacks in turn. An image is robust only if none of them breaks it.

With the effort ``autoattack``, they are the attacks of AutoAttack's standard version (Croce & Hein 2020), in
its order and with its budgets. The other efforts leave FAB out and spend less; their numbers must not be
compared with AutoAttack's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..backend.finite import NotANumber, without_nan
from ..backend.tracing import Model
from ..settings import CourseError, check_count, plain_numbers, progress
from .auto_pgd import apgd, apgd_targeted
from .batches import fooled, logits_in_batches
from .checks import check_norm, check_seed, checked
from .fast_adaptive_boundary import fab_targeted
from .square_attack import square

Attack = Callable[[Model, np.ndarray, np.ndarray, float, int], np.ndarray]
"""From (model, images, labels, eps, seed) to attacked images."""


@dataclass(frozen=True)
class Effort:
    """The budget of the ensemble.

    Attributes:
        steps: of each run of APGD.
        restarts: of APGD on the cross-entropy.
        classes: the number of wrong classes that targeted APGD tries.
        queries: of Square.
        with_fab: whether FAB-T runs, too, with the same steps and classes.
    """

    steps: int
    restarts: int
    classes: int
    queries: int
    with_fab: bool = False


EFFORTS = {
    "autoattack": Effort(steps=100, restarts=1, classes=9, queries=5000, with_fab=True),
    "standard": Effort(steps=100, restarts=1, classes=9, queries=1000),
    "quick": Effort(steps=20, restarts=1, classes=3, queries=200),
}
"""``autoattack`` is for numbers that others compare with: up to 1,910 gradients and 5,900 queries per image.
``standard`` takes up to 1,010 and 1,000. ``quick`` is for a first look, with up to 84 and 200. It misses some
images that ``standard`` breaks."""


@dataclass(frozen=True)
class Member:
    """An attack of the ensemble with its budget. ``least_classes`` is the number of classes that it needs."""

    attack: Callable[..., np.ndarray]
    batch_size: int
    budget: Mapping[str, int]
    norm: str = "linf"
    least_classes: int = 2

    def __call__(self, model: Model, images: np.ndarray, labels: np.ndarray, eps: float, seed: int):
        """Return attacked images."""
        options = {"seed": seed, "norm": self.norm, "batch_size": self.batch_size, **self.budget}
        return self.attack(model, images, labels, eps, **options)


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome for each image.

    Attributes:
        images: float32 [n, h, w, c]: the adversarial example, or the original image if none was found.
        broken_by: str [n]: ``clean`` (misclassified without an attack), the first attack that succeeded, or
            "" for a robust image.
        attacks: the names of the attacks, in the order of their runs.
        left_out: why an attack was left out, by its name.
    """

    images: np.ndarray
    broken_by: np.ndarray
    attacks: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def robust(self) -> np.ndarray:
        """Whether all attacks failed on an image: booleans [n], whose mean is the robust accuracy."""
        return self.broken_by == ""

    def counts(self) -> dict[str, int]:
        """Return how many images each attack broke, starting with ``clean``. Each image counts once."""
        return {name: int((self.broken_by == name).sum()) for name in ("clean", *self.attacks)}


def ensemble(effort: str = "standard", batch_size: int = 128, norm: str = "linf") -> dict[str, Attack]:
    """Return the attacks of ``worst_case``: APGD untargeted and targeted, FAB-T, Square.

    To add an attack: ``worst_case(..., attacks=ensemble("quick") | {"mine": attack})``.

    Args:
        effort: a name in EFFORTS.
        batch_size: the number of images attacked at once.
        norm: ``linf`` or ``l2``.

    Raises:
        CourseError: there is no such effort or norm.
    """
    check_norm(norm)
    if effort not in EFFORTS:
        raise CourseError(f"unknown effort {effort!r}; choose one of {', '.join(EFFORTS)}")
    spent = EFFORTS[effort]

    untargeted = {"steps": spent.steps, "restarts": spent.restarts}
    targeted = {"steps": spent.steps, "classes": spent.classes}
    fab = {"fab-t": Member(fab_targeted, batch_size, targeted, norm)} if spent.with_fab else {}
    return {
        "apgd-ce": Member(apgd, batch_size, untargeted, norm),
        "apgd-t": Member(apgd_targeted, batch_size, targeted, norm, least_classes=4),
        **fab,
        "square": Member(square, batch_size, {"queries": spent.queries}, norm),
    }


@plain_numbers
def worst_case(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    attacks: Mapping[str, Attack] | None = None,
    effort: str = "standard",
    seed: int = 0,
    norm: str = "linf",
    batch_size: int = 128,
    title: str = "worst case",
) -> Result:
    """Attack each image with several attacks, and keep the first success (AutoAttack-style).

    Each attack gets only the images that are still robust. An image is broken if the model misclassifies it
    when it is asked again. An attack whose loss needs more classes than there are is left out.

    Args:
        model: a callable from images to logits (see gradient.py).
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n], the true classes.
        eps: the radius of the ball, in the norm; the paper's is 8/255 in linf.
        attacks: attacks by name, run in this order; default: ensemble(effort, batch_size, norm).
        effort: a name in EFFORTS; ignored if ``attacks`` are given.
        seed: for every attack.
        norm: ``linf`` or ``l2``.
        batch_size: the number of images in a batch.
        title: of the progress bar.

    Raises:
        CourseError: an argument is invalid, or an attack returned images outside the ball or [0, 1].
    """
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    check_seed(seed)
    attacks = dict(ensemble(effort, batch_size, norm) if attacks is None else attacks)
    if {"", "clean"} & set(attacks):
        raise CourseError("an attack is named '' or 'clean', names that the result reserves; rename it")
    assessed, images, labels = checked(model, images, labels, eps, norm, by_gradient=False)
    left_out = _too_few_classes(attacks, assessed.sample.shape[1])
    attacks = {name: attack for name, attack in attacks.items() if name not in left_out}
    if not attacks:
        raise CourseError("; ".join(["there is no attack to run", *left_out.values()]))
    logits = without_nan(logits_in_batches(assessed, images, batch_size))
    found, broken_by = images.copy(), np.full(len(images), "", object)
    broken_by[logits.argmax(1) != labels] = "clean"
    with progress(len(images) * len(attacks), title) as bar:
        for name, attack in attacks.items():
            remaining = np.flatnonzero(broken_by == "")
            if len(remaining):
                originals, truth = images[remaining], labels[remaining]
                try:  # with copies, because an attack may write to its arguments
                    attacked = np.asarray(attack(model, originals.copy(), truth.copy(), eps, seed))
                except NotANumber as error:  # it counts the images that it was given
                    raise NotANumber(f"{name}: {error.what}", remaining[error.positions]) from error
                _check_inside(name, attacked, originals, eps, norm)
                broken = fooled(assessed, attacked, truth, batch_size=batch_size)
                found[remaining[broken]], broken_by[remaining[broken]] = attacked[broken], name
            bar.update(len(images))
    return Result(found, broken_by.astype(str), tuple(attacks), left_out)


def _too_few_classes(attacks: Mapping[str, Attack], known: int) -> dict[str, str]:
    """Return why attacks cannot run on a model of so few classes, by name; before any has run."""
    needed = {name: getattr(attack, "least_classes", 2) for name, attack in attacks.items()}
    return {
        name: f"{name} needs {least} classes, but the model knows {known}"
        for name, least in needed.items()
        if least > known
    }


def _check_inside(name: str, attacked: np.ndarray, images: np.ndarray, eps: float, norm: str) -> None:
    """Check attacked images. The conditions are written so that NaN fails them."""
    if attacked.shape != images.shape or attacked.dtype != np.float32:
        raise CourseError(
            f"attack {name!r} returned {attacked.dtype} {attacked.shape}; float32 {images.shape} was expected"
        )
    if not (attacked.min() >= 0 and attacked.max() <= 1):
        raise CourseError(f"attack {name!r} returned values outside [0, 1]; have it clip them")
    order, what = (np.inf, "a value") if norm == "linf" else (2, "an image")
    moved = np.linalg.norm((attacked - images).reshape(len(images), -1), order, axis=1).max()
    if not moved <= eps * (1 + 1e-5) + 1e-6:
        raise CourseError(f"attack {name!r} moved {what} by {moved:.4g}, more than eps = {eps:.4g}")
