"""The gap between the course's tables and the paper's, decomposed: a cross table of what could explain it.

    python -m helpers gap --model resnet20            # writes figures/gap.json

The initial columns of the paper's Tables 2 and 3 (the initial classifier, alone and behind the autoencoder)
are measured under every combination of three factors: the base network's recipe, the attack, and the
autoencoder. Attacks are transfer attacks, as in the tables: made once, for the bare base network. Every cell
is kept in parts, so a run that was stopped goes on where it stopped. A combination whose networks are not
shipped is listed as not measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from .. import artifacts, classifiers, defenses, evaluation, pipeline, settings
from ..artifacts import cards
from ..backend import keras
from ..datasets import Split
from ..datasets.storage import to_uint16
from ..defenses import autoencoder as autoencoder_module
from ..evaluation import accuracy
from ..pipeline import PART_SIZE, SOURCES, Run, base_variants
from ..pipeline.protocol import Protocol
from ..settings import CourseError, Networks
from . import autoencoder_seeds
from .gap_explained import Combination, explained

ATTACKS = {
    "right": Protocol(),
    "raw": Protocol(attack_normalises=False),
    "raw_softmax": Protocol(attack_normalises=False, attack_loss="of_softmax"),
}
"""The attacks by name: with the gradient of what is assessed; with the gradient at the image that is not
normalised; and with that gradient of the loss on softmax outputs, as in the paper's released code."""

NONE = "none"
"""The name for no autoencoder."""


@dataclass
class Factors:
    """The networks of the cross table.

    Attributes:
        bases: base classifiers by recipe.
        autoencoders: by recipe and seed; NONE is not among them.
        missing: why each of the others is not there: ``network`` and ``why``.
    """

    bases: dict[str, keras.Model]
    autoencoders: dict[str, keras.Model]
    missing: list[dict]


def start(model: str, images: int) -> Run:
    """Begin a run on CIFAR-10 with the shipped networks.

    Args:
        model: a key of registry.MODELS.
        images: how many of the test images are attacked and assessed.

    Raises:
        CourseError: there are fewer test images.
    """
    run = pipeline.start("cifar10", model, "full", networks=Networks.SHIPPED)
    if images > len(run.data.test):
        raise CourseError(f"--images is {images:,}; there are {len(run.data.test):,} test images")
    return replace(run, profile=replace(run.profile, n_test=images))


def factors(run: Run, author: keras.Model | None = None) -> Factors:
    """Load the networks that are shipped, and list those that are not.

    Args:
        run: with the shipped base network.
        author: the author's released autoencoder (released_pair.load), for those who have its file.
    """
    found = Factors({"shipped": run.classifier}, {}, [])
    initial = classifiers.weights_sha256(run.classifier)

    def add(networks: dict, name: str, load: Callable[[], keras.Model]) -> None:
        try:
            networks[name] = load()
        except CourseError as error:
            found.missing.append({"network": name, "why": str(error).partition(";")[0]})

    def variant(name: str) -> keras.Model:
        file = base_variants.file_of(run.data.name, run.model, name)
        cards.read(file, {"begins_with": initial})
        return classifiers.load(run.model, run.data, str(file))

    def trained(recipe: str, seed: int) -> keras.Model:
        file = autoencoder_seeds.file_of(run.data.name, run.model, seed, recipe)
        cards.read(file, {"initial_sha256": initial})
        network = autoencoder_module.build_autoencoder()
        classifiers.load_into(network, file, "the autoencoder")
        return network

    for name in base_variants.VARIANTS:
        add(found.bases, name, partial(variant, name))
    add(found.autoencoders, "shipped", lambda: pipeline.autoencoder(run)[0])
    for recipe in autoencoder_seeds.RECIPES:
        seeds = list(autoencoder_seeds.cards_of(run.data.name, run.model, recipe)) or [0]
        for seed in seeds:
            add(found.autoencoders, name_of(recipe, seed), partial(trained, recipe, seed))
    if author is None:
        found.missing.append({"network": "author", "why": "the author's file was not named"})
    else:
        found.autoencoders["author"] = author
    return found


def name_of(recipe: str, seed: int) -> str:
    """Return the name of the autoencoder of a recipe and a seed among the factors."""
    return f"seed_{seed}" if recipe == "paper" else recipe if not seed else f"{recipe}_{seed}"


def measure(run: Run, networks: Factors) -> Iterator[dict]:
    """Measure the cross table.

    Yields:
        After each base network and attack, a network's part of gap.json as far as it is measured:
        ``parameters``; ``data``; ``records``, each with its ``base``, ``attack`` and ``autoencoder``;
        ``steps`` (gap_explained.explained); and ``not_measured``.
    """
    answers: dict[Combination, dict[str, np.ndarray]] = {}
    # The chain of explanations needs these first; the others show how far it depends on its order.
    blocks = sorted(
        ((base, attack) for base in networks.bases for attack in ATTACKS),
        key=lambda block: (block[0] != "shipped", "mixup_label" not in block[0], block[1] == "raw_softmax"),
    )
    records: list[dict] = []
    with settings.progress(len(blocks), "gap") as bar:
        for base, attack in blocks:
            one = replace(run, classifier=networks.bases[base], protocol=ATTACKS[attack])
            for name, network in {NONE: None, **networks.autoencoders}.items():
                place = Combination(base, attack, name)
                answers[place] = {kind: _correct(one, network, kind) for kind in SOURCES}
                defense = NONE if network is None else "ae"
                records += [
                    evaluation.record(correct, **one.fields("initial", defense, kind, "static"))
                    | place._asdict()
                    for kind, correct in answers[place].items()
                ]
            bar.update()
            yield {
                "parameters": {"model": run.model, "images": run.profile.n_test, "seed": run.seed},
                "data": run.data.provenance,
                "records": records,
                "steps": explained(run.model, answers),
                "not_measured": networks.missing,
            }


def _correct(run: Run, network: keras.Model | None, kind: str) -> np.ndarray:
    """Return which test images a base classifier gets right, behind an autoencoder or alone.

    Images are attacked and assessed in parts, so that a table of more images goes on from one of fewer.
    """
    if kind == "regular":
        run = replace(run, protocol=Protocol())  # no attack, so all attacks share the answers
    model = run.classifier if network is None else defenses.defended(network, run.classifier)
    wanted = run.profile.n_test
    parts = [_correct_in_part(run, model, kind, first) for first in range(0, wanted, PART_SIZE)]
    return np.concatenate(parts)[:wanted]


def _correct_in_part(run: Run, model: keras.Model, kind: str, first: int) -> np.ndarray:
    part = _part(run, first)
    config = {
        **run.config(autoencoder_module, accuracy),
        "assessed": pipeline.checksum(model),
        "input": kind,
        "first": first,
        "n": len(part),
    }

    def assess() -> list[int]:
        images = part.pixels if kind == "regular" else _attacked(run, kind, first)
        return [int(right) for right in evaluation.is_correct(model, images, part.labels)]

    return np.array(artifacts.make_json("gap", config, assess), bool)


def _attacked(run: Run, kind: str, first: int) -> np.ndarray:
    """Return attacked test images of one part; they are those of pipeline.inputs."""
    part = _part(run, first)
    config = {**run.config(), "attack": kind, "first": first, "n": len(part)}

    def craft(out: np.ndarray) -> None:
        target = pipeline.for_attack(run.classifier, run.protocol.attack_normalises)
        loss, seed = run.protocol.attack_loss, run.seed + first
        out[:] = to_uint16(pipeline.attack(target, *part.take(), kind, run.eps, seed, loss))

    return artifacts.make_array("gap_attacks", config, part.pixels.shape, craft)


def _part(run: Run, first: int) -> Split:
    """Return the test images from ``first`` on, as many as are attacked between two checkpoints."""
    test, rows = run.data.test, slice(first, first + PART_SIZE)
    return Split(test.pixels[rows], test.labels[rows])


def write(found: dict, file: Path) -> None:
    """Write a network's part into the file, and keep those of other networks."""
    others = settings.read_json(file) if file.is_file() else {}
    both = {**others, found["parameters"]["model"]: found}
    settings.write_atomically(file, json.dumps({k: both[k] for k in sorted(both)}, indent=1).encode())
