"""Checks of notebook 07, exercises 1 and 3: from one norm to another, and CERTIFY's decision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import beta, binomtest, norm

from ..defenses import smoothing
from .predicates import as_number, hint_for
from .verdict import Wrong, ask, check

EPS = 8 / 255


# ---------------------------------------------------------------------------------- from one norm to another

SHAPES = ((32, 32, 3), (28, 28, 1), (224, 224, 3))


@check("07.1", "set predicted before you compute, and write guaranteed(radius, shape) and needed(eps, shape)")
def check_norms(predicted: object, guaranteed: Callable, needed: Callable) -> str:
    """Accept a guess above 0, and two conversions between a budget in linf and a radius in l2.

    ``guaranteed`` returns the largest budget inside an l2 ball, ``needed`` the smallest l2 ball around a
    budget.
    """
    guess = as_number(predicted, "predicted")
    if guess <= 0:
        raise Wrong(f"you predicted a radius of {guess:g}; any number above 0 will do")
    for shape in SHAPES:
        for radius in (0.25, 1.0):
            found = as_number(ask(guaranteed, radius, shape, call="guaranteed(radius, shape)"), "the budget")
            _compare_norm(found, radius, shape, -1)
    for shape in SHAPES:
        for eps in (EPS, 2 / 255):
            found = as_number(ask(needed, eps, shape, call="needed(eps, shape)"), "the radius")
            _compare_norm(found, eps, shape, +1)
    truth = smoothing.l2_around(EPS)
    times = max(guess / truth, truth / guess)
    surprise = "a good guess" if times < 1.5 else f"the guess was off by a factor of {times:.3g}"
    return (
        f"8/255 on CIFAR-10 needs a radius of {truth:.3f} ({surprise}), and a radius of 0.25 guarantees "
        f"{255 * smoothing.linf_within(0.25):.2f} grey levels"
    )


def _compare_norm(found: float, given: float, shape: tuple[int, ...], power: int) -> None:
    """Refuse a result other than given * sqrt(dimensions)^power."""
    values = int(np.prod(shape))
    truth = given * np.sqrt(values) ** power
    if np.isclose(found, truth, rtol=1e-4):
        return
    pixels = values // shape[-1]
    mistakes = [
        (given, "that is the number you were given: a ball in one norm is not a ball in the other"),
        (
            given * np.sqrt(values) ** -power,
            "that is the wrong way round; which of the two balls lies inside the other?",
        ),
        (given * float(values) ** power, "take the root of the number of values: the l2 norm sums squares"),
        (255 * truth, "give it for images in [0, 1], not in grey levels"),
        (truth / 255, "eps is for images in [0, 1] already; do not divide by 255 again"),
    ]
    if shape[-1] > 1:
        mistakes.append(
            (given * np.sqrt(pixels) ** power, "each pixel has three values, and each of them may change")
        )
    if values != 3072:
        mistakes.append(
            (given * np.sqrt(3072) ** power, "3,072 is the number of values for CIFAR-10; use the shape")
        )
    hint = hint_for(found, mistakes, "what is the l2 norm of a change of eps in every value?")
    name = "guaranteed" if power < 0 else "needed"
    raise Wrong(f"{name}({given:.4g}, {shape}) should be {truth:.4g}, but you return {found:.4g}; {hint}")


# ---------------------------------------------------------------------------------------- CERTIFY's decision

DRAWS = (
    # leading class, its share of 100 selecting draws; its and a second class's hits of n draws; sigma, alpha
    (3, 90, 1000, 0, 1000, 0.25, 0.001),
    (0, 95, 970, 20, 1000, 0.5, 0.001),
    (7, 52, 300, 650, 1000, 0.25, 0.001),
    (4, 60, 56, 44, 100, 0.5, 0.001),
    (9, 99, 9990, 10, 10_000, 0.25, 0.01),
    (
        5,
        55,
        528,
        300,
        1000,
        1.0,
        0.05,
    ),  # the share is near a half, and the one-sided bound just above it
)


@check("07.3", "write decide(first, counts, sigma, alpha)")
def check_decide(decide: Callable) -> str:
    """Accept CERTIFY's decision (Cohen et al. 2019): a class and a radius, or an abstention.

    The class leads in the selecting draws. Its radius follows from a one-sided Clopper-Pearson bound in the
    other draws.
    """
    for leading, share, hits, second, n, sigma, alpha in DRAWS:
        first, counts = np.zeros(10, int), np.zeros(10, int)
        rival, third = (leading + 2) % 10, (leading + 5) % 10
        first[leading], first[third] = share, 100 - share
        counts[leading], counts[rival] = hits, second
        counts[third] += n - hits - second
        answer = ask(decide, first, counts, sigma, alpha, call="decide(first, counts, sigma, alpha)")
        if not isinstance(answer, (tuple, list, np.ndarray)) or len(answer) != 2:
            raise Wrong("return two values: class, radius")
        where = f"with {hits:,} of {n:,} draws for the leading class {leading} and alpha = {alpha:g}"
        chosen = as_number(answer[0], "the class")
        radius = _finite(answer[1], where)
        lower = smoothing.lower_bound(hits, n, alpha)
        if lower > 0.5:
            _compare_certificate(chosen, radius, leading, counts, sigma, alpha, where)
        elif chosen != smoothing.ABSTAIN or radius != 0:
            hint = "abstain: return smoothing.ABSTAIN, 0.0"
            if chosen == rival and second > hits:
                hint = "you chose the class from `counts`; the selecting draws choose another, so " + hint
            elif chosen == smoothing.ABSTAIN:
                hint = "an abstention certifies nothing: the radius is 0"
            raise Wrong(
                f"{where} the bound on its probability is {lower:.3f}, not above a half, but you answer "
                f"class {chosen:g} with radius {radius:.3f}; {hint}"
            )
    return (
        "class, radius and abstentions are CERTIFY's; a certificate is wrong with probability at most alpha"
    )


def _finite(answer: object, where: str) -> float:
    try:
        radius = float(np.asarray(answer).astype(float).reshape(()))
    except (TypeError, ValueError):
        raise Wrong(f"the radius should be one number, but is a {type(answer).__name__}") from None
    if np.isinf(radius):
        raise Wrong(
            f"{where} your radius is infinite, so your bound was 1, like the observed share's or the Wald "
            "interval's. An exact lower bound is less than 1, however many draws agree"
        )
    if np.isnan(radius):
        raise Wrong(f"{where} your radius is NaN; which number do you take the quantile of?")
    return radius


def _compare_certificate(
    chosen: float, radius: float, leading: int, counts: np.ndarray, sigma: float, alpha: float, where: str
) -> None:
    hits, n = int(counts[leading]), int(counts.sum())
    truth = sigma * norm.ppf(smoothing.lower_bound(hits, n, alpha))
    if chosen == smoothing.ABSTAIN:
        raise Wrong(f"{where} you abstain, but the bound on its probability is above a half, which is enough")
    if chosen != leading:
        raise Wrong(
            f"{where} you answer class {chosen:g}; answer the class that leads in the selecting draws"
        )
    if np.isclose(radius, truth, rtol=2e-4):
        return
    mistakes = _wrong_radii(leading, counts, sigma, alpha)
    otherwise = "the bound uses `counts` alone: n is their sum, and hits is the count of the leading class"
    hint = hint_for(radius, mistakes, otherwise, 3e-4)
    raise Wrong(f"{where} the radius should be {truth:.4f}, but you return {radius:.4f}; {hint}")


def _wrong_radii(
    leading: int, counts: np.ndarray, sigma: float, alpha: float
) -> tuple[tuple[float | None, str], ...]:
    """Return the radii of wrong decisions, and what is wrong with each."""
    hits, n = int(counts[leading]), int(counts.sum())
    truth, p = sigma * norm.ppf(smoothing.lower_bound(hits, n, alpha)), hits / n

    def reach(lower: float) -> float | None:
        return sigma * norm.ppf(lower) if 0 < lower < 1 else None

    z, up = norm.ppf(1 - alpha), beta.ppf(1 - alpha, hits + 1, max(n - hits, 1e-9))
    rest = beta.ppf(1 - alpha, counts[(leading + 2) % 10] + 1, n - counts[(leading + 2) % 10])
    other = 0.001 if alpha != 0.001 else 0.05
    wilson = binomtest(hits, n, alternative="greater").proportion_ci(1 - alpha, method="wilson").low
    return (
        (
            reach(smoothing.lower_bound(hits, n, alpha / 2)),
            "that bound is two-sided; only the lower end matters, so it gets all of alpha",
        ),
        (
            reach(p),
            "you use the observed share as the probability; a certificate needs a lower bound",
        ),
        (reach(up), "that is the upper bound; alpha is on the wrong side"),
        (
            reach(beta.ppf(1 - alpha, hits, n - hits + 1)),
            "alpha is on the wrong side: that is not a lower bound",
        ),
        (
            reach(p - z * np.sqrt(p * (1 - p) / n)),
            "that is the Wald bound, which is wrong near 0 and 1; use the exact one (Clopper-Pearson)",
        ),
        (reach(wilson), "that is the Wilson bound, which is approximate; a certificate needs the exact one"),
        (truth / sigma, "your radius is in units of the noise's standard deviation; multiply by sigma"),
        (truth * sigma, "you multiply by sigma twice"),
        (sigma * smoothing.lower_bound(hits, n, alpha), "the quantile is missing: norm.ppf of the bound"),
        (reach(smoothing.lower_bound(hits, n, other)), "use the argument alpha"),
        (
            sigma * (norm.ppf(smoothing.lower_bound(hits, n, alpha)) - norm.ppf(rest)) / 2,
            "you bound the second class as well, and both bounds hold together only with 2 alpha; use 1 - "
            "the leading class's bound for it, and the radius is sigma * norm.ppf(bound)",
        ),
        (
            reach(beta.ppf(alpha, hits + 1, n - hits + 1)),
            "that is a Bayesian bound; Clopper-Pearson uses hits, not hits + 1",
        ),
    )
