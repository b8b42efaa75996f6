"""The autoencoder's seeds: what differs between them, what is held out, and dead channels."""

import json
from dataclasses import replace

import numpy as np
import pytest

from helpers import pipeline, settings
from helpers.studies import autoencoder_seeds

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def run():
    started = pipeline.start("patches10", "resnet20", "smoke")
    few = replace(started.data, train=started.data.train.head(40), validation=started.data.validation.head(8))
    return replace(started, data=few, profile=replace(started.profile, n_train=32, ae_epochs=1))


def test_seeds_differ_and_share_their_images(run, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    cards = [autoencoder_seeds.make(run, seed) for seed in (0, 1)]
    assert cards[0]["weights_sha256"] != cards[1]["weights_sha256"]
    assert [
        json.loads(file.read_text())["autoencoder_seed"] for file in sorted(tmp_path.rglob("*.json"))
    ] == [0, 1]
    again = autoencoder_seeds.make(run, 1)
    assert again["weights_sha256"] == cards[1]["weights_sha256"]


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
