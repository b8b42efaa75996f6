"""Accuracy with its uncertainty, as tidy records."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import binomtest

from ..attacks import Model
from ..backend import keras, tf
from ..datasets.storage import to_float
from ..settings import RECORDS_MIME, CourseError

STAGES = ("initial", "fine_tuned", "adversarial")
DEFENSES = ("none", "ae")
INPUTS = ("regular", "noise", "fgsm", "pgd")
THREATS = ("static", "grey_box", "adaptive")


@dataclass(frozen=True)
class Record:
    """One measurement: which model stood against what, and how many images it classified correctly.

    Attributes:
        dataset, profile, model, seed: of the run.
        stage: initial | fine_tuned, or a key of hardened.RECIPES.
        defense: none | ae, in baselines also a transformation or smoothing, in search ``ae:`` and an architecture.
        input: what the images are: regular | noise | fgsm | pgd, in ladder also apgd | square | worst_case, in
            baselines also certified (then eps is an l2 radius), in search also bpda (search.ADAPTIVE).
        threat: what the attacker knew. static: images made once, against the initial classifier (the paper's
            protocol); grey_box: against the classifier assessed, not its autoencoder; adaptive: against all of it;
            transfer: against another network; black_box: the model's answers alone; any: a certificate.
        eps, steps: of the attack; 0 where there is none.
        n, correct: images assessed, and classified correctly.
        accuracy, ci_low, ci_high: correct/n and its Wilson 95% interval, in [0, 1].
    """

    dataset: str
    profile: str
    model: str
    stage: str
    defense: str
    input: str
    threat: str
    eps: float
    steps: int
    n: int
    correct: int
    accuracy: float
    ci_low: float
    ci_high: float
    seed: int


def record(correct: np.ndarray, **fields) -> dict:
    """A record of what was correct (booleans [n]), as a plain dict."""
    return asdict(Record(**proportion(correct), **fields))


def proportion(correct: np.ndarray) -> dict:
    """How many of the booleans [n] are true: n, correct, accuracy, and its Wilson 95% interval."""
    n, hits = len(correct), int(np.sum(correct))
    low, high = wilson(hits, n)
    return {"n": n, "correct": hits, "accuracy": hits / n, "ci_low": low, "ci_high": high}


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson interval of a proportion (scipy's).

    Raises:
        CourseError: n is 0, or correct is not in 0..n.
    """
    if n < 1 or not 0 <= correct <= n:
        raise CourseError(f"{correct} correct of {n} is no proportion")
    interval = binomtest(correct, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def difference(a: dict, b: dict) -> tuple[float, float, float]:
    """From record a's accuracy to record b's, with Newcombe's 95% interval (1998, method 10) from their Wilson limits.

    It takes the two samples for independent. Where both saw the same images it is usually too wide.

    Returns:
        The difference, its lower and its upper limit, in [-1, 1].
    """
    low = np.hypot(b["accuracy"] - b["ci_low"], a["ci_high"] - a["accuracy"])
    high = np.hypot(b["ci_high"] - b["accuracy"], a["accuracy"] - a["ci_low"])
    middle = b["accuracy"] - a["accuracy"]
    return middle, middle - float(low), middle + float(high)


def paired_difference(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """How much accuracy rose on the same images (booleans [n] both), with a 95% interval.

    The interval is the Wald interval after half an image is added to each of the four outcomes (Agresti & Min 2005,
    "Simple improved confidence intervals for comparing matched proportions").

    Returns:
        The difference, its lower and its upper limit, in [-1, 1].
    """
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    if before.shape != after.shape or not len(before):
        raise CourseError(f"answers of shape {before.shape} and {after.shape} are no pairs")
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    n, more, less = len(before) + 2, gained + 0.5, lost + 0.5
    middle = (more - less) / n
    half = 1.959964 * float(np.sqrt(more + less - (more - less) ** 2 / n)) / n
    return (gained - lost) / len(before), max(-1.0, middle - half), min(1.0, middle + half)


def predict(model: Model, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """What the model makes of images (a classifier's logits, an autoencoder's images), as float32 [n, ...].

    Args:
        images: float32 [n, h, w, c] in [0, 1], or storage form (uint8, uint16), memory-mapped or not.
    """
    if not len(images):
        raise CourseError("there are no images to classify")
    outputs = []
    call = model.predict_on_batch if isinstance(model, keras.Model) else model
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        batch = batch.astype(np.float32) if np.issubdtype(batch.dtype, np.floating) else to_float(batch)
        # A smaller batch is filled up: to trace the graph for another shape takes longer than to classify copies.
        padded = np.pad(batch, [(0, batch_size - len(batch))] + [(0, 0)] * (batch.ndim - 1), mode="edge")
        outputs.append(np.asarray(call(tf.constant(padded)))[: len(batch)])
    return np.concatenate(outputs)


def is_correct(model: Model, images: np.ndarray, labels: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Which images the model classifies correctly: booleans [n]."""
    if np.shape(labels) != (len(images),):
        raise CourseError(f"{len(images)} images and labels {np.shape(labels)} do not match")
    return predict(model, images, batch_size).argmax(1) == labels


def publish(records: list[dict]) -> None:
    """Attach records to the notebook cell that calls this, from where the report collects them."""
    from IPython.display import display

    display({RECORDS_MIME: records, "text/plain": ""}, raw=True)
