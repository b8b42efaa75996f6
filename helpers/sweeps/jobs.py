"""The jobs of a grid: what each trains or measures, the command that runs it, and the file that it leaves.

Needs no TensorFlow: Snakemake (workflow/Snakefile) and the estimate of a sweep's cost read the jobs from
here.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

from .. import settings
from .grid import AXES, Grid

CODE = (
    "settings",
    "backend",
    "artifacts",
    "datasets",
    "classifiers",
    "attacks",
    "defenses",
    "training",
    "evaluation",
    "pipeline",
    "sweeps",
)
"""The packages that a job's records depend on. When one changes, finished jobs are run again; what the change
does not affect comes from the artifact store."""


@dataclass(frozen=True)
class Cell:
    """What one record of a measurement is about; the names are those of evaluation.Record."""

    stage: str
    defense: str
    input: str
    threat: str


_UNDEFENDED = (Cell("initial", "none", "regular", "static"), Cell("initial", "none", "pgd", "static"))

CELLS = {
    "none": _UNDEFENDED,
    "paper": (
        *_UNDEFENDED,
        Cell("initial", "ae", "regular", "static"),
        Cell("fine_tuned", "none", "regular", "static"),
        Cell("fine_tuned", "ae", "regular", "static"),
        Cell("initial", "ae", "pgd", "static"),
        Cell("fine_tuned", "none", "pgd", "static"),
        Cell("fine_tuned", "ae", "pgd", "static"),
        Cell("initial", "ae", "pgd", "adaptive"),
        Cell("fine_tuned", "ae", "pgd", "adaptive"),
    ),
}
"""The records of a measurement, by autoencoder. A ``static`` attack is made once, against the initial
classifier (a transfer attack); an ``adaptive`` one is made end-to-end, against the assessed system."""


@dataclass(frozen=True)
class Training:
    """A job that trains an autoencoder and a fine-tuned classifier for all measurements that need them."""

    dataset: str
    profile: str
    model: str
    weights: str
    trained_eps: str
    seed: int
    n_train: int | None

    @property
    def id(self) -> str:
        return _id(f"{self.model}-eps{self.trained_eps}-seed{self.seed}", self)

    def command(self) -> list[str]:
        """Return the words that run the job, after ``python -m helpers``."""
        return ["train", *_options(self)]


@dataclass(frozen=True)
class Measurement:
    """A job that attacks one defense with one budget and one number of steps."""

    dataset: str
    profile: str
    model: str
    weights: str
    autoencoder: str
    trained_eps: str
    eps: str
    steps: int
    seed: int
    n: int | None
    n_train: int | None

    @property
    def id(self) -> str:
        return _id(f"{self.model}-{self.autoencoder}-eps{self.eps}-steps{self.steps}-seed{self.seed}", self)

    @property
    def training(self) -> Training | None:
        """The job that must be finished first."""
        if self.autoencoder == "none":
            return None
        return Training(**{field.name: getattr(self, field.name) for field in fields(Training)})

    def command(self) -> list[str]:
        """Return the words that run the job, after ``python -m helpers``."""
        return ["measure", *_options(self)]


Job = Training | Measurement


def _options(job: Job) -> list[str]:
    given = {name: value for name, value in asdict(job).items() if value is not None}
    return [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def _id(text: str, job: Job) -> str:
    """Add a checksum to a readable name, since the name leaves out some of the differences between jobs."""
    checksum = hashlib.sha256(json.dumps(asdict(job), sort_keys=True).encode()).hexdigest()[:8]
    return f"{text.replace('/', '_')}-{checksum}"


def measurements(grid: Grid) -> list[Measurement]:
    """Return the grid's measurements, each once.

    If nothing is trained, ``trained_eps`` makes no difference, so it adds no job.
    """
    found = {}
    shared = {name: getattr(grid, name) for name in ("dataset", "profile", "weights", "n", "n_train")}
    for values in itertools.product(*(getattr(grid, axis) for axis in AXES)):
        chosen = dict(zip(AXES, values, strict=True))
        if chosen["autoencoder"] == "none":
            chosen["trained_eps"] = Grid.trained_eps[0]
        job = Measurement(**shared, **chosen)
        found[job.id] = job
    return list(found.values())


def trainings(grid: Grid) -> list[Training]:
    """Return the trainings that the grid's measurements need, each once."""
    return list({job.training: None for job in measurements(grid) if job.training})


def all_of(grid: Grid) -> list[Job]:
    """Return the grid's jobs, trainings first."""
    return [*trainings(grid), *measurements(grid)]


def folder_of(grid: Grid) -> Path:
    """Return where a grid's results go: jobs/, trainings/, logs/, and records.json when all are finished."""
    return settings.ARTIFACTS / "sweeps" / grid.name


def outputs(grid: Grid) -> Iterator[tuple[Job, Path]]:
    """Yield every job of a grid with the file that it leaves."""
    for job in all_of(grid):
        kind = "trainings" if isinstance(job, Training) else "jobs"
        yield job, folder_of(grid) / kind / f"{job.id}.json"


@cache
def version(grid: Grid) -> str:
    """Return a checksum of the code (CODE) and of the weight files that the jobs begin with.

    Snakemake runs a job again when it changes.
    """
    digest = hashlib.sha256()
    for name in CODE:
        for file in sorted((settings.ROOT / "helpers" / name).rglob("*.py")):
            digest.update(file.read_bytes())
    for model in grid.model:
        shipped = settings.WEIGHTS / grid.dataset / f"{model}.h5"
        file = shipped if grid.weights == "course" else Path(grid.weights)
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:12]
