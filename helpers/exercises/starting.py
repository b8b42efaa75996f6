"""Checks of notebook 00's exercises: images in [0, 1], the Wilson interval, sample sizes, threat models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..evaluation import wilson
from .predicates import as_array, as_number, expect_dict, hint_for
from .verdict import Wrong, ask, check


@check("00.1", "write to_unit(pixels), the images as float32 in [0, 1]")
def check_to_unit(to_unit: Callable) -> str:
    """Accept a function from uint8 images [n, h, w, 3] to the same images as floats, k/255 each."""
    pixels = np.random.default_rng(0).integers(40, 200, (3, 4, 4, 3)).astype(np.uint8)
    pixels[0, 0, 0], pixels[1, 0, 0] = 0, 255
    _compare_unit(to_unit, pixels)
    _compare_unit(to_unit, pixels[2:])  # without 0 and 255
    return "0 stays 0, 255 becomes 1, and every value between is right"


def _compare_unit(to_unit: Callable, pixels: np.ndarray) -> None:
    answer = ask(to_unit, pixels, call="to_unit(pixels)")
    images = as_array(answer, "your images", pixels.shape)
    kind = getattr(answer, "dtype", None)
    if kind is not None and "float" not in str(kind):
        raise Wrong(f"your images are {kind}, which has no values between 0 and 1; return float32")
    truth = pixels / 255
    low, high = images.min(), images.max()
    if np.allclose(images, truth, atol=1e-6):
        return
    if high > 2:
        raise Wrong(
            f"your images run from {low:.4g} to {high:.4g}; divide by the largest value that a pixel can have"
        )
    if low < -1e-6:
        raise Wrong(
            f"your smallest value is {low:.3f}; leave normalisation to the classifier, which does it in its "
            "first layer"
        )
    if np.allclose(images, pixels > 0):
        raise Wrong("every value above 0 became 1; divide, do not clip")
    if np.allclose(images, truth, atol=1e-3) and "16" in str(kind):
        raise Wrong(f"your images are {kind}, which keeps about three digits; return float32")
    if len(np.unique(images.round(6))) <= 2:
        raise Wrong("only 0 and 1 are left; an integer division rounded all other values off")
    if pixels.max() == 255 and abs(high - 1) > 1e-6:
        raise Wrong(
            f"a pixel of 255 became {high:.5f} and should be 1; there are 256 levels, but the largest is 255"
        )
    k = tuple(np.argwhere(np.abs(images - truth) > 1e-6)[0])
    raise Wrong(
        f"a pixel of {pixels[k]} became {images[k]:.4f} and should be {truth[k]:.4f}; divide every image "
        "by the same number, whatever its pixels are"
    )


@check("00.2", "write interval(correct, n), the Wilson 95% interval")
def check_interval(interval: Callable) -> str:
    """Accept a function from counts to the limits (low, high) of the Wilson 95% interval, in [0, 1]."""
    for correct, n in ((0, 20), (20, 20), (3, 20), (911, 1000), (9230, 10000)):
        answer = ask(interval, correct, n, call="interval(correct, n)")
        limits = as_array(answer, "the interval").reshape(-1)
        if limits.shape != (2,):
            raise Wrong(f"an interval has two limits, but you returned {limits.size}")
        low, high = limits
        seen = f"for {correct} of {n} your interval is {low:.4f} to {high:.4f}"
        truth = wilson(correct, n)
        if np.allclose(limits, truth, atol=1e-3):
            continue
        if np.allclose(limits[::-1], truth, atol=1e-3):
            raise Wrong(f"{seen}; give the lower limit first")
        if hint := _slip(limits, correct, n):
            raise Wrong(f"{seen}; {hint}")
        if high > 1.5:
            raise Wrong(f"{seen}; give proportions in [0, 1], not percent or counts")
        if high - low < 1e-9:
            raise Wrong(
                f"{seen}, as if {n} images left no doubt; that is the Wald interval, not the Wilson interval"
            )
        if low < -1e-9 or high > 1 + 1e-9:
            raise Wrong(
                f"{seen}, outside [0, 1]; that is the Wald interval; the Wilson interval stays inside"
            )
        if np.allclose(limits, truth, atol=0.0051):
            raise Wrong(f"{seen}; it should be {truth[0]:.4f} to {truth[1]:.4f}: do not round")
        ratio = (high - low) / (truth[1] - truth[0])
        if abs(ratio - 1) > 0.05:
            narrow = "narrow" if ratio < 1 else "wide"
            raise Wrong(
                f"{seen}: {ratio:.2f} times as wide as it should be, too {narrow}; for 95%, z is 1.96"
            )
        raise Wrong(
            f"{seen}; its centre is not correct/n but lies nearer to 1/2: look at the formula's first term"
        )
    return (
        "your interval agrees with the course's for few and many images, and stays inside [0, 1] when all "
        "or none are correct"
    )


def _slip(limits: np.ndarray, correct: int, n: int) -> str:
    """Return a hint if the limits are Wilson's except for one factor or a missing bracket, or else ""."""
    z, p = 1.96, correct / n

    def like(
        middle: float = z * z / (2 * n), root: float = z * z / (4 * n * n), factors=(1, 1)
    ) -> np.ndarray:
        half = z * np.sqrt(p * (1 - p) / n + root)
        return ((p + middle) * factors[0] + half * factors[1] * np.array([-1, 1])) / (1 + z * z / n)

    whole = 1 + z * z / n
    slips = {"divide by 1 + z²/n": [like(factors=(whole, whole))]}
    slips["divide the middle and the half width by 1 + z²/n"] = [
        like(factors=f) for f in ((1, whole), (whole, 1))
    ]
    slips["check the brackets: 1/(1 + z²/n)"] = [like(factors=(whole**2, whole**2))]
    slips["check the brackets: z²/(2n), z²/(4n²)"] = [
        like(middle, root)
        for middle in (z * z / (2 * n), z * z / 2 * n)
        for root in (z * z / (4 * n * n), z * z / 4, z * z / 4 * n * n)
    ][1:]  # the first is right
    for hint, wrong in slips.items():
        if any(np.allclose(limits, other, rtol=1e-3, atol=1e-3) for other in wrong):
            return hint
    return ""


@check("00.3", "set predicted before you compute, and then needed")
def check_needed(predicted: object, needed: object) -> str:
    """Accept a guess, and the number of images for a 95% interval of 0.5 points either way at 91%."""
    guess, found = as_number(predicted, "predicted"), as_number(needed, "needed")
    if guess <= 0 or guess != guess // 1:
        raise Wrong(f"you predicted {guess:g} images; any whole number will do as a guess")
    truth = 1.96**2 * 0.91 * 0.09 / 0.005**2
    ratio = found / truth
    if abs(ratio - 1) > 0.03:
        hints = (
            (4.0, "the interval extends 0.5 points to either side; it is 1 point wide, not 0.5"),
            (0.25, "0.01 is the full width: the interval extends 0.005 to either side"),
            (0.25 / (0.91 * 0.09), "that is the worst case of 50%, but the accuracy is 91%"),
            ((1.645 / 1.96) ** 2, "that is for 90%; for 95%, z is 1.96"),
            (1 / 1.96**2, "that is for one standard deviation; 95% needs 1.96 of them"),
            (1e-4, "0.5 points are 0.005, not 0.5"),
            (0.005, "the width falls with the square root of n: square 1.96/0.005"),
        )
        otherwise = "compute an interval at 91% for some n, and go up or down from there"
        hint = hint_for(ratio, hints, otherwise, 0.05)
        raise Wrong(
            f"with {found:,.0f} images the interval is {100 * _half_width(found):.2g} points either way; "
            f"{hint}"
        )
    times = max(guess / truth, truth / guess)
    surprise = "a good guess" if times < 1.5 else f"the guess was off by a factor of {times:.3g}"
    return f"about {truth:,.0f} images, more than CIFAR-10's test set has; {surprise}"


def _half_width(n: float) -> float:
    return 1.96 * (0.91 * 0.09 / n) ** 0.5 if n > 0 else float("inf")


# ----------------------------------------------------------------------------------------------- open problem

CARD = {
    "knows": "what the attacker knows about the filter",
    "knowledge": "oblivious, grey-box or adaptive (adaptive: knows everything, as in white-box)",
    "may_do": "what the attacker may and may not change",
    "budget": "how much of it: a number with its unit",
    "goal": "when the attack has succeeded",
    "n": "the number of mails to measure on",
}


@check("00.4", "fill in every field of the card")
def check_card(card: object) -> str:
    """Accept a threat-model card: a dict with CARD's fields. The rubric asks whether it is a good one."""
    expect_dict(card, "the card")
    if missing := [field for field in CARD if field not in card]:
        raise Wrong(f"the card lacks {missing[0]!r}: {CARD[missing[0]]}")
    for field in ("knows", "may_do", "budget", "goal"):
        text = card[field]
        if not isinstance(text, str) or len(text.split()) < 3:
            raise Wrong(f"{field!r} is {text!r}; in at least three words, say {CARD[field]}")
    texts = [card[field].strip().lower() for field in ("knows", "may_do", "budget", "goal")]
    if len(set(texts)) < 4:
        raise Wrong("two fields say the same; each answers a different question")
    knowledge = (
        str(card["knowledge"])
        .strip()
        .lower()
        .replace("_", "-")
        .replace("gray", "grey")
        .replace("grey box", "grey-box")
    )
    knowledge = {"white-box": "adaptive", "white box": "adaptive", "whitebox": "adaptive"}.get(
        knowledge, knowledge
    )
    if knowledge not in ("oblivious", "grey-box", "adaptive"):
        raise Wrong(
            f"'knowledge' is {card['knowledge']!r}; choose oblivious, grey-box or adaptive (adaptive = knows "
            "everything)"
        )
    if not any(letter.isdigit() for letter in card["budget"]):
        raise Wrong(
            f"'budget' is {card['budget']!r}, without a number; write one in digits: a budget without a "
            "number limits nobody"
        )
    n = as_number(card["n"], "'n'")
    if n < 1 or n != n // 1:
        raise Wrong(f"'n' is {n:g}; it must be a whole number of mails")
    if n < 100:
        low, high = wilson(round(0.9 * n), int(n))
        raise Wrong(
            f"with n = {n:.0f}, the interval of 90% is {100 * low:.0f} to {100 * high:.0f}%; take at least "
            "100"
        )
    return f"all fields are filled in ({knowledge}, n = {n:,.0f}); now compare the card with the rubric"
