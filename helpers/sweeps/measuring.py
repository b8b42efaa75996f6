"""Measure what the steps of a sweep's jobs cost on this machine, for cost.estimate.

    python -m helpers cost                          # runs small grids and writes figures/cost.json

They are measured under the conditions of use: jobs with the same number of cores, side by side on all cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from .. import settings
from ..settings import CourseError
from .cost import Step, makespan, recorded
from .grid import KEYS, Grid
from .jobs import Job, folder_of, outputs

SIZES = ((64, 256, (1, 20)), (256, 1024, (5, 40)))
"""Of the grids that are run: n, n_train and steps."""


def measure(dataset: str, models: Sequence[str], cores: int, threads: int, sizes: Sequence = SIZES) -> dict:
    """Run small grids of several sizes in a store of their own, which takes minutes.

    Args:
        dataset: of the grids.
        models: keys of registry.MODELS.
        sizes: of the grids; one size gives constant lines.
        cores: how many cores are busy.
        threads: the cores of a job.

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
