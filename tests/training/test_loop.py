"""The training loop: what a batch holds, and that a stopped run ends as one that was not stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import tiny_network

from helpers import training
from helpers.backend import keras, tf
from helpers.datasets import storage
from helpers.defenses import autoencoder
from helpers.settings import CourseError


class Stopped(Exception):
    """In the place of a kill."""


def grey_levels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)


@pytest.fixture
def samples():
    """24 images in two sources, with labels."""
    return training.Samples([grey_levels(12), grey_levels(12, 1)], np.arange(12) % 10)


# ------------------------------------------------------------------------------------------------------------ samples


def test_storage_keeps_every_grey_level():
    levels = np.arange(256).astype(np.uint8)
    exact = levels.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(storage.to_float(levels), exact)
    np.testing.assert_array_equal(storage.to_float(storage.to_uint16(exact)), exact)
    every = np.arange(65536).astype(np.uint16)
    np.testing.assert_array_equal(storage.to_uint16(storage.to_float(every)), every)


def test_storage_moves_other_values_by_a_250th_of_a_grey_level_at_most():
    values = np.random.default_rng(0).random(10_000, np.float32)
    moved = storage.to_float(storage.to_uint16(values))
    assert moved.dtype == np.float32 and np.abs(moved - values).max() <= 1 / 131070 + 1e-7


def test_a_mixture_is_its_sources_one_after_another():
    eight, sixteen = grey_levels(5), storage.to_uint16(grey_levels(5, 1) / 255)
    labels = np.array([3, 1, 4, 1, 5])
    samples = training.Samples([eight, sixteen], labels)
    assert len(samples) == 10
    images, targets = samples.read(np.array([7, 0, 9, 4, 5]))
    assert images.dtype == np.float32
    np.testing.assert_array_equal(targets, labels[[2, 0, 4, 4, 0]])
    expected = [sixteen[2], eight[0], sixteen[4], eight[4], sixteen[0]]
    for image, stored in zip(images, expected, strict=True):
        np.testing.assert_array_equal(image, storage.to_float(stored))


def test_image_targets_come_as_images():
    attacked, originals = storage.to_uint16(grey_levels(5, 1) / 255), grey_levels(5)
    _, targets = training.Samples([attacked, attacked], originals).read(np.array([6, 2]))
    np.testing.assert_array_equal(targets, storage.to_float(originals[[1, 2]]))


def test_sources_that_are_not_parallel():
    with pytest.raises(CourseError, match=r"sources of \[5, 4\] images and 5 targets do not match"):
        training.Samples([grey_levels(5), grey_levels(4)], np.zeros(5, int))


def test_sources_may_be_memory_mapped(tmp_path, samples):
    np.save(tmp_path / "images.npy", samples.sources[0])
    mapped = training.Samples(
        [np.load(tmp_path / "images.npy", mmap_mode="r"), samples.sources[1]], samples.targets
    )
    for (a, _), (b, _) in zip(samples.batches(6, 0, 0), mapped.batches(6, 0, 0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_seed_and_epoch_decide_a_pass(samples):
    def one_pass(seed, epoch, augment=None):
        return np.concatenate([images for images, _ in samples.batches(6, seed, epoch, augment)])

    for augment in (None, training.crop_and_flip):
        first = one_pass(1, 2, augment)
        np.testing.assert_array_equal(first, one_pass(1, 2, augment))
        assert not np.array_equal(first, one_pass(1, 3, augment))
        assert not np.array_equal(first, one_pass(2, 2, augment))


def test_a_pass_covers_everything_once(samples):
    everything = sorted(image.tobytes() for image in samples.read(np.arange(24))[0])
    for size, count in ((6, 24), (24, 24), (100, 24)):  # a batch larger than what there is takes all of it
        batches = list(samples.batches(size, 0, 0))
        seen = [image.tobytes() for images, _ in batches for image in images]
        assert len(seen) == count and sorted(seen) == everything
        assert {len(images) for images, _ in batches} == {min(size, 24)}
    seen = [image.tobytes() for images, _ in samples.batches(7, 0, 0) for image in images]
    assert len(seen) == len(set(seen)) == 21  # full batches only


def test_a_batch_mixes_the_sources_and_keeps_the_labels():
    sources = [np.full((100, 8, 8, 3), k, np.uint8) for k in range(6)]
    labels = np.arange(100) % 10
    for source in sources:
        source[:, 0, 0, 0] = labels
    images, targets = next(training.Samples(sources, labels).batches(256, 0, 0))
    counts = np.bincount(np.rint(255 * images[:, 1, 1, 1]).astype(int), minlength=6)
    assert counts.min() > 20 and counts.sum() == 256
    np.testing.assert_array_equal(np.rint(255 * images[:, 0, 0, 0]), targets)


def test_augmentation_is_a_crop_of_the_padded_image_or_its_mirror_image():
    images = storage.to_float(grey_levels(200))
    made = training.crop_and_flip(images, np.random.default_rng(0), pad=2)
    assert made.shape == images.shape and made.dtype == np.float32
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    found = []
    for image, wide in zip(made, padded, strict=True):
        crops = {(i, j): wide[i : i + 8, j : j + 8] for i in range(5) for j in range(5)}
        hits = [
            (*at, m) for at, crop in crops.items() for m in (1, -1) if np.array_equal(image, crop[:, ::m])
        ]
        assert hits
        found.append(hits[0])
    assert {i for i, _, _ in found} == {j for _, j, _ in found} == set(range(5))
    assert 60 < sum(m == -1 for _, _, m in found) < 140


def test_cutout_greys_a_square_and_nothing_else():
    images = np.zeros((400, 8, 8, 3), np.float32)
    cut = training.cut_out(images, np.random.default_rng(0), size=4)
    areas = []
    for image in cut:
        rows, columns = np.nonzero((image == 0.5).all(2))
        assert set(np.unique(image)) <= {0.0, 0.5}
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1), "it is a rectangle"
        assert np.ptp(rows) < 4 and np.ptp(columns) < 4
        areas.append(len(rows))
    assert max(areas) == 16 and min(areas) == 4, "whole inside, cut at a corner"
    assert not images.any()


# ------------------------------------------------------------------------------------------------- averaging of weights


def averaged(samples, folder, monkeypatch, stop_at=None):
    """Four epochs of averaging; returns what the network's weights were after each, and the average."""
    monkeypatch.setitem(training.AVERAGING_RECIPE, "epochs", 4)
    monkeypatch.setitem(training.AVERAGING_RECIPE, "first_averaged", 2)
    network, average, seen = tiny_network(), tiny_network(1), []

    def on_epoch_end():
        seen.append(numbers(network.trainable_variables))
        if len(seen) == stop_at:
            raise Stopped
        return {"norm": float(tf.norm(average.weights[0]))}

    history = training.average_weights(
        network, average, samples, seed=3, folder=folder, on_epoch_end=on_epoch_end
    )
    return seen, average, history


def test_what_is_shipped_is_the_mean_over_the_epochs(samples, tmp_path, monkeypatch):
    seen, average, history = averaged(samples, tmp_path, monkeypatch)
    assert len(seen) == len(history) == 4
    for mean, *values in zip(numbers(average.trainable_variables), *seen[1:], strict=True):
        np.testing.assert_allclose(mean, np.mean(values, 0), rtol=1e-5, atol=1e-6)
    assert any(not np.array_equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))


def test_its_batchnorm_statistics_are_of_its_own_activations(samples, tmp_path, monkeypatch):
    """After the momentum has forgotten where it began, they are those of the averaged weights' convolution."""
    monkeypatch.setattr(training, "STATISTICS_SIZE", len(samples))
    monkeypatch.setattr(training, "crop_and_flip", lambda images, rng: images)
    monkeypatch.setattr(training, "cut_out", lambda images, rng: images)
    build = tiny_network(1)
    assert build.layers[1].momentum == 0.99
    _, average, _ = averaged(samples, tmp_path, monkeypatch)
    images, _ = samples.read(np.arange(len(samples)))
    true = average.layers[0](images).numpy().mean((0, 1, 2))
    stored = average.layers[1].moving_mean.numpy()
    # One pass an epoch of a single batch, each forgetting a hundredth: nearer than where it began, in every channel.
    assert (np.abs(stored - true) < np.abs(true)).all()


def test_averaging_stopped_and_started_again_ends_alike(samples, tmp_path, monkeypatch):
    _, whole, history = averaged(samples, tmp_path / "whole", monkeypatch)
    with pytest.raises(Stopped):
        averaged(samples, tmp_path / "stopped", monkeypatch, stop_at=3)
    _, resumed, again = averaged(samples, tmp_path / "stopped", monkeypatch)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert without_times(history) == without_times(again)


# ---------------------------------------------------------------------------------------------------------- schedules


def test_one_cycle():
    rate = training.OneCycle(0.3, 100, 0.2)
    assert [float(rate(step)) for step in (0, 10, 20, 60, 100, 120)] == pytest.approx(
        [0, 0.15, 0.3, 0.15, 0, 0]
    )
    assert training.OneCycle.from_config(rate.get_config())(10) == rate(10)


def test_decay():
    rate = training.Decay(1e-3, 1e-4, 101)
    assert [float(rate(step)) for step in (0, 50, 100, 150)] == pytest.approx([1e-3, 10**-3.5, 1e-4, 1e-4])
    assert float(training.Decay(1e-3, 1e-4, 1)(0)) == pytest.approx(1e-3)
    assert training.Decay.from_config(rate.get_config())(10) == rate(10)


# --------------------------------------------------------------------------------------------------------------- steps


def numbers(weights):
    return [np.asarray(w).copy() for w in weights]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_logits(samples, smoothing):
    network = tiny_network()
    images, labels = samples.read(np.arange(24))
    logits = network(images, training=True).numpy().astype(np.float64)
    network = tiny_network()
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    step = training.classifier_step(network, keras.optimizers.SGD(0.1), smoothing, weight_decay=1.0)
    loss = float(step(tf.constant(images), tf.constant(labels)))
    assert loss == pytest.approx(
        -(wanted * log_p).sum(1).mean(), rel=1e-5
    )  # the decay is not reported with it


def test_weight_decay_shrinks_kernels_alone(samples):
    images, labels = (tf.constant(a) for a in samples.read(np.arange(24)))
    after = []
    for decay in (0.0, 0.5):
        network = tiny_network()
        before = numbers(network.trainable_variables)
        training.classifier_step(network, keras.optimizers.SGD(0.1), weight_decay=decay)(images, labels)
        after.append(numbers(network.trainable_variables))
    for old, without, with_decay in zip(before, *after, strict=True):
        shrunk = 0.1 * 0.5 * old if old.ndim > 1 else 0
        np.testing.assert_allclose(with_decay, without - shrunk, atol=1e-6)


@pytest.mark.parametrize("mode", [True, False])
def test_batchnorm_learns_in_training_mode_only(samples, mode):
    network = tiny_network()
    before = numbers(network.non_trainable_variables)
    step = training.classifier_step(network, keras.optimizers.SGD(0.1), training=mode)
    step(*(tf.constant(a) for a in samples.read(np.arange(24))))
    moved = [not np.array_equal(a, b) for a, b in zip(before, network.non_trainable_variables, strict=True)]
    assert moved == [mode, mode]


def test_the_autoencoder_learns_the_originals_from_the_attacked():
    keras.utils.set_random_seed(0)
    model = autoencoder.build_autoencoder()
    rng = np.random.default_rng(0)
    attacked, originals = rng.random((2, 4, 32, 32, 3), np.float32)
    expected = np.mean((model(attacked).numpy() - originals) ** 2)
    step = training.autoencoder_step(model, keras.optimizers.Adam(1e-2))
    first = float(step(tf.constant(attacked), tf.constant(originals)))
    assert first == pytest.approx(expected, rel=1e-5)
    for _ in range(20):
        last = float(step(tf.constant(attacked), tf.constant(originals)))
    assert last < first


# ------------------------------------------------------------------------------------------------------------ resuming


def without_times(history):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


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


def assert_same_end(one, other):
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1] == other[1]


@pytest.mark.parametrize("stop_at, redone", [(1, 12), (4, 12), (5, 8), (7, 8), (12, 4)])
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


def test_a_run_stopped_twice(samples, tmp_path, uninterrupted):
    for stop_at in (6, 6):
        with pytest.raises(Stopped):
            three_epochs(samples, tmp_path / "stopped", stop_at)
    assert_same_end(uninterrupted, three_epochs(samples, tmp_path / "stopped"))


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


@pytest.mark.parametrize("stopped_in", [1, 2])
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

    monkeypatch.setattr(training, "classifier_step", step_of)
    run = training.run
    monkeypatch.setattr(
        training, "run", lambda *a, **options: seeds.append(options["seed"]) or run(*a, **options)
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


def test_the_base_recipe_trains(tmp_path, monkeypatch):
    monkeypatch.setitem(training.BASE_RECIPE, "peak_rate", 0.05)
    labels = np.arange(64) % 2
    images = (labels[:, None, None, None] * 128 + grey_levels(64) // 2).astype(np.uint8)
    history = training.train_classifier(
        tiny_network(), training.Samples([images], labels), epochs=20, seed=0, folder=tmp_path
    )
    assert history[-1]["loss"] < history[0]["loss"]
