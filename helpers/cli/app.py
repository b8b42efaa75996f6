"""The command line: python -m helpers COMMAND. The Makefile's targets call these commands.

TensorFlow, papermill and everything else that is slow to import is imported inside the commands, so that a
mistyped word gets an answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from . import maintain, predict, report, sweep, train
from .command import Commands

COMMANDS = (
    report.report,
    report.run,
    predict.predict,
    train.weights,
    train.networks,
    train.seeds,
    train.robust,
    train.search,
    maintain.bench,
    maintain.autoattack,
    sweep.sweep,
    sweep.train,
    sweep.measure,
    sweep.cost,
    maintain.audit,
    maintain.gap,
    maintain.author,
    report.slides,
    report.lab,
    maintain.exercises,
    maintain.record,
    maintain.verify,
    report.clean,
)


@click.group(
    cls=Commands,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
def course() -> None:
    """Run the course's notebooks, train its networks and check its results."""


for command in COMMANDS:
    course.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status (Commands.run)."""
    return course.run(arguments)
