"""Every notebook runs once through papermill; nbval runs one again, or all, and compares what they print."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from nbval.plugin import coalesce_streams

from helpers import report, settings
from helpers.settings import CourseError

PARAMETERS = ("profile", "dataset", "model", "seed", "weights", "eps")
NOTEBOOKS = sorted(report.numbered() + report.optional())
COMPARED = "00_start_here"
"""The notebook that nbval runs again in every full test; the others run again in `make test-all`."""
SETTLED = ("02-06", "choosing-04", "choosing-18", "breaking-04")
"""Cells that print the same whatever the data and the profile: a run must print what is committed."""


def test_the_course_has_its_notebooks():
    assert [n.name[:2] for n in report.numbered()] == [f"{k:02d}" for k in range(9)]
    assert all(n.name[:2] in {m.name[:2] for m in report.numbered()} for n in report.optional())


def test_an_optional_notebook_follows_its_own_and_has_a_number_of_its_own():
    names = [n.stem for n in report.chapters()]
    for path in report.optional():
        number = path.stem.partition("_")[0]
        assert report.find(number) == path and report.find(number[:2]) in report.numbered()
        assert names[names.index(path.stem) - 1][:2] == number[:2]
        assert "(optional" in path.read_text() and path not in report.numbered()


def test_the_maps_show_every_notebook_and_every_exercise():
    readme, syllabus = ((settings.ROOT / name).read_text() for name in ("README.md", "notebooks/README.md"))
    for notebook in report.chapters():
        assert f"(notebooks/{notebook.name})" in readme and f"]({notebook.name})" in syllabus
    for path in (settings.ROOT / "notebooks" / "exercises").glob("*.ipynb"):
        minutes = [int(m) for m in re.findall(r"\*(\d+) minutes, ", path.read_text())]
        assert f"[{len(minutes)}, {sum(minutes)} min](exercises/{path.name})" in syllabus, path.name


@pytest.fixture(scope="session")
def store(tmp_path_factory, artifacts_folder):
    """A store that the workers of pytest-xdist share: each network is trained once for all notebooks."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "notebooks-artifacts"
    folder.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        (folder / "datasets").symlink_to(artifacts_folder / "datasets")
    return folder


def execute(notebook: Path, folder: Path, store: Path) -> tuple[dict, nbformat.NotebookNode]:
    """Run a notebook in smoke by papermill, on CIFAR-10 where it is, else on patches10.

    eps is text, as ``papermill -p eps 8/255`` passes it.

    Returns:
        What report.execute says of the run, and the executed copy.
    """
    parameters = dict(zip(PARAMETERS, ("smoke", "auto", "resnet20", 0, "course", "8/255"), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(store))
        run = report.execute(notebook, folder / notebook.name, parameters)
    return run, nbformat.read(folder / notebook.name, as_version=4)


def printed(cell: nbformat.NotebookNode) -> str:
    """Return what a cell writes to its streams, joined as nbval joins it."""
    return "".join(
        output["text"] for output in coalesce_streams(cell.outputs) if output.output_type == "stream"
    )


@pytest.mark.deep
@pytest.mark.parametrize("notebook", [*NOTEBOOKS, *report.appendices()], ids=lambda n: n.stem)
def test_runs_through_papermill(store, notebook, tmp_path):
    """A notebook runs, says nothing on stderr, describes its figures, and prints its settled cells again."""
    run, executed = execute(notebook, tmp_path, store)
    assert run["error"] is None
    assert run["peak_mib"] < 4096
    for output in report.outputs_of(executed):
        assert output.get("name") != "stderr", f"the notebook writes to stderr: {output['text'][:300]}"
    assert all(len(figure["alt"]) > 30 for figure in report.figures_in(executed))
    committed = {cell.id: cell for cell in nbformat.read(notebook, as_version=4).cells}
    for cell in executed.cells:
        if cell.id in SETTLED:
            assert printed(cell) == printed(committed[cell.id]), cell.id
    if notebook.stem == "05_results":
        records = report.records_in(executed)
        static = {(r["stage"], r["defense"], r["input"]) for r in records if r["threat"] == "static"}
        assert len(static) == 12, "the paper's table has twelve cells"
        assert {r["threat"] for r in records} == {"static", "grey_box", "adaptive"}


@pytest.mark.parametrize(
    "notebook",
    [
        pytest.param(n, id=n.stem, marks=pytest.mark.deep if n.stem == COMPARED else pytest.mark.slow)
        for n in NOTEBOOKS
    ],
)
def test_prints_the_same_again_under_nbval(store, notebook, tmp_path):
    """nbval runs an executed copy again and compares the outputs of the cells that are marked for it."""
    run, _ = execute(notebook, tmp_path, store)
    if run["error"]:
        pytest.fail("it did not run through papermill")
    options = (
        f"--nbval-lax --nbval-cell-timeout=600 -q -p no:cacheprovider --rootdir {tmp_path} -c {os.devnull}"
    )
    command = [sys.executable, "-m", "pytest", *options.split(), str(tmp_path / notebook.name)]
    # PYTEST_ADDOPTS is meant for these tests, not for nbval's.
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    where = settings.ROOT / "notebooks"
    env["ARTIFACTS_DIR"] = str(store)
    done = subprocess.run(command, capture_output=True, text=True, cwd=where, env=env, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_settled_cells_are_compared():
    marked = {
        cell.id
        for notebook in NOTEBOOKS
        for cell in nbformat.read(notebook, as_version=4).cells
        if "nbval-check-output" in cell.metadata.get("tags", [])
    }
    assert set(SETTLED) <= marked


def test_nbval_compares_what_is_marked():
    """Notebooks that measure something have cells whose outputs are compared, or the test above compares
    nothing."""
    for notebook in NOTEBOOKS:
        cells = nbformat.read(notebook, as_version=4).cells
        assert any("nbval-check-output" in cell.metadata.get("tags", []) for cell in cells), notebook.stem


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_follows_the_template(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    assert cells[0].source.startswith(f"# {notebook.stem.partition('_')[0]} · ")
    for word in ("The question", "You will learn", "You need", "Minutes"):
        assert word in cells[0].source
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1 and cells.index(tagged[0]) == 1
    assert all(f"{name} = " in tagged[0].source for name in PARAMETERS)
    assert all(len(c.source.splitlines()) <= 20 for c in cells if c.cell_type == "code")
    closing = "\n".join(c.source for c in cells[-3:])
    closings = ("What we saw", "What we found", "What to believe", "conclusions(")
    assert any(word in closing for word in closings)
    assert "Try it" in closing and "References" in closing
    assert not any(o.output_type == "error" for c in cells for o in c.get("outputs", []))


def test_each_figure_has_its_own_name_and_an_alternative_text():
    figures = [f for n in NOTEBOOKS for f in report.figures_in(nbformat.read(n, as_version=4))]
    assert len(figures) >= 8
    assert len({f["name"] for f in figures}) == len(figures)
    assert all(len(f["alt"]) > 30 for f in figures)


def test_unknown_parameter_is_refused():
    with pytest.raises(CourseError, match="no parameter 'epz'; it has .*eps"):
        report.execute(NOTEBOOKS[0], settings.ARTIFACTS / "never.ipynb", {"epz": 0.1})
