"""Write the report from executed notebooks."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import nbformat
import numpy as np

from .. import datasets, pipeline, settings
from ..artifacts import provenance
from ..classifiers.registry import MODELS
from ..evaluation import titles
from ..settings import write_atomically
from . import contents, execution, pages, running


def write(
    folder: Path,
    parameters: dict,
    data: datasets.Data,
    runs: list[dict],
    started: datetime,
    used: Sequence = (),
    only: Sequence[str] = (),
    networks: str = "trained",
    usage: running.Usage | None = None,
) -> None:
    """Write results.json, the figures and index.html from the executed notebooks in folder/notebooks.

    Args:
        folder: the report's folder.
        parameters: of the notebooks.
        data: the data that they used.
        runs: what ``execute`` returned for each notebook.
        started: when the first notebook was started.
        used: the files that the notebooks used (provenance.files_used).
        only: the notebooks' names, if they are not all of the course's.
        networks: ``shipped`` if a full run used only networks that the course ships, else ``trained``.
        usage: what all notebooks together took (running.run_all).
    """
    records, figures, chapters, answers = [], [], [], {}
    names, path = [run["notebook"] for run in runs], str(parameters["weights"])
    parameters = {
        **parameters,
        "weights": Path(path).name,
    }  # a report is passed on: it must not name local folders
    for name in names:
        file = folder / "notebooks" / f"{name}.ipynb"
        if path != parameters["weights"]:
            text = file.read_text().replace(json.dumps(path)[1:-1], parameters["weights"])
            write_atomically(file, text.encode())
        executed = nbformat.read(file, as_version=4)
        records += contents.records_in(executed)
        answers |= contents.answers_in(executed)
        figures += contents.figures_in(executed)
        chapters.append(pages.chapter(executed, name, names))
    records = list({json.dumps(r, sort_keys=True): r for r in records}.values())
    _write_figures(folder / "figures", figures)
    info = {
        "parameters": parameters,
        "started": started.isoformat(timespec="seconds"),
        "minutes": round((usage["seconds"] if usage else sum(run["seconds"] for run in runs)) / 60, 1),
        "resumed": _used_earlier_artifacts(used, started),
        "data": data.provenance,
        "weights": provenance.weights_among(used),
        "environment": provenance.environment()
        | {"crafting_precision": settings.crafting_precision(parameters["profile"])},
        "notebooks": runs,
        "usage": usage,
        "only": list(only),
        "networks": networks,
    }
    write_atomically(folder / "run.json", json.dumps(info, indent=1).encode())
    write_atomically(folder / "results.json", json.dumps(_results(info, records), indent=1).encode())
    write_atomically(folder / "index.html", render(info, data, records, chapters, answers).encode())


def _write_figures(folder: Path, figures: Sequence[dict]) -> None:
    """Replace a folder of figures (contents.figures_in)."""
    shutil.rmtree(folder, ignore_errors=True)
    for figure in figures:
        write_atomically(folder / f"{figure['name']}.png", base64.b64decode(figure["png"]))


def _used_earlier_artifacts(used: Sequence[dict], started: datetime) -> bool:
    """Return whether the run used artifacts that an earlier run had made.

    The run's minutes are then fewer than the results took.
    """
    names = [one["file"] for one in used if one["file"].startswith("artifacts/")]
    files = [settings.ARTIFACTS / name.partition("/")[2] for name in names]
    return any(file.is_file() and file.stat().st_mtime < started.timestamp() for file in files)


def render(
    info: dict,
    data: datasets.Data,
    records: list[dict],
    chapters: list[pages.Chapter],
    answers: dict[str, np.ndarray] | None = None,
) -> str:
    """Return the report: one HTML page that needs no other file and no network.

    Args:
        info: the contents of run.json.
        data: the data that the notebooks used.
        records: everything that the notebooks published.
        chapters: the executed notebooks.
        answers: which images were classified correctly, by cell, as far as notebooks published it.
    """
    import jinja2

    from . import summary

    parameters = info["parameters"]
    failed = [run for run in info["notebooks"] if run["error"]]
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {
        "base64": lambda content: base64.b64encode(content).decode(),
        "percent": titles.percent,
    }
    model, paper = parameters["model"], pipeline.PAPER.get(parameters["model"], {})
    comparable = pipeline.comparable(data.name, parameters["eps"])
    return templates.get_template("index.html.j2").render(
        info=info,
        data=data,
        failed=failed,
        network=MODELS[model],
        summary=summary.of_run(
            parameters, data.name, records, len(failed), answers, info.get("networks", "trained")
        ),
        paper=paper if comparable else {},
        claimed=paper,
        recorded=titles.cells(pipeline.recorded_static(model)) if comparable else {},
        chapters=chapters,
        results=json.dumps(_results(info, records), indent=1).encode(),
        size_of=pages.size_of,
        one_line=execution.one_line,
        inputs=summary.INPUTS,
        input_titles=titles.INPUT_TITLES,
        threat_titles=[titles.THREAT_TITLES[threat] for threat in titles.PAPER_THREATS],
        systems={system: titles.title_of(system) for system in titles.SYSTEMS},
        weights=Path(str(parameters["weights"])).name,
    )


def _results(info: dict, records: list[dict]) -> dict:
    """Return the contents of results.json. Without times and machine: the same seed gives the same file."""
    return {"parameters": info["parameters"], "data": info["data"], "records": records}
