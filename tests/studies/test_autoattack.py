"""AutoAttack on a system: parts, precision, and what is recorded; on a few images and a small network."""

import numpy as np
import pytest
from support import small_in_registry

from helpers import attacks, evaluation, pipeline, settings
from helpers.attacks import attack_ensemble
from helpers.settings import CourseError
from helpers.studies import autoattack, baselines

N = 7


@pytest.fixture(scope="module")
def case(small_weights):
    """A run and what broke N images, measured in parts of four."""
    with pytest.MonkeyPatch.context() as patch, small_in_registry():
        effort = attack_ensemble.Effort(steps=3, restarts=1, classes=2, queries=5, with_fab=True)
        patch.setitem(attack_ensemble.EFFORTS, "autoattack", effort)
        patch.setattr(autoattack, "PART", 4)
        patch.setitem(autoattack.EPS, "linf", 2 / 255)
        run = pipeline.start("patches10", "small", "smoke", weights=str(small_weights))
        yield run, autoattack.measure(run, "initial", N)


@pytest.fixture
def recorded_here(tmp_path, monkeypatch):
    """The folder of figures is empty, and the budgets are the course's."""
    monkeypatch.setattr(settings, "FIGURES", tmp_path)
    monkeypatch.setitem(autoattack.EPS, "linf", settings.EPS)


def an_entry(system="madry", norm="linf", **fields):
    numbers = {"model": "resnet20", "dataset": "cifar10", "system": system, "norm": norm}
    numbers |= {"eps": autoattack.EPS[norm]} | evaluation.proportion(np.arange(10) < 4)
    return numbers | fields


@pytest.mark.deep
def test_an_image_is_broken_where_the_system_itself_is_fooled(case):
    run, broken_by = case
    assert broken_by.shape == (N,) and set(broken_by) <= {"", "clean", "apgd-ce", "apgd-t", "fab-t", "square"}
    images, labels = run.data.test.take(N)
    right = evaluation.is_correct(run.classifier, run.data.test.pixels[:N], labels)
    np.testing.assert_array_equal(broken_by != "clean", right)
    members = attacks.ensemble("autoattack")
    exact = attacks.worst_case(
        run.classifier, images[:4], labels[:4], 2 / 255, attacks=members, seed=run.seed
    )
    assert (exact.robust == (broken_by[:4] == "")).mean() >= 0.75  # crafted in bfloat16 perhaps, but alike


@pytest.mark.deep
def test_a_stopped_measurement_keeps_its_parts(case, monkeypatch):
    run, broken_by = case
    monkeypatch.setattr(attacks, "worst_case", lambda *_, **__: pytest.fail("a part was made again"))
    np.testing.assert_array_equal(autoattack.measure(run, "initial", N), broken_by)


@pytest.mark.deep
def test_an_entry_counts_what_broke_the_images(case):
    run, broken_by = case
    found = autoattack.entry(run, "initial", "linf", broken_by, np.array([True, False]))
    assert found["n"] == N and found["correct"] == (broken_by == "").sum()
    assert sum(found["broken_by"].values()) + found["correct"] == N
    assert found["torchattacks"]["n"] == 2 and found["weights"] == pipeline.checksum(run.classifier)


@pytest.mark.deep
def test_what_cannot_be_measured_is_said(case):
    run, _ = case
    with pytest.raises(CourseError, match="unknown norm 'l1'; choose one of linf, l2"):
        autoattack.measure(run, "initial", 4, "l1")
    with pytest.raises(CourseError, match="99,999 images are asked for"):
        autoattack.measure(run, "initial", 99_999)
    with pytest.raises(CourseError, match="unknown system 'strong'"):
        autoattack.measure(run, "strong", 4)


def test_what_only_the_copy_gets_wrong_is_attacked_again(monkeypatch):
    """The copy is wrong on the first two of three attacked images, the model only on the first."""
    wrong = {"copy": [True, True, False], "model": [True, False, False]}
    monkeypatch.setattr(attacks, "fooled", lambda judge, *_: np.array(wrong[judge]))
    seen = []

    def attack(target, images, labels, eps, seed):
        seen.append((target, labels.tolist(), eps, seed))
        return images + (1 if target == "copy" else 2)

    given = np.zeros((3, 1, 1, 1)), np.arange(3), 0.5, 7
    attacked = autoattack.crafted_on("copy", "exact", {"one": attack})["one"]("model", *given)
    assert attacked.ravel().tolist() == [1, 2, 1]
    assert seen == [("copy", [0, 1, 2], 0.5, 7), ("exact", [1], 0.5, 7)]
    attacked = autoattack.crafted_on("exact", "exact", {"one": attack})["one"]("model", *given)
    assert attacked.ravel().tolist() == [2, 2, 2] and len(seen) == 3


def test_two_verdicts_are_compared_on_the_same_images():
    ours, theirs = np.array([True, True, False, False, True]), np.array([True, False, True, False])
    found = autoattack.agreement(ours, theirs)
    assert (found["n"], found["correct"], found["ours"]) == (4, 2, 0.5)
    assert (found["robust_only_here"], found["robust_only_there"]) == (1, 1)


def test_a_new_entry_replaces_the_old_one_of_the_same_system_and_norm(recorded_here):
    assert autoattack.recorded() == [] and autoattack.recorded_verdicts() == {}
    old, new = np.arange(10) < 3, np.arange(10) < 4
    autoattack.write(an_entry(n=10, correct=3), old, old[:2])
    autoattack.write(an_entry("single_step"), new)
    autoattack.write(an_entry(norm="l2"), new)
    autoattack.write(an_entry(), new)
    assert [(e["system"], e["norm"], e["correct"]) for e in autoattack.recorded()] == [
        ("madry", "l2", 4),
        ("madry", "linf", 4),
        ("single_step", "linf", 4),
    ]
    verdicts = autoattack.recorded_verdicts()
    assert set(verdicts) == {autoattack.key_of(e) for e in autoattack.recorded()}
    assert verdicts["cifar10/resnet20/madry/linf"].sum() == 4


def test_the_readme_shows_both_or_says_that_one_is_missing(recorded_here):
    assert autoattack.readme_table() == ""
    robust = np.arange(10) < 4
    theirs = autoattack.agreement(robust, np.arange(5) < 3)
    autoattack.write(an_entry(torchattacks=theirs), robust)
    autoattack.write(an_entry("single_step", norm="l2"), robust)
    first, second = autoattack.readme_table().splitlines()[-2:]
    title = f"ResNet-20, {baselines.SYSTEMS['madry'].title}"
    assert first.startswith(f"| {title} | linf, 8/255 | 40.0 [") and first.endswith("| 80.0 | 1 of 5 |")
    assert "| l2, 0.5 | 40.0 [" in second and second.endswith("| 10 | – | – | – |")
