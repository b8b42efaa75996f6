"""How strong the attacks are that a quick run crafts in bfloat16."""

from __future__ import annotations

import numpy as np

from .. import defenses, evaluation, pipeline
from ..backend import keras
from ..pipeline import Run
from ..settings import Networks, progress

PRECISIONS = ("float32", "mixed_bfloat16")


def strength(run: Run, n: int) -> list[dict]:
    """Compare attacks crafted in bfloat16 with those crafted in float32, on the same test images.

    Accuracy is always measured in float32, so an image counts as broken only if the float32 network gets it
    wrong.

    Args:
        run: its networks are attacked: the initial classifier, and, where the course ships them, the
            fine-tuned classifier alone and behind its autoencoder (end-to-end).
        n: how many test images to attack.

    Returns:
        A record for each network and attack: ``stage``, ``defense``, ``input``; by precision, the accuracy
        with its interval (evaluation.proportion); and how far bfloat16 moves it (``difference``, ``ci_low``,
        ``ci_high``, paired, in [-1, 1]).
    """
    images, labels = run.data.test.take(n)
    systems = _systems(run)
    pairs, found = [(system, kind) for system in systems for kind in ("fgsm", "pgd")], []
    with progress(len(pairs) * len(PRECISIONS), f"attacks on {n:,} images") as bar:
        for system, kind in pairs:
            model, correct = systems[system], {}
            for precision in PRECISIONS:
                aimed = pipeline.for_attack(model, precision=precision)
                moved = pipeline.attack(aimed, images, labels, kind, run.eps, run.seed)
                correct[precision] = evaluation.is_correct(model, moved, labels)
                bar.update(1)
            found.append(_compared(system, kind, correct))
    return found


def _systems(run: Run) -> dict[tuple[str, str], keras.Model]:
    systems = {("initial", "none"): run.classifier}
    if run.networks is Networks.SHIPPED:
        fine_tuned, denoiser = pipeline.fine_tuned(run)[0], pipeline.autoencoder(run)[0]
        systems["fine_tuned", "none"] = fine_tuned
        systems["fine_tuned", "ae"] = defenses.defended(denoiser, fine_tuned)
    return systems


def _compared(system: tuple[str, str], kind: str, correct: dict[str, np.ndarray]) -> dict:
    difference, low, high = evaluation.paired_difference(*(correct[name] for name in PRECISIONS))
    return {
        "stage": system[0],
        "defense": system[1],
        "input": kind,
        **{name: evaluation.proportion(correct[name]) for name in PRECISIONS},
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
    }
