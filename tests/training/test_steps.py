"""What one step changes."""

from __future__ import annotations

import numpy as np
import pytest
from support import numbers, tiny_network

from helpers import training
from helpers.backend import keras, tf
from helpers.defenses import autoencoder


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


@pytest.mark.deep
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


def test_mixup_blends_each_image_and_its_target_alike(samples):
    images, labels = (tf.constant(a) for a in samples.read(np.arange(24)))
    targets = tf.one_hot(labels, 10)
    shares = []
    for number in range(40):
        mixed, both = training.mix_up(images, targets, 1.0, tf.constant(number, tf.int64))
        difference = (targets - tf.reverse(targets, [0])).numpy()
        share = np.sum((both - tf.reverse(targets, [0])) * difference) / np.sum(difference**2)
        np.testing.assert_allclose(mixed, share * images + (1 - share) * images[::-1], atol=1e-6)
        np.testing.assert_allclose(tf.reduce_sum(both, 1), 1, atol=1e-6)
        shares.append(share)
    # Beta(1, 1) is uniform: mean 1/2, deviation 0.29.
    assert len(set(shares)) == 40 and abs(np.mean(shares) - 0.5) < 0.15 and 0.2 < np.std(shares) < 0.38


@pytest.mark.deep
def test_a_step_mixes_only_if_asked(samples):
    images, labels = (tf.constant(a) for a in samples.read(np.arange(24)))
    losses = [
        float(
            training.classifier_step(tiny_network(), keras.optimizers.SGD(0.1), mixup=alpha)(images, labels)
        )
        for alpha in (0.0, 1.0)
    ]
    assert losses[0] != losses[1]
