"""How long each test file takes, by tier: recorded in tests/durations.json, so that the longest come first.

`make coverage` records (pytest --record-durations). With one file on each core at a time, beginning with
the longest keeps both cores busy to the end. Files that start large processes of their own come before all
others, while pytest's workers are still small.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("durations.json")
TIERS = ("slow", "deep", "check")
WITH_CHILDREN = (
    "notebooks/",
    "durability/",
    "maintain/test_record.py",
    "backend/test_devices.py",
    "report/",
    "browser/",
)


def pytest_addoption(parser):
    parser.addoption(
        "--record-durations",
        action="store_true",
        help="write the seconds of each test file to tests/durations.json",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Begin with files that start large processes, and then with those whose chosen tests take longest.

    A file without a record counts as long.
    """
    if not FILE.is_file():
        return
    recorded = json.loads(FILE.read_text())["files"]
    chosen = defaultdict(set)
    for item in items:
        chosen[_file(item.nodeid)].add(_tier(item.keywords))
    seconds = {
        file: sum(recorded[file].get(tier, 0.0) for tier in tiers) if file in recorded else float("inf")
        for file, tiers in chosen.items()
    }
    items.sort(key=lambda item: _place(_file(item.nodeid), seconds))


def _place(file, seconds):
    """Return what files are sorted by."""
    return not file.removeprefix("tests/").startswith(WITH_CHILDREN), -seconds[file]


def _file(nodeid):
    return nodeid.split("::")[0]


def _tier(keywords):
    """Return the slowest tier that a test is marked with."""
    return next((tier for tier in TIERS if tier in keywords), "check")


def pytest_terminal_summary(terminalreporter, config):
    """Sum the seconds of set-up, call and teardown; a test counts for the slowest tier it is marked with."""
    if not config.getoption("--record-durations"):
        return
    seconds = defaultdict(lambda: defaultdict(float))
    for reports in terminalreporter.stats.values():
        for report in reports:
            if not hasattr(report, "duration") or not hasattr(report, "nodeid"):
                continue
            seconds[_file(report.nodeid)][_tier(report.keywords)] += report.duration
    files = {
        file: {tier: round(found[tier], 1) for tier in reversed(TIERS) if tier in found}
        for file, found in sorted(seconds.items())
    }
    totals = {
        tier: round(sum(found.get(tier, 0.0) for found in files.values()), 1) for tier in reversed(TIERS)
    }
    FILE.write_text(json.dumps({"seconds": totals, "files": files}, indent=1) + "\n")
