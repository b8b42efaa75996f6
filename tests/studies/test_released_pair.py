"""The author's released networks: files of the same form are read, any other is refused in one line."""

import hashlib

import h5py
import numpy as np
import pytest
from support import small_in_registry

from helpers import classifiers, evaluation
from helpers.backend import keras
from helpers.cli.app import main
from helpers.defenses import autoencoder
from helpers.pipeline.protocol import IMAGENET_MEAN, IMAGENET_STD
from helpers.settings import CourseError
from helpers.studies import released_pair
from helpers.studies.released_pair import AUTOENCODER, CLASSIFIER

pytestmark = pytest.mark.deep  # each builds the SEPReResNet-56


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A small pair, in files like the author's, whose checksums count as the released ones."""
    with small_in_registry():
        monkeypatch.setattr(released_pair, "MODEL", "small")
        keras.utils.set_random_seed(0)
        made = released_pair.Pair(
            classifiers.build("small", IMAGENET_MEAN, IMAGENET_STD), autoencoder.build_autoencoder()
        )
        made.autoencoder.set_weights([w + 0.01 for w in made.autoencoder.get_weights()])  # no bias is 0
        classifiers.save_weights(classifiers.network_of(made.classifier), tmp_path / CLASSIFIER)
        write_autoencoder(tmp_path / AUTOENCODER, made.autoencoder.get_weights())
        sums = {n: hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in (CLASSIFIER, AUTOENCODER)}
        monkeypatch.setattr(released_pair, "SHA256", sums)
        yield made


def write_autoencoder(path, weights):
    """Write weights in the released file's layout: encoder, decoder, and in them layers by Keras's names."""
    encoder, decoder = ["conv2d", "conv2d_1"], ["conv2d_transpose", "conv2d_transpose_1", "conv2d_2"]
    names = [("sequential", n) for n in encoder] + [("sequential_1", n) for n in decoder]
    with h5py.File(path, "w") as file:
        for k, (group, layer) in enumerate(names):
            file[f"{group}/{layer}/kernel:0"], file[f"{group}/{layer}/bias:0"] = weights[2 * k : 2 * k + 2]


def test_the_pair_is_read(pair, tmp_path, images):
    found = released_pair.load(tmp_path)
    for one, other in ((found.classifier, pair.classifier), (found.defended, pair.defended)):
        np.testing.assert_array_equal(evaluation.predict(one, images), evaluation.predict(other, images))
    np.testing.assert_allclose(found.classifier.get_layer("normalize").mean, IMAGENET_MEAN)


def other_weights(folder):
    with h5py.File(folder / AUTOENCODER, "r+") as file:
        file["sequential_1/conv2d_2/bias:0"][0] += 1


def other_network(folder):
    write_autoencoder(folder / AUTOENCODER, [np.zeros((1, 1, 3, 3)), np.zeros(3)] * 5)


def one_layer_more(folder):
    with h5py.File(folder / AUTOENCODER, "r+") as file:
        file["sequential_1/dense/bias:0"] = np.zeros(3)


def truncated(folder):
    file = folder / AUTOENCODER
    file.write_bytes(file.read_bytes()[:1000])


def exchanged(folder):
    (folder / CLASSIFIER).write_bytes((folder / AUTOENCODER).read_bytes())


def not_there(folder):
    (folder / AUTOENCODER).unlink()


@pytest.mark.parametrize(
    "spoil, file, why",
    [
        (not_there, AUTOENCODER, "there is no safetynet.h5 in"),
        (other_weights, AUTOENCODER, "its sha256 begins with"),
        (other_network, AUTOENCODER, "another network"),
        (one_layer_more, AUTOENCODER, "another network"),
        (truncated, AUTOENCODER, "truncated or damaged"),
        (exchanged, CLASSIFIER, "another network"),
    ],
)
def test_other_files_are_refused(pair, tmp_path, capsys, spoil, file, why):
    spoil(tmp_path)
    with pytest.raises(CourseError, match=file) as raised:
        released_pair.load(tmp_path)
    assert why in str(raised.value)
    assert main(["author", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_empty_folder_names_both_files(tmp_path):
    with pytest.raises(CourseError, match=f"no {CLASSIFIER} and no {AUTOENCODER}"):
        released_pair.load(tmp_path)
