"""Predict what a sweep will cost from the measured time and memory of its jobs' steps.

    python -m helpers cost                          # runs small grids and writes figures/cost.json
    python -m helpers sweep GRID --estimate         # predicts a grid's cost from it

Every job records the seconds and the memory of its steps (execution.Watch). The time of a step is a linear
function of its work: the number of images times the passes of each through the network. The line is fitted to
measured steps. They are measured under the conditions of use: jobs with the same number of cores, side by
side on all cores.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from .. import settings
from ..classifiers.registry import MODELS
from ..settings import CourseError
from .grid import KEYS, Grid
from .jobs import CELLS, Job, Training, all_of, folder_of, measurements, outputs, trainings

RECORD = settings.FIGURES / "cost.json"


@dataclass(frozen=True)
class Step:
    """A part of a job, and what it cost.

    Attributes:
        name: start (Python, TensorFlow, data and classifier), load, attack, attack through ae, assess,
            autoencoder, reconstruct or fine-tune.
        n, times: how many images, and the passes of each: PGD's steps, or epochs times sources.
        seconds, peak_mib: how long it took, and the peak memory of its process.
    """

    name: str
    model: str
    n: int
    times: int
    seconds: float = 0.0
    peak_mib: int = 0

    @property
    def work(self) -> int:
        return self.n * self.times


def steps_of(job: Job, attacked: set | None = None) -> list[Step]:
    """Return the steps of a job, without their cost.

    Args:
        attacked: the attacks of earlier jobs, which this job will find in the store; its own are added.
    """
    profile = settings.profile(job.profile, **{"n_train": job.n_train} if job.n_train else {})
    found = [("start", 0, 1)]
    if isinstance(job, Training):
        sizes = [profile.n_train, *([profile.n_validation] if profile.n_validation else [])]
        found += [("attack", n, times) for n in sizes for times in (1, 10)]
        found.append(("autoencoder", profile.n_train, 2 * profile.ae_epochs))
        found += [("reconstruct", n, 3) for n in sizes]
        passes = sum((6 if all_six else 4) * epochs for all_six, epochs in MODELS[job.model].phases(profile))
        found.append(("fine-tune", profile.n_train, passes))
    else:
        n, attacked = job.n or profile.n_sweep, set() if attacked is None else attacked
        found += [("load", 0, 1)] if job.autoencoder != "none" else []
        for cell in CELLS[job.autoencoder]:
            mine = job.model, job.weights, job.trained_eps, job.eps, job.steps, job.seed
            mine += () if cell.threat == "static" else (job.autoencoder, cell.stage, cell.threat)
            if cell.input == "pgd" and mine not in attacked:
                attacked.add(mine)
                found.append(("attack" if cell.threat == "static" else "attack through ae", n, job.steps))
            found.append(("assess", n, 1))
    return [Step(name, job.model, n, times) for name, n, times in found]


# ------------------------------------------------------------------------------------------------- predicting


class Prices:
    """Fitted lines: the seconds of a step against its work, and its memory against its images.

    Args:
        steps: measured steps of any number of jobs.
    """

    def __init__(self, steps: Sequence[Step]):
        by_kind = defaultdict(list)
        for step in steps:
            by_kind[step.name, step.model].append(step)
        self._time = {k: line([s.work for s in v], [s.seconds for s in v]) for k, v in by_kind.items()}
        self._memory = {k: line([s.n for s in v], [s.peak_mib for s in v]) for k, v in by_kind.items()}

    def seconds(self, step: Step) -> float:
        return self._of(self._time, step)(step.work)

    def peak_mib(self, step: Step) -> float:
        return self._of(self._memory, step)(step.n)

    def _of(self, lines: dict, step: Step) -> Callable[[float], float]:
        if (step.name, step.model) not in lines:
            raise CourseError(
                f"the cost of {step.name!r} with {step.model} was not measured; measure it with "
                f"'python -m helpers cost --model {step.model}'"
            )
        return lines[step.name, step.model]


def line(x: Sequence[float], y: Sequence[float]) -> Callable[[float], float]:
    """Fit a line a + b x with a, b >= 0 to the mean of y at each x, with the least relative error.

    It fits means because the times of jobs add up: relative errors of single points would favour the quick
    ones. The line is constant if all x are equal.
    """
    from scipy.optimize import nnls

    places, which = np.unique(np.asarray(x, float), return_inverse=True)
    means = np.maximum(np.bincount(which, np.asarray(y, float)) / np.bincount(which), 1e-3)
    a, b = (
        (means[0], 0.0)
        if len(places) == 1
        else nnls(np.stack([1 / means, places / means], 1), np.ones(len(means)))[0]
    )
    return lambda value: float(a + b * value)


@dataclass(frozen=True)
class Estimate:
    """The predicted cost of a grid.

    Attributes:
        jobs: how many trainings and measurements.
        core_minutes: the minutes of all jobs added up, whatever their number of cores.
        minutes: from the start of the first job to the end of the last.
        peak_mib: the peak memory of one job.
        by_step: minutes of all jobs added up, by step.
    """

    jobs: tuple[int, int]
    core_minutes: float
    minutes: float
    peak_mib: float
    by_step: dict[str, float]


def estimate(grid: Grid, cores: int, record: dict) -> Estimate:
    """Predict the cost of a grid, as if the artifact store were empty.

    Args:
        grid: what to predict.
        cores: how many cores the jobs may use.
        record: measured costs (recorded).

    Raises:
        CourseError: a step was not measured, or with another number of cores a job.
    """
    if grid.threads != record["threads"]:
        raise CourseError(
            f"costs were measured with jobs of {record['threads']} cores, the grid's have {grid.threads}; "
            f"measure them with 'python -m helpers cost --threads {grid.threads}'"
        )
    prices = Prices([Step(**step) for step in record["steps"]])
    attacked, seconds, by_step, peak = set(), {}, defaultdict(float), 0.0
    for job in all_of(grid):
        seconds[job] = record["seconds_a_job"]
        for step in steps_of(job, attacked):
            seconds[job] += prices.seconds(step)
            by_step[step.name] += prices.seconds(step) / 60
            peak = max(peak, prices.peak_mib(step))
    total = record["seconds_to_begin"] + makespan(seconds, max(1, cores // grid.threads))
    return Estimate(
        (len(trainings(grid)), len(measurements(grid))),
        sum(seconds.values()) / 60,
        total / 60,
        peak,
        dict(by_step),
    )


def makespan(seconds: dict[Job, float], slots: int) -> float:
    """Return how long jobs take on a number of slots.

    A job starts as soon as a slot is free and the training that it needs has ended.
    """
    finished, free = {}, [0.0] * slots
    waiting = list(seconds)
    while waiting:
        now = heapq.heappop(free)
        ready = [job for job in waiting if _ready(job, finished, now)]
        if not ready:
            now = min(end for end in finished.values() if end > now)
            heapq.heappush(free, now)
            continue
        job = ready[0]
        waiting.remove(job)
        finished[job] = now + seconds[job]
        heapq.heappush(free, finished[job])
    return max(finished.values())


def _ready(job: Job, finished: dict, now: float) -> bool:
    needed = getattr(job, "training", None)
    return needed is None or finished.get(needed, math.inf) <= now


def recorded(file: Path = RECORD) -> dict:
    """Return the measured costs.

    Returns:
        ``environment``, ``cores``, ``threads``, ``seconds_to_begin``, ``seconds_a_job`` and ``steps``.

    Raises:
        CourseError: none are recorded.
    """
    if not file.is_file():
        raise CourseError(f"no costs are recorded in {file.name}; measure them with 'python -m helpers cost'")
    return json.loads(file.read_text())


def describe(grid: Grid, found: Estimate, cores: int, record: dict) -> str:
    """Describe an estimate in words."""
    trained, measured = found.jobs
    parts = ", ".join(
        f"{name} {minutes:.1f}" for name, minutes in sorted(found.by_step.items(), key=lambda p: -p[1])
    )
    return (
        f"{grid.name}: {trained} trainings and {measured} measurements, about {found.minutes:.1f} minutes on "
        f"{cores} cores ({found.core_minutes:.1f} minutes of jobs), {found.peak_mib:,.0f} MiB a job.\n"
        f"Minutes by step: {parts}.\n"
        f"Measured on {record['environment']['machine']} with {record['cores']} busy cores. What is in the "
        "store already takes no time. For another machine: python -m helpers cost"
    )


# -------------------------------------------------------------------------------------------------- measuring


def measure(dataset: str, models: Sequence[str], cores: int, threads: int, small: bool = False) -> dict:
    """Run small grids of several sizes in a store of their own, which takes minutes.

    Args:
        dataset: of the grids.
        models: keys of registry.MODELS.
        cores, threads: how many cores are busy, and how many of them a job has.
        small: run the smallest size only, for tests; the fitted lines are then constant.

    Returns:
        What figures/cost.json holds (recorded).
    """
    from ..artifacts import provenance

    slots, steps, ended = max(1, cores // threads), [], []
    if slots * threads != cores:
        raise CourseError(
            f"{cores} cores cannot be shared by jobs of {threads} cores; change --cores or --threads"
        )
    # One seed for each slot, so that every job runs beside others.
    shared = Grid("cost", dataset, "smoke", threads=threads, seed=tuple(range(slots)))
    sizes = [(32, 256, (1, 20))] if small else [(64, 256, (1, 20)), (256, 1024, (5, 40))]
    for model in models:
        for n, n_train, counts in sizes:
            grid = replace(shared, model=(model,), n=n, n_train=n_train, steps=counts)
            ended.append(run_in_a_store_of_its_own(grid, cores))
            steps += [step for found in ended[-1].jobs.values() for step in found]
    begin, each = overhead(ended)
    return {
        "environment": provenance.environment(),
        "dataset": dataset,
        "cores": cores,
        "threads": threads,
        "seconds_to_begin": round(begin, 2),
        "seconds_a_job": round(each, 2),
        "steps": [asdict(step) for step in steps],
    }


def run_in_a_store_of_its_own(grid: Grid, cores: int) -> Ended:
    """Run a grid with an empty artifact store."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{grid.name}.yml"
        values = {key: value for key in KEYS if (value := getattr(grid, key)) is not None}
        file.write_text(json.dumps(values))  # JSON is YAML
        environment = os.environ | {"ARTIFACTS_DIR": folder}
        course = {"env": environment, "cwd": settings.ROOT, "capture_output": True, "text": True}
        # The data are prepared once in every store, which is not part of any job's cost.
        load = f"from helpers import datasets; datasets.load({grid.dataset!r})"
        loaded = subprocess.run([sys.executable, "-c", load], **course)
        if loaded.returncode:
            raise CourseError(f"{grid.dataset} could not be loaded: {loaded.stderr.strip()[-500:]}")
        start = time.time()
        command = [sys.executable, "-m", "helpers", "sweep", str(file), "--cores", str(cores)]
        done = subprocess.run(command, **course)
        took = time.time() - start
        if done.returncode:
            raise CourseError(f"a job of the measurement failed: {done.stderr.strip()[-500:]}")
        place, jobs, begun = Path(folder) / "sweeps" / grid.name, {}, []
        for job, out in outputs(grid):
            found = json.loads((place / out.relative_to(folder_of(grid))).read_text())
            jobs[job] = [Step(**step) for step in found["steps"]]
            begun.append(found["begun"])
    return Ended(took, min(begun) - start, jobs, max(1, cores // grid.threads))


@dataclass(frozen=True)
class Ended:
    """A grid that was run.

    Attributes:
        took: seconds in all.
        before: seconds before the first job.
        jobs: the steps of every job.
        slots: how many jobs ran at once.
    """

    took: float
    before: float
    jobs: dict[Job, list[Step]]
    slots: int


def overhead(ended: Sequence[Ended]) -> tuple[float, float]:
    """Return what Snakemake adds: seconds before the first job, and seconds a job.

    The seconds a job are chosen so that the makespan of the jobs' steps equals the time that the grids took.
    """
    before = float(np.mean([grid.before for grid in ended]))

    def total(each: float) -> float:
        return sum(
            grid.before
            + makespan(
                {j: sum(s.seconds for s in steps) + each for j, steps in grid.jobs.items()}, grid.slots
            )
            for grid in ended
        )

    took, low, high = sum(grid.took for grid in ended), 0.0, 600.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) < took else (low, middle)
    return before, low


def dataset_of(models: Sequence[str]) -> str:
    """Return the data set with weights of all these networks.

    patches10 comes first, since CIFAR-10 may have to be downloaded; it is also the answer if neither has
    them.
    """
    having = (
        d
        for d in ("patches10", "cifar10")
        if all((settings.WEIGHTS / d / f"{m}.h5").is_file() for m in models)
    )
    return next(having, "patches10")


def write(found: dict, file: Path) -> None:
    """Write measured costs.

    Costs of other networks in the file are kept if they were measured under the same conditions: the same
    numbers of cores, on the same kind of machine.
    """
    if file.is_file():
        before, names = recorded(file), {step["model"] for step in found["steps"]}
        if _conditions_of(before) == _conditions_of(found):
            found = {
                **found,
                "steps": [s for s in before["steps"] if s["model"] not in names] + found["steps"],
            }
    settings.write_atomically(file, json.dumps(found, indent=1).encode())


def _conditions_of(record: dict) -> tuple:
    about = record["environment"]
    return record["cores"], record["threads"], about.get("machine"), about.get("training_precision")
