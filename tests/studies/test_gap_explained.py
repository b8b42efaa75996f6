"""What a cross table says: the steps to the paper's number, their range, the sentences, and the spread."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import evaluation
from helpers.pipeline import published
from helpers.studies import gap_explained
from helpers.studies.gap_explained import Combination

PAPER = {("fgsm", "none"): 30.0, ("pgd", "none"): 0.0, ("fgsm", "ae"): 60.0, ("pgd", "ae"): 70.0}


@pytest.fixture(autouse=True)
def paper(monkeypatch):
    numbers = {(kind, "initial", defense): value for (kind, defense), value in PAPER.items()}
    monkeypatch.setitem(published.PAPER, "resnet20", numbers)


def right(percent, n=1000):
    return np.arange(n) < round(n * percent / 100)


def table(values):
    """Answers by combination, from percents under FGSM; PGD leaves 5 points less."""
    return {
        Combination(*place): {"regular": right(90), "fgsm": right(value), "pgd": right(max(value - 5, 0))}
        for place, value in values.items()
    }


WHOLE = {
    (base, attack, autoencoder): 10 + 20 * (autoencoder != "none") + 8 * (attack != "right") + gained
    for base, gained in (("shipped", 0), ("mixup", 7), ("mixup_label_smoothing", 12))
    for attack in ("right", "raw", "raw_softmax")
    for autoencoder in ("none", "shipped", "released", "seed_1", "seed_2")
}


def steps(answers, kind, defense):
    found = {"steps": gap_explained.explained("resnet20", answers)}
    return gap_explained.steps_of(found, kind, defense)


def test_the_steps_lead_from_the_course_to_the_paper():
    found = steps(table(WHOLE), "fgsm", "ae")
    assert [step["cause"] for step in found] == [
        "course", "autoencoder", "raw_gradient", "softmax", "base", "paper",
    ]  # fmt: skip
    assert [round(step.get("points", 0), 6) for step in found] == [0, 0, 8, 0, 12, 10]
    assert found[0]["accuracy"] + sum(step["points"] for step in found[1:]) == pytest.approx(60)
    assert found[4]["to"] == Combination("mixup_label_smoothing", "raw_softmax", "released")._asdict()
    raw = found[2]
    assert raw["low"] < raw["points"] < raw["high"]


def test_without_an_autoencoder_its_recipe_is_no_cause():
    found = steps(table(WHOLE), "pgd", "none")
    assert [step["cause"] for step in found] == ["course", "raw_gradient", "softmax", "base", "paper"]
    assert {step["to"]["autoencoder"] for step in found if "to" in step} == {"none"}


def test_the_range_is_over_the_other_causes_levels():
    values = dict(WHOLE)
    values["mixup", "raw", "seed_1"] += 5
    values["mixup", "raw", "none"] += 40  # of the other defense
    raw = steps(table(values), "fgsm", "ae")[2]
    assert (raw["points"], raw["least"], raw["most"]) == pytest.approx((8, 8, 13))


def test_what_is_not_measured_is_no_step():
    few = {place: value for place, value in WHOLE.items() if place[0] == "shipped" and place[2] != "released"}
    found = steps(table(few), "fgsm", "ae")
    assert [step["cause"] for step in found] == ["course", "raw_gradient", "softmax", "paper"]
    without_raw = {place: value for place, value in few.items() if place[1] != "raw"}
    assert [step["cause"] for step in steps(table(without_raw), "fgsm", "ae")] == ["course", "paper"]
    assert steps({}, "fgsm", "ae") == []


def whole(answers, model="resnet20"):
    return {
        "parameters": {"model": model, "images": 1000},
        "records": [
            {"stage": "initial", "defense": "none" if place.autoencoder == "none" else "ae", "input": kind}
            | place._asdict()
            | evaluation.proportion(correct)
            for place, by_kind in answers.items()
            for kind, correct in by_kind.items()
        ],
        "steps": gap_explained.explained(model, answers),
        "not_measured": [{"network": "author", "why": "the author's file was not named"}],
    }


def test_two_sentences_say_what_explains_and_what_remains():
    text = gap_explained.sentences(whole(table(WHOLE)))
    assert text.count(". ") == 1 and text.endswith(".")
    explains, remains = text.split(". ")
    assert "+8.0 (FGSM with AE)" in explains and "+12.0 (PGD no AE)" in explains
    assert "+10.0 (FGSM with AE)" in remains and "-25.0 (PGD no AE)" in remains and "1 of 4" in remains
    few = {place: value for place, value in WHOLE.items() if place[0] == "shipped"}
    assert "the base network's recipe is not measured" in gap_explained.sentences(whole(table(few)))
    assert "no number" in gap_explained.sentences(whole(table(WHOLE), "efficientnet_b0"))


def test_the_nearest_combination_has_to_explain_every_cell():
    values = dict(WHOLE)
    values["mixup", "raw", "none"], values["mixup", "raw", "seed_2"] = 30.0, 62.0
    place, largest = gap_explained.nearest(whole(table(values)))
    assert place == Combination("mixup", "raw", "seed_2")
    assert largest == pytest.approx(25)  # PGD alone: 25 here, 0 in the paper
    alone = gap_explained.nearest(whole(table(values)), ("none",))
    assert alone == (Combination("shipped", "raw", "none"), 13)  # FGSM 12 and PGD 13 points away
    bare = {place: value for place, value in WHOLE.items() if place[2] == "none"}
    assert gap_explained.nearest(whole(table(bare))) is None
    assert gap_explained.nearest(whole(table(bare)), ("none",)) is not None


def test_the_spread_is_of_the_courses_cells_over_its_seeds():
    values = dict(WHOLE)
    values["shipped", "right", "seed_2"] += 4
    values["shipped", "raw", "seed_1"] += 30
    found = gap_explained.spread_over_seeds(whole(table(values)))
    assert set(found) == {(kind, "initial", "ae") for kind in ("regular", "fgsm", "pgd")}
    fgsm = found["fgsm", "initial", "ae"]
    assert (fgsm["seeds"], fgsm["lowest"], fgsm["mean"], fgsm["highest"]) == (2, 30, 32, 34)
    assert fgsm["deviation"] == pytest.approx(np.sqrt(8))


def test_a_reader_is_told_of_the_nearest_the_spread_and_what_is_missing():
    values = dict(WHOLE)
    values["mixup", "raw", "none"], values["mixup", "raw", "seed_2"] = 30.0, 62.0
    told = gap_explained.described(whole(table(values)))
    assert "all cells at once: base network mixup, raw gradient" in told and "25.0 points away" in told
    assert "cells without AE: base network the course's, raw gradient; up to 13.0 points away" in told
    found = whole(table(WHOLE))
    assert [len(steps) for steps in gap_explained.cells_of(found)] == [5, 5, 6, 6]
    assert "1 of 4" in gap_explained.headline(found)
    _, combinations, spread, missing = gap_explained.described(found).split("\n\n")
    assert combinations.count("\n") == 2 and missing == gap_explained.not_measured(found)
    assert spread.startswith("Over 2 seeds") and "FGSM 30.0 to 30.0" in spread
    without = {place: value for place, value in WHOLE.items() if not place[2].startswith("seed")}
    assert gap_explained.described(whole(table(without))).count("\n\n") == 2
    alone = gap_explained.described(whole(table(WHOLE), "efficientnet_b0")).split("\n\n")
    assert alone == [spread, missing], "the paper has no number to be near to"


def test_the_figure_is_described_with_its_numbers():
    found = whole(table(WHOLE))
    assert "+8.0 (FGSM with AE)" in gap_explained.alt(found) and "1,000" in gap_explained.mark(found)


def test_what_is_missing_is_named():
    assert "the author's" in gap_explained.not_measured(whole(table(WHOLE)))
    assert gap_explained.not_measured({"not_measured": []}) == ""
