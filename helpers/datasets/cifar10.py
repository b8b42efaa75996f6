"""CIFAR-10 (Krizhevsky 2009): find it on this machine or download it, unpack it, and read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import artifacts, settings
from ..artifacts import pickles
from ..artifacts.archives import LARGEST, unpack
from ..artifacts.provenance import sha256_of
from ..settings import CourseError
from .storage import checksum
from .types import Data, Split

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVES = (CIFAR_ARCHIVE, "cifar-10-batches-py.tar.gz", "cifar-10-batches-py-target_archive")
"""The names of the archive: the official one, Keras 2's and Keras 3's."""

OTHER_VERSIONS = {
    "cifar-10-batches-bin": "CIFAR-10's binary version",
    "cifar-10-binary": "CIFAR-10's binary version",
    "cifar-10-batches-mat": "CIFAR-10's MATLAB version",
    "cifar-10-matlab": "CIFAR-10's MATLAB version",
    "cifar-100": "CIFAR-100",
}
"""How the names of what people fetch by mistake begin, and what it is."""

TRAINING_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
CIFAR_BATCHES = (*TRAINING_BATCHES, "test_batch")
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # tf2cv's CIFAR-10 pipeline
VALIDATION = 5_000  # as many as He et al. 2016 hold out for their CIFAR-10 networks
VALIDATION_SEED = 20101  # the same for every run, so that all networks have the same images held out
IMAGE = np.dtype([("pixels", "u1", (32, 32, 3)), ("label", "<i4"), ("split", "<i4")])
"""An image in the store. The splits are numbered 0 (training), 1 (validation) and 2 (test)."""


class CifarNotFound(CourseError):
    """CIFAR-10 is in none of the usual places and cannot be downloaded."""

    remedies = (
        "(1) set CIFAR10_DIR to the folder that holds cifar-10-python.tar.gz or cifar-10-batches-py; "
        "(2) put either of them into the course's folder data/; (3) connect to the network, so that "
        f"{CIFAR_URL} can be downloaded."
    )

    def __init__(self, why: str):
        super().__init__(f"CIFAR-10 was not found: {why}. Remedies: {self.remedies}")


class Found(NamedTuple):
    """Where CIFAR-10 is: the folder of batch files, an origin without private paths, the archive's sha256."""

    folder: Path
    origin: str
    archive_sha256: str | None = None


def load() -> Data:
    """Load CIFAR-10 with a fixed validation split.

    Raises:
        CifarNotFound: it is not on this machine and cannot be downloaded.
        CourseError: it is damaged, its test images are training images, or CIFAR10_DIR is wrong.
    """
    try:
        found = find()
        batches = {name: sha256_of(found.folder / name) for name in CIFAR_BATCHES}
    except OSError as error:
        place = Path(error.filename or CIFAR_FOLDER).name
        raise CourseError(f"CIFAR-10 cannot be read: {place}: {error.strerror}; change its mode") from error
    config = {"batches": batches, "validation": [VALIDATION, VALIDATION_SEED]}
    file = artifacts.make("cifar10", config, ".npy", lambda path: _write(path, found.folder)).path
    facts = artifacts.make_json("cifar10-facts", config, lambda: _facts(*_read(file)))
    train, validation, test = _read(file)
    return Data(
        name="cifar10",
        train=train,
        validation=validation,
        test=test,
        classes=CIFAR_CLASSES,
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
        provenance={
            "dataset": "CIFAR-10 (Krizhevsky 2009)",
            "origin": found.origin,
            "official_archive": found.archive_sha256 == CIFAR_SHA256,
            **facts,
        },
    )


def _write(path: Path, folder: Path) -> None:
    """Write the images of all splits to a file that can be mapped into memory."""
    batches = [read_batch(folder / name) for name in TRAINING_BATCHES]
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    test_pixels, test_labels = read_batch(folder / "test_batch")
    _check_test_images_are_new(test_pixels, pixels)
    kept, held_out = _places(len(labels))
    order = np.concatenate([kept, held_out])
    images = np.empty(len(labels) + len(test_labels), IMAGE)
    images["pixels"] = np.concatenate([pixels[order], test_pixels])
    images["label"] = np.concatenate([labels[order], test_labels])
    images["split"] = np.repeat([0, 1, 2], [len(kept), len(held_out), len(test_labels)])
    with open(path, "wb") as file:
        np.save(file, images)


def _read(path: Path) -> tuple[Split, Split, Split]:
    """Return the training, validation and test split, whose pixels stay on the disk until they are used."""
    images = np.load(path, mmap_mode="r")
    labels = np.array(images["label"])
    pixels, (first, last) = np.asarray(images["pixels"]), np.searchsorted(images["split"], [1, 2])
    parts = slice(0, first), slice(first, last), slice(last, None)
    train, validation, test = (Split(pixels[part], labels[part]) for part in parts)
    return train, validation, test


def _facts(train: Split, validation: Split, test: Split) -> dict:
    """Return the size of the splits, and the checksum of the images in CIFAR-10's own order."""
    official = np.argsort(np.concatenate(_places(len(train) + len(validation))))
    pixels = np.concatenate([train.pixels, validation.pixels])[official]
    labels = np.concatenate([train.labels, validation.labels])[official]
    return {
        "sha256": checksum(pixels, labels, test.pixels, test.labels),
        "train": len(train),
        "validation": len(validation),
        "test": len(test),
    }


def _places(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of n official training images are trained on, and which are held out."""
    order = np.random.default_rng(VALIDATION_SEED).permutation(n)
    return np.sort(order[VALIDATION:]), np.sort(order[:VALIDATION])


def find() -> Found:
    """Look for CIFAR-10 in CIFAR10_DIR, or else in data/ and the Keras cache; download it if necessary."""
    if asked := settings.cifar10_dir():
        # Jupyter starts in notebooks/, so a relative path is also tried from the course's folder.
        for place in (settings.expanded(asked), settings.ROOT / asked):
            if found := _look_in(place, "CIFAR10_DIR"):
                return found
        other = _other_version(place.name, *(file.name for file in settings.expanded(asked).glob("*")))
        raise CourseError(
            f"CIFAR10_DIR is {asked!r}, where there is neither {CIFAR_ARCHIVE} nor {CIFAR_FOLDER}"
            f"{other and f' (but {other})'}; point it at the folder that holds one of them, or unset it"
        )
    keras_cache = settings.keras_home() / "datasets"
    for folder, origin in ((settings.ROOT / "data", "data/"), (keras_cache, "the Keras cache")):
        if found := _look_in(folder, origin):
            return found
    return _unpack(_download(), "download", "download")


def _look_in(folder: Path, origin: str) -> Found | None:
    for unpacked in (folder, folder / CIFAR_FOLDER, folder / "cifar-10-batches-py-target" / CIFAR_FOLDER):
        if (unpacked / "test_batch").is_file():
            if missing := _missing(unpacked):
                raise CourseError(f"{origin}: {CIFAR_FOLDER} lacks {missing}; unpack the archive again")
            return Found(unpacked, f"{origin}, unpacked")
    for archive in (*(folder / name for name in ARCHIVES), folder):
        if archive.is_file() and (archive != folder or folder.suffix == ".gz"):
            return _unpack(archive, origin, f"{origin}, archive")
    return None


def _other_version(*names: str) -> str:
    """Return what these files are, if their names are those of something else than the Python version."""
    found = {title for begin, title in OTHER_VERSIONS.items() for name in names if name.startswith(begin)}
    return " and ".join(sorted(found))


def _missing(folder: Path) -> str:
    return ", ".join(name for name in CIFAR_BATCHES if not (folder / name).is_file())


def _download() -> Path:
    """Download the archive into data/, or into the Keras cache if the course's folder is read-only.

    Pooch retries, checks the checksum and leaves no partial file.
    """
    import pooch

    data = settings.ROOT / "data"
    other = _other_version(*(file.name for file in data.glob("*")))
    other = other and f" (data/ holds {other})"
    if settings.is_offline():
        raise CifarNotFound(f"COURSE_OFFLINE=1 forbids downloading it{other}")
    writable = os.access(data if data.exists() else settings.ROOT, os.W_OK)
    downloader: Any = pooch.HTTPDownloader(progressbar=True, timeout=20)
    try:
        fetched = pooch.create(
            path=data if writable else settings.keras_home() / "datasets",
            base_url=CIFAR_URL.rsplit("/", 1)[0],
            registry={CIFAR_ARCHIVE: f"sha256:{CIFAR_SHA256}"},
            retry_if_failed=2,
        ).fetch(CIFAR_ARCHIVE, downloader=downloader)
    except Exception as error:  # pooch passes on any error of requests
        raise CifarNotFound(f"the download failed ({type(error).__name__}){other}") from error
    return Path(fetched)


def _unpack(archive: Path, place: str, origin: str) -> Found:
    """Unpack an archive's batches into the artifacts unless they are there already."""
    sha256, title = sha256_of(archive), f"{archive.name} ({place})"
    folder = settings.ARTIFACTS / "datasets" / f"cifar10-{sha256[:16]}" / CIFAR_FOLDER
    if _missing(folder):
        unpack(archive, folder, CIFAR_BATCHES, lambda *found: _check_unpacked(title, *found), title)
    return Found(folder, origin, sha256)


def _check_unpacked(archive: str, folder: Path, folders: set[str]) -> None:
    if not (folder / "test_batch").is_file():
        other = _other_version(*folders) or "not CIFAR-10"
        raise CourseError(
            f"{archive} holds no {CIFAR_FOLDER}/test_batch; it is {other}: fetch {CIFAR_ARCHIVE} instead"
        )
    if missing := _missing(folder):
        raise CourseError(f"{archive} lacks {missing}; fetch it again")


def _check_test_images_are_new(test: np.ndarray, training: np.ndarray) -> None:
    """Refuse test images of which more than one in a hundred is a training image too."""
    known = {hash(image.tobytes()) for image in training}
    repeated = sum(hash(image.tobytes()) in known for image in test)
    if repeated > len(test) / 100:
        raise CourseError(
            f"{repeated:,} of the {len(test):,} images in test_batch are training images too; fetch CIFAR-10 "
            "again, because an accuracy on them would mean nothing"
        )


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch file.

    Returns:
        Images uint8 [n, 32, 32, 3] and labels int32 [n].

    Raises:
        CourseError: the file is damaged or not a CIFAR-10 batch.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MiB")
        with open(path, "rb") as file:
            batch = pickles.load(file, pickles.NUMPY)
        data, labels = batch[b"data"].bytes(), batch[b"labels"]
        if type(labels) is not list or not labels or not all(type(n) is int and 0 <= n <= 9 for n in labels):
            raise ValueError("its labels are not all in 0..9")
        if data.shape != (len(labels), 3072):
            raise ValueError(f"its data has shape {data.shape}, not ({len(labels)}, 3072)")
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise CourseError(
            f"{path.name} is not a CIFAR-10 batch: {settings.one_line(error)}; "
            "delete it and fetch CIFAR-10 again"
        ) from error
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), np.array(labels, np.int32)
