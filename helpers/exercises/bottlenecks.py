"""Checks of notebook 03, exercises 1, 3 and 4: the size of a bottleneck, a quantizer, and the use of a
codebook."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..backend import tf
from ..defenses import codebook
from ..defenses.architectures import PIXELS
from .predicates import as_array, as_number, check_words, hint_for
from .verdict import Wrong, ask, check

# ----------------------------------------------------------------------------------------------------- sizes


def _channels(depth: int, channels: int) -> list[int]:
    """Return the channels from layer to layer, as architectures.convolutional has them."""
    return [3, *[16] * (depth - 1), channels, channels, *[16] * (depth - 1), 3]


def _weights(path: list[int], bias: int = 1) -> int:
    return sum(9 * a * b + bias * b for a, b in zip(path, path[1:], strict=False))


@check("03.1", "write latent(depth, channels) and parameters(depth, channels)")
def check_sizes(latent: Callable, parameters: Callable) -> str:
    """Accept two functions: how many numbers architectures.convolutional passes at its bottleneck, and how
    many it learns."""
    for depth, channels in ((3, 32), (2, 8), (1, 5), (4, 7)):
        size, path = 32 // 2**depth, _channels(depth, channels)
        of = f"{depth} strided layers with {channels} channels at the bottleneck"
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
                PIXELS // 4**depth: "the image's 3 channels are not those of the bottleneck",
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
                ): "the decoder begins with a layer of its own, from the bottleneck's channels to as many",
                _weights(
                    [3, *[channels] * (2 * depth), 3]
                ): "only the bottleneck has that many channels; the other layers have 16",
                _weights(
                    [3, *[16] * depth, channels, channels, *[16] * depth, 3]
                ): "there is one layer too many on either side: `depth` counts the bottleneck's",
            }
            hint = hints.get(found, "list the channels from layer to layer, and sum 9 x in x out + out")
            raise Wrong(f"{of} have {truth:,} parameters, not {found:,.6g}; {hint}")
    return "the size of the bottleneck says little of the number of parameters, and the other way round"


# ------------------------------------------------------------------------------------------------- quantiser


@check("03.3", "write quantise(z, codes) and commitment(z, q)")
def check_quantiser(quantise: Callable, commitment: Callable) -> str:
    """Accept a function that gives each vector's nearest code, with the identity's gradient for z and none
    for codes, and the mean squared distance of z from q with a gradient for z alone."""
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
            "what you return is none of the codes, but something between them; the choice is hard: argmin, "
            "then gather"
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
                "the gradient goes to the code, and none to z: the encoder would never learn; stop it at "
                "the code, and let z through"
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
            "z has its gradient, but the codes have one, too; here they follow by averages: put the chosen "
            "code inside the stop_gradient"
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
            "the commitment moves the code and not the encoder: stop_gradient stands at the wrong term; "
            "stop it at q"
        )
    if moves == [True, True]:
        raise Wrong(
            "the commitment moves the code as well; it is to draw the encoder alone: stop the gradient at q"
        )
    if moves == [False, False]:
        raise Wrong("the commitment is right, but nothing has a gradient; it is to move z")


# ----------------------------------------------------------------------------------------------------- codes

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
    """Return how often each of 64 codes was chosen, for five VQ-VAEs: integers [64] by name."""
    return {name: counts.copy() for name, counts in _counted().items()}


def usage_figure() -> Figure:
    """Draw the five codebooks of usage(), a panel each: the share of each code, the most used first."""
    figure, axes = plt.subplots(1, 5, figsize=(9, 2.4), sharex=True, layout="constrained")
    for axis, (name, counts) in zip(axes, usage().items(), strict=True):
        axis.bar(np.arange(1, 65), 100 * np.sort(counts)[::-1] / counts.sum(), width=1)
        axis.set_title(f"{name} ({counts.sum():,} vectors)", fontsize="medium")
    figure.supxlabel("code, from the most used to the least")
    figure.supylabel("share (%)")
    return figure


@check("03.4", "write perplexity(counts), and name what is wrong in each list")
def check_usage(perplexity: Callable, diagnoses: object) -> str:
    """Accept the exponential of the entropy of how often codes are chosen, unused ones among them, and a
    dict from usage() to DIAGNOSES_OF_CODES."""
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
    check_words(diagnoses, "diagnoses", "list", PATIENTS, DIAGNOSES_OF_CODES, _seen)
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


def _seen(name: str, _said: str) -> str:
    """Return what a codebook's counts show."""
    counts = usage()[name]
    used, n, top = int((counts > 0).sum()), int(counts.sum()), 100 * counts.max() / counts.sum()
    return {
        "few": f"{n} vectors were counted for {len(counts)} codes; chance alone leaves that many out",
        "sound": f"{used} of {len(counts)} codes are in use, the most frequent by {top:.0f}% of "
        f"{n:,} vectors; unequal is not wrong: what is frequent in images is, too",
        "dominated": f"{used} of {len(counts)} codes are in use, but see the share of the first: {top:.0f}%",
        "collapsed": f"of {n:,} vectors none chose {len(counts) - used} of the codes",
    }[PATIENTS[name]]
