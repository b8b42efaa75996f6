"""The commit that a report names is the course's own."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from helpers import settings
from helpers.artifacts import provenance

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A function that runs git in a folder; the course is in ``outer/course``, inside a repository."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def run(folder, *words):
        command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=b", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    outer = tmp_path / "outer"
    (outer / "course").mkdir(parents=True)
    (outer / "course" / "file.txt").write_text("one")
    run(outer, "init", "-q")
    run(outer, "add", ".")
    run(outer, "commit", "-q", "-m", "other work")
    monkeypatch.setattr(settings, "ROOT", outer / "course")
    return run


def test_another_repository_around_the_course_is_not_its_own(git):
    assert provenance.commit() == provenance.NO_COMMIT


def test_a_course_without_a_repository_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == provenance.NO_COMMIT


def test_the_commit_of_a_checkout_and_of_a_changed_one(git, monkeypatch):
    root = settings.ROOT
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "the course")
    head = git(root, "rev-parse", "--short=12", "HEAD")
    assert provenance.commit() == head
    (root / "file.txt").write_text("two")
    assert provenance.commit() == f"{head}+changes"
    monkeypatch.setenv("GIT_DIR", str(root.parent / ".git"))  # as a hook of the outer repository has it
    assert provenance.commit() == f"{head}+changes"


def test_a_checkout_without_a_commit_is_unknown(git):
    git(settings.ROOT, "init", "-q")
    assert provenance.commit() == "unknown"
