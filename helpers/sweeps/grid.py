"""Grids of runs: one YAML file becomes a list of jobs, each a command that a person could type.

    python -m helpers sweep sweeps/smoke.yml              # or: make sweep GRID=sweeps/smoke.yml

workflow/Snakefile reads the same jobs and Snakemake runs them: what several need is made first, what is finished is
kept, and a job that failed or was killed is run again by the same command. Needs no TensorFlow, so that a wrong word in
a grid is answered at once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cache
from pathlib import Path

from .. import settings
from ..classifiers import registry
from ..settings import CourseError

SNAKEFILE = settings.ROOT / "workflow" / "Snakefile"
PROFILES = SNAKEFILE.parent / "profiles"
ENGINE = settings.ROOT / ".venv-sweep"
RECORDED = settings.FIGURES / "sweeps"
PYTHON = sys.executable
"""What the jobs are run with."""

AUTOENCODERS = ("none", "paper")
"""What stands before the classifier: nothing, or the autoencoder of the paper's Table 1."""

DATASETS = (
    "cifar10",
    "patches10",
)  # not auto: what a grid measures must not depend on what can be downloaded

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
"""The packages that a job's records depend on: when one changes, finished jobs are run again, and take what did not
change from the artifact store."""


# ------------------------------------------------------------------------------------------------------------- grids


@dataclass(frozen=True)
class Grid:
    """A grid of runs: every combination of the axes (the fields that are tuples).

    Attributes:
        name: of the grid's file, without its ending; results go into a folder of that name.
        dataset, profile, weights: of every job, as everywhere in the course.
        n: test images that are attacked; the profile's own number (n_sweep) if None.
        n_train: images that autoencoder and fine-tuning see; the profile's own number if None.
        threads: processor cores of a job.
        model: networks, keys of registry.MODELS.
        autoencoder: what stands before them (AUTOENCODERS).
        trained_eps: the budget of the attacked images that autoencoder and fine-tuning are trained on.
        eps, steps: the attack that is measured: its budget, and PGD's number of steps.
        seed: of training and of PGD's random starts.
    """

    name: str
    dataset: str = "cifar10"
    profile: str = "quick"
    weights: str = "course"
    n: int | None = None
    n_train: int | None = None
    threads: int = 1
    model: tuple[str, ...] = ("resnet20",)
    autoencoder: tuple[str, ...] = ("paper",)
    trained_eps: tuple[str, ...] = ("8/255",)
    eps: tuple[str, ...] = ("8/255",)
    steps: tuple[int, ...] = (10,)
    seed: tuple[int, ...] = (0,)


AXES = ("model", "autoencoder", "trained_eps", "eps", "steps", "seed")
KEYS = tuple(field.name for field in fields(Grid) if field.name != "name")


def read(file: Path) -> Grid:
    """The grid in a YAML file, checked: nothing runs before every key and value is known to be good.

    Raises:
        CourseError: no such file, no YAML, an unknown key, or a value that a job could not have.
    """
    import yaml

    if not file.is_file():
        known = ", ".join(
            sorted(str(p.relative_to(settings.ROOT)) for p in (settings.ROOT / "sweeps").glob("*.yml"))
        )
        raise CourseError(
            f"there is no grid {file.name} in {file.parent.name or '.'}/; the course has {known}"
        )
    try:
        asked = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        line = f", line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise CourseError(f"{file.name} is no YAML{line}: {why}") from error
    if not isinstance(asked, dict):
        raise CourseError(f"{file.name} holds no keys; a grid is lines such as 'seed: [0, 1, 2]'")
    return checked(file.name, asked, file.stem)


def checked(where: str, asked: dict, name: str = "") -> Grid:
    """A grid of these keys and values, each checked.

    Args:
        where: what errors name.
    """
    if unknown := [key for key in asked if key not in KEYS]:
        named = ", ".join(repr(str(key)) for key in unknown)
        raise CourseError(f"{where}: a grid has no key {named}; it has {', '.join(KEYS)}")
    grid = Grid(name=name, **{key: _checked(where, key, value) for key, value in asked.items()})
    if grid.weights in ("course", "tf2cv"):
        _check_weights(where, grid)
    return grid


def _checked(file: str, key: str, value: object) -> object:
    if key not in AXES:
        return _VALUES[key](f"{file}: {key}", value)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise CourseError(f"{file}: {key} is an empty list; leave it out for its default, or give it a value")
    checked = tuple(_VALUES[key](f"{file}: {key}", v) for v in values)
    numbers = [Fraction(v) for v in checked] if key.endswith("eps") else checked
    if len(set(numbers)) < len(numbers):
        raise CourseError(f"{file}: {key} has the same value twice: {', '.join(map(str, checked))}")
    return checked


def _choice(*known: str):
    def check(where: str, value: object) -> str:
        if value not in known:
            raise CourseError(f"{where} is {value!r}; choose one of {', '.join(known)}")
        return value

    return check


def _whole(least: int, most: float = math.inf):
    def check(where: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            limit = f"from {least}" + (f" to {most}" if most < math.inf else " on")
            raise CourseError(f"{where} is {value!r}; it must be a whole number {limit}")
        return value

    return check


def _budget(where: str, value: object) -> str:
    """A budget as it is written, since 8/255 says more than 0.0314."""
    try:
        number = float(Fraction(str(value)))
    except (ValueError, ZeroDivisionError):
        raise CourseError(f"{where} is {value!r}; it must be a number in [0, 1], such as 8/255") from None
    settings.check_eps(number, where.replace(": ", ", "))
    if number == 0:
        raise CourseError(f"{where} is 0, which is no attack; every job measures the unattacked images too")
    return str(value).replace(" ", "")


def _weights(where: str, value: object) -> str:
    if value in ("course", "tf2cv", "none"):
        return value
    path = Path(str(value)).expanduser().resolve()
    if not path.is_file():
        raise CourseError(
            f"{where}: there is no weight file {path.name}; choose course, tf2cv, none or a file"
        )
    return str(path)


_VALUES = {
    "dataset": _choice(*DATASETS),
    "profile": _choice(*settings.PROFILES),
    "weights": _weights,
    "n": _whole(1, 10_000),
    "n_train": _whole(32, 50_000),
    "threads": _whole(1),
    "model": _choice(*registry.MODELS),
    "autoencoder": _choice(*AUTOENCODERS),
    "trained_eps": _budget,
    "eps": _budget,
    "steps": _whole(1),
    "seed": _whole(0, 2**32 - 1),
}


def _check_weights(file: str, grid: Grid) -> None:
    for model in grid.model:
        if grid.weights == "tf2cv":
            if not registry.MODELS[model].tf2cv:
                raise CourseError(
                    f"{file}: tf2cv has no weights of {model} for these images; take weights: course"
                )
        elif not (settings.WEIGHTS / grid.dataset / f"{model}.h5").is_file():
            raise CourseError(
                f"{file}: the course ships no weights of {model} for {grid.dataset}; train them once with "
                f"'make weights DATASET={grid.dataset} MODEL={model}', or leave it out"
            )


# -------------------------------------------------------------------------------------------------------------- jobs


@dataclass(frozen=True)
class Training:
    """A job that trains autoencoder and fine-tuned classifier, for all the measurements that need them."""

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
        """What runs it, behind ``python -m helpers``."""
        return ["train", *_options(self)]


@dataclass(frozen=True)
class Measurement:
    """A job that attacks one defense with one budget and number of steps."""

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
        """The job that must be finished before."""
        if self.autoencoder == "none":
            return None
        return Training(**{field.name: getattr(self, field.name) for field in fields(Training)})

    def command(self) -> list[str]:
        """What runs it, behind ``python -m helpers``."""
        return ["measure", *_options(self)]


def _options(job: Training | Measurement) -> list[str]:
    given = {name: value for name, value in asdict(job).items() if value is not None}
    return [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def _id(text: str, job: Training | Measurement) -> str:
    """A readable name, and what tells jobs apart that differ in something that it leaves out."""
    rest = hashlib.sha256(json.dumps(asdict(job), sort_keys=True).encode()).hexdigest()[:8]
    return f"{text.replace('/', '_')}-{rest}"


def measurements(grid: Grid) -> list[Measurement]:
    """The grid's jobs, each once. Where nothing is trained, what it would be trained on makes no other job."""
    found = {}
    for values in itertools.product(*(getattr(grid, axis) for axis in AXES)):
        chosen = dict(zip(AXES, values, strict=True))
        if chosen["autoencoder"] == "none":
            chosen["trained_eps"] = Grid.trained_eps[0]
        shared = {name: getattr(grid, name) for name in ("dataset", "profile", "weights", "n", "n_train")}
        job = Measurement(**shared, **chosen)
        found[job.id] = job
    return list(found.values())


def trainings(grid: Grid) -> list[Training]:
    """What the grid's jobs need trained, each once."""
    return list({job.training: None for job in measurements(grid) if job.training})


@cache
def version(grid: Grid) -> str:
    """A checksum of the code that jobs run (CODE) and of the weight files that the grid begins with: Snakemake runs a
    job again where it is another."""
    digest = hashlib.sha256()
    for name in CODE:
        for file in sorted((settings.ROOT / "helpers" / name).rglob("*.py")):
            digest.update(file.read_bytes())
    for model in grid.model:
        file = (
            settings.WEIGHTS / grid.dataset / f"{model}.h5"
            if grid.weights == "course"
            else Path(grid.weights)
        )
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:12]


# ------------------------------------------------------------------------------------------------------------ running


def folder_of(grid: Grid) -> Path:
    """Where a grid's results go: jobs/, trainings/, logs/, and records.json when all are finished."""
    return settings.ARTIFACTS / "sweeps" / grid.name


def engine() -> list[str]:
    """The command that starts Snakemake: of this environment, of .venv-sweep, or of the PATH.

    Raises:
        CourseError: it is installed in none of them.
    """
    for place in (Path(sys.executable).parent, ENGINE / "bin"):
        if (place / "snakemake").is_file():
            return [str(place / "python"), "-m", "snakemake"]
    if found := shutil.which("snakemake"):
        return [found]
    raise CourseError(
        "Snakemake is not installed, which runs a sweep's jobs; install it with 'make sweep', or with "
        "'python -m venv .venv-sweep' and '.venv-sweep/bin/pip install -r requirements-sweep.lock'"
    )


def run(file: Path, cores: int, profile: str | None = None, dry: bool = False) -> int:
    """Run a grid's jobs, all that are not finished; returns Snakemake's exit status.

    Args:
        cores: of this machine that jobs may take; with a cluster's profile, jobs in flight at once.
        profile: a folder of workflow/profiles (slurm, kubernetes), or any other; this machine if None.
        dry: show what would be run.

    Raises:
        CourseError: the grid is wrong, Snakemake is missing, or another process is running this grid.
    """
    from .. import artifacts

    grid = read(file)
    if cores < 1:
        raise CourseError(f"--cores is {cores}; it must be at least 1")
    folder = folder_of(grid)
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *engine(),
        "--snakefile",
        str(SNAKEFILE),
        "--directory",
        str(folder),
        "--config",
        f"grid={file.resolve()}",
        f"python={PYTHON}",
        f"artifacts={settings.ARTIFACTS.resolve()}",
        f"course={settings.ROOT}",
        "--cores" if profile is None else "--jobs",
        str(cores),
        "--keep-going",
        "--rerun-incomplete",
        "--nolock",
        "--scheduler",
        "greedy",
        "--rerun-triggers",
        "params",
        "input",
        "--quiet",
        "rules",
        "host",
        "reason",
    ]
    if profile:
        place = PROFILES / profile if (PROFILES / profile).is_dir() else Path(profile)
        if not (place / "config.yaml").is_file():
            known = ", ".join(sorted(p.name for p in PROFILES.iterdir()))
            raise CourseError(
                f"there is no profile {profile!r}; choose one of {known}, or a folder with a config.yaml"
            )
        command += ["--profile", str(place.resolve())]
        if "default-storage-provider: fs" in (place / "config.yaml").read_text():
            command += ["--default-storage-prefix", str(folder.resolve())]
    # Snakemake's own lock outlives a Snakemake that was killed; this one does not, and is held by its process too.
    with artifacts.sole(
        folder / ".running", f"the grid {grid.name} is being run by another process"
    ) as descriptor:
        held = [] if descriptor is None else [descriptor]
        return subprocess.call(command + ["--dry-run"] * dry, cwd=settings.ROOT, pass_fds=held)


# ------------------------------------------------------------------------------------------------------------ results


def merge(grid: Grid) -> list[dict]:
    """The records of all jobs of a grid, in the order of its jobs, each once.

    Records are those of the whole course (evaluation.Record), and say which autoencoder and trained_eps they belong to.

    Raises:
        CourseError: some job is not finished.
    """
    jobs = measurements(grid)
    files = [folder_of(grid) / "jobs" / f"{job.id}.json" for job in jobs]
    if missing := [file.stem for file in files if not file.is_file()]:
        raise CourseError(
            f"{len(missing)} of the {len(jobs)} jobs of {grid.name} are not finished, {missing[0]} among them; run it "
            "again: what is finished is kept"
        )
    records = [record for file in files for record in json.loads(file.read_text())["records"]]
    return each_once(records)


def each_once(records: list[dict]) -> list[dict]:
    """Records without those that are there already: jobs that differ in steps share the unattacked images."""
    return list({json.dumps(record, sort_keys=True): record for record in records}.values())


def write(grid: Grid, target: Path) -> None:
    """Write a grid's merged records, with the grid and what produced them; without times, so that the same jobs give
    the same file."""
    from ..artifacts import provenance

    found = {"grid": asdict(grid), "environment": provenance.environment(), "records": merge(grid)}
    settings.write_atomically(target, json.dumps(found, indent=1).encode())


def recorded(name: str) -> dict:
    """A sweep that is shipped with the course (figures/sweeps): ``grid``, ``environment`` and ``records``.

    Raises:
        CourseError: there is none of that name.
    """
    file = RECORDED / f"{name}.json"
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in RECORDED.glob("*.json"))) or "none yet"
        raise CourseError(
            f"no sweep {name!r} is recorded; recorded are: {known}. Run one with 'make sweep GRID=sweeps/{name}.yml', "
            f"then 'python -m helpers sweep sweeps/{name}.yml --record'"
        )
    return json.loads(file.read_text())


def outputs(grid: Grid) -> Iterator[tuple[Training | Measurement, Path]]:
    """Every job of a grid and the file that it leaves."""
    for job in trainings(grid):
        yield job, folder_of(grid) / "trainings" / f"{job.id}.json"
    for job in measurements(grid):
        yield job, folder_of(grid) / "jobs" / f"{job.id}.json"
