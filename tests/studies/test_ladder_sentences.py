"""What notebook 06 says about its numbers: the verdicts follow the measurements."""

import numpy as np
import pytest

from helpers import pipeline, settings
from helpers.studies import ladder_sentences as sentences
from helpers.studies.threat_ladder import RUNGS
from helpers.studies.through_autoencoder import Through

FIELDS = {
    "dataset": "cifar10",
    "profile": "smoke",
    "model": "resnet20",
    "stage": "fine_tuned",
    "defense": "ae",
    "input": "pgd",
    "threat": "adaptive",
    "eps": 8 / 255,
    "steps": 10,
    "seed": 0,
}


def answers(right, of=200, **fields):
    return pipeline.Answers(FIELDS | fields, np.arange(of) < right)


def rungs(**right):
    return {name: answers(right.get(name, 50)) for name in RUNGS}


FOUND = {
    "initial": rungs(static=100, grey_box=100, pgd=0, pgd_100=0, apgd=0, worst_case=0),
    "fine_tuned": rungs(static=160, grey_box=20, pgd=8, pgd_100=4, apgd=2, worst_case=1, square=4),
}


class Run:
    """What the sentences ask of a run."""

    model = "resnet20"
    label = ""
    profile = settings.PROFILES["full"]


def test_the_attackers_are_all_there():
    lines = sentences.attackers().splitlines()
    assert len(lines) == len(RUNGS) and all(
        r.title in line for r, line in zip(RUNGS.values(), lines, strict=True)
    )


def test_captions_and_titles_have_the_numbers():
    assert "n = 200 " in sentences.measured(Run, FOUND) and "1,000 queries" in sentences.measured(Run, FOUND)
    assert "80.0%" in sentences.ladder_title(FOUND) and "0.5%" in sentences.ladder_title(FOUND)
    assert "PGD-10 end-to-end 4.0" in sentences.ladder_alt(FOUND)


def test_what_each_thing_takes_is_paired():
    lines = sentences.knowledge(FOUND).splitlines()
    assert [line.split("] points")[0].split()[-3] for line in lines] == ["+0.0", "-50.0", "-70.0", "-6.0"]


def test_exceptions_are_counted_among_those_that_withstand():
    assert "4 of 8" in sentences.exceptions(FOUND).splitlines()[11]  # PGD-10, Square
    lines = sentences.exceptions(FOUND).splitlines()
    assert len(lines) == 2 * (1 + len(sentences.PAIRS))
    assert lines[-1].endswith("0 of 1") and lines[1].endswith("0 of 0")


@pytest.mark.parametrize(
    "right, told", [({4: 1, 8: 0}, "4/255"), ({4: 60, 8: 0}, "8/255"), ({4: 60, 8: 50}, "")]
)
def test_the_budget_below_guessing_is_the_smallest(right, told):
    at = {eps / 255: {"pgd": answers(k, eps=eps / 255)} for eps, k in right.items()}
    title = sentences.budgets_title(at)
    assert told in title and ("guessing" in title) == bool(told)


def test_a_table_has_a_column_for_each_budget():
    curves = {"PGD": [answers(k, eps=eps / 255).record() for eps, k in ((2, 100), (8, 20))]}
    head, line = sentences.budgets_table(curves).splitlines()
    assert head.split() == ["n", "=", "200", "2/255", "8/255"] and line.split() == ["PGD", "50.0", "10.0"]


def through():
    images = np.zeros((4, 2, 2, 3), np.float32)
    moved = {"oblivious": images + 0.02, "end-to-end": images + 0.02}
    seen = {"oblivious": images + 0.005, "end-to-end": images + 0.018}
    labels = np.array([0, 1, 0, 1])
    given = {"oblivious": labels, "end-to-end": 1 - labels}
    return Through(images, labels, moved, images, seen, given)


def test_what_comes_through_is_a_share_of_the_norm():
    lines = sentences.passed(through()).splitlines()
    assert "n = 4" in lines[0] and "25.0 [25.0, 25.0]" in lines[1] and "accuracy 100.0" in lines[1]
    assert "90.0 [90.0, 90.0]" in lines[2] and "accuracy 0.0" in lines[2]
    title = sentences.passed_title(through())
    assert "oblivious 25%, end-to-end 90%" in title and title in sentences.passed_alt(through())


def test_rows_of_the_picture_say_which_answers_are_wrong():
    rows, titles, wrong = through().rows(8 / 255, ("cat", "dog"), n=3)
    assert list(rows) == [
        "image",
        "oblivious: the change",
        "oblivious: behind the AE",
        "end-to-end: the change",
        "end-to-end: behind the AE",
        "end-to-end: the image\nbehind the AE",
    ]
    assert titles["image"] == ["cat", "dog", "cat"] and titles["end-to-end: behind the AE"] == [
        "dog",
        "cat",
        "dog",
    ]
    assert wrong["end-to-end: behind the AE"].all() and not wrong["oblivious: behind the AE"].any()
    np.testing.assert_allclose(rows["oblivious: the change"], 0.5 + 0.02 * 255 / 16, atol=1e-6)


def test_a_stranger_is_compared_on_the_same_images():
    told = sentences.foreign(FOUND, "SEPreResNet-56")
    assert "-25.0" in told and "-55.0" in told and "SEPreResNet-56" in told
    assert "\n" not in sentences.foreign(FOUND, None)


def test_each_claim_has_its_verdict():
    told = sentences.claims(FOUND, answers(0).correct).splitlines()
    assert [line.rsplit("**")[1] for line in told] == ["holds", "holds", "fails"]
    undecided = sentences.claims(FOUND, answers(99).correct).splitlines()[0]
    assert "undecided" in undecided
