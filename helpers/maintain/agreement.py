"""AutoAttack's standard version, with the course's attacks and with PyTorch's, on the same images."""

from __future__ import annotations

import numpy as np

from .. import settings
from ..classifiers import registry
from ..evaluation.titles import percent
from ..pipeline import Run
from ..settings import CourseError
from ..studies import autoattack, baselines
from . import peers

PART = 1000
"""The number of images that PyTorch attacks between two checkpoints."""


def measure(
    run: Run, name: str, n: int, norm: str = "linf", n_port: int = PART
) -> tuple[dict, np.ndarray, np.ndarray | None]:
    """Attack a system with the course's AutoAttack, and with PyTorch's where that knows the network.

    Args:
        run: the run.
        name: a key of baselines.SYSTEMS.
        n: the number of test images.
        norm: ``linf`` or ``l2``.
        n_port: how many of them, the first, PyTorch attacks; 0: none.

    Returns:
        The entry to record (autoattack.entry), and which images are robust to each: booleans [n] and
        [n_port], or None without PyTorch.

    Raises:
        CourseError: there is no such system, norm, or number of images.
    """
    autoattack.check(run, max(n, n_port), norm)
    if n_port < 0:
        raise CourseError(f"--port is {n_port}; it is a number of images, or 0 for none")
    model, classifier = baselines.built(run, name)
    why = peers.why_not(run.model) if model is classifier else "PyTorch has no autoencoder"
    if why and n_port:
        settings.note(f"not compared with PyTorch: {why}")
    broken_by = autoattack.measure(run, name, n, norm)
    theirs = None if why or not n_port else port(run, name, min(n, n_port), norm)
    return autoattack.entry(run, name, norm, broken_by, theirs), broken_by == "", theirs


def port(run: Run, name: str, n: int, norm: str) -> np.ndarray:
    """Return which of the first n test images are robust to AutoAttack in PyTorch: booleans [n]."""
    model = baselines.built(run, name)[0]
    config = autoattack.configuration(run, model, norm) | peers.AUTOATTACK

    def robust(first: int) -> list[bool]:
        images, labels = (part[first:] for part in run.data.test.take(min(first + PART, n)))
        with peers.started(model, images, labels) as peer:
            return peers.autoattack(peer, norm, autoattack.EPS[norm]).tolist()

    return autoattack.in_parts("autoattack_port", config, n, PART, robust)


def told(found: dict) -> str:
    """Say in two lines what was found."""
    title = f"{registry.MODELS[found['model']].title}, {baselines.SYSTEMS[found['system']].title}"
    lines = [f"{title}, {found['norm']}: {percent(found)}% robust, n = {found['n']:,}"]
    if theirs := found.get("torchattacks"):
        lines.append(
            f"torchattacks, the first {theirs['n']:,}: {percent(theirs)}% robust, ours "
            f"{100 * theirs['ours']:.1f}%; robust only to ours {theirs['robust_only_here']}, only to theirs "
            f"{theirs['robust_only_there']}"
        )
    return "\n".join(lines)
