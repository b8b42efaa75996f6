"""Begin a run."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from .. import classifiers, datasets, settings
from ..backend import keras, tf
from ..classifiers import registry
from ..settings import Networks
from . import schedules
from .run import Run
from .shipped import PARTS, is_shipped


def start(
    dataset: str = "auto",
    model: str = "resnet20",
    profile: str = "quick",
    seed: int = 0,
    weights: str | Path | None = "course",
    eps: float | str | Fraction = settings.EPS,
    networks: str = Networks.TRAINED,
    schedule: str = schedules.CURRENT,
) -> Run:
    """Begin a run: check the parameters, load the data and the initial classifier, and set the random seeds.

    Args:
        dataset: a name in datasets.NAMES, or ``auto``.
        model: a key of registry.MODELS.
        profile: a name in settings.PROFILES.
        seed: of everything random in the run.
        weights: of the initial classifier (classifiers.load). None means ``none``, because papermill turns
            ``-p weights None`` into it.
        eps: the attack's budget, in [0, 1]; also as text or a fraction, such as "4/255".
        networks: where the autoencoder and the fine-tuned classifier come from: ``trained``, ``shipped``, or
            ``auto`` (shipped, if the course ships what this run would train). A full run trains the networks
            that are shipped, so ``auto`` means ``trained`` for it, unless COURSE_NETWORKS is ``shipped``:
            then a full run takes every part that is shipped, and trains the others.
        schedule: how the classifier is fine-tuned, a key of schedules.SCHEDULES.

    Raises:
        CourseError: a parameter has an invalid value.
    """
    chosen = settings.profile(profile)
    registry.check_model(model)
    eps, seed = settings.check_eps(eps), settings.check_seed(seed)
    weights = "none" if weights is None else str(weights)
    asked = Networks.parse(networks)
    schedules.check_schedule(schedule)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    data = datasets.load(dataset)
    classifier = classifiers.load(model, data, weights)
    run = Run(data, classifier, model, chosen, seed, eps, weights, schedule=schedule)
    return replace(run, networks=networks_of(run, asked))


def networks_of(run: Run, asked: Networks) -> Networks:
    """Decide where a run's networks come from.

    Args:
        run: the run.
        asked: as for start.

    Returns:
        TRAINED, SHIPPED, or AUTO: some parts are shipped, and the run trains the others.
    """
    full, take_shipped = run.profile.name == "full", settings.takes_shipped_networks()
    if full and asked is not Networks.SHIPPED:
        asked = Networks.AUTO if take_shipped else Networks.TRAINED
    if asked is not Networks.AUTO:
        return asked
    if run.profile.name not in settings.PROFILES:
        return Networks.TRAINED  # a profile of one's own says how they are trained
    if all(is_shipped(run, part) for part in PARTS):
        return Networks.SHIPPED
    return Networks.AUTO if full else Networks.TRAINED
