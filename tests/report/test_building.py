"""Building a report: of what, into which folder, and what is in it when a notebook fails."""

import json
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from small_notebooks import BAD, GOOD, PARAMETERS, run_here, write_notebook

from helpers import artifacts, classifiers, datasets, evaluation, report, settings
from helpers.artifacts import provenance
from helpers.datasets import patches10
from helpers.report import building, contents, execution, pdf, rendering
from helpers.settings import CourseError


def no_browser():
    """Find no browser, so that no PDF is printed."""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A course without notebooks yet. They run in this process, and there is no browser."""
    folder = tmp_path / "source"
    folder.mkdir()
    monkeypatch.setattr(contents, "NOTEBOOKS", folder)
    run_here(monkeypatch)
    monkeypatch.setattr(pdf, "find_browser", no_browser)
    return folder


def report_of_two(folder):
    """Build a report of two small notebooks, the second of which fails."""
    source = folder / "source"
    source.mkdir()
    write_notebook(source, "00_good", GOOD)
    write_notebook(source, "01_bad", BAD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "NOTEBOOKS", source)
        whole = report.build(PARAMETERS, folder / "out", fresh=True)
    return whole, folder / "out"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A report of two small notebooks that ran in this process."""
    with pytest.MonkeyPatch.context() as patch:
        run_here(patch)
        patch.setattr(pdf, "find_browser", no_browser)
        return report_of_two(tmp_path_factory.mktemp("report"))


@pytest.mark.deep
def test_kernels_give_what_the_other_tests_take_from_this_process(built, tmp_path):
    whole, out = report_of_two(tmp_path)
    assert whole is False
    for name in ("results.json", "run.json"):
        here, there = (json.loads((folder / name).read_text()) for folder in (built[1], out))
        for changing in ("started", "minutes", "environment", "notebooks", "usage"):
            here.pop(changing, None), there.pop(changing, None)
        assert here == there, name
    page = (out / "index.html").read_text()
    assert "01_bad failed" in page and "the kettle is empty; fill it" in page
    runs = json.loads((out / "run.json").read_text())["notebooks"]
    assert all(run["peak_mib"] > 10 for run in runs) and runs[1]["error"]["cell"] == 3
    if pdf.find_browser() is None:
        pytest.skip("there is no Chromium here to print the PDF: apt-get install chromium")
    printed = (out / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF-")
    count = max(map(int, re.findall(rb"/Type\s*/Pages.*?/Count (\d+)", printed, re.DOTALL)), default=0)
    assert 4 <= count <= 10, "a page or more for the summary, two chapters, provenance"


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
    assert "a missing number is not a finding" in page
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


def test_a_report_of_some_notebooks_runs_these_alone(notebooks, tmp_path, monkeypatch):
    networks = "import os\nfrom helpers.plots import say\nsay('networks: ' + os.environ['COURSE_NETWORKS'])"
    write_notebook(notebooks, "00_good", networks)
    write_notebook(notebooks, "01_bad", BAD)
    monkeypatch.setenv("COURSE_NETWORKS", "")
    assert report.build(PARAMETERS, tmp_path / "out", ["00"])
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["only"] == ["00_good"] == [one["notebook"] for one in run["notebooks"]]
    assert run["networks"] == "shipped"
    assert "networks: shipped" in (tmp_path / "out" / "index.html").read_text()
    with pytest.raises(CourseError, match="there is no notebook '09'"):
        report.build(PARAMETERS, tmp_path / "out", ["00", "09"])


def test_shipped_networks_are_for_full_runs_that_have_them(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_NETWORKS", "")
    with pytest.raises(CourseError, match="--networks is for full runs"):
        report.build(PARAMETERS, tmp_path / "out", shipped=True)
    with pytest.raises(
        CourseError, match="ships no networks of resnet20 on patches10 for these parameters; train"
    ):
        report.build({**PARAMETERS, "profile": "full", "seed": 5}, tmp_path / "out", shipped=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.deep
def test_a_kernel_that_dies_loses_neither_report_nor_the_rest(tmp_path, monkeypatch):
    notebooks = tmp_path / "source"
    notebooks.mkdir()
    write_notebook(notebooks, "00_deadly", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    write_notebook(notebooks, "01_good", GOOD)
    monkeypatch.setattr(contents, "NOTEBOOKS", notebooks)
    assert not report.build(PARAMETERS, tmp_path / "out", fresh=True)
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


def test_no_folder_of_this_machine_is_in_a_report(notebooks, tmp_path):
    write_notebook(notebooks, "00_good", GOOD)
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


def test_without_a_home_tf2cv_has_left_no_weights(without_home):
    assert building._weights_without_card({"weights": "tf2cv", "model": "resnet20"}) == []


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


@pytest.mark.deep
def test_the_same_run_gives_the_same_page(built, monkeypatch, tmp_path):
    run = json.loads((built[1] / "run.json").read_text())
    monkeypatch.setattr(provenance, "environment", lambda: run["environment"])
    pages_written = []
    for name in ("first", "second"):
        shutil.copytree(built[1] / "notebooks", tmp_path / name / "notebooks")
        started = datetime.fromisoformat(run["started"])
        usage = run["usage"]
        report.write(
            tmp_path / name,
            PARAMETERS,
            patches10.load(),
            run["notebooks"],
            started,
            run["weights"],
            networks=run["networks"],
            usage=usage,
        )
        pages_written.append((tmp_path / name / "index.html").read_bytes())
    assert pages_written[0] == pages_written[1] == (built[1] / "index.html").read_bytes()


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


def test_bad_parameters_stop_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "execute", lambda *_: pytest.fail("a notebook was run"))
    for wrong in ({"profile": "huge"}, {"dataset": "mnist"}):
        with pytest.raises(CourseError, match="unknown"):
            report.build({**PARAMETERS, **wrong}, tmp_path)
    with pytest.raises(CourseError, match="no parameter 'color'"):
        report.build({**PARAMETERS, "color": 1}, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CourseError, match="report/ cannot be written here; name another folder: --out"):
        execution.make_folder(tmp_path / "report")
    (tmp_path / "file").touch()
    monkeypatch.undo()
    with pytest.raises(CourseError, match="name another folder"):
        execution.make_folder(tmp_path / "file" / "report")


def test_neither_report_nor_notebook_runs_into_a_folder_that_cannot_be_written(
    notebooks, tmp_path, monkeypatch
):
    monkeypatch.setattr(datasets, "load", lambda name: SimpleNamespace(name=name, notice=""))
    write_notebook(notebooks, "00_good", GOOD)
    source, folder = notebooks / "00_good.ipynb", tmp_path / "file" / "out"
    (tmp_path / "file").touch()
    with pytest.raises(CourseError, match="name another folder"):
        report.build(PARAMETERS, folder)
    with pytest.raises(CourseError, match="name another folder"):
        execution.execute(source, folder / source.name, PARAMETERS)
