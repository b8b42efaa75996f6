"""The jobs of a sweep: to train what a defense needs, and to attack it with one budget and number of steps.

    python -m helpers train --profile smoke --dataset patches10 --seed 1
    python -m helpers measure --profile smoke --dataset patches10 --seed 1 --eps 4/255 --steps 20

Each notes what its steps cost, from which ``cost`` predicts other sweeps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

from .. import artifacts, attacks, pipeline, settings
from ..backend import memory
from ..defenses import autoencoder
from ..evaluation import titles
from .cells import CELLS
from .cost import Step
from .grid import Measurement, Training


class Watch:
    """Times steps, and notes the peak of the memory in each."""

    def __init__(self, model: str):
        import psutil

        self._model, self.steps, self.begun = model, [], psutil.Process().create_time()

    def result(self) -> dict:
        """When the process was begun (seconds since 1970), and the steps."""
        return {"begun": self.begun, "steps": [asdict(step) for step in self.steps]}

    @contextmanager
    def step(self, name: str, n: int = 0, times: int = 1, always: bool = False) -> Iterator[None]:
        """Note what the block costs, if it made an artifact and did not find it there.

        Args:
            name, n, times: of the Step.
            always: note it in any case.
        """
        made, start = artifacts.made, time.time()
        memory.forget_peak()
        yield
        if always or artifacts.made > made:
            self.steps.append(
                Step(name, self._model, n, times, round(time.time() - start, 3), memory.peak_mib())
            )


def start(job: Training | Measurement) -> tuple[pipeline.Run, Watch]:
    """A job's run, and a watch that has its start as the first step: since this process was begun."""
    watch = Watch(job.model)
    eps = float(Fraction(job.trained_eps))
    run = pipeline.start(job.dataset, job.model, job.profile, job.seed, job.weights, eps)
    changes = {"n_train": job.n_train, "n_sweep": getattr(job, "n", None)}
    networks = "trained" if job.n_train else run.networks
    run = replace(
        run, networks=networks, profile=replace(run.profile, **{k: n for k, n in changes.items() if n})
    )
    watch.steps.append(Step("start", job.model, 0, 1, round(time.time() - watch.begun, 3), memory.peak_mib()))
    return run, watch


def train(job: Training) -> dict:
    """Train a run's autoencoder and fine-tuned classifier, and keep them in the artifact store.

    Returns:
        What the job leaves: the job, the last epoch's numbers, and the cost of its steps.
    """
    run, watch = start(job)
    splits = ("train", "validation") if run.profile.n_validation else ("train",)
    for split in splits:
        for kind, times in (("fgsm", 1), ("pgd", attacks.STEPS)):
            with watch.step("attack", len(run.split(split)), times):
                pipeline.inputs(run, split, kind)
    n = len(run.split("train"))
    with watch.step("autoencoder", n, 2 * run.profile.ae_epochs):
        _, ae_history = pipeline.autoencoder(run)
    for split in splits:
        with watch.step("reconstruct", len(run.split(split)), 3):
            for kind in pipeline.SOURCES:
                pipeline.reconstructed(run, split, kind)
    passes = sum(len(sources) * epochs for sources, epochs in pipeline.phases_of(run))
    with watch.step("fine-tune", n, passes):
        _, history = pipeline.fine_tuned(run)
    return {
        "job": asdict(job),
        "autoencoder": ae_history[-1],
        "fine_tuned": history[-1],
        **watch.result(),
    }


def measure(job: Measurement) -> dict:
    """Attack one defense and assess it: what the job leaves, with its records and the cost of its steps."""
    run, watch = start(job)
    eps, n = float(Fraction(job.eps)), len(run.data.test.head(run.profile.n_sweep))
    models = {("initial", "none"): run.classifier}
    if job.autoencoder == "paper":
        made = artifacts.made
        with watch.step("load", always=True):
            ae, stages = pipeline.autoencoder(run)[0], pipeline.stages(run)
            for stage, classifier in stages.items():
                models[stage, "none"], models[stage, "ae"] = classifier, autoencoder.defended(ae, classifier)
        if artifacts.made > made:
            watch.steps.pop()  # it trained them: that is no cost of loading
    records = []
    for cell in CELLS[job.autoencoder]:
        assessed = models[cell.stage, cell.defense]
        target = models["initial", "none"] if cell.threat == "static" else assessed
        kind, budget = cell.input, eps if cell.input == "pgd" else 0.0
        if kind == "pgd":
            through = "attack" if target is models["initial", "none"] else "attack through ae"
            with watch.step(through, n, job.steps):
                pipeline.attacked_images(run, target, kind, budget, steps=job.steps)
        with watch.step("assess", n):
            names = {"stage": cell.stage, "defense": cell.defense, "threat": cell.threat}
            record = pipeline.attacked_record(run, assessed, target, kind, budget, **names, steps=job.steps)
        # Of the classifier alone nothing was trained: its records are the same in every job, and are kept once.
        alone = (cell.stage, cell.defense) == ("initial", "none")
        trained = {"autoencoder": "none", "trained_eps": None} if alone else {}
        record |= {"autoencoder": job.autoencoder, "trained_eps": run.eps, **trained, "weights": run.weights}
        records.append(record)
    return {"job": asdict(job), "records": records, **watch.result()}


def write(found: dict, out: Path | None) -> None:
    """Write what a job leaves, whole or not at all."""
    if out:
        settings.write_atomically(out, json.dumps(found, indent=1).encode())


def describe(found: dict) -> str:
    """A job's result in words."""
    seconds = sum(step["seconds"] for step in found["steps"])
    if "records" not in found:
        numbers = ", ".join(f"{k} {v:.4g}" for k, v in found["autoencoder"].items())
        return f"trained in {seconds:.0f} s; the autoencoder's last epoch: {numbers}"
    lines = [
        f"{r['stage']}, {r['defense']}, {r['input']}, {r['threat']}: {titles.percent(r)}"
        for r in found["records"]
    ]
    return "\n".join(lines)
