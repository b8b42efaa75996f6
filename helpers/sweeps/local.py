"""Run a small grid in this process, job after job, for notebooks (running.run runs large ones)."""

from __future__ import annotations

from .. import settings
from . import execution, jobs, results
from .grid import Grid
from .jobs import Training


def run(grid: Grid) -> list[dict]:
    """Run all jobs of a grid that are not in the artifact store, and return the records of all jobs."""
    records, todo = [], jobs.all_of(grid)
    with settings.progress(total=len(todo), title="jobs") as bar:
        for job in todo:
            if isinstance(job, Training):
                execution.train(job)
            else:
                records += execution.measure(job)["records"]
            bar.update()
    return results.each_once(records)


def recorded_or_run(name: str, small: Grid, live: bool) -> tuple[Grid, list[dict]]:
    """Return the recorded sweep of that name, or run a small one if there is none or ``live`` is set."""
    if not live and (results.RECORDED / f"{name}.json").is_file():
        found = results.recorded(name)
        grid = Grid(**{key: tuple(v) if isinstance(v, list) else v for key, v in found["grid"].items()})
        return grid, found["records"]
    return small, run(small)
