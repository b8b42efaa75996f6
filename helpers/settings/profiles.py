"""How large a run is: the three profiles, and profiles from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from typing import Any

from .errors import CourseError
from .files import find_file
from .paths import ROOT
from .wording import one_line, shown


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How large a run is. All counts are numbers of images unless stated otherwise.

    Attributes:
        name: what tables and records call it.
        n_train: training images that are attacked, and on which the autoencoder and the fine-tuned classifier
            are trained. If it exceeds the training split, the validation split is used too (the paper's
            50,000).
        n_validation: attacked validation images, on which training is monitored.
        n_test: test images that are assessed.
        n_sweep: test images for the curves (accuracy against eps, against steps).
        n_checklist: test images on which the checklist of an evaluation runs.
        n_ladder: test images on which attackers with more and more knowledge are compared
            (studies.threat_ladder).
        n_certified: test images that are certified (studies.baselines).
        n_samples: noisy copies of each certified image.
        ae_epochs: epochs of the autoencoder's training.
        ae_batch: its batch size.
        ae_rates: its first and last learning rate (Adam); the rate decays from one to the other.
        tune_epochs: fine-tuning epochs on the six sources; a network may make fewer (classifiers.registry).
        tune_epochs_first: the same for networks with a second phase. The paper says "several"; the number for
            the full profile was chosen for the time it takes.
        tune_epochs_final: epochs of that second phase, on clean images and autoencoder outputs only. The
            paper gives no number here either.
    """

    name: str
    n_train: int
    n_validation: int
    n_test: int
    n_sweep: int
    n_checklist: int
    n_ladder: int
    n_certified: int
    n_samples: int
    ae_epochs: int
    ae_batch: int
    ae_rates: tuple[float, float]
    tune_epochs: int
    tune_epochs_first: int
    tune_epochs_final: int


MOST = 10_000_000
"""The largest count in a profile from a file."""

LARGEST = 1 << 20
"""The size in bytes above which a profile is not read."""

_NAMES = ("smoke", "quick", "full")
_TABLE: dict[str, tuple[Any, Any, Any]] = {
    "n_train": (256, 3_000, 50_000),
    "n_validation": (64, 300, 0),
    "n_test": (128, 2_000, 10_000),
    "n_sweep": (32, 256, 2_000),
    "n_checklist": (12, 50, 100),
    "n_ladder": (12, 64, 1_000),
    "n_certified": (4, 30, 500),
    "n_samples": (40, 400, 2_000),
    "ae_epochs": (2, 30, 100),
    "ae_batch": (32, 32, 128),
    "ae_rates": ((5e-3, 5e-4), (5e-3, 5e-4), (1e-3, 1e-4)),
    "tune_epochs": (1, 3, 3),
    "tune_epochs_first": (1, 3, 2),
    "tune_epochs_final": (1, 1, 1),
}

PROFILES = {
    name: Profile(name=name, **{field: row[column] for field, row in _TABLE.items()})
    for column, name in enumerate(_NAMES)
}


def profile(name_or_path: str, **changes: Any) -> Profile:
    """Return a profile, with some of its numbers changed.

    Args:
        name_or_path: smoke, quick or full; or the path of a TOML file (``.toml``) whose keys are Profile's
            fields. Its optional key ``base`` names the profile that supplies the other fields. A relative
            path is looked up in the current folder and then in the course's root.
        changes: fields with their new values.

    Raises:
        CourseError: there is no such profile or file, or the file has an unknown key, a value of the wrong
            type or too few fields.
    """
    if str(name_or_path).endswith(".toml"):
        return replace(_read(str(name_or_path)), **changes)
    if name_or_path not in PROFILES:
        raise CourseError(
            f"unknown profile {name_or_path!r}; choose one of {', '.join(PROFILES)}, or name a .toml file"
        )
    return replace(PROFILES[name_or_path], **changes)


def _read(path: str) -> Profile:
    file = find_file(path) or find_file(ROOT / path)
    if file is None:
        raise CourseError(f"there is no profile {shown(path)}; check the path")
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 10} KiB")
        values: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except RecursionError:
        raise CourseError(f"{path} is not a TOML file: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise CourseError(f"{path} is not a TOML file: {one_line(error)}") from error
    base = values.pop("base", None)
    if base is not None and (not isinstance(base, str) or base not in PROFILES):
        raise CourseError(f"{path}: base is {shown(base)}; choose one of {', '.join(PROFILES)}")
    values = {"name": file.stem} | values
    known = {field.name for field in fields(Profile)}
    if unknown := sorted(values.keys() - known):
        raise CourseError(
            f"{path}: unknown {', '.join(key[:40] for key in unknown[:5])}; "
            f"a profile has {', '.join(sorted(known))}, base"
        )
    for name, value in values.items():
        values[name] = _checked(path, name, value)
    if base is not None:
        return replace(PROFILES[base], **values)
    if missing := sorted(known - values.keys()):
        raise CourseError(
            f'{path}: there is no {", ".join(missing)}; add it, or a base such as base = "quick"'
        )
    return Profile(**values)


def _checked(path: str, name: str, value: Any) -> Any:
    """Return a value from a TOML file as Profile has it."""
    if name == "name":
        # Code and tables treat the three names specially: a run called "full" may be shipped and recorded.
        expected = f"a line of 1 to 60 characters other than {', '.join(PROFILES)}"
        right = isinstance(value, str) and value not in PROFILES
        right = right and value.isprintable() and 1 <= len(value) <= 60
    elif name == "ae_rates":
        expected = "two positive numbers up to 1,000"
        right = isinstance(value, list) and len(value) == 2
        right = right and all(type(rate) in (int, float) and 0 < rate <= 1_000 for rate in value)
        value = tuple(value) if right else value
    else:
        least = 0 if name == "n_validation" else 1
        expected = f"a whole number from {least} to {MOST:,}"
        right = type(value) is int and least <= value <= MOST
    if not right:
        raise CourseError(f"{path}: {name} is {shown(value)}; it must be {expected}")
    return value
