"""What PGD does to a few images: against a network trained as usual, and against a robust one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import evaluation, pipeline
from ..pipeline import Run
from . import baselines
from .latent_size import Pictures


def changes(run: Run, names: Sequence[str], n: int = 5) -> Pictures:
    """Show what PGD-10 makes of test images against each system, and its change, magnified.

    Args:
        run: the run.
        names: keys of baselines.SYSTEMS.
        n: the number of images.
    """
    images, labels = run.data.test.take(n)
    rows, answers, wrong = {"clean": images}, {"clean": list(labels)}, {}
    kept = []
    for name in names:
        title = baselines.SYSTEMS[name].title.replace(" adversarial training", "")
        model = baselines.built(run, name)[0]
        moved = pipeline.attack(pipeline.for_attack(model), images, labels, "pgd", run.eps, run.seed)
        rows[f"{title}: attacked"] = moved
        rows[f"{title}: change"] = np.clip(0.5 + (moved - images) / (2 * run.eps), 0, 1)
        given = evaluation.predict(model, moved).argmax(1)
        answers[f"{title}: attacked"] = list(given)
        wrong[f"{title}: attacked"] = given != labels
        kept.append(f"{title} {int((given == labels).sum())}")
    said = f"Right of {len(labels)} under PGD: {', '.join(kept)}"
    alt = (
        f"{len(labels)} test images; for each of {len(names)} networks the same under PGD made for that "
        f"network, with its answers, wrong ones bold, and the magnified change. {said}."
    )
    named = {row: [run.data.classes[k] for k in which] for row, which in answers.items()}
    return Pictures(rows, named, wrong, said, alt)
