"""The training loop: a run that was stopped ends like one that was not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import Stopped, assert_same_end, tiny_network, without_times

from helpers import training
from helpers.backend import keras, tf
from helpers.settings import CourseError


def three_epochs(samples, folder, stop_at=None, augment=training.crop_and_flip):
    """Train the tiny network for three epochs of four steps; stop_at is a step's number."""
    network, optimizer = tiny_network(), keras.optimizers.SGD(training.OneCycle(0.1, 12), 0.9, nesterov=True)
    real = training.classifier_step(network, optimizer)
    taken = []

    def step(images, labels):
        taken.append(1)
        if len(taken) == stop_at:
            raise Stopped
        return real(images, labels)

    history = training.run(
        step,
        samples,
        epochs=3,
        batch_size=6,
        seed=5,
        state={"model": network, "optimizer": optimizer},
        folder=folder,
        title="tiny",
        augment=augment,
        on_epoch_end=lambda: {"norm": float(tf.norm(network.weights[0]))},
    )
    return network.get_weights(), without_times(history), len(taken)


@pytest.fixture
def uninterrupted(samples, tmp_path):
    return three_epochs(samples, tmp_path / "whole")


@pytest.mark.parametrize(
    "stop_at, redone",
    [
        pytest.param(1, 12, marks=pytest.mark.deep),
        pytest.param(4, 12, marks=pytest.mark.deep),
        (5, 8),
        pytest.param(7, 8, marks=pytest.mark.deep),
        (12, 4),
    ],
)
def test_a_stopped_run_ends_as_one_that_was_not(samples, tmp_path, uninterrupted, stop_at, redone):
    with pytest.raises(Stopped):
        three_epochs(samples, tmp_path / "stopped", stop_at)
    resumed = three_epochs(samples, tmp_path / "stopped")
    assert_same_end(uninterrupted, resumed)
    assert resumed[2] == redone  # steps: finished epochs are kept
    assert [record["epoch"] for record in resumed[1]] == [1, 2, 3] and set(resumed[1][0]) == {
        "epoch",
        "loss",
        "norm",
    }


@pytest.mark.deep
def test_a_run_stopped_twice(samples, tmp_path, uninterrupted):
    for stop_at in (6, 6):
        with pytest.raises(Stopped):
            three_epochs(samples, tmp_path / "stopped", stop_at)
    assert_same_end(uninterrupted, three_epochs(samples, tmp_path / "stopped"))


@pytest.mark.deep
def test_a_run_stopped_between_history_and_checkpoint(samples, tmp_path, uninterrupted, monkeypatch):
    real, saved = tf.train.CheckpointManager.save, []

    def save(manager):
        saved.append(1)
        if len(saved) == 2:
            raise Stopped
        return real(manager)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", save)
    with pytest.raises(Stopped):
        three_epochs(samples, tmp_path / "stopped")
    assert len(json.loads((tmp_path / "stopped" / "history.json").read_text())) == 2
    assert_same_end(uninterrupted, three_epochs(samples, tmp_path / "stopped"))


@pytest.mark.deep
def test_a_disk_that_is_full_when_a_checkpoint_is_written(samples, tmp_path, uninterrupted, monkeypatch):
    def full(_):
        raise tf.errors.ResourceExhaustedError(None, None, "ckpt-1.data; No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(CourseError, match="epoch 1 .*: the disk is full. Free some"),
    ):
        patch.setattr(tf.train.CheckpointManager, "save", full)
        three_epochs(samples, tmp_path / "stopped")
    assert_same_end(uninterrupted, three_epochs(samples, tmp_path / "stopped"))


def test_a_finished_run_is_not_run_again(samples, tmp_path, uninterrupted):
    again = three_epochs(samples, tmp_path / "whole", stop_at=1)
    assert_same_end(uninterrupted, again)


def test_a_loss_that_is_no_number(samples, tmp_path):
    variable, calls = tf.Variable(0.0), []

    def step(*_):
        calls.append(1)
        return tf.constant(np.nan if len(calls) == 6 else 1.0)  # in the second epoch

    with pytest.raises(CourseError, match="tiny: the loss is nan in epoch 2; lower the learning rate"):
        training.run(
            step,
            samples,
            epochs=3,
            batch_size=6,
            seed=0,
            state={"model": tf.train.Checkpoint(v=variable)},
            folder=tmp_path,
            title="tiny",
        )
    assert len(json.loads((tmp_path / "history.json").read_text())) == 1
