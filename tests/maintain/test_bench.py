"""The benchmark: every contender runs and does the same, and the numbers are what they are called."""

import json
import time
from functools import partial

import numpy as np
import pytest

from helpers import attacks, settings, training
from helpers.cli.app import main
from helpers.datasets import patches10
from helpers.maintain import bench, contenders, peers, speed_tables
from helpers.settings import CourseError


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            bench, "_peak_mib_of", lambda *_: 1000
        )  # a process for each: one of them has a test of its own
        patch.setattr(peers, "why_not", lambda model: "they have tests of their own")
        return run_bench()


def run_bench():
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bench.SECTIONS, "pgd", partial(bench.pgd, batch=4))
        patch.setitem(bench.SECTIONS, "peaks", partial(bench.peaks, batch=4))
        patch.setitem(bench.SECTIONS, "training", partial(bench.train, steps=1))
        for part in bench.bench(patches10.load(), rounds=1, largest=16):
            found = bench.merged(found, part)
    return found


@pytest.mark.slow
def test_all_contenders_have_a_speed(results):
    assert set(results["attacks"]) == set(contenders.CONTENDERS) == set(results["peak_mib"])
    for part in ("gradients", "attacks"):
        assert all(0 < s["lowest"] <= s["median_per_second"] <= s["highest"] for s in results[part].values())
    assert all(100 < peak < 6000 for peak in results["peak_mib"].values())
    assert [p["steps"] for p in results["scaling"]["steps"]] == [1, 2, 5, 10, 20]
    assert {"fine-tuning", "autoencoder"} == set(results["training"])
    assert not {"peers", "worst_case"} & set(results)
    assert [(r["stage"], r["defense"], r["input"]) for r in results["bfloat16"]] == [
        (*system, kind)
        for system in (("initial", "none"), ("fine_tuned", "none"), ("fine_tuned", "ae"))
        for kind in ("fgsm", "pgd")
    ]
    for record in results["bfloat16"]:
        exact, rounded = (record[name] for name in ("float32", "mixed_bfloat16"))
        assert exact["n"] == rounded["n"] == 16
        assert record["difference"] == pytest.approx(rounded["accuracy"] - exact["accuracy"])
    assert set(results["measured"]) == set(bench.SECTIONS) - {"worst_case"}
    assert speed_tables.table(results) and speed_tables.markdown(results)


def test_a_section_measured_later_replaces_its_own_numbers_only():
    here = {"model": "resnet20", "dataset": "cifar10"}
    before = {**here, "training": 1, "scaling": 2, "measured": {"training": "then", "scaling": "then"}}
    after = bench.merged(before, {**here, "training": 3, "measured": {"training": "now"}})
    assert after == {**here, "training": 3, "scaling": 2, "measured": {"training": "now", "scaling": "then"}}
    other = {"model": "sepreresnet56", "dataset": "cifar10", "training": 3, "measured": {"training": "now"}}
    assert bench.merged(before, other) == other


def test_the_tables_show_what_is_there():
    results = json.loads((settings.FIGURES / "benchmarks.json").read_text())
    training = {name: results[name] for name in ("model", "dataset", "training", "measured")}
    assert speed_tables.markdown(training).startswith("Fine-tuning runs at")
    assert "steps/s in the loop" in speed_tables.table(training)


def test_a_peak_that_was_not_measured_is_a_dash():
    results = json.loads((settings.FIGURES / "benchmarks.json").read_text())
    del results["peak_mib"]["ART"]
    assert [line for line in speed_tables.markdown(results).splitlines() if "| – |" in line][0][:5] == "| ART"
    assert [line for line in speed_tables.table(results).splitlines() if line.endswith(" –")][0][:3] == "ART"


def test_the_table_and_the_file_hold_them(tmp_path):
    results = json.loads((settings.FIGURES / "benchmarks.json").read_text())
    bench.write(results, tmp_path / "benchmarks.json")
    assert json.loads((tmp_path / "benchmarks.json").read_text()) == results
    text = speed_tables.table(results)
    for word in (
        "tf2cv's graph",
        "CleverHans",
        "Foolbox",
        "ART",
        "if crafted in float32",
        "of the bare step",
        "MiB",
    ):
        assert word in text


@pytest.mark.slow
def test_the_contenders_attack_alike(resnet20, images, labels):
    """Each library's result is the course's, but for stray images (tests/test_parity.py says why)."""
    images, labels = images[:8], labels[:8].astype(np.int32)
    ours = attacks.pgd(
        resnet20, images, labels, contenders.EPS, step_size=contenders.STEP_SIZE, random_start=False
    )
    for name, make in contenders.LIBRARIES.items():
        theirs = np.asarray(make(resnet20, images, labels)())
        agree = (np.abs(ours - theirs).reshape(8, -1).max(1) < 1e-6).mean()
        assert agree >= 0.75, name


def test_the_speed_is_the_median_of_the_rounds_without_the_warm_up():
    pauses = iter([0.2, 0.01, 0.02, 0.04])
    speeds = bench._alternate({"one": lambda: time.sleep(next(pauses))}, 1, 3)
    assert len(speeds["one"]) == 3 and min(speeds["one"]) > 1 / 0.2
    assert bench._summary(speeds["one"])["median_per_second"] == pytest.approx(1 / 0.02, rel=0.5)


@pytest.mark.slow
def test_peak_memory_is_that_of_a_process_of_its_own():
    assert 300 < bench._peak_mib_of("the course", "patches10", "resnet20", 4) < 3000


def test_a_loop_is_as_many_steps_as_it_is_said_to_be():
    taken = []
    step = lambda images, targets: taken.append(len(images)) or 0.0  # noqa: E731
    few = training.Samples([np.zeros((10, 8, 8, 3), np.uint8)], np.zeros(10, np.int64))
    bench._loop_against_step(step, few, 4, rounds=1, steps=7)  # an epoch has two
    assert taken == [4] * 28


def test_contenders_take_turns():
    turns = []
    bench._alternate({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, 1, 2)
    assert turns == ["a", "b"] * 3


def test_a_missing_library_is_named():
    with (
        pytest.raises(CourseError, match="foolbox is not installed; 'make bench' installs"),
        contenders.needed("foolbox"),
    ):
        raise ImportError("no foolbox")


def test_bad_counts_are_named(capsys):
    assert main(["bench", "--rounds", "0"]) == 2
    assert "--rounds is 0" in capsys.readouterr().err


def test_the_readme_shows_the_recorded_benchmarks():
    text = (settings.ROOT / "README.md").read_text()
    shown = text.split(speed_tables.README_MARKERS[0])[1].split(speed_tables.README_MARKERS[1])[0]
    recorded = json.loads((settings.FIGURES / "benchmarks.json").read_text())
    assert shown.strip() == speed_tables.markdown(recorded)
    assert recorded["rounds"] >= 5
