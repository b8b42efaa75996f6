"""The evaluation checklist of a run: which images it checks, which checks it makes, and that it is kept."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from helpers import checklist, pipeline, settings


@pytest.fixture
def run(monkeypatch):
    tiny = replace(settings.PROFILES["smoke"], n_test=40, n_checklist=40)
    monkeypatch.setitem(settings.PROFILES, "smoke", tiny)
    return pipeline.start("patches10", "resnet20", "smoke")


@pytest.mark.deep
def test_a_runs_checks_are_computed_once_and_in_words(run, monkeypatch):
    table = pipeline.run_checklist(run, run.classifier, transfer="pgd")
    assert not len(checklist.failed_checks(table)), checklist.markdown(checklist.failed_checks(table))
    assert [int(n) for n in re.findall(r"\d+", checklist.summary(table))] == [23, 0, 4]
    assert table.set_index("check").loc["end-to-end <= transfer", "bound"]
    monkeypatch.setattr(checklist, "check_evaluation", lambda *_, **__: pytest.fail("it was computed again"))
    assert pipeline.run_checklist(run, run.classifier, transfer="pgd").equals(table)


@pytest.mark.slow
def test_a_runs_weaker_images_are_found(run):
    """Accuracy on FGSM's images does not bound the accuracy under PGD."""
    table = pipeline.run_checklist(run, run.classifier, attacked="fgsm")
    assert "fresh images" in set(checklist.failed_checks(table)["check"])
    assert "*fresh images*" in checklist.summary(table)


@pytest.mark.deep
def test_only_a_full_run_has_all_checks(run, monkeypatch):
    asked = []
    monkeypatch.setattr(
        checklist,
        "check_evaluation",
        lambda *_, quick, **__: asked.append(quick) or pd.DataFrame([{"check": "x"}]),
    )
    for name in ("quick", "full"):
        pipeline.run_checklist(replace(run, profile=replace(run.profile, name=name)), run.classifier)
    assert asked == [True, False]
