"""The networks a run uses: shipped in weights/, or trained and kept in the artifact store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .. import artifacts, classifiers, settings
from ..artifacts import bundles, cards
from ..backend import keras
from ..settings import Networks, Profile
from .matching import is_shipped_as
from .run import Run

PARTS = "ae", "fine_tuned"
"""The parts that a run trains and ``make record`` ships. ``make networks`` ships more (parts_of)."""

_LOADED: dict[tuple[Path, str], tuple[keras.Model, list[dict]]] = {}
"""This process's networks, by artifact. A second request returns the same network, already compiled."""


def weight_file(run: Run, part: str) -> Path:
    """Return the path of the weights of a part (parts_of) of the run's network, shipped or not."""
    return classifiers.shipped(run.data.name, f"{run.model}_{part}")


def card_file(run: Run, part: str) -> Path:
    """Return the path of the card of a part (weight_file)."""
    return cards.card_file(weight_file(run, part))


def is_shipped(run: Run, part: str) -> bool:
    """Return whether weights/ has this part as the run would train it."""
    return is_shipped_as(
        part,
        dataset=run.data.name,
        model=run.model,
        profile=run.profile,
        initial_sha256=classifiers.weights_sha256(run.classifier),
        seed=run.seed,
        eps=run.eps,
        protocol=run.protocol.changes(),
        schedule=run.schedule,
    )


def is_taken(run: Run, part: str) -> bool:
    """Return whether this part of the run comes from weights/."""
    return run.networks is Networks.SHIPPED or (run.networks is Networks.AUTO and is_shipped(run, part))


def trained_as(run: Run, part: str) -> Profile:
    """Return the profile that a part was trained with: the run's own, or that of the shipped part's run."""
    if not is_taken(run, part):
        return run.profile
    card = cards.read_alone(weight_file(run, part))
    return settings.profile(card["profile"], n_train=card["trained_on"])


def load_shipped(
    run: Run, part: str, build: Callable[[], keras.Model], load: Callable[[keras.Model, Path], None]
) -> tuple[keras.Model, list[dict]]:
    """Load a network that is shipped in weights/, and its training history.

    Raises:
        CourseError: the network is missing, or was made for another initial classifier.
    """
    file, initial = weight_file(run, part), classifiers.weights_sha256(run.classifier)
    if (file, initial) not in _LOADED:
        card = cards.read(
            file,
            {"initial_sha256": initial},
            remedy="record a run (make report, make record), or train it (networks='trained')",
        )
        model = build()
        load(model, file)
        _LOADED[file, initial] = model, card.get("history", [])
    return _LOADED[file, initial]


def load_or_train(
    kind: str,
    config: dict,
    build: Callable[[], keras.Model],
    train: Callable[[Path], None],
    meanwhile: Callable[[], None] | None = None,
) -> tuple[keras.Model, list[dict]]:
    """Load a network and its training history from the artifact store; train it first if it is missing.

    Args:
        kind: the artifact's kind.
        config: everything the network depends on.
        build: returns a network whose weights are then replaced.
        train: trains the network and writes it, with its history, to the given path.
        meanwhile: called before this process waits for another one that trains the network.
    """
    key = artifacts.folder_of(kind, config)
    if key not in _LOADED:
        bundle, model = bundles.load(artifacts.make(kind, config, ".npz", train, meanwhile).path), build()
        model.set_weights(bundle.weights)
        _LOADED[key] = model, bundle.history
    return _LOADED[key]
