"""The command line: python -m helpers <command>. The Makefile's targets call these."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

from .. import settings
from ..classifiers import registry
from ..settings import CourseError

# A file that is uploaded to the explorer is one message, and the server hangs up at 10 MB unless told otherwise.
LAB = [
    sys.executable,
    "-m",
    "jupyterlab",
    "--ServerApp.tornado_settings={'websocket_max_message_size': 200_000_000}",
]

NETWORKS = f"one of {', '.join(registry.MODELS)}"


REPLACE = "take the place of a shipped one that was made with another seed or length"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 if a notebook failed, 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        _check_devices(options.do)
        return (_together(options) if settings.workers()[1] else options.do(options)) or 0
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130


def _check_devices(command: Callable) -> None:
    """Refuse many devices where one does the work."""
    option = settings.devices_option()
    if option in ("", "one") or command in (_weights, _job):
        return
    if settings.workers()[1]:
        raise CourseError(
            "workers share weights, train and measure; for other commands leave COURSE_DEVICES out"
        )
    if command is not _sweep:
        raise CourseError(
            f"COURSE_DEVICES is {option}: devices share weights, train, measure and the jobs of sweep. Other commands, "
            "and notebooks, run on one; leave COURSE_DEVICES out, and they take what those have left in the store"
        )


def _together(options: argparse.Namespace) -> int | None:
    """Run a command as one worker of several (devices)."""
    from .. import artifacts
    from ..backend import devices

    with devices.answering():
        status = options.do(options)
    devices.finish()
    artifacts.tidy()
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers", description="The course's command line.")
    whole_words = partial(argparse.ArgumentParser, allow_abbrev=False)  # --seeds is a mistake, not --seed
    commands = parser.add_subparsers(required=True, metavar="command", parser_class=whole_words)

    report = commands.add_parser("report", help="run the notebooks and write the report")
    _add_parameters(report)
    report.add_argument(
        "--out", type=Path, help="folder of the report; else report/, with --only report/only"
    )
    report.add_argument(
        "--only", nargs="+", default=[], metavar="NOTEBOOK", help="run these alone, such as 06 07"
    )
    report.add_argument(
        "--networks", default="trained", help="trained; or shipped: a full run with those in weights/"
    )
    report.set_defaults(do=_report)

    run = commands.add_parser("run", help="run one notebook, by number or name")
    run.add_argument("notebook")
    run.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE")
    run.add_argument("--out", type=Path, default=settings.ROOT / "report" / "single")
    run.set_defaults(do=_run)

    weights = commands.add_parser("weights", help="train a base classifier and ship it in weights/")
    weights.add_argument("--dataset", default="cifar10")
    weights.add_argument("--model", default="resnet20", help=NETWORKS)
    weights.add_argument("--seed", default="0", help="a whole number")
    weights.add_argument("--epochs", type=int, help="instead of the recipe's own number")
    weights.add_argument("--replace", action="store_true", help=REPLACE)
    weights.set_defaults(do=_weights)

    networks = commands.add_parser(
        "networks",
        help="train a full run's autoencoder and fine-tuned classifier, ship each in weights/",
    )
    networks.add_argument("--dataset", default="cifar10")
    networks.add_argument("--model", default="resnet20", help=NETWORKS)
    networks.add_argument("--seed", default="0", help="a whole number")
    networks.add_argument("--replace", action="store_true", help=REPLACE)
    networks.set_defaults(do=_networks)

    seeds = commands.add_parser(
        "seeds", help="train the paper's autoencoder with another seed, ship it in weights/"
    )
    seeds.add_argument("seed", nargs="+", help="whole numbers")
    seeds.add_argument("--dataset", default="cifar10")
    seeds.add_argument("--model", default="resnet20", help=NETWORKS)
    seeds.add_argument("--profile", default="full", help=f"one of {', '.join(settings.PROFILES)}")
    seeds.set_defaults(do=_seeds)

    robust = commands.add_parser("robust", help="train a hardened network and ship it in weights/")
    robust.add_argument(
        "recipe", help="single_step, madry, joint, noise_25, noise_50, denoiser_25, few_images or collapsing"
    )
    robust.add_argument("--dataset", default="cifar10")
    robust.add_argument("--model", default="resnet20", help=NETWORKS)
    robust.add_argument("--seed", default="0", help="a whole number")
    robust.add_argument("--replace", action="store_true", help=REPLACE)
    robust.set_defaults(do=_robust)

    search = commands.add_parser("search", help="train autoencoders of the search and ship them in weights/")
    search.add_argument("name", help="an autoencoder (helpers/architectures.py), or all")
    search.add_argument("--dataset", default="cifar10")
    search.add_argument("--model", default="resnet20", help=NETWORKS)
    search.add_argument("--seed", default="0", help="a whole number")
    search.add_argument("--replace", action="store_true", help=REPLACE)
    search.set_defaults(do=_search)

    bench = commands.add_parser("bench", help="measure speeds, write figures/benchmarks.json")
    bench.add_argument("--dataset", default="auto", help="cifar10, patches10 or auto")
    bench.add_argument("--model", default="resnet20", help=NETWORKS)
    bench.add_argument("--rounds", type=int, default=5)
    bench.add_argument("--largest", type=int, default=10_000, help="images of the longest attack")
    bench.add_argument("--out", type=Path, default=settings.FIGURES / "benchmarks.json")
    bench.set_defaults(do=_bench)

    sweep = commands.add_parser("sweep", help="run a grid of jobs, or say what it would take")
    sweep.add_argument("grid", type=Path, help="a YAML file, such as sweeps/smoke.yml")
    sweep.add_argument(
        "--cores", type=int, default=os.cpu_count(), help="of this machine; on a cluster, jobs at once"
    )
    sweep.add_argument(
        "--profile", help="slurm, kubernetes or a folder: a Snakemake profile; else this machine"
    )
    sweep.add_argument("--dry-run", action="store_true", help="show what would be run")
    sweep.add_argument("--estimate", action="store_true", help="run nothing; predict time and memory")
    sweep.add_argument(
        "--merge", action="store_true", help="run nothing; merge the records of the finished jobs"
    )
    sweep.add_argument(
        "--record", action="store_true", help="run nothing; ship the records in figures/sweeps/"
    )
    sweep.add_argument("--out", type=Path, help="another file for the records of --merge or --record")
    sweep.set_defaults(do=_sweep)

    for name, text in (
        ("train", "train a run's autoencoder and fine-tuned classifier, and keep them in artifacts/"),
        ("measure", "attack one defense with one budget and number of steps"),
    ):
        job = commands.add_parser(name, help=text)
        _add_job(job, name)

    cost = commands.add_parser("cost", help="measure what the steps of a sweep cost, write figures/cost.json")
    cost.add_argument(
        "--dataset",
        help="cifar10 or patches10, whose images have the same size; else one with weights of the networks",
    )
    cost.add_argument("--model", action="append", help="a network; may be repeated; else resnet20")
    cost.add_argument("--cores", type=int, default=os.cpu_count())
    cost.add_argument("--threads", type=int, default=1, help="cores of a job")
    cost.add_argument("--out", type=Path, default=settings.FIGURES / "cost.json")
    cost.set_defaults(do=_cost)

    deviations = commands.add_parser("audit", help="switch the released code's departures on, one at a time")
    _add_parameters(deviations)
    deviations.add_argument(
        "--initial-only", action="store_true", help="the initial classifier only; trains nothing"
    )
    deviations.add_argument("--out", type=Path, default=settings.FIGURES / "audit.json")
    deviations.set_defaults(do=_audit)

    lab = commands.add_parser("lab", help="open the notebooks in JupyterLab")
    lab.set_defaults(do=lambda _: subprocess.call([*LAB, str(settings.ROOT / "notebooks")]))

    exercises = commands.add_parser("exercises", help="write notebooks/exercises/ from notebooks/solutions/")
    exercises.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    exercises.set_defaults(do=_exercises)

    record = commands.add_parser("record", help="copy a finished report into notebooks/ and figures/")
    record.add_argument("--out", type=Path, default=settings.ROOT / "report")
    record.set_defaults(do=_record)

    verify = commands.add_parser(
        "verify", help="whether the shipped weights still do what is recorded of them"
    )
    verify.add_argument("--model", help="one network; else every recorded one")
    verify.add_argument("--images", type=int, default=1000, help="test images to attack and classify anew")
    verify.set_defaults(do=_verify)

    clean = commands.add_parser("clean", help="remove artifacts/ and report/")
    clean.set_defaults(do=_clean)
    return parser


def _add_job(parser: argparse.ArgumentParser, name: str) -> None:
    """The options of a sweep's job; as text, so that they are checked as a grid's values are."""
    from ..sweeps.grid import Grid

    parser.add_argument("--profile", default=Grid.profile, help=f"one of {', '.join(settings.PROFILES)}")
    parser.add_argument("--dataset", default=Grid.dataset, help="cifar10 or patches10")
    parser.add_argument("--model", default=Grid.model[0], help=NETWORKS)
    parser.add_argument("--weights", default=Grid.weights, help="course, tf2cv, none or a weight file")
    parser.add_argument(
        "--trained-eps", default=Grid.trained_eps[0], help="the budget that the defense was trained on"
    )
    parser.add_argument("--seed", default=str(Grid.seed[0]), help="a whole number")
    parser.add_argument("--n-train", help="images to train on; else the profile's number")
    if name == "measure":
        parser.add_argument("--autoencoder", default=Grid.autoencoder[0], help="none or paper")
        parser.add_argument(
            "--eps", default=Grid.eps[0], help="the attack's budget in [0, 1]; fractions are understood"
        )
        parser.add_argument("--steps", default=str(Grid.steps[0]), help="PGD's steps")
        parser.add_argument("--n", help="test images to attack; else the profile's number")
    parser.add_argument("--out", type=Path, help="a JSON file for what is found")
    parser.set_defaults(do=_job, job=name)


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="quick", help=f"one of {', '.join(settings.PROFILES)}")
    parser.add_argument("--dataset", default="auto", help="cifar10, patches10 or auto")
    parser.add_argument("--model", default="resnet20", help=NETWORKS)
    parser.add_argument("--seed", default="0", help="a whole number")
    parser.add_argument("--weights", default="course", help="course, tf2cv, none or a weight file")
    parser.add_argument(
        "--eps", default="8/255", help="the attack budget in [0, 1]; fractions are understood"
    )


def _report(options: argparse.Namespace) -> int:
    from .. import report  # late: papermill takes a second, and a wrong word should not

    folder = options.out or settings.ROOT / "report" / ("only" if options.only else "")
    if options.networks not in ("trained", "shipped"):
        raise CourseError(f"unknown networks {options.networks!r}; choose trained or shipped")
    whole = report.build(_parameters(options), folder, options.only, options.networks == "shipped")
    report.say(f"the report: {os.path.relpath(folder)}/index.html")
    return 0 if whole else 1


def _parameters(options: argparse.Namespace) -> dict:
    """What _add_parameters asks for, checked."""
    parameters = {
        "profile": options.profile,
        "dataset": options.dataset,
        "model": options.model,
        "seed": _seed(options.seed),
        "weights": _weights_choice(options.weights),
        "eps": _number(options.eps, "eps", lambda text: float(Fraction(text))),
    }
    registry.check_model(options.model)
    settings.check_eps(parameters["eps"])
    return parameters


def _run(options: argparse.Namespace) -> int:
    from .. import report

    notebook = report.find(options.notebook)
    parameters = dict(_parameter(text) for text in options.parameter)
    result = report.execute(notebook, options.out / notebook.name, parameters)
    if result["error"]:
        report.say(
            f"error: {notebook.stem}, cell {result['error']['cell']}: {report.one_line(result['error'])}"
        )
        return 1
    report.say(f"{os.path.relpath(options.out / notebook.name)}: {result['seconds']:.0f} s")
    return 0


def _weights(options: argparse.Namespace) -> None:
    from .. import datasets
    from ..pipeline import train_base

    registry.check_model(options.model)
    if options.dataset not in datasets.NAMES:
        datasets.load(options.dataset)
    if options.epochs is not None and options.epochs < 1:
        raise CourseError(f"--epochs is {options.epochs}; training takes at least 1")
    asked = {"seed": _seed(options.seed)} | ({"epochs": options.epochs} if options.epochs else {})
    begins = train_base.beginning(options.model)
    beginning = {"begins_with": begins} if begins else {}
    _check_replaces(
        settings.WEIGHTS / options.dataset / f"{options.model}.json", asked | beginning, options.replace
    )
    card = train_base.make(options.dataset, options.model, asked["seed"], options.epochs)
    for split, score in card["scores"].items():
        print(f"{split}: {score['correct']:,} of {score['n']:,} correct, {100 * score['accuracy']:.2f}%")


def _networks(options: argparse.Namespace) -> None:
    """What make full trains, a part at a time: what weights/ has by now is taken, so that days and machines may lie
    between two parts."""
    registry.check_model(options.model)
    os.environ["COURSE_NETWORKS"] = "shipped"
    from .. import pipeline

    run = pipeline.start(options.dataset, options.model, "full", _seed(options.seed))
    if run.networks == "shipped":
        print(f"weights/{run.data.name} has the autoencoder and the fine-tuned classifier of this run")
        return
    there = [part for part in pipeline.parts_of(run) if pipeline.card_file(run, part).is_file()]
    if not options.replace and (other := [part for part in there if not pipeline.is_taken(run, part)]):
        raise CourseError(
            f"weights/{run.data.name} has {', '.join(f'{run.model}_{part}' for part in other)} of another run (seed, "
            "size, initial classifier or autoencoder), and recorded results may rest on it; add --replace to put "
            "another one into its place"
        )
    for part, made in pipeline.parts_of(run).items():
        pipeline.ship(run, [part])
        last = {name: f"{value:.4g}" for name, value in made()[1][-1].items()}
        print(
            f"{options.model}_{part}:",
            ", ".join(f"{name} {value}" for name, value in last.items()),
            flush=True,
        )


def _seeds(options: argparse.Namespace) -> None:
    registry.check_model(options.model)
    seeds = [_seed(text) for text in options.seed]
    from .. import pipeline
    from ..studies import autoencoder_seeds

    run = pipeline.start(options.dataset, options.model, options.profile)
    for seed in seeds:
        card = autoencoder_seeds.make(run, seed)
        print(
            f"seed {seed}: validation loss {card['validation']['loss']:.5f}, {card['active_channels']} active channels",
            flush=True,
        )


def _check_replaces(card: Path, asked: dict, replace: bool) -> None:
    """Refuse to train, for a try, what would take the place of weights on which the recorded results rest."""
    if replace or not card.is_file():
        return
    shipped = json.loads(card.read_text())
    differing = (name for name, value in asked.items() if shipped.get(name, value) != value)
    if other := [f"{name.replace('_', ' ')} {shipped[name]}" for name in differing]:
        raise CourseError(
            f"{card.stem} is shipped, made with {', '.join(other)}, and recorded results rest on it; add --replace to "
            "put another one into its place"
        )


def _robust(options: argparse.Namespace) -> None:
    registry.check_model(options.model)
    from .. import pipeline
    from ..studies import robust_models

    robust_models.recipe_of(options.recipe)
    card = settings.WEIGHTS / options.dataset / f"{options.model}_{options.recipe}.json"
    _check_replaces(card, {"seed": _seed(options.seed)}, options.replace)
    run = pipeline.start(options.dataset, options.model, seed=_seed(options.seed), networks="auto")
    card = robust_models.make(run, options.recipe)
    epoch = card.get("kept_epoch", len(card["history"]))
    scores = {name: card["history"][epoch - 1].get(name) for name in ("clean", "pgd", "noisy")}
    found = ", ".join(f"{name} {100 * score:.1f}%" for name, score in scores.items() if score is not None)
    print(
        f"epoch {epoch} of {len(card['history'])}, {robust_models.WATCHED} validation images: {found}; "
        f"{card['minutes']:.0f} minutes"
    )


def _search(options: argparse.Namespace) -> None:
    registry.check_model(options.model)
    from .. import pipeline
    from ..defenses import architectures
    from ..studies import search

    everything = [name for name, one in architectures.ARCHITECTURES.items() if one.trained]
    names = everything if options.name == "all" else [options.name]
    architectures.architecture_of(names[0])
    for name in names:
        card = settings.WEIGHTS / options.dataset / "search" / f"{options.model}_{name}.json"
        _check_replaces(card, {"seed": _seed(options.seed)}, options.replace)
    run = pipeline.start(options.dataset, options.model, seed=_seed(options.seed))
    for name in names:
        card = search.make(run, name)
        found = ", ".join(
            f"{kind} {100 * score['accuracy']:.1f}%" for kind, score in card["validation"].items()
        )
        print(
            f"{name}: {card['latent']:,} numbers, {card['parameters']:,} parameters, {card['minutes']:.1f} minutes; "
            f"{card['validation']['regular']['n']:,} validation images: {found}"
        )


def _bench(options: argparse.Namespace) -> None:
    registry.check_model(options.model)
    for name, value in (("--rounds", options.rounds), ("--largest", options.largest)):
        if value < 1:
            raise CourseError(f"{name} is {value}; it must be at least 1")
    from .. import datasets
    from ..maintain import bench
    from ..plots import tables

    results = bench.bench(datasets.load(options.dataset), options.model, options.rounds, options.largest)
    bench.write(results, options.out)
    if options.out == settings.FIGURES / "benchmarks.json":
        tables.write_between(settings.ROOT / "README.md", bench.README_MARKERS, bench.markdown(results))
    print(bench.table(results))


def _audit(options: argparse.Namespace) -> None:
    parameters = _parameters(options)
    settings.profile(options.profile)
    from .. import pipeline
    from ..plots import tables
    from ..studies import deviations

    run = pipeline.start(**parameters)
    if options.out.resolve() == (settings.FIGURES / "audit.json").resolve():
        deviations.check_recordable(run, options.initial_only)
    found = deviations.audit(run, options.initial_only)
    deviations.write(found, options.out)
    print(tables.audit_table(found).to_string())


def _sweep(options: argparse.Namespace) -> int:
    from ..sweeps import results, running
    from ..sweeps.grid import read
    from ..sweeps.jobs import folder_of

    grid = read(options.grid)
    if options.estimate:
        from ..sweeps import cost

        record = cost.recorded()
        print(cost.describe(grid, cost.estimate(grid, options.cores, record), options.cores, record))
        return 0
    if options.merge or options.record:
        target = (
            results.RECORDED / f"{grid.name}.json" if options.record else folder_of(grid) / "records.json"
        )
        target = options.out or target
        results.write(grid, target)
        print(os.path.relpath(target))
        return 0
    status = running.run(options.grid, options.cores, options.profile, options.dry_run)
    if status:
        print(
            "some jobs failed; what is finished is kept, and the same command runs the rest", file=sys.stderr
        )
        return 1
    if not options.dry_run:
        print(os.path.relpath(folder_of(grid) / "records.json"))
    return 0


def _job(options: argparse.Namespace) -> None:
    from ..sweeps.grid import KEYS, checked
    from ..sweeps.jobs import measurements, trainings

    asked = {key: getattr(options, key) for key in KEYS if getattr(options, key, None) is not None}
    whole = {
        key: _number(value, key, int)
        for key, value in asked.items()
        if key in ("seed", "steps", "n", "n_train")
    }
    grid = checked("the command", asked | whole)
    (job,) = trainings(grid) if options.job == "train" else measurements(grid)
    from ..sweeps import execution  # imports TensorFlow, so not before the options are checked

    found = execution.train(job) if options.job == "train" else execution.measure(job)
    execution.write(found, options.out)
    print(execution.describe(found))


def _cost(options: argparse.Namespace) -> None:
    models = options.model or ["resnet20"]
    for model in models:
        registry.check_model(model)
    for name, value in (("--cores", options.cores), ("--threads", options.threads)):
        if value < 1:
            raise CourseError(f"{name} is {value}; it must be at least 1")
    from ..sweeps import measuring
    from ..sweeps.grid import DATASETS

    dataset = options.dataset or measuring.dataset_of(models)
    if dataset not in DATASETS:
        raise CourseError(f"unknown data set {dataset!r}; choose one of {', '.join(DATASETS)}")
    measuring.write(measuring.measure(dataset, models, options.cores, options.threads), options.out)
    print(os.path.relpath(options.out))


def _exercises(options: argparse.Namespace) -> int:
    from ..maintain import exercise_notebooks

    if options.check:
        outdated = exercise_notebooks.outdated()
        for name in outdated:
            print(
                f"notebooks/exercises/{name} is not what its solution gives; write it with 'make exercises'"
            )
        return 1 if outdated else 0
    changed = exercise_notebooks.write()
    print(*(f"notebooks/exercises/{name}" for name in changed), sep="\n", end="\n" if changed else "")
    print(f"{len(changed)} changed, {len(exercise_notebooks.solutions()) - len(changed)} as they were")
    return 0


def _record(options: argparse.Namespace) -> None:
    from ..maintain import record as recording

    recording.record(options.out)


def _verify(options: argparse.Namespace) -> int:
    if options.images < 1:
        raise CourseError(f"--images is {options.images}; it must be at least 1")
    if options.model:
        registry.check_model(options.model)
    from .. import pipeline
    from ..maintain import record as recording

    models = [options.model] if options.model else list(pipeline.recorded_results()["runs"])
    if not models:
        raise CourseError("no run is recorded; make one (make report, make record)")
    failures = 0
    for model in models:
        for finding in recording.verify(model, options.images):
            failures += not finding.holds
            verdict = "ok  " if finding.holds else "FAIL"
            print(f"{verdict} {model} {finding.what}: recorded {finding.recorded}, now {finding.now}")
    print(f"{failures} of the recorded results do not hold" if failures else "all recorded results hold")
    return 1 if failures else 0


def _clean(_: argparse.Namespace) -> None:
    for name in (
        "artifacts",
        "report",
    ):  # the course's own; a folder that ARTIFACTS_DIR names may hold other things
        shutil.rmtree(settings.ROOT / name, ignore_errors=True)


def _parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CourseError(f"-p {text!r} is not of the form NAME=VALUE")
    if name == "eps":
        return name, _number(value, "eps", lambda t: float(Fraction(t)))
    if name == "weights":
        return name, _weights_choice(value)
    return name, _seed(value) if name == "seed" else value


def _seed(text: str) -> int:
    seed = _number(text, "seed", int)
    settings.check_seed(seed)
    return seed


def _weights_choice(value: str) -> str:
    """A choice by name as it is; a file's path made absolute, since notebooks run in a folder of their own."""
    if value in ("course", "tf2cv", "none"):
        return value
    path = Path(value).expanduser().resolve()
    if not path.is_file():
        raise CourseError(
            f"there is no weight file {path.name} in {path.parent.name}/; choose course, tf2cv or none"
        )
    return str(path)


def _number(text: str, name: str, convert):
    try:
        return convert(text)
    except (ValueError, ZeroDivisionError):
        raise CourseError(f"{name} is {text!r}, which is not a number") from None


if __name__ == "__main__":
    sys.exit(main())
