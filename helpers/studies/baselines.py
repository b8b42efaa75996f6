"""Honest baselines (notebook 07): robust networks, certificates, and simple transformations.

Results are kept in the artifact store. Robust accuracies of different networks can be compared because all of
them are measured with the same attacks on the same images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import artifacts, classifiers, evaluation, pipeline, settings
from ..attacks import STEPS
from ..backend import keras
from ..classifiers import registry
from ..defenses import autoencoder, smoothing, transformations
from ..evaluation import accuracy
from ..evaluation.titles import percent
from ..pipeline import Answers, Run
from ..pipeline.published import ROBUSTBENCH
from ..settings import CourseError, Networks
from . import robust_models, threat_ladder

RUNGS = ("square", "pgd", "pgd_100", "apgd", "worst_case")
"""The ladder's rungs for a defense that is attacked end-to-end; only a full run includes PGD-100."""


@dataclass(frozen=True)
class System:
    """A classifier, or a defense with a classifier in it, that notebook 07 assesses.

    Attributes:
        title: its name in tables.
        stage: the records' stage (evaluation.Record).
        defense: the records' defense.
        network: a key of robust_models.RECIPES; empty for the run's own networks.
        with_autoencoder: whether the run's own autoencoder is the preprocessor.
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
    "single_step_ae": System("single-step, behind the autoencoder", "single_step", "ae", "single_step", True),
    "joint": System("autoencoder and classifier trained together", "joint", "ae", "joint"),
}
"""The systems that are compared, in the notebook's order. ``paper`` is notebook 06's defense."""

CERTIFIED = {
    "noise_25": ("trained on noise, sigma 0.25", 0.25),
    "noise_50": ("trained on noise, sigma 0.5", 0.5),
    "denoiser_25": ("autoencoder as denoiser, sigma 0.25", 0.25),
    "initial": ("initial classifier alone, sigma 0.25", 0.25),
}
"""By name (a key of robust_models.RECIPES, or ``initial``), a classifier's title and noise level."""

WATCHED_TITLES = {"clean": "clean", "pgd": "PGD-10", "training_pgd": "PGD-10, training images"}
"""The labels of an adversarial training's curves, by key of its history (robust_models.card)."""


def available(run: Run) -> list[str]:
    """Return the names of the systems whose networks the course has for the run's classifier.

    The paper's defense is included only if its networks are shipped, because otherwise the run would have to
    train them. A smoke run gets the initial classifier and one robust network.
    """
    there = [name for name, s in SYSTEMS.items() if s.network and robust_models.recorded(run, s.network)]
    if run.profile.name == "smoke":
        return ["initial", *there[:1]]
    return ["initial", *(["paper"] if run.networks is Networks.SHIPPED else []), *there]


def built(run: Run, name: str) -> tuple[keras.Model, keras.Model]:
    """Return a system's model, and the classifier in it.

    Raises:
        CourseError: there is no such system, or its weights are missing (robust_models.network).
    """
    if name not in SYSTEMS:
        raise CourseError(f"unknown system {name!r}; choose one of {', '.join(SYSTEMS)}")
    system = SYSTEMS[name]
    if name == "paper":
        tuned = pipeline.fine_tuned(run)[0]
        return autoencoder.defended(pipeline.autoencoder(run)[0], tuned), tuned
    if not system.network:
        return run.classifier, run.classifier
    model, preprocessor, _ = robust_models.network(run, system.network)
    classifier = model.layers[-1] if preprocessor else model
    if system.with_autoencoder:
        return autoencoder.defended(pipeline.autoencoder(run)[0], model), model
    return model, classifier


def under_attack(run: Run, name: str, n: int | None = None) -> dict[str, Answers]:
    """Measure a system without an attack (``regular``) and under each of RUNGS.

    Args:
        run: the run.
        name: a key of SYSTEMS.
        n: the number of test images; default: the profile's n_ladder.
    """
    (model, classifier), system = built(run, name), SYSTEMS[name]
    full, chosen = run.profile.name == "full", run.data.test.head(n or run.profile.n_ladder)
    rungs = [rung for rung in RUNGS if full or rung != "pgd_100"]
    fields = run.fields(system.stage, system.defense, "regular", "static")
    clean = Answers(fields, evaluation.is_correct(model, chosen.pixels, chosen.labels))
    defense = threat_ladder.Defense(system.stage, system.defense, model, classifier)
    effort = threat_ladder.effort_of(run)
    return {"regular": clean} | threat_ladder.measure(run, defense, run.eps, len(chosen), effort, rungs)


def cost(run: Run, name: str, n: int = 128, rounds: int = 5) -> dict[str, float | None]:
    """Measure what a system costs.

    Args:
        run: the run.
        name: a key of SYSTEMS.
        n: the number of images classified at a time.
        rounds: the number of repetitions.

    Returns:
        ``parameters``; ``minutes`` of training beyond the initial classifier and the run's own networks, from
        the card (epochs times their median; None for the paper's defense, whose cards have no minutes); and
        ``milliseconds`` per image on this machine (the median over the rounds).
    """
    model, _ = built(run, name)
    images = run.data.test.head(n).take()[0]
    evaluation.predict(model, images, n)  # traces the graph
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        evaluation.predict(model, images, n)
        seconds.append(time.perf_counter() - start)
    network = SYSTEMS[name].network
    minutes = robust_models.card(run, network)["minutes"] if network else 0
    return {
        "parameters": classifiers.parameter_count(model),
        "minutes": None if name == "paper" else minutes,
        "milliseconds": 1000 * float(np.median(seconds)) / len(images),
    }


def attacks_table(found: dict[str, dict[str, Answers]]) -> pd.DataFrame:
    """Tabulate systems in rows and attacks in columns (under_attack): accuracy with its interval."""
    titles = {name: threat_ladder.RUNGS[name].title.removesuffix(" end-to-end") for name in RUNGS}
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
    """Tabulate accuracy without an attack and in the worst case beside the cost, and published numbers below.

    Args:
        found: the result of under_attack, by system.
        costs: the result of cost, by system.
        published: by title, clean accuracy and accuracy under AutoAttack, in percent.
    """
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
    """Write the README's table of robust networks, in Markdown, from pipeline.recorded_results.

    Returns:
        The table; empty if no robust network is recorded.
    """
    entry, (clean, attacked) = next(iter(ROBUSTBENCH.items()))
    published, parts = f"| *on RobustBench, under AutoAttack: {entry}* | {clean:.2f} | {attacked:.2f} |", []
    for model in results["runs"]:
        records = [r for r in results["records"] if r["model"] == model]
        rows = {system: _worst_of(system, records) for system in SYSTEMS.values()}
        if any(row and system.network for system, row in rows.items()):
            parts += [
                "",
                f"| {registry.MODELS[model].title} | clean | worst case at 8/255 |",
                "|---|---|---|",
            ]
            parts += [*filter(None, rows.values()), published]
    if not parts:
        return ""
    return "\n".join(
        [
            "**Against an attacker who knows the whole defense** (notebooks 06 and 07): accuracy in percent. "
            "*Worst case*: the share of test images that stay correct under each of PGD, APGD, targeted "
            "APGD and Square, all of them aimed at the whole defense (for the paper's, under every rung of "
            "notebook 06). It is AutoAttack-style, not AutoAttack, whose Square makes five times as many "
            "queries. The last line is a published number, for scale: a point above it is not an improvement "
            "of one point.",
            *parts,
        ]
    )


def _worst_of(system: System, records: list[dict]) -> str:
    """Write a line of readme_table; empty if the system's worst case is not recorded."""
    own = [r for r in records if (r["stage"], r["defense"]) == (system.stage, system.defense)]
    regular = next((r for r in own if r["input"] == "regular"), None)
    worst = next((r for r in own if r["input"] == "worst_case" and r["eps"] == settings.EPS), None)
    return f"| {system.title} | {_with_n(regular)} | {_with_n(worst)} |" if regular and worst else ""


def _with_n(record: dict) -> str:
    return f"{percent(record)}, n = {record['n']:,}"


# ----------------------------------------------------------------------------------------------- certificates


def certified(run: Run, name: str) -> tuple[smoothing.Certificates, np.ndarray]:
    """Certify a smoothed classifier on the first n_certified test images, with n_samples draws each.

    Args:
        run: the run.
        name: a key of CERTIFIED.

    Returns:
        The certificates, and the images' labels.
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
    """Return certified accuracy at some radii, as records.

    Their input is ``certified``, their threat ``any``, and their eps the radius in l2.
    """
    found, labels = certified(run, name)
    stage = "initial" if name in ("initial", "denoiser_25") else name
    defense = "denoised_smoothing" if name == "denoiser_25" else "smoothing"
    return [
        evaluation.record(found.certified(labels, r), **run.fields(stage, defense, "certified", "any", r))
        for r in radii
    ]


def certificates_table(curves: dict[str, list[dict]], radii: Sequence[float]) -> pd.DataFrame:
    """Tabulate certified accuracy in percent by classifier, at some of the radii of certified_records."""
    rows = {
        CERTIFIED[name][0]: {f"r = {r['eps']:.2f}": percent(r) for r in records if r["eps"] in radii}
        for name, records in curves.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("classifier")


# -------------------------------------------------------------------------------------------- transformations


def transformed(run: Run, name: str, n: int | None = None) -> dict[str, Answers]:
    """Measure the initial classifier behind a simple transformation.

    Args:
        run: the run.
        name: a key of transformations.DEFENSES.
        n: the number of test images; default: the profile's n_ladder.

    Returns:
        The answers without an attack (``regular``), under a transfer attack (``static``: PGD on the bare
        classifier), and under an end-to-end attack (``adaptive``: PGD on transformation and classifier, with
        a straight-through gradient for rounding).
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
            **run.config(transformations, accuracy),
            "defense": name,
            "threat": threat,
            "n": n,
            "steps": steps,
        }

        def compute(aim=aim) -> list[int]:
            moved = pipeline.attack(aim, images, labels, "pgd", run.eps, run.seed) if aim else images
            return [int(right) for right in evaluation.is_correct(assessed, moved, labels)]

        correct = np.array(artifacts.make_json("transformed", config, compute), bool)
        knows = (threat, run.eps) if aim else ("static", 0.0)
        fields = run.fields("initial", name, "pgd" if aim else "regular", *knows, steps)
        found[threat] = Answers(fields, correct)
    return found


def transformations_table(found: dict[str, dict[str, Answers]]) -> pd.DataFrame:
    """Tabulate accuracy behind each transformation, without an attack and under both attacks."""
    rows = {
        transformations.DEFENSES[name].title: {
            kind: percent(answers.record()) for kind, answers in kinds.items()
        }
        for name, kinds in found.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("transformation")
    return frame.rename(
        columns={"regular": "no attack", "static": "PGD-10, transfer", "adaptive": "PGD-10, end-to-end"}
    )
