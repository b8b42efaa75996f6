"""What networks take a reader's pictures for, and what an attack changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import small_systems

from helpers import attacks, evaluation, settings
from helpers.backend import keras, tf
from helpers.settings import CourseError
from helpers.studies import pictures
from helpers.studies.image_files import Picture
from helpers.studies.pictures import Attack


@pytest.fixture(scope="module")
def systems():
    with small_systems() as found:
        yield found


@pytest.fixture
def named(images):
    """The twelve images as pictures."""
    return [Picture(f"{k}.jpg", 40 + k, 30, image) for k, image in enumerate(images)]


def test_answers_are_the_likeliest_classes_and_their_probabilities(systems, named, images):
    found = pictures.answers(systems, named, {"clean": images})
    assert list(found["file"]) == [p.name for p in named] and list(found["width"]) == [p.width for p in named]
    for defense, prefix in (("none", "clean"), ("ae", "clean_ae")):
        logits = evaluation.predict(systems.models[defense], images)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        assert list(found[f"{prefix}_class"]) == [systems.classes[k] for k in logits.argmax(1)]
        np.testing.assert_allclose(found[f"{prefix}_confidence"], powers.max(1) / powers.sum(1), atol=1e-5)


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
@pytest.mark.parametrize("end_to_end", [False, True])
def test_the_attack_leads_away_from_the_answer_of_what_it_is_aimed_at(systems, images, kind, end_to_end):
    target = systems.models["ae" if end_to_end else "none"]
    truth = evaluation.predict(target, images).argmax(1)
    moved = pictures.attack(systems, images, Attack(kind, 0.1, end_to_end, seed=1))
    assert np.abs(moved - images).max() <= 0.1 + 1e-6
    options = {} if kind == "fgsm" else {"step_size": 0.025, "seed": 1}
    by_hand = getattr(attacks, kind)(target, images, truth, 0.1, **options)
    np.testing.assert_array_equal(
        evaluation.predict(target, moved).argmax(1), evaluation.predict(target, by_hand).argmax(1)
    )
    assert (evaluation.predict(target, moved).argmax(1) != truth).mean() > 0.5


def test_a_nan_is_no_answer(systems, named, images):
    """Not even the first class, which plain argmax takes it for."""
    bright = keras.Sequential([keras.Input((32, 32, 3)), systems.models["none"]])

    def call(x, training=False):
        return tf.where(x[:, 0, 0, :1] > 0.99, np.nan, systems.models["none"](x, training=training))

    bright.call = call
    spoiled, marked = pictures.Systems(systems.classes, {"none": bright}), np.minimum(images, 0.9)
    marked[4, 0, 0] = 1
    found = pictures.answers(spoiled, named, {"clean": marked})
    silent = found["clean_class"] == pictures.NO_ANSWER
    assert list(np.flatnonzero(silent)) == [4] and found["clean_confidence"][4] == 0
    assert list(pictures.table(found)["answer"][silent.to_numpy()]) == [pictures.NO_ANSWER]
    with pytest.raises(CourseError, match="NaN.*: image 4"):
        pictures.attack(spoiled, marked, Attack("fgsm"))


def test_what_cannot_be_attacked(systems, images):
    with pytest.raises(CourseError, match="unknown attack 'magic'"):
        pictures.attack(systems, images, Attack("magic"))
    alone = pictures.Systems(systems.classes, {"none": systems.models["none"]})
    with pytest.raises(CourseError, match="no autoencoder"):
        pictures.attack(alone, images, Attack("pgd", end_to_end=True))


def found_by_hand() -> pd.DataFrame:
    """Three pictures. Rounding undoes one of two changes, and makes one that was not there."""
    return pd.DataFrame(
        {
            "file": ["a\x1b[2J.png", "b.png", "c.png"],
            "width": [1, 2, 3],
            "height": [4, 5, 6],
            "clean_class": ["cat", "cat", "cat"],
            "clean_confidence": [0.5, 1.0, 0.25],
            "attacked_class": ["dog", "dog", "cat"],
            "attacked_confidence": [0.5, 1.0, 0.25],
            "saved_class": ["dog", "cat", "dog"],
            "saved_confidence": [0.5, 1.0, 0.25],
        }
    )


def test_changes_are_counted_before_and_after_rounding():
    (line,) = pictures.what_changed(found_by_hand())
    assert [int(word) for word in line.replace(",", "").split() if word.isdigit()] == [2, 3, 1, 2, 1]


def test_the_table_says_what_a_reader_may_see():
    table = pictures.table(found_by_hand())
    assert list(table.index) == ["a?[2J.png", "b.png", "c.png"]
    assert list(table.loc["b.png"]) == ["2×5", "cat 100.0%", "dog 100.0%"]


def test_the_notes_name_the_attacker_and_where_files_are(systems):
    alone = pictures.Systems(systems.classes, {"none": systems.models["none"]})
    end_to_end = Attack("pgd", 4 / 255, end_to_end=True)
    text = pictures.notes(alone, found_by_hand(), end_to_end, Path("new"))
    assert all(word in text for word in ("32×32", "ships no autoencoder", "4/255", "end-to-end", "new/"))
    text = pictures.notes(systems, found_by_hand(), Attack("fgsm"))
    assert "one step" in text and "no autoencoder" not in text and "end-to-end" not in text


@pytest.mark.deep
def test_the_shipped_networks_need_no_data(monkeypatch, images):
    monkeypatch.setenv("CIFAR10_DIR", "nowhere")
    for stage in pictures.STAGES:
        systems = pictures.load(stage=stage)
        assert set(systems.models) == {"none", "ae"}
    with pytest.raises(CourseError, match="unknown stage 'last'"):
        pictures.load(stage="last")
    monkeypatch.setattr(settings, "WEIGHTS", settings.WEIGHTS / "nowhere")
    with pytest.raises(CourseError, match="ships no weights"):
        pictures.load()


@pytest.mark.slow
def test_where_no_autoencoder_is_shipped_the_classifier_answers_alone(tmp_path, monkeypatch):
    assert set(pictures.load("patches10").models) == {"none", "ae"}
    (tmp_path / "patches10").mkdir()
    for name in ("resnet20.h5", "resnet20.json"):
        shutil.copy(settings.WEIGHTS / "patches10" / name, tmp_path / "patches10")
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    assert set(pictures.load("patches10").models) == {"none"}
