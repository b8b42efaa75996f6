"""The solution notebooks follow the template and run, unsolved and solved."""

from __future__ import annotations

import re

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from helpers import exercises, report
from helpers.backend import tf
from helpers.exercises import CHECKS
from helpers.maintain import exercise_notebooks

SOLUTIONS = exercise_notebooks.solutions()


def read(path):
    return nbformat.read(path, as_version=4)


LATER: set[str] = set()
"""Notebooks whose exercises are to be written: notebooks/solutions/NN_*.ipynb, and checks in
helpers.exercises."""


def test_every_numbered_notebook_has_exercises():
    course, solved = ({path.name for path in paths} for paths in (report.numbered(), SOLUTIONS))
    assert solved <= course and {name[:2] for name in course - solved} <= LATER
    assert not {name[:2] for name in solved} & LATER, "take it out of LATER"


def test_the_student_notebooks_are_what_the_solutions_give():
    assert exercise_notebooks.outdated() == [], "run 'make exercises'"
    assert exercise_notebooks.generate() == exercise_notebooks.generate()


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_notebook_follows_the_template(path):
    notebook = read(path)
    number, found = path.name[:2], exercise_notebooks.exercises_in(notebook)
    assert notebook.cells[0].source.startswith(f"# {number} · Exercises")
    assert f"(../{path.name})" in notebook.cells[0].source
    assert (
        notebook.cells[1].metadata["tags"] == ["parameters"]
        and 'profile = "smoke"' in notebook.cells[1].source
    )
    assert 3 <= len(found) <= 6
    called = [exercise_notebooks.checks_of(cells) for cells in found.values()]
    expected = {
        int(check.exercise[3:]): name for name, check in CHECKS.items() if check.exercise[:2] == number
    }
    assert called == [[expected[k]] for k in found], "exercise k calls the check NN.k, once"
    for k, cells in found.items():
        heading = cells[0].source
        assert re.search(
            r"^\*\d+ minutes, (warm-up|moderate|harder|open)\. You will ", heading, re.MULTILINE
        ), heading
        minutes, kind = re.search(r"^\*(\d+) minutes, ([a-z-]+)\.", heading, re.MULTILINE).groups()
        assert re.search(rf"^\| {k} \| .+ \| {minutes} \| {kind} \|$", notebook.cells[0].source, re.MULTILINE)
    assert "warm-up" in found[1][0].source and "open" in found[len(found)][0].source
    assert any("rubric" in cell.source for cell in found[len(found)])
    assert not any(cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert all(len(c.source.splitlines()) <= 24 for c in notebook.cells if c.cell_type == "code")


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_student_notebook_gives_nothing_away(path):
    student = read(exercise_notebooks.EXERCISES / path.name)
    text = "\n".join(cell.source for cell in student.cells)
    assert "SOLUTION" not in text and "What this shows" not in text
    ids = [cell.id for cell in read(path).cells]
    assert [cell.id for cell in student.cells] == [i for i in ids if i in {cell.id for cell in student.cells}]


SMALLER = """
import functools
from helpers import pipeline, settings
settings.PROFILES["smoke"] = settings.profile("smoke", n_train=32, n_validation=12, n_test=20)
pipeline.start = functools.cache(pipeline.start)
"""
"""Run before the unsolved notebook: fewer images than smoke has, and one run for both notebooks."""

SMALLER_STILL = """
def on_a_toy(real):
    import dataclasses
    from helpers import exercises, settings
    return lambda *parameters, **options: dataclasses.replace(
        real(*parameters, **options), classifier=exercises.toys.network(), networks=settings.Networks.TRAINED)

def clone(model, *precision):
    from helpers.backend import keras
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy

from helpers import classifiers, pipeline
from helpers.classifiers import fused
pipeline.start, classifiers.clone = on_a_toy(pipeline.start), clone
fused.fuse = lambda model, *precision: model
"""
"""Run before the solved notebook: a toy replaces the classifier, since solutions attack it a dozen
times. The course ships no networks that were made for it."""


FULLY_RUN = "01_fgsm_and_pgd"
"""The notebook whose exercises run in every full test; the others run in `make test-all`."""


def executed(path) -> dict[str, list]:
    """Run a notebook's exercises, then its solutions, in one kernel, on patches10 and few images.

    Returns:
        The code cells with their outputs, by folder.
    """
    code, parts, cells = nbformat.v4.new_code_cell, {}, []
    for folder, before in (
        (exercise_notebooks.EXERCISES, SMALLER),
        (exercise_notebooks.SOLUTIONS, SMALLER_STILL),
    ):
        given = [cell for cell in read(folder / path.name).cells if cell.cell_type == "code"]
        for cell in given:
            cell.id = f"{folder.name}-{cell.id}"
            cell.source = cell.source.replace(".take(64)", ".take(12)").replace(".take(32)", ".take(20)")
        fresh = [code("%reset -f"), given[0], code('dataset = "patches10"'), *given[1:]]
        parts[folder.name] = [code(before), *fresh]
        cells += parts[folder.name]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    resources = {"metadata": {"path": str(exercise_notebooks.EXERCISES)}}
    everything = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    NotebookClient(everything, timeout=300, resources=resources, allow_errors=True).execute()
    return parts


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem, marks=pytest.mark.deep if path.stem == FULLY_RUN else pytest.mark.slow
        )
        for path in SOLUTIONS
    ],
)
def test_a_notebook_runs_to_its_end(artifacts_folder, path):
    parts = executed(path)
    for folder, status in (("exercises", exercises.NOT_DONE), ("solutions", exercises.RIGHT)):
        outputs = [output for cell in parts[folder] for output in cell.outputs]
        for output in outputs:
            assert output.output_type != "error", f"{output.get('ename')}: {output.get('evalue')}"
            assert output.get("name") != "stderr", f"the notebook writes to stderr: {output['text'][:300]}"
        texts = [output.get("data", {}).get("text/plain", "") for output in outputs]
        verdicts = [text for text in texts if "exercise " in text]
        checks = [check for check in CHECKS.values() if check.exercise[:2] == path.name[:2]]
        expected = [f"exercise {check.exercise}: {status}" for check in checks]
        assert [v[: len(e)] for v, e in zip(verdicts, expected, strict=True)] == expected, verdicts


@pytest.mark.deep
def test_the_planted_mistakes_are_the_four_that_the_check_knows():
    """The function that students see, put to the check."""
    cells = read(exercise_notebooks.EXERCISES / "05_results.ipynb").cells
    source = next(cell.source for cell in cells if cell.source.startswith("def broken("))
    names = {"np": np, "tf": tf}
    exec(source[: source.index("\n\n\n")], names)
    assert "4 of the four mistakes are" in exercises.check_evaluation(names["broken"]).text
