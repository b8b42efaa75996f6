"""tf2cv's networks with their normalisation, and their weights: loaded, saved, or refused with the reason."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
from scipy.stats import binomtest

from helpers import classifiers, datasets, evaluation, settings
from helpers.artifacts import provenance
from helpers.backend import tf
from helpers.classifiers import registry
from helpers.settings import CourseError

CARDS = sorted(settings.WEIGHTS.glob("*/*.json"))
pytestmark = pytest.mark.deep  # nearly all build a network of tf2cv's

MEAN, STD = datasets.CIFAR_MEAN, datasets.CIFAR_STD


@pytest.fixture(scope="module")
def built():
    tf.keras.utils.set_random_seed(1)
    return {model: classifiers.build(model, MEAN, STD) for model in registry.MODELS}


@pytest.fixture(scope="module")
def original(built):
    """The weights that the networks begin every test with."""
    return {model: network.get_weights() for model, network in built.items()}


@pytest.fixture(scope="module")
def trained(built, tmp_path_factory):
    """A weight file of each network."""
    folder = tmp_path_factory.mktemp("weights")
    for model, network in built.items():
        classifiers.save_weights(classifiers.network_of(network), folder / f"{model}.h5")
    return folder


@pytest.fixture
def networks(built, original, trained):
    """The networks, which a test may change."""
    yield built
    for model, network in built.items():
        if not same(network.get_weights(), original[model]):
            network.set_weights(original[model])


@pytest.fixture
def data():
    """As much of a data set as a classifier needs."""
    none = datasets.Split(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int32))
    return datasets.Data("cifar10", none, none, none, datasets.CIFAR_CLASSES, MEAN, STD)


@pytest.fixture
def shipped(tmp_path, monkeypatch, trained):
    """A weights/ of the test's own that holds ResNet-20's for CIFAR-10, and their card."""
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    file = classifiers.shipped("cifar10", "resnet20")
    file.parent.mkdir()
    shutil.copy(trained / "resnet20.h5", file)
    file.with_suffix(".json").write_text(json.dumps({"file_sha256": provenance.sha256_of(file)}))
    return file


def same(weights, others):
    return all(np.array_equal(a, b) for a, b in zip(weights, others, strict=True))


# ------------------------------------------------------------------------------------------ networks


@pytest.mark.parametrize(
    "model, count", [("resnet20", 272_474), ("sepreresnet56", 862_601), ("efficientnet_b0", 4_020_358)]
)
def test_parameters_and_shapes(networks, images, model, count):
    network = networks[model]
    assert classifiers.parameter_count(network) == count
    logits = network.predict_on_batch(images)
    assert logits.shape == (len(images), 10) and logits.dtype == np.float32
    assert not np.allclose(logits.sum(1), 1)  # logits, not probabilities


@pytest.mark.parametrize("model", registry.MODELS)
def test_normalisation_is_inside(networks, images, model):
    network = networks[model]
    normalised = (images - np.float32(MEAN)) / np.float32(STD)
    bare = classifiers.network_of(network)(normalised, training=False).numpy()
    scale = np.abs(bare).max()  # all but 0 in an untrained EfficientNet
    np.testing.assert_allclose(network(images, training=False), bare, rtol=0, atol=1e-5 * scale)
    without = classifiers.network_of(network)(images, training=False)
    assert not np.allclose(bare, without, rtol=0, atol=1e-2 * scale)


@pytest.mark.parametrize("model", registry.MODELS)
def test_inference_leaves_batchnorm_alone(networks, original, images, model):
    network = networks[model]
    evaluation.predict(network, images)
    network(images, training=False)
    assert same(network.get_weights(), original[model])
    network(images, training=True)
    assert not same(network.get_weights(), original[model])


@pytest.mark.parametrize("model", ["resnet20", "efficientnet_b0"])
def test_mixed_precision_keeps_float32_weights_and_logits(images, model):
    network = classifiers.build(model, MEAN, STD, "mixed_bfloat16")
    assert {w.dtype for w in network.weights} == {tf.float32} and network(images[:2]).dtype == tf.float32
    assert tf.keras.mixed_precision.global_policy().name == "float32"


# ------------------------------------------------------------------------------------------- weights


def test_the_checksum_is_of_the_weights(networks, original):
    network = networks["resnet20"]
    checksum = classifiers.weights_sha256(network)
    network.set_weights([w + (i == 40) * np.float32(1e-3) for i, w in enumerate(original["resnet20"])])
    assert classifiers.weights_sha256(network) != checksum
    network.set_weights(original["resnet20"])
    assert classifiers.weights_sha256(network) == checksum


@pytest.mark.parametrize("model", registry.MODELS)
@pytest.mark.parametrize("name", ["resnet.h5", "resnet.weights.h5", "no-suffix"])
def test_saved_weights_load_again(networks, original, trained, tmp_path, model, name):
    file = tmp_path / name
    shutil.copy(trained / f"{model}.h5", file)
    network = networks[model]
    network.set_weights([np.zeros_like(w) for w in original[model]])
    classifiers.load_weights(network, file)
    assert same(network.get_weights(), original[model])


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_at_the_end(path):
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path):
    path.write_bytes(b"")


def replaced_by_text(path):
    path.write_text("version https://git-lfs.github.com/spec/v1")


@pytest.mark.parametrize("damage", [truncated, cut_at_the_end, emptied, replaced_by_text])
def test_a_damaged_file(networks, original, trained, tmp_path, damage):
    file = tmp_path / "mine.h5"
    shutil.copy(trained / "resnet20.h5", file)
    damage(file)
    with pytest.raises(CourseError, match="mine.h5 is truncated or damaged .*; fetch or train it again"):
        classifiers.load_weights(networks["resnet20"], file)
    assert same(networks["resnet20"].get_weights(), original["resnet20"])


@pytest.mark.parametrize("model, other", [("resnet20", "sepreresnet56"), ("sepreresnet56", "resnet20")])
def test_weights_of_another_network(networks, original, trained, model, other):
    with pytest.raises(
        CourseError, match=f"{other}.h5 holds the weights of another network.*choose the model"
    ):
        classifiers.load_weights(networks[model], trained / f"{other}.h5")
    assert same(networks[model].get_weights(), original[model])


def test_weights_of_a_network_with_other_shapes(networks, original, trained, tmp_path):
    """The same layers, but a hundred classes."""
    file = tmp_path / "hundred.h5"
    shutil.copy(trained / "resnet20.h5", file)
    with h5py.File(file, "r+") as stored:
        names = []
        stored.visititems(
            lambda name, item: names.append(name) if getattr(item, "shape", None) == (64, 10) else None
        )
        for name in names:
            del stored[name]
            stored[name] = np.zeros((64, 100), np.float32)
    assert names
    with pytest.raises(CourseError, match="hundred.h5 holds the weights of another network"):
        classifiers.load_weights(networks["resnet20"], file)
    assert same(networks["resnet20"].get_weights(), original["resnet20"])  # not half of the other ones


def test_another_hdf5_file(networks, tmp_path):
    with h5py.File(tmp_path / "climate.h5", "w") as file:
        file["temperature"] = np.zeros(3)
    with pytest.raises(CourseError, match="climate.h5 holds the weights of another network"):
        classifiers.load_weights(networks["resnet20"], tmp_path / "climate.h5")


# ------------------------------------------------------------------------------ where they come from


def test_the_courses_weights(shipped, data, original):
    assert same(classifiers.load("resnet20", data).get_weights(), original["resnet20"])


def test_a_file_by_path(data, trained, original):
    loaded = classifiers.load("sepreresnet56", data, str(trained / "sepreresnet56.h5"))
    assert same(loaded.get_weights(), original["sepreresnet56"])


def test_no_weights(data, original):
    assert not same(classifiers.load("resnet20", data, "none").get_weights(), original["resnet20"])


def test_a_missing_file(data, tmp_path):
    with pytest.raises(CourseError, match="there is no weight file nowhere.h5 in .*; check the path"):
        classifiers.load("resnet20", data, str(tmp_path / "nowhere.h5"))


@pytest.mark.parametrize("lost", ["weights", "card"])
def test_weights_that_the_course_does_not_ship(shipped, data, lost):
    (shipped if lost == "weights" else shipped.with_suffix(".json")).unlink()
    message = "ships no weights of ResNet-20 .*'make weights DATASET=cifar10 MODEL=resnet20'"
    with pytest.raises(CourseError, match=message):
        classifiers.load("resnet20", data)


def test_weights_that_are_not_their_cards(shipped, data):
    truncated(shipped)
    with pytest.raises(CourseError, match="is not the one its card describes; .* restore it"):
        classifiers.load("resnet20", data)


def test_an_unknown_model(data):
    with pytest.raises(
        CourseError, match=f"unknown model 'vgg16'; choose one of {', '.join(registry.MODELS)}"
    ):
        classifiers.load("vgg16", data)


def test_tf2cvs_weights(data, monkeypatch, trained, original):
    from tf2cv.models import model_store

    file = {"resnet20_cifar10": str(trained / "resnet20.h5")}
    monkeypatch.setattr(model_store, "get_model_file", file.get)
    assert same(classifiers.load("resnet20", data, "tf2cv").get_weights(), original["resnet20"])


def test_tf2cvs_download_fails(data, monkeypatch):
    from tf2cv.models import model_store

    def fail(_):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(model_store, "get_model_file", fail)
    message = "could not be downloaded .ConnectionError.; connect to the network, or choose WEIGHTS=course"
    with pytest.raises(CourseError, match=message):
        classifiers.load("resnet20", data, "tf2cv")


def test_tf2cv_has_no_weights_for_patches10(data, monkeypatch):
    object.__setattr__(data, "name", "patches10")
    with pytest.raises(
        CourseError, match="tf2cv's weights are for CIFAR-10, not for patches10; choose WEIGHTS=course"
    ):
        classifiers.load("resnet20", data, "tf2cv")


# ------------------------------------------------------------------------------- the shipped weights


@pytest.mark.parametrize(
    "card",
    [c for c in CARDS if c.stem in registry.MODELS],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
class TestShippedWeights:
    @pytest.fixture
    def described(self, card):
        return json.loads(card.read_text())

    @pytest.fixture
    def classifier(self, networks, card):
        classifiers.load_weights(networks[card.stem], card.with_suffix(".h5"))
        return networks[card.stem]

    def test_they_are_the_cards(self, card, described, classifier):
        assert described["file_sha256"] == provenance.sha256_of(card.with_suffix(".h5"))
        assert described["weights_sha256"] == classifiers.weights_sha256(classifier)
        assert described["model"] == card.stem
        assert described["parameters"] == sum(int(tf.size(w)) for w in classifier.trainable_weights)

    def test_they_score_what_the_card_says(self, request, card, described):
        """On 500 test images: within what chance allows."""
        name = card.parent.name
        data = request.getfixturevalue("cifar10") if name == "cifar10" else datasets.load(name)
        # Small batches, so that a deep network does not make pytest's worker large for good.
        classifier = classifiers.load(card.stem, data)
        correct = evaluation.is_correct(classifier, *data.test.take(500), batch_size=50).sum()
        assert binomtest(int(correct), 500, described["scores"]["test"]["accuracy"]).pvalue > 1e-4


def files_of(card):
    """The weight files that a card describes, with their hashes: none where only a failure is recorded."""
    about = json.loads(card.read_text())
    files = {"file_sha256": f"{card.stem}.h5", "autoencoder_sha256": f"{card.stem}_ae.h5"}
    return {card.with_name(name): about[key] for key, name in files.items() if key in about}


@pytest.mark.parametrize("card", CARDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_weight_file_is_its_cards(card):
    for file, sha256 in files_of(card).items():
        assert provenance.sha256_of(file) == sha256
        assert json.loads(card.read_text())["weights_sha256"]


def test_every_weight_file_has_its_card():
    assert set(settings.WEIGHTS.glob("*/*.h5")) == {file for card in CARDS for file in files_of(card)}
