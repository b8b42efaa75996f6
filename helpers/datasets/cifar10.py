"""CIFAR-10 (Krizhevsky 2009): find it on this machine or download it, unpack it, and read it."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import settings
from ..artifacts.provenance import sha256_of
from ..settings import CourseError, cannot_write, disk_is_full
from .types import Data, Split

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVES = (CIFAR_ARCHIVE, "cifar-10-batches-py.tar.gz", "cifar-10-batches-py-target_archive")
"""The names of the archive: the official one, Keras 2's and Keras 3's."""

TRAINING_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
CIFAR_BATCHES = (*TRAINING_BATCHES, "test_batch")
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # tf2cv's CIFAR-10 pipeline
VALIDATION = 5_000  # as many as He et al. 2016 hold out for their CIFAR-10 networks
VALIDATION_SEED = 20101  # the same for every run, so that all networks have the same images held out


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
    """Where CIFAR-10 is: the folder of batch files, the checksum, and an origin without private paths."""

    folder: Path
    sha256: str
    origin: str


def load() -> Data:
    """Load CIFAR-10 with a fixed validation split.

    Raises:
        CifarNotFound: it is not on this machine and cannot be downloaded.
        CourseError: it is damaged, or CIFAR10_DIR is wrong.
    """
    found = find()
    batches = [read_batch(found.folder / name) for name in TRAINING_BATCHES]
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    order = np.random.default_rng(VALIDATION_SEED).permutation(len(labels))
    held_out, kept = np.sort(order[:VALIDATION]), np.sort(order[VALIDATION:])
    test = Split(*read_batch(found.folder / "test_batch"))
    return Data(
        name="cifar10",
        train=Split(pixels[kept], labels[kept]),
        validation=Split(pixels[held_out], labels[held_out]),
        test=test,
        classes=CIFAR_CLASSES,
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
        provenance={
            "dataset": "CIFAR-10 (Krizhevsky 2009)",
            "origin": found.origin,
            "sha256": found.sha256,
            "official_archive": found.sha256 == CIFAR_SHA256,
            "train": len(kept),
            "validation": len(held_out),
            "test": len(test),
        },
    )


def find() -> Found:
    """Look for CIFAR-10 in CIFAR10_DIR, or else in data/ and the Keras cache; download it if necessary."""
    if asked := settings.cifar10_dir():
        # Jupyter starts in notebooks/, so a relative path is also tried from the course's folder.
        for place in (Path(asked).expanduser(), settings.ROOT / asked):
            if found := _look_in(place, "CIFAR10_DIR"):
                return found
        raise CourseError(
            f"CIFAR10_DIR is {asked!r}, where there is neither {CIFAR_ARCHIVE} nor {CIFAR_FOLDER}; "
            "point it at the folder that holds one of them, or unset it"
        )
    keras_cache = settings.keras_home() / "datasets"
    for folder, origin in ((settings.ROOT / "data", "data/"), (keras_cache, "the Keras cache")):
        if found := _look_in(folder, origin):
            return found
    return Found(*_unpack(_download(), "download"), "download")


def _look_in(folder: Path, origin: str) -> Found | None:
    for unpacked in (folder, folder / CIFAR_FOLDER, folder / "cifar-10-batches-py-target" / CIFAR_FOLDER):
        if (unpacked / "test_batch").is_file():
            if missing := _missing(unpacked):
                raise CourseError(f"{origin}: {CIFAR_FOLDER} lacks {missing}; unpack the archive again")
            sha256 = sha256_of(*(unpacked / name for name in CIFAR_BATCHES))
            return Found(unpacked, sha256, f"{origin}, unpacked")
    for archive in (*(folder / name for name in ARCHIVES), folder):
        if archive.is_file() and (archive != folder or folder.suffix == ".gz"):
            return Found(*_unpack(archive, origin), f"{origin}, archive")
    return None


def _missing(folder: Path) -> str:
    return ", ".join(name for name in CIFAR_BATCHES if not (folder / name).is_file())


def _download() -> Path:
    """Download the archive into data/. Pooch retries, checks the checksum and leaves no partial file."""
    import pooch

    if settings.is_offline():
        raise CifarNotFound("COURSE_OFFLINE=1 forbids downloading it")
    downloader: Any = pooch.HTTPDownloader(progressbar=True, timeout=20)
    try:
        fetched = pooch.create(
            path=settings.ROOT / "data",
            base_url=CIFAR_URL.rsplit("/", 1)[0],
            registry={CIFAR_ARCHIVE: f"sha256:{CIFAR_SHA256}"},
            retry_if_failed=2,
        ).fetch(CIFAR_ARCHIVE, downloader=downloader)
    except Exception as error:  # pooch passes on any error of requests
        raise CifarNotFound(f"the download failed ({type(error).__name__})") from error
    return Path(fetched)


def _unpack(archive: Path, origin: str) -> tuple[Path, str]:
    """Unpack an archive into the artifacts unless it is there already.

    An interruption leaves no partial folder.

    Returns:
        The folder of batch files, and the checksum of the archive.
    """
    sha256 = sha256_of(archive)
    target = settings.ARTIFACTS / "datasets" / f"cifar10-{sha256[:16]}"
    if _missing(target / CIFAR_FOLDER):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as scratch:
            try:
                with tarfile.open(archive, "r:gz") as tar:
                    tar.extractall(scratch, filter="data")
            except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
                if isinstance(error, OSError) and disk_is_full(error):
                    raise cannot_write(target, error) from error
                raise CourseError(
                    f"{archive.name} ({origin}) is truncated or damaged ({error}); "
                    "delete it and fetch it again"
                ) from error
            _check_unpacked(Path(scratch) / CIFAR_FOLDER, f"{archive.name} ({origin})")
            try:
                os.replace(scratch, target)
            except OSError:  # the target exists
                if _missing(target / CIFAR_FOLDER):  # and somebody deleted a batch from it
                    shutil.rmtree(target)
                    os.replace(scratch, target)
                # else another process was faster, and its copy is as good
            Path(scratch).mkdir(exist_ok=True)  # for TemporaryDirectory to remove
    return target / CIFAR_FOLDER, sha256


def _check_unpacked(folder: Path, archive: str) -> None:
    if not (folder / "test_batch").is_file():
        raise CourseError(f"{archive} holds no {CIFAR_FOLDER}/test_batch; it is not CIFAR-10")
    if missing := _missing(folder):
        raise CourseError(f"{archive} lacks {missing}; fetch it again")


class BatchUnpickler(pickle.Unpickler):
    """Read what a CIFAR-10 batch holds (dicts, lists, bytes, one array), and nothing that could run code."""

    _ADMITTED = {
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
    } | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str):
        """Return an admitted class, and refuse any other."""
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"it wants to load {module}.{name}, which no CIFAR-10 batch needs")
        return super().find_class(module, name)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch file.

    Returns:
        Images uint8 [n, 32, 32, 3] and labels int32 [n].

    Raises:
        CourseError: the file is damaged or not a CIFAR-10 batch.
    """
    try:
        batch = BatchUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], np.int32)
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape != (len(labels), 3072):
            raise ValueError(f"its data has shape {data.shape} and type {data.dtype}, not (n, 3072) uint8")
        if not len(labels) or labels.min() < 0 or labels.max() > 9:
            raise ValueError("its labels are not all in 0..9")
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise CourseError(
            f"{path.name} is not a CIFAR-10 batch: {error}; delete it and fetch CIFAR-10 again"
        ) from error
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels
