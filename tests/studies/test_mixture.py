"""The ablation of the mixed batch: what two trainings share, on toys; and what is said of made-up answers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from helpers import evaluation, pipeline, training
from helpers.backend import keras
from helpers.settings import CourseError
from helpers.studies import mixture, mixture_sentences
from helpers.studies.mixture import Ablation, AblationRecipe

SIZE, N = 8, 40


def toy_samples():
    """Three sources: bright images are of class 1; in the last source they are of class 0."""
    labels = np.arange(N) % 2
    bright = np.where(labels, 200, 50).astype(np.uint8)[:, None, None, None]
    one = np.broadcast_to(bright, (N, 2, 2, 3)).copy()
    return training.Samples([one, one + np.uint8(9), 255 - one], labels)


def toy_classifier():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.layers.InputLayer((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )


def first(endless, steps=30):
    return list(itertools.islice(endless, steps))


def test_the_batches_of_all_sources_are_those_of_samples():
    samples = toy_samples()
    ours = first(mixture.batch_rows(samples, SIZE, 3))
    theirs = [batch for epoch in (0, 1) for batch in samples.batches(SIZE, 3, epoch)]
    assert len(theirs) == len(ours) == 2 * samples.steps(SIZE)
    for rows, (images, targets) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(samples.read(rows)[0], images)
        np.testing.assert_array_equal(samples.read(rows)[1], targets)


def test_one_source_is_taken_out_and_the_others_are_unchanged():
    samples = toy_samples()
    pairs = zip(*(first(mixture.batch_rows(samples, SIZE, 3, k)) for k in (None, 1)), strict=True)
    for whole, thinned in pairs:
        np.testing.assert_array_equal(thinned, [row for row in whole if row // N != 1])


def test_both_trainings_take_the_same_steps_and_see_the_same_other_images():
    samples, steps = toy_samples(), []
    recipe = AblationRecipe(images=N, steps=20, batch_size=SIZE)
    whole = mixture.fine_tune(toy_classifier(), samples, recipe, None, lambda: steps.append("all"))
    thinned = mixture.fine_tune(toy_classifier(), samples, recipe, 1, lambda: steps.append("without"))
    assert (steps.count("all"), steps.count("without")) == (20, 20)
    assert sum(whole) == 20 * SIZE and thinned == [whole[0], 0, whole[2]]


def test_a_source_that_contradicts_the_others_is_unlearned_where_it_is_left_out(monkeypatch):
    """What the first two sources teach undoes the third, which the toy learns where they do not speak."""
    monkeypatch.setattr(training, "FINE_TUNE_RATES", (0.1, 0.1))
    samples, recipe = toy_samples(), AblationRecipe(images=N, steps=40, batch_size=24)
    alone = training.Samples(samples.sources[2:], samples.targets)
    toy, last = toy_classifier(), samples.read(np.arange(2 * N, 3 * N))
    mixture.fine_tune(toy, alone, recipe)
    assert evaluation.is_correct(toy, *last).all()
    mixture.fine_tune(toy, samples, recipe, without=2)
    assert not evaluation.is_correct(toy, *last).any()


# --------------------------------------------------------------------------------------- what is said of it


def made_up(gained, lost, n=1000):
    """Return an ablation in which clean images are gained and lost where they are left out."""
    whole, without = np.arange(n) < 700, np.arange(n) < 700
    without[:lost], without[n - gained :] = False, True
    right = dict.fromkeys(("regular", "pgd"), whole)
    shown = {"all": {"regular": 10, "pgd": 12}, "without": {"regular": 0, "pgd": 12}}
    correct = {"initial": right, "all": right, "without": {**right, "regular": without}}
    return Ablation(mixture.LIVE, "regular", shown, correct)


def test_the_difference_is_paired_and_a_loss_beyond_chance_is_protection():
    found = made_up(gained=20, lost=80)
    assert found.n == 1000 and found.difference("regular")[0] == pytest.approx(-0.06)
    assert found.difference("regular") == evaluation.paired_difference(
        found.correct["all"]["regular"], found.correct["without"]["regular"]
    )
    assert found.protects and not made_up(50, 50).protects and not made_up(80, 20).protects


@pytest.mark.parametrize(
    ("gained", "lost", "words"),
    [(20, 80, "protect"), (50, 50, "No protection"), (80, 20, "fails here")],
)
def test_the_sentence_claims_no_more_than_the_interval(gained, lost, words):
    found = made_up(gained, lost)
    assert words in mixture_sentences.verdict(found)
    assert ("chance" in mixture_sentences.ablation_title(found)) == (gained == lost)
    told = mixture_sentences.ablation_found(found)
    assert told.index("- clean") < told.index("- PGD") and "n = 1,000" in told


def test_the_balance_counts_both_directions():
    found = made_up(gained=20, lost=80)
    told = mixture_sentences.balance(found.correct["all"]["regular"], found.correct["without"]["regular"])
    assert "80 were right before" in told and "20 the other way" in told and "-6.0 points" in told


# -------------------------------------------------------------------------------------------- the real thing


def test_an_unknown_source_is_refused():
    run = pipeline.start("patches10", "resnet20", "smoke")
    with pytest.raises(CourseError, match="no source 'noise'"):
        mixture.ablation(run, "noise")


@pytest.mark.deep
def test_an_ablation_of_the_run_is_measured_on_its_test_images():
    run = pipeline.start("patches10", "resnet20", "smoke", networks="auto")
    recipe = AblationRecipe(images=24, steps=2, batch_size=24, tested=16)
    found = mixture.ablation(run, "regular", recipe)
    assert found.n == 16 and set(found.correct) == set(mixture.ARMS)
    assert found.shown["without"]["regular"] == 0 < found.shown["all"]["regular"]
    others = set(found.shown["all"]) - {"regular"}
    assert all(found.shown["all"][name] == found.shown["without"][name] for name in others)
    labels = run.split("test").labels[:16]
    images = pipeline.source(run, "test", "pgd")[:16]
    own = evaluation.is_correct(run.classifier, images, labels)
    np.testing.assert_array_equal(found.correct["initial"]["pgd"], own)
    assert "mean nothing" in mixture_sentences.design(replace(found, recipe=mixture.TRY))
    again = mixture.ablation(run, "regular", recipe)
    np.testing.assert_array_equal(again.correct["without"]["regular"], found.correct["without"]["regular"])
