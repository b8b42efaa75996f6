"""Writes how long each test file takes, by tier, to tests/durations.json (pytest --record-durations)."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

FILE = Path(__file__).with_name("durations.json")
TIERS = ("slow", "deep", "check")


def pytest_addoption(parser):
    parser.addoption(
        "--record-durations",
        action="store_true",
        help="write the seconds of each test file to tests/durations.json",
    )


def pytest_terminal_summary(terminalreporter, config):
    """Sum the seconds of set-up, call and teardown; a test counts for the slowest tier it is marked with."""
    if not config.getoption("--record-durations"):
        return
    seconds = defaultdict(lambda: defaultdict(float))
    for reports in terminalreporter.stats.values():
        for report in reports:
            if not hasattr(report, "duration") or not hasattr(report, "nodeid"):
                continue
            tier = next((tier for tier in TIERS if tier in report.keywords), "check")
            seconds[report.nodeid.split("::")[0]][tier] += report.duration
    files = {
        file: {tier: round(found[tier], 1) for tier in reversed(TIERS) if tier in found}
        for file, found in sorted(seconds.items())
    }
    totals = {
        tier: round(sum(found.get(tier, 0.0) for found in files.values()), 1) for tier in reversed(TIERS)
    }
    FILE.write_text(json.dumps({"seconds": totals, "files": files}, indent=1) + "\n")
