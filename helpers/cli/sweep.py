"""The commands of sweeps: sweep, its jobs train and measure, and cost."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from .. import settings
from ..settings import CourseError
from ..sweeps import grid as grids
from ..sweeps import jobs
from ..sweeps.grid import Grid
from .command import NETWORKS, PATH, PROFILES, Checked, Command, count, model, number


@click.command(cls=Command)
@click.argument("grid", type=PATH)
@count("--cores", default=os.cpu_count(), help="of this machine; on a cluster, jobs at once")
@click.option("--profile", help="slurm, kubernetes or a folder: a Snakemake profile; else this machine")
@click.option("--dry-run", is_flag=True, help="show what would be run")
@click.option("--estimate", is_flag=True, help="run nothing; predict time and memory")
@click.option("--merge", is_flag=True, help="run nothing; merge the records of the finished jobs")
@click.option("--record", is_flag=True, help="run nothing; ship the records in figures/sweeps/")
@click.option("--out", type=PATH, help="another file for the records of --merge or --record")
def sweep(
    grid: Path,
    cores: int,
    profile: str | None,
    dry_run: bool,
    estimate: bool,
    merge: bool,
    record: bool,
    out: Path | None,
) -> int:
    """Run a grid of jobs, or predict its time and memory.

    GRID is a YAML file, such as sweeps/smoke.yml.
    """
    from ..sweeps import results, running

    asked = grids.read(grid)
    if estimate:
        from ..sweeps import cost

        costs = cost.recorded()
        click.echo(cost.describe(asked, cost.estimate(asked, cores, costs), cores, costs))
        return 0
    records = jobs.folder_of(asked) / "records.json"
    if merge or record:
        target = out or (results.RECORDED / f"{asked.name}.json" if record else records)
        results.write(asked, target)
        click.echo(os.path.relpath(target))
        return 0
    if running.run(grid, cores, profile, dry_run):
        for error in running.why_jobs_failed(grid):
            print(error, file=sys.stderr)
        print("some jobs failed; finished ones are kept, and the same command runs the rest", file=sys.stderr)
        return 1
    if not dry_run:
        click.echo(os.path.relpath(records))
    return 0


def _job_options(command: Callable) -> Callable:
    """Add the options of both jobs. They stay text, so that a grid's checks apply to them."""
    for option in (
        click.option("--out", type=PATH, help="a JSON file for the result"),
        click.option("--n-train", help="images to train on; else the profile's number"),
        click.option("--seed", default=str(Grid.seed[0]), help="a whole number"),
        click.option(
            "--trained-eps", default=Grid.trained_eps[0], help="the budget in the defense's training"
        ),
        click.option("--weights", default=Grid.weights, help="course, tf2cv, none or a weight file"),
        click.option("--model", default=Grid.model[0], help=NETWORKS),
        click.option("--dataset", default=Grid.dataset, help="cifar10 or patches10"),
        click.option("--profile", default=Grid.profile, help=PROFILES),
    ):
        command = option(command)
    return command


@click.command(cls=Command)
@_job_options
def train(out: Path | None, **options) -> None:
    """Train a run's autoencoder and fine-tuned classifier; keep them in artifacts/."""
    (job,) = jobs.trainings(_checked(options))
    from ..sweeps import execution

    _finish(execution.train(job), out)


@click.command(cls=Command)
@_job_options
@click.option("--autoencoder", default=Grid.autoencoder[0], help="none or paper")
@click.option("--eps", default=Grid.eps[0], help="attack budget in [0, 1]; fractions are understood")
@click.option("--steps", default=str(Grid.steps[0]), help="PGD's steps")
@click.option("--n", help="test images to attack; else the profile's number")
def measure(out: Path | None, **options) -> None:
    """Attack one defense with one budget and number of steps."""
    (job,) = jobs.measurements(_checked(options))
    from ..sweeps import execution

    _finish(execution.measure(job), out)


def _checked(options: dict) -> Grid:
    """Return a job's options as a grid of one job."""
    asked = {key: value for key, value in options.items() if value is not None}
    whole = {key: number(asked[key], key, int) for key in ("seed", "steps", "n", "n_train") if key in asked}
    return grids.checked("the command", asked | whole)


def _finish(found: dict, out: Path | None) -> None:
    """Write and print a job's result."""
    from ..sweeps import execution

    execution.write(found, out)
    click.echo(execution.describe(found))


@click.command(cls=Command)
@click.option(
    "--dataset", help="cifar10 or patches10 (images of one size); else one with weights of the networks"
)
@click.option(
    "--model", "models", multiple=True, type=Checked("name", model), help="may be repeated; else resnet20"
)
@count("--cores", default=os.cpu_count(), help="of this machine")
@count("--threads", default=1, help="cores of a job")
@click.option("--out", type=PATH, help="the file to write; else figures/cost.json")
def cost(dataset: str | None, models: tuple[str, ...], cores: int, threads: int, out: Path | None) -> None:
    """Measure what the steps of a sweep cost; write figures/cost.json."""
    from ..sweeps import measuring

    networks, file = list(models) or ["resnet20"], out or settings.FIGURES / "cost.json"
    dataset = dataset or measuring.dataset_of(networks)
    if dataset not in grids.DATASETS:
        raise CourseError(f"unknown data set {dataset!r}; choose one of {', '.join(grids.DATASETS)}")
    measuring.write(measuring.measure(dataset, networks, cores, threads), file)
    click.echo(os.path.relpath(file))
