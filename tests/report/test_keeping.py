"""Executed notebooks in the store, which a later report shows instead of running them again."""

import json

import pytest
from small_notebooks import BAD, GOOD, PARAMETERS, run_here, write_notebook

from helpers import artifacts, report, settings
from helpers.report import contents, keeping, pdf
from helpers.settings import CourseError


@pytest.fixture
def notebooks(tmp_path, monkeypatch, another_store):
    """A course without notebooks yet. They run in this process, and there is no browser."""
    another_store(tmp_path / "store")
    folder = tmp_path / "source"
    folder.mkdir()
    monkeypatch.setattr(contents, "NOTEBOOKS", folder)
    monkeypatch.setattr(pdf, "find_browser", lambda: None)
    run_here(monkeypatch)
    return folder


def test_a_notebook_that_would_run_just_as_before_is_not_run_again(notebooks, tmp_path, monkeypatch, capsys):
    """Its outputs, records and files are those of the earlier run; a change of any kind runs it again."""
    begun = tmp_path / "begun.txt"
    count = f"open({str(begun)!r}, 'a').write('x')"

    def report_on(name, **changes):
        options = {"fresh": changes.pop("fresh", False)}
        before = len(begun.read_text()) if begun.exists() else 0
        assert report.build(PARAMETERS | changes, tmp_path / name, **options)
        return len(begun.read_text()) - before

    write_notebook(notebooks, "00_good", GOOD + count)
    assert report_on("first") == 1
    assert report_on("second") == 0
    assert "00_good: as it ran before (" in capsys.readouterr().err
    pages_of = [(tmp_path / name / "results.json").read_bytes() for name in ("first", "second")]
    assert pages_of[0] == pages_of[1]
    runs = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("first", "second")]
    assert [run["notebooks"][0]["reused"] for run in runs] == [False, True]
    assert runs[0]["weights"] == runs[1]["weights"] != [] and runs[1]["resumed"]
    assert "as it ran for an earlier report" in (tmp_path / "second" / "index.html").read_text()
    assert report_on("second", seed=1) == 1 and report_on("second", eps=4 / 255) == 1
    assert report_on("second", fresh=True) == 1 and report_on("second") == 0
    monkeypatch.setattr(keeping, "_checksum_of_tree", lambda: "another tree")
    assert report_on("second") == 1
    monkeypatch.setenv("COURSE_DEVICES", "one")
    assert report_on("second") == 1
    write_notebook(notebooks, "00_good", GOOD + count + "\n1 + 1")
    assert report_on("second") == 1


def test_a_changed_file_of_the_tree_is_noticed(tmp_path, monkeypatch):
    for folder in keeping._FOLDERS:
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    seen = {keeping._checksum_of_tree()}
    for name in ("weights/a.h5", "figures/results.json", "helpers/a.py", "helpers/a.mplstyle"):
        (tmp_path / name).write_text("1")
        seen.add(keeping._checksum_of_tree())
    (tmp_path / "helpers" / "__pycache__").mkdir()
    (tmp_path / "helpers" / "__pycache__" / "a.pyc").write_text("1")
    seen.add(keeping._checksum_of_tree())
    assert len(seen) == 5


def test_what_failed_and_what_is_damaged_is_run_again(notebooks, tmp_path):
    write_notebook(notebooks, "00_bad", BAD)
    assert not report.build(PARAMETERS, tmp_path / "out")
    assert not list(settings.ARTIFACTS.glob("notebooks/*"))
    write_notebook(notebooks, "00_good", GOOD)
    (notebooks / "00_bad.ipynb").unlink()
    assert report.build(PARAMETERS, tmp_path / "out")
    for kept in (settings.ARTIFACTS / "notebooks").glob("*.result.json"):
        kept.write_text(kept.read_text().replace("Title", "Tale"))
    assert report.build(PARAMETERS, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Title of 00_good" in page and "as it ran for an earlier report" not in page


def test_a_store_that_cannot_be_written_costs_the_kept_copy_and_not_the_report(
    notebooks, tmp_path, monkeypatch, capsys
):
    def fail(error):
        raise error

    write_notebook(notebooks, "00_good", GOOD)
    for name, error in (("make_json", CourseError("the disk is full")), ("forget", OSError("read-only"))):
        with monkeypatch.context() as patch:
            patch.setattr(artifacts, name, lambda *_, error=error: fail(error))
            assert report.build(PARAMETERS, tmp_path / "out", fresh=True)
        assert f"00_good is not kept for the next report: {error}" in capsys.readouterr().err
