"""Checks of notebook 06, exercises 1, 2 and 5: what attackers know, false worst cases, four checklists."""

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
    "A": "has the classifier from before the fine-tuning, and has not heard of an autoencoder",
    "B": "runs a copy of the whole service, autoencoder and fine-tuned classifier, at home",
    "C": "tosses a coin for every value of the image: eps up or eps down",
    "D": "has an account: sends images and gets the scores of the ten classes, as often as they like",
    "E": "has trained a network of another kind on the same images",
    "F": "has the fine-tuned classifier's weights; nobody mentioned the autoencoder before it",
}
RUNG_OF = {
    "A": "initial_classifier",
    "B": "pgd",
    "C": "noise",
    "D": "square",
    "E": "other_network",
    "F": "grey_box",
}
RUNGS = {
    "initial_classifier" if name == "static" else name: rung for name, rung in threat_ladder.RUNGS.items()
}
"""The ladder's rungs, by their names in the exercise. It names the ladder's ``static`` by its target."""
CHAIN = "CEAFB"
"""Each of these attackers knows less than the next. D, who asks, can be compared only with C and B."""


@check("06.1", "name each attacker's rung, and order the six letters")
def check_rungs(rungs: object, order: object) -> str:
    """Accept the rung of each attacker, and the attackers in order of knowledge.

    ``rungs`` is a dict from ATTACKERS' letters to names in RUNGS. ``order`` begins with the attacker who
    knows least.
    """
    expect_dict(rungs, "rungs", " from A to F")
    if missing := [letter for letter in RUNG_OF if letter not in rungs]:
        raise Wrong(f"attacker {missing[0]} is missing in rungs")
    for letter, truth in RUNG_OF.items():
        said = str(rungs[letter]).strip().lower().replace("-", "_").replace(" ", "_").replace("gray", "grey")
        if said not in RUNG_OF.values():
            names = ", ".join(name for name in RUNGS if name in RUNG_OF.values())
            raise Wrong(f"attacker {letter} has the rung {rungs[letter]!r}; choose from {names}")
        if said != truth:
            raise Wrong(
                f"attacker {letter} {ATTACKERS[letter]}; on the rung {said!r} an attacker knows: "
                f"{RUNGS[said].knows}"
            )
    return _ordered(order)


def _ordered(order: object) -> str:
    if not isinstance(order, (str, Sequence)):
        raise Wrong(f"order should be a list of letters, but is a {type(order).__name__}")
    letters = [str(letter).strip().upper() for letter in order if str(letter).strip(" ,<")]
    if sorted(letters) != sorted(RUNG_OF):
        raise Wrong(f"order should name each of A to F once, but names {', '.join(letters) or 'nobody'}")
    place = {letter: k for k, letter in enumerate(letters)}
    if place["B"] == 0 and place["C"] == 5:
        raise Wrong("order begins with the attacker who knows most; reverse it")
    why = {
        "CE": "a coin needs no network at all",
        "EA": "E's network was never a part of the service, but A's was",
        "AF": "F has the very classifier that is assessed, A only an earlier version",
        "FB": "B has F's classifier and the autoencoder before it",
        "CD": "a coin learns nothing, but D gets answers",
        "DB": "B can ask the copy at home everything that D asks the service",
    }
    for pair, reason in why.items():
        if place[pair[0]] > place[pair[1]]:
            raise Wrong(f"{pair[0]} comes after {pair[1]}, but knows less: {reason}")
    return (
        "the rungs are right, and so is the order. D may have any place between C and B: answers to queries "
        "and the weights of a part cannot be compared; only a measurement tells which helps more"
    )


# --------------------------------------------------------------------------------- a worst case that is none

CAUSES = {
    "sound": "the worst case is right",
    "strongest": "it uses only the strongest attack's answers",
    "left_out": "it leaves one attack out",
    "any": "it counts an image as robust if any attack failed on it",
    "order": "its images are in a different order from those of the attacks",
}
REPORTED = {"P": "order", "Q": "sound", "R": "strongest", "S": "left_out"}


@cache
def reports() -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Return four reports on 60 images: which of them are robust.

    Returns:
        By report: booleans [60] for the reported worst case, and by attack.
    """
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
    """Accept a function that counts contradictions, and the cause of each report's.

    ``contradictions`` takes a worst case (booleans [n]) and a dict of the same by attack. It returns by
    attack the number of images that are robust in the worst case but not under the attack. ``causes`` is a
    dict from the names of reports() to keys of CAUSES.
    """
    rng = np.random.default_rng(12)
    for n, names in ((30, ("FGSM", "PGD", "Square")), (50, ("noise", "APGD"))):
        correct = {name: rng.random(n) < chance for name, chance in zip(names, (0.8, 0.5, 0.7), strict=False)}
        worst = rng.random(n) < 0.45
        answer = ask(contradictions, worst, correct, call="contradictions(worst, correct)")
        _compare_counts(answer, worst, correct)
    check_words(causes, "causes", "report", REPORTED, CAUSES, _numbers_of)
    return (
        "all four are right. No report's worst case is above an attack's accuracy, so the accuracies alone "
        "show nothing; the single images do"
    )


def _numbers_of(name: str, _said: str) -> str:
    """Describe a report's contradictions and accuracies."""
    worst, correct = reports()[name]
    counts = ", ".join(f"{attack} {int((worst & ~left).sum())}" for attack, left in correct.items())
    each = ", ".join(f"{attack} {left.mean():.2f}" for attack, left in correct.items())
    return (
        f"its contradictions are {counts}; its worst case is {worst.mean():.2f}, and the attacks leave "
        f"{each}. What would these numbers be with that cause?"
    )


def _compare_counts(answer: object, worst: np.ndarray, correct: dict[str, np.ndarray]) -> None:
    if not isinstance(answer, dict) or set(answer) != set(correct):
        came = f"the keys {list(answer)}" if isinstance(answer, dict) else type(answer).__name__
        raise Wrong(f"return a dict with one number for each of the attacks {list(correct)}, not {came}")
    for name, left in correct.items():
        truth = int((worst & ~left).sum())
        said = answer[name]
        if isinstance(said, (bool, np.bool_)):
            raise Wrong(f"{name} has {said}; count the images, not only whether there are any")
        found = as_number(said, f"the number for {name}")
        if found == truth:
            continue
        hints = {
            int(
                (~worst & left).sum()
            ): "these are robust under the attack and not in the worst case, which is possible; count the "
            "images for which it is the other way round",
            int(
                (worst != left).sum()
            ): "these are all images on which the two differ; only one direction is a contradiction",
            int((worst & left).sum()): "these are robust in both",
            int(worst.sum())
            - int(left.sum()): "that is a difference of two sums, in which images cancel each other out; "
            "compare image by image",
            max(
                int(worst.sum()) - int(left.sum()), 0
            ): "that is a difference of two sums, in which images cancel each other out; compare image by "
            "image",
        }
        hint = hints.get(found, "count images that are robust in the worst case but not under the attack")
        if truth and abs(found * len(worst) - truth) < 1e-6:
            hint = "that is a share; count the images"
        raise Wrong(
            f"{name}: {truth} of {len(worst)} images are contradictions, but you return {found:.3g}; {hint}"
        )


# ------------------------------------------------------------------------------------- evaluation checklists

DIAGNOSES = {
    "sound": "nothing casts doubt on the reported number",
    "masked": "the model hides its gradient, so this attack cannot tell how robust it is",
    "transfer": "the images were made for another model",
    "weak": "the attack is at fault; the model has a usable gradient",
}
PATIENTS = {"A": "weak", "B": "masked", "C": "sound", "D": "transfer"}
ROWS = {
    "weak": ("uses eps", "attack <= FGSM", "follows gradient", "twice the steps", "restarts", "margin loss"),
    "masked": ("zero gradients", "zero entries", "true gradient", "Square"),
    "transfer": ("fresh images",),
}
"""The rows that support one diagnosis and no other."""


def masked_classifier(images: tf.Tensor) -> tf.Tensor:
    """Return the logits [n, 10] of toys.network behind a rounding to 32 levels; their gradient is zero."""
    return toys.network()(rounded(images) + 0.0 * images, training=False)


def _short_of_budget(model: attacks.Model, images: np.ndarray, labels: np.ndarray, eps: float) -> np.ndarray:
    """Attack with PGD, with eps in the wrong unit."""
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


@check("06.5", "give each table's diagnosis, the row that shows it, and the accuracy that B has at most")
def check_tables(diagnoses: object, evidence: object, at_most: object) -> str:
    """Accept a diagnosis of each checklist, the row that shows it, and an upper limit for B.

    ``diagnoses`` is a dict from the names of checklists() to keys of DIAGNOSES. ``evidence`` names a row for
    each that is not sound. ``at_most`` is table B's worst case in percent.
    """
    expect_dict(diagnoses, "diagnoses")
    expect_dict(evidence, "evidence")
    tables = checklists()
    check_words(diagnoses, "diagnoses", "table", PATIENTS, DIAGNOSES, _against)
    for name, truth in PATIENTS.items():
        if truth == "sound":
            continue
        if name not in evidence:
            raise Wrong(f"table {name} is missing in evidence: name the row that shows its fault")
        _check_row(name, truth, str(evidence[name]).strip(), tables[name])
    _check_at_most(as_number(at_most, "at_most"), tables["B"])
    return (
        "all four are right. B's accuracy is at most this number and may be far lower: the attacks that "
        "found it had no gradient to use"
    )


def _against(name: str, said: str) -> str:
    """Return why a diagnosis is wrong, from the rows that failed."""
    truth = PATIENTS[name]
    if truth == "sound":
        return "none of its checks failed"
    if said == "sound":
        return f"{len(checklist.failed_checks(checklists()[name]))} of its checks failed"
    if said == "masked":
        return "'zero gradients' and 'true gradient' passed: the model has a gradient, and it is correct"
    if said == "transfer":
        return "it got no images that could have been made for another model ('fresh images' was not run)"
    if truth == "masked":
        return "what could the attack have followed? Look at the rows about the model's gradient"
    return "the attack under test passed; the assessed images are weaker than the ones that it makes"


def _check_row(name: str, truth: str, row: str, table: pd.DataFrame) -> None:
    if row not in list(table["check"]):
        raise Wrong(f"table {name} has no row {row!r}; write it as in the table, such as 'worst case'")
    failed = list(checklist.failed_checks(table)["check"])
    if row not in failed:
        raise Wrong(f"row {row!r} of table {name} did not fail")
    if row in ROWS[truth]:
        return
    hint = "it can fail for other reasons as well; which row fails for this reason only?"
    if row == "Square":
        hint = "Square breaks more here, but so does FGSM, which uses the gradient: it is not hidden"
    elif row == "follows gradient":
        hint = "there was no gradient to follow; which row shows that?"
    elif row == "worst case":
        hint = "it says that the number is too high, not why"
    raise Wrong(f"row {row!r} of table {name} failed, but does not show {truth!r}: {hint}")


def _check_at_most(found: float, table: pd.DataFrame) -> None:
    row = table.set_index("check")["value"]["worst case"]
    truth = float(row.split("%")[0])
    if abs(found - truth) < 0.51:
        return
    hint = "read it from the row 'worst case' of table B"
    if abs(100 * found - truth) < 0.6:
        hint = "give it in percent"
    elif abs(found - float(row.split("attacked ")[-1].split("attack ")[-1].split("%")[0])) < 0.06:
        hint = "that is what the attack under test leaves; other attacks in the table leave less"
    elif found < truth:
        hint = "no attack in the table leaves so little, and an attack that was not run is no evidence"
    raise Wrong(f"you say that B's accuracy is at most {found:g}%; {hint}")
