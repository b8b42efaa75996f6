"""Whether a shipped network is the one that a run would train. Reads only cards, and needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import settings
from ..artifacts import cards
from ..settings import Profile
from . import schedules

SOURCES = ("regular", "fgsm", "pgd")
"""The images a network is trained and assessed on: clean, or attacked by FGSM or PGD."""


def named_phases(model: str, profile: Profile, schedule: str) -> list[tuple[Sequence[str], int]]:
    """Return a fine-tuning schedule: for each phase the names of its sources, and its epochs.

    ResNet-20 is trained on all six sources for three epochs. SEPreResNet-56, and any network with a second
    phase in the registry, is trained on all six and then on clean images and the autoencoder's outputs only.
    """
    everything = [*SOURCES, *(f"ae({kind})" for kind in SOURCES)]
    later = ["regular", *everything[3:]]
    phases = schedules.phases(model, profile, schedule)
    return [(everything if phase.all_six else later, phase.epochs) for phase in phases]


def is_shipped_as(
    part: str,
    *,
    dataset: str,
    model: str,
    profile: Profile,
    initial_sha256: str,
    seed: int,
    eps: float,
    protocol: dict,
    schedule: str = schedules.CURRENT,
) -> bool:
    """Return whether weights/ has a part as a run with these parameters would train it.

    Args:
        part: the part's name (parts_of).
        dataset: the data set's name.
        model: the network's name.
        profile: the profile; all its numbers matter for a full run only.
        initial_sha256: the checksum of the initial classifier's weights.
        seed: the run's seed.
        eps: the attack budget.
        protocol: the departures from the course's protocol (Protocol.changes).
        schedule: how the classifier is fine-tuned, a key of schedules.SCHEDULES.
    """
    files = {name: settings.WEIGHTS / dataset / f"{model}_{name}.h5" for name in ("ae", part)}
    wanted = {"initial_sha256": initial_sha256, "seed": seed, "eps": eps, "protocol": protocol}
    if profile.name == "full":
        wanted |= {"profile": "full", "trained_on": _most(files[part], profile.n_train)}
    if part != "ae":
        if profile.name == "full":
            wanted["phases"] = named_phases(model, profile, schedule)
            if _schedule_of_card(files[part]) != schedules.schedule_of(model, schedule):
                return False
        try:
            autoencoder = cards.read_alone(files["ae"])
        except FileNotFoundError:
            return False
        if "weights_sha256" in autoencoder:
            wanted["autoencoder_weights_sha256"] = autoencoder["weights_sha256"]
    return cards.status(files[part], wanted).is_shipped


def _most(file: Path, limit: int) -> int:
    """Return how many images a full run trains on: the limit, or all that the data set has."""
    try:
        data = cards.read_alone(file).get("data", {})
    except FileNotFoundError:
        return limit
    return min(limit, data.get("train", limit) + data.get("validation", 0))


def _schedule_of_card(file: Path) -> str:
    """Return the schedule that made a shipped part; the first cards do not name it."""
    card = cards.card_file(file)
    return settings.read_json(card).get("schedule", "decay") if card.is_file() else ""
