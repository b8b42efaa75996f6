"""Checks of notebook 07, exercises 2 and 5: six training curves, seven claims and a leaderboard."""

from __future__ import annotations

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import evaluation
from .predicates import as_number, check_words, expect_dict
from .verdict import Wrong, check

# ------------------------------------------------------------------------------------------- training curves

COURSES = {
    "sound": "nothing is wrong with it, and it has converged",
    "catastrophic": "catastrophic overfitting: the network withstands only the single step of its training",
    "robust_overfitting": "robust overfitting: robustness on training images no longer generalises",
    "unfinished": "it was stopped while it was still learning",
    "weak_attack": "the attack that measures it is too weak",
    "no_attack": "it was trained on clean images only",
}
RAN = {
    "A": "robust_overfitting",
    "B": "weak_attack",
    "C": "sound",
    "D": "catastrophic",
    "E": "unfinished",
    "F": "no_attack",
}
CHOOSABLE = ("sound", "catastrophic", "robust_overfitting", "unfinished")
"""The cases in which accuracy under PGD tells which epoch to keep."""


@cache
def histories() -> dict[str, list[dict]]:
    """Return six training histories, in the form of robust_models.card.

    Each has a record for each epoch with ``epoch``, ``clean``, ``pgd`` (both on validation images) and
    ``training_pgd`` (on training images). The numbers are invented; the shapes of the curves are real.
    """
    rng, e = np.random.default_rng(4), np.arange(1, 31)

    def rising(low: float, high: float, pace: float) -> np.ndarray:
        return low + (high - low) * (1 - np.exp(-e / pace))

    past = np.maximum(e - 9, 0)  # epochs after the best one
    collapsed = e >= 17
    drawn = {
        "sound": (rising(0.35, 0.79, 8), rising(0.2, 0.425, 7), rising(0.2, 0.47, 8)),
        "catastrophic": (
            np.where(collapsed, 0.86, rising(0.4, 0.74, 6)),
            np.where(collapsed, 0.03 * np.exp(-(e - 17.0) / 4), rising(0.2, 0.41, 5)),
            np.where(collapsed, 0.05 * np.exp(-(e - 17.0) / 4), rising(0.2, 0.44, 6)),
        ),
        "robust_overfitting": (
            rising(0.35, 0.7, 6),
            rising(0.15, 0.4, 4) - 0.009 * past,
            rising(0.15, 0.45, 5) + 0.022 * past,
        ),
        "unfinished": (0.25 + 0.0125 * e, 0.15 + 0.0078 * e, 0.15 + 0.0082 * e),
        "weak_attack": (rising(0.4, 0.82, 7), rising(0.375, 0.79, 7), rising(0.38, 0.825, 7)),
        "no_attack": (rising(0.6, 0.92, 4), 0.012 * np.exp(-e / 5), 0.015 * np.exp(-e / 5)),
    }
    found = {}
    for name, course in RAN.items():
        length = {"unfinished": 18}.get(course, len(e))
        series = [(values + rng.normal(0, 0.007, len(e))).clip(0, 1).round(3) for values in drawn[course]]
        found[name] = [
            {"epoch": k + 1, "clean": float(clean), "pgd": float(pgd), "training_pgd": float(training)}
            for k, (clean, pgd, training) in enumerate(zip(*(s[:length] for s in series), strict=True))
        ]
    return found


def histories_figure() -> Figure:
    """Draw the six histories, a panel each."""
    figure, axes = plt.subplots(2, 3, figsize=(9, 4.8), sharex=True, sharey=True, layout="constrained")
    labels = {
        "clean": "validation images",
        "pgd": "validation images, PGD",
        "training_pgd": "training images, PGD",
    }
    for axis, (name, history) in zip(axes.flat, histories().items(), strict=True):
        epochs = [record["epoch"] for record in history]
        for (key, label), style in zip(labels.items(), ("-", "--", ":"), strict=True):
            axis.plot(epochs, [100 * record[key] for record in history], linestyle=style, label=label)
        axis.set(title=name, ylim=(-2, 100))
    figure.supxlabel("epoch")
    figure.supylabel("accuracy (%)")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@check("07.2", "name what happened in each history, and the epoch to keep, if there is one")
def check_histories(courses: object, keep: object) -> str:
    """Accept what happened in each history, and the best epoch where PGD can tell it.

    ``courses`` is a dict from the names of histories() to keys of COURSES. ``keep`` maps each history in
    which accuracy under PGD is a criterion to the epoch with the highest one, on validation images.
    """
    expect_dict(courses, "courses")
    expect_dict(keep, "keep")
    check_words(courses, "courses", "history", RAN, COURSES, _seen_in)
    for name, truth in RAN.items():
        if truth in CHOOSABLE and name not in keep:
            raise Wrong(f"history {name} is missing in keep: one of its epochs is better than the others")
        if truth not in CHOOSABLE and name in keep:
            raise Wrong(
                f"you keep an epoch of {name}, but its numbers under PGD are no reason to choose one; leave "
                "it out of keep: it has to be measured or trained again"
            )
        if truth in CHOOSABLE:
            _check_kept(name, as_number(keep[name], f"the epoch of {name}"))
    return (
        "all six are right, and so are the epochs, chosen on validation images. The number to report is "
        "then measured on test images, once"
    )


SEEN_IN = {
    "sound": "its curves have levelled off, and training and validation images stay together",
    "catastrophic": "within an epoch accuracy under PGD falls to zero, on training images as well, "
    "while clean accuracy jumps up",
    "robust_overfitting": "under PGD, accuracy still rises on training images but falls on validation images",
    "unfinished": "all three curves are still rising in its last epoch",
    "weak_attack": "PGD stays a few points below clean accuracy from the first epoch on, "
    "with a budget that breaks every other network",
    "no_attack": "accuracy under PGD is near zero from the first epoch on, "
    "and clean accuracy is that of ordinary training",
}
"""What the curves of a history show, by what happened in it."""


def _seen_in(name: str, said: str) -> str:
    """Return what the curves show that contradicts the diagnosis."""
    if RAN[name] == "no_attack" and said == "catastrophic":
        return "it was never robust, so it lost no robustness"
    return SEEN_IN[RAN[name]]


def _check_kept(name: str, epoch: float) -> None:
    history = histories()[name]
    if epoch != epoch // 1 or not 1 <= epoch <= len(history):
        raise Wrong(f"{name} has no epoch {epoch:g}; its epochs are 1 to {len(history)}")
    scores = {key: [record[key] for record in history] for key in ("pgd", "training_pgd", "clean")}
    best = max(scores["pgd"])
    if scores["pgd"][int(epoch) - 1] == best:
        return
    hint = "look for the largest pgd; read it from the records, since a plot is too coarse"
    if scores["training_pgd"][int(epoch) - 1] == max(scores["training_pgd"]):
        hint = "that epoch is the best on training images, which it has seen"
    elif scores["clean"][int(epoch) - 1] == max(scores["clean"]):
        hint = "that epoch is the best without an attack"
    elif epoch == len(history):
        hint = "that is the last epoch, which is not always the best"
    elif epoch + 1 <= len(history) and scores["pgd"][int(epoch)] == best:
        hint = "epochs count from 1, list indices from 0"
    raise Wrong(
        f"in {name} epoch {epoch:.0f} has {100 * scores['pgd'][int(epoch) - 1]:.1f}% under PGD on "
        f"validation images, and another has {100 * best:.1f}%; {hint}"
    )


# ------------------------------------------------------------------------------------ claims and comparisons

FLAWS = {
    "holds": "the numbers support it",
    "transfer": "the images were made for another system than the one assessed",
    "interval": "the difference could be due to chance",
    "units": "the two numbers are about different budgets",
    "masked": "an attack without gradients breaks more, so the one with gradients was misled",
    "chosen": "the same images were used to choose and to report",
}
CLAIMED = {
    "A": "transfer",
    "B": "interval",
    "C": "holds",
    "D": "units",
    "E": "masked",
    "F": "chosen",
    "G": "holds",
}
SENTENCES = {
    "A": "Compressing every image as a JPEG makes the classifier robust.",
    "B": "Our new schedule makes single-step training more robust.",
    "C": "Training on PGD is more robust than the autoencoder before the initial classifier.",
    "D": "Randomised smoothing is more robust than training on PGD.",
    "E": "Rounding to 4 bits is robust to PGD, even if the attacker differentiates through it.",
    "F": "Our network has a robust accuracy of 49%.",
    "G": "JPEG is no defense against an attacker who knows about it.",
}
COLUMNS = ("assessed", "under", "images made for", "budget", "correct", "n")
MEASURED = {
    "A": [
        ("classifier", "PGD-10", "classifier", "linf 8/255", 1, 500),
        ("JPEG, classifier", "no attack", "", "", 431, 500),
        ("JPEG, classifier", "PGD-10", "classifier", "linf 8/255", 301, 500),
    ],
    "B": [
        ("old schedule", "worst case", "itself", "linf 8/255", 178, 500),
        ("new schedule", "worst case", "itself", "linf 8/255", 187, 500),
    ],
    "C": [
        ("autoencoder, classifier", "worst case", "both", "linf 8/255", 2, 500),
        ("trained on PGD", "worst case", "itself", "linf 8/255", 206, 500),
    ],
    "D": [
        ("trained on PGD", "worst case", "itself", "linf 8/255", 206, 500),
        ("smoothing, sigma 0.25", "any (certified)", "", "l2 0.25", 295, 500),
    ],
    "E": [
        ("4 bits, classifier", "no attack", "", "", 455, 500),
        ("4 bits, classifier", "PGD-10", "both", "linf 8/255", 352, 500),
        ("4 bits, classifier", "Square", "both", "linf 8/255", 61, 500),
    ],
    "F": [
        ("epoch 22 of 30, best on images 1-200", "worst case, images 1-200", "itself", "linf 8/255", 98, 200),
        ("the same epoch", "worst case, images 201-1200", "itself", "linf 8/255", 386, 1000),
    ],
    "G": [
        ("JPEG, classifier", "no attack", "", "", 431, 500),
        ("JPEG, classifier", "PGD-10", "both, by BPDA", "linf 8/255", 3, 500),
    ],
}
AGAINST = {
    "transfer": "which system were these images made for?",
    "interval": (
        "compute the interval of the difference (evaluation.difference), or see how far the two overlap"
    ),
    "units": "how many grey levels does a certificate of 0.25 in l2 guarantee? See exercise 1",
    "masked": "compare the attack that follows the gradient with the one that needs none",
    "chosen": "which images chose the epoch, and what is the number on other images?",
}

ROBUSTBENCH = "CIFAR-10, linf 8/255, AutoAttack on the system itself, all test images"
ROWS = (
    # system, data, attack, images made for, budget, n, accuracy, why it cannot be compared
    ("trained on PGD", "CIFAR-10", "worst case", "itself", "linf 8/255", "first 1,000", 41.3, ""),
    (
        "trained on PGD",
        "CIFAR-10",
        "PGD-10",
        "itself",
        "linf 8/255",
        "first 1,000",
        45.8,
        "PGD-10 alone breaks less than several attacks together; the same network's worst case is row 1",
    ),
    (
        "autoencoder and classifier, trained together",
        "CIFAR-10",
        "worst case",
        "both",
        "linf 8/255",
        "first 1,000",
        36.2,
        "",
    ),
    (
        "smoothing, sigma 0.25",
        "CIFAR-10",
        "any (certified)",
        "",
        "l2 0.25",
        "first 500",
        59.0,
        "its budget is in l2, and the certified ball contains changes of about one grey level",
    ),
    (
        "fine-tuned, behind the autoencoder",
        "CIFAR-10",
        "worst case",
        "initial classifier",
        "linf 8/255",
        "all 10,000",
        74.9,
        "the images were made for another network than the one assessed; a large n does not help",
    ),
    (
        "trained on a single step",
        "CIFAR-10",
        "worst case",
        "itself",
        "linf 4/255",
        "first 1,000",
        56.1,
        "its budget is half as large",
    ),
    (
        "trained on a single step",
        "patches10",
        "worst case",
        "itself",
        "linf 8/255",
        "first 1,000",
        63.0,
        "it was measured on other images",
    ),
    ("initial classifier", "CIFAR-10", "worst case", "itself", "linf 8/255", "first 1,000", 0.0, ""),
    (
        "trained on a single step",
        "CIFAR-10",
        "worst case",
        "itself",
        "linf 8/255",
        "first 1,000, of those it had right",
        47.9,
        "it counts only images that the network classified correctly; RobustBench counts all",
    ),
)


def claims() -> dict[str, tuple[str, pd.DataFrame]]:
    """Return seven claims, each with its measurements and their Wilson 95% intervals.

    The numbers are made up; such claims are not.
    """
    found = {}
    for name, sentence in SENTENCES.items():
        table = pd.DataFrame(MEASURED[name], columns=COLUMNS)
        limits = [evaluation.wilson(k, n) for k, n in zip(table["correct"], table["n"], strict=True)]
        table["accuracy (%)"] = [
            f"{100 * k / n:.1f}" for k, n in zip(table["correct"], table["n"], strict=True)
        ]
        table["95% interval"] = [f"{100 * low:.1f} to {100 * high:.1f}" for low, high in limits]
        found[name] = sentence, table
    return found


def candidates() -> pd.DataFrame:
    """Return nine invented rows, numbered from 1, to compare with RobustBench's."""
    columns = ["system", "data", "attack", "images made for", "budget", "n", "accuracy (%)"]
    return pd.DataFrame([row[:-1] for row in ROWS], columns=columns, index=range(1, len(ROWS) + 1))


@check("07.5", "name each claim's flaw, and the rows that may be compared")
def check_claims(flaws: object, comparable: object) -> str:
    """Accept a verdict on each claim, and the rows that may be compared with RobustBench's.

    ``flaws`` is a dict from the names of claims() to keys of FLAWS. ``comparable`` holds row numbers of
    candidates().
    """
    check_words(flaws, "flaws", "claim", CLAIMED, FLAWS, _what_speaks_against)
    return _check_comparable(comparable)


def _what_speaks_against(name: str, _said: str) -> str:
    """Return a hint for a claim that was judged wrongly."""
    if CLAIMED[name] != "holds":
        return AGAINST[CLAIMED[name]]
    if name == "C":
        return "both were attacked end-to-end with one budget, and 200 images of 500 cannot be chance"
    return "an attack that succeeds is proof, whatever gradient it used"


def _check_comparable(comparable: object) -> str:
    if not isinstance(comparable, (list, tuple, set, frozenset, range, np.ndarray)):
        raise Wrong(f"comparable should be a list of row numbers, but is a {type(comparable).__name__}")
    chosen = {as_number(number, "a row's number") for number in comparable}
    if unknown := [number for number in chosen if number not in range(1, len(ROWS) + 1)]:
        raise Wrong(f"there is no row {unknown[0]:g}; the rows are 1 to {len(ROWS)}")
    for number, (system, *_, accuracy, against) in enumerate(ROWS, 1):
        if number in chosen and against:
            raise Wrong(f"row {number} ({system}, {accuracy}%) cannot be compared: {against}")
    for number, (system, *_, accuracy, against) in enumerate(ROWS, 1):
        if number not in chosen and not against:
            hint = "data, norm, budget and attacks are the same, and its interval accounts for n"
            if not accuracy:
                hint = "a low number is no reason to leave it out: it is the baseline for the others"
            raise Wrong(f"row {number} ({system}, {accuracy}%) is missing; {hint}")
    return (
        "you told the two claims that hold from the five that do not, and the rows you chose were measured "
        "in the same way: the same data, norm and budget, and several attacks on the whole system"
    )
