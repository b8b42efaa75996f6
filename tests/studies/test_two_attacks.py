"""Notebook 01's pictures and sentences, and its code in PyTorch."""

import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import attacks, datasets, evaluation
from helpers.maintain import peers
from helpers.studies import two_attacks

EPS = 8 / 255


def fgsm(x, y):
    return x < y


def test_an_image_that_fgsm_misses_is_right_after_fgsm_and_wrong_after_pgd(monkeypatch):
    right = {"fgsm": [True, True, False, True], "pgd": [True, False, False, False]}
    monkeypatch.setattr(attacks, "fgsm", lambda *_: "fgsm")
    monkeypatch.setattr(attacks, "pgd", lambda *_, random_start: "pgd")
    monkeypatch.setattr(evaluation, "is_correct", lambda _, images, labels: np.array(right[images]))
    assert two_attacks.missed_by_fgsm(None, None, None, EPS) == 1
    right["fgsm"] = [False] * 4
    assert two_attacks.missed_by_fgsm(None, None, None, EPS) == 0


def test_the_first_step_is_taken_apart(cnn, images):
    labels = np.arange(len(images)) % 10
    split = datasets.Split((255 * images).astype(np.uint8), labels.astype(np.int32))
    profile = SimpleNamespace(n_sweep=len(images))
    run = SimpleNamespace(classifier=cnn, eps=EPS, seed=3, profile=profile, data=SimpleNamespace(test=split))
    found = two_attacks.first_step(run)
    clean, truth = split.take()
    moved = attacks.pgd(cnn, clean, truth, EPS, steps=1, seed=3)
    expected = evaluation.is_correct(cnn, moved, truth).sum()
    assert found["one step from the random start"]["correct"] == expected
    assert [record["steps"] for record in found.values()] == [0, 0, 1, 1]
    table = two_attacks.first_step_table(found)
    assert all(name in table for name in found) and f"n = {len(images)}" in table


def test_both_frameworks_code_stands_side_by_side():
    text = two_attacks.beside_pytorch(fgsm)
    assert "return x &lt; y" in text and "torch.sign(gradient_of_loss(classifier, x, y))" in text
    assert text.startswith("<details>") and text.count("<td>") == 2


IN_TORCH = """
import json, sys
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
import in_pytorch
given = np.load(sys.argv[2])
x, y, w = (torch.from_numpy(given[name]) for name in "xyw")
def classifier(x):
    return torch.sin(3 * x.permute(0, 2, 3, 1).flatten(1)) @ w
x = x.permute(0, 3, 1, 2)
found = {"fgsm": in_pytorch.fgsm(classifier, x, y, 8 / 255), "pgd": in_pytorch.pgd(classifier, x, y, 8 / 255)}
print(json.dumps({name: images.permute(0, 2, 3, 1).tolist() for name, images in found.items()}))
"""


@pytest.mark.deep
@pytest.mark.skipif(not peers.PYTHON.is_file(), reason="PyTorch has no environment here")
def test_the_code_in_pytorch_is_the_same_attack(tmp_path):
    from helpers.backend import tf

    rng = np.random.default_rng(0)
    given = {
        "x": rng.random((3, 4, 4, 3), np.float32),
        "y": np.array([1, 0, 2]),
        "w": rng.standard_normal((48, 5)).astype(np.float32),
    }
    np.savez(tmp_path / "given.npz", **given)
    command = [peers.PYTHON, "-c", IN_TORCH, two_attacks.IN_PYTORCH.parent, tmp_path / "given.npz"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)

    def model(x):
        return tf.sin(3 * tf.reshape(x, (-1, 48))) @ given["w"]

    images, labels = given["x"], given["y"].astype(np.int32)
    expected = {
        "fgsm": attacks.fgsm(model, images, labels, EPS),
        "pgd": attacks.pgd(model, images, labels, EPS, random_start=False),
    }
    for name, moved in expected.items():
        differs = np.abs(np.array(found[name]) - moved) > 1e-5
        assert differs.mean() < 0.02, name
