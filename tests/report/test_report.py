"""The report: what it says, what it says when a notebook fails, and that it needs no network."""

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import artifacts, classifiers, datasets, evaluation, pipeline, report, settings
from helpers.artifacts import provenance
from helpers.cli.app import main
from helpers.datasets import patches10
from helpers.evaluation import titles
from helpers.maintain import record
from helpers.pipeline import published
from helpers.plots import tables
from helpers.report import building, contents, execution, pages, pdf, rendering, summary
from helpers.settings import CourseError

PARAMETERS = {
    "profile": "smoke",
    "dataset": "patches10",
    "model": "resnet20",
    "seed": 0,
    "weights": "course",
    "eps": 8 / 255,
}
PARAMETERS_CELL = (
    'profile = "quick"\ndataset = "auto"\nmodel = "resnet20"\nseed = 0\nweights = "course"\neps = 8 / 255'
)

GOOD = """
import matplotlib.pyplot as plt
import numpy as np
from helpers import classifiers, evaluation, plots

classifiers.card_of(classifiers.shipped("patches10", "resnet20"))
fields = dict(dataset="patches10", profile=profile, model=model, threat="static", eps=eps, steps=10, seed=seed)
evaluation.publish([evaluation.record(np.arange(10) < 7, stage=s, defense=d, input=i, **fields)
                    for s in ("initial", "fine_tuned") for d in ("none", "ae") for i in ("regular", "fgsm", "pgd")])
figure, axis = plt.subplots()
plots.show(figure, "An empty pair of axes, for a test of the report.", "empty", "smoke run")
"""
BAD = "from helpers.settings import CourseError\nraise CourseError('the kettle is empty; fill it')"


def write_notebook(
    folder, name, code, text="One formula, $\\frac{1}{n} \\sum_i x_i$, and `code $not math$`."
):
    cells = [
        new_markdown_cell(f"# Title of {name}\n\n{text}"),
        new_code_cell(PARAMETERS_CELL),
        new_code_cell(code),
    ]
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
        patch.setattr(contents, "NOTEBOOKS", notebooks)
        whole = report.build(PARAMETERS, folder / "out")
    return whole, folder / "out"


def test_a_failed_notebook_is_told_and_the_rest_is_kept(built):
    whole, out = built
    page = (out / "index.html").read_text()
    assert whole is False
    assert "01_bad failed" in page and "in cell 3" in page
    assert "the kettle is empty; fill it" in page
    assert "raise CourseError" in page, "the cell that failed is shown"
    assert (
        re.search(r'<details class="code" id="01_bad-failed" open', page) and 'href="#01_bad-failed"' in page
    )
    assert "what is missing is no finding" in page
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
    for word in (
        "lock_sha256",
        "tensorflow",
        "commit",
        "seed",
        "Peak memory",
        "Minutes",
        patches10.load().sha256,
    ):
        assert word in page
    file = classifiers.shipped("patches10", "resnet20")
    weights = [{"file": "weights/patches10/resnet20.h5", "sha256": provenance.sha256_of(file)}]
    assert json.loads((built[1] / "run.json").read_text())["weights"] == weights, (
        "the kernel's own reading is noted"
    )
    assert weights[0]["file"] in page and weights[0]["sha256"] in page


def test_a_report_of_some_notebooks_runs_these_alone(tmp_path, monkeypatch):
    notebooks = tmp_path / "source"
    notebooks.mkdir()
    networks = "import os\nfrom helpers.plots import say\nsay('networks: ' + os.environ['COURSE_NETWORKS'])"
    write_notebook(notebooks, "00_good", networks)
    write_notebook(notebooks, "01_bad", BAD)
    monkeypatch.setattr(contents, "NOTEBOOKS", notebooks)
    monkeypatch.setenv("COURSE_NETWORKS", "")
    assert report.build(PARAMETERS, tmp_path / "out", ["00"])
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["only"] == ["00_good"] == [one["notebook"] for one in run["notebooks"]]
    assert run["networks"] == "trained"  # a smoke run's, though notebooks may take those that are shipped
    assert "networks: shipped" in (tmp_path / "out" / "index.html").read_text()
    with pytest.raises(CourseError, match="there is no notebook '09'"):
        report.build(PARAMETERS, tmp_path / "out", ["00", "09"])


def test_shipped_networks_are_for_full_runs_that_have_them(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_NETWORKS", "")
    with pytest.raises(CourseError, match="a smoke run trains its own: leave --networks out"):
        report.build(PARAMETERS, tmp_path / "out", shipped=True)
    with pytest.raises(
        CourseError, match="ships no networks of resnet20 on patches10 for these parameters; train"
    ):
        report.build({**PARAMETERS, "profile": "full"}, tmp_path / "out", shipped=True)
    assert not (tmp_path / "out").exists()


def test_a_kernel_that_dies_loses_neither_report_nor_the_rest(tmp_path, monkeypatch):
    notebooks = tmp_path / "source"
    notebooks.mkdir()
    write_notebook(notebooks, "00_deadly", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    write_notebook(notebooks, "01_good", GOOD)
    monkeypatch.setattr(contents, "NOTEBOOKS", notebooks)
    assert not report.build(PARAMETERS, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "00_deadly failed" in page and "the kernel died" in page
    assert "SIGKILL" in page and "Title of 01_good" in page


@pytest.mark.parametrize("name", [".", "notebooks", "weights/cifar10", "figures"])
def test_a_report_does_not_replace_the_course(name, monkeypatch):
    monkeypatch.setattr(building, "_build", lambda *_: pytest.fail("a report was begun"))
    with pytest.raises(CourseError, match="is the course's own; name another folder for the report: --out"):
        report.build(PARAMETERS, settings.ROOT / name)


def test_a_report_replaces_reports_and_nothing_else(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(building, "_build", lambda *arguments: begun.append(arguments) or True)
    (tmp_path / "thesis" / "notebooks").mkdir(parents=True)
    with pytest.raises(
        CourseError, match="thesis/ holds notebooks, which no report made and a report would replace"
    ):
        report.build(PARAMETERS, tmp_path / "thesis")
    assert not begun and (tmp_path / "thesis" / "notebooks").is_dir()
    assert report.build(PARAMETERS, tmp_path / "new")
    (tmp_path / "new" / "notebooks").mkdir()
    assert report.build(PARAMETERS, tmp_path / "new") and len(begun) == 2, "its own it may replace"
    with (
        artifacts.sole(tmp_path / "new" / building.RUNNING, ""),
        pytest.raises(CourseError, match="another report is being written into new/; wait for it"),
    ):
        report.build(PARAMETERS, tmp_path / "new")


def test_no_folder_of_this_machine_is_in_a_report(tmp_path, monkeypatch):
    notebooks = tmp_path / "source"
    notebooks.mkdir()
    write_notebook(notebooks, "00_good", GOOD)
    monkeypatch.setattr(contents, "NOTEBOOKS", notebooks)
    mine = tmp_path / "at home" / "mine.h5"
    mine.parent.mkdir()
    shutil.copy(classifiers.shipped("patches10", "resnet20"), mine)
    assert report.build({**PARAMETERS, "weights": str(mine)}, tmp_path / "out")
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"at home" not in file.read_bytes(), file.name
    assert json.loads((tmp_path / "out" / "run.json").read_text())["parameters"]["weights"] == "mine.h5"


def test_a_run_does_not_overwrite_its_notebook(tmp_path):
    write_notebook(tmp_path, "00_good", GOOD)
    before = (tmp_path / "00_good.ipynb").read_bytes()
    with pytest.raises(CourseError, match="00_good.ipynb would be overwritten by its own run"):
        report.execute(tmp_path / "00_good.ipynb", tmp_path / "." / "00_good.ipynb", PARAMETERS)
    assert (tmp_path / "00_good.ipynb").read_bytes() == before


def test_minutes_are_said_to_leave_out_what_was_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path)
    (tmp_path / "autoencoder").mkdir()
    (tmp_path / "autoencoder" / "a.npz").touch()
    now = datetime.now(UTC)
    files = [{"file": "weights/cifar10/resnet20.h5"}, {"file": "artifacts/autoencoder/a.npz"}]
    assert rendering._used_earlier_artifacts(files, now + timedelta(minutes=1))
    assert not rendering._used_earlier_artifacts(files, now - timedelta(minutes=1))
    assert not rendering._used_earlier_artifacts(files[:1], now + timedelta(minutes=1))


def test_weight_files_and_artifacts_are_noted_while_asked_for(artifacts_folder, tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_FILES_LOG", raising=False)
    inside, outside, images = (
        artifacts_folder / "ae" / "1.npz",
        tmp_path / "mine.h5",
        tmp_path / "attacks.npy",
    )
    answers = artifacts_folder / "ladder" / "2.result.json"
    for file in (inside, outside, images, answers):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(file.name.encode())
    with provenance.files_used() as used:
        for file in (outside, images, inside, answers, outside):
            provenance.sha256_of(file)
    provenance.sha256_of(outside)
    assert [u["file"] for u in used] == ["artifacts/ae/1.npz", "artifacts/ladder/2.result.json", "mine.h5"]
    weights = provenance.weights_among(used)
    assert [u["file"] for u in weights] == ["artifacts/ae/1.npz", "mine.h5"]
    assert weights[1]["sha256"] == provenance.sha256_of(outside)
    assert building._weights_without_card({"weights": str(outside), "model": "resnet20"}) == [outside]
    assert building._weights_without_card({"weights": "course", "model": "resnet20"}) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    downloaded = tmp_path / ".tensorflow" / "models" / "resnet20_cifar10-0597-9b0024ac.h5"
    downloaded.parent.mkdir(parents=True)
    downloaded.touch()
    assert building._weights_without_card({"weights": "tf2cv", "model": "resnet20"}) == [downloaded]


def test_a_run_on_other_data_says_so_loudly(built):
    page = (built[1] / "index.html").read_text()
    assert re.search(r'class="notice".*This is not CIFAR-10', page, re.DOTALL)
    assert page.index("This is not CIFAR-10") < page.index("<table")
    assert "79.36" not in page, "the paper's numbers are not set beside numbers from other data"


def test_the_fallback_says_so_loudly(monkeypatch, tmp_path):
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    data = datasets.load("auto")
    info = {
        "parameters": {**PARAMETERS, "dataset": "auto"},
        "started": "2000-01-01",
        "minutes": 1,
        "notebooks": [],
    }
    page = report.render({**info, "data": {}, "environment": {}}, data, [], [])
    assert "This is NOT CIFAR-10" in page and "CIFAR10_DIR" in page


def test_every_figure_has_an_alternative_text(built):
    out = built[1]
    assert (out / "figures" / "empty.png").read_bytes().startswith(b"\x89PNG")
    images = re.findall(r"<img[^>]*>", (out / "index.html").read_text())
    assert sum("An empty pair of axes" in image for image in images) == 1
    assert all(re.search(r'alt="[^"]{30,}"', image) for image in images)


def test_the_page_needs_no_network_and_no_other_file(built):
    text = (built[1] / "index.html").read_text()
    assert "<script src" not in text and "<link" not in text
    assert not re.findall(r"""(?:import|url|require)\s*\(?\s*['"]?https?://""", text)
    for target in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert re.match(r"(data:|https?:|#)", target), target
        assert not target.startswith("#") or f'id="{target[1:]}"' in text, target
    assert not re.findall(r'src="(?!data:)', text)


def test_formulas_are_rendered_and_code_is_left_alone(built):
    text = (built[1] / "index.html").read_text()
    assert "<mfrac>" in text and "\\frac" not in text
    assert "code $not math$" in text


def test_the_same_run_gives_the_same_page(built, monkeypatch, tmp_path):
    run = json.loads((built[1] / "run.json").read_text())
    monkeypatch.setattr(provenance, "environment", lambda: run["environment"])
    pages_written = []
    for name in ("first", "second"):
        shutil.copytree(built[1] / "notebooks", tmp_path / name / "notebooks")
        started = datetime.fromisoformat(run["started"])
        report.write(tmp_path / name, PARAMETERS, patches10.load(), run["notebooks"], started, run["weights"])
        pages_written.append((tmp_path / name / "index.html").read_bytes())
    assert pages_written[0] == pages_written[1] == (built[1] / "index.html").read_bytes()


@pytest.mark.skipif(pdf.find_browser() is None, reason="there is no Chromium here: apt-get install chromium")
def test_the_pdf_lies_beside_the_page(built):
    pdf = (built[1] / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    count = max(map(int, re.findall(rb"/Type\s*/Pages.*?/Count (\d+)", pdf, re.DOTALL)), default=0)
    assert 4 <= count <= 10, "a page or more for the summary, two chapters, provenance"


def test_without_a_browser_the_report_says_how_to_get_the_pdf(monkeypatch, tmp_path, capsys):
    (tmp_path / "index.html").write_text("<p>a page")
    monkeypatch.setattr(pdf, "find_browser", lambda: None)
    with pytest.raises(
        CourseError, match="apt-get install chromium.*open index.html in any browser and print it"
    ):
        pdf.print_to_pdf(tmp_path / "index.html", tmp_path / "report.pdf")
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(pdf, "find_browser", lambda: str(broken))
    with pytest.raises(CourseError, match="chromium could not print index.html"):
        pdf.print_to_pdf(tmp_path / "index.html", tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()


def test_record_refuses_a_report_with_a_failure(built, capsys):
    assert main(["record", "--out", str(built[1])]) == 2
    assert "01_bad failed" in capsys.readouterr().err


def test_record_copies_outputs_and_nothing_of_papermill(tmp_path, monkeypatch, capsys):
    notebooks = tmp_path / "source"
    notebooks.mkdir()
    write_notebook(notebooks, "00_good", GOOD)
    monkeypatch.setattr(contents, "NOTEBOOKS", notebooks)
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
    assert report.build(PARAMETERS, tmp_path / "out")
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
    assert [c.source for c in committed.cells][1] == PARAMETERS_CELL
    assert report.figures_in(committed)[0]["name"] == "empty"
    assert (tmp_path / "figures" / "resnet20" / "empty.png").is_file() and (
        tmp_path / "figures" / "results.json"
    ).is_file()
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("after\n") and "old" not in readme
    assert "| PGD | fine-tuned | with AE | 79.36 | 70.0 [39.7, 89.2] |" in readme


@pytest.mark.parametrize(
    ("title", "begun"), [("PGD training", "PGD training"), ("one step", "One step"), ("", "")]
)
def test_titles_that_begin_a_sentence_keep_their_capitals(title, begun):
    assert titles.capitalize(title) == begun


def test_the_readme_shows_the_recorded_results():
    text = (settings.ROOT / "README.md").read_text()
    shown = text.split(tables.README_MARKERS[0])[1].split(tables.README_MARKERS[1])[0]
    assert shown.strip() == record.readme(pipeline.recorded_results())


def test_bad_parameters_stop_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "execute", lambda *_: pytest.fail("a notebook was run"))
    for wrong in ({"profile": "huge"}, {"dataset": "mnist"}):
        with pytest.raises(CourseError, match="unknown"):
            report.build({**PARAMETERS, **wrong}, tmp_path)
    with pytest.raises(CourseError, match="no parameter 'color'"):
        report.build({**PARAMETERS, "color": 1}, tmp_path)


# --------------------------------------------------------------------------------------------------------- chapters


def chapter_of(*cells, name="05_results", others=("01_fgsm_and_pgd",)):
    notebook = new_notebook(cells=[new_markdown_cell(c) if isinstance(c, str) else c for c in cells])
    chapter = pages.chapter(notebook, name, others)
    return chapter, BeautifulSoup(chapter.html, "html.parser")


def test_a_chapters_headings_stand_below_the_reports_and_leave_no_level_out():
    chapter, page = chapter_of("# Results\n\n## One\n\n#### Deep\n\n# Another\n\n## One")
    assert chapter.title == "Results"
    assert [h.name for h in page.find_all(re.compile("^h[1-6]$"))] == ["h2", "h3", "h4", "h2", "h3"]
    ids = [element["id"] for element in page.find_all(id=True)]
    assert (
        ids[0] == "05_results" and len(set(ids)) == len(ids) and all(i.startswith("05_results") for i in ids)
    )
    assert [a["href"] for a in page.select(".sections a")] == ["#05_results-one", "#05_results-one-again"]
    assert chapter_of("no heading")[0].title == "05_results"


def test_links_lead_to_chapters_or_become_text():
    text = "# T\n\n[a](01_fgsm_and_pgd.ipynb) [b](exercises/01_fgsm_and_pgd.ipynb) [c](../weights/card.json) "
    _, page = chapter_of(text + "[d](https://example.org) [e](#The-end)\n\n## The end")
    links = {a.get_text(): a["href"] for a in page.select("p a")}
    assert links == {"a": "#01_fgsm_and_pgd", "d": "https://example.org", "e": "#05_results-the-end"}
    assert "b c" in page.p.get_text()


def test_pandas_tables_can_be_heard():
    frame = tables.paper_table([], "resnet20")
    html = frame._repr_html_()
    cell = new_code_cell(
        "frame", outputs=[new_output("display_data", {"text/html": html, "text/plain": "no"})]
    )
    _, page = chapter_of("# T\n\n## The table", cell)
    (header,) = page.select("thead tr")
    assert [th.get_text() for th in header.find_all("th")][:4] == ["input", "stage", "defense", "paper"]
    assert all(th["scope"] == "col" for th in header.find_all("th"))
    assert {th["scope"] for th in page.select("tbody th")} == {"row", "rowgroup"}
    assert page.table.parent["tabindex"] == "0" and page.table.parent["aria-label"] == "Table: The table"
    assert not page.find_all("style")


def test_code_is_folded_and_a_failure_is_not():
    good = new_code_cell(
        "a = 1", execution_count=1, outputs=[new_output("stream", name="stdout", text="<b>1</b>")]
    )
    error = new_output("error", ename="E", evalue="v", traceback=["\x1b[31mline <1>\x1b[0m"])
    script = new_output("display_data", {"text/html": "<p>kept</p><script>left()</script>"})
    _, page = chapter_of("# T", good, new_code_cell("bad()", execution_count=2, outputs=[script, error]))
    folded, open_ = page.select("details.code")
    assert "open" not in folded.attrs and "open" in open_.attrs and open_["id"] == "05_results-failed"
    assert page.select("pre.output")[0].get_text() == "<b>1</b>"
    assert "line <1>" in page.select("pre.error")[0].get_text()
    assert "kept" in page.get_text() and not page.find_all("script")
    assert (
        "$"
        not in chapter_of(
            "# T",
            new_code_cell("s", outputs=[new_output("display_data", {"text/markdown": "the value is $x^2$"})]),
        )[1].get_text()
    )


# ---------------------------------------------------------------------------------------------------------- summary

CIFAR = {**PARAMETERS, "dataset": "cifar10", "profile": "quick"}
BARE, BEHIND, DEFENDED = ("pgd", "initial", "none"), ("pgd", "initial", "ae"), ("pgd", "fine_tuned", "ae")


def record_of(cell, percent, threat="static", n=1000, eps=8 / 255, model="resnet20"):
    kind, stage, defense = cell
    fields = {"dataset": "cifar10", "profile": "quick", "model": model, "seed": 0, "threat": threat}
    eps, steps = (0, 0) if kind == "regular" else (eps, {"fgsm": 1, "pgd": 10}.get(kind, 100))
    correct = np.arange(n) < round(n * percent / 100)
    return evaluation.record(
        correct, stage=stage, defense=defense, input=kind, eps=eps, steps=steps, **fields
    )


def summary_of(*records, **changes):
    parameters = {**CIFAR, **changes}
    return summary.of_run(parameters, parameters["dataset"], list(records))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (10, 60, "the defense helps"),
        (60, 10, "the defense does harm"),
        (50, 51, "makes no difference that this run"),
    ],
)
def test_the_answer_says_what_the_protocol_gives(before, after, words):
    found = summary_of(record_of(BARE, before), record_of(DEFENDED, after))
    assert (
        words in found.answer[0]
        and f"{before:.1f}% [" in found.answer[0]
        and f"{after:.1f}% [" in found.answer[0]
    )
    assert "0.13% and 79.36%" in found.answer[0]


@pytest.mark.parametrize(
    ("static", "adaptive", "words", "claim"),
    [
        (70, 0, "falls", "no"),
        (70, 50, "loses a part", "no"),
        (70, 71, "no worse that this run can see", "undecided"),
        (50, 70, "doubt that attack", "yes"),
    ],
)
def test_the_answer_says_what_is_left_for_an_attacker_who_knows(static, adaptive, words, claim):
    found = summary_of(record_of(DEFENDED, static), record_of(DEFENDED, adaptive, "adaptive"))
    assert words in found.answer[1] and f"leave {adaptive:.1f}%" in found.answer[1]
    verdicts = {c.text: c.verdict for c in found.claims}
    assert verdicts["The defense is as good against an attacker who knows it."] == claim


def test_what_was_not_measured_is_said_to_be_missing():
    found = summary_of()
    assert all("was not measured" in sentence for sentence in found.answer)
    assert {claim.verdict for claim in found.claims} == {"not measured"}
    assert found.comparison == "" and not found.figures and "No notebook of this run" in found.adaptive
    half = summary_of(record_of(BARE, 10))
    assert "was not measured" in half.answer[0] and set(half.figures) == {"paper"}


def test_the_comparison_counts_signs_and_distances():
    shift = 10
    records = [
        record_of(cell, max(0, value - shift), n=10_000)
        for cell, value in published.PAPER["resnet20"].items()
    ]
    found = summary_of(*records)
    assert "11 differences" in found.comparison
    assert "11 with the paper's sign here, 0 with the other" in found.comparison
    assert "by more than 10.0 points" in found.comparison and "in 0 of 12" in found.comparison
    assert (
        "in 12 of 12"
        in summary_of(*(record_of(c, v) for c, v in published.PAPER["resnet20"].items())).comparison
    )
    turned = [record_of(cell, 100 - value, n=10_000) for cell, value in published.PAPER["resnet20"].items()]
    assert "0 with the paper's sign here, 11 with the other" in summary_of(*turned).comparison


def test_only_the_records_of_this_run_count():
    right = record_of(DEFENDED, 70)
    others = (
        record_of(DEFENDED, 1, eps=4 / 255),
        record_of(DEFENDED, 1, model="sepreresnet56"),
        record_of(DEFENDED, 1, n=10),
        record_of(DEFENDED, 1, eps=0),
    )
    assert summary_of(right, *others).static == {DEFENDED: right}
    assert summary_of(*others, right).static == {DEFENDED: right}
    worst = record_of(("worst_case", "fine_tuned", "ae"), 3, "adaptive", n=100)
    assert (
        "All attacks of this run together leave 3.0%"
        in summary_of(right, record_of(DEFENDED, 5, "adaptive"), worst).adaptive
    )


def test_networks_trained_on_attacks_are_all_named():
    assert len(summary_of(record_of(DEFENDED, 70)).answer) == 2
    systems = {("single_step", "none"): (78, 37), ("joint", "ae"): (75, 30), ("initial", "none"): (92, 1)}
    found = summary_of(
        *(record_of(("regular", *system), clean) for system, (clean, _) in systems.items()),
        *(record_of(("worst_case", *system), worst, "adaptive") for system, (_, worst) in systems.items()),
    )
    last = found.answer[-1]
    assert "single-step adversarial training 37.0% [" in last and "(78.0% unchanged)" in last
    assert "trained together 30.0% [" in last and "initial" not in last


def test_what_a_network_began_with_is_said_with_its_numbers():
    def doubts(model, **changes):
        return " ".join(summary_of(record_of(DEFENDED, 70, model=model), model=model, **changes).doubts)

    said = doubts("efficientnet_b0")
    assert (
        "training began with EfficientNet-Lite0, ImageNet." in said
        and "for one pass over the six sources" in said
    )
    assert "ImageNet" not in doubts("efficientnet_b0", weights="none")
    assert "began with" not in doubts("resnet20") and "one pass" not in doubts("resnet20")


@pytest.mark.parametrize("changes", [{"eps": 4 / 255}, {"dataset": "patches10"}])
def test_other_budgets_and_data_are_not_set_beside_the_paper(changes):
    eps = changes.get("eps", 8 / 255)
    found = summary_of(record_of(BARE, 10, eps=eps), record_of(DEFENDED, 60, eps=eps), **changes)
    words = " ".join(
        [*found.answer, found.comparison, *found.doubts, *(f["alt"] for f in found.figures.values())]
    )
    assert "the defense helps" in words
    assert (
        "paper:" not in words
        and "79.36" not in words
        and "RobustBench" not in words
        and "Hollow" not in words
    )


def rendered(records, data=None, **changes):
    parameters = {**CIFAR, **changes}
    info = {"parameters": parameters, "started": "2000-01-01", "minutes": 1, "notebooks": [], "data": {}}
    return report.render(
        {**info, "weights": [], "environment": {}}, data or cifar10_without_images(), records, []
    )


def cifar10_without_images():
    nothing = datasets.Split(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, int))
    return datasets.Data("cifar10", nothing, nothing, nothing, tuple("abcdefghij"), (0, 0, 0), (1, 1, 1))


def test_a_network_without_a_table_in_the_paper(monkeypatch):
    monkeypatch.delitem(published.PAPER, "resnet20")
    text = rendered([record_of(BARE, 10), record_of(DEFENDED, 60)])
    assert "The paper has no numbers of this network." in text and ">60.0 [" in text
    assert "79.36" not in text and "It reports that" not in text and "The paper against this run" not in text


def test_the_profile_is_said_loudly_unless_it_is_full():
    for profile in ("smoke", "quick"):
        assert f"<strong>A {profile} run.</strong>" in rendered([], profile=profile)
    assert 'class="notice"' not in rendered([], profile="full")


def test_a_missing_cell_is_a_dash():
    text = rendered([record_of(BARE, 10), record_of(BARE, 5, "grey_box"), record_of(BEHIND, 3, "adaptive")])
    assert (
        "–" in text and "10.0 [" in text and "None" not in BeautifulSoup(text, "html.parser").main.get_text()
    )


# ------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_an_unknown_parameter_of_make_is_refused():
    def make(*words):
        return subprocess.run(["make", "-n", *words], cwd=settings.ROOT, capture_output=True, text=True)

    wrong = make("report", "EPZ=4/255")
    assert wrong.returncode == 2 and "there is no parameter EPZ; there are PYTHON PROFILE" in wrong.stderr
    right = make("report", "MODEL=sepreresnet56", "EPS=4/255", "WEIGHTS=my file.h5")
    assert right.returncode == 0 and '--eps "4/255"' in right.stdout and '"my file.h5"' in right.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_verify_asks_for_every_network_unless_one_is_named():
    # What the tests themselves were called with (make test MODEL=...) would be handed on in MAKEFLAGS.
    environment = {name: value for name, value in os.environ.items() if name not in ("MODEL", "MAKEFLAGS")}

    def verify(*words):
        words = ["make", "-n", "verify", *words]
        return subprocess.run(
            words, cwd=settings.ROOT, capture_output=True, text=True, env=environment
        ).stdout

    assert "helpers verify" in verify() and "--model" not in verify()
    assert 'helpers verify --model "sepreresnet56"' in verify("MODEL=sepreresnet56")
