"""Checks of notebook 03, exercises 1, 3 and 4: the size of a bottleneck, a quantizer, a codebook's use."""

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
    """Accept two functions: the latent size of architectures.convolutional, and its parameter count."""
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
                size * channels: "count both height and width: the vectors form a square",
                size * size: "each position holds a vector with one number per channel",
                (32 // 4**depth) ** 2 * channels: "a stride of 2 halves each side, and so quarters the area",
                32 * 32 * channels: "the strides are missing",
                PIXELS // 4**depth: "use the bottleneck's channels, not the image's 3",
            }
            hint = hints.get(found, "what are height and width after that many strides of 2?")
            raise Wrong(f"{of} have a latent size of {truth:,} numbers, not {found:,.6g}; {hint}")
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
                ): "the decoder begins with a layer that keeps the bottleneck's channels; it is missing",
                _weights(
                    [3, *[channels] * (2 * depth), 3]
                ): "only the bottleneck has that many channels; the other layers have 16",
                _weights(
                    [3, *[16] * depth, channels, channels, *[16] * depth, 3]
                ): "there is one layer too many on either side: `depth` includes the bottleneck's layer",
            }
            hint = hints.get(found, "list the channels from layer to layer, and add up 9 x in x out + out")
            raise Wrong(f"{of} have {truth:,} parameters, not {found:,.6g}; {hint}")
    return "the size of the bottleneck tells little about the number of parameters, and vice versa"


# ------------------------------------------------------------------------------------------------- quantiser


@check("03.3", "write quantise(z, codes) and commitment(z, q)")
def check_quantiser(quantise: Callable, commitment: Callable) -> str:
    """Accept a straight-through quantizer and its commitment loss.

    ``quantise`` returns each vector's nearest code, with the identity's gradient for z and none for codes.
    ``commitment`` returns the mean squared distance of z from q, with a gradient for z alone.
    """
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
        raise Wrong(
            "the values are right, but you return a NumPy array, which has no gradient; use TensorFlow"
        )
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
        raise Wrong("you return one number for each vector; return the code itself, not its index: tf.gather")
    found = as_array(answer, "your vectors", z.shape)
    if np.allclose(found, codes[nearest], atol=1e-5):
        return
    mistakes = (
        (z, "your value is z itself: swap the parts, z + stop_gradient(q - z)"),
        (codes[distances.argmax(1)], "that is the farthest code"),
        (
            codes[(z @ codes.T).argmax(1)],
            "that is the code with the largest dot product, which favours long codes; use the distance",
        ),
        (
            codes[np.abs(z[:, None] - codes).sum(-1).argmin(1)],
            "that is the nearest by the sum of absolute values",
        ),
        (codes[nearest] - z, "that is the difference between code and vector"),
        (2 * z - codes[nearest], "the difference has the wrong sign"),
        (codes[nearest] + z, "z is counted twice: what you add to q must be 0"),
    )
    for value, hint in mistakes:
        if np.allclose(found, value, atol=1e-5):
            raise Wrong(f"the value should be the nearest code; {hint}")
    apart = np.abs(found[:, None] - codes).max(-1).min(1)
    if apart.max() > 1e-3:
        raise Wrong("you return a mixture of codes; return exactly one of them: argmin, then gather")
    share = np.mean(np.abs(found - codes[nearest]).max(1) > 1e-5)
    raise Wrong(
        f"{100 * share:.0f}% of the vectors do not get their nearest code; along which axis do you compare?"
    )


def _check_gradients(to_z: tf.Tensor | None, to_codes: tf.Tensor | None, weights: np.ndarray) -> None:
    reaches = to_codes is not None and np.any(tf.convert_to_tensor(to_codes).numpy())
    if to_z is None or not np.any(to_z.numpy()):
        if reaches:
            raise Wrong(
                "the gradient reaches the code but not z, so the encoder would never learn; stop it at the "
                "code, and let it pass to z"
            )
        raise Wrong(
            "the values are right, but z has no gradient: add a term that is 0 and has the gradient of z"
        )
    found = to_z.numpy()
    if not np.allclose(found, weights, atol=1e-5):
        hints = (
            (2 * weights, "it is twice as large: z appears twice outside stop_gradient"),
            (-weights, "its sign is flipped"),
        )
        hint = next(
            (text for value, text in hints if np.allclose(found, value, atol=1e-5)), "pass it on unchanged"
        )
        raise Wrong(f"the values are right, but the gradient for z is not that of the identity: {hint}")
    if reaches:
        raise Wrong(
            "z has its gradient, but so do the codes, which are updated by averages here: put the chosen "
            "code inside stop_gradient"
        )


def _check_commitment(
    answer: object, z: np.ndarray, q: np.ndarray, to_z: tf.Tensor | None, to_q: tf.Tensor | None
) -> None:
    found, truth = as_number(answer, "your commitment"), float(np.mean((z - q) ** 2))
    if not np.isclose(found, truth, rtol=1e-4):
        hints = (
            (truth * z.size, "that is the sum; take the mean over all values"),
            (truth * z.shape[1], "that sums over a vector's values; take the mean over these as well"),
            (float(np.mean(np.abs(z - q))), "that is the absolute distance; square it"),
            (float(np.sqrt(truth)), "that is the root; leave it squared"),
            (0.25 * truth, "leave out the weight"),
            (0.0, "you subtract a value from itself"),
        )
        hint = hint_for(found, hints, "it is the mean of the squared differences")
        raise Wrong(f"the commitment is {found:.4f} and should be {truth:.4f}; {hint}")
    moves = [g is not None and bool(np.any(g.numpy())) for g in (to_z, to_q)]
    if moves == [False, True]:
        raise Wrong(
            "the commitment moves the code and not the encoder: stop_gradient is on the wrong term; put it "
            "on q"
        )
    if moves == [True, True]:
        raise Wrong(
            "the commitment moves the code as well; it should move only the encoder: stop the gradient at q"
        )
    if moves == [False, False]:
        raise Wrong("the commitment is right, but it has no gradient; it should move z")


# ----------------------------------------------------------------------------------------------------- codes

DIAGNOSES_OF_CODES = {
    "sound": "the codes are in use, some more than others",
    "collapsed": "a few codes take all vectors, and the others are never chosen",
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
    """Accept a function for the perplexity of counts, zeros included, and a diagnosis of each codebook.

    ``diagnoses`` is a dict from the names in usage() to keys of DIAGNOSES_OF_CODES.
    """
    cases = (
        (np.array([4, 4, 4, 4]), "four codes used alike"),
        (np.array([6, 3, 1]), "three codes"),
        (np.array([5, 0, 3, 0, 2]), "five codes, two of them unused"),
    )
    for counts, of in cases:
        with np.errstate(all="ignore"):  # NaN has its own message below
            answer = ask(perplexity, counts, call="perplexity(counts)")
        if np.size(answer) == 1 and np.isnan(np.asarray(answer, float)).all():
            raise Wrong(f"counts {counts.tolist()} give NaN; 0 log 0 counts as 0, so leave unused codes out")
        _check_perplexity(as_number(answer, "your perplexity"), counts, of)
    check_words(diagnoses, "diagnoses", "list", PATIENTS, DIAGNOSES_OF_CODES, _seen)
    return "all five are right; counting the codes in use would have got two of them wrong"


def _check_perplexity(found: float, counts: np.ndarray, of: str) -> None:
    p = counts[counts > 0] / counts.sum()
    entropy, truth = float(-(p * np.log(p)).sum()), codebook.perplexity(counts)
    if np.isclose(found, truth, rtol=1e-4):
        return
    log = np.log(counts[counts > 0])
    hints = (
        (len(p), "that is the number of codes in use; weight them by how often they are used"),
        (len(counts), "that is the length of the list"),
        (entropy, "that is the entropy; the perplexity is its exponential"),
        (entropy / np.log(2), "that is the entropy in bits; the perplexity is 2 to that power"),
        (
            float(np.exp(entropy / np.log(2))),
            "the logarithm has base 2 and the power base e; use the same base",
        ),
        (2**entropy, "the logarithm has base e and the power base 2; use the same base"),
        (float(1 / (p**2).sum()), "that is the inverse of the sum of squares, a different measure"),
        (1 / truth, "the sign of the entropy is flipped"),
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
        "few": f"only {n} vectors were counted for {len(counts)} codes; chance alone leaves that many unused",
        "sound": f"{used} of {len(counts)} codes are in use, the most frequent one for {top:.0f}% of "
        f"{n:,} vectors; unequal use is fine: some patterns are more frequent in images",
        "dominated": f"{used} of {len(counts)} codes are in use, but see the share of the first: {top:.0f}%",
        "collapsed": f"{len(counts) - used} of the codes were chosen by none of {n:,} vectors",
    }[PATIENTS[name]]
