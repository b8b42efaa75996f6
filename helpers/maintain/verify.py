"""Check that the shipped weights still give the recorded results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import evaluation, pipeline, settings
from ..artifacts import arrays
from ..defenses.architectures import ARCHITECTURES
from ..pipeline import Run
from ..settings import CourseError
from ..studies import autoattack, released_ladder, released_pair, robust_models, search
from .record import by_cell

TOLERATED = 0.01
"""The share of images whose answer may differ from the recorded one.

Attacks follow the signs of gradients, and rounding on another processor or in another library may flip a
sign.
"""

STRONGER = 20
"""AutoAttack's images are made again for this many times fewer images than the tables'."""


@dataclass(frozen=True)
class Finding:
    """One line of verify's output: what was checked, the recorded value, today's, and whether they agree."""

    what: str
    recorded: str
    now: str
    holds: bool


def verify(model: str, images: int = 1000) -> list[Finding]:
    """Check whether the shipped weights of a network still give its recorded results.

    The counts and intervals in results.json are compared with all recorded answers. Then the attacks are
    made again in an artifact store of their own, and the answers on the first images are compared with the
    recorded ones, image by image. Records without recorded answers (notebooks 03, 06 and 07) are compared
    with their own counts, and the networks they belong to (robust networks, autoencoders of the search)
    with their cards.

    Args:
        model: the network.
        images: the number of test images to attack and classify again. An evaluation of fewer images uses
            all of them.

    Raises:
        CourseError: nothing is recorded of the network; a weight file is missing or does not fit its card;
            or the data set is not the recorded one.
    """
    about, records, answers = _recorded(model)
    run = pipeline.start(**about["parameters"], networks="shipped")
    _check_images(run, about["data"])
    now = _answers_of(run, images)
    table = by_cell(records, about["parameters"]["eps"])
    for cell in answers:
        if cell not in table:
            raise CourseError(
                f"figures/results.json lacks the record {cell} of {model}; record the run again"
            )
    others = [r for r in records if r not in table.values()]
    return [
        *(_count_adds_up(r) for r in others),
        *(
            _fits_card(name, lambda name=name: robust_models.network(run, name)[2])
            for name in _robust_in(others)
        ),
        *(_fits_card(name, lambda name=name: search.card(run, name)) for name in _searched_in(others)),
        *(_counted(cell, table[cell], correct) for cell, correct in answers.items()),
        *(_repeated(cell, correct[: len(now[cell])], now[cell]) for cell, correct in answers.items()),
        *_autoattacked(run, images // STRONGER),
    ]


def _autoattacked(run: Run, images: int) -> Iterator[Finding]:
    """Check what is recorded of AutoAttack: each count, and the verdicts on the first images."""
    verdicts = autoattack.recorded_verdicts()
    for found in autoattack.recorded():
        if (found["model"], found["dataset"]) != (run.model, run.data.name):
            continue
        name, system, norm = autoattack.key_of(found), found["system"], found["norm"]
        if name not in verdicts:
            raise CourseError(f"figures/autoattack.npz lacks {name}; measure it again: make autoattack")
        yield _counted(f"autoattack/{name}", found, verdicts[name])
        n = min(images, len(verdicts[name]))
        if n and run.seed == found["seed"]:
            with _fresh_store():
                now = autoattack.measure(run, system, n, norm) == ""
            yield _repeated(f"autoattack/{name}", verdicts[name][:n], now)


def verify_author(folder: Path | None, images: int = 1000) -> list[Finding]:
    """Check what is recorded of the author's released pair.

    Args:
        folder: the author's two files. Without it, only the counts are checked.
        images: how many test images to attack and classify again.

    Raises:
        CourseError: the files are not the released ones, or recorded answers are missing.
    """
    section, answers = released_ladder.recorded(), released_ladder.recorded_answers()
    if not section:
        return []
    records = {released_ladder.name_of(record): record for record in section["records"]}
    if missing := set(records) - set(answers):
        raise CourseError(
            f"figures/author/answers.npz lacks {', '.join(sorted(missing))}; measure the author's networks "
            "again: python -m helpers author FOLDER"
        )
    found = [_counted(name, record, answers[name]) for name, record in records.items()]
    if folder is None:
        return found
    pair = released_pair.load(folder)
    with _fresh_store():
        now = released_ladder.of_the_tables(released_ladder.begin(), pair, images)
    names = [released_ladder.name_of(one.fields) for one in now]
    both = [(name, answers[name], one.correct) for name, one in zip(names, now, strict=True)]
    return [*found, *(_repeated(name, old[: len(new)], new[: len(old)]) for name, old, new in both)]


def _recorded(model: str) -> tuple[dict, list[dict], dict[str, np.ndarray]]:
    """Return what is recorded of a network: its run, its records, its answers by cell."""
    results = pipeline.recorded_results()
    if model not in results["runs"]:
        raise CourseError(
            f"no run of {model} is recorded; recorded are: {', '.join(results['runs']) or 'none'}"
        )
    answers = arrays.load_npz(settings.FIGURES / model / "answers.npz")
    return results["runs"][model], [r for r in results["records"] if r["model"] == model], answers


def _check_images(run: Run, recorded: dict) -> None:
    """Refuse other images than the recorded ones."""
    if any(run.data.provenance[key] != recorded[key] for key in ("dataset", "train", "validation", "test")):
        raise CourseError(
            f"these are other images ({run.data.name}) than those that {run.model} was recorded on"
        )
    if run.data.sha256 != recorded["sha256"]:
        # The same images come in several files: the archive, unpacked batches, archives made again from
        # pictures.
        settings.note(
            f"{run.model} was recorded on another copy of {run.data.name}; a few answers may differ"
        )


def _answers_of(run: Run, images: int) -> dict[str, np.ndarray]:
    """Attack and classify the first images again; return the answers by cell."""
    profile = run.profile
    smaller = replace(profile, n_test=min(images, profile.n_test), n_sweep=min(images, profile.n_sweep))
    small = replace(run, profile=smaller)
    with _fresh_store():
        found = pipeline.static_answers(small) + pipeline.aware_answers(small)
    return {answer.cell: answer.correct for answer in found}


def _count_adds_up(record: dict) -> Finding:
    """Compare a record's accuracy and interval with its own counts."""
    expected = evaluation.proportion(np.arange(record["n"]) < record["correct"])
    what = "/".join(record[key] for key in ("threat", "stage", "defense", "input"))
    what += f", eps {255 * record['eps']:.3g}/255, {record['steps']} steps"
    what += f": {record['correct']} of {record['n']}"
    holds = all(record[name] == value for name, value in expected.items())
    return Finding(what, f"{100 * record['accuracy']:.2f}%", f"{100 * expected['accuracy']:.2f}%", holds)


def _robust_in(records: list[dict]) -> list[str]:
    """Return the names of the robust networks that the records belong to."""
    named = {record["stage"] for record in records}
    named |= {"denoiser_25" for record in records if record["defense"] == "denoised_smoothing"}
    return sorted(named & set(robust_models.RECIPES))


def _searched_in(records: list[dict]) -> list[str]:
    """Return the names of the trained autoencoders of the search that the records belong to."""
    named = {
        record["defense"].removeprefix("ae:") for record in records if record["defense"].startswith("ae:")
    }
    return [name for name in ARCHITECTURES if name in named and ARCHITECTURES[name].trained]


def _fits_card(name: str, read: Callable[[], dict]) -> Finding:
    """Check that a network is there and is the one its card describes; ``read`` raises if it is not."""
    try:
        card = read()
    except CourseError as error:
        return Finding(f"{name}: weights", "as its card says", str(error), False)
    return Finding(f"{name}: weights", card["file_sha256"][:12], "the same", True)


def _counted(cell: str, record: dict, correct: np.ndarray) -> Finding:
    """Compare a record with the count of its recorded answers."""
    expected = evaluation.proportion(correct)
    holds = all(record[name] == value for name, value in expected.items())
    return Finding(
        f"{cell}: number", f"{100 * record['accuracy']:.2f}%", f"{100 * expected['accuracy']:.2f}%", holds
    )


def _repeated(cell: str, recorded: np.ndarray, now: np.ndarray) -> Finding:
    """Compare today's answers with the recorded ones, image by image."""
    differ, allowed = int((recorded != now).sum()), max(1, int(TOLERATED * len(now)))
    what = f"{cell}: first {len(now):,} images, {differ} differ of {allowed} allowed"
    return Finding(what, f"{100 * recorded.mean():.2f}%", f"{100 * now.mean():.2f}%", differ <= allowed)


@contextmanager
def _fresh_store() -> Iterator[None]:
    """Use an artifact store of its own, so that no earlier result is reused."""
    before = settings.ARTIFACTS
    with tempfile.TemporaryDirectory() as folder:
        settings.ARTIFACTS = Path(folder)
        try:
            yield
        finally:
            settings.ARTIFACTS = before
