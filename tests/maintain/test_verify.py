"""What make verify finds, without networks: the recorded answers and today's are given to it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import evaluation, pipeline, settings
from helpers.cli.app import main
from helpers.maintain import record, verify
from helpers.settings import CourseError

PARAMETERS = {"profile": "smoke", "dataset": "patches10", "model": "resnet20", "seed": 0}
PARAMETERS |= {"weights": "course", "eps": 8 / 255}
DATA = {"dataset": "toys", "train": 4, "validation": 2, "test": 200, "sha256": "0" * 64}


def record_of(correct, **changes):
    fields = {"dataset": "patches10", "profile": "smoke", "model": "resnet20", "seed": 0, "threat": "static"}
    fields |= {"stage": "initial", "defense": "none", "input": "pgd", "eps": 8 / 255, "steps": 10}
    return evaluation.record(correct, **(fields | changes))


class Recorded:
    """A recorded run of three cells and one record without answers; ``write`` records it with changes."""

    def __init__(self):
        rng = np.random.default_rng(0)
        clean = {"input": "regular", "eps": 0, "steps": 0}
        changes = [{}, clean, {"stage": "fine_tuned", "defense": "ae", "threat": "adaptive"}]
        correct = [rng.random(200) < share for share in (0.1, 0.9, 0.4)]
        self.records = [record_of(c, **change) for c, change in zip(correct, changes, strict=True)]
        cells = [pipeline.Answers(r, np.empty(0)).cell for r in self.records]
        self.answers = dict(zip(cells, correct, strict=True))
        self.today = {cell: c[:100].copy() for cell, c in self.answers.items()}
        self.records.append(record_of(rng.random(50) < 0.5, steps=40))
        self.data = dict(DATA)

    def write(self):
        runs = {"resnet20": {"parameters": PARAMETERS, "data": self.data}}
        results = {"runs": runs, "records": self.records}
        (settings.FIGURES / "results.json").write_text(json.dumps(results))
        (settings.FIGURES / "resnet20").mkdir(exist_ok=True)
        (settings.FIGURES / "resnet20" / "answers.npz").write_bytes(record.packed(self.answers))

    def failed(self):
        self.write()
        return [finding.what for finding in verify.verify("resnet20") if not finding.holds]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    found = Recorded()
    monkeypatch.setattr(settings, "FIGURES", tmp_path)
    data = SimpleNamespace(name="toys", sha256=DATA["sha256"], provenance=DATA)
    monkeypatch.setattr(pipeline, "start", lambda **_: SimpleNamespace(model="resnet20", data=data))
    monkeypatch.setattr(verify, "_answers_of", lambda *_: found.today)
    return found


def test_what_holds_is_said_to_hold(recorded, capsys):
    assert recorded.failed() == []
    assert main(["verify"]) == main(["verify", "--model", "resnet20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (1 + 2 * 3 + 1) and all(line.startswith(("ok", "all")) for line in lines)


@pytest.mark.parametrize("number", range(4))
def test_a_number_that_is_off_is_found(recorded, capsys, number):
    recorded.records[number]["accuracy"] += 0.01
    assert len(recorded.failed()) == 1
    assert main(["verify"]) == 1
    printed = capsys.readouterr().out
    assert sum(line.startswith("FAIL") for line in printed.splitlines()) == 1 and "\n1 of" in printed


def test_a_share_of_the_answers_may_differ(recorded):
    cell, correct = next(iter(recorded.today.items()))
    correct[:1] ^= True
    assert recorded.failed() == []
    correct[1:2] ^= True
    (what,) = recorded.failed()
    assert what.startswith(cell) and "2 differ of 1 allowed" in what


def test_a_record_that_is_missing_is_named(recorded):
    del recorded.records[1]
    recorded.write()
    with pytest.raises(CourseError, match="static/initial/none/regular"):
        verify.verify("resnet20")


@pytest.mark.parametrize(
    "fields, name", [({"stage": "madry"}, "madry"), ({"defense": "ae:d2_c16"}, "d2_c16")]
)
def test_a_network_of_another_notebook_is_held_to_its_card(recorded, monkeypatch, fields, name):
    """Whoever reads the card of a missing or damaged network raises."""
    card = {"file_sha256": "1" * 64}
    monkeypatch.setattr(verify.robust_models, "network", lambda *_: (None, None, card))
    monkeypatch.setattr(verify.search, "card", lambda *_: card)
    recorded.records.append(record_of(np.arange(50) < 9, steps=7, **fields))
    assert recorded.failed() == []

    def refuse(*_):
        raise CourseError("it is not there")

    monkeypatch.setattr(verify.robust_models, "network", refuse)
    monkeypatch.setattr(verify.search, "card", refuse)
    assert recorded.failed() == [f"{name}: weights"]


def test_another_copy_of_the_images_is_noted_and_other_images_are_refused(recorded, capsys):
    recorded.data["sha256"] = "2" * 64
    assert recorded.failed() == [] and "another copy of toys" in capsys.readouterr().err
    recorded.data["test"] = 300
    with pytest.raises(CourseError, match="other images"):
        recorded.failed()


def test_what_is_not_recorded_is_named(recorded, capsys):
    recorded.write()
    assert main(["verify", "--model", "sepreresnet56"]) == 2
    line = capsys.readouterr().err
    assert "sepreresnet56" in line and "resnet20" in line
    (settings.FIGURES / "results.json").unlink()
    assert main(["verify"]) == 2
