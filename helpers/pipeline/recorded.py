"""What earlier runs recorded: figures/results.json and figures/audit.json.

The files are checked when they are read, because everything drawn from them trusts their fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

from .. import settings
from ..classifiers.registry import MODELS
from ..evaluation.records import Record
from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES, STAGE_TITLES, THREAT_TITLES
from ..settings import CourseError
from .published import of_the_paper

_PARAMETERS = {"profile": str, "dataset": str, "model": str, "seed": int, "weights": str, "eps": float}


def recorded_results() -> dict:
    """Return the recorded results: ``runs`` (each network's parameters and data) and ``records``."""
    file = settings.FIGURES / "results.json"
    if not file.is_file():
        return {"runs": {}, "records": []}
    found = settings.read_json(file)
    runs = found.get("runs")
    if not isinstance(runs, dict):
        raise _wrong(file, f"runs is {settings.shown(runs)}")
    for run in runs.values():
        check_run(run, file)
    check_records(found.get("records"), file)
    return found


def recorded_static(model: str, dataset: str = "cifar10") -> list[dict]:
    """Return the transfer-attack records of a network's full run; none until such a run is recorded."""
    return [
        r
        for r in of_the_paper(recorded_results()["records"], settings.EPS)
        if (r["model"], r["dataset"], r["profile"], r["threat"]) == (model, dataset, "full", "static")
    ]


def agreement(records: list[dict]) -> str:
    """Say how a smaller run's accuracies agree with those of the recorded full run with the same networks.

    Args:
        records: of one run (evaluation.Record).

    Returns:
        A sentence; "" if the run is the full one, or none of its cells is recorded.
    """
    recorded = {_cell(r): r for r in recorded_results()["records"] if r["profile"] == "full"}
    pairs = [(r, recorded[_cell(r)]) for r in records if r["profile"] != "full" and _cell(r) in recorded]
    if not pairs:
        return ""
    outside = [r for r, full in pairs if not r["ci_low"] <= full["accuracy"] <= r["ci_high"]]
    said = (
        "The networks are those of the recorded full run. Its accuracy lies in the 95% interval measured "
        f"here in {len(pairs) - len(outside)} of {len(pairs)} cells"
    )
    names = (", ".join(titles[r[key]] for key, titles in _TITLES.items()) for r in outside)
    return f"{said}; not in: {'; '.join(names)}." if outside else f"{said}."


_TITLES = {
    "input": INPUT_TITLES,
    "stage": STAGE_TITLES,
    "defense": DEFENSE_TITLES,
    "threat": THREAT_TITLES,
}


def _cell(record: dict) -> tuple:
    keys = ("dataset", "model", "stage", "defense", "input", "threat", "steps", "seed")
    return *(record[key] for key in keys), round(record["eps"], 9)


def recorded_audit(model: str) -> dict | None:
    """Return a network's part of figures/audit.json, or None if no audit on CIFAR-10 is recorded."""
    file = settings.FIGURES / "audit.json"
    found = settings.read_json(file).get(model) if file.is_file() else None
    if not found:
        return None
    check_fields(found, {"parameters": dict, "data": dict}, file)
    check_fields(found["data"], {"dataset": str}, file)
    rows = found.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _wrong(file, f"rows is {settings.shown(rows)}")
    for row in rows:
        check_records(row.get("records"), file)
        differences = row.get("differences")
        if not isinstance(differences, list) or len(differences) != len(row["records"]):
            raise _wrong(file, f"differences is {settings.shown(differences)}")
        for each in differences:
            check_fields(each, dict.fromkeys(("points", "low", "high"), float), file)
        check_fields(row, {"variant": str, "title": str, "kind": str}, file)
    return found if found["data"]["dataset"].startswith("CIFAR-10") else None


def check_run(run: Any, file: Path) -> None:
    """Check that a value from a file has the parameters and the data of a run.

    Raises:
        CourseError: one of them is missing or of another type, or the network is unknown.
    """
    check_fields(run, {"parameters": dict, "data": dict}, file)
    check_fields(run["parameters"], _PARAMETERS, file)
    check_fields(run["data"], {"dataset": str, "sha256": str}, file)
    if run["parameters"]["model"] not in MODELS:
        raise _wrong(file, f"model is {settings.shown(run['parameters']['model'])}")


def check_records(records: Any, file: Path) -> list[dict]:
    """Check that a value from a file is a list of records (evaluation.Record), and return it.

    Raises:
        CourseError: it is not; a field is missing or of another type; or its counts cannot be.
    """
    if not isinstance(records, list):
        raise _wrong(file, f"records is {settings.shown(records)}")
    types = get_type_hints(Record)
    for record in records:
        check_fields(record, types, file)
        shares = [record[name] for name in ("accuracy", "ci_low", "ci_high")]
        if not 0 <= record["correct"] <= record["n"] or not all(0 <= share <= 1 for share in shares):
            raise _wrong(file, f"{record['correct']} of {record['n']} images are correct in a record")
    return records


def check_fields(value: Any, types: dict[str, type], file: Path) -> None:
    """Check that a value from a file is a dict with these fields, of these types.

    Raises:
        CourseError: it is not; the message names the file.
    """
    if not isinstance(value, dict):
        raise _wrong(file, f"it holds {settings.shown(value)} where fields are")
    for name, kind in types.items():
        right = (int, float) if kind is float else (kind,)
        if type(value.get(name)) not in right:
            raise _wrong(file, f"{name} is {settings.shown(value.get(name))}, not {kind.__name__}")


def _wrong(file: Path, what: str) -> CourseError:
    return CourseError(
        f"{file.parent.name}/{file.name} is damaged: {what}; restore it (git checkout figures, for a file of "
        "the course) or make it again"
    )
