"""What the explorer computes: the course's attacks, on one image."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from helpers import attacks, explorer, pipeline
from helpers.backend import tracing
from helpers.defenses import autoencoder as ae_module
from helpers.explorer import Choice, views
from helpers.settings import CourseError

DEFENDED = Choice(stage="fine_tuned", defense="ae")


@pytest.mark.parametrize("attack", explorer.ATTACKS)
@pytest.mark.parametrize("threat", explorer.THREATS)
def test_attacked_images_stay_within_the_budget(toys, attack, threat):
    image, label = explorer.test_image(toys, 0)
    for eps in (0.0, 3 / 255, 32 / 255):
        found = explorer.explore(toys, image, label, replace(DEFENDED, attack=attack, threat=threat, eps=eps))
        largest = np.abs(found.change).max()
        assert largest <= (0 if attack == "none" else eps) + 1e-6
        assert found.attacked.min() >= 0 and found.attacked.max() <= 1
        assert found.changed == (attack != "none" and eps > 0)
        if found.changed:
            assert largest > eps - 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "threat", "stage"),
    [
        ("pgd", "static", "fine_tuned"),
        ("pgd", "grey_box", "fine_tuned"),
        ("pgd", "adaptive", "fine_tuned"),
        ("pgd", "adaptive", "initial"),
        ("fgsm", "adaptive", "initial"),
    ],
)
def test_the_attack_is_the_courses_own_aimed_at_what_is_named(networks, attack, threat, stage):
    """Most values agree with the attack on the network as it was loaded; rounding flips some signs."""
    run, (image, label) = networks.run, explorer.test_image(networks, 5)
    choice = Choice(attack=attack, threat=threat, stage=stage, steps=3)
    target = pipeline.stages(run)["initial" if threat == "static" else stage]
    if threat == "adaptive":
        target = ae_module.defended(pipeline.autoencoder(run)[0], target)
    batch = image[None], np.array([label])
    expected = (
        attacks.fgsm(target, *batch, choice.eps)
        if attack == "fgsm"
        else attacks.pgd(target, *batch, choice.eps, step_size=0.01, steps=3, seed=0)
    )
    found = explorer.explore(networks, image, label, choice).attacked
    assert np.mean(np.abs(found - expected[0]) > 1e-5) < 0.02


@pytest.mark.deep
@pytest.mark.parametrize("stage", explorer.STAGES)
@pytest.mark.parametrize("defense", explorer.DEFENSES)
def test_the_answers_are_those_of_the_chosen_system(networks, stage, defense):
    run, (image, label) = networks.run, explorer.test_image(networks, 7)
    system, autoencoder = pipeline.stages(run)[stage], pipeline.autoencoder(run)[0]
    found = explorer.explore(networks, image, label, Choice(stage=stage, defense=defense))
    assert np.allclose(found.reconstructed, autoencoder(found.attacked[None])[0], atol=1e-5)
    for probabilities, seen in ((found.before, found.original), (found.after, found.attacked)):
        seen = autoencoder(seen[None]) if defense == "ae" else seen[None]
        logits = np.asarray(system(seen, training=False))[0]
        expected = np.exp(logits - logits.max())
        assert np.allclose(probabilities, expected / expected.sum(), atol=1e-4)


def test_without_a_known_class_the_attack_leads_away_from_the_answer(toys):
    for number in range(20):
        image, _ = explorer.test_image(toys, number)
        unknown = explorer.explore(toys, image, None, Choice())
        if answer := int(unknown.before.argmax()):
            break
    told = explorer.explore(toys, image, answer, Choice())
    assert answer and unknown.label is None and explorer.is_right(unknown) is None
    assert np.array_equal(unknown.attacked, told.attacked)


def test_the_same_position_gives_the_same_picture(toys):
    image, label = explorer.test_image(toys, 3)
    choice = replace(DEFENDED, threat="adaptive")
    first, again, other = (explorer.explore(toys, image, label, choice, seed) for seed in (0, 0, 1))
    assert np.array_equal(again.attacked, first.attacked)
    assert not np.array_equal(other.attacked, first.attacked)


@pytest.mark.deep
def test_nothing_is_traced_anew_and_an_answer_comes_soon(networks):
    """An answer takes a fraction of the time that tracing one graph takes.

    The bound is a ratio, so that it holds on a busy machine. A single trace, or an attack step by step in
    Python, would exceed it.
    """
    image, label = explorer.test_image(networks, 1)
    graphs = [
        *(graph for kept in tracing._kept.values() for graph in kept._functions.values()),
        networks.autoencoder,
        *networks.answers.values(),
        *networks.targets.values(),
    ]
    before, seconds = [graph.experimental_get_tracing_count() for graph in graphs], []
    for eps in range(0, 33, 8):
        for threat in explorer.THREATS:
            for stage in explorer.STAGES:
                choice = Choice(threat=threat, eps=eps / 255, stage=stage, defense="ae")
                begin = time.perf_counter()
                explorer.explore(networks, image, label, choice)
                seconds.append(time.perf_counter() - begin)
    for steps in (1, 3, 20):
        explorer.explore(networks, image, label, replace(DEFENDED, steps=steps))
        explorer.explore(networks, image, None, replace(DEFENDED, attack="fgsm", eps=steps / 255))
    assert [graph.experimental_get_tracing_count() for graph in graphs] == before
    begin = time.perf_counter()
    attacks.fgsm(
        views._compiled(pipeline.for_attack(networks.run.classifier)), image[None], np.array([label]), 0.1
    )
    assert np.median(seconds) < 0.5 * (time.perf_counter() - begin)


def test_budgets_and_findings(toys):
    number = explorer.first_recognised(toys, DEFENDED)
    budgets = [0, 8 / 255]
    views = explorer.over_budgets(toys, number, DEFENDED, budgets)
    assert list(views) == [(threat, eps) for threat in ("grey_box", "adaptive") for eps in budgets]
    assert explorer.is_right(views["grey_box", 0])
    known = dict(
        classes=("cat", "dog"), label=0, original=0, attacked=1, reconstructed=1, before=np.array([1, 0])
    )
    right, wrong = (explorer.View(DEFENDED, after=np.array(p), **known) for p in ([0.9, 0.1], [0.1, 0.9]))
    text = explorer.finding({("grey_box", 0): right, ("adaptive", 0): right, ("adaptive", 2 / 255): wrong})
    assert text == "PGD on the network: right throughout; PGD end-to-end: wrong from 2/255"


def test_a_nan_is_no_class(toys):
    """A network that says nothing is neither right about class 0 nor attacked as if it had answered 0."""

    def silent(_):
        return np.full((1, 10), np.nan, np.float32)

    networks = replace(toys, answers=dict.fromkeys(toys.answers, silent))
    assert toys.images.labels[0] != 0 and 0 in toys.images.labels
    assert explorer.first_recognised(networks, Choice()) == 0  # as where none is recognised
    image, label = explorer.test_image(toys, int(np.flatnonzero(toys.images.labels == 0)[0]))
    unknown = explorer.explore(networks, image, None, Choice(attack="noise"))
    assert unknown.answers == (-1, -1)
    with pytest.raises(CourseError, match="NaN"):
        explorer.explore(networks, image, None, Choice())
    view = explorer.explore(networks, image, label, Choice(attack="noise"))
    figure = explorer.grid({("grey_box", view.choice.eps): view}, 0)
    assert "no answer (NaN)" in [ax.get_title() for ax in figure.axes]
    assert "verdict wrong" in explorer.page(view) and "nan%" not in explorer.page(view)


def test_bad_choices_are_refused(toys):
    for wrong, message in (
        ({"attack": "magic"}, "unknown attack 'magic'"),
        ({"threat": "psychic"}, "unknown threat"),
        ({"stage": "last"}, "unknown stage"),
        ({"defense": "wall"}, "unknown defense"),
        ({"eps": 8}, "write 8/255"),
        ({"steps": 0}, "at least 1"),
        ({"steps": 1.5}, "at least 1"),
    ):
        with pytest.raises(CourseError, match=message):
            Choice(**wrong)
    assert Choice(eps="4/255", steps=2.0) == Choice(eps=4 / 255, steps=2)
    with pytest.raises(CourseError, match="no test image 128; this run has 0 to 127"):
        explorer.test_image(toys, 128)
