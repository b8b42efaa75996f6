"""The autoencoders of the search: from images to images, each with the latent size that it states."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.backend import keras, tf
from helpers.defenses import architectures, autoencoder, transformations
from helpers.defenses.architectures import ARCHITECTURES, PIXELS, Architecture
from helpers.settings import CourseError

BUILT = {}


def built(name):
    if name not in BUILT:
        keras.utils.set_random_seed(0)
        BUILT[name] = ARCHITECTURES[name].build()
    return BUILT[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_images_become_images(name, images):
    model = built(name)
    made = model(images, training=False).numpy()
    assert made.shape == images.shape and made.dtype == np.float32
    assert made.min() >= 0 and made.max() <= 1
    assert bool(model.trainable_weights) == ARCHITECTURES[name].trained


@pytest.mark.parametrize(
    "name", [n for n, a in ARCHITECTURES.items() if a.trained and n not in ("unet", "vq_vae")]
)
def test_the_latent_size_is_that_of_the_bottleneck(name):
    strided = [
        layer
        for layer in built(name).layers
        if type(layer) is keras.layers.Conv2D and layer.strides == (2, 2)
    ]
    assert ARCHITECTURES[name].latent == int(np.prod(strided[-1].output_shape[1:]))
    assert len(strided) == ARCHITECTURES[name].depth


def test_the_search_spans_what_the_issue_asks_for():
    around = [a for n, a in ARCHITECTURES.items() if n.startswith("d")]
    assert len(around) >= 8 and {a.depth for a in around} == {1, 2, 3}
    channels = {
        built(n).get_layer(f"encode{a.depth}").filters for n, a in ARCHITECTURES.items() if n.startswith("d")
    }
    assert {min(channels), max(channels)} == {2, 64}


def test_table_1_is_one_of_its_own_family():
    paper, same = autoencoder.build_autoencoder(), architectures.convolutional(2, 8)
    assert [w.shape for w in paper.weights] == [w.shape for w in same.weights]
    assert [type(layer) for layer in paper.layers] == [type(layer) for layer in same.layers]
    assert ARCHITECTURES["paper"].build().count_params() == 3_795
    for model in (paper, same):
        model.set_weights([np.full(w.shape, 0.01, np.float32) for w in model.get_weights()])
    image = np.random.default_rng(0).random((1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(paper(image), same(image))


def test_an_untrained_unet_changes_nothing_and_a_trained_one_may(images):
    model = built("unet")
    np.testing.assert_array_equal(model(images), images)
    last, before = model.get_layer("correction"), model.get_layer("correction").get_weights()
    last.set_weights([before[0], np.full(3, -0.25, np.float32)])
    np.testing.assert_allclose(model(images), np.maximum(images - 0.25, 0), atol=1e-6)
    last.set_weights(before)


def test_the_unets_latent_size_counts_what_goes_past_its_bottleneck():
    passed = [
        int(np.prod(built("unet").get_layer(n).output_shape[1:]))
        for n in ("encode0", "encode1", "bottleneck")
    ]
    assert sum(passed) == ARCHITECTURES["unet"].latent > PIXELS
    assert (
        int(np.prod(built("vq_vae").get_layer("codebook").output_shape[1:3]))
        == ARCHITECTURES["vq_vae"].latent
    )


def test_the_blur_is_the_transformation(images):
    np.testing.assert_array_equal(built("blur")(images), transformations.blur(tf.constant(images)))


def test_an_unknown_architecture():
    with pytest.raises(CourseError, match="unknown autoencoder 'nvae'; choose one of d1_c2, .*blur"):
        architectures.architecture_of("nvae")


def test_an_added_architecture_is_found(monkeypatch, images):
    entry = Architecture(
        "identity", lambda: keras.Sequential([keras.Input((32, 32, 3))]), PIXELS, 0, trained=False
    )
    monkeypatch.setitem(ARCHITECTURES, "identity", entry)
    np.testing.assert_array_equal(architectures.architecture_of("identity").build()(images), images)
