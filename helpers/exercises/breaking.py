"""Checks of notebook 06's exercises: who stands on which rung, a worst case that is none, the budget curve, an attack
around a rounding, four sanity tables, and a defense that rolls dice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import attacks
from ..backend import keras, tf
from ..evaluation import checklist
from ..studies import threat_ladder
from . import toys
from .results import toy_defense
from .verdict import Wrong, as_array, as_attacked, as_number, as_tensors, ask, check, untouched

EPS = 8 / 255

# ---------------------------------------------------------------------------------------------------- who knows what

ATTACKERS = {
    "A": "has the classifier as it was before the fine-tuning, and has not heard of an autoencoder",
    "B": "runs a copy of the whole service, autoencoder and fine-tuned classifier, at home",
    "C": "tosses a coin for every value of the image: eps up or eps down",
    "D": "has an account: sends images and is told the scores of the ten classes, as often as they like",
    "E": "has trained a network of another kind on the same images",
    "F": "has the fine-tuned classifier's weights; nobody said that an autoencoder stands before it",
}
STANDS_ON = {"A": "static", "B": "pgd", "C": "noise", "D": "square", "E": "other_network", "F": "grey_box"}
CHAIN = "CEAFB"
"""Those of whom one surely knows less than the next. D, who asks, compares with C and B only."""


@check("06.1", "name each attacker's rung, and order the six letters")
def check_rungs(rungs: object, order: object) -> str:
    """Accepts a dict from ATTACKERS' letters to names in ladder.RUNGS, and the letters from who knows least to most."""
    if not isinstance(rungs, dict):
        raise Wrong(f"rungs should be a dict from A to F, but is a {type(rungs).__name__}")
    if missing := [letter for letter in STANDS_ON if letter not in rungs]:
        raise Wrong(f"attacker {missing[0]} is missing in rungs")
    for letter, truth in STANDS_ON.items():
        said = str(rungs[letter]).strip().lower().replace("-", "_").replace(" ", "_").replace("gray", "grey")
        if said not in STANDS_ON.values():
            names = ", ".join(name for name in threat_ladder.RUNGS if name in STANDS_ON.values())
            raise Wrong(f"attacker {letter} stands on {rungs[letter]!r}; choose from {names}")
        if said != truth:
            raise Wrong(
                f"attacker {letter} {ATTACKERS[letter]}; the rung {said!r} needs somebody who knows: "
                f"{threat_ladder.RUNGS[said].knows}"
            )
    return _ordered(order)


def _ordered(order: object) -> str:
    if not isinstance(order, (str, Sequence)):
        raise Wrong(f"order should be a list of letters, but is a {type(order).__name__}")
    letters = [str(letter).strip().upper() for letter in order if str(letter).strip(" ,<")]
    if sorted(letters) != sorted(STANDS_ON):
        raise Wrong(f"order should have each of A to F once, but has {', '.join(letters) or 'nothing'}")
    place = {letter: k for k, letter in enumerate(letters)}
    if place["B"] == 0 and place["C"] == 5:
        raise Wrong("order goes from who knows most to who knows least; turn it")
    why = {
        "CE": "a coin needs no network at all",
        "EA": "E's network was never a part of the service, A's was",
        "AF": "F has the very classifier that is assessed, A only what it was before",
        "FB": "B has F's classifier as well, and what stands before it",
        "CD": "a coin asks for nothing, D gets answers",
        "DB": "B can ask the copy at home whatever D asks the service",
    }
    for pair, reason in why.items():
        if place[pair[0]] > place[pair[1]]:
            raise Wrong(f"{pair[0]} stands after {pair[1]}, but knows less: {reason}")
    return (
        "the rungs are right, and so is the order. D's place between C and B is open: answers to questions and the "
        "weights of a part do not compare; only a measurement says which is worth more"
    )


# ------------------------------------------------------------------------------------------- a worst case that is none

CAUSES = {
    "sound": "the worst case is what it should be",
    "strongest": "only the strongest attack's answers were taken",
    "left_out": "one attack was left out",
    "any": "an image was counted as standing if any attack left it standing",
    "order": "the images were in another order than for the attacks",
}
REPORTED = {"P": "order", "Q": "sound", "R": "strongest", "S": "left_out"}


@cache
def reports() -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Four reports: which of 60 images withstood "the worst case" (booleans [60]), and which withstood each attack."""
    rng, found = np.random.default_rng(20), {}
    for name, cause in REPORTED.items():
        hard, chances = rng.random(60), {"PGD": 0.45, "PGD-margin": 0.5, "Square": 0.6}
        correct = {attack: (hard + rng.random(60)) / 2 > 1 - chance for attack, chance in chances.items()}
        answers = np.array(list(correct.values()))
        worst = {
            "sound": answers.all(0),
            "strongest": correct["PGD"],
            "left_out": answers[:2].all(0),
            "any": answers.any(0),
            "order": rng.permutation(answers.all(0)),
        }[cause]
        found[name] = worst, correct
    return found


@check("06.2", "write contradictions(worst, correct), and name the cause of each report")
def check_contradictions(contradictions: Callable, causes: object) -> str:
    """Accepts a function from a worst case (booleans [n]) and answers by attack to the number of images that withstood
    the one and not the other, by attack; and a dict from reports() to CAUSES."""
    rng = np.random.default_rng(12)
    for n, names in ((30, ("FGSM", "PGD", "Square")), (50, ("noise", "APGD"))):
        correct = {name: rng.random(n) < chance for name, chance in zip(names, (0.8, 0.5, 0.7), strict=False)}
        worst = rng.random(n) < 0.45
        answer = ask(contradictions, worst, correct, call="contradictions(worst, correct)")
        _compare_counts(answer, worst, correct)
    if not isinstance(causes, dict):
        raise Wrong(f"causes should be a dict from P to S, but is a {type(causes).__name__}")
    for name, (worst, correct) in reports().items():
        if name not in causes:
            raise Wrong(f"report {name} is missing in causes")
        if (said := str(causes[name]).strip().lower().replace(" ", "_")) not in CAUSES:
            raise Wrong(f"report {name} is {causes[name]!r}; choose from {', '.join(CAUSES)}")
        if said != REPORTED[name]:
            counts = {attack: int((worst & ~c).sum()) for attack, c in correct.items()}
            listed = ", ".join(f"{attack} {count}" for attack, count in counts.items())
            each = ", ".join(f"{attack} {c.mean():.2f}" for attack, c in correct.items())
            raise Wrong(
                f"report {name} is not {said!r} ({CAUSES[said]}): its contradictions are {listed}; its worst case is "
                f"{worst.mean():.2f}, the attacks leave {each}. What would that cause make of these numbers?"
            )
    return (
        "the four are told apart. No report's worst case is above an attack's accuracy, so the accuracies alone show "
        "nothing; the images do"
    )


def _compare_counts(answer: object, worst: np.ndarray, correct: dict[str, np.ndarray]) -> None:
    if not isinstance(answer, dict) or set(answer) != set(correct):
        came = f"the keys {list(answer)}" if isinstance(answer, dict) else type(answer).__name__
        raise Wrong(
            f"a dict with one number for each of the attacks {list(correct)} is asked for; {came} came back"
        )
    for name, left in correct.items():
        truth = int((worst & ~left).sum())
        said = answer[name]
        if isinstance(said, (bool, np.bool_)):
            raise Wrong(f"{name} has {said}; count the images, do not only say whether there are any")
        found = as_number(said, f"the number for {name}")
        if found == truth:
            continue
        hints = {
            int(
                (~worst & left).sum()
            ): "these withstood the attack and fell in the worst case, which is as it should "
            "be; the other way round is not",
            int(
                (worst != left).sum()
            ): "these are all on which the two differ; one of the two directions is no fault",
            int((worst & left).sum()): "these withstood both",
            int(worst.sum())
            - int(left.sum()): "that is the difference of two sums, in which images cancel each "
            "other; compare image by image",
            max(
                int(worst.sum()) - int(left.sum()), 0
            ): "that is the difference of two sums, in which images cancel "
            "each other; compare image by image",
        }
        hint = hints.get(found, "an image contradicts if it withstood the worst case and fell to the attack")
        if truth and abs(found * len(worst) - truth) < 1e-6:
            hint = "that is a share; count"
        raise Wrong(f"{name}: {truth} of {len(worst)} images contradict, and you say {found:.3g}; {hint}")


# ----------------------------------------------------------------------------------------------- predict, then measure

BUDGETS = (0, 2, 4, 8, 16)
"""The budgets of the prediction, in 1/255."""


@check("06.3", "set predicted before you measure, and write curve(model, images, labels, budgets)")
def check_curve(predicted: object, curve: Callable) -> str:
    """Accepts five accuracies in percent that do not rise, and a function that measures accuracy under PGD at several
    budgets, tried on a linear classifier, whose exact curve is known, and on another one."""
    guess = as_array(predicted, "predicted")
    if guess.shape != (len(BUDGETS),):
        raise Wrong(
            f"predicted should have {len(BUDGETS)} numbers, one for each budget, but has {guess.size}"
        )
    if guess.min() < 0 or guess.max() > 100 or guess.max() <= 1:
        raise Wrong(f"you predicted {_list(guess)}; give percent, from 0 to 100")
    rise = int(np.diff(guess).argmax())
    if guess[rise + 1] > guess[rise]:
        raise Wrong(
            f"you predicted {guess[rise]:g}% at {BUDGETS[rise]}/255 and {guess[rise + 1]:g}% at "
            f"{BUDGETS[rise + 1]}/255; accuracy cannot rise: what the smaller budget allows, the larger one does, too"
        )
    call = "curve(model, images, labels, budgets)"
    for case in _cases():
        with untouched(case.model):
            answer = ask(
                curve, case.model, case.images.copy(), case.labels.copy(), list(case.budgets), call=call
            )
        found = as_array(
            list(answer.values()) if isinstance(answer, dict) else answer, "your accuracies"
        ).reshape(-1)
        if len(found) != len(case.budgets):
            raise Wrong(f"{len(case.budgets)} budgets give as many accuracies, but {len(found)} came back")
        if found.max() > 1:
            raise Wrong(f"your accuracies are {_list(found)}; give them in [0, 1]")
        _compare_curve(found, case)
    return (
        "at budget 0 it is the clean accuracy, and then it falls as far as it must, and no further than it can; now "
        "see what became of your prediction"
    )


class Case(NamedTuple):
    """What a curve is measured on: at each of the budgets no attack can leave less than ``least``, and a plain PGD
    leaves ``ours``; the first budget is 0."""

    model: keras.Model
    images: np.ndarray
    labels: np.ndarray
    budgets: tuple[float, ...]
    least: list[float]
    ours: list[float]


@cache
def _cases() -> list[Case]:
    cases = []
    for model, images, levels in (
        # Black and white only, so that half of all steps lead out of [0, 1].
        (toys.linear(), toys.images().round(), (0, 0.5, 2, 4, 8)),
        (toys.network(), toys.images(), (0, 0.5, 1, 2)),
    ):
        labels, budgets = toys.answers(model, images), tuple(level / 255 for level in levels)
        labels[:3] = (labels[:3] + 1) % 10  # so that not all are right to begin with
        ours = [np.mean(toys.answers(model, images) == labels)]
        for eps in budgets[1:]:
            moved = attacks.pgd(model, images, labels, eps, step_size=eps / 4, random_start=False)
            ours.append(np.mean(toys.answers(model, moved) == labels))
        exact = len(model.layers) == 2
        least = [_least(model, images, labels, eps) if exact else 0.0 for eps in budgets]
        cases.append(Case(model, images, labels, budgets, least, ours))
    return cases


def _compare_curve(found: np.ndarray, case: Case) -> None:
    n, clean = len(case.images), case.ours[0]
    shown = "you measure " + ", ".join(
        f"{255 * eps:g}/255: {accuracy:.2f}" for eps, accuracy in zip(case.budgets, found, strict=True)
    )
    if abs(found[0] - clean) > 0.011:
        hint = "a budget of 0 allows no change"
        if abs(found[0] - (1 - clean)) < 0.011:
            hint = "that is the share that is broken"
        elif abs(found[0] - 1) < 0.011:
            hint = "divide by all images, not by those that were right before"
        raise Wrong(f"at budget 0 you measure {found[0]:.2f}, and the clean accuracy is {clean:.2f}; {hint}")
    for eps, accuracy, least, ours in list(zip(case.budgets, found, case.least, case.ours, strict=True))[1:]:
        at = f"{shown}. At {255 * eps:g}/255"
        if accuracy < least - 0.011:
            raise Wrong(
                f"{at} no attack can leave less than {least:.2f} of this linear classifier: your images move further "
                "than their budget, or leave [0, 1]"
            )
        if accuracy > ours + 2.5 / n:
            hint = "is the budget used in full, and the attack aimed at this model?"
            if np.allclose(found, clean, atol=0.05):
                hint = "the accuracy hardly falls at all; does the attack know the budget, in [0, 1]?"
            elif np.ptp(found[1:]) < 0.011:
                hint = "it is the same at every budget; does the loop pass the budget on?"
            raise Wrong(f"{at} a plain PGD leaves {ours:.2f}; {hint}")
        if accuracy < ours - 6.5 / n:
            raise Wrong(f"{at} a plain PGD leaves {ours:.2f}: do your images move further than their budget?")


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _least(model: keras.Model, images: np.ndarray, labels: np.ndarray, eps: float) -> float:
    """The least accuracy that any attack within eps and [0, 1] can leave of a linear model, exactly."""
    kernel = model.layers[-1].get_weights()[0].astype(np.float64)
    logits = np.asarray(model(tf.constant(images))).astype(np.float64)
    flat = images.reshape(len(images), -1).astype(np.float64)
    up, down = np.minimum(eps, 1 - flat), np.minimum(eps, flat)
    stands = []
    for k, label in enumerate(labels):
        towards = kernel - kernel[:, [label]]
        gain = (np.maximum(towards, 0) * up[k, :, None] + np.maximum(-towards, 0) * down[k, :, None]).sum(0)
        margin = logits[k, label] - logits[k]
        stands.append(all(margin[j] > gain[j] for j in range(10) if j != label))
    return float(np.mean(stands))


# --------------------------------------------------------------------------------------------------- a rounding before

LEVELS = 32


def rounded(images: tf.Tensor) -> tf.Tensor:
    """The images with every value rounded to the nearest of 32 levels from 0 to 1."""
    return tf.round(tf.convert_to_tensor(images, tf.float32) * (LEVELS - 1)) / (LEVELS - 1)


ROUNDED = "attack_rounded(autoencoder, classifier, images, labels, eps)"


@check("06.4", f"write through_rounding(images) and {ROUNDED}")
def check_rounded(through_rounding: Callable, attack_rounded: Callable) -> str:
    """Accepts rounded's value with the identity's gradient, and any attack within the rules that breaks a classifier
    behind a rounding and an autoencoder."""
    _check_straight_through(through_rounding)
    autoencoder, classifier, images, _ = toy_defense()

    def answers(x: np.ndarray) -> np.ndarray:
        return np.asarray(classifier(autoencoder(rounded(x)))).argmax(1).astype(np.int32)

    labels = answers(images)
    with untouched(classifier):
        answer = ask(attack_rounded, autoencoder, classifier, *as_tensors(images, labels), EPS, call=ROUNDED)
    moved = as_array(answer, "your images", images.shape)
    distance = float(np.abs(moved - images).max())
    if EPS + 1e-5 < distance < 3 * EPS and np.abs(moved - rounded(moved)).max() < 1e-5:
        raise Wrong(
            f"a value moved by {distance:.3f}, but eps is {EPS:.3f}; you return rounded images, and the attacker hands "
            "in what will be rounded"
        )
    moved = as_attacked(moved, images, EPS)
    if distance < 0.1 * EPS:
        raise Wrong(
            f"no value moved by more than {distance:.2g}, but eps is {EPS:.3f}; was the gradient zero?"
        )
    standing = int(np.sum(answers(moved) == labels))
    if standing > 2:
        before, after = (np.asarray(autoencoder(rounded(x))) for x in (images, moved))
        coming_through = np.abs(after - before).mean() / np.abs(moved - images).mean()
        defended = keras.Sequential([autoencoder, classifier])
        hint = "is every step taken uphill, from where the last one ended?"
        if coming_through < 0.3:
            hint = (
                f"only {100 * coming_through:.0f}% of your change comes through the autoencoder: replace the gradient "
                "of the rounding alone; the autoencoder has a gradient, and no stand-in is as good"
            )
        elif toys.losses(defended, moved, labels).mean() < toys.losses(defended, images, labels).mean():
            hint = "the loss of the true classes fell: go up"
        raise Wrong(f"behind rounding and autoencoder {standing} of {len(images)} images still stand; {hint}")
    return (
        f"the value is the rounding's, the gradient passes, and {len(images) - standing} of {len(images)} images are "
        "broken: a stand-in where there is no gradient, the gradient where there is one"
    )


def _check_straight_through(through_rounding: Callable) -> None:
    images = tf.constant(toys.images(4) * np.float32(0.9) + np.float32(0.043))
    weights = tf.constant(np.random.default_rng(13).normal(0, 1, images.shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        out = ask(through_rounding, images, call="through_rounding(images)")
        total = tf.reduce_sum(weights * out) if tf.is_tensor(out) else None
    value = as_array(out, "the rounded images", images.shape)
    off = np.abs(value - rounded(images)).max()
    if off > 1e-5:
        hint = f"they are off by up to {off:.3f}"
        if np.abs(value - images).max() < 1e-5:
            hint = "the images came back as they were"
        raise Wrong(
            f"the value must be that of exercises.rounded, but {hint}; only the gradient is replaced, or you would "
            "attack another defense than the one assessed"
        )
    gradient = tape.gradient(total, images) if total is not None else None
    if gradient is None:
        raise Wrong(
            "the value is right, but TensorFlow finds no gradient: tf.round has none, and NumPy cuts it; add something "
            "whose value is 0 and whose gradient is the identity's"
        )
    found = as_array(gradient, "the gradient", images.shape)
    if not np.allclose(found, weights, atol=1e-4):
        ratio = float(np.sum(found * weights) / np.sum(weights**2))
        hint = f"it is {ratio:.3g} times what it should be"
        if not found.any():
            hint = "it is zero everywhere"
        elif not np.allclose(found, ratio * weights, atol=1e-4):
            hint = "it is another function's; the stand-in is the identity"
        raise Wrong(f"the value is right, but not the gradient, which should pass unchanged: {hint}")


# ------------------------------------------------------------------------------------------------------ sanity tables

DIAGNOSES = {
    "sound": "nothing speaks against the reported number",
    "masked": "the model hides its gradient; how robust it is, this attack cannot say",
    "transfer": "the images were made for another model",
    "weak": "the attack is at fault; the model's gradient is there, and usable",
}
PATIENTS = {"A": "weak", "B": "masked", "C": "sound", "D": "transfer"}
ROWS = {
    "weak": ("uses eps", "attack <= FGSM", "follows gradient", "twice the steps", "restarts", "margin loss"),
    "masked": ("zero gradients", "zero entries", "true gradient", "Square"),
    "transfer": ("fresh images",),
}
"""The rows that speak for a diagnosis and against the others."""


def masked_classifier(images: tf.Tensor) -> tf.Tensor:
    """toys.network behind a rounding to 32 levels, with a gradient that exists and is zero: logits [n, 10]."""
    return toys.network()(rounded(images) + 0.0 * images, training=False)


def _short_of_budget(model: attacks.Model, images: np.ndarray, labels: np.ndarray, eps: float) -> np.ndarray:
    """PGD with eps in the wrong unit."""
    return checklist.paper_pgd(model, images, labels, eps / 255)


@cache
def checklists() -> dict[str, pd.DataFrame]:
    """Four evaluations of small classifiers at 8/255, n = 24, each as a table of the checklist; about half a minute to make."""
    images = toys.images()
    plain, own = toys.network(), toys.answers(toys.network(), images)
    elsewhere = attacks.pgd(toys.linear(), images, own, EPS)
    masked = np.asarray(masked_classifier(tf.constant(images))).argmax(1).astype(np.int32)
    made = {
        "weak": partial(checklist.check_evaluation, plain, images, own, EPS, attack=_short_of_budget),
        "masked": partial(checklist.check_evaluation, masked_classifier, images, masked, EPS),
        "sound": partial(checklist.check_evaluation, plain, images, own, EPS),
        "transfer": partial(checklist.check_evaluation, plain, images, own, EPS, attacked=elsewhere),
    }
    return {name: made[diagnosis]() for name, diagnosis in PATIENTS.items()}


@check("06.5", "give each table's diagnosis, the row that shows it, and what is left of B at most")
def check_tables(diagnoses: object, evidence: object, at_most: object) -> str:
    """Accepts a dict from checklists() to DIAGNOSES, the name of a row for each that is not sound, and the worst case
    of table B in percent."""
    for name, answers in (("diagnoses", diagnoses), ("evidence", evidence)):
        if not isinstance(answers, dict):
            raise Wrong(f"{name} should be a dict, but is a {type(answers).__name__}")
    tables = checklists()
    for name, truth in PATIENTS.items():
        if name not in diagnoses:
            raise Wrong(f"table {name} is missing in diagnoses")
        said, failed = (
            str(diagnoses[name]).strip().lower(),
            list(checklist.failed_checks(tables[name])["check"]),
        )
        if said not in DIAGNOSES:
            raise Wrong(f"table {name} is {diagnoses[name]!r}; choose from {', '.join(DIAGNOSES)}")
        if said != truth:
            raise Wrong(f"table {name} is not {said!r} ({DIAGNOSES[said]}): {_against(said, truth, failed)}")
    for name, truth in PATIENTS.items():
        if truth == "sound":
            continue
        if name not in evidence:
            raise Wrong(f"table {name} is missing in evidence: name the row that shows it")
        _check_row(name, truth, str(evidence[name]).strip(), tables[name])
    _check_at_most(as_number(at_most, "at_most"), tables["B"])
    return (
        "all four are read rightly. Of B we know that at most this much is left, and not how little: the attacks that "
        "found it had no gradient to use"
    )


def _against(said: str, truth: str, failed: list[str]) -> str:
    """Why a diagnosis is not the one, from the rows that failed."""
    if truth == "sound":
        return "none of its checks failed"
    if said == "sound":
        return f"{len(failed)} of its checks failed"
    if said == "masked":
        return (
            "'zero gradients' and 'true gradient' passed: the model has a gradient, and it is the right one"
        )
    if said == "transfer":
        return "no images were given that could have been made for another model ('fresh images' was not run)"
    if truth == "masked":
        return "what should the attack have followed? Look at the rows about the model's gradient"
    return "the attack under test passed; it is the images assessed that are weaker than what it makes"


def _check_row(name: str, truth: str, row: str, table: pd.DataFrame) -> None:
    if row not in list(table["check"]):
        raise Wrong(f"table {name} has no row {row!r}; write it as the table does, such as 'worst case'")
    failed = list(checklist.failed_checks(table)["check"])
    if row not in failed:
        raise Wrong(f"row {row!r} of table {name} did not fail")
    if row in ROWS[truth]:
        return
    hint = "it fails for other reasons, too; which row fails for this one only?"
    if row == "Square":
        hint = "Square breaks more here, but so does FGSM, which uses the gradient: it is not hidden"
    elif row == "follows gradient":
        hint = "there was no gradient to follow; which row says so?"
    elif row == "worst case":
        hint = "it says that the number is too high, not why"
    raise Wrong(f"row {row!r} of table {name} failed, but does not show {truth!r}: {hint}")


def _check_at_most(found: float, table: pd.DataFrame) -> None:
    row = table.set_index("check")["value"]["worst case"]
    truth = float(row.split("%")[0])
    if abs(found - truth) < 0.51:
        return
    hint = "read it off the row 'worst case' of table B"
    if abs(100 * found - truth) < 0.6:
        hint = "give it in percent"
    elif abs(found - float(row.split("attacked ")[-1].split("attack ")[-1].split("%")[0])) < 0.06:
        hint = "that is what the attack under test leaves; other attacks in the table leave less"
    elif found < truth:
        hint = "no attack in the table left so little, and an attack that was not run is no evidence"
    raise Wrong(f"of B at most {found:g}% is left, you say; {hint}")


# -------------------------------------------------------------------------------------------------------- open problem


class Dice:
    """A linear classifier of small pictures that first moves each image by a random number of rows and columns, from 0
    to 7, around the edges; other numbers for every image and every call.

    dice(images) gives logits [n, 10] as TensorFlow tensors, dice.classifier(images) those without a move.
    """

    MOVES = 8

    def __init__(self) -> None:
        rng = np.random.default_rng(9)
        images = rng.uniform(0.45, 0.55, (24, 1, 1, 3)) + rng.uniform(-0.01, 0.01, (24, 32, 32, 3))
        self.images = images.astype(np.float32)
        colour, detail = rng.normal(0, 0.05, (1, 1, 3, 10)), rng.normal(0, 0.5, (32, 32, 3, 10))
        kernel = (colour + detail - detail.mean((0, 1))).reshape(-1, 10).astype(np.float32)
        self._kernel, self._bias = kernel, -(self.images.reshape(24, -1) @ kernel).mean(0)
        self._generator = tf.random.Generator.from_seed(
            0
        )  # its own, so that a student's draws stay as they are
        self._all = tf.constant(np.indices((self.MOVES, self.MOVES)).reshape(2, -1).T, tf.int32)
        self.labels = self._over_all_moves(self.images).mean(1).argmax(1).astype(np.int32)

    def classifier(self, images: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.reshape(images, (-1, len(self._kernel))), self._kernel) + self._bias

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        images = tf.convert_to_tensor(images, tf.float32)
        return self._moved(images, self._generator.uniform((tf.shape(images)[0], 2), 0, self.MOVES, tf.int32))

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The share of right answers over all 64 moves of every image: what is expected of a draw, exactly."""
        return float(
            np.mean(self._over_all_moves(np.asarray(images)).argmax(2) == np.asarray(labels)[:, None])
        )

    def _moved(self, images: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        rows, columns = ((tf.range(32)[None] + by[:, k : k + 1]) % 32 for k in (0, 1))
        turned = tf.gather(images, rows, axis=1, batch_dims=1)
        return self.classifier(tf.gather(turned, columns, axis=2, batch_dims=1))

    def _over_all_moves(self, images: np.ndarray) -> np.ndarray:
        many = tf.repeat(tf.constant(images, tf.float32), len(self._all), axis=0)
        logits = self._moved(many, tf.tile(self._all, (len(images), 1)))
        return logits.numpy().reshape(len(images), -1, 10)


@check("06.6", "write attack_dice(model, images, labels, eps)")
def check_attack_dice(attack_dice: Callable) -> str:
    """Accepts any attack within the rules after which at most a fifth of Dice's answers are right, over all moves."""
    dice = Dice()
    call = "attack_dice(model, images, labels, eps)"
    answer = ask(attack_dice, dice, *as_tensors(dice.images, dice.labels), EPS, call=call)
    moved = as_attacked(answer, dice.images, EPS)
    left, clean = dice.accuracy(moved, dice.labels), dice.accuracy(dice.images, dice.labels)
    if left > 0.2:
        one = np.asarray(dice.classifier(tf.constant(moved, tf.float32))).argmax(1)
        hint = "which direction hurts for every draw? Average the gradient over more draws"
        if np.abs(moved - dice.images).max() < 0.1 * EPS:
            hint = "no value moved"
        elif left > 0.95 * clean:
            hint = "that is as good as no attack; does the loss of the true classes grow?"
        elif np.mean(one == dice.labels) < 0.1 and left > 0.5:
            hint = (
                "the images are broken where nothing is moved, and only there: the attack left the dice out"
            )
        raise Wrong(
            f"over all 64 moves {100 * left:.0f}% of the answers are still right ({100 * clean:.0f}% without an "
            f"attack), and at most 20% should be; {hint}"
        )
    return (
        f"over all 64 moves {100 * left:.0f}% of the answers are right, {100 * clean:.0f}% without an attack: chance "
        "made the gradient noisy, not the classifier robust"
    )
