"""Where things are."""

import os
from contextlib import suppress
from pathlib import Path

from . import environment
from .environment import expanded

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / environment.artifacts_dir()
WEIGHTS = ROOT / "weights"
FIGURES = ROOT / "figures"

RECORDS_MIME = "application/vnd.course.records+json"
"""The type of a notebook output that carries records (evaluation.publish), by which the report finds them."""

ANSWERS_MIME = "application/vnd.course.answers+json"
"""The type of a notebook output that says which images are behind the records beside it."""

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
"""The type of a notebook output that carries a widget, which a page without a kernel cannot show."""


def ensure_home() -> None:
    """Give the programs that write into the home folder, such as Jupyter, one in the store if there is none.

    Some containers run as a user without a home, or with one that is read-only.
    """
    home = expanded("~")
    if home.is_dir() and os.access(home, os.W_OK):
        return
    if home.is_absolute():
        os.environ.setdefault("KERAS_HOME", str(environment.keras_home()))  # CIFAR-10 may be there to be read
    os.environ["HOME"] = str(ARTIFACTS / "home")
    with suppress(OSError):  # the store itself says what is wrong
        (ARTIFACTS / "home").mkdir(parents=True, exist_ok=True)
