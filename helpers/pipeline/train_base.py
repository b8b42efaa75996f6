"""Train and ship a base classifier with its card (``make weights``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import artifacts, classifiers, datasets, evaluation, settings, training
from ..artifacts import bundles, cards
from ..backend import keras, tf
from ..classifiers import registry
from ..datasets import Data
from . import base_recipes

RANDOM = "random weights"


def beginning(model: str) -> str:
    """Return what training begins with here, in the card's words; empty for random weights."""
    known = registry.MODELS[model].begins_with
    return (known.provenance() or RANDOM) if known else ""


def make(dataset: str, model: str, seed: int = 0, epochs: int | None = None) -> dict:
    """Train a base classifier on the training split and ship it in weights/<dataset>/.

    Training follows BASE_RECIPE, then AVERAGING_RECIPE, with the lengths and the peak rate of the network
    (registry.Network) or of what it begins with (registry.Beginning). A second round, where the network has
    one, follows SECOND_RECIPE and AVERAGING_RECIPE. Lengths are fixed before a part begins. Every epoch
    records validation accuracy, that of the averaged weights while averaging. The test images are used once,
    at the end.

    Args:
        dataset: The name of the data set.
        model: A key of registry.MODELS.
        seed: Determines the initial weights, the order of the images and their augmentation.
        epochs: Another length of the first part, for experiments; then there is no second round.

    Returns:
        The card.
    """
    registry.check_model(model)
    tf.config.experimental.enable_op_determinism()
    data, entry, begins = datasets.load(dataset), registry.MODELS[model], beginning(model)
    found = entry.begins_with if begins not in ("", RANDOM) else None
    config, averaging = _plan(data, entry, found, model, seed, epochs)
    if begins:
        config["begins_with"] = begins
        _announce(entry, begins, config["epochs"])

    keras.utils.set_random_seed(seed)
    classifier = classifiers.build(model, data.mean, data.std)
    if found:
        found.fill(classifiers.network_of(classifier))
    trainer = Trainer(data, classifier, config["precision"])
    history, second = trainer.round(config, averaging, seed), {}
    if not epochs and (again := entry.second_round.get(data.name)):
        cycle = {
            "epochs": again.epochs,
            "recipe": {**base_recipes.SECOND_RECIPE, "peak_rate": config["recipe"]["peak_rate"]},
        }
        average = {**averaging, "epochs": again.averaging_epochs}
        begins_with = {"begins_with": classifiers.weights_sha256(classifier)}
        history += trainer.round({**config, **begins_with, **cycle}, average, seed + 2)
        second = {"second_round": {"why": again.why, **cycle, "averaging": average}}
    return _ship(data, classifier, entry.source, {**config, "averaging": averaging, **second}, history)


def _plan(
    data: Data,
    entry: registry.Network,
    found: registry.Beginning | None,
    model: str,
    seed: int,
    epochs: int | None,
) -> tuple[dict, dict]:
    """Return the configuration of the first round, and the recipe of its averaging."""
    length, peak_rate, changes = entry.epochs[data.name], entry.peak_rate, {"epochs": entry.averaging_epochs}
    if found:
        length, peak_rate, changes = found.epochs, found.peak_rate, found.averaging
    config = {
        "data": data.sha256,
        "model": model,
        "seed": seed,
        "epochs": epochs or length,
        "recipe": {**base_recipes.BASE_RECIPE, "peak_rate": peak_rate},
        "precision": settings.training_precision(),
        "code": artifacts.code_version(training, base_recipes, classifiers),
    }
    return config, {**base_recipes.AVERAGING_RECIPE, **changes}


def _announce(entry: registry.Network, begins: str, epochs: int) -> None:
    """Tell what training begins with, and what would make it shorter."""
    known, shorter = entry.begins_with, ""
    if begins == RANDOM:
        shorter = f"; {known.epochs} epochs would do after: {known.install}"
    settings.note(f"{entry.title} begins with {begins}, {epochs} epochs{shorter}")


def _ship(data: Data, classifier: keras.Model, source: str, making: dict, history: list[dict]) -> dict:
    """Write the weights and their card, with accuracies on validation and test images."""
    file = classifiers.shipped(data.name, classifier.name)
    classifiers.save_weights(classifiers.network_of(classifier), file)
    scores = {
        name: evaluation.proportion(evaluation.is_correct(classifier, *split.take()))
        for name, split in (("validation", data.validation), ("test", data.test))
    }
    return cards.write(
        file,
        classifiers.parameter_count(classifier),
        network=source,
        **{**making, "data": data.provenance},
        trained_on=len(data.train),
        scores=scores,
        weights_sha256=classifiers.weights_sha256(classifier),
        history=history,
    )


@dataclass(frozen=True)
class Part:
    """A part of a base training: its name, its recipe, and its number of epochs."""

    name: str
    recipe: dict
    epochs: int


def parts_of(card: dict) -> list[Part]:
    """Return the parts of a base training in order; the card's history has their epochs in the same order."""
    parts = [Part("recipe", card["recipe"], card["epochs"])]
    if "averaging" in card:
        parts.append(Part("averaging", card["averaging"], card["averaging"]["epochs"]))
    if second := card.get("second_round"):
        parts.append(Part("second cycle", second["recipe"], second["epochs"]))
        parts.append(Part("averaging again", second["averaging"], second["averaging"]["epochs"]))
    return parts


@dataclass
class Trainer:
    """The training of one classifier in rounds. Each round has two parts, and each part is an artifact."""

    data: Data
    classifier: keras.Model
    precision: str

    def round(self, config: dict, averaging: dict, seed: int) -> list[dict]:
        """Train one cycle, then average the weights, and return the history of both."""
        history = self.cycle(config, seed)
        after = {**config, "base": classifiers.weights_sha256(self.classifier), "averaging": averaging}
        return history + self._make("averaged", after, seed + 1, self._average)

    def cycle(self, config: dict, seed: int) -> list[dict]:
        """Train one cycle, and return its history."""
        return self._make("base", config, seed, self._cycle)

    def _make(self, kind: str, config: dict, seed: int, part: Callable[..., tuple[keras.Model, list[dict]]]):
        def train(path: Path) -> None:
            keras.utils.set_random_seed(seed)
            copy = classifiers.clone(self.classifier, self.precision)
            samples = training.Samples([self.data.train.pixels], self.data.train.labels)
            trained, history = part(
                copy, samples, config, seed=seed, folder=artifacts.checkpoints(kind, config)
            )
            bundles.save(path, history, trained.get_weights())

        made = bundles.load(artifacts.make(kind, config, ".npz", train).path)
        self.classifier.set_weights(made.weights)
        return made.history

    def _cycle(self, copy: keras.Model, samples: training.Samples, config: dict, **where):
        recipe, on_epoch_end = config["recipe"], self._validation(copy)
        return copy, base_recipes.train_classifier(
            copy, samples, epochs=config["epochs"], recipe=recipe, on_epoch_end=on_epoch_end, **where
        )

    def _average(self, copy: keras.Model, samples: training.Samples, config: dict, **where):
        average = classifiers.clone(copy)
        recipe, on_epoch_end = config["averaging"], self._validation(average)
        return average, base_recipes.average_weights(
            copy, average, samples, recipe=recipe, on_epoch_end=on_epoch_end, **where
        )

    def _validation(self, network: keras.Model) -> Callable[[], dict[str, float]]:
        images, labels = self.data.validation.take()
        return lambda: {"validation_accuracy": float(evaluation.is_correct(network, images, labels).mean())}
