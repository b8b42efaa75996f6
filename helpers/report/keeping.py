"""Executed notebooks in the artifact store: a notebook that would run exactly as before is not run again.

Jupyter Book does the same with jupyter-cache. Here the key holds everything that a notebook depends on, not
its cells alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nbformat

from .. import artifacts, datasets, settings
from ..artifacts import provenance
from ..settings import CourseError, write_atomically
from . import execution

_KIND = "notebooks"
_FOLDERS = ("figures", "helpers", "sweeps", "weights")
"""The course's folders that notebooks import from, read or show."""


class Kept:
    """The executed notebooks of earlier reports, as far as a new report may show them.

    Args:
        parameters: of the notebooks.
        data: the images that they use.
        fresh: run every notebook again, and replace what is kept.
    """

    def __init__(self, parameters: dict, data: datasets.Data, fresh: bool = False):
        self._fresh, self._shared = fresh, _dependencies(parameters, data)

    def find(self, notebook: Path, output: Path) -> dict | None:
        """Write the executed copy of a notebook that ran earlier with the same cells and the same everything.

        Args:
            notebook: the notebook.
            output: where the executed copy goes.

        Returns:
            What ``execution.execute`` returned then, with ``reused`` set; or None if the notebook has to run.
        """
        if self._fresh or not (file := artifacts.find(_KIND, self._config(notebook), ".result.json")):
            return None
        kept = settings.read_json(file, finite=False)
        write_atomically(output, json.dumps(kept["executed"], indent=1).encode())
        provenance.note_again(kept["files"])
        return kept["run"] | {"reused": True}

    def keep(self, notebook: Path, output: Path, run: dict, files: list[dict]) -> None:
        """Keep an executed notebook for later reports, if it ran to its end.

        Args:
            notebook: the notebook.
            output: its executed copy.
            run: what ``execution.execute`` returned.
            files: the artifacts and weight files that it used (provenance.read_log).
        """
        if run["error"]:
            return
        config = self._config(notebook)
        try:
            if self._fresh:
                artifacts.forget(_KIND, config)
            kept = {"executed": settings.read_json(output, finite=False), "files": files, "run": run}
            artifacts.make_json(_KIND, config, lambda: kept)
        except (CourseError, OSError) as error:  # a full disk, a store of another user: the report goes on
            execution.say(f"{notebook.stem} is not kept for the next report: {error}")

    def _config(self, notebook: Path) -> dict:
        cells = [
            [cell.cell_type, cell.source, cell.metadata.get("tags", [])]
            for cell in nbformat.read(notebook, as_version=4).cells
        ]
        text = json.dumps(cells).encode()
        return {"notebook": notebook.stem, "cells": hashlib.sha256(text).hexdigest(), **self._shared}


def _dependencies(parameters: dict, data: datasets.Data) -> dict:
    """Return everything beside its own cells that the outputs of a notebook depend on."""
    weights = Path(str(parameters["weights"]))
    return {
        "parameters": parameters,
        "data": [data.name, data.sha256, data.notice],
        "weights": provenance.sha256_of(weights) if weights.is_file() else "",
        "tree": _checksum_of_tree(),
        "environment": provenance.environment(),  # with the commit, which notebook 00 shows
        "networks": settings.takes_shipped_networks(),
        "crafting_precision": settings.crafting_precision(parameters["profile"]),
        "devices": settings.devices_option(),
    }


def _checksum_of_tree() -> str:
    """Return one checksum of all files that notebooks may read, with their places."""
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for file in sorted((settings.ROOT / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                with open(file, "rb") as content:
                    checksum = hashlib.file_digest(content, "sha256").hexdigest()
                digest.update(f"{file.relative_to(settings.ROOT)}\0{checksum}\n".encode())
    return digest.hexdigest()
