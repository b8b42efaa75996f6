"""The autoencoder's seeds: what differs between them, what is held out, and dead channels."""

import json
from dataclasses import replace

import numpy as np
import pytest

from helpers import pipeline, settings
from helpers.settings import CourseError
from helpers.studies import autoencoder_seeds


@pytest.fixture(scope="module")
def run():
    started = pipeline.start("patches10", "resnet20", "smoke")
    few = replace(started.data, train=started.data.train.head(40), validation=started.data.validation.head(8))
    return replace(started, data=few, profile=replace(started.profile, n_train=32, ae_epochs=1))


@pytest.mark.slow
def test_seeds_differ_and_share_their_images(run, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    cards = [autoencoder_seeds.make(run, seed) for seed in (0, 1)]
    assert cards[0]["weights_sha256"] != cards[1]["weights_sha256"]
    assert [
        json.loads(file.read_text())["autoencoder_seed"] for file in sorted(tmp_path.rglob("*.json"))
    ] == [0, 1]
    again = autoencoder_seeds.make(run, 1)
    assert again["weights_sha256"] == cards[1]["weights_sha256"]


@pytest.mark.deep
def test_validation_images_are_held_out(run, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    seen = []
    monkeypatch.setattr(
        autoencoder_seeds.training, "Samples", lambda sources, targets: seen.append(targets) or 1 / 0
    )
    everything = replace(run, profile=settings.profile("smoke", n_train=len(run.data.train) + 64))
    monkeypatch.setattr(pipeline, "inputs", lambda run, split, kind: run.split(split).pixels)
    with pytest.raises(ZeroDivisionError):
        autoencoder_seeds.make(everything, 2)
    np.testing.assert_array_equal(seen[0], run.data.train.pixels)


@pytest.mark.deep
def test_the_released_recipe_sees_clean_images_and_lowers_the_rate_on_plateaus(run, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    seen, train = [], autoencoder_seeds.training.train_autoencoder

    def watched(model, samples, **options):
        seen.append((len(samples.sources), options["batch_size"], options["plateau"]))
        return train(model, samples, **options)

    monkeypatch.setattr(autoencoder_seeds.training, "train_autoencoder", watched)
    cards = [autoencoder_seeds.make(run, 5, recipe) for recipe in ("paper", "released")]
    assert seen == [(2, run.profile.ae_batch, False), (3, 64, True)]
    assert cards[0]["weights_sha256"] != cards[1]["weights_sha256"]
    for recipe, card in zip(("paper", "released"), cards, strict=True):
        (found,) = autoencoder_seeds.cards_of("patches10", "resnet20", recipe).values()
        assert found["weights_sha256"] == card["weights_sha256"]


def cards_with(losses):
    return {
        seed: {"active_channels": 8, "validation": {"loss": loss, "errors": {"regular": loss}}}
        for seed, loss in enumerate(losses)
    }


@pytest.mark.parametrize(
    "losses, median", [([0.3, 0.1, 0.2], 2), ([0.4, 0.1, 0.2, 0.3], 2), ([0.1], 0), ([0.2, 0.2, 0.2], 1)]
)
def test_the_median_by_validation_loss_is_chosen(losses, median):
    cards = cards_with(losses)
    assert autoencoder_seeds.chosen(cards) == median
    table = autoencoder_seeds.table(cards)
    assert list(table.index[table[""] == "median"]) == [median]
    assert list(table["validation loss"]) == losses


def test_nothing_is_chosen_from_nothing():
    with pytest.raises(CourseError):
        autoencoder_seeds.chosen({})
    with pytest.raises(CourseError, match="released"):
        autoencoder_seeds.recipe_of("papers")
