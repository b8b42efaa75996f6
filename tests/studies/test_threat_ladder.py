"""The threat ladder, on a few images of the stand-in data set."""

from dataclasses import replace

import numpy as np
import pytest
from support import small_in_registry

from helpers import attacks, classifiers, evaluation, pipeline
from helpers.artifacts import store
from helpers.attacks import attack_ensemble
from helpers.backend import keras
from helpers.datasets import storage
from helpers.defenses import autoencoder
from helpers.settings import CourseError
from helpers.studies import threat_ladder
from helpers.studies.threat_ladder import RUNGS

N, EPS = 8, 6 / 255
pytestmark = pytest.mark.deep  # a small network is trained

OTHER_NETWORK = threat_ladder.other_network


@pytest.fixture(scope="module")
def case(small_weights):
    """A run, and its measured classifier behind an autoencoder that changes almost nothing."""
    with pytest.MonkeyPatch.context() as patch, small_in_registry():
        patch.setitem(
            attack_ensemble.EFFORTS,
            "quick",
            attack_ensemble.Effort(steps=3, restarts=1, classes=1, queries=5),
        )
        patch.setattr(threat_ladder, "MANY_STEPS", 20)
        patch.setattr(threat_ladder, "other_network", lambda _: None)
        run = pipeline.start("patches10", "small", "smoke", weights=str(small_weights))
        keras.utils.set_random_seed(0)
        defended = autoencoder.defended(_identity(), run.classifier)
        yield run, defended, _measure(run, defended)


def _identity():
    layer = keras.layers.Conv2D(
        3, 1, use_bias=False, kernel_initializer=lambda *_, **__: np.eye(3)[None, None]
    )
    return keras.Sequential([keras.Input((32, 32, 3)), layer], name="autoencoder")


def _measure(run, defended, rungs=tuple(RUNGS), eps=EPS):
    defense = threat_ladder.Defense("initial", "ae", defended, run.classifier)
    return threat_ladder.measure(run, defense, eps, N, "quick", rungs)


def test_every_rung_is_there_and_says_what_it_is(case):
    run, _, found = case
    assert list(found) == [name for name in RUNGS if name != "other_network"]  # there is none
    for name, answers in found.items():
        record = answers.record()
        assert (record["input"], record["threat"]) == (RUNGS[name].input, RUNGS[name].threat)
        assert record["n"] == N and record["eps"] == EPS
    steps = {name: answers.record()["steps"] for name, answers in found.items()}
    assert steps == {
        "noise": 0,
        "static": 10,
        "grey_box": 10,
        "square": 5,
        "pgd": 10,
        "pgd_100": 20,
        "apgd": 3,
        "worst_case": 6,
    }


def test_the_adaptive_rung_is_pgd_end_to_end(case):
    run, defended, found = case
    images, labels = run.data.test.head(N).take()
    moved = attacks.pgd(
        pipeline.for_attack(defended), images, labels, EPS, step_size=0.01, steps=10, seed=run.seed
    )
    moved = storage.to_uint16(moved)
    np.testing.assert_array_equal(found["pgd"].correct, evaluation.is_correct(defended, moved, labels))
    assert found["pgd"].correct.sum() < found["noise"].correct.sum()


def test_the_worst_case_is_at_most_each_attack_alone_image_by_image(case):
    _, _, found = case
    for name in found:
        assert threat_ladder.exceptions(found, "worst_case", name) == 0
    assert found["noise"].correct.any()  # or there would be nothing to break


def test_exceptions_are_counted(case):
    _, _, found = case
    fields = found["noise"].fields
    few = {
        "strong": pipeline.Answers(fields, np.array([True, True, False, False])),
        "weak": pipeline.Answers(fields, np.array([True, False, True, False])),
    }
    assert threat_ladder.exceptions(few, "strong", "weak") == 1


def test_what_was_measured_is_not_measured_again(case, monkeypatch):
    run, defended, found = case
    monkeypatch.setattr(store, "make", _only_reads(store.make))
    again = _measure(run, defended)
    for name, answers in found.items():
        np.testing.assert_array_equal(answers.correct, again[name].correct)
    with pytest.raises(AssertionError, match="computed"):
        _measure(run, defended, ["noise"], EPS / 2)


def _only_reads(make):
    def forbidden(_):
        raise AssertionError("computed")

    return lambda kind, config, suffix, *_: make(kind, config, suffix, forbidden)


def test_another_network_is_one_that_the_course_ships(case, monkeypatch):
    run, _, _ = case
    assert OTHER_NETWORK(replace(run, model="resnet20")) is None
    monkeypatch.setattr(classifiers, "load", lambda name, data: name)
    assert OTHER_NETWORK(run) == "resnet20"


def test_unknown_names_are_refused(case):
    run, defended, _ = case
    with pytest.raises(CourseError, match="unknown rungs telepathy; choose from noise"):
        _measure(run, defended, ["telepathy"])
    with pytest.raises(CourseError, match="unknown stage 'final'"):
        threat_ladder.climb(run, "final", n=2)
