"""Notebooks side by side: in which order, within which memory, and what is left when they are stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from small_notebooks import BAD, PARAMETERS, Here, run_here, write_notebook

from helpers import settings
from helpers.report import board, contents, execution, running, scheduling
from helpers.report.scheduling import Cost, choose

CHAIN = {"c": ("b",), "d": ("c",), "e": ("b",)}
"""d needs c, which needs b; e needs b; a needs nothing."""


@pytest.fixture
def chain(monkeypatch):
    monkeypatch.setattr(scheduling, "NEEDS", CHAIN)


def test_what_a_notebook_needs_is_in_the_course():
    names = {notebook.stem for notebook in contents.chapters()}
    assert {*scheduling.NEEDS, *(need for needs in scheduling.NEEDS.values() for need in needs)} <= names


def test_the_head_of_the_longest_chain_goes_first(chain):
    waiting = list("abcde")
    assert choose(waiting, (), {}) == "b"
    assert choose(list("acde"), ["b"], {}) == "a", "c and e would wait for b"
    assert choose(list("cde"), ["a"], {}) == "c", "b is done, and d hangs from c"
    known = {"e": Cost(seconds=1000.0)}
    assert choose(list("cde"), ["a"], known) == "e", "it takes longer than c and d together"
    assert choose(["c"], ["b"], {}) == "c", "an idle core is no better than a notebook that waits"
    assert choose([], ["b"], {}) is None


def test_peaks_that_do_not_fit_together_do_not_run_together(chain):
    known = {"a": Cost(peak_mib=3000), "b": Cost(peak_mib=1000), "c": Cost(peak_mib=500)}
    assert choose(["a"], ["b"], known) is None
    assert choose(["a", "c"], ["b"], known) == "c"
    assert choose(["a"], (), known) == "a", "alone it may run, however large it is"
    assert choose(["x"], ["y"], {}) == "x" and choose(["x"], ["y", "z"], {}) is None, "1,500 MiB if unknown"


def test_what_notebooks_took_is_read_from_the_report_that_is_replaced(tmp_path):
    run = {"notebook": "00_x", "seconds": 5.0, "peak_mib": 700, "error": None}
    bad = {**run, "notebook": "01_y", "error": {"cell": 1}}
    (tmp_path / "run.json").write_text(json.dumps({"parameters": PARAMETERS, "notebooks": [run, bad]}))
    assert scheduling.costs(tmp_path, PARAMETERS) == {"00_x": (5.0, 700)}
    recorded = scheduling.costs(tmp_path, {**PARAMETERS, "profile": "quick"})
    assert "04_fine_tuning" in recorded and "00_x" not in recorded
    assert scheduling.costs(tmp_path / "none", {**PARAMETERS, "model": "none"}) == {}


def test_a_full_run_gives_a_notebook_all_cores(monkeypatch):
    monkeypatch.setattr(scheduling, "cores", lambda: 8)
    assert scheduling.default_jobs("full") == 1 and scheduling.default_jobs("quick") == 4
    monkeypatch.setattr(scheduling, "cores", lambda: 1)
    assert scheduling.default_jobs("quick") == 1


def test_threads_are_divided_and_the_users_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    given = []

    class Noted(Here):
        def __init__(self, notebook, output, parameters, environment):
            given.append(environment)
            super().__init__(notebook, output, parameters, environment)

    run_here(monkeypatch)
    monkeypatch.setattr(running, "Worker", Noted)
    write_notebook(tmp_path, "00_x", "1 + 1")
    _, usage = running.run_all([tmp_path / "00_x.ipynb"], tmp_path / "out" / "notebooks", PARAMETERS, 2)
    assert given[0]["TF_NUM_INTRAOP_THREADS"] == "3" == str(usage["threads"])
    assert given[0]["OMP_NUM_THREADS"] == "5"
    assert usage["jobs"] == 2 and usage["cores"] == 6 and usage["peak_mib"] > 50


def test_what_is_no_error_of_a_cell_ends_one_notebook_only(tmp_path, monkeypatch):
    def no_kernel(*_, **__):
        raise RuntimeError("Kernel didn't respond in 60 seconds")

    monkeypatch.setattr("papermill.execute_notebook", no_kernel)
    monkeypatch.setattr(running, "Worker", Here)
    write_notebook(tmp_path, "00_x", "1 + 1")
    (run,), _ = running.run_all([tmp_path / "00_x.ipynb"], tmp_path / "out" / "notebooks", PARAMETERS, 1)
    assert "didn't respond" in execution.one_line(run["error"]) and run["error"]["cell"] == 1
    assert (tmp_path / "out" / "notebooks" / "00_x.ipynb").is_file(), "the report can show it"


def test_a_line_tells_the_newest_state_of_the_bars(tmp_path):
    log = tmp_path / "x.log"
    log.write_bytes(b"\rfgsm: 10%\rfgsm: 20%|##  |")
    assert board.line("04_x", 12.4, {"04_x": 99.6}, log) == "04_x: 12 of about 100 s | fgsm: 20%|##  |"
    log.write_bytes(b"\rfgsm: 100%\n")
    assert board.line("04_x", 12.4, {}, log) == "04_x: 12 s" == board.line("04_x", 12.4, {}, None)


class Terminal:
    """A terminal that keeps what is written to it."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_terminal_has_a_line_for_each_running_notebook(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with board.Board(3, 2) as shown:
        shown.show(["00_x: 1 s", "01_y: 2 s"])
        shown.tell("00_x: 3 s, 900 MiB")
        shown.count()
    assert "00_x: 1 s" in terminal.text and "01_y: 2 s" in terminal.text
    assert "00_x: 3 s, 900 MiB\n" in terminal.text and "1/3" in terminal.text


MEETS = """
import os, pathlib, time
folder = pathlib.Path({folder!r})
(folder / {mine!r}).write_text(os.environ["TF_NUM_INTRAOP_THREADS"])
for _ in range(1200):
    if (folder / {other!r}).exists():
        break
    time.sleep(0.05)
else:
    raise TimeoutError("the other notebook did not run meanwhile")
bytes(40_000_000).count(1)
"""


@pytest.mark.deep
def test_notebooks_meet_and_one_that_fails_stops_none(tmp_path, monkeypatch, another_store):
    another_store(tmp_path / "artifacts")
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    write_notebook(tmp_path, "00_bad", BAD)
    write_notebook(tmp_path, "01_a", MEETS.format(folder=str(tmp_path), mine="a", other="b"))
    write_notebook(tmp_path, "02_b", MEETS.format(folder=str(tmp_path), mine="b", other="a"))
    write_notebook(tmp_path, "03_dead", "import os, psutil\npsutil.Process(os.getppid()).kill()\n1 + 1")
    notebooks = sorted(tmp_path.glob("0*.ipynb"))
    runs, usage = running.run_all(notebooks, tmp_path / "out" / "notebooks", PARAMETERS, 2)
    assert [run["notebook"] for run in runs] == ["00_bad", "01_a", "02_b", "03_dead"]
    assert [bool(run["error"]) for run in runs] == [True, False, False, True]
    assert "its process ended with status -9" in runs[3]["error"]["message"]
    assert usage["peak_mib"] > max(run["peak_mib"] for run in runs) > 20
    assert usage["processor_seconds"] > 0.8 * sum(run["processor_seconds"] for run in runs) > 0.1
    assert 0 < usage["share"] <= 1.1
    assert (tmp_path / "artifacts" / "progress" / "01_a.log").is_file()


REPORT = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests begun with & inherit that it is ignored
sys.path.insert(0, {tests!r})
from small_notebooks import PARAMETERS
from helpers.report import running
folder = Path({folder!r})
running.run_all(sorted(folder.glob("0*.ipynb")), folder / "out" / "notebooks", PARAMETERS, 2)
"""
SLEEPS = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
part = pathlib.Path({folder!r}, "part")
part.write_text(f"{{os.getpid()}} {{child.pid}}")
part.rename(pathlib.Path({folder!r}, {name!r}))
time.sleep(300)
"""


def report_of(folder):
    """Write a program that runs a folder's notebooks; return its command and its variables."""
    code = REPORT.format(tests=str(settings.ROOT / "tests"), folder=str(folder))
    main = folder / "main.py"
    main.write_text(f"if __name__ == '__main__':\n{''.join('    ' + x for x in code.splitlines(True))}")
    environment = {**os.environ, "PYTHONPATH": str(settings.ROOT), "ARTIFACTS_DIR": str(folder / "store")}
    return [sys.executable, str(main)], environment


NOISY = r"""
import os
os.write(2, b"E0000 00:00:1795985912.7 24555 util.cc:131] oneDNN supports DT_INT32 only on some platforms\n")
os.write(2, b"E0000 00:00:1795985912.8 24555 gpu.cc:100] Out of memory\n")
"""


@pytest.mark.deep
def test_tensorflows_noise_does_not_reach_the_console(tmp_path):
    write_notebook(tmp_path, "00_noisy", NOISY)
    command, environment = report_of(tmp_path)
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    assert "oneDNN" not in said and "Out of memory" in said


@pytest.mark.deep
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_no_kernel_outlives_its_report(tmp_path, stop):
    for k in range(2):
        write_notebook(tmp_path, f"0{k}_x", SLEEPS.format(folder=str(tmp_path), name=f"pids{k}"))
    command, environment = report_of(tmp_path)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    started = [tmp_path / "pids0", tmp_path / "pids1"]
    deadline = time.monotonic() + 120
    while not all(file.exists() for file in started):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    pids = [int(pid) for file in started for pid in file.read_text().split()]
    process.send_signal(stop)
    process.wait(60)
    gone = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < gone, "a kernel or its child goes on"
        time.sleep(0.1)
