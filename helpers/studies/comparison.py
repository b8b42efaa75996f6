"""Compare all autoencoders of the search (notebook 03b): tables, the Pareto front, and tests against chance.

    found = search.candidates(run)
    compared = measure(run, found)               # on validation and on test images
    pareto_table(compared, "paper", family)

Differences are of the same images, validation images as well as test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from .. import evaluation, pipeline
from ..datasets.storage import to_float
from ..defenses import codebook
from ..defenses.architectures import ARCHITECTURES, PIXELS
from ..evaluation import intervals
from ..evaluation.titles import percent
from ..pipeline import SOURCES, Answers, Run
from ..settings import CourseError
from . import search
from .latent_size import SERIES
from .search import Candidate
from .search_recipe import RECIPE, SearchRecipe, on_recipe

BARE = "none"
"""The name for no autoencoder, among the names of autoencoders."""

QUESTIONS = {"mean": "mean of three", "regular": "clean", "fgsm": "FGSM", "pgd": "PGD"}
"""The criteria of choice and their titles: the mean of three transfer accuracies, and each alone."""

Difference = tuple[float, float, float]
"""A difference of accuracies, and the lower and upper limit of its 95% interval, in [-1, 1]."""


# ------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, eq=False)
class Compared:
    """What is known of each autoencoder of the search, by its name.

    Attributes:
        run: the run that measures them, on few test images if they were only trained for a demonstration.
        recipe: how they were trained, and its numbers of validation images.
        shipped: whether the course ships them. If not, this run trained a few for a demonstration.
        found: the autoencoders with their cards.
        validation: answers to validation images (search.held_out). Choices are made by these.
        test: answers to test images (search.assessed).
        bare: answers to test images without an autoencoder (bare_answers).
    """

    run: Run
    recipe: SearchRecipe
    shipped: bool
    found: dict[str, Candidate]
    validation: dict[str, dict[str, Answers]]
    test: dict[str, dict[str, Answers]]
    bare: dict[str, Answers]

    @property
    def family(self) -> list[str]:
        """The autoencoders of Table 1's form."""
        return [name for name, one in self.found.items() if pipeline.bottleneck_of(one.model) is not None]

    @property
    def coded(self) -> list[str]:
        """The autoencoders with a codebook."""
        return [name for name, one in self.found.items() if codebook.codebook_of(one.model)]

    @property
    def titles(self) -> dict[str, str]:
        """The title of each autoencoder."""
        return {name: one.card["title"] for name, one in self.found.items()}

    def records(self, kind: str) -> dict[str, dict]:
        """Return the records of test images of a kind (search.assessed), by autoencoder."""
        return {name: by_kind[kind].record() for name, by_kind in self.test.items() if kind in by_kind}

    def publishable(self) -> list[dict]:
        """Return the records of test images but those that notebook 03 publishes; none of a demonstration."""
        return [
            answers.record()
            for name, by_kind in self.test.items()
            for kind, answers in by_kind.items()
            if self.shipped and (name not in SERIES or kind not in SOURCES)
        ]


def measure(run: Run) -> Compared:
    """Measure all candidates on validation and on test images; one with a codebook under both attacks."""
    shipped, found = search.is_shipped(run), search.candidates(run)
    recipe, run = search.recipe_of(run, shipped), run if shipped else search.tryout(run)
    attacks_through = {
        name: ("pgd", "bpda") if codebook.codebook_of(one.model) else ("pgd",) for name, one in found.items()
    }
    return Compared(
        run=run,
        recipe=recipe,
        shipped=shipped,
        found=found,
        validation={name: search.held_out(run, name, one.model, recipe) for name, one in found.items()},
        test={
            name: search.assessed(run, name, one.model, attacks_through[name]) for name, one in found.items()
        },
        bare=bare_answers(run),
    )


def bits(name: str) -> int:
    """Return the bits that an autoencoder's encoder passes to its decoder.

    What encodes nothing passes on the image itself, at 8 bits a value.
    """
    architecture = ARCHITECTURES[name]
    return architecture.bits if architecture.trained else 8 * PIXELS


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


def attacked_error(card: dict) -> float:
    """Return the mean squared error of restored validation images, averaged over FGSM and PGD."""
    return float(np.mean([card["mse"][kind] for kind in ("fgsm", "pgd")]))


def in_points(difference: Difference) -> str:
    """Return a difference and its interval, given in [-1, 1], as text in points."""
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(
        *(round(100 * x, 1) + 0.0 for x in difference)
    )  # + 0.0: no -0.0


def transfer_mean(answers: dict[str, Answers]) -> np.ndarray:
    """Return the share of each test image's three forms that are classified correctly, [n]."""
    return np.mean([answers[kind].correct for kind in SOURCES], axis=0)


def right(answers: dict[str, Answers], kind: str = "mean") -> np.ndarray:
    """Return which images are classified correctly, by a criterion of QUESTIONS: in [0, 1], [n]."""
    return transfer_mean(answers) if kind == "mean" else answers[kind].correct


def lead(before: dict[str, Answers], after: dict[str, Answers], kind: str = "mean") -> Difference:
    """Return how much more accurate ``after`` is than ``before`` on the same images, by one of QUESTIONS."""
    return paired(right(before, kind), right(after, kind))


def paired(before: np.ndarray, after: np.ndarray) -> Difference:
    """Return how much a mean over the same images rises, with a 95% interval.

    Args:
        before: booleans [n] (evaluation.paired_difference), or shares in [0, 1], as transfer_mean's (normal).
        after: the same of the same images.

    Returns:
        The difference and its lower and upper limit, in [-1, 1].

    Raises:
        CourseError: There are fewer than two images.
    """
    if len(before) < 2:
        raise CourseError(f"{len(before)} images are too few for an interval; compare at least 2")
    if before.dtype == bool:
        return evaluation.paired_difference(before, after)
    change = after - before
    half = intervals.Z * float(change.std(ddof=1)) / np.sqrt(len(change))
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


def test_table(compared: Compared) -> pd.DataFrame:
    """Return a table of test accuracies, best mean first, with the ranks on validation images."""
    validation = {name: float(right(answers).mean()) for name, answers in compared.validation.items()}
    places = sorted(validation, key=lambda name: -validation[name])
    rows, found = {}, {**compared.test, BARE: compared.bare}
    for name in sorted(found, key=lambda name: -right(found[name]).mean()):
        rows[compared.titles.get(name, "no autoencoder")] = {
            "bits": f"{8 * PIXELS if name == BARE else bits(name):,}",
            "mean of three": f"{100 * right(found[name]).mean():.1f}",
            "place before": "" if name == BARE else f"{places.index(name) + 1}",
            **_accuracies({kind: found[name][kind].record() for kind in (*SOURCES, "adaptive")}),
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


def pareto_points(compared: Compared, kind: str = "mean") -> dict[str, tuple[int, float]]:
    """Return each autoencoder's latent size in bits and its accuracy on validation images, by name.

    Args:
        compared: the autoencoders.
        kind: A key of QUESTIONS.
    """
    return {
        name: (bits(name), float(right(answers, kind).mean()))
        for name, answers in compared.validation.items()
    }


def pareto_table(compared: Compared, name: str, family: Sequence[str]) -> pd.DataFrame:
    """Return a table of whether ``name`` is on the Pareto front of validation images, by each of QUESTIONS.

    The front is taken among all architectures and within the family. There is a row for each architecture
    that dominates ``name``, with its lead on validation and on test images, in points with the 95% interval.
    Both are of the same images.

    Args:
        compared: The autoencoders.
        name: The architecture in question.
        family: The names in its family, itself among them.
    """
    rows = []
    for kind, question in QUESTIONS.items():
        rivals = dominated_by(pareto_points(compared, kind), name)
        verdicts = ["dominated" if some else "on it" for some in (rivals, set(rivals) & set(family))]
        for other in rivals:
            leads = [
                lead(answers[name], answers[other], kind) for answers in (compared.validation, compared.test)
            ]
            rows.append([question, *verdicts, compared.titles[other], *map(in_points, leads)])
        if not rivals:
            rows.append([question, *verdicts, "–", "–", "–"])
    asked = f"{compared.titles[name]}, by"
    titles = [
        asked,
        "among all",
        "in its family",
        "dominated by",
        "more on validation images",
        "more on test images",
    ]
    return pd.DataFrame(rows, columns=titles).set_index(asked)


def told_apart(records: Sequence[dict]) -> tuple[int, int]:
    """Return how many pairs of records have 95% intervals that do not overlap, and the number of pairs."""
    pairs = list(combinations(records, 2))
    apart = sum(a["ci_high"] < b["ci_low"] or b["ci_high"] < a["ci_low"] for a, b in pairs)
    return apart, len(pairs)
