"""Base classifiers with regularized training, to measure what the base network's recipe does to the tables.

    python -m helpers weights --recipe label_smoothing    # ships weights/cifar10/variants/

tf2cv's networks, which the paper starts from, were trained for longer than the course's, and probably with
mixup and label smoothing. A variant takes the shipped base network and trains it on with one or both of them.
Everything else in the cycle is the base recipe's. The shipped base network stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import artifacts, classifiers, datasets, evaluation, settings, training
from ..artifacts import cards
from ..backend import keras, tf
from ..settings import CourseError
from . import base_recipes
from .train_base import Trainer


@dataclass(frozen=True)
class Variant:
    """What a variant adds to the base recipe.

    Attributes:
        title: what tables and figures call it.
        label_smoothing: the share of each target that is spread evenly over all classes.
        mixup: the alpha of mixup (training.mix_up); 0 for none.
    """

    title: str
    label_smoothing: float = 0.0
    mixup: float = 0.0


VARIANTS = {
    "label_smoothing": Variant("label smoothing 0.1", label_smoothing=0.1),
    "mixup": Variant("mixup", mixup=1.0),
    "mixup_label_smoothing": Variant("mixup and label smoothing 0.1", label_smoothing=0.1, mixup=1.0),
}
"""The variants by name."""

EPOCHS, EPOCHS_OF = 12, {"sepreresnet56": 6, "efficientnet_b0": 3}
"""The length of the cycle, shorter where an epoch takes longer."""

PEAK_RATE = 0.05
"""Half of the base recipe's, since training goes on from weights that are already good."""


def variant_of(name: str) -> Variant:
    """Return a variant.

    Raises:
        CourseError: there is none of that name.
    """
    if name not in VARIANTS:
        raise CourseError(f"unknown recipe {name!r}; choose one of base, {', '.join(VARIANTS)}")
    return VARIANTS[name]


def file_of(dataset: str, model: str, name: str) -> Path:
    """Return where a variant of a base network is shipped."""
    return settings.WEIGHTS / dataset / "variants" / f"{model}_{name}.h5"


def make(dataset: str, model: str, name: str, seed: int = 0, epochs: int | None = None) -> dict:
    """Train a variant of a shipped base network, and ship it.

    The length is fixed before training begins, and the last epoch is shipped. Every epoch records the
    accuracy on validation images. No test image is used.

    Args:
        dataset: the name of the data set.
        model: a key of registry.MODELS.
        name: a key of VARIANTS.
        seed: decides the order of the images and their augmentation.
        epochs: another length of the cycle, for a try.

    Returns:
        The card.
    """
    variant = variant_of(name)
    tf.config.experimental.enable_op_determinism()
    data = datasets.load(dataset)
    classifier = classifiers.load(model, data)
    config = {
        "data": data.sha256,
        "model": model,
        "seed": seed,
        "epochs": epochs or EPOCHS_OF.get(model, EPOCHS),
        "recipe": {
            **base_recipes.BASE_RECIPE,
            "peak_rate": PEAK_RATE,
            "label_smoothing": variant.label_smoothing,
            "mixup": variant.mixup,
        },
        "precision": settings.training_precision(),
        "begins_with": classifiers.weights_sha256(classifier),
    }
    keras.utils.set_random_seed(seed)
    history = Trainer(data, classifier, config["precision"]).cycle(
        {**config, "code": artifacts.code_version(training, base_recipes, classifiers)}, seed
    )
    file = file_of(dataset, model, name)
    classifiers.save_weights(classifiers.network_of(classifier), file)
    validated = evaluation.is_correct(classifier, *data.validation.take())
    return cards.write(
        file,
        classifiers.parameter_count(classifier),
        part=name,
        **{**config, "data": data.provenance},
        length=f"{config['epochs']} epochs, beginning with the shipped base network",
        trained_on=len(data.train),
        scores={"validation": evaluation.proportion(validated)},
        weights_sha256=classifiers.weights_sha256(classifier),
        history=history,
    )
