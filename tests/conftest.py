"""What the tests share. No test downloads anything, and none touches the user's artifacts/."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from helpers import classifiers, datasets, settings
from helpers.settings import CourseError

pytest_plugins = ["durations"]

os.environ["COURSE_OFFLINE"] = "1"

_DATASETS = "COURSE_TEST_DATASETS"
"""The variable that tells pytest's workers where the data sets of this session are."""


def pytest_addoption(parser):
    parser.addoption(
        "--points", type=int, default=3, help="at how many points tests/durability kills each of its jobs"
    )


def pytest_configure(config):
    """Create the folder in which the whole session, all workers together, prepares each data set once."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory()
        config.add_cleanup(folder.cleanup)
        os.environ[_DATASETS] = folder.name


def _create_store(folder: Path) -> Path:
    """Create an artifact store, if it is not there, that has the session's data sets."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        (folder / "datasets").symlink_to(os.environ[_DATASETS])
    return folder


@pytest.fixture(scope="session", autouse=True)
def artifacts_folder():
    """An artifact store for the tests only, in this process and its children."""
    gc.freeze()  # what is imported by now stays, so that no later collection has to look through it
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        _create_store(Path(folder))
        patch.setattr(settings, "ARTIFACTS", Path(folder))
        patch.setenv("ARTIFACTS_DIR", folder)
        yield Path(folder)


@pytest.fixture
def another_store(artifacts_folder, monkeypatch):
    """A function that makes a folder the store until the test ends: empty but for the data sets."""

    def change(folder: Path) -> Path:
        monkeypatch.setattr(settings, "ARTIFACTS", _create_store(folder))
        return folder

    return change


@pytest.fixture
def without_home(monkeypatch):
    """A user without a home, as in a container that is started with the number of a user it does not know."""
    pwd = pytest.importorskip("pwd", reason="elsewhere a home folder is found in another way")

    def unknown(user):
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    monkeypatch.delenv("HOME", raising=False)


@pytest.fixture(scope="module", autouse=True)
def environment_variables(artifacts_folder):
    """Restore the environment after each file of tests, because the tested code sets variables."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module", autouse=True)
def memory_returned(artifacts_folder):
    """Return the memory of a file's networks and graphs to the system, so that a worker does not grow."""
    yield
    if "tensorflow" in sys.modules:
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session")
def cifar10(artifacts_folder):
    """The real CIFAR-10. Tests that need it are skipped if it is not there."""
    try:
        return datasets.load("cifar10")
    except CourseError as error:
        if not isinstance(error, datasets.CifarNotFound) and "there is neither" not in str(error):
            raise
        pytest.skip(
            "CIFAR-10 is not here: set CIFAR10_DIR to the folder of cifar-10-python.tar.gz, or put that "
            "into data/"
        )


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, closed after each file. Tests that need it are skipped if none is installed."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium here: install one (Debian and Ubuntu: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without --no-sandbox Chromium refuses to run as root, as in a container. It opens only our pages.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own of two MiB, and a way to give it more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk can only be mounted by root")

    def enlarge(mib: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={mib}m", str(disk)], check=True)

    yield disk, enlarge
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def images():
    """Twelve images of grey levels k/255, 0 and 1 among them."""
    return np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3)).astype(np.float32) / np.float32(255)


@pytest.fixture(scope="session")
def labels():
    return np.arange(12) % 10


@pytest.fixture(scope="session")
def cnn():
    """A small random network with a BatchNorm whose statistics matter."""
    from helpers.backend import keras  # here, so that tests without networks do not wait for TensorFlow

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
    """tf2cv's ResNet-20 with the course's weights, or untrained if there are none. Do not change it."""
    return _tf2cv_network("resnet20")


@pytest.fixture(scope="session")
def sepreresnet56():
    """tf2cv's SEPreResNet-56, like resnet20."""
    return _tf2cv_network("sepreresnet56")


@pytest.fixture(scope="session")
def efficientnet_b0():
    """EfficientNet-B0, built from tf2cv's blocks, like resnet20."""
    return _tf2cv_network("efficientnet_b0")


def _tf2cv_network(name: str):
    from helpers.backend import keras

    keras.utils.set_random_seed(0)
    model = classifiers.build(name, datasets.CIFAR_MEAN, datasets.CIFAR_STD)
    if (file := classifiers.shipped("cifar10", name)).is_file():
        classifiers.load_weights(model, file)
    return model


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory):
    """A file of weights with which ``small`` (small_in_registry) classifies half of patches10 correctly."""
    from support import small_in_registry

    from helpers.backend import keras

    data, file = datasets.load("patches10"), tmp_path_factory.mktemp("small") / "small.h5"
    with small_in_registry():
        keras.utils.set_random_seed(0)
        model = classifiers.build("small", data.mean, data.std)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    model.fit(*data.train.take(3000), batch_size=50, epochs=4, verbose=0)
    classifiers.save_weights(classifiers.network_of(model), file)
    return file
