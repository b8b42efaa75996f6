"""The evaluation checklist of a run, kept in the artifact store."""

from __future__ import annotations

import pandas as pd

from .. import artifacts, checklist
from ..backend import keras
from ..defenses import autoencoder
from ..evaluation import accuracy
from . import bottleneck
from .attacked import checksum, inputs
from .bottleneck import autoencoder_in
from .run import Run


def run_checklist(
    run: Run, model: keras.Model, attacked: str | None = None, transfer: str | None = None
) -> pd.DataFrame:
    """Check an evaluation on the run's first n_checklist test images.

    A full run makes all checks; the others leave out the three slowest.

    Args:
        run: the run.
        model: the assessed classifier, or a defense with a classifier behind it.
        attacked: ``fgsm`` or ``pgd``, if the reported accuracy was measured on inputs(run, "test", ...).
        transfer: ``fgsm`` or ``pgd``, if the model's own attack must do at least as well as inputs(run,
            "test", ...).

    Returns:
        The table of check_evaluation. A model with an autoencoder gets a further row, which fails if a
        channel of the bottleneck is dead.
    """
    n = run.profile.n_checklist
    images, labels = run.split("test").head(n).take()
    given = {"attacked": attacked, "transfer": transfer}
    config = {
        **run.config(autoencoder, accuracy, checklist),
        "assessed": checksum(model),
        "given": given,
        "n": n,
        "profile": run.profile.name,
    }

    def check() -> list[dict]:
        arrays = {name: inputs(run, "test", kind)[:n] for name, kind in given.items() if kind}
        quick = run.profile.name != "full"
        return checklist.check_evaluation(
            model, images, labels, run.eps, seed=run.seed, quick=quick, **arrays
        ).to_dict("records")

    rows = artifacts.make_json("sanity", config, check)
    if preprocessor := autoencoder_in(model):
        rows = [*rows, _dead_channels(preprocessor, run)]
    return pd.DataFrame(rows)


def _dead_channels(preprocessor: keras.Model, run: Run) -> dict:
    """Check that every channel of an autoencoder's bottleneck is active on clean validation images.

    The check is quick and is not kept, so that kept checklists stay what they are.
    """
    images = run.data.validation.head(bottleneck.IMAGES).pixels
    active, there = bottleneck.active_channels(preprocessor, images)
    return {
        "check": "dead channels",
        "value": f"{there - active} of {there} channels are 0 on {len(images)} clean images",
        "bound": "0",
        "passed": active == there,
        "meaning": "The autoencoder is smaller than it says: train it with another seed, or say so.",
    }
