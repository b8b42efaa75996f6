"""What the tree keeps of a finished report, one run for each network, and the check that it still holds.

figures/results.json has the records of every recorded run; figures/<model>/ its figures, run.json (when, where, how
long) and answers.npz (which test images were classified correctly, cell by cell); weights/ its networks; notebooks/
the outputs of RECORDED_NOTEBOOKS's run; the README its table. A report of some notebooks (report.build, ``only``) is
added to what is recorded of its network, and brings no networks; so that a network's run can be recorded notebook by
notebook, the first report of it need have no more than BEGINS_WITH.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
import numpy as np

from .. import evaluation, pipeline, report, settings
from ..classifiers import registry
from ..defenses.architectures import ARCHITECTURES
from ..pipeline import published
from ..plots import tables
from ..settings import CourseError, write_atomically
from ..studies import baselines, robust_models, search

RECORDED_NOTEBOOKS = "resnet20"
"""The network whose run the committed notebooks show."""

BEGINS_WITH = "05_results"
"""The notebook that measures the paper's table, without which nothing of a network is recorded."""

TOLERATED = 0.01
"""Share of images whose answer may differ from the recorded one: attacks follow signs, which rounding may flip where
another processor or library computes."""


def record(folder: Path) -> None:
    """Copy a finished report into the tree; what was recorded of other networks stays.

    Nothing is written before all is checked.

    Raises:
        CourseError: there is no report, one of its notebooks failed, or it is not of this tree's code, notebooks and
            networks; it is of some notebooks, and can neither be added to what is recorded of its network nor begin it;
            it is of other weights than the course's.
    """
    if not (folder / "run.json").is_file():
        raise CourseError(f"there is no report in {folder.name}/; make one first (make report)")
    info = json.loads((folder / "run.json").read_text())
    if failed := [run["notebook"] for run in info["notebooks"] if run["error"]]:
        raise CourseError(
            f"{', '.join(failed)} failed in that report; mend it and run it again before recording"
        )
    found = json.loads((folder / "results.json").read_text())
    if found["parameters"]["weights"] != "course":
        raise CourseError(
            "the report is of other weights than the course's; only results of those are recorded"
        )
    run = pipeline.start(**found["parameters"], networks=info.get("networks", "trained"))
    if run.data.sha256 != found["data"]["sha256"]:
        raise CourseError(
            f"the report is of {found['data']['dataset']}, but what is here now is {run.data.name}; set CIFAR10_DIR "
            "as it was for the report"
        )
    model = found["parameters"]["model"]
    into, before = settings.FIGURES / model, pipeline.recorded_results()
    begins = model not in before["runs"] and BEGINS_WITH in info.get("only", [])
    if info.get("only") and not begins:
        if not _same_run(before["runs"].get(model), found):
            raise CourseError(
                f"the report in {folder.name}/ is of {', '.join(info['only'])} alone, and no run of {model} with its "
                "parameters is recorded; record a whole one first (make report or make full, make record), or, if "
                f"nothing of {model} is recorded, begin with {BEGINS_WITH} (--only {BEGINS_WITH[:2]})"
            )
        info, results = (
            with_part(json.loads((into / "run.json").read_text()), info),
            with_records(before, found),
        )
        answers = None
    else:
        answers, results = pipeline.answers(run), merged(before, found)
        _check_counts(_by_cell(found["records"], found["parameters"]["eps"]), answers)
    notebooks = _notebooks_of(folder) if model == RECORDED_NOTEBOOKS else {}
    if answers is not None:
        pipeline.ship(run)
        write_atomically(into / "answers.npz", _packed(answers))
    write_atomically(into / "run.json", json.dumps(info, indent=1).encode())
    for png in (folder / "figures").glob("*.png"):
        write_atomically(into / png.name, png.read_bytes())
    for notebook, text in notebooks.items():
        write_atomically(notebook, text.encode())
    write_atomically(settings.FIGURES / "results.json", json.dumps(results, indent=1).encode())
    tables.write_between(settings.ROOT / "README.md", tables.README_MARKERS, readme(results))


def readme(results: dict) -> str:
    """The results section of the README, as Markdown, from the recorded results (pipeline.recorded_results)."""
    return "\n\n".join(
        part for part in (tables.readme_table(results), baselines.readme_table(results)) if part
    )


def merged(results: dict, found: dict) -> dict:
    """All recorded results, with a report's in place of what was recorded of its network."""
    model = found["parameters"]["model"]
    runs = {**results["runs"], model: {"parameters": found["parameters"], "data": found["data"]}}
    others = [r for r in results["records"] if r["model"] != model]
    return {
        "runs": {name: runs[name] for name in sorted(runs, key=_rank)},
        "records": sorted(others + found["records"], key=lambda r: _rank(r["model"])),
    }


def _rank(model: str) -> int:
    """Its place among the course's networks: the paper's come first."""
    return list(registry.MODELS).index(model)


def with_records(results: dict, found: dict) -> dict:
    """All recorded results, with those of a report of some notebooks added, or in place of the same measurements."""
    counted = ("n", "correct", "accuracy", "ci_low", "ci_high")

    def measured(record: dict) -> str:
        return json.dumps({key: value for key, value in record.items() if key not in counted}, sort_keys=True)

    new = {measured(r) for r in found["records"]}
    kept = [r for r in results["records"] if measured(r) not in new]
    return {**results, "records": sorted(kept + found["records"], key=lambda r: _rank(r["model"]))}


def with_part(info: dict, part: dict) -> dict:
    """What run.json says of a run, with what it says of a later one of some notebooks."""
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
    """Whether a report has the parameters and the images of a recorded run; where the images lay is no matter."""
    return recorded is not None and (
        (recorded["parameters"], recorded["data"]["sha256"]) == (found["parameters"], found["data"]["sha256"])
    )


def _notebooks_of(folder: Path) -> dict[Path, str]:
    """The source notebooks with the outputs of a report's, as they are to be committed."""
    found = {}
    for executed in sorted((folder / "notebooks").glob("*.ipynb")):
        notebook, outputs = report.find(executed.name), nbformat.read(executed, as_version=4)
        code = {cell.id: cell.source for cell in outputs.cells if cell.cell_type == "code"}
        for cell in nbformat.read(notebook, as_version=4).cells:
            parameters = "parameters" in cell.metadata.get("tags", [])
            if cell.cell_type == "code" and not parameters and code.get(cell.id) != cell.source:
                raise CourseError(
                    f"{notebook.name}: cell {cell.id} is not the one that ran in the report; make the report again "
                    "(what has not changed is kept), then record it"
                )
        found[notebook] = nbformat.writes(_as_committed(notebook, outputs))
    return found


def _as_committed(source: Path, executed: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The source notebook with the outputs of its executed copy, without what papermill adds."""
    notebook = nbformat.read(source, as_version=4)
    done = {cell.id: cell.outputs for cell in executed.cells if cell.cell_type == "code"}
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for count, cell in enumerate(code, start=1):  # counted anew: papermill's own cell is gone
        cell.outputs, cell.execution_count = done[cell.id], count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            data = output.get("data", {})
            if data.pop(
                settings.WIDGET_MIME, None
            ):  # needs a kernel; what stands in for it needs a page, not GitHub
                data.pop("text/html", None)
    return notebook


def _packed(answers: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **answers)
    return buffer.getvalue()


def _by_cell(records: list[dict], eps: float) -> dict[str, dict]:
    """Records by the name under which answers.npz has their images; without those of other budgets and lengths."""
    return {pipeline.Answers(r, np.empty(0)).cell: r for r in published.of_the_paper(records, eps)}


def _check_counts(records: dict[str, dict], answers: dict[str, np.ndarray]) -> None:
    """Refuse answers that are not those that the records count."""
    for cell, correct in answers.items():
        if cell not in records or int(correct.sum()) != records[cell]["correct"]:
            raise CourseError(
                f"{cell}: the report's number is not that of this tree's networks; the code or the weights have "
                "changed since. Make the report again (what has not changed is kept), then record it"
            )


# ----------------------------------------------------------------------------------------------------------- verify


@dataclass(frozen=True)
class Finding:
    """One line of verify's table."""

    what: str
    recorded: str
    now: str
    holds: bool


def verify(model: str, images: int = 1000) -> list[Finding]:
    """Whether the recorded results of a network are what its shipped weights do.

    Counts and intervals in results.json are compared with the recorded answers, all of them. Then the attacks are made
    anew, in a store of their own, and the first images' answers compared with the recorded ones, image by image.
    Records without recorded answers (notebooks 03, 06 and 07) are held to their own counts, hardened networks and the
    autoencoders of the search to their cards.

    Args:
        images: how many test images to attack and classify anew; where an evaluation had fewer, all of these.

    Raises:
        CourseError: nothing is recorded of the network; a weight file is missing or not the one that its card
            describes; the data set is another than the recorded one.
    """
    results = pipeline.recorded_results()
    if model not in results["runs"]:
        raise CourseError(
            f"no run of {model} is recorded; recorded are: {', '.join(results['runs']) or 'none'}"
        )
    about = results["runs"][model]
    records = _by_cell([r for r in results["records"] if r["model"] == model], about["parameters"]["eps"])
    with np.load(settings.FIGURES / model / "answers.npz") as stored:
        answers = {name: stored[name] for name in stored.files}
    for cell in answers:
        if cell not in records:
            raise CourseError(f"figures/results.json lacks the record {cell} of {model}; record the run anew")
    run = pipeline.start(**about["parameters"], networks="shipped")
    if any(
        run.data.provenance[key] != about["data"][key] for key in ("dataset", "train", "validation", "test")
    ):
        raise CourseError(f"these are other images ({run.data.name}) than those that {model} was recorded on")
    if run.data.sha256 != about["data"]["sha256"]:
        # The same images come as several files: the archive, unpacked batches, archives that others made from pictures.
        settings.note(
            f"{model} was recorded on another copy of {run.data.name}; some answers may differ for that"
        )
    smaller = replace(
        run.profile, n_test=min(images, run.profile.n_test), n_sweep=min(images, run.profile.n_sweep)
    )
    with _fresh_store():
        small = replace(run, profile=smaller)
        now = {a.cell: a.correct for a in pipeline.static_answers(small) + pipeline.aware_answers(small)}
    others = [r for r in results["records"] if r["model"] == model and r not in records.values()]
    return [
        *(_agrees_with_itself(r) for r in others),
        *(
            _as_its_card(name, lambda name=name: robust_models.network(run, name)[2])
            for name in _hardened_in(others)
        ),
        *(_as_its_card(name, lambda name=name: search.card(run, name)) for name in _searched_in(others)),
        *(_counted(cell, records[cell], correct) for cell, correct in answers.items()),
        *(_repeated(cell, correct[: len(now[cell])], now[cell]) for cell, correct in answers.items()),
    ]


def _agrees_with_itself(record: dict) -> Finding:
    expected = evaluation.proportion(np.arange(record["n"]) < record["correct"])
    what = "/".join(record[key] for key in ("threat", "stage", "defense", "input"))
    what = f"{what}, eps {255 * record['eps']:.3g}/255, {record['steps']} steps: {record['correct']} of {record['n']}"
    holds = all(record[name] == value for name, value in expected.items())
    return Finding(what, f"{100 * record['accuracy']:.2f}%", f"{100 * expected['accuracy']:.2f}%", holds)


def _hardened_in(records: list[dict]) -> list[str]:
    """The hardened networks that records are of."""
    named = {record["stage"] for record in records}
    named |= {"denoiser_25" for record in records if record["defense"] == "denoised_smoothing"}
    return sorted(named & set(robust_models.RECIPES))


def _searched_in(records: list[dict]) -> list[str]:
    """The trained autoencoders of the search that records are of."""
    named = {
        record["defense"].removeprefix("ae:") for record in records if record["defense"].startswith("ae:")
    }
    return [name for name in ARCHITECTURES if name in named and ARCHITECTURES[name].trained]


def _as_its_card(name: str, read: Callable[[], dict]) -> Finding:
    """Whether a network is there, and is the one its card describes: whoever reads the card raises otherwise."""
    try:
        card = read()
    except CourseError as error:
        return Finding(f"{name}: weights", "as its card says", str(error), False)
    return Finding(f"{name}: weights", card["file_sha256"][:12], "the same", True)


def _counted(cell: str, record: dict, correct: np.ndarray) -> Finding:
    expected = evaluation.proportion(correct)
    holds = all(record[name] == value for name, value in expected.items())
    return Finding(
        f"{cell}: number", f"{100 * record['accuracy']:.2f}%", f"{100 * expected['accuracy']:.2f}%", holds
    )


def _repeated(cell: str, recorded: np.ndarray, now: np.ndarray) -> Finding:
    differ, allowed = int((recorded != now).sum()), max(1, int(TOLERATED * len(now)))
    what = f"{cell}: first {len(now):,} images, {differ} differ of {allowed} allowed"
    return Finding(what, f"{100 * recorded.mean():.2f}%", f"{100 * now.mean():.2f}%", differ <= allowed)


@contextmanager
def _fresh_store() -> Iterator[None]:
    """An artifact store of its own, so that nothing is taken from an earlier run."""
    before = settings.ARTIFACTS
    with tempfile.TemporaryDirectory() as folder:
        settings.ARTIFACTS = Path(folder)
        try:
            yield
        finally:
            settings.ARTIFACTS = before
