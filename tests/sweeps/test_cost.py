"""What a sweep costs: predictions follow from measured steps, and those are the steps that jobs take."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from fractions import Fraction

import numpy as np
import pytest

from helpers import settings
from helpers.cli.app import main
from helpers.settings import CourseError
from helpers.sweeps import cost, jobs, measuring, running
from helpers.sweeps.cost import Step
from helpers.sweeps.grid import Grid, read
from helpers.sweeps.jobs import CELLS, Cell

SMALL = Grid("small", "patches10", "smoke", n=16, n_train=32)


def record(steps, threads=1, a_job=0.0, begin=0.0):
    return {
        "environment": {"machine": "a machine"},
        "cores": 2,
        "threads": threads,
        "seconds_to_begin": begin,
        "seconds_a_job": a_job,
        "steps": [asdict(step) for step in steps],
    }


def priced(grid, seconds_of, peak_of=lambda step: 1000):
    """Every step of a grid's jobs, as if it had been measured."""
    steps = [step for job in jobs.all_of(grid) for step in cost.steps_of(job)]
    return [Step(s.name, s.model, s.n, s.times, seconds_of(s), peak_of(s)) for s in steps]


# ------------------------------------------------------------------------------------------------------ lines


def test_a_line_goes_through_points_that_lie_on_one():
    found = cost.line([10, 100, 1000], [2 + 0.5 * x for x in (10, 100, 1000)])
    assert found(0) == pytest.approx(2) and found(10_000) == pytest.approx(5002)


def test_a_line_neither_starts_below_nothing_nor_falls():
    assert cost.line([1, 2, 3], [1, 5, 9])(0) >= 0
    falling = cost.line([1, 2, 3], [9, 5, 1])
    assert falling(100) >= falling(1)


def test_a_line_weighs_errors_by_size():
    """A second too much in 1000 counts less than one in 2."""
    found = cost.line([1, 2, 1000], [1, 2, 1200])
    assert found(1) == pytest.approx(1, rel=0.15) and found(1000) == pytest.approx(1200, rel=0.2)


def test_a_line_keeps_the_mean_of_what_scatters():
    """A job that took thrice as long counts as much as three others."""
    found = cost.line([1] * 4 + [100] * 4, [1, 1, 1, 9, 10, 10, 10, 50])
    assert found(1) == pytest.approx(3) and found(100) == pytest.approx(20)


def test_points_of_one_size_have_their_mean():
    assert cost.line([7, 7], [1, 3])(1000) == 2


# --------------------------------------------------------------------------------------------------- makespan


def jobs_of(trainings, measurements, seconds_train=10.0, seconds_measure=1.0):
    grid = Grid("g", seed=tuple(range(trainings)), steps=tuple(range(1, measurements // trainings + 1)))
    return dict.fromkeys(jobs.trainings(grid), seconds_train) | dict.fromkeys(
        jobs.measurements(grid), seconds_measure
    )


@pytest.mark.parametrize(
    "trainings, measurements, slots, expected",
    [
        (1, 6, 1, 16),
        (1, 6, 2, 13),
        (1, 6, 6, 11),
        (2, 6, 1, 26),
        (2, 6, 2, 13),
        (2, 6, 100, 11),
        (3, 6, 2, 21),
    ],
)
def test_how_long_jobs_take_on_so_many_slots(trainings, measurements, slots, expected):
    assert cost.makespan(jobs_of(trainings, measurements), slots) == pytest.approx(expected)


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_what_the_engine_adds_is_found_again(slots):
    ended = []
    for trainings, measurements in ((1, 4), (2, 10)):
        took = {
            job: [Step("start", "resnet20", 0, 1, s)] for job, s in jobs_of(trainings, measurements).items()
        }
        whole = 7 + cost.makespan({job: steps[0].seconds + 1.5 for job, steps in took.items()}, slots)
        ended.append(measuring.Ended(whole, 7, took, slots))
    assert measuring.overhead(ended) == (pytest.approx(7), pytest.approx(1.5, abs=0.01))


# -------------------------------------------------------------------------------------------------- estimates


def test_an_estimate_is_the_sum_of_its_steps_where_there_is_one_slot():
    grid = Grid(
        "g",
        "cifar10",
        "quick",
        autoencoder=("none", "paper"),
        eps=("4/255", "8/255"),
        steps=(5, 50),
        seed=(0, 1),
    )
    steps = priced(grid, lambda s: 3 + 0.01 * s.work, lambda s: 500 + s.n)
    found = cost.estimate(grid, 1, record(steps, a_job=2, begin=7))
    attacked, expected = set(), 7.0
    for job in jobs.all_of(grid):
        expected += 2 + sum(3 + 0.01 * s.work for s in cost.steps_of(job, attacked))
    assert found.minutes == pytest.approx(expected / 60) and found.jobs == (2, 16)
    assert found.peak_mib == pytest.approx(500 + 3000)
    assert sum(found.by_step.values()) == pytest.approx((expected - 7 - 2 * len(jobs.all_of(grid))) / 60)
    assert cost.estimate(grid, 4, record(steps)).minutes < found.minutes / 2


def test_what_one_job_has_attacked_another_finds():
    grid = Grid("g", autoencoder=("none", "paper"))
    attacked = set()
    first, second = (cost.steps_of(job, attacked) for job in jobs.measurements(grid))
    assert [s.name for s in first].count("attack") == 1 and [s.name for s in second].count("attack") == 0
    assert [s.name for s in second].count("attack through ae") == 2


def test_more_of_anything_costs_more():
    base = Grid("g", "cifar10", "quick")
    steps = priced(base, lambda s: 1 + 0.01 * s.work) + priced(
        Grid("g", "cifar10", "smoke", steps=(3,)), lambda s: 1 + 0.01 * s.work
    )
    minutes = cost.estimate(base, 1, record(steps)).minutes
    for change in (
        {"n": 1000},
        {"n_train": 9000},
        {"steps": (40,)},
        {"seed": (0, 1, 2)},
        {"eps": ("4/255", "8/255")},
    ):
        assert cost.estimate(Grid("g", "cifar10", "quick", **change), 1, record(steps)).minutes > minutes, (
            change
        )


def test_what_was_not_measured_is_said():
    steps = priced(Grid("g"), lambda s: 1.0)
    with pytest.raises(
        CourseError, match="with sepreresnet56 was not measured; .*cost --model sepreresnet56"
    ):
        cost.estimate(Grid("g", model=("sepreresnet56",)), 2, record(steps))
    with pytest.raises(CourseError, match="measured with jobs of 1 cores, the grid's have 4; .*--threads 4"):
        cost.estimate(Grid("g", threads=4), 8, record(steps))


def test_costs_of_other_networks_stay_where_they_were_measured_alike(tmp_path):
    def of(model, seconds, machine="this"):
        steps = priced(Grid("g", model=(model,)), lambda s: seconds)
        return record(steps) | {"environment": {"machine": machine}}

    def recorded(seconds_of):
        return {(step["model"], step["seconds"]) for step in cost.recorded(file)["steps"]} == seconds_of

    file = tmp_path / "cost.json"
    measuring.write(of("resnet20", 1.0), file)
    measuring.write(of("efficientnet_b0", 2.0), file)
    assert recorded({("resnet20", 1.0), ("efficientnet_b0", 2.0)})
    measuring.write(of("resnet20", 3.0), file)
    assert recorded({("resnet20", 3.0), ("efficientnet_b0", 2.0)})
    measuring.write(of("resnet20", 4.0, "another"), file)  # times of two machines make no estimate
    assert recorded({("resnet20", 4.0)})


def test_costs_are_measured_where_the_networks_have_weights():
    assert measuring.dataset_of(["resnet20"]) == "patches10"
    assert measuring.dataset_of(["resnet20", "efficientnet_b0"]) == "cifar10"


def test_measured_grids_become_a_record(monkeypatch):
    """Without running them: every step counts, and what the jobs do not explain is Snakemake's."""

    def run(grid, cores):
        took = {job: [Step("start", job.model, 0, 1, 2.0)] for job in jobs.all_of(grid)}
        return measuring.Ended(5 + cost.makespan(dict.fromkeys(took, 3.0), cores), 5, took, cores)

    monkeypatch.setattr(measuring, "run_in_a_store_of_its_own", run)
    found = measuring.measure("patches10", ["resnet20"], cores=2, threads=1)
    assert (found["cores"], found["threads"], found["seconds_to_begin"]) == (2, 1, 5)
    assert found["seconds_a_job"] == pytest.approx(1, abs=0.01)
    assert len(found["steps"]) == 2 * (2 + 4), "two sizes, with two trainings and four measurements each"
    with pytest.raises(CourseError, match="3 cores .* jobs of 2"):
        measuring.measure("patches10", ["resnet20"], cores=3, threads=2)


@pytest.mark.slow
def test_a_small_grid_is_measured_for_real():
    found = measuring.measure("patches10", ["resnet20"], cores=1, threads=1, sizes=((16, 32, (1,)),))
    names = {step["name"] for step in found["steps"]}
    assert names >= {"start", "load", "attack", "attack through ae", "assess", "autoencoder", "fine-tune"}
    assert found["seconds_to_begin"] > 0 and found["seconds_a_job"] >= 0
    grid = Grid("g", "patches10", "smoke", n=16, n_train=32, steps=(1,))
    assert cost.estimate(grid, 1, found).minutes > 0


def test_the_command_predicts_and_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cost, "RECORD", tmp_path / "cost.json")
    monkeypatch.setattr(running, "run", lambda *_: pytest.fail("it was run"))
    monkeypatch.setattr(cost.recorded, "__defaults__", (tmp_path / "cost.json",))
    file = str(settings.ROOT / "sweeps" / "smoke.yml")
    assert main(["sweep", file, "--estimate"]) == 2 and "no costs are recorded" in capsys.readouterr().err
    grid = read(settings.ROOT / "sweeps" / "smoke.yml")
    measuring.write(record(priced(grid, lambda s: 60.0)), tmp_path / "cost.json")
    assert main(["sweep", file, "--estimate", "--cores", "2"]) == 0
    assert "smoke: 2 trainings and 12 measurements, about " in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------- real jobs


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A training, its measurement, the same again, and the measurement without an autoencoder."""
    from helpers.pipeline import shipped
    from helpers.sweeps import execution

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "ARTIFACTS", tmp_path_factory.mktemp("store"))
        patch.setattr(shipped, "_LOADED", {})
        (training,) = jobs.trainings(SMALL)
        (job,) = jobs.measurements(SMALL)
        trained = execution.train(training)
        first, again = execution.measure(job), execution.measure(job)
        undefended = execution.measure(replace(job, autoencoder="none"))
    return training, trained, job, first, again, undefended


def names(steps):
    return [(step["name"], step["n"], step["times"]) for step in steps]


def test_a_jobs_result_is_written_and_told(tmp_path):
    from helpers.sweeps import execution

    system = {"stage": "initial", "defense": "ae", "input": "pgd", "threat": "adaptive"}
    measured = {"steps": [], "records": [system | {"accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6}]}
    trained = {"steps": [{"seconds": 3.0}], "autoencoder": {"loss": 0.01234}}
    assert "50.0 [40.0, 60.0]" in execution.describe(measured)
    assert "3 s" in execution.describe(trained) and "loss 0.01234" in execution.describe(trained)
    execution.write(measured, None)
    assert not list(tmp_path.iterdir())
    execution.write(measured, tmp_path / "job.json")
    assert json.loads((tmp_path / "job.json").read_text()) == measured


@pytest.mark.slow
def test_jobs_take_the_steps_that_the_estimate_counts(measured):
    training, trained, job, first, *_ = measured
    for done, predicted in ((trained, cost.steps_of(training)), (first, cost.steps_of(job))):
        assert names(done["steps"]) == names([asdict(step) for step in predicted])
        assert all(step["seconds"] > 0 and step["peak_mib"] > 100 for step in done["steps"])


@pytest.mark.slow
def test_the_classifier_alone_has_the_same_records_beside_any_autoencoder(measured):
    """So that a grid with and without autoencoder has them once."""
    *_, first, _, undefended = measured
    assert undefended["records"] == first["records"][:2] and undefended["steps"][1:] == []


@pytest.mark.slow
def test_what_was_found_in_the_store_is_no_cost(measured):
    *_, first, again, _ = measured
    assert {step["name"] for step in again["steps"]} == {"start", "load"}
    assert again["records"] == first["records"]


@pytest.mark.slow
def test_a_measurement_leaves_a_record_for_each_cell(measured):
    _, _, job, first, *_ = measured
    records = first["records"]
    cells = [Cell(r["stage"], r["defense"], r["input"], r["threat"]) for r in records]
    assert tuple(cells) == CELLS["paper"] and len(set(cells)) == len(cells)
    for r in records:
        attacked = r["input"] == "pgd"
        assert (r["eps"], r["steps"]) == ((float(Fraction(job.eps)), job.steps) if attacked else (0, 0))
        assert (r["n"], r["seed"], r["dataset"]) == (16, 0, "patches10")
        alone = (r["stage"], r["defense"]) == ("initial", "none")
        assert r["autoencoder"] == ("none" if alone else "paper")
        assert r["trained_eps"] == (None if alone else pytest.approx(settings.EPS))
    by_cell = dict(zip(cells, records, strict=True))
    clean = by_cell[Cell("initial", "none", "regular", "static")]["accuracy"]
    attacked = by_cell[Cell("initial", "none", "pgd", "static")]["accuracy"]
    assert attacked < clean - 0.3
    assert json.loads(json.dumps(records)) == records
    assert np.isfinite([r["accuracy"] for r in records]).all()
