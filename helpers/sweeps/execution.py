"""Do the jobs of a sweep: train a defense, or attack it with one budget and one number of steps.

    python -m helpers train --profile smoke --dataset patches10 --seed 1
    python -m helpers measure --profile smoke --dataset patches10 --seed 1 --eps 4/255 --steps 20

Each job records what its steps cost, from which ``cost`` predicts other sweeps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import attacks, pipeline, settings
from ..artifacts import provenance
from ..backend import memory
from ..defenses import autoencoder
from ..evaluation import titles
from .cost import Step
from .jobs import CELLS, Cell, Job, Measurement, Training


class Watch:
    """Record the time and the peak memory of each step of a job."""

    def __init__(self, model: str):
        import psutil

        self._model, self.steps, self.begun = model, [], psutil.Process().create_time()

    def result(self) -> dict:
        """Return when the process started (seconds since 1970), and the steps."""
        return {"begun": self.begun, "steps": [asdict(step) for step in self.steps]}

    @contextmanager
    def step(self, name: str, n: int = 0, times: int = 1, always: bool = False) -> Iterator[list[str]]:
        """Record the cost of the block, unless it found all its artifacts in the store.

        Args:
            always: record it in any case.
            n: the number of images (Step.n).
            name: the step's name.
            times: the passes of each image.

        Yields:
            A list that holds, after the block, the artifacts that it made.
        """
        start = time.time()
        memory.forget_peak()
        with provenance.artifacts_made() as made:
            yield made
        if always or made:
            self.steps.append(
                Step(name, self._model, n, times, round(time.time() - start, 3), memory.peak_mib())
            )


def start(job: Job) -> tuple[pipeline.Run, Watch]:
    """Start a job's run, and a watch whose first step is the time since this process started."""
    watch = Watch(job.model)
    eps = settings.check_eps(job.trained_eps)
    run = pipeline.start(job.dataset, job.model, job.profile, job.seed, job.weights, eps)
    changes = {"n_train": job.n_train, "n_sweep": getattr(job, "n", None)}
    networks = settings.Networks.TRAINED if job.n_train else run.networks
    run = replace(
        run, networks=networks, profile=replace(run.profile, **{k: n for k, n in changes.items() if n})
    )
    watch.steps.append(Step("start", job.model, 0, 1, round(time.time() - watch.begun, 3), memory.peak_mib()))
    return run, watch


def train(job: Training) -> dict:
    """Train a run's autoencoder and fine-tuned classifier into the artifact store.

    Returns:
        The job, the last epoch's numbers, and the cost of the steps.
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


@dataclass(frozen=True)
class Assembled:
    """What a measurement attacks: a run, and its models by stage and defense."""

    run: pipeline.Run
    models: dict[tuple[str, str], Callable]


def assemble(job: Measurement) -> tuple[Assembled, Watch]:
    """Start a measurement's run and load its models; return also the watch over what this cost."""
    run, watch = start(job)
    return Assembled(run, _models(job, run, watch)), watch


def measure(job: Measurement, assembled: Assembled | None = None) -> dict:
    """Attack one defense and assess it.

    Args:
        job: the job.
        assembled: the models of another job that differs in the budget and the steps only. They are
            attacked again without being built and traced again.

    Returns:
        The job, its records, and the cost of the steps.
    """
    assembled, watch = (assembled, Watch(job.model)) if assembled else assemble(job)
    run, models = assembled.run, assembled.models
    n = len(run.data.test.head(run.profile.n_sweep))
    initial, records = models["initial", "none"], []
    for cell in CELLS[job.autoencoder]:
        assessed = models[cell.stage, cell.defense]
        target = initial if cell.threat == "static" else assessed
        budget = settings.check_eps(job.eps) if cell.input == "pgd" else 0.0
        if cell.input == "pgd":
            with watch.step("attack" if target is initial else "attack through ae", n, job.steps):
                pipeline.attacked_images(run, target, cell.input, budget, steps=job.steps)
        with watch.step("assess", n):
            names = {"stage": cell.stage, "defense": cell.defense, "threat": cell.threat}
            record = pipeline.attacked_record(
                run, assessed, target, cell.input, budget, **names, steps=job.steps
            )
        records.append(record | _defense_of(job, run, cell))
    return {"job": asdict(job), "records": records, **watch.result()}


def _models(job: Measurement, run: pipeline.Run, watch: Watch) -> dict[tuple[str, str], Callable]:
    """Return what the job assesses, by stage and defense."""
    models = {("initial", "none"): run.classifier}
    if job.autoencoder == "paper":
        with watch.step("load", always=True) as made:
            ae, stages = pipeline.autoencoder(run)[0], pipeline.stages(run)
            for stage, classifier in stages.items():
                models[stage, "none"], models[stage, "ae"] = classifier, autoencoder.defended(ae, classifier)
        if made:
            watch.steps.pop()  # the networks were trained, so this is not the cost of loading
    return models


def _defense_of(job: Measurement, run: pipeline.Run, cell: Cell) -> dict:
    """Return the fields of a record that name the defense.

    Nothing was trained for the initial classifier alone. Its records are the same in every job, so that a
    merge keeps them once.
    """
    if (cell.stage, cell.defense) == ("initial", "none"):
        return {"autoencoder": "none", "trained_eps": None, "weights": run.weights}
    return {"autoencoder": job.autoencoder, "trained_eps": run.eps, "weights": run.weights}


def write(found: dict, out: Path | None) -> None:
    """Write a job's result to a file, whole or not at all."""
    if out:
        settings.write_atomically(out, json.dumps(found, indent=1).encode())


def describe(found: dict) -> str:
    """Describe a job's result in words."""
    seconds = sum(step["seconds"] for step in found["steps"])
    if "records" not in found:
        numbers = ", ".join(f"{k} {v:.4g}" for k, v in found["autoencoder"].items())
        return f"trained in {seconds:.0f} s; the autoencoder's last epoch: {numbers}"
    words = {
        "stage": titles.STAGE_TITLES,
        "defense": titles.DEFENSE_TITLES,
        "input": titles.INPUT_TITLES,
        "threat": titles.THREAT_TITLES,
    }
    return "\n".join(
        f"{', '.join(known[r[key]] for key, known in words.items())}: {titles.percent(r)}"
        for r in found["records"]
    )
