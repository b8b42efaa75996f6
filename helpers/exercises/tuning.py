"""Checks of notebook 04's exercises: a batch's sources, gains and losses, mixing, fairness, a schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .predicates import as_array, as_number, hint_for
from .verdict import Wrong, ask, check

SOURCES = ("regular", "fgsm", "pgd", "ae(regular)", "ae(fgsm)", "ae(pgd)")


@check("04.1", "write counts(rows, n, sources)")
def check_counts(counts: Callable) -> str:
    """Accept a function that counts, for the numbers of some samples, how many belong to each source."""
    rng = np.random.default_rng(0)
    for n, sources, rows in (
        (100, 6, rng.permutation(600)[:64]),
        (
            10,
            6,
            np.array([0, 9, 10, 19, 20, 20, 39]),
        ),  # the first and last of a source, and sources without any
        (50, 3, rng.permutation(150)[:32]),
    ):
        answer = as_array(
            ask(counts, rows, n, sources, call="counts(rows, n, sources)"), "your counts"
        ).reshape(-1)
        truth = np.bincount(rows // n, minlength=sources)
        given = f"{len(rows)} samples of {sources} sources with {n} images each"
        if len(answer) != sources:
            raise Wrong(
                f"{given} gave {len(answer)} counts; return one for each source, even if it is 0, and none "
                "for single images"
            )
        if np.array_equal(answer, truth):
            continue
        if np.allclose(answer, truth / len(rows), atol=1e-6):
            raise Wrong(f"{given} gave shares that sum to 1; return counts")
        if answer.sum() != len(rows):
            raise Wrong(
                f"{given} gave counts that sum to {answer.sum():g}; each sample belongs to one source"
            )
        raise Wrong(
            f"{given} gave {answer.astype(int).tolist()}, which should be {truth.tolist()}; the sources "
            "follow one another, so 0 to n - 1 belong to the first one: divide by n, and drop the remainder"
        )
    return "each sample is counted once, for the source that it comes from"


@check("04.2", "write balance(before, after)")
def check_balance(balance: Callable) -> str:
    """Accept a function from two sets of answers on the same images to (gained, forgotten, points)."""
    cases = []
    for gained, lost, kept, never in ((3, 8, 30, 9), (5, 0, 40, 5), (0, 0, 20, 5)):
        before = np.repeat([False, True, True, False], (gained, lost, kept, never))
        after = np.repeat([True, False, True, False], (gained, lost, kept, never))
        cases.append((before, after, gained, lost))
    for before, after, gained, lost in cases:
        answer = ask(balance, before, after, call="balance(before, after)")
        found = as_array(answer, "your answer").reshape(-1)
        if len(found) != 3:
            raise Wrong(f"return three numbers, gained, forgotten and points, not {len(found)}")
        n = len(before)
        points = 100 * (gained - lost) / n
        seen = f"of {n} images {gained} were gained and {lost} forgotten, not {found[0]:g} and {found[1]:g}"
        if (found[0], found[1]) == (lost, gained) and gained != lost:
            raise Wrong(f"{seen}; an image is gained if it was wrong before and is right after")
        if (found[0], found[1]) == (after.sum(), before.sum()):
            raise Wrong(f"{seen}; you count all images that were right; compare image by image")
        if (found[0], found[1]) == (max(gained - lost, 0), max(lost - gained, 0)) and gained and lost:
            raise Wrong(f"{seen}; that is the balance; count both directions before you take the difference")
        if (found[0], found[1]) != (gained, lost):
            raise Wrong(f"{seen}; compare image by image: before and not after, after and not before")
        if np.isclose(found[2], points, atol=1e-6):
            continue
        changed = gained + lost
        hints = (
            (points / 100, "that is a fraction; a point is a hundredth"),
            (-points, "a gain is positive"),
            (
                100 * (gained - lost) / changed if changed else None,
                "divide by all images, not by those that changed",
            ),
            (gained - lost, "that is a number of images; divide by all of them"),
            (
                100 * (gained - lost) / max(before.sum(), 1),
                "divide by all images, not by those that were right",
            ),
        )
        hint = hint_for(found[2], hints, "points are 100 times the difference between the two accuracies")
        raise Wrong(f"the balance is {points:+.2f} points, not {found[2]:+.4g}; {hint}")
    return "both directions are counted, and the balance is the difference between the two accuracies"


# ----------------------------------------------------------------------------------------------------- mixing


@check("04.3", "write mixed_batch(sources, labels, size, rng)")
def check_mixed_batch(mixed_batch: Callable) -> str:
    """Accept a function that draws a batch from all sources at once, each image with its own label."""
    n, size = 200, 96
    labels = np.random.default_rng(1).integers(0, 10, n)
    # The values of an image tell its source and its row.
    sources = [
        np.full((n, 2, 2, 3), k / 10, np.float32)
        + (np.arange(n) / 5000).astype(np.float32)[:, None, None, None]
        for k in range(6)
    ]
    call = "mixed_batch(sources, labels, size, rng)"

    def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        answer = ask(mixed_batch, sources, labels, size, np.random.default_rng(seed), call=call)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong(f"return a pair (images, labels), not a {type(answer).__name__}")
        images = as_array(answer[0], "your images")
        if images.shape != (size, 2, 2, 3):
            raise Wrong(
                f"a batch of {size} images should have the shape {(size, 2, 2, 3)}, but has {images.shape}"
            )
        drawn = as_array(answer[1], "your labels", (size,))
        value = images[:, 0, 0, 0]
        which = np.floor((value + 1e-5) * 10).astype(int)
        row = np.rint((value - which / 10) * 5000).astype(int)
        if which.min() < 0 or which.max() > 5 or row.max() >= n:
            raise Wrong("some of your images are in none of the sources; do not change the images")
        return images, drawn, which, row

    _, drawn, which, row = draw(0)
    counts = np.bincount(which, minlength=6)
    if (counts == 0).any():
        raise Wrong(f"the sources have {counts.tolist()} images in the batch; draw from all of them at once")
    wrong = np.mean(labels[row] != drawn)
    if wrong > 0:
        raise Wrong(
            f"{100 * wrong:.0f}% of the images have another image's label; row i of every source shows "
            "photograph i: shuffle images and labels in the same order"
        )
    if len(set(zip(which, row, strict=True))) < size:
        raise Wrong("the same image is in the batch twice; draw without replacement (rng.permutation)")
    if len(np.unique(row)) < size / 4 or (np.bincount(row, minlength=n) == 6).sum() > 3:
        raise Wrong("the batch has all six versions of few photographs; draw images, not photographs")
    if row.max() < n / 2:
        raise Wrong(f"only the first {row.max() + 1} of {n} photographs are drawn; draw from all")
    if (np.diff(which) >= 0).all():
        raise Wrong(
            "the batch is sorted by source; BatchNorm does not mind, but you did not draw from all sources "
            "at once"
        )
    if np.array_equal(which, draw(1)[2]):
        raise Wrong("two generators gave the same batch; draw with the argument rng")
    return (
        f"a batch with {', '.join(str(c) for c in counts)} images of the six sources, each with its own label"
    )


# -------------------------------------------------------------------------------------- predict, then measure


@check("04.4", "set predicted before you compute, and write fair_epochs(steps, images, batch)")
def check_fair_epochs(predicted: object, fair_epochs: Callable) -> str:
    """Accept a guess, and a function from a number of optimiser steps to the epochs that make as many."""
    guess = as_number(predicted, "predicted")
    if guess <= 0:
        raise Wrong(f"you predicted {guess:g} epochs; any number above 0 will do")
    for steps, images, batch in (
        (210, 3000, 256),
        (215, 3000, 256),
        (3516, 50_000, 256),
        (60, 600, 32),
        (10, 256, 256),
    ):
        answer = ask(fair_epochs, steps, images, batch, call="fair_epochs(steps, images, batch)")
        found, each = as_number(answer, "your number of epochs"), images // batch
        made = found * each
        told = f"{steps:,} steps, with {images:,} images in batches of {batch}"
        if found != found // 1 or found < 1:
            raise Wrong(f"{told}: you return {found:g} epochs; return a whole number of at least 1")
        if abs(made - steps) <= each / 2 + 1e-9:
            continue
        if abs(made - steps) <= 2 * each:
            near = max(1, round(steps / each))
            raise Wrong(
                f"{told}: an epoch has {each:,} full batches, so {found:,.0f} epochs make {made:,.0f} "
                f"steps, and {near} make {near * each:,}, which is nearer"
            )
        hints = (
            (steps / (6 * each), "that is for six sources; here there is only one"),
            (steps, "that is a number of steps; an epoch has many"),
            (steps * batch, "that is a number of images"),
            (each, "that is the number of steps in one epoch"),
        )
        hint = hint_for(found, hints, f"an epoch has {each:,} full batches", 0.2)
        raise Wrong(f"{told}: {found:,.0f} epochs make {made:,.0f} steps; {hint}")
    return (
        f"for ResNet-20's quick run it is 19 epochs instead of 3 (you predicted {guess:g}); now the rows can "
        "be compared"
    )


# ----------------------------------------------------------------------------------------------- open problem


@check("04.5", "set phases, a list of (sources, epochs)")
def check_phases(phases: object) -> str:
    """Accept a schedule for pipeline.fine_tuned that is no longer than the paper's 3 epochs of 6 sources."""
    if not isinstance(phases, Sequence) or isinstance(phases, str) or not len(phases):
        raise Wrong(f"phases should be a list with at least one pair (sources, epochs), but is {phases!r}")
    shown, seen = 0.0, set()
    for k, phase in enumerate(phases, 1):
        if not isinstance(phase, Sequence) or isinstance(phase, str) or len(phase) != 2:
            raise Wrong(f"phase {k} is {phase!r}; write it as (['regular', 'pgd'], 2)")
        names, epochs = phase
        if isinstance(names, str):
            raise Wrong(f"phase {k} gives its sources as the text {names!r}; write a list, [{names!r}]")
        if unknown := [name for name in names if name not in SOURCES]:
            raise Wrong(f"phase {k} has a source {unknown[0]!r}; choose from {', '.join(SOURCES)}")
        if not len(names):
            raise Wrong(f"phase {k} has no sources")
        epochs = as_number(epochs, f"phase {k}'s number of epochs")
        if epochs < 1 or epochs != epochs // 1:
            raise Wrong(f"phase {k} has {epochs:g} epochs; a whole number of at least 1 is needed")
        shown += len(names) * epochs
        seen |= set(names)
    if shown > 18:
        raise Wrong(
            f"your schedule has {shown:g} epochs of one source in total, and the paper's 3 epochs of 6 "
            "sources have 18; training longer does not test the mixture"
        )
    plan = [(sorted(names), int(epochs)) for names, epochs in phases]
    if all(names == sorted(SOURCES) for names, _ in plan):
        raise Wrong(
            "that is the paper's own mixture; change it, and predict first how each source will change"
        )
    left_out = [name for name in SOURCES if name not in seen]
    note = f"; left out: {', '.join(left_out)}" if left_out else ""
    return (
        f"your schedule has {shown:g} of the paper's 18 epochs of one source{note}; the rubric asks what it "
        "achieves"
    )
