"""The paper's steps together, at the smallest size that goes through all of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from support import TINY, small_in_registry

from helpers import artifacts, attacks, classifiers, defenses, evaluation, pipeline, settings, training
from helpers.artifacts import store
from helpers.attacks import projected_gradient_descent
from helpers.classifiers import fused
from helpers.cli.app import main
from helpers.datasets import storage
from helpers.pipeline import attacked, begin, shipped
from helpers.pipeline import run as run_module
from helpers.settings import CourseError, Networks


@pytest.fixture(scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch, small_in_registry(second_phase=True):
        patch.setitem(settings.PROFILES, "smoke", TINY)
        yield


@pytest.fixture(scope="module")
def run(tiny):
    return pipeline.start("patches10", "small", "smoke", weights="none")


@pytest.fixture
def no_work_after(monkeypatch):
    """Call it, and from then on computing an artifact fails the test: only what is there may be used."""

    def forbid():
        original = store.make
        monkeypatch.setattr(
            store,
            "make",
            lambda k, c, s, *_: original(k, c, s, lambda _: pytest.fail(f"{k} was computed again")),
        )

    return forbid


@pytest.mark.parametrize(
    "wrong",
    [{"profile": "huge"}, {"dataset": "mnist"}, {"model": "vgg"}, {"eps": 8}, {"weights": "no/such/file.h5"}],
)
def test_wrong_parameters_are_named(tiny, wrong):
    with pytest.raises(CourseError, match=r"choose|8/255|there is no weight file"):
        pipeline.start(**{"dataset": "patches10", "model": "small", "profile": "smoke", **wrong})


def test_parameters_as_papermill_passes_them(tiny):
    run = pipeline.start("patches10", "small", "smoke", 2.0, None, "4/255")
    assert (run.eps, run.seed, run.weights, run.profile) == (4 / 255, 2, "none", TINY)
    assert type(run.eps) is float and type(run.seed) is int


def test_a_run_that_is_not_the_recorded_one_says_so(tiny):
    run = pipeline.start("patches10", "small", "smoke", weights="none")
    data = replace(run.data, name="cifar10", notice="")
    told = replace(run, data=data, model="resnet20", weights="course")
    assert told.notice == ""
    others = {"seed": 1, "model": "small", "eps": 4 / 255, "weights": "tf2cv", "data": run.data}
    for name, value in others.items():
        assert replace(told, **{name: value}).notice.startswith("> **Notice.** ")
    assert "borrowed" in replace(told, data=replace(data, notice="These are borrowed.")).notice


@pytest.mark.deep
def test_static_images_attack_the_initial_classifier(run):
    images, labels = run.split("test").take()
    target = fused.fuse(run.classifier)  # another copy than the pipeline's own
    for kind in ("fgsm", "pgd"):
        stored = pipeline.inputs(run, "test", kind)
        assert stored.dtype == np.uint16
        again = pipeline.attack(target, images, labels, kind, run.eps, seed=run.seed)
        assert np.abs(storage.to_float(stored) - again).max() <= 0.5 / 65535 + 1e-7
        assert np.abs(storage.to_float(stored) - images).max() <= run.eps + 1e-6


@pytest.mark.deep
def test_the_tables(run, no_work_after):
    static, aware = pipeline.static_table(run), pipeline.aware_table(run)
    cells = {(r["stage"], r["defense"], r["input"]) for r in static}
    assert len(static) == len(cells) == 12
    assert {r["threat"] for r in static} == {"static"} and {r["n"] for r in static} == {16}
    assert all(r["eps"] == (0 if r["input"] == "regular" else run.eps) for r in static)
    threats = {(r["stage"], r["defense"], r["threat"]) for r in aware}
    assert len(threats) == 6 and len(aware) == 12
    labels = run.split("test").labels
    by_hand = evaluation.is_correct(run.classifier, pipeline.inputs(run, "test", "pgd"), labels).sum()
    cell = next(r for r in static if (r["stage"], r["defense"], r["input"]) == ("initial", "none", "pgd"))
    assert cell["correct"] == by_hand
    no_work_after()
    assert pipeline.static_table(run) == static and pipeline.aware_table(run) == aware


@pytest.mark.slow
def test_every_point_of_a_curve_is_its_own_measurement(tiny, small_weights):
    """At eps 0 nothing is attacked, at 8/255 PGD breaks a trained network; more steps are another attack."""
    run = pipeline.start("patches10", "small", "smoke", weights=str(small_weights))
    clean = evaluation.is_correct(run.classifier, *run.data.test.take(TINY.n_sweep)).sum()
    curve = {(r["input"], r["eps"]): r["correct"] for r in pipeline.accuracy_against_eps(run, [0, 8 / 255])}
    assert {curve[kind, 0] for kind in ("noise", "fgsm", "pgd")} == {clean}
    assert curve["pgd", 8 / 255] < curve["noise", 8 / 255] <= clean
    one, ten = (r["correct"] for r in pipeline.accuracy_against_steps(run, [1, 10]))
    assert ten <= one and ten < clean


@pytest.mark.deep
def test_answers_on_what_the_autoencoder_makes(run):
    labels = run.split("test").labels
    found = pipeline.correct(run, run.classifier, "test", "ae(pgd)")
    restored = evaluation.predict(pipeline.autoencoder(run)[0], pipeline.inputs(run, "test", "pgd"))
    assert found.tolist() == evaluation.is_correct(run.classifier, restored, labels).tolist()


def test_another_seed_or_eps_is_another_artifact(run):
    keys = {
        artifacts.folder_of("x", replace(run, **change).config())[1]
        for change in ({}, {"seed": 1}, {"eps": 4 / 255}, {"model": "sepreresnet56"})
    }
    assert len(keys) == 4


@pytest.mark.slow
def test_a_preprocessor_without_weights_makes_another_model(tiny, small_weights):
    """A blur before the classifier has the classifier's weights, and no others."""
    from helpers.backend import keras, tf

    run = pipeline.start("patches10", "small", "smoke", weights=str(small_weights))

    def blur(name):
        return keras.Sequential(
            [keras.Input((32, 32, 3)), keras.layers.AveragePooling2D(9, 1, "same")], name=name
        )

    def blurred(name):
        return defenses.defended(blur(name), run.classifier)

    assert pipeline.checksum(run.classifier) == classifiers.weights_sha256(run.classifier)
    models = run.classifier, blurred("nine"), defenses.defended(blur("nine"), blurred("other"))
    assert len({pipeline.checksum(model) for model in models}) == 3
    assert pipeline.checksum(blurred("nine")) == pipeline.checksum(models[1])
    options = {"stage": "initial", "defense": "blur", "threat": "static"}
    found = [
        pipeline.attacked_answers(run, m, run.classifier, "regular", run.eps, **options) for m in models[:2]
    ]
    assert not np.array_equal(*(answers.correct for answers in found))
    images, _ = run.split("test").take(4)
    fused_logits = [pipeline.for_attack(model)(tf.constant(images)).numpy() for model in models[:2]]
    assert not np.allclose(*fused_logits)


@pytest.mark.parametrize(
    "module, name, value",
    [(run_module, "STEPS", 20), (projected_gradient_descent, "STEP_SIZE", 0.02)],
    ids=["steps", "step_size"],
)
def test_another_pgd_is_another_artifact_of_every_kind(run, monkeypatch, module, name, value):
    """Also of everything made from its images: an autoencoder, its outputs, answers, a checklist, rungs."""
    before = artifacts.folder_of("x", run.config())
    monkeypatch.setattr(module, name, value)
    assert artifacts.folder_of("x", run.config()) != before


def test_pgd_crosses_the_ball_at_every_budget(run):
    """Ten steps of 0.01 do not, from 13/255 on."""
    images, labels = run.split("test").take(4)
    for eps in (8 / 255, 64 / 255):
        whole = replace(run, eps=eps)
        moved = pipeline.attack(run.classifier, np.full_like(images, 0.5), labels, "pgd", eps)
        assert np.abs(moved - 0.5).max() == pytest.approx(eps, abs=1e-6)
        assert attacked._steps_of("pgd", eps)["step_size"] == max(0.01, eps / 4)
        assert whole.config().get("step_size_of_pgd") == (None if eps < 10 / 255 else eps / 4)


@pytest.mark.deep
def test_the_attack_through_the_autoencoder_sees_it(run):
    """The adaptive attack's gradient is that of both networks, not of the classifier alone."""
    from helpers.backend import tf

    ae, _ = pipeline.autoencoder(run)
    images, labels = (tf.constant(a) for a in run.split("test").take(4))
    alone = attacks.input_gradient(run.classifier, images, labels).numpy()
    through = attacks.input_gradient(defenses.defended(ae, run.classifier), images, labels).numpy()
    assert np.abs(through).max() > 0 and not np.allclose(alone, through)


@pytest.mark.slow
def test_a_network_with_a_second_phase_goes_through_both(run):
    phases = pipeline.phases_of(run)
    assert phases == [
        (["regular", "fgsm", "pgd", "ae(regular)", "ae(fgsm)", "ae(pgd)"], 1),
        (["regular", "ae(regular)", "ae(fgsm)", "ae(pgd)"], 1),
    ]
    assert pipeline.phases_of(replace(run, model="sepreresnet56")) == phases
    tuned, history = pipeline.fine_tuned(run)
    assert [h["phase"] for h in history] == [1, 2]
    before, after = run.classifier.get_weights(), tuned.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_sepreresnet56_goes_through_both_of_its_phases(tiny):
    run = pipeline.start("patches10", "sepreresnet56", "smoke", weights="none")
    tuned, history = pipeline.fine_tuned(run)
    assert [h["phase"] for h in history] == [1, 2]
    before, after = run.classifier.get_weights(), tuned.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_the_paper_s_network_goes_through_all_steps(tiny):
    run = pipeline.start("patches10", "resnet20", "smoke")
    static, aware = pipeline.static_table(run), pipeline.aware_table(run)
    assert len(static) == len(aware) == 12 and {r["model"] for r in static + aware} == {"resnet20"}


def test_clean_images_come_from_the_validation_split_only_at_full_size(run):
    data = run.data
    assert len(data.training_images(100)) == 100
    everything = data.training_images(50_000)
    assert len(everything) == len(data.train) + len(data.validation)


SCRIPT = """
import sys
from dataclasses import replace
from helpers import classifiers, pipeline, settings
settings.PROFILES["smoke"] = replace(settings.PROFILES["smoke"], n_train=64, n_validation=8, ae_epochs=40)
run = pipeline.start("patches10", "resnet20", "smoke", weights="none")
print("started", flush=True)
model, history = pipeline.autoencoder(run)
print(classifiers.weights_sha256(model), len(history), flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_ends_with_the_same_weights(tmp_path):
    """It is killed while it attacks, again while it trains, and then left to end."""

    def begin(folder):
        environment = {**os.environ, "ARTIFACTS_DIR": str(tmp_path / folder), "COURSE_PROGRESS": os.devnull}
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=environment
        )

    reference = begin("untouched").communicate()[0].splitlines()[-1]
    for kind in ("attacks", "autoencoder"):
        victim = begin("killed")
        deadline = time.monotonic() + 300
        while victim.poll() is None and not list((tmp_path / "killed" / kind).glob("*.checkpoints/*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert victim.poll() is None, f"it ended before it could be killed in {kind}"
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    again = begin("killed").communicate()[0].splitlines()[-1]
    assert again == reference and again.endswith(" 40")
    manifests = [json.loads(f.read_text()) for f in (tmp_path / "killed").glob("attacks/*.json")]
    assert len(manifests) == 4


@pytest.mark.deep
def test_shipped_networks_are_taken_only_where_they_are_what_the_run_would_train(tiny, tmp_path, monkeypatch):
    run = pipeline.start("patches10", "small", "smoke", weights="none", networks="auto")
    assert run.networks == "trained"  # the course ships no such networks
    card = {"initial_sha256": classifiers.weights_sha256(run.classifier), "eps": run.eps, "seed": run.seed}
    card |= {"protocol": {}, "profile": "full", "trained_on": TINY.n_train}
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    (tmp_path / "patches10").mkdir()
    for part in pipeline.PARTS:
        (tmp_path / "patches10" / f"small_{part}.json").write_text(json.dumps(card))
    assert begin.networks_of(run, Networks.AUTO) is Networks.SHIPPED
    full = replace(run, profile=replace(run.profile, name="full"))
    for other in (
        replace(run, seed=run.seed + 1),
        replace(run, eps=run.eps / 2),
        replace(run, profile=replace(run.profile, name="mine")),
        full,
        replace(run, model="sepreresnet56"),
    ):
        assert begin.networks_of(other, Networks.AUTO) is Networks.TRAINED
    # A report of some notebooks takes the networks that a full run has shipped.
    monkeypatch.setenv("COURSE_NETWORKS", "shipped")
    assert begin.networks_of(full, Networks.TRAINED) is Networks.SHIPPED
    assert (
        begin.networks_of(replace(full, profile=replace(full.profile, n_train=16)), Networks.TRAINED)
        is Networks.AUTO
    )
    assert begin.networks_of(replace(run, seed=run.seed + 1), Networks.AUTO) is Networks.TRAINED
    few = card | {"trained_on": 24, "data": {"train": 20, "validation": 4}}  # all that the data set has
    for part in pipeline.PARTS:
        (tmp_path / "patches10" / f"small_{part}.json").write_text(json.dumps(few))
    assert begin.networks_of(full, Networks.TRAINED) is Networks.SHIPPED


@pytest.mark.slow
def test_a_full_run_goes_on_on_another_machine(tiny, tmp_path, monkeypatch):
    """It takes the shipped parts from weights/, trains the others, and ends with the same networks."""
    monkeypatch.setitem(settings.PROFILES, "full", replace(TINY, name="full", n_validation=0))
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path / "weights")
    parameters = {"dataset": "patches10", "model": "small", "profile": "full", "weights": "none"}

    def machine(name):
        monkeypatch.setattr(settings, "ARTIFACTS", tmp_path / name)
        monkeypatch.setattr(shipped, "_LOADED", {})
        return pipeline.start(**parameters)

    first = machine("first")
    assert list(pipeline.parts_of(first)) == ["ae", "fine_tuned_1", "fine_tuned"]
    whole, its_history = pipeline.fine_tuned(first)
    examples = {name: pipeline.source(first, "train", name)[:4] for name in ("regular", "pgd", "ae(pgd)")}
    pipeline.ship(first, ["ae", "fine_tuned_1"])
    trained, tune = [], training.fine_tune
    monkeypatch.setattr(training, "train_autoencoder", lambda *_, **__: pytest.fail("it is shipped"))
    monkeypatch.setattr(training, "fine_tune", lambda *a, **o: trained.append(o["phase"]) or tune(*a, **o))
    monkeypatch.setenv("COURSE_NETWORKS", "shipped")
    second = machine("second")
    assert second.networks == "auto"
    model, history = pipeline.fine_tuned(second)
    assert trained == [2] and [h["phase"] for h in history] == [1, 2]
    assert [h["loss"] for h in history] == [h["loss"] for h in its_history]
    for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    pipeline.ship(second, list(pipeline.parts_of(second)))
    third = machine("third")
    assert third.networks == "shipped"
    for a, b in zip(pipeline.fine_tuned(third)[0].get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, few in examples.items():
        np.testing.assert_array_equal(pipeline.examples(third, name, 4), few)
    attacked = [
        json.loads(f.read_text())["config"]["n"] for f in (tmp_path / "third" / "attacks").glob("*.json")
    ]
    assert attacked == [4]


@pytest.mark.slow
def test_networks_are_shipped_once_and_replaced_only_on_demand(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(settings.PROFILES, "full", replace(TINY, name="full", n_validation=0))
    for name in ("resnet20.h5", "resnet20.json"):
        (tmp_path / "patches10").mkdir(exist_ok=True)
        shutil.copy(settings.WEIGHTS / "patches10" / name, tmp_path / "patches10")
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    monkeypatch.setenv("COURSE_NETWORKS", "")  # the command sets it
    command, file = ["networks", "--dataset", "patches10"], tmp_path / "patches10" / "resnet20_ae.json"
    assert main(command) == 0
    first, printed = file.read_bytes(), capsys.readouterr().out
    assert "resnet20_ae: epoch 2" in printed and "resnet20_fine_tuned: epoch 1" in printed
    assert main(command) == 0
    assert "has the autoencoder and the fine-tuned classifier" in capsys.readouterr().out
    for other in (["--seed", "1"], ["--dataset", "auto", "--seed", "1"]):
        monkeypatch.setenv("COURSE_OFFLINE", "1")
        monkeypatch.setenv("CIFAR10_DIR", "")
        assert main([*command, *other]) == 2
        assert "of another run" in capsys.readouterr().err and file.read_bytes() == first
    file.write_text(json.dumps({**json.loads(first), "profile": "quick"}))
    assert main(command) == 2 and main([*command, "--replace"]) == 0
    assert json.loads(file.read_text())["profile"] == "full"


@pytest.mark.slow
def test_a_classifier_tuned_behind_another_autoencoder_is_not_taken(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(settings.PROFILES, "full", replace(TINY, name="full", n_validation=0))
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    run = pipeline.start("patches10", "small", "full", weights="none")
    pipeline.ship(run, list(pipeline.parts_of(run)))
    monkeypatch.setenv("COURSE_NETWORKS", "shipped")
    assert begin.networks_of(run, Networks.TRAINED) is Networks.SHIPPED
    card = tmp_path / "patches10" / "small_ae.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "weights_sha256": "another"}))
    assert pipeline.is_shipped(run, "ae") and not pipeline.is_shipped(run, "fine_tuned")


@pytest.mark.deep
def test_only_a_quick_run_crafts_in_bfloat16(run, monkeypatch):
    """And its images are other artifacts than those that were crafted in float32."""
    monkeypatch.setenv("COURSE_PRECISION", "mixed_bfloat16")
    quick = replace(run, profile=replace(TINY, name="quick"))
    assert (run.crafting, quick.crafting) == ("float32", "mixed_bfloat16")
    assert replace(run, profile=replace(TINY, name="full")).crafting == "float32"
    half, whole = (attacked.for_attack(run.classifier, precision=r.crafting) for r in (quick, run))
    assert half is not whole and half.output.dtype == whole.output.dtype == "float32"
    images = run.split("test").take()[0]
    logits, exact = (evaluation.predict(model, images) for model in (half, whole))
    assert 0 < np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()
    moved = [storage.to_float(pipeline.inputs(r, "test", "pgd")) for r in (quick, run)]
    assert (moved[0] != moved[1]).any() and all(np.abs(m - images).max() <= run.eps + 1e-5 for m in moved)
    monkeypatch.setenv("COURSE_PRECISION", "float32")
    assert quick.crafting == "float32"
