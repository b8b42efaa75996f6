"""What notebook 07 found, in words: each sentence is chosen by what was measured (baselines)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .. import attacks, checklist, evaluation
from ..defenses import smoothing
from ..evaluation.titles import capitalize, percent
from ..pipeline import Answers, Run
from . import baselines, robust_models, threat_ladder

AIMS = ((0.77, 0.35), (0.79, 0.36))
"""What was aimed at before anything was trained: shares right on clean images and in the worst case."""

Found = Mapping[str, Mapping[str, Answers]]
"""By system, what baselines.under_attack returns."""


def opening(run: Run) -> str:
    """Say whether the text describes this run, and which networks it lacks; empty if there is nothing."""
    said = [run.notice] if run.notice else []
    if lacking := [name for name in robust_models.RECIPES if not robust_models.recorded(run, name)]:
        titles = "; ".join(robust_models.RECIPES[name].title for name in lacking)
        said.append(
            f"> **Notice.** For this classifier the course lacks some networks, so this run leaves them out: "
            f"{titles}. `{robust_models.command(run, lacking[0])}` trains the first."
        )
    return "\n>\n".join(said)


def trainings(cards: Mapping[str, dict]) -> str:
    """Say how long each training took, as text in columns."""
    width = max(len(card["title"]) for card in cards.values()) if cards else 0
    lines = [f"{'training':{width}} {'epochs':>6} {'kept':>5} {'minutes':>8} {'an epoch':>9}"]
    for card in cards.values():
        epochs, minutes = len(card["history"]), card["minutes"]
        kept = card.get("kept_epoch", "–")
        lines.append(f"{card['title']:{width}} {epochs:6} {kept!s:>5} {minutes:8.0f} {minutes / epochs:9.1f}")
    return "\n".join(lines)


def curve_title(card: dict) -> str:
    """Return the title of the figure of a training."""
    best = max(record["pgd"] for record in card["history"])
    return f"{capitalize(card['title'])}: {100 * best:.0f}% under PGD at best"


def curve_alt(card: dict) -> str:
    """Describe the figure of a training."""
    return (
        f"Accuracy on {robust_models.WATCHED} validation images, clean and under PGD-10, and on "
        f"{robust_models.WATCHED // 2} training images under PGD-10, by epoch of {card['title']}. "
        f"Epoch {card['kept_epoch']} was kept."
    )


def collapsed(card: dict) -> bool:
    """Return whether accuracy under PGD fell to less than half of its best."""
    scores = [record["pgd"] for record in card["history"]]
    return scores[-1] < max(scores) / 2


def collapse_title(card: dict) -> str:
    """Return the title of the figure of a single-step training that may have collapsed."""
    first, last = card["history"][0], card["history"][-1]
    told = "The loss falls, and accuracy under PGD with it" if collapsed(card) else "No collapse under PGD"
    return f"{told}: {100 * first['pgd']:.0f}% to {100 * last['pgd']:.0f}%"


def collapse_found(card: dict) -> str:
    """Say what a single-step training came to."""
    first, last = card["history"][0], card["history"][-1]
    verdict = "It collapsed, and was ended" if collapsed(card) else "It did not collapse; it ended"
    return (
        f"{verdict} after epoch {last['epoch']} of {card['recipe']['epochs']}. The training loss went from "
        f"{first['loss']:.2f} to {last['loss']:.2f}, clean accuracy from {100 * first['clean']:.1f}% to "
        f"{100 * last['clean']:.1f}%, PGD-10 from {100 * first['pgd']:.1f}% to {100 * last['pgd']:.1f}% "
        f"(n = {robust_models.WATCHED} validation images)."
    )


def overfitting_title(card: dict) -> str:
    """Return the title of the figure of a training on few images."""
    kept, last = _kept(card), card["history"][-1]
    return (
        f"Under PGD: training images {100 * kept['training_pgd']:.0f}% to "
        f"{100 * last['training_pgd']:.0f}%, validation {100 * kept['pgd']:.0f}% to {100 * last['pgd']:.0f}%"
    )


def overfitting_found(card: dict) -> str:
    """Say how accuracy under PGD developed on training and on validation images, by thirds of the epochs."""
    parts = {
        "training": [record["training_pgd"] for record in card["history"]],
        "validation": [record["pgd"] for record in card["history"]],
    }
    said = []
    for images, scores in parts.items():
        second, third = (100 * part.mean() for part in np.array_split(scores, 3)[1:])
        said.append(f"on {images} images {second:.1f}%, then {third:.1f}%")
    kept, last = _kept(card), card["history"][-1]
    return (
        f"PGD-10, mean of the second and of the last third of the epochs: {'; '.join(said)}. On validation "
        f"images epoch {kept['epoch']} has {_of_watched(kept['pgd'])}, the last one "
        f"{_of_watched(last['pgd'])} (n = {robust_models.WATCHED})."
    )


def _kept(card: dict) -> dict:
    return card["history"][card["kept_epoch"] - 1]


def _of_watched(share: float) -> str:
    n = robust_models.WATCHED
    return percent(evaluation.proportion(np.arange(n) < round(share * n)))


def attacked(run: Run, found: Found) -> str:
    """Say on how many images the systems were attacked, and with how much effort."""
    spent = attacks.EFFORTS[threat_ladder.effort_of(run)]
    n = len(found["initial"]["regular"].correct)
    label = f"; **{run.label}**" if run.label else ""
    return (
        f"Accuracy in percent, n = {n:,} test images{label}. APGD: {spent.steps} steps, towards "
        f"{spent.classes} classes when targeted; Square: {spent.queries:,} queries (AutoAttack's: 5,000)."
    )


def order(found: Found) -> str:
    """Say of each system which images contradict the order of the attacks."""
    lines = [f"{'images that withstand ... but fall to ...':48} (worst case, any)  (APGD, Square)"]
    for name, rungs in found.items():
        worst, apgd = rungs["worst_case"].correct, rungs["apgd"].correct
        broken = sum(int((worst & ~one.correct).sum()) for kind, one in rungs.items() if kind != "worst_case")
        missed = int((apgd & ~rungs["square"].correct).sum())
        title = baselines.SYSTEMS[name].title
        lines.append(f"{title:48} {broken:17} {f'{missed} of {apgd.sum()}':>15}")
    return "\n".join(lines)


def checked(name: str, table: pd.DataFrame, n: int) -> str:
    """Say what the checklist found about a system."""
    return f"**{capitalize(baselines.SYSTEMS[name].title)}** (n = {n}): {checklist.summary(table)}"


def autoencoder_gains(found: Found) -> str:
    """Say what an autoencoder changes for a robust classifier, image by image."""
    lines = []
    for after, what in (
        ("single_step_ae", "the paper's autoencoder before it"),
        ("joint", "both trained together"),
    ):
        for kind, images in (("regular", "clean"), ("worst_case", "worst case")):
            if {"single_step", after} <= set(found):
                pair = [found[name][kind].correct for name in ("single_step", after)]
                lines.append(f"- *{capitalize(what)}, {images}*: {_difference(*pair)}")
    return "\n".join(lines) or "The course has no such pair of this classifier."


def _difference(before: np.ndarray, after: np.ndarray) -> str:
    points, low, high = (100 * x for x in evaluation.paired_difference(before, after))
    verdict = "more" if low > 0 else "less" if high < 0 else "no difference beyond chance"
    return (
        f"{100 * before.mean():.1f}% to {100 * after.mean():.1f}% of {len(before):,}, {points:+.1f} points "
        f"[{low:+.1f}, {high:+.1f}]; {verdict}."
    )


def certified_title(curves: Mapping[str, list[dict]], radius: float = 0.25) -> str:
    """Return the title of the figure of certificates."""
    at = {name: next(r for r in records if r["eps"] == radius) for name, records in curves.items()}
    top = max(at, key=lambda name: at[name]["accuracy"])
    return f"Certified at r = {radius}: {percent(at[top])}% ({baselines.CERTIFIED[top][0]})"


def certified_alt(curves: Mapping[str, list[dict]], published: bool) -> str:
    """Describe the figure of certificates."""
    beside = ", beside published points for a ResNet-110" if published else ""
    return (
        "Certified accuracy against the Euclidean radius for each smoothed classifier, with 95% intervals"
        f"{beside}. {certified_title(curves)}."
    )


def certified_caption(run: Run, curves: Mapping[str, list[dict]]) -> str:
    """Say what the table of certificates holds."""
    n = next(iter(curves.values()))[0]["n"]
    label = f"; **{run.label}**" if run.label else ""
    return (
        f"Certified accuracy in percent by radius; n = {n:,} test images, {run.profile.n_samples:,} draws "
        f"each{label}."
    )


def walls(run: Run) -> str:
    """Say, as text in columns, how far certificates can reach at three noise levels, in both norms."""
    few, many = run.profile.n_samples, 100_000
    needed = smoothing.l2_around(run.eps)
    lines = [
        f"eps = {255 * run.eps:.3g}/255 needs a radius of {needed:.2f}",
        f"sigma   {few:,} draws reach   {many:,} draws reach",
    ]
    for sigma in (0.25, 0.5, 1.0):
        near, far = (smoothing.largest_radius(sigma, draws) for draws in (few, many))
        reach = [f"{r:.2f} ({255 * smoothing.linf_within(r):.1f}/255)" for r in (near, far)]
        lines.append(f"{sigma:5.2f} {reach[0]:>19} {reach[1]:>21}")
    return "\n".join(lines)


def transformed_caption(run: Run, found: Mapping[str, Mapping[str, Answers]]) -> str:
    """Say what the table of transformations holds."""
    n = len(next(iter(found.values()))["static"].correct)
    label = f"; **{run.label}**" if run.label else ""
    return f"Accuracy in percent of the initial classifier behind each, n = {n:,}{label}."


def compared(run: Run, found: Found) -> str:
    """Say what the table of accuracies and costs holds."""
    n = len(found["initial"]["regular"].correct)
    label = f"; **{run.label}**" if run.label else ""
    return (
        f"Accuracy in percent, n = {n:,}{label}. Our systems: the worst case of this notebook. The others: "
        "AutoAttack, as RobustBench lists them. *Minutes*: of training, beyond the initial classifier's. *ms "
        "an image*: with 128 images at a time."
    )


def tradeoff_title(run: Run, found: Found) -> str:
    """Return the title of the figure of clean accuracy against the worst case."""
    top = max(found, key=lambda name: found[name]["worst_case"].correct.mean())
    worst = percent(found[top]["worst_case"].record())
    return f"At most {worst}% in the worst case at {255 * run.eps:.3g}/255 ({baselines.SYSTEMS[top].title})"


def tradeoff_alt(found: Found) -> str:
    """Describe the figure of clean accuracy against the worst case."""
    points = "; ".join(
        f"{baselines.SYSTEMS[name].title}: {100 * kinds['regular'].correct.mean():.1f} clean, "
        f"{100 * kinds['worst_case'].correct.mean():.1f} worst case"
        for name, kinds in found.items()
    )
    return f"Accuracy in the worst case against accuracy on clean images, in percent. {points}."


def aims(run: Run, found: Found) -> str:
    """Say which aims each robust system reached; aims are of ResNet-20 at the paper's budget."""
    if not run.comparable or run.model != "resnet20":
        return "The aims were set for ResNet-20 on CIFAR-10 at 8/255; this is another run."
    lines = []
    for name in (name for name in found if baselines.SYSTEMS[name].network):
        clean, worst = (found[name][kind].record() for kind in ("regular", "worst_case"))
        parts = [
            f"{100 * aim:.0f}% {what}: {_reached(record, aim)}"
            for pair in AIMS
            for aim, record, what in zip(pair, (clean, worst), ("clean", "worst case"), strict=True)
        ]
        lines.append(f"- {capitalize(baselines.SYSTEMS[name].title)}: {'; '.join(parts)}.")
    return "\n".join(lines) or "The course has no robust network for this run."


def _reached(record: dict, aim: float) -> str:
    if record["ci_low"] >= aim:
        return "reached"
    return "missed" if record["ci_high"] < aim else "undecided at this n"
