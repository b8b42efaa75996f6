"""Generate the student notebooks, notebooks/exercises, from notebooks/solutions.

A solution notebook is an ordinary notebook. In its code cells, the code between

    # BEGIN SOLUTION: predicted = ...
    # END SOLUTION

is replaced by the text after the colon, or by ``...`` if there is none, at the marker's indentation. Cells
with the tag ``solution`` are left out, and so are all outputs.

An exercise begins with a heading ``## Exercise 1 · ...``. It has a cell with such markers, hints in
<details>, and a cell that calls a check of helpers.exercises.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from .. import settings
from ..settings import CourseError, write_atomically

SOLUTIONS = settings.ROOT / "notebooks" / "solutions"
EXERCISES = settings.ROOT / "notebooks" / "exercises"

BEGIN = re.compile(r"^(\s*)# BEGIN SOLUTION(?:: (.+))?$")
END = re.compile(r"^\s*# END SOLUTION$")
HEADING = re.compile(r"^## Exercise (\d+) · \S", re.MULTILINE)
CHECK = re.compile(r"(?<!checklist\.)\b(?P<name>check_\w+)\(")
LEFT_OUT = "solution"
"""The tag of cells that students do not see."""


def solutions() -> list[Path]:
    """Return the solution notebooks, in the course's order."""
    return sorted(SOLUTIONS.glob("[0-9][0-9]_*.ipynb"))


def generate() -> dict[str, bytes]:
    """Return the student notebooks by file name; the same bytes every time.

    Raises:
        CourseError: there are no solutions, or one of them does not have the form that the module's docstring
            describes.
    """
    if not (found := solutions()):
        raise CourseError(
            "notebooks/solutions/ holds no notebooks; restore it (git checkout notebooks/solutions)"
        )
    return {path.name: student_version(_read(path), path.name) for path in found}


def write() -> list[str]:
    """Write the student notebooks, remove those without a solution, and return which files changed."""
    wanted, changed = generate(), outdated()
    for name in changed:
        if name in wanted:
            write_atomically(EXERCISES / name, wanted[name])
        else:
            (EXERCISES / name).unlink()
    return changed


def outdated() -> list[str]:
    """Return the names of student notebooks that are missing, changed, or without a solution."""
    wanted = generate()
    there = {path.name: path.read_bytes() for path in EXERCISES.glob("*.ipynb")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def _read(path: Path) -> nbformat.NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise CourseError(f"solutions/{path.name} is not a notebook: {str(error).splitlines()[0]}") from error


def student_version(notebook: nbformat.NotebookNode, name: str) -> bytes:
    """Return the student notebook of a solution notebook, as the bytes of its file.

    Args:
        notebook: the solution notebook.
        name: the solution's file name, for errors.

    Raises:
        CourseError: a marker is not closed, or an exercise lacks a stub, hints or a check; says where.
    """
    check_exercises(notebook, name)
    cells = []
    for number, cell in enumerate(notebook.cells, 1):
        if LEFT_OUT in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "code":
            source = stub_of(cell.source, f"{name}, cell {number}")
            new = nbformat.v4.new_code_cell(source)
        else:
            new = nbformat.v4.new_markdown_cell(cell.source)
        new.id = cell.id
        if tags := cell.metadata.get("tags"):
            new.metadata = {"tags": list(tags)}
        cells.append(new)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    student = nbformat.v4.new_notebook(cells=cells, metadata=metadata, nbformat_minor=5)
    nbformat.validate(student)
    return f"{nbformat.writes(student).rstrip()}\n".encode()


def stub_of(source: str, where: str) -> str:
    """Return a code cell's source with each solution between markers replaced by its stub.

    Args:
        source: the cell's source.
        where: the cell's place, for errors.

    Raises:
        CourseError: a marker without its counterpart.
    """
    lines, opened = [], 0
    for number, line in enumerate(source.splitlines(), 1):
        begin, end = BEGIN.match(line), END.match(line)
        if "BEGIN SOLUTION" in line or "END SOLUTION" in line:
            if not begin and not end:
                raise CourseError(
                    f"{where}, line {number}: {line.strip()!r} is not a marker; "
                    "see helpers.maintain.exercise_notebooks"
                )
            if begin and opened:
                raise CourseError(
                    f"{where}, line {number}: BEGIN SOLUTION inside a solution that began in line {opened}"
                )
            if end and not opened:
                raise CourseError(f"{where}, line {number}: END SOLUTION without BEGIN SOLUTION")
            opened = number if begin else 0
            if begin:
                lines.append(f"{begin[1]}{begin[2] or '...'}")
        elif not opened:
            lines.append(line)
    if opened:
        raise CourseError(f"{where}, line {opened}: BEGIN SOLUTION has no END SOLUTION")
    return "\n".join(lines)


def exercises_in(notebook: nbformat.NotebookNode) -> dict[int, list[nbformat.NotebookNode]]:
    """Return the cells of each exercise by its number, from its heading to the next of that level."""
    found, number = {}, None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"^##? ", cell.source, re.MULTILINE):
            heading = HEADING.search(cell.source)
            number = int(heading[1]) if heading else None
        if number is not None:
            found.setdefault(number, []).append(cell)
    return found


def checks_of(cells: list[nbformat.NotebookNode]) -> list[str]:
    """Return the names of the checks that an exercise's cells call."""
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    return [match["name"] for source in sources for match in CHECK.finditer(source)]


def check_exercises(notebook: nbformat.NotebookNode, name: str) -> None:
    """Refuse a solution notebook whose exercises lack a part or are not numbered 1, 2, ..."""
    found = exercises_in(notebook)
    if list(found) != list(range(1, len(found) + 1)) or not found:
        raise CourseError(
            f"{name}: its exercises are numbered {list(found)}; number them from 1, '## Exercise 1 · Title'"
        )
    for number, cells in found.items():
        code = [cell.source for cell in cells if cell.cell_type == "code"]
        text = [cell.source for cell in cells if cell.cell_type == "markdown"]
        for what, there in {
            "solution between markers": any("# BEGIN SOLUTION" in source for source in code),
            "hint in <details>": any("<details>" in source for source in text),
            "check": bool(checks_of(cells)),
        }.items():
            if not there:
                raise CourseError(f"{name}: exercise {number} has no {what}")
