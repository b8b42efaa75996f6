"""Gather what the checks look at: attacked images, the model's answers to them, and its gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .. import attacks
from ..attacks import STEPS, Model, checks, losses, step_size_for
from ..attacks.square_attack import square
from ..backend import tf
from ..datasets.storage import to_float
from ..evaluation.accuracy import outputs
from ..settings import CourseError, check_count, check_eps

Attack = Callable[..., np.ndarray]

BATCH = 128
RESTARTS = 3
SMALL = 1e-4
"""A budget at which a network is almost linear, so that the best attack is known: the sign of the
gradient."""
DIFFERENCES = (3e-5, 3e-4)
"""Step sizes of the finite differences. Smaller ones drown in float32's rounding; larger ones see
curvature."""


def paper_pgd(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    steps: int = STEPS,
    seed: int = 0,
    loss: str = "cross_entropy",
) -> np.ndarray:
    """Attack with the paper's PGD.

    The step size is the paper's 0.01, or eps/4 if that is larger, so that ten steps can cross the ball. The
    arguments are those of attacks.pgd.
    """
    size = step_size_for(eps)
    return attacks.pgd(
        model, images, labels, eps, step_size=size, steps=steps, seed=seed, loss=loss, batch_size=BATCH
    )


@dataclass
class Evidence:
    """What the checks look at.

    Attributes:
        model: the model under attack.
        images: the clean images, float32 [n, h, w, c] in [0, 1].
        labels: their classes, integers [n].
        eps: the budget that is assessed, in (0, 1].
        tolerance: how far rounding may move a value beyond eps.
        variants: versions of the images, by the name of what made them.
        logits: the model's logits for each variant.
        correct: booleans [n] for each variant, whether the model classifies it correctly.
        gradients: gradients of two losses at ``inner``, by the loss's name.
        errors: the errors that attacks raised.
        variables: number of the model's variables.
        changed: number of variables that the evaluation changed.
    """

    model: Model
    images: np.ndarray
    labels: np.ndarray
    eps: float
    tolerance: float
    variants: dict[str, np.ndarray] = field(default_factory=dict)
    logits: dict[str, np.ndarray] = field(default_factory=dict)
    correct: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    variables: int = 0
    changed: int = 0

    def craft(self, name: str, attack: Attack, eps: float) -> None:
        """Run an attack and keep its images; if it raises an error, keep the error and the clean images."""
        try:
            # A copy, because a handwritten attack may change its arguments.
            made = np.array(attack(self.model, self.images.copy(), self.labels, eps), np.float32)
            if made.shape != self.images.shape:
                raise CourseError(f"it returned shape {made.shape} for images {self.images.shape}")
        except Exception as error:  # any error of a handwritten attack is a finding
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            self.errors.append(f"{name}: {first_line}")
            made = self.images
        self.keep(name, made)

    def keep(self, name: str, images: np.ndarray) -> None:
        """Keep a variant of the images with the model's answers to it."""
        self.variants[name] = images
        self.logits[name] = self.predict(images)
        self.correct[name] = attacks.answers_of(self.logits[name]) == self.labels

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the model's logits, float32 [n, classes]."""
        return outputs(self.model, images, min(len(images), BATCH))

    @property
    def reported(self) -> str:
        """The name of the variant whose accuracy the evaluation reports."""
        return "attacked" if "attacked" in self.variants else "attack"

    @property
    def assessed(self) -> list[str]:
        """The names of the variants that must keep to the attack's rules."""
        return [name for name in ("attack", "attacked") if name in self.variants]

    @property
    def inner(self) -> np.ndarray:
        """The images, moved away from 0 and 1 so that finite differences stay in range."""
        return np.clip(self.images, max(DIFFERENCES), 1 - max(DIFFERENCES))

    def distance(self, name: str) -> float:
        """Return the largest change of any value."""
        return float(np.abs(self.variants[name] - self.images).max())

    def within(self, name: str) -> bool:
        """Return whether a variant is in the ball and in [0, 1]."""
        made = self.variants[name]
        in_range = bool(made.min() >= 0 and made.max() <= 1)
        return in_range and self.distance(name) <= self.eps + self.tolerance


def gather(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    attack: Attack,
    given: dict[str, np.ndarray | None],
    seed: int,
    queries: int,
    quick: bool,
) -> Evidence:
    """Validate the arguments of check_evaluation, then make all the attacked images that the checks share.

    ``given`` holds check_evaluation's ``attacked`` and ``transfer``.
    """
    images, labels = _validated(model, images, labels, eps, attack)
    attacks.check_seed(seed)
    check_count(queries, "queries", "Square asks at least once")
    others = {name: _as_float(name, made, images) for name, made in given.items() if made is not None}
    variables = _variables(model, images)
    before = [variable.numpy() for variable in variables]
    stored = any(made is not None and np.asarray(made).dtype == np.uint16 for made in given.values())
    # Storage rounds to 1/65535.
    e = Evidence(model, images, labels, float(eps), tolerance=1e-5 if stored else 1e-6)
    e.keep("clean", images)
    for name in ("cross_entropy", "margin"):
        e.gradients[name] = _gradient(e, losses.named(name))
    _attack(e, attack, seed)
    if not quick:
        _attack_harder(e, attack, seed, queries)
    for name, made in others.items():
        e.keep(name, made)
    e.variables = len(variables)
    e.changed = sum(not np.array_equal(old, v.numpy()) for old, v in zip(before, variables, strict=True))
    return e


def small(eps: float) -> float:
    """Return the tiny budget at which attack and gradient are compared."""
    return min(SMALL, eps / 2)


def _attack(e: Evidence, attack: Attack, seed: int) -> None:
    """Run the attack under test at several budgets, and simple attacks to compare it with."""
    seeded = partial(attack, seed=seed) if "seed" in _options(attack) else attack
    budgets = {"attack": e.eps, "eps = 0": 0.0, "small": small(e.eps), "twice": min(1.0, 2 * e.eps)}
    for name, budget in {**budgets, "everything": 1.0}.items():
        e.craft(name, seeded, budget)
    e.keep("random signs", attacks.random_signs(e.images, e.eps, seed))
    e.craft("fgsm", partial(attacks.fgsm, batch_size=BATCH), e.eps)
    e.craft("margin", partial(paper_pgd, loss="margin", seed=seed), e.eps)


def _attack_harder(e: Evidence, attack: Attack, seed: int, queries: int) -> None:
    """Run the attacks that a quick check leaves out: twice the steps, other seeds, and Square."""
    options = _options(attack)
    seeded = partial(attack, seed=seed) if "seed" in options else attack
    varied = partial(seeded, steps=2 * options["steps"]) if "steps" in options else None
    e.craft("longer", varied or partial(paper_pgd, steps=2 * STEPS), e.eps)
    restarted = attack if "seed" in options else paper_pgd
    for k in range(1, RESTARTS):
        e.craft(f"restart {k}", partial(restarted, seed=seed + k), e.eps)
    starts = ["attack", *(f"restart {k}" for k in range(1, RESTARTS))]
    e.correct["restarts"] = np.all([e.correct[name] for name in starts], 0)
    e.craft("square", partial(square, queries=queries, seed=seed, batch_size=BATCH), e.eps)


def _validated(model: Model, images, labels, eps, attack: Attack) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels in the attacks' form.

    Raises:
        CourseError: an argument does not have the form that check_evaluation asks for.
    """
    attacks.check_batch(images, labels)
    check_eps(eps)
    checks.check_callable(model)
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int32)
    # The attacks refuse NaN and probabilities, too, but here they are findings.
    checks.check_classes(outputs(model, images[:1], 1), labels)
    if eps == 0:
        raise CourseError("eps is 0, so there is no attack to check; give the assessed budget, such as 8/255")
    if len(images) < 10:
        raise CourseError(f"{len(images)} images are too few to compare attacks; give at least 10, better 50")
    if not callable(attack):
        kind = type(attack).__name__
        raise CourseError(f"the attack is a {kind}, which cannot be called with a model and images")
    return images, labels


def _as_float(name: str, made: np.ndarray, images: np.ndarray) -> np.ndarray:
    made = np.asarray(made)
    if made.shape != images.shape:
        raise CourseError(
            f"{name} has shape {made.shape}, images {images.shape}; give the same images in the same order"
        )
    return made.astype(np.float32) if np.issubdtype(made.dtype, np.floating) else to_float(made)


def _options(attack: Attack) -> dict[str, int]:
    """Return which of ``steps`` and ``seed`` an attack accepts as options, with their defaults."""
    try:
        parameters = inspect.signature(attack).parameters
    except (TypeError, ValueError):  # some callables have no signature
        return {}
    defaults = {name: parameters[name].default for name in ("steps", "seed") if name in parameters}
    return {name: default for name, default in defaults.items() if isinstance(default, int)}


def _variables(model: Model, images: np.ndarray) -> Sequence[tf.Variable]:
    """Return the variables that a model has, or that a function reads; none if it cannot be traced."""
    if hasattr(model, "variables"):
        return list(model.variables)
    try:
        shape = tf.TensorSpec([None, *images.shape[1:]], tf.float32)
        return list(tf.function(model).get_concrete_function(shape).graph.variables)
    except Exception:  # the model uses NumPy, or something else that a graph cannot hold
        return []


def _gradient(e: Evidence, loss: losses.Loss) -> np.ndarray:
    """Return a loss's gradient at the inner images; zeros if the model has no gradient at all."""

    def gradient(x, labels):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(loss(labels, attacks.logits_of(e.model, x)))
        return tape.gradient(total, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    try:
        return attacks.in_batches(gradient, (e.inner, e.labels), BATCH)
    except LookupError:  # TensorFlow has no gradient for some operation
        return np.zeros_like(e.images)
