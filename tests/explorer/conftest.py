"""Networks for the explorer: small random ones, which answer at once, and the course's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from helpers import datasets, defenses, explorer, pipeline
from helpers.backend import keras
from helpers.explorer import views


@pytest.fixture(scope="package")
def networks(artifacts_folder):
    """The course's networks."""
    parameters = {"dataset": "patches10", "profile": "smoke", "networks": "auto"}
    return explorer.load(pipeline.start(**parameters))


@pytest.fixture(scope="package")
def toys():
    """Random networks and images: two small classifiers, and an autoencoder that blurs."""
    keras.utils.set_random_seed(0)
    layers, rng = keras.layers, np.random.default_rng(0)
    small = [layers.Conv2D(4, 3, strides=2, activation="relu"), layers.Flatten(), layers.Dense(10)]
    initial = keras.Sequential([keras.Input((32, 32, 3)), *small], name="initial")
    tuned = keras.models.clone_model(initial)
    autoencoder = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.AveragePooling2D(2), layers.UpSampling2D(2)], name="autoencoder"
    )
    pixels = rng.integers(0, 256, (128, 32, 32, 3)).astype(np.uint8)
    split = datasets.Split(pixels, rng.integers(0, 10, 128).astype(np.int32))
    data = SimpleNamespace(classes=("airplane", *"bcdefghij"))
    systems = {}
    for stage, model in (("initial", initial), ("fine_tuned", tuned)):
        systems[stage, "none"], systems[stage, "ae"] = model, defenses.defended(autoencoder, model)
    compiled = {key: views._compiled(model) for key, model in systems.items()}
    run = SimpleNamespace(data=data, split=lambda _: split)
    return explorer.Networks(run, compiled, compiled, views._compiled(autoencoder))
