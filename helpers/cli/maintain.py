"""The commands that measure, record and check: bench, audit, author, exercises, record, verify."""

from __future__ import annotations

from pathlib import Path

import click

from .. import settings
from ..settings import CourseError
from .command import MODEL, PATH, Checked, Command, count, model, run_options


@click.command(cls=Command)
@click.option("--dataset", default="auto", help="cifar10, patches10 or auto")
@MODEL
@count("--rounds", default=5, help="runs of each contender")
@count("--largest", default=10_000, help="images of the longest attack")
@click.option("--only", multiple=True, metavar="SECTION", help="measure only this (may be repeated)")
@click.option("--out", type=PATH, help="the file to write; else figures/benchmarks.json")
def bench(
    dataset: str, model: str, rounds: int, largest: int, only: tuple[str, ...], out: Path | None
) -> None:
    """Measure speeds; write figures/benchmarks.json after each section.

    The sections are pgd, peaks (of memory), training, scaling, strength and worst_case. The last one
    needs PyTorch (python install.py peers), and most of the hour.
    """
    from .. import datasets
    from ..maintain import bench, speed_tables
    from ..plots import tables

    recorded = settings.FIGURES / "benchmarks.json"
    for section in only:
        if section not in bench.SECTIONS:
            raise CourseError(f"unknown section {section!r}; choose one of {', '.join(bench.SECTIONS)}")
    data, file = datasets.load(dataset), out or recorded
    for found in bench.bench(data, model, rounds, largest, only):
        results = bench.merged(settings.read_json(file) if file.is_file() else {}, found)
        bench.write(results, file)
        if file.resolve() == recorded.resolve():
            tables.write_between(
                settings.ROOT / "README.md", speed_tables.README_MARKERS, speed_tables.markdown(results)
            )
        click.echo(speed_tables.table(found))


@click.command(cls=Command)
@click.argument("system", default="single_step")
@MODEL
@count("--images", default=1000, help="test images to attack")
@click.option("--norm", default="linf", help="linf or l2")
@click.option("--port", default=1000, show_default=True, help="test images for PyTorch's port; 0: none")
@click.option("--dry-run", is_flag=True, help="show the numbers; record nothing")
def autoattack(system: str, model: str, images: int, norm: str, port: int, dry_run: bool) -> None:
    """Attack a system of notebook 07 with AutoAttack, here and in PyTorch.

    SYSTEM is one of the table's networks, such as single_step or madry. What is measured goes into
    figures/autoattack.json and the README. The same command goes on where it stopped.
    """
    from .. import pipeline
    from ..maintain import agreement
    from ..maintain import record as recording
    from ..studies import autoattack as study

    run = pipeline.start("cifar10", model, "full", networks="shipped")
    found, robust, theirs = agreement.measure(run, system, images, norm, port)
    click.echo(agreement.told(found))
    if not dry_run:
        study.write(found, robust, theirs)
        recording.write_readme()


@click.command(cls=Command)
@run_options
@click.option("--initial-only", is_flag=True, help="the initial classifier only; trains nothing")
@click.option("--out", type=PATH, help="the file to write; else figures/audit.json")
def audit(initial_only: bool, out: Path | None, **parameters) -> None:
    """Measure each way in which the paper's released code departs from its text."""
    settings.profile(parameters["profile"])
    from .. import pipeline
    from ..maintain import record as recording
    from ..plots import tables
    from ..studies import deviations

    run, recorded = pipeline.start(**parameters), settings.FIGURES / "audit.json"
    if (out or recorded).resolve() == recorded.resolve():
        deviations.check_recordable(run, initial_only)
    found = deviations.audit(run, initial_only)
    deviations.write(found, out or recorded)
    if out is None:
        recording.write_readme()
    click.echo(tables.audit_table(found).to_string())


@click.command(cls=Command)
@click.argument("folder", type=PATH)
@count("--images", default=10_000, help="test images for clean images, FGSM and PGD-10")
@count("--strong", default=1000, help="test images for attacks of a hundred steps or queries and more")
@click.option("--dry-run", is_flag=True, help="show the numbers; record nothing")
def author(folder: Path, images: int, strong: int, dry_run: bool) -> None:
    """Attack the networks that the paper's author released.

    FOLDER holds robustnet.h5 and safetynet.h5. What is measured goes into figures/results.json and the
    README; the files stay where they are.
    """
    from ..maintain import record as recording
    from ..studies import released_ladder, released_pair

    pair = released_pair.load(folder)
    run = released_ladder.begin()
    answers = released_ladder.climb(run, pair, images, strong)
    found = released_ladder.section(run, answers)
    click.echo(released_ladder.table(found["records"]).to_string())
    if not dry_run:
        released_ladder.write(found, answers)
        recording.write_readme()


@click.command(cls=Command)
@MODEL
@count("--images", default=10_000, help="test images to attack and classify")
@click.option("--author", type=PATH, help="folder of the author's two released files, if you have them")
@click.option("--out", type=PATH, help="the file to write; else figures/gap.json")
def gap(model: str, images: int, author: Path | None, out: Path | None) -> None:
    """Decompose the gap to the paper: base network, attack, autoencoder.

    Writes figures/gap.json after each base network and attack. The same command goes on where it stopped.
    """
    from ..maintain import record as recording
    from ..studies import gap as study
    from ..studies import gap_explained, released_pair

    released = released_pair.load(author).autoencoder if author else None
    run = study.start(model, images)
    found = None
    for found in study.measure(run, study.factors(run, released)):
        study.write(found, out or settings.FIGURES / "gap.json")
    if found:
        for text in (gap_explained.sentences(found), gap_explained.described(found)):
            click.echo(text)
        if out is None:
            recording.write_readme()


@click.command(cls=Command)
@click.option("--check", is_flag=True, help="write nothing; fail if they differ")
def exercises(check: bool) -> int:
    """Write notebooks/exercises/ from notebooks/solutions/."""
    from ..maintain import exercise_notebooks

    if check:
        outdated = exercise_notebooks.outdated()
        for name in outdated:
            click.echo(
                f"notebooks/exercises/{name} is not what its solution gives; write it with 'make exercises'"
            )
        return 1 if outdated else 0
    changed = exercise_notebooks.write()
    for name in changed:
        click.echo(f"notebooks/exercises/{name}")
    click.echo(f"{len(changed)} changed, {len(exercise_notebooks.solutions()) - len(changed)} as they were")
    return 0


@click.command(cls=Command)
@click.option("--out", type=PATH, help="folder of the report; else report/")
def record(out: Path | None) -> None:
    """Copy a finished report into notebooks/ and figures/."""
    from ..maintain import record as recording

    recording.record(out or settings.ROOT / "report")


@click.command(cls=Command)
@click.option("--model", type=Checked("name", model), help="one network; else every recorded one")
@count("--images", default=1000, help="test images to attack and classify again")
@click.option("--author", type=PATH, help="folder of the author's released networks, to check theirs too")
def verify(model: str | None, images: int, author: Path | None) -> int:
    """Check that the shipped weights still give the recorded results."""
    from .. import pipeline
    from ..maintain import verify as verification

    models = [model] if model else list(pipeline.recorded_results()["runs"])
    if not models:
        raise CourseError("no run is recorded; make one (make report, make record)")
    failures = 0

    def report(name: str, findings: list) -> None:
        nonlocal failures
        for finding in findings:
            failures += not finding.holds
            verdict = "ok  " if finding.holds else "FAIL"
            click.echo(f"{verdict} {name} {finding.what}: recorded {finding.recorded}, now {finding.now}")

    for name in models:
        report(name, verification.verify(name, images))
    if author or not model:
        report("author", verification.verify_author(author, images))
    click.echo(f"{failures} of the recorded results do not hold" if failures else "all recorded results hold")
    return 1 if failures else 0
