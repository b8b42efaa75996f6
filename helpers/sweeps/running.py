"""Run a grid with Snakemake (workflow/Snakefile), here or on a cluster.

Snakemake makes first what several jobs need and keeps what is finished. The same command runs again what
failed or was killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .. import settings
from ..settings import CourseError
from .grid import read
from .jobs import Training, folder_of, outputs

SNAKEFILE = settings.ROOT / "workflow" / "Snakefile"
PROFILES = SNAKEFILE.parent / "profiles"
ENGINE = settings.ROOT / ".venv-sweep"
PYTHON = sys.executable
"""The interpreter that runs the jobs."""


def engine() -> list[str]:
    """Return the command that starts Snakemake: from this environment, from .venv-sweep, or from the PATH.

    Raises:
        CourseError: it is installed in none of them.
    """
    for folder in (Path(sys.executable).parent, ENGINE / "bin"):
        if (folder / "snakemake").is_file():
            return [str(folder / "python"), "-m", "snakemake"]
    if found := shutil.which("snakemake"):
        return [found]
    raise CourseError(
        "Snakemake, which runs a sweep's jobs, is not installed; install it with 'make sweep', or with "
        "'python -m venv .venv-sweep' and '.venv-sweep/bin/pip install -r requirements-sweep.lock'"
    )


def run(file: Path, cores: int, profile: str | None = None, dry: bool = False) -> int:
    """Run the jobs of a grid that are not finished.

    Args:
        file: the grid.
        cores: how many cores of this machine the jobs may use; with a cluster's profile, how many jobs run at
            once.
        profile: a folder of workflow/profiles (slurm, kubernetes) or any other; this machine if None.
        dry: show what would be run, and run nothing.

    Returns:
        Snakemake's exit status.

    Raises:
        CourseError: the grid is wrong, Snakemake is missing, or another process is running this grid.
    """
    from .. import artifacts

    grid = read(file)
    if cores < 1:
        raise CourseError(f"--cores is {cores}; it must be at least 1")
    folder = folder_of(grid)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "grid": file.resolve(),
        "python": PYTHON,
        "artifacts": settings.ARTIFACTS.resolve(),
        "course": settings.ROOT,
    }
    command = [*engine(), "--snakefile", str(SNAKEFILE), "--directory", str(folder)]
    command += ["--config", *(f"{key}={value}" for key, value in config.items())]
    command += ["--cores" if profile is None else "--jobs", str(cores)]
    command += ["--keep-going", "--rerun-incomplete", "--nolock", "--scheduler", "greedy"]
    command += ["--rerun-triggers", "params", "input", "--quiet", "rules", "host", "reason"]
    command += _options_of(profile, folder) if profile else []
    command += ["--dry-run"] * dry
    # Snakemake's own lock stays behind when Snakemake is killed. This one ends with its processes.
    busy = f"the grid {grid.name} is being run by another process"
    with artifacts.sole(folder / ".running", busy) as descriptor:
        held = [] if descriptor is None else [descriptor]
        _take_out_of_the_future(folder)
        return subprocess.call(command, cwd=settings.ROOT, pass_fds=held)


def why_jobs_failed(file: Path) -> list[str]:
    """Return the errors that unfinished jobs of a grid ended with, each once, with a job that it ended."""
    found, folder = {}, folder_of(grid := read(file))
    for job, output in outputs(grid):
        kind = "train" if isinstance(job, Training) else "measure"
        log = folder / "logs" / f"{kind}-{job.id}.txt"
        if not output.exists() and log.is_file():
            last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
            found.setdefault(last.rpartition("\r")[2], job.id)
    return [f"{job}: {last}" for last, job in found.items() if last]


def _take_out_of_the_future(folder: Path) -> None:
    """Give a grid's results times up to now, in the same order.

    Where the clock has been set back since they were made, Snakemake would refuse all that comes after them.
    """
    results = [*folder.glob("trainings/*.json"), *folder.glob("jobs/*.json"), *folder.glob("records.json")]
    times = {file: file.stat().st_mtime for file in results}
    ahead = max(times.values(), default=0) - time.time()
    if ahead > 0:
        for file, modified in times.items():
            os.utime(file, (modified - ahead, modified - ahead))


def _options_of(profile: str, folder: Path) -> list[str]:
    """Return Snakemake's options for a cluster's profile."""
    place = PROFILES / profile if (PROFILES / profile).is_dir() else Path(profile)
    if not (place / "config.yaml").is_file():
        known = ", ".join(sorted(p.name for p in PROFILES.iterdir()))
        raise CourseError(
            f"there is no profile {profile!r}; choose one of {known}, or a folder with a config.yaml"
        )
    options = ["--profile", str(place.resolve())]
    if "default-storage-provider: fs" in (place / "config.yaml").read_text():
        options += ["--default-storage-prefix", str(folder.resolve())]
    return options
