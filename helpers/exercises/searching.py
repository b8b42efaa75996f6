"""Checks of notebook 03's exercises: sizes, the frontier and who chose, a quantiser, a list of codes, another
autoencoder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from numbers import Integral
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binom

from ..backend import keras, tf
from ..defenses import codebook
from ..defenses.architectures import ARCHITECTURES, PIXELS, Architecture
from ..pipeline import Run
from ..studies import comparison, search
from . import toys
from .denoising import smooth_images
from .verdict import Wrong, as_array, as_number, ask, check, hint_for

# --------------------------------------------------------------------------------------------------------------- sizes


def _channels(depth: int, channels: int) -> list[int]:
    """From layer to layer, as architectures.convolutional has them."""
    return [3, *[16] * (depth - 1), channels, channels, *[16] * (depth - 1), 3]


def _weights(path: list[int], bias: int = 1) -> int:
    return sum(9 * a * b + bias * b for a, b in zip(path, path[1:], strict=False))


@check("03.1", "write latent(depth, channels) and parameters(depth, channels)")
def check_sizes(latent: Callable, parameters: Callable) -> str:
    """Accepts two functions: how many numbers architectures.convolutional passes at its waist, and how many it
    learns."""
    for depth, channels in ((3, 32), (2, 8), (1, 5), (4, 7)):
        size, path = 32 // 2**depth, _channels(depth, channels)
        of = f"{depth} strided layers with {channels} channels at the waist"
        found = as_number(ask(latent, depth, channels, call="latent(depth, channels)"), "your latent")
        truth = size * size * channels
        if found != truth:
            hints = {
                (32 // depth) ** 2
                * channels: "each layer halves: divide by 2 to the power of depth, not by depth",
                (32 // (2 * depth)) ** 2 * channels: "each layer halves: divide by 2 to the power of depth",
                size * channels: "height and width both: a square of vectors",
                size * size: "each place holds a vector of as many numbers as there are channels",
                (32 // 4**depth) ** 2
                * channels: "a stride of 2 halves each side; the area then falls to a quarter",
                32 * 32 * channels: "the strides are missing",
                PIXELS // 4**depth: "the image's 3 channels are not those of the waist",
            }
            hint = hints.get(found, "what are height and width after so many strides of 2?")
            raise Wrong(f"{of} pass {truth:,} numbers, not {found:,.6g}; {hint}")
        found = as_number(
            ask(parameters, depth, channels, call="parameters(depth, channels)"), "your parameters"
        )
        truth = _weights(path)
        if found != truth:
            hints = {
                _weights(path, bias=0): "the biases are missing, one for each output channel",
                _weights(path[: depth + 1]): "that is the encoder alone",
                _weights(path[depth:]): "that is the decoder alone",
                _weights(path[:-1]): "the last convolution, to the image's 3 channels, is missing",
                _weights(
                    [*path[: depth + 1], *path[depth + 2 :]]
                ): "the decoder begins with a layer of its own, from the waist's channels to as many",
                _weights(
                    [3, *[channels] * (2 * depth), 3]
                ): "only the waist has that many channels; the other layers have 16",
                _weights(
                    [3, *[16] * depth, channels, channels, *[16] * depth, 3]
                ): "there is one layer too many on either side: `depth` counts the waist's",
            }
            hint = hints.get(found, "list the channels from layer to layer, and sum 9 x in x out + out")
            raise Wrong(f"{of} have {truth:,} parameters, not {found:,.6g}; {hint}")
    return "the size of the waist says little of the number of parameters, and the other way round"


# ------------------------------------------------------------------------------------------------------------ frontier


def rivals() -> dict[str, tuple[float, float]]:
    """Nine candidates with ties, (numbers passed, accuracy), in no order."""
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
    """What a single pass from small to large keeps."""
    kept, best = set(), -np.inf
    for name in sorted(points, key=lambda name: key(points[name])):
        if better(points[name][1], best):
            kept.add(name)
            best = points[name][1]
    return kept


FRONTIER_MISTAKES: tuple[tuple[Callable[[dict], set], str], ...] = (
    (
        lambda p: _pareto(p, lambda o, s: o[0] < s[0] and o[1] > s[1]),
        "> on both sides, or one pass in order of size, lets ties pass",
    ),
    (
        lambda p: _pareto(p, lambda o, s: o[0] <= s[0] and o[1] > s[1]),
        "as accurate and smaller is better, too",
    ),
    (
        lambda p: _pareto(p, lambda o, s: o[0] < s[0] and o[1] >= s[1]),
        "as small and more accurate is better, too",
    ),
    (lambda p: _pareto(p, lambda o, s: o[0] >= s[0] and o[1] >= s[1] and o != s), "you prefer large sizes"),
    (
        lambda p: _pareto(p, lambda o, s: o[0] <= s[0] and o[1] <= s[1] and o != s),
        "you prefer low accuracies",
    ),
    (lambda p: _by_sorting(p, lambda a, b: a >= b), "sorted by size alone, with ties as the dict has them"),
    (lambda p: _by_sorting(p, lambda a, b: a > b), "sorted by size alone, with ties as the dict has them"),
    (
        lambda p: _by_sorting(p, lambda a, b: a > b, lambda q: (q[0], -q[1])),
        "two that are equal in both: neither beats the other",
    ),
    (
        lambda p: {max(p, key=lambda n: p[n][1])},
        "that is the most accurate one alone; a smaller one may be worth it",
    ),
    (
        lambda p: {n for n in p if p[n][1] == max(a for _, a in p.values())},
        "those are the most accurate ones alone",
    ),
)


@check("03.2", "write pareto_front(points) and luck(k, n, p, rng)")
def check_pareto_front(pareto_front: Callable, luck: Callable) -> str:
    """Accepts a function from names and (size, accuracy) to the names that no other beats, and one that returns by how
    much the best of k equally good candidates looks better than it is, on n images each, to within a few percent."""
    for points in (
        {"only": (64, 0.5)},
        rivals(),
        {"z": (3, 0.9), "y": (2, 0.9), "x": (2, 0.8), "w": (1, 0.1)},
    ):
        answer = ask(pareto_front, points, call="pareto_front(points)")
        if isinstance(answer, str) or not isinstance(
            answer, (list, tuple, set, frozenset, dict, type({}.keys()))
        ):
            raise Wrong(f"the names are asked for, in a list or a set; yours is a {type(answer).__name__}")
        found = list(answer)
        if strange := [name for name in found if isinstance(name, tuple) or name not in points]:
            raise Wrong(f"{strange[0]!r} is no name of a candidate; return names, not sizes or accuracies")
        if len(set(found)) < len(found):
            raise Wrong("a name stands in your frontier twice")
        _check_kept(points, set(found))
    for k, n, p in ((14, 1000, 0.7), (5, 200, 0.5)):
        _check_luck(luck, k, n, p)
    return (
        "a frontier is a choice of several at once, and each is chosen by the images that it is measured on"
    )


def _check_kept(points: dict[str, tuple[float, float]], found: set[str]) -> None:
    truth = set(comparison.pareto_front(points))
    if found == truth:
        return
    if not found:
        raise Wrong(
            "nothing is left on your frontier; compare no candidate with itself, or it is beaten by itself"
        )
    hint = next((f" ({text})" for mistake, text in FRONTIER_MISTAKES if mistake(points) == found), "")
    told = {name: f"{name} ({size} numbers, {100 * a:.0f}%)" for name, (size, a) in points.items()}
    for name in sorted(found - truth):
        size, accuracy = points[name]
        better = next(o for o in sorted(truth) if points[o][0] <= size and points[o][1] >= accuracy)
        raise Wrong(f"you keep {told[name]}, although {told[better]} beats it{hint}")
    name = sorted(truth - found)[0]
    raise Wrong(f"you leave out {told[name]}, although none beats it{hint}")


def _check_luck(luck: Callable, k: int, n: int, p: float) -> None:
    said = f"{k} candidates that are right on {100 * p:.0f}% of all images, {n:,} images each"
    calls = [ask(luck, k, n, p, np.random.default_rng(seed), call="luck(k, n, p, rng)") for seed in range(3)]
    tries = [as_number(answer, "your luck") for answer in calls]
    found, truth, deviation = float(np.mean(tries)), expected_luck(k, n, p), np.sqrt(p * (1 - p) / n)
    if np.allclose(tries, truth, rtol=0.06):
        return
    if np.ptp(tries) > 0.12 * abs(found) and abs(found) > 0.2 * truth:
        raise Wrong(
            f"{said}: from draw to draw your number runs from {min(tries):.4f} to {max(tries):.4f}; repeat the whole "
            "comparison a thousand times or more, and take the mean"
        )
    if abs(found) < 0.2 * truth:
        raise Wrong(
            f"{said}: the best looks {100 * truth:.1f} points better than it is, and you say {100 * found:.1f}; take "
            "the largest of the k in each repetition, before you average"
        )
    hints = (
        (p + truth, "that is the accuracy it is reported with; subtract p"),
        (100 * truth, "give it in [0, 1], as accuracies are"),
        (n * truth, "that is a number of images; divide by n"),
        (-truth, "that is the unluckiest, or the sign is turned"),
        (2 * truth, "that is the best less the worst; ask for the best less p"),
        (deviation, "that is the deviation of one accuracy; what is the largest of k?"),
        (1.96 * deviation, "that is half an interval of one accuracy; what is the largest of k?"),
        (_beyond(p, n, 1000, k), "the largest is to be taken over candidates, not over repetitions"),
    )
    hint = hint_for(
        found, hints, "draw k accuracies, take the largest less p, and average over repetitions", 0.06
    )
    raise Wrong(
        f"{said}: the best looks {100 * truth:.2f} points better than it is ({truth:.4f}), and you say {found:.4f}; "
        f"{hint}"
    )


@cache
def expected_luck(k: int, n: int, p: float) -> float:
    """By how much the best of k candidates of accuracy p looks better on n images each, on average; exactly."""
    below = binom.cdf(np.arange(n), n, p) ** k  # E max = sum over j of P(max > j)
    return float((1 - below).sum() / n - p)


def _beyond(p: float, n: int, repetitions: int, k: int) -> float:
    return expected_luck(repetitions, n, p)


# ----------------------------------------------------------------------------------------------------------- quantiser


@check("03.3", "write quantise(z, codes) and commitment(z, q)")
def check_quantiser(quantise: Callable, commitment: Callable) -> str:
    """Accepts a function that gives each vector's nearest code, with the identity's gradient for z and none for codes,
    and the mean squared distance of z from q with a gradient for z alone."""
    rng = np.random.default_rng(0)
    z = tf.constant(rng.normal(0, 1, (40, 3)), tf.float32)
    codes = tf.constant(
        rng.normal(0, 1, (6, 3)) * np.array([[0.4], [0.7], [1], [1.4], [1.8], [2.5]]), tf.float32
    )
    weights = tf.constant(rng.normal(0, 1, (40, 3)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z, codes])
        answer = ask(quantise, z, codes, call="quantise(z, codes)")
        _check_values(answer, z.numpy(), codes.numpy())
        total = tf.reduce_sum(weights * answer) if tf.is_tensor(answer) else None
    if total is None:
        raise Wrong("the values are right, but a NumPy array has no gradient; stay in TensorFlow")
    _check_gradients(*(tape.gradient(total, of) for of in (z, codes)), weights.numpy())
    q = tf.constant(rng.normal(0, 1, (40, 3)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z, q])
        loss = ask(commitment, z, q, call="commitment(z, q)")
    _check_commitment(loss, z.numpy(), q.numpy(), *(_of(tape, loss, of) for of in (z, q)))
    return "the value is the code's, the gradient the encoder's, and the loss moves the encoder alone"


def _of(tape: tf.GradientTape, target: object, of: tf.Tensor) -> tf.Tensor | None:
    return tape.gradient(target, of) if tf.is_tensor(target) else None


def _check_values(answer: object, z: np.ndarray, codes: np.ndarray) -> None:
    distances = ((z[:, None] - codes) ** 2).sum(-1)
    nearest = distances.argmin(1)
    if np.shape(answer) == (len(z),):
        raise Wrong(
            "you return a number for each vector; the code itself is asked for, not which it is: tf.gather"
        )
    found = as_array(answer, "your vectors", z.shape)
    if np.allclose(found, codes[nearest], atol=1e-5):
        return
    mistakes = (
        (z, "your value is z itself: exchange the parts, z + stop_gradient(q - z)"),
        (codes[distances.argmax(1)], "that is the farthest code"),
        (
            codes[(z @ codes.T).argmax(1)],
            "that is the code of the largest product; long codes win it. Ask for the distance",
        ),
        (
            codes[np.abs(z[:, None] - codes).sum(-1).argmin(1)],
            "that is the nearest by the sum of absolute values",
        ),
        (codes[nearest] - z, "that is the difference of code and vector"),
        (2 * z - codes[nearest], "the difference has the wrong sign"),
        (codes[nearest] + z, "z is counted twice: what is added to q must be 0"),
    )
    for value, hint in mistakes:
        if np.allclose(found, value, atol=1e-5):
            raise Wrong(f"the value should be the nearest code; {hint}")
    apart = np.abs(found[:, None] - codes).max(-1).min(1)
    if apart.max() > 1e-3:
        raise Wrong(
            "what you return is none of the codes, but something between them; the choice is hard: argmin, then gather"
        )
    share = np.mean(np.abs(found - codes[nearest]).max(1) > 1e-5)
    raise Wrong(
        f"{100 * share:.0f}% of the vectors do not get their nearest code; along which axis do you compare?"
    )


def _check_gradients(to_z: tf.Tensor | None, to_codes: tf.Tensor | None, weights: np.ndarray) -> None:
    reaches = to_codes is not None and np.any(tf.convert_to_tensor(to_codes).numpy())
    if to_z is None or not np.any(to_z.numpy()):
        if reaches:
            raise Wrong(
                "the gradient goes to the code, and none to z: the encoder would never learn; stop it at the code, and "
                "let z through"
            )
        raise Wrong(
            "the values are right, but z has no gradient: add something that is 0 and has the gradient of z"
        )
    found = to_z.numpy()
    if not np.allclose(found, weights, atol=1e-5):
        hints = (
            (2 * weights, "it is twice that of the identity: z stands outside of a stop_gradient twice"),
            (-weights, "its sign is turned"),
        )
        hint = next(
            (text for value, text in hints if np.allclose(found, value, atol=1e-5)), "pass it on unchanged"
        )
        raise Wrong(f"the values are right, but the gradient for z is not that of the identity: {hint}")
    if reaches:
        raise Wrong(
            "z has its gradient, but the codes have one, too; here they follow by averages: put the chosen code inside "
            "the stop_gradient"
        )


def _check_commitment(
    answer: object, z: np.ndarray, q: np.ndarray, to_z: tf.Tensor | None, to_q: tf.Tensor | None
) -> None:
    found, truth = as_number(answer, "your commitment"), float(np.mean((z - q) ** 2))
    if not np.isclose(found, truth, rtol=1e-4):
        hints = (
            (truth * z.size, "that is the sum; take the mean over all values"),
            (truth * z.shape[1], "that sums over a vector's values; take the mean over these, too"),
            (float(np.mean(np.abs(z - q))), "that is the absolute distance; square it"),
            (float(np.sqrt(truth)), "that is the root; leave the square"),
            (0.25 * truth, "its weight is not part of it"),
            (0.0, "what is subtracted is the same"),
        )
        hint = hint_for(found, hints, "it is the mean of the squared differences")
        raise Wrong(f"the commitment is {found:.4f} and should be {truth:.4f}; {hint}")
    moves = [g is not None and bool(np.any(g.numpy())) for g in (to_z, to_q)]
    if moves == [False, True]:
        raise Wrong(
            "the commitment moves the code and not the encoder: stop_gradient stands at the wrong term; stop it at q"
        )
    if moves == [True, True]:
        raise Wrong(
            "the commitment moves the code as well; it is to draw the encoder alone: stop the gradient at q"
        )
    if moves == [False, False]:
        raise Wrong("the commitment is right, but nothing has a gradient; it is to move z")


# --------------------------------------------------------------------------------------------------------------- codes

DIAGNOSES_OF_CODES = {
    "sound": "the codes are in use, some more than others",
    "collapsed": "a few codes take everything, the others are never chosen",
    "dominated": "every code is chosen, but one takes most of the vectors",
    "few": "too few vectors were counted to tell",
}
"""What exercise 03.4 asks for. (breaking.DIAGNOSES are of a defense.)"""

PATIENTS = {"A": "few", "B": "sound", "C": "dominated", "D": "collapsed", "E": "sound"}


@cache
def _counted() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    uneven = np.arange(1, 65) ** -0.6
    one = np.r_[40.0, np.ones(63)]
    lost = np.r_[rng.uniform(0.5, 1.5, 5), np.zeros(59)]
    shares = {
        "A": (np.ones(64), 60),
        "B": (uneven, 128_000),
        "C": (one, 128_000),
        "D": (lost, 128_000),
        "E": (rng.uniform(0.8, 1.2, 64), 128_000),
    }
    return {name: rng.permutation(rng.multinomial(n, of / of.sum())) for name, (of, n) in shares.items()}


def usage() -> dict[str, np.ndarray]:
    """How often each of 64 codes was chosen, for five VQ-VAEs: integers [64] by name."""
    return {name: counts.copy() for name, counts in _counted().items()}


def usage_figure() -> Figure:
    """The five lists of usage(), a panel each: the share of each code, from the most used to the least."""
    figure, axes = plt.subplots(1, 5, figsize=(9, 2.4), sharex=True, layout="constrained")
    for axis, (name, counts) in zip(axes, usage().items(), strict=True):
        axis.bar(np.arange(1, 65), 100 * np.sort(counts)[::-1] / counts.sum(), width=1)
        axis.set_title(f"{name} ({counts.sum():,} vectors)", fontsize="medium")
    figure.supxlabel("code, from the most used to the least")
    figure.supylabel("share (%)")
    return figure


@check("03.4", "write perplexity(counts), and name what is wrong in each list")
def check_usage(perplexity: Callable, diagnoses: object) -> str:
    """Accepts the exponential of the entropy of how often codes are chosen, unused ones among them, and a dict from
    usage() to DIAGNOSES_OF_CODES."""
    cases = (
        (np.array([4, 4, 4, 4]), "four codes used alike"),
        (np.array([6, 3, 1]), "three codes"),
        (np.array([5, 0, 3, 0, 2]), "five codes, two of them unused"),
    )
    for counts, of in cases:
        with np.errstate(all="ignore"):  # NaN has words of its own below
            answer = ask(perplexity, counts, call="perplexity(counts)")
        if np.size(answer) == 1 and np.isnan(np.asarray(answer, float)).all():
            raise Wrong(
                f"counts of {counts.tolist()}: NaN; 0 log 0 counts as 0, so leave unused codes out of the sum"
            )
        _check_perplexity(as_number(answer, "your perplexity"), counts, of)
    if not isinstance(diagnoses, dict):
        raise Wrong(f"diagnoses should be a dict, but is a {type(diagnoses).__name__}")
    for name, truth in PATIENTS.items():
        if name not in diagnoses:
            raise Wrong(f"list {name} is missing in diagnoses")
        if (said := str(diagnoses[name]).strip().lower()) not in DIAGNOSES_OF_CODES:
            raise Wrong(f"list {name} is {diagnoses[name]!r}; choose from {', '.join(DIAGNOSES_OF_CODES)}")
        if said != truth:
            raise Wrong(f"list {name} is not {said!r} ({DIAGNOSES_OF_CODES[said]}): {_seen(name, truth)}")
    return "five lists, and the number of codes in use would have mistaken two of them"


def _check_perplexity(found: float, counts: np.ndarray, of: str) -> None:
    p = counts[counts > 0] / counts.sum()
    entropy, truth = float(-(p * np.log(p)).sum()), codebook.perplexity(counts)
    if np.isclose(found, truth, rtol=1e-4):
        return
    log = np.log(counts[counts > 0])
    hints = (
        (len(p), "that counts the codes in use; weigh them by how often they are used"),
        (len(counts), "that is the length of the list"),
        (entropy, "that is the entropy; the perplexity is its exponential"),
        (entropy / np.log(2), "that is the entropy in bits; the perplexity is 2 to its power"),
        (
            float(np.exp(entropy / np.log(2))),
            "the logarithm is to base 2, the power to base e; take the same base",
        ),
        (2**entropy, "the logarithm is to base e, the power to base 2; take the same base"),
        (float(1 / (p**2).sum()), "that is the inverse of the sum of squares, another number of its kind"),
        (1 / truth, "the sign of the entropy is turned"),
        (float(np.exp(entropy / len(counts))), "sum over the codes, do not average"),
        (
            float(np.exp(-(counts[counts > 0] * log).sum())),
            "turn counts into shares first: divide by their sum",
        ),
    )
    hint = hint_for(found, hints, "shares first, then the entropy -sum p log p, then its exponential")
    raise Wrong(f"{of}, counts {counts.tolist()}, have a perplexity of {truth:.3f}, not {found:.4g}; {hint}")


def _seen(name: str, truth: str) -> str:
    counts = usage()[name]
    used, n, top = int((counts > 0).sum()), int(counts.sum()), 100 * counts.max() / counts.sum()
    return {
        "few": f"{n} vectors were counted for {len(counts)} codes; so many would be missing by chance alone",
        "sound": f"{used} of {len(counts)} codes are in use, the most frequent by {top:.0f}% of {n:,} vectors; "
        "unequal is not wrong: what is frequent in images is, too",
        "dominated": f"{used} of {len(counts)} codes are in use, but look at the share of the first: {top:.0f}%",
        "collapsed": f"of {n:,} vectors none chose {len(counts) - used} of the codes",
    }[truth]


# -------------------------------------------------------------------------------------------------------- open problem


@check("03.5", "describe an autoencoder of your own: mine = Architecture(title, build, latent, depth)")
def check_architecture(mine: Architecture) -> str:
    """Accepts an entry for ARCHITECTURES that the course does not have: images to images, each by itself, no more
    numbers passed than it says, and able to learn."""
    if not isinstance(mine, Architecture):
        raise Wrong(
            f"one entry of ARCHITECTURES is asked for, Architecture(title, build, latent, depth); yours is a "
            f"{type(mine).__name__}"
        )
    if any(
        isinstance(number, bool) or not isinstance(number, Integral) for number in (mine.latent, mine.depth)
    ):
        raise Wrong(f"latent and depth are whole numbers; yours are {mine.latent!r} and {mine.depth!r}")
    if isinstance(mine.build, keras.Model):
        raise Wrong(
            "build is a model; give a function that makes one, so that each training begins with a new one"
        )
    model = ask(mine.build, call="build()")
    if not isinstance(model, keras.Model) or not model.built:
        raise Wrong(
            f"build() should return a Keras model that knows its input, but gave a {type(model).__name__}; let it "
            "begin with keras.Input((32, 32, 3))"
        )
    if model.input_shape[1:] != (32, 32, 3) or model.output_shape[1:] != (32, 32, 3):
        raise Wrong(
            f"the model makes {model.output_shape[1:]} of {model.input_shape[1:]}; images are (32, 32, 3), before and "
            "after"
        )
    if not model.trainable_weights:
        raise Wrong("it has nothing to learn; such a one, the blur, is in the search already")
    _check_images(model)
    if (known := _same_as(model)) is not None:
        raise Wrong(
            f"that is {known!r}, which the search has ({ARCHITECTURES[known].title}); change something"
        )
    _check_latent(model, mine.latent)
    _check_learning(model)
    count = int(sum(np.prod(weight.shape) for weight in model.trainable_weights))
    return (
        f"{mine.title}: {mine.latent:,} numbers, {count:,} parameters, and a gradient reaches them all. Passing is "
        "only the entry; the rubric is the exercise"
    )


def _check_images(model: keras.Model) -> None:
    """Whether images in [0, 1] come out, the same each time, and each by itself."""
    images = toys.images(4)
    for x in (images, np.random.default_rng(0).normal(0, 30, images.shape).astype(np.float32)):
        out, again, alone = (np.asarray(model(tf.constant(part), training=False)) for part in (x, x, x[:1]))
        if not np.isfinite(out).all() or out.min() < 0 or out.max() > 1:
            raise Wrong(
                f"values from {out.min():.3g} to {out.max():.3g} came out; an image lies in [0, 1] whatever goes in: "
                "end with a sigmoid, or clip"
            )
        if np.abs(out - again).max() > 1e-4:
            raise Wrong(
                "the same images came out differently the second time: it is random, which is another search"
            )
        if np.abs(out[:1] - alone).max() > 1e-3:
            raise Wrong(
                "an image comes out otherwise alone than among others: it mixes the images of a batch"
            )


@cache
def _known(name: str) -> keras.Model:
    return ARCHITECTURES[name].build()


def _same_as(model: keras.Model) -> str | None:
    """The course's architecture that does the same with the same weights, if there is one."""
    shapes, images = [w.shape for w in model.get_weights()], tf.constant(toys.images(4))
    for name, one in ARCHITECTURES.items():
        if one.trained and [w.shape for w in _known(name).get_weights()] == shapes:
            _known(name).set_weights(model.get_weights())
            if np.allclose(_known(name)(images, training=False), model(images, training=False), atol=1e-5):
                return name
    return None


MEASURED = 1024
"""The largest number of latent numbers that is held against how many directions the output has."""


def _check_latent(model: keras.Model, latent: int) -> None:
    narrowest = min(
        int(np.prod(one.output_shape[1:])) for one in model.layers if isinstance(one.output_shape, tuple)
    )
    if codebook.codebook_of(model) is not None:
        return  # a code counts as one number, whatever its length
    if isinstance(model, keras.Sequential) and latent != narrowest:
        raise Wrong(f"you say that {latent:,} numbers pass; its narrowest layer hands on {narrowest:,}")
    if latent < 1:
        raise Wrong(f"latent is {latent}; how many numbers does the encoder hand to the decoder?")
    if latent <= MEASURED and (found := directions(model, latent + 16)) > latent:
        raise Wrong(
            f"you say that {latent:,} numbers pass, but the output changes in {found:,} directions or more: something "
            "goes past the waist; count what a skip hands on, too"
        )


def directions(model: keras.Model, most: int) -> int:
    """In how many independent directions an autoencoder's output moves with its input, at one image; ``most`` at most.

    It cannot be more than the numbers that pass its waist.
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
                "its output has no gradient with respect to the image; a step without one needs a stand-in"
            )
        rows.append(gradient.numpy().reshape(n, -1))
    values = np.linalg.svd(np.concatenate(rows).astype(np.float64), compute_uv=False)
    return int((values > 1e-4 * values[0]).sum())  # single precision leaves about 1e-6


def _check_learning(model: keras.Model) -> None:
    """Whether a gradient reaches every weight, and the output follows the image."""
    pictures = tf.constant(smooth_images(16))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            (model(pictures, training=True) - pictures) ** 2
        )  # a codebook begins in its first batch
    gradients = tape.gradient(loss, model.trainable_variables)
    if idle := [w.name for w, g in zip(model.trainable_variables, gradients, strict=True) if g is None]:
        raise Wrong(
            f"no gradient reaches {len(idle)} of its {len(gradients)} arrays of weights ({idle[0]} is the first), so "
            "that they never learn; a step without a gradient needs a stand-in (exercise 3)"
        )
    out = np.asarray(model(pictures, training=False))
    if out.std(0).max() < 1e-5:
        raise Wrong("it makes the same of every picture; what comes out is to follow what goes in")


def tried(run: Run, mine: Architecture, recipe: search.SearchRecipe = search.LIVE) -> dict[str, dict]:
    """Table 1 and an autoencoder of one's own, trained alike and measured on validation images (search.about): cards
    for comparison.table. Nothing of one's own is kept, so that a changed ``build`` is trained anew."""
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
