"""Which notebook runs next, when several run side by side.

Notebooks share what they compute through the artifact store, and its locks make that safe in any order. The
order only saves time: a notebook that needs what another one is still making would wait for it, and hold a
place that a third one could use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import settings

NEEDS = {
    "03_choosing_the_autoencoder": ("02_denoising_autoencoder",),
    "03b_other_autoencoders": ("03_choosing_the_autoencoder",),
    "04_fine_tuning": ("02_denoising_autoencoder",),
    "05_results": ("04_fine_tuning",),
    "06_breaking_the_defense": ("04_fine_tuning",),
    "explorer": ("04_fine_tuning",),
}
"""The notebooks whose artifacts a notebook needs, where making them takes long."""

MEMORY_MIB = 4096
"""The memory that a whole report may take."""

OWN_MIB = 512
"""What the processes take that are no kernels: the one that writes the report, and one for each notebook."""


class Cost(NamedTuple):
    """What a notebook took in an earlier run: seconds, and the peak memory of its kernel in MiB."""

    seconds: float = 60.0
    peak_mib: int = 1500


def default_jobs(profile: str) -> int:
    """Return how many notebooks run side by side if nobody says.

    Each gets an equal part of the cores. A full run's notebooks train for hours, one after another, so there
    each gets all of them.
    """
    return 1 if profile == "full" else min(cores(), 4)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def costs(folder: Path, parameters: Mapping) -> dict[str, Cost]:
    """Return what each notebook took, by name: in the report that is replaced, else in the recorded run.

    Args:
        folder: the report's folder.
        parameters: of the notebooks. A report with another profile or network tells nothing.
    """
    for file in (folder / "run.json", settings.FIGURES / str(parameters["model"]) / "run.json"):
        try:
            info = json.loads(file.read_text())
            alike = [info["parameters"][name] == parameters[name] for name in ("profile", "model")]
            if all(alike) or file.parent != folder:
                return {
                    run["notebook"]: Cost(run["seconds"], run["peak_mib"])
                    for run in info["notebooks"]
                    if not run["error"]
                }
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}


def choose(waiting: Sequence[str], running: Collection[str], known: Mapping[str, Cost]) -> str | None:
    """Return the notebook to start now, or None if there is no memory for another.

    Notebooks whose needs are met come first, and among them the one from which the longest chain of others
    hangs. A notebook that would have to wait is better than an idle core: it runs until it waits.

    Args:
        waiting: the names of the notebooks that have not been started.
        running: the names of those that run.
        known: what they took earlier.
    """
    unfinished = {*waiting, *running}
    fitting = [name for name in waiting if not running or _fits(name, running, known)]
    if not fitting:
        return None

    def rank(name: str) -> tuple[bool, float]:
        waits = any(need in unfinished for need in NEEDS.get(name, ()))
        return waits, -_chain(name, unfinished, known)

    return min(fitting, key=rank)


def _fits(name: str, running: Collection[str], known: Mapping[str, Cost]) -> bool:
    """Return whether the peaks of a notebook and of those that run fit into the memory together."""
    return OWN_MIB + sum(known.get(one, Cost()).peak_mib for one in (name, *running)) <= MEMORY_MIB


def _chain(name: str, unfinished: Collection[str], known: Mapping[str, Cost]) -> float:
    """Return the seconds of a notebook and of the longest chain of notebooks that wait for it."""
    later = [one for one in unfinished if name in NEEDS.get(one, ())]
    longest = max((_chain(one, unfinished, known) for one in later), default=0.0)
    return known.get(name, Cost()).seconds + longest
