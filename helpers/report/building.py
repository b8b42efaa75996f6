"""Run the notebooks one after another, and write the report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .. import artifacts, datasets, settings
from ..artifacts import provenance
from ..classifiers.registry import MODELS
from ..settings import CourseError
from . import contents, execution, pdf, rendering

RUNNING = ".running"
"""A file in a report's folder: the lock of the process that writes the report, and the mark of a folder that a
report may replace."""


def build(parameters: dict, folder: Path, only: Sequence[str] = (), shipped: bool = False) -> bool:
    """Run every notebook of the course and write the report.

    Args:
        parameters: of the notebooks: dataset, model, profile, seed, weights, eps.
        folder: where the report goes. It gets index.html, which holds everything; report.pdf, the same on
            paper, if there is a Chromium to print it; and, for further work, results.json, run.json,
            notebooks/ (executed) and figures/.
        only: numbers or names of notebooks (find). Only these are run, and they use the networks that the
            course ships wherever they can, in a full run too (pipeline.start, ``auto``).
        shipped: use the shipped autoencoder and fine-tuned classifier in a whole full run too.

    Returns:
        Whether all notebooks ran to their end.

    Raises:
        CourseError: a parameter is wrong, the data cannot be loaded, the folder is not a report's, or another
            report is being written into it. Nothing is run, and an older report stays.
    """
    settings.profile(parameters["profile"])
    notebooks = [contents.find(name) for name in only] or contents.chapters()
    for notebook in notebooks:
        execution.check_parameters(notebook, parameters)
    data = datasets.load(parameters["dataset"])
    networks = _networks(parameters, data, bool(only), shipped)
    if data.notice:
        execution.say(f"\n*** {data.notice}\n")
        os.environ["COURSE_OFFLINE"] = (
            "1"  # no notebook waits for the network again, and all use the same data
        )
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUNNING).touch()
    busy = f"another report is being written into {folder.name}/; wait for it, or name another folder: --out"
    with artifacts.sole(folder / RUNNING, busy):
        return _build(parameters, folder, notebooks, data, bool(only), networks)


def _networks(parameters: dict, data: datasets.Data, some: bool, shipped: bool) -> str:
    """Return whether all networks of this run are ``shipped`` or ``trained``, and tell the notebooks.

    Args:
        parameters: of the notebooks.
        data: the data that they use.
        some: whether only some notebooks are run.
        shipped: whether a whole full run was asked to use the shipped networks.

    Raises:
        CourseError: shipped networks were asked for, but there are none for this run.
    """
    full = parameters["profile"] == "full"
    shipped = shipped or (full and not some and settings.takes_shipped_networks())
    if shipped and not full:
        raise CourseError(
            f"the course ships the networks of full runs; a {parameters['profile']} run trains its own: "
            "leave --networks out, or make it a full run"
        )
    networks = _available(parameters) if full and (shipped or some) else "trained"
    if shipped and networks != "shipped":
        raise CourseError(
            f"the course ships no networks of {parameters['model']} on {data.name} for these parameters; "
            "train them first (make networks), or leave --networks out and COURSE_NETWORKS unset"
        )
    if some or shipped:
        os.environ["COURSE_NETWORKS"] = "shipped"
    return networks


def _available(parameters: dict) -> str:
    """Return ``shipped`` if the course ships all networks of a full run like this, else ``trained``."""
    # In another process: TensorFlow would keep the GPU's memory that the notebooks need.
    code = (
        "import json, sys; from helpers import pipeline; "
        "print(pipeline.start(**json.loads(sys.argv[1])).networks)"
    )
    environment = {**os.environ, "COURSE_NETWORKS": "shipped"}
    command = [sys.executable, "-c", code, json.dumps(parameters)]
    asked = subprocess.run(command, cwd=settings.ROOT, env=environment, capture_output=True, text=True)
    return "shipped" if asked.stdout.split()[-1:] == ["shipped"] else "trained"


def _check_folder(folder: Path) -> None:
    """Refuse a folder whose contents are not a report, because a report would replace them."""
    place, ours = folder.resolve(), settings.ROOT.resolve()
    names = ("data", "figures", "helpers", "notebooks", "sweeps", "tests", "weights")
    if place == ours or any(place.is_relative_to(ours / name) for name in names):
        raise CourseError(f"{place.name}/ is the course's own; name another folder for the report: --out")
    replaced = [name for name in ("notebooks", "figures") if (folder / name).exists()]
    known = place.is_relative_to(ours / "report") or any(
        (folder / name).is_file() for name in (RUNNING, "run.json")
    )
    if replaced and not known:
        raise CourseError(
            f"{place.name}/ holds {' and '.join(replaced)}, which no report made and a report would replace; "
            "name another folder: --out"
        )


def _build(
    parameters: dict, folder: Path, notebooks: list[Path], data: datasets.Data, some: bool, networks: str
) -> bool:
    """Run the notebooks and write the report; the checks are done, and the folder is locked."""
    started, runs = datetime.now(UTC), []
    executed = folder / "notebooks"
    shutil.rmtree(executed, ignore_errors=True)
    with provenance.files_used() as used:
        for notebook in notebooks:
            execution.say(f"{notebook.stem}: running ...")
            run = execution.execute(notebook, executed / notebook.name, parameters)
            runs.append(run)
            if run["error"]:
                cell, error = run["error"]["cell"], execution.one_line(run["error"])
                execution.say(f"{notebook.stem}: FAILED in cell {cell}: {error}")
            else:
                execution.say(f"{notebook.stem}: {run['seconds']:.0f} s, {run['peak_mib']:,} MiB")
        for file in _weights_without_card(parameters):
            provenance.sha256_of(file)
    only = [path.stem for path in notebooks] if some else []
    rendering.write(folder, parameters, data, runs, started, used, only, networks)
    (folder / "report.pdf").unlink(missing_ok=True)
    try:
        pdf.print_to_pdf(folder / "index.html", folder / "report.pdf")
    except CourseError as error:
        execution.say(str(error))
    return not any(run["error"] for run in runs)


def _weights_without_card(parameters: dict) -> list[Path]:
    """Return the weight files that have no card, whose checksum nothing else takes: the user's and tf2cv's."""
    if parameters["weights"] == "tf2cv":
        name = MODELS[parameters["model"]].tf2cv
        return sorted((Path.home() / ".tensorflow" / "models").glob(f"{name}-*.h5"))
    return [Path(parameters["weights"])] if Path(parameters["weights"]).is_file() else []
