"""Progress bars and messages for the person who waits."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from .environment import progress_file


def note(text: str) -> None:
    """Print one line where the progress bars appear (see progress)."""
    target = progress_file()
    if not target:
        # A notebook shows stderr as if something had gone wrong.
        print(text, file=sys.stdout if _in_notebook() else sys.stderr, flush=True)
        return
    with suppress(OSError), open(target, "a") as file:  # the work goes on even if nobody can read the line
        file.write(f"{text}\n")


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", {})


class _Target:
    """A file for a progress bar. Work goes on even if its folder or terminal is gone."""

    def __init__(self, target: str):
        self._file = None
        with suppress(OSError):
            self._file = open(target, "a", buffering=1)  # noqa: SIM115 (closed in close)

    def write(self, text: str) -> None:
        with suppress(OSError):
            if self._file:
                self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            if self._file:
                self._file.flush()

    def close(self) -> None:
        with suppress(OSError):
            if self._file:
                self._file.close()


class progress:
    """A progress bar for long work: in a terminal, in a notebook, or in the file that COURSE_PROGRESS names.

    The command line sets COURSE_PROGRESS for the notebooks that it runs, so that their bars reach the person
    who waits and stay out of the notebooks' outputs.
    """

    def __init__(self, total: int, title: str, initial: int = 0):
        target = progress_file()
        if target:
            from tqdm import tqdm  # tqdm.auto would put a widget into the notebook even so
        else:
            from tqdm.auto import tqdm
        self._file = _Target(target) if target else None
        options: dict[str, Any] = (
            {"file": self._file, "mininterval": 10, "ascii": True} if target else {"leave": False}
        )
        self._bar = tqdm(total=total, initial=initial, desc=title, dynamic_ncols=True, **options)

    def update(self, n: int = 1) -> None:
        """Move the bar on by n units."""
        self._bar.update(n)

    def note(self, numbers: dict) -> None:
        """Show some numbers beside the bar."""
        self._bar.set_postfix({k: f"{v:.4g}" for k, v in numbers.items()}, refresh=False)

    def __enter__(self) -> progress:
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        if self._file:
            self._file.close()
