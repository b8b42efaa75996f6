"""Sweeps: grids are checked before anything runs, and what is killed is run again, alone."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from helpers import settings
from helpers.cli.app import main
from helpers.settings import CourseError
from helpers.sweeps import grid as sweep

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


# -------------------------------------------------------------------------------------------------------------- grids

BAD = {
    "key": ("epsilon: [0.1]", r"grid.yml: a grid has no key 'epsilon'; it has dataset, profile, .*, seed"),
    "several keys": ("a: 1\nb: 2", r"no key 'a', 'b'"),
    "a key of the course only": ("name: x", r"no key 'name'"),
    "data set": ("dataset: auto", r"dataset is 'auto'; choose one of cifar10, patches10"),
    "profile": ("profile: huge", r"profile is 'huge'; choose one of smoke, quick, full"),
    "model": ("model: [resnet20, vgg]", r"model is 'vgg'; choose one of resnet20, sepreresnet56"),
    "autoencoder": ("autoencoder: unet", r"autoencoder is 'unet'; choose one of none, paper"),
    "eps of 8": ("eps: [8]", r"eps is 8, but images are in \[0, 1\]: write 8/255"),
    "eps negative": ("eps: [-1/255]", r"eps is -0.00.*must be a number in \[0, 1\]"),
    "eps of 0": ("eps: [0]", r"eps is 0, which is no attack"),
    "eps text": ("eps: [small]", r"eps is 'small'; it must be a number in \[0, 1\], such as 8/255"),
    "eps 1/0": ("eps: [1/0]", r"eps is '1/0'; it must be a number"),
    "trained eps": ("trained_eps: [9]", r"trained_eps is 9, but images"),
    "steps 0": ("steps: [10, 0]", r"steps is 0; it must be a whole number from 1 on"),
    "steps fraction": ("steps: 1.5", r"steps is 1.5; it must be a whole number"),
    "steps true": ("steps: yes", r"steps is True; it must be a whole number"),
    "seed": ("seed: [-1]", r"seed is -1; it must be a whole number from 0 to 4294967295"),
    "n": ("n: 0", r"n is 0; it must be a whole number from 1 to 10000"),
    "n as a list": ("n: [1, 2]", r"n is \[1, 2\]; it must be a whole number"),
    "n_train": ("n_train: 5", r"n_train is 5; it must be a whole number from 32"),
    "weights": ("weights: nowhere.h5", r"there is no weight file nowhere.h5"),
    "weights that are not shipped": (
        "dataset: patches10\nmodel: sepreresnet56",
        r"no weights of sepreresnet56 for patches10; train them once with 'make weights DATASET=patches10",
    ),
    "twice": ("seed: [1, 2, 1]", r"seed has the same value twice: 1, 2, 1"),
    "twice in other words": ("eps: [8/255, 16/510]", r"eps has the same value twice"),
    "empty": ("seed: []", r"seed is an empty list"),
    "nothing": ("", r"grid.yml holds no keys"),
    "a list": ("- 1", r"grid.yml holds no keys"),
    "no YAML": ("seed: [0", r"grid.yml is no YAML, line 1: "),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_grid_is_refused_before_anything_runs(grid_file, store, monkeypatch, capsys, case):
    text, message = BAD[case]
    file = grid_file(text)
    with pytest.raises(CourseError, match=message):
        sweep.read(file)
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: pytest.fail("something was run"))
    assert main(["sweep", str(file)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not store.exists()


def test_a_grid_that_is_not_there(tmp_path):
    with pytest.raises(CourseError, match=r"there is no grid mine.yml .*; the course has .*sweeps/smoke.yml"):
        sweep.read(tmp_path / "mine.yml")


def test_the_jobs_are_the_product_of_the_axes(grid_file):
    grid = sweep.read(grid_file(TWELVE))
    jobs = sweep.measurements(grid)
    cells = {(job.autoencoder, job.eps, job.seed) for job in jobs}
    assert len(jobs) == len(cells) == len({job.id for job in jobs}) == 12
    trainings = sweep.trainings(grid)
    assert [job.seed for job in trainings] == [0, 1], "one for all budgets of a seed"
    assert {job.training for job in jobs if job.autoencoder == "paper"} == set(trainings)
    assert {job.training for job in jobs if job.autoencoder == "none"} == {None}


def test_what_is_trained_on_makes_no_job_where_nothing_is_trained(grid_file):
    grid = sweep.read(grid_file(TWELVE + "trained_eps: [4/255, 8/255]"))
    found = [job.autoencoder for job in sweep.measurements(grid)]
    assert found.count("none") == 6 and found.count("paper") == 12 and len(sweep.trainings(grid)) == 4


def test_jobs_of_another_size_have_another_name(grid_file):
    names = {
        job.id
        for more in ("", "n: 10", "n_train: 64", "weights: none", "dataset: patches10\nprofile: quick")
        for job in sweep.measurements(sweep.read(grid_file(more or "seed: 0")))
    }
    assert len(names) == 5


@pytest.mark.parametrize("file", sorted((settings.ROOT / "sweeps").glob("*.yml")), ids=lambda f: f.stem)
def test_the_grids_of_the_course_are_good(file, monkeypatch):
    monkeypatch.setattr(sweep, "_check_weights", lambda *_: None)  # they may have to be trained first
    assert sweep.measurements(sweep.read(file))


def test_a_grid_without_the_weights_it_asks_for_is_refused(tmp_path):
    file = tmp_path / "g.yml"
    for weights, model, why in (
        ("tf2cv", "efficientnet_b0", "tf2cv has no weights of efficientnet_b0"),
        ("course", "sepreresnet56", "ships no weights of sepreresnet56 for patches10"),
    ):
        file.write_text(f"dataset: patches10\nweights: {weights}\nmodel: [resnet20, {model}]\n")
        with pytest.raises(CourseError, match=why):
            sweep.read(file)
    file.write_text("dataset: patches10\nweights: none\nmodel: efficientnet_b0\n")
    assert sweep.read(file).model == ("efficientnet_b0",)


def test_the_grid_of_seeds_is_large_enough_to_compare():
    grid = sweep.read(settings.ROOT / "sweeps" / "seeds.yml")
    assert (grid.model, grid.profile) == (("resnet20",), "quick")
    assert len(grid.seed) >= 3 and len(grid.eps) >= 4 and len(grid.steps) >= 3


def test_a_jobs_command_means_that_job(grid_file, monkeypatch, capsys):
    """What Snakemake runs is what a person would type."""
    from helpers.sweeps import jobs as measure

    found = []
    monkeypatch.setattr(measure, "train", lambda job: found.append(job) or {})
    monkeypatch.setattr(measure, "measure", lambda job: found.append(job) or {})
    monkeypatch.setattr(measure, "describe", str)
    grid = sweep.read(grid_file(TWELVE + "steps: 7\nn: 20\nn_train: 64\ntrained_eps: 4/255"))
    jobs = [*sweep.trainings(grid), *sweep.measurements(grid)]
    for job in jobs:
        assert main(job.command()) == 0
    assert found == jobs
    assert main(["measure", "--eps", "8"]) == 2 and "write 8/255" in capsys.readouterr().err
    assert main(["measure", "--steps", "many"]) == 2 and "steps is 'many'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ running


@pytest.fixture
def snakemake():
    try:
        return sweep.engine()
    except CourseError as error:
        pytest.skip(str(error))


JOB = """#!{python}
# Stands for the course's Python: a job leaves a record that its command line determines, and a note that it ran.
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
    """Jobs that take no time, in a folder where they note that they ran."""
    folder = tmp_path / "toys"
    folder.mkdir()
    program = folder / "python"
    program.write_text(JOB.format(python=sys.executable, folder=str(folder)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sweep, "PYTHON", str(program))
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
        "import sys; from pathlib import Path; from helpers import settings; from helpers.sweeps import grid as sweep; "
        f"sweep.PYTHON = {program!r}; settings.ARTIFACTS = Path({str(store)!r}); "
        f"sys.exit(sweep.run(Path({str(file)!r}), 2))"
    )
    environment = os.environ | {"PYTHONPATH": str(settings.ROOT), "ARTIFACTS_DIR": str(store)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("victim", ["a job", "everything"])
def test_what_was_killed_is_run_again_and_the_rest_is_kept(
    snakemake, grid_file, store, toys, monkeypatch, victim
):
    """Fourteen jobs; kill -9 half way, for one of them or for all that runs. The same command finishes the grid, with
    the results of a run that nobody disturbed."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(store))
    file = grid_file(TWELVE)
    grid = sweep.read(file)
    names = sorted(path.stem for _, path in sweep.outputs(grid))
    (toys / "trap").touch()
    running = in_background(file, store, str(toys / "python"))
    until(lambda: (toys / "number").exists() and (toys / "number").read_text())
    job = int((toys / "number").read_text())
    if victim == "a job":
        os.kill(job, signal.SIGKILL)
        assert running.wait(300) != 0
    else:
        with pytest.raises(CourseError, match="grid is being run by another process"):
            sweep.run(file, 2)
        kill_with_descendants(running.pid)
    running.stderr.close()
    caught = {path.stem for _, path in sweep.outputs(grid) if not path.exists()}
    first = ran(toys)
    assert caught and (victim == "everything" or (len(caught) == 1 and first == names))
    assert not (sweep.folder_of(grid) / "records.json").exists()
    unmeasured = len(caught & {job.id for job in sweep.measurements(grid)})
    with pytest.raises(CourseError, match=rf"{unmeasured} of the 12 jobs of grid are not finished"):
        sweep.merge(grid)

    assert sweep.run(file, 2) == 0
    again = ran(toys)
    assert caught <= {*again} and len(again) == len({*again})
    # One more was in flight, if all was killed: its file was there, but Snakemake had not heard of it.
    assert len(again) - len(caught) <= (victim == "everything")
    found = (sweep.folder_of(grid) / "records.json").read_bytes()
    assert sweep.run(file, 2) == 0 and ran(toys) == []

    monkeypatch.setattr(settings, "ARTIFACTS", store / "undisturbed")
    monkeypatch.setenv("ARTIFACTS_DIR", str(store / "undisturbed"))
    assert sweep.run(file, 2) == 0 and ran(toys) == names
    assert (sweep.folder_of(grid) / "records.json").read_bytes() == found
    assert len(json.loads(found)["records"]) == 12 + 1


def kill_with_descendants(number: int) -> None:
    """Kill a process and all that come from it, those included that are started meanwhile."""
    import psutil

    first, stopped = psutil.Process(number), set()
    while new := {first, *first.children(recursive=True)} - stopped:
        for each in new:
            with suppress(psutil.NoSuchProcess):  # has ended since
                each.suspend()
        stopped |= new
    for each in stopped:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    assert not psutil.wait_procs(stopped, timeout=60)[1]  # their locks end with them


def test_other_code_runs_all_jobs_again_and_another_seed_only_its_own(
    snakemake, grid_file, store, toys, monkeypatch, tmp_path
):
    monkeypatch.setenv("ARTIFACTS_DIR", str(store))
    one = "dataset: patches10\nautoencoder: none\nprofile: smoke\nseed: "
    assert sweep.run(grid_file(one + "[0]"), 2) == 0
    assert len(ran(toys)) == 1
    assert sweep.run(grid_file(one + "[0, 1]"), 2) == 0
    (new,) = ran(toys)
    assert "seed1" in new
    # Snakemake reads the modules in a process of its own: the course is a copy, whose attacks are another's.
    copy = tmp_path / "course"
    for folder in ("helpers", "workflow", "weights/patches10"):
        (copy / folder).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(settings.ROOT / folder), str(copy / folder)], check=True)
    (copy / "helpers" / "attacks.py").open("a").write("# another attack\n")
    monkeypatch.setattr(sweep, "SNAKEFILE", copy / "workflow" / "Snakefile")
    monkeypatch.setattr(settings, "ROOT", copy)
    assert sweep.run(grid_file(one + "[0, 1]"), 2) == 0
    assert len(ran(toys)) == 2


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_the_profiles_for_clusters_hold_as_far_as_a_dry_run_goes(snakemake, grid_file, store, profile, capfd):
    assert sweep.run(grid_file(TWELVE), 5, profile, dry=True) == 0
    shown = capfd.readouterr()
    assert "measure       12" in shown.out + shown.err and "train          2" in shown.out + shown.err
    with pytest.raises(CourseError, match="no profile 'pbs'; choose one of kubernetes, slurm, or a folder"):
        sweep.run(grid_file(TWELVE), 5, "pbs")


def test_without_the_engine_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sweep, "ENGINE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CourseError, match="Snakemake is not installed.*requirements-sweep.lock"):
        sweep.engine()


def test_other_weights_are_another_version(tmp_path, monkeypatch):
    """Else a finished job would pass for one that began with the classifier that is there now."""
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    (tmp_path / "patches10").mkdir()
    file, found = tmp_path / "patches10" / "resnet20.h5", []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        sweep.version.cache_clear()
        found.append(sweep.version(sweep.checked("a test", {"dataset": "patches10", "model": "resnet20"})))
    sweep.version.cache_clear()
    assert found[0] == found[2] != found[1]
