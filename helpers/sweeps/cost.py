"""Predict what a sweep will cost from the measured time and memory of its jobs' steps.

    python -m helpers sweep GRID --estimate         # reads figures/cost.json, which ``cost`` writes

Every job records the seconds and the memory of its steps (execution.Watch). The time of a step is a linear
function of its work: the number of images times the passes of each through the network. The line is fitted to
measured steps (measuring).
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np

from .. import settings
from ..classifiers.registry import MODELS
from ..pipeline.recorded import check_fields
from ..settings import CourseError
from .grid import Grid
from .jobs import CELLS, Job, Training, all_of, measurements, trainings

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
        job: the job.
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
    found = settings.read_json(file)
    numbers = {"cores": int, "threads": int, "seconds_to_begin": float, "seconds_a_job": float}
    check_fields(found, {"environment": dict, "steps": list, **numbers}, file)
    check_fields(found["environment"], {"machine": str}, file)
    for step in found["steps"]:
        check_fields(step, get_type_hints(Step), file)
    return found


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
