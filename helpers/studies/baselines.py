"""What notebook 07 measures: hardened networks under the worst case, certificates, and simple transformations.

Results are kept in the artifact store. Robust accuracies of different networks may be compared because they are all
measured by the same attacks on the same images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import artifacts, classifiers, evaluation, pipeline, settings
from ..attacks import STEPS, adaptive
from ..backend import keras
from ..classifiers import registry
from ..defenses import autoencoder, smoothing, transformations
from ..evaluation.titles import percent
from ..pipeline import Answers, Run
from ..pipeline.published import ROBUSTBENCH
from ..settings import CourseError
from . import robust_models, threat_ladder

RUNGS = ("square", "pgd", "pgd_100", "apgd", "worst_case")
"""The ladder's rungs for a defense that is attacked as a whole; a run that is not full leaves PGD-100 out."""


@dataclass(frozen=True)
class System:
    """A classifier, or a defense with one in it, that notebook 07 assesses.

    Attributes:
        title: as tables name it.
        stage, defense: the records' (evaluation.Record).
        network: a key of hardened.RECIPES, or none: the run's initial classifier.
        with_autoencoder: the run's own autoencoder is put in front.
    """

    title: str
    stage: str
    defense: str
    network: str = ""
    with_autoencoder: bool = False


SYSTEMS = {
    "initial": System("initial classifier", "initial", "none"),
    "paper": System("the paper's: fine-tuned, behind the autoencoder", "fine_tuned", "ae"),
    "single_step": System("single-step adversarial training", "single_step", "none", "single_step"),
    "madry": System("PGD adversarial training", "madry", "none", "madry"),
    "single_step_ae": System(
        "single-step, and the autoencoder in front", "single_step", "ae", "single_step", True
    ),
    "joint": System("autoencoder and classifier trained together", "joint", "ae", "joint"),
}
"""What is compared under the worst case, in the order in which the notebook argues. ``paper`` is notebook 06's."""

CERTIFIED = {
    "noise_25": ("trained on noise, sigma 0.25", 0.25),
    "noise_50": ("trained on noise, sigma 0.5", 0.5),
    "denoiser_25": ("autoencoder as denoiser, sigma 0.25", 0.25),
    "initial": ("initial classifier alone, sigma 0.25", 0.25),
}
"""What is certified: by name (of hardened.RECIPES, or the initial classifier), a title and the noise's deviation."""


WATCHED_TITLES = {"clean": "unchanged", "pgd": "PGD-10", "training_pgd": "PGD-10, training images"}
"""By key of an adversarial training's history (hardened.card), the line's label."""


def available(run: Run) -> list[str]:
    """The systems whose networks the course has for the run's classifier; in a smoke run, the initial classifier and
    one hardened network. The paper's, which has to be trained by the run itself where it is not shipped, only where it
    is."""
    there = [name for name, s in SYSTEMS.items() if s.network and robust_models.recorded(run, s.network)]
    if run.profile.name == "smoke":
        return ["initial", *there[:1]]
    return ["initial", *(["paper"] if run.networks == "shipped" else []), *there]


def built(run: Run, name: str) -> tuple[keras.Model, keras.Model]:
    """A system's model, and the classifier in it.

    Raises:
        CourseError: there is no such system; its weights are not there (hardened.network).
    """
    if name not in SYSTEMS:
        raise CourseError(f"unknown system {name!r}; choose one of {', '.join(SYSTEMS)}")
    system = SYSTEMS[name]
    if name == "paper":
        tuned = pipeline.fine_tuned(run)[0]
        return autoencoder.defended(pipeline.autoencoder(run)[0], tuned), tuned
    if not system.network:
        return run.classifier, run.classifier
    model, front, _ = robust_models.network(run, system.network)
    classifier = _classifier_in(model) if front else model
    if system.with_autoencoder:
        return autoencoder.defended(pipeline.autoencoder(run)[0], model), model
    return model, classifier


def _classifier_in(pair: keras.Model) -> keras.Model:
    return pair.layers[-1]


def under_attack(run: Run, name: str, n: int | None = None) -> dict[str, Answers]:
    """A system's answers on the first n test images (default: the profile's n_ladder), without an attack (``regular``)
    and under each of RUNGS."""
    model, classifier = built(run, name)
    system, n = SYSTEMS[name], n or run.profile.n_ladder
    full = run.profile.name == "full"
    rungs = RUNGS if full else tuple(rung for rung in RUNGS if rung != "pgd_100")
    effort = "standard" if full else "quick"
    found = {"regular": _regular(run, system, model, n)}
    return found | threat_ladder.measure(
        run, system.stage, system.defense, model, classifier, run.eps, n, effort, rungs
    )


def _regular(run: Run, system: System, model: keras.Model, n: int) -> Answers:
    chosen = run.data.test.head(n)
    correct = evaluation.is_correct(model, chosen.pixels, chosen.labels)
    return Answers(_fields(run, system.stage, system.defense, "regular", "static", 0.0, 0), correct)


def _fields(run: Run, stage: str, defense: str, kind: str, threat: str, eps: float, steps: int) -> dict:
    return {
        "dataset": run.data.name,
        "profile": run.profile.name,
        "model": run.model,
        "stage": stage,
        "defense": defense,
        "input": kind,
        "threat": threat,
        "eps": eps,
        "steps": steps,
        "seed": run.seed,
    }


def cost(run: Run, name: str, n: int = 128, rounds: int = 5) -> dict[str, float | None]:
    """What a system costs: ``parameters``, ``minutes`` of training beyond the initial classifier's and the run's own
    networks (as its card has it: epochs times their median; None for the run's own, whose cards tell no minutes),
    and ``milliseconds`` to classify an image (the median of some rounds, n images at a time, on this machine)."""
    model, _ = built(run, name)
    images = run.data.test.head(n).take()[0]
    evaluation.predict(model, images, n)  # traces the graph
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        evaluation.predict(model, images, n)
        seconds.append(time.perf_counter() - start)
    system = SYSTEMS[name]
    return {
        "parameters": int(sum(np.prod(weight.shape) for weight in model.trainable_weights)),
        "minutes": None
        if name == "paper"
        else robust_models.card(run, system.network)["minutes"]
        if system.network
        else 0,
        "milliseconds": 1000 * float(np.median(seconds)) / len(images),
    }


def attacks_table(found: dict[str, dict[str, Answers]]) -> pd.DataFrame:
    """Systems in rows, attacks in columns (under_attack), accuracy in percent with its interval in the cells."""
    titles = {name: threat_ladder.RUNGS[name].title.split(" through")[0] for name in RUNGS}
    titles |= {"regular": "no attack", "worst_case": "worst case"}
    rows = {
        SYSTEMS[name].title: {titles[kind]: percent(answers.record()) for kind, answers in kinds.items()}
        for name, kinds in found.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–").rename_axis("system")


def comparison_table(
    found: dict[str, dict[str, Answers]],
    costs: dict[str, dict[str, float]],
    published: dict[str, tuple[float, float]],
) -> pd.DataFrame:
    """Accuracy without an attack and in the worst case beside what it costs (cost); then what others have published,
    clean accuracy and accuracy under AutoAttack in percent."""
    rows = {
        SYSTEMS[name].title: {
            "no attack": percent(kinds["regular"].record()),
            "worst case": percent(kinds["worst_case"].record()),
            "parameters": f"{costs[name]['parameters']:,}",
            "minutes": "–" if costs[name]["minutes"] is None else f"{costs[name]['minutes']:.0f}",
            "ms an image": f"{costs[name]['milliseconds']:.2f}",
        }
        for name, kinds in found.items()
    }
    rows |= {
        f"{s} (AutoAttack)": {"no attack": f"{a:.2f}", "worst case": f"{b:.2f}"}
        for s, (a, b) in published.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–").rename_axis("system")


def readme_table(results: dict) -> str:
    """What stands under the worst case, as Markdown for the README, from the recorded results
    (pipeline.recorded_results); empty where no hardened network is recorded."""
    entry, (clean, attacked) = next(iter(ROBUSTBENCH.items()))
    published, parts = f"| *on RobustBench, under AutoAttack: {entry}* | {clean:.2f} | {attacked:.2f} |", []
    for model in results["runs"]:
        records = [r for r in results["records"] if r["model"] == model]
        rows = {system: _worst_of(system, records) for system in SYSTEMS.values()}
        if any(row and system.network for system, row in rows.items()):
            parts += [
                "",
                f"| {registry.MODELS[model].title} | unchanged | worst case at 8/255 |",
                "|---|---|---|",
            ]
            parts += [*filter(None, rows.values()), published]
    if not parts:
        return ""
    return "\n".join(
        [
            "**Against an attacker who knows all of it** (notebooks 06 and 07): accuracy in percent. *Worst case*: "
            "the share of test images that stay correct under each of PGD, APGD, targeted APGD and Square, all of them "
            "through the whole defense (for the paper's, under every rung of notebook 06). It is AutoAttack-style and "
            "not AutoAttack, whose Square asks five times as often: the last line, other people's number, is there for "
            "scale, and a point above it is not a point better.",
            *parts,
        ]
    )


def _worst_of(system: System, records: list[dict]) -> str:
    """A line of readme_table; empty where the system's worst case is not recorded."""
    own = [r for r in records if (r["stage"], r["defense"]) == (system.stage, system.defense)]
    regular = next((r for r in own if r["input"] == "regular"), None)
    worst = next((r for r in own if r["input"] == "worst_case" and r["eps"] == settings.EPS), None)
    return f"| {system.title} | {_with_n(regular)} | {_with_n(worst)} |" if regular and worst else ""


def _with_n(record: dict) -> str:
    return f"{percent(record)}, n = {record['n']:,}"


# ------------------------------------------------------------------------------------------------------ certificates


def certified(run: Run, name: str) -> tuple[smoothing.Certificates, np.ndarray]:
    """The certificates of a smoothed system on the first test images (n_certified of the profile, with n_samples draws
    each), and the images' labels.

    Args:
        name: a key of CERTIFIED.
    """
    if name not in CERTIFIED:
        raise CourseError(f"unknown system {name!r}; choose one of {', '.join(CERTIFIED)}")
    model = run.classifier if name == "initial" else robust_models.network(run, name)[0]
    sigma, n, samples = CERTIFIED[name][1], run.profile.n_certified, run.profile.n_samples
    images, labels = run.data.test.head(n).take()
    config = {
        **run.config(autoencoder, smoothing),
        "assessed": classifiers.weights_sha256(model),
        "sigma": sigma,
        "n": n,
        "samples": samples,
    }

    def compute() -> dict:
        found = smoothing.certify(pipeline.for_attack(model), images, sigma, samples=samples, seed=run.seed)
        return {"predictions": found.predictions.tolist(), "radii": found.radii.tolist()}

    stored = artifacts.make_json("certificates", config, compute)
    return smoothing.Certificates(np.array(stored["predictions"]), np.array(stored["radii"])), labels


def certified_records(run: Run, name: str, radii: list[float]) -> list[dict]:
    """Certified accuracy at some radii, as records: input ``certified``, threat ``any``, and eps the radius in l2."""
    found, labels = certified(run, name)
    stage = "initial" if name in ("initial", "denoiser_25") else name
    defense = "denoised_smoothing" if name == "denoiser_25" else "smoothing"
    fields = _fields(run, stage, defense, "certified", "any", 0.0, 0)
    return [evaluation.record(found.certified(labels, r), **{**fields, "eps": r}) for r in radii]


def certificates_table(curves: dict[str, list[dict]], radii: Sequence[float]) -> pd.DataFrame:
    """Certified accuracy in percent at some of the radii that the curves have (certified_records), by system."""
    rows = {
        CERTIFIED[name][0]: {f"r = {r['eps']:.2f}": percent(r) for r in records if r["eps"] in radii}
        for name, records in curves.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("classifier")


# --------------------------------------------------------------------------------------------------- transformations


def transformed(run: Run, name: str, n: int | None = None) -> dict[str, Answers]:
    """The initial classifier behind a simple transformation: ``regular``, ``static`` (PGD on the bare classifier) and
    ``adaptive`` (PGD on both; through a rounding one by a straight-through gradient).

    Args:
        name: a key of transformations.DEFENSES.
    """
    n = n or run.profile.n_ladder
    images, labels = run.data.test.head(n).take()
    bare = pipeline.for_attack(run.classifier)
    assessed, target = transformations.before(name, run.classifier), transformations.to_attack(name, bare)
    aims = {"regular": None, "static": bare, "adaptive": target}
    found = {}
    for threat, aim in aims.items():
        steps = STEPS if aim else 0
        config = {
            **run.config(adaptive, transformations, evaluation),
            "defense": name,
            "threat": threat,
            "n": n,
            "steps": steps,
        }

        def compute(aim=aim) -> list[int]:
            moved = pipeline.attack(aim, images, labels, "pgd", run.eps, run.seed) if aim else images
            return [int(right) for right in evaluation.is_correct(assessed, moved, labels)]

        correct = np.array(artifacts.make_json("transformed", config, compute), bool)
        kind = "pgd" if aim else "regular"
        fields = _fields(
            run, "initial", name, kind, threat if aim else "static", run.eps if aim else 0.0, steps
        )
        found[threat] = Answers(fields, correct)
    return found


def transformations_table(found: dict[str, dict[str, Answers]]) -> pd.DataFrame:
    """Transformations in rows; accuracy in percent without an attack, and under either attacker (transformed)."""
    rows = {
        transformations.DEFENSES[name].title: {
            kind: percent(answers.record()) for kind, answers in kinds.items()
        }
        for name, kinds in found.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("transformation")
    return frame.rename(
        columns={"regular": "no attack", "static": "static PGD-10", "adaptive": "adaptive PGD-10"}
    )
