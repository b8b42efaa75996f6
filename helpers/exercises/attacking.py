"""Checks of notebook 01's exercises: FGSM, projection, targeted PGD, an overconfident classifier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import attacks
from ..attacks import losses
from ..backend import keras, tf
from . import toys
from .predicates import as_array, as_attacked, as_number, as_tensors
from .verdict import Wrong, ask, check, untouched

EPS = 8 / 255
SURE = 3000.0
"""Scale of the last exercise's logits (toys.network): the cross-entropy has no gradient in float32."""


@check("01.1", "write grey_levels(attacked, images), the largest change of each image in 1/255")
def check_grey_levels(grey_levels: Callable) -> str:
    """Accept a function of attacked images and images [n, h, w, c] that returns [n] grey levels."""
    images = np.full((4, 2, 3, 3), 0.5, np.float32)
    attacked = images.copy()
    attacked[1, 0, 1, 2] += 8 / 255
    attacked[2, 1, 2, 0] -= 12 / 255  # its image's largest change, and downwards
    attacked[2, 0, 0, 0] += 4 / 255
    attacked[3] += np.float32(2 / 255)
    truth = np.array([0.0, 8.0, 12.0, 2.0])
    answer = as_array(
        ask(grey_levels, attacked, images, call="grey_levels(attacked, images)"), "your answer"
    ).squeeze()
    if answer.shape == ():
        raise Wrong(
            f"your function returned one number ({float(answer):.3g}); return one for each of the 4 images"
        )
    if answer.shape != (4,):
        raise Wrong(
            f"4 images give 4 numbers, but yours have shape {answer.shape}; take the maximum over axes 1 to 3"
        )
    if np.allclose(255 * answer, truth, atol=1e-3):
        raise Wrong(f"a change of 8/255 gave {answer[1]:.4f}; multiply by 255 to get grey levels")
    if answer[2] < 11 and np.isclose(answer[1], 8, atol=1e-3):
        raise Wrong(
            f"an image whose values moved by -12 and +4 gave {answer[2]:.3g}; changes downwards count too"
        )
    hints = (
        (np.trunc(truth - 1e-3), "converting to int cuts off the fraction: keep the decimals"),
        (truth * 256 / 255, "there are 256 levels, but the largest is 255: multiply by 255"),
    )
    for wrong, hint in hints:
        if np.allclose(answer[1:], wrong[1:], atol=1e-3):
            raise Wrong(f"an image whose largest change is 8 grey levels gave {answer[1]:.4g}; {hint}")
    if answer.max() > 200:
        raise Wrong(
            f"an image whose largest change is 12 grey levels gave {answer.max():.4g}; a uint8 cannot be "
            "negative, so the difference wraps around to 255: subtract as floats"
        )
    for k in range(4):
        if not np.isclose(answer[k], truth[k], atol=1e-3):
            raise Wrong(
                f"an image whose largest change is {truth[k]:.0f} grey levels gave {answer[k]:.3g}; "
                "take the largest absolute difference of any value, not a mean and not the l2 norm"
            )
    return "0, 8, 12 and 2 grey levels were found, upwards and downwards"


# ------------------------------------------------------------------------------------------------------- FGSM


@check("01.2", "write fgsm(model, images, labels, eps)")
def check_fgsm(fgsm: Callable) -> str:
    """Accept a function from (model, images, labels, eps) to images moved by one step of FGSM."""
    model, images, labels = toys.network(), toys.images(), toys.labels()
    for eps in (EPS, 0.1):
        moved = _attacked_by(fgsm, model, images, labels, eps, "fgsm(model, images, labels, eps)")
        _check_budget_used(moved - images, images, eps)
        gradient = _gradient(model, images, labels)
        _check_full_steps(moved - images, images, gradient, eps)
        _check_direction(moved - images, images, _causes(model, images, labels))
    sure = toys.network(40.0)
    answers = toys.answers(sure, images)
    moved = _attacked_by(fgsm, sure, images, answers, EPS, "fgsm(model, images, labels, eps)")
    still = np.mean(np.abs(moved - images).max((1, 2, 3)) == 0)
    if still > 0.1:
        raise Wrong(
            f"{100 * still:.0f}% of a very confident classifier's images did not move at all; its "
            "probabilities round to 0 and 1, so take the cross-entropy of the logits, without a softmax"
        )
    return "every value moves by eps in the direction in which the loss grows, and stays in [0, 1]"


def _attacked_by(attack: Callable, model, images, labels, eps: float, call: str, *more) -> np.ndarray:
    with untouched(model):
        answer = ask(attack, model, *as_tensors(images, labels), eps, *more, call=call)
    return as_attacked(answer, images, eps)


def _check_budget_used(change: np.ndarray, images: np.ndarray, eps: float) -> None:
    distance = np.abs(change).max()
    if distance < 0.9 * eps:
        hint = "is it divided by 255 a second time?" if distance < eps / 100 else "the step is too short"
        sizes = np.abs(change[(change != 0) & (images >= eps) & (images <= 1 - eps)])  # none is clipped
        if sizes.size and np.median(sizes) < 0.9 * sizes.max():
            hint = "all values must move by eps: is the sign missing?"
        if abs(distance - EPS) < 1e-4:
            hint = "you always use 8/255, this notebook's budget: use the argument eps"
        raise Wrong(f"no value moved by more than {distance:.2g}, but eps is {eps:.3f}; {hint}")


def _check_full_steps(change: np.ndarray, images: np.ndarray, gradient: np.ndarray, eps: float) -> None:
    """Check that every value with a gradient and room to move moved by eps."""
    free = (gradient != 0) & (images >= eps) & (images <= 1 - eps)
    still = np.mean(change[free] == 0)
    if still > 0.2:
        raise Wrong(
            f"{100 * still:.0f}% of the values did not move: the gradient of your loss is exactly zero "
            "there; take the cross-entropy of logits (from_logits=True), not of probabilities"
        )
    full = np.mean(np.abs(np.abs(change[free]) - eps) < 1e-5)
    if full < 0.95:
        raise Wrong(
            f"only {100 * full:.0f}% of the values moved by eps; FGSM moves every value by exactly eps, "
            "whatever the size of its gradient: take the sign"
        )


def _gradient(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, loss=losses.cross_entropy
) -> np.ndarray:
    return attacks.input_gradient(model, *as_tensors(images, labels), loss).numpy()


def _softmax_twice(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return losses.cross_entropy(labels, tf.nn.softmax(logits))


def _on_probabilities(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return keras.losses.sparse_categorical_crossentropy(labels, logits)


UPHILL = "in which the loss of the true class grows"
DOWNHILL = "in which the loss of the target class falls"
TWICE = "the softmax is applied twice; pass the logits to the cross-entropy"
AS_PROBABILITIES = "the loss takes the logits for probabilities; pass from_logits=True"


def _causes(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the directions that FGSM's step may have, by the mistake behind each (none: "")."""
    right = _gradient(model, images, labels)
    return {
        "": right,
        "it goes downhill: the loss of the true class falls; flip the sign of the step": -right,
        TWICE: _gradient(model, images, labels, _softmax_twice),
        AS_PROBABILITIES: _gradient(model, images, labels, _on_probabilities),
        "it moves away from the classifier's answer, not from the label": _gradient(
            model, images, toys.answers(model, images)
        ),
        "all images of the batch move in the same way; each has its own gradient": np.broadcast_to(
            right.mean(0, keepdims=True), right.shape
        ),
    }


def _targeted_causes(model: keras.Model, images: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Return the same for a targeted step."""
    return {
        "": -_gradient(model, images, targets),
        TWICE: -_gradient(model, images, targets, _softmax_twice),
        AS_PROBABILITIES: -_gradient(model, images, targets, _on_probabilities),
        "it moves away from the classifier's answer; move towards the target": _gradient(
            model, images, toys.answers(model, images)
        ),
    }


def _check_direction(
    change: np.ndarray, images: np.ndarray, causes: dict[str, np.ndarray], goal: str = UPHILL
) -> None:
    """Compare the signs of a change with those of several gradients, and name the most similar one."""
    inner = (images > 0.05) & (images < 0.95) & (causes[""] != 0)
    alike = {why: np.mean(np.sign(change[inner]) == np.sign(g[inner])) for why, g in causes.items()}
    why = max(alike, key=alike.get)
    if alike[""] > 0.98:
        return
    hint = why if why and alike[why] > 0.95 else "compare your loss, labels and sign with the formula"
    raise Wrong(f"only {100 * alike['']:.0f}% of the values moved in the direction {goal}; {hint}")


# ------------------------------------------------------------------------------------------------- projection


@check("01.3", "write project(moved, images, eps)")
def check_project(project: Callable) -> str:
    """Accept a function that brings moved images back to within eps of the originals and into [0, 1]."""
    rng = np.random.default_rng(2)
    images = toys.images(8)
    for eps in (EPS, 0.2):
        moved = (images + rng.uniform(-2 * eps, 2 * eps, images.shape)).astype(np.float32)
        call = "project(moved, images, eps)"
        answer = ask(project, tf.constant(moved), tf.constant(images), eps, call=call)
        back = as_array(answer, "your images", images.shape)
        truth = np.clip(moved, images - eps, images + eps).clip(0, 1)
        distance = np.abs(back - images).max()
        if distance > eps + 1e-5:
            low, high = float(back.min()), float(back.max())
            about_zero = high <= eps + 1e-5 and low >= -eps - 1e-5
            hint = (
                "you clip the image itself to within eps of 0, or you return the change instead of the image"
                if about_zero
                else "clip to images - eps and images + eps"
            )
            raise Wrong(f"a value is {distance:.3f} away from the original, but eps is {eps:.3f}; {hint}")
        as_attacked(back, images, eps)  # in [0, 1]
        if 0 < distance < eps / 100:
            raise Wrong(
                f"no value is more than {distance:.2g} from the original; do you divide eps by 255 a second "
                "time?"
            )
        if np.allclose(back, images, atol=1e-6):
            raise Wrong("you returned the originals; a moved value inside the ball must stay where it is")
        if eps > EPS and np.allclose(back, np.clip(moved, images - EPS, images + EPS).clip(0, 1), atol=1e-5):
            raise Wrong(f"with eps = {eps} you still project to within 8/255; use the argument eps")
        inside = (np.abs(moved - images) <= eps) & (moved >= 0) & (moved <= 1)
        lost = np.mean(np.abs(back - moved)[inside] > 1e-5)
        if lost > 0.01:
            raise Wrong(
                f"{100 * lost:.0f}% of the values that were in the ball and in [0, 1] moved; the projection "
                "moves only the values outside, each on its own: clip, do not shrink"
            )
        far = np.mean(np.abs(back - truth) > 1e-5)
        if far > 0.001:
            raise Wrong(
                f"{100 * far:.0f}% of the values are not at the nearest allowed point: a value outside the "
                f"ball belongs on its edge, {eps:.3f} from the original"
            )
    return "every value outside went to the nearest allowed point, and no other value moved"


# ----------------------------------------------------------------------------------------------- targeted PGD

TARGETED = "targeted_pgd(model, images, targets, eps, step_size, steps)"


@check("01.4", f"write {TARGETED}")
def check_targeted_pgd(targeted_pgd: Callable) -> str:
    """Accept PGD without a random start that lowers the loss of the target classes."""
    model, images = toys.network(), toys.images(12)
    targets = (toys.labels()[:12] + 3) % 10

    def moved_by(steps: int, step_size: float = 0.01, eps: float = EPS) -> np.ndarray:
        return _attacked_by(targeted_pgd, model, images, targets, eps, TARGETED, step_size, steps)

    one, three = moved_by(1), moved_by(3)
    if not np.allclose(one, moved_by(1), atol=1e-6):
        raise Wrong(
            "two calls with the same arguments gave different images; start from the images themselves here"
        )
    distance = np.abs(one - images).max()
    if distance > 0.0101:
        raise Wrong(
            f"one step of 0.010 moved a value by {distance:.3f}; each step has size step_size, not eps, "
            "and the first one begins at the images themselves (no random start)"
        )
    before, after = (toys.losses(model, x, targets).mean() for x in (images, one))
    if distance == 0:
        raise Wrong("one step moved nothing; take `steps` steps of size step_size")
    if after >= before:
        raise Wrong(
            f"one step changed the loss of the targets from {before:.2f} to {after:.2f}; it should fall: go "
            "down the gradient of the targets' loss"
        )
    _check_steps(model, images, targets, one, three)
    full, truth = moved_by(10), _reference(model, images, targets, 10)
    if np.abs(full - images).max() < 0.9 * EPS:
        raise Wrong(
            f"ten steps of 0.010 moved no value by more than {np.abs(full - images).max():.3f}; take all "
            "steps"
        )
    _check_every_step(model, images, targets, moved_by)
    hits, possible = (np.mean(toys.answers(model, x) == targets) for x in (full, truth))
    if hits < possible - 0.1:
        raise Wrong(
            f"{100 * hits:.0f}% of the images reach their target, and {100 * possible:.0f}% should; do you "
            "compute a new gradient in every step, and project around the originals?"
        )
    return (
        f"the toy classifier takes {100 * hits:.0f}% of the images for their targets, within eps and [0, 1]"
    )


def _reference(model, images, targets, steps: int, step_size: float = 0.01) -> np.ndarray:
    return attacks.pgd(
        model, images, targets, EPS, step_size=step_size, steps=steps, random_start=False, targeted=True
    )


def _check_steps(model, images, targets, one: np.ndarray, three: np.ndarray) -> None:
    """Compare the first steps with the tested attack's, value by value."""
    if np.mean(np.abs(one - _reference(model, images, targets, 1)) > 1e-5) > 0.02:
        _check_direction(one - images, images, _targeted_causes(model, images, targets), DOWNHILL)
        raise Wrong("the first step is not step_size times the sign of the gradient")
    if np.abs(three - images).max() < 0.0101:
        raise Wrong("three steps end where one step ends; does each step start where the last one ended?")
    truth = _reference(model, images, targets, 3)
    if np.mean(np.abs(three - truth) > 1e-5) > 0.05:
        hint = "take the gradient at the moved images, and project around the originals"
        if np.mean(np.abs(three - (images + 3 * (one - images)).clip(0, 1)) > 1e-5) < 0.05:
            hint = "every step repeats the first: take the gradient at the moved images, not at the originals"
        raise Wrong(
            f"the first step is right, but {_share(three, truth)} of the values are wrong after three; {hint}"
        )


def _check_every_step(model, images, targets, moved_by: Callable) -> None:
    """Check, with steps so long that the second leaves the ball, that the third begins at its edge."""
    long = 0.03
    found, truth = moved_by(3, long), _reference(model, images, targets, 3, long)
    if np.mean(np.abs(found - truth) > 1e-5) <= 0.08:
        return
    hint = "project around the originals, and onto [0, 1], after every step"
    free = attacks.pgd(
        model, images, targets, 1.0, step_size=long, steps=3, random_start=False, targeted=True
    )
    if np.mean(np.abs(found - np.clip(free, images - EPS, images + EPS)) > 1e-5) < 0.08:
        hint = "the projection belongs in the loop, after every step, not once at the end"
    raise Wrong(
        f"three steps of 0.010 are right, but after three of {long:.3f}, which leave the ball, "
        f"{_share(found, truth)} of the values are wrong; {hint}"
    )


def _share(a: np.ndarray, b: np.ndarray) -> str:
    return f"{100 * np.mean(np.abs(a - b) > 1e-5):.0f}%"


# -------------------------------------------------------------------------------------- predict, then measure


@check("01.5", "set predicted, run the attack, and set measured; both in grey levels")
def check_reach(predicted: object, measured: object) -> str:
    """Accept the largest change that ten steps of 0.001 can make, and the one they made, in 1/255."""
    truth = 10 * 0.001 * 255
    guess, found = as_number(predicted, "predicted"), as_number(measured, "measured")
    if abs(found - 8) < 0.1:
        raise Wrong(f"measured is {found:.2f}, the whole budget; pass step_size=0.001 and random_start=False")
    if abs(found * 255 - truth) < 0.02:
        raise Wrong(f"measured is {found:.4f}, which is in [0, 1]; multiply it by 255")
    if abs(found - truth) > 0.05:
        raise Wrong(
            f"measured is {found:.2f} grey levels, but ten steps of 0.001 in one direction make "
            f"{truth:.2f}; measure the largest change of any value of any image, after ten steps from the "
            "image itself"
        )
    if abs(guess - truth) > 0.1:
        raise Wrong(
            f"you predicted {guess:.2f} grey levels and measured {found:.2f}; what bounds the change: the "
            "budget of 8, or the steps? Keep the measurement and correct the prediction"
        )
    return (
        f"{found:.2f} of the 8 grey levels allowed: this attack cannot use its whole budget. The accuracy "
        "alone does not show that: this classifier falls to less than the budget. On a more robust one, "
        "the unused budget would look like robustness"
    )


# ----------------------------------------------------------------------------------------------- open problem


def sure_classifier() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """Return a classifier so confident that the gradient of the cross-entropy is exactly zero.

    Returns:
        The classifier, images float32 [24, 32, 32, 3] in [0, 1], and the classes that it gives them.
    """
    model = toys.network(SURE)
    return model, toys.images(), toys.answers(model, toys.images())


@check("01.6", "write attack_the_sure(model, images, labels, eps)")
def check_attack_the_sure(attack_the_sure: Callable) -> str:
    """Accept any valid attack that leaves at most a tenth of sure_classifier's images correct."""
    model, images, labels = sure_classifier()
    call = "attack_the_sure(model, images, labels, eps)"
    moved = _attacked_by(attack_the_sure, model, images, labels, EPS, call)
    robust = int(np.sum(toys.answers(model, moved) == labels))
    if robust > len(images) // 10:
        still = int(np.sum(np.abs(moved - images).max((1, 2, 3)) == 0))
        unmoved = f"; {still} did not move at all" if still else ""
        raise Wrong(
            f"{robust} of {len(images)} are still right, and at most {len(images) // 10} should be{unmoved}"
        )
    return (
        f"{len(images) - robust} of {len(images)} images are broken; the classifier was confident, not robust"
    )
