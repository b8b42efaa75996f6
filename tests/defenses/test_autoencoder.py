"""The autoencoder against the paper's Table 1, and the defense made of it."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import classifiers
from helpers.backend import tf
from helpers.defenses import autoencoder

TABLE_1 = [
    ("Conv2D", (16, 16, 16)),
    ("Conv2D", (8, 8, 8)),
    ("Conv2DTranspose", (16, 16, 8)),
    ("Conv2DTranspose", (32, 32, 16)),
    ("Conv2D", (32, 32, 3)),
]


@pytest.fixture(scope="module")
def ae():
    tf.keras.utils.set_random_seed(0)
    return autoencoder.build_autoencoder()


def test_every_layer_is_the_papers(ae):
    assert ae.input_shape == (None, 32, 32, 3)
    assert [(type(layer).__name__, layer.output_shape[1:]) for layer in ae.layers] == TABLE_1
    assert {layer.kernel_size for layer in ae.layers} == {(3, 3)}
    assert [layer.activation.__name__ for layer in ae.layers] == ["relu"] * 4 + ["sigmoid"]
    assert ae.count_params() == 3_795


def test_outputs_are_images(ae, images):
    made = ae(images).numpy()
    assert made.shape == images.shape and made.dtype == np.float32
    assert made.min() >= 0 and made.max() <= 1
    ae.set_weights([100 * w for w in ae.get_weights()])
    extreme = ae(images).numpy()
    ae.set_weights([w / 100 for w in ae.get_weights()])
    assert extreme.min() >= 0 and extreme.max() <= 1


def test_the_defense_is_the_classifier_behind_the_autoencoder(ae, cnn, images):
    pipeline = autoencoder.defended(ae, cnn)
    np.testing.assert_allclose(pipeline(images), cnn(ae(images), training=False), atol=1e-6)
    assert not np.allclose(pipeline(images), cnn(images), atol=1e-3)
    assert pipeline.name == f"ae_{cnn.name}"


def test_the_defense_is_in_inference_mode_and_shares_the_weights(ae, cnn, images):
    pipeline, before = autoencoder.defended(ae, cnn), cnn.get_weights()
    first = pipeline(images).numpy()
    np.testing.assert_array_equal(pipeline(images, training=True), first)  # whatever it is called with
    assert all(np.array_equal(a, b) for a, b in zip(before, cnn.get_weights(), strict=True))
    assert len(pipeline.get_weights()) == len(ae.get_weights()) + len(before)
    kernel = ae.layers[-1].bias
    kernel.assign_add([0.5] * 3)
    assert not np.allclose(pipeline(images), first)
    kernel.assign_sub([0.5] * 3)


def test_its_gradient_is_the_chain_rules_and_reaches_the_input(ae, cnn, images):
    pipeline, images = autoencoder.defended(ae, cnn), tf.constant(images)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        through = tf.reduce_sum(pipeline(images)[:, 3])
        by_hand = tf.reduce_sum(cnn(ae(images), training=False)[:, 3])
    gradient = tape.gradient(through, images).numpy()
    np.testing.assert_allclose(gradient, tape.gradient(by_hand, images), atol=1e-6)
    assert (np.abs(gradient).reshape(len(gradient), -1).max(1) > 0).all()


@pytest.mark.deep
def test_it_defends_tf2cvs_network(ae, resnet20, images):
    pipeline = autoencoder.defended(ae, resnet20)
    np.testing.assert_allclose(pipeline(images[:2]), resnet20(ae(images[:2]), training=False), atol=1e-4)
    assert classifiers.weights_sha256(pipeline) != classifiers.weights_sha256(resnet20)
