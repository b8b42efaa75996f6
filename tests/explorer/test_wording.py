"""What the explorer says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import explorer
from helpers.explorer import Choice
from helpers.settings import Networks


def seen(label, then, now, changed=True, attack="pgd"):
    """A view of a cat, an airplane or grass, by number: what it is, was taken for and is taken for."""
    before, after = np.full(3, 0.1), np.full(3, 0.035)
    before[then], after[now] = 0.8, 0.93
    image = np.zeros((32, 32, 3), np.float32)
    return explorer.View(
        choice=Choice(attack=attack),
        classes=("cat", "airplane", "grass"),
        label=label,
        original=image,
        attacked=image + changed * np.float32(0.01),
        reconstructed=image,
        before=before,
        after=after,
    )


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (seen(0, 0, 0, changed=False), "Taken for a cat (93%), which is right."),
        (
            seen(1, 0, 0, changed=False),
            "Taken for a cat (93%), but it is an airplane: wrong without any attack.",
        ),
        (seen(None, 0, 0, changed=False), "Taken for a cat (93%)."),
        (seen(0, 0, 0), "Still taken for a cat (93%; 80% before), which is right."),
        (seen(2, 0, 0), "Still taken for a cat (93%; 80% before), but it is grass."),
        (seen(None, 0, 0), "Still taken for a cat (93%; 80% before)."),
        (seen(1, 1, 0), "Taken for a cat (93%); an airplane before (80%), and an airplane it is."),
        (seen(2, 1, 0), "Taken for a cat (93%); an airplane before (80%). It is grass."),
        (seen(0, 1, 0), "Taken for a cat (93%), which is right; an airplane before (80%)."),
        (seen(None, 2, 0), "Taken for a cat (93%); grass before (80%)."),
    ],
)
def test_the_verdict_in_words(view, text):
    assert explorer.verdict(view) == text


NAN = np.full(3, np.nan)


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (replace(seen(0, 0, 0), after=NAN), "No answer (NaN); a cat before (80%). It is a cat."),
        (
            replace(seen(0, 0, 0), before=NAN, after=NAN),
            "No answer (NaN); no answer before (NaN). It is a cat.",
        ),
        (replace(seen(None, 0, 0, changed=False), after=NAN), "No answer (NaN)."),
        (
            replace(seen(0, 0, 1), before=NAN),
            "Taken for an airplane (93%); no answer before (NaN). It is a cat.",
        ),
    ],
)
def test_a_nan_is_no_answer(view, text):
    """Not even a cat, class 0, which plain argmax takes it for."""
    assert explorer.verdict(view) == text and not explorer.is_right(view)


def test_percentages_do_not_round_to_certainty():
    shown = [explorer.percent(p) for p in (0.0, 0.001, 0.005, 0.5, 0.9949, 0.9951, 1.0, np.nan)]
    assert shown == ["0%", "<1%", "0%", "50%", "99%", ">99%", "100%", "NaN"]


def test_the_threat_model_in_words():
    say = explorer.threat_model
    assert say(Choice(attack="none")) == "Nobody attacks."
    assert "8/255, up or down at random" in say(Choice(attack="noise"))
    assert say(Choice(attack="fgsm", threat="adaptive")).startswith(
        "The attacker knows autoencoder and network, and"
    )
    assert say(Choice(attack="fgsm")).endswith("at most 8/255, in one step.")
    assert say(Choice(threat="static", steps=7, eps=32 / 255)).endswith(
        "at most 32/255, in 7 steps of 0.0314."
    )


def test_the_frames_are_described_and_closed_in_words():
    views = {
        ("grey_box", 0.0): seen(0, 0, 0, changed=False),
        ("grey_box", 8 / 255): seen(0, 0, 0),
        ("adaptive", 8 / 255): seen(0, 0, 1),
    }
    alt, box = explorer.grid_alt(views, 5), explorer.conclusions(views, 5)
    for text in (alt, box):
        assert "Test image 5, a cat" in text and explorer.finding(views) in text
    assert "budgets of 0, 8 of 255" in alt and "PGD end-to-end" in alt
    assert all(line.startswith(">") for line in box.splitlines()) and "n = 1" in box


def test_the_networks_origin_in_words():
    assert len({explorer.origin(networks) for networks in Networks}) == len(Networks)
    assert "ships" in explorer.origin("shipped") and "ships" not in explorer.origin("trained")
