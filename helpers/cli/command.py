"""The common parts of the commands: their errors, the devices they may use, and their shared options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from .. import settings
from ..classifiers import registry
from ..settings import CourseError

SHARED = ("weights", "train", "measure")
"""The commands whose work several devices can share."""


class Command(click.Command):
    """A command that checks COURSE_DEVICES, and runs as one worker of several if it says so."""

    def invoke(self, ctx: click.Context) -> int | None:
        """Run the command and return its status."""
        _check_devices(self.name)
        if not settings.workers()[1]:
            return super().invoke(ctx)
        from .. import artifacts
        from ..backend import devices

        with devices.answering():
            status = super().invoke(ctx)
        devices.finish()
        artifacts.tidy()
        return status


def _check_devices(command: str) -> None:
    """Refuse several devices for a command whose work they cannot share."""
    option = settings.devices_option()
    if option in ("", "one") or command in SHARED:
        return
    if settings.workers()[1]:
        raise CourseError(
            "workers share weights, train and measure; for other commands leave COURSE_DEVICES out"
        )
    if command != "sweep":
        raise CourseError(
            f"COURSE_DEVICES is {option}: devices share weights, train, measure and the jobs of sweep. "
            "Other commands, and notebooks, run on one; leave COURSE_DEVICES out, and they use what those "
            "have left in the store"
        )


class Commands(click.Group):
    """A command line that keeps its commands in order and reports each error in one line."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which they were added."""
        return list(self.commands)

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Run a command.

        Args:
            arguments: the words of the command line; default: this process's.

        Returns:
            The exit status: 0, 1 if a notebook or a check failed, 2 for bad input, 130 if interrupted.
        """
        settings.ensure_home()
        try:
            return self.main(arguments, "python -m helpers", standalone_mode=False) or 0
        except (CourseError, click.UsageError) as error:
            message = _explained(error) if isinstance(error, click.UsageError) else str(error)
            print(f"error: {message}", file=sys.stderr)
            return 2

    def invoke(self, ctx: click.Context) -> int | None:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted; the same command resumes where this one stopped", file=sys.stderr)
            return 130


def _explained(error: click.UsageError) -> str:
    """Say in one line what is wrong with a command line, and what the choices are."""
    command = error.ctx.command if error.ctx else None
    if isinstance(command, Commands):
        return f"{error.message.rstrip('.')}; choose one of {', '.join(command.commands)}"
    if isinstance(error, click.NoSuchOption) and command:
        options = [name for param in command.params for name in param.opts if name.startswith("--")]
        return f"there is no option {error.option_name}; {command.name} has {', '.join(options) or 'none'}"
    return error.format_message().rstrip(".")


class Checked(click.ParamType):
    """The type of a parameter that a function checks and converts."""

    def __init__(self, name: str, convert: Callable[[str], object]):
        self.name, self._convert = name, convert

    def convert(self, value, param, ctx):
        """Return the checked value."""
        return self._convert(value)


def number(text: str, name: str, convert: Callable[[str], float]) -> float:
    """Return a number from its text.

    Raises:
        CourseError: the text is not a number.
    """
    try:
        return convert(text)
    except (ValueError, ZeroDivisionError):
        raise CourseError(f"{name} is {settings.shown(text)}, which is not a number") from None


def seed(text: str) -> int:
    """Return a random seed from its text."""
    return settings.check_seed(text)


def eps(text: str) -> float:
    """Return an attack budget from its text, which may be a fraction."""
    return settings.check_eps(text)


def weights(text: str) -> str:
    """Return the choice of weights; a file's path becomes absolute, since notebooks run in another folder."""
    if text.lower() in ("course", "tf2cv", "none"):
        return text.lower()
    path = settings.find_file(text)
    if path is None:
        raise CourseError(f"there is no weight file {settings.shown(text)}; choose course, tf2cv or none")
    return str(path.resolve())


def model(text: str) -> str:
    """Return the name of a network."""
    registry.check_model(text)
    return text


def at_least_1(text: str, option: str) -> int:
    """Return a count from its text."""
    value = number(text, option, int)
    if value < 1:
        raise CourseError(f"{option} is {value}; it must be at least 1")
    return value


def count(name: str, **options) -> Callable:
    """Add an option for a whole number that is at least 1."""
    return click.option(name, type=Checked("number", lambda text: at_least_1(text, name)), **options)


NETWORKS = f"one of {', '.join(registry.MODELS)}"

MODEL = click.option("--model", default="resnet20", type=Checked("name", model), help=NETWORKS)
SEED = click.option("--seed", default="0", type=Checked("number", seed), help="a whole number")
DATASET = click.option("--dataset", default="cifar10", help="cifar10 or patches10")
PROFILES = f"one of {', '.join(settings.PROFILES)}, or a .toml file"
PATH = click.Path(path_type=Path)


def run_options(command: Callable) -> Callable:
    """Add the parameters of a run: profile, dataset, model, seed, weights, eps."""
    for option in (
        click.option("--eps", default="8/255", type=Checked("number", eps), help="attack budget in [0, 1]"),
        click.option(
            "--weights",
            default="course",
            type=Checked("choice", weights),
            help="course, tf2cv, none or a weight file",
        ),
        SEED,
        MODEL,
        click.option("--dataset", default="auto", help="cifar10, patches10 or auto"),
        click.option("--profile", default="quick", help=PROFILES),
    ):
        command = option(command)
    return command
