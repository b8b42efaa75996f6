"""What is measured of the author's pair, on a few images and with a small network in its place."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support import small_in_registry

from helpers import attacks, classifiers, evaluation, pipeline, settings
from helpers.attacks import attack_ensemble
from helpers.backend import keras
from helpers.cli.app import main
from helpers.datasets.storage import to_float, to_uint16
from helpers.defenses import autoencoder
from helpers.evaluation import percent
from helpers.maintain import verify
from helpers.settings import CourseError
from helpers.studies import released_ladder, released_pair, threat_ladder

pytestmark = pytest.mark.deep

N, STRONG = 8, 6


@pytest.fixture(scope="module")
def case(small_weights):
    """A run, a pair, and the pair's answers; the strong rungs are measured in parts of four images."""
    with pytest.MonkeyPatch.context() as patch, small_in_registry():
        effort = attack_ensemble.Effort(steps=3, restarts=1, classes=1, queries=5)
        patch.setitem(attack_ensemble.EFFORTS, "standard", effort)
        patch.setattr(threat_ladder, "MANY_STEPS", 20)
        patch.setattr(released_ladder, "PART", 4)
        run = pipeline.start("patches10", "small", "smoke", weights=str(small_weights))
        keras.utils.set_random_seed(1)
        pair = released_pair.Pair(classifiers.clone(run.classifier), autoencoder.build_autoencoder())
        yield run, pair, released_ladder.climb(run, pair, N, STRONG)


def of(answers, threat, defense, kind, steps=None):
    (found,) = [
        a
        for a in answers
        if (a.fields["threat"], a.fields["defense"], a.fields["input"]) == (threat, defense, kind)
        and steps in (None, a.fields["steps"])
    ]
    return found


def test_each_attacker_is_measured_once(case):
    _, _, answers = case
    names = [released_ladder.name_of(a.fields) for a in answers]
    assert len(set(names)) == len(names) == 2 + 2 * (2 + 2 + 1) + len(released_ladder.STRONG)
    assert {len(a.correct) for a in answers} == {N, STRONG}
    assert len(of(answers, "adaptive", "ae", "pgd", 20).correct) == STRONG


def test_what_is_attacked_is_what_the_record_says(case):
    run, pair, answers = case
    images, labels = run.data.test.head(N).take()
    for threat, target, defense, assessed in (
        ("transfer", run.classifier, "ae", pair.defended),
        ("grey_box", pair.classifier, "none", pair.classifier),
        ("adaptive", pair.defended, "ae", pair.defended),
    ):
        moved = pipeline.attack(pipeline.for_attack(target), images, labels, "fgsm", run.eps)
        right = evaluation.is_correct(assessed, moved, labels)
        np.testing.assert_array_equal(of(answers, threat, defense, "fgsm").correct, right)


def test_the_parts_are_other_images(case):
    run, pair, answers = case
    defense = threat_ladder.Defense("fine_tuned", "ae", pair.defended, pair.classifier)
    noise = of(answers, "static", "ae", "noise").correct
    for first, n in ((0, 4), (4, 2)):
        part = threat_ladder.measure(run, defense, run.eps, n, "standard", ["noise"], first)["noise"]
        np.testing.assert_array_equal(part.correct, noise[first : first + n])
        assert part.fields["seed"] == run.seed
    images, labels = run.data.test.take()
    moved = to_float(to_uint16(attacks.random_signs(images[4:6], run.eps, run.seed + 4)))
    np.testing.assert_array_equal(noise[4:], evaluation.is_correct(pair.defended, moved, labels[4:6]))


def test_more_images_than_there_are(case):
    run, pair, _ = case
    few = replace(run, data=replace(run.data, test=run.data.test.head(5)))
    with pytest.raises(CourseError, match="6 images are asked for, but there are 5"):
        released_ladder.climb(few, pair, 2, 6)


def test_what_is_recorded_is_shown_where_the_files_are_not(case, tmp_path, monkeypatch):
    run, _, answers = case
    monkeypatch.setattr(settings, "FIGURES", tmp_path)
    kept = evaluation.record(np.ones(3, bool), **run.fields("initial", "none", "regular", "static"))
    before = {"runs": {}, "records": [kept]}
    (tmp_path / "results.json").write_text(json.dumps(before))
    assert released_ladder.recorded() is None and released_ladder.recorded_answers() == {}
    released_ladder.write(released_ladder.section(run, answers), answers)
    assert {**before, "author": released_ladder.recorded()} == pipeline.recorded_results()
    records = released_ladder.recorded()["records"]
    assert {r["source"] for r in records} == {"author"}
    for record, (name, correct) in zip(records, released_ladder.recorded_answers().items(), strict=True):
        assert name == released_ladder.name_of(record)
        assert (record["n"], record["correct"]) == (len(correct), correct.sum())


def test_the_table_has_the_log_beside_the_records(case):
    run, _, answers = case
    table = released_ladder.table(released_ladder.section(run, answers)["records"])
    log = table["his log, with AE"]
    assert log["clean", "–"] == "87.15" and list(log).count("–") == len(log) - 3
    assert table["his log, no AE"]["clean", "–"] == "91.59"
    assert table.loc[("PGD-20", "end-to-end (adaptive, white-box)"), "n"] == str(STRONG)


def test_verify_counts_and_measures_again(case, tmp_path, monkeypatch, capsys):
    run, pair, answers = case
    monkeypatch.setattr(settings, "FIGURES", tmp_path)
    assert verify.verify_author(None) == []  # nothing is recorded
    released_ladder.write(released_ladder.section(run, answers), answers)
    counted = verify.verify_author(None)
    assert len(counted) == len(answers) and all(finding.holds for finding in counted)
    monkeypatch.setattr(released_pair, "load", lambda folder: pair)
    monkeypatch.setattr(released_ladder, "begin", lambda: run)
    again = verify.verify_author(tmp_path, images=N)
    assert len(again) == 2 * len(answers) - len(released_ladder.STRONG)
    assert all(finding.holds for finding in again)
    turned = [replace(one, correct=~one.correct) for one in answers]
    released_ladder.write(released_ladder.section(run, turned), turned)
    assert sum(not finding.holds for finding in verify.verify_author(tmp_path, images=N)) == 12
    found = released_ladder.section(run, answers)
    released_ladder.write(found, turned)
    assert main(["verify", "--author", str(tmp_path), "--images", str(N)]) == 2  # no run is recorded
    assert not verify.verify_author(None)[0].holds
    (tmp_path / "author" / "answers.npz").unlink()
    with pytest.raises(CourseError, match="answers.npz lacks"):
        verify.verify_author(None)


def test_the_steps_name_what_the_attacker_learns(case):
    _, _, answers = case
    named = {released_ladder.name_of(a.fields): a.correct for a in answers}
    first, second = released_ladder.steps(named).splitlines()
    rise = 100 * (named["grey_box/ae/pgd/10"].mean() - named["transfer/ae/pgd/10"].mean())
    assert f"{rise:+.1f} points" in first and f"n = {N}" in second


def test_the_summary_reads_the_records(case):
    run, _, answers = case
    records = released_ladder.section(run, answers)["records"]
    said = released_ladder.summary(records)
    for threat in ("transfer", "grey_box", "adaptive"):
        assert percent(of(answers, threat, "ae", "pgd", 10).record()) in said
    assert f"(n = {STRONG})" in said
    assert released_ladder.readme_table({"author": {"records": records}}).count("\n| ") == 2 + len(
        released_ladder.table(records)
    )
    assert released_ladder.readme_table({}) == ""
