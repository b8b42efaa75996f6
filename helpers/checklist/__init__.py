"""The evaluation checklist of Carlini et al. 2019, in one call.

    table = check_evaluation(model, images, labels, 8 / 255)  # one row for each check
    show(table)                                               # in a notebook: pass, FAIL or not run
    failed_checks(table)                                      # the failed rows; none for a sound evaluation

A low accuracy under attack is a finding. A high one is a claim, which holds only if the attack was good. Most
of these checks therefore ask whether a stronger, simpler or fresher attack breaks more of the same images.
See "On Evaluating Adversarial Robustness", section 5. Tramer et al. 2020 ("On Adaptive Attacks to Adversarial
Example Defenses") broke thirteen defenses with such questions.

Comparisons are paired, image by image. "Net" is the number of images that break the rule minus the number
that differ the other way. The limit is a tolerance (in percent of n) plus two standard deviations of chance:
twice the square root of the number of differing images. With n = 60 that is about four images. So the checks
find mistakes, which cost far more, and do not rank attacks of similar strength.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..attacks import Model
from ..settings import plain_numbers
from .checks import CHECKS, NOT_RUN
from .display import failed_checks, markdown, results, show, summary
from .evidence import SMALL, Attack, gather, paper_pgd

__all__ = [
    "CHECKS",
    "NOT_RUN",
    "SMALL",
    "check_evaluation",
    "failed_checks",
    "markdown",
    "paper_pgd",
    "results",
    "show",
    "summary",
]


@plain_numbers
def check_evaluation(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    attack: Attack = paper_pgd,
    attacked: np.ndarray | None = None,
    transfer: np.ndarray | None = None,
    seed: int = 0,
    queries: int = 150,
    quick: bool = False,
) -> pd.DataFrame:
    """Check an evaluation: its model, its attack and, if given, the attacked images behind its numbers.

    It costs about a hundred gradients and ``queries`` predictions for each image (quick: about sixty
    gradients). 50 to 100 images are enough to find a mistake.

    Args:
        model: the assessed classifier, with or without a defense; a callable from float32 images [n, h, w, c]
            in [0, 1] to logits [n, classes].
        images: the clean images, float32 [n, h, w, c] in [0, 1], n >= 10.
        labels: their classes, integers [n].
        eps: the assessed linf budget, in (0, 1].
        attack: the attack under test, called as attack(model, images, labels, eps). The checks vary its
            options ``steps`` and ``seed``; if it has none, they compare it with the paper's PGD with more
            steps or other seeds.
        attacked: the images behind the reported accuracy, as float or in storage form (uint16), in the order
            of ``images``. They must keep to the rules and be as strong as the attack.
        transfer: images attacked for another model, in the same form. The attack must break what they break.
        seed: seed of all randomness.
        queries: Square's queries for each image.
        quick: leave out the three slowest checks (twice the steps, restarts, Square).

    Returns:
        A row for each check: check (its name), value and bound (text), passed (true for a check that was not
        run), and meaning (what a failure means, and what to do).

    Raises:
        CourseError: an argument does not have this form. An error that the attack raises does not stop the
            checks: it is reported, and the attack counts as one that changes nothing.
    """
    given = {"attacked": attacked, "transfer": transfer}
    evidence = gather(model, images, labels, eps, attack, given, seed, queries, quick)
    found = [(check.name, *check.run(evidence), check.meaning) for check in CHECKS]
    return pd.DataFrame(found, columns=["check", "value", "bound", "passed", "meaning"])
