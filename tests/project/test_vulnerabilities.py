"""The pinned versions have no known vulnerability, as far as the OSV database (osv.dev) can be asked."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import pytest

from helpers import settings

ADDRESS = "https://api.osv.dev/v1/querybatch"
ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that do not concern the course, by their identifier, each with the reason."""


def pins(name: str) -> list[tuple[str, str]]:
    """Return the packages of a lock file with their versions."""
    return re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==([^\s;]+)", (settings.ROOT / name).read_text(), re.M)


def query(packages: list[tuple[str, str]]) -> bytes:
    """Return the question about all packages, as OSV takes it."""
    queries = [{"package": {"name": n, "ecosystem": "PyPI"}, "version": v} for n, v in packages]
    return json.dumps({"queries": queries}).encode()


def vulnerable(packages: list[tuple[str, str]], answer: dict) -> dict[str, list[str]]:
    """Return the known vulnerabilities of the packages that have any, without the accepted ones."""
    found = {}
    for (name, version), result in zip(packages, answer["results"], strict=True):
        known = [one["id"] for one in result.get("vulns", []) if one["id"] not in ACCEPTED]
        if known:
            found[f"{name} {version}"] = known
    return found


def test_an_answer_is_read():
    packages = [("numpy", "2.4.6"), ("pillow", "1.0")]
    answer = {"results": [{}, {"vulns": [{"id": "GHSA-1"}, {"id": "GHSA-2"}]}]}
    assert vulnerable(packages, answer) == {"pillow 1.0": ["GHSA-1", "GHSA-2"]}
    assert json.loads(query(packages))["queries"][1]["version"] == "1.0"


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"requirements{kind}.lock" for kind in ("", "-test", "-sweep", "-peers")])
def test_no_pinned_version_has_a_known_vulnerability(name):
    packages = pins(name)
    assert len(packages) > 20
    question = urllib.request.Request(ADDRESS, query(packages), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(question, timeout=20) as response:
            answer = json.loads(response.read())
    except (OSError, ValueError) as error:
        pytest.skip(f"the vulnerability database {ADDRESS} does not answer ({type(error).__name__})")
    assert vulnerable(packages, answer) == {}
