"""One entry adds a network: it is built, attacked, trained, shipped and tabulated like the paper's."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from support import TINY

from helpers import artifacts, classifiers, datasets, evaluation, pipeline, plots, settings, training
from helpers.backend import keras, tf
from helpers.classifiers import efficientnet, registry
from helpers.classifiers.registry import MODELS, Beginning, Network, Round
from helpers.cli.app import main
from helpers.evaluation import titles
from helpers.pipeline import base_recipes, published, train_base
from helpers.plots import tables
from helpers.settings import CourseError
from helpers.sweeps import cost
from helpers.sweeps.jobs import Training
from helpers.training import augmentation


def small() -> keras.Model:
    """The network of the added entry."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(8, 3, strides=4),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


@pytest.fixture
def added(monkeypatch):
    """A fourth network, by one entry."""
    entry = Network("Small", small, {"patches10": 2}, averaging_epochs=1, peak_rate=0.02, second_phase=True)
    monkeypatch.setitem(registry.MODELS, "small", entry)
    monkeypatch.setitem(settings.PROFILES, "smoke", TINY)
    return entry


@pytest.mark.deep
def test_an_added_network_goes_through_the_papers_steps(added):
    run = pipeline.start("patches10", "small", "smoke", weights="none")
    assert run.classifier.name == "small" and pipeline.for_attack(run.classifier).name == "small"
    static, aware = pipeline.static_table(run), pipeline.aware_table(run)
    assert {r["model"] for r in static + aware} == {"small"}
    assert {(r["input"], r["stage"], r["defense"]) for r in static} == set(titles.CELLS)
    assert [h["phase"] for h in pipeline.fine_tuned(run)[1]] == [1, 2]  # its entry asks for the second


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A data set so small that it is trained on in seconds, and a folder of its own for what is shipped."""
    data = datasets.load("patches10")
    data = replace(
        data, train=data.train.head(256), validation=data.validation.head(16), test=data.test.head(16)
    )
    monkeypatch.setattr(datasets, "load", lambda _: data)
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    return data


@pytest.mark.slow
def test_an_added_network_is_trained_as_its_entry_says_and_shipped(added, few, tmp_path, monkeypatch):
    rates, cycle = [], training.OneCycle
    monkeypatch.setattr(
        base_recipes, "OneCycle", lambda peak, *rest: rates.append(peak) or cycle(peak, *rest)
    )
    card = train_base.make("patches10", "small")
    assert (card["epochs"], card["averaging"]["epochs"], len(card["history"])) == (2, 1, 3)
    assert rates == [0.02] == [card["recipe"]["peak_rate"]]
    assert card["network"] == "helpers.networks.small"
    assert json.loads((tmp_path / "patches10" / "small.json").read_text()) == json.loads(json.dumps(card))
    again = classifiers.load("small", few)
    assert classifiers.weights_sha256(again) == card["weights_sha256"]
    assert [(part.name, part.epochs) for part in train_base.parts_of(card)] == [
        ("recipe", 2),
        ("averaging", 1),
    ]


@pytest.mark.slow
def test_a_second_round_goes_on_from_the_averaged_weights(added, few, monkeypatch):
    entry = replace(
        added, second_round={"patches10": Round(3, 2, "it was not enough"), "cifar10": Round(9, 9, "")}
    )
    monkeypatch.setitem(registry.MODELS, "small", entry)
    parts, cut, cut_out = [], [], training.cut_out
    monkeypatch.setattr(augmentation, "cut_out", lambda *given: cut.append(len(parts)) or cut_out(*given))

    def watched(train):
        def part(network, *rest, **how):
            parts.append((classifiers.weights_sha256(network), how["seed"]))
            return train(network, *rest, **how)

        return part

    for name in ("train_classifier", "average_weights"):
        monkeypatch.setattr(base_recipes, name, watched(getattr(base_recipes, name)))
    first = train_base.make("patches10", "small", seed=7, epochs=2)
    assert "second_round" not in first and len(parts) == 2
    card = train_base.make("patches10", "small", seed=7)
    assert len(parts) == 4  # the first round was there already
    assert parts[2] == (first["weights_sha256"], 9) and [seed for _, seed in parts] == [7, 8, 9, 10]
    assert set(cut) == {2, 3, 4}  # no cutout in the first cycle
    assert (
        card["second_round"]["why"] == "it was not enough"
        and card["weights_sha256"] != first["weights_sha256"]
    )
    assert [(part.name, part.epochs) for part in train_base.parts_of(card)] == [
        ("recipe", 2),
        ("averaging", 1),
        ("second cycle", 3),
        ("averaging again", 2),
    ]
    assert [
        part.recipe["augmentation"].endswith("cutout of 8 x 8") for part in train_base.parts_of(card)
    ] == [0, 1, 1, 1]
    assert [h["epoch"] for h in card["history"]] == [1, 2, 1, 1, 2, 3, 1, 2]
    assert card["history"][:3] == first["history"]


@pytest.mark.slow
@pytest.mark.parametrize("installed", [True, False])
def test_an_added_network_begins_elsewhere_where_that_is_installed(
    added, few, monkeypatch, capsys, installed
):
    def fill(network: keras.Model) -> None:
        network.layers[-1].set_weights([np.full((512, 10), 0.25), np.full(10, 0.25)])

    beginning = Beginning(
        lambda: "numbers, sha256 12ab" if installed else None,
        fill,
        "pip install numbers",
        1,
        0.03,
        {"epochs": 1, "rate": 0.004, "first_averaged": 0},
    )
    monkeypatch.setitem(registry.MODELS, "small", replace(added, begins_with=beginning))
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    configs, make = [], artifacts.make
    monkeypatch.setattr(
        artifacts, "make", lambda kind, config, *rest: configs.append(config) or make(kind, config, *rest)
    )
    begun, train = [], base_recipes.train_classifier
    monkeypatch.setattr(
        base_recipes,
        "train_classifier",
        lambda network, *rest, **more: begun.append(network.get_weights()) or train(network, *rest, **more),
    )
    card, told = train_base.make("patches10", "small"), capsys.readouterr().err
    expected = "numbers, sha256 12ab" if installed else "random weights"
    assert card["begins_with"] == expected and [c["begins_with"] for c in configs] == [expected] * 2
    assert [bool((weights[-1] == 0.25).all()) for weights in begun] == [installed]
    assert (card["epochs"], card["recipe"]["peak_rate"]) == ((1, 0.03) if installed else (2, 0.02))
    assert (card["averaging"]["rate"], card["averaging"]["first_averaged"]) == (
        (0.004, 0) if installed else (0.03, 4)
    )
    assert f"Small begins with {expected}, {card['epochs']} epochs" in told
    assert ("1 epochs would do after: pip install numbers" in told) is not installed


@pytest.mark.slow
def test_the_papers_networks_are_trained_under_the_same_key_each_time(tmp_path, monkeypatch):
    """Compare the whole configuration, to the byte, because another one would train the networks again."""

    class Found(Exception):
        pass

    def stop(kind, config, *rest):
        raise Found(kind, json.dumps(config))

    monkeypatch.setattr(artifacts, "make", stop)
    monkeypatch.setattr(settings, "training_precision", lambda: "float32")
    data = datasets.load("patches10")
    for name in published.PAPER:
        with pytest.raises(Found) as found:
            train_base.make("patches10", name, seed=3)
        assert found.value.args == (
            "base",
            f'{{"data": "{data.sha256}", "model": "{name}", "seed": 3, "epochs": 12, '
            '"recipe": {"optimizer": "SGD, Nesterov 0.9", '
            '"batch_size": 128, "peak_rate": 0.1, "warm_up": 0.1, "weight_decay": 0.0005, '
            '"label_smoothing": 0.0, "augmentation": "crop after padding by 4, mirror"}, '
            '"precision": "float32", '
            f'"code": "{artifacts.code_version(training, base_recipes, classifiers)}"}}',
        )


def test_the_registry_needs_no_tensorflow():
    code = (
        "import sys, helpers.classifiers.registry; "
        "assert not {'tensorflow', 'tf_keras', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=settings.ROOT)


def test_networks_of_the_paper_keep_their_recipe():
    assert {MODELS[name].peak_rate for name in published.PAPER} == {base_recipes.BASE_RECIPE["peak_rate"]}
    assert {name: MODELS[name].averaging_epochs for name in published.PAPER} == {
        "resnet20": 25,
        "sepreresnet56": 15,
    }
    assert {name: set(MODELS[name].second_round) for name in MODELS if MODELS[name].second_round} == {
        "sepreresnet56": {"cifar10"}
    }
    assert {name: MODELS[name].table for name in MODELS} == {
        "resnet20": 2,
        "sepreresnet56": 3,
        "efficientnet_b0": None,
    }
    assert set(published.PAPER) == {name for name, network in MODELS.items() if network.table}


def test_tables_of_a_network_that_is_not_in_the_paper_have_no_numbers_of_it(added):
    records = [
        evaluation.record(
            np.arange(10) < 7,
            dataset="cifar10",
            profile="full",
            model="small",
            stage=stage,
            defense=defense,
            input=kind,
            threat="static",
            eps=8 / 255 if kind != "regular" else 0.0,
            steps={"fgsm": 1, "pgd": 10}.get(kind, 0),
            seed=0,
        )
        for kind, stage, defense in titles.CELLS
    ]
    frame = tables.paper_table(records, "small", comparable=True)
    assert list(frame.columns) == ["this run [95% interval]", "recorded full run"] and len(frame) == 12
    assert set(frame["this run [95% interval]"]) == {titles.percent(records[0])}
    results = {
        "runs": {"small": {"parameters": {"profile": "full", "seed": 0, "eps": 8 / 255}}},
        "records": records,
    }
    text = tables.readme_table(results)
    assert "**Small** (in none of the paper's tables): recorded full run" in text
    assert text.count("| 70.0 [") == 12 and "None" not in text and "| paper |" not in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1, text
    other_n = {
        **records[0],
        "input": "noise",
        "steps": 0,
        "n": 7,
    }  # of another notebook, in no cell of the table
    assert "n = 10 test images" in tables.readme_table({**results, "records": [other_n, *records]})
    figure = plots.results_figure(records, "small", "A title", comparable=True)
    assert not any("paper" in text.get_text() for text in figure.findobj(Text))
    assert added.place == "In none of the paper's tables, but in their form"


def test_what_a_second_phase_costs(added):
    job = Training("patches10", "smoke", "small", "none", "8/255", 0, None)
    fine_tune = {
        m: next(s for s in cost.steps_of(replace(job, model=m)) if s.name == "fine-tune").times
        for m in ("small", "resnet20")
    }
    assert fine_tune == {"small": 6 + 4, "resnet20": 6}


@pytest.mark.parametrize("file", ["Makefile", "README.md", "sweeps/README.md"])
def test_lists_of_networks_are_complete(file):
    text = (settings.ROOT / file).read_text()
    separator = ", " if file.startswith("sweeps") else "|"
    assert separator.join(MODELS) in text


def test_every_notebook_names_every_network():
    for notebook in sorted((settings.ROOT / "notebooks").rglob("*.ipynb")):
        assert f'model = \\"resnet20\\"  # or {", ".join([*MODELS][1:])}\\n' in notebook.read_text(), (
            notebook.name
        )


def test_the_command_line_names_every_network(capsys):
    for command in ("report", "weights", "robust", "search", "bench", "audit", "train", "measure"):
        assert main([command, "--help"]) == 0
        assert ", ".join(MODELS) in " ".join(capsys.readouterr().out.split()), command


# -------------------------------------------------------------------------------------- EfficientNet


@pytest.mark.deep
def test_efficientnet_is_tf2cvs_but_for_two_strides(images):
    from tf2cv.models.efficientnet import efficientnet_b0

    ours, theirs = efficientnet.efficientnet_b0(), efficientnet_b0(classes=10)
    theirs(tf.zeros((1, 224, 224, 3)))
    shapes = []
    final = ours.features[-2]
    true = final.call
    final.call = lambda x, **options: shapes.append(x.shape) or true(x, **options)
    ours(images[:1])
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    assert shapes == [(1, 4, 4, 320)]


@pytest.mark.slow
def test_efficientnet_trains_the_same_each_time(images, labels):
    """No layer is random: otherwise a stopped training could not resume exactly."""
    model = classifiers.build("efficientnet_b0", datasets.CIFAR_MEAN, datasets.CIFAR_STD)
    first, second = (model(images[:4], training=True).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_efficientnets_convolutions_pad_by_themselves(images):
    statistics = datasets.CIFAR_MEAN, datasets.CIFAR_STD
    keras.utils.set_random_seed(0)
    inside, before = (
        classifiers.build("efficientnet_b0", *statistics, padding_inside=p) for p in (True, False)
    )
    before.set_weights(inside.get_weights())
    # In training mode: in inference the logits of an untrained EfficientNet are all but 0, whatever the
    # padding.
    expected = before(images, training=True).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(inside(images, training=True), expected, atol=1e-2 * np.ptp(expected))
    left = [m for m in inside.submodules if getattr(m, "use_pad", False)]
    assert all(getattr(m, classifiers.convolution_in(m)).strides == (2, 2) for m in left) and len(left) == 3


@pytest.mark.deep
def test_efficientnet_has_no_weights_at_tf2cv():
    with pytest.raises(CourseError, match="tf2cv has no weights of EfficientNet-B0 for these images"):
        classifiers.load("efficientnet_b0", replace(datasets.load("patches10"), name="cifar10"), "tf2cv")


@pytest.mark.slow
def test_efficientnet_goes_through_the_papers_steps(monkeypatch):
    # As many images to test as to train on, and none to validate: its graph of an attack is traced once.
    monkeypatch.setitem(settings.PROFILES, "smoke", replace(TINY, n_train=16, n_validation=0, n_test=16))
    run = pipeline.start("patches10", "efficientnet_b0", "smoke", weights="none")
    records = pipeline.static_table(run)
    assert {(r["input"], r["stage"], r["defense"]) for r in records} == set(titles.CELLS)
    assert {r["model"] for r in records} == {"efficientnet_b0"}
    assert len(pipeline.fine_tuned(run)[1]) == TINY.tune_epochs  # in one phase


def test_a_large_network_is_fine_tuned_for_fewer_epochs_than_the_profile_says():
    full = settings.PROFILES["full"]
    assert MODELS["resnet20"].phases(full) == [(True, 3)]
    assert MODELS["efficientnet_b0"].phases(full) == [(True, 1)]
    assert MODELS["efficientnet_b0"].phases(replace(full, tune_epochs=0)) == [(True, 0)]
    assert MODELS["sepreresnet56"].phases(full) == [(True, 2), (False, 1)]
