"""What was recorded, beside what a smaller run measures."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import evaluation, pipeline, settings
from helpers.pipeline import recorded

FIELDS = {"dataset": "cifar10", "model": "resnet20", "stage": "fine_tuned", "defense": "ae", "seed": 0}


def record(correct: int, n: int, profile: str, kind: str = "pgd") -> dict:
    given = FIELDS | {"input": kind, "threat": "static", "eps": settings.EPS, "steps": 10}
    return evaluation.record(np.arange(n) < correct, profile=profile, **given)


@pytest.fixture
def full(monkeypatch):
    """The recorded run: 80% under PGD, 70% under FGSM."""
    found = {"runs": {}, "records": [record(8000, 10_000, "full"), record(7000, 10_000, "full", "fgsm")]}
    monkeypatch.setattr(recorded, "recorded_results", lambda: found)


def test_a_number_that_agrees_is_told_from_one_that_does_not(full):
    told = pipeline.agreement([record(81, 100, "quick"), record(50, 100, "quick", "fgsm")])
    assert "here in 1 of 2 cells" in told and "FGSM" in told.split("not in")[1]
    told = pipeline.agreement([record(81, 100, "quick"), record(68, 100, "quick", "fgsm")])
    assert "here in 2 of 2 cells" in told


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"eps": 4 / 255}, {"dataset": "patches10"}, {"profile": "full"}]
)
def test_a_run_that_cannot_be_compared_says_nothing(full, changes):
    assert pipeline.agreement([record(81, 100, "quick") | changes]) == ""
