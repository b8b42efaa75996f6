"""The base classifiers: what ``make weights`` does, from data to a shipped weight file and its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import artifacts, classifiers, datasets, evaluation, settings, training
from ..artifacts import bundles, cards
from ..backend import keras, tf
from ..classifiers import efficientnet, registry
from ..datasets import Data

RANDOM = "random weights"


def beginning(model: str) -> str:
    """What make begins with here, as the card says it: empty for a network that knows nothing but random
    weights."""
    known = registry.MODELS[model].begins_with
    return (known.provenance() or RANDOM) if known else ""


def make(dataset: str, model: str, seed: int = 0, epochs: int | None = None) -> dict:
    """Train a base classifier on the training split and ship it: weights and card into weights/<dataset>/.

    First by BASE_RECIPE, then on by AVERAGING_RECIPE, with the network's own lengths and peak rate
    (registry.Network), or those of what it begins with (registry.Beginning); where the network has a second round,
    both once more, by SECOND_RECIPE and AVERAGING_RECIPE. Lengths are fixed before a part begins; validation accuracy
    is recorded every epoch (while averaging, that of the averaged weights), the test images are looked at once, at the
    end.

    Args:
        epochs: another length of the first part, for a try; then there is no second round.

    Returns:
        The card.
    """
    registry.check_model(model)
    tf.config.experimental.enable_op_determinism()
    data, precision = datasets.load(dataset), settings.training_precision()
    entry, begins = registry.MODELS[model], beginning(model)
    found = entry.begins_with if begins not in ("", RANDOM) else None
    length, peak_rate, changes = entry.epochs[data.name], entry.peak_rate, {"epochs": entry.averaging_epochs}
    if found:
        length, peak_rate, changes = found.epochs, found.peak_rate, found.averaging
    config = {
        "data": data.sha256,
        "model": model,
        "seed": seed,
        "epochs": epochs or length,
        "recipe": {**training.BASE_RECIPE, "peak_rate": peak_rate},
        "precision": precision,
        "code": artifacts.code_version(training, classifiers, efficientnet),
    }
    averaging = {**training.AVERAGING_RECIPE, **changes}
    if begins:
        config["begins_with"] = begins
        shorter = (
            ""
            if found
            else f"; {entry.begins_with.epochs} epochs would do after: {entry.begins_with.install}"
        )
        settings.note(f"{entry.title} begins with {begins}, {config['epochs']} epochs{shorter}")

    keras.utils.set_random_seed(seed)
    classifier = classifiers.build(model, data.mean, data.std)
    if found:
        found.fill(classifiers.network_of(classifier))
    trainer = _Trainer(data, classifier, precision)
    history = trainer.round(config, averaging, seed)
    second = {}
    if not epochs and (again := entry.second_round.get(data.name)):
        second = {
            "epochs": again.epochs,
            "recipe": {**training.SECOND_RECIPE, "peak_rate": peak_rate},
            "averaging": {**averaging, "epochs": again.averaging_epochs},
        }
        cycle = {name: second[name] for name in ("epochs", "recipe")}
        begins_with = {"begins_with": classifiers.weights_sha256(classifier)}
        history += trainer.round({**config, **begins_with, **cycle}, second["averaging"], seed + 2)
        second = {"second_round": {"why": again.why, **second}}

    file = classifiers.shipped(data.name, model)
    classifiers.save_weights(classifiers.network_of(classifier), file)
    scores = {
        name: evaluation.proportion(evaluation.is_correct(classifier, *split.take()))
        for name, split in (("validation", data.validation), ("test", data.test))
    }
    return cards.write(
        file,
        classifiers.parameter_count(classifier),
        network=entry.source,
        **{**config, "data": data.provenance},
        averaging=averaging,
        **second,
        trained_on=len(data.train),
        scores=scores,
        weights_sha256=classifiers.weights_sha256(classifier),
        history=history,
    )


@dataclass(frozen=True)
class Part:
    """A part of a base training, as its card tells it: what it is called, its recipe, and how many epochs it took."""

    name: str
    recipe: dict
    epochs: int


def parts_of(card: dict) -> list[Part]:
    """The parts of a base training in their order; the card's history has their epochs one after the other."""
    parts = [Part("recipe", card["recipe"], card["epochs"])]
    if "averaging" in card:
        parts.append(Part("averaging", card["averaging"], card["averaging"]["epochs"]))
    if second := card.get("second_round"):
        parts.append(Part("second cycle", second["recipe"], second["epochs"]))
        parts.append(Part("averaging again", second["averaging"], second["averaging"]["epochs"]))
    return parts


@dataclass
class _Trainer:
    """Trains one classifier, a round at a time; each of a round's two parts is an artifact."""

    data: Data
    classifier: keras.Model
    precision: str

    def round(self, config: dict, averaging: dict, seed: int) -> list[dict]:
        """A cycle by the configuration's recipe, and the averaging after it; the history of both."""
        history = self._make("base", config, seed, self._cycle)
        after = {**config, "base": classifiers.weights_sha256(self.classifier), "averaging": averaging}
        return history + self._make("averaged", after, seed + 1, self._average)

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
        return copy, training.train_classifier(
            copy, samples, epochs=config["epochs"], recipe=recipe, on_epoch_end=on_epoch_end, **where
        )

    def _average(self, copy: keras.Model, samples: training.Samples, config: dict, **where):
        average = classifiers.clone(copy)
        recipe, on_epoch_end = config["averaging"], self._validation(average)
        return average, training.average_weights(
            copy, average, samples, recipe=recipe, on_epoch_end=on_epoch_end, **where
        )

    def _validation(self, network: keras.Model) -> Callable[[], dict[str, float]]:
        images, labels = self.data.validation.take()
        return lambda: {"validation_accuracy": float(evaluation.is_correct(network, images, labels).mean())}
