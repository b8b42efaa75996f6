"""What notebook 07 says about its numbers: the verdicts follow the measurements."""

import numpy as np
import pandas as pd
import pytest

from helpers import pipeline, settings
from helpers.studies import baseline_sentences as sentences
from helpers.studies import baselines, robust_models

FIELDS = {
    "dataset": "cifar10",
    "profile": "smoke",
    "model": "resnet20",
    "stage": "s",
    "defense": "none",
    "input": "pgd",
    "threat": "adaptive",
    "eps": 8 / 255,
    "steps": 1,
    "seed": 0,
}


def answers(right, of=200, **fields):
    return pipeline.Answers(FIELDS | fields, np.arange(of) < right)


def history(*epochs):
    return [
        {"epoch": k, "loss": loss, "clean": clean, "pgd": pgd, "training_pgd": training}
        for k, (loss, clean, pgd, training) in enumerate(epochs, 1)
    ]


def card(*epochs, kept=1, **fields):
    return {
        "title": "a training",
        "history": history(*epochs),
        "kept_epoch": kept,
        "minutes": 8.0,
        "recipe": {"epochs": 10},
        "n": 2000,
        **fields,
    }


FELL = card((1.6, 0.7, 0.2, 0.2), (0.9, 0.1, 0.02, 0.02))
HELD = card((1.6, 0.7, 0.2, 0.2), (0.9, 0.7, 0.15, 0.15))


class Run:
    """What the sentences ask of a run."""

    comparable = True
    model = "resnet20"
    eps = 8 / 255
    label = ""
    notice = ""
    profile = settings.PROFILES["full"]


def test_a_training_collapsed_below_half_of_its_best():
    assert sentences.collapsed(FELL) and not sentences.collapsed(HELD)
    assert sentences.collapse_title(FELL) != sentences.collapse_title(HELD)
    told = sentences.collapse_found(FELL)
    for number in ("epoch 2 of 10", "1.60", "0.90", "70.0%", "10.0%", "20.0%", "2.0%"):
        assert number in told
    assert "did not" in sentences.collapse_found(HELD) and "did not" not in told


def test_a_training_is_a_line_with_its_costs():
    without_epoch = {k: v for k, v in HELD.items() if k != "kept_epoch"}
    named = without_epoch | {"title": "trained on noise"}
    lines = sentences.trainings({"one": HELD, "noise_25": named}).splitlines()
    assert lines[1].split() == ["a", "training", "2", "1", "8", "4.0"]
    assert lines[2].split() == ["trained", "on", "noise", "2", "–", "8", "4.0"]
    assert len({len(line) for line in lines}) == 1  # the columns are straight
    assert len(sentences.trainings({}).splitlines()) == 1
    assert "20%" in sentences.curve_title(HELD) and "Epoch 1" in sentences.curve_alt(HELD)


def test_overfitting_is_told_by_thirds():
    trained = card(*((1, 1, pgd, own) for pgd, own in ((0.2, 0.2), (0.25, 0.3), (0.1, 0.5))), kept=2)
    told = sentences.overfitting_found(trained)
    assert "30.0%, then 50.0%" in told and "25.0%, then 10.0%" in told
    assert "epoch 2 has 25.0 [21.4, 29.0]" in told and f"n = {robust_models.WATCHED}" in told
    title = sentences.overfitting_title(trained)
    assert "30% to 50%" in title and "25% to 10%" in title


def found(worst, apgd, square, clean=180):
    kinds = {"regular": clean, "square": square, "apgd": apgd, "worst_case": worst}
    return {kind: answers(right) for kind, right in kinds.items()}


def test_images_that_contradict_the_order_are_counted():
    lines = sentences.order({"initial": found(0, 0, 10), "madry": found(60, 70, 64)}).splitlines()
    assert lines[1].split() == ["initial", "classifier", "0", "0", "of", "0"]
    assert lines[2].split() == ["PGD", "adversarial", "training", "0", "6", "of", "70"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("after, verdict", [(40, "less"), (120, "more"), (80, "no difference")])
def test_what_an_autoencoder_gains_is_paired(after, verdict):
    both = {"single_step": found(80, 90, 100), "joint": found(after, 120, 130)}
    clean, worst = sentences.autoencoder_gains(both).splitlines()
    assert verdict in worst and "no difference" in clean
    assert f"40.0% to {after / 2:.1f}% of 200" in worst
    assert "\n" not in sentences.autoencoder_gains({"initial": found(0, 0, 0)})


@pytest.mark.parametrize(
    "clean, worst, verdicts",
    [
        (180, 120, ["reached"] * 4),
        (100, 20, ["missed"] * 4),
        (156, 72, ["undecided at this n"] * 4),
    ],
)
def test_an_aim_is_reached_where_the_whole_interval_is(clean, worst, verdicts):
    told = sentences.aims(Run, {"initial": found(0, 0, 0), "madry": found(worst, 190, 190, clean)})
    assert [part.rpartition(": ")[2] for part in told.rstrip(".").split("; ")] == verdicts
    assert "initial" not in told


def test_aims_are_those_of_one_network():
    class Other(Run):
        model = "sepreresnet56"

    assert "reached" not in sentences.aims(Other, {"madry": found(120, 190, 190)})


def test_titles_name_the_best():
    systems = {"initial": found(0, 0, 0), "joint": found(60, 70, 80), "madry": found(70, 80, 90)}
    title = sentences.tradeoff_title(Run, systems)
    assert "35.0 [28.7, 41.8]%" in title and baselines.SYSTEMS["madry"].title in title
    assert "90.0 clean, 30.0 worst case" in sentences.tradeoff_alt(systems)
    curves = {
        "noise_25": [answers(120, eps=r).record() for r in (0, 0.25)],
        "initial": [answers(20, eps=r).record() for r in (0, 0.25)],
    }
    assert "60.0" in sentences.certified_title(curves) and "noise" in sentences.certified_title(curves)
    assert "ResNet-110" in sentences.certified_alt(curves, True)
    assert "ResNet-110" not in sentences.certified_alt(curves, False)


def test_captions_have_the_number_of_images():
    systems = {"initial": found(0, 0, 0)}
    simple = {"blur": {"static": answers(3)}}
    curves = {"initial": [answers(20, eps=0.25).record()]}
    assert "n = 200 " in sentences.attacked(Run, systems) and "1,000 queries" in sentences.attacked(
        Run, systems
    )
    assert "n = 200" in sentences.compared(Run, systems)
    assert "n = 200" in sentences.transformed_caption(Run, simple)
    assert "n = 200 " in sentences.certified_caption(Run, curves)


def test_walls_are_radii_in_both_norms():
    lines = sentences.walls(Run).splitlines()
    assert "1.74" in lines[0] and "2,000" in lines[1]
    assert "0.68 (3.1/255)" in lines[2] and "0.95 (4.4/255)" in lines[2]


def test_the_opening_names_what_is_lacking(monkeypatch):
    monkeypatch.setattr(robust_models, "recorded", lambda run, name: True)
    assert sentences.opening(Run) == ""
    monkeypatch.setattr(robust_models, "recorded", lambda run, name: name != "madry")
    monkeypatch.setattr(robust_models, "command", lambda run, name: f"train {name}")
    assert "train madry" in sentences.opening(Run) and "single_step" not in sentences.opening(Run)


def test_the_checklist_is_one_line():
    table = pd.DataFrame(
        {"check": ["a", "b"], "passed": [True, False], "value": ["1", "2"], "bound": "", "meaning": ""}
    )
    told = sentences.checked("madry", table, 50)
    assert "PGD adversarial training" in told and "n = 50" in told and "\n" not in told
