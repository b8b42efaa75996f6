"""AutoAttack's standard version on the systems of notebook 07 (python -m helpers autoattack).

The attacks are the course's own (attacks.ensemble with the effort ``autoattack``). They climb a copy of the
classifier in bfloat16 where the processor multiplies in it. The float32 system says which images are broken;
what only the copy gets wrong is attacked again in float32.
What is measured goes into figures/autoattack.json, and figures/autoattack.npz keeps which images are robust.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np

from .. import artifacts, attacks, evaluation, pipeline, settings
from ..artifacts import arrays, provenance
from ..attacks.attack_ensemble import Attack
from ..backend import keras
from ..classifiers import fused, registry
from ..evaluation.titles import percent
from ..pipeline import Run
from ..settings import CourseError
from . import baselines

EFFORT = "autoattack"
EPS = {"linf": settings.EPS, "l2": 0.5}
"""RobustBench's budgets on CIFAR-10, by norm."""

PART = 500
"""The number of images that are attacked between two checkpoints."""

Verdicts = dict[str, np.ndarray]
"""By key of an entry (key_of), which images are robust: booleans [n]."""


def crafted_on(target: keras.Model, exact: keras.Model, members: dict[str, Attack]) -> dict[str, Attack]:
    """Return the attacks, aimed at a rounded copy of the model that they are given.

    An attack ends where the copy is wrong. Where the model itself is not, the attack goes on: those images
    are attacked again on the exact copy.

    Args:
        target: the model in bfloat16, as fused.fuse copies it.
        exact: the same in float32; where both are one, nothing is attacked again.
        members: the attacks by name.
    """

    def aimed(attack: Attack) -> Attack:
        def run(model, images, labels, eps, seed):
            attacked = attack(target, images, labels, eps, seed)
            if target is exact:
                return attacked
            fooled = [attacks.fooled(judge, attacked, labels) for judge in (target, model)]
            again = fooled[0] & ~fooled[1]
            if again.any():
                attacked[again] = attack(exact, images[again], labels[again], eps, seed)
            return attacked

        return run

    return {name: aimed(attack) for name, attack in members.items()}


def copies(model: keras.Model, precision: str) -> tuple[keras.Model, keras.Model]:
    """Return the copies of a model that crafted_on needs: in a precision, and in float32."""
    exact = fused.fuse(model)
    return (exact if precision == "float32" else fused.fuse(model, precision)), exact


def measure(run: Run, name: str, n: int, norm: str = "linf") -> np.ndarray:
    """Attack a system with AutoAttack's attacks and budgets; resume where an earlier call was stopped.

    Args:
        run: the run.
        name: a key of baselines.SYSTEMS.
        n: the number of test images.
        norm: ``linf`` or ``l2``; the budget is EPS.

    Returns:
        What broke each image (attacks.worst_case): str [n], "" for a robust image.

    Raises:
        CourseError: there is no such system or norm, or there are fewer test images.
    """
    check(run, n, norm)
    model = baselines.built(run, name)[0]
    precision = settings.training_precision()
    aims = copies(model, precision)
    config = configuration(run, model, norm) | {
        "precision": precision,
        "code": artifacts.code_version(attacks, fused),
    }

    def broken(first: int) -> list[str]:
        chosen = run.data.test.take(min(first + PART, n))
        images, labels = (part[first:] for part in chosen)
        members = crafted_on(*aims, attacks.ensemble(EFFORT, norm=norm))
        found = attacks.worst_case(
            model, images, labels, EPS[norm], attacks=members, seed=run.seed + first, norm=norm
        )
        return found.broken_by.tolist()

    return in_parts("autoattack", config, n, PART, broken)


def in_parts(kind: str, config: dict, n: int, size: int, produce: Callable[[int], list]) -> np.ndarray:
    """Return what ``produce`` finds for n images, ``size`` at a time, each part kept in the store."""
    found = []
    with settings.progress(n, kind) as bar:
        for first in range(0, n, size):
            part = config | {"first": first, "n": min(size, n - first)}
            found += artifacts.make_json(kind, part, lambda first=first: produce(first))
            bar.update(part["n"])
    return np.array(found)


def configuration(run: Run, model: keras.Model, norm: str) -> dict:
    """Return what the outcome depends on, whoever's attacks they are."""
    return {
        "data": run.data.sha256,
        "system": pipeline.checksum(model),
        "effort": EFFORT,
        "norm": norm,
        "eps": EPS[norm],
        "seed": run.seed,
    }


def check(run: Run, n: int, norm: str) -> None:
    """Refuse a number of images or a norm that cannot be had."""
    if norm not in EPS:
        raise CourseError(f"unknown norm {norm!r}; choose one of {', '.join(EPS)}")
    if n > len(run.data.test):
        raise CourseError(f"{n:,} images are asked for, but there are {len(run.data.test):,} test images")


# ------------------------------------------------------------------------------------------- what is recorded


def entry(run: Run, name: str, norm: str, broken_by: np.ndarray, port: np.ndarray | None = None) -> dict:
    """Return what is recorded of a system.

    Args:
        run: the run.
        name: a key of baselines.SYSTEMS.
        norm: ``linf`` or ``l2``.
        broken_by: the result of measure: str [n].
        port: which images are robust to PyTorch's port of AutoAttack: booleans [m], the first m of the n.
    """
    kinds, counts = np.unique(broken_by[broken_by != ""], return_counts=True)
    robust = broken_by == ""
    found = {
        "model": run.model,
        "dataset": run.data.name,
        "system": name,
        "norm": norm,
        "eps": EPS[norm],
        "seed": run.seed,
        "crafting": settings.training_precision(),
        "commit": provenance.commit(),
        "weights": pipeline.checksum(baselines.built(run, name)[0]),
        **evaluation.proportion(robust),
        "broken_by": dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
    }
    if port is not None:
        found["torchattacks"] = agreement(robust, port)
    return found


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict:
    """Compare two ensembles' verdicts on the same first images.

    Args:
        ours: which images are robust: booleans [n].
        theirs: the same, from PyTorch: booleans [m].

    Returns:
        Their robust accuracy (evaluation.proportion); ``ours``, the course's on the same images, in
        [0, 1]; and how many images are ``robust_only_here`` and ``robust_only_there``.
    """
    m = min(len(ours), len(theirs))
    ours, theirs = ours[:m], theirs[:m]
    return {
        **evaluation.proportion(theirs),
        "ours": float(ours.mean()),
        "robust_only_here": int((ours & ~theirs).sum()),
        "robust_only_there": int((theirs & ~ours).sum()),
    }


def key_of(found: dict) -> str:
    """Return the key of an entry's verdicts in autoattack.npz."""
    return "/".join(found[part] for part in ("dataset", "model", "system", "norm"))


def write(found: dict, robust: np.ndarray, port: np.ndarray | None = None) -> None:
    """Write an entry and its verdicts, in place of those of the same system and norm."""
    key, verdicts = key_of(found), recorded_verdicts()
    verdicts = {name: rows for name, rows in verdicts.items() if name not in (key, f"{key}/torchattacks")}
    verdicts |= {key: robust} | ({} if port is None else {f"{key}/torchattacks": port})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **verdicts)
    settings.write_atomically(settings.FIGURES / "autoattack.npz", buffer.getvalue())
    entries = [*(e for e in recorded() if key_of(e) != key), found]
    text = json.dumps(sorted(entries, key=key_of), indent=1)
    settings.write_atomically(settings.FIGURES / "autoattack.json", text.encode())


def recorded() -> list[dict]:
    """Return the recorded entries; none where nothing is recorded."""
    file = settings.FIGURES / "autoattack.json"
    return settings.read_json(file, kind=list) if file.is_file() else []


def recorded_verdicts() -> Verdicts:
    """Return the recorded verdicts."""
    file = settings.FIGURES / "autoattack.npz"
    return arrays.load_npz(file) if file.is_file() else {}


def readme_table() -> str:
    """Return the README's table, in Markdown; empty if nothing is recorded."""
    rows = [_row(found) for found in recorded()]
    if not rows:
        return ""
    return "\n".join(
        [
            "**AutoAttack, the standard version** (APGD-CE, targeted APGD, FAB-T and Square with 5,000 "
            "queries; `make autoattack` measures it): accuracy in percent. Beside it, PyTorch's port "
            "(torchattacks) on the same network and the first of the same images, and on how many of these "
            "only one of the two found an adversarial example.",
            "",
            "| system | norm, eps | AutoAttack | n | torchattacks | ours on the same | found by one only |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _row(found: dict) -> str:
    budget = f"{255 * found['eps']:.3g}/255" if found["norm"] == "linf" else f"{found['eps']:.3g}"
    title = f"{registry.MODELS[found['model']].title}, {baselines.SYSTEMS[found['system']].title}"
    cells = [title, f"{found['norm']}, {budget}", percent(found), f"{found['n']:,}"]
    if port := found.get("torchattacks"):
        differ = port["robust_only_here"] + port["robust_only_there"]
        cells += [percent(port), f"{100 * port['ours']:.1f}", f"{differ} of {port['n']:,}"]
    else:
        cells += ["–", "–", "–"]
    return f"| {' | '.join(cells)} |"
