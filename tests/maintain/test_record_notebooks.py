"""What make record commits of a report's notebooks and of the README."""

import json
from types import SimpleNamespace

import nbformat
import pytest
import small_notebooks

from helpers import datasets, pipeline, report, settings
from helpers.maintain import record
from helpers.plots import tables
from helpers.report import contents, pdf
from helpers.settings import CourseError
from helpers.studies import departures


def test_a_report_with_a_failure_is_refused(tmp_path):
    run = {"notebooks": [{"notebook": "01_bad", "error": {"cell": 3}}]}
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(CourseError, match="01_bad failed"):
        record.record(tmp_path)


@pytest.mark.slow
def test_record_copies_outputs_and_nothing_of_papermill(tmp_path, monkeypatch, capsys):
    notebooks = tmp_path / "source"
    notebooks.mkdir()
    small_notebooks.write_notebook(notebooks, "00_good", small_notebooks.GOOD)
    monkeypatch.setattr(contents, "NOTEBOOKS", notebooks)
    monkeypatch.setattr("papermill.execute_notebook", small_notebooks.run_here)
    monkeypatch.setattr(settings, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    same = SimpleNamespace(data=datasets.load("patches10"))
    monkeypatch.setattr(pipeline, "start", lambda **_: same)
    monkeypatch.setattr(pipeline, "answers", lambda _: {})
    monkeypatch.setattr(pipeline, "ship", lambda _: None)
    (tmp_path / "README.md").write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.pdf").write_text("yesterday's")
    monkeypatch.setattr(pdf, "find_browser", lambda: None)
    assert report.build(small_notebooks.PARAMETERS, tmp_path / "out")
    assert "apt-get install chromium" in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.pdf").exists(), (
        "a PDF of another run must not lie beside this page"
    )
    record.record(tmp_path / "out")
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    record.record(tmp_path / "out")
    assert {path: path.read_bytes() for path in first} == first, "recorded twice, nothing changes"
    committed = nbformat.read(notebooks / "00_good.ipynb", as_version=4)
    assert "papermill" not in json.dumps(committed)
    assert [c.source for c in committed.cells][1] == small_notebooks.PARAMETERS_CELL
    assert report.figures_in(committed)[0]["name"] == "empty"
    assert (tmp_path / "figures" / "resnet20" / "empty.png").is_file() and (
        tmp_path / "figures" / "results.json"
    ).is_file()
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("after\n") and "old" not in readme
    assert "| PGD | fine-tuned | with AE | 79.36 | 70.0 [39.7, 89.2] |" in readme


def test_the_readme_shows_the_recorded_results():
    text = (settings.ROOT / "README.md").read_text()
    for (begin, end), expected in (
        (tables.README_MARKERS, record.readme(pipeline.recorded_results())),
        (departures.README_MARKERS, departures.markdown()),
    ):
        assert text.split(begin)[1].split(end)[0].strip() == expected
