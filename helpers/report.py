"""Running the notebooks with papermill, and the report that comes out."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import nbformat

from . import datasets, provenance, settings, tables
from .registry import MODELS
from .settings import CourseError, write_atomically

NOTEBOOKS = settings.ROOT / "notebooks"


def numbered() -> list[Path]:
    """The notebooks of the course, in reading order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def explorer() -> Path:
    """The notebook to play with, which is no part of the report's run."""
    return NOTEBOOKS / "explorer.ipynb"


def find(name: str) -> Path:
    """The notebook of that number or file name.

    Raises:
        CourseError: there is none, or more than one.
    """
    there = [*numbered(), explorer()]
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
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    check_parameters(notebook, parameters)
    _prepare_progress()
    output.parent.mkdir(parents=True, exist_ok=True)
    start, error = time.perf_counter(), None
    with _PeakMemory() as memory:
        try:
            papermill.execute_notebook(
                str(notebook), str(output), parameters, cwd=str(NOTEBOOKS), kernel_name="python3",
                progress_bar=sys.stderr.isatty(), log_output=False, extra_arguments=["--log-level=ERROR"],
            )  # fmt: skip
        except PapermillExecutionError as failed:
            error = {"cell": failed.exec_count, "name": failed.ename, "message": failed.evalue, "source": failed.source}
    return {
        "notebook": notebook.stem,
        "title": title_of(notebook),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mib": memory.peak_mib,
        "error": error,
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


def build(parameters: dict, folder: Path) -> bool:
    """Run every numbered notebook and write the report.

    Args:
        parameters: of the notebooks: dataset, model, profile, seed, weights, eps.
        folder: where the report goes; index.html, results.json, run.json, notebooks/, figures/.

    Returns:
        Whether all notebooks ran to their end.

    Raises:
        CourseError: a parameter is wrong, or the data cannot be had. Nothing is run, and an older report stays.
    """
    settings.profile(parameters["profile"])
    for notebook in numbered():
        check_parameters(notebook, parameters)
    data = datasets.load(parameters["dataset"])
    if data.notice:
        say(f"\n*** {data.notice}\n")
        os.environ["COURSE_OFFLINE"] = "1"  # one answer for all notebooks, and no notebook waits for the network again
    started, runs = datetime.now(UTC), []
    executed = folder / "notebooks"
    shutil.rmtree(executed, ignore_errors=True)
    for notebook in numbered():
        say(f"{notebook.stem}: running ...")
        run = execute(notebook, executed / notebook.name, parameters)
        runs.append(run)
        if run["error"]:
            say(f"{notebook.stem}: FAILED in cell {run['error']['cell']}: {one_line(run['error'])}")
        else:
            say(f"{notebook.stem}: {run['seconds']:.0f} s, {run['peak_mib']:,} MiB")
        to_html(executed / notebook.name, executed / f"{notebook.stem}.html")
    write(folder, parameters, data, runs, started)
    return not any(run["error"] for run in runs)


def write(folder: Path, parameters: dict, data: datasets.Data, runs: list[dict], started: datetime) -> None:
    """Write results.json, the figures and index.html from the executed notebooks in folder/notebooks."""
    records, figures = [], []
    for run in runs:
        executed = nbformat.read(folder / "notebooks" / f"{run['notebook']}.ipynb", as_version=4)
        records += records_in(executed)
        figures += [{**figure, "notebook": run["notebook"]} for figure in figures_in(executed)]
    records = list({json.dumps(r, sort_keys=True): r for r in records}.values())
    shutil.rmtree(folder / "figures", ignore_errors=True)
    for figure in figures:
        write_atomically(folder / "figures" / f"{figure['name']}.png", base64.b64decode(figure["png"]))
    info = {
        "parameters": parameters,
        "started": started.isoformat(timespec="seconds"),
        "minutes": round(sum(run["seconds"] for run in runs) / 60, 1),
        "data": data.provenance,
        "environment": provenance.environment(),
        "notebooks": runs,
    }
    write_atomically(folder / "run.json", json.dumps(info, indent=1).encode())
    # Without times and machine: the same seed gives the same file.
    results = {"parameters": parameters, "data": data.provenance, "records": records}
    write_atomically(folder / "results.json", json.dumps(results, indent=1).encode())
    write_atomically(folder / "index.html", render(info, data, records, figures).encode())


def render(info: dict, data: datasets.Data, records: list[dict], figures: list[dict]) -> str:
    """The report's first page."""
    import jinja2

    model = info["parameters"]["model"]
    here = [r for r in tables.of_the_paper(records, info["parameters"]["eps"]) if r["model"] == model]
    static = [r for r in here if r["threat"] == "static"]
    aware = [r for r in here if r["threat"] != "static" and r["defense"] == "ae"]
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return templates.get_template("index.html.j2").render(
        info=info,
        data=data,
        comparable=tables.comparable(data.name, info["parameters"]["eps"]),
        table_number=MODELS[model].table,
        cells=tables.cells(static),
        recorded=tables.cells(tables.recorded(model)),
        paper=tables.PAPER[model],
        aware=aware,
        audit=tables.recorded_audit(model) if data.name == "cifar10" else None,
        audit_table=tables.audit_table,
        beside_seeds=tables.beside_seeds,
        figures=figures,
        percent=tables.percent,
        one_line=one_line,
        input_titles=tables.INPUT_TITLES,
        stage_titles=tables.STAGE_TITLES,
        defense_titles=tables.DEFENSE_TITLES,
        threat_titles=tables.THREAT_TITLES,
    )


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


def to_html(executed: Path, target: Path) -> None:
    """An executed notebook as one HTML file that needs no network: formulas become MathML, scripts are left out."""
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    figures = iter(figures_in(notebook))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _math_to_mathml(cell.source)
    for output in _outputs(notebook):  # a widget needs a kernel; what was displayed in its place does not
        output.get("data", {}).pop(settings.WIDGET_MIME, None)
    notebook.metadata.pop("widgets", None)
    html, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": title_of(executed)}})
    page = BeautifulSoup(html, "html.parser")
    for script in page.find_all("script"):  # MathJax, require.js and mermaid, which a finished page has no use for
        script.decompose()
    for image in page.select(".jp-RenderedImage img"):  # nbconvert knows no alternative texts
        image["alt"] = next(figures)["alt"]
    write_atomically(target, str(page).encode())


def _math_to_mathml(text: str) -> str:
    from latex2mathml.converter import convert

    # Code is set aside first: a dollar sign in it is no formula.
    parts = re.split(r"(```.*?```|`[^`]*`)", text, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"\$\$(.+?)\$\$", lambda m: convert(m[1].strip(), display="block"), parts[i], flags=re.DOTALL)
        parts[i] = re.sub(r"(?<!\\)\$([^$\n]+?)\$", lambda m: convert(m[1].strip()), parts[i])
    return "".join(parts)


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
