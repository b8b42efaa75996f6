"""Where things are."""

from pathlib import Path

from . import environment

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
