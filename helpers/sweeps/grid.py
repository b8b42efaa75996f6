"""A grid: the YAML file that says which networks, budgets, steps and seeds a sweep covers.

Every key and value is checked before anything runs. Needs no TensorFlow, so that a mistake is reported at
once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from .. import settings
from ..classifiers import registry
from ..settings import CourseError

AUTOENCODERS = ("none", "paper")
"""What preprocesses the images: nothing, or the autoencoder of the paper's Table 1."""

DATASETS = ("cifar10", "patches10")
"""Not ``auto``: what a grid measures must not depend on what can be downloaded."""


@dataclass(frozen=True)
class Grid:
    """A sweep: every combination of its axes, which are the fields that hold tuples.

    Attributes:
        name: the file's name without its ending, and the name of the folder with the results.
        dataset, profile, weights: of every job, as everywhere in the course.
        n: the number of attacked test images; the profile's number (n_sweep) if None.
        n_train: the number of images for the autoencoder and fine-tuning; the profile's number if None.
        threads: processor cores of a job.
        model: networks, keys of registry.MODELS.
        autoencoder: members of AUTOENCODERS.
        trained_eps: budgets of the attacked images in the training of the autoencoder and in fine-tuning.
        eps, steps: budgets and numbers of PGD steps of the measured attack.
        seed: seeds of training and of PGD's random start.
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


LARGEST = 1 << 20
"""The size in bytes above which a grid is not read."""

AXES = ("model", "autoencoder", "trained_eps", "eps", "steps", "seed")
KEYS = tuple(field.name for field in fields(Grid) if field.name != "name")


def read(file: Path) -> Grid:
    """Read a grid from a YAML file and check it.

    Raises:
        CourseError: there is no such file, it is not YAML, or a key or a value is wrong.
    """
    import yaml

    if settings.find_file(file) is None:
        known = sorted((settings.ROOT / "sweeps").glob("*.yml"))
        names = ", ".join(str(path.relative_to(settings.ROOT)) for path in known)
        raise CourseError(
            f"there is no grid {file.name} in {file.parent.name or '.'}/; the course has {names}"
        )
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 10} KiB")
        text = file.read_text("utf-8")
        # A few lines of aliases can stand for a list of any length.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it uses an alias (*name); write the value out")
        values = yaml.safe_load(text)
    except RecursionError:
        raise CourseError(f"{file.name} is not YAML: it is nested too deeply") from None
    except (yaml.YAMLError, OSError, ValueError) as error:
        why = settings.one_line(ValueError(getattr(error, "problem", None) or error))
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise CourseError(f"{file.name} is not YAML{line}: {why}") from error
    if not isinstance(values, dict):
        raise CourseError(f"{file.name} has no keys; a grid consists of lines such as 'seed: [0, 1, 2]'")
    return checked(file.name, values, file.stem)


def checked(source: str, values: dict, name: str = "") -> Grid:
    """Return a grid with these values, each of them checked.

    Args:
        source: where the values come from; the first word of an error.
        values: by key. An axis takes one value or a list.
        name: of the grid.

    Raises:
        CourseError: a key or a value is wrong.
    """
    if unknown := [key for key in values if key not in KEYS]:
        names = ", ".join(settings.shown(str(key)) for key in unknown[:5])
        raise CourseError(f"{source}: a grid has no key {names}; it has {', '.join(KEYS)}")
    grid = Grid(name=name, **{key: _check(source, key, value) for key, value in values.items()})
    if grid.weights in ("course", "tf2cv"):
        _check_weights(source, grid)
    return grid


# ---------------------------------------------------------------------------------------- checks of one value
# Written by hand: with a JSON schema, the budgets, the equal fractions and the weight files would still need
# code, and turning the schema's errors into one line with a remedy takes more of it than the schema saves.

Check = Callable[[str, object], object]


def _check(source: str, key: str, value: object) -> object:
    if key not in AXES:
        return _CHECKS[key](f"{source}: {key}", value)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise CourseError(f"{source}: {key} is an empty list; leave the key out to get its default")
    found = tuple(_CHECKS[key](f"{source}: {key}", v) for v in values)
    numbers = [settings.check_eps(v) for v in found] if key in ("eps", "trained_eps") else found
    if len(set(numbers)) < len(numbers):
        raise CourseError(f"{source}: {key} has the same value twice: {', '.join(map(str, found))}")
    return found


def _one_of(*known: str) -> Check:
    def check(where: str, value: object) -> object:
        if value not in known:
            raise CourseError(f"{where} is {settings.shown(value)}; choose one of {', '.join(known)}")
        return value

    return check


def _whole(least: int, most: float = math.inf) -> Check:
    def check(where: str, value: object) -> int:
        number = settings.whole_number(value)
        if number is None or not least <= number <= most:
            limits = f"at least {least}" if most == math.inf else f"from {least} to {most}"
            raise CourseError(f"{where} is {settings.shown(value)}; it must be a whole number, {limits}")
        return number

    return check


def _budget(where: str, value: object) -> str:
    """Check a budget and return it as it was written, since 8/255 says more than 0.0314."""
    if settings.check_eps(value, where) == 0:
        raise CourseError(f"{where} is 0, which is no attack; clean images are measured in every job anyway")
    return str(value).replace(" ", "")


def _weights(where: str, value: object) -> str:
    if value in ("course", "tf2cv", "none"):
        return str(value)
    path = settings.find_file(value) if isinstance(value, str) else None
    if path is None:
        raise CourseError(
            f"{where}: there is no weight file {settings.shown(value)}; choose course, tf2cv, none or a file"
        )
    return str(path.resolve())


def _profile(where: str, value: object) -> object:
    """Check a profile. A file would not do: jobs are found by the profile's name, not by its contents."""
    if isinstance(value, str) and value.endswith(".toml"):
        raise CourseError(
            f"{where} is the file {value}; a sweep takes only {', '.join(settings.PROFILES)}: set n and "
            "n_train in the grid instead"
        )
    return _one_of(*settings.PROFILES)(where, value)


_CHECKS: dict[str, Check] = {
    "dataset": _one_of(*DATASETS),
    "profile": _profile,
    "weights": _weights,
    "n": _whole(1, 10_000),
    "n_train": _whole(32, 50_000),
    "threads": _whole(1, 1_024),
    "model": _one_of(*registry.MODELS),
    "autoencoder": _one_of(*AUTOENCODERS),
    "trained_eps": _budget,
    "eps": _budget,
    "steps": _whole(1, 100_000),
    "seed": _whole(0, 2**32 - 1),
}


def _check_weights(source: str, grid: Grid) -> None:
    """Check that each network has the weights that the grid asks for."""
    for model in grid.model:
        if grid.weights == "tf2cv":
            if not registry.MODELS[model].tf2cv:
                raise CourseError(
                    f"{source}: tf2cv has no weights of {model} for these images; use weights: course"
                )
        elif not (settings.WEIGHTS / grid.dataset / f"{model}.h5").is_file():
            raise CourseError(
                f"{source}: the course ships no weights of {model} for {grid.dataset}; leave it out, or "
                f"train it once with 'make weights DATASET={grid.dataset} MODEL={model}'"
            )
