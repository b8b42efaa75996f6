"""Copy a finished report's results into the tree, which keeps one run of each network.

- figures/results.json has the records of every recorded run.
- figures/<model>/ has the run's figures, run.json (when, where, how long) and answers.npz (which test
  images were classified correctly, cell by cell).
- weights/ has the run's networks, and the README its table.
- notebooks/ has the outputs of the run of RECORDED_NOTEBOOKS.

A report of some notebooks (report.build, ``only``) is added to what is recorded of its network and brings no
networks. So a run can be recorded notebook by notebook; the first report must then have BEGINS_WITH.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import nbformat
import numpy as np

from .. import pipeline, report, settings
from ..classifiers import registry
from ..pipeline.recorded import check_fields, check_records, check_run
from ..plots import tables
from ..settings import CourseError, write_atomically
from ..studies import autoattack, baselines, departures, released_ladder
from . import prose

RECORDED_NOTEBOOKS = "resnet20"
"""The network whose run the committed notebooks show."""

BEGINS_WITH = "05_results"
"""The notebook that measures the paper's table. Nothing of a network is recorded without it."""


def record(folder: Path) -> None:
    """Copy a finished report into the tree; the recorded runs of other networks stay.

    Everything is checked before anything is written.

    Args:
        folder: the report's folder.

    Raises:
        CourseError: there is no report; one of its notebooks failed; it does not fit this tree's code,
            notebooks and networks; it used other weights than the course's; or it covers only some notebooks
            and can neither be added to the recorded run of its network nor begin one.
    """
    info, found = _read(folder)
    run = pipeline.start(**found["parameters"], networks=info.get("networks", "trained"))
    if run.data.sha256 != found["data"]["sha256"]:
        raise CourseError(
            f"the report is of {found['data']['dataset']}, but what is here now is {run.data.name}; "
            "set CIFAR10_DIR as it was for the report"
        )
    model, before = found["parameters"]["model"], pipeline.recorded_results()
    into, answers = settings.FIGURES / model, None
    if _adds_to_recorded(info, found, before, folder.name):
        info = with_part(settings.read_json(into / "run.json"), info)
        results = with_records(before, found)
    else:
        answers, results = pipeline.answers(run), merged(before, found)
        _check_counts(by_cell(found["records"], found["parameters"]["eps"]), answers)
    notebooks = _notebooks_of(folder) if model == RECORDED_NOTEBOOKS else {}
    if answers is not None:
        pipeline.ship(run)
        write_atomically(into / "answers.npz", packed(answers))
    write_atomically(into / "run.json", json.dumps(info, indent=1).encode())
    for png in (folder / "figures").glob("*.png"):
        write_atomically(into / png.name, png.read_bytes())
    for notebook, text in notebooks.items():
        write_atomically(notebook, text.encode())
    write_atomically(settings.FIGURES / "results.json", json.dumps(results, indent=1).encode())
    write_readme()
    prose.write()


def write_readme() -> None:
    """Write the README's results, and its list of departures, from what is recorded."""
    file, text = settings.ROOT / "README.md", readme(pipeline.recorded_results())
    tables.write_between(file, tables.README_MARKERS, text)
    if departures.README_MARKERS[0] in file.read_text():
        tables.write_between(file, departures.README_MARKERS, departures.markdown())


def _read(folder: Path) -> tuple[dict, dict]:
    """Return run.json and results.json of a report that may be recorded."""
    if not (folder / "run.json").is_file():
        raise CourseError(f"there is no report in {folder.name}/; make one first (make report)")
    file, results = folder / "run.json", folder / "results.json"
    info = settings.read_json(file)
    check_fields(info, {"notebooks": list}, file)
    for one in info["notebooks"]:
        check_fields(one, {"notebook": str}, file)
    if failed := [run["notebook"] for run in info["notebooks"] if run.get("error")]:
        raise CourseError(
            f"{', '.join(failed)} failed in that report; repair it and run it again before recording"
        )
    check_run(info, file)
    if not results.is_file():
        raise CourseError(f"the report in {folder.name}/ has no results.json; make it again (make report)")
    found = settings.read_json(results)
    check_run(found, results)
    check_records(found.get("records"), results)
    if found["parameters"]["weights"] != "course":
        raise CourseError("the report is of other weights than the course's; only those are recorded")
    return info, found


def _adds_to_recorded(info: dict, found: dict, before: dict, folder: str) -> bool:
    """Return whether a report is added to the recorded run of its network, instead of replacing it.

    Raises:
        CourseError: it covers only some notebooks, but there is no recorded run to add it to, and it cannot
            begin one.
    """
    model, only = found["parameters"]["model"], info.get("only", [])
    if not only or (model not in before["runs"] and BEGINS_WITH in only):
        return False
    if not _same_run(before["runs"].get(model), found):
        raise CourseError(
            f"the report in {folder}/ is of {', '.join(only)} alone, and no run of {model} with its "
            "parameters is recorded; record a whole one first (make report or make full, make record), or, "
            f"if nothing of {model} is recorded, begin with {BEGINS_WITH} (--only {BEGINS_WITH[:2]})"
        )
    return True


def readme(results: dict) -> str:
    """Return the README's results section, in Markdown (results: pipeline.recorded_results)."""
    return "\n\n".join(
        part
        for part in (
            tables.readme_table(results),
            baselines.readme_table(results),
            autoattack.readme_table(),
            released_ladder.readme_table(results),
        )
        if part
    )


def merged(results: dict, found: dict) -> dict:
    """Return all recorded results, with a report's results in place of those of its network."""
    model = found["parameters"]["model"]
    runs = {**results["runs"], model: {"parameters": found["parameters"], "data": found["data"]}}
    others = [r for r in results["records"] if r["model"] != model]
    return {
        **results,
        "runs": {name: runs[name] for name in sorted(runs, key=_rank)},
        "records": sorted(others + found["records"], key=lambda r: _rank(r["model"])),
    }


def _rank(model: str) -> int:
    """Return a network's place among the course's networks; the paper's come first."""
    return list(registry.MODELS).index(model)


def with_records(results: dict, found: dict) -> dict:
    """Return all recorded results with those of some notebooks, which replace earlier measurements."""
    counted = ("n", "correct", "accuracy", "ci_low", "ci_high")

    def measured(record: dict) -> str:
        return json.dumps({key: value for key, value in record.items() if key not in counted}, sort_keys=True)

    new = {measured(r) for r in found["records"]}
    kept = [r for r in results["records"] if measured(r) not in new]
    return {**results, "records": sorted(kept + found["records"], key=lambda r: _rank(r["model"]))}


def with_part(info: dict, part: dict) -> dict:
    """Return a run's run.json with that of a later report of some notebooks added."""
    notebooks = {run["notebook"]: run for run in (*info["notebooks"], *part["notebooks"])}
    parts = [p for p in info.get("parts", []) if p["only"] != part["only"]]
    about = {key: part[key] for key in ("only", "started", "minutes", "resumed", "weights", "environment")}
    begun = {"only": sorted({*info["only"], *part["only"]})} if info.get("only") else {}
    return {
        **info,
        **begun,
        "notebooks": [notebooks[name] for name in sorted(notebooks)],
        "parts": [*parts, about],
    }


def _same_run(recorded: dict | None, found: dict) -> bool:
    """Return whether a report has the parameters and the images of a recorded run."""
    return recorded is not None and (
        (recorded["parameters"], recorded["data"]["sha256"]) == (found["parameters"], found["data"]["sha256"])
    )


def _notebooks_of(folder: Path) -> dict[Path, str]:
    """Return the source notebooks with the outputs of a report's, as they are committed."""
    found = {}
    for executed in sorted((folder / "notebooks").glob("*.ipynb")):
        notebook, outputs = report.find(executed.name), nbformat.read(executed, as_version=4)
        code = {cell.id: cell.source for cell in outputs.cells if cell.cell_type == "code"}
        for cell in nbformat.read(notebook, as_version=4).cells:
            parameters = "parameters" in cell.metadata.get("tags", [])
            if cell.cell_type == "code" and not parameters and code.get(cell.id) != cell.source:
                raise CourseError(
                    f"{notebook.name}: cell {cell.id} is not the one that ran in the report; make the report "
                    "again (what has not changed is kept), then record it"
                )
        found[notebook] = nbformat.writes(as_committed(notebook, outputs))
    return found


def as_committed(source: Path, executed: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the source notebook with the outputs of its executed copy, without papermill's additions."""
    notebook = nbformat.read(source, as_version=4)
    done = {cell.id: cell.outputs for cell in executed.cells if cell.cell_type == "code"}
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for count, cell in enumerate(code, start=1):  # counted again: papermill's own cell is gone
        cell.outputs, cell.execution_count = done[cell.id], count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            data = output.get("data", {})
            if data.pop(
                settings.WIDGET_MIME, None
            ):  # needs a kernel; its replacement needs a page, not GitHub
                data.pop("text/html", None)
    return notebook


def packed(answers: dict[str, np.ndarray]) -> bytes:
    """Return answers as the bytes of an npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **answers)
    return buffer.getvalue()


def by_cell(records: list[dict], eps: float) -> dict[str, dict]:
    """Return the records of the paper's table by their names in answers.npz."""
    return {pipeline.Answers(r, np.empty(0)).cell: r for r in pipeline.of_the_paper(records, eps)}


def _check_counts(records: dict[str, dict], answers: dict[str, np.ndarray]) -> None:
    """Refuse answers that do not add up to the counts in the records."""
    for cell, correct in answers.items():
        if cell not in records or int(correct.sum()) != records[cell]["correct"]:
            raise CourseError(
                f"{cell}: the report's number is not that of this tree's networks; the code or the weights "
                "have changed since. Make the report again (what has not changed is kept), then record it"
            )
