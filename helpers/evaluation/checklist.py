"""The evaluation checklist of Carlini et al. 2019 ("On Evaluating Adversarial Robustness", section 5) as one call.

    table = check_evaluation(model, images, labels, 8 / 255)   # a row for each check
    show(table)                                      # in a notebook: pass, FAIL or not run, and what to do
    failed_checks(table)                                    # the failed rows; none for a sound evaluation

A low accuracy under attack is a finding. A high one is a claim, which holds only if the attack was a good one: nearly
all of these checks ask whether a stronger, simpler or more honest attack would have broken more of the same images
(Tramer et al. 2020 break thirteen defenses by asking no more than that).

Comparisons are paired, image by image. "Net" counts the images that break the rule less those that differ the other
way; it may be a tolerance, in percent of n, plus two standard deviations of the difference that chance alone would
make of so many differing images (their square root). With n = 60 that is four images or so: the checks catch mistakes,
which cost far more than that, and do not rank attacks of similar strength.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from .. import attacks, evaluation
from ..attacks import STEPS, Model, losses, step_size_for
from ..attacks.square_attack import square
from ..backend import tf
from ..datasets.storage import to_float
from ..settings import CourseError

Attack = Callable[..., np.ndarray]

BATCH = 128
RESTARTS = 3
SMALL = 1e-4
"""A budget at which networks are as good as linear, so that the best attack is known: the sign of the gradient."""
DIFFERENCES = (3e-5, 3e-4)
"""Steps of the finite differences: below, float32 rounds too much away; above, a network bends."""
LONG_STEP = 0.25
"""Beyond this budget a gradient says nothing about where one step leads, in a sound network either."""
NOT_RUN = "not run"


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
    """The paper's PGD; arguments as for attacks.pgd. The step is the paper's 0.01, or eps/4 where that is larger, so
    that ten steps can cross the ball."""
    return attacks.pgd(
        model,
        images,
        labels,
        eps,
        step_size=step_size_for(eps),
        steps=steps,
        seed=seed,
        loss=loss,
        batch_size=BATCH,
    )


def check_evaluation(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    attack: Attack = paper_pgd,
    attacked: np.ndarray | None = None,
    transfer: np.ndarray | None = None,
    seed: int = 0,
    queries: int = 150,
    quick: bool = False,
) -> pd.DataFrame:
    """Check an evaluation: its model, its attack and, where there are any, the attacked images it rests on.

    It costs about a hundred gradients and ``queries`` predictions an image (quick: about sixty gradients). 50 to 100
    images are enough to see a mistake.

    Args:
        model: what is assessed: a classifier, a defense with a classifier behind it, any callable; float32 images
            [n, h, w, c] in [0, 1] in, logits [n, classes] out.
        images: the unchanged images, float32 [n, h, w, c] in [0, 1], n >= 10.
        labels: their classes, integers [n].
        eps: the budget assessed, in (0, 1], linf.
        attack: the attack under test, called as attack(model, images, labels, eps). If it takes ``steps`` or ``seed``,
            these are varied; if not, the paper's PGD with more steps or other seeds is what it is compared with.
        attacked: the images that the reported accuracy was measured on, as float or in storage form (uint16), in the
            order of ``images``. They are then held to ball, range and strength as well.
        transfer: images attacked for another model, of the same form; this model's attack must break what they break.
        seed: of everything random.
        queries: Square's, per image.
        quick: leave out twice the steps, restarts and Square; the table says so.

    Returns:
        A row for each check: check (its name), value and bound (text), passed (a check that was not run has not
        failed), meaning (what a failure means, and what to do).

    Raises:
        CourseError: images, labels, eps or the model are not of that form. An attack that raises an error does not
            stop the checks: it is reported, and counts as one that changes nothing.
    """
    evidence = _gather(model, images, labels, eps, attack, attacked, transfer, seed, queries, quick)
    return pd.DataFrame([check(evidence) for check in CHECKS])


def failed_checks(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of sanity's table that failed."""
    return table[~table["passed"]]


# --------------------------------------------------------------------------------------------------------- evidence


@dataclass
class _Evidence:
    """What the checks look at. ``moved`` holds images by the name of what made them, ``logits`` the model's answers,
    ``right`` which are correct (booleans [n]); ``gradients`` those of two losses at ``inner``."""

    model: Model
    images: np.ndarray
    labels: np.ndarray
    eps: float
    tolerance: float
    moved: dict[str, np.ndarray] = field(default_factory=dict)
    logits: dict[str, np.ndarray] = field(default_factory=dict)
    right: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    variables: int = 0
    changed: int = 0

    def craft(self, name: str, attack: Attack, eps: float, **options) -> None:
        """Run an attack and keep its images. One that raises an error leaves the images as they are."""
        try:
            moved = np.array(attack(self.model, self.images.copy(), self.labels, eps, **options), np.float32)
            if moved.shape != self.images.shape:
                raise CourseError(f"it returned shape {moved.shape} for images {self.images.shape}")
        except Exception as error:  # whatever a hand-written attack raises: it is a finding
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            self.errors.append(f"{name}: {first_line}")
            moved = self.images
        self.keep(name, moved)

    def keep(self, name: str, moved: np.ndarray) -> None:
        self.moved[name] = moved
        self.logits[name] = _predict(self.model, moved)
        self.right[name] = self.logits[name].argmax(1) == self.labels

    @property
    def reported(self) -> str:
        """The name of the images whose accuracy the evaluation reports."""
        return "attacked" if "attacked" in self.moved else "attack"

    @property
    def assessed(self) -> list[np.ndarray]:
        return [self.moved[name] for name in ("attack", "attacked") if name in self.moved]

    @property
    def inner(self) -> np.ndarray:
        """The images, so far from 0 and 1 that finite differences stay in range."""
        return np.clip(self.images, max(DIFFERENCES), 1 - max(DIFFERENCES))

    def distance(self, name: str) -> float:
        return float(np.abs(self.moved[name] - self.images).max())

    def within(self, name: str) -> bool:
        """Whether images of that name keep to the rules: in the ball and in [0, 1]."""
        moved = self.moved[name]
        return self.distance(name) <= self.eps + self.tolerance and bool(
            moved.min() >= 0 and moved.max() <= 1
        )


def _gather(model, images, labels, eps, attack, attacked, transfer, seed, queries, quick) -> _Evidence:
    """Check the arguments, then make all the attacked images that the checks share."""
    # The attacks' own test of their input, but for one thing: it refuses probabilities, which are a finding here.
    shifted = (lambda x: attacks.logits_of(model, x) - 1.0) if callable(model) else model
    images, labels = attacks.checked(shifted, images, labels, eps)
    if eps == 0:
        raise CourseError(
            "eps is 0, so there is no attack to check; give the budget that was assessed, such as 8/255"
        )
    if len(images) < 10:
        raise CourseError(
            f"{len(images)} images are too few to compare attacks on; give at least 10, better 50"
        )
    attacks.check_seed(seed)
    attacks.check_count(queries, "queries", "Square asks at least once")
    if not callable(attack):
        raise CourseError(
            f"the attack is a {type(attack).__name__}, which cannot be called with a model and images"
        )
    given = {"attacked": attacked, "transfer": transfer}
    given = {name: _as_float(name, x, images) for name, x in given.items() if x is not None}

    variables = _variables(model, images)
    before = [v.numpy() for v in variables]
    stored = any(x is not None and np.asarray(x).dtype == np.uint16 for x in (attacked, transfer))
    e = _Evidence(
        model, images, labels, float(eps), tolerance=1e-5 if stored else 1e-6
    )  # storage rounds to 1/65535
    e.keep("clean", images)
    for name in ("cross_entropy", "margin"):
        e.gradients[name] = _gradient(e, e.inner, losses.named(name))
    options = _options(attack)
    seeded = partial(attack, seed=seed) if "seed" in options else attack
    e.craft("attack", seeded, eps)
    e.craft("eps = 0", seeded, 0.0)
    for name, budget in {"small": _small(eps), "twice": min(1.0, 2 * eps), "everything": 1.0}.items():
        e.craft(name, seeded, budget)
    e.keep("noise", attacks.random_signs(images, eps, seed))
    e.craft("fgsm", partial(attacks.fgsm, batch_size=BATCH), eps)
    e.craft("margin", partial(paper_pgd, loss="margin", seed=seed), eps)
    if not quick:
        longer = (
            partial(seeded, steps=2 * options["steps"])
            if "steps" in options
            else partial(paper_pgd, steps=2 * STEPS)
        )
        e.craft("longer", longer, eps)
        for k in range(1, RESTARTS):
            e.craft(f"restart {k}", partial(attack if "seed" in options else paper_pgd, seed=seed + k), eps)
        e.right["restarts"] = np.all(
            [r for name, r in e.right.items() if name.startswith(("attack", "restart"))], 0
        )
        e.craft("square", partial(square, queries=queries, seed=seed, batch_size=BATCH), eps)
    for name, moved in given.items():
        e.keep(name, moved)
    e.variables = len(variables)
    e.changed = sum(not np.array_equal(old, v.numpy()) for old, v in zip(before, variables, strict=True))
    return e


def _small(eps: float) -> float:
    return min(SMALL, eps / 2)


def _as_float(name: str, moved: np.ndarray, images: np.ndarray) -> np.ndarray:
    moved = np.asarray(moved)
    if moved.shape != images.shape:
        raise CourseError(
            f"{name} has shape {moved.shape}, images {images.shape}; give the same images in one order"
        )
    return moved.astype(np.float32) if np.issubdtype(moved.dtype, np.floating) else to_float(moved)


def _options(attack: Attack) -> dict:
    """The optional arguments of an attack that can be varied, with their defaults: steps and seed, or fewer."""
    try:
        parameters = inspect.signature(attack).parameters
    except (TypeError, ValueError):  # some callables show none
        return {}
    return {k: parameters[k].default for k in ("steps", "seed") if isinstance(_default(parameters, k), int)}


def _default(parameters, name: str):
    return parameters[name].default if name in parameters else None


def _predict(model: Model, images: np.ndarray) -> np.ndarray:
    return evaluation.predict(model, images, min(len(images), BATCH))


def _variables(model: Model, images: np.ndarray) -> Sequence[tf.Variable]:
    """The variables that a model has, or, for a plain function, reads; none where it cannot be traced."""
    if hasattr(model, "variables"):
        return list(model.variables)
    try:
        shape = tf.TensorSpec([None, *images.shape[1:]], tf.float32)
        return list(tf.function(model).get_concrete_function(shape).graph.variables)
    except Exception:  # NumPy inside, or whatever else a graph cannot hold
        return []


def _gradient(e: _Evidence, images: np.ndarray, loss: losses.Loss) -> np.ndarray:
    """As attacks.input_gradient, but zeros where the model has no gradient at all."""

    def gradient(x, labels):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(loss(labels, attacks.logits_of(e.model, x)))
        return tape.gradient(total, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    try:
        return attacks.in_batches(gradient, (images, e.labels), BATCH)
    except LookupError:  # an operation for which TensorFlow knows no gradient
        return np.zeros_like(images)


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64)


# ------------------------------------------------------------------------------------------------------------- rows


class Row(NamedTuple):
    """One line of the table; see sanity."""

    check: str
    value: str
    bound: str
    passed: bool
    meaning: str


def _skipped(check: str, why: str, meaning: str) -> Row:
    return Row(check, f"{NOT_RUN}: {why}", "", True, meaning)


def _percent(right: np.ndarray) -> str:
    return f"{100 * right.mean():.1f}%"


def _no_weaker(
    check: str,
    e: _Evidence,
    strong: str,
    weak: str,
    meaning: str,
    tolerance: float = 0.005,
    skipped: str = "quick",
) -> Row:
    """Whether ``strong`` breaks what ``weak`` does, but for a tolerance and chance; see the module's docstring."""
    if strong not in e.right or weak not in e.right:
        return _skipped(check, skipped, meaning)
    missed, allowed, passed = _compare(e.right[strong], e.right[weak], tolerance)
    value = f"{_percent(e.right[strong])} against {_percent(e.right[weak])}; net {missed} of {len(e.labels)}"
    return Row(
        check, value, f"net at most {allowed:.1f}: {100 * tolerance:g}% of n + chance", passed, meaning
    )


def _compare(strong: np.ndarray, weak: np.ndarray, tolerance: float) -> tuple[int, float, bool]:
    """Images that the strong attack misses and the weak one breaks, less the reverse; how many are allowed."""
    missed, gained = int(np.sum(strong & ~weak)), int(np.sum(weak & ~strong))
    allowed = tolerance * len(strong) + 2 * np.sqrt(missed + gained)
    return missed - gained, allowed, bool(missed - gained <= allowed)


def _few(check: str, e: _Evidence, bad: np.ndarray, what: str, share: float, meaning: str) -> Row:
    """Whether at most a share of the images are bad (booleans [n])."""
    allowed = int(share * len(bad))
    return Row(
        check, f"{bad.sum()} of {len(bad)} {what}", f"at most {allowed}", bool(bad.sum() <= allowed), meaning
    )


# ---------------------------------------------------------------------------------------- the attack keeps the rules


def _runs(e: _Evidence) -> Row:
    meaning = "An attack stopped with this error and counts as one that changes nothing: mend the model or the attack."
    return Row("runs", "; ".join(e.errors) or "no errors", "no errors", not e.errors, meaning)


def _zero_budget(e: _Evidence) -> Row:
    meaning = (
        "A budget of 0 allows no change: the attack ignores eps, or moves images before it projects them."
    )
    return Row("eps = 0", f"{e.distance('eps = 0'):.2g}", "0", e.distance("eps = 0") == 0, meaning)


def _ball(e: _Evidence) -> Row:
    distance = max(float(np.abs(moved - e.images).max()) for moved in e.assessed)
    limit = e.eps + e.tolerance
    meaning = (
        "Some value moved further than eps: project after every step, and give eps in [0, 1] (8/255, not 8)."
    )
    return Row("in the ball", f"{distance:.6f}", f"at most {limit:.6f}", bool(distance <= limit), meaning)


def _range(e: _Evidence) -> Row:
    low, high = min(float(m.min()) for m in e.assessed), max(float(m.max()) for m in e.assessed)
    meaning = (
        "Attacked images are no images any more: clip to [0, 1] after every step, and normalise in the model."
    )
    return Row("in range", f"{low:.4g} to {high:.4g}", "0 to 1", bool(low >= 0 and high <= 1), meaning)


def _uses_the_budget(e: _Evidence) -> Row:
    distance = min(float(np.abs(moved - e.images).max()) for moved in e.assessed)
    meaning = (
        "No value moved by eps: it is in the wrong units (divided by 255 twice?), or the steps are too few."
    )
    return Row(
        "uses eps", f"{distance:.6f}", f"at least {0.9 * e.eps:.6f}", bool(distance >= 0.9 * e.eps), meaning
    )


# ------------------------------------------------------------------------------------------- the model is in order


def _weights(e: _Evidence) -> Row:
    meaning = (
        "The evaluation changed the network: call it with training=False, and build it anew before going on."
    )
    if not e.variables:
        return _skipped("weights", "not applicable, the model has no variables that can be seen", meaning)
    value = f"{e.changed} of {e.variables} arrays changed"
    return Row("weights", value, "none", e.changed == 0, meaning)


def _outputs_logits(e: _Evidence) -> Row:
    logits = e.logits["clean"]
    probabilities = bool(logits.min() >= 0 and np.abs(logits.sum(1) - 1).max() < 1e-3)
    finite = bool(np.isfinite(logits).all())
    value = "probabilities" if probabilities else "logits" if finite else "NaN or infinity"
    meaning = "A loss taken on probabilities loses its gradient where they saturate: return the logits before softmax."
    return Row("logits", value, "logits", finite and not probabilities, meaning)


def _neighbours(e: _Evidence) -> Row:
    """Every other image is replaced by noise, in a second call: the others' logits must stay."""
    mixed = np.random.default_rng(0).random(e.images.shape, np.float32)
    mixed[::2] = e.images[::2]
    logits = e.logits["clean"]
    change = np.abs(_predict(e.model, mixed) - logits)[::2].max() / max(np.abs(logits).max(), 1e-12)
    meaning = (
        "An image's answer depends on its batch or on chance: put BatchNorm into inference mode (training=False); "
        "attack a random defense through adaptive.expectation."
    )
    return Row(
        "neighbours", f"logits move by {change:.1g} of the largest", "1e-3", bool(change <= 1e-3), meaning
    )


def _saturation(e: _Evidence) -> Row:
    loss = losses.cross_entropy(tf.constant(e.labels), tf.constant(e.logits["clean"])).numpy()
    meaning = (
        "The logits are so large that cross-entropy has rounded to 0 in float32, and its gradient may be lost: attack "
        "with the margin or the DLR loss."
    )
    return _few("saturation", e, loss == 0, "losses are exactly 0", 0.1, meaning)


# -------------------------------------------------------------------------------------------- the gradient is usable


def _zero_gradients(e: _Evidence) -> Row:
    zero = ~_flat(e.gradients["cross_entropy"]).any(1)
    meaning = (
        "The gradient is masked: something rounds, is not differentiable or saturates; attack through a stand-in "
        "(adaptive.straight_through), with the margin loss, and without gradients."
    )
    return _few("zero gradients", e, zero, "images have none", 0.05, meaning)


def _zero_entries(e: _Evidence) -> Row:
    share = float((e.gradients["cross_entropy"] == 0).mean())
    meaning = "The loss does not see most of the image, and a sign step leaves that part as it is: find what cuts gradients."
    return Row("zero entries", f"{100 * share:.1f}% of the gradient", "at most 50%", share <= 0.5, meaning)


def _true_gradient(e: _Evidence) -> Row:
    """The margin's gradient against its finite differences along the gradient's sign; the better of two step sizes."""
    inner, gradient = e.inner, e.gradients["margin"]
    sign, predicted = np.sign(gradient), np.abs(_flat(gradient)).sum(1)
    errors = []
    for h in DIFFERENCES:
        ahead, behind = _margin(e, inner + np.float32(h) * sign), _margin(e, inner - np.float32(h) * sign)
        measured = (ahead - behind) / (2 * h)
        scale = np.maximum(np.abs(measured), predicted)
        # A gradient of zero predicts nothing, also where nothing is measured.
        errors.append(np.where(predicted > 0, np.abs(measured - predicted) / np.maximum(scale, 1e-30), 1.0))
    error = float(np.median(np.min(errors, 0)))
    meaning = (
        "The gradient is not that of the function: a stand-in (straight-through) or a masked one; believe no attack "
        "that uses it before one without gradients has agreed."
    )
    return Row("true gradient", f"off by {100 * error:.1f}% (median)", "10%", error <= 0.1, meaning)


def _margin(e: _Evidence, images: np.ndarray) -> np.ndarray:
    logits = tf.constant(_predict(e.model, images), tf.float32)
    return losses.margin(tf.constant(e.labels), logits).numpy().astype(np.float64)


def _follows_the_gradient(e: _Evidence) -> Row:
    """What part of the best possible first-order gain the attack gets at a tiny budget, for the better of two losses.

    Rescaling a loss changes nothing; another function's gradient gets about nothing.
    """
    h, gains = _small(e.eps), []
    change = _flat(e.moved["small"] - e.images)
    for gradient in e.gradients.values():
        room = np.where(gradient > 0, np.minimum(h, 1 - e.images), np.minimum(h, e.images))
        best = (np.abs(_flat(gradient)) * _flat(room)).sum(1)
        gains.append(np.where(best > 0, (_flat(gradient) * change).sum(1) / np.maximum(best, 1e-30), 0.0))
    gain = float(np.median(np.max(gains, 0)))
    meaning = (
        "The attack climbs another function than this model's loss: aim at the whole model, with its normalisation "
        "and its defense; take the loss on logits; step up, not down."
    )
    return Row(
        "follows gradient",
        f"{100 * gain:.0f}% of the best gain (median)",
        "at least 80%",
        gain >= 0.8,
        meaning,
    )


# ------------------------------------------------------------------------------------------- the attack is strong


def _rises_with_eps(e: _Evidence) -> Row:
    chain = ("clean", "small", "attack", "twice", "everything")
    pairs = zip(chain[1:], chain[:-1], strict=True)
    net, allowed, _ = max(
        (_compare(e.right[a], e.right[b], 0.005) for a, b in pairs), key=lambda r: r[0] - r[1]
    )
    value = " > ".join(_percent(e.right[name]) for name in chain)
    meaning = (
        "A larger budget contains the smaller one, so accuracy cannot rise: the steps are too few or too large (a "
        "single step overshoots), or the loss is flat."
    )
    bound = f"up by net at most {allowed:.1f}: 0.5% of n + chance"
    return Row("more eps, less accuracy", value, bound, net <= allowed, meaning)


def _everything_allowed(e: _Evidence) -> Row:
    meaning = (
        "With eps = 1 any image may be shown, grey ones too: an attack that fails is broken or its gradients masked "
        "(a single step, such as FGSM's, also fails here: take more)."
    )
    return _few("eps = 1", e, e.right["everything"], "still right", 0.05, meaning)


def _loss_rises(e: _Evidence) -> Row:
    clean = _cross_entropy(e, e.logits["clean"])
    lower = ~(_cross_entropy(e, e.logits[e.reported]) > clean)
    meaning = "The attack does not raise the loss: its step has the wrong sign, or its gradient is zero or another's."
    return _few("loss rises", e, lower, "losses did not", 0.05, meaning)


def _cross_entropy(e: _Evidence, logits: np.ndarray) -> np.ndarray:
    # In float64, so that a saturated loss still shows whether it rose.
    return -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(e.labels)), e.labels]


def _beats_fgsm(e: _Evidence) -> Row:
    meaning = "One step breaks more than the attack does: its steps go astray (too large, wrong sign, no projection)."
    return _no_weaker("attack <= FGSM", e, "attack", "fgsm", meaning)


def _beats_noise(e: _Evidence) -> Row:
    meaning = "Random signs break more than the gradient's: the gradient says nothing about this model, it is masked."
    if e.eps > LONG_STEP:
        return _skipped("FGSM <= noise", f"beyond eps = {LONG_STEP} one step overshoots", meaning)
    return _no_weaker("FGSM <= noise", e, "fgsm", "noise", meaning)


def _attack_beats_noise(e: _Evidence) -> Row:
    meaning = (
        "Random signs of the same size break more than the attack does: it does not follow the loss uphill."
    )
    return _no_weaker("attack <= noise", e, "attack", "noise", meaning)


def _twice_the_steps(e: _Evidence) -> Row:
    meaning = "More steps break more: the attack has not converged; raise steps until accuracy stops falling."
    return _no_weaker("twice the steps", e, "attack", "longer", meaning)


def _restarts(e: _Evidence) -> Row:
    meaning = (
        "Other random starts break more: the loss is rugged or the attack weak; report the worst of many."
    )
    return _no_weaker("restarts", e, "attack", "restarts", meaning)


def _losses_agree(e: _Evidence) -> Row:
    meaning = (
        "The margin loss breaks more, so the attack's own loss is flat here: report the worst case of both."
    )
    return _no_weaker("margin loss", e, "attack", "margin", meaning, tolerance=0.03)


def _without_gradients(e: _Evidence) -> Row:
    meaning = "An attack without gradients breaks more: the gradients are masked; find out where, and attack around it."
    return _no_weaker("Square", e, "attack", "square", meaning)


def _beats_transfer(e: _Evidence) -> Row:
    meaning = "Images made for another model break what the end-to-end attack does not: it is weak or aimed elsewhere."
    if "transfer" not in e.moved:
        return _skipped("end-to-end <= transfer", "no transfer images given", meaning)
    missed = e.right["attack"] & ~e.right["transfer"]
    return _few("end-to-end <= transfer", e, missed, "broken by transfer only", 0.05, meaning)


def _fresh(e: _Evidence) -> Row:
    meaning = (
        "The images assessed are weaker than those made now for this model: they were made for another one, and their "
        "accuracy is a transfer result, not robustness; craft them anew."
    )
    return _no_weaker(
        "fresh images", e, "attacked", "attack", meaning, 0.02, skipped="no attacked images given"
    )


def _worst_case(e: _Evidence) -> Row:
    """Over every image made within the budget: an image counts only if it withstood all of them."""
    right = np.all([e.right[name] for name in e.moved if e.within(name)], 0)
    p = evaluation.proportion(right)
    # Many attacks together always break a little more than one; a tenth is more than that.
    missed, allowed, passed = _compare(e.right[e.reported], right, 0.1)
    interval = f"[{100 * p['ci_low']:.1f}, {100 * p['ci_high']:.1f}] (Wilson, 95%)"
    value = f"{_percent(right)} {interval}; {e.reported} {_percent(e.right[e.reported])}; net {missed} of {p['n']}"
    meaning = (
        "The attacks together break more than the one reported: report this worst case, with its interval."
    )
    return Row("worst case", value, f"net at most {allowed:.1f}: 10% of n + chance", passed, meaning)


CHECKS = (
    _runs,
    _zero_budget,
    _ball,
    _range,
    _uses_the_budget,
    _weights,
    _outputs_logits,
    _neighbours,
    _saturation,
    _zero_gradients,
    _zero_entries,
    _true_gradient,
    _follows_the_gradient,
    _rises_with_eps,
    _everything_allowed,
    _loss_rises,
    _attack_beats_noise,
    _beats_fgsm,
    _beats_noise,
    _twice_the_steps,
    _restarts,
    _losses_agree,
    _without_gradients,
    _beats_transfer,
    _fresh,
    _worst_case,
)


# ---------------------------------------------------------------------------------------------------------- display


def results(table: pd.DataFrame) -> pd.DataFrame:
    """sanity's table for readers: pass, FAIL or not run for each check, and the meaning of what failed."""
    ran = ~table["value"].str.startswith(NOT_RUN)
    result = np.where(~table["passed"], "FAIL", np.where(ran, "pass", NOT_RUN))
    meaning = table["meaning"].where(~table["passed"], "")
    value = table["value"].str.removeprefix(f"{NOT_RUN}: ")
    return pd.DataFrame(
        {
            "check": table["check"],
            "result": result,
            "value": value,
            "bound": table["bound"],
            "if it fails": meaning,
        }
    )


def markdown(table: pd.DataFrame) -> str:
    """sanity's table as a Markdown table."""
    shown = results(table)
    lines = [shown.columns, ["---"] * len(shown.columns), *shown.to_numpy()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def summary(table: pd.DataFrame) -> str:
    """In words: how many checks passed, failed and were not run, and which failed."""
    shown = results(table)["result"]
    passed, failed, left_out = (int((shown == word).sum()) for word in ("pass", "FAIL", NOT_RUN))
    names = ", ".join(f"*{name}*" for name in failed_checks(table)["check"])
    return (
        f"{passed} checks passed, {failed} failed{f' ({names})' if failed else ''}, {left_out} were not run."
    )


def show(table: pd.DataFrame) -> None:
    """Display sanity's table in a notebook."""
    from IPython.display import display

    weight = {"FAIL": "font-weight: bold; background-color: #f6d5c3; color: #000000"}
    shown = results(table)
    name = hashlib.sha256(shown.to_csv().encode()).hexdigest()[
        :8
    ]  # else a random one, and no two runs are alike
    style = (
        shown.style.set_uuid(name)
        .hide(axis="index")
        .map(lambda word: weight.get(word, ""), subset=["result"])
    )
    style = style.set_properties(**{"text-align": "left"})
    display(
        {"text/html": style.to_html(), "text/markdown": markdown(table), "text/plain": markdown(table)},
        raw=True,
    )
