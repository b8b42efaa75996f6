"""Accuracies, their intervals, and the records that every table is drawn from."""

from __future__ import annotations

import json
from math import comb, sqrt

import IPython.display
import nbformat
import numpy as np
import pytest

from helpers import evaluation
from helpers.backend import tf
from helpers.evaluation import titles
from helpers.pipeline.recorded import recorded_results
from helpers.settings import CourseError

FIELDS = {
    "dataset": "cifar10",
    "profile": "quick",
    "model": "resnet20",
    "stage": "initial",
    "defense": "ae",
    "input": "pgd",
    "threat": "static",
    "eps": 8 / 255,
    "steps": 10,
    "seed": 0,
}


@pytest.mark.parametrize(
    "correct, n, low, high",
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(correct, n, low, high):
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", Table I, method 3."""
    assert evaluation.wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("correct, n", [(0, 1), (1, 1), (13, 10_000), (9_384, 10_000), (500, 1_000)])
def test_wilson_is_the_formula(correct, n):
    p, z = correct / n, 1.959963984540054
    middle, half = (p + z * z / (2 * n)), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    expected = ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))
    assert evaluation.wilson(correct, n) == pytest.approx(expected, abs=1e-9)
    low, high = evaluation.wilson(correct, n, 0.5)
    assert high - low < expected[1] - expected[0]


@pytest.mark.parametrize("correct, n", [(0, 0), (-1, 5), (6, 5)])
def test_no_proportion(correct, n):
    with pytest.raises(CourseError, match=f"{correct} correct of {n}"):
        evaluation.wilson(correct, n)


def test_paired_difference():
    before = np.arange(100) < 60
    after = (np.arange(100) >= 10) & (np.arange(100) < 90)  # loses 10, gains 30
    points, low, high = evaluation.paired_difference(before, after)
    assert points == pytest.approx(0.2) and low < 0.2 < high
    # The formula of Agresti & Min, by hand: 30.5 and 10.5 of 102.
    middle, half = 20 / 102, 1.959964 / 102 * sqrt(41 - 400 / 102)
    assert (low, high) == pytest.approx((middle - half, middle + half))
    assert evaluation.paired_difference(after, before)[0] == pytest.approx(-0.2)
    low, high = evaluation.paired_difference(before, before)[1:]
    assert low == pytest.approx(-high) and high > 0, (
        "no change in a hundred images is no proof of none at all"
    )
    unpaired = evaluation.difference(*(evaluation.record(c, **FIELDS) for c in (before, after)))
    assert unpaired[2] - unpaired[1] != pytest.approx(2 * half), (
        "it is another interval than the unpaired one"
    )
    with pytest.raises(CourseError, match=r"\(100,\) and \(50,\)"):
        evaluation.paired_difference(before, after[:50])


def test_the_paired_interval_covers_the_truth_19_times_in_20():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        u = rng.random(200)
        before, after = u < 0.7, (u > 0.1) & (u < 0.85)  # 0.70 and 0.75
        _, low, high = evaluation.paired_difference(before, after)
        hits += low <= 0.05 <= high
    assert 0.93 < hits / 2000 < 0.975


@pytest.mark.parametrize("gained, lost, p", [(1, 7, 0.0703), (0, 0, 1.0), (5, 5, 1.0), (59, 16, 6.114e-7)])
def test_mcnemar(gained, lost, p):
    """The first is the example of Fagerland et al. 2013, "The McNemar test for binary matched-pairs data"."""
    before = np.repeat([False, True, True, False], [gained, lost, 20, 5])
    after = np.repeat([True, False, True, False], [gained, lost, 20, 5])
    assert evaluation.mcnemar(before, after) == pytest.approx(p, rel=2e-3)
    assert evaluation.mcnemar(after, before) == pytest.approx(p, rel=2e-3)
    few, both = min(gained, lost), gained + lost
    tail = sum(comb(both, k) for k in range(few + 1)) / 2**both
    assert evaluation.mcnemar(before, after) == pytest.approx(min(1, 2 * tail))


def test_mcnemar_refuses_what_are_no_pairs():
    with pytest.raises(CourseError, match="are not pairs"):
        evaluation.mcnemar(np.ones(3, bool), np.ones(4, bool))


def test_holm_adjusts_in_the_order_given():
    """By hand: p times the number of p-values that are not smaller; never less than for a smaller p."""
    assert evaluation.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert evaluation.holm([0.5, 0.9, 0.001]) == pytest.approx([1.0, 1.0, 0.003])
    assert evaluation.holm([]) == []


def test_a_record():
    record = evaluation.record(np.array([True, False, True, True]), **FIELDS)
    assert {name: record[name] for name in FIELDS} == FIELDS
    assert set(record) - set(FIELDS) == {"n", "correct", "accuracy", "ci_low", "ci_high"}
    assert (record["n"], record["correct"], record["accuracy"]) == (4, 3, 0.75)
    assert (record["ci_low"], record["ci_high"]) == evaluation.wilson(3, 4)
    assert json.loads(json.dumps(record)) == record  # nothing of NumPy's in it


@pytest.mark.parametrize("changed", [{"stage": None}, {"colour": "blue"}])
def test_a_record_has_all_fields_and_no_other(changed):
    fields = {name: value for name, value in (FIELDS | changed).items() if value is not None}
    with pytest.raises(TypeError):
        evaluation.record(np.ones(4, bool), **fields)


def test_published_records_are_found_in_the_notebook(monkeypatch):
    from helpers import report

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
    records = [evaluation.record(np.ones(4, bool), **FIELDS)]
    evaluation.publish(records)
    output = nbformat.v4.new_output("display_data", data=shown[0])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    assert report.records_in(nbformat.reads(nbformat.writes(notebook), as_version=4)) == records


# ------------------------------------------------------------------------------------------------ predictions


@pytest.mark.parametrize("size", [1, 5, 12, 500])
def test_predictions_do_not_depend_on_the_batch_size(cnn, images, size):
    expected = cnn(images, training=False)
    np.testing.assert_allclose(evaluation.predict(cnn, images, size), expected, atol=1e-5)
    np.testing.assert_allclose(
        evaluation.predict(lambda x: cnn(x), images[:7], size), expected[:7], atol=1e-5
    )


@pytest.mark.parametrize("kind, scale", [(np.uint8, 255), (np.uint16, 65535), (np.float64, 1)])
def test_any_form_of_images(cnn, images, kind, scale):
    stored = (images.astype(np.float64) * scale).round(0 if scale > 1 else 9).astype(kind)
    np.testing.assert_allclose(evaluation.predict(cnn, stored), evaluation.predict(cnn, images), atol=1e-5)


def test_it_is_traced_for_one_shape_only(images):
    shapes = []

    @tf.function
    def model(x):
        shapes.append(x.shape)
        return tf.reduce_mean(x, (1, 2))

    assert evaluation.predict(model, images, 5).shape == (12, 3)
    assert shapes == [(5, 32, 32, 3)]


def test_what_is_correct(cnn, images):
    labels = evaluation.predict(cnn, images).argmax(1)
    assert evaluation.is_correct(cnn, images, labels).all()
    labels[3] = (labels[3] + 1) % 10
    assert evaluation.is_correct(cnn, images, labels).tolist() == [i != 3 for i in range(12)]


def test_difference_is_newcombes():
    """Newcombe 1998, table II, example (a): 56 of 70 against 48 of 80, by method 10."""
    a, b = (evaluation.proportion(np.arange(n) < k) for k, n in ((48, 80), (56, 70)))
    np.testing.assert_allclose(evaluation.difference(a, b), (0.2, 0.0524, 0.3339), atol=5e-5)


@pytest.mark.parametrize("key, words", [("input", titles.INPUT_TITLES), ("threat", titles.THREAT_TITLES)])
def test_every_recorded_key_has_a_word(key, words):
    assert {record[key] for record in recorded_results()["records"]} <= set(words)
