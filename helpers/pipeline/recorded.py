"""What earlier runs recorded: figures/results.json and figures/audit.json."""

from __future__ import annotations

import json

from .. import settings
from .published import of_the_paper


def recorded_results() -> dict:
    """Return the recorded results: ``runs`` (each network's parameters and data) and ``records``."""
    file = settings.FIGURES / "results.json"
    return json.loads(file.read_text()) if file.is_file() else {"runs": {}, "records": []}


def recorded_static(model: str, dataset: str = "cifar10") -> list[dict]:
    """Return the transfer-attack records of a network's full run; none until such a run is recorded."""
    return [
        r
        for r in of_the_paper(recorded_results()["records"], settings.EPS)
        if (r["model"], r["dataset"], r["profile"], r["threat"]) == (model, dataset, "full", "static")
    ]


def recorded_audit(model: str) -> dict | None:
    """Return a network's part of figures/audit.json, or None if no audit on CIFAR-10 is recorded."""
    file = settings.FIGURES / "audit.json"
    found = json.loads(file.read_text()).get(model) if file.is_file() else None
    return found if found and found["data"]["dataset"].startswith("CIFAR-10") else None
