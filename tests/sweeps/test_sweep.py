"""Sweeps: grids are checked before anything runs, and only the jobs that were killed are run again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from processes import kill_with_descendants

from helpers import evaluation, settings
from helpers.cli.app import main
from helpers.settings import CourseError
from helpers.sweeps import grid as grids
from helpers.sweeps import jobs, results, running
from helpers.sweeps.grid import read

TWELVE = """
dataset: patches10
profile: smoke
autoencoder: [none, paper]
eps: [4/255, 8/255, 16/255]
seed: [0, 1]
"""


@pytest.fixture
def grid_file(tmp_path):
    def write(text, name="grid"):
        file = tmp_path / f"{name}.yml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path / "store")
    return tmp_path / "store"


# ------------------------------------------------------------------------------------------------------ grids

BAD = {
    "key": ("epsilon: [0.1]", r"grid.yml.* 'epsilon'.* dataset, profile, .*, seed"),
    "several keys": ("a: 1\nb: 2", r"'a', 'b'"),
    "a key of the course only": ("name: x", r"'name'"),
    "data set": ("dataset: auto", r"dataset .*'auto'.* cifar10, patches10"),
    "profile": ("profile: huge", r"profile .*'huge'.* smoke, quick, full"),
    "profile in a file": ("profile: mine.toml", r"profile .*mine\.toml.* smoke, quick, full"),
    "model": ("model: [resnet20, vgg]", r"model .*'vgg'.* resnet20, sepreresnet56"),
    "autoencoder": ("autoencoder: unet", r"autoencoder .*'unet'.* none, paper"),
    "eps of 8": ("eps: [8]", r"eps .*8.*write 8/255"),
    "eps negative": ("eps: [-1/255]", r"eps .*-1/255.*\[0, 1\]"),
    "eps of 0": ("eps: [0]", r"eps is 0"),
    "eps text": ("eps: [small]", r"eps .*'small'.*\[0, 1\].* 8/255"),
    "eps 1/0": ("eps: [1/0]", r"eps .*'1/0'"),
    "trained eps": ("trained_eps: [9]", r"trained_eps .*9"),
    "steps 0": ("steps: [10, 0]", r"steps .*0.* whole number.* 1 to"),
    "steps fraction": ("steps: 1.5", r"steps .*1.5.* whole number"),
    "steps true": ("steps: yes", r"steps .*True.* whole number"),
    "seed": ("seed: [-1]", r"seed .*-1.* 0 to 4294967295"),
    "n": ("n: 0", r"n is 0.* 1 to 10000"),
    "n as a list": ("n: [1, 2]", r"n is \[1, 2\].* whole number"),
    "n_train": ("n_train: 5", r"n_train .*5.* 32"),
    "weights": ("weights: nowhere.h5", r"weights.* 'nowhere.h5'"),
    "weights that are not shipped": (
        "dataset: patches10\nmodel: sepreresnet56",
        r"sepreresnet56 for patches10.*'make weights DATASET=patches10",
    ),
    "twice": ("seed: [1, 2, 1]", r"seed .*1, 2, 1"),
    "twice in other words": ("eps: [8/255, 16/510]", r"eps .*8/255, 16/510"),
    "empty": ("seed: []", r"seed .*empty"),
    "nothing": ("", r"grid.yml"),
    "a list": ("- 1", r"grid.yml"),
    "no YAML": ("seed: [0", r"grid.yml .*line 1: "),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_grid_is_refused_before_anything_runs(grid_file, store, monkeypatch, capsys, case):
    text, message = BAD[case]
    file = grid_file(text)
    with pytest.raises(CourseError, match=message):
        read(file)
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: pytest.fail("something was run"))
    assert main(["sweep", str(file)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not store.exists()


def test_a_grid_that_is_not_there(tmp_path):
    with pytest.raises(CourseError, match=r"there is no grid mine.yml .*; the course has .*sweeps/smoke.yml"):
        read(tmp_path / "mine.yml")


def test_the_jobs_are_the_product_of_the_axes(grid_file):
    grid = read(grid_file(TWELVE))
    found = jobs.measurements(grid)
    cells = {(job.autoencoder, job.eps, job.seed) for job in found}
    assert len(found) == len(cells) == len({job.id for job in found}) == 12
    trainings = jobs.trainings(grid)
    assert [job.seed for job in trainings] == [0, 1], "one for all budgets of a seed"
    assert {job.training for job in found if job.autoencoder == "paper"} == set(trainings)
    assert {job.training for job in found if job.autoencoder == "none"} == {None}


def test_what_is_trained_on_makes_no_job_where_nothing_is_trained(grid_file):
    grid = read(grid_file(TWELVE + "trained_eps: [4/255, 8/255]"))
    found = [job.autoencoder for job in jobs.measurements(grid)]
    assert found.count("none") == 6 and found.count("paper") == 12 and len(jobs.trainings(grid)) == 4


def test_jobs_of_another_size_have_another_name(grid_file):
    names = {
        job.id
        for more in ("", "n: 10", "n_train: 64", "weights: none", "dataset: patches10\nprofile: quick")
        for job in jobs.measurements(read(grid_file(more or "seed: 0")))
    }
    assert len(names) == 5


@pytest.mark.parametrize("file", sorted((settings.ROOT / "sweeps").glob("*.yml")), ids=lambda f: f.stem)
def test_the_grids_of_the_course_are_good(file, monkeypatch):
    monkeypatch.setattr(grids, "_check_weights", lambda *_: None)  # they may have to be trained first
    assert jobs.measurements(read(file))


def test_a_grid_without_the_weights_it_asks_for_is_refused(tmp_path):
    file = tmp_path / "g.yml"
    for weights, model, why in (
        ("tf2cv", "efficientnet_b0", "tf2cv has no weights of efficientnet_b0"),
        ("course", "sepreresnet56", "ships no weights of sepreresnet56 for patches10"),
    ):
        file.write_text(f"dataset: patches10\nweights: {weights}\nmodel: [resnet20, {model}]\n")
        with pytest.raises(CourseError, match=why):
            read(file)
    file.write_text("dataset: patches10\nweights: none\nmodel: efficientnet_b0\n")
    assert read(file).model == ("efficientnet_b0",)


def test_the_grid_of_seeds_is_large_enough_to_compare():
    grid = read(settings.ROOT / "sweeps" / "seeds.yml")
    assert (grid.model, grid.profile) == (("resnet20",), "quick")
    assert len(grid.seed) >= 3 and len(grid.eps) >= 4 and len(grid.steps) >= 3


def test_a_jobs_command_means_that_job(grid_file, monkeypatch, capsys):
    """What Snakemake runs is what a person would type."""
    from helpers.sweeps import execution

    found = []
    monkeypatch.setattr(execution, "train", lambda job: found.append(job) or {})
    monkeypatch.setattr(execution, "measure", lambda job: found.append(job) or {})
    monkeypatch.setattr(execution, "describe", str)
    grid = read(grid_file(TWELVE + "steps: 7\nn: 20\nn_train: 64\ntrained_eps: 4/255"))
    for job in jobs.all_of(grid):
        assert main(job.command()) == 0
    assert found == jobs.all_of(grid)
    assert main(["measure", "--eps", "8"]) == 2 and "write 8/255" in capsys.readouterr().err
    assert main(["measure", "--steps", "many"]) == 2 and "steps is 'many'" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- running


def test_a_clock_that_was_set_back_leaves_no_result_in_the_future(tmp_path):
    tomorrow = time.time() + 86_400
    for number, name in enumerate(("trainings/a.json", "jobs/b.json", "records.json")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (tomorrow + number, tomorrow + number))
    running._take_out_of_the_future(tmp_path)
    a, b, records = (
        (tmp_path / name).stat().st_mtime for name in ("trainings/a.json", "jobs/b.json", "records.json")
    )
    assert a < b < records <= time.time()
    running._take_out_of_the_future(tmp_path)
    assert (tmp_path / "records.json").stat().st_mtime == records


def test_a_failed_jobs_own_error_is_told_once(grid_file, store):
    file = grid_file(TWELVE)
    grid = read(file)
    finished, *failed = [
        (job, output) for job, output in jobs.outputs(grid) if not isinstance(job, jobs.Training)
    ]
    logs = jobs.folder_of(grid) / "logs"
    logs.mkdir(parents=True)
    for job, _ in (finished, *failed[:2]):
        (logs / f"measure-{job.id}.txt").write_text("attack: 50%\rattack: 100%\nerror: the disk is full\n")
    (logs / f"measure-{failed[2][0].id}.txt").write_text("")  # killed before it said a word
    finished[1].parent.mkdir(parents=True)
    finished[1].write_text("{}")
    assert running.why_jobs_failed(file) == [f"{failed[0][0].id}: error: the disk is full"]


@pytest.fixture
def snakemake():
    try:
        return running.engine()
    except CourseError as error:
        pytest.skip(str(error))


JOB = """#!{python}
# Replaces the course's Python: a job leaves a record that depends on its command, and a note that it ran.
import hashlib, json, os, sys, time
from pathlib import Path

words, folder = sys.argv[3:], Path({folder!r})
if words[0] == "sweep":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
out = Path(words[words.index("--out") + 1])
with open(folder / "ran", "a") as log:
    log.write(out.stem + "\\n")
if words[0] == "measure" and (folder / "trap").exists() and "16/255" in words:
    try:
        (folder / "trap").rename(folder / "caught")
    except FileNotFoundError:
        pass  # another job was caught
    else:
        (folder / "number").write_text(str(os.getpid()))
        time.sleep(600)
if words[0] == "measure" and "paper" in words:
    assert (folder / "trained").exists(), "it was run before what it needs"
value = int(hashlib.sha256(" ".join(words[:-1]).encode()).hexdigest()[:6], 16)
if words[0] == "train":
    (folder / "trained").touch()
scratch = out.with_suffix(".tmp")
scratch.write_text(json.dumps({{"records": [{{"value": value}}, {{"shared": 1}}], "steps": []}}))
scratch.rename(out)
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Jobs that take no time, and a folder in which they note that they ran."""
    folder = tmp_path / "toys"
    folder.mkdir()
    program = folder / "python"
    program.write_text(JOB.format(python=sys.executable, folder=str(folder)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(running, "PYTHON", str(program))
    return folder


def ran(folder):
    file = folder / "ran"
    found = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return sorted(found)


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def in_background(file, store, program):
    code = (
        "import sys; from pathlib import Path; "
        "from helpers import settings; from helpers.sweeps import running; "
        f"running.PYTHON = {program!r}; settings.ARTIFACTS = Path({str(store)!r}); "
        f"sys.exit(running.run(Path({str(file)!r}), 2))"
    )
    environment = os.environ | {"PYTHONPATH": str(settings.ROOT), "ARTIFACTS_DIR": str(store)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def caught(snakemake, grid_file, store, toys, monkeypatch):
    """Fourteen jobs, one of which is caught: the grid's file, the sweep's process and the job's number."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(store))
    file = grid_file(TWELVE)
    (toys / "trap").touch()
    process = in_background(file, store, str(toys / "python"))
    until(lambda: (toys / "number").exists() and (toys / "number").read_text())
    yield file, process, int((toys / "number").read_text())
    process.stderr.close()


def undisturbed(grid):
    """The records of toy jobs that nobody disturbed, each once."""
    commands = [" ".join([*job.command(), "--out"]) for job in jobs.measurements(grid)]
    first, *rest = [{"value": int(hashlib.sha256(c.encode()).hexdigest()[:6], 16)} for c in commands]
    return [first, {"shared": 1}, *rest]


def records_of(grid):
    return json.loads((jobs.folder_of(grid) / "records.json").read_text())["records"]


@pytest.mark.deep
def test_a_job_that_was_killed_is_run_again_alone(caught, toys):
    """After kill -9 of one job, the same command runs it again and finishes the grid."""
    file, process, number = caught
    grid = read(file)
    os.kill(number, signal.SIGKILL)
    assert process.wait(300) != 0
    (victim,) = [path.stem for _, path in jobs.outputs(grid) if not path.exists()]
    assert ran(toys) == sorted(path.stem for _, path in jobs.outputs(grid))
    assert not (jobs.folder_of(grid) / "records.json").exists()
    with pytest.raises(CourseError, match=rf"1 of the 12 jobs of grid .*{victim}"):
        results.merge(grid)
    assert running.run(file, 2) == 0
    assert ran(toys) == [victim] and records_of(grid) == undisturbed(grid)


@pytest.mark.slow
def test_a_sweep_that_was_killed_is_finished_and_then_left_alone(caught, toys, store, monkeypatch):
    """After kill -9 of everything, the same command keeps what is finished. A third run has nothing to do."""
    file, process, _ = caught
    grid = read(file)
    with pytest.raises(CourseError, match="grid is being run by another process"):
        running.run(file, 2)
    kill_with_descendants(process.pid)
    unfinished = {path.stem for _, path in jobs.outputs(grid) if not path.exists()}
    missing = len(unfinished & {job.id for job in jobs.measurements(grid)})
    with pytest.raises(CourseError, match=rf"{missing} of the 12 jobs of grid"):
        results.merge(grid)
    ran(toys)
    assert running.run(file, 2) == 0
    again = ran(toys)
    assert unfinished <= set(again) and len(again) == len(set(again))
    # Snakemake may not have heard of one more that was finished when it was killed.
    assert len(again) - len(unfinished) <= 1
    found = (jobs.folder_of(grid) / "records.json").read_bytes()
    assert records_of(grid) == undisturbed(grid)
    assert running.run(file, 2) == 0 and ran(toys) == []
    monkeypatch.setattr(settings, "ARTIFACTS", store / "undisturbed")
    monkeypatch.setenv("ARTIFACTS_DIR", str(store / "undisturbed"))
    assert running.run(file, 2) == 0
    assert (jobs.folder_of(grid) / "records.json").read_bytes() == found


@pytest.mark.slow
def test_other_code_runs_all_jobs_again_and_another_seed_only_its_own(
    snakemake, grid_file, store, toys, monkeypatch, tmp_path
):
    monkeypatch.setenv("ARTIFACTS_DIR", str(store))
    one = "dataset: patches10\nautoencoder: none\nprofile: smoke\nseed: "
    assert running.run(grid_file(one + "[0]"), 2) == 0
    assert len(ran(toys)) == 1
    assert running.run(grid_file(one + "[0, 1]"), 2) == 0
    (new,) = ran(toys)
    assert "seed1" in new
    # Snakemake reads the modules in another process, so the changed attack is in a copy of the course.
    copy = tmp_path / "course"
    for folder in ("helpers", "workflow", "weights/patches10"):
        (copy / folder).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(settings.ROOT / folder), str(copy / folder)], check=True)
    (copy / "helpers" / "attacks" / "gradient.py").open("a").write("# another attack\n")
    monkeypatch.setattr(running, "SNAKEFILE", copy / "workflow" / "Snakefile")
    monkeypatch.setattr(settings, "ROOT", copy)
    assert running.run(grid_file(one + "[0, 1]"), 2) == 0
    assert len(ran(toys)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_the_profiles_for_clusters_hold_as_far_as_a_dry_run_goes(snakemake, grid_file, store, profile, capfd):
    assert running.run(grid_file(TWELVE), 5, profile, dry=True) == 0
    shown = capfd.readouterr()
    assert "measure       12" in shown.out + shown.err and "train          2" in shown.out + shown.err


@pytest.fixture
def command(monkeypatch):
    """What Snakemake would be called with; it is not started."""
    found = []
    monkeypatch.setattr(running, "engine", lambda: ["snakemake"])
    monkeypatch.setattr(subprocess, "call", lambda words, **_: found.extend(words) or 0)
    return found


@pytest.mark.parametrize(
    ("profile", "option"),
    [(None, "--cores"), ("slurm", "--jobs"), ("kubernetes", "--default-storage-prefix")],
)
def test_the_command_says_where_and_on_how_many_cores(grid_file, store, command, profile, option):
    assert running.run(grid_file(TWELVE), 5, profile, dry=True) == 0
    assert option in command and "5" in command and "--dry-run" in command
    assert ("--profile" in command) == (profile is not None)
    assert str(store / "sweeps" / "grid") in command and f"artifacts={store.resolve()}" in command


def test_a_run_that_cannot_be_is_refused(grid_file, store, command):
    with pytest.raises(CourseError, match="'pbs'.* kubernetes, slurm"):
        running.run(grid_file(TWELVE), 5, "pbs")
    with pytest.raises(CourseError, match="--cores is 0"):
        running.run(grid_file(TWELVE), 0)
    assert command == []


def test_without_snakemake_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(running, "ENGINE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CourseError, match="Snakemake.*requirements-sweep.lock"):
        running.engine()


@pytest.fixture
def version():
    """The version of a grid, computed anew."""

    def compute(grid):
        jobs.version.cache_clear()
        return jobs.version(grid)

    yield compute
    jobs.version.cache_clear()


def test_other_weights_are_another_version(tmp_path, monkeypatch, version):
    """Otherwise a finished job would pass for one that began with the present classifier."""
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    (tmp_path / "patches10").mkdir()
    file, found = tmp_path / "patches10" / "resnet20.h5", []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        found.append(version(grids.checked("a test", {"dataset": "patches10", "model": "resnet20"})))
    assert found[0] == found[2] != found[1]


def test_other_code_is_another_version(tmp_path, monkeypatch, version):
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    for room in (*jobs.CODE, "report"):
        (tmp_path / "helpers" / room).mkdir(parents=True)
        (tmp_path / "helpers" / room / "module.py").write_text("x = 1\n")
    grid = grids.Grid("g")
    first = version(grid)
    (tmp_path / "helpers" / "report" / "module.py").write_text("x = 2\n")
    assert version(grid) == first, "no record depends on the report"
    (tmp_path / "helpers" / "attacks" / "module.py").write_text("x = 2\n")
    assert version(grid) != first


def test_records_are_merged_once_and_in_order(grid_file, store, tmp_path, monkeypatch):
    grid = read(grid_file("dataset: patches10\nprofile: smoke\nautoencoder: none\nsteps: [5, 10]"))

    def record(seed):
        names = ("dataset", "profile", "model", "stage", "defense", "input", "threat")
        known = dict.fromkeys(names, "some") | {"eps": 0.1, "steps": 5, "seed": seed}
        return evaluation.record(np.array([True, False]), **known)

    shared = record(7)
    for k, (_, file) in enumerate(jobs.outputs(grid)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"records": [shared, record(k)]}))
    target = tmp_path / "recorded" / "grid.json"
    results.write(grid, target)
    monkeypatch.setattr(results, "RECORDED", target.parent)
    found = results.recorded("grid")
    assert found["records"] == [shared, record(0), record(1)]
    assert found["grid"]["steps"] == [5, 10] and "environment" in found
    before = target.read_bytes()
    results.write(grid, target)
    assert target.read_bytes() == before
    with pytest.raises(CourseError, match="'other'.* grid.*--record"):
        results.recorded("other")


def test_every_room_that_jobs_depend_on_is_there():
    assert all((settings.ROOT / "helpers" / room).is_dir() for room in jobs.CODE)
