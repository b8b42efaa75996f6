"""Run the notebooks and write the report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .. import artifacts, datasets, settings
from ..artifacts import cards, provenance
from ..classifiers.registry import MODELS
from ..pipeline.matching import is_shipped_as
from ..settings import CourseError
from . import contents, execution, keeping, pdf, rendering, running, scheduling

RUNNING = ".running"
"""A file in a report's folder: the lock of the process that writes the report, and the sign that a report may
replace the folder."""


def build(
    parameters: dict,
    folder: Path,
    only: Sequence[str] = (),
    shipped: bool = False,
    jobs: int | None = None,
    fresh: bool = False,
) -> bool:
    """Run every notebook of the course and write the report.

    Args:
        parameters: of the notebooks: dataset, model, profile, seed, weights, eps.
        folder: where the report goes. It gets index.html, which holds everything; report.pdf, the same on
            paper, if there is a Chromium to print it; and, for further work, results.json, run.json,
            notebooks/ (executed) and figures/.
        only: numbers or names of notebooks (find). Only these are run, and they use the networks that the
            course ships wherever they can, in a full run too (pipeline.start, ``auto``).
        shipped: use the shipped autoencoder and fine-tuned classifier in a whole full run too.
        jobs: how many notebooks run side by side at most (default: scheduling.default_jobs).
        fresh: run every notebook, also those that would run exactly as in an earlier report (keeping).

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
    shipped = _takes_shipped(parameters, bool(only), shipped)
    data = datasets.load(parameters["dataset"])
    networks = _networks(parameters, data.name, bool(only), shipped)
    if data.notice:
        execution.say(f"\n*** {data.notice}\n")
        os.environ["COURSE_OFFLINE"] = "1"  # no notebook waits for the network again
    _check_folder(folder)
    execution.make_folder(folder)
    (folder / RUNNING).touch()
    busy = f"another report is being written into {folder.name}/; wait for it, or name another folder: --out"
    with artifacts.sole(folder / RUNNING, busy):
        jobs = jobs or scheduling.default_jobs(parameters["profile"])
        kept = keeping.Kept(parameters, data, fresh)
        return _build(parameters, folder, notebooks, data, bool(only), networks, jobs, kept)


def _takes_shipped(parameters: dict, some: bool, asked: bool) -> bool:
    """Return whether a whole full run is to use the shipped networks.

    Args:
        parameters: of the notebooks.
        some: whether only some notebooks are run.
        asked: whether the command line asked for the shipped networks.

    Raises:
        CourseError: it did, but this is not a full run.
    """
    full = parameters["profile"] == "full"
    if asked and not full:
        raise CourseError(
            f"--networks is for full runs; a {parameters['profile']} run takes the shipped networks where it "
            "can: leave --networks out, or make it a full run"
        )
    return asked or (full and not some and settings.takes_shipped_networks())


def _networks(parameters: dict, dataset: str, some: bool, shipped: bool) -> str:
    """Return whether all networks of this run are ``shipped`` or ``trained``, and tell the notebooks.

    Raises:
        CourseError: the run is to use shipped networks, but there are none for it.
    """
    full = parameters["profile"] == "full"
    named = parameters["profile"] in settings.PROFILES
    available = named and (not full or some or shipped) and _are_shipped(parameters, dataset)
    if shipped and not available:
        raise CourseError(
            f"the course ships no networks of {parameters['model']} on {dataset} for these parameters; "
            "train them first (make networks), or leave --networks out and COURSE_NETWORKS unset"
        )
    if some or shipped:
        os.environ["COURSE_NETWORKS"] = "shipped"
    return "shipped" if available else "trained"


def _are_shipped(parameters: dict, dataset: str) -> bool:
    """Return whether the course ships all networks of a full run like this.

    Only cards are read. Building the networks here would occupy the GPU memory that the notebooks need.
    """
    model = parameters["model"]
    initial = cards.card_file(settings.WEIGHTS / dataset / f"{model}.h5")
    if parameters["weights"] != "course" or not initial.is_file():
        return False
    return all(
        is_shipped_as(
            part,
            dataset=dataset,
            model=model,
            profile=settings.profile("full"),
            initial_sha256=settings.read_json(initial).get("weights_sha256"),
            seed=parameters["seed"],
            eps=parameters["eps"],
            protocol={},
        )
        for part in ("ae", "fine_tuned")
    )


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
    parameters: dict,
    folder: Path,
    notebooks: list[Path],
    data: datasets.Data,
    some: bool,
    networks: str,
    jobs: int,
    kept: keeping.Kept,
) -> bool:
    """Run the notebooks and write the report; the checks are done, and the folder is locked."""
    started, executed = datetime.now(UTC), folder / "notebooks"
    shutil.rmtree(executed, ignore_errors=True)
    with provenance.files_used() as used:
        runs, usage = running.run_all(notebooks, executed, parameters, jobs, kept)
        for file in _weights_without_card(parameters):
            provenance.sha256_of(file)
    execution.say(
        f"{usage['seconds'] / 60:.1f} minutes, {usage['processor_seconds'] / 60:.1f} of processor time, "
        f"{usage['peak_mib']:,} MiB at most"
    )
    only = [path.stem for path in notebooks] if some else []
    rendering.write(folder, parameters, data, runs, started, used, only, networks, usage)
    (folder / "report.pdf").unlink(missing_ok=True)
    try:
        pdf.print_to_pdf(folder / "index.html", folder / "report.pdf")
    except CourseError as error:
        execution.say(str(error))
    return not any(run["error"] for run in runs)


def _weights_without_card(parameters: dict) -> list[Path]:
    """Return the weight files that have no card to record their checksum: the user's and tf2cv's."""
    if parameters["weights"] == "tf2cv":
        name = MODELS[parameters["model"]].tf2cv
        return sorted(settings.expanded("~/.tensorflow/models").glob(f"{name}-*.h5"))
    return [Path(parameters["weights"])] if Path(parameters["weights"]).is_file() else []
