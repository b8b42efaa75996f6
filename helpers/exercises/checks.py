"""All checks of the exercises, by name."""

from __future__ import annotations

from . import (
    attacking,
    bottlenecks,
    breaking,
    certifying,
    denoising,
    diagnosing,
    judging,
    repairing,
    results,
    searching,
    starting,
    sweeping,
    tuning,
)
from .verdict import Check

MODULES = (
    starting,
    attacking,
    denoising,
    bottlenecks,
    searching,
    tuning,
    results,
    diagnosing,
    breaking,
    certifying,
    judging,
    repairing,
    sweeping,
)
_FOUND = {
    name: value for module in MODULES for name, value in vars(module).items() if isinstance(value, Check)
}
CHECKS: dict[str, Check] = dict(sorted(_FOUND.items(), key=lambda item: item[1].exercise))
"""All checks, in the order of the exercises."""
