"""Claims about two accuracies: paired where the same images are known, corrected for their number."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from helpers import evaluation
from helpers.pipeline import Answers, comparisons

FIELDS = {"dataset": "cifar10", "profile": "quick", "model": "resnet20", "seed": 0, "eps": 0.03, "steps": 10}
FIELDS |= {"stage": "initial", "input": "pgd", "threat": "static"}


def of(correct, defense):
    return Answers({**FIELDS, "defense": defense}, correct)


def test_a_paired_comparison():
    before, after = np.arange(100) < 40, np.arange(120) < 52
    (found,) = comparisons.of_answers([(before, after)])
    points = [100 * x for x in evaluation.paired_difference(before, after[:100])]
    assert (found.points, found.low, found.high) == pytest.approx(points)
    assert found.p == evaluation.mcnemar(before, after[:100]) and (found.n, found.sign) == (100, 1)
    assert comparisons.of_answers([(after, before)])[0].sign == -1


def test_each_claim_counts_for_the_others():
    pairs = [(np.arange(100) < 40, np.arange(100) < 40 + more) for more in (6, 0, 1, 2)]
    alone = comparisons.of_answers(pairs[:1])[0]
    together = comparisons.of_answers(pairs)
    assert alone.sign == 1 and [one.sign for one in together] == [0, 0, 0, 0]
    assert together[0].p == pytest.approx(4 * alone.p)
    assert (together[0].low, together[0].high) == (alone.low, alone.high)


def test_records_are_paired_where_both_answers_are_known():
    before, after = of(np.arange(100) < 40, "none"), of(np.arange(100) < 48, "ae")
    records, known = (before.record(), after.record()), {a.cell: a.correct for a in (before, after)}
    assert comparisons.of_records([records], known) == comparisons.of_answers(
        [(before.correct, after.correct)]
    )
    known.pop(after.cell)
    for answers in (None, known):
        (found,) = comparisons.of_records([records], answers)
        assert (found.n, found.sign) == (0, 0)
        assert found.p == pytest.approx(fisher_exact([[40, 60], [48, 52]]).pvalue)
