"""Files from outside: whatever is in them, a reader takes them or refuses them in one line, and soon.

Each format is read in a forked child, so that a crash of a library is seen too. The inputs are the same in
every run: a whole file with bytes or words changed, and a few files made to do harm.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import resource
import signal
import sys
import tarfile
import traceback
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers import settings
from helpers.artifacts import archives, arrays, bundles, cards, hdf5, store, torch_files
from helpers.datasets import cifar10
from helpers.evaluation import records
from helpers.pipeline import recorded
from helpers.settings import CourseError
from helpers.sweeps import grid

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SECONDS, MIB = 10, 700
"""What one input may take at most."""


class Hangs(BaseException):
    """An input took too long."""


# -------------------------------------------------------------------------------- a whole file of each format


def batch() -> bytes:
    data = np.arange(3 * 3072).astype(np.uint8).reshape(3, 3072)
    return pickle.dumps({b"batch_label": b"one", b"labels": [1, 2, 3], b"data": data}, protocol=2)


def archive(name: str = "batches/one", content: bytes = b"content " * 50) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def torch_file() -> bytes:
    state = (
        b"\x80\x02}(X\x06\x00\x00\x00weightctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
        b"ctorch\nFloatStorage\nX\x01\x00\x00\x00aX\x03\x00\x00\x00cpuK\x18NtQK\x00K\x04K\x06\x86K\x06K\x01\x86"
        b"\x89ccollections\nOrderedDict\n)RtRu."
    )
    header = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    numbers = (24).to_bytes(8, "little") + np.arange(24, dtype="<f4").tobytes()
    return b"".join(header) + state + pickle.dumps(["a"], 2) + numbers


def npz() -> bytes:
    buffer = io.BytesIO()
    weights = {f"w{k:03d}": np.ones((3, k + 1), np.float32) for k in range(3)}
    np.savez(buffer, history=np.array(json.dumps([{"loss": 1.5}])), **weights)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones((5, 4), np.uint16))
    return buffer.getvalue()


def weights(change=lambda file: None) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file.create_group("conv").attrs["weight_names"] = [b"kernel"]
        file["conv/kernel"] = np.ones((3, 3), np.float32)
        file.create_dataset("conv/packed", data=np.ones((9, 9)), compression="gzip")
        change(file)
    return buffer.getvalue()


def card() -> bytes:
    fields = {"model": "resnet20", "seed": 0, "eps": 8 / 255, "minutes": 1.5, "data": {"sha256": "a"}}
    return json.dumps(fields | {"file_sha256": "abc", "history": [{"loss": 1.0}]}).encode()


def manifest() -> bytes:
    return json.dumps({"config": {"eps": 0.03}, "sha256": "abc", "seconds": 1.2}).encode()


def results() -> bytes:
    names = ("dataset", "profile", "stage", "defense", "input", "threat")
    known = dict.fromkeys(names, "some") | {"model": "resnet20", "eps": 0.1, "steps": 5, "seed": 0}
    run = {"parameters": {"profile": "full", "dataset": "auto", "model": "resnet20", "seed": 0}}
    run["parameters"] |= {"weights": "course", "eps": 0.1}
    run["data"] = {"dataset": "CIFAR-10", "sha256": "abc"}
    found = [records.record(np.array([True, False]), **known)]
    return json.dumps({"runs": {"resnet20": run}, "records": found}).encode()


GRID = b"dataset: patches10\nprofile: smoke\nautoencoder: [none, paper]\neps: [4/255, 0.1]\nseed: [0, 1]\n"
PROFILE = b'base = "smoke"\nname = "mine"\nn_train = 64\nae_rates = [1e-3, 1e-4]\nae_epochs = 2\n'


# ------------------------------------------------------------------------------------------------- its reader


def read_archive(file: Path) -> None:
    into = file.parent / "store" / "made" / "batches"
    archives.unpack(file, into, ["one"], lambda *_: None, "the archive")


def read_manifest(file: Path) -> None:
    assert store._is_whole(file.with_name("result"), file, {"eps": 0.03}) is False


READERS = {
    "CIFAR batch": ("data_batch_1", batch, cifar10.read_batch),
    "CIFAR archive": ("cifar.tar.gz", archive, read_archive),
    "PyTorch file": ("some.pth", torch_file, torch_files.read_state),
    "bundle": ("some.npz", npz, bundles.load),
    "array": ("some.npy", npy, lambda file: arrays.load_npy(file, (5, 4), np.uint16)),
    "h5 weights": ("some.h5", weights, lambda file: hdf5.check(file, 1 << 20)),
    "card": ("some.json", card, lambda file: cards.read(file.with_suffix(".h5"), check_file=False)),
    "manifest": ("some.json", manifest, read_manifest),
    "results.json": ("results.json", results, lambda file: recorded.recorded_results()),
    "grid": ("some.yml", lambda: GRID, grid.read),
    "profile": ("some.toml", lambda: PROFILE, lambda file: settings.profile(str(file))),
}
TEXT = ("card", "manifest", "results.json", "grid", "profile")
VALUES = (b"1e999", b"NaN", b"-1", b"9" * 30, b"9" * 5000, b"0x" + b"f" * 5000, b"[]", b"{}", b"null", b'""')
VALUES += (b"true", b"[[[[1]]]]", b'"' + b"x" * 3000 + b'"', b"1e999999999", b"2001-99-99", b"-0.0", b"\x00")


def mutated(content: bytes, number: int, text: bool) -> bytes:
    """Return the content with the number's change."""
    rng = np.random.default_rng(number)
    found = bytearray(content)
    if text and number % 2:
        words = list(re.finditer(rb'"[^"]*"|[\w./+-]+', content))
        word = words[rng.integers(len(words))]
        found[word.start() : word.end()] = VALUES[rng.integers(len(VALUES))]
        return bytes(found)
    for _ in range(rng.integers(1, 4)):
        at = (
            int(rng.integers(max(1, len(found))))
            if rng.random() < 0.5
            else int(rng.integers(300)) % max(1, len(found))
        )
        match int(rng.integers(6)):
            case 0:
                found[at : at + 1] = bytes([found[at] ^ (1 << int(rng.integers(8)))]) if found else b""
            case 1:
                del found[at:]
            case 2:
                del found[at : at + int(rng.integers(1, 9))]
            case 3:
                found[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 4:
                found[at : at + 8] = rng.choice([b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7])
            case 5:
                found[at:at] = found[: int(rng.integers(1, 60))]
    return bytes(found)


# ----------------------------------------------------------------------------------------- files that do harm


class Runs:
    def __reduce__(self):
        return os.system, ("touch it-ran",)


def npz_that_declares(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("w000.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"1234")
    return buffer.getvalue()


def long_name() -> bytes:
    member = tarfile.TarInfo("name")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))


TWICE = b"\x80\x02}()" + b"q\x01h\x01\x86" * 60 + b"K\x01u."
"""A key of tuples that hold each other twice."""

HARMFUL = {
    "CIFAR batch": [
        pickle.dumps({b"labels": [1], b"data": Runs()}, 2),
        pickle.dumps(Runs(), 0),
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo of gigabytes
        b"\x80\x05\x96" + b"\xff\xff\xff\xff\x00\x00\x00\x00" + b".",  # a bytearray of gigabytes
        TWICE,  # a key whose hash takes for ever
        b"\x80\x02(" + b"]" * 100_000 + b"a" * 99_999 + b".",
    ],
    "CIFAR archive": [
        archive("../../outside"),
        archive("/tmp/outside"),
        long_name(),
        archive(content=bytes(70 << 20)),
    ],
    "PyTorch file": [pickle.dumps(Runs(), 2), b"\x80\x02K\x01r\xff\xff\xff\x7f.", b"cbuiltins\neval\n."],
    "bundle": [
        npz_that_declares(s) for s in ("(10**12,)", "(1000000000000,)", "(-1,)", "(" * 300 + ")" * 300)
    ],
    "array": [npy().replace(b"(5, 4)", b"(5,10)"), npy().replace(b"<u2", b"|O ")],
    "h5 weights": [
        weights(lambda file: file.create_dataset("huge", shape=(10**13,), dtype="f4", chunks=(10**6,))),
        weights(lambda file: file.attrs.__setitem__("model_config", '{"class_name": "Lambda"}')),
        weights(lambda file: file.__setitem__("elsewhere", h5py.ExternalLink("/etc/hostname", "/x"))),
        weights(lambda file: file.__setitem__("soft", h5py.SoftLink("/conv"))),
        weights(lambda file: file.__setitem__("text", "code")),
    ],
    **{name: [b"[" * 100_000, b'{"a":' * 50_000] for name in ("card", "manifest", "results.json")},
    "grid": [
        b"a: &a [1,1]\n"
        + b"".join(
            b"b%d: &b%d [*%s,*%s]\n" % (k, k, p, p)
            for k, p in enumerate([b"a", *(b"b%d" % k for k in range(40))])
        ),
        b"eps: 1e999999999\n",
        b"eps: [" * 3000,
        b"weights: '~nobody/x'\n",
        b"weights: " + b"x" * 5000,
        b'weights: "\\0"\n',
        b"? [1, 2]\n: 3\n",
        b"!!python/object/apply:os.system ['touch it-ran']\n",
    ],
    "profile": [
        b"a = " + b"[" * 50_000,
        b"base = [1]\n",
        b"n_train = 0x" + b"f" * 9000,
        b"ae_rates = [inf, nan]\n",
    ],
}


# ---------------------------------------------------------------------------------------------------- reading


def read_all(name: str, folder: Path, numbers: range) -> dict:
    """Read a format's inputs; return how many were refused and taken, and what went wrong."""
    file_name, whole, reader = READERS[name]
    file, found = folder / file_name, {"refused": 0, "taken": 0, "wrong": []}
    settings.ARTIFACTS, settings.FIGURES = folder / "artifacts", folder
    file.write_bytes(whole())
    reader(file)  # the whole file is right
    watching = []

    def watch(event: str, arguments: tuple) -> None:
        if watching and event in (
            "os.system",
            "subprocess.Popen",
            "os.exec",
            "os.posix_spawn",
            "socket.connect",
        ):
            found["wrong"].append(f"{event} {arguments}")

    def stop(*_) -> None:
        raise Hangs

    sys.addaudithook(watch)
    signal.signal(signal.SIGALRM, stop)
    inputs = HARMFUL.get(name, []) + [None] * len(numbers)
    for number, content in enumerate(inputs):
        content = mutated(whole(), number, name in TEXT) if content is None else content
        file.write_bytes(content)
        (folder / "at").write_text(str(number))
        watching[:] = [1]
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            reader(file)
            found["taken"] += 1
        except CourseError as error:
            found["refused"] += 1
            if "\n" in str(error) or len(str(error)) > 1000:
                found["wrong"].append(f"input {number}: a long message {str(error)[:200]!r}")
        except BaseException:
            found["wrong"].append(f"input {number}: {traceback.format_exc(limit=-3)}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            watching.clear()
    found["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return found


def in_a_child(name: str, folder: Path, numbers: range) -> dict:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    child = os.fork()
    if not child:
        status = 1
        try:
            os.chdir(folder)
            (folder / "found.json").write_text(json.dumps(read_all(name, folder, numbers)))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the reader of a {name} died ({status}) at input {(folder / 'at').read_text()}"
    found = json.loads((folder / "found.json").read_text())
    assert found["wrong"] == [], f"{len(found['wrong'])}: " + "\n".join(found["wrong"][:5])
    assert not (folder / "it-ran").exists() and not list(folder.parent.glob("outside"))
    assert found["mib"] - before < MIB
    return found


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, name):
    found = in_a_child(name, tmp_path, range(100))
    assert found["refused"] > 10 or name == "manifest"  # a damaged manifest means that there is no artifact


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_thousands_of_damaged_files_are_refused_in_one_line(tmp_path, name):
    found = in_a_child(name, tmp_path, range(2_000))
    print(name, found["refused"], found["taken"])
