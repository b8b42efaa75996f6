"""Where things are, how large a run is, and the errors a user may see."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / Path(os.environ.get("ARTIFACTS_DIR") or "artifacts").expanduser()
WEIGHTS = ROOT / "weights"
FIGURES = ROOT / "figures"

EPS = 8 / 255
"""The paper's attack budget (section 2): 8 of 255 grey levels, in images scaled to [0, 1]."""


RECORDS_MIME = "application/vnd.course.records+json"
"""The type under which a notebook's output carries records (evaluation.publish), for the report to find them."""

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
"""The type under which a notebook's output carries a widget, which a page without a kernel cannot show."""


class CourseError(Exception):
    """An error whose message is for the person at the keyboard: one line, what was wrong and what to do."""


@dataclass(frozen=True)
class Profile:
    """How large a run is. All counts are images unless said otherwise.

    Attributes:
        n_train: training images attacked and used to train the autoencoder and to fine-tune; where it
            exceeds the training split, the validation split is used too (the paper's 50,000).
        n_validation: validation images attacked, to watch training on images it has not seen.
        n_test: test images assessed.
        n_sweep: test images for the curves (accuracy against eps, against steps).
        n_checklist: test images that an evaluation is checked on (run_run_checklist.of_run).
        n_ladder: test images on which attackers who know more and more are compared (ladder.climb).
        n_certified, n_samples: test images that are certified (baselines.certified), and noisy copies of each.
        ae_epochs, ae_batch, ae_rates: the autoencoder's schedule; Adam's rate falls from the first to the second.
        tune_epochs: passes over the six sources when fine-tuning; a network may make fewer (registry).
        tune_epochs_first, tune_epochs_final: the same for networks with a second phase (registry), and how many
            further passes these make on clean images and autoencoder outputs only. The paper says "several" of the
            former and gives no number for the latter; the full run's numbers were chosen for the time they take.
    """

    name: str
    n_train: int
    n_validation: int
    n_test: int
    n_sweep: int
    n_checklist: int
    n_ladder: int
    n_certified: int
    n_samples: int
    ae_epochs: int
    ae_batch: int
    ae_rates: tuple[float, float]
    tune_epochs: int
    tune_epochs_first: int
    tune_epochs_final: int


PROFILES = {
    p.name: p
    for p in (
        Profile("smoke", 256, 64, 128, 32, 12, 12, 4, 40, 2, 32, (5e-3, 5e-4), 1, 1, 1),
        Profile("quick", 3_000, 300, 2_000, 256, 50, 64, 30, 400, 30, 32, (5e-3, 5e-4), 3, 3, 1),
        Profile("full", 50_000, 0, 10_000, 2_000, 100, 1_000, 500, 2_000, 100, 128, (1e-3, 1e-4), 3, 2, 1),
    )
}


def profile(name: str, **changes) -> Profile:
    """The profile of that name, with some of its numbers changed.

    Raises:
        CourseError: no profile has that name.
    """
    if name not in PROFILES:
        raise CourseError(f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}")
    return replace(PROFILES[name], **changes)


def check_seed(seed: int) -> None:
    """Refuse a seed that Keras and NumPy would refuse."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise CourseError(f"seed is {seed!r}; it must be a whole number from 0 to {2**32 - 1}")


def check_eps(eps: float, name: str = "eps", norm: str = "linf") -> None:
    """Refuse a budget that is not in [0, 1], or, for the l2 norm, that is no length."""
    if not isinstance(eps, Real) or not math.isfinite(eps) or eps < 0:
        raise CourseError(f"{name} is {eps!r}; it must be a number in [0, 1], such as 8/255")
    if eps > 1 and norm == "linf":
        raise CourseError(
            f"{name} is {eps:g}, but images are in [0, 1]: write {eps:g}/255 for {eps:g} grey levels"
        )


def switch(name: str) -> bool:
    """Whether an environment variable is set to 1.

    Raises:
        CourseError: it is neither 0 nor 1; so that "true" is not taken for no.
    """
    value = os.environ.get(name, "")
    if value not in ("", "0", "1"):
        raise CourseError(f"{name} is {value!r}; set it to 1, or to 0")
    return value == "1"


def training_precision() -> str:
    """The Keras policy that classifiers are trained with: COURSE_PRECISION, or what is fast on this processor.

    mixed_bfloat16 where the processor has AMX tiles (there, a training step of ResNet-20 took half the time of float32
    when the course was made), float32 elsewhere, where bfloat16 is emulated and slow. Attacks and evaluation are
    always float32.
    """
    asked = os.environ.get("COURSE_PRECISION")
    if asked in ("float32", "mixed_bfloat16"):
        return asked
    if asked:
        raise CourseError(f"COURSE_PRECISION is {asked!r}; choose float32 or mixed_bfloat16")
    cpuinfo = Path("/proc/cpuinfo")
    return "mixed_bfloat16" if cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text() else "float32"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: it is there whole or not at all.

    Raises:
        CourseError: the disk is full or cannot be written; says which file.
    """
    # Not by the process's number: on a cluster two machines that share a disk may both have a process of it.
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(scratch, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise cannot_write(path, error) from error


def workers() -> tuple[int, list[str]]:
    """This process's number among the workers that share its work (devices), and their addresses; else 0 and none.

    Raises:
        CourseError: there should be workers, and TF_CONFIG does not name them.
    """
    if os.environ.get("COURSE_DEVICES") != "workers":
        return 0, []
    try:
        given = json.loads(os.environ["TF_CONFIG"])
        addresses, index = given["cluster"]["worker"], int(given["task"]["index"])
        if given["task"]["type"] != "worker" or not 0 <= index < len(addresses):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise CourseError(
            "COURSE_DEVICES is workers, but TF_CONFIG does not say which: it has to be "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    return index, addresses


def disk_is_full(error: Exception) -> bool:
    """Whether an error says that there is no space left."""
    # NumPy tells it by its own words, without a number.
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(error)


def cannot_write(path: Path, error: OSError) -> CourseError:
    """The error for a file that could not be written."""
    why = "the disk is full" if disk_is_full(error) else error.strerror or str(error)
    return CourseError(
        f"cannot write {path.name} in {path.parent.name}/: {why}. Free some space (make clean removes artifacts/) "
        "or set ARTIFACTS_DIR to another disk; finished steps are kept"
    )


def note(text: str) -> None:
    """A line for the person who waits, to where the progress bars go (progress)."""
    target = os.environ.get("COURSE_PROGRESS")
    if not target:
        print(text, file=sys.stderr, flush=True)
        return
    with suppress(OSError), open(target, "a") as file:  # nobody may be there to read it, and the work goes on
        file.write(f"{text}\n")


class _Bar:
    """A file for a progress bar; where it cannot be written (its folder or terminal is gone), the work goes on."""

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
    """A progress bar for long work: in a terminal, in a notebook, or as lines in the file COURSE_PROGRESS names.

    The command line sets COURSE_PROGRESS for the notebooks it runs, so that their bars reach the person who waits
    and not the notebooks' outputs.
    """

    def __init__(self, total: int, title: str, initial: int = 0):
        target = os.environ.get("COURSE_PROGRESS")
        if target:
            from tqdm import tqdm  # tqdm.auto would put a widget into the notebook all the same
        else:
            from tqdm.auto import tqdm
        self._file = _Bar(target) if target else None
        options = {"file": self._file, "mininterval": 10, "ascii": True} if target else {"leave": False}
        self._bar = tqdm(total=total, initial=initial, desc=title, dynamic_ncols=True, **options)

    def update(self, n: int = 1) -> None:
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
