"""Student notebooks are generated from solutions."""

from __future__ import annotations

import nbformat
import pytest

from helpers.cli.app import main
from helpers.maintain import exercise_notebooks
from helpers.settings import CourseError


def notebook(*cells: tuple[str, str]) -> nbformat.NotebookNode:
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    made = [make[kind](source) for kind, source in cells]
    for k, cell in enumerate(made):
        cell.id = f"cell-{k}"
    return nbformat.v4.new_notebook(cells=made)


TASK = ("markdown", "## Exercise 1 · Add\n\nWrite `add`.")
CODE = ("code", "def add(a, b):\n    # BEGIN SOLUTION\n    return a + b\n    # END SOLUTION\n\n\nadd(1, 2)")
HINT = ("markdown", "<details><summary>Hint</summary>+</details>")
CALL = ("code", "check_add(add)")


def sources(student: bytes) -> list[str]:
    return [cell.source for cell in nbformat.reads(student.decode(), as_version=4).cells]


def test_solutions_become_stubs_and_outputs_go():
    given = notebook(TASK, CODE, HINT, CALL, ("code", "x = 3"))
    given.cells[-1].metadata["tags"] = ["solution"]
    given.cells[1].outputs, given.cells[1].execution_count = [nbformat.v4.new_output("stream", text="3")], 7
    student = exercise_notebooks.student_version(given, "01_add.ipynb")
    assert sources(student) == [TASK[1], "def add(a, b):\n    ...\n\n\nadd(1, 2)", HINT[1], CALL[1]]
    cell = nbformat.reads(student.decode(), as_version=4).cells[1]
    assert cell.outputs == [] and cell.execution_count is None and cell.id == "cell-1"
    assert student.endswith(b"}\n") and student == exercise_notebooks.student_version(given, "01_add.ipynb")


def test_a_stub_of_ones_own():
    source = "# BEGIN SOLUTION: x = ...  # metres\nx = 3\n# END SOLUTION\nprint(x)"
    assert exercise_notebooks.stub_of(source, "") == "x = ...  # metres\nprint(x)"


BAD_SOURCES = {
    "# BEGIN SOLUTION\nx = 3": "01, line 1: BEGIN SOLUTION has no END SOLUTION",
    "x = 3\n# END SOLUTION": "01, line 2: END SOLUTION without BEGIN SOLUTION",
    "# BEGIN SOLUTION\n# BEGIN SOLUTION": "01, line 2: BEGIN SOLUTION inside a solution that began in line 1",
    "x = 3  # BEGIN SOLUTION": "01, line 1: 'x = 3  # BEGIN SOLUTION' is not a marker",
    "# BEGIN SOLUTIONS\n# END SOLUTION": "01, line 1: '# BEGIN SOLUTIONS' is not a marker",
}


@pytest.mark.parametrize("source", BAD_SOURCES)
def test_bad_markers(source):
    with pytest.raises(CourseError) as caught:
        exercise_notebooks.stub_of(source, "01")
    assert BAD_SOURCES[source] in str(caught.value)


BAD_NOTEBOOKS = {
    "no check": ((TASK, CODE, HINT), "01.ipynb: exercise 1 has no check"),
    "no hint": ((TASK, CODE, CALL), "01.ipynb: exercise 1 has no hint in <details>"),
    "no stub": ((TASK, HINT, CALL), "01.ipynb: exercise 1 has no solution between markers"),
    "check elsewhere": (
        (TASK, CODE, HINT, ("markdown", "## Exercise 2 · More"), CODE, HINT, CALL),
        "01.ipynb: exercise 1 has no check",
    ),
    "numbered from 2": (
        (("markdown", "## Exercise 2 · Add"), CODE, HINT, CALL),
        "numbered [2]; number them from 1",
    ),
    "no exercises": ((CODE, HINT, CALL), "numbered []"),
    "unclosed": (
        (TASK, ("code", "# BEGIN SOLUTION"), HINT, CALL),
        "01.ipynb, cell 2, line 1: BEGIN SOLUTION has no",
    ),
}


@pytest.mark.parametrize("case", BAD_NOTEBOOKS)
def test_bad_notebooks(case):
    cells, message = BAD_NOTEBOOKS[case]
    with pytest.raises(CourseError) as caught:
        exercise_notebooks.student_version(notebook(*cells), "01.ipynb")
    assert message in str(caught.value)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A course of one solution notebook."""
    for name in ("SOLUTIONS", "EXERCISES"):
        monkeypatch.setattr(exercise_notebooks, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    nbformat.write(notebook(TASK, CODE, HINT, CALL), tmp_path / "solutions" / "01_add.ipynb")
    return tmp_path


def test_the_command_writes_what_changed_and_finds_what_drifted(folders, capsys):
    assert main(["exercises", "--check"]) == 1
    assert "notebooks/exercises/01_add.ipynb is not what its solution gives" in capsys.readouterr().out
    assert not list((folders / "exercises").iterdir())
    (folders / "exercises" / "09_gone.ipynb").write_text("{}")
    assert main(["exercises"]) == 0
    assert "2 changed" in capsys.readouterr().out
    assert [path.name for path in (folders / "exercises").iterdir()] == ["01_add.ipynb"]
    assert main(["exercises", "--check"]) == 0 and main(["exercises"]) == 0
    assert "0 changed, 1 as they were" in capsys.readouterr().out


def test_solutions_that_cannot_be_read(folders, capsys):
    file = folders / "solutions" / "01_add.ipynb"
    file.write_text("{")
    assert main(["exercises"]) == 2
    assert "error: solutions/01_add.ipynb is not a notebook" in capsys.readouterr().err
    file.unlink()
    assert main(["exercises"]) == 2
    assert "error: notebooks/solutions/ holds no notebooks" in capsys.readouterr().err
