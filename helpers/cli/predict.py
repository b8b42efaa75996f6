"""The command that classifies a reader's own pictures: predict."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from ..settings import CourseError
from ..studies import image_files
from .command import DATASET, MODEL, PATH, SEED, Checked, Command, eps


@click.command(cls=Command)
@click.argument("place", metavar="FOLDER", type=PATH)
@MODEL
@DATASET
@click.option(
    "--stage", default="initial", type=click.Choice(["initial", "fine_tuned"]), help="of the classifier"
)
@click.option("--attack", type=click.Choice(["fgsm", "pgd"]), help="attack the pictures as well")
@click.option("--end-to-end", is_flag=True, help="aim it at autoencoder and classifier together")
@click.option("--eps", default="8/255", type=Checked("number", eps), help="its budget in [0, 1]")
@SEED
@click.option("--save", type=PATH, metavar="FOLDER", help="write the attacked images there, as PNG")
@click.option("--format", "form", default="table", type=click.Choice(["table", "csv", "json"]))
def predict(
    place: Path,
    model: str,
    dataset: str,
    stage: str,
    attack: str | None,
    end_to_end: bool,
    eps: float,
    seed: int,
    save: Path | None,
    form: str,
) -> int:
    """Classify your own pictures, with and without the autoencoder.

    FOLDER holds image files, or is one. Other files are named and skipped, and the status is 1 then.
    """
    if not attack and (save or end_to_end):
        raise CourseError(f"{'--save' if save else '--end-to-end'} needs an attack; add --attack pgd")
    pictures, skipped = image_files.read_folder(place)
    for name, why in skipped.items():
        click.echo(f"skipped {image_files.printable(name)}: {why}", err=True)
    if not pictures:
        raise CourseError(
            f"there is no image in {place.resolve().name}; it takes {', '.join(image_files.FORMATS)}"
        )
    if save:
        image_files.files_in(save, pictures)  # raises before anything is computed

    from ..studies import pictures as study

    how = study.Attack(attack, eps, end_to_end, seed) if attack else None
    systems = study.load(dataset, model, stage)
    forms = {"clean": np.stack([picture.image for picture in pictures])}
    if how:
        forms["attacked"] = study.attack(systems, forms["clean"], how)
    if save:
        forms["saved"] = image_files.save(pictures, forms["attacked"], save)
    found = study.answers(systems, pictures, forms)
    if form == "csv":
        click.echo(found.to_csv(index=False).encode("utf-8", "surrogateescape"), nl=False)
    elif form == "json":
        click.echo(json.dumps(found.to_dict("records"), indent=1))
    else:
        click.echo(study.table(found).to_string())
        click.echo(f"\n{study.notes(systems, found, how, save)}")
    return 1 if skipped else 0
