"""Published numbers: the paper's tables, RobustBench's entries and published certificates.

These are the only numbers that no run of the course produced.
"""

from __future__ import annotations

from .. import settings
from ..evaluation.titles import PAPER_THREATS, SYSTEMS

PAPER = {
    "resnet20": {
        ("regular", "initial", "none"): 93.84,
        ("regular", "initial", "ae"): 79.09,
        ("regular", "fine_tuned", "none"): 88.98,
        ("regular", "fine_tuned", "ae"): 82.56,
        ("fgsm", "initial", "none"): 24.37,
        ("fgsm", "initial", "ae"): 66.78,
        ("fgsm", "fine_tuned", "none"): 59.47,
        ("fgsm", "fine_tuned", "ae"): 75.38,
        ("pgd", "initial", "none"): 0.13,
        ("pgd", "initial", "ae"): 72.84,
        ("pgd", "fine_tuned", "none"): 61.50,
        ("pgd", "fine_tuned", "ae"): 79.36,
    },
    "sepreresnet56": {
        ("regular", "initial", "none"): 95.32,
        ("regular", "initial", "ae"): 81.21,
        ("regular", "fine_tuned", "none"): 92.13,
        ("regular", "fine_tuned", "ae"): 88.16,
        ("fgsm", "initial", "none"): 46.52,
        ("fgsm", "initial", "ae"): 73.67,
        ("fgsm", "fine_tuned", "none"): 77.19,
        ("fgsm", "fine_tuned", "ae"): 84.30,
        ("pgd", "initial", "none"): 4.50,
        ("pgd", "initial", "ae"): 76.14,
        ("pgd", "fine_tuned", "none"): 76.89,
        ("pgd", "fine_tuned", "ae"): 85.95,
    },
}
"""Accuracy in percent from the paper's Tables 2 and 3, by network and (input, stage, defense)."""

PAPER_DIFFERENCES = (
    *((("regular", "initial", "none"), (kind, "initial", "none")) for kind in ("fgsm", "pgd")),
    *(
        ((kind, stage, "none"), (kind, stage, "ae"))
        for stage in ("initial", "fine_tuned")
        for kind in ("regular", "fgsm", "pgd")
    ),
    *(((kind, "initial", "ae"), (kind, "fine_tuned", "ae")) for kind in ("regular", "fgsm", "pgd")),
)
"""Pairs of cells whose difference the paper discusses: the effect of the attacks, of the autoencoder, and of
fine-tuning behind it."""

AUTHOR_LOG = {
    ("regular", "none"): 91.59,
    ("regular", "ae"): 87.15,
    ("fgsm", "ae"): 82.66,
    ("pgd", "ae"): 84.47,
}
"""Accuracy in percent of the released SEPreResNet-56 on the 10,000 test images, from the author's own log of
its last epoch of fine-tuning, by (input, defense). FGSM and PGD images were made against his initial network.
"""

ROBUSTBENCH = {
    "Jang et al. 2019, ResNet-20": (78.91, 34.95),
    "Wong et al. 2020, PreActResNet-18": (83.34, 43.21),
    "Gowal et al. 2021, PreActResNet-18": (87.35, 58.50),
    "Bartoldson et al. 2024, WRN-94-16": (93.68, 73.71),
}
"""Clean accuracy and accuracy under AutoAttack in percent (CIFAR-10, linf, 8/255), as robustbench.github.io
lists them. The first network is as small as this course's."""

PUBLISHED_CERTIFICATES = {
    "Cohen et al. 2019, ResNet-110, sigma 0.25": {0.0: 74.8, 0.25: 60.0, 0.5: 42.8, 1.0: 0.0},
    "Cohen et al. 2019, ResNet-110, sigma 0.5": {0.0: 65.2, 0.25: 54.6, 0.5: 41.4, 1.0: 23.4},
    "Salman et al. 2020, denoised, best sigma": {0.25: 56.0, 0.5: 41.0, 1.0: 19.0},
    "Salman et al. 2020, no denoiser": {0.25: 7.0, 0.5: 3.0, 1.0: 0.0},
}
"""Certified accuracy in percent on CIFAR-10, by l2 radius, as these papers report it."""


PAPER_STEPS = {"regular": 0, "noise": 0, "fgsm": 1, "pgd": 10}
"""Steps of the attacks in the paper's tables, by input."""


def comparable(dataset: str, eps: float) -> bool:
    """Return whether a run has the paper's data set and budget, so that the numbers can be compared."""
    return dataset == "cifar10" and abs(eps - settings.EPS) < 1e-9


def cell_of(record: dict) -> str:
    """Return the name of a record's cell, unique among those of_the_paper selects."""
    return "/".join(record[name] for name in ("threat", "stage", "defense", "input"))


def of_the_paper(records: list[dict], eps: float) -> list[dict]:
    """Select the records that make up a run's tables.

    These have the paper's systems, inputs, attackers and steps, and the run's budget. Other records belong to
    curves and to the notebooks after 05.
    """
    return [
        r
        for r in records
        if r["eps"] in (0, eps)
        and PAPER_STEPS.get(r["input"]) == r["steps"]
        and r["threat"] in PAPER_THREATS
        and (r["stage"], r["defense"]) in SYSTEMS
    ]


def run_label(dataset: str, profile: str, eps: float, weights: str) -> str:
    """Describe briefly how a run differs from a full run on CIFAR-10 with the course's weights at 8/255.

    Args:
        dataset: the data set's name.
        profile: the profile's name.
        eps: the budget, in [0, 1].
        weights: ``course``, ``tf2cv``, or another source of the classifier's weights.

    Returns:
        A label for figures; empty if nothing differs.
    """
    marks = [] if profile == "full" else [f"{profile} run"]
    if dataset != "cifar10":
        marks.append(f"{dataset}, not CIFAR-10")
    if abs(eps - settings.EPS) > 1e-9:
        marks.append(f"eps {255 * eps:.3g}/255")
    if weights != "course":
        marks.append("tf2cv's weights" if weights == "tf2cv" else "other weights than the course's")
    return "; ".join(marks)
