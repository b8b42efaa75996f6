"""Reading CIFAR-10 from wherever it lies, refusing what is not CIFAR-10, and doing without it.

Most tests read a small synthetic archive of CIFAR-10's layout; those with the fixture cifar10 read the real
one.
"""

from __future__ import annotations

import errno
import http.server
import io
import os
import pickle
import shutil
import tarfile
import threading

import numpy as np
import pytest

from helpers import datasets, settings
from helpers.artifacts import pickles, provenance
from helpers.datasets import cifar10 as source
from helpers.datasets import patches10
from helpers.settings import CourseError

BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
SIZE = 20


def stored(number: int) -> dict:
    """A batch as CIFAR-10 has it; every image is another one."""
    rng = np.random.default_rng(number)
    return {
        b"batch_label": b"synthetic",
        b"labels": rng.integers(0, 10, SIZE).tolist(),
        b"data": rng.integers(0, 256, (SIZE, 3072)).astype(np.uint8),
        b"filenames": [b"picture.png"] * SIZE,
    }


def write_batches(folder, **changes):
    """The unpacked folder; a change gives a batch other bytes, or None for no file."""
    folder.mkdir(parents=True)
    for number, name in enumerate(BATCHES):
        if (content := changes.get(name, pickle.dumps(stored(number), protocol=2))) is not None:
            (folder / name).write_bytes(content)
    return folder


def write_archive(path, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = write_batches(path.parent / "to-pack" / datasets.CIFAR_FOLDER, **changes)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, datasets.CIFAR_FOLDER)
    shutil.rmtree(folder.parent)
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine without CIFAR-10, and a course that holds out ten images."""
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "course").mkdir()
    monkeypatch.setattr(settings, "ROOT", tmp_path / "course")
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path / "artifacts")
    monkeypatch.setattr(source, "VALIDATION", 10)
    return tmp_path


@pytest.fixture
def pointed(home, monkeypatch):
    """The folder that CIFAR10_DIR names."""
    monkeypatch.setenv("CIFAR10_DIR", str(home / "given"))
    return home / "given"


# ---------------------------------------------------------------------------------- places and forms

PLACES = {
    "CIFAR10_DIR, archive": lambda home: write_archive(home / "given" / datasets.CIFAR_ARCHIVE),
    "CIFAR10_DIR, unpacked": lambda home: write_batches(home / "given" / datasets.CIFAR_FOLDER),
    "data/, archive": lambda home: write_archive(home / "course" / "data" / datasets.CIFAR_ARCHIVE),
    "data/, unpacked": lambda home: write_batches(home / "course" / "data" / datasets.CIFAR_FOLDER),
    "the Keras cache, archive": lambda home: write_archive(
        home / "keras" / "datasets" / "cifar-10-batches-py.tar.gz"
    ),
    "the Keras cache, unpacked": lambda home: write_batches(
        home / "keras" / "datasets" / datasets.CIFAR_FOLDER
    ),
}


@pytest.mark.parametrize("origin", PLACES)
def test_it_is_read_from_every_place(home, monkeypatch, origin):
    PLACES[origin](home)
    if origin.startswith("CIFAR10_DIR"):
        monkeypatch.setenv("CIFAR10_DIR", str(home / "given"))
    data = datasets.load("cifar10")
    assert data.provenance["origin"] == origin and not data.provenance["official_archive"]
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    assert [data.provenance[name] for name in ("train", "validation", "test")] == [90, 10, 20]
    assert (data.name, data.notice, data.classes[3]) == ("cifar10", "", "cat")
    assert str(home) not in str(data.provenance)
    last = stored(5)
    np.testing.assert_array_equal(data.test.labels, last[b"labels"])
    np.testing.assert_array_equal(data.test.pixels.transpose(0, 3, 1, 2).reshape(SIZE, 3072), last[b"data"])


@pytest.mark.parametrize("form", ["archive", "the folder itself"])
def test_cifar10_dir_may_name_the_thing_itself(home, monkeypatch, form):
    if form == "archive":
        place = write_archive(home / "given" / datasets.CIFAR_ARCHIVE)
    else:
        place = write_batches(home / "given" / datasets.CIFAR_FOLDER)
    monkeypatch.setenv("CIFAR10_DIR", str(place))
    assert len(datasets.load("cifar10").test) == SIZE


def test_a_relative_cifar10_dir_is_relative_to_the_course(home, monkeypatch):
    write_archive(home / "given" / datasets.CIFAR_ARCHIVE)
    (home / "course" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(home / "course" / "notebooks")
    monkeypatch.setenv("CIFAR10_DIR", "../given")
    assert len(datasets.load("cifar10").test) == SIZE


def test_cifar10_dir_goes_before_data(pointed, home):
    write_archive(home / "course" / "data" / datasets.CIFAR_ARCHIVE)
    write_batches(pointed / datasets.CIFAR_FOLDER)
    assert datasets.load("cifar10").provenance["origin"].startswith("CIFAR10_DIR")


def test_the_checksum_is_that_of_the_images_in_whatever_form(pointed, home, monkeypatch):
    """What one person made from the archive, another finds who has the folder."""
    write_archive(pointed / datasets.CIFAR_ARCHIVE)
    archive = datasets.load("cifar10")
    monkeypatch.setenv("CIFAR10_DIR", str(write_batches(home / "folder" / datasets.CIFAR_FOLDER)))
    with provenance.artifacts_made() as made:
        folder = datasets.load("cifar10")
    assert not made, "the same images in the store have one key"
    assert folder.provenance["origin"] != archive.provenance["origin"]
    assert folder.sha256 == archive.sha256
    other = stored(5)
    other[b"labels"][0] = (other[b"labels"][0] + 1) % 10
    (home / "folder" / datasets.CIFAR_FOLDER / "test_batch").write_bytes(pickle.dumps(other, protocol=2))
    assert datasets.load("cifar10").sha256 != archive.sha256


def test_others_can_read_what_one_unpacks(pointed, home):
    """Two users share a store; the umask says what others may do."""
    write_archive(pointed / datasets.CIFAR_ARCHIVE)
    before = os.umask(0o022)
    try:
        datasets.load("cifar10")
    finally:
        os.umask(before)
    (folder,) = (home / "artifacts" / "datasets").iterdir()
    modes = {path.stat().st_mode & 0o777 for path in (folder, folder / datasets.CIFAR_FOLDER)}
    assert modes == {0o755}
    assert {file.stat().st_mode & 0o777 for file in folder.glob("*/*")} == {0o644}


def test_it_is_unpacked_by_python_without_the_filters_of_tarfile(pointed, monkeypatch):
    """Debian 12 has Python 3.11.2; extractall has no filter before 3.11.4."""
    write_archive(pointed / datasets.CIFAR_ARCHIVE)

    def extractall(self, path=".", members=None, *, numeric_owner=False): ...

    monkeypatch.setattr(tarfile.TarFile, "extractall", extractall)
    for name in ("data_filter", "tar_filter", "fully_trusted_filter"):
        monkeypatch.delattr(tarfile, name, raising=False)
    assert len(datasets.load("cifar10").test) == SIZE


def test_an_archive_is_unpacked_once(pointed, monkeypatch):
    write_archive(pointed / datasets.CIFAR_ARCHIVE)
    first = datasets.load("cifar10")
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("unpacked again"))
    np.testing.assert_array_equal(datasets.load("cifar10").train.pixels, first.train.pixels)


def test_its_batches_are_parsed_once(pointed, monkeypatch):
    write_batches(pointed)
    first, read_batch = datasets.load("cifar10"), source.read_batch
    monkeypatch.setattr(source, "read_batch", lambda path: pytest.fail("parsed again"))
    (kept,) = settings.ARTIFACTS.glob("cifar10/*.npy")
    with provenance.artifacts_made() as made:
        again = datasets.load("cifar10")
    assert not made
    assert not again.test.pixels.flags.writeable, "the images are mapped, not copied into memory"
    monkeypatch.setattr(source, "read_batch", read_batch)
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    mended = datasets.load("cifar10")
    for other in (again, mended):
        assert other.provenance == first.provenance
        for split in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(other, split).pixels, getattr(first, split).pixels)
            np.testing.assert_array_equal(getattr(other, split).labels, getattr(first, split).labels)


def test_a_batch_that_was_deleted_is_unpacked_again(pointed):
    """What a damaged batch's error asks for."""
    write_archive(pointed / datasets.CIFAR_ARCHIVE)
    first = datasets.load("cifar10")
    (batch,) = settings.ARTIFACTS.glob(f"datasets/*/{datasets.CIFAR_FOLDER}/data_batch_2")
    batch.write_bytes(b"damaged")
    refused("data_batch_2 is not a CIFAR-10 batch.*delete it and fetch CIFAR-10 again")
    batch.unlink()
    np.testing.assert_array_equal(datasets.load("cifar10").train.pixels, first.train.pixels)
    assert not list(settings.ARTIFACTS.glob("datasets/.unpacking-*"))


# ------------------------------------------------------------------------------ what comes out of it


def test_channels_are_planes_in_storage_and_last_in_use(pointed):
    batch = stored(5)
    batch[b"data"][:] = np.repeat(np.uint8([10, 20, 30]), 1024)  # a red, a green and a blue plane
    batch[b"data"][:, 1024 + 32 * 2 + 5] = 99  # green, row 2, column 5
    write_batches(pointed / datasets.CIFAR_FOLDER, test_batch=pickle.dumps(batch, protocol=2))
    pixels = datasets.load("cifar10").test.pixels
    assert pixels.dtype == np.uint8 and pixels.shape == (SIZE, 32, 32, 3)
    np.testing.assert_array_equal(pixels[:, 2, 5], [[10, 99, 30]] * SIZE)
    np.testing.assert_array_equal(pixels[:, 5, 2], [[10, 20, 30]] * SIZE)


def test_training_and_validation_share_no_image_and_lose_none(pointed):
    write_batches(pointed / datasets.CIFAR_FOLDER)
    data = datasets.load("cifar10")
    train, validation = (
        {image.tobytes() for image in split.pixels} for split in (data.train, data.validation)
    )
    everything = {
        bytes(image) for k in range(5) for image in stored(k)[b"data"].reshape(SIZE, 3, 1024).swapaxes(1, 2)
    }
    assert not train & validation and train | validation == everything
    again = datasets.load("cifar10")  # the split is the same every time
    np.testing.assert_array_equal(again.validation.pixels, data.validation.pixels)
    label_of = {
        bytes(image): label
        for k in range(5)
        for image, label in zip(
            stored(k)[b"data"].reshape(-1, 3, 1024).swapaxes(1, 2), stored(k)[b"labels"], strict=True
        )
    }
    for split in (data.train, data.validation):
        assert [label_of[image.tobytes()] for image in split.pixels] == split.labels.tolist()


def test_images_to_use_are_float32_in_0_to_1(pointed):
    write_batches(pointed / datasets.CIFAR_FOLDER)
    split = datasets.load("cifar10").test
    images, labels = split.take(7)
    assert images.dtype == np.float32 and images.shape == (7, 32, 32, 3) and labels.dtype == np.int32
    np.testing.assert_array_equal(images, split.pixels[:7].astype(np.float32) / np.float32(255))
    assert len(split.take()[0]) == SIZE and len(split.head(3)) == 3


def test_training_images_take_from_validation_only_what_training_lacks(pointed):
    write_batches(pointed / datasets.CIFAR_FOLDER)
    data = datasets.load("cifar10")
    assert len(data.training_images(30)) == 30 and len(data.training_images(90)) == 90
    np.testing.assert_array_equal(data.training_images(90).pixels, data.train.pixels)
    more = data.training_images(95)
    np.testing.assert_array_equal(more.pixels[90:], data.validation.pixels[:5])
    np.testing.assert_array_equal(more.labels[90:], data.validation.labels[:5])


# ----------------------------------------------------------------------------------- what is refused


def refused(message: str) -> str:
    with pytest.raises(CourseError, match=message) as caught:
        datasets.load("cifar10")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.98])
def test_a_truncated_archive(pointed, home, kept):
    archive = write_archive(pointed / datasets.CIFAR_ARCHIVE)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    refused("cifar-10-python.tar.gz .CIFAR10_DIR. is truncated or damaged.*delete it and fetch it again")
    assert not list((home / "artifacts" / "datasets").iterdir())  # nothing half unpacked is left


class RunsWhenLoaded:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def test_a_foreign_pickle_is_refused_and_not_run(pointed, home):
    mark = home / "it-ran"
    bomb = pickle.dumps({b"labels": [0], b"data": RunsWhenLoaded(mark)}, protocol=2)
    pickle.loads(bomb)
    assert mark.exists()  # the test's pickle does run when loaded carelessly
    mark.unlink()
    write_batches(pointed / datasets.CIFAR_FOLDER, data_batch_3=bomb)
    refused("data_batch_3 is not a CIFAR-10 batch: it asks for posix.system.*fetch CIFAR-10 again")
    assert not mark.exists()


@pytest.mark.parametrize(
    "module, name", [("numpy", "load"), ("builtins", "eval"), ("numpy.core.multiarray", "scalar")]
)
def test_only_what_a_batch_needs_can_be_loaded(module, name):
    with pytest.raises(pickle.UnpicklingError, match=f"{module}.{name}"):
        pickles.load(io.BytesIO(f"c{module}\n{name}\n.".encode()), pickles.NUMPY)


BAD_BATCHES = {
    "not a pickle": b"no pickle at all",
    "empty": b"",
    "a list": pickle.dumps([1, 2], protocol=2),
    "CIFAR-100's labels": pickle.dumps(
        {b"fine_labels": [1], b"data": np.zeros((1, 3072), np.uint8)}, protocol=2
    ),
    "other size": pickle.dumps({b"labels": [1], b"data": np.zeros((1, 784), np.uint8)}, protocol=2),
    "floats": pickle.dumps({b"labels": [1], b"data": np.zeros((1, 3072))}, protocol=2),
    "label 10": pickle.dumps({b"labels": [10], b"data": np.zeros((1, 3072), np.uint8)}, protocol=2),
    "more labels than images": pickle.dumps(
        {b"labels": [1, 2], b"data": np.zeros((1, 3072), np.uint8)}, protocol=2
    ),
    "no images": pickle.dumps({b"labels": [], b"data": np.zeros((0, 3072), np.uint8)}, protocol=2),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_damaged_batch(pointed, case):
    write_batches(pointed / datasets.CIFAR_FOLDER, test_batch=BAD_BATCHES[case])
    refused("test_batch is not a CIFAR-10 batch: .*; delete it and fetch CIFAR-10 again")


def test_an_archive_of_something_else(pointed, home):
    pointed.mkdir()
    with tarfile.open(pointed / datasets.CIFAR_ARCHIVE, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("holiday.jpg"))
    refused(
        "cifar-10-python.tar.gz .CIFAR10_DIR. holds no cifar-10-batches-py/test_batch; it is not CIFAR-10: "
    )
    assert not list((home / "artifacts" / "datasets").iterdir())


@pytest.mark.parametrize("form", ["archive", "unpacked"])
def test_a_missing_batch_file(pointed, home, form):
    if form == "archive":
        write_archive(pointed / datasets.CIFAR_ARCHIVE, data_batch_4=None)
    else:
        write_batches(pointed / datasets.CIFAR_FOLDER, data_batch_4=None)
    assert str(home) not in refused("lacks data_batch_4")


def add_to(archive, entry):
    """Write the archive again with one more entry."""
    with tarfile.open(archive) as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    with tarfile.open(archive, "w:gz") as tar:
        for path, data in content.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        tar.addfile(entry)


@pytest.mark.parametrize("name", ["../../outside", "/outside", "cifar-10-batches-py/link"])
def test_an_archive_cannot_write_outside_its_folder(pointed, home, name):
    archive = write_archive(pointed / datasets.CIFAR_ARCHIVE)
    member = tarfile.TarInfo(name)
    if name.endswith("link"):
        member.type, member.linkname = tarfile.SYMTYPE, "../../../outside"
    add_to(archive, member)
    assert len(datasets.load("cifar10").test) == SIZE  # only the batches are unpacked
    (unpacked,) = (home / "artifacts" / "datasets").iterdir()
    assert not list(home.rglob("outside"))
    assert sorted(file.name for file in unpacked.rglob("*")) == sorted([datasets.CIFAR_FOLDER, *BATCHES])


def test_a_batch_that_is_a_link_is_none(pointed, home):
    archive = write_archive(pointed / datasets.CIFAR_ARCHIVE, data_batch_4=None)
    link = tarfile.TarInfo(f"{datasets.CIFAR_FOLDER}/data_batch_4")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    add_to(archive, link)
    refused("lacks data_batch_4")


OTHERS = {
    "CIFAR-10's binary version": ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", "data_batch_1.bin"),
    "CIFAR-10's MATLAB version": ("cifar-10-matlab.tar.gz", "cifar-10-batches-mat", "data_batch_1.mat"),
    "CIFAR-100": ("cifar-100-python.tar.gz", "cifar-100-python", "train"),
}


@pytest.mark.parametrize(
    "form", ["archive", "renamed", "its folder", "unpacked", "the folder itself", "data/"]
)
@pytest.mark.parametrize("title", OTHERS)
def test_another_version_is_named_as_what_it_is(home, monkeypatch, title, form):
    archive, folder, file = OTHERS[title]
    place = home / ("course/data" if form == "data/" else "given")
    place.mkdir(parents=True)
    named = {
        "archive": place / archive,
        "renamed": place / datasets.CIFAR_ARCHIVE,
        "the folder itself": place / folder,
    }.get(form, place)
    if form in ("unpacked", "the folder itself"):
        (place / folder).mkdir()
        (place / folder / file).touch()
    else:
        with tarfile.open(named if named != place else place / archive, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo(f"{folder}/{file}"))
    if form != "data/":
        monkeypatch.setenv("CIFAR10_DIR", str(named))
    refused(title)


def test_a_test_batch_of_training_images_is_refused(pointed):
    """An accuracy on it would be one on training images; two batches that were mixed up are no other case."""
    training = stored(2)
    half = {
        **stored(5),
        b"data": np.concatenate([training[b"data"][: SIZE // 2], stored(5)[b"data"][SIZE // 2 :]]),
    }
    for number, (batch, repeated) in enumerate(((training, SIZE), (half, SIZE // 2))):
        folder = write_batches(
            pointed / f"{number}" / datasets.CIFAR_FOLDER, test_batch=pickle.dumps(batch, protocol=2)
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CIFAR10_DIR", str(folder))
            refused(f"{repeated} of the {SIZE} images in test_batch are training images too")


def test_a_full_disk_is_not_a_damaged_archive(pointed, monkeypatch):
    write_archive(pointed / datasets.CIFAR_ARCHIVE)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    refused("the disk is full.*Free some space")


# ------------------------------------------------------------------------------ when it is not there


def test_cifar10_dir_pointing_nowhere(pointed):
    refused("CIFAR10_DIR is .*given', where there is neither .*; point it at the folder .*, or unset it")
    with pytest.raises(CourseError, match="CIFAR10_DIR is"):  # who names a folder does not want patches10
        datasets.load("auto")


def test_without_data_and_network_three_remedies_are_named(home):
    message = refused("CIFAR-10 was not found: COURSE_OFFLINE=1 forbids downloading")
    assert all(
        word in message for word in ("(1) set CIFAR10_DIR", "(2) put either of them into", "(3) connect to")
    )


def test_auto_falls_back_to_patches10_with_a_notice(home, monkeypatch):
    some = datasets.Split(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int32))
    stand_in = datasets.Data("patches10", some, some, some, ("a",) * 10, (0.5,) * 3, (0.2,) * 3)
    monkeypatch.setattr(patches10, "load", lambda: stand_in)
    data = datasets.load("auto")
    assert data.name == "patches10" and data.train is some
    assert "NOT CIFAR-10" in data.notice and "CIFAR10_DIR" in data.notice
    assert datasets.load("patches10").notice == ""  # who asked for it knows


def test_auto_prefers_cifar10(pointed):
    write_batches(pointed / datasets.CIFAR_FOLDER)
    data = datasets.load("auto")
    assert data.name == "cifar10" and data.notice == ""


def test_the_download_goes_to_the_keras_cache_where_the_course_is_read_only(server, home, monkeypatch):
    archive, _ = server
    monkeypatch.setattr(source, "CIFAR_SHA256", provenance.sha256_of(archive))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(home / "course")))
    assert datasets.load("cifar10").provenance["origin"] == "download"
    assert (home / "keras" / "datasets" / datasets.CIFAR_ARCHIVE).is_file() and not (
        home / "course" / "data"
    ).exists()
    assert datasets.load("cifar10").provenance["origin"] == "the Keras cache, archive"


def test_a_folder_that_may_not_be_read_is_an_error_in_one_line(pointed, monkeypatch):
    def find():
        raise PermissionError(errno.EACCES, "Permission denied", str(pointed / "test_batch"))

    monkeypatch.setattr(source, "find", find)
    assert str(pointed) not in refused("CIFAR-10 cannot be read: test_batch: Permission denied")


def test_an_unknown_name():
    with pytest.raises(
        CourseError, match="unknown data set 'cifar100'; choose one of cifar10, patches10, auto"
    ):
        datasets.load("cifar100")


@pytest.fixture
def server(home, monkeypatch):
    """A web server of this machine's own in the place of the official one; and what it has been asked for."""
    folder, asked = home / "web", []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            asked.append(self.path)

    monkeypatch.delenv("COURSE_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch waits between its attempts
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        url = f"http://127.0.0.1:{http_server.server_port}/{datasets.CIFAR_ARCHIVE}"
        monkeypatch.setattr(source, "CIFAR_URL", url)
        threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True).start()
        yield write_archive(folder / datasets.CIFAR_ARCHIVE), asked
        http_server.shutdown()


def test_it_is_downloaded_once(server, monkeypatch):
    archive, asked = server
    monkeypatch.setattr(source, "CIFAR_SHA256", provenance.sha256_of(archive))
    data = datasets.load("cifar10")
    assert data.provenance["origin"] == "download" and data.provenance["official_archive"]
    assert datasets.load("cifar10").provenance["origin"] == "data/, archive"
    assert len(asked) == 1


@pytest.mark.parametrize("reply", ["other bytes", "nothing"])
def test_a_failing_download_is_tried_again_and_leaves_nothing(server, home, reply):
    archive, asked = server
    if reply == "nothing":
        archive.unlink()
    refused("CIFAR-10 was not found: the download failed .*Remedies: .1. set CIFAR10_DIR")
    assert len(asked) >= 3
    assert not [file for file in (home / "course").rglob("*") if file.is_file()]


# --------------------------------------------------------------------------------- the real CIFAR-10


@pytest.mark.deep
def test_the_real_splits(cifar10):
    assert [len(split) for split in (cifar10.train, cifar10.validation, cifar10.test)] == [
        45_000,
        5_000,
        10_000,
    ]
    np.testing.assert_array_equal(np.bincount(cifar10.test.labels), [1_000] * 10)
    training = np.bincount(cifar10.train.labels) + np.bincount(cifar10.validation.labels)
    np.testing.assert_array_equal(training, [5_000] * 10)
    assert np.bincount(cifar10.validation.labels).min() > 400


@pytest.mark.deep
def test_the_real_images(cifar10):
    assert cifar10.test.labels[:5].tolist() == [3, 8, 8, 0, 6]
    assert cifar10.test.pixels[0, 0, 0].tolist() == [158, 112, 49]
    mean = np.concatenate([cifar10.train.pixels, cifar10.validation.pixels]).mean((0, 1, 2)) / 255
    np.testing.assert_allclose(mean, cifar10.mean, atol=5e-4)


@pytest.mark.deep
def test_the_real_training_and_validation_images_are_disjoint(cifar10):
    known = {hash(image.tobytes()) for image in cifar10.train.pixels}
    shared = sum(hash(image.tobytes()) in known for image in cifar10.validation.pixels)
    assert shared == 0
