"""The commands that run or show notebooks: report, run, slides, lab; and clean."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from .. import settings
from ..settings import CourseError
from .command import PATH, Command, count, eps, run_options, seed, weights

# A file that is uploaded to the explorer is one message, and by default the server refuses 10 MB or more.
LAB = [
    sys.executable,
    "-m",
    "jupyterlab",
    "--ServerApp.tornado_settings={'websocket_max_message_size': 200_000_000}",
]


class _ReportCommand(Command):
    """A command whose option --only takes several words, as in ``--only 06 07``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat --only before each of its words."""
        repeated, inside = [], False
        for word in args:
            if word.startswith("-"):
                inside = word == "--only"
                repeated += [] if inside else [word]
            else:
                repeated += ["--only", word] if inside else [word]
        if args[-1:] == ["--only"]:
            repeated.append("--only")
        return super().parse_args(ctx, repeated)


@click.command(cls=_ReportCommand)
@run_options
@click.option("--out", type=PATH, help="folder of the report; else report/, with --only report/only")
@click.option("--only", multiple=True, metavar="NOTEBOOK...", help="run only these, such as 06 07")
@click.option(
    "--networks", default="trained", help="trained; or shipped: a full run with the networks in weights/"
)
@click.option("--fresh", is_flag=True, help="run every notebook, also one that would run just as before")
@count("--jobs", help="notebooks that run side by side; else one a core, at most 4, and 1 in a full run")
def report(
    out: Path | None, only: tuple[str, ...], networks: str, jobs: int | None, fresh: bool, **parameters
) -> int:
    """Run the notebooks and write the report."""
    from .. import report

    if networks not in ("trained", "shipped"):
        raise CourseError(f"unknown networks {networks!r}; choose trained or shipped")
    folder = out or settings.ROOT / "report" / ("only" if only else "")
    whole = report.build(parameters, folder, list(only), networks == "shipped", jobs, fresh)
    report.say(f"the report: {os.path.relpath(folder)}/index.html")
    return 0 if whole else 1


@click.command(cls=Command)
@click.argument("notebook")
@click.option("-p", "--parameter", "words", multiple=True, metavar="NAME=VALUE", help="may be repeated")
@click.option("--out", type=PATH, help="folder of the executed notebook; else report/single")
def run(notebook: str, words: tuple[str, ...], out: Path | None) -> int:
    """Run one notebook, by number or name."""
    from .. import report

    source, folder = report.find(notebook), out or settings.ROOT / "report" / "single"
    result = report.execute(source, folder / source.name, dict(map(_parameter, words)))
    if error := result["error"]:
        report.say(f"error: {source.stem}, cell {error['cell']}: {report.one_line(error)}")
        return 1
    report.say(f"{os.path.relpath(folder / source.name)}: {result['seconds']:.0f} s")
    return 0


def _parameter(text: str) -> tuple[str, object]:
    """Return the name and the checked value of a notebook's parameter."""
    name, equals, value = text.partition("=")
    if not equals:
        raise CourseError(f"-p {text!r} is not of the form NAME=VALUE")
    return name, {"eps": eps, "weights": weights, "seed": seed}.get(name, str)(value)


@click.command(cls=Command)
@click.option("--out", type=PATH, help="the file to write; else report/slides.html")
def slides(out: Path | None) -> None:
    """Write the slides of the class of 90 minutes, from the committed notebooks."""
    from .. import report

    file = out or settings.ROOT / "report" / "slides.html"
    count = report.write_slides(file)
    report.say(f"{count} slides: {os.path.relpath(file)}")


@click.command(cls=Command)
def lab() -> int:
    """Open the notebooks in JupyterLab."""
    return subprocess.call([*LAB, str(settings.ROOT / "notebooks")])


@click.command(cls=Command)
def clean() -> None:
    """Remove artifacts/ and report/."""
    for name in ("artifacts", "report"):  # only the course's own: ARTIFACTS_DIR may hold other things
        shutil.rmtree(settings.ROOT / name, ignore_errors=True)
