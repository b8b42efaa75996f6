"""The records of a sweep: merged from its jobs, and those that the course ships."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

from .. import settings
from ..pipeline.recorded import check_fields, check_records
from ..settings import CourseError
from .grid import Grid
from .jobs import Measurement, outputs

RECORDED = settings.FIGURES / "sweeps"


def merge(grid: Grid) -> list[dict]:
    """Return the records of all jobs of a grid, in the order of its jobs, each once.

    They are evaluation.Record's, with the fields ``autoencoder``, ``trained_eps`` and ``weights``.

    Raises:
        CourseError: some job is not finished.
    """
    files = [file for job, file in outputs(grid) if isinstance(job, Measurement)]
    if missing := [file.stem for file in files if not file.is_file()]:
        raise CourseError(
            f"{len(missing)} of the {len(files)} jobs of {grid.name} are not finished, {missing[0]} among "
            "them; run the sweep again: finished jobs are kept"
        )
    return each_once([record for file in files for record in _records_in(file)])


def _records_in(file: Path) -> list[dict]:
    found = settings.read_json(file)
    check_fields(found, {"records": list}, file)
    return found["records"]


def each_once(records: list[dict]) -> list[dict]:
    """Return records without duplicates: jobs that differ only in steps share the records of clean images."""
    return list({json.dumps(record, sort_keys=True): record for record in records}.values())


def write(grid: Grid, target: Path) -> None:
    """Write a grid's merged records, with the grid and the environment.

    The file holds no times, so the same jobs give the same file.
    """
    from ..artifacts import provenance

    found = {"grid": asdict(grid), "environment": provenance.environment(), "records": merge(grid)}
    settings.write_atomically(target, json.dumps(found, indent=1).encode())


def recorded(name: str) -> dict:
    """Return a sweep that is shipped in figures/sweeps: ``grid``, ``environment`` and ``records``.

    Raises:
        CourseError: there is none of that name.
    """
    file = RECORDED / f"{name}.json"
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in RECORDED.glob("*.json"))) or "none yet"
        raise CourseError(
            f"no sweep {name!r} is recorded; recorded are: {known}. Run one with "
            f"'make sweep GRID=sweeps/{name}.yml', then 'python -m helpers sweep sweeps/{name}.yml --record'"
        )
    found = settings.read_json(file)
    check_fields(found, {"grid": dict, "environment": dict}, file)
    check_records(found.get("records"), file)
    if unknown := found["grid"].keys() - {field.name for field in fields(Grid)}:
        raise CourseError(
            f"{file.parent.name}/{file.name} is damaged: a grid has no {settings.shown(min(unknown))}; "
            "restore it (git checkout figures)"
        )
    return found
