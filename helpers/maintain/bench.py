"""Measure the speed of attacks and training loops, compared with other libraries and with upper limits.

    python -m helpers bench                 # prints a table and writes figures/benchmarks.json

All contenders run on the same network and the same images, in alternating rounds, so that other load on the
machine affects them equally; PyTorch's run in a process of their own (peers.py). A speed is the median of the
rounds. Only ratios within one run mean anything.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from .. import attacks, classifiers, datasets, pipeline, settings, training
from ..artifacts import provenance
from ..backend import keras, memory, tf
from ..classifiers import fused
from ..defenses import autoencoder
from ..settings import CourseError, progress
from ..studies import robust_models
from . import peers, precision
from .contenders import CONTENDERS, EPS, STEP_SIZE, STEPS, Contender, as_in_tf2cv

BATCH = 128

ROBUST = "single_step"
"""The robust network that the worst case is measured on (studies.robust_models)."""

WORST = 1_000
"""On how many images."""


def bench(
    data: datasets.Data,
    model: str = "resnet20",
    rounds: int = 5,
    largest: int = 10_000,
    only: Collection[str] = (),
) -> Iterator[dict]:
    """Measure one section after another. All of them take about an hour on two cores.

    Args:
        data: its test images are attacked.
        model: the network.
        rounds: the number of runs of each contender, at least 5 for numbers to report.
        largest: the largest n of the scaling curve.
        only: names in SECTIONS; default: all that can be measured here.

    Yields:
        The keys of benchmarks.json that a section has measured, with its ``environment`` by section. The
        section ``worst_case`` is left out where PyTorch cannot be measured, unless it is asked for.

    Raises:
        CourseError: one of the libraries is not installed.
    """
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    why = peers.why_not(model)
    if why and not only:
        settings.note(f"not compared with PyTorch: {why}")
    for name, measure in SECTIONS.items():
        if name in only or (not only and not (why and name == "worst_case")):
            found = measure(data, model, rounds, largest)
            yield {
                "model": model,
                "dataset": data.name,
                **found,
                "measured": {name: provenance.environment()},
            }


def pgd(data: datasets.Data, model: str, rounds: int, largest: int, batch: int = BATCH) -> dict:
    """Compare the contenders' PGD-10 on ``batch`` images, all in one batch."""
    classifier = classifiers.load(model, data)
    images, labels = data.test.take(batch)
    why = peers.why_not(model)
    with nullcontext(({}, {})) if why else peers.contenders(classifier, images, labels) as (theirs, about):
        measured = _gradients_and_attacks(classifier, images, labels, rounds, theirs)
    found = {"batch": batch, "rounds": rounds, **measured}
    return found if why else {**found, "peers": about}


def peaks(data: datasets.Data, model: str, rounds: int, largest: int, batch: int = BATCH) -> dict:
    """Measure the peak memory of each contender of ``pgd``, each in a process of its own."""
    found = {name: _peak_mib_of(name, data.name, model, batch) for name in CONTENDERS}
    if not peers.why_not(model):
        given = classifiers.load(model, data), *data.test.take(batch)
        found |= {name: peers.peak_mib(name, *given) for name in peers.PGD}
    return {"peak_mib": found}


def _gradients_and_attacks(
    classifier: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    rounds: int,
    theirs: dict[str, Contender],
) -> dict:
    """Measure the input gradients a second of four graphs, and PGD-10's images a second of all contenders.

    ``theirs`` are contenders on top of CONTENDERS.
    """
    x, y = tf.constant(images), tf.constant(labels)
    gradients = {
        "tf2cv's graph": _gradient(as_in_tf2cv(classifier), x, y),
        "padding inside the convolutions": _gradient(classifier, x, y),
        "BatchNorm folded": _gradient(fused.fuse(classifier), x, y),
        "BatchNorm folded, bfloat16": _gradient(fused.fuse(classifier, "mixed_bfloat16"), x, y),
    }
    contenders = {name: make(classifier, images, labels) for name, make in CONTENDERS.items()} | theirs
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
    """Return the peak memory of a new process that loads the network and runs one contender once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run_once, name, dataset, model, batch).result()


def _run_once(name: str, dataset: str, model: str, batch: int) -> int:
    """Run one contender once and return this process's peak memory."""
    data = datasets.load(dataset)
    classifier, (images, labels) = classifiers.load(model, data), data.test.take(batch)
    memory.forget_peak()  # leave out the peak of reading the data
    CONTENDERS[name](classifier, images, labels)()
    return memory.peak_mib()


def _gradient(model: attacks.Model, x: tf.Tensor, y: tf.Tensor) -> Contender:
    """Return a function that takes the input gradient once."""
    gradient = tf.function(lambda x: attacks.input_gradient(model, x, y))
    return lambda: gradient(x).numpy()


def strength(data: datasets.Data, model: str, rounds: int, largest: int) -> dict:
    """Measure how strong attacks are that are crafted in bfloat16 (precision.strength)."""
    run = pipeline.start(data.name, model, "quick", networks="auto")
    return {"bfloat16": precision.strength(run, min(largest, len(data.test)))}


def worst_case(data: datasets.Data, model: str, rounds: int, largest: int) -> dict:
    """Time the course's ensemble and PyTorch's AutoAttack on a robust network (peers.worst_case).

    Returns:
        ``network`` (ROBUST, or ``initial`` where the course ships no such network), ``n``, the names of the
        course's ``attacks``, and ``ensembles``.

    Raises:
        CourseError: PyTorch cannot be measured here.
    """
    if why := peers.why_not(model):
        raise CourseError(why)
    run = pipeline.start(data.name, model, "full", networks="auto")
    is_shipped = ROBUST in robust_models.shipped(run)
    network = robust_models.network(run, ROBUST)[0] if is_shipped else run.classifier
    images, labels = data.test.take(min(largest, WORST, len(data.test)))
    found = {
        "network": ROBUST if is_shipped else "initial",
        "n": len(images),
        "attacks": list(attacks.ensemble()),
        "ensembles": peers.worst_case(network, images, labels),
    }
    return {"worst_case": found}


def scaling(data: datasets.Data, model: str, rounds: int, largest: int) -> dict:
    """Time PGD-10 against n, and PGD on a thousand images against the number of steps."""
    model = fused.fuse(classifiers.load(model, data))

    def seconds(n: int, steps: int) -> float:
        images, labels = data.test.take(n)
        start = time.perf_counter()
        attacks.pgd(model, images, labels, EPS, step_size=STEP_SIZE, steps=steps)
        return time.perf_counter() - start

    seconds(BATCH, 1)  # traces the graph
    sizes = [n for n in (1_000, 2_000, 5_000, 10_000) if n <= min(largest, len(data.test))] or [largest]
    found = {
        "n": [{"n": n, "steps": STEPS, "seconds": seconds(n, STEPS)} for n in sizes],
        "steps": [{"n": sizes[0], "steps": k, "seconds": seconds(sizes[0], k)} for k in (1, 2, 5, 10, 20)],
    }
    return {"scaling": found}


def train(data: datasets.Data, model: str, rounds: int, largest: int, steps: int = 40) -> dict:
    """Compare whole training loops, with reading and mixing, with the bare step: steps a second."""
    found = {
        "fine-tuning": _loop_against_step(*_fine_tuning(data, model), rounds, steps),
        "autoencoder": _loop_against_step(*_autoencoder(data), rounds, 10 * steps),
    }
    return {"training": found}


SECTIONS: dict[str, Callable[[datasets.Data, str, int, int], dict]] = {
    "pgd": pgd,
    "peaks": peaks,
    "training": train,
    "scaling": scaling,
    "strength": strength,
    "worst_case": worst_case,
}
"""What can be measured, from (data, model, rounds, largest), the shortest first."""


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


def _alternate(contenders: dict[str, Contender], items: int, rounds: int) -> dict[str, list[float]]:
    """Run all contenders in turn, ``rounds`` times after a warm-up; return items a second."""
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
    """Return the median and the range of speeds."""
    return {
        "median_per_second": float(np.median(speeds)),
        "lowest": float(np.min(speeds)),
        "highest": float(np.max(speeds)),
    }


def merged(recorded: dict, found: dict) -> dict:
    """Return the recorded results with those that a section has measured now.

    What was recorded of another network or data set goes.
    """
    same = [recorded.get(name) for name in ("model", "dataset")] == [found["model"], found["dataset"]]
    before = recorded if same else {}
    measured = {**before.get("measured", {}), **found["measured"]}
    return {**before, **found, "measured": measured}


def write(results: dict, file: Path) -> None:
    """Write the results as JSON."""
    settings.write_atomically(file, json.dumps(results, indent=1).encode())
