"""The tree keeps its shape: short modules, short functions, six small rooms that are taught."""

from __future__ import annotations

import ast

import pytest

from helpers import settings

HELPERS = settings.ROOT / "helpers"
MODULES = sorted(HELPERS.rglob("*.py"))
TAUGHT = ("datasets", "classifiers", "attacks", "defenses", "training", "evaluation")


def lines_of(file) -> int:
    return len(file.read_text().splitlines())


def test_no_module_is_long():
    assert {str(f.relative_to(HELPERS)): n for f in MODULES if (n := lines_of(f)) > 400} == {}


def test_no_function_is_long():
    found = {}
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 60:
                found[f"{file.relative_to(HELPERS)}:{node.name}"] = node.end_lineno - node.lineno + 1
    assert found == {}


def test_the_taught_rooms_are_small():
    assert sum(lines_of(file) for room in TAUGHT for file in (HELPERS / room).rglob("*.py")) < 5000


def test_the_formatter_is_seldom_overruled():
    files = [*MODULES, *(settings.ROOT / "tests").rglob("*.py")]
    marks = [str(f) for f in files for line in f.read_text().splitlines() if line.endswith("# fmt: skip")]
    assert len(marks) <= 5, marks


@pytest.mark.parametrize("room", sorted(p.name for p in HELPERS.iterdir() if (p / "__init__.py").is_file()))
def test_every_room_says_what_it_is_for(room):
    assert ast.get_docstring(ast.parse((HELPERS / room / "__init__.py").read_text()))


@pytest.mark.parametrize("stub", sorted(HELPERS.glob("*/__init__.pyi")), ids=lambda stub: stub.parent.name)
def test_a_rooms_face_names_what_is_there(stub):
    """Each public name is in the module that the stub takes it from, and no module has an exported name."""
    defined, exported = {}, set()
    for node in ast.parse(stub.read_text()).body:
        assert isinstance(node, ast.ImportFrom) and node.level == 1
        if node.module is None:  # a module of the room, shown as it is
            assert all((stub.parent / f"{alias.name}.py").is_file() for alias in node.names)
            continue
        if node.module not in defined:
            tree = ast.parse((stub.parent / f"{node.module}.py").read_text())
            defined[node.module] = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
                n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)
            }
        for alias in node.names:
            assert alias.name == alias.asname and alias.name in defined[node.module], alias.name
            exported.add(alias.name)
    assert not exported & {file.stem for file in stub.parent.glob("*.py")}
