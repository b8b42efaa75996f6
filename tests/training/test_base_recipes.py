"""Training of base classifiers: the cycle, and the average of the weights."""

from __future__ import annotations

import numpy as np
import pytest
from support import Stopped, grey_levels, numbers, tiny_network, without_times

from helpers import training
from helpers.backend import tf
from helpers.pipeline import base_recipes


@pytest.mark.deep
def test_the_base_recipe_trains(tmp_path, monkeypatch):
    monkeypatch.setitem(base_recipes.BASE_RECIPE, "peak_rate", 0.05)
    labels = np.arange(64) % 2
    images = (labels[:, None, None, None] * 128 + grey_levels(64) // 2).astype(np.uint8)
    history = base_recipes.train_classifier(
        tiny_network(), training.Samples([images], labels), epochs=20, seed=0, folder=tmp_path
    )
    assert history[-1]["loss"] < history[0]["loss"]


def averaged(samples, folder, monkeypatch, stop_at=None):
    """Four epochs of averaging; returns what the network's weights were after each, and the average."""
    monkeypatch.setitem(base_recipes.AVERAGING_RECIPE, "epochs", 4)
    monkeypatch.setitem(base_recipes.AVERAGING_RECIPE, "first_averaged", 2)
    network, average, seen = tiny_network(), tiny_network(1), []

    def on_epoch_end():
        seen.append(numbers(network.trainable_variables))
        if len(seen) == stop_at:
            raise Stopped
        return {"norm": float(tf.norm(average.weights[0]))}

    history = base_recipes.average_weights(
        network, average, samples, seed=3, folder=folder, on_epoch_end=on_epoch_end
    )
    return seen, average, history


@pytest.mark.deep
def test_what_is_shipped_is_the_mean_over_the_epochs(samples, tmp_path, monkeypatch):
    seen, average, history = averaged(samples, tmp_path, monkeypatch)
    assert len(seen) == len(history) == 4
    for mean, *values in zip(numbers(average.trainable_variables), *seen[1:], strict=True):
        np.testing.assert_allclose(mean, np.mean(values, 0), rtol=1e-5, atol=1e-6)
    assert any(not np.array_equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))


@pytest.mark.deep
def test_its_batchnorm_statistics_are_of_its_own_activations(samples, tmp_path, monkeypatch):
    """They approach the statistics of the averaged weights' convolution."""
    monkeypatch.setattr(base_recipes, "STATISTICS_SIZE", len(samples))
    monkeypatch.setitem(
        training.AUGMENTATIONS, base_recipes.AVERAGING_RECIPE["augmentation"], lambda images, rng: images
    )
    build = tiny_network(1)
    assert build.layers[1].momentum == 0.99
    _, average, _ = averaged(samples, tmp_path, monkeypatch)
    images, _ = samples.read(np.arange(len(samples)))
    true = average.layers[0](images).numpy().mean((0, 1, 2))
    stored = average.layers[1].moving_mean.numpy()
    # Each epoch passes one batch, which counts for a hundredth: every channel comes nearer.
    assert (np.abs(stored - true) < np.abs(true)).all()


@pytest.mark.deep
def test_averaging_stopped_and_started_again_ends_alike(samples, tmp_path, monkeypatch):
    _, whole, history = averaged(samples, tmp_path / "whole", monkeypatch)
    with pytest.raises(Stopped):
        averaged(samples, tmp_path / "stopped", monkeypatch, stop_at=3)
    _, resumed, again = averaged(samples, tmp_path / "stopped", monkeypatch)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert without_times(history) == without_times(again)
