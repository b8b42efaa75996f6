"""Run a small grid in this process, job after job, for notebooks (running.run runs large ones)."""

from __future__ import annotations

from dataclasses import replace

from .. import settings
from ..pipeline import Run
from . import execution, jobs, results
from .grid import Grid
from .jobs import Training


def run(grid: Grid) -> list[dict]:
    """Run all jobs of a grid that are not in the artifact store, and return the records of all jobs."""
    records, todo, assembled = [], jobs.all_of(grid), {}
    with settings.progress(total=len(todo), title="jobs") as bar:
        for job in todo:
            if isinstance(job, Training):
                execution.train(job)
            else:
                models = replace(job, eps="", steps=0)  # jobs that differ in these attack the same models
                if models not in assembled:
                    assembled = {models: execution.assemble(job)[0]}
                records += execution.measure(job, assembled[models])["records"]
            bar.update()
    return results.each_once(records)


def recorded_or_run(name: str, small: Grid, live: bool) -> tuple[Grid, list[dict]]:
    """Return the recorded sweep of that name, or run a small one if there is none or ``live`` is set."""
    if not live and (results.RECORDED / f"{name}.json").is_file():
        found = results.recorded(name)
        grid = Grid(**{key: tuple(v) if isinstance(v, list) else v for key, v in found["grid"].items()})
        return grid, found["records"]
    return small, run(small)


def for_run(run: Run, name: str) -> list[dict]:
    """Return the records of the recorded sweep of that name; in smoke, those of a small one, run here.

    The small one has the run's data, network, budget and seed, and the next seed.
    """
    small = Grid(
        "live",
        run.data.name,
        "smoke",
        run.weights,
        n=32,
        n_train=64,
        model=(run.model,),
        eps=(str(run.eps),),
        steps=(2, 10),
        seed=(run.seed, run.seed + 1),
    )
    return recorded_or_run(name, small, live=run.profile.name == "smoke")[1]
