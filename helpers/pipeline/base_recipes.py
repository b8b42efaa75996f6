"""Train the base classifiers: one cycle of the learning rate, then an average of the weights."""

from __future__ import annotations

import itertools
from typing import Unpack

from ..backend import devices, keras, tf
from ..training.augmentation import AUGMENTATIONS
from ..training.loop import Options, run
from ..training.samples import Samples
from ..training.schedules import OneCycle
from ..training.steps import classifier_step

BASE_RECIPE = {
    "optimizer": "SGD, Nesterov 0.9",
    "batch_size": 128,
    "peak_rate": 0.1,
    "warm_up": 0.1,
    "weight_decay": 5e-4,
    "label_smoothing": 0.0,
    "augmentation": "crop after padding by 4, mirror",
}
"""How ``make weights`` begins: one cycle of the learning rate.

Shipped weights may be older; each card holds the recipe that made them.
"""

AVERAGING_RECIPE = {
    "optimizer": "SGD, Nesterov 0.9",
    "batch_size": 128,
    "rate": 0.03,
    "epochs": 25,
    "first_averaged": 4,
    "weight_decay": 5e-4,
    "augmentation": "crop after padding by 4, mirror, cutout of 8 x 8",
}
"""How ``make weights`` continues: at a constant rate; it ships the mean of the weights after each epoch.

Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization".
"""

SECOND_RECIPE = {**BASE_RECIPE, "augmentation": AVERAGING_RECIPE["augmentation"]}
"""How a second round (registry.Round) begins, from the averaged weights: another cycle, now with cutout.

Source: Loshchilov & Hutter 2017, "SGDR: Stochastic gradient descent with warm restarts".
"""

STATISTICS_BATCHES, STATISTICS_SIZE = 50, 500
"""The number and size of the batches that determine BatchNorm's statistics for averaged weights."""


def train_classifier(
    classifier: keras.Model,
    samples: Samples,
    *,
    epochs: int,
    recipe: dict = BASE_RECIPE,
    **options: Unpack[Options],
) -> list[dict]:
    """Train a base classifier with one cycle of the learning rate, starting from its current weights.

    Args:
        classifier: The classifier, which ends with the weights of the last epoch.
        samples: Images and labels.
        epochs: The length of the cycle.
        recipe: BASE_RECIPE, or another dict with its keys; ``mixup`` may be added (steps.mix_up).
        **options: Passed on to run.

    Returns:
        The history.
    """
    steps = samples.steps(recipe["batch_size"], epochs)
    schedule = OneCycle(recipe["peak_rate"], steps, recipe["warm_up"])
    optimizer = keras.optimizers.SGD(schedule, 0.9, nesterov=True)
    return run(
        classifier_step(
            classifier,
            optimizer,
            recipe["label_smoothing"],
            recipe["weight_decay"],
            mixup=recipe.get("mixup", 0.0),
        ),
        samples,
        epochs=epochs,
        batch_size=recipe["batch_size"],
        state={"model": classifier, "optimizer": optimizer},
        title=f"{classifier.name}: base training",
        augment=AUGMENTATIONS[recipe["augmentation"]],
        **options,
    )


def average_weights(
    classifier: keras.Model,
    average: keras.Model,
    samples: Samples,
    *,
    recipe: dict = AVERAGING_RECIPE,
    **options: Unpack[Options],
) -> list[dict]:
    """Continue training at a constant rate, and make ``average`` the mean of the weights after each epoch.

    Args:
        classifier: A trained classifier, which is trained further.
        average: A network of the same architecture, to be filled.
        samples: Images and labels.
        recipe: AVERAGING_RECIPE, or another dict with its keys.
        **options: Passed on to run; ``on_epoch_end`` may assess ``average``.

    Returns:
        The history.
    """
    augment, assess = AUGMENTATIONS[recipe["augmentation"]], options.pop("on_epoch_end", dict)
    optimizer = keras.optimizers.SGD(recipe["rate"], 0.9, nesterov=True)
    epochs = tf.Variable(tf.constant(0, tf.int64))
    devices.synchronise(average)
    measure_statistics = devices.everywhere(tf.function(lambda images: average(images, training=True)))

    def add() -> dict[str, float]:
        number = int(epochs.assign_add(1).numpy())
        if (count := number - recipe["first_averaged"] + 1) > 0:
            for mean, new in zip(average.trainable_variables, classifier.trainable_variables, strict=True):
                mean.assign_add((new - mean) / count)
        else:
            average.set_weights(classifier.get_weights())
        # BatchNorm's statistics cannot be averaged. The momentum makes the last few thousand images count.
        batches = samples.batches(STATISTICS_SIZE, options["seed"] + 1, number, augment)
        for images, _ in itertools.islice(batches, STATISTICS_BATCHES):
            measure_statistics(images)
        return assess()

    options["on_epoch_end"] = add
    return run(
        classifier_step(classifier, optimizer, weight_decay=recipe["weight_decay"]),
        samples,
        epochs=recipe["epochs"],
        batch_size=recipe["batch_size"],
        state={"model": classifier, "average": average, "optimizer": optimizer, "seen": epochs},
        title=f"{classifier.name}: averaging",
        augment=augment,
        **options,
    )
