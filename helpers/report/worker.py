"""A process that runs one notebook of a report."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from .. import settings
from . import execution

# A forked process starts in no time, but a fork of this process would also inherit its locks and threads.
# So a server that has only imported papermill is forked instead.
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_CONTEXT = multiprocessing.get_context(_METHOD)
_GRACE = 5
"""How many seconds an interrupted notebook has to end its kernel by itself."""


class Worker:
    """A notebook that runs in a process of its own.

    Args:
        notebook: the notebook.
        output: where its executed copy is written.
        parameters: of the notebook.
        environment: variables that its process has beside those of this one.
    """

    def __init__(self, notebook: Path, output: Path, parameters: dict, environment: dict[str, str]):
        self.notebook, self.output, self.started = notebook, output, time.perf_counter()
        if _METHOD == "forkserver":
            _CONTEXT.set_forkserver_preload(["papermill", "nbclient", execution.__name__])
        self._results, theirs = _CONTEXT.Pipe(duplex=False)
        arguments = theirs, notebook, output, parameters, {**os.environ, **environment}
        self._process = _CONTEXT.Process(target=_run, args=arguments, name=notebook.stem)
        self._process.start()
        theirs.close()

    @property
    def seconds(self) -> float:
        """How long the notebook has been running."""
        return time.perf_counter() - self.started

    def result(self) -> dict | None:
        """Return what ``execution.attempt`` returned, or None while the notebook runs."""
        if not self._results.poll() and self._process.is_alive():
            return None
        try:
            run = self._results.recv()
        except EOFError:  # somebody killed the process
            death = RuntimeError(f"its process ended with status {self._process.exitcode}")
            run = execution.failed(self.notebook, self.output, death, self.seconds)
        self._process.join()
        return run

    def stop(self) -> None:
        """Interrupt the notebook, and end its kernel and everything that this has started."""
        try:
            process = psutil.Process(self._process.pid)
            tree = [process, *process.children(recursive=True)]
            process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        except psutil.NoSuchProcess:
            return
        _, alive = psutil.wait_procs(tree, _GRACE)
        _kill(alive)
        self._process.join()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _run(results: Connection, notebook: Path, output: Path, parameters: dict, environment: dict) -> None:
    """Run a notebook in this process, which is a new one, and send the result."""
    os.environ.clear()
    os.environ.update(environment)  # the server has that of the first notebook
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches the process that writes the report, and it alone interrupts this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with nullcontext() if settings.shows_tensorflow_log() else _without_noise():
            run = execution.attempt(notebook, output, parameters)
        results.send(run)
    except KeyboardInterrupt:
        pass


@contextmanager
def _without_noise() -> Iterator[None]:
    """Pass on what this process and its kernel write to file descriptor 2, without noise (settings)."""
    read, write = os.pipe()
    shown = os.dup(2)
    os.dup2(write, 2)
    os.close(write)

    def pass_on() -> None:
        with os.fdopen(read, "rb") as lines:
            for line in lines:
                if not settings.is_noise(line):
                    os.write(shown, line)

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(shown, 2)  # closes this process's end; the kernel's was closed with it
        reader.join(_GRACE)


def _end_with_parent() -> None:
    """Wait until the process that writes the report has ended, and then end this one and its kernel."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a child"
    parent.join()
    _kill(psutil.Process().children(recursive=True))
    os._exit(1)
