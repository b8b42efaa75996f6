"""A checksum of what the code does, which is part of every artifact's configuration."""

from __future__ import annotations

import ast
import hashlib
import inspect
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from .. import settings
from ..settings import CourseError

_AS_LOADED = {file: file.read_text("utf-8") for file in (settings.ROOT / "helpers").rglob("*.py")}
"""The source of the course's modules when this process started."""


def code_version(*modules: ModuleType) -> str:
    """Return a checksum of modules' syntax trees, in which comments and docstrings do not count.

    It belongs in every configuration. After an attack is edited, its images are made again.

    Args:
        modules: modules, or packages with all their modules.

    Raises:
        CourseError: one of the course's modules was edited after this process had loaded it.
    """
    digest = hashlib.sha256()
    for module in modules:
        for file, source in _sources_of(module):
            tree = _tree_of(source)
            if tree != _tree_of(_AS_LOADED.get(file, source)):
                raise CourseError(
                    f"{file.parent.name}/{file.name} was changed after it had been loaded, so a result could "
                    "come from either version; restart the kernel or the command: finished steps are kept"
                )
            digest.update(tree.encode())
    return digest.hexdigest()[:12]


def _sources_of(module: ModuleType) -> list[tuple[Path, str]]:
    """Return the files of a module or a package, with their source."""
    place = Path(str(module.__file__))
    if not hasattr(module, "__path__"):
        return [(place, inspect.getsource(module))]
    return [(file, file.read_text("utf-8")) for file in sorted(place.parent.rglob("*.py"))]


@lru_cache(maxsize=256)
def _tree_of(source: str) -> str:
    """Return a module's syntax tree as text, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            kept = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            node.body = kept  # type: ignore[attr-defined]
    return ast.dump(tree)
