"""Notebook 01's pictures and sentences: an image that FGSM misses, one step taken apart, PyTorch."""

from __future__ import annotations

import ast
import html
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import attacks, evaluation
from ..attacks import STEP_SIZE, Model
from ..evaluation.titles import percent
from ..pipeline import Run
from . import loss_landscape
from .loss_landscape import Surface

IN_PYTORCH = Path(__file__).with_name("in_pytorch.py")


def missed_by_fgsm(model: Model, images: np.ndarray, labels: np.ndarray, eps: float) -> int:
    """Return the number of the first image that FGSM leaves right and PGD makes wrong; 0 if there is none."""
    after_fgsm = evaluation.is_correct(model, attacks.fgsm(model, images, labels, eps), labels)
    moved = attacks.pgd(model, images, labels, eps, random_start=False)
    return int(np.argmax(after_fgsm & ~evaluation.is_correct(model, moved, labels)))


def landscape(model: Model, image: np.ndarray, label: int, eps: float, points: int = 31) -> Surface:
    """Measure the loss over the plane through an image and the ends of FGSM and of PGD (from the image)."""
    around = model, image, int(label), eps
    fgsm = loss_landscape.fgsm_path(*around)
    pgd = loss_landscape.pgd_path(*around, step_size=STEP_SIZE, random_start=False)
    return loss_landscape.surface(*around, {"FGSM": fgsm, "PGD": pgd}, points, towards="PGD")


def first_step(run: Run) -> dict[str, dict]:
    """Measure what the random start and PGD's first step do, each alone and together.

    Returns:
        By title, a record of the first n_sweep test images.
    """
    model, eps = run.classifier, run.eps
    images, labels = run.data.test.head(run.profile.n_sweep).take()
    options = {"step_size": attacks.step_size_for(eps), "steps": 1, "seed": run.seed}
    moved = {
        "neither": images,
        "the random start alone": attacks.random_noise(images, eps, run.seed),
        "one step from the image": attacks.pgd(model, images, labels, eps, random_start=False, **options),
        "one step from the random start": attacks.pgd(model, images, labels, eps, **options),
    }
    steps = dict(zip(moved, (0, 0, 1, 1), strict=True))
    return {
        name: {
            **evaluation.proportion(evaluation.is_correct(model, x, labels)),
            "input": "pgd",
            "steps": steps[name],
        }
        for name, x in moved.items()
    }


def first_step_table(found: dict[str, dict]) -> str:
    """Return the records of ``first_step`` as text in columns."""
    lines = [f"{name:32} {percent(record)}" for name, record in found.items()]
    return "\n".join([*lines, f"(% right, n = {next(iter(found.values()))['n']:,})"])


def beside_pytorch(*functions: Callable) -> str:
    """Write functions and their PyTorch versions (in_pytorch.py) side by side, in a folded block.

    Args:
        functions: plain ones or TensorFlow's; each has a namesake in in_pytorch.py.
    """
    source = IN_PYTORCH.read_text("utf-8")
    torchs = {
        node.name: ast.get_source_segment(source, node)
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }
    rows = []
    for function in functions:
        plain = getattr(function, "python_function", function)
        ours = textwrap.dedent(inspect.getsource(plain)).strip()
        cells = (f"<td><pre>{html.escape(code)}</pre></td>" for code in (ours, torchs[plain.__name__]))
        rows.append(f'<tr style="vertical-align: top; text-align: left">{"".join(cells)}</tr>')
    head = "<tr><th>TensorFlow</th><th>PyTorch</th></tr>"
    return (
        "<details><summary>For people who know PyTorch: the same code in both</summary>\n\n"
        f"<table>{head}{''.join(rows)}</table>\n</details>"
    )
