"""The departures of the paper's released code: each changes one thing, and the audit reports all of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support import TINY as SMALLEST
from support import small_in_registry

from helpers import attacks, classifiers, defenses, evaluation, pipeline, settings, training
from helpers.backend import keras, tf
from helpers.datasets import storage
from helpers.evaluation.titles import INPUT_TITLES
from helpers.pipeline import protocol, tuning
from helpers.pipeline.protocol import Protocol
from helpers.plots import tables
from helpers.studies import deviations
from helpers.training import denoising, loop

TINY = replace(SMALLEST, n_validation=0, ae_epochs=1)


@pytest.fixture(scope="module")
def run(small_weights):
    with pytest.MonkeyPatch.context() as patch, small_in_registry():
        patch.setitem(settings.PROFILES, "smoke", TINY)
        yield pipeline.start("patches10", "small", "smoke", weights=str(small_weights))


FEW = ("raw_gradient", "clean_ae")
"""The departures that the tests run whole: one of the attack, one of what comes after it."""


@pytest.fixture(scope="module")
def found(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deviations, "VARIANTS", {name: deviations.VARIANTS[name] for name in FEW})
        patch.setattr(deviations, "SEEDS", 1)
        return deviations.audit(run)


def test_every_switch_has_a_variant_and_one_has_all():
    thrown = [set(p.changes()) for _, p in deviations.VARIANTS.values()]
    fields = set(Protocol.__dataclass_fields__)
    assert sorted(*map(list, [set.union(*thrown)])) == sorted(fields)
    assert thrown[-1] == fields and all(len(t) == 1 for t in thrown[:-1])
    assert Protocol().changes() == {}


@pytest.mark.slow
def test_the_raw_gradient_is_that_of_the_network_without_normalisation(run):
    images, labels = run.split("test").take()
    network = classifiers.network_of(run.classifier)
    with tf.GradientTape() as tape:
        x = tf.constant(images)
        tape.watch(x)
        loss = tf.reduce_sum(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, network(x, training=False))
        )
    by_hand = np.clip(images + run.eps * np.sign(tape.gradient(loss, x)), 0, 1)
    departing = pipeline.departing(run, Protocol(attack_normalises=False))
    stored = storage.to_float(pipeline.inputs(departing, "test", "fgsm"))
    assert (np.abs(stored - by_hand) > 1e-4).mean() < 0.02  # but for signs of gradients near zero
    own = storage.to_float(pipeline.inputs(run, "test", "fgsm"))
    assert (np.abs(stored - own) > 1e-4).mean() > 0.1


@pytest.mark.deep
def test_imagenets_statistics_normalise_attack_and_assessment(run):
    other = pipeline.departing(run, Protocol(statistics="imagenet"))
    images, _ = run.split("test").take()
    shifted = (images - protocol.IMAGENET_MEAN) / protocol.IMAGENET_STD
    expected = classifiers.network_of(run.classifier)(tf.constant(shifted, tf.float32), training=False)
    np.testing.assert_allclose(evaluation.predict(other.classifier, images), expected, atol=1e-3)
    tuned, _ = pipeline.fine_tuned(other)
    np.testing.assert_allclose(tuned.get_layer("normalize").mean, protocol.IMAGENET_MEAN)


def test_the_attacks_loss_is_handed_on(run, monkeypatch, another_store):
    losses = set()
    monkeypatch.setattr(attacks, "pgd", lambda m, x, y, *_, loss, **__: losses.add(loss) or x)
    another_store(settings.ARTIFACTS / "loss")
    pipeline.inputs(replace(run, protocol=Protocol(attack_loss="of_softmax")), "test", "pgd")
    assert losses == {"of_softmax"}


@pytest.mark.deep
def test_tuning_on_probabilities_is_kerass_loss_on_raw_outputs(run):
    images, labels = run.split("test").take()
    for on_logits in (True, False):
        model = classifiers.clone(run.classifier)
        logits = model(images, training=True).numpy().astype(np.float64)
        if on_logits:
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
        else:
            p = np.clip(logits / logits.sum(1, keepdims=True), 1e-7, 1 - 1e-7)
        expected = -np.log(p[np.arange(len(labels)), labels]).mean()
        step = training.classifier_step(model, keras.optimizers.SGD(0.0), on_logits=on_logits)
        assert float(step(tf.constant(images), tf.constant(labels))) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_the_best_on_test_images_is_kept(run, monkeypatch, another_store):
    """Of three epochs, the second is the last in which any test accuracy is the best so far."""
    scores = iter([[0.5] * 6, [0.4, 0.6, *[0.5] * 4], [0.5, 0.6, *[0.4] * 4]])
    another_store(settings.ARTIFACTS / "kept")
    departing = pipeline.departing(run, Protocol(selection="test"))
    departing = replace(departing, profile=replace(departing.profile, tune_epochs=3))
    seen, true = [], tuning.BestOnTest.__call__
    monkeypatch.setattr(
        tuning.BestOnTest, "__call__", lambda self: (seen.append(self._model.get_weights()), true(self))[1]
    )
    six = iter(lambda: None, 0)

    def is_correct(model, images, labels):
        nonlocal six
        value = next(six, None)
        if value is None:
            six = iter(next(scores))
            value = next(six)
        return np.arange(10) < 10 * value

    monkeypatch.setattr(evaluation, "is_correct", is_correct)
    model, _ = pipeline.fine_tuned(departing)
    for kept, second in zip(model.get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(kept, second)
    assert any((a != b).any() for a, b in zip(seen[1], seen[2], strict=True))


@pytest.mark.deep
def test_the_autoencoder_sees_clean_images_only_if_asked_to(run, monkeypatch, another_store):
    seen = []
    another_store(settings.ARTIFACTS / "clean")
    monkeypatch.setattr(
        training, "train_autoencoder", lambda m, samples, **_: seen.append(len(samples.sources)) or []
    )
    for clean in (False, True):
        pipeline.autoencoder(pipeline.departing(run, Protocol(autoencoder_sees_clean=clean)))
    assert seen == [2, 3]


def test_the_rate_drops_on_a_plateau():
    falling = [1 / (k + 1) for k in range(8)]
    assert training.rate_on_plateau(falling, 1e-3, 1e-4) == 1e-3
    flat = [*falling, *[0.5] * 5]
    assert training.rate_on_plateau(flat[:-1], 1e-3, 1e-4) == 1e-3
    assert training.rate_on_plateau(flat, 1e-3, 1e-4) == pytest.approx(2e-4)
    assert training.rate_on_plateau(flat + [0.5] * 20, 1e-3, 1e-4) == 1e-4


def test_the_plateau_rule_sets_the_optimisers_rate(tmp_path, monkeypatch):
    rates = []
    monkeypatch.setattr(denoising, "rate_on_plateau", lambda losses, *_: 1e-3 / (1 + len(losses)))

    def epoch(step, batches, done):
        rates.append(float(optimizers[0].learning_rate))
        return 0.5

    optimizers, adam = [], keras.optimizers.Adam
    monkeypatch.setattr(keras.optimizers, "Adam", lambda *a: optimizers.append(adam(*a)) or optimizers[-1])
    monkeypatch.setattr(loop, "one_epoch", epoch)
    samples = training.Samples([np.zeros((8, 32, 32, 3), np.uint8)], np.zeros((8, 32, 32, 3), np.uint8))
    model = defenses.build_autoencoder()
    options = dict(epochs=3, batch_size=8, rates=(1e-3, 1e-4), seed=0)
    training.train_autoencoder(model, samples, **options, folder=tmp_path, plateau=True)
    assert rates == pytest.approx([1e-3, 1e-3 / 2, 1e-3 / 3])


@pytest.mark.slow
def test_the_audit_has_a_row_for_each_departure_and_seed(found, run):
    assert [row["variant"] for row in found["rows"]] == ["course", *FEW, "seed_1", "attack_anew"]
    assert found["rows"][0]["records"] == pipeline.static_table(run)
    for row in found["rows"]:
        assert len(row["records"]) == len(row["differences"]) == 12
        for record, base, d in zip(
            row["records"], found["rows"][0]["records"], row["differences"], strict=True
        ):
            if record["n"] == base["n"]:
                assert d["points"] == pytest.approx(100 * (record["accuracy"] - base["accuracy"]))
            assert d["low"] <= d["points"] <= d["high"] or abs(d["points"]) == 100


@pytest.mark.slow
def test_only_the_attacks_departures_move_the_undefended_numbers(found):
    course, raw, clean, *_ = (
        [r for r in row["records"] if (r["stage"], r["defense"]) == ("initial", "none")]
        for row in found["rows"]
    )
    assert clean == course and raw[0] == course[0] and raw[1:] != course[1:]


@pytest.mark.slow
def test_attacks_made_anew_are_compared_on_their_own_images(found, run):
    last, static = found["rows"][-1], pipeline.static_answers(run)
    aware = {a.cell: a for a in pipeline.aware_answers(run)}
    k, cell = next((k, a) for k, a in enumerate(static) if a.cell == "static/fine_tuned/ae/pgd")
    anew = aware["adaptive/fine_tuned/ae/pgd"]
    assert last["records"][k] == anew.record() and last["records"][k]["n"] == 8
    expected = 100 * (anew.correct.mean() - cell.correct[:8].mean())
    assert last["differences"][k]["points"] == pytest.approx(expected)


@pytest.mark.slow
def test_an_audit_of_the_initial_classifier_trains_nothing(run, monkeypatch, another_store):
    monkeypatch.setattr(loop, "one_epoch", lambda *_, **__: pytest.fail("something was trained"))
    another_store(settings.ARTIFACTS / "initial")
    rows = deviations.audit(run, initial_only=True)["rows"]
    assert [row["variant"] for row in rows] == [
        "course",
        "raw_gradient",
        "imagenet",
        "softmax_attack",
        "all",
        "seed_1",
        "seed_2",
    ]
    assert all(len(row["records"]) == 3 for row in rows)


@pytest.mark.slow
def test_the_file_keeps_what_it_has_of_other_networks(found, tmp_path):
    file = tmp_path / "audit.json"
    deviations.write({"parameters": {"model": "sepreresnet56"}}, file)
    deviations.write(found, file)
    assert list(json.loads(file.read_text())) == ["sepreresnet56", "small"]


@pytest.mark.slow
def test_the_table_has_every_cell(found):
    table = tables.audit_table(found)
    assert table.shape == (4 * len(found["rows"]), 3) and not table.isna().any().any()
    first = found["rows"][1]["differences"][0]
    assert (
        table.iloc[4][INPUT_TITLES["regular"]]
        == f"{first['points']:+.1f} [{first['low']:+.1f}, {first['high']:+.1f}]"
    )


def audited(course, *others, n=1000):
    """An audit of one cell, by rows of title, kind and accuracy in percent."""
    fields = {"input": "pgd", "stage": "initial", "defense": "none"}

    def row(title, kind, accuracy):
        score = evaluation.proportion(np.arange(n) < round(n * accuracy / 100))
        points = accuracy - course
        differences = [{"points": points, "low": points - 1, "high": points + 1}]
        return {"title": title, "kind": kind, "records": [{**fields, **score}], "differences": differences}

    rows = [row("the course", "course", course), *(row(*other) for other in others)]
    return {"parameters": {"model": "resnet20"}, "rows": rows}


def test_what_moves_further_than_a_seed():
    audit = audited(
        50.0,
        ("one", "departure", 58.0),
        ("two", "departure", 53.0),
        ("three", "departure", 50.5),
        ("seed 1", "seed", 46.0),
        ("seed 2", "seed", 51.0),
    )
    words = tables.beside_seeds(audit)
    assert "by up to 4.0 points" in words  # another seed
    assert "one (1 of 1 cells, by up to 8.0 points)" in words and words.endswith("two, three.")
    audit["rows"][1]["differences"][0] |= {"low": -1.0}
    assert tables.beside_seeds(audit).endswith("one, two, three.")
