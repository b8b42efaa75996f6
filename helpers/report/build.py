"""Running the notebooks with papermill, and the report that comes out."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import nbformat

from .. import artifacts, datasets, settings
from . import pages
from ..artifacts import provenance
from ..plots import tables
from ..classifiers.registry import MODELS
from ..settings import CourseError, write_atomically

NOTEBOOKS = settings.ROOT / "notebooks"

RUNNING = ".running"
"""A file in a report's folder: the lock of who writes it, and the mark of a folder that a report may replace."""


def numbered() -> list[Path]:
    """The notebooks of the course, in reading order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def explorer() -> Path:
    """The notebook to play with; in a report it shows fixed frames."""
    return NOTEBOOKS / "explorer.ipynb"


def chapters() -> list[Path]:
    """The notebooks that a report runs and shows: the numbered ones, then the explorer."""
    return numbered() + [path for path in (explorer(),) if path.is_file()]


def find(name: str) -> Path:
    """The notebook of that number or file name.

    Raises:
        CourseError: there is none, or more than one.
    """
    there = chapters()
    found = [p for p in there if p.name == name or p.stem == name or p.name[:2] == name]
    if len(found) != 1:
        raise CourseError(f"there is no notebook {name!r}; choose one of {', '.join(p.stem for p in there)}")
    return found[0]


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Refuse parameters that the notebook does not have; papermill itself only warns."""
    from papermill import inspect_notebook

    known = inspect_notebook(str(notebook))
    if unknown := [name for name in parameters if name not in known]:
        raise CourseError(
            f"{notebook.name} has no parameter {', '.join(map(repr, unknown))}; it has {', '.join(sorted(known))}"
        )


def execute(notebook: Path, output: Path, parameters: dict) -> dict:
    """Run one notebook by papermill.

    Returns:
        Its name and title, seconds, the peak memory of its kernel, and the error (None if there was none). The executed
        notebook is written to ``output`` either way.

    Raises:
        CourseError: the notebook has not all of the parameters, or ``output`` is the notebook itself.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    check_parameters(notebook, parameters)
    if output.resolve() == notebook.resolve():
        raise CourseError(f"{notebook.name} would be overwritten by its own run; name another folder: --out")
    _prepare_progress()
    output.parent.mkdir(parents=True, exist_ok=True)
    start, error = time.perf_counter(), None
    with _PeakMemory() as memory:
        try:
            papermill.execute_notebook(
                str(notebook), str(output), parameters, cwd=str(NOTEBOOKS), kernel_name="python3",
                progress_bar=sys.stderr.isatty(), log_output=False, extra_arguments=["--log-level=ERROR"],
            )
        except PapermillExecutionError as failed:
            error = {"cell": failed.exec_count, "name": failed.ename, "message": failed.evalue, "source": failed.source}
        except DeadKernelError:
            error = _death_in(output)
    return {
        "notebook": notebook.stem,
        "title": title_of(notebook),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mib": memory.peak_mib,
        "error": error,
    }


def _death_in(executed: Path) -> dict:
    """The error of a notebook whose kernel died: in the cell after the last that was finished."""
    code = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    done = sum(cell.execution_count is not None for cell in code)
    message = "the kernel died, most often because the memory did not suffice; what was finished is kept"
    return {
        "cell": done + 1,
        "name": "CourseError",
        "message": message,
        "source": code[min(done, len(code) - 1)].source,
    }


class _PeakMemory:
    """Watches the resident memory of this process's children, which are the notebook's kernel and its workers."""

    def __enter__(self) -> _PeakMemory:
        self.peak_mib, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        me = psutil.Process()
        while not self._stop.wait(0.25):
            total = 0
            for child in me.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak_mib = max(self.peak_mib, total // 2**20)


def build(parameters: dict, folder: Path, only: Sequence[str] = (), shipped: bool = False) -> bool:
    """Run every notebook of the course and write the report.

    Args:
        parameters: of the notebooks: dataset, model, profile, seed, weights, eps.
        only: numbers or names of notebooks (find): no others are run, and these take the networks that the course
            ships wherever they can, in a full run, too (pipeline.start, ``auto``).
        shipped: take the autoencoder and the fine-tuned classifier that the course ships in a whole full run, too.
        folder: where the report goes: index.html, which is all of it in one file; the same as report.pdf, where there
            is a Chromium to print it; results.json, run.json, notebooks/ (executed) and figures/ for further work.

    Returns:
        Whether all notebooks ran to their end.

    Raises:
        CourseError: a parameter is wrong, the data cannot be had, the folder is no report's, or another report is being
            written into it. Nothing is run, and an older report stays.
    """
    settings.profile(parameters["profile"])
    notebooks = [find(name) for name in only] or chapters()
    for notebook in notebooks:
        check_parameters(notebook, parameters)
    by_wish = parameters["profile"] == "full" and os.environ.get("COURSE_NETWORKS") == "shipped" and not only
    shipped = shipped or by_wish
    if shipped and parameters["profile"] != "full":
        raise CourseError(
            f"the course ships the networks of full runs; a {parameters['profile']} run trains its own: leave "
            "--networks out, or make it a full run"
        )
    data = datasets.load(parameters["dataset"])
    networks = _networks(parameters) if parameters["profile"] == "full" and (shipped or only) else "trained"
    if shipped and networks != "shipped":
        raise CourseError(
            f"the course ships no networks of {parameters['model']} on {data.name} for these parameters; train them "
            "first (make networks), or leave --networks out and COURSE_NETWORKS unset"
        )
    if only or shipped:
        os.environ["COURSE_NETWORKS"] = "shipped"
    if data.notice:
        say(f"\n*** {data.notice}\n")
        os.environ["COURSE_OFFLINE"] = "1"  # one answer for all notebooks, and no notebook waits for the network again
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUNNING).touch()
    busy = f"another report is being written into {folder.name}/; wait for it, or name another folder: --out"
    with artifacts.sole(folder / RUNNING, busy):
        return _build(parameters, folder, notebooks, data, bool(only), networks)


def _networks(parameters: dict) -> str:
    """Whether a full run of these parameters can take all its networks from the course: ``shipped`` or ``trained``."""
    # Elsewhere: TensorFlow would keep a GPU's memory for as long as this process lives, and the notebooks need it.
    code = "import json, sys; from helpers import pipeline; print(pipeline.start(**json.loads(sys.argv[1])).networks)"
    environment = {**os.environ, "COURSE_NETWORKS": "shipped"}
    command = [sys.executable, "-c", code, json.dumps(parameters)]
    asked = subprocess.run(command, cwd=settings.ROOT, env=environment, capture_output=True, text=True)
    return "shipped" if asked.stdout.split()[-1:] == ["shipped"] else "trained"


def _check_folder(folder: Path) -> None:
    """Refuse a folder in which a report would replace what is no report's."""
    place, ours = folder.resolve(), settings.ROOT.resolve()
    sources = [ours / name for name in ("data", "figures", "helpers", "notebooks", "sweeps", "tests", "weights")]
    if place == ours or any(place.is_relative_to(source) for source in sources):
        raise CourseError(f"{place.name}/ is the course's own; name another folder for the report: --out")
    replaced = [name for name in ("notebooks", "figures") if (folder / name).exists()]
    known = place.is_relative_to(ours / "report") or any((folder / name).is_file() for name in (RUNNING, "run.json"))
    if replaced and not known:
        raise CourseError(
            f"{place.name}/ holds {' and '.join(replaced)}, which no report made and a report would replace; name "
            "another folder: --out"
        )


def _build(
    parameters: dict, folder: Path, notebooks: list[Path], data: datasets.Data, some: bool, networks: str
) -> bool:
    started, runs = datetime.now(UTC), []
    executed = folder / "notebooks"
    shutil.rmtree(executed, ignore_errors=True)
    with provenance.files_used() as used:
        for notebook in notebooks:
            say(f"{notebook.stem}: running ...")
            run = execute(notebook, executed / notebook.name, parameters)
            runs.append(run)
            if run["error"]:
                say(f"{notebook.stem}: FAILED in cell {run['error']['cell']}: {one_line(run['error'])}")
            else:
                say(f"{notebook.stem}: {run['seconds']:.0f} s, {run['peak_mib']:,} MiB")
        for file in _weights_without_card(parameters):
            provenance.sha256_of(file)
    write(folder, parameters, data, runs, started, used, [path.stem for path in notebooks] if some else [], networks)
    (folder / "report.pdf").unlink(missing_ok=True)
    try:
        pages.print_to_pdf(folder / "index.html", folder / "report.pdf")
    except CourseError as error:
        say(str(error))
    return not any(run["error"] for run in runs)


def _weights_without_card(parameters: dict) -> list[Path]:
    """Weight files that no card describes, and whose checksum nobody takes: the user's own, and tf2cv's."""
    if parameters["weights"] == "tf2cv":
        return sorted((Path.home() / ".tensorflow" / "models").glob(f"{MODELS[parameters['model']].tf2cv}-*.h5"))
    return [Path(parameters["weights"])] if Path(parameters["weights"]).is_file() else []


def write(
    folder: Path, parameters: dict, data: datasets.Data, runs: list[dict], started: datetime, used: Sequence = (),
    only: Sequence[str] = (), networks: str = "trained",
) -> None:
    """Write results.json, the figures and index.html from the executed notebooks in folder/notebooks.

    Args:
        runs: of each notebook (execute).
        used: the files that they used (provenance.files_used).
        only: their names, where they are not all of the course's.
        networks: ``shipped`` if a full run took all of them from the course, else ``trained``.
    """
    records, figures, parts = [], [], []
    names, path = [run["notebook"] for run in runs], str(parameters["weights"])
    parameters = {**parameters, "weights": Path(path).name}  # a report is passed on: no folder of this machine in it
    for name in names:
        file = folder / "notebooks" / f"{name}.ipynb"
        if path != parameters["weights"]:
            text = file.read_text().replace(json.dumps(path)[1:-1], parameters["weights"])
            write_atomically(file, text.encode())
        executed = nbformat.read(file, as_version=4)
        records += records_in(executed)
        figures += figures_in(executed)
        parts.append(pages.chapter(executed, name, names))
    records = list({json.dumps(r, sort_keys=True): r for r in records}.values())
    shutil.rmtree(folder / "figures", ignore_errors=True)
    for figure in figures:
        write_atomically(folder / "figures" / f"{figure['name']}.png", base64.b64decode(figure["png"]))
    info = {
        "parameters": parameters,
        "started": started.isoformat(timespec="seconds"),
        "minutes": round(sum(run["seconds"] for run in runs) / 60, 1),
        "resumed": _kept_from_before(used, started),
        "data": data.provenance,
        "weights": provenance.weights_among(used),
        "environment": provenance.environment(),
        "notebooks": runs,
        "only": list(only),
        "networks": networks,
    }
    write_atomically(folder / "run.json", json.dumps(info, indent=1).encode())
    write_atomically(folder / "results.json", json.dumps(_results(info, records), indent=1).encode())
    write_atomically(folder / "index.html", render(info, data, records, parts).encode())


def _kept_from_before(used: Sequence[dict], started: datetime) -> bool:
    """Whether the run took networks or results from the artifact store that an earlier one had made: its minutes are
    then not what the results took."""
    files = [settings.ARTIFACTS / one["file"].partition("/")[2] for one in used if one["file"].startswith("artifacts/")]
    return any(file.is_file() and file.stat().st_mtime < started.timestamp() for file in files)


def render(info: dict, data: datasets.Data, records: list[dict], chapters: list[pages.Chapter]) -> str:
    """The report: one page that needs no other file and no network.

    Args:
        info: what run.json holds.
        records: all that the notebooks published.
        chapters: the executed notebooks.
    """
    import jinja2

    from . import summary

    parameters = info["parameters"]
    failed = [run for run in info["notebooks"] if run["error"]]
    found = summary.of_run(parameters, data.name, records, len(failed))
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {"base64": lambda content: base64.b64encode(content).decode(), "percent": titles.percent}
    comparable = published.comparable(data.name, parameters["eps"])
    return templates.get_template("index.html.j2").render(
        info=info,
        data=data,
        failed=failed,
        network=MODELS[parameters["model"]],
        summary=found,
        paper=published.PAPER.get(parameters["model"], {}) if comparable else {},
        claimed=published.PAPER.get(parameters["model"], {}),
        recorded=titles.cells(pipeline.recorded_transfer(parameters["model"])) if comparable else {},
        chapters=chapters,
        results=json.dumps(_results(info, records), indent=1).encode(),
        size_of=pages.size_of,
        one_line=one_line,
        inputs=summary.INPUTS,
        input_titles=titles.INPUT_TITLES,
        systems={system: titles.title_of(system) for system in titles.SYSTEMS},
        weights=Path(str(parameters["weights"])).name,
    )


def _results(info: dict, records: list[dict]) -> dict:
    """What results.json holds: without times and machine, so that the same seed gives the same file."""
    return {"parameters": info["parameters"], "data": info["data"], "records": records}


def records_in(executed: nbformat.NotebookNode) -> list[dict]:
    """The records that a notebook published (evaluation.publish)."""
    return [
        dict(record)
        for output in _outputs(executed)
        for record in output.get("data", {}).get(settings.RECORDS_MIME, [])
    ]


def figures_in(executed: nbformat.NotebookNode) -> list[dict]:
    """The figures that a notebook showed (plots.show): name, alt and PNG (base64)."""
    found = []
    for output in _outputs(executed):
        about = output.get("metadata", {}).get("image/png", {})
        if "name" in about:
            found.append({"name": about["name"], "alt": about["alt"], "png": output["data"]["image/png"]})
    return found


def _outputs(executed: nbformat.NotebookNode) -> list:
    return [output for cell in executed.cells for output in cell.get("outputs", [])]


def title_of(notebook: Path) -> str:
    """A notebook's first heading."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if match := re.search(r"^# (.+)$", cell.source, re.MULTILINE):
            return match[1]
    return notebook.stem


def one_line(error: dict) -> str:
    """An error as a reader needs it first: CourseErrors speak for themselves."""
    message = re.sub(r"\s+", " ", error["message"]).strip()
    return message if error["name"] == "CourseError" else f"{error['name']}: {message}"


def _prepare_progress() -> None:
    """Send the notebooks' progress bars to this terminal, or to a file where there is none."""
    if "COURSE_PROGRESS" in os.environ:
        return
    if sys.stderr.isatty():
        os.environ["COURSE_PROGRESS"] = os.ttyname(sys.stderr.fileno())
    else:
        log = settings.ARTIFACTS / "progress.log"
        write_atomically(log, b"")
        os.environ["COURSE_PROGRESS"] = str(log)
        say("progress of the long steps: artifacts/progress.log")


def say(text: str) -> None:
    """A line for the person who waits."""
    print(text, file=sys.stderr, flush=True)
