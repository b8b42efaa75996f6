"""Hardened networks, made, shipped and loaded: on a ResNet-20 that is trained for a moment."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from helpers import autoencoder, classifiers, hardened, pipeline, settings
from helpers.backend import keras
from helpers.hardened import RECIPES
from helpers.settings import CourseError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A weights folder of the test's own, a run on little data, and recipes that take a moment."""
    shutil.copytree(settings.WEIGHTS / "patches10", tmp_path / "weights" / "patches10")
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(hardened, "WATCHED", 12)
    quick = {name: replace(RECIPES[name], epochs=1) for name in ("single_step", "madry", "joint", "noise_25")}
    quick["denoiser_25"] = replace(RECIPES["denoiser_25"], epochs=1, stability_epochs=1)
    quick["few_images"] = replace(RECIPES["few_images"], epochs=1, images=128)
    monkeypatch.setattr(hardened, "RECIPES", quick)
    run = pipeline.start("patches10", "resnet20", "smoke")
    few = replace(run.data, train=run.data.train.head(256))  # two steps: the first has rate 0
    keras.utils.set_random_seed(3)
    autoencoders = autoencoder.build(), []
    monkeypatch.setattr(pipeline, "autoencoder", lambda _: autoencoders)
    return replace(run, data=few)


def test_a_pair_is_shipped_and_loaded_as_it_was_trained(tree):
    card = hardened.make(tree, "joint")
    model, front, about = hardened.network(tree, "joint")
    assert about == json.loads(json.dumps(card))
    assert card["parameters"] == 272_474 + 3_795
    assert [set(record) for record in card["history"]] == [{"epoch", "loss", "seconds", "clean", "pgd", "training_pgd"}]
    images = tree.data.test.take(8)[0]
    expected = classifiers.network_of(next(layer for layer in model.layers if layer.name == "resnet20"))
    assert classifiers.weights_sha256(front) != classifiers.weights_sha256(pipeline.autoencoder(tree)[0])  # it learned
    assert classifiers.weights_sha256(expected) != classifiers.weights_sha256(tree.classifier)
    behind = classifiers.copied(tree.classifier)
    behind.set_weights(next(layer for layer in model.layers if layer.name == "resnet20").get_weights())
    np.testing.assert_allclose(model(images), behind(front(images)), atol=1e-5)
    file = settings.WEIGHTS / "patches10" / "resnet20_joint_ae.h5"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CourseError, match=r"resnet20_joint_ae.h5 is missing or damaged"):
        hardened.network(tree, "joint")


def test_networks_that_are_not_there_are_named(tree):
    with pytest.raises(CourseError, match="unknown recipe 'trades'; choose one of single_step"):
        hardened.network(tree, "trades")
    with pytest.raises(CourseError, match="unknown recipe 'trades'"):
        hardened.recorded(tree, "trades")
    with pytest.raises(CourseError, match="resnet20_madry"):
        hardened.network(tree, "madry")
    with pytest.raises(CourseError, match="python -m helpers robust madry --dataset patches10 --model resnet20$"):
        hardened.card(tree, "madry")


@pytest.mark.parametrize("name", ["noise_25", "denoiser_25"])
def test_networks_that_know_noise_are_shipped_and_loaded(tree, name):
    card = hardened.make(tree, name)
    model, front, about = hardened.network(tree, name)
    assert about == json.loads(json.dumps(card))
    assert all("noisy" in record for record in card["history"])
    same = about["weights_sha256"] == classifiers.weights_sha256(tree.classifier)
    assert same == (name == "denoiser_25") == (front is not None)  # behind a denoiser the classifier stays
    assert np.isfinite(model(tree.data.test.take(4)[0])).all()


def test_a_failure_is_recorded_without_weights(tree):
    hardened.make(tree, "few_images")
    assert hardened.card(tree, "few_images")["n"] == 128
    assert not classifiers.shipped("patches10", "resnet20_few_images").is_file()
    with pytest.raises(CourseError, match="only shows how training fails"):
        hardened.network(tree, "few_images")


def test_a_network_of_another_beginning_is_refused(tree):
    hardened.make(tree, "noise_25")
    assert hardened.recorded(tree, "noise_25") and not hardened.recorded(tree, "madry")
    other = replace(tree, classifier=classifiers.build("resnet20", tree.data.mean, tree.data.std))
    with pytest.raises(CourseError, match="another initial classifier"):
        hardened.network(other, "noise_25")
    assert not hardened.recorded(other, "noise_25")


def test_an_epoch_that_was_held_up_does_not_count_as_training(tree):
    seconds = [60, 60, 1200, 60]
    history = [{"epoch": k + 1, "seconds": s, "pgd": 0.1} for k, s in enumerate(seconds)]
    config = {"initial": "0"}
    card = hardened._ship(tree, "few_images", RECIPES["few_images"], tree.classifier, None, config, history)
    assert card["minutes"] == 4.0
