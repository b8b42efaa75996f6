"""Run one notebook with papermill."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

import nbformat

from .. import settings
from ..settings import CourseError, write_atomically
from . import contents, resources


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
        The notebook's name and title, the seconds and the processor seconds it took, the peak memory of its
        kernel in MiB, and the error (None if there was none).

    Raises:
        CourseError: the notebook lacks one of the parameters, or ``output`` is the notebook itself.
    """
    check_parameters(notebook, parameters)
    if output.resolve() == notebook.resolve():
        raise CourseError(f"{notebook.name} would be overwritten by its own run; name another folder: --out")
    _prepare_progress()
    make_folder(output.parent)
    start, used = time.perf_counter(), resources.processor_seconds()
    with resources.PeakMemory() as memory:
        error = _run(notebook, output, parameters)
    return {
        "notebook": notebook.stem,
        "title": contents.title_of(notebook),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(resources.processor_seconds() - used, 1),
        "peak_mib": memory.peak_mib,
        "error": error,
    }


def make_folder(folder: Path) -> None:
    """Make a folder for a report or a notebook that was run.

    Raises:
        CourseError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise CourseError(f"{folder.name}/ cannot be written here; name another folder: --out")


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
            cwd=str(notebook.parent),
            kernel_name="python3",
            progress_bar=sys.stderr.isatty() and settings.progress_file() == _terminal(),
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
        message = "the kernel died, probably because memory ran out; finished results are kept"
        return _error_after(output, CourseError.__name__, message)
    return None


def attempt(notebook: Path, output: Path, parameters: dict) -> dict:
    """Run one notebook as ``execute`` does, but return whatever goes wrong as its error."""
    start = time.perf_counter()
    try:
        return execute(notebook, output, parameters)
    except Exception as error:  # such as a kernel that did not answer in time: the others go on
        return failed(notebook, output, error, time.perf_counter() - start)


def failed(notebook: Path, output: Path, error: Exception, seconds: float) -> dict:
    """Return what ``execute`` would return of a notebook that something outside its cells has ended."""
    if not output.is_file():
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(notebook, output)
    return {
        "notebook": notebook.stem,
        "title": contents.title_of(notebook),
        "seconds": round(seconds, 1),
        "processor_seconds": 0.0,
        "peak_mib": 0,
        "error": _error_after(output, type(error).__name__, str(error)),
    }


def _error_after(executed: Path, name: str, message: str) -> dict:
    """Return an error of an executed notebook, in the cell after the last finished one."""
    code = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    done = sum(cell.execution_count is not None for cell in code)
    source = code[min(done, len(code) - 1)].source
    return {"cell": done + 1, "name": name, "message": message, "source": source}


def one_line(error: dict) -> str:
    """Return an error in one line. A CourseError's message needs no type before it."""
    message = re.sub(r"\s+", " ", error["message"]).strip()
    return message if error["name"] == "CourseError" else f"{error['name']}: {message}"


def _prepare_progress() -> None:
    """Show the notebooks' progress bars in this terminal, or write them to a file if there is none."""
    if settings.progress_file():
        return
    if sys.stderr.isatty():
        os.environ["COURSE_PROGRESS"] = _terminal()
    else:
        log = settings.ARTIFACTS / "progress.log"
        write_atomically(log, b"")
        os.environ["COURSE_PROGRESS"] = str(log)
        say("progress of the long steps: artifacts/progress.log")


def _terminal() -> str:
    return os.ttyname(sys.stderr.fileno())


def say(text: str) -> None:
    """Print a line on stderr for the person who is waiting."""
    print(text, file=sys.stderr, flush=True)
