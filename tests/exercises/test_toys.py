"""What the checks rest on: toys, drawn tables and curves show what they are said to show."""

from __future__ import annotations

import numpy as np
import pytest
from exercise_answers import RIGHT

from helpers import attacks, checklist, evaluation, exercises
from helpers.exercises import bottlenecks, breaking, diagnosing, judging, searching, toy_pictures, toys


def test_the_lists_of_codes_show_what_they_are_said_to_show():
    for name, diagnosis in bottlenecks.PATIENTS.items():
        counts = exercises.usage()[name]
        share = counts.max() / counts.sum()
        assert (diagnosis == "few") == (counts.sum() < 64), name
        assert (diagnosis == "dominated") == (counts.min() > 0 and share > 0.3), name
        assert (diagnosis == "collapsed") == ((counts > 0).mean() < 0.1), name


def test_the_luck_is_what_many_draws_give():
    measured = np.random.default_rng(0).binomial(200, 0.6, (20_000, 9)) / 200
    assert searching.expected_luck(9, 200, 0.6) == pytest.approx(measured.max(1).mean() - 0.6, rel=0.02)


def test_no_accuracy_gives_a_false_worst_case_away():
    """Else exercise 06.2 could be solved without looking at images."""
    for worst, correct in exercises.reports().values():
        assert worst.mean() <= min(left.mean() for left in correct.values())


def test_the_least_accuracy_is_what_the_best_images_leave():
    for case in breaking._cases()[:1]:
        kernel = case.model.layers[-1].get_weights()[0]
        for eps, least in zip(case.budgets, case.least, strict=True):
            robust = toys.answers(case.model, case.images) == case.labels
            for k in range(10):
                towards = (kernel[:, [k]] - kernel[:, case.labels]).T.reshape(case.images.shape)
                best = np.clip(case.images + eps * np.sign(towards), 0, 1)
                robust &= toys.answers(case.model, best) == case.labels
            assert robust.mean() == pytest.approx(least)


@pytest.mark.slow
def test_the_rows_of_a_diagnosis_fail_for_it_and_not_for_another():
    failed = {
        name: set(checklist.failed_checks(table)["check"]) for name, table in exercises.checklists().items()
    }
    for name, diagnosis in diagnosing.PATIENTS.items():
        assert bool(failed[name]) == (diagnosis != "sound")
        for other, rows in diagnosing.ROWS.items():
            if other == diagnosis:
                assert set(rows) <= failed[name]
            elif diagnosis != "masked":  # where nothing else can work
                assert not set(rows) - {"Square"} & failed[name]


@pytest.mark.deep
def test_the_dice_are_fair():
    """What accuracy() says of all moves is what many throws give."""
    dice = exercises.Dice()
    thrown = np.array([np.asarray(dice(dice.images)).argmax(1) == dice.labels for _ in range(50)])
    moved = attacks.random_signs(dice.images, 8 / 255, 0)
    again = np.array([np.asarray(dice(moved)).argmax(1) == dice.labels for _ in range(50)])
    assert thrown.mean() == pytest.approx(dice.accuracy(dice.images, dice.labels), abs=0.03)
    assert again.mean() == pytest.approx(dice.accuracy(moved, dice.labels), abs=0.05)
    assert again.std(0).max() > 0


def test_the_histories_show_what_they_are_said_to_show():
    for name, course in judging.RAN.items():
        clean, pgd, training = (
            np.array([record[key] for record in exercises.histories()[name]])
            for key in ("clean", "pgd", "training_pgd")
        )
        assert (course == "weak_attack") == (clean - pgd < 0.06).all()
        assert (course == "no_attack") == (pgd < 0.05).all()
        assert (course == "catastrophic") == (pgd[-1] < pgd.max() / 2 and pgd.max() > 0.3)
        assert (course == "robust_overfitting") == (training[-1] - pgd[-1] > 0.2)
        assert (course == "unfinished") == (pgd[-3:].mean() - pgd[-8:-5].mean() > 0.02)
        if course in judging.CHOOSABLE:
            assert np.sum(pgd == pgd.max()) == 1, "which epoch is best must be clear"


def test_the_claims_fall_and_stand_by_their_numbers():
    def difference(rows):
        records = [
            {"accuracy": k / n, **dict(zip(("ci_low", "ci_high"), evaluation.wilson(k, n), strict=True))}
            for *_, k, n in rows[-2:]
        ]
        return evaluation.difference(*records)

    for name, flaw in judging.CLAIMED.items():
        _, low, high = difference(judging.MEASURED[name])
        assert (low < 0 < high) == (flaw == "interval"), name
        assert len(exercises.claims()[name][1]) == len(judging.MEASURED[name])


@pytest.mark.deep
def test_the_pictures_have_a_best_answer():
    """The initial network falls to attacks on itself; the visible square withstands them."""
    initial = exercises.assessed(exercises.initial_network())
    assert initial["clean"] > 0.97 and initial["transfer"] < 0.05 and initial["worst"] <= initial["transfer"]
    middle = RIGHT["check_repair"]["middle alone"][0](None, None, None, None)
    assert all(abs(found - toy_pictures.SEEN) < 0.03 for found in exercises.assessed(middle).values())


@pytest.mark.deep
def test_a_network_that_came_back_unchanged_is_not_done_yet():
    verdict = exercises.check_repair(lambda model, images, labels, eps: model)
    assert verdict.status == exercises.NOT_DONE and "unchanged" in verdict.text
