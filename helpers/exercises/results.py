"""Checks of notebook 05's exercises.

They are: who knows what, the worst case, an end-to-end attack, a broken evaluation, and a defense without a
gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .. import attacks
from ..backend import keras, tf
from ..defenses import autoencoder as ae_module
from ..settings import CourseError
from . import toys
from .predicates import as_array, as_attacked, as_number, as_tensors, hint_for
from .verdict import Wrong, ask, check, untouched

EPS = 8 / 255
SMALL = 0.5 / 255
"""A budget at which PGD breaks some of toys.network's images and not others."""
layers = keras.layers

EVALUATIONS = {
    "A": "The fine-tuned classifier behind its autoencoder, on images made against the initial classifier.",
    "B": "The fine-tuned classifier behind its autoencoder, on images made against the fine-tuned classifier "
    "alone.",
    "C": "The fine-tuned classifier behind its autoencoder, on images made end-to-end.",
    "D": "A classifier whose input is rounded to 8 levels. The attack rounds as well, and uses the gradient "
    "of the identity in place of the rounding's.",
}
THREATS = {"A": "transfer", "B": "grey_box", "C": "adaptive", "D": "adaptive"}


@check("05.1", "name the threat of each evaluation: transfer, grey_box or adaptive")
def check_threats(threats: object) -> str:
    """Accept a dict from A, B, C, D (EVALUATIONS) to the attacker's knowledge."""
    if not isinstance(threats, dict):
        raise Wrong(f"threats should be a dict from A to D, but is a {type(threats).__name__}")
    if missing := [name for name in THREATS if name not in threats]:
        raise Wrong(f"evaluation {missing[0]} is missing")
    why = {
        "A": "which network were the images made for, and which one is assessed?",
        "B": "what does this attacker know, and which part of the defense does the gradient leave out?",
        "C": "which part of the defense does this attacker not know?",
        "D": "does the attacker know about the rounding?",
    }
    for name, truth in THREATS.items():
        said = str(threats[name]).strip().lower().replace("-", "_").replace(" ", "_").replace("gray", "grey")
        if said not in ("transfer", "grey_box", "adaptive"):
            raise Wrong(f"evaluation {name} is {threats[name]!r}; choose transfer, grey_box or adaptive")
        if said != truth:
            raise Wrong(f"evaluation {name} is not {said}: {why[name]}")
    return "A and B attack something else than the whole defense; only C and D tell how robust it is"


@check("05.2", "write worst_case(correct)")
def check_worst_case(worst_case: Callable) -> str:
    """Accept a function from answers under attacks (booleans [attacks, n]) to the worst-case accuracy."""
    rng = np.random.default_rng(0)
    for chances, n in (((0.9, 0.6, 0.7), 40), ((0.5, 0.5), 30), ((0.8, 0.8, 0.8, 0.3), 50)):
        correct = rng.random((len(chances), n)) < np.array(chances)[:, None]
        found = as_number(ask(worst_case, correct, call="worst_case(correct)"), "your accuracy")
        truth = correct.all(0).mean()
        if np.isclose(found, truth, atol=1e-6):
            continue
        each = correct.mean(1)
        hints = (
            (each.min(), "that is the strongest attack alone; another one may break images that it leaves"),
            (each.mean(), "that is the mean over the attacks; an attacker takes the one that works"),
            (correct.any(0).mean(), "that counts an image if any attack fails on it; all attacks must fail"),
            (each.prod(), "that would hold if the attacks were independent; look at each image"),
            (1 - truth, "that is the share of broken images"),
            (100 * truth, "give it in [0, 1]"),
            (correct.all(0).sum(), "that is a number of images"),
            (correct.all(1).mean(), "the images are along the second axis"),
        )
        hint = hint_for(found, hints, "an image counts only if it is classified correctly under every attack")
        raise Wrong(
            f"{len(chances)} attacks that leave {_list(each)} give {truth:.3f}, not {found:.3f}; {hint}"
        )
    return "an image counts only if every attack fails on it"


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


# -------------------------------------------------------------------------- an attack through the autoencoder


@cache
def toy_defense() -> tuple[keras.Model, keras.Model, np.ndarray, np.ndarray]:
    """Return a defense that breaks end-to-end but not under an attack on its classifier alone.

    The autoencoder averages 2x2 blocks. The classifier uses fine and coarse detail, and its gradient is
    mostly fine detail, which the autoencoder removes.

    Returns:
        The autoencoder, the classifier, images float32 [16, 32, 32, 3] in [0, 1], and the classes that the
        two networks together give them.
    """
    autoencoder = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.AveragePooling2D(2), layers.UpSampling2D(2)], name="toy_autoencoder"
    )
    classifier = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(10)], name="toy_classifier"
    )
    rng = np.random.default_rng(7)
    coarse = rng.normal(0, 0.15, (16, 16, 3, 10)).repeat(2, 0).repeat(2, 1)
    checkers = np.indices((32, 32)).sum(0) % 2 * 2 - 1
    fine = rng.normal(0, 2.0, (16, 16, 3, 10)).repeat(2, 0).repeat(2, 1) * checkers[:, :, None, None]
    images = rng.uniform(0, 1, (16, 16, 16, 3)).repeat(2, 1).repeat(2, 2)
    images = (images + rng.uniform(-0.05, 0.05, images.shape)).clip(0, 1).astype(np.float32)
    kernel = (coarse + fine).reshape(-1, 10)
    bias = -(np.asarray(autoencoder(images)).reshape(16, -1) @ kernel).mean(0)
    classifier.set_weights([kernel, bias])
    return autoencoder, classifier, images, _behind(autoencoder, classifier, images)


def _behind(autoencoder: keras.Model, classifier: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(classifier(autoencoder(tf.constant(images, tf.float32)))).argmax(1).astype(np.int32)


THROUGH = "attack_through(autoencoder, classifier, images, labels, eps)"


@check("05.3", f"write {THROUGH}")
def check_attack_through(attack_through: Callable) -> str:
    """Accept any attack within the rules that breaks the pipeline of autoencoder and classifier."""
    autoencoder, classifier, images, labels = toy_defense()
    with untouched(classifier):
        answer = ask(attack_through, autoencoder, classifier, *as_tensors(images, labels), EPS, call=THROUGH)
    moved = as_array(answer, "your images", images.shape)
    through = np.asarray(autoencoder(tf.constant(moved, tf.float32)))
    distance = np.abs(moved - images).max()
    rebuilt = np.asarray(autoencoder(tf.constant(images)))
    if (
        distance > EPS + 1e-5
        and min(np.abs(moved - through).max(), np.abs(moved - rebuilt).max() - EPS) < 1e-3
    ):
        raise Wrong(
            f"a value moved by {distance:.3f}, but eps is {EPS:.3f}; you change the autoencoder's output, "
            "but the attacker can only change its input: start from the images, and return images"
        )
    moved = as_attacked(moved, images, EPS)
    if distance < 0.1 * EPS:
        hint = "; is it divided by 255 a second time?" if distance else ""
        raise Wrong(f"no value moved by more than {distance:.2g}, but eps is {EPS:.3f}{hint}")
    robust = int(np.sum(_behind(autoencoder, classifier, moved) == labels))
    if robust > 2:
        alone = np.asarray(classifier(tf.constant(moved, tf.float32))).argmax(1)
        before = np.asarray(autoencoder(tf.constant(images)))
        fine = np.abs(through - before).mean() / np.abs(moved - images).mean()
        hint = "compare with helpers: pgd(defended(autoencoder, classifier), ...)"
        if fine < 0.3:
            own = int(np.sum(alone == np.asarray(classifier(tf.constant(images))).argmax(1)))
            hint = (
                f"only {100 * fine:.0f}% of your change gets through the autoencoder, and without it {own} "
                f"of {len(images)} answers stay the same: you attacked the classifier alone, or left the "
                "autoencoder out of the gradient; differentiate end-to-end"
            )
        elif _loss(autoencoder, classifier, moved, labels) < _loss(autoencoder, classifier, images, labels):
            hint = "the loss of the true classes fell: it should rise"
        raise Wrong(f"behind the autoencoder {robust} of {len(images)} images are still right; {hint}")
    broken = len(images) - robust
    return f"{broken} of {len(images)} images are broken through the autoencoder, within eps and [0, 1]"


def _loss(autoencoder, classifier, images, labels) -> float:
    return float(toys.losses(ae_module.defended(autoencoder, classifier), images, labels).mean())


# ---------------------------------------------------------------------------------------- a broken evaluation

EVALUATE = "evaluate(classifier, images, labels, eps)"


@check("05.4", f"repair {EVALUATE}, which contains four mistakes")
def check_evaluation(evaluate: Callable) -> str:
    """Accept an evaluation by PGD that returns (attacked images, accuracy) without four mistakes.

    Notebook 05's exercise contains them: eps in the wrong unit, BatchNorm in training mode, a loss on clipped
    probabilities, and labels of another batch.
    """
    images = toys.images()  # more than one batch of 16
    model, faults = toys.network(), []
    labels = toys.answers(model, images)
    before = model.get_weights()
    moved, accuracy = _evaluated(evaluate, model, images, labels, SMALL)
    changed = any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model.set_weights(before)
    distance = np.abs(moved - images).max()
    as_attacked(moved, images, SMALL)  # none of the four mistakes
    if changed:
        faults.append("the evaluation changes the network: its BatchNorm statistics moved")
    if distance < 0.9 * SMALL:
        faults.append(f"no value moved by more than {distance:.2g}, but eps is {SMALL:.2g}")
    # A network without BatchNorm shows each mistake by itself.
    answers = toys.answers(toys.linear(), images)
    plain, _ = _evaluated(evaluate, toys.linear(), images, answers, EPS)
    rose = toys.losses(toys.linear(), plain, answers) > toys.losses(toys.linear(), images, answers)
    if rose.mean() < 0.9:
        first, others = 100 * rose[:16].mean(), 100 * rose[16:].mean()
        faults.append(
            f"the loss of the true class rises for {first:.0f}% of the first batch's images, but for "
            f"{others:.0f}% of the others"
        )
    answers = toys.answers(toys.linear(20.0), images)
    sure, _ = _evaluated(evaluate, toys.linear(20.0), images, answers, EPS)
    still = np.mean(np.abs(sure - images).max((1, 2, 3)) == 0)
    if still > 0.1:
        faults.append(
            f"for a very confident classifier, {100 * still:.0f}% of the images do not move at all: their "
            "loss has no gradient"
        )
    if faults:
        listed = "".join(f"\n- {fault}" for fault in faults)
        raise Wrong(
            f"{len(faults)} of the four mistakes {'is' if len(faults) == 1 else 'are'} still there:{listed}"
        )
    right = np.mean(toys.answers(model, moved) == labels)
    if abs(accuracy - right) > 0.011:
        raise Wrong(
            f"you report {accuracy:.3f}, but {right:.3f} of the attacked images are classified correctly"
        )
    return "all four are repaired; each made the classifier look more robust than it is, or changed it"


def _evaluated(
    evaluate: Callable, model: keras.Model, images, labels, eps: float
) -> tuple[np.ndarray, float]:
    answer = ask(evaluate, model, images.copy(), labels.copy(), eps, call=EVALUATE)
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong(f"return a pair (attacked images, accuracy), not a {type(answer).__name__}")
    accuracy = as_number(answer[1], "the accuracy")
    if not 0 <= accuracy <= 1:
        raise Wrong(f"the accuracy is {accuracy:g}; give it in [0, 1]")
    return as_array(answer[0], "the attacked images", images.shape), accuracy


# ----------------------------------------------------------------------------------------------- open problem


@check("05.5", "write defense(images) and attack(model, images, labels, eps)")
def check_without_gradient(defense: Callable, attack: Callable) -> str:
    """Accept a defense that stops PGD and keeps the classifier's answers, and an attack that breaks it."""
    classifier, images = toys.network(), toys.images()
    labels = toys.answers(classifier, images)

    def defended(x: tf.Tensor, training: bool = False) -> tf.Tensor:
        out = ask(defense, tf.convert_to_tensor(x, tf.float32), call="defense(images)")
        if not tf.is_tensor(out):
            out = tf.constant(as_array(out, "the defended images", x.shape), tf.float32)
        return classifier(tf.cast(out, tf.float32), training=False)

    def robust(x: np.ndarray) -> int:
        return int(np.sum(np.asarray(defended(tf.constant(x, tf.float32))).argmax(1) == labels))

    clean, n = robust(images), len(images)
    if clean < 0.7 * n:
        raise Wrong(
            f"behind your defense {clean} of {n} clean images keep their class; keep at least {0.7 * n:.0f}"
        )
    try:
        stopped = robust(_plain_pgd(defended, images, labels))
    except (CourseError, LookupError):  # it has no gradient at all
        stopped = clean
    if stopped < 0.7 * clean:
        raise Wrong(
            f"plain PGD through your defense leaves only {stopped} of {clean} images, so there is nothing to "
            "get around; remove the gradient: round, use a lookup table, or sort values into bins"
        )
    with untouched(classifier):
        answer = ask(
            attack, defended, *as_tensors(images, labels), EPS, call="attack(model, images, labels, eps)"
        )
    left = robust(as_attacked(answer, images, EPS))
    if left > 0.3 * clean:
        raise Wrong(
            f"your attack leaves {left} of {clean} images, and PGD leaves {stopped}; leave at most "
            f"{0.3 * clean:.0f}: approximate the defense's gradient (adaptive.straight_through), or use none "
            "(square)"
        )
    return (
        f"PGD leaves {stopped} of {clean} images, but your attack {left}: the defense only hid its gradient"
    )


def _plain_pgd(model: Callable, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Attack with plain PGD, eagerly, since a student's defense may not run in a graph."""
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        return attacks.pgd(model, images, labels, EPS)
    finally:
        tf.config.run_functions_eagerly(eager)
