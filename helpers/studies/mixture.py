"""Whether one source of the mixed batch protects what the classifier knew (notebook 04): a small ablation.

    run = pipeline.start(profile="quick", networks="auto")
    found = ablation(run, "regular")             # fine-tunes twice, with clean images and without
    found.difference("regular")                  # in accuracy on clean test images, image by image

Both trainings begin with the initial classifier and take the same number of steps. Each batch of the second
is the batch of the first without the images of one source. So the other sources are unchanged: the network is
shown the same images of theirs in the same steps. The module mixture_sentences says what was found.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from .. import artifacts, classifiers, evaluation, pipeline, training
from ..backend import keras
from ..defenses import autoencoder as autoencoder_module
from ..evaluation import accuracy
from ..pipeline import Run
from ..settings import CourseError

ARMS = ("initial", "all", "without")
"""The classifiers that are compared: not fine-tuned, on all sources, and on all but one."""


@dataclass(frozen=True)
class AblationRecipe:
    """How large the two trainings are.

    Attributes:
        images: the training images in each source.
        steps: the optimizer steps of each training.
        batch_size: the images of all sources in one batch.
        tested: the test images that all classifiers are measured on.
        order: the seed of the samples' order. Another order is another pair of trainings.
    """

    images: int = 512
    steps: int = 96
    batch_size: int = 96
    tested: int = 2_000
    order: int = 0


LIVE = AblationRecipe()
"""The recipe of a notebook: small, because it trains while the reader waits."""

TRY = AblationRecipe(images=48, steps=3, batch_size=48, tested=32)
"""The recipe of a smoke run, which shows that the code works and nothing else."""


@dataclass(frozen=True, eq=False)
class Ablation:
    """Which test images each classifier gets right.

    Attributes:
        recipe: how large the trainings were.
        left_out: the source that the second training does without.
        shown: by arm, how many images of each source its training was shown.
        correct: by arm (ARMS) and by source, booleans [n].
    """

    recipe: AblationRecipe
    left_out: str
    shown: dict[str, dict[str, int]]
    correct: dict[str, dict[str, np.ndarray]]

    @property
    def n(self) -> int:
        """The number of test images."""
        return len(self.correct["all"][self.left_out])

    def score(self, arm: str, source: str) -> dict:
        """Return a classifier's accuracy on a source, with its interval (evaluation.proportion)."""
        return evaluation.proportion(self.correct[arm][source])

    def difference(self, source: str) -> tuple[float, float, float]:
        """Return how far accuracy rises where the source is left out, with its paired 95% interval."""
        return evaluation.paired_difference(self.correct["all"][source], self.correct["without"][source])

    @property
    def protects(self) -> bool:
        """Whether accuracy on a source is lower beyond chance where the network was not shown it."""
        return self.difference(self.left_out)[2] < 0


def ablation(run: Run, left_out: str = "regular", recipe: AblationRecipe | None = None) -> Ablation:
    """Fine-tune with and without one source, for equally many steps, and measure both on test images.

    Args:
        run: provides the classifier, the autoencoder and the images.
        left_out: the source that the second training does without.
        recipe: that of recipe_of if None.

    Raises:
        CourseError: the paper's mixture has no such source.
    """
    recipe = recipe or recipe_of(run)
    names = sources_of(run)
    if left_out not in names:
        raise CourseError(f"there is no source {left_out!r}; choose one of {', '.join(names)}")
    ae, _ = pipeline.autoencoder(run)
    n = min(recipe.tested, run.profile.n_test)
    config = {
        **run.config(autoencoder_module, training, accuracy, sys.modules[__name__]),
        "autoencoder": classifiers.weights_sha256(ae),
        "recipe": asdict(recipe),
        "left_out": left_out,
        "n": n,
    }

    def produce() -> dict:
        labels = run.split("train").labels[: recipe.images]
        samples = training.Samples([pipeline.examples(run, name, recipe.images) for name in names], labels)
        models, shown = {"initial": run.classifier}, {}
        for arm, k in (("all", None), ("without", names.index(left_out))):
            models[arm] = classifiers.clone(run.classifier)
            counts = fine_tune(models[arm], samples, recipe, k)
            shown[arm] = dict(zip(names, counts, strict=True))
        return {"shown": shown, "correct": {arm: answers(model) for arm, model in models.items()}}

    def answers(model: keras.Model) -> dict[str, list[int]]:
        labels = run.split("test").labels[:n]
        images = {name: pipeline.source(run, "test", name)[:n] for name in names}
        return {k: [int(c) for c in evaluation.is_correct(model, x, labels)] for k, x in images.items()}

    found = artifacts.make_json("mixture", config, produce)
    correct = {
        arm: {name: np.array(right, bool) for name, right in by_source.items()}
        for arm, by_source in found["correct"].items()
    }
    return Ablation(recipe, left_out, found["shown"], correct)


def recipe_of(run: Run) -> AblationRecipe:
    """Return the recipe of a run's ablation: TRY in a smoke run, LIVE in any other."""
    return TRY if run.profile.name == "smoke" else LIVE


def sources_of(run: Run) -> list[str]:
    """Return the names of the sources of the run's mixed batches."""
    return list(pipeline.phases_of(run)[0][0])


def fine_tune(
    classifier: keras.Model,
    samples: training.Samples,
    recipe: AblationRecipe,
    without: int | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> list[int]:
    """Fine-tune a classifier as training.fine_tune does, but for a number of steps, without one source.

    Args:
        classifier: ends with the weights of the last step.
        samples: all sources, also the one that is left out.
        recipe: the steps, the batch size and the order.
        without: the number of the source that is taken out of each batch, if any.
        on_step: called after each step.

    Returns:
        How many images of each source the classifier was shown.
    """
    rates = training.Decay(*training.FINE_TUNE_RATES, recipe.steps)
    step = training.classifier_step(classifier, keras.optimizers.Adam(rates))
    counts = np.zeros(len(samples.sources), int)

    def batches() -> Iterator[training.Batch]:
        endless = batch_rows(samples, recipe.batch_size, recipe.order, without)
        for rows in itertools.islice(endless, recipe.steps):
            counts[:] += np.bincount(rows // len(samples.targets), minlength=len(counts))
            yield samples.read(rows)

    training.one_epoch(step, batches(), on_step)
    return counts.tolist()


def batch_rows(
    samples: training.Samples, size: int, seed: int, without: int | None = None
) -> Iterator[np.ndarray]:
    """Yield the numbers of the samples in each batch, epoch after epoch, those of one source taken out.

    With all sources these are the batches of training.Samples.batches.
    """
    size = min(size, len(samples))
    for epoch in itertools.count():
        order = np.random.default_rng([seed, epoch]).permutation(len(samples))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield rows if without is None else rows[rows // len(samples.targets) != without]
