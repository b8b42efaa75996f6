"""What notebook 06 found, in words: each sentence is chosen by what was measured (threat_ladder)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .. import attacks, evaluation
from ..classifiers import registry
from ..evaluation.titles import STAGE_TITLES, percent
from ..pipeline import Answers, Run, comparisons
from . import threat_ladder
from .comparison import in_points, paired
from .through_autoencoder import Through

Found = Mapping[str, Mapping[str, Answers]]
"""By stage, what threat_ladder.climb returns."""

PAIRS = (
    ("pgd", "static"),
    ("pgd", "grey_box"),
    ("pgd", "square"),
    ("pgd_100", "pgd"),
    ("apgd", "pgd"),
    ("worst_case", "pgd_100"),
    ("worst_case", "apgd"),
)
"""A stronger attacker and a weaker one."""


def attackers() -> str:
    """Name the attackers and what each knows, as text in columns."""
    return "\n".join(f"{rung.title:30} knows: {rung.knows}" for rung in threat_ladder.RUNGS.values())


def measured(run: Run, found: Found) -> str:
    """Say what was attacked, on how many images and with how much effort."""
    spent, n = attacks.EFFORTS[threat_ladder.effort_of(run)], _images(found)
    label = f"; **{run.label}**" if run.label else ""
    return (
        f"{registry.MODELS[run.model].title} behind the autoencoder: accuracy in percent, n = {n:,} test "
        f"images{label}. APGD: {spent.steps} steps, towards {spent.classes} classes when targeted; Square: "
        f"{spent.queries:,} queries (AutoAttack's: 5,000)."
    )


def _images(found: Found) -> int:
    return len(found["initial"]["static"].correct)


def ladder_title(found: Found) -> str:
    """Return the title of the figure of the ladder."""
    low, high = (100 * found["fine_tuned"][name].correct.mean() for name in ("worst_case", "static"))
    return f"Fine-tuned: {high:.1f}% for an oblivious attacker, {low:.1f}% in the worst case"


def ladder_alt(found: Found) -> str:
    """Describe the figure of the ladder."""
    rungs = "; ".join(
        f"{threat_ladder.RUNGS[name].title} {100 * answers.correct.mean():.1f}"
        for name, answers in found["fine_tuned"].items()
    )
    return (
        "Accuracy behind the autoencoder for attackers who know more and more, before and after fine-tuning, "
        f"with 95% intervals. Fine-tuned, in percent: {rungs}."
    )


def knowledge(found: Found) -> str:
    """Say what each thing that the attacker learns takes from the defense, image by image."""
    lines = []
    for stage, answers in found.items():
        at, known, both = (answers[name].correct for name in ("static", "grey_box", "pgd"))
        for words, before, after in (("this classifier", at, known), ("the autoencoder too", known, both)):
            change = in_points(paired(before, after))
            lines.append(f"{STAGE_TITLES[stage]:10}  knowing {words:20} {change} points")
    return "\n".join(lines)


def exceptions(found: Found) -> str:
    """Count the images that withstand a stronger attacker and fall to a weaker one, as text in columns."""
    lines = []
    for stage, answers in found.items():
        lines.append(
            f"{STAGE_TITLES[stage]}: images that withstand ... but fall to ... (of {_images(found):,})"
        )
        for strong, weak in PAIRS:
            count = threat_ladder.exceptions(answers, strong, weak)
            titles = (threat_ladder.RUNGS[name].title for name in (strong, weak))
            of = int(answers[strong].correct.sum())
            lines.append("  {:22} {:30} {} of {}".format(*titles, count, of))
    return "\n".join(lines)


def budgets_title(at: Mapping[float, Mapping[str, Answers]]) -> str:
    """Return the title of the figure of budgets; ``at`` is from threat_ladder.over_budgets."""
    below = [eps for eps, answers in at.items() if answers["pgd"].record()["ci_high"] < 0.1]
    if not below:
        return "Accuracy by budget, for attackers who know more and more"
    return f"At {255 * min(below):.3g}/255, PGD end-to-end leaves less than guessing would"


def budgets_table(curves: Mapping[str, Sequence[dict]]) -> str:
    """Return accuracy in percent by attacker and budget, as text in columns."""
    first = next(iter(curves.values()))
    head = "  ".join(f"{255 * r['eps']:3.0f}/255" for r in first)
    lines = [f"{'n = ' + format(first[0]['n'], ','):30}{head}"]
    for name, records in curves.items():
        lines.append(f"{name:30}" + "  ".join(f"{100 * r['accuracy']:7.1f}" for r in records))
    return "\n".join(lines)


def passed(found: Through) -> str:
    """Say how much of each change comes through the autoencoder, and what the classifier makes of it."""
    lines = [
        f"norm of the change behind the autoencoder, in percent of that before (n = {len(found.labels)})"
    ]
    for kind, share in found.shares().items():
        half = 1.96 * share.std(ddof=1) / np.sqrt(len(share))
        right = percent(evaluation.proportion(found.answers[kind] == found.labels))
        middle = share.mean()
        lines.append(
            f"{kind:10} {100 * middle:5.1f} [{100 * (middle - half):.1f}, {100 * (middle + half):.1f}]; "
            f"accuracy {right}"
        )
    return "\n".join(lines)


def passed_title(found: Through) -> str:
    """Return the title of the picture of what comes through."""
    parts = ", ".join(f"{kind} {100 * share.mean():.0f}%" for kind, share in found.shares().items())
    return f"The share of each change that remains: {parts}"


def passed_alt(found: Through) -> str:
    """Describe the picture of what comes through."""
    return (
        "Test images with their classes; the change that three attacks make, magnified; what the autoencoder "
        "leaves of each, with the fine-tuned classifier's answer, bold where wrong; and what the classifier "
        f"is shown under the end-to-end attack. {passed_title(found)}."
    )


def foreign(found: Found, other: str | None) -> str:
    """Say how images made for another network compare with those made for the initial classifier."""
    if other is None or "other_network" not in found["initial"]:
        return "The course ships one network for these images, so there is no other one to attack from."
    lines = []
    for stage, answers in found.items():
        away, own = answers["other_network"], answers["static"]
        change = in_points(paired(own.correct, away.correct))
        lines.append(
            f"- {STAGE_TITLES[stage]}: from {other} {percent(away.record())}, from the defense's "
            f"own initial classifier {percent(own.record())}: {change} points."
        )
    return "\n".join(lines)


def claims(found: Found, undefended: np.ndarray) -> str:
    """Say which of the paper's claims hold.

    Args:
        found: the ladder's answers.
        undefended: which images the initial classifier without autoencoder gets right under its PGD.
    """
    first, tuned = found["initial"], found["fine_tuned"]
    pairs = {
        "the autoencoder helps against images made for the classifier": (
            undefended,
            first["static"].correct,
        ),
        "fine-tuning helps against the same images": (first["static"].correct, tuned["static"].correct),
        "having to fool both networks protects the classifier": (
            tuned["static"].correct,
            tuned["worst_case"].correct,
        ),
    }
    verdicts = {1: "holds", 0: "is undecided at this n", -1: "fails"}
    return "\n".join(
        f"- *{claim}*: {100 * before.mean():.1f}% to {100 * after.mean():.1f}% of {len(after):,}, {change}; "
        f"**{verdicts[change.sign]}**."
        for (claim, (before, after)), change in zip(
            pairs.items(), comparisons.of_answers(pairs.values()), strict=True
        )
    )
