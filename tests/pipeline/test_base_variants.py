"""Variants of the base networks: where they begin, what is shipped, and how a killed training goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import Stopped, small_classifier, without_times

from helpers import artifacts, classifiers, datasets, evaluation, settings
from helpers.artifacts import cards
from helpers.classifiers import registry
from helpers.classifiers.registry import Network
from helpers.pipeline import base_recipes, base_variants
from helpers.settings import CourseError


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A small base network that is shipped, and few images of each split."""
    data = datasets.load("patches10")
    data = replace(
        data, train=data.train.head(256), validation=data.validation.head(16), test=data.test.head(16)
    )
    monkeypatch.setattr(datasets, "load", lambda _: data)
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    monkeypatch.setitem(registry.MODELS, "small", Network("Small", small_classifier, {"patches10": 1}))
    network = classifiers.build("small", data.mean, data.std)
    file = classifiers.shipped("patches10", "small")
    classifiers.save_weights(classifiers.network_of(network), file)
    cards.write(file, None, weights_sha256=classifiers.weights_sha256(network))
    return classifiers.weights_sha256(network)


def test_an_unknown_recipe_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda _: pytest.fail("data were loaded"))
    with pytest.raises(CourseError, match="label_smoothing"):
        base_variants.make("cifar10", "resnet20", "cutmix")


@pytest.mark.slow
def test_a_variant_goes_on_from_the_shipped_network_where_it_was_killed(base, tmp_path, monkeypatch):
    taken, step = [], base_recipes.classifier_step
    monkeypatch.setattr(
        base_recipes,
        "classifier_step",
        lambda *given, **more: taken.append((given[2], more)) or step(*given, **more),
    )
    card = base_variants.make("patches10", "small", "mixup_label_smoothing", epochs=3)
    assert taken == [(0.1, {"mixup": 1.0})]
    assert (card["begins_with"], card["recipe"]["mixup"], card["recipe"]["label_smoothing"]) == (base, 1, 0.1)
    assert len(card["history"]) == card["epochs"] == 3 and set(card["scores"]) == {"validation"}
    file = base_variants.file_of("patches10", "small", "mixup_label_smoothing")
    shipped = classifiers.load("small", datasets.load("patches10"), str(file))
    assert classifiers.weights_sha256(shipped) == cards.read(file)["weights_sha256"] != base
    assert classifiers.card_of(classifiers.shipped("patches10", "small"))["weights_sha256"] == base

    monkeypatch.setattr(artifacts.store.settings, "ARTIFACTS", tmp_path / "another")
    right, counted = evaluation.is_correct, []

    def stopping(*given):
        counted.append(1)
        if len(counted) == 2:
            raise Stopped
        return right(*given)

    monkeypatch.setattr(evaluation, "is_correct", stopping)
    with pytest.raises(Stopped):
        base_variants.make("patches10", "small", "mixup_label_smoothing", epochs=3)
    again = base_variants.make("patches10", "small", "mixup_label_smoothing", epochs=3)
    assert again["weights_sha256"] == card["weights_sha256"]
    assert without_times(again["history"]) == without_times(card["history"])
    assert np.isfinite(again["history"][-1]["loss"])
