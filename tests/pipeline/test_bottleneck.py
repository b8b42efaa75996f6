"""Dead channels of an autoencoder's bottleneck: counted, told where it is trained, and found by a check."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support import small_in_registry

from helpers import artifacts, checklist, classifiers, datasets, defenses, pipeline, settings
from helpers.backend import keras
from helpers.defenses.architectures import ARCHITECTURES, convolutional
from helpers.pipeline import checklist as run_checklist_module


@pytest.mark.deep
def test_table_1s_family_is_what_its_layers_make_it():
    """By no name: an entry of any other is in it if it goes down and up, and by one path."""
    others = {"vq_vae", "unet", "blur"}
    for name, one in ARCHITECTURES.items():
        model = one.build()
        bottleneck = pipeline.bottleneck_of(model)
        assert (bottleneck is None) == (name in others), name
        if bottleneck is not None:
            assert np.prod(bottleneck.shape[1:]) == one.latent
    layers, images = keras.layers, keras.Input((32, 32, 3))
    flat = keras.Sequential([images, layers.Conv2D(3, 3, padding="same")])
    assert pipeline.bottleneck_of(flat) is None
    twice = layers.Conv2D(3, 3, padding="same")
    assert pipeline.bottleneck_of(keras.Model(images, twice(twice(images)))) is None
    down = layers.Conv2D(4, 3, strides=4, padding="same")(images)
    dense = layers.Reshape((8, 8, 2))(layers.Dense(128)(layers.Flatten()(down)))
    up = keras.Model(images, layers.Conv2D(3, 3, padding="same")(layers.UpSampling2D(4)(dense)))
    assert tuple(pipeline.bottleneck_of(up).shape) == (None, 8, 8, 2)


def test_channels_that_are_never_used_are_counted(images):
    keras.utils.set_random_seed(0)
    model = convolutional(2, 8)
    bottleneck = model.get_layer("encode2")
    kernel, bias = np.abs(bottleneck.get_weights()[0]), np.full(8, 0.1)  # what comes in is not negative
    bottleneck.set_weights([kernel, bias])
    assert pipeline.active_channels(model, images[:8]) == (8, 8)
    kernel[..., [1, 4]], bias[[1, 4]] = -kernel[..., [1, 4]], -0.1
    bottleneck.set_weights([kernel, bias])
    assert pipeline.active_channels(model, images[:8]) == (6, 8)
    before = model(images[:8]).numpy()
    changed = model.get_layer("decode1").get_weights()
    changed[0][..., [1, 4]] += 1  # only they see these weights
    model.get_layer("decode1").set_weights(changed)
    np.testing.assert_array_equal(model(images[:8]).numpy(), before)


@pytest.fixture
def held_out(images):
    return datasets.Split(np.rint(255 * images).astype(np.uint8), np.zeros(len(images), np.int32))


def with_dead(count: int) -> keras.Model:
    """The paper's autoencoder with so many dead channels."""
    keras.utils.set_random_seed(0)
    model = defenses.build_autoencoder()
    kernel, bias = np.abs(model.get_layer("encode2").get_weights()[0]), np.full(8, 0.1)
    kernel[..., :count], bias[:count] = -kernel[..., :count], -0.1
    model.get_layer("encode2").set_weights([kernel, bias])
    return model


def test_dead_channels_are_told(held_out):
    told = pipeline.channels_told(with_dead(2), held_out)
    assert [int(word) for word in told.split() if word.isdigit()] == [6, 8, 12, 2]
    told = pipeline.channels_told(with_dead(0), held_out)
    assert [int(word) for word in told.split() if word.isdigit()] == [8, 8, 12]
    assert pipeline.channels_told(ARCHITECTURES["blur"].build(), held_out) == ""


@pytest.mark.parametrize("dead", [0, 1])
def test_the_checklist_of_a_run_warns_of_dead_channels(held_out, monkeypatch, dead):
    row = {"check": "runs", "value": "no errors", "bound": "no errors", "passed": True, "meaning": ""}
    monkeypatch.setattr(artifacts, "make_json", lambda *_: [row])
    run = SimpleNamespace(
        profile=settings.PROFILES["smoke"],
        data=SimpleNamespace(validation=held_out),
        split=lambda _: held_out,
        config=lambda *_: {},
    )
    with small_in_registry():
        classifier = classifiers.build("small", datasets.CIFAR_MEAN, datasets.CIFAR_STD)
    table = run_checklist_module.run_checklist(run, defenses.defended(with_dead(dead), classifier))
    assert list(table["check"]) == ["runs", "dead channels"]
    assert list(checklist.failed_checks(table)["check"]) == ["dead channels"] * dead
    alone = run_checklist_module.run_checklist(run, classifier)
    assert list(alone["check"]) == ["runs"]


@pytest.mark.deep
def test_dead_channels_are_told_where_an_autoencoder_is_trained(monkeypatch, artifacts_folder):
    from dataclasses import replace

    tiny = replace(settings.PROFILES["smoke"], n_train=32, n_validation=0, ae_epochs=1)
    monkeypatch.setitem(settings.PROFILES, "smoke", tiny)
    notes = []
    monkeypatch.setattr("helpers.pipeline.denoising.note", notes.append)
    with small_in_registry():
        pipeline.autoencoder(pipeline.start("patches10", "small", "smoke", seed=7, weights="none"))
    assert [("of 8 channels" in line) for line in notes] == [True]
