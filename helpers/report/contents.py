"""The course's notebooks, and the contents of an executed notebook: records, figures, a title."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path

import nbformat
import numpy as np

from .. import settings
from ..settings import CourseError

NOTEBOOKS = settings.ROOT / "notebooks"


def numbered() -> list[Path]:
    """Return the notebooks of the course, in reading order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def optional() -> list[Path]:
    """Return the notebooks beside the course's path, such as 03b: nothing later needs them."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9][a-z]_*.ipynb"))


def explorer() -> Path:
    """Return the interactive notebook; a report shows fixed frames of it."""
    return NOTEBOOKS / "explorer.ipynb"


def appendices() -> list[Path]:
    """Return the notebooks that no other notebook needs."""
    return sorted(NOTEBOOKS.glob("appendix_*.ipynb"))


def chapters() -> list[Path]:
    """Return the notebooks that a report runs and shows.

    These are the numbered ones, each followed by its optional ones, then the explorer and the appendices.
    Optional notebooks are run as well, because they publish records that ``make verify`` repeats.
    """
    found = sorted(numbered() + optional())
    return found + [path for path in (explorer(),) if path.is_file()] + appendices()


def find(name: str) -> Path:
    """Return the notebook with that number or file name.

    Raises:
        CourseError: there is none, or more than one.
    """
    there = chapters()
    found = [p for p in there if name in (p.name, p.stem, p.stem.partition("_")[0])]
    if len(found) != 1:
        raise CourseError(f"there is no notebook {name!r}; choose one of {', '.join(p.stem for p in there)}")
    return found[0]


def title_of(notebook: Path) -> str:
    """Return a notebook's first heading, or its name if it has none."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if match := re.search(r"^# (.+)$", cell.source, re.MULTILINE):
            return match[1]
    return notebook.stem


def records_in(executed: nbformat.NotebookNode) -> list[dict]:
    """Return the records that a notebook published (evaluation.publish)."""
    return [
        dict(record)
        for output in outputs_of(executed)
        for record in output.get("data", {}).get(settings.RECORDS_MIME, [])
    ]


def answers_in(executed: nbformat.NotebookNode) -> dict[str, np.ndarray]:
    """Return which images were classified correctly (booleans), by cell, where a notebook published that."""
    return {
        cell: np.unpackbits(np.frombuffer(b64decode(bits), np.uint8), count=n).astype(bool)
        for output in outputs_of(executed)
        for cell, (n, bits) in output.get("data", {}).get(settings.ANSWERS_MIME, {}).items()
    }


def figures_in(executed: nbformat.NotebookNode) -> list[dict]:
    """Return the figures that a notebook showed (plots.show): name, alternative text and PNG in base64."""
    found = []
    for output in outputs_of(executed):
        about = output.get("metadata", {}).get("image/png", {})
        if "name" in about:
            found.append({"name": about["name"], "alt": about["alt"], "png": output["data"]["image/png"]})
    return found


def outputs_of(executed: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the outputs of all cells, in order."""
    return [output for cell in executed.cells for output in cell.get("outputs", [])]
