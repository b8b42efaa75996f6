"""The evaluation checklist (evaluation.checklist) of a run, kept in the store."""

from __future__ import annotations

import pandas as pd

from .. import artifacts, evaluation
from ..attacks import square_attack
from ..backend import keras
from ..defenses import autoencoder
from ..evaluation import checklist
from .steps import Run, checksum, inputs


def run_checklist(
    run: Run, model: keras.Model, attacked: str | None = None, transfer: str | None = None
) -> pd.DataFrame:
    """sanity on the first test images of a run (n_checklist of its profile), kept in the store.

    Args:
        model: what is assessed: a classifier, or a defense with one behind it.
        attacked: ``fgsm`` or ``pgd`` where the reported accuracy was measured on pipeline.inputs(run, "test", ...).
        transfer: the same, where these are a bar that the model's own attack must take.

    Returns:
        sanity's table. All checks in a full run; the others leave out the three dearest.
    """
    n = run.profile.n_checklist
    images, labels = run.split("test").head(n).take()
    given = {"attacked": attacked, "transfer": transfer}
    config = {
        **run.config(autoencoder, evaluation, square_attack, checklist),
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

    return pd.DataFrame(artifacts.make_json("sanity", config, check))
