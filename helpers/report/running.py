"""Run a report's notebooks, several side by side, each in a process of its own."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from .. import settings
from ..artifacts import provenance
from . import execution, resources, scheduling
from .board import Board, line
from .keeping import Kept
from .worker import Worker

_PAUSE = 0.2
"""Seconds between two looks at the notebooks that run."""


class Usage(TypedDict):
    """What a whole report took.

    Attributes:
        jobs: how many notebooks ran side by side at most.
        threads: how many threads each of them computed with.
        cores: of this machine, as far as they may be used.
        seconds: from the first notebook's start to the last one's end.
        processor_seconds: of all processes.
        share: the part of the cores' time that was used, in [0, 1].
        peak_mib: the most memory that all processes held at one time, in MiB.
    """

    jobs: int
    threads: int
    cores: int
    seconds: float
    processor_seconds: float
    share: float
    peak_mib: int


def run_all(
    notebooks: Sequence[Path], executed: Path, parameters: dict, jobs: int, kept: Kept | None = None
) -> tuple[list[dict], Usage]:
    """Run notebooks side by side. One that fails stops none of the others.

    Args:
        notebooks: the notebooks, in reading order.
        executed: the folder in the report's folder where the executed copies go.
        parameters: of the notebooks.
        jobs: how many run at once at most; fewer do where memory does not suffice (scheduling.choose).
        kept: the executed notebooks of earlier reports; those that are among them are not run.

    Returns:
        What ``execution.attempt`` returned for each notebook (and whether it was ``reused``), in their order;
        and what all of them took.
    """
    cores, start = scheduling.cores(), time.perf_counter()
    threads, before = max(1, cores // jobs), resources.processor_seconds()
    with resources.PeakMemory(whole=True) as memory, tempfile.TemporaryDirectory() as logs:
        runs = _Notebooks(notebooks, executed, parameters, jobs, threads, kept, Path(logs)).run()
    seconds, ours = time.perf_counter() - start, resources.processor_seconds() - before
    # The notebooks' processes are children of a server that still runs, so this process is not told of them.
    used = ours + sum(run["processor_seconds"] for run in runs if not run["reused"])
    return runs, {
        "jobs": jobs,
        "threads": threads,
        "cores": cores,
        "seconds": round(seconds, 1),
        "processor_seconds": round(used, 1),
        "share": round(used / (cores * seconds), 3),
        "peak_mib": memory.peak_mib,
    }


class _Notebooks:
    """The notebooks that wait, those that run, and what became of those that have ended."""

    def __init__(
        self,
        notebooks: Sequence[Path],
        executed: Path,
        parameters: dict,
        jobs: int,
        threads: int,
        kept: Kept | None,
        files: Path,
    ):
        self._notebooks = {notebook.stem: notebook for notebook in notebooks}
        self._executed, self._parameters, self._jobs = executed, parameters, jobs
        self._known = scheduling.costs(executed.parent, parameters)
        self._usual = {name: cost.seconds for name, cost in self._known.items()}
        self._environment = settings.thread_variables(threads)
        self._waiting, self._ended = list(self._notebooks), {}
        self._kept, self._files = kept, files
        self._running: dict[str, Worker] = {}
        self._logs = None if settings.progress_file() else settings.ARTIFACTS / "progress"

    def run(self) -> list[dict]:
        """Run all of them; if this is interrupted, end those that run."""
        if self._logs and not sys.stderr.isatty():
            execution.say("progress of the long steps: artifacts/progress/")
        try:
            with Board(len(self._notebooks), self._jobs) as board:
                self._take_kept(board)
                while self._waiting or self._running:
                    self._start(board)
                    self._collect(board)
                    board.show([self._line(name) for name in self._running])
                    if self._running:
                        time.sleep(_PAUSE)
        finally:
            for worker in self._running.values():
                worker.stop()
        return [self._ended[name] for name in self._notebooks]

    def _take_kept(self, board: Board) -> None:
        """Take the notebooks that would run exactly as they did for an earlier report."""
        for name in self._waiting if self._kept else ():
            notebook = self._notebooks[name]
            if run := self._kept.find(notebook, self._executed / notebook.name):
                self._end(name, run, board)
        self._waiting = [name for name in self._waiting if name not in self._ended]

    def _start(self, board: Board) -> None:
        """Start as many notebooks as there are places and memory for."""
        while self._waiting and len(self._running) < self._jobs:
            name = scheduling.choose(self._waiting, self._running, self._known)
            if name is None:
                return
            self._waiting.remove(name)
            (files := self._files / name).touch()
            environment = self._environment | {"COURSE_FILES_LOG": str(files)}
            if log := self._log(name):
                settings.write_atomically(log, b"")
                environment["COURSE_PROGRESS"] = str(log)
            notebook = self._notebooks[name]
            board.tell(f"{name}: running ...")
            self._running[name] = Worker(
                notebook, self._executed / notebook.name, self._parameters, environment
            )

    def _collect(self, board: Board) -> None:
        """Take the results of the notebooks that have ended, and tell how they went."""
        for name, worker in list(self._running.items()):
            if run := worker.result():
                del self._running[name]
                files = provenance.read_log(self._files / name)
                provenance.note_again(files)
                if self._kept:
                    notebook = self._notebooks[name]
                    self._kept.keep(notebook, self._executed / notebook.name, run, files)
                self._end(name, run | {"reused": False}, board)

    def _end(self, name: str, run: dict, board: Board) -> None:
        self._ended[name] = run
        board.tell(_outcome(run))
        board.count()

    def _log(self, name: str) -> Path | None:
        """Return the file of a notebook's progress bars; None if the user has named one for all."""
        return self._logs / f"{name}.log" if self._logs else None

    def _line(self, name: str) -> str:
        return line(name, self._running[name].seconds, self._usual, self._log(name))


def _outcome(run: dict) -> str:
    """Return one line on how a notebook went."""
    if error := run["error"]:
        return f"{run['notebook']}: FAILED in cell {error['cell']}: {execution.one_line(error)}"
    took = f"{run['seconds']:.0f} s, {run['peak_mib']:,} MiB"
    return f"{run['notebook']}: {f'as it ran before ({took})' if run['reused'] else took}"
