"""Recipes: how training begins, what it does, and what it measures."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from support import numbers, tiny_network

from helpers import training
from helpers.backend import keras
from helpers.training import AdversarialRecipe, DenoiserRecipe, NoiseRecipe, Pair, noise

ADVERSARIAL = AdversarialRecipe("adversarial", "none", steps=1, step_size=10 / 255, epochs=1)
NOISE = NoiseRecipe("noise", "none", 0.25, epochs=2, rate=0.05)
DENOISER = DenoiserRecipe("denoiser", "none", 0.25, epochs=2, rate=0.01, stability_epochs=1)


def small_denoiser() -> keras.Model:
    """Return an autoencoder of 8 x 8 images."""
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 3, padding="same")])


def test_what_a_training_begins_with(monkeypatch):
    monkeypatch.setattr(noise, "build_autoencoder", small_denoiser)
    given = small_denoiser()
    joint = AdversarialRecipe("joint", "none", steps=1, step_size=0.1, epochs=1, with_autoencoder=True)
    assert joint.begin(lambda: given, 0) is given
    assert ADVERSARIAL.begin(lambda: given, 0) is None is NOISE.begin(lambda: given, 0)
    first, again = (DENOISER.begin(lambda: given, 3) for _ in range(2))
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_adversarial_training_depends_on_the_budget():
    assert ADVERSARIAL.attacks and not NOISE.attacks and not DENOISER.attacks
    assert "attacks" not in asdict(ADVERSARIAL) and list(asdict(NOISE)) == list(asdict(DENOISER))


def test_a_classifier_is_trained_on_noise(samples, tmp_path):
    model = tiny_network()
    before = numbers(model.trainable_variables)
    history = NOISE.train(Pair(model), samples, eps=0.1, seed=0, folder=tmp_path)
    assert [record["epoch"] for record in history] == [1, 2] and NOISE.kept_epoch(history) is None
    after = numbers(model.trainable_variables)
    assert any((old != new).any() for old, new in zip(before, after, strict=True))


@pytest.mark.deep
def test_a_denoiser_is_trained_in_two_phases_and_its_classifier_stays(samples, tmp_path):
    classifier = tiny_network()
    before, networks = numbers(classifier.weights), Pair(classifier, small_denoiser())
    history = DENOISER.train(networks, samples, eps=0.1, seed=0, folder=tmp_path)
    assert [(record["phase"], record["epoch"]) for record in history] == [
        ("mse", 1),
        ("mse", 2),
        ("stability", 1),
    ]
    for old, new in zip(before, numbers(classifier.weights), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_is_measured_after_an_epoch():
    model = tiny_network()
    rng = np.random.default_rng(0)
    images, labels = rng.random((20, 8, 8, 3), np.float32), np.arange(20) % 10
    right = float((model(images).numpy().argmax(1) == labels).mean())
    found = ADVERSARIAL.on_epoch_end(model, (images, labels), (images[:8], labels[:8]), eps=0.03, seed=0)
    assert found["clean"] == pytest.approx(right) and set(found) == {"clean", "pgd", "training_pgd"}
    assert 0 <= found["pgd"] <= found["clean"]
    noisy = NOISE.on_epoch_end(model, (images, labels), (images, labels), eps=0.03, seed=4)
    seen = images + np.random.default_rng(4).normal(0, 0.25, images.shape).astype(np.float32)
    assert noisy == {"noisy": pytest.approx((model(seen).numpy().argmax(1) == labels).mean())}


def test_the_epoch_that_is_kept():
    history = [{"epoch": k + 1, "pgd": pgd} for k, pgd in enumerate((0.2, 0.4, 0.3))]
    assert ADVERSARIAL.kept_epoch(history) == 2 and DENOISER.kept_epoch(history) is None


def test_a_recipe_has_to_say_how_it_trains():
    with pytest.raises(TypeError):
        training.Recipe()
