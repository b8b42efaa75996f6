"""The commands that train networks and ship them in weights/: weights, networks, seeds, robust, search."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import settings
from ..artifacts import cards
from ..settings import CourseError
from .command import DATASET, MODEL, PROFILES, SEED, Checked, Command, seed

if TYPE_CHECKING:
    from ..pipeline import Run

REPLACE = click.option(
    "--replace", is_flag=True, help="replace a shipped network that was made with another seed or length"
)


@dataclass
class Part:
    """A network to train and ship.

    Attributes:
        make: trains the network for a run, ships it, and returns what to print.
        card: the card of the shipped network that it would replace; None if it replaces none unasked.
        asked: fields of that card, as the new network's card will have them.
    """

    make: Callable[[Run], str]
    card: Path | None = None
    asked: dict = field(default_factory=dict)


def ship(parts: Sequence[Part], replace: bool, begin: Callable[[], Run | None]) -> None:
    """Train networks and ship each in weights/ when it is done.

    Args:
        parts: the networks, in order.
        replace: whether they may replace shipped networks that were made differently.
        begin: begins the run; called once all parts are checked.

    Raises:
        CourseError: a part would replace a network that was made differently. Nothing is trained.
    """
    for part in parts:
        if not replace:
            _check_replaces(part)
    run = begin()
    for part in parts:
        click.echo(part.make(run))


def _check_replaces(part: Part) -> None:
    """Refuse to replace a shipped network on which recorded results rest."""
    if part.card is not None and (differing := cards.status(part.card, part.asked).differing):
        shipped = settings.read_json(part.card)
        other = ", ".join(f"{name.replace('_', ' ')} {shipped[name]}" for name in differing)
        raise CourseError(
            f"{part.card.stem} is shipped, made with {other}, and recorded results rest on it; "
            "add --replace to replace it"
        )


@click.command(cls=Command)
@DATASET
@MODEL
@SEED
@click.option("--epochs", type=int, help="instead of the recipe's own number")
@click.option(
    "--recipe",
    default="base",
    help="base; or label_smoothing, mixup or mixup_label_smoothing: train the shipped network on",
)
@REPLACE
def weights(dataset: str, model: str, seed: int, epochs: int | None, recipe: str, replace: bool) -> None:
    """Train a base classifier and ship it in weights/.

    With another recipe than base, train a variant of the shipped one, and ship it in weights/*/variants/.
    """
    from .. import datasets
    from ..pipeline import base_variants, train_base

    if dataset not in datasets.NAMES:
        datasets.load(dataset)  # raises the error that names the data sets
    if epochs is not None and epochs < 1:
        raise CourseError(f"--epochs is {epochs}; training takes at least 1")
    is_base = recipe == "base"
    if not is_base:
        base_variants.variant_of(recipe)

    def make(_: None) -> str:
        if is_base:
            card = train_base.make(dataset, model, seed, epochs)
        else:
            card = base_variants.make(dataset, model, recipe, seed, epochs)
        return "\n".join(
            f"{split}: {score['correct']:,} of {score['n']:,} correct, {100 * score['accuracy']:.2f}%"
            for split, score in card["scores"].items()
        )

    file = settings.WEIGHTS / dataset / f"{model}.h5"
    asked = {"seed": seed, "epochs": epochs}
    if is_base:
        asked["begins_with"] = train_base.beginning(model)
    else:
        file = base_variants.file_of(dataset, model, recipe)
    asked = {name: value for name, value in asked.items() if name == "seed" or value}
    ship([Part(make, file.with_suffix(".json"), asked)], replace, lambda: None)


@click.command(cls=Command)
@DATASET
@MODEL
@SEED
@click.option("--schedule", help="of fine-tuning: decay or paper (helpers/pipeline/schedules.py)")
@REPLACE
def networks(dataset: str, model: str, seed: int, schedule: str | None, replace: bool) -> None:
    """Train a full run's autoencoder and fine-tuned classifier; ship each.

    Parts that weights/ already has are used, so that the parts can be trained on different days and machines.
    """
    os.environ["COURSE_NETWORKS"] = "shipped"
    from .. import pipeline
    from ..pipeline import schedules

    run = pipeline.start(dataset, model, "full", seed, schedule=schedule or schedules.CURRENT)
    if run.networks == "shipped":
        click.echo(f"weights/{run.data.name} has the autoencoder and the fine-tuned classifier of this run")
        return
    there = [part for part in pipeline.parts_of(run) if pipeline.card_file(run, part).is_file()]
    if not replace and (other := [part for part in there if not pipeline.is_taken(run, part)]):
        names = ", ".join(f"{model}_{part}" for part in other)
        raise CourseError(
            f"weights/{run.data.name} has {names} of another run (seed, size, schedule, initial classifier "
            "or autoencoder), and recorded results may rest on it; add --replace to replace it"
        )

    def part(name: str, make: Callable) -> Part:
        def made(run: Run) -> str:
            pipeline.ship(run, [name])
            last = make()[1][-1]
            return f"{model}_{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in last.items())

        return Part(made)

    ship([part(name, make) for name, make in pipeline.parts_of(run).items()], replace, lambda: run)


@click.command(cls=Command)
@click.argument("seeds", nargs=-1, metavar="SEED...", type=Checked("number", seed))
@DATASET
@MODEL
@click.option("--profile", default="full", help=PROFILES)
@click.option("--recipe", default="paper", help="paper, or released: as the paper's released code trains it")
@click.option("--choose", is_flag=True, help="train nothing; name the seed with the median validation loss")
def seeds(seeds: tuple[int, ...], dataset: str, model: str, profile: str, recipe: str, choose: bool) -> None:
    """Train the paper's autoencoder with other seeds; ship each."""
    from ..studies import autoencoder_seeds

    autoencoder_seeds.recipe_of(recipe)
    if choose:
        found = autoencoder_seeds.cards_of(dataset, model, recipe)
        median = autoencoder_seeds.chosen(found)
        click.echo(f"{autoencoder_seeds.table(found).to_string()}\nmedian by validation loss: seed {median}")
        return
    if not seeds:
        raise CourseError("name one seed or several to train, such as 0 1 2; or --choose")
    from .. import pipeline

    def make(run: Run, seed: int) -> str:
        card = autoencoder_seeds.make(run, seed, recipe)
        loss, active = card["validation"]["loss"], card["active_channels"]
        return f"seed {seed}: validation loss {loss:.5f}, {active} active channels"

    parts = [Part(lambda run, seed=seed: make(run, seed)) for seed in seeds]
    ship(parts, True, lambda: pipeline.start(dataset, model, profile))


@click.command(cls=Command)
@click.argument("recipe")
@DATASET
@MODEL
@SEED
@REPLACE
def robust(recipe: str, dataset: str, model: str, seed: int, replace: bool) -> None:
    """Train a robust network and ship it in weights/.

    RECIPE is single_step, madry, joint, noise_25, noise_50, denoiser_25, few_images or collapsing.
    """
    from .. import pipeline
    from ..studies import robust_models

    robust_models.recipe_of(recipe)

    def make(run: Run) -> str:
        card = robust_models.make(run, recipe)
        history = card["history"]
        epoch = card.get("kept_epoch", len(history))
        scores = {name: history[epoch - 1].get(name) for name in ("clean", "pgd", "noisy")}
        found = ", ".join(f"{name} {100 * score:.1f}%" for name, score in scores.items() if score is not None)
        return (
            f"epoch {epoch} of {len(history)}, {robust_models.WATCHED} validation images: {found}; "
            f"{card['minutes']:.0f} minutes"
        )

    card = settings.WEIGHTS / dataset / f"{model}_{recipe}.json"
    begin = lambda: pipeline.start(dataset, model, seed=seed, networks="auto")  # noqa: E731
    ship([Part(make, card, {"seed": seed})], replace, begin)


@click.command(cls=Command)
@click.argument("name")
@DATASET
@MODEL
@SEED
@REPLACE
def search(name: str, dataset: str, model: str, seed: int, replace: bool) -> None:
    """Train autoencoders of the search; ship each.

    NAME is an autoencoder's (helpers/defenses/architectures.py), series (the six of notebook 03), or all.
    Those of another seed are shipped beside the others.
    """
    from .. import pipeline
    from ..defenses import architectures
    from ..studies import latent_size, search

    def make(run: Run, name: str) -> str:
        card = search.make(run, name)
        validation = card["validation"]
        found = ", ".join(f"{kind} {100 * score['accuracy']:.1f}%" for kind, score in validation.items())
        return (
            f"{name}: {card['latent']:,} numbers, {card['parameters']:,} parameters, "
            f"{card['minutes']:.1f} minutes; {validation['regular']['n']:,} validation images: {found}"
        )

    every = [key for key, one in architectures.ARCHITECTURES.items() if one.trained]
    names = {"all": every, "series": list(latent_size.SERIES)}.get(name, [name])
    architectures.architecture_of(names[0])
    parts = [
        Part(
            lambda run, one=one: make(run, one),
            cards.card_file(search.path_of(dataset, model, one, seed)),
            {"seed": seed},
        )
        for one in names
    ]
    ship(parts, replace, lambda: pipeline.start(dataset, model, seed=seed))
