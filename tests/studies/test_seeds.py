"""Reading a sweep: spread and verdicts follow from the records, whatever their order."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import evaluation, plots, settings
from helpers.settings import CourseError
from helpers.studies import seeds
from helpers.sweeps import cost, local, results
from helpers.sweeps.grid import Grid

EPS, STEPS, SEEDS, N = (4 / 255, 8 / 255), (5, 50), (0, 1, 2), 200


def records_of(accuracy):
    """Records of every place, in disorder; ``accuracy`` is a function of place, eps, steps and seed."""
    places = {place for pair in seeds.CLAIMS.values() for place in pair}
    found = []
    for place in places:
        cells = [(eps, steps) for eps in EPS for steps in STEPS] if place[2] == "pgd" else [(0.0, 0)]
        for eps, steps in cells:
            for seed in SEEDS:
                names = dict(zip(("stage", "defense", "input", "threat"), place, strict=True))
                fields = {"dataset": "cifar10", "profile": "quick", "model": "resnet20", "seed": seed}
                right = np.arange(N) < round(N * accuracy(place, eps, steps, seed))
                found.append(evaluation.record(right, eps=eps, steps=steps, **names, **fields))
    random.Random(0).shuffle(found)
    return found


STATIC, ADAPTIVE = ("fine_tuned", "ae", "pgd", "static"), ("fine_tuned", "ae", "pgd", "adaptive")


def test_the_map_has_the_mean_over_seeds():
    records = records_of(lambda place, eps, steps, seed: 0.1 + eps * 255 / 100 + steps / 1000 + seed / 10)
    frame = seeds.grid_of(records, STATIC)
    assert list(frame.index) == [4, 8] and list(frame.columns) == [5, 50]
    assert frame.loc[8, 50] == pytest.approx(100 * (0.1 + 0.08 + 0.05 + 0.1))
    assert frame.loc[4, 5] == pytest.approx(100 * (0.1 + 0.04 + 0.005 + 0.1), abs=0.3)  # whole images


def test_the_spread_is_that_of_the_seeds():
    records = records_of(lambda place, eps, steps, seed: (0.2, 0.5, 0.5)[seed] if steps == 5 else 0.5)
    table = seeds.spread(records, STATIC)
    assert list(table.index) == [(4.0, 5), (4.0, 50), (8.0, 5), (8.0, 50)]
    row = table.loc[4.0, 5]
    assert (row["seeds"], row["lowest"], row["highest"]) == (3, pytest.approx(20), pytest.approx(50))
    assert row["mean"] == pytest.approx(40) and row["deviation"] == pytest.approx(
        np.std([20, 50, 50], ddof=1)
    )
    assert table.loc[4.0, 50]["deviation"] == pytest.approx(0)
    assert table.loc[4.0, 50]["of the images alone"] == pytest.approx(100 * np.sqrt(0.25 / N))


def test_seeds_are_set_against_the_interval_of_the_images():
    records = records_of(lambda place, eps, steps, seed: 0.5 + (0.1 * (seed - 1) if steps == 5 else 0))
    rows = seeds.against_images(records, STATIC)
    assert [(255 * row["eps"], row["steps"]) for row in rows] == [(4, 5), (4, 50), (8, 5), (8, 50)]
    low, high = evaluation.wilson(N // 2, N)
    for row in rows:
        assert (row["low"], row["high"]) == (pytest.approx(100 * low), pytest.approx(100 * high))
        assert row["mean"] == pytest.approx(50)
        assert row["inside"] == (row["steps"] == 50)
    assert rows[0]["by_seed"] == pytest.approx({0: 40, 1: 50, 2: 60})


CLAIM = "an end-to-end attack leaves less than a transfer attack"


@pytest.mark.parametrize(
    "gap, expected",
    [
        (lambda steps, seed: 0.4, (4, 0, 0)),
        (lambda steps, seed: 0.01, (0, 4, 0)),
        (lambda steps, seed: 0.4 if seed else 0.01, (0, 4, 0)),
        (lambda steps, seed: 0.4 if seed else -0.01, (0, 0, 4)),
        (lambda steps, seed: 0.4 if steps == 50 else 0.0, (2, 0, 2)),
        (lambda steps, seed: -0.4, (0, 0, 4)),
    ],
    ids=[
        "sure",
        "within the interval",
        "one seed within",
        "one seed denies",
        "few steps show nothing",
        "false",
    ],
)
def test_verdicts(gap, expected):
    def accuracy(place, eps, steps, seed):
        return 0.5 - (gap(steps, seed) if place == ADAPTIVE else 0)

    row = seeds.verdicts(records_of(accuracy)).loc[CLAIM]
    assert (
        tuple(row[["sure in every seed", "the seeds agree", "they do not"]]) == expected and row["cells"] == 4
    )
    gaps = [100 * gap(steps, seed) for steps in STEPS for seed in SEEDS]
    assert (row["least (points)"], row["most (points)"]) == (
        pytest.approx(min(gaps)),
        pytest.approx(max(gaps)),
    )


def test_a_claim_without_an_attack_has_a_cell_for_each_seed_only():
    claim = "the autoencoder costs accuracy on clean images"
    records = records_of(lambda place, *_: 0.9 if place[1] == "none" else 0.7)
    rows = seeds.check(records, claim)
    assert [r["seed"] for r in rows] == list(SEEDS) and all(r["points"] == pytest.approx(20) for r in rows)
    assert seeds.verdicts(records).loc[claim, "cells"] == 1


def test_what_is_missing_or_twice_there_is_said():
    records = records_of(lambda *_: 0.5)
    with pytest.raises(CourseError, match="no record of fine_tuned, ae, pgd, grey_box"):
        seeds.grid_of(records, (*STATIC[:3], "grey_box"))
    with pytest.raises(CourseError, match="two records of fine_tuned, ae, pgd, static have eps"):
        seeds.grid_of(
            [
                *records,
                next(
                    r
                    for r in records
                    if r["threat"] == "static"
                    and r["stage"] == "fine_tuned"
                    and r["defense"] == "ae"
                    and r["input"] == "pgd"
                ),
            ],
            STATIC,
        )
    lost = next(r for r in records if (r["stage"], r["threat"]) == ("fine_tuned", "adaptive"))
    with pytest.raises(CourseError, match="the sweep is incomplete: a record for seed .* is missing"):
        seeds.verdicts([r for r in records if r is not lost])


def test_the_figures_show_every_seed_and_cell():
    records = records_of(lambda place, eps, steps, seed: 0.3 + seed / 10)
    maps = plots.heat_maps(
        {"static": seeds.grid_of(records, STATIC), "adaptive": seeds.grid_of(records, ADAPTIVE)}, "t"
    )
    assert [text.get_text() for text in maps.axes[0].texts] == ["40"] * 4
    found = {claim: seeds.check(records, claim) for claim in seeds.CLAIMS}
    figure = plots.seeds_figure(found, "t")
    shown = sum(len(drawn.get_xdata()) for drawn in figure.axes[0].get_lines()) - 2  # less the line at 0
    assert shown == sum(map(len, found.values()))
    steps = [
        {"name": name, "model": model, "n": n, "times": 10, "seconds": 1 + n / 100, "peak_mib": 900 + n}
        for name in ("attack", "assess")
        for model in ("resnet20", "sepreresnet56")
        for n in (10, 100)
    ]
    drawn = [axis.get_lines() for axis in plots.cost_figure(steps, "t", cost.line).axes]
    assert [len(found) for found in drawn] == [8, 8]  # two kinds, two networks: points and a line


def test_the_spread_figure_shows_every_seed_on_its_bar():
    records = records_of(lambda place, eps, steps, seed: 0.3 + seed / 10)
    rows = seeds.against_images(records, STATIC)
    (axis,) = plots.spread_figure(rows, "t").axes
    assert sum(len(line.get_xdata()) for line in axis.get_lines()) == 12
    assert len({line.get_marker() for line in axis.get_lines()}) == 3
    assert [bar.get_x() for bar in axis.patches] == pytest.approx([row["low"] for row in rows])


def test_a_smoke_run_measures_a_small_sweep_of_its_own(monkeypatch):
    monkeypatch.setattr(local, "run", lambda grid: [grid])
    run = SimpleNamespace(
        data=SimpleNamespace(name="patches10"),
        profile=SimpleNamespace(name="smoke"),
        weights="course",
        model="resnet20",
        eps=4 / 255,
        seed=7,
    )
    (grid,) = local.for_run(run, "seeds")
    assert (grid.dataset, grid.profile, grid.seed) == ("patches10", "smoke", (7, 8))
    assert [float(eps) for eps in grid.eps] == [4 / 255]
    run.profile.name = "quick"
    assert local.for_run(run, "seeds") == results.recorded("seeds")["records"]


def test_a_recorded_sweep_is_read_and_else_a_small_one_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RECORDED", tmp_path)
    monkeypatch.setattr(local, "run", lambda grid: [{"of": grid.name}])
    small = Grid("small")
    assert local.recorded_or_run("seeds", small, live=False) == (small, [{"of": "small"}])
    with pytest.raises(CourseError, match="no sweep 'seeds' is recorded; recorded are: none yet"):
        results.recorded("seeds")
    fields = {"stage": "initial", "defense": "none", "input": "regular", "threat": "static", "eps": 0.0}
    fields |= {"dataset": "cifar10", "profile": "quick", "model": "resnet20", "steps": 0, "seed": 0}
    whole = [evaluation.record(np.ones(3, bool), **fields)]
    kept = {"grid": {"name": "seeds", "seed": [0, 1]}, "environment": {}, "records": whole}
    (tmp_path / "seeds.json").write_text(json.dumps(kept))
    assert local.recorded_or_run("seeds", small, live=False) == (
        Grid("seeds", seed=(0, 1)),
        whole,
    )
    assert local.recorded_or_run("seeds", small, live=True)[0] == small


def test_a_recorded_cost_is_whole():
    if not cost.RECORD.is_file():
        pytest.skip("no costs are recorded yet: python -m helpers cost")
    record = cost.recorded()
    for model in {step["model"] for step in record["steps"]}:
        grid = Grid("g", model=(model,), threads=record["threads"])
        assert cost.estimate(grid, record["cores"], record).minutes > 0
    assert cost.RECORD.parent == settings.FIGURES
