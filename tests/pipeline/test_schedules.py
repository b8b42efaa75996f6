"""Fine-tuning schedules: their rates, their name on cards, and which shipped networks they match."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from helpers import pipeline, settings, training
from helpers.pipeline import schedules, shipped, shipping, tuning
from helpers.settings import CourseError, Networks


@pytest.fixture(scope="module")
def run():
    started = pipeline.start("patches10", "resnet20", "smoke")
    return replace(started, profile=replace(settings.profile("full"), n_train=32, n_validation=8))


def test_the_papers_text_and_the_authors_log(run):
    """Reference: the paper, section 2, and the released log; rates do not decay within a phase."""
    assert [(p.epochs, p.rates) for p in schedules.phases("resnet20", run.profile, "paper")] == [
        (3, (1e-4, 1e-4))
    ]
    deep = replace(run, model="sepreresnet56", schedule="paper")
    assert [(len(sources), epochs) for sources, epochs in pipeline.phases_of(deep)] == [
        (6, 3),
        (4, 1),
        (4, 3),
    ]
    assert tuning._rates(deep, pipeline.phases_of(deep), 32) == [(1e-4, 1e-4), (1e-4, 1e-4), (1e-5, 1e-5)]
    parts = ["ae", "fine_tuned_1", "fine_tuned_2", "fine_tuned"]
    assert list(shipping.parts_of(deep)) == parts
    assert schedules.schedule_of("efficientnet_b0", "paper") == "decay"
    with pytest.raises(CourseError, match="decay"):
        pipeline.start("patches10", "resnet20", "smoke", schedule="constant")


def test_the_recorded_schedule_and_experiments_decay_once(run):
    (rates,) = tuning._rates(run, pipeline.phases_of(run), 32)
    assert rates == pytest.approx(training.FINE_TUNE_RATES)
    other = [(["regular"], 2)]  # an experiment's own phases
    assert tuning._rates(replace(run, schedule="paper"), other, 32) == [
        pytest.approx(training.FINE_TUNE_RATES)
    ]


def test_a_card_without_a_schedule_is_of_the_recorded_one(run, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    for part, about in (("ae", {}), ("fine_tuned", {"phases": pipeline.phases_of(run)})):
        file = shipped.card_file(run, part)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(about))
    other = replace(run, schedule="paper")
    assert pipeline.is_shipped(run, "fine_tuned") and not pipeline.is_shipped(other, "fine_tuned")
    assert pipeline.is_shipped(other, "ae")
    file.write_text(json.dumps(about | {"schedule": "paper"}))
    assert pipeline.is_shipped(other, "fine_tuned") and not pipeline.is_shipped(run, "fine_tuned")


def test_shipped_networks_are_those_of_the_current_schedule():
    for model in schedules.PAPER:
        card = json.loads((settings.WEIGHTS / "cifar10" / f"{model}_fine_tuned.json").read_text())
        assert card.get("schedule", "decay") == schedules.CURRENT


@pytest.mark.slow
def test_the_papers_schedule_is_trained_at_its_rates(run, monkeypatch, another_store):
    taken = []

    def fine_tune(model, samples, epochs, *, rates, **options):
        taken.append((len(samples.sources), epochs, rates))
        return [{"epoch": 1, "loss": 1.0}]

    monkeypatch.setattr(training, "fine_tune", fine_tune)
    another_store(settings.ARTIFACTS / "schedules")
    small = replace(run, profile=replace(settings.profile("smoke"), n_train=32, n_validation=0, ae_epochs=1))
    for schedule in schedules.SCHEDULES:
        pipeline.fine_tuned(replace(small, schedule=schedule, networks=Networks.TRAINED))
    assert taken == [(6, 1, training.FINE_TUNE_RATES), (6, 3, (1e-4, 1e-4))]
