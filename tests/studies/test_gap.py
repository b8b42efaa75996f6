"""The cross table: which networks it takes, that it goes on after a stop, and that its cells are right."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support import small_in_registry

from helpers import attacks, classifiers, defenses, evaluation, pipeline, settings
from helpers.artifacts import cards
from helpers.pipeline import base_variants
from helpers.settings import CourseError
from helpers.studies import autoencoder_seeds, gap

N = 24


@pytest.fixture(scope="module")
def run(small_weights):
    with small_in_registry():
        started = pipeline.start("patches10", "small", "smoke", weights=str(small_weights))
        yield replace(started, profile=replace(started.profile, n_test=N))


@pytest.fixture
def networks(run, tmp_path, monkeypatch):
    """Ship one variant and one seed of the run's networks; returns the factors."""
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    initial, autoencoder = classifiers.weights_sha256(run.classifier), defenses.build_autoencoder()
    monkeypatch.setattr(pipeline, "autoencoder", lambda _: (autoencoder, []))
    moved = classifiers.clone(run.classifier)
    moved.set_weights([1.05 * weight for weight in moved.get_weights()])
    file = base_variants.file_of("patches10", "small", "mixup")
    classifiers.save_weights(classifiers.network_of(moved), file)
    cards.write(file, None, begins_with=initial)
    file = autoencoder_seeds.file_of("patches10", "small", 3)
    classifiers.save_weights(defenses.build_autoencoder(), file)
    cards.write(file, None, initial_sha256=initial, autoencoder_seed=3)
    return gap.factors(run)


@pytest.mark.slow
def test_shipped_networks_are_taken_and_others_listed(run, networks):
    assert list(networks.bases) == ["shipped", "mixup"]
    assert list(networks.autoencoders) == ["shipped", "seed_3"]
    missing = [entry["network"] for entry in networks.missing]
    assert missing == ["label_smoothing", "mixup_label_smoothing", "released", "author"]
    author = defenses.build_autoencoder()
    assert gap.factors(run, author).autoencoders["author"] is author


@pytest.mark.slow
def test_a_network_made_for_another_base_is_not_taken(run, networks):
    file = cards.card_file(autoencoder_seeds.file_of("patches10", "small", 3))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"initial_sha256": "another"}))
    found = gap.factors(run)
    assert "seed_3" not in found.autoencoders
    assert "another initial classifier" in {e["network"]: e["why"] for e in found.missing}["seed_3"]


@pytest.mark.slow
def test_the_table_has_every_combination_and_goes_on_where_it_stopped(
    run, networks, tmp_path, monkeypatch, another_store
):
    another_store(tmp_path / "artifacts")
    monkeypatch.setattr(gap, "PART_SIZE", 16)  # two parts
    *_, found = gap.measure(run, networks)
    places = {(r["base"], r["attack"], r["autoencoder"], r["input"]) for r in found["records"]}
    assert len(places) == len(found["records"]) == 2 * 3 * 3 * 3
    assert {r["n"] for r in found["records"]} == {N}

    def record(**fields):
        (only,) = [r for r in found["records"] if fields.items() <= r.items()]
        return only

    images, labels = run.split("test").take()
    whole = {"base": "shipped", "attack": "right", "input": "fgsm"}
    attacked = attacks.fgsm(run.classifier, images, labels, run.eps)
    assert record(**whole, autoencoder="none")["correct"] == int(
        evaluation.is_correct(run.classifier, attacked, labels).sum()
    )
    static = {a.cell: a for a in pipeline.undefended_answers(run)}
    assert record(**whole | {"input": "pgd"}, autoencoder="none")["n"] == len(
        static["static/initial/none/pgd"].correct
    )
    clean = {
        r["correct"]
        for r in found["records"]
        if (r["base"], r["autoencoder"], r["input"]) == ("mixup", "none", "regular")
    }
    assert len(clean) == 1  # no attack: alike under all three
    monkeypatch.setattr(pipeline, "attack", lambda *_: pytest.fail("it was attacked again"))
    *_, again = gap.measure(run, networks)
    assert again == found
    fewer = replace(run, profile=replace(run.profile, n_test=10))
    *_, less = gap.measure(fewer, networks)
    assert {r["n"] for r in less["records"]} == {10}
    gap.write(found, tmp_path / "gap.json")
    gap.write({"parameters": {"model": "another"}}, tmp_path / "gap.json")
    assert list(json.loads((tmp_path / "gap.json").read_text())) == ["another", "small"]


@pytest.mark.deep
def test_parts_have_the_images_of_a_whole_run(run):
    """With the pipeline's part size the attacked images are those of the tables."""
    stored = pipeline.inputs(run, "test", "pgd")
    np.testing.assert_array_equal(gap._attacked(run, "pgd", 0)[:N], stored)


def test_more_images_than_there_are_is_an_error(monkeypatch, run):
    monkeypatch.setattr(pipeline, "start", lambda *_, **__: run)
    with pytest.raises(CourseError, match="--images"):
        gap.start("small", 10**6)
