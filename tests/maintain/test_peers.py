"""The benchmark beside PyTorch: the same network and attack, and a clear word where it cannot be measured."""

import json
import sys
from functools import partial

import numpy as np
import pytest

from helpers import attacks, classifiers, datasets, settings
from helpers.attacks import attack_ensemble
from helpers.cli.app import main
from helpers.datasets import patches10
from helpers.maintain import bench, contenders, peers, speed_tables
from helpers.settings import CourseError

installed = pytest.mark.skipif(
    not peers.PYTHON.is_file(), reason="PyTorch has no environment here ('python install.py peers')"
)
ENSEMBLES = {
    "the course": {
        "seconds": 500.0,
        "n": 1000,
        "correct": 280,
        "accuracy": 0.28,
        "ci_low": 0.25,
        "ci_high": 0.31,
        "robust_only_here": 2,
        "robust_only_there": 3,
    },
    "AutoAttack (torchattacks)": {
        "seconds": 2500.0,
        "n": 1000,
        "correct": 281,
        "accuracy": 0.281,
        "ci_low": 0.25,
        "ci_high": 0.31,
        "robust_only_here": 0,
        "robust_only_there": 0,
    },
}


@pytest.fixture
def recorded():
    """The recorded speeds without what only PyTorch gives."""
    results = json.loads((settings.FIGURES / "benchmarks.json").read_text())
    for name in ("peers", "worst_case"):
        results.pop(name, None)
    for name in peers.PGD:
        results["attacks"].pop(name, None)
    return results


def with_peers(results: dict) -> dict:
    speed = {"median_per_second": 20.0, "lowest": 19.0, "highest": 21.0}
    return results | {
        "attacks": results["attacks"] | dict.fromkeys(peers.PGD, speed),
        "peak_mib": results["peak_mib"] | dict.fromkeys(peers.PGD, 777),
        "peers": {"torch": "2.13.0+cpu", "torchattacks": "3.5.1", "threads": 2},
        "worst_case": {"network": "single_step", "n": 1000, "attacks": ["apgd-ce"], "ensembles": ENSEMBLES},
    }


# ------------------------------------------------------------------------------------------------- tables


def test_without_peers_the_tables_are_what_they_were(recorded):
    for text in (speed_tables.markdown(recorded), speed_tables.table(recorded)):
        assert "torch" not in text and "worst case" not in text


def test_with_peers_the_tables_have_their_rows(recorded):
    ours = recorded["attacks"]["the course"]["median_per_second"]
    text, terminal = (write(with_peers(recorded)) for write in (speed_tables.markdown, speed_tables.table))
    assert f"| torchattacks, compiled | 20.0 | {ours / 20:.2f}x | 777 |" in text
    assert "torchattacks 3.5.1 runs on PyTorch 2.13.0+cpu" in text and "(2)" in text
    assert "worst case of 1,000 images, on the network from single-step adversarial training" in text
    assert "| the course | 500 | 5.00x | 28.0 [25.0, 31.0] | 2 and 3 |" in text
    assert "| AutoAttack (torchattacks) | 2,500 | 1.00x | 28.1 [25.0, 31.0] | 0 and 0 |" in text
    assert "worst case, the course: 500 s (gain 5.00x)" in terminal
    assert "torchattacks, eager" in terminal


# --------------------------------------------------------------------------------- what cannot be measured


def test_a_missing_environment_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "PYTHON", tmp_path / "python")
    assert "'python install.py peers' makes it" in peers.why_not("resnet20")
    with pytest.raises(CourseError, match="python install.py peers"):
        bench.worst_case(None, "resnet20", 1, 4)  # before any work
    peers.PYTHON.touch()
    assert peers.why_not("resnet20") == ""
    assert "only resnet20 is ported to PyTorch, not sepreresnet56" in peers.why_not("sepreresnet56")


def test_the_command_says_so_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(datasets, "load", lambda name: None)
    assert main(["bench", "--only", "worst_case", "--out", str(tmp_path / "b.json")]) == 2
    assert "python install.py peers" in capsys.readouterr().err and not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("apart", [2e-4, np.nan])
def test_another_network_is_not_measured(apart):
    ours = np.zeros((4, 10), np.float32)
    peers.check_logits(ours, ours + 5e-5)
    with pytest.raises(CourseError, match="PyTorch's network is not the course's: logits differ"):
        peers.check_logits(ours, ours + np.eye(4, 10, dtype=np.float32) * np.float32(apart))
    with pytest.raises(CourseError, match="returned logits"):
        peers.check_logits(ours, ours[:2])


def child(tmp_path, monkeypatch, body: str):
    """Let ``started`` run a few lines of Python instead of PyTorch; they find the folder in ``folder``."""
    script = tmp_path / "child.py"
    head = "import json, pathlib, sys, numpy as np\nfolder = pathlib.Path(sys.argv[1])\n"
    script.write_text(head + body)
    monkeypatch.setattr(peers, "SCRIPT", script)
    monkeypatch.setattr(peers, "PYTHON", sys.executable)


@pytest.fixture(scope="module")
def small():
    data = patches10.load()
    return classifiers.load("resnet20", data), *data.test.take(4)


@pytest.mark.deep
def test_the_process_gets_plain_arrays_and_is_checked_before_it_is_used(small, tmp_path, monkeypatch):
    child(
        tmp_path,
        monkeypatch,
        "weights = np.load(folder / 'weights.npz')\n"
        "assert weights['stage2/unit1/identity_conv/conv/conv/kernel'].shape == (1, 1, 16, 32)\n"
        "assert {'mean', 'std', 'init_block/bn/gamma', 'output1/bias'} <= set(weights)\n"
        "assert json.loads((folder / 'job.json').read_text())['steps'] == 10\n"
        "np.save(folder / 'logits.npy', np.zeros((len(np.load(folder / 'labels.npy')), 10)))\n"
        "print('{}', flush=True)\n",
    )
    with pytest.raises(CourseError, match="logits differ"), peers.started(*small):
        raise AssertionError("a network that is another one was measured")


@pytest.mark.deep
def test_an_error_in_the_process_is_one_line(small, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "check_logits", lambda *_: None)
    child(
        tmp_path,
        monkeypatch,
        "np.save(folder / 'logits.npy', np.zeros(1))\n"
        "print(json.dumps({'threads': 1}), flush=True)\n"
        "print(json.dumps({'error': 'no compiler for ' + sys.stdin.readline()}), flush=True)\n"
        "sys.exit(3)\n",
    )
    with peers.started(*small) as peer:
        assert peer.about == {"threads": 1}
        with pytest.raises(CourseError, match='no compiler for {"do": "pgd", "compiled": true}'):
            peer.ask("pgd", compiled=True)
        with pytest.raises(CourseError, match="ended with status 3"):
            peer.ask("memory")


# ------------------------------------------------------------------------------------------- with PyTorch


@installed
@pytest.mark.deep
def test_torchattacks_attacks_like_the_course(resnet20, images, labels, tmp_path):
    """On the ported network, whose logits are compared first; but for stray images (tests/test_parity.py)."""
    images, labels = images[:8], labels[:8]
    with peers.started(resnet20, images, labels) as peer:
        assert peer.about["torchattacks"] == "3.5.1" and peer.about["threads"] >= 1
        peer.ask("pgd", compiled=False, save=str(tmp_path / "theirs.npy"))
        assert 100 < peer.ask("memory")["peak_mib"] < 6000
        with pytest.raises(CourseError, match="AttributeError"):
            peer.ask("fly")
    theirs = np.load(tmp_path / "theirs.npy")
    ours = attacks.pgd(
        resnet20, images, labels, contenders.EPS, step_size=contenders.STEP_SIZE, random_start=False
    )
    assert (np.abs(ours - theirs).reshape(8, -1).max(1) < 1e-6).mean() >= 0.75


@installed
@pytest.mark.deep
def test_every_part_of_autoattack_runs_and_what_nothing_breaks_is_robust(resnet20, images):
    labels = attacks.answers_of(attacks.logits_in_batches(resnet20, images))
    labels[0] = (labels[0] + 1) % 10
    with peers.started(resnet20, images, labels) as peer:
        for norm in ("linf", "l2"):
            answer = peer.ask("autoattack", norm=norm, eps=1e-7, steps=2, queries=3)
            assert answer == {"robust": [False] + [True] * (len(images) - 1)}


@installed
@pytest.mark.slow
def test_everything_is_measured_beside_pytorch(recorded, monkeypatch):
    monkeypatch.setattr(peers, "AUTOATTACK", {"steps": 2, "queries": 5})
    monkeypatch.setitem(attack_ensemble.EFFORTS, "standard", attack_ensemble.Effort(2, 1, 2, 5))
    for name in contenders.LIBRARIES:  # they have tests of their own, and so has the rest
        monkeypatch.delitem(contenders.CONTENDERS, name)
    monkeypatch.setattr(bench, "_peak_mib_of", lambda *_: 1000)
    for part, name in (("scaling", "scaling"), ("training", "training"), ("strength", "bfloat16")):
        monkeypatch.setitem(bench.SECTIONS, part, lambda *_, name=name: {name: recorded[name]})
    for name in ("pgd", "peaks"):
        monkeypatch.setitem(bench.SECTIONS, name, partial(getattr(bench, name), batch=4))
    results = {}
    for found in bench.bench(patches10.load(), rounds=1, largest=8):
        results = bench.merged(results, found)
    assert set(peers.PGD) <= set(results["attacks"]) and results["peers"]["torch"]
    assert all(100 < results["peak_mib"][name] < 6000 for name in peers.PGD)
    found = results["worst_case"]
    assert (found["network"], found["n"]) == ("single_step", 8)
    assert set(found["ensembles"]) == {*peers.OURS, speed_tables.JUDGE}
    judge = found["ensembles"][speed_tables.JUDGE]
    for each in found["ensembles"].values():
        assert each["correct"] - judge["correct"] == each["robust_only_here"] - each["robust_only_there"]
    assert all(e["n"] == 8 and e["seconds"] > 0 for e in found["ensembles"].values())
    assert speed_tables.table(results) and speed_tables.markdown(results)
