"""Weights and history in one file."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.artifacts import bundles

HISTORY = [{"loss": 1.5, "seconds": 2}, {"loss": 0.5, "seconds": 2}]


def arrays(number, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(k % 3, 2)).astype(np.float32) for k in range(number)]


@pytest.mark.parametrize("number", [0, 3, 1_001])
def test_one_network(tmp_path, number):
    weights = arrays(number)
    bundles.save(tmp_path / "one.npz", HISTORY, weights)
    found = bundles.load(tmp_path / "one.npz")
    assert found.history == HISTORY == bundles.load_history(tmp_path / "one.npz")
    if number:
        assert len(found.weights) == number
        assert all(map(np.array_equal, found.weights, weights))


def test_several_networks(tmp_path):
    networks = {"classifier": arrays(12), "autoencoder": arrays(4, seed=1)}
    bundles.save(tmp_path / "two.npz", HISTORY, networks)
    found = bundles.load(tmp_path / "two.npz").networks
    assert found.keys() == networks.keys()
    for name, weights in networks.items():
        assert len(found[name]) == len(weights) and all(map(np.array_equal, found[name], weights))


def test_the_keys_of_the_file_stay(tmp_path):
    """Artifacts of earlier versions must stay readable."""
    bundles.save(tmp_path / "one.npz", HISTORY, arrays(2))
    with np.load(tmp_path / "one.npz") as stored:
        assert sorted(stored.files) == ["history", "w000", "w001"]
