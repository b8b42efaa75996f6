"""Training and attacks that several devices share: equal to one device's; and workers that die."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from helpers import backend, settings
from helpers.backend import devices
from helpers.cli.app import main
from helpers.settings import CourseError

SHARED_WORK = """
import sys
import time
from pathlib import Path
import numpy as np
from helpers import attacks, training
from helpers.datasets import storage
from helpers.defenses import autoencoder
from helpers.backend import devices
from helpers.backend import keras

folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (96, 32, 32, 3), np.uint8)
labels = (images.mean((1, 2, 3)) * 10).astype(int) % 10
layers = keras.layers
keras.utils.set_random_seed(0)
network = keras.Sequential([
    keras.Input((32, 32, 3)), layers.Conv2D(8, 3, strides=2, use_bias=False), layers.BatchNormalization(),
    layers.ReLU(), layers.Conv2D(8, 3, strides=2), layers.BatchNormalization(), layers.Flatten(),
    layers.Dense(10),
], name="network")
preprocessor = autoencoder.build_autoencoder()
defended = autoencoder.defended(preprocessor, network)
inputs = storage.to_float(images[:33])  # no multiple of two
found = {
    "fgsm": attacks.fgsm(network, inputs, labels[:33], 8 / 255, batch_size=16),
    "pgd": attacks.pgd(network, inputs, labels[:33], 8 / 255, steps=5, restarts=2, batch_size=16),
    "l2": attacks.pgd(defended, inputs, labels[:33], 0.5, step_size=0.1, norm="l2"),
    "logits": attacks.logits_in_batches(network, inputs, 16),
}

class Slow(training.Samples):
    def read(self, rows):
        time.sleep(float(sys.argv[2]))
        return super().read(rows)

samples = Slow([images], labels)
losses = {}
optimizer = keras.optimizers.SGD(training.OneCycle(0.05, 12), 0.9, nesterov=True)
losses["classifier"] = training.run(
    training.classifier_step(network, optimizer, 0.1, 5e-4), samples, batch_size=32, title="network",
    state={"model": network, "optimizer": optimizer}, folder=folder / "network",
    on_epoch_end=lambda: {"done": print("EPOCH", flush=True) or 0.0}, seed=0, epochs=4,
)
restored = training.Samples([images], images)
losses["autoencoder"] = training.train_autoencoder(
    preprocessor, restored, epochs=3, batch_size=32, rates=(5e-3, 5e-4), seed=0, folder=folder / "autoencoder"
)
losses["tuning"] = training.fine_tune(network, samples, 2, seed=0, folder=folder / "tuned")
curves = {name: [h["loss"] for h in history] for name, history in losses.items()}
devices.finish()
weights = np.concatenate([w.ravel() for w in network.get_weights()])
np.savez(sys.argv[3], devices=devices.COUNT, weights=weights, **found, **curves)
"""
"""Train a network with BatchNorm and an autoencoder, and attack them, with the same calls on all devices."""


def environment(option, config=None):
    others = ("COURSE_DEVICES", "TF_CONFIG", "COURSE_PROGRESS")
    env = {name: value for name, value in os.environ.items() if name not in others}
    env |= {"PYTHONPATH": str(settings.ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    env |= {"COURSE_DEVICES": option} if option else {}
    return env | ({"TF_CONFIG": json.dumps(config)} if config else {})


def begin(folder, option, name, config=None, pause=0.0):
    """Start the work in a process of its own, which writes ``name``.npz."""
    script = folder / "work.py"
    script.write_text(SHARED_WORK)
    store = folder / f"store-{option or 'one'}"
    command = [sys.executable, script, store, str(pause), folder / f"{name}.npz"]
    with open(folder / f"{name}.log", "w") as log:
        return subprocess.Popen(command, env=environment(option, config), cwd=folder, stdout=log, stderr=log)


def ended(process, folder, name, within=300):
    assert process.wait(within) == 0, (folder / f"{name}.log").read_text()[-3000:]
    return np.load(folder / f"{name}.npz")


def cluster(size):
    """TF_CONFIG of each worker, on free ports of the loopback."""
    sockets = [socket.socket() for _ in range(size)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": k}} for k in range(size)]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one device makes of it."""
    folder = tmp_path_factory.mktemp("one")
    found = ended(begin(folder, "", "one"), folder, "one")
    assert found["devices"] == 1 and found["classifier"][-1] < found["classifier"][0]
    return found


def assert_equal(found, one):
    for name in ("classifier", "autoencoder", "tuning"):
        np.testing.assert_allclose(found[name], one[name], atol=1e-4, rtol=0, err_msg=name)
    for name in ("fgsm", "pgd", "l2"):
        np.testing.assert_allclose(found[name], one[name], atol=1e-6, rtol=0, err_msg=name)
    for name in ("logits", "weights"):
        np.testing.assert_allclose(found[name], one[name], atol=1e-3, rtol=0, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_devices_train_as_one(one, tmp_path):
    found = ended(begin(tmp_path, "mirrored:2", "two"), tmp_path, "two")
    assert found["devices"] == 2
    assert_equal(found, one)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_train_as_one(one, tmp_path):
    workers = [begin(tmp_path, "workers", f"worker{k}", config) for k, config in enumerate(cluster(2))]
    both = [ended(process, tmp_path, f"worker{k}") for k, process in enumerate(workers)]
    assert "worker 1 of 2, waiting for the others: 127.0.0.1" in (tmp_path / "worker1.log").read_text()
    for found in both:
        assert found["devices"] == 2
        assert_equal(found, one)


@pytest.fixture(scope="module")
def killed_pair(tmp_path_factory):
    """A folder in which one of two workers was killed in mid-training, and the exit code of the other."""
    folder = tmp_path_factory.mktemp("killed")
    first, second = [begin(folder, "workers", f"dying{k}", c, pause=0.5) for k, c in enumerate(cluster(2))]
    wait_for_lines("EPOCH", 3, folder / "dying0.log", first)
    second.send_signal(signal.SIGKILL)
    return folder, first.wait(240)


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_worker_that_is_killed_ends_the_other_with_a_clear_error(killed_pair):
    folder, code = killed_pair
    assert code not in (0, -signal.SIGKILL)
    said = (folder / "dying0.log").read_text()
    assert "another worker no longer answers" in said and "worker 0 of 2" in said
    assert 2 <= len(finished_epochs(folder)) < 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_workers_go_on_after_one_was_killed(one, killed_pair):
    folder, _ = killed_pair
    assert 2 <= len(finished_epochs(folder)) < 4
    workers = [begin(folder, "workers", f"again{k}", config) for k, config in enumerate(cluster(2))]
    for k, process in enumerate(workers):
        found = ended(process, folder, f"again{k}")
        assert_equal(found, one)
    assert (folder / "again0.log").read_text().count("EPOCH") <= 2, "two epochs of four had been finished"


def finished_epochs(folder):
    return json.loads((folder / "store-workers" / "network" / "history.json").read_text())


def wait_for_lines(text, count, log, process, within=240):
    for _ in range(10 * within):
        if log.read_text().count(text) >= count:
            return
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.1)
    pytest.fail(f"{text} did not come {count} times: {log.read_text()[-3000:]}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_fill_one_store_between_them(tmp_path):
    """A job of the course, whole, on two workers; then on one device, which finds everything there."""
    job = ["train", "--profile", "smoke", "--dataset", "patches10", "--n-train", "64"]

    def start(option, config, name):
        env = environment(option, config) | {
            "ARTIFACTS_DIR": str(tmp_path / "store"),
            "COURSE_PRECISION": "float32",
        }
        with open(tmp_path / f"{name}.log", "w") as log:
            command = [sys.executable, "-m", "helpers", *job, "--out", str(tmp_path / f"{name}.json")]
            return subprocess.Popen(command, env=env, cwd=settings.ROOT, stdout=log, stderr=log)

    workers = [start("workers", config, f"worker{k}") for k, config in enumerate(cluster(2))]
    for k, worker in enumerate(workers):
        assert worker.wait(400) == 0, (tmp_path / f"worker{k}.log").read_text()[-3000:]
    alone = start("", None, "alone")
    assert alone.wait(400) == 0, (tmp_path / "alone.log").read_text()[-3000:]
    results = [
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("worker0", "worker1", "alone")
    ]
    made = [[step["name"] for step in found["steps"]] for found in results]
    assert "fine-tune" in made[0] and made[2] == ["start"], "it found everything in the store"
    for name in ("autoencoder", "fine_tuned"):
        losses = [found[name]["loss"] for found in results]
        assert losses[0] == losses[1] == losses[2]


# ---------------------------------------------------------------------------------------------------- options


@pytest.fixture
def outside_notebooks(monkeypatch):
    """As if no kernel were imported; nbclient and others import it in a test run."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def worker(index, addresses=("a:1",)):
    return {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}


@pytest.mark.parametrize("option", ["two", "mirrored:0", "mirrored:-1", "mirrored:x", "one:2"])
def test_unknown_devices(option, outside_notebooks):
    with pytest.raises(CourseError, match=f"COURSE_DEVICES is '{option}'.*mirrored:2"):
        backend._start(option)


@pytest.mark.parametrize("option, gpus", [("mirrored", 0), ("mirrored:2", 1)])
def test_more_devices_than_there_are(monkeypatch, option, gpus, outside_notebooks):
    monkeypatch.setattr(backend.tf.config, "list_physical_devices", lambda kind: ["GPU"] * gpus)
    with pytest.raises(CourseError, match=rf"there are {gpus} GPUs.*\(mirrored:2\)"):
        backend._start(option)


@pytest.mark.parametrize(
    "config",
    [
        None,
        "{",
        "[]",
        worker(1),
        worker(-1),
        worker("x"),
        {**worker(0), "task": {"type": "chief", "index": 0}},
    ],
)
def test_workers_that_are_not_described(monkeypatch, config):
    monkeypatch.setenv("COURSE_DEVICES", "workers")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(CourseError, match="TF_CONFIG"):
        settings.workers()


@pytest.mark.parametrize(
    "option, config, message", [("workers", worker(0), "workers"), ("mirrored:2", None, "mirrored:2")]
)
def test_commands_that_run_on_one_device(monkeypatch, capsys, option, config, message):
    monkeypatch.setenv("COURSE_DEVICES", option)
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert main(["report"]) == 2
    said = capsys.readouterr().err
    assert message in said and "leave COURSE_DEVICES out" in said and said.count("\n") == 1


def test_notebooks_run_on_one_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with pytest.raises(CourseError, match="COURSE_DEVICES is mirrored:2, but notebooks"):
        backend._start("mirrored:2")


@pytest.mark.parametrize(
    ("option", "config", "message"),
    [
        pytest.param("mirrored:0", None, "COURSE_DEVICES is 'mirrored:0'", marks=pytest.mark.deep),
        pytest.param("two", None, "COURSE_DEVICES is 'two'", marks=pytest.mark.slow),
        pytest.param("mirrored", None, "there are 0 GPUs", marks=pytest.mark.slow),
        pytest.param("workers", None, "TF_CONFIG", marks=pytest.mark.slow),
        pytest.param("workers", worker(1), "TF_CONFIG", marks=pytest.mark.slow),
        pytest.param("workers", worker(0), "workers share weights,", marks=pytest.mark.slow),
        pytest.param("mirrored:2", None, "devices share weights,", marks=pytest.mark.slow),
    ],
)
def test_the_command_line_says_what_is_wrong_with_the_devices(option, config, message):
    command = [sys.executable, "-m", "helpers"]
    command += ["report"] if "share weights" in message else ["train", "--dataset", "patches10"]
    done = subprocess.run(command, env=environment(option, config), capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
def test_a_kernel_with_several_devices_is_refused():
    command = [sys.executable, "-c", "import ipykernel; import helpers.backend"]
    done = subprocess.run(command, env=environment("mirrored:2"), capture_output=True, text=True)
    assert "CourseError: COURSE_DEVICES is mirrored:2, but notebooks" in done.stderr, done.stderr[-2000:]


def test_a_batch_that_cannot_be_shared(monkeypatch):
    monkeypatch.setattr(devices, "COUNT", 3)
    with pytest.raises(CourseError, match="base: 3 devices cannot share a batch of 128 equally"):
        devices.check_batch_size(128, "base")
    with pytest.raises(CourseError, match="training madry runs on one device"):
        devices.check_one("training madry")
