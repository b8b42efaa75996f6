"""Run one notebook with papermill."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from pathlib import Path

import nbformat

from .. import settings
from ..settings import CourseError, write_atomically
from . import contents


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Refuse parameters that the notebook does not have; papermill itself only warns."""
    from papermill import inspect_notebook

    known = inspect_notebook(str(notebook))
    if unknown := [name for name in parameters if name not in known]:
        raise CourseError(
            f"{notebook.name} has no parameter {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(sorted(known))}"
        )


def execute(notebook: Path, output: Path, parameters: dict) -> dict:
    """Run one notebook with papermill.

    Args:
        notebook: the notebook; it is not changed.
        output: where the executed notebook is written, whether it fails or not.
        parameters: values for the notebook's parameters.

    Returns:
        The notebook's name and title, the seconds it took, the peak memory of its kernel in MiB, and the
        error (None if there was none).

    Raises:
        CourseError: the notebook lacks one of the parameters, or ``output`` is the notebook itself.
    """
    check_parameters(notebook, parameters)
    if output.resolve() == notebook.resolve():
        raise CourseError(f"{notebook.name} would be overwritten by its own run; name another folder: --out")
    _prepare_progress()
    output.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with _PeakMemory() as memory:
        error = _run(notebook, output, parameters)
    return {
        "notebook": notebook.stem,
        "title": contents.title_of(notebook),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mib": memory.peak_mib,
        "error": error,
    }


def _run(notebook: Path, output: Path, parameters: dict) -> dict | None:
    """Run a notebook and return its error, if there was one."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters,
            cwd=str(contents.NOTEBOOKS),
            kernel_name="python3",
            progress_bar=sys.stderr.isatty(),
            log_output=False,
            extra_arguments=["--log-level=ERROR"],
        )
    except PapermillExecutionError as failed:
        return {
            "cell": failed.exec_count,
            "name": failed.ename,
            "message": failed.evalue,
            "source": failed.source,
        }
    except DeadKernelError:
        return _kernel_death(output)
    return None


def _kernel_death(executed: Path) -> dict:
    """Return the error of a notebook whose kernel died, in the cell after the last finished one."""
    code = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    done = sum(cell.execution_count is not None for cell in code)
    return {
        "cell": done + 1,
        "name": "CourseError",
        "message": "the kernel died, probably because memory ran out; finished results are kept",
        "source": code[min(done, len(code) - 1)].source,
    }


class _PeakMemory:
    """Measure the peak resident memory of this process's children: the notebook's kernel and its workers."""

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


def one_line(error: dict) -> str:
    """Return an error in one line. A CourseError's message needs no type before it."""
    message = re.sub(r"\s+", " ", error["message"]).strip()
    return message if error["name"] == "CourseError" else f"{error['name']}: {message}"


def _prepare_progress() -> None:
    """Send the notebooks' progress bars to this terminal, or to a file if there is none."""
    if settings.progress_file():
        return
    if sys.stderr.isatty():
        os.environ["COURSE_PROGRESS"] = os.ttyname(sys.stderr.fileno())
    else:
        log = settings.ARTIFACTS / "progress.log"
        write_atomically(log, b"")
        os.environ["COURSE_PROGRESS"] = str(log)
        say("progress of the long steps: artifacts/progress.log")


def say(text: str) -> None:
    """Print a line on stderr for the person who is waiting."""
    print(text, file=sys.stderr, flush=True)
