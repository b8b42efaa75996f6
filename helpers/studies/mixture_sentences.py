"""What notebook 04 found, in words: each sentence is chosen by what was measured (mixture)."""

from __future__ import annotations

import numpy as np

from .. import evaluation, pipeline, training
from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES, STAGE_TITLES, cells, percent
from ..pipeline import SOURCES, Run
from .comparison import in_points
from .mixture import TRY, Ablation

SOURCE_TITLES = {
    **{kind: INPUT_TITLES[kind] for kind in SOURCES},
    **{f"ae({kind})": f"AE({INPUT_TITLES[kind]})" for kind in SOURCES},
}
"""The reader's words for the six sources."""


def training_told(run: Run, history: list[dict]) -> str:
    """Say how the run's classifier was fine-tuned, and what that took."""
    profile = pipeline.trained_as(run, "fine_tuned")
    own = profile == run.profile
    n = len(run.split("train")) if own else profile.n_train
    phases = pipeline.phases_of(run, profile)
    seen = [len(names) * n for names, _ in phases]
    steps = sum(
        epochs * (images // min(training.FINE_TUNE_BATCH, images))
        for images, (_, epochs) in zip(seen, phases, strict=True)
    )
    first, last = training.FINE_TUNE_RATES
    return (
        f"{'Trained by this run' if own else 'Shipped with the course'} ({profile.name}): {len(history)} "
        f"epoch{'s' * (len(history) > 1)} of {seen[0]:,} images, {steps:,} steps, rate {first:g} falling to "
        f"{last:g}, {sum(h['seconds'] for h in history) / 60:,.0f} minutes. The loss fell from "
        f"{history[0]['loss']:.2f} in the first epoch to {history[-1]['loss']:.2f} in the last."
    )


def by_stage(records: list[dict]) -> dict[str, dict[str, dict]]:
    """Return the records of the transfer attacks by stage and by the title of the source."""
    found = cells(records)
    rows = [(kind, defense) for defense in DEFENSE_TITLES for kind in SOURCES]
    return {
        title: {f"{INPUT_TITLES[kind]}, {DEFENSE_TITLES[d]}": found[kind, stage, d] for kind, d in rows}
        for stage, title in STAGE_TITLES.items()
        if (SOURCES[0], stage, "none") in found
    }


def tuning_title(records: list[dict]) -> str:
    """Return the title of the figure of what fine-tuning changes."""
    found = cells(records)

    def moved(kind: str, defense: str) -> str:
        before, after = (found[kind, stage, defense]["accuracy"] for stage in ("initial", "fine_tuned"))
        return f"{100 * (after - before):+.1f}"

    return (
        f"Fine-tuning, in points: PGD {moved('pgd', 'none')} without the AE and {moved('pgd', 'ae')} behind "
        f"it, clean images {moved('regular', 'none')}"
    )


def tuning_alt(records: list[dict]) -> str:
    """Describe the figure of what fine-tuning changes."""
    found = by_stage(records)
    first, last = found.values()
    told = (
        f"{name} {100 * first[name]['accuracy']:.0f} to {100 * last[name]['accuracy']:.0f}" for name in first
    )
    return "Accuracy of the initial and the fine-tuned classifier, in percent: " + "; ".join(told) + "."


def balance(before: np.ndarray, after: np.ndarray) -> str:
    """Say how many clean test images fine-tuning made right and wrong, and test the balance."""
    gained, forgotten = int(np.sum(after & ~before)), int(np.sum(before & ~after))
    chance = evaluation.mcnemar(before, after)
    return (
        f"Of {len(before):,} clean test images, {forgotten:,} were right before and wrong after, {gained:,} "
        f"the other way round: {100 * after.mean() - 100 * before.mean():+.1f} points (McNemar's exact test: "
        f"p {'< 0.0001' if chance < 1e-4 else f'= {chance:.2g}'})."
    )


# -------------------------------------------------------------------------------------------- the ablation


def design(found: Ablation) -> str:
    """Say what the two trainings of an ablation share, and in what they differ."""
    recipe, title = found.recipe, SOURCE_TITLES[found.left_out]
    shown = found.shown["without"]
    others = [shown[name] for name in shown if name != found.left_out]
    least, most = f"{min(others):,}", f"{max(others):,}"
    return (
        f"**A training on a small scale**: {recipe.images} images a source, {recipe.steps} steps of "
        f"{recipe.batch_size} images each. The second training's batches are the first's without the "
        f"{found.shown['all'][found.left_out]:,} {title} images; both are shown "
        f"{least if least == most else f'{least} to {most}'} of every other source."
        + (" **These are far too few: the numbers mean nothing.**" if recipe == TRY else "")
    )


def arms(found: Ablation) -> dict[str, dict[str, dict]]:
    """Return the scores of the three classifiers by their label and by the title of the source."""
    labels = {"initial": "initial", "all": "all six sources", "without": f"without {_images(found)}"}
    return {
        label: {SOURCE_TITLES[name]: found.score(arm, name) for name in found.correct[arm]}
        for arm, label in labels.items()
    }


def ablation_title(found: Ablation) -> str:
    """Return the title of the figure of an ablation."""
    lost = found.difference(found.left_out)
    sure = "" if lost[2] < 0 or lost[1] > 0 else ", which may be chance"
    return f"Without {_images(found)}, accuracy on them changes by {in_points(lost)} points{sure}"


def ablation_alt(found: Ablation) -> str:
    """Describe the figure of an ablation."""
    told = (
        f"{SOURCE_TITLES[name]} {100 * found.score('all', name)['accuracy']:.0f} and "
        f"{100 * found.score('without', name)['accuracy']:.0f}"
        for name in found.correct["all"]
    )
    return (
        f"Accuracy in percent on {found.n:,} test images after fine-tuning on all six sources, and without "
        f"{_images(found)}: {'; '.join(told)}."
    )


def ablation_found(found: Ablation) -> str:
    """Say what leaving one source out did, on its own images and on the others."""
    rows = [
        f"- {SOURCE_TITLES[name]}: {percent(found.score('all', name))} with all six, "
        f"{percent(found.score('without', name))} without, a difference of "
        f"{in_points(found.difference(name))} points."
        for name in sorted(found.correct["all"], key=lambda name: name != found.left_out)
    ]
    return (
        f"Accuracy in percent, n = {found.n:,} test images:\n\n" + "\n".join(rows) + f"\n\n{verdict(found)}"
    )


def verdict(found: Ablation) -> str:
    """Say whether the claim about the source that was left out holds in this comparison."""
    images = _images(found)
    lost = found.difference(found.left_out)
    if found.protects:
        kept = f"The {images} in the batch protect accuracy on such images"
        return f"**{kept}**: without them, {in_points(lost)} points."
    if lost[1] > 0:
        return f"**The claim fails here**: without {images}, {in_points(lost)} points on them."
    return (
        f"**No protection is seen**: without {images}, accuracy on them changes by {in_points(lost)} points, "
        "and the interval contains 0."
    )


def _images(found: Ablation) -> str:
    return f"{SOURCE_TITLES[found.left_out]} images"


def conclusions(records: list[dict], found: Ablation) -> str:
    """Return the box that closes the notebook."""
    of = cells(records)

    def moved(kind: str, defense: str) -> str:
        before, after = (percent(of[kind, stage, defense]) for stage in ("initial", "fine_tuned"))
        return f"{before} to {after} %"

    lines = [
        f"**What we found** (transfer attacks; n = {records[0]['n']:,} test images, one training seed).",
        "",
        f"- It learned to read the autoencoder's pictures: clean images behind it go from "
        f"{moved('regular', 'ae')}.",
        f"- It learned the old attack: without an autoencoder, PGD images made for the initial classifier go "
        f"from {moved('pgd', 'none')}.",
        f"- It forgot: clean images go from {moved('regular', 'none')}.",
        f"- On a small scale ({found.recipe.steps} steps, n = {found.n:,}), "
        f"clean images left out of the batch: {in_points(found.difference(found.left_out))} points on them.",
    ]
    return "\n".join("> " + line for line in lines)
