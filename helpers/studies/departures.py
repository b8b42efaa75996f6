"""Every place where the course departs from the paper's text or from its released code, and what it changes.

One list serves the README and notebook 05. Its numbers are drawn from the records: figures/audit.json (one
departure switched on at a time), figures/gap.json (what separates the tables from the paper's) and the
recorded answers. Needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import settings
from ..evaluation.titles import DEFENSE_TITLES, INPUT_TITLES, STAGE_TITLES
from ..pipeline.recorded import recorded_audit, recorded_results
from . import gap_explained

FULL = settings.PROFILES["full"]
AE_STEPS = 2 * FULL.n_train // FULL.ae_batch * FULL.ae_epochs
"""How many steps the autoencoder is trained for in a full run."""

NOT_MEASURED = "not measured"

MODEL = "resnet20"
"""The network whose effects are shown, that of the paper's Table 2."""

README_MARKERS = ("<!-- departures -->", "<!-- /departures -->")

JPEG_TEST = (
    (1259, 1369, 1422, 1556, 2245, 2737, 2935, 3630, 3695, 3718, 4085, 4496)
    + (5791, 5896, 6286, 7580, 7707, 7724, 7832, 8117, 8541, 8551, 9254)
)  # fmt: skip
"""The indices of the test images that the recorded runs' copy of CIFAR-10 has from a JPEG."""

JPEG_ALL, IMAGES = 115, 60_000
"""How many of CIFAR-10's images that copy has from a JPEG, training images included, and of how many."""


@dataclass(frozen=True)
class Departure:
    """A choice that the paper's text, its released code and the course do not share.

    Attributes:
        what: the choice.
        text, code, course: what each does.
        effect: returns the measured effect, in words.
    """

    what: str
    text: str
    code: str
    course: str
    effect: Callable[[], str]


def audited(variant: str) -> Callable[[], str]:
    """Return what an audit's variant changes most (deviations.VARIANTS)."""

    def effect() -> str:
        rows = (recorded_audit(MODEL) or {"rows": []})["rows"]
        row = next((row for row in rows if row["variant"] == variant), None)
        if row is None:
            return NOT_MEASURED
        both = zip(row["records"], row["differences"], strict=True)
        record, most = max(both, key=lambda pair: abs(pair[1]["points"]))
        return _most(most, record) + f", {record['profile']} run, n = {record['n']:,}"

    return effect


def decomposed(cause: str) -> Callable[[], str]:
    """Return what a cause of the gap changes most (gap_explained.CAUSES)."""

    def effect() -> str:
        steps = [s for s in (gap_explained.recorded(MODEL) or {"steps": []})["steps"] if s["cause"] == cause]
        if not steps:
            return NOT_MEASURED
        most = max(steps, key=lambda step: abs(step["points"]))
        return _most(most, {**most, "stage": "initial"}) + f", n = {most['n']:,}"

    return effect


def _most(found: dict, record: dict) -> str:
    where = f"{INPUT_TITLES[record['input']]}, {STAGE_TITLES[record['stage']]}"
    points = f"{found['points']:+.1f} points [{found['low']:+.1f}, {found['high']:+.1f}]"
    return f"up to {points} ({where}, {DEFENSE_TITLES[record['defense']]})"


def without_jpeg() -> str:
    """Return how far a transfer accuracy moves when the test images from a JPEG are left out."""
    moved = []
    for model in recorded_results()["runs"]:
        file = settings.FIGURES / model / "answers.npz"
        if file.is_file():
            with np.load(file) as stored:
                whole = [stored[name] for name in stored.files if len(stored[name]) > max(JPEG_TEST)]
            moved += [100 * (np.delete(c, JPEG_TEST).mean() - c.mean()) for c in whole]
    if not moved:
        return NOT_MEASURED
    return (
        f"without the {len(JPEG_TEST)} test images no transfer accuracy moves by more than "
        f"{max(map(abs, moved)):.2f} points; in training {NOT_MEASURED}"
    )


def unknown() -> str:
    """Return that an effect was not measured."""
    return NOT_MEASURED


DEPARTURES = (
    Departure(
        "network that is attacked",
        "the one assessed",
        "the initial one, once",
        "the tables: as the code; beside them: as the text",
        audited("attack_anew"),
    ),
    Departure(
        "attack's gradient",
        "of the model assessed",
        "at the raw image, without normalisation",
        "as the text",
        audited("raw_gradient"),
    ),
    Departure(
        "normalisation", "CIFAR-10's mean and deviation", "ImageNet's", "as the text", audited("imagenet")
    ),
    Departure("attack's loss", "cross-entropy", "on softmax outputs", "on logits", audited("softmax_attack")),
    Departure(
        "fine-tuning's loss",
        "cross-entropy",
        "takes logits for probabilities",
        "on logits",
        audited("softmax_tuning"),
    ),
    Departure(
        "weights that are kept", "no word", "the best on test images", "the last", audited("best_on_test")
    ),
    Departure("autoencoder's sources", "FGSM, PGD", "clean, FGSM, PGD", "as the text", audited("clean_ae")),
    Departure(
        "autoencoder's learning rate",
        "1e-3, decayed to 1e-4",
        "1e-3, a fifth of it after each plateau",
        "as the text",
        audited("plateau"),
    ),
    Departure(
        "autoencoder's batch and steps",
        "no word; 100 epochs",
        "64; 234,400 steps",
        f"{FULL.ae_batch}; {AE_STEPS:,} steps",
        unknown,
    ),
    Departure("autoencoder's sources, rate, batch together", "–", "–", "–", decomposed("autoencoder")),
    Departure(
        "base networks",
        "tf2cv's, pretrained",
        "as the text",
        "trained here (its cards say how)",
        decomposed("base"),
    ),
    Departure("all departures of the code together", "–", "–", "–", audited("all")),
    Departure(
        "fine-tuning's learning rate",
        "1e-4, eventually 1e-5",
        "1e-4, in the last epochs 1e-5",
        "1e-4, decayed to 1e-5 at every step",
        unknown,
    ),
    Departure(
        "SEPreResNet-56's schedule",
        "several epochs, then on autoencoder outputs only",
        "3 epochs, then 4 on clean images and outputs",
        f"{FULL.tune_epochs_first} epochs, then {FULL.tune_epochs_final} on clean images and outputs",
        unknown,
    ),
    Departure(
        "EfficientNet-B0",
        "named, not finished",
        "none",
        "begins with ImageNet weights; fine-tuned for one epoch",
        unknown,
    ),
    Departure("precision of training", "no word", "float32", "in part bfloat16", unknown),
    Departure(
        "images",
        "CIFAR-10",
        "CIFAR-10",
        f"{JPEG_ALL} of {IMAGES:,} from a JPEG, {len(JPEG_TEST)} of them test images",
        without_jpeg,
    ),
)
"""The departures: first those of the attack, then those of the training, then those of the data."""


def table() -> pd.DataFrame:
    """Tabulate the departures, with the largest measured effect of each on a cell of the table."""
    rows = {
        d.what: {
            "the paper's text": d.text,
            "its released code": d.code,
            "the course": d.course,
            "effect on ResNet-20's table": d.effect(),
        }
        for d in DEPARTURES
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("choice")


def markdown() -> str:
    """Return the table in Markdown, for the README."""
    frame = table().reset_index()
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
