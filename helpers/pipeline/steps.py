"""The paper's steps, one function each; what a step needs and does not find, it computes.

    run = start(dataset="cifar10", model="resnet20", profile="quick")
    images = inputs(run, "test", "pgd")              # section 2, Adversarial Attacks
    ae, history = autoencoder(run)                   # section 2, Preprocessing
    tuned, history = fine_tuned(run)                 # section 2, Fine-Tuning
    records = static_table(run)                      # section 3, Tables 2 and 3

Results are kept in the artifact store under everything they depend on, so that every notebook can call any of these.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from .. import artifacts, attacks, classifiers, datasets, evaluation, settings, training
from ..artifacts import bundles, provenance
from ..attacks import STEPS, losses, step_size_for
from ..backend import keras, tf
from ..classifiers import efficientnet, fused, registry
from ..datasets import Data, Split, storage
from ..defenses import autoencoder as ae_module
from ..settings import CourseError, Profile
from . import published
from .protocol import IMAGENET_MEAN, IMAGENET_STD, Protocol

SOURCES = ("regular", "fgsm", "pgd")

PART_SIZE = 1024
"""How many images are attacked between two checkpoints."""

PARTS = "ae", "fine_tuned"
"""What a run trains and ``make record`` ships. ``make networks`` ships more (parts_of)."""


@dataclass(frozen=True)
class Run:
    """What every step is given: data, the initial classifier, and the run's parameters.

    Attributes:
        networks: where autoencoder and fine-tuned classifier come from: ``trained`` by this run, or ``shipped`` with
            the course.
        protocol: see there; departures are for the audit.
    """

    data: Data
    classifier: keras.Model
    model: str
    profile: Profile
    seed: int
    eps: float
    weights: str
    networks: str = "trained"
    protocol: Protocol = field(default_factory=Protocol)

    def config(self, *modules) -> dict:
        """The part of a step's configuration that all steps share."""
        return {
            "data": self.data.sha256,
            "model": self.model,
            "weights": classifiers.weights_sha256(self.classifier),
            "eps": self.eps,
            "seed": self.seed,
            "code": artifacts.code_version(classifiers, efficientnet, attacks, losses, fused, *modules),
            "protocol": self.protocol.changes(),
            **unusual_steps(self.eps),
        }

    def split(self, name: str) -> Split:
        """The images of a split that this profile uses."""
        if name == "train":
            return self.data.training_images(self.profile.n_train)
        if name == "validation":
            return self.data.validation.head(self.profile.n_validation)
        if name == "test":
            return self.data.test.head(self.profile.n_test)
        raise CourseError(f"unknown split {name!r}; choose train, validation or test")

    @property
    def comparable(self) -> bool:
        """Whether the paper's numbers may stand beside this run's: its data set, and its budget."""
        return published.comparable(self.data.name, self.eps)

    @property
    def label(self) -> str:
        """What a figure of this run says of itself; empty for a full run on CIFAR-10 as the paper has it."""
        return published.run_label(self.data.name, self.profile.name, self.eps, self.weights)


def start(
    dataset: str = "auto",
    model: str = "resnet20",
    profile: str = "quick",
    seed: int = 0,
    weights: str = "course",
    eps: float = settings.EPS,
    networks: str = "trained",
) -> Run:
    """Begin a run: check the parameters, load the data and the initial classifier, fix the seeds.

    Args:
        networks: trained, shipped (Run), or ``auto``: shipped where the course ships what a run of these parameters
            would train. A full run makes what is shipped, and so does not take it, unless COURSE_NETWORKS is
            ``shipped`` (report.build sets it for a report of some notebooks): then it takes every part that is.

    Raises:
        CourseError: any of the parameters is not what it can be.
    """
    chosen = settings.profile(profile)
    registry.check_model(model)
    settings.check_eps(eps)
    settings.check_seed(seed)
    if networks not in ("trained", "shipped", "auto"):
        raise CourseError(f"unknown networks {networks!r}; choose trained, shipped or auto")
    if chosen.name == "full" and networks == "trained" and settings.takes_shipped_networks():
        networks = "auto"
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    data = datasets.load(dataset)
    run = Run(
        data, classifiers.load(model, data, weights), model, chosen, int(seed), float(eps), weights, networks
    )
    if networks == "auto":
        run = replace(run, networks="shipped" if _ships_for(run) else "trained")
    return run


def _ships_for(run: Run) -> bool:
    """Whether weights/ has what this run would train: of its initial classifier, budget and seed."""
    makes_them = not _takes_shipped(run) and run.profile.name == "full"
    return not makes_them and all(_ships(run, part) for part in PARTS)


def _takes_shipped(run: Run) -> bool:
    """Whether this is a full run that takes, of what it would train, all that the course ships."""
    return settings.takes_shipped_networks() and run.profile.name == "full"


def _ships(run: Run, part: str) -> bool:
    """Whether weights/ has this part of what the run would train."""
    ours = {
        "initial_sha256": classifiers.weights_sha256(run.classifier),
        "seed": run.seed,
        "protocol": run.protocol.changes(),
    }
    try:
        card = json.loads(card_file(run, part).read_text())
        if run.profile.name == "full":
            ours |= {"profile": "full", "trained_on": run.profile.n_train}
            if part != "ae" and "phases" in card:
                ours["phases"] = json.loads(json.dumps(phases_of(run)))
        if part != "ae" and "autoencoder_weights_sha256" in card:
            ours["autoencoder_weights_sha256"] = json.loads(card_file(run, "ae").read_text())[
                "weights_sha256"
            ]
    except FileNotFoundError:
        return False
    return all(card[key] == value for key, value in ours.items()) and abs(card["eps"] - run.eps) < 1e-9


def card_file(run: Run, part: str) -> Path:
    """Where the card of a part (parts_of) lies, if the course ships one of this network."""
    return classifiers.shipped(run.data.name, f"{run.model}_{part}").with_suffix(".json")


def is_taken(run: Run, part: str) -> bool:
    """Whether this part of the run comes from weights/."""
    return run.networks == "shipped" or (_takes_shipped(run) and _ships(run, part))


def departing(run: Run, protocol: Protocol) -> Run:
    """The same run by another protocol."""
    classifier = run.classifier
    if protocol.statistics == "imagenet":
        classifier = classifiers.renormalised(classifier, IMAGENET_MEAN, IMAGENET_STD)
    return replace(run, classifier=classifier, protocol=protocol, networks="trained")


# ---------------------------------------------------------------------------------------------- adversarial images


def inputs(run: Run, split: str, kind: str) -> np.ndarray:
    """Images to classify, in storage form: ``regular``, or attacked by ``fgsm`` or ``pgd`` aimed at the initial
    classifier (the paper's protocol, which this course calls static).

    Returns:
        uint8 [n, 32, 32, 3] for regular, a memory-mapped uint16 array for attacks; storage.to_float reads both.
    """
    if kind == "regular":
        return run.split(split).pixels
    if kind not in ("fgsm", "pgd"):
        raise CourseError(f"unknown input {kind!r}; choose one of {', '.join(SOURCES)}")
    chosen = run.split(split)
    config = {**run.config(), "attack": kind, "split": split, "n": len(chosen), **_steps_of(kind, run.eps)}

    def produce(first: int, end: int) -> np.ndarray:
        target = for_attack(run.classifier, run.protocol.attack_normalises)
        images, labels = Split(chosen.pixels[first:end], chosen.labels[first:end]).take()
        moved = attack(target, images, labels, kind, run.eps, run.seed + first, run.protocol.attack_loss)
        return storage.to_uint16(moved)

    shape, title = chosen.pixels.shape, f"{kind}, {split}"
    return artifacts.make_array_in_parts("attacks", config, shape, PART_SIZE, produce, title)


def _steps_of(kind: str, eps: float) -> dict:
    return {"steps": STEPS, "step_size": step_size_for(eps)} if kind == "pgd" else {"steps": 1}


def checksum(model: keras.Model) -> str:
    """A model's weights, and the names of what stands in it without any (a blur), which they do not tell apart."""
    return ":".join([classifiers.weights_sha256(model), *_without_weights(model)])


def _without_weights(model: keras.Model) -> Iterator[str]:
    for layer in model.layers:
        if isinstance(layer, keras.layers.Lambda) or (isinstance(layer, keras.Model) and not layer.weights):
            yield layer.name
        elif isinstance(layer, keras.Model):
            yield from _without_weights(layer)


_FOLDED: dict[tuple, keras.Model] = {}


def for_attack(model: keras.Model, normalised: bool = True) -> keras.Model:
    """The same function, faster to differentiate; one copy a process, so that its graphs are traced once.

    Not ``normalised`` it is another function: the network as if its normalisation were not there.
    """
    statistics = [
        (x.mean.tobytes(), x.std.tobytes()) for x in model.submodules if isinstance(x, classifiers.Normalize)
    ]
    key = checksum(model), *statistics, normalised
    if key not in _FOLDED:
        _FOLDED[key] = fused.fuse(
            model if normalised else classifiers.renormalised(model, [0.0] * 3, [1.0] * 3)
        )
    return _FOLDED[key]


def attack(
    model,
    images: np.ndarray,
    labels: np.ndarray,
    kind: str,
    eps: float,
    seed: int = 0,
    loss: str = "cross_entropy",
) -> np.ndarray:
    """The paper's FGSM or PGD (step_size_for) on any model; float32 images in, float32 images out."""
    if kind == "fgsm":
        return attacks.fgsm(model, images, labels, eps, loss=loss)
    return attacks.pgd(
        model, images, labels, eps, step_size=step_size_for(eps), steps=STEPS, seed=seed, loss=loss
    )


# ------------------------------------------------------------------------------------------------------ autoencoder


def autoencoder(run: Run) -> tuple[keras.Model, list[dict]]:
    """The paper's autoencoder, trained to turn FGSM and PGD images back into the originals; and its history."""
    if is_taken(run, "ae"):
        return _shipped(
            run, "ae", ae_module.build_autoencoder, lambda model, file: model.load_weights(str(file))
        )
    profile = run.profile
    config = {
        **run.config(ae_module, training),
        "n": profile.n_train,
        "epochs": profile.ae_epochs,
        "batch": profile.ae_batch,
        "rates": profile.ae_rates,
        "validation": profile.n_validation,
    }

    def build() -> keras.Model:
        keras.utils.set_random_seed(run.seed)
        return ae_module.build_autoencoder()

    def train(path: Path) -> None:
        model = build()
        clean = inputs(run, "train", "regular")
        kinds = SOURCES if run.protocol.autoencoder_sees_clean else ("fgsm", "pgd")
        samples = training.Samples([inputs(run, "train", kind) for kind in kinds], clean)
        history = training.train_autoencoder(
            model,
            samples,
            epochs=profile.ae_epochs,
            batch_size=profile.ae_batch,
            rates=profile.ae_rates,
            seed=run.seed,
            folder=artifacts.checkpoints("autoencoder", config),
            on_epoch_end=_reconstruction_error(run, model),
            plateau=run.protocol.plateau,
        )
        bundles.save(path, history, model.get_weights())

    return _trained("autoencoder", config, build, train, partial(_attack_training_images, run))


def _attack_training_images(run: Run) -> None:
    """What a process that waits for a network can do towards it: processes share the attack (artifacts)."""
    for kind in ("fgsm", "pgd"):
        inputs(run, "train", kind)


def _reconstruction_error(run: Run, model: keras.Model):
    """Watches the mean squared error on validation images that were attacked alike."""
    if not run.profile.n_validation:
        return dict
    clean = storage.to_float(inputs(run, "validation", "regular"))
    attacked = {kind: storage.to_float(inputs(run, "validation", kind)) for kind in ("fgsm", "pgd")}
    return lambda: {
        f"validation_{kind}": float(np.mean((evaluation.predict(model, images) - clean) ** 2))
        for kind, images in attacked.items()
    }


def reconstructed(run: Run, split: str, kind: str) -> np.ndarray:
    """What the autoencoder makes of inputs(run, split, kind): a memory-mapped uint16 array."""
    model, _ = autoencoder(run)
    images = inputs(run, split, kind)
    config = {
        **run.config(ae_module),
        "autoencoder": classifiers.weights_sha256(model),
        "input": kind,
        "split": split,
        "n": len(images),
    }

    def fill(out: np.ndarray) -> None:
        for first in range(0, len(images), 1000):
            part = slice(first, first + 1000)
            out[part] = storage.to_uint16(evaluation.predict(model, images[part]))

    return artifacts.make_array("reconstructed", config, images.shape, fill)


# ------------------------------------------------------------------------------------------------------ fine-tuning


def phases_of(run: Run) -> list[tuple[Sequence[str], int]]:
    """The paper's schedules: what is trained on, by name, and for how many epochs.

    ResNet-20 sees all six sources for three epochs. SEPreResNet-56, and whatever network the registry has a second
    phase for, sees all six for several, then clean images and the autoencoder's outputs only.
    """
    everything = [*SOURCES, *(f"ae({kind})" for kind in SOURCES)]
    later = ["regular", *everything[3:]]
    schedule = registry.MODELS[run.model].phases(run.profile)
    return [(everything if all_six else later, epochs) for all_six, epochs in schedule]


def source(run: Run, split: str, name: str) -> np.ndarray:
    """Images of one of the six sources, in storage form: regular, fgsm, pgd, ae(regular), ae(fgsm) or ae(pgd)."""
    return reconstructed(run, split, name[3:-1]) if name.startswith("ae(") else inputs(run, split, name)


def examples(run: Run, name: str, n: int) -> np.ndarray:
    """The first n training images of a source, in storage form. A run that trains nothing attacks no others of them."""
    if run.networks == "shipped":
        run = replace(run, profile=replace(run.profile, n_train=n))
    return source(run, "train", name)[:n]


def fine_tuned(run: Run, phases: Sequence[tuple[Sequence[str], int]] = ()) -> tuple[keras.Model, list[dict]]:
    """The classifier fine-tuned on clean, attacked and reconstructed images; and its history.

    Args:
        phases: another schedule than the paper's (phases_of), for experiments.
    """
    own = list(phases or phases_of(run))
    return _after_phase(run, own, len(own), papers=not phases)


def _part_after(run: Run, phase: int) -> str:
    """The name of what the paper's schedule gives after its first so many phases."""
    return "fine_tuned" if phase == len(phases_of(run)) else f"fine_tuned_{phase}"


def _after_phase(
    run: Run, phases: list[tuple[Sequence[str], int]], phase: int, papers: bool
) -> tuple[keras.Model, list[dict]]:
    """The classifier after the first so many phases, each an artifact of its own; and its history."""
    if not phase:
        return run.classifier, []
    if papers and is_taken(run, part := _part_after(run, phase)):
        return _shipped(run, part, partial(classifiers.clone, run.classifier), classifiers.load_weights)
    before, history = _after_phase(run, phases, phase - 1, papers)
    ae, _ = autoencoder(run)
    precision, (names, epochs) = settings.training_precision(), phases[phase - 1]
    config = {
        **run.config(ae_module, training),
        "autoencoder": classifiers.weights_sha256(ae),
        "begins_with": classifiers.weights_sha256(before),
        "n": run.profile.n_train,
        "phases": phases,
        "phase": phase,
        "precision": precision,
        "validation": run.profile.n_validation,
    }

    def train(path: Path) -> None:
        keras.utils.set_random_seed(run.seed)
        model, folder = classifiers.clone(before, precision), artifacts.checkpoints("fine_tuned", config)
        kept = _BestOnTest(run, model, folder) if run.protocol.selection == "test" else None
        labels = run.split("train").labels
        lengths = [(len(sources) * len(labels), passes) for sources, passes in phases]
        found = training.fine_tune(
            model,
            training.Samples([source(run, "train", name) for name in names], labels),
            epochs,
            seed=run.seed,
            folder=folder,
            phase=phase,
            rates=training.rates_of_phases(lengths)[phase - 1],
            on_epoch_end=kept or _validation_accuracy(run, model),
            on_logits=run.protocol.tune_on_logits,
        )
        if kept:
            kept.restore()
        bundles.save(path, history + found, model.get_weights())

    return _trained("fine_tuned", config, partial(classifiers.clone, run.classifier), train)


def _validation_accuracy(run: Run, model: keras.Model):
    """Watches the accuracy on each of the six sources, on validation images."""
    if not run.profile.n_validation:
        return dict
    labels = run.split("validation").labels
    images = {name: source(run, "validation", name) for name in phases_of(run)[0][0]}
    return lambda: {name: float(evaluation.is_correct(model, x, labels).mean()) for name, x in images.items()}


class _BestOnTest:
    """Watches the accuracy on the test images of each source, and keeps the weights whenever one is the best so far in
    this phase: what the paper's released code does, and nobody should."""

    def __init__(self, run: Run, model: keras.Model, folder: Path):
        self._run, self._model, self._file = run, model, folder / "kept.npz"

    def __call__(self) -> dict[str, float]:
        labels = self._run.split("test").labels
        scores = {
            name: float(evaluation.is_correct(self._model, source(self._run, "test", name), labels).mean())
            for name in phases_of(self._run)[0][0]
        }
        best = bundles.load_history(self._file)[0] if self._file.is_file() else dict.fromkeys(scores, 0.0)
        if any(scores[name] > best[name] for name in scores):
            highest = {name: max(scores[name], best[name]) for name in scores}
            beside = self._file.with_name("kept.part.npz")  # a run that is killed here leaves the file before
            bundles.save(beside, [highest], self._model.get_weights())
            os.replace(beside, self._file)
        return scores

    def restore(self) -> None:
        self._model.set_weights(bundles.load(self._file).weights)


_LOADED: dict[tuple[Path, str], tuple[keras.Model, list[dict]]] = {}
"""This process's networks, by artifact: a notebook that asks twice gets the same one, already compiled."""


def _trained(
    kind: str,
    config: dict,
    build: Callable[[], keras.Model],
    train: Callable[[Path], None],
    meanwhile: Callable[[], None] | None = None,
) -> tuple[keras.Model, list[dict]]:
    key = artifacts.folder_of(kind, config)
    if key not in _LOADED:
        made, model = bundles.load(artifacts.make(kind, config, ".npz", train, meanwhile).path), build()
        model.set_weights(made.weights)
        _LOADED[key] = model, made.history
    return _LOADED[key]


def _shipped(
    run: Run, part: str, build: Callable[[], keras.Model], load: Callable[[keras.Model, Path], None]
) -> tuple[keras.Model, list[dict]]:
    """A network that ``make record`` put into weights/ (ship), and its history."""
    file = classifiers.shipped(run.data.name, f"{run.model}_{part}")
    key = file, classifiers.weights_sha256(run.classifier)
    if key not in _LOADED:
        model, card = build(), classifiers.card_of(file)
        if card["initial_sha256"] != key[1]:
            raise CourseError(
                f"weights/{run.data.name}/{file.name} belongs to another initial classifier than this one; record a "
                "run anew (make report, make record), or train it (networks='trained')"
            )
        load(model, file)
        _LOADED[key] = model, card["history"]
    return _LOADED[key]


# ---------------------------------------------------------------------------------------------------------- results


def stages(run: Run) -> dict[str, keras.Model]:
    """The classifiers that the tables compare, by stage."""
    return {"initial": run.classifier, "fine_tuned": fine_tuned(run)[0]}


@dataclass(frozen=True, eq=False)
class Answers:
    """Which images were classified correctly (booleans [n]), and by what, against what: the fields of a record."""

    fields: dict
    correct: np.ndarray

    @property
    def cell(self) -> str:
        """The name of the cell, unique among those of static_answers and aware_answers."""
        return "/".join(self.fields[name] for name in ("threat", "stage", "defense", "input"))

    def record(self) -> dict:
        return evaluation.record(self.correct, **self.fields)


def static_table(run: Run) -> list[dict]:
    """The twelve records of the paper's Table 2 or 3: stage x defense x input.

    As in the paper's released code, all attacked images were made against the initial classifier, and stay the same
    for every cell: the fine-tuned classifier and the autoencoder are tested by transfer.
    """
    return [answers.record() for answers in static_answers(run)]


def static_answers(run: Run) -> list[Answers]:
    """What static_table counts."""
    return [a for stage, classifier in stages(run).items() for a in _static_answers(run, stage, classifier)]


def undefended_answers(run: Run) -> list[Answers]:
    """The initial classifier's part of static_answers, which needs no training."""
    return _answers_of(run, "initial", "none", run.classifier)


def static_records(run: Run, stage: str, classifier: keras.Model) -> list[dict]:
    """One stage's six records of that table."""
    return [answers.record() for answers in _static_answers(run, stage, classifier)]


def _static_answers(run: Run, stage: str, classifier: keras.Model) -> list[Answers]:
    pipeline = ae_module.defended(autoencoder(run)[0], classifier)
    return _answers_of(run, stage, "none", classifier) + _answers_of(run, stage, "ae", pipeline)


def _answers_of(run: Run, stage: str, defense: str, model: keras.Model) -> list[Answers]:
    labels, found = run.split("test").labels, []
    for kind in SOURCES:
        images = inputs(run, "test", kind)
        config = {**_assessed(run, model), "cell": [stage, defense, kind, "static"], "n": len(labels)}
        correct = _cached_correct(config, partial(evaluation.is_correct, model, images, labels))
        found.append(Answers(_fields(run, stage, defense, kind, "static"), correct))
    return found


def aware_table(run: Run) -> list[dict]:
    """What the same defenses score when the attack is made for them (n_sweep images).

    grey_box: against the classifier that is assessed, without its autoencoder. adaptive: through both.
    """
    return [answers.record() for answers in aware_answers(run)]


def aware_answers(run: Run) -> list[Answers]:
    """What aware_table counts."""
    ae, _ = autoencoder(run)
    found = []
    for stage, classifier in stages(run).items():
        pipeline = ae_module.defended(ae, classifier)
        for kind in ("fgsm", "pgd"):
            for defense, assessed, target, threat in (
                ("none", classifier, classifier, "grey_box"),
                ("ae", pipeline, classifier, "grey_box"),
                ("ae", pipeline, pipeline, "adaptive"),
            ):
                fields = {"stage": stage, "defense": defense, "threat": threat}
                found.append(attacked_answers(run, assessed, target, kind, run.eps, **fields))
    return found


def attacked_record(run: Run, assessed, target, kind: str, eps: float, **options) -> dict:
    """The record of attacked_answers; the arguments are the same."""
    return attacked_answers(run, assessed, target, kind, eps, **options).record()


def attacked_answers(
    run: Run,
    assessed,
    target,
    kind: str,
    eps: float,
    *,
    stage: str,
    defense: str,
    threat: str,
    steps: int = STEPS,
) -> Answers:
    """Attack ``target`` on the first n_sweep test images and assess ``assessed`` on the result.

    Args:
        kind: regular, noise (every value moved by eps, up or down at random), fgsm or pgd (step_size_for).
    """
    steps = {"pgd": steps, "fgsm": 1}.get(kind, 0)
    attack_config = _attack_config(run, target, kind, eps, steps)

    def assess() -> np.ndarray:
        moved = attacked_images(run, target, kind, eps, steps=steps)
        return evaluation.is_correct(assessed, moved, run.data.test.head(run.profile.n_sweep).labels)

    config = {**_assessed(run, assessed), "attack": attack_config, "cell": [stage, defense, kind, threat]}
    fields = _fields(run, stage, defense, kind, threat)
    fields |= {"eps": eps if steps or kind == "noise" else 0.0, "steps": steps}
    return Answers(fields, _cached_correct(config, assess))


def attacked_images(run: Run, target, kind: str, eps: float, *, steps: int = STEPS) -> np.ndarray:
    """The images that attacked_answers assesses: uint16 [n_sweep, 32, 32, 3], memory-mapped."""
    steps = {"pgd": steps, "fgsm": 1}.get(kind, 0)
    chosen = run.data.test.head(run.profile.n_sweep)

    def craft(out: np.ndarray) -> None:
        images, labels = chosen.take()
        if kind == "noise":
            images = attacks.random_signs(images, eps, run.seed)
        elif kind == "fgsm":
            images = attacks.fgsm(for_attack(target), images, labels, eps)
        elif kind == "pgd":
            images = attacks.pgd(
                for_attack(target),
                images,
                labels,
                eps,
                step_size=step_size_for(eps),
                steps=steps,
                seed=run.seed,
            )
        out[:] = storage.to_uint16(images)

    config = _attack_config(run, target, kind, eps, steps)
    return artifacts.make_array("attacks", config, chosen.pixels.shape, craft)


def _attack_config(run: Run, target, kind: str, eps: float, steps: int) -> dict:
    return {
        **run.config(ae_module),
        "target": checksum(target),
        "attack": kind,
        "n": len(run.data.test.head(run.profile.n_sweep)),
        "eps": eps,
        "steps": steps,
        "step_size": {"pgd": step_size_for(eps), "fgsm": eps}.get(kind, 0.0),
    }


def unusual_steps(eps: float) -> dict:
    """What a configuration says of PGD where it is not the paper's ten steps of 0.01; what was made with these is found
    under configurations that do not name them."""
    steps = {"steps_of_pgd": STEPS, "step_size_of_pgd": step_size_for(eps)}
    return {} if tuple(steps.values()) == (10, 0.01) else steps


def accuracy_against_eps(run: Run, budgets: Sequence[float]) -> list[dict]:
    """The initial classifier's accuracy under noise, FGSM and PGD at several budgets (step_size_for)."""
    return [
        attacked_record(
            run, run.classifier, run.classifier, kind, eps, stage="initial", defense="none", threat="grey_box"
        )
        for eps in budgets
        for kind in ("noise", "fgsm", "pgd")
    ]


def accuracy_against_steps(run: Run, counts: Sequence[int]) -> list[dict]:
    """The initial classifier's accuracy under PGD of several lengths, at the run's budget (step_size_for)."""
    return [
        attacked_record(
            run,
            run.classifier,
            run.classifier,
            "pgd",
            run.eps,
            stage="initial",
            defense="none",
            threat="grey_box",
            steps=steps,
        )
        for steps in counts
    ]


def correct(run: Run, classifier: keras.Model, split: str, name: str) -> np.ndarray:
    """Which images of one of the six sources (source) the classifier names correctly: booleans [n], from the store."""
    images, labels = source(run, split, name), run.split(split).labels
    config = {**_assessed(run, classifier), "source": name, "split": split, "n": len(labels)}
    if name.startswith("ae("):
        config["autoencoder"] = classifiers.weights_sha256(autoencoder(run)[0])
    return _cached_correct(config, lambda: evaluation.is_correct(classifier, images, labels))


def _assessed(run: Run, model: keras.Model) -> dict:
    return {**run.config(ae_module, evaluation), "assessed": checksum(model)}


def _fields(run: Run, stage: str, defense: str, kind: str, threat: str) -> dict:
    return {
        "dataset": run.data.name,
        "profile": run.profile.name,
        "model": run.model,
        "stage": stage,
        "defense": defense,
        "input": kind,
        "threat": threat,
        "eps": 0.0 if kind == "regular" else run.eps,
        "steps": {"fgsm": 1, "pgd": STEPS}.get(kind, 0),
        "seed": run.seed,
    }


def _cached_correct(config: dict, assess: Callable[[], np.ndarray]) -> np.ndarray:
    return np.array(artifacts.make_json("correct", config, lambda: [int(c) for c in assess()]), bool)


def answers(run: Run) -> dict[str, np.ndarray]:
    """Which test images were classified correctly, by cell (Answers.cell): what verify compares with."""
    return {answers.cell: answers.correct for answers in static_answers(run) + aware_answers(run)}


def parts_of(run: Run) -> dict[str, Callable[[], tuple[keras.Model, list[dict]]]]:
    """What a run trains, in order, by the name under which the course ships it; each is made when it is called."""
    phases = phases_of(run)
    later = {
        _part_after(run, phase): partial(_after_phase, run, phases, phase, True)
        for phase in range(1, len(phases) + 1)
    }
    return {"ae": partial(autoencoder, run), **later}


def _tuning(run: Run) -> dict:
    """What the card of a fine-tuned classifier says of its making."""
    return {
        "phases": phases_of(run),
        "precision": settings.training_precision(),
        "autoencoder_weights_sha256": classifiers.weights_sha256(autoencoder(run)[0]),
    }


def ship(run: Run, parts: Sequence[str] = PARTS) -> None:
    """Put a run's autoencoder and fine-tuned classifier into weights/, each with its card.

    Args:
        parts: which (parts_of); what is not trained yet is trained, and what comes from weights/ stays as it is.
    """
    config = {
        "profile": run.profile.name,
        "seed": run.seed,
        "eps": run.eps,
        "protocol": run.protocol.changes(),
    }
    for part in (part for part in parts if not is_taken(run, part)):
        model, history = parts_of(run)[part]()
        file = classifiers.shipped(run.data.name, f"{run.model}_{part}")
        classifiers.save_weights(model if part == "ae" else classifiers.network_of(model), file)
        card = {
            "part": part,
            "model": run.model,
            "parameters": int(sum(np.prod(w.shape) for w in model.trainable_weights)),
            **config,
            "trained_on": run.profile.n_train,
            "data": run.data.provenance,
            "initial_sha256": classifiers.weights_sha256(run.classifier),
            "weights_sha256": classifiers.weights_sha256(model),
            "file_sha256": provenance.sha256_of(file),
            "commit": provenance.commit(),
            **({} if part == "ae" else _tuning(run)),
            "history": history,
        }
        settings.write_atomically(file.with_suffix(".json"), json.dumps(card, indent=1).encode())
