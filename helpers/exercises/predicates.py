"""Predicates that several checks share: shapes, numbers, attacked images, dicts of words, and hints.

Each raises Wrong, whose message tells the student what is wrong, or returns the answer in a usable form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real

import numpy as np

from .. import settings
from ..backend import tf
from .verdict import Wrong


def as_array(answer: object, what: str, shape: Sequence[int] | None = None) -> np.ndarray:
    """Return an answer (NumPy, TensorFlow or a list) as float64 numbers.

    Args:
        answer: the student's answer.
        what: its name, as the subject of a sentence: ``your images``.
        shape: the shape that the answer must have; None for any.

    Raises:
        Wrong: the answer is not an array of finite numbers of this shape.
    """
    try:
        array = np.asarray(answer)
        kind = array.dtype
        if kind.kind in "US":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"{what} should be numbers, not a {type(answer).__name__}") from None
    if shape is not None and array.shape != tuple(shape):
        raise Wrong(f"{what} should have shape {_shape(shape)}, not {_shape(array.shape)}")
    if not np.isfinite(array).all():
        raise Wrong(
            f"{what} should be finite numbers, but {np.sum(~np.isfinite(array)):,} are NaN or infinite "
            f"({kind})"
        )
    return array


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(str(n) for n in shape)})" if len(shape) else "() (one number)"


def as_number(answer: object, what: str) -> float:
    """Return an answer as one number. Raise Wrong if it is anything else."""
    if isinstance(answer, (bool, np.bool_, str)):
        kind = "text" if isinstance(answer, str) else "truth value"
        raise Wrong(f"{what} should be one number, but is the {kind} {answer!r}")
    if isinstance(answer, Real):
        return float(as_array(answer, what, ()))
    array = as_array(answer, what)
    if array.size != 1:
        raise Wrong(f"{what} should be one number, not {array.size}")
    return float(array.reshape(()))


def hint_for(
    found: float, hints: Iterable[tuple[float | None, str]], otherwise: str, tolerance: float = 1e-3
) -> str:
    """Return the hint for a wrong number: that of the nearest known mistake, if it is near enough.

    Args:
        found: the wrong number.
        hints: pairs of the number that a mistake gives and a sentence about that mistake.
        otherwise: the hint if no mistake's number is near.
        tolerance: the largest relative distance that counts as near.
    """
    off = {hint: abs(found - value) / max(abs(value), 1e-9) for value, hint in hints if value is not None}
    nearest = min(off, key=off.get)
    return nearest if off[nearest] <= tolerance else otherwise


def as_attacked(answer: object, images: np.ndarray, eps: float, tolerance: float = 1e-5) -> np.ndarray:
    """Return an attack's images, checked for their shape, the eps-ball and [0, 1].

    Raises:
        Wrong: they violate one of these.
    """
    moved = as_array(answer, "your images", images.shape)
    distance = float(np.abs(moved - images).max())
    if np.abs(moved).max() > 20:
        raise Wrong(
            f"your images run from {moved.min():.4g} to {moved.max():.4g}; return values in [0, 1], not in "
            "0..255"
        )
    if distance > eps + tolerance:
        hint = "project onto the ball around the originals after every step"
        if abs(distance - settings.EPS) < 1e-4:
            hint = "you always use 8/255, this notebook's budget: use the argument eps"
        elif np.abs(moved).max() <= eps + tolerance:
            hint = "you return the change alone; add it to the images"
        elif distance > 10 * eps:
            hint = "eps is in [0, 1] already; do you add a step of that size to the images?"
        raise Wrong(f"a value moved by {distance:.3f}, but eps is {eps:.3f}; {hint}")
    low, high = float(moved.min()), float(moved.max())
    if low < -tolerance or high > 1 + tolerance:
        extreme = f"the largest is {high:.3f}" if high > 1 + tolerance else f"the smallest is {low:.3f}"
        raise Wrong(f"your images leave [0, 1]: {extreme}; clip them")
    return moved


def as_tensors(images: np.ndarray, labels: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Return images as float32 and labels as int32, as a student's attack receives them."""
    return tf.constant(images, tf.float32), tf.constant(labels, tf.int32)


def expect_dict(answer: object, name: str, of: str = "") -> dict:
    """Return the answer if it is a dict. Raise Wrong if it is anything else."""
    if not isinstance(answer, dict):
        raise Wrong(f"{name} should be a dict{of}, but is a {type(answer).__name__}")
    return answer


def check_words(
    answer: object,
    name: str,
    item: str,
    truths: Mapping[str, str],
    choices: Mapping[str, str],
    reason: Callable[[str, str], str],
) -> None:
    """Compare a dict of words from a list of choices with the truth.

    Args:
        answer: the student's: a dict from each key of ``truths`` to a word of ``choices``.
        name: the answer's name in the notebook.
        item: what a key stands for, such as ``table``.
        truths: the right word for each key.
        choices: what each word means.
        reason: returns, for a key and a wrong word, why the word is wrong.

    Raises:
        Wrong: a key is missing, or a word is unknown or wrong.
    """
    words = expect_dict(answer, name)
    for key, truth in truths.items():
        if key not in words:
            raise Wrong(f"{item} {key} is missing in {name}")
        if (said := str(words[key]).strip().lower().replace(" ", "_")) not in choices:
            raise Wrong(f"{item} {key} is {words[key]!r}; choose from {', '.join(choices)}")
        if said != truth:
            raise Wrong(f"{item} {key} is not {said!r} ({choices[said]}): {reason(key, said)}")
