"""How large the bottleneck should be (notebook 03): autoencoders that differ in their latent size alone.

    run = pipeline.start(profile="quick")
    compared = series(run)                       # six of Table 1's depth, 2 to 64 channels at the bottleneck
    held_out = measure(compared, "validation")
    top = hump(held_out.correct("pgd"), compared.sizes).top
    found = hump(measure(compared, "test").correct("pgd"), compared.sizes, top=top)

The paper says that too small a latent space blurs the image and too large a one lets the attack through. Then
accuracy under a transfer attack has a maximum inside the range of sizes: a hump. The module size_sentences
says in words what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import attacks, evaluation, pipeline
from ..backend import keras
from ..datasets.storage import to_float
from ..defenses.architectures import ARCHITECTURES
from ..evaluation import intervals
from ..pipeline import SOURCES, Answers, Run, bottleneck
from ..settings import CourseError
from . import search
from .search import Candidate
from .search_recipe import SearchRecipe

SERIES = ("d2_c2", "d2_c4", "paper", "d2_c16", "d2_c32", "d2_c64")
"""The autoencoders of Table 1's depth: only the channels at the bottleneck differ."""

FEW = ("d2_c2", "paper", "d2_c64")
"""Those of a smoke run, and of any run when too few are shipped. A hump needs three sizes."""

Estimate = tuple[float, float, float]
"""A value, and the lower and upper limit of its 95% interval."""


# ---------------------------------------------------------------------------------------------- the networks


@dataclass(frozen=True, eq=False)
class Series:
    """Autoencoders that differ in latent size alone, the smallest first.

    Attributes:
        run: the run that measures them, on few test images if they were only trained for a demonstration.
        recipe: how they were trained, and its numbers of validation images.
        shipped: whether the course ships them. If not, this run trained them for a demonstration.
        by_seed: the autoencoders by name, by the seed that they were trained with; the run's seed first.
    """

    run: Run
    recipe: SearchRecipe
    shipped: bool
    by_seed: dict[int, dict[str, Candidate]]

    @property
    def names(self) -> list[str]:
        """The architectures, keys of ARCHITECTURES."""
        return sorted(self.by_seed[self.run.seed], key=lambda name: ARCHITECTURES[name].latent)

    @property
    def sizes(self) -> np.ndarray:
        """Their latent sizes, integers [sizes]."""
        return np.array([ARCHITECTURES[name].latent for name in self.names])

    @property
    def models(self) -> dict[str, keras.Model]:
        """The autoencoders of the run's seed, by name."""
        return {name: self.by_seed[self.run.seed][name].model for name in self.names}


def series(run: Run) -> Series:
    """Return the autoencoders of SERIES, with every further seed of which the course ships all of them."""
    shipped = search.is_shipped(run, FEW)
    by_seed = {run.seed: search.candidates(run, SERIES, FEW)}
    for seed in _shipped_seeds(run) if shipped else ():
        other = replace(run, seed=seed)
        if seed != run.seed and set(by_seed[run.seed]) <= set(search.available(other)):
            by_seed[seed] = search.candidates(other, SERIES, FEW)
    recipe = search.recipe_of(run, shipped)
    return Series(run if shipped else search.tryout(run), recipe, shipped, by_seed)


def _shipped_seeds(run: Run) -> list[int]:
    """Return the seeds that the names of shipped files have, and 0, whose files have none."""
    file = search.path_of(run.data.name, run.model, "paper")
    found = (path.stem.rsplit("_seed", 1) for path in file.parent.glob(f"{run.model}_*_seed*.h5"))
    return sorted({0, *(int(parts[1]) for parts in found if parts[1].isdigit())})


# ----------------------------------------------------------------------------------------------- the answers


@dataclass(frozen=True, eq=False)
class Measured:
    """Which images are right behind each autoencoder of a series, clean and under transfer attacks.

    Attributes:
        series: the autoencoders.
        answers: by seed, by name and by kind of image (pipeline.SOURCES).
    """

    series: Series
    answers: dict[int, dict[str, dict[str, Answers]]]

    def correct(self, kind: str) -> np.ndarray:
        """Return which images of a kind are right: booleans [seeds, images, sizes]."""
        return np.stack(
            [
                np.stack([by_name[name][kind].correct for name in self.series.names], axis=1)
                for by_name in self.answers.values()
            ]
        )

    def records(self, kind: str) -> list[dict]:
        """Return the records of a kind of image, of the run's seed, one for each size."""
        own = self.answers[self.series.run.seed]
        return [own[name][kind].record() for name in self.series.names]

    def further(self, kind: str) -> list[np.ndarray]:
        """Return the accuracies of each further seed's autoencoders, in [0, 1], [sizes] each."""
        return list(self.correct(kind).mean(1)[1:])

    def publishable(self) -> list[dict]:
        """Return the records of the run's seed if the course ships the autoencoders; a try is no record."""
        return [r for kind in SOURCES for r in self.records(kind)] if self.series.shipped else []


def measure(compared: Series, split: str) -> Measured:
    """Measure the initial classifier behind each autoencoder on clean images and under transfer attacks.

    Every seed's autoencoders get the same images: those of the run.

    Args:
        compared: the autoencoders.
        split: ``validation`` (as many images as the recipe says) or ``test`` (as many as the profile says).
    """
    run = compared.run

    def answers(name: str, one: Candidate) -> dict[str, Answers]:
        if split == "test":
            return search.assessed(run, name, one.model, ())
        return search.held_out(run, name, one.model, compared.recipe)

    found = {
        seed: {name: answers(name, by_name[name]) for name in compared.names}
        for seed, by_name in compared.by_seed.items()
    }
    return Measured(compared, found)


def without_autoencoder(run: Run) -> dict[str, dict]:
    """Return the records of the classifier without an autoencoder on test images, by kind."""
    return {answers.fields["input"]: answers.record() for answers in pipeline.undefended_answers(run)}


# -------------------------------------------------------------------------------------------------- the hump


@dataclass(frozen=True, eq=False)
class Hump:
    """A parabola in log2 of the latent size, fitted to paired results, and two differences that need none.

    Attributes:
        n: the number of images.
        seeds: the number of training seeds.
        sizes: the latent sizes, smallest first.
        curve: the parabola's coefficients, the highest power first (numpy.polyval), in log2 of the size.
        curvature: its leading coefficient: accuracy in [-1, 1] per squared doubling. A hump's is negative.
        summit: the size at which the parabola is highest; NaN where a curvature is not negative.
        top: the index of the size that is compared with both ends.
        rise: how much more accurate the top is than the smallest.
        fall: how much more accurate the top is than the largest.
        by_seed: the curvature of each seed.
    """

    n: int
    seeds: int
    sizes: np.ndarray
    curve: np.ndarray
    curvature: Estimate
    summit: Estimate
    top: int
    rise: Estimate
    fall: Estimate
    by_seed: list[float]

    @property
    def is_hump(self) -> bool:
        """Whether the curvature is negative and the top lies above both ends, intervals and all."""
        return self.curvature[2] < 0 < min(self.rise[1], self.fall[1])


def hump(
    correct: np.ndarray, sizes: Sequence[int], *, top: int | None = None, resamples: int = 2000, seed: int = 0
) -> Hump:
    """Fit a hump to accuracy against latent size, with intervals of a paired bootstrap.

    An image is resampled with its answers at all sizes, and so are the seeds, if there are several. A
    negative curvature alone is no hump: a curve that rises ever more slowly has one, too (Simonsohn 2018,
    "Two lines"). So the top is compared with both ends as well. Choose it on other images than those of the
    test. With two or three seeds the bootstrap draws too few different sets of them, and its interval is too
    narrow: look at ``by_seed`` as well.

    Args:
        correct: booleans [images, sizes] or [seeds, images, sizes]: which images are right at each size.
        sizes: the latent sizes, each once, smallest first.
        top: the index of the size to compare with both ends; that of the highest accuracy if None.
        resamples: how many times the bootstrap draws.
        seed: of the bootstrap.

    Raises:
        CourseError: the answers do not fit the sizes, or there are fewer than three sizes or two images.
    """
    right, at = np.asarray(correct, float), np.asarray(sizes)
    right = right[None] if right.ndim == 2 else right
    if right.ndim != 3 or right.shape[2] != len(at):
        raise CourseError(f"answers of shape {np.shape(correct)} do not fit {len(at)} sizes")
    if len(at) < 3 or np.any(np.diff(at) <= 0):
        raise CourseError(f"a hump needs at least 3 sizes, the smallest first, not {list(at)}")
    if right.shape[1] < 2:
        raise CourseError(f"{right.shape[1]} images are too few for an interval; take at least 2")
    by_seed = right.mean(1)
    mean = by_seed.mean(0)
    top = int(mean.argmax()) if top is None else top
    fit = np.linalg.pinv(np.vander(np.log2(at), 3))  # least squares: the coefficients are linear in the data
    drawn = _drawn(right, resamples, seed)
    curves = drawn @ fit.T

    def estimate(value: float, values: np.ndarray) -> Estimate:
        low, high = np.percentile(values, [2.5, 97.5])
        return float(value), float(low), float(high)

    return Hump(
        n=right.shape[1],
        seeds=len(right),
        sizes=at,
        curve=fit @ mean,
        curvature=estimate(fit[0] @ mean, curves[:, 0]),
        summit=estimate(_summit(fit @ mean), _summit(curves)),
        top=top,
        rise=estimate(mean[top] - mean[0], drawn[:, top] - drawn[:, 0]),
        fall=estimate(mean[top] - mean[-1], drawn[:, top] - drawn[:, -1]),
        by_seed=[float(fit[0] @ one) for one in by_seed],
    )


def _drawn(right: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the mean accuracy at each size in bootstrap samples, [resamples, sizes]."""
    rng, (seeds, n, sizes) = np.random.default_rng(seed), right.shape
    drawn = np.empty((resamples, sizes))
    for row in drawn:
        counts = np.bincount(rng.integers(0, n, n), minlength=n)
        chosen = rng.integers(0, seeds, seeds)
        row[:] = counts @ right[chosen].mean(0) / n
    return drawn


def _summit(curve: np.ndarray) -> np.ndarray:
    """Return the size at which parabolas [..., 3] in log2 of the size are highest, or NaN (no top)."""
    a, b = curve[..., 0], curve[..., 1]
    return np.exp2(np.clip(np.where(a < 0, -b / np.where(a < 0, 2 * a, 1), np.nan), -64, 64))


# --------------------------------------------------------------------------------------- what comes through


@dataclass(frozen=True, eq=False)
class Passing:
    """What an autoencoder does to clean images and to two perturbations of the same largest change.

    Attributes:
        n: the number of images.
        error: by name, the mean squared error between reconstructed clean images and the originals.
        shares: by kind (``pgd``, ``signs``) and name, the norm of what comes through of the perturbation, as
            a share of the perturbation's own norm: its mean over images, with the 95% interval.
    """

    n: int
    error: dict[str, float]
    shares: dict[str, dict[str, Estimate]]


def passing(compared: Series, n: int = 500) -> Passing:
    """Measure what comes through each autoencoder of the run's seed, on the first n validation images.

    What comes through of a perturbation is the difference between the reconstructions of the perturbed and of
    the clean image. PGD's perturbation is that of the transfer attack; random signs move every value by eps,
    up or down, and know neither the image nor the classifier.
    """
    run = search.on_recipe(compared.run, compared.recipe)
    stored = {kind: pipeline.inputs(run, "validation", kind)[:n] for kind in ("regular", "pgd")}
    clean, attacked = (to_float(images) for images in stored.values())
    images = {"pgd": attacked, "signs": attacks.random_signs(clean, run.eps, run.seed)}
    error, shares = {}, {kind: {} for kind in images}
    for name, model in compared.models.items():
        restored = evaluation.predict(model, clean)
        error[name] = float(np.mean((restored - clean) ** 2))
        for kind, perturbed in images.items():
            after = _norms(evaluation.predict(model, perturbed) - restored)
            shares[kind][name] = _mean_of(after / np.maximum(_norms(perturbed - clean), 1e-12))
    return Passing(len(clean), error, shares)


def _norms(images: np.ndarray) -> np.ndarray:
    return np.linalg.norm(images.reshape(len(images), -1), axis=1)


def _mean_of(values: np.ndarray) -> Estimate:
    """Return a mean over images with its 95% interval (normal)."""
    half = intervals.Z * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


# -------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True, eq=False)
class Pictures:
    """Attacked images and what several autoencoders make of them, for plots.gallery.

    Attributes:
        rows: by row title, images [n, 32, 32, 3].
        answers: by row title, the classifier's answers in words; the first row has the true classes.
        wrong: by row title, which answers are wrong.
        title: how many answers of each autoencoder are right.
        alt: the figure in words.
    """

    rows: dict[str, np.ndarray]
    answers: dict[str, list[str]]
    wrong: dict[str, np.ndarray]
    title: str
    alt: str


def pictures(compared: Series, names: Sequence[str], n: int = 5) -> Pictures:
    """Show some autoencoders of a series n validation images under PGD as a transfer attack."""
    run = search.on_recipe(compared.run, compared.recipe)
    labels, classes = run.data.validation.labels[:n], run.data.classes
    stored = {kind: pipeline.inputs(run, "validation", kind)[:n] for kind in ("regular", "pgd")}
    clean, attacked = (to_float(images) for images in stored.values())
    rows = {"clean": clean, "attacked": attacked}
    for name in names:
        rows[f"{ARCHITECTURES[name].latent:,} numbers"] = evaluation.predict(compared.models[name], attacked)
    given = {row: evaluation.predict(run.classifier, images).argmax(1) for row, images in rows.items()}
    wrong = {row: answer != labels for row, answer in given.items()}
    right = "; ".join(f"{row}: {len(labels) - int(bad.sum())}" for row, bad in wrong.items())
    alt = (
        f"{len(labels)} validation images, the same under PGD (a transfer attack), and what autoencoders of "
        f"growing latent size make of them, with the classifier's answers; wrong ones are bold. "
        f"Right of {len(labels)}, {right}."
    )
    answers = {row: [classes[k] for k in answer] for row, answer in given.items()}
    kept = ", ".join(f"{len(labels) - int(wrong[row].sum())} at {row}" for row in list(rows)[2:])
    return Pictures(rows, answers, wrong, f"Right of {len(labels)} attacked images: {kept}", alt)


def dead_channels(compared: Series) -> dict[str, tuple[int, int]]:
    """Return the active and all channels of each bottleneck on clean validation images, by name."""
    images = compared.run.data.validation.head(bottleneck.IMAGES).pixels
    return {name: pipeline.active_channels(model, images) for name, model in compared.models.items()}
