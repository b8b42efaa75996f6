"""How a check asks a student's function, and what it says about the answer.

Nothing that a student writes stops the notebook. A check is a function of the student's answers, decorated
with ``check``. It raises Wrong, whose message says what is wrong, or returns a sentence about what was found.
The decorator turns either into a Verdict.
"""

from __future__ import annotations

import functools
import html
import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..backend import keras

RIGHT, WRONG, NOT_DONE = "right", "not right yet", "not done yet"
COLORS = {RIGHT: "#0a7d4f", WRONG: "#b5471b", NOT_DONE: "#666666"}
HELPERS = Path(__file__).resolve().parent.parent


class Wrong(Exception):
    """The answer is wrong. The message tells the student why."""


class NotDone(Exception):
    """The answer is still the stub. The message may add what the student should know."""


@dataclass(frozen=True)
class Verdict:
    """A check's result.

    Attributes:
        exercise: its number, such as ``01.2``.
        status: RIGHT, WRONG or NOT_DONE.
        text: what is right, what is wrong, or what remains to be done.
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
            f'<b style="color: {color}">Exercise {self.exercise}: {self.status}.</b> '
            f"{html.escape(self.text)}</div>"
        )


@dataclass(eq=False)
class Check:
    """A check that can be called with the student's answers.

    Attributes:
        exercise: its number, such as ``01.2``.
        todo: the task, for a student who has not begun.
        judge: returns a sentence about the answers, or raises Wrong or NotDone.
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
    """Turn a function that judges answers into a Check.

    Args:
        exercise: its number, such as ``01.2``: notebook and exercise.
        todo: the task, in the imperative, without a full stop.
    """
    return lambda judge: functools.update_wrapper(Check(exercise, todo, judge), judge)


def _is_stub(answer: object) -> bool:
    """Return whether an answer is ``...`` or None, or a collection that holds one of them."""
    if isinstance(answer, dict):
        return any(_is_stub(value) for value in answer.values())
    if isinstance(answer, (list, tuple)):
        return any(_is_stub(value) for value in answer)
    return answer is None or answer is ...


# -------------------------------------------------------------------------------- asking a student's function


def ask(function: Callable, *arguments: object, call: str) -> object:
    """Call the student's function, and return its answer.

    Args:
        function: the student's function.
        arguments: its arguments, of which it gets copies.
        call: the call as the task writes it, such as ``fgsm(model, images, labels, eps)``.

    Raises:
        NotDone: it returns ``...`` or None, or raises NotImplementedError.
        Wrong: it is not a function, takes other arguments, raises an error, or changes its arrays.
    """
    name = call.split("(")[0]
    if not callable(function):
        raise Wrong(
            f"your answer is a {type(function).__name__}; give the function {name} itself, not its result"
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
    except Exception as error:  # a student's code may raise anything
        hint = ""
        if re.search(r"NoneType|None values", str(error)) and isinstance(error, (ValueError, TypeError)):
            hint = (
                "; is a gradient None? Watch the images (tape.watch), and compute the loss from them inside "
                "the tape, in TensorFlow"
            )
        if isinstance(error, LookupError) and "gradient" in str(error):
            hint = "; some step has no gradient: predict and NumPy cut it off, so stay in TensorFlow"
        raise Wrong(f"your {name} stopped with {_in_one_line(error)}{_where(error)}{hint}") from error
    if not all(_same(a, b) for a, b in zip(arguments, given, strict=True)):
        raise Wrong(
            f"your {name} changes the arrays that it gets; leave them as they are, and return new ones"
        )
    if answer is None:
        raise NotDone(f"{name} returns nothing; if it is finished, add a return statement")
    if _is_stub(answer):
        raise NotDone
    return answer


def _copied(argument: object) -> object:
    """Copy an array or a collection of arrays. Return anything else unchanged."""
    if isinstance(argument, np.ndarray):
        return argument.copy()
    if isinstance(argument, dict):
        return {key: _copied(value) for key, value in argument.items()}
    return [_copied(value) for value in argument] if isinstance(argument, list) else argument


def _same(before: object, after: object) -> bool:
    """Return whether the arrays of a copy are still equal to the originals."""
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
    """Return the last line of the student's own code in an error's traceback."""
    others = ("site-packages", "/lib/python", "__autograph_generated", "<frozen", "<string", str(HELPERS))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(part in frame.filename for part in others)]
    if not own:
        return ""
    source = (own[-1].line or linecache.getline(own[-1].filename, own[-1].lineno or 0)).strip()
    return f" (line {own[-1].lineno}: {source})"


@contextmanager
def untouched(model: keras.Model) -> Iterator[None]:
    """Refuse code that changes the model's weights or statistics, and restore them.

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
            "your code changed the network's weights or BatchNorm statistics; call it with training=False, "
            "and assign nothing to it"
        )
