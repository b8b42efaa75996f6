"""A sweep inside one process, job after job: small grids for notebooks. Large ones are Snakemake's (sweep.run)."""

from __future__ import annotations

from .. import settings
from . import grid as sweep
from . import jobs as measure
from .grid import Grid


def run(grid: Grid) -> list[dict]:
    """The records of a grid, as sweep.merge has them; what is in the artifact store is not computed again."""
    trainings, jobs = sweep.trainings(grid), sweep.measurements(grid)
    records = []
    with settings.progress(total=len(trainings) + len(jobs), title="jobs") as bar:
        for job in trainings:
            measure.train(job)
            bar.update()
        for job in jobs:
            records += measure.measure(job)["records"]
            bar.update()
    return sweep.each_once(records)


def recorded_or_run(name: str, small: Grid, live: bool) -> tuple[Grid, list[dict]]:
    """The sweep that the course ships under that name, or, if it ships none or ``live``, a small one, run now."""
    if not live and (sweep.RECORDED / f"{name}.json").is_file():
        found = sweep.recorded(name)
        grid = Grid(**{key: tuple(v) if isinstance(v, list) else v for key, v in found["grid"].items()})
        return grid, found["records"]
    return small, run(small)
