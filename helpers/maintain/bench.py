"""How fast the attacks and the training loops are, against other libraries and against what they cannot beat.

    python -m helpers bench                 # prints a table and writes figures/benchmarks.json

All contenders run in one process, on the same network and the same images, in alternating rounds, so that whatever
else the machine does hits them alike; a speed is the median of the rounds. Only ratios within one run mean anything.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from .. import attacks, classifiers, datasets, evaluation, settings, training
from ..artifacts import provenance
from ..backend import keras, memory, tf
from ..classifiers import fused
from ..classifiers.registry import MODELS
from ..defenses import autoencoder
from ..settings import CourseError, progress

EPS, STEP_SIZE, STEPS = settings.EPS, 0.01, 10
BATCH = 128

Contender = Callable[[], object]


def bench(
    data: datasets.Data,
    model: str = "resnet20",
    rounds: int = 5,
    largest: int = 10_000,
    batch: int = BATCH,
    steps: int = 40,
) -> dict:
    """Measure everything; a few minutes on two cores.

    Args:
        data: its test images are attacked.
        rounds: how often each contender runs; at least 5 for numbers to be reported.
        largest: the largest n of the scaling curve.
        batch: images of the compared attacks, all in one batch.
        steps: of fine-tuning in each round.

    Returns:
        What benchmarks.json holds: environment, and ``attacks``, ``gradients``, ``scaling``, ``training``.

    Raises:
        CourseError: a library to compare with is not installed.
    """
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    classifier = classifiers.load(model, data)
    images, labels = data.test.take(batch)
    return {
        "model": model,
        "dataset": data.name,
        "batch": batch,
        "rounds": rounds,
        "environment": provenance.environment(),
        **_gradients_and_attacks(classifier, images, labels, rounds),
        "peak_mib": {name: _peak_mib_of(name, data.name, model, batch) for name in CONTENDERS},
        "bfloat16": _bfloat16(classifier, *data.test.take(min(largest, 1000))),
        "scaling": _scaling(classifier, data, largest),
        "training": _training(data, model, rounds, steps),
    }


# ---------------------------------------------------------------------------------------------------------- attacks


def _gradients_and_attacks(
    classifier: keras.Model, images: np.ndarray, labels: np.ndarray, rounds: int
) -> dict:
    """Input gradients a second of four graphs, and PGD-10's images a second of all contenders."""
    x, y = tf.constant(images), tf.constant(labels)
    gradients = {
        "tf2cv's graph": _gradient(_as_tf2cv_has_it(classifier), x, y),
        "padding inside the convolutions": _gradient(classifier, x, y),
        "BatchNorm folded": _gradient(fused.fuse(classifier), x, y),
        "BatchNorm folded, bfloat16": _gradient(fused.fuse(classifier, "mixed_bfloat16"), x, y),
    }
    contenders = {name: make(classifier, images, labels) for name, make in CONTENDERS.items()}
    speeds = _alternate({**gradients, **contenders}, len(images), rounds)
    limit = np.median(speeds["tf2cv's graph"])
    return {
        "gradients": {name: _summary(speeds[name]) for name in gradients},
        "attacks": {
            name: {
                **_summary(speeds[name]),
                "gradients_against_tf2cv": float(np.median(speeds[name]) * STEPS / limit),
            }
            for name in contenders
        },
    }


def _peak_mib_of(name: str, dataset: str, model: str, batch: int) -> int:
    """The peak memory of a process of its own that loads the network and runs one contender once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run_once, name, dataset, model, batch).result()


def _run_once(name: str, dataset: str, model: str, batch: int) -> int:
    data = datasets.load(dataset)
    classifier, (images, labels) = classifiers.load(model, data), data.test.take(batch)
    memory.forget_peak()  # of reading the data
    CONTENDERS[name](classifier, images, labels)()
    return memory.peak_mib()


def _gradient(model: attacks.Model, x: tf.Tensor, y: tf.Tensor) -> Contender:
    gradient = tf.function(lambda x: attacks.input_gradient(model, x, y))
    return lambda: gradient(x).numpy()


def _as_tf2cv_has_it(classifier: keras.Model) -> keras.Model:
    """The classifier before the course touched it: tf2cv pads in a layer of its own."""
    return classifiers.clone(classifier, padding_inside=False)


def _ours(target: Callable[[keras.Model], keras.Model]) -> Callable[..., Contender]:
    """The course's PGD, aimed at what ``target`` makes of the classifier."""

    def make(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Contender:
        model, size = target(classifier), len(images)
        paper = {"step_size": STEP_SIZE, "steps": STEPS, "random_start": False, "batch_size": size}
        return lambda: attacks.pgd(model, images, labels, EPS, **paper)

    return make


def _theirs(library: Callable[..., Contender]) -> Callable[..., Contender]:
    """A library's PGD on tf2cv's network as its user gets it."""
    return lambda classifier, images, labels: library(_as_tf2cv_has_it(classifier), images, labels)


def _cleverhans(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Contender:
    with _needed("cleverhans"):
        from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    def model(x):  # one function for all rounds: CleverHans traces a graph for each that it meets
        return classifier(x, training=False)

    return lambda: projected_gradient_descent(
        model,
        tf.constant(images),
        EPS,
        STEP_SIZE,
        STEPS,
        np.inf,
        clip_min=0.0,
        clip_max=1.0,
        y=labels,
        rand_init=False,
        sanity_checks=False,
    ).numpy()


def _art(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Contender:
    with _needed("art"):
        from art.attacks.evasion import ProjectedGradientDescentTensorFlowV2
        from art.estimators.classification import TensorFlowV2Classifier

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    wrapped = TensorFlowV2Classifier(classifier, 10, images.shape[1:], loss_object=loss, clip_values=(0, 1))
    attack = ProjectedGradientDescentTensorFlowV2(
        wrapped,
        eps=EPS,
        eps_step=STEP_SIZE,
        max_iter=STEPS,
        num_random_init=0,
        batch_size=len(images),
        verbose=False,
    )
    return lambda: attack.generate(images, labels)


def _foolbox(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Contender:
    if not hasattr(np, "find_common_type"):  # Foolbox 3.3.4 calls it; NumPy 2 has it no more
        np.find_common_type = lambda arrays, scalars: np.result_type(*arrays, *scalars)
    with _needed("foolbox"):
        import foolbox

    model = foolbox.TensorFlowModel(lambda x: classifier(x, training=False), bounds=(0, 1), device="/CPU:0")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS, random_start=False)
    x, y = tf.constant(images), tf.constant(labels, tf.int64)
    return lambda: attack(model, x, y, epsilons=EPS)[1].numpy()


LIBRARIES = {"CleverHans": _cleverhans, "ART": _art, "Foolbox": _foolbox}

CONTENDERS: dict[str, Callable[[keras.Model, np.ndarray, np.ndarray], Contender]] = {
    "the course": _ours(fused.fuse),
    "the course, bfloat16": _ours(lambda classifier: fused.fuse(classifier, "mixed_bfloat16")),
    "the course, on tf2cv's graph": _ours(_as_tf2cv_has_it),
    **{name: _theirs(library) for name, library in LIBRARIES.items()},
    "CleverHans, on the course's graph": lambda *given: _cleverhans(fused.fuse(given[0]), *given[1:]),
}
"""Who attacks what, by name. The last one tells what of the difference is the network's and what the loop's."""


class _needed:
    """Turns a missing library into an error that says how to get it."""

    def __init__(self, name: str):
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, _) -> None:
        if isinstance(error, ImportError):
            raise CourseError(
                f"{self._name} is not installed; 'make bench' installs what it compares with"
            ) from error


def _bfloat16(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> dict:
    """What attacks made in bfloat16 cost in strength: accuracy in float32 under both."""
    accuracies = {}
    for precision in ("float32", "mixed_bfloat16"):
        target = fused.fuse(classifier, precision)
        moved = attacks.pgd(target, images, labels, EPS, step_size=STEP_SIZE, steps=STEPS)
        accuracies[precision] = evaluation.proportion(evaluation.is_correct(classifier, moved, labels))
    return accuracies


def _scaling(classifier: keras.Model, data: datasets.Data, largest: int) -> dict:
    """Seconds of PGD-10 against n, and of PGD on a thousand images against the number of steps."""
    folded = fused.fuse(classifier)

    def seconds(n: int, steps: int) -> float:
        images, labels = data.test.take(n)
        start = time.perf_counter()
        attacks.pgd(folded, images, labels, EPS, step_size=STEP_SIZE, steps=steps)
        return time.perf_counter() - start

    seconds(BATCH, 1)  # traces the graph
    sizes = [n for n in (1_000, 2_000, 5_000, 10_000) if n <= min(largest, len(data.test))] or [largest]
    return {
        "n": [{"n": n, "steps": STEPS, "seconds": seconds(n, STEPS)} for n in sizes],
        "steps": [{"n": sizes[0], "steps": k, "seconds": seconds(sizes[0], k)} for k in (1, 2, 5, 10, 20)],
    }


# --------------------------------------------------------------------------------------------------------- training


def _training(data: datasets.Data, model: str, rounds: int, steps: int) -> dict:
    """Steps a second of the training loops (reading, mixing, progress and all) against the bare step on one batch."""
    return {
        "fine-tuning": _loop_against_step(*_fine_tuning(data, model), rounds, steps),
        "autoencoder": _loop_against_step(*_autoencoder(data), rounds, 10 * steps),
    }


def _fine_tuning(data: datasets.Data, model: str):
    network = classifiers.build(model, data.mean, data.std, settings.training_precision())
    step = training.classifier_step(network, keras.optimizers.Adam(1e-4))
    stored = (data.train.pixels.astype(np.uint16) * 257)[:5000]
    return step, training.Samples([data.train.pixels[:5000], *[stored] * 5], data.train.labels[:5000]), 256


def _autoencoder(data: datasets.Data):
    network = autoencoder.build_autoencoder()
    step = training.autoencoder_step(network, keras.optimizers.Adam(1e-3))
    stored = (data.train.pixels.astype(np.uint16) * 257)[:5000]
    return step, training.Samples([stored, stored], data.train.pixels[:5000]), 128


def _loop_against_step(step, samples: training.Samples, size: int, rounds: int, steps: int) -> dict:
    batch = [tf.constant(part) for part in next(samples.batches(size, 0, 0))]

    def bare() -> None:
        for _ in range(steps):
            loss = step(*batch)
        float(loss)

    def loop() -> None:
        epochs = itertools.chain.from_iterable(samples.batches(size, 0, epoch) for epoch in itertools.count())
        training.one_epoch(step, itertools.islice(epochs, steps))

    speeds = _alternate({"bare step": bare, "loop": loop}, steps, rounds)
    share = float(np.median(speeds["loop"]) / np.median(speeds["bare step"]))
    return {name: _summary(speed) for name, speed in speeds.items()} | {
        "batch": size,
        "loop_against_step": share,
    }


# ------------------------------------------------------------------------------------------------------------ timing


def _alternate(contenders: dict[str, Contender], items: int, rounds: int) -> dict[str, list[float]]:
    """Run all contenders in turn, ``rounds`` times after a warm-up: items a second."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    with progress(total=(rounds + 1) * len(contenders), title="bench") as bar:
        for number in range(rounds + 1):
            for name, run in contenders.items():
                start = time.perf_counter()
                run()
                seconds = time.perf_counter() - start
                if number:  # the first round traces and compiles
                    speeds[name].append(items / seconds)
                bar.update()
    return speeds


def _summary(speeds: list[float]) -> dict:
    return {
        "median_per_second": float(np.median(speeds)),
        "lowest": float(np.min(speeds)),
        "highest": float(np.max(speeds)),
    }


# ----------------------------------------------------------------------------------------------------------- results


def write(results: dict, file: Path) -> None:
    """Keep the results as JSON."""
    settings.write_atomically(file, json.dumps(results, indent=1).encode())


def markdown(results: dict) -> str:
    """What the README shows of the results."""
    speeds = {**results["gradients"], **results["attacks"]}
    limit = speeds["tf2cv's graph"]["median_per_second"]
    ours = speeds["the course"]["median_per_second"]
    machine = results["environment"]["machine"]
    lines = [
        f"{MODELS[results['model']].title}, {results['dataset']}, batch {results['batch']}, float32 unless said "
        f"otherwise, medians of {results['rounds']} alternating rounds on {machine}. Only the ratios carry over to "
        "another machine.",
        "",
        "| PGD-10 | images/s | the course against it | peak MiB |",
        "|---|---|---|---|",
    ]
    for name, speed in results["attacks"].items():
        ratio = ours / speed["median_per_second"]
        lines.append(
            f"| {name} | {speed['median_per_second']:.1f} | {ratio:.2f}x | {results['peak_mib'][name]:,} |"
        )
    lines += ["", "| input gradients | images/s | against the tf2cv graph |", "|---|---|---|"]
    for name, speed in results["gradients"].items():
        lines.append(
            f"| {name} | {speed['median_per_second']:.0f} | {speed['median_per_second'] / limit:.2f}x |"
        )
    exact, rounded = (100 * results["bfloat16"][p]["accuracy"] for p in ("float32", "mixed_bfloat16"))
    tuning = results["training"]["fine-tuning"]
    lines += [
        "",
        f"PGD-10 made in float32 leaves {exact:.1f}%, made in bfloat16 {rounded:.1f}% (both assessed in float32, "
        f"n = {results['bfloat16']['float32']['n']:,}). Fine-tuning runs at "
        f"{100 * tuning['loop_against_step']:.0f}% of the speed of its bare training step.",
    ]
    return "\n".join(lines)


README_MARKERS = ("<!-- speed -->", "<!-- /speed -->")


def table(results: dict) -> str:
    """The results as text."""
    limit = results["gradients"]["tf2cv's graph"]["median_per_second"]
    ours = results["attacks"]["the course"]["median_per_second"]
    lines = [f"{'input gradients':34} {'images/s':>9}  {'against the tf2cv graph':>23}"]
    for name, speed in results["gradients"].items():
        lines.append(
            f"{name:34} {speed['median_per_second']:9.0f}  {speed['median_per_second'] / limit:22.2f}x"
        )
    lines.append(f"\n{'PGD-10':34} {'images/s':>9}  {'the course against it':>23}  {'MiB':>6}")
    for name, speed in results["attacks"].items():
        ratio = ours / speed["median_per_second"]
        lines.append(
            f"{name:34} {speed['median_per_second']:9.1f}  {ratio:22.2f}x  {results['peak_mib'][name]:6,}"
        )
    share = results["attacks"]["the course"]["gradients_against_tf2cv"]
    lines.append(f"\nPGD-10's gradients against the tf2cv graph's raw gradients: {share:.2f}x")
    for name, scores in results["bfloat16"].items():
        low, high = 100 * scores["ci_low"], 100 * scores["ci_high"]
        lines.append(
            f"accuracy under PGD-10 made in {name}: {100 * scores['accuracy']:.1f}% [{low:.1f}, {high:.1f}], "
            f"n = {scores['n']:,}"
        )
    for name, speed in results["training"].items():
        lines.append(
            f"{name}: {speed['loop']['median_per_second']:.1f} steps/s in the loop, "
            f"{speed['bare step']['median_per_second']:.1f} of the bare step ({100 * speed['loop_against_step']:.0f}%)"
        )
    for kind in ("n", "steps"):
        points = ", ".join(f"{p[kind]:,}: {p['seconds']:.1f} s" for p in results["scaling"][kind])
        lines.append(f"PGD against {kind}: {points}")
    return "\n".join(lines)
