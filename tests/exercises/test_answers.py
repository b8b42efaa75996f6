"""Every check refuses plausible mistakes in words, accepts what is right, and tells a stub from both."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from exercise_answers import RIGHT, WRONG

from helpers import exercises
from helpers.backend import tf
from helpers.exercises import CHECKS

EXPENSIVE = {
    "check_architecture",
    "check_attack_dice",
    "check_build",
    "check_evaluation",
    "check_fgsm",
    "check_min_max",
    "check_repair",
    "check_tables",
    "check_targeted_pgd",
}
"""Checks that attack or train toys for many of their answers."""

ATTACKING = {
    "check_attack_the_sure",
    "check_attack_through",
    "check_curve",
    "check_denoising_loss",
    "check_rounded",
    "check_without_gradient",
}
"""Checks that attack a toy for some of their answers."""


def tier(check: str, first: bool = True) -> tuple:
    """Of an expensive check make test tries the first answer of each kind, and make test-all every one."""
    if check in ATTACKING:
        return (pytest.mark.deep,)
    if check not in EXPENSIVE:
        return ()
    return (pytest.mark.deep if first else pytest.mark.slow,)


def table(answers: dict) -> list:
    return [
        pytest.param(check, title, id=f"{check}-{title}", marks=tier(check, first=place == 0))
        for check, by_title in answers.items()
        for place, title in enumerate(by_title)
    ]


@pytest.mark.parametrize(("check", "title"), table(WRONG))
def test_a_wrong_answer_is_refused_in_words(check, title):
    answers, word = WRONG[check][title]
    verdict = CHECKS[check](*answers)
    assert verdict.status == exercises.WRONG and not verdict.passed, verdict
    assert word in verdict.text, verdict


@pytest.mark.parametrize(("check", "title"), table(RIGHT))
def test_a_right_answer_is_accepted_however_it_is_written(check, title):
    verdict = CHECKS[check](*RIGHT[check][title])
    assert verdict.passed and verdict.status == exercises.RIGHT, verdict
    assert verdict.text


def unwritten(*_):
    raise NotImplementedError


@pytest.mark.parametrize("check", [pytest.param(check, marks=tier(check)) for check in CHECKS])
def test_a_stub_is_not_done_yet(check):
    right = next(iter(RIGHT[check].values()))
    stubs = [..., None]
    if callable(right[-1]):
        stubs += [lambda *_: None, lambda *_: ..., unwritten]
    for stub in stubs:
        for answers in {len(right): [stub] * len(right), 1: [*right[:-1], stub]}.values():
            if callable(stub) and len(right) > 1:
                answers = [stub if callable(a) else a for a in right]
            verdict = CHECKS[check](*answers)
            assert verdict.status == exercises.NOT_DONE and not verdict.passed, verdict
            assert verdict.text.startswith(CHECKS[check].todo)


def test_every_check_has_wrong_and_right_answers():
    assert list(WRONG) == list(RIGHT) == list(CHECKS)
    assert {check: len(answers) for check, answers in WRONG.items() if len(answers) < 4} == {}
    assert all(len(answers) >= 3 for answers in RIGHT.values())


def test_checks_say_what_they_accept():
    for name, check in CHECKS.items():
        assert inspect.getdoc(check.judge), name
        assert re.fullmatch(r"\d\d\.\d", check.exercise) and not check.todo.endswith(".")
    assert len({check.exercise for check in CHECKS.values()}) == len(CHECKS)


@pytest.mark.deep
def test_a_check_leaves_the_random_state_alone():
    """Else a student's next cell would draw other numbers after a check than without it."""
    np.random.seed(3)
    tf.random.set_seed(3)
    expected = np.random.random(), float(tf.random.uniform([]))
    np.random.seed(3)
    tf.random.set_seed(3)
    for check in ("check_fgsm", "check_build", "check_evaluation", "check_min_max", "check_repair"):
        CHECKS[check](*next(iter(RIGHT[check].values())))
    assert np.random.random() == expected[0]
    tf.random.set_seed(3)
    assert float(tf.random.uniform([])) == expected[1]
