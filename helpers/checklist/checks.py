"""The checks: each says what was measured, what was allowed, and what a failure means."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from ..attacks import losses
from ..backend import tf
from ..evaluation.intervals import proportion
from ..evaluation.titles import percent
from .evidence import DIFFERENCES, Evidence, small

NOT_RUN = "not run"
LONG_STEP = 0.25
"""Beyond this budget, even a sound network's gradient does not tell where a single step leads."""


class Result(NamedTuple):
    """What was measured, what was allowed, and whether the check passed (true if it was not run)."""

    value: str
    bound: str
    passed: bool


class Check(NamedTuple):
    """A row of the checklist. ``meaning`` says what a failure means, and what to do."""

    name: str
    meaning: str
    run: Callable[[Evidence], Result]


CHECKS: list[Check] = []
"""All checks, in the order of the table."""


def check(name: str, meaning: str) -> Callable:
    """Add the decorated function to CHECKS."""

    def add(function: Callable[[Evidence], Result]) -> Callable[[Evidence], Result]:
        CHECKS.append(Check(name, meaning, function))
        return function

    return add


def compare_attacks(name: str, meaning: str, strong: str, weak: str, **options) -> None:
    """Add to CHECKS that one attack must be as strong as another (_no_weaker)."""
    check(name, meaning)(lambda e: _no_weaker(e, strong, weak, **options))


def _no_weaker(
    e: Evidence, strong: str, weak: str, tolerance: float = 0.005, otherwise: str = "quick"
) -> Result:
    """Check that the variant ``strong`` breaks what ``weak`` breaks, up to a tolerance and chance.

    ``otherwise`` says why the check is not run if one of the two was not made.
    """
    if strong not in e.correct or weak not in e.correct:
        return _skipped(otherwise)
    net, allowed, passed = _compare(e.correct[strong], e.correct[weak], tolerance)
    value = f"{_percent(e.correct[strong])} against {_percent(e.correct[weak])}; net {net} of {len(e.labels)}"
    vacuous = ""
    if _cannot_fail(e.correct["clean"] & ~e.correct[weak], tolerance):
        vacuous = "; vacuous: the other attack breaks too few"
    return Result(value, f"net at most {allowed:.1f}: {100 * tolerance:g}% of n + chance{vacuous}", passed)


def _cannot_fail(at_stake: np.ndarray, tolerance: float) -> bool:
    """Return whether _compare would pass even if the strong attack broke none of the images at stake."""
    return _compare(at_stake, np.zeros_like(at_stake), tolerance)[2]


def _compare(strong: np.ndarray, weak: np.ndarray, tolerance: float) -> tuple[int, float, bool]:
    """Compare two attacks, given which images are still correct under each (booleans [n]).

    Returns:
        The net number of images that only the weak attack breaks, how many are allowed (a share of n, and
        chance), and whether the number is within that.
    """
    missed, gained = int(np.sum(strong & ~weak)), int(np.sum(weak & ~strong))
    allowed = tolerance * len(strong) + 2 * np.sqrt(missed + gained)
    return missed - gained, allowed, bool(missed - gained <= allowed)


def _few(bad: np.ndarray, what: str, share: float, possible: np.ndarray | None = None) -> Result:
    """Allow a share of the images to be bad (booleans [n]); only those that are ``possible`` can be."""
    allowed, n = int(share * len(bad)), len(bad) if possible is None else int(possible.sum())
    vacuous = f"; vacuous: only {n} could be" if n <= allowed else ""
    return Result(
        f"{bad.sum()} of {len(bad)} {what}", f"at most {allowed}{vacuous}", bool(bad.sum() <= allowed)
    )


def _skipped(why: str) -> Result:
    return Result(f"{NOT_RUN}: {why}", "", True)


# ------------------------------------------------------------------------------ the attack keeps to its rules


@check("runs", "An attack raised this error and counts as changing nothing: fix the model or the attack.")
def _runs(e: Evidence) -> Result:
    return Result("; ".join(e.errors) or "no errors", "no errors", not e.errors)


@check("eps = 0", "A budget of 0 allows no change: the attack ignores eps, or does not project its start.")
def _zero_budget(e: Evidence) -> Result:
    return Result(f"{e.distance('eps = 0'):.2g}", "0", e.distance("eps = 0") == 0)


@check("in the ball", "Some value changed by more than eps: project every step; give eps as 8/255, not as 8.")
def _in_ball(e: Evidence) -> Result:
    distance, limit = max(e.distance(name) for name in e.assessed), e.eps + e.tolerance
    return Result(f"{distance:.6f}", f"at most {limit:.6f}", distance <= limit)


@check("in range", "Attacked images leave [0, 1]: clip after every step, and normalise within the model.")
def _in_range(e: Evidence) -> Result:
    images = [e.variants[name] for name in e.assessed]
    low, high = min(float(x.min()) for x in images), max(float(x.max()) for x in images)
    return Result(f"{low:.4g} to {high:.4g}", "0 to 1", low >= 0 and high <= 1)


@check("uses eps", "No value changed by eps: it was divided by 255 twice, or there are too few steps.")
def _uses_budget(e: Evidence) -> Result:
    distance, least = min(e.distance(name) for name in e.assessed), 0.9 * e.eps
    return Result(f"{distance:.6f}", f"at least {least:.6f}", distance >= least)


# -------------------------------------------------------------------------------------- the model is in order


@check(
    "clean accuracy",
    "The model does not know its clean images better than chance: the labels are shifted or shuffled, the "
    "preprocessing is another one, or the weights are not trained. Until that is mended, no row tells much.",
)
def _above_chance(e: Evidence) -> Result:
    found, chance = proportion(e.correct["clean"]), 1 / e.logits["clean"].shape[1]
    value = f"{_percent(e.correct['clean'])}, at least {100 * found['ci_low']:.1f}% (Wilson, 95%)"
    return Result(value, f"above chance, {100 * chance:.3g}%", found["ci_low"] > chance)


@check("weights", "The evaluation changed the network: call it with training=False, and build it again.")
def _weights(e: Evidence) -> Result:
    if not e.variables:
        return _skipped("not applicable, the model has no visible variables")
    return Result(f"{e.changed} of {e.variables} arrays changed", "none", e.changed == 0)


@check("logits", "A loss of probabilities loses its gradient where they saturate: return the logits.")
def _outputs_logits(e: Evidence) -> Result:
    logits = e.logits["clean"]
    probabilities = bool(logits.min() >= 0 and np.abs(logits.sum(1) - 1).max() < 1e-3)
    finite = bool(np.isfinite(logits).all())
    value = "probabilities" if probabilities else "logits" if finite else "NaN or infinity"
    return Result(value, "logits", finite and not probabilities)


@check(
    "neighbours",
    "An image's answer depends on its batch or on chance: put BatchNorm into inference mode "
    "(training=False); attack a random defense through adaptive.expectation.",
)
def _neighbours(e: Evidence) -> Result:
    """Replace every other image by noise: the logits of the rest must stay the same."""
    mixed = np.random.default_rng(0).random(e.images.shape, np.float32)
    mixed[::2] = e.images[::2]
    logits = e.logits["clean"]
    change = np.abs(e.predict(mixed) - logits)[::2].max() / max(np.abs(logits).max(), 1e-12)
    return Result(f"logits move by {change:.1g} of the largest", "1e-3", bool(change <= 1e-3))


@check(
    "saturation",
    "The logits are so large that cross-entropy rounds to 0 in float32 and may lose its gradient: attack "
    "with the margin or the DLR loss.",
)
def _saturation(e: Evidence) -> Result:
    loss = losses.cross_entropy(tf.constant(e.labels), tf.constant(e.logits["clean"])).numpy()
    return _few(loss == 0, "losses are exactly 0", 0.1)


# ------------------------------------------------------------------------------------- the gradient is usable


@check(
    "zero gradients",
    "The gradient is masked: something rounds, has no derivative, or saturates. Attack with an approximate "
    "gradient (adaptive.straight_through), with the margin loss, and without gradients.",
)
def _zero_gradients(e: Evidence) -> Result:
    return _few(np.all(_flat(e.gradients["cross_entropy"]) == 0, axis=1), "images have none", 0.05)


@check("zero entries", "The loss does not depend on most of the image: find out what stops the gradient.")
def _zero_entries(e: Evidence) -> Result:
    share = float((e.gradients["cross_entropy"] == 0).mean())
    return Result(f"{100 * share:.1f}% of the gradient", "at most 50%", share <= 0.5)


@check(
    "true gradient",
    "The gradient is not the function's: it is an approximation (straight-through) or masked. Trust no "
    "attack that uses it until an attack without gradients agrees.",
)
def _true_gradient(e: Evidence) -> Result:
    """Compare the margin's gradient with finite differences along its sign, at the better of two steps."""
    gradient = e.gradients["margin"]
    sign, predicted = np.sign(gradient), np.abs(_flat(gradient)).sum(1)
    errors = []
    for h in DIFFERENCES:
        ahead, behind = (_margin(e, e.inner + np.float32(step) * sign) for step in (h, -h))
        measured = (ahead - behind) / (2 * h)
        scale = np.maximum(np.abs(measured), predicted)
        # A zero gradient counts as wrong, even if the difference is zero, too.
        errors.append(np.where(predicted > 0, np.abs(measured - predicted) / np.maximum(scale, 1e-30), 1.0))
    error = float(np.median(np.min(errors, 0)))
    return Result(f"off by {100 * error:.1f}% (median)", "10%", error <= 0.1)


@check(
    "follows gradient",
    "The attack climbs another function than this model's loss: attack the whole model, with its "
    "normalisation and its defense; compute the loss from logits; step up, not down.",
)
def _follows_gradient(e: Evidence) -> Result:
    """Compare the attack's first-order gain at a tiny budget with the best, for the better of two losses.

    Rescaling a loss does not matter. An attack that follows another function gains about nothing.
    """
    h, gains = small(e.eps), []
    change = _flat(e.variants["small"] - e.images)
    for gradient in e.gradients.values():
        room = np.where(gradient > 0, np.minimum(h, 1 - e.images), np.minimum(h, e.images))
        best = (np.abs(_flat(gradient)) * _flat(room)).sum(1)
        gains.append(np.where(best > 0, (_flat(gradient) * change).sum(1) / np.maximum(best, 1e-30), 0.0))
    gain = float(np.median(np.max(gains, 0)))
    return Result(f"{100 * gain:.0f}% of the best gain (median)", "at least 80%", gain >= 0.8)


# --------------------------------------------------------------------------------------- the attack is strong


@check(
    "more eps, less accuracy",
    "A larger budget contains the smaller one, so accuracy cannot rise: the steps are too few or too large "
    "(a single step overshoots), or the loss is flat.",
)
def _falls_with_eps(e: Evidence) -> Result:
    chain = ("clean", "small", "attack", "twice", "everything")
    pairs = zip(chain[1:], chain[:-1], strict=True)
    found = [_compare(e.correct[larger], e.correct[smaller], 0.005) for larger, smaller in pairs]
    net, allowed, _ = max(found, key=lambda comparison: comparison[0] - comparison[1])
    value = " > ".join(_percent(e.correct[name]) for name in chain)
    vacuous = "" if e.correct["clean"].any() else "; vacuous: no clean image is right"
    return Result(value, f"up by net at most {allowed:.1f}: 0.5% of n + chance{vacuous}", net <= allowed)


@check(
    "eps = 1",
    "With eps = 1 any image is allowed, even a grey one: an attack that fails is broken, or its gradients "
    "are masked. A single step, such as FGSM's, fails here as well: take more.",
)
def _everything_allowed(e: Evidence) -> Result:
    return _few(e.correct["everything"], "still right", 0.05, possible=e.correct["clean"])


@check(
    "loss rises",
    "The attack does not raise the loss: its step has the wrong sign, or its gradient is zero or belongs to "
    "another function.",
)
def _loss_rises(e: Evidence) -> Result:
    return _few(~(_cross_entropy(e, e.reported) > _cross_entropy(e, "clean")), "losses did not", 0.05)


compare_attacks(
    "attack <= random signs",
    "Random signs of the same size break more than the attack: it does not follow the loss uphill.",
    "attack",
    "random signs",
)

compare_attacks(
    "attack <= FGSM",
    "One step breaks more than the attack: its steps are too large, of the wrong sign, or not projected.",
    "attack",
    "fgsm",
)


@check("FGSM <= random signs", "Random signs break more than the gradient's: the gradient is masked.")
def _fgsm_beats_signs(e: Evidence) -> Result:
    if e.eps > LONG_STEP:
        return _skipped(f"beyond eps = {LONG_STEP} one step overshoots")
    return _no_weaker(e, "fgsm", "random signs")


compare_attacks(
    "twice the steps",
    "More steps break more: the attack has not converged. Add steps until accuracy stops falling.",
    "attack",
    "longer",
)

compare_attacks(
    "restarts",
    "Other random starts break more: the loss is rugged or the attack weak. Report the worst of many.",
    "attack",
    "restarts",
)

compare_attacks(
    "margin loss",
    "The margin loss breaks more, so the attack's own loss is flat here: report the worst case of both.",
    "attack",
    "margin",
    tolerance=0.03,
)

compare_attacks(
    "Square",
    "An attack without gradients breaks more: the gradients are masked. Find out where; attack around it.",
    "attack",
    "square",
)


@check(
    "end-to-end <= transfer",
    "Images made for another model break some that the end-to-end attack does not: it is weak, or is aimed "
    "at another model.",
)
def _beats_transfer(e: Evidence) -> Result:
    if "transfer" not in e.variants:
        return _skipped("no transfer images given")
    broken = e.correct["clean"] & ~e.correct["transfer"]
    return _few(e.correct["attack"] & ~e.correct["transfer"], "broken by transfer only", 0.05, broken)


compare_attacks(
    "fresh images",
    "The assessed images are weaker than those made now for this model: they were made for another one, and "
    "their accuracy is a transfer result, not robustness. Make them again.",
    "attacked",
    "attack",
    tolerance=0.02,
    otherwise="no attacked images given",
)


@check(
    "worst case",
    "Together, the attacks break more than the reported one: report this worst case with its interval.",
)
def _worst_case(e: Evidence) -> Result:
    """Count an image as correct only if it withstands every attack within the budget."""
    correct = np.all([e.correct[name] for name in e.variants if e.within(name)], 0)
    found = proportion(correct)
    # Together, many attacks always break a few more images than one does, but not a tenth of all.
    net, allowed, passed = _compare(e.correct[e.reported], correct, 0.1)
    reported = f"{e.reported} {_percent(e.correct[e.reported])}"
    left = percent(found).replace(" [", "% [")
    value = f"{left} (Wilson, 95%); {reported}; net {net} of {found['n']}"
    withstood = e.correct[e.reported]
    vacuous = f"; vacuous: {withstood.sum()} withstand it" if _cannot_fail(withstood, 0.1) else ""
    return Result(value, f"net at most {allowed:.1f}: 10% of n + chance{vacuous}", passed)


def _percent(correct: np.ndarray) -> str:
    return f"{100 * correct.mean():.1f}%"


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64)


def _margin(e: Evidence, images: np.ndarray) -> np.ndarray:
    logits = tf.constant(e.predict(images), tf.float32)
    return losses.margin(tf.constant(e.labels), logits).numpy().astype(np.float64)


def _cross_entropy(e: Evidence, name: str) -> np.ndarray:
    # In float64, even a saturated loss shows whether it rose.
    return -log_softmax(e.logits[name].astype(np.float64), axis=1)[np.arange(len(e.labels)), e.labels]
