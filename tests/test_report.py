"""The report: what it says, what it says when a notebook fails, and that it needs no network."""

import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers import datasets, evaluation, patches10, pipeline, recording, report, settings, tables
from helpers.__main__ import main
from helpers.settings import CourseError

PARAMETERS = {
    "profile": "smoke",
    "dataset": "patches10",
    "model": "resnet20",
    "seed": 0,
    "weights": "course",
    "eps": 8 / 255,
}
PARAMETERS_CELL = 'profile = "quick"\ndataset = "auto"\nmodel = "resnet20"\nseed = 0\nweights = "course"\neps = 8 / 255'

GOOD = """
import matplotlib.pyplot as plt
import numpy as np
from helpers import evaluation, plots

fields = dict(dataset="patches10", profile=profile, model=model, threat="static", eps=eps, steps=10, seed=seed)
evaluation.publish([evaluation.record(np.arange(10) < 7, stage=s, defense=d, input=i, **fields)
                    for s in ("initial", "fine_tuned") for d in ("none", "ae") for i in ("regular", "fgsm", "pgd")])
figure, axis = plt.subplots()
plots.show(figure, "An empty pair of axes, for a test of the report.", "empty", "smoke run")
"""
BAD = "from helpers.settings import CourseError\nraise CourseError('the kettle is empty; fill it')"


def write_notebook(folder, name, code, text="One formula, $\\frac{1}{n} \\sum_i x_i$, and `code $not math$`."):
    cells = [new_markdown_cell(f"# Title of {name}\n\n{text}"), new_code_cell(PARAMETERS_CELL), new_code_cell(code)]
    cells[1].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A report of two small notebooks, the second of which fails."""
    folder = tmp_path_factory.mktemp("report")
    notebooks = folder / "source"
    notebooks.mkdir()
    write_notebook(notebooks, "00_good", GOOD)
    write_notebook(notebooks, "01_bad", BAD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "NOTEBOOKS", notebooks)
        whole = report.build(PARAMETERS, folder / "out")
    return whole, folder / "out"


def test_a_failed_notebook_is_told_and_the_rest_is_kept(built):
    whole, out = built
    page = (out / "index.html").read_text()
    assert whole is False
    assert "01_bad failed" in page and "in cell 3" in page
    assert "the kettle is empty; fill it" in page
    assert "raise CourseError" in page, "the cell that failed is shown"
    assert "the kettle is empty" in (out / "notebooks" / "01_bad.html").read_text()
    assert "Title of 00_good" in page and "ran to its end" in page


def test_results_are_tidy_records(built):
    results = json.loads((built[1] / "results.json").read_text())
    assert len(results["records"]) == 12
    fields = set(evaluation.Record.__dataclass_fields__)
    assert all(set(r) == fields for r in results["records"])
    assert results["data"]["sha256"] == patches10.load().sha256
    assert "started" not in json.dumps(results), "two runs with the same seed write the same file"


def test_the_page_names_its_provenance(built):
    page = (built[1] / "index.html").read_text()
    for word in ("lock_sha256", "tensorflow", "commit", "seed", "Peak memory", patches10.load().sha256):
        assert word in page


def test_a_run_on_other_data_says_so_loudly(built):
    page = (built[1] / "index.html").read_text()
    assert re.search(r'class="notice".*This is not CIFAR-10', page, re.DOTALL)
    assert page.index("This is not CIFAR-10") < page.index("<table>")
    assert "79.36" not in page, "the paper's numbers are not set beside numbers from other data"


def test_the_fallback_says_so_loudly(monkeypatch, tmp_path):
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    data = datasets.load("auto")
    info = {"parameters": {**PARAMETERS, "dataset": "auto"}, "started": "2000-01-01", "minutes": 1, "notebooks": []}
    page = report.render({**info, "data": {}, "environment": {}}, data, [], [])
    assert "This is NOT CIFAR-10" in page and "CIFAR10_DIR" in page


def test_every_figure_has_an_alternative_text(built):
    out = built[1]
    assert (out / "figures" / "empty.png").read_bytes().startswith(b"\x89PNG")
    for page in (out / "index.html", out / "notebooks" / "00_good.html"):
        images = re.findall(r"<img[^>]*>", page.read_text())
        assert images and all("An empty pair of axes" in image for image in images)


def test_pages_need_no_network(built):
    for page in (built[1] / "index.html", *(built[1] / "notebooks").glob("*.html")):
        text = page.read_text()
        assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|png|svg|woff2?)[^"]*"', text), page.name
        assert not re.findall(r"""(?:import|url|require)\s*\(?\s*['"]https?://""", text), page.name
        assert "<script src" not in text


def test_formulas_are_rendered_and_code_is_left_alone(built):
    text = (built[1] / "notebooks" / "00_good.html").read_text()
    assert "<mfrac>" in text and "\\frac" not in text
    assert "code $not math$" in text


def test_record_refuses_a_report_with_a_failure(built, capsys):
    assert main(["record", "--out", str(built[1])]) == 2
    assert "01_bad failed" in capsys.readouterr().err


def test_record_copies_outputs_and_nothing_of_papermill(tmp_path, monkeypatch):
    notebooks = tmp_path / "source"
    notebooks.mkdir()
    write_notebook(notebooks, "00_good", GOOD)
    monkeypatch.setattr(report, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(settings, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.setattr(pipeline, "start", lambda **_: None)
    monkeypatch.setattr(pipeline, "ship", lambda _: {})
    (tmp_path / "README.md").write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    assert report.build(PARAMETERS, tmp_path / "out")
    recording.record(tmp_path / "out")
    committed = nbformat.read(notebooks / "00_good.ipynb", as_version=4)
    assert "papermill" not in json.dumps(committed)
    assert [c.source for c in committed.cells][1] == PARAMETERS_CELL
    assert report.figures_in(committed)[0]["name"] == "empty"
    assert (tmp_path / "figures" / "resnet20" / "empty.png").is_file() and (
        tmp_path / "figures" / "results.json"
    ).is_file()
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("after\n") and "old" not in readme
    assert "| PGD | fine-tuned | with AE | 79.36 | 70.0 [39.7, 89.2] |" in readme


def test_the_readme_shows_the_recorded_results():
    text = (settings.ROOT / "README.md").read_text()
    shown = text.split(tables.README_MARKERS[0])[1].split(tables.README_MARKERS[1])[0]
    assert shown.strip() == tables.readme_table(tables.recorded_results())


def test_bad_parameters_stop_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "execute", lambda *_: pytest.fail("a notebook was run"))
    for wrong in ({"profile": "huge"}, {"dataset": "mnist"}):
        with pytest.raises(CourseError, match="unknown"):
            report.build({**PARAMETERS, **wrong}, tmp_path)
    with pytest.raises(CourseError, match="no parameter 'color'"):
        report.build({**PARAMETERS, "color": 1}, tmp_path)
