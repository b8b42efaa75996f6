"""Checks of notebook 03, exercises 2 and 5: the Pareto front, the luck of the best, a new autoencoder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from numbers import Integral
from pathlib import Path

import numpy as np
from scipy.stats import binom

from .. import classifiers
from ..backend import keras, tf
from ..defenses import codebook
from ..defenses.architectures import ARCHITECTURES, Architecture
from ..pipeline import Run
from ..studies import comparison, search
from . import toys
from .denoising import smooth_images
from .predicates import as_number, hint_for
from .verdict import Wrong, ask, check

# ----------------------------------------------------------------------------------------------- Pareto front


def rivals() -> dict[str, tuple[float, float]]:
    """Return nine candidates with ties, as (latent size, accuracy) by name, in no particular order."""
    return {
        "d": (512, 0.58),
        "c": (512, 0.61),
        "f": (1024, 0.66),
        "a": (128, 0.48),
        "g": (1024, 0.66),
        "b": (256, 0.55),
        "h": (2048, 0.64),
        "i": (4096, 0.66),
        "e": (640, 0.55),
    }


def _pareto(points: dict, beats: Callable[[tuple, tuple], bool]) -> set:
    return {name for name, own in points.items() if not any(beats(other, own) for other in points.values())}


def _by_sorting(points: dict, better: Callable[[float, float], bool], key: Callable = lambda p: p[0]) -> set:
    """Return the names that a single pass from small to large keeps."""
    kept, best = set(), -np.inf
    for name in sorted(points, key=lambda name: key(points[name])):
        if better(points[name][1], best):
            kept.add(name)
            best = points[name][1]
    return kept


DOMINANCE_MISTAKES: tuple[tuple[Callable[[dict], set], str], ...] = (
    (
        lambda p: _pareto(p, lambda o, s: o[0] < s[0] and o[1] > s[1]),
        "with > on both sides, or in one pass in order of size, you overlook ties",
    ),
    (
        lambda p: _pareto(p, lambda o, s: o[0] <= s[0] and o[1] > s[1]),
        "equally accurate and smaller is better, too",
    ),
    (
        lambda p: _pareto(p, lambda o, s: o[0] < s[0] and o[1] >= s[1]),
        "equally small and more accurate is better, too",
    ),
    (lambda p: _pareto(p, lambda o, s: o[0] >= s[0] and o[1] >= s[1] and o != s), "you prefer large sizes"),
    (
        lambda p: _pareto(p, lambda o, s: o[0] <= s[0] and o[1] <= s[1] and o != s),
        "you prefer low accuracies",
    ),
    (lambda p: _by_sorting(p, lambda a, b: a >= b), "you sort by size alone and leave ties in any order"),
    (lambda p: _by_sorting(p, lambda a, b: a > b), "you sort by size alone and leave ties in any order"),
    (
        lambda p: _by_sorting(p, lambda a, b: a > b, lambda q: (q[0], -q[1])),
        "if two are equal in both, neither beats the other",
    ),
    (
        lambda p: {max(p, key=lambda n: p[n][1])},
        "that is only the most accurate one; a smaller one may be on the front as well",
    ),
    (
        lambda p: {n for n in p if p[n][1] == max(a for _, a in p.values())},
        "those are only the most accurate ones",
    ),
)


@check("03.2", "write pareto_front(points) and luck(k, n, p, rng)")
def check_pareto_front(pareto_front: Callable, luck: Callable) -> str:
    """Accept a function for the Pareto front, and one for the luck of the best.

    ``pareto_front`` takes (size, accuracy) by name and returns the names that no other beats. ``luck``
    returns how much better the best of k equally good candidates looks than it is, on n images each, to
    within a few percent.
    """
    for points in (
        {"only": (64, 0.5)},
        rivals(),
        {"z": (3, 0.9), "y": (2, 0.9), "x": (2, 0.8), "w": (1, 0.1)},
    ):
        answer = ask(pareto_front, points, call="pareto_front(points)")
        if isinstance(answer, str) or not isinstance(
            answer, (list, tuple, set, frozenset, dict, type({}.keys()))
        ):
            raise Wrong(f"return the names in a list or a set, not a {type(answer).__name__}")
        found = list(answer)
        if strange := [name for name in found if isinstance(name, tuple) or name not in points]:
            raise Wrong(f"{strange[0]!r} is not a candidate's name; return names, not sizes or accuracies")
        if len(set(found)) < len(found):
            raise Wrong("your Pareto front has a name twice")
        _check_kept(points, set(found))
    for k, n, p in ((14, 1000, 0.7), (5, 200, 0.5)):
        _check_luck(luck, k, n, p)
    return "a Pareto front chooses several candidates at once, each by the images on which it was measured"


def _check_kept(points: dict[str, tuple[float, float]], found: set[str]) -> None:
    truth = set(comparison.pareto_front(points))
    if found == truth:
        return
    if not found:
        raise Wrong("your Pareto front is empty; do not compare a candidate with itself, or it beats itself")
    hint = next((f" ({text})" for mistake, text in DOMINANCE_MISTAKES if mistake(points) == found), "")
    told = {name: f"{name} ({size} numbers, {100 * a:.0f}%)" for name, (size, a) in points.items()}
    for name in sorted(found - truth):
        size, accuracy = points[name]
        better = next(o for o in sorted(truth) if points[o][0] <= size and points[o][1] >= accuracy)
        raise Wrong(f"you keep {told[name]}, but {told[better]} beats it{hint}")
    name = sorted(truth - found)[0]
    raise Wrong(f"you leave out {told[name]}, but none beats it{hint}")


def _check_luck(luck: Callable, k: int, n: int, p: float) -> None:
    said = f"{k} candidates that are right on {100 * p:.0f}% of all images, {n:,} images each"
    calls = [ask(luck, k, n, p, np.random.default_rng(seed), call="luck(k, n, p, rng)") for seed in range(3)]
    tries = [as_number(answer, "your luck") for answer in calls]
    found, truth, deviation = float(np.mean(tries)), expected_luck(k, n, p), np.sqrt(p * (1 - p) / n)
    if np.allclose(tries, truth, rtol=0.06):
        return
    if np.ptp(tries) > 0.12 * abs(found) and abs(found) > 0.2 * truth:
        raise Wrong(
            f"{said}: from call to call your number varies from {min(tries):.4f} to {max(tries):.4f}; repeat "
            "the whole comparison a thousand times or more, and take the mean"
        )
    if abs(found) < 0.2 * truth:
        raise Wrong(
            f"{said}: the best looks {100 * truth:.1f} points better than it is, but you return "
            f"{100 * found:.1f}; take the largest of the k in each repetition, before you average"
        )
    hints = (
        (p + truth, "that is the accuracy it is reported with; subtract p"),
        (100 * truth, "give it in [0, 1], as accuracies are"),
        (n * truth, "that is a number of images; divide by n"),
        (-truth, "that is the worst of k, or the sign is flipped"),
        (2 * truth, "that is the best minus the worst; return the best minus p"),
        (deviation, "that is the standard deviation of one accuracy; what is the largest of k?"),
        (1.96 * deviation, "that is half the interval of one accuracy; what is the largest of k?"),
        (expected_luck(1000, n, p), "take the largest over candidates, not over repetitions"),
    )
    hint = hint_for(
        found, hints, "draw k accuracies, take the largest minus p, and average over repetitions", 0.06
    )
    raise Wrong(
        f"{said}: the best looks {100 * truth:.2f} points better than it is ({truth:.4f}), but you return "
        f"{found:.4f}; {hint}"
    )


@cache
def expected_luck(k: int, n: int, p: float) -> float:
    """Compute exactly how much better the best of k candidates of accuracy p looks, on n images each."""
    below = binom.cdf(np.arange(n), n, p) ** k  # E max = sum over j of P(max > j)
    return float((1 - below).sum() / n - p)


# ---------------------------------------------------------------------------------------------- open problem


@check("03.5", "describe an autoencoder of your own: mine = Architecture(title, build, latent, depth)")
def check_architecture(mine: Architecture) -> str:
    """Accept an entry for ARCHITECTURES that is new to the course.

    It must map images to images, each by itself, have the latent size that it declares, and be able to learn.
    """
    if not isinstance(mine, Architecture):
        raise Wrong(
            "give one entry of ARCHITECTURES, Architecture(title, build, latent, depth), not a "
            f"{type(mine).__name__}"
        )
    if any(
        isinstance(number, bool) or not isinstance(number, Integral) for number in (mine.latent, mine.depth)
    ):
        raise Wrong(f"latent and depth must be integers; yours are {mine.latent!r} and {mine.depth!r}")
    if isinstance(mine.build, keras.Model):
        raise Wrong(
            "build is a model; give a function that builds one, so that each training starts with a new one"
        )
    model = ask(mine.build, call="build()")
    if not isinstance(model, keras.Model) or not model.built:
        raise Wrong(
            f"build() should return a built Keras model, but returned a {type(model).__name__}; begin with "
            "keras.Input((32, 32, 3))"
        )
    if model.input_shape[1:] != (32, 32, 3) or model.output_shape[1:] != (32, 32, 3):
        raise Wrong(
            f"the model maps {model.input_shape[1:]} to {model.output_shape[1:]}; both must be (32, 32, 3)"
        )
    if not model.trainable_weights:
        raise Wrong("it has no weights to train; the search already has such a one, the blur")
    _check_images(model)
    if (known := _same_as(model)) is not None:
        raise Wrong(
            f"that is {known!r}, which the search has ({ARCHITECTURES[known].title}); change something"
        )
    _check_latent(model, mine.latent)
    _check_learning(model)
    count = classifiers.parameter_count(model)
    return (
        f"{mine.title}: {mine.latent:,} latent numbers, {count:,} parameters, and a gradient reaches them "
        "all. Passing is only the start; the rubric is the real exercise"
    )


def _check_images(model: keras.Model) -> None:
    """Check that the outputs are in [0, 1], the same in each call, and independent of other images."""
    images = toys.images(4)
    for x in (images, np.random.default_rng(0).normal(0, 30, images.shape).astype(np.float32)):
        out, again, alone = (np.asarray(model(tf.constant(part), training=False)) for part in (x, x, x[:1]))
        if not np.isfinite(out).all() or out.min() < 0 or out.max() > 1:
            raise Wrong(
                f"the outputs run from {out.min():.3g} to {out.max():.3g}; they must stay in [0, 1] for any "
                "input: end with a sigmoid, or clip"
            )
        if np.abs(out - again).max() > 1e-4:
            raise Wrong(
                "two calls on the same images give different outputs: it is random, which this search does "
                "not cover"
            )
        if np.abs(out[:1] - alone).max() > 1e-3:
            raise Wrong(
                "the output for an image alone and in a batch differs: it mixes the images of a batch"
            )


@cache
def _known(name: str) -> keras.Model:
    return ARCHITECTURES[name].build()


def _same_as(model: keras.Model) -> str | None:
    """Return the course's architecture that does the same with the same weights, if there is one."""
    shapes, images = [w.shape for w in model.get_weights()], tf.constant(toys.images(4))
    for name, one in ARCHITECTURES.items():
        if one.trained and [w.shape for w in _known(name).get_weights()] == shapes:
            _known(name).set_weights(model.get_weights())
            if np.allclose(_known(name)(images, training=False), model(images, training=False), atol=1e-5):
                return name
    return None


MEASURED = 1024
"""The largest latent size that is checked by counting the directions of the output."""


def _check_latent(model: keras.Model, latent: int) -> None:
    narrowest = min(
        int(np.prod(one.output_shape[1:])) for one in model.layers if isinstance(one.output_shape, tuple)
    )
    if codebook.codebook_of(model) is not None:
        return  # a code counts as one number, whatever its size
    if isinstance(model, keras.Sequential) and latent != narrowest:
        raise Wrong(f"you declare a latent size of {latent:,}, but its narrowest layer has {narrowest:,}")
    if latent < 1:
        raise Wrong(f"latent is {latent}; how many numbers does the encoder pass to the decoder?")
    if latent <= MEASURED and (found := directions(model, latent + 16)) > latent:
        raise Wrong(
            f"you declare a latent size of {latent:,}, but the output changes in {found:,} directions or "
            "more: something bypasses the bottleneck; count the numbers of skip connections as well"
        )


def directions(model: keras.Model, most: int) -> int:
    """Count the independent directions in which an autoencoder's output moves with its input, at one image.

    There cannot be more of them than the latent size. Counting stops at ``most``.
    """
    image, rng, rows = toys.images(1), np.random.default_rng(0), []
    for first in range(0, most, 128):
        n = min(128, most - first)
        x = tf.constant(np.repeat(image, n, 0))
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(
                tf.constant(rng.normal(0, 1, x.shape), tf.float32) * model(x, training=False)
            )
        gradient = tape.gradient(total, x)
        if gradient is None:
            raise Wrong(
                "its output has no gradient with respect to the image; approximate the gradient of the layer "
                "that has none (exercise 3)"
            )
        rows.append(gradient.numpy().reshape(n, -1))
    values = np.linalg.svd(np.concatenate(rows).astype(np.float64), compute_uv=False)
    return int((values > 1e-4 * values[0]).sum())  # single precision leaves about 1e-6


def _check_learning(model: keras.Model) -> None:
    """Check that a gradient reaches every weight, and that the output depends on the image."""
    pictures = tf.constant(smooth_images(16))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            (model(pictures, training=True) - pictures) ** 2
        )  # a codebook begins in its first batch
    gradients = tape.gradient(loss, model.trainable_variables)
    if idle := [w.name for w, g in zip(model.trainable_variables, gradients, strict=True) if g is None]:
        raise Wrong(
            f"no gradient reaches {len(idle)} of its {len(gradients)} arrays of weights ({idle[0]} is the "
            "first), so they never learn; approximate the gradient of the layer that has none (exercise 3)"
        )
    out = np.asarray(model(pictures, training=False))
    if out.std(0).max() < 1e-5:
        raise Wrong("it returns the same output for every picture; the output should depend on the input")


def tried(run: Run, mine: Architecture, recipe: search.SearchRecipe = search.LIVE) -> dict[str, dict]:
    """Train Table 1's autoencoder and the student's in the same way, and measure them on validation images.

    Nothing is kept of the student's, so that a changed ``build`` is trained again.

    Returns:
        The cards of the two (search.about), for comparison.table.
    """
    cards = {}
    try:
        ARCHITECTURES["mine"] = mine
        for name in ("paper", "mine"):
            with tempfile.TemporaryDirectory() as folder:
                model, _ = search.fitted(run, ARCHITECTURES[name], recipe, Path(folder))
            cards[name] = search.about(run, name, model, recipe)
    finally:
        del ARCHITECTURES["mine"]
    return cards
