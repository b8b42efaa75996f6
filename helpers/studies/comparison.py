"""How the autoencoders of the search compare (notebook 03): tables, the frontier, and what chance would explain.

Cards are search.about's or search.make's, answers search.assessed's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from .. import evaluation, pipeline
from ..backend import keras, tf
from ..datasets.storage import to_float
from ..defenses.codebook import codebook_of
from ..evaluation.titles import percent
from ..pipeline import SOURCES, Answers, Run
from ..settings import CourseError
from .search import RECIPE, SearchRecipe, on_recipe

BARE = "none"
"""The name of having no autoencoder, among those of autoencoders."""

QUESTIONS = {"mean": "mean of three", "regular": "clean", "fgsm": "FGSM", "pgd": "PGD"}
"""What one may choose by, as tables name it: the mean of the three static accuracies, and each alone."""


# -------------------------------------------------------------------------------------------------- no autoencoder


def bare_card(run: Run, recipe: SearchRecipe = RECIPE) -> dict:
    """As search.about, for the initial classifier with nothing in front of it: what every autoencoder is held against.

    Its ``mse`` is that of the attacked images themselves. To attack through both is to attack the classifier, which is
    what made the static images; ``adaptive`` is their first.
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
    """As search.assessed, for the initial classifier with nothing in front of it."""
    found = {answers.fields["input"]: answers for answers in pipeline.undefended_answers(run)}
    few = found["pgd"].correct[: run.profile.n_sweep]
    return {**found, "adaptive": Answers({**found["pgd"].fields, "threat": "adaptive"}, few)}


# ---------------------------------------------------------------------------------------------------------- choosing


def static_score(card: dict) -> float:
    """What the search chooses by: the mean of the validation accuracies on clean, FGSM and PGD images, in [0, 1]."""
    return float(np.mean([card["validation"][kind]["accuracy"] for kind in SOURCES]))


def score(card: dict, kind: str = "mean") -> float:
    """A card's validation accuracy in [0, 1]; ``kind`` is a key of QUESTIONS."""
    return static_score(card) if kind == "mean" else card["validation"][kind]["accuracy"]


def attacked_error(card: dict) -> float:
    """The mean squared error between what is made of attacked validation images and the originals, on average over FGSM
    and PGD."""
    return float(np.mean([card["mse"][kind] for kind in ("fgsm", "pgd")]))


def validation_difference(before: dict, after: dict, kind: str = "mean") -> tuple[float, float, float]:
    """How much card ``after`` has more than card ``before`` on validation images, with a 95% interval.

    Cards hold how many images were right, not which. So the interval is that of different images (Newcombe's), and for
    the mean, that of three answers which go together: the mean of the limits. For the same images it is too wide.

    Args:
        kind: a key of QUESTIONS.

    Returns:
        The difference, its lower and its upper limit, in [-1, 1].
    """
    kinds = SOURCES if kind == "mean" else (kind,)
    found = [evaluation.difference(before["validation"][k], after["validation"][k]) for k in kinds]
    middle, low, high = np.mean(found, axis=0)
    return float(middle), float(low), float(high)


def in_points(difference: tuple[float, float, float]) -> str:
    """A difference and its interval, in [-1, 1], as text in points."""
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(
        *(round(100 * x, 1) + 0.0 for x in difference)
    )  # + 0.0: no -0.0


def static_mean(answers: dict[str, Answers]) -> np.ndarray:
    """The same for each test image: the share of its three forms that are classified correctly, [n] in [0, 1]."""
    return np.mean([answers[kind].correct for kind in SOURCES], axis=0)


def mean_difference(before: dict[str, Answers], after: dict[str, Answers]) -> tuple[float, float, float]:
    """How much the mean of the three static accuracies rose on the same images, with a 95% interval (normal).

    Returns:
        The difference, its lower and its upper limit, in [-1, 1].
    """
    change = static_mean(after) - static_mean(before)
    if len(change) < 2:
        raise CourseError(f"{len(change)} images are too few for an interval; compare at least 2")
    half = 1.959964 * float(change.std(ddof=1)) / np.sqrt(len(change))
    middle = float(change.mean())
    return middle, max(-1.0, middle - half), min(1.0, middle + half)


def table(cards: dict[str, dict]) -> pd.DataFrame:
    """What is known of the candidates without test images, smallest first: attacked_error, and accuracies in percent,
    with intervals."""
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
    """How they fare on test images, best mean of the three static accuracies first; beside it their place on validation
    images."""
    places = sorted(cards, key=lambda name: -static_score(cards[name]))
    rows = {}
    for name in sorted(answers, key=lambda name: -static_mean(answers[name]).mean()):
        rows[cards[name]["title"]] = {
            "mean of three": f"{100 * static_mean(answers[name]).mean():.1f}",
            "place before": f"{places.index(name) + 1}",
            **_accuracies({kind: answers[name][kind].record() for kind in (*SOURCES, "adaptive")}),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("autoencoder")


def _accuracies(scores: dict[str, dict]) -> dict[str, str]:
    titles = {"regular": "clean", "fgsm": "FGSM", "pgd": "PGD", "adaptive": "PGD through both"}
    return {titles[kind]: percent(score) for kind, score in scores.items()}


# --------------------------------------------------------------------------------------------------------- comparing


def bottleneck_of(model: keras.Model) -> tf.Tensor | None:
    """The waist of an autoencoder of Table 1's family: what goes into its first layer that enlarges. None for one of
    another: with a codebook, something passed around the waist, nothing to learn, or nothing made smaller."""
    one_path = all(hasattr(layer, "input") and not isinstance(layer.input, list) for layer in model.layers)
    if not one_path or not model.trainable_weights or codebook_of(model) is not None:
        return None
    images = [layer for layer in model.layers if len(layer.input.shape) == len(layer.output.shape) == 4]
    return next((layer.input for layer in images if layer.output.shape[1] > layer.input.shape[1]), None)


def active_channels(model: keras.Model, images: np.ndarray) -> tuple[int, int]:
    """How many of the waist's channels are other than 0 anywhere in any of the images, and how many it has. A channel
    that never is hands nothing on.

    Args:
        model: of Table 1's family (bottleneck_of).
        images: float32 [n, 32, 32, 3] in [0, 1], or storage form.
    """
    values = evaluation.predict(keras.Model(model.input, bottleneck_of(model)), images)
    return int((values != 0).any((0, 1, 2)).sum()), values.shape[-1]


def dominated_by(points: dict[str, tuple[float, float]], name: str) -> list[str]:
    """The names that beat one: as small a size and a higher accuracy, or a smaller one and the same.

    Args:
        points: by name, (size, accuracy); small sizes and high accuracies are good.
    """
    size, accuracy = points[name]
    return [n for n, (s, a) in points.items() if s <= size and a >= accuracy and (s, a) != (size, accuracy)]


def pareto_front(points: dict[str, tuple[float, float]]) -> list[str]:
    """The names that no other beats (dominated_by), from the smallest size to the largest."""
    return sorted((name for name in points if not dominated_by(points, name)), key=lambda name: points[name])


def pareto_table(
    cards: dict[str, dict], answers: dict[str, dict[str, Answers]], name: str, family: Sequence[str]
) -> pd.DataFrame:
    """Whether ``name`` is on the frontier of validation images, asked by each of QUESTIONS: among all, and among those
    of its family alone. Where it is not, a row for each that beats it, with what that has more on validation images and
    on test images, in points with the 95% interval.

    Args:
        answers: by architecture, search.assessed's.
        family: the names that count as ``name``'s family, itself among them.
    """
    latents, rows = {other: card["latent"] for other, card in cards.items()}, []
    for kind, question in QUESTIONS.items():
        rivals = dominated_by(
            {other: (latents[other], score(card, kind)) for other, card in cards.items()}, name
        )
        verdicts = ["beaten" if some else "on it" for some in (rivals, set(rivals) & set(family))]
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
        "beaten by",
        "more on validation images",
        "more on test images",
    ]
    return pd.DataFrame(rows, columns=titles).set_index(asked)


def versus(
    answers: dict[str, dict[str, Answers]], name: str, latents: dict[str, int], kind: str
) -> dict[str, tuple[float, float, float]]:
    """How every other that passes no more numbers than ``name`` compares with it on the same test images.

    Args:
        answers: by architecture, search.assessed's.
        latents: by architecture, how many numbers it passes.
        kind: a key of search.assessed, or ``mean`` for the mean of the three static ones.

    Returns:
        By architecture, what it has more than ``name`` with the 95% interval, in [-1, 1].
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
    """What all that are no larger than ``name`` have more than it on test images, in points with the 95% interval."""
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
    """Whether accuracy rises with size and falls again.

    Args:
        sizes, records: by name.

    Returns:
        The names of the most accurate, of the most accurate of the smallest size, and of those of the largest; and
        whether both ends are less accurate than the first beyond chance: intervals that have nothing in common.
    """

    def most(names: list[str]) -> str:
        return max(names, key=lambda name: records[name]["accuracy"])

    top = most(list(sizes))
    ends = [most([name for name in sizes if sizes[name] == end(sizes.values())]) for end in (min, max)]
    return top, *ends, all(records[name]["ci_high"] < records[top]["ci_low"] for name in ends)


def told_apart(records: Sequence[dict]) -> tuple[int, int]:
    """Of how many pairs of records the 95% intervals have nothing in common, and of how many pairs there are. Where few
    pairs can be told apart, their order is chance's."""
    pairs = list(combinations(records, 2))
    apart = sum(a["ci_high"] < b["ci_low"] or b["ci_high"] < a["ci_low"] for a, b in pairs)
    return apart, len(pairs)
