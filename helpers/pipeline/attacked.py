"""Attacked images of a run, made once and kept in the artifact store."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import artifacts, attacks, classifiers
from ..attacks import STEPS, step_size_for
from ..backend import keras
from ..classifiers import fused
from ..datasets import Split, storage
from ..defenses import autoencoder as autoencoder_module
from ..settings import CourseError, plain_numbers
from .matching import SOURCES
from .run import Run

PART_SIZE = 1024
"""The number of images that are attacked between two checkpoints."""


def inputs(run: Run, split: str, kind: str) -> np.ndarray:
    """Return the images of a split, clean or attacked, in storage form.

    Attacks are made for the initial classifier, whatever model is assessed on the images later. This is the
    paper's protocol: a transfer attack, by an attacker who does not know about the defense. Records call it
    ``static``.

    Args:
        run: the run.
        split: ``train``, ``validation`` or ``test``.
        kind: ``regular`` (clean), ``fgsm`` or ``pgd``.

    Returns:
        uint8 [n, 32, 32, 3] if clean, a memory-mapped uint16 array if attacked; storage.to_float reads both.
    """
    if kind == "regular":
        return run.split(split).pixels
    if kind not in ("fgsm", "pgd"):
        raise CourseError(f"unknown input {kind!r}; choose one of {', '.join(SOURCES)}")
    chosen = run.split(split)
    config = {**run.config(), "attack": kind, "split": split, "n": len(chosen), **_steps_of(kind, run.eps)}

    def produce(first: int, end: int) -> np.ndarray:
        target = for_attack(run.classifier, run.protocol.attack_normalises, run.crafting)
        images, labels = Split(chosen.pixels[first:end], chosen.labels[first:end]).take()
        moved = attack(target, images, labels, kind, run.eps, run.seed + first, run.protocol.attack_loss)
        return storage.to_uint16(moved)

    shape, title = chosen.pixels.shape, f"{kind}, {split}"
    return artifacts.make_array_in_parts("attacks", config, shape, PART_SIZE, produce, title)


def _steps_of(kind: str, eps: float) -> dict:
    return {"steps": STEPS, "step_size": step_size_for(eps)} if kind == "pgd" else {"steps": 1}


@plain_numbers
def attacked_images(
    run: Run, target: keras.Model, kind: str, eps: float, *, steps: int = STEPS
) -> np.ndarray:
    """Attack any target on the first n_sweep test images.

    Args:
        run: the run.
        target: the model that the attack differentiates.
        kind: ``regular``, ``noise`` (every value moved by eps, up or down at random), ``fgsm`` or ``pgd``.
        eps: the budget.
        steps: of PGD, with the step size that step_size_for gives.

    Returns:
        uint16 [n_sweep, 32, 32, 3], memory-mapped.
    """
    chosen = run.data.test.head(run.profile.n_sweep)

    def craft(out: np.ndarray) -> None:
        images, labels = chosen.take()
        if kind == "noise":
            images = attacks.random_signs(images, eps, run.seed)
        elif kind in ("fgsm", "pgd"):
            aimed = for_attack(target, precision=run.crafting)
            images = attack(aimed, images, labels, kind, eps, run.seed, steps=steps)
        out[:] = storage.to_uint16(images)

    config = attack_config(run, target, kind, eps, steps)
    return artifacts.make_array("attacks", config, chosen.pixels.shape, craft)


def attack_config(run: Run, target: keras.Model, kind: str, eps: float, steps: int) -> dict:
    """Return the configuration of attacked_images; the arguments are the same."""
    return {
        **run.config(autoencoder_module),
        "target": checksum(target),
        "attack": kind,
        "n": len(run.data.test.head(run.profile.n_sweep)),
        "eps": eps,
        "steps": steps_of(kind, steps),
        "step_size": {"pgd": step_size_for(eps), "fgsm": eps}.get(kind, 0.0),
    }


def steps_of(kind: str, steps: int = STEPS) -> int:
    """Return the number of steps that an attack takes if PGD takes ``steps``."""
    return {"pgd": steps, "fgsm": 1}.get(kind, 0)


@plain_numbers
def attack(
    model: attacks.Model,
    images: np.ndarray,
    labels: np.ndarray,
    kind: str,
    eps: float,
    seed: int = 0,
    loss: str = "cross_entropy",
    steps: int = STEPS,
) -> np.ndarray:
    """Attack a model with the paper's FGSM or PGD.

    Args:
        model: returns logits.
        images: float32 [n, 32, 32, 3] in [0, 1].
        labels: integers [n].
        kind: ``fgsm`` or ``pgd``.
        eps: the budget.
        seed: of PGD's random start.
        loss: a name in losses.LOSSES.
        steps: of PGD, with the step size that step_size_for gives.

    Returns:
        The attacked images, as float32.
    """
    if kind == "fgsm":
        return attacks.fgsm(model, images, labels, eps, loss=loss)
    return attacks.pgd(
        model, images, labels, eps, step_size=step_size_for(eps), steps=steps, seed=seed, loss=loss
    )


def checksum(model: keras.Model) -> str:
    """Return a checksum of a model: of its weights, and the names of layers that have none (a blur)."""
    return ":".join([classifiers.weights_sha256(model), *_without_weights(model)])


def _without_weights(model: keras.Model) -> Iterator[str]:
    for layer in model.layers:
        if isinstance(layer, keras.layers.Lambda) or (isinstance(layer, keras.Model) and not layer.weights):
            yield layer.name
        elif isinstance(layer, keras.Model):
            yield from _without_weights(layer)


_FUSED: dict[tuple, keras.Model] = {}


def for_attack(model: keras.Model, normalised: bool = True, precision: str = "float32") -> keras.Model:
    """Return a copy of a model that is faster to differentiate.

    There is one copy per process, so that its graphs are traced once.

    Args:
        model: a classifier, or a defense with one behind it.
        normalised: if not, the copy leaves the normalisation out, and is a different function from the model.
        precision: of the classifier in the copy, a Keras policy (fused.fuse).
    """
    statistics = [
        (x.mean.tobytes(), x.std.tobytes()) for x in model.submodules if isinstance(x, classifiers.Normalize)
    ]
    key = checksum(model), *statistics, normalised, precision
    if key not in _FUSED:
        bare = model if normalised else classifiers.renormalised(model, [0.0] * 3, [1.0] * 3)
        _FUSED[key] = fused.fuse(bare, precision)
    return _FUSED[key]
