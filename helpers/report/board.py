"""The state of the running notebooks on the terminal, one line for each."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from . import execution


class Board:
    """One line for the whole report, and one for each notebook that runs; nothing without a terminal.

    Args:
        total: the number of notebooks.
        places: how many run side by side at most.
    """

    def __init__(self, total: int, places: int):
        self._file, self._bars = sys.stderr, []
        if self._file.isatty():
            options = {"file": self._file, "leave": False, "dynamic_ncols": True}
            whole = tqdm(total=total, desc="the report", unit="notebook", position=0, **options)
            lines = [tqdm(total=0, position=k + 1, bar_format="{desc}", **options) for k in range(places)]
            self._bars = [whole, *lines]

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_) -> None:
        for bar in reversed(self._bars):
            bar.close()

    def show(self, lines: list[str]) -> None:
        """Show what the running notebooks do."""
        width = shutil.get_terminal_size().columns - 1
        for k, bar in enumerate(self._bars[1:]):
            bar.set_description_str(lines[k][:width] if k < len(lines) else "")
        if self._bars:
            self._bars[0].refresh()

    def tell(self, text: str) -> None:
        """Print a line above the others, or on its own."""
        if self._bars:
            tqdm.write(text, file=self._file)
        else:
            execution.say(text)

    def count(self) -> None:
        """Count a notebook that has ended."""
        if self._bars:
            self._bars[0].update()
            self._bars[0].refresh()  # at once, not when the next update is due


def line(name: str, seconds: float, usual: Mapping[str, float], log: Path | None) -> str:
    """Return what the terminal says of a running notebook.

    Args:
        name: the notebook's.
        seconds: since it was started.
        usual: how many seconds notebooks took earlier, by name.
        log: the file of its progress bars.
    """
    before = f" of about {usual[name]:.0f}" if name in usual else ""
    step = _last_line(log) if log else ""
    return f"{name}: {seconds:.0f}{before} s" + (f" | {step}" if step else "")


def _last_line(log: Path) -> str:
    """Return the newest state of the progress bars in a file, and nothing once the last one has ended."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 1000))
            text = file.read().decode(errors="ignore")
    except OSError:
        return ""
    return re.split(r"[\r\n]", text)[-1].strip()
