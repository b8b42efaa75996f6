"""How a check is called, what it says of code that fails, and what it shows."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import exercises
from helpers.backend import tf
from helpers.exercises.verdict import Wrong, ask


def test_a_check_called_otherwise_says_how_to_call_it():
    for answers in ((), (12_585,), (1000, 12_585, 3)):
        verdict = exercises.check_needed(*answers)
        assert (
            verdict.status == exercises.WRONG and "call it as check_needed(predicted, needed)" in verdict.text
        )
    assert exercises.check_needed(needed=12_585, predicted=1000).passed


def test_answers_may_not_change_what_they_are_given():
    def in_place(images, more):
        more["rows"][0][0] = 7
        return images

    given = np.zeros(3), {"rows": [np.zeros(3)]}
    with pytest.raises(Wrong, match="in_place changes the arrays"):
        ask(in_place, *given, call="in_place(images, more)")
    assert given[1]["rows"][0][0] == 0
    assert (ask(lambda images, more: images + 1, *given, call="f(images, more)") == 1).all()


def stopped(function) -> str:
    with pytest.raises(Wrong) as caught:
        ask(function, 1, call="f(x)")
    return str(caught.value)


def test_an_error_is_one_line_with_the_students_line():
    def outer(x):
        return inner(x)

    def inner(x):
        return x + np.zeros(3)[4]  # here

    text = stopped(outer)
    assert text.startswith("your f stopped with IndexError: index 4 is out of bounds")
    assert "return x + np.zeros(3)[4]  # here" in text and "\n" not in text


def test_an_error_inside_a_library_names_the_students_line_not_the_librarys():
    def f(x):
        return tf.reshape([1, 2, 3], [2, 2])  # here

    assert "# here)" in stopped(f)
    assert "# here)" in stopped(tf.function(f, autograph=False)) and "\n" not in stopped(tf.function(f))


def test_an_error_without_a_message():
    def f(x):
        raise KeyError

    assert "stopped with KeyError (line" in stopped(f)


def test_a_verdict_in_text_and_html():
    wrong = exercises.Verdict("01.2", exercises.WRONG, "a < b & c")
    assert repr(wrong) == "exercise 01.2: not right yet: a < b & c"
    assert "a &lt; b &amp; c" in wrong._repr_html_() and "not right yet" in wrong._repr_html_()
