"""The list of departures: complete, and with the numbers of the records."""

import json
from dataclasses import fields

import numpy as np
import pytest

from helpers import evaluation, settings
from helpers.studies import departures, deviations, gap_explained


def effects(monkeypatch, folder):
    monkeypatch.setattr(settings, "FIGURES", folder)
    return departures.table()["effect on ResNet-20's table"]


def test_every_switch_of_the_audit_has_a_row():
    closures = [d.effect.__closure__ or () for d in departures.DEPARTURES]
    named = {cell.cell_contents for closure in closures for cell in closure}
    assert set(deviations.VARIANTS) | {deviations.ANEW[0]} <= named
    assert {"autoencoder", "base"} <= named & set(gap_explained.CAUSES)


def test_without_records_nothing_is_measured(tmp_path, monkeypatch):
    assert set(effects(monkeypatch, tmp_path)) == {departures.NOT_MEASURED}


def test_the_largest_effect_is_shown(tmp_path, monkeypatch):
    fields = {"dataset": "cifar10", "profile": "quick", "model": "resnet20", "defense": "ae", "seed": 0}
    cells = (("regular", "initial", 0.0, 0), ("pgd", "fine_tuned", settings.EPS, 10))
    records = [
        evaluation.record(
            np.ones(500, bool), **fields, input=kind, stage=stage, threat="static", eps=eps, steps=steps
        )
        for kind, stage, eps, steps in cells
    ]
    differences = [{"points": p, "low": p - 1, "high": p + 1} for p in (2.0, -7.0)]
    row = {"variant": "plateau", "title": "plateau", "kind": "departure"}
    row |= {"records": records, "differences": differences}
    audit = {"resnet20": {"parameters": {}, "data": {"dataset": "CIFAR-10"}, "rows": [row]}}
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    step = {"cause": "base", "input": "fgsm", "defense": "none", "n": 9000, "points": 3, "low": 2, "high": 4}
    (tmp_path / "gap.json").write_text(json.dumps({"resnet20": {"steps": [{"cause": "course"}, step]}}))
    found = effects(monkeypatch, tmp_path)
    assert "-7.0 points [-8.0, -6.0] (PGD, fine-tuned, with AE), quick run, n = 500" in found.iloc[7]
    assert "+3.0 points [+2.0, +4.0] (FGSM, initial, no AE), n = 9,000" in found["base networks"]
    assert found["normalisation"] == departures.NOT_MEASURED


def test_the_images_from_a_jpeg_are_left_out(tmp_path, monkeypatch):
    correct = np.ones(10_000, bool)
    correct[list(departures.JPEG_TEST)] = False
    (tmp_path / "one").mkdir()
    parameters = {"profile": "full", "dataset": "cifar10", "model": "resnet20", "seed": 0}
    run = {
        "parameters": parameters | {"weights": "course", "eps": settings.EPS},
        "data": {"dataset": "CIFAR-10", "sha256": ""},
    }
    (tmp_path / "results.json").write_text(json.dumps({"runs": {"one": run}, "records": []}))
    np.savez(tmp_path / "one" / "answers.npz", long=correct, short=correct[:2000])
    assert "more than 0.23 points" in effects(monkeypatch, tmp_path)["images"]


@pytest.mark.parametrize("departure", departures.DEPARTURES, ids=lambda d: d.what)
def test_a_row_fits_into_a_markdown_table(departure):
    words = [getattr(departure, field.name) for field in fields(departure) if field.name != "effect"]
    assert all(words) and not any("|" in word or "\n" in word for word in words)
