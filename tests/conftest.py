"""What the tests share. No test downloads anything, and none touches the user's artifacts/."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from helpers import classifiers, datasets, settings
from helpers.backend import keras
from helpers.settings import CourseError

os.environ["COURSE_OFFLINE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def artifacts_folder():
    """An artifact store of the tests' own, for this process and for those that it starts."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "ARTIFACTS", Path(folder))
        patch.setenv("ARTIFACTS_DIR", folder)
        yield Path(folder)


@pytest.fixture(scope="module", autouse=True)
def environment_variables(artifacts_folder):
    """What the code that is tested sets, such as COURSE_PROGRESS, the next file's tests do not see."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def cifar10(artifacts_folder):
    """The real CIFAR-10; tests that ask for it are skipped where it is not."""
    try:
        return datasets.load("cifar10")
    except CourseError as error:
        if not isinstance(error, datasets.CifarNotFound) and "there is neither" not in str(error):
            raise
        pytest.skip(
            "CIFAR-10 is not here: set CIFAR10_DIR to the folder that holds cifar-10-python.tar.gz, or put it in data/"
        )


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; tests that ask for it are skipped where none is installed."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium here: install one (Debian and Ubuntu: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # --no-sandbox: Chromium refuses to run as root otherwise, which containers do; it opens only our own pages.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def images():
    """Twelve images of grey levels k/255, the extremes among them."""
    return np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3)).astype(np.float32) / np.float32(255)


@pytest.fixture(scope="session")
def labels():
    return np.arange(12) % 10


@pytest.fixture(scope="session")
def cnn():
    """A small random network with a BatchNorm whose statistics matter."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    rng = np.random.default_rng(0)
    norm = model.layers[1]
    norm.moving_mean.assign(rng.normal(0, 0.1, 8))
    norm.moving_variance.assign(rng.uniform(0.01, 0.1, 8))
    return model


@pytest.fixture(scope="session")
def resnet20():
    """tf2cv's ResNet-20 with the course's weights, or untrained where the course ships none. Not to be changed."""
    return _tf2cv_network("resnet20")


@pytest.fixture(scope="session")
def sepreresnet56():
    """The same of tf2cv's SEPreResNet-56."""
    return _tf2cv_network("sepreresnet56")


@pytest.fixture(scope="session")
def efficientnet_b0():
    """The same of EfficientNet-B0, which is built of tf2cv's blocks."""
    return _tf2cv_network("efficientnet_b0")


def _tf2cv_network(name: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = classifiers.build(name, datasets.CIFAR_MEAN, datasets.CIFAR_STD)
    if (file := classifiers.shipped("cifar10", name)).is_file():
        classifiers.load_weights(model, file)
    return model
