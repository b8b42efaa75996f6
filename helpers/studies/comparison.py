"""Compare the autoencoders of the search (notebook 03): tables, the Pareto front, and tests against chance.

Cards come from search.about or search.make, answers from search.assessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from .. import evaluation, pipeline
from ..datasets.storage import to_float
from ..evaluation.titles import percent
from ..pipeline import SOURCES, Answers, Run
from ..settings import CourseError
from .search_recipe import RECIPE, SearchRecipe, on_recipe

BARE = "none"
"""The name for no autoencoder, among the names of autoencoders."""

QUESTIONS = {"mean": "mean of three", "regular": "clean", "fgsm": "FGSM", "pgd": "PGD"}
"""The criteria of choice and their titles: the mean of three transfer accuracies, and each alone."""


# -------------------------------------------------------------------------------------------------- no
# autoencoder


def bare_card(run: Run, recipe: SearchRecipe = RECIPE) -> dict:
    """Return a card like search.about's for the initial classifier without an autoencoder, as the baseline.

    Its ``mse`` is that of the attacked images themselves. Without an autoencoder the end-to-end attack is the
    transfer attack, so ``adaptive`` is taken from the first of its images.
    """
    held_out = on_recipe(run, recipe)
    labels = held_out.split("validation").labels
    stored = {kind: pipeline.inputs(held_out, "validation", kind) for kind in SOURCES}
    clean = to_float(stored["regular"])
    correct = {kind: evaluation.is_correct(run.classifier, images, labels) for kind, images in stored.items()}
    correct["adaptive"] = correct["pgd"][: recipe.attacked]
    return {
        "name": BARE,
        "title": "no autoencoder",
        "latent": int(np.prod(clean.shape[1:])),
        "depth": 0,
        "parameters": 0,
        "mse": {kind: float(np.mean((to_float(images) - clean) ** 2)) for kind, images in stored.items()},
        "validation": {kind: evaluation.proportion(right) for kind, right in correct.items()},
    }


def bare_answers(run: Run) -> dict[str, Answers]:
    """Return answers like search.assessed's for the initial classifier without an autoencoder."""
    found = {answers.fields["input"]: answers for answers in pipeline.undefended_answers(run)}
    few = found["pgd"].correct[: run.profile.n_sweep]
    return {**found, "adaptive": Answers({**found["pgd"].fields, "threat": "adaptive"}, few)}


# ----------------------------------------------------------------------------------------------------------
# choosing


def transfer_score(card: dict) -> float:
    """Return the mean validation accuracy on clean, FGSM and PGD images, the search's criterion."""
    return float(np.mean([card["validation"][kind]["accuracy"] for kind in SOURCES]))


def score(card: dict, kind: str = "mean") -> float:
    """Return a card's validation accuracy in [0, 1]; ``kind`` is a key of QUESTIONS."""
    return transfer_score(card) if kind == "mean" else card["validation"][kind]["accuracy"]


def attacked_error(card: dict) -> float:
    """Return the mean squared error of restored validation images, averaged over FGSM and PGD."""
    return float(np.mean([card["mse"][kind] for kind in ("fgsm", "pgd")]))


def validation_difference(before: dict, after: dict, kind: str = "mean") -> tuple[float, float, float]:
    """Return how much the validation accuracy of ``after`` exceeds that of ``before``, with a 95% interval.

    Cards hold how many images were right, not which ones. So the interval is Newcombe's for different images,
    which is too wide for the same images. For the mean of three accuracies it is the mean of the limits.

    Args:
        before: A card.
        after: Another card.
        kind: A key of QUESTIONS.

    Returns:
        The difference and its lower and upper limit, in [-1, 1].
    """
    kinds = SOURCES if kind == "mean" else (kind,)
    found = [evaluation.difference(before["validation"][k], after["validation"][k]) for k in kinds]
    middle, low, high = np.mean(found, axis=0)
    return float(middle), float(low), float(high)


def in_points(difference: tuple[float, float, float]) -> str:
    """Return a difference and its interval, given in [-1, 1], as text in points."""
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(
        *(round(100 * x, 1) + 0.0 for x in difference)
    )  # + 0.0: no -0.0


def transfer_mean(answers: dict[str, Answers]) -> np.ndarray:
    """Return the share of each test image's three forms that are classified correctly, [n]."""
    return np.mean([answers[kind].correct for kind in SOURCES], axis=0)


def mean_difference(before: dict[str, Answers], after: dict[str, Answers]) -> tuple[float, float, float]:
    """Return how much the mean of three transfer accuracies rose on the same images, with a 95% interval.

    Returns:
        The difference and its lower and upper limit (normal), in [-1, 1].

    Raises:
        CourseError: There are fewer than two images.
    """
    change = transfer_mean(after) - transfer_mean(before)
    if len(change) < 2:
        raise CourseError(f"{len(change)} images are too few for an interval; compare at least 2")
    half = 1.959964 * float(change.std(ddof=1)) / np.sqrt(len(change))
    middle = float(change.mean())
    return middle, max(-1.0, middle - half), min(1.0, middle + half)


def table(cards: dict[str, dict]) -> pd.DataFrame:
    """Return a table of the candidates' validation accuracies and errors, smallest first."""
    rows = {}
    for card in sorted(cards.values(), key=lambda card: (card["latent"], card["depth"], card["name"])):
        rows[card["title"]] = {
            "numbers": f"{card['latent']:,}",
            "parameters": f"{card['parameters']:,}",
            "MSE on attacked images": f"{attacked_error(card):.5f}",
            **_accuracies({kind: card["validation"][kind] for kind in (*SOURCES, "adaptive")}),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("autoencoder")


def test_table(cards: dict[str, dict], answers: dict[str, dict[str, Answers]]) -> pd.DataFrame:
    """Return a table of test accuracies, best mean first, with each candidate's rank on validation images."""
    places = sorted(cards, key=lambda name: -transfer_score(cards[name]))
    rows = {}
    for name in sorted(answers, key=lambda name: -transfer_mean(answers[name]).mean()):
        rows[cards[name]["title"]] = {
            "mean of three": f"{100 * transfer_mean(answers[name]).mean():.1f}",
            "place before": f"{places.index(name) + 1}",
            **_accuracies({kind: answers[name][kind].record() for kind in (*SOURCES, "adaptive")}),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("autoencoder")


def _accuracies(scores: dict[str, dict]) -> dict[str, str]:
    titles = {"regular": "clean", "fgsm": "FGSM", "pgd": "PGD", "adaptive": "end-to-end PGD"}
    return {titles[kind]: percent(score) for kind, score in scores.items()}


# ---------------------------------------------------------------------------------------------------------
# comparing


def dominated_by(points: dict[str, tuple[float, float]], name: str) -> list[str]:
    """Return the names that dominate one: no larger, no less accurate, and better in one of the two.

    Args:
        points: (size, accuracy) by name; small sizes and high accuracies are good.
        name: The one that may be dominated.
    """
    size, accuracy = points[name]
    return [n for n, (s, a) in points.items() if s <= size and a >= accuracy and (s, a) != (size, accuracy)]


def pareto_front(points: dict[str, tuple[float, float]]) -> list[str]:
    """Return the names that no other dominates, from the smallest size to the largest."""
    return sorted((name for name in points if not dominated_by(points, name)), key=lambda name: points[name])


def pareto_table(
    cards: dict[str, dict], answers: dict[str, dict[str, Answers]], name: str, family: Sequence[str]
) -> pd.DataFrame:
    """Return a table of whether ``name`` is on the Pareto front of validation images, by each of QUESTIONS.

    The front is taken among all architectures and within the family. There is a row for each architecture
    that dominates ``name``, with its lead on validation and on test images, in points with the 95% interval.

    Args:
        cards: Cards by architecture.
        answers: Answers by architecture.
        name: The architecture in question.
        family: The names in its family, itself among them.
    """
    latents, rows = {other: card["latent"] for other, card in cards.items()}, []
    for kind, question in QUESTIONS.items():
        rivals = dominated_by(
            {other: (latents[other], score(card, kind)) for other, card in cards.items()}, name
        )
        verdicts = ["dominated" if some else "on it" for some in (rivals, set(rivals) & set(family))]
        on_test = versus(answers, name, latents, kind)
        for other in rivals:
            more = validation_difference(cards[name], cards[other], kind), on_test[other]
            rows.append([question, *verdicts, cards[other]["title"], *map(in_points, more)])
        if not rivals:
            rows.append([question, *verdicts, "–", "–", "–"])
    asked = f"{cards[name]['title']}, by"
    titles = [
        asked,
        "among all",
        "in its family",
        "dominated by",
        "more on validation images",
        "more on test images",
    ]
    return pd.DataFrame(rows, columns=titles).set_index(asked)


def versus(
    answers: dict[str, dict[str, Answers]], name: str, latents: dict[str, int], kind: str
) -> dict[str, tuple[float, float, float]]:
    """Compare every architecture whose latent size is no larger with ``name``, on the same test images.

    Args:
        answers: Answers by architecture.
        name: The architecture to compare with.
        latents: The latent size by architecture.
        kind: A key of search.assessed, or ``mean`` for the mean of the three transfer accuracies.

    Returns:
        By architecture, its lead over ``name`` with the 95% interval, in [-1, 1].
    """
    found = {}
    for other, theirs in answers.items():
        if other == name or latents[other] > latents[name]:
            continue
        if kind == "mean":
            found[other] = mean_difference(answers[name], theirs)
        else:
            found[other] = evaluation.paired_difference(answers[name][kind].correct, theirs[kind].correct)
    return found


def versus_table(cards: dict[str, dict], answers: dict[str, dict[str, Answers]], name: str) -> pd.DataFrame:
    """Return a table of the results of versus for each of QUESTIONS, in points with the 95% interval."""
    latents = {other: card["latent"] for other, card in cards.items()}
    found = {
        title: {
            cards[other]["title"]: in_points(points)
            for other, points in versus(answers, name, latents, kind).items()
        }
        for kind, title in QUESTIONS.items()
    }
    return pd.DataFrame(found).rename_axis(f"more than {cards[name]['title']}")


def peak(sizes: dict[str, int], records: dict[str, dict]) -> tuple[str, str, str, bool]:
    """Return whether accuracy rises with size and falls again.

    Args:
        sizes: The size by name.
        records: The record by name.

    Returns:
        The name of the most accurate, of the most accurate among the smallest, and of the most accurate among
        the largest; and whether both ends are less accurate than the first beyond chance (their intervals do
        not overlap).
    """

    def most(names: list[str]) -> str:
        return max(names, key=lambda name: records[name]["accuracy"])

    top = most(list(sizes))
    ends = [most([name for name in sizes if sizes[name] == end(sizes.values())]) for end in (min, max)]
    return top, *ends, all(records[name]["ci_high"] < records[top]["ci_low"] for name in ends)


def told_apart(records: Sequence[dict]) -> tuple[int, int]:
    """Return how many pairs of records have 95% intervals that do not overlap, and the number of pairs."""
    pairs = list(combinations(records, 2))
    apart = sum(a["ci_high"] < b["ci_low"] or b["ci_high"] < a["ci_low"] for a, b in pairs)
    return apart, len(pairs)
