"""Fine-tuning in phases, and training of the autoencoder."""

from __future__ import annotations

import numpy as np
import pytest
from support import Stopped, assert_same_end, grey_levels, tiny_network, without_times

from helpers import training
from helpers.backend import keras, tf
from helpers.defenses import autoencoder
from helpers.training import fine_tuning


@pytest.mark.parametrize("stopped_in", [1, pytest.param(2, marks=pytest.mark.deep)])
def test_fine_tuning_resumes(tmp_path, samples, stopped_in):
    """Stopped at the end of one of two epochs, before it is kept."""

    def tune(folder, stop=None):
        network, watched = tiny_network(), []

        def on_epoch_end():
            watched.append(1)
            if len(watched) == stop:
                raise Stopped
            return {"norm": float(tf.norm(network.weights[0]))}

        history = training.fine_tune(
            network, samples, 2, seed=0, folder=folder, phase=2, on_epoch_end=on_epoch_end
        )
        return network.get_weights(), without_times(history), len(watched)

    whole = tune(tmp_path / "whole")
    assert [(r["phase"], r["epoch"]) for r in whole[1]] == [(2, 1), (2, 2)]
    with pytest.raises(Stopped):
        tune(tmp_path / "stopped", stopped_in)
    resumed = tune(tmp_path / "stopped")
    assert_same_end(whole, resumed)
    assert resumed[2] == 2 - (stopped_in - 1)


def test_fine_tunings_batches_and_rates(tmp_path, monkeypatch):
    """Batches of 256, and one fall from 1e-4 to 1e-5 over both phases, which differ in their seeds."""
    seen, optimizers, seeds = [], [], []

    def step_of(classifier, optimizer, **_):
        optimizers.append(optimizer)
        return lambda images, labels: seen.append(len(images)) or tf.constant(1.0)

    monkeypatch.setattr(fine_tuning, "classifier_step", step_of)
    run = training.run
    monkeypatch.setattr(
        fine_tuning, "run", lambda *a, **options: seeds.append(options["seed"]) or run(*a, **options)
    )
    images, labels = grey_levels(300), np.arange(300) % 10
    many, few = training.Samples([images] * 3, labels), training.Samples([images], labels)
    rates = training.rates_of_phases([(len(many), 2), (len(few), 1)])
    for phase, (samples, epochs) in enumerate(((many, 2), (few, 1)), start=1):
        folder = tmp_path / str(phase)
        training.fine_tune(
            tiny_network(), samples, epochs, seed=5, folder=folder, phase=phase, rates=rates[phase - 1]
        )
    assert seen == [256] * 7 and seeds == [5, 1005]
    assert all(isinstance(optimizer, keras.optimizers.Adam) for optimizer in optimizers)
    first, second = (
        optimizer._learning_rate for optimizer in optimizers
    )  # learning_rate is what it gives now
    assert [float(first(step)) for step in (0, 5)] == pytest.approx([1e-4, 10 ** (-4 - 6 / 7)], rel=1e-4)
    assert [float(second(step)) for step in (0, 1)] == pytest.approx([10 ** (-4 - 6 / 7), 1e-5], rel=1e-4)
    assert training.rates_of_phases([(100, 3)]) == [training.FINE_TUNE_RATES]


@pytest.mark.deep
def test_the_autoencoders_schedule(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    keras.utils.set_random_seed(0)
    model = autoencoder.build_autoencoder()
    history = training.train_autoencoder(
        model,
        training.Samples([images], images),
        epochs=3,
        batch_size=4,
        rates=(1e-2, 1e-3),
        seed=0,
        folder=tmp_path,
    )
    assert len(history) == 3 and history[-1]["loss"] < history[0]["loss"]
