"""The search for the autoencoder: training, shipping and measuring, on a few stand-in images."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import attacks, classifiers, evaluation, pipeline, settings, training
from helpers.artifacts import provenance
from helpers.backend import keras
from helpers.cli.app import main
from helpers.datasets import storage
from helpers.defenses import architectures, autoencoder, codebook
from helpers.defenses.architectures import ARCHITECTURES, Architecture
from helpers.settings import CourseError
from helpers.studies import search
from helpers.studies.search import SearchRecipe
from helpers.training import loop

pytestmark = pytest.mark.deep

SHORT = SearchRecipe(images=64, epochs=1, validated=12, attacked=6)
CARDS = sorted(settings.WEIGHTS.glob("*/search/*.json"))


@pytest.fixture(scope="module")
def started():
    run = pipeline.start("patches10", "resnet20", "smoke")
    return replace(run, profile=replace(run.profile, n_test=16, n_sweep=8))


@pytest.fixture
def run(started, tmp_path, monkeypatch):
    """A run on few images, with a weights folder of its own and a network of its own in it."""
    shutil.copytree(settings.WEIGHTS / "patches10", tmp_path / "weights" / "patches10")
    shutil.rmtree(tmp_path / "weights" / "patches10" / "search", ignore_errors=True)
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path / "weights")
    return started


# ----------------------------------------------------------------------------------------------- training and
# shipping


@pytest.mark.slow
@pytest.mark.parametrize("name", ["d3_c8", "vq_vae"])
def test_what_is_made_is_loaded(run, name):
    card = search.make(run, name, SHORT)
    file = search.file_of(run, name)
    assert (
        json.loads(file.with_suffix(".json").read_text())
        == json.loads(json.dumps(card))
        == search.card(run, name)
    )
    model, again = search.trained(run, name, SHORT)[0], search.network(run, name)
    assert classifiers.weights_sha256(again) == classifiers.weights_sha256(model) == card["weights_sha256"]
    untrained = ARCHITECTURES[name].build()
    assert not np.array_equal(again.get_layer("image").kernel, untrained.get_layer("image").kernel)
    if name == "vq_vae":
        assert np.abs(codebook.codebook_of(again).vectors).max() > 0  # no optimiser trains it, and it is kept
    assert (
        card["latent"] == ARCHITECTURES[name].latent and card["recipe"]["epochs"] == len(card["history"]) == 1
    )
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CourseError, match=f"resnet20_{name}.h5 is not the one its card describes"):
        search.network(run, name)


def test_what_is_not_there_is_named_with_the_command_that_makes_it(run):
    command = "python -m helpers search d2_c4 --dataset patches10 --model resnet20"
    for ask in (search.network, search.card):
        with pytest.raises(CourseError, match=f"patches10/search/resnet20_d2_c4.h5; train it: {command}"):
            ask(run, "d2_c4")
        with pytest.raises(CourseError, match="unknown autoencoder 'nvae'; choose one of d1_c2"):
            ask(run, "nvae")
    with pytest.raises(CourseError, match="blur has nothing to train"):
        search.make(run, "blur")
    assert search.network(run, "blur").count_params() == 0


@pytest.mark.slow
def test_a_network_for_another_classifier_is_refused(run, monkeypatch):
    monkeypatch.setattr(search, "RECIPE", SHORT)
    search.make(run, "d3_c8", SHORT)
    assert search.available(run) == ["d3_c8", "blur"]
    other = replace(run, classifier=classifiers.build("resnet20", run.data.mean, run.data.std))
    with pytest.raises(CourseError, match="another initial classifier .*python"):
        search.network(other, "d3_c8")
    assert search.available(other) == ["blur"] == search.available(replace(run, eps=4 / 255))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"recipe": search.asdict(replace(SHORT, epochs=2))}], ids=str
)
@pytest.mark.slow
def test_a_network_of_another_seed_or_recipe_is_left_out(run, monkeypatch, change):
    monkeypatch.setattr(search, "RECIPE", SHORT)
    search.make(run, "d3_c8", SHORT)
    card = search.file_of(run, "d3_c8").with_suffix(".json")
    assert search.available(run) == ["d3_c8", "blur"]
    card.write_text(json.dumps({**json.loads(card.read_text()), **change}))
    assert search.available(run) == ["blur"]


@pytest.mark.slow
def test_attacked_images_are_shared_and_validation_images_are_not_trained_on(run, monkeypatch):
    few = replace(run.data, train=run.data.train.head(40), validation=run.data.validation.head(6))
    run = replace(run, data=few)
    recipe = replace(SHORT, images=50_000, validated=1_000)
    on = search.on_recipe(run, recipe)
    np.testing.assert_array_equal(pipeline.inputs(on, "train", "regular"), few.train.pixels)
    assert len(pipeline.inputs(on, "validation", "regular")) == 6
    search.trained(run, "d3_c8", recipe)
    monkeypatch.setattr(attacks, "pgd", lambda *_, **__: pytest.fail("attacked again"))

    def stored() -> set[Path]:
        return set(settings.ARTIFACTS.glob("*/*.npz"))

    before = stored()
    search.trained(run, "d2_c2", recipe)
    after = stored()
    assert len(after - before) == 1
    search.trained(run, "d2_c2", recipe)
    assert stored() == after


def test_what_is_trained_on(run, monkeypatch, another_store):
    """Each image as it is and attacked both ways, and the original as the target."""
    seen = []
    another_store(settings.ARTIFACTS / "seen")
    monkeypatch.setattr(
        training, "train_autoencoder", lambda _, samples, **options: seen.append((samples, options)) or []
    )
    search.trained(run, "paper", replace(SHORT, images=8))
    ((samples, options),) = seen
    clean = run.data.train.head(8).pixels
    np.testing.assert_array_equal(samples.targets, clean)
    np.testing.assert_array_equal(samples.sources[0], clean)
    for attacked in samples.sources[1:]:
        change = np.abs(storage.to_float(attacked) - storage.to_float(clean))
        assert 0 < change.max() <= run.eps + 1e-5
    assert len(samples.sources) == 3 and not np.array_equal(*samples.sources[1:])
    assert (options["epochs"], options["batch_size"], options["rates"]) == (1, 32, (5e-3, 5e-4))


@pytest.mark.slow
def test_stopped_and_started_again_it_ends_with_the_same_weights(run, tmp_path, monkeypatch, another_store):
    """With a codebook, whose state no optimiser has."""
    recipe = replace(SHORT, epochs=2)

    def trained_in(folder):
        another_store(tmp_path / folder)
        return classifiers.weights_sha256(search.trained(run, "vq_vae", recipe)[0])

    expected, one_epoch, calls = trained_in("whole"), loop.one_epoch, []

    def stop_in_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return one_epoch(*arguments)

    monkeypatch.setattr(loop, "one_epoch", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        trained_in("stopped")
    assert trained_in("stopped") == expected and len(calls) == 3


@pytest.mark.slow
def test_one_entry_adds_an_autoencoder(run, monkeypatch):
    def build():
        return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(3, 1, activation="sigmoid")])

    monkeypatch.setattr(search, "RECIPE", SHORT)
    monkeypatch.setitem(ARCHITECTURES, "colours", Architecture("colours alone", build, 3072, 0))
    card = search.make(run, "colours", SHORT)
    assert card["parameters"] == 12 and "colours" in search.available(run)
    records = [a.record() for a in search.assessed(run, "colours", search.network(run, "colours")).values()]
    assert {r["defense"] for r in records} == {"ae:colours"} and len(records) == 4


@pytest.mark.slow
def test_candidates_are_the_shipped_or_a_few_trained_here(run, monkeypatch):
    monkeypatch.setattr(search, "LIVE", SHORT)
    monkeypatch.setattr(search, "RECIPE", replace(SHORT, epochs=2))
    monkeypatch.setattr(search, "FEW", ("d3_c8", "paper", "blur"))
    quick = replace(run, profile=replace(run.profile, name="quick"))

    def epochs(asked):
        return {name: len(one.card.get("history", ())) for name, one in search.candidates(asked).items()}

    few = {"d3_c8": 1, "paper": 1, "blur": 0}
    assert epochs(run) == few
    for name in ("d2_c2", "paper"):  # one or two are nothing to compare, be they of FEW or not
        search.make(run, name, search.RECIPE)
        assert epochs(run) == epochs(quick) == few and not search.is_shipped(run)
    search.make(run, "d3_c8", search.RECIPE)
    assert epochs(run) == {"paper": 2, "d3_c8": 2, "blur": 0} and search.is_shipped(
        run
    )  # a smoke run takes FEW's
    assert epochs(quick) == {"d2_c2": 2, "paper": 2, "d3_c8": 2, "blur": 0}
    assert search.candidates(quick)["d2_c2"].card == search.card(run, "d2_c2")


def test_a_try_is_measured_on_few_images(run):
    full = replace(run, profile=settings.PROFILES["full"])
    tried, smoke = search.tryout(full).profile, settings.PROFILES["smoke"]
    assert (tried.n_test, tried.n_sweep) == (smoke.n_test, smoke.n_sweep) and tried.name == "full"
    assert search.tryout(run).profile == run.profile, "fewer stay fewer"


@pytest.mark.slow
def test_the_command_trains_what_it_is_asked_for(run, monkeypatch, capsys):
    asked = []
    card = {
        "latent": 3072,
        "parameters": 5,
        "minutes": 0.5,
        "validation": {"regular": {"n": 1000, "accuracy": 0.5}},
    }
    monkeypatch.setattr(pipeline, "start", lambda *arguments, seed: asked.append((arguments, seed)))
    monkeypatch.setattr(search, "make", lambda _, name: asked.append(name) or card)
    assert main(["search", "unet", "--dataset", "patches10", "--seed", "3"]) == 0
    assert asked == [(("patches10", "resnet20"), 3), "unet"]
    assert "unet: 3,072 numbers, 5 parameters, 0.5 minutes; 1,000 validation images: regular 50.0%" in (
        capsys.readouterr().out
    )
    asked.clear()
    assert main(["search", "all"]) == 0
    assert asked[1:] == [name for name, one in ARCHITECTURES.items() if one.trained]


# ----------------------------------------------------------------------------------------------------------
# measuring


@pytest.mark.slow
def test_validation_scores_are_of_validation_images(run):
    keras.utils.set_random_seed(0)
    model = autoencoder.build_autoencoder()
    found = search.about(run, "paper", model, SHORT)
    split, held_out = run.data.validation.head(12), search.on_recipe(run, SHORT)
    clean = split.take()[0]
    behind = autoencoder.defended(model, run.classifier)
    for kind in ("regular", "fgsm", "pgd"):
        images = storage.to_float(pipeline.inputs(held_out, "validation", kind))
        assert found["mse"][kind] == pytest.approx(np.mean((model(images).numpy() - clean) ** 2), rel=1e-4)
        assert (
            found["validation"][kind]["correct"] == evaluation.is_correct(behind, images, split.labels).sum()
        )
    assert found["validation"]["regular"]["n"] == 12 and found["validation"]["adaptive"]["n"] == 6
    assert found["parameters"] == 3_795 and found["latent"] == 512


@pytest.mark.slow
def test_test_images_are_assessed_behind_the_autoencoder(run):
    found = search.assessed(run, "blur", search.network(run, "blur"), ("pgd", "bpda"))
    records = {name: answers.record() for name, answers in found.items()}
    assert list(records) == ["regular", "fgsm", "pgd", "adaptive", "bpda"]
    assert [r["n"] for r in records.values()] == [16, 16, 16, 8, 8]
    assert [(r["input"], r["threat"], r["steps"]) for r in records.values()] == [
        ("regular", "static", 0),
        ("fgsm", "static", 1),
        ("pgd", "static", 10),
        ("pgd", "adaptive", 10),
        ("bpda", "adaptive", 10),
    ]
    assert {r["defense"] for r in records.values()} == {"ae:blur"} and records["regular"]["eps"] == 0
    model = search.network(run, "blur")
    behind, labels = autoencoder.defended(model, run.classifier), run.split("test").labels
    for kind in ("regular", "fgsm", "pgd"):
        images = pipeline.inputs(run, "test", kind)
        np.testing.assert_array_equal(found[kind].correct, evaluation.is_correct(behind, images, labels))
    images, labels = run.data.test.take(8)
    moved = attacks.pgd(behind, images, labels, run.eps, step_size=0.01, steps=10, seed=run.seed)
    by_hand = evaluation.is_correct(behind, moved, labels)
    assert (
        found["adaptive"].correct != by_hand
    ).sum() <= 1  # the search's aims at the folded copy, which rounds
    with pytest.raises(CourseError, match="unknown attack apgd; choose from pgd, bpda"):
        search.assessed(run, "blur", model, ("apgd",))


@pytest.mark.slow
def test_models_without_weights_are_kept_apart(run, monkeypatch):
    """Two blurs have the same checksum, that of no weights, and must not be given each other's results."""
    wide = Architecture(
        "wide",
        lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.AveragePooling2D(31, 1, "same")]),
        3072,
        0,
        trained=False,
    )
    monkeypatch.setitem(ARCHITECTURES, "wide", wide)
    narrow = search.assessed(run, "blur", search.network(run, "blur"))
    found = search.assessed(run, "wide", search.network(run, "wide"))
    assert found["regular"].correct.sum() < narrow["regular"].correct.sum()
    assert not np.array_equal(found["adaptive"].correct, narrow["regular"].correct[:8])


@pytest.mark.slow
def test_the_two_attacks_on_a_quantiser_differ(run):
    keras.utils.set_random_seed(0)
    model = architectures.vq_vae(codes=16, channels=8)
    images, labels = run.data.test.take(6)
    model(images, training=True)
    moved = [
        attacks.fgsm(search.end_to_end(model, run.classifier, kind), images, labels, run.eps)
        for kind in ("pgd", "bpda")
    ]
    past = attacks.input_gradient(
        run.classifier, model(images), labels
    )  # at what the autoencoder made of the images
    expected = np.clip(images + run.eps * np.sign(past), 0, 1)
    assert (np.abs(moved[1] - expected) < 1e-6).mean() > 0.999
    assert (np.abs(moved[0] - expected) > 1e-3).mean() > 0.1


# ------------------------------------------------------------------------------------------------------ what
# is shipped


@pytest.mark.parametrize("card", CARDS, ids=lambda path: f"{path.parents[1].name}/{path.stem}")
def test_shipped_weights_are_their_cards(card):
    about = classifiers.card_of(card.with_suffix(".h5"))
    assert about["file_sha256"] == provenance.sha256_of(card.with_suffix(".h5"))
    architecture = ARCHITECTURES[about["name"]]
    model = architecture.build()
    model.load_weights(str(card.with_suffix(".h5")))
    assert (
        classifiers.weights_sha256(model) == about["weights_sha256"]
        and about["latent"] == architecture.latent
    )
    assert json.loads(json.dumps(about["recipe"])) == json.loads(json.dumps(search.asdict(search.RECIPE)))
