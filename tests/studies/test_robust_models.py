"""Robust models made, shipped and loaded, with a ResNet-20 that is trained for a moment."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from helpers import classifiers, pipeline, settings
from helpers.backend import keras
from helpers.defenses import autoencoder
from helpers.settings import CourseError
from helpers.studies import robust_models
from helpers.studies.robust_models import RECIPES
from helpers.training import Pair

pytestmark = pytest.mark.deep


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A weights folder of the test's own, a run on little data, and recipes that take a moment."""
    shutil.copytree(settings.WEIGHTS / "patches10", tmp_path / "weights" / "patches10")
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(robust_models, "WATCHED", 12)
    quick = {name: replace(RECIPES[name], epochs=1) for name in ("single_step", "madry", "joint", "noise_25")}
    quick["denoiser_25"] = replace(RECIPES["denoiser_25"], epochs=1, stability_epochs=1)
    quick["few_images"] = replace(RECIPES["few_images"], epochs=1, images=128)
    monkeypatch.setattr(robust_models, "RECIPES", quick)
    run = pipeline.start("patches10", "resnet20", "smoke")
    few = replace(run.data, train=run.data.train.head(256))  # two steps: the first has rate 0
    keras.utils.set_random_seed(3)
    autoencoders = autoencoder.build_autoencoder(), []
    monkeypatch.setattr(pipeline, "autoencoder", lambda _: autoencoders)
    return replace(run, data=few)


@pytest.mark.slow
def test_a_pair_is_shipped_and_loaded_as_it_was_trained(tree):
    card = robust_models.make(tree, "joint")
    model, front, about = robust_models.network(tree, "joint")
    assert about == json.loads(json.dumps(card))
    assert card["parameters"] == 272_474 + 3_795
    assert [set(record) for record in card["history"]] == [
        {"epoch", "loss", "seconds", "clean", "pgd", "training_pgd"}
    ]
    images = tree.data.test.take(8)[0]
    expected = classifiers.network_of(next(layer for layer in model.layers if layer.name == "resnet20"))
    assert classifiers.weights_sha256(front) != classifiers.weights_sha256(
        pipeline.autoencoder(tree)[0]
    )  # it learned
    assert classifiers.weights_sha256(expected) != classifiers.weights_sha256(tree.classifier)
    behind = classifiers.clone(tree.classifier)
    behind.set_weights(next(layer for layer in model.layers if layer.name == "resnet20").get_weights())
    np.testing.assert_allclose(model(images), behind(front(images)), atol=1e-5)
    file = settings.WEIGHTS / "patches10" / "resnet20_joint_ae.h5"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CourseError, match=r"resnet20_joint_ae.h5 is missing or damaged"):
        robust_models.network(tree, "joint")


def test_networks_that_are_not_there_are_named(tree):
    with pytest.raises(CourseError, match="unknown recipe 'trades'; choose one of single_step"):
        robust_models.network(tree, "trades")
    with pytest.raises(CourseError, match="unknown recipe 'trades'"):
        robust_models.recorded(tree, "trades")
    with pytest.raises(CourseError, match="resnet20_madry"):
        robust_models.network(tree, "madry")
    with pytest.raises(
        CourseError, match="python -m helpers robust madry --dataset patches10 --model resnet20$"
    ):
        robust_models.card(tree, "madry")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("noise_25", marks=pytest.mark.slow), "denoiser_25"])
def test_networks_that_know_noise_are_shipped_and_loaded(tree, name):
    card = robust_models.make(tree, name)
    model, front, about = robust_models.network(tree, name)
    assert about == json.loads(json.dumps(card))
    assert all("noisy" in record for record in card["history"])
    same = about["weights_sha256"] == classifiers.weights_sha256(tree.classifier)
    assert same == (name == "denoiser_25") == (front is not None)  # behind a denoiser the classifier stays
    assert np.isfinite(model(tree.data.test.take(4)[0])).all()


@pytest.mark.slow
def test_a_failure_is_recorded_without_weights(tree):
    robust_models.make(tree, "few_images")
    assert robust_models.card(tree, "few_images")["n"] == 128
    assert not classifiers.shipped("patches10", "resnet20_few_images").is_file()
    with pytest.raises(CourseError, match="only shows how training fails"):
        robust_models.network(tree, "few_images")


@pytest.mark.slow
def test_a_network_of_another_beginning_is_refused(tree):
    robust_models.make(tree, "noise_25")
    assert robust_models.recorded(tree, "noise_25") and not robust_models.recorded(tree, "madry")
    other = replace(tree, classifier=classifiers.build("resnet20", tree.data.mean, tree.data.std))
    with pytest.raises(CourseError, match="another initial classifier"):
        robust_models.network(other, "noise_25")
    assert not robust_models.recorded(other, "noise_25")


def test_an_epoch_that_was_held_up_does_not_count_as_training(tree):
    seconds = [60, 60, 1200, 60]
    history = [{"epoch": k + 1, "seconds": s, "pgd": 0.1} for k, s in enumerate(seconds)]
    config = {"initial": "0"}
    networks = Pair(tree.classifier)
    card = robust_models._ship(tree, "few_images", RECIPES["few_images"], networks, config, history)
    assert card["minutes"] == 4.0
