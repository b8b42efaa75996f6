"""Checks of the exercises: each says in words whether an answer is right, what is wrong with it, or that it is not
done yet, and none stops the notebook.

    from helpers.exercises import check_fgsm
    check_fgsm(fgsm)

A module holds the checks of one notebook; verdict has what they share, toys the networks that they try answers on. To
add a notebook's exercises, write such a module, name it here, and write notebooks/solutions/NN_*.ipynb (see
helpers.exercise_notebooks).
"""

from __future__ import annotations

from . import attacking, breaking, denoising, repairing, results, searching, starting, sweeping, toys, tuning
from .attacking import (
    check_attack_the_sure,
    check_fgsm,
    check_grey_levels,
    check_project,
    check_reach,
    check_targeted_pgd,
    sure_classifier,
)
from .breaking import (
    ATTACKERS,
    BUDGETS,
    CAUSES,
    DIAGNOSES,
    Dice,
    check_attack_dice,
    check_contradictions,
    check_curve,
    check_rounded,
    check_rungs,
    check_tables,
    checklists,
    masked_classifier,
    reports,
    rounded,
)
from .denoising import (
    check_blur,
    check_build,
    check_defense,
    check_denoising_loss,
    check_parameters,
    smooth_images,
)
from .repairing import (
    COURSES,
    FLAWS,
    ROBUSTBENCH,
    assessed,
    candidates,
    check_claims,
    check_decide,
    check_histories,
    check_min_max,
    check_norms,
    check_repair,
    claims,
    fitted,
    histories,
    histories_figure,
    initial_network,
    pictures,
    small_network,
)
from .results import (
    EVALUATIONS,
    check_attack_through,
    check_evaluation,
    check_threats,
    check_without_gradient,
    check_worst_case,
)
from .searching import (
    DIAGNOSES_OF_CODES,
    check_architecture,
    check_pareto_front,
    check_quantiser,
    check_sizes,
    check_usage,
    rivals,
    tried,
    usage,
    usage_figure,
)
from .starting import CARD, check_card, check_interval, check_needed, check_to_unit
from .sweeping import check_grid, check_paired, check_spread, check_survives
from .tuning import check_balance, check_counts, check_fair_epochs, check_mixed_batch, check_phases
from .verdict import NOT_DONE, RIGHT, WRONG, Check, Verdict

MODULES = (starting, attacking, denoising, searching, tuning, results, breaking, repairing, sweeping)
CHECKS: dict[str, Check] = {
    name: value for module in MODULES for name, value in vars(module).items() if isinstance(value, Check)
}
"""All checks, by name, in the order of the exercises."""

__all__ = [
    "ATTACKERS",
    "BUDGETS",
    "CARD",
    "CAUSES",
    "CHECKS",
    "COURSES",
    "Check",
    "DIAGNOSES",
    "DIAGNOSES_OF_CODES",
    "Dice",
    "EVALUATIONS",
    "FLAWS",
    "NOT_DONE",
    "RIGHT",
    "ROBUSTBENCH",
    "Verdict",
    "WRONG",
    "assessed",
    "candidates",
    "check_architecture",
    "check_attack_dice",
    "check_attack_the_sure",
    "check_attack_through",
    "check_balance",
    "check_blur",
    "check_build",
    "check_card",
    "check_claims",
    "check_contradictions",
    "check_counts",
    "check_curve",
    "check_decide",
    "check_defense",
    "check_denoising_loss",
    "check_evaluation",
    "check_fair_epochs",
    "check_fgsm",
    "check_pareto_front",
    "check_grey_levels",
    "check_grid",
    "check_histories",
    "check_interval",
    "check_min_max",
    "check_mixed_batch",
    "check_needed",
    "check_norms",
    "check_paired",
    "check_parameters",
    "check_phases",
    "check_project",
    "check_quantiser",
    "check_reach",
    "check_repair",
    "check_rounded",
    "check_rungs",
    "check_sizes",
    "check_spread",
    "check_survives",
    "check_tables",
    "check_targeted_pgd",
    "check_threats",
    "check_to_unit",
    "check_usage",
    "check_without_gradient",
    "check_worst_case",
    "checklists",
    "claims",
    "fitted",
    "histories",
    "histories_figure",
    "initial_network",
    "masked_classifier",
    "pictures",
    "reports",
    "rivals",
    "rounded",
    "small_network",
    "smooth_images",
    "sure_classifier",
    "toys",
    "tried",
    "usage",
    "usage_figure",
]
