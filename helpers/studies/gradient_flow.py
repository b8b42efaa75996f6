"""What passes through a defense: an image forwards, and each attacker's gradient backwards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import classifiers, pipeline
from ..artifacts import cards
from ..defenses import autoencoder as ae_module
from ..evaluation import predict
from ..pipeline import PARTS, Run
from ..settings import Networks
from .loss_landscape import gradient_at

ATTACKERS = {
    "adaptive": "end-to-end",
    "grey_box": "grey-box",
    "static": "oblivious",
}
"""The attackers by what they know, from all to least, and the figures' words for them."""


@dataclass(frozen=True, eq=False)
class Flow:
    """One image on its way through autoencoder and classifier, and back.

    Attributes:
        classes: their names.
        label: the image's class.
        image, reconstructed: float32 [32, 32, 3] in [0, 1]: the image, and what the autoencoder makes of it.
        logits: of the classifier for ``reconstructed``, [10].
        gradients: by key of ATTACKERS, the gradient of the loss that this attacker computes at the image,
            [32, 32, 3]: through autoencoder and classifier, through the classifier alone, or through the
            initial classifier.
    """

    classes: tuple[str, ...]
    label: int
    image: np.ndarray
    reconstructed: np.ndarray
    logits: np.ndarray
    gradients: dict[str, np.ndarray]


def shipped_networks(run: Run) -> Run:
    """Return the run with the networks that the course ships for its classifier, or as it is without them."""
    wanted = classifiers.weights_sha256(run.classifier)
    for part in PARTS:
        file = pipeline.card_file(run, part)
        if not file.is_file() or cards.read_alone(file.with_suffix(".h5"))["initial_sha256"] != wanted:
            return run
    return replace(run, networks=Networks.SHIPPED)


def flow(run: Run, image: np.ndarray, label: int) -> Flow:
    """Send an image forwards through the fine-tuned classifier behind its autoencoder, and gradients back.

    Args:
        run: the run; its networks are trained if it trains them.
        image: float32 [32, 32, 3] in [0, 1].
        label: its class.
    """
    autoencoder, _ = pipeline.autoencoder(run)
    classifier, _ = pipeline.fine_tuned(run)
    reconstructed = predict(autoencoder, image[None])[0]
    models = {
        "adaptive": ae_module.defended(autoencoder, classifier),
        "grey_box": classifier,
        "static": run.classifier,
    }
    return Flow(
        classes=run.data.classes,
        label=label,
        image=image,
        reconstructed=reconstructed,
        logits=predict(classifier, reconstructed[None])[0],
        gradients={key: gradient_at(model, image, label) for key, model in models.items()},
    )
