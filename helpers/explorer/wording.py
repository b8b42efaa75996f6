"""The explorer in words: its titles, who attacks, and what the network answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..evaluation.titles import STAGE_TITLES
from ..settings import Networks

if TYPE_CHECKING:
    from .views import Choice, View

ATTACKS = {"none": "no attack", "noise": "random noise", "fgsm": "FGSM", "pgd": "PGD"}
THREATS = {
    "static": "the initial network (transfer)",
    "grey_box": "this network, not the autoencoder (grey-box)",
    "adaptive": "autoencoder and network (adaptive)",
}
SHORT = {
    "static": "PGD on the initial network",
    "grey_box": "PGD on the network",
    "adaptive": "PGD end-to-end",
}
STAGES = {stage: STAGE_TITLES[stage] for stage in ("initial", "fine_tuned")}
WITHOUT_ARTICLE = {"coins", "grass", "gravel", "stars", "text", "tissue"}


def verdict(view: View) -> str:
    """Say how the chosen system classifies the image, and how it did before the attack."""
    then, now = view.answers
    name, old = ("no answer" if k < 0 else with_article(view.classes[k]) for k in (now, then))
    sure, once = percent(view.after[now]), percent(view.before[then])
    truth = None if view.label is None else with_article(view.classes[view.label])
    if now < 0:
        earlier = f"; {old} before ({once})" if view.changed else ""
        return f"No answer ({sure}){earlier}." + (f" It is {truth}." if truth else "")
    if not view.changed:
        known = {None: ".", name: ", which is right."}
        return f"Taken for {name} ({sure})" + known.get(
            truth, f", but it is {truth}: wrong without any attack."
        )
    if now == then:
        known = {None: ".", name: ", which is right."}
        return f"Still taken for {name} ({sure}; {once} before)" + known.get(truth, f", but it is {truth}.")
    if truth == name:
        return f"Taken for {name} ({sure}), which is right; {old} before ({once})."
    known = {None: ".", old: f", and {old} it is."}
    return f"Taken for {name} ({sure}); {old} before ({once})" + known.get(truth, f". It is {truth}.")


def finding(views: Mapping[tuple[str, float], View]) -> str:
    """Say in one line from which budget on each attacker succeeds.

    Args:
        views: by (threat, eps), as over_budgets returns them.
    """
    parts = []
    for threat in dict.fromkeys(threat for threat, _ in views):
        wrong = [eps for (other, eps), view in views.items() if other == threat and not is_right(view)]
        parts.append(
            f"{SHORT[threat]}: " + (f"wrong from {255 * min(wrong):.3g}/255" if wrong else "right throughout")
        )
    return "; ".join(parts)


def image_title(views: Mapping[tuple[str, float], View], number: int) -> str:
    """Return the number and the class of the test image of some views."""
    view = next(iter(views.values()))
    return f"Test image {number}, {with_article(view.classes[view.label])}"


def grid_alt(views: Mapping[tuple[str, float], View], number: int) -> str:
    """Describe the figure of the views (display.grid)."""
    budgets = ", ".join(f"{255 * eps:.3g}" for eps in dict.fromkeys(eps for _, eps in views))
    rows = "; ".join(SHORT[threat] for threat in dict.fromkeys(threat for threat, _ in views))
    return (
        f"{image_title(views, number)}, attacked with budgets of {budgets} of 255, and what the "
        f"autoencoder makes of it, with the answer; wrong ones are bold. Rows: {rows}. {finding(views)}."
    )


def conclusions(views: Mapping[tuple[str, float], View], number: int) -> str:
    """Return the box that closes the notebook."""
    return (
        f"> **What we found** (n = 1. {image_title(views, number)}; PGD, one random start).\n>\n"
        f"> - {finding(views)}.\n"
        "> - One image shows what can happen. It never shows how often."
    )


def origin(networks: str) -> str:
    """Say where a run's autoencoder and fine-tuned classifier come from (pipeline.Run.networks)."""
    if networks == Networks.SHIPPED:
        return "The autoencoder and the fine-tuned classifier are those that the course ships."
    if networks == Networks.AUTO:
        return "The course ships one of autoencoder and fine-tuned classifier; this run trains the other."
    return "This run trains autoencoder and fine-tuned classifier, once, and keeps them in its store."


def is_right(view: View) -> bool | None:
    """Return whether the system classifies the attacked image correctly; None if its class is unknown."""
    return None if view.label is None else view.answers[1] == view.label


def threat_model(choice: Choice) -> str:
    """Say in a sentence who attacks."""
    budget = f"{255 * choice.eps:.3g}/255"
    if choice.attack == "none":
        return "Nobody attacks."
    if choice.attack == "noise":
        return f"The noise knows nothing: it moves every value by {budget}, up or down at random."
    steps = "in one step" if choice.attack == "fgsm" else f"in {choice.steps} steps of {choice.step_size:.3g}"
    knows = THREATS[choice.threat].partition(" (")[0]
    return f"The attacker knows {knows}, and may change every value by at most {budget}, {steps}."


def with_article(name: str) -> str:
    """Return a class with its article: a cat, an airplane, grass."""
    if name in WITHOUT_ARTICLE:
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def percent(probability: float) -> str:
    """Return a probability in whole percent: <1% and >99% rather than a rounded 0% or 100%; NaN as such."""
    if math.isnan(probability):
        return "NaN"
    if 0 < probability < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= probability < 1 else f"{100 * probability:.0f}%"
