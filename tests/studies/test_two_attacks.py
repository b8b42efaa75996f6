"""Notebook 01's pictures and sentences, and its code in PyTorch."""

import html
import re
import subprocess
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

from helpers import attacks, classifiers, datasets, evaluation, report
from helpers.datasets import patches10
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


# ------------------------------------------------------------------------------------------- in PyTorch

SHOWN = "01_fgsm_and_pgd"
IN_TORCH = """
import sys
import numpy as np, torch
from torch.nn import functional
folder, maintain = sys.argv[1:]
sys.path.insert(0, maintain)
import peer_torch
torch.set_num_threads(1)
given = np.load(folder + "/given.npz")
network = peer_torch.ResNet20(dict(np.load(folder + "/weights.npz"))).eval()
x, y = torch.from_numpy(given["x"]).permute(0, 3, 1, 2), torch.from_numpy(given["y"]).long()
exec(open(folder + "/shown.py").read())
found = {"fgsm": fgsm(network, x, y, 8 / 255), "pgd": pgd(network, x, y, 8 / 255)}
logits = network(x).detach().numpy()
np.savez(folder + "/found.npz", logits=logits, **{k: v.permute(0, 2, 3, 1).numpy() for k, v in found.items()})
"""


def shown():
    """Return the code of both columns of the folded block, as notebook 01's readers see it."""
    block = next(
        output["data"]["text/markdown"]
        for output in report.outputs_of(nbformat.read(report.find(SHOWN), as_version=4))
        if "For people who know PyTorch" in output.get("data", {}).get("text/markdown", "")
    )
    code = [html.unescape(pre) for pre in re.findall(r"<pre>(.*?)</pre>", block, re.DOTALL)]
    return "\n\n".join(code[::2]), "\n\n".join(code[1::2])


def test_the_folded_block_is_the_notebooks_code_and_the_files():
    ours, theirs = (text.split("\n\n") for text in shown())
    source = two_attacks.IN_PYTORCH.read_text()
    cells = [cell.source for cell in nbformat.read(report.find(SHOWN), as_version=4).cells]
    assert len(ours) == len(theirs) == 3
    assert all(code in source for code in theirs)
    assert all(any(code in cell for cell in cells) for code in ours)


@pytest.mark.deep
@pytest.mark.skipif(
    not peers.PYTHON.is_file(), reason="PyTorch has no environment here ('python install.py peers')"
)
def test_the_folded_block_is_the_same_attack_in_both_frameworks(tmp_path):
    """Both columns run as they are shown, on the course's ResNet-20 and on its port to PyTorch."""
    from helpers.backend import tf

    data = patches10.load()
    classifier, (images, labels) = classifiers.load("resnet20", data), data.test.take(8)
    ours, theirs = shown()
    (tmp_path / "shown.py").write_text(theirs)
    np.savez(tmp_path / "weights.npz", **peers.weights_of(classifier))
    np.savez(tmp_path / "given.npz", x=images, y=labels)
    command = [peers.PYTHON, "-I", "-c", IN_TORCH, tmp_path, peers.SCRIPT.parent]
    subprocess.run([str(part) for part in command], check=True, timeout=300)
    names = {"tf": tf, "classifier": classifier, "eps": EPS}
    exec(ours, names)
    x, y = tf.constant(images), tf.constant(labels)
    with np.load(tmp_path / "found.npz") as found:
        peers.check_logits(attacks.logits_in_batches(classifier, images), found["logits"])
        np.testing.assert_array_equal(found["fgsm"], names["fgsm"](x, y))
        np.testing.assert_allclose(found["pgd"], names["pgd"](x, y), rtol=0, atol=1e-5)
