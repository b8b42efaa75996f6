"""What a check says of an answer, in words, and how it asks: nothing that a student writes stops the notebook.

A check is a function of the student's answers, decorated with ``check``. It raises Wrong, whose message says what is
wrong, or returns a sentence that says what was found; the decorator turns either into a Verdict.
"""

from __future__ import annotations

import functools
import html
import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np

from .. import settings
from ..backend import keras, tf

RIGHT, WRONG, NOT_DONE = "right", "not right yet", "not done yet"
COLORS = {RIGHT: "#0a7d4f", WRONG: "#b5471b", NOT_DONE: "#666666"}
HELPERS = Path(__file__).resolve().parent.parent


class Wrong(Exception):
    """The answer is wrong; the message says how, to the student."""


class NotDone(Exception):
    """The answer is still the stub; the message may add what the student should know."""


@dataclass(frozen=True)
class Verdict:
    """A check's result.

    Attributes:
        exercise: its number, such as ``01.2``.
        status: RIGHT, WRONG or NOT_DONE.
        text: what is right, what is wrong, or what is to be done.
    """

    exercise: str
    status: str
    text: str

    @property
    def passed(self) -> bool:
        return self.status == RIGHT

    def __repr__(self) -> str:
        return f"exercise {self.exercise}: {self.status}: {self.text}"

    def _repr_html_(self) -> str:
        color = COLORS[self.status]
        return (
            f'<div style="border-left: 4px solid {color}; padding: 0.3em 0.8em; white-space: pre-line">'
            f'<b style="color: {color}">Exercise {self.exercise}: {self.status}.</b> {html.escape(self.text)}</div>'
        )


@dataclass(eq=False)
class Check:
    """A check that can be called with the student's answers.

    Attributes:
        exercise: its number, such as ``01.2``.
        todo: what a student who has not begun is told.
        judge: from the answers to a sentence; raises Wrong or NotDone.
    """

    exercise: str
    todo: str
    judge: Callable[..., str]

    def __call__(self, *answers: object, **named: object) -> Verdict:
        try:
            signature = inspect.signature(self.judge)
            try:
                answers = signature.bind(*answers, **named).args
            except TypeError:
                call = f"{self.judge.__name__}({', '.join(signature.parameters)})"
                raise Wrong(f"the check takes other arguments; call it as {call}") from None
            if any(_is_stub(answer) for answer in answers):
                raise NotDone
            return Verdict(self.exercise, RIGHT, self.judge(*answers))
        except NotDone as left:
            return Verdict(self.exercise, NOT_DONE, f"{self.todo}.{f' ({left})' if str(left) else ''}")
        except Wrong as wrong:
            return Verdict(self.exercise, WRONG, str(wrong))


def check(exercise: str, todo: str) -> Callable[[Callable[..., str]], Check]:
    """Make a judge of answers a Check.

    Args:
        exercise: its number, such as ``01.2``: notebook and place.
        todo: what is to be done, in the imperative, without a full stop.
    """
    return lambda judge: functools.update_wrapper(Check(exercise, todo, judge), judge)


def _is_stub(answer: object) -> bool:
    """Whether an answer is ``...`` or None, or a collection with such a thing in it."""
    if isinstance(answer, dict):
        return any(_is_stub(value) for value in answer.values())
    if isinstance(answer, (list, tuple)):
        return any(_is_stub(value) for value in answer)
    return answer is None or answer is ...


# ------------------------------------------------------------------------------------------ asking a student's function


def ask(function: Callable, *arguments: object, call: str) -> object:
    """What the student's function returns for these arguments.

    Args:
        call: how the task says that it is called, such as ``fgsm(model, images, labels, eps)``.

    Raises:
        NotDone: it returns ``...`` or None, or raises NotImplementedError.
        Wrong: it is no function, takes other arguments, raises an error, or changes the arrays that it is given.
    """
    name = call.split("(")[0]
    if not callable(function):
        raise Wrong(
            f"the answer is of type {type(function).__name__}; give the function {name} itself, not what it returns"
        )
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        taken = inspect.signature(function)
        raise Wrong(
            f"your function takes {taken}, but is called as {call}; take these arguments in this order"
        ) from None
    except ValueError:  # some callables have no signature
        pass
    given = [_copied(argument) for argument in arguments]
    try:
        answer = function(*given)
    except NotImplementedError as error:
        if "symbolic" in str(error):  # TensorFlow's word for NumPy inside a graph
            raise Wrong(
                f"your {name} calls NumPy inside a graph{_where(error)}; use TensorFlow's functions"
            ) from error
        raise NotDone from None
    except (NotDone, Wrong):
        raise
    except Exception as error:  # whatever a student's code raises
        hint = ""
        if re.search(r"NoneType|None values", str(error)) and isinstance(error, (ValueError, TypeError)):
            hint = (
                "; is a gradient None? Watch the images (tape.watch), and compute the loss from them inside the tape, "
                "in TensorFlow"
            )
        if isinstance(error, LookupError) and "gradient" in str(error):
            hint = "; something on the way has no gradient: predict and NumPy cut it, stay in TensorFlow"
        raise Wrong(f"your {name} stopped with {_in_one_line(error)}{_where(error)}{hint}") from error
    if not all(_same(a, b) for a, b in zip(arguments, given, strict=True)):
        raise Wrong(
            f"your {name} changes the arrays that it is given; leave them as they are, and return new ones"
        )
    if answer is None:
        raise NotDone(f"{name} returns nothing; if it is finished, it lacks a return")
    if _is_stub(answer):
        raise NotDone
    return answer


def _copied(argument: object) -> object:
    """A copy of an array, or of a collection of arrays; anything else as it is."""
    if isinstance(argument, np.ndarray):
        return argument.copy()
    if isinstance(argument, dict):
        return {key: _copied(value) for key, value in argument.items()}
    return [_copied(value) for value in argument] if isinstance(argument, list) else argument


def _same(before: object, after: object) -> bool:
    """Whether the arrays in what _copied returned are what they were."""
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after)
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(
            _same(value, after[key]) for key, value in before.items()
        )
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_same, before, after))
    return True


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # TensorFlow puts the message of an error inside a tf.function last.
    line = (
        lines[-1].removeprefix(f"{type(error).__name__}: ")
        if lines[0].startswith("in user code")
        else lines[0]
    )
    return f"{type(error).__name__}: {line[:200]}"


def _where(error: Exception) -> str:
    """The last line of the student's own code in an error's traceback: of no library, nor of this package."""
    others = ("site-packages", "/lib/python", "__autograph_generated", "<frozen", "<string", str(HELPERS))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(part in frame.filename for part in others)]
    if not own:
        return ""
    source = (own[-1].line or linecache.getline(own[-1].filename, own[-1].lineno or 0)).strip()
    return f" (line {own[-1].lineno}: {source})"


@contextmanager
def untouched(model: keras.Model) -> Iterator[None]:
    """Refuse what changes the model's weights or statistics, and put them back.

    Raises:
        Wrong: they were changed.
    """
    before = model.get_weights()
    try:
        yield
    finally:
        after = model.get_weights()
        model.set_weights(before)
    if len(after) != len(before) or any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
        raise Wrong(
            "your code changed the network: its weights or BatchNorm statistics are not what they were before; call "
            "it with training=False, and assign nothing to it"
        )


# ------------------------------------------------------------------------------------------------ what came back


def as_array(answer: object, what: str, shape: Sequence[int] | None = None) -> np.ndarray:
    """An answer as float64 numbers; NumPy, TensorFlow or a list.

    Args:
        what: it is, as the subject of a sentence: ``your images``.
        shape: that it must have; any if None.

    Raises:
        Wrong: it is not that.
    """
    try:
        array = np.asarray(answer)
        kind = array.dtype
        if kind.kind in "US":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"{what} should be numbers, but came as {type(answer).__name__}") from None
    if shape is not None and array.shape != tuple(shape):
        raise Wrong(f"{what} should have the shape {_shape(shape)}, but came with {_shape(array.shape)}")
    if not np.isfinite(array).all():
        raise Wrong(
            f"{what} should be numbers, but {np.sum(~np.isfinite(array)):,} of them are NaN or infinite ({kind})"
        )
    return array


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(str(n) for n in shape)})" if len(shape) else "() (one number)"


def as_number(answer: object, what: str) -> float:
    """An answer as one number. Raises Wrong if it is not one."""
    if isinstance(answer, (bool, np.bool_, str)):
        kind = "text" if isinstance(answer, str) else "truth value"
        raise Wrong(f"{what} should be one number, but is the {kind} {answer!r}")
    if isinstance(answer, Real):
        return float(as_array(answer, what, ()))
    array = as_array(answer, what)
    if array.size != 1:
        raise Wrong(f"{what} should be one number, but there are {array.size}")
    return float(array.reshape(()))


def hint_for(
    found: float, hints: Iterable[tuple[float | None, str]], otherwise: str, tolerance: float = 1e-3
) -> str:
    """What a wrong number means: the hint whose number is nearest, if it is near.

    Args:
        hints: pairs of a number that a mistake would give, and what that mistake is.
        otherwise: the hint if no number is near.
        tolerance: how near, as a share of the number.
    """
    off = {hint: abs(found - value) / max(abs(value), 1e-9) for value, hint in hints if value is not None}
    nearest = min(off, key=off.get)
    return nearest if off[nearest] <= tolerance else otherwise


def as_attacked(answer: object, images: np.ndarray, eps: float, tolerance: float = 1e-5) -> np.ndarray:
    """An attack's answer as images: of the right shape, within eps of the originals and in [0, 1].

    Raises:
        Wrong: they are not.
    """
    moved = as_array(answer, "your images", images.shape)
    distance = float(np.abs(moved - images).max())
    if np.abs(moved).max() > 20:
        raise Wrong(
            f"your images run from {moved.min():.4g} to {moved.max():.4g}; they belong in [0, 1], not in 0..255"
        )
    if distance > eps + tolerance:
        hint = "go back into the ball about the originals after every step"
        if abs(distance - settings.EPS) < 1e-4:
            hint = "8/255 is this notebook's budget, but not every call's: use the argument eps"
        elif np.abs(moved).max() <= eps + tolerance:
            hint = "you return the change alone; add it to the images"
        elif distance > 10 * eps:
            hint = "eps is a number in [0, 1] already; is what you add to the images a step of that size?"
        raise Wrong(f"a value moved by {distance:.3f}, but eps is {eps:.3f}; {hint}")
    low, high = float(moved.min()), float(moved.max())
    if low < -tolerance or high > 1 + tolerance:
        extreme = f"the largest is {high:.3f}" if high > 1 + tolerance else f"the smallest is {low:.3f}"
        raise Wrong(f"your images leave [0, 1]: {extreme}; clip them")
    return moved


def as_tensors(images: np.ndarray, labels: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Images as float32 and labels as int32: what a student's attack is called with."""
    return tf.constant(images, tf.float32), tf.constant(labels, tf.int32)
