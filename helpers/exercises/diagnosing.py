"""Checks of notebook 06, exercises 1, 2 and 5: what each attacker knows, false worst cases, and four
checklists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import pandas as pd

from .. import attacks, checklist
from ..backend import tf
from ..studies import threat_ladder
from . import toys
from .breaking import rounded
from .predicates import as_number, check_words, expect_dict
from .verdict import Wrong, ask, check

EPS = 8 / 255


# -------------------------------------------------------------------------------------------- who knows what

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
    """Accept a dict from ATTACKERS' letters to names in ladder.RUNGS, and the letters from who knows least
    to most."""
    expect_dict(rungs, "rungs", " from A to F")
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
        "the rungs are right, and so is the order. D's place between C and B is open: answers to questions "
        "and the weights of a part do not compare; only a measurement says which is worth more"
    )


# --------------------------------------------------------------------------------- a worst case that is none

CAUSES = {
    "sound": "the worst case is what it should be",
    "strongest": "only the strongest attack's answers were taken",
    "left_out": "one attack was left out",
    "any": "an image was counted as robust if any attack failed on it",
    "order": "the images were in another order than for the attacks",
}
REPORTED = {"P": "order", "Q": "sound", "R": "strongest", "S": "left_out"}


@cache
def reports() -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Four reports: which of 60 images withstood "the worst case" (booleans [60]), and which withstood each
    attack."""
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
    """Accept a function from a worst case (booleans [n]) and answers by attack to the number of images that
    withstood the one and not the other, by attack; and a dict from reports() to CAUSES."""
    rng = np.random.default_rng(12)
    for n, names in ((30, ("FGSM", "PGD", "Square")), (50, ("noise", "APGD"))):
        correct = {name: rng.random(n) < chance for name, chance in zip(names, (0.8, 0.5, 0.7), strict=False)}
        worst = rng.random(n) < 0.45
        answer = ask(contradictions, worst, correct, call="contradictions(worst, correct)")
        _compare_counts(answer, worst, correct)
    check_words(causes, "causes", "report", REPORTED, CAUSES, _numbers_of)
    return (
        "the four are told apart. No report's worst case is above an attack's accuracy, so the accuracies "
        "alone show nothing; the images do"
    )


def _numbers_of(name: str, _said: str) -> str:
    """Return a report's contradictions and accuracies, in words."""
    worst, correct = reports()[name]
    counts = ", ".join(f"{attack} {int((worst & ~left).sum())}" for attack, left in correct.items())
    each = ", ".join(f"{attack} {left.mean():.2f}" for attack, left in correct.items())
    return (
        f"its contradictions are {counts}; its worst case is {worst.mean():.2f}, the attacks leave {each}. "
        "What would that cause make of these numbers?"
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


# --------------------------------------------------------------------------------------------- sanity tables

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
    """toys.network behind a rounding to 32 levels, with a gradient that exists and is zero: logits [n,
    10]."""
    return toys.network()(rounded(images) + 0.0 * images, training=False)


def _short_of_budget(model: attacks.Model, images: np.ndarray, labels: np.ndarray, eps: float) -> np.ndarray:
    """PGD with eps in the wrong unit."""
    return checklist.paper_pgd(model, images, labels, eps / 255)


@cache
def checklists() -> dict[str, pd.DataFrame]:
    """Return the checklists of four small classifiers at 8/255, n = 24. They take about half a minute."""
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
    """Accept a dict from checklists() to DIAGNOSES, the name of a row for each that is not sound, and the
    worst case of table B in percent."""
    expect_dict(diagnoses, "diagnoses")
    expect_dict(evidence, "evidence")
    tables = checklists()
    check_words(diagnoses, "diagnoses", "table", PATIENTS, DIAGNOSES, _against)
    for name, truth in PATIENTS.items():
        if truth == "sound":
            continue
        if name not in evidence:
            raise Wrong(f"table {name} is missing in evidence: name the row that shows it")
        _check_row(name, truth, str(evidence[name]).strip(), tables[name])
    _check_at_most(as_number(at_most, "at_most"), tables["B"])
    return (
        "all four are read rightly. Of B we know that at most this much is left, and not how little: the "
        "attacks that found it had no gradient to use"
    )


def _against(name: str, said: str) -> str:
    """Return why a diagnosis is wrong, from the rows that failed."""
    truth = PATIENTS[name]
    if truth == "sound":
        return "none of its checks failed"
    if said == "sound":
        return f"{len(checklist.failed_checks(checklists()[name]))} of its checks failed"
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
