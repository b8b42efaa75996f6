"""What notebook 07 measures, on a few images of the stand-in data set."""

from dataclasses import replace

import numpy as np
import pytest
from support import small_in_registry

from helpers import classifiers, evaluation, pipeline, settings
from helpers.attacks import attack_ensemble
from helpers.defenses import autoencoder, smoothing, transformations
from helpers.settings import CourseError
from helpers.studies import baselines, robust_models, threat_ladder

N = 8


@pytest.fixture(scope="module")
def run(small_weights):
    with pytest.MonkeyPatch.context() as patch, small_in_registry():
        patch.setitem(
            attack_ensemble.EFFORTS,
            "quick",
            attack_ensemble.Effort(steps=2, restarts=1, classes=1, queries=3),
        )
        run = pipeline.start("patches10", "small", "smoke", weights=str(small_weights))
        yield replace(run, profile=replace(run.profile, n_ladder=N, n_certified=3, n_samples=30))


@pytest.mark.deep
def test_every_attack_meets_the_same_images(run):
    found = baselines.under_attack(run, "initial")
    assert list(found) == ["regular", "square", "pgd", "apgd", "worst_case"]  # PGD-100 is for full runs
    records = {name: answers.record() for name, answers in found.items()}
    assert {r["n"] for r in records.values()} == {N}
    assert records["regular"]["eps"] == 0 and records["pgd"]["eps"] == run.eps
    images, labels = run.data.test.head(N).take()
    np.testing.assert_array_equal(
        found["regular"].correct, evaluation.is_correct(run.classifier, images, labels)
    )
    for name in ("regular", "pgd", "apgd", "square"):
        assert not (found["worst_case"].correct & ~found[name].correct).any()
    assert found["pgd"].correct.sum() < found["regular"].correct.sum()


@pytest.mark.deep
def test_the_systems_are_what_their_titles_say(run, monkeypatch):
    pair = autoencoder.build_autoencoder()
    trained = classifiers.clone(run.classifier)
    joint = autoencoder.defended(pair, trained)
    networks = {"single_step": (trained, None, {}), "madry": (trained, None, {}), "joint": (joint, pair, {})}
    monkeypatch.setattr(robust_models, "network", lambda _, name: networks[name])
    own = autoencoder.build_autoencoder()
    monkeypatch.setattr(pipeline, "autoencoder", lambda _: (own, []))
    monkeypatch.setattr(pipeline, "fine_tuned", lambda _: (trained, []))
    for name, system in baselines.SYSTEMS.items():
        model, classifier = baselines.built(run, name)
        if system.defense == "none":
            assert model is classifier
        else:
            preprocessor = pair if name == "joint" else own
            images = run.data.test.take(2)[0]
            np.testing.assert_allclose(model(images), classifier(preprocessor(images)), atol=1e-5)
    with pytest.raises(CourseError, match="unknown system 'vit'; choose one of initial"):
        baselines.built(run, "vit")


@pytest.mark.deep
def test_certificates_are_kept_and_counted(run, monkeypatch):
    found, labels = baselines.certified(run, "initial")
    assert len(labels) == 3
    monkeypatch.setattr(smoothing, "certify", lambda *_, **__: pytest.fail("certified again"))
    again, _ = baselines.certified(run, "initial")
    np.testing.assert_array_equal(found.radii, again.radii)
    records = baselines.certified_records(run, "initial", [0.0, 0.1, 5.0])
    assert [r["correct"] for r in records] == [int(found.certified(labels, r).sum()) for r in (0.0, 0.1, 5.0)]
    assert [r["eps"] for r in records] == [0.0, 0.1, 5.0] and records[-1]["correct"] == 0


@pytest.mark.deep
@pytest.mark.parametrize("name", ["bit_depth", "blur"])
def test_simple_transformations_meet_both_attackers(run, name):
    found = baselines.transformed(run, name)
    assert {k: a.record()["threat"] for k, a in found.items()} == {
        "regular": "static",
        "static": "static",
        "adaptive": "adaptive",
    }
    images, labels = run.data.test.head(N).take()
    model = transformations.before(name, run.classifier)
    np.testing.assert_array_equal(found["regular"].correct, evaluation.is_correct(model, images, labels))
    assert found["adaptive"].correct.sum() <= found["regular"].correct.sum()


def test_costs_are_measured(run):
    cost = baselines.cost(run, "initial", n=8, rounds=2)
    assert cost["parameters"] == 1_962 and cost["minutes"] == 0 and 0 < cost["milliseconds"] < 1000


def test_rungs_are_the_ladder_s():
    assert set(baselines.RUNGS) <= set(threat_ladder.RUNGS)


def test_systems_whose_networks_are_not_there_are_left_out(run, monkeypatch):
    assert baselines.available(run) == ["initial"]  # the course ships no robust network of patches10
    monkeypatch.setattr(robust_models, "recorded", lambda _, name: name == "joint")
    assert baselines.available(run) == ["initial", "joint"]
    monkeypatch.setattr(robust_models, "recorded", lambda *_: True)
    assert baselines.available(run) == ["initial", "single_step"]  # a smoke run
    quick, everything = replace(run, profile=replace(run.profile, name="quick")), list(baselines.SYSTEMS)
    assert baselines.available(replace(quick, networks=settings.Networks.SHIPPED)) == everything
    assert baselines.available(quick) == [
        name for name in everything if name != "paper"
    ]  # it would be trained first


def answers(right, of=10, **fields):
    base = {
        "dataset": "patches10",
        "profile": "smoke",
        "model": "resnet20",
        "stage": "s",
        "defense": "none",
        "input": "pgd",
        "threat": "adaptive",
        "eps": 0.1,
        "steps": 1,
        "seed": 0,
    }
    return pipeline.Answers(base | fields, np.arange(of) < right)


def test_tables_hold_what_was_measured():
    found = {
        "initial": {"regular": answers(9), "pgd": answers(1), "worst_case": answers(0)},
        "joint": {"regular": answers(7), "square": answers(5), "pgd": answers(4), "worst_case": answers(3)},
    }
    table = baselines.attacks_table(found)
    assert {"no attack", "Square", "PGD-10", "worst case"} == set(table.columns)
    assert (
        table.loc["initial classifier", "Square"] == "–"
        and table.loc["initial classifier", "PGD-10"][:4] == "10.0"
    )
    cost = {"parameters": 276_269, "minutes": 31.4, "milliseconds": 1.234}
    compared = baselines.comparison_table(
        found, {"initial": cost, "joint": cost}, {"Somebody 2020": (78.91, 34.95)}
    )
    row = compared.loc["autoencoder and classifier trained together"]
    assert row["no attack"][:4] == "70.0" and row["worst case"][:4] == "30.0"
    assert tuple(row[["parameters", "minutes", "ms an image"]]) == ("276,269", "31", "1.23")
    assert tuple(compared.loc["Somebody 2020 (AutoAttack)"]) == ("78.91", "34.95", "–", "–", "–")
    simple = baselines.transformations_table(
        {"blur": {"regular": answers(9), "static": answers(6), "adaptive": answers(2)}}
    )
    assert [cell[:4] for cell in simple.loc["Gaussian blur, 0.7 pixels"]] == ["90.0", "60.0", "20.0"]
    assert list(simple.columns) == ["no attack", "PGD-10, transfer", "PGD-10, end-to-end"]
    curve = [answers(right, eps=r).record() for right, r in ((8, 0.0), (5, 0.25), (2, 0.5))]
    certificates = baselines.certificates_table({"noise_25": curve}, [0, 0.5])
    assert list(certificates.columns) == ["r = 0.00", "r = 0.50"]
    assert [cell[:4] for cell in certificates.iloc[0]] == ["80.0", "20.0"]


def test_the_readme_has_a_line_for_each_system_that_is_recorded():
    def record(hits, n=10, model="resnet20", eps=settings.EPS, **fields):
        same = {
            "dataset": "cifar10",
            "profile": "full",
            "model": model,
            "threat": "adaptive",
            "steps": 0,
            "seed": 0,
        }
        return evaluation.record(np.arange(n) < hits, **same, eps=eps, **fields)

    paper = {"stage": "fine_tuned", "defense": "ae"}
    joint = {"stage": "joint", "defense": "ae"}
    records = [
        record(16, 20, **paper, input="regular", eps=0.0),
        record(0, **paper, input="worst_case"),
        record(
            7, stage="initial", defense="none", input="regular", eps=0.0
        ),  # its worst case is not recorded
        record(8, **joint, input="regular", eps=0.0),
        record(5, **joint, input="worst_case", eps=4 / 255),
    ]
    results = {"runs": {"resnet20": {}, "sepreresnet56": {}}, "records": records}
    assert baselines.readme_table(results) == ""  # nothing to compare with what the paper has
    records += [
        record(3, **joint, input="worst_case"),
        record(9, model="sepreresnet56", **joint, input="worst_case"),
    ]
    lines = baselines.readme_table(results).splitlines()
    assert len(lines) == 7  # the text, and a table of a header and three rows
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]]
    assert rows[0][1:] == ["80.0 [58.4, 91.9], n = 20", "0.0 [0.0, 27.8], n = 10"]
    assert rows[1][1:] == ["80.0 [49.0, 94.3], n = 10", "30.0 [10.8, 60.3], n = 10"]
    assert "Jang et al. 2019, ResNet-20" in rows[2][0] and rows[2][1:] == ["78.91", "34.95"]
