"""Every notebook runs: through papermill, and once more through nbval, which compares what it prints."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from helpers import report, settings
from helpers.settings import CourseError

PARAMETERS = ("profile", "dataset", "model", "seed", "weights", "eps")
NOTEBOOKS = report.numbered()


def test_the_course_has_its_notebooks():
    assert [n.name[:2] for n in NOTEBOOKS] == [f"{k:02d}" for k in range(9)]


def test_the_maps_show_every_notebook_and_every_exercise():
    readme, syllabus = ((settings.ROOT / name).read_text() for name in ("README.md", "notebooks/README.md"))
    for notebook in NOTEBOOKS:
        assert f"(notebooks/{notebook.name})" in readme and f"]({notebook.name})" in syllabus
    for path in (settings.ROOT / "notebooks" / "exercises").glob("*.ipynb"):
        minutes = [int(m) for m in re.findall(r"\*(\d+) minutes, ", path.read_text())]
        assert f"[{len(minutes)}, {sum(minutes)} min](exercises/{path.name})" in syllabus, path.name


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, artifacts_folder):
    """The executed smoke copies of all notebooks, by name; CIFAR-10 where it is, else patches10."""
    folder = tmp_path_factory.mktemp("notebooks")
    parameters = dict(zip(PARAMETERS, ("smoke", "auto", "resnet20", 0, "course", 8 / 255), strict=True))
    runs = {n.stem: report.execute(n, folder / n.name, parameters) for n in NOTEBOOKS}
    return folder, runs


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_runs_through_papermill(smoke, notebook):
    folder, runs = smoke
    assert runs[notebook.stem]["error"] is None
    assert runs[notebook.stem]["peak_mib"] < 4096
    executed = nbformat.read(folder / notebook.name, as_version=4)
    for output in report.outputs_of(executed):
        assert output.get("name") != "stderr", f"the notebook writes to stderr: {output['text'][:300]}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_prints_the_same_again_under_nbval(smoke, notebook, tmp_path):
    """nbval runs the executed copy and compares the outputs of the cells that are marked for it."""
    folder, runs = smoke
    if runs[notebook.stem]["error"]:
        pytest.fail("it did not run through papermill")
    options = (
        f"--nbval-lax --nbval-cell-timeout=600 -q -p no:cacheprovider --rootdir {folder} -c {os.devnull}"
    )
    command = [sys.executable, "-m", "pytest", *options.split(), str(folder / notebook.name)]
    env = {
        name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"
    }  # meant for these tests
    where = settings.ROOT / "notebooks"
    done = subprocess.run(command, capture_output=True, text=True, cwd=where, env=env, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_nbval_compares_what_is_marked():
    """Notebooks that measure something have cells whose outputs are compared, or the test above compares
    nothing."""
    for notebook in NOTEBOOKS:
        cells = nbformat.read(notebook, as_version=4).cells
        assert any("nbval-check-output" in cell.metadata.get("tags", []) for cell in cells), notebook.stem


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_follows_the_template(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    assert cells[0].source.startswith(f"# {notebook.stem[:2]} · ")
    for word in ("The question", "You will learn", "You need", "Minutes"):
        assert word in cells[0].source
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1 and cells.index(tagged[0]) == 1
    assert all(f"{name} = " in tagged[0].source for name in PARAMETERS)
    assert all(len(c.source.splitlines()) <= 20 for c in cells if c.cell_type == "code")
    for word in ("What we saw", "Try it", "References"):
        assert (
            any(word in c.source for c in cells[-3:])
            or word == "What we saw"
            and "What to believe" in cells[-1].source
        )
    assert not any(o.output_type == "error" for c in cells for o in c.get("outputs", []))


def test_each_figure_has_its_own_name_and_an_alternative_text(smoke):
    folder, _ = smoke
    figures = [f for n in NOTEBOOKS for f in report.figures_in(nbformat.read(folder / n.name, as_version=4))]
    assert len(figures) >= 8
    assert len({f["name"] for f in figures}) == len(figures)
    assert all(len(f["alt"]) > 30 for f in figures)


def test_the_results_notebook_publishes_the_papers_twelve_cells(smoke):
    folder, _ = smoke
    records = report.records_in(nbformat.read(folder / "05_results.ipynb", as_version=4))
    static = {(r["stage"], r["defense"], r["input"]) for r in records if r["threat"] == "static"}
    assert len(static) == 12
    assert {r["threat"] for r in records} == {"static", "grey_box", "adaptive"}


def test_unknown_parameter_is_refused():
    with pytest.raises(CourseError, match="no parameter 'epz'; it has .*eps"):
        report.execute(NOTEBOOKS[0], settings.ARTIFACTS / "never.ipynb", {"epz": 0.1})
