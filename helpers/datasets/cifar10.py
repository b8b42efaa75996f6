"""CIFAR-10, and an embedded stand-in for machines that cannot have it.

Images are kept as uint8 NHWC in storage and handed out as float32 in [0, 1].
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .. import settings
from ..artifacts.provenance import sha256_of
from ..settings import CourseError, cannot_write, disk_is_full

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # tf2cv's CIFAR-10 pipeline
VALIDATION = 5_000  # He et al. 2016 hold out the same number for their CIFAR-10 networks
NAMES = ("cifar10", "patches10", "auto")


@dataclass(frozen=True)
class Split:
    """Images in storage form: ``pixels`` uint8 [n, 32, 32, 3], ``labels`` int32 [n]."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first n images (all by default) as float32 [n, 32, 32, 3] in [0, 1], and their labels."""
        return self.pixels[:n].astype(np.float32) / np.float32(255), self.labels[:n]

    def head(self, n: int) -> Split:
        """The first n images, still in storage form."""
        return Split(self.pixels[:n], self.labels[:n])


@dataclass(frozen=True)
class Data:
    """A data set: the official test split, and the official training split less a fixed validation split.

    Attributes:
        name: cifar10 or patches10.
        train, validation, test: the splits.
        classes: the ten class names, by label.
        mean, std: of each channel, in [0, 1]; what a classifier normalises with.
        provenance: where the images come from, sha256 and counts; printed in the report.
        notice: what a reader of a report must know before anything else; empty if nothing.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    provenance: dict = field(default_factory=dict)
    notice: str = ""

    @property
    def sha256(self) -> str:
        return self.provenance["sha256"]

    def training_images(self, n: int) -> Split:
        """The first n images to train on; validation images are among them only where n asks for more than
        the training split holds (the paper's 50,000, where nothing is chosen by validation)."""
        if n <= len(self.train):
            return self.train.head(n)
        return Split(
            np.concatenate([self.train.pixels, self.validation.pixels])[:n],
            np.concatenate([self.train.labels, self.validation.labels])[:n],
        )


def load(name: str = "auto") -> Data:
    """Load a data set: ``cifar10``, ``patches10``, or ``auto`` (CIFAR-10 if it can be had, else patches10).

    Raises:
        CourseError: unknown name; CIFAR-10 asked for and not to be had, or damaged.
    """
    if name not in NAMES:
        raise CourseError(f"unknown data set {name!r}; choose one of {', '.join(NAMES)}")
    if name == "patches10":
        from . import patches10

        return patches10.load()
    if name == "cifar10":
        return _load_cifar10()
    try:
        return _load_cifar10()
    except CifarNotFound as missing:
        from . import patches10

        notice = (
            "This is NOT CIFAR-10. CIFAR-10 could not be had, so everything below was measured on patches10, "
            "the course's embedded stand-in (32x32 crops of ten photographs). Its numbers cannot be compared with "
            "the paper's. Remedies: " + missing.remedies
        )
        return replace(patches10.load(), notice=notice)


# ---------------------------------------------------------------------------------------------------- CIFAR-10


class CifarNotFound(CourseError):
    """CIFAR-10 is on none of the places where the course looks, and cannot be downloaded."""

    remedies = (
        "(1) set CIFAR10_DIR to the folder that holds cifar-10-python.tar.gz or cifar-10-batches-py; "
        f"(2) put either of them into the course's folder data/; (3) connect to the network, so that {CIFAR_URL} "
        "can be downloaded."
    )

    def __init__(self, why: str):
        super().__init__(f"CIFAR-10 was not found: {why}. Remedies: {self.remedies}")


def _load_cifar10() -> Data:
    place, sha256, origin = _find_cifar10()
    train = [_read_batch(place / f"data_batch_{i}") for i in range(1, 6)]
    test = _read_batch(place / "test_batch")
    pixels, labels = (np.concatenate([t[i] for t in train]) for i in (0, 1))
    # A fixed choice, whatever the run's seed: every network of the course has the same images held out.
    order = np.random.default_rng(20101).permutation(len(labels))
    held, kept = np.sort(order[:VALIDATION]), np.sort(order[VALIDATION:])
    return Data(
        name="cifar10",
        train=Split(pixels[kept], labels[kept]),
        validation=Split(pixels[held], labels[held]),
        test=Split(*test),
        classes=CIFAR_CLASSES,
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
        provenance={
            "dataset": "CIFAR-10 (Krizhevsky 2009)",
            "origin": origin,
            "sha256": sha256,
            "official_archive": sha256 == CIFAR_SHA256,
            "train": len(kept),
            "validation": len(held),
            "test": len(test[1]),
        },
    )


def _find_cifar10() -> tuple[Path, str, str]:
    """The folder of batch files, the sha256 of what the user has, and where it was found (no private path)."""
    asked = settings.cifar10_dir()
    if asked:
        # A relative path is the shell's, whose folder is the course's; a notebook's own folder is another.
        places = (Path(asked).expanduser(), settings.ROOT / asked)
        if not (found := next(filter(None, (_look_in(place, "CIFAR10_DIR") for place in places)), None)):
            raise CourseError(
                f"CIFAR10_DIR is {asked!r}, where there is neither {CIFAR_ARCHIVE} nor {CIFAR_FOLDER}; "
                "point it at the folder that holds one of them, or unset it"
            )
        return found
    keras_cache = settings.keras_home() / "datasets"
    for folder, origin in ((settings.ROOT / "data", "data/"), (keras_cache, "the Keras cache")):
        if found := _look_in(folder, origin):
            return found
    return _unpack(_download_cifar10(), "download") + ("download",)


def _look_in(folder: Path, origin: str) -> tuple[Path, str, str] | None:
    for unpacked in (folder, folder / CIFAR_FOLDER, folder / "cifar-10-batches-py-target" / CIFAR_FOLDER):
        if (unpacked / "test_batch").is_file():
            files = [unpacked / name for name in CIFAR_BATCHES]
            if missing := _missing(unpacked):
                raise CourseError(f"{origin}: {CIFAR_FOLDER} lacks {missing}; unpack the archive again")
            return unpacked, sha256_of(*files), f"{origin}, unpacked"
    # Keras 2 stores the archive under the second name, Keras 3 under the third.
    for name in (CIFAR_ARCHIVE, "cifar-10-batches-py.tar.gz", "cifar-10-batches-py-target_archive"):
        if (folder / name).is_file():
            return _unpack(folder / name, origin) + (f"{origin}, archive",)
    if folder.is_file() and folder.suffix == ".gz":
        return _unpack(folder, origin) + (f"{origin}, archive",)
    return None


def _missing(unpacked: Path) -> str:
    return ", ".join(name for name in CIFAR_BATCHES if not (unpacked / name).is_file())


def _download_cifar10() -> Path:
    """Fetch the archive into data/ (progress bar, retries, checksum, atomic: all pooch's)."""
    import pooch

    if settings.is_offline():
        raise CifarNotFound("COURSE_OFFLINE=1 forbids downloading it")
    try:
        fetched = pooch.create(
            path=settings.ROOT / "data",
            base_url=CIFAR_URL.rsplit("/", 1)[0],
            registry={CIFAR_ARCHIVE: f"sha256:{CIFAR_SHA256}"},
            retry_if_failed=2,
        ).fetch(CIFAR_ARCHIVE, downloader=pooch.HTTPDownloader(progressbar=True, timeout=20))
    except Exception as error:  # pooch passes on whatever requests raises; all of it means "no download"
        raise CifarNotFound(f"the download failed ({type(error).__name__})") from error
    return Path(fetched)


def _unpack(archive: Path, origin: str) -> tuple[Path, str]:
    """Unpack an archive once into the artifacts, under its checksum; an interrupted unpacking leaves nothing."""
    sha256 = sha256_of(archive)
    target = settings.ARTIFACTS / "datasets" / f"cifar10-{sha256[:16]}"
    if _missing(target / CIFAR_FOLDER):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as scratch:
            try:
                with tarfile.open(archive, "r:gz") as tar:
                    tar.extractall(scratch, filter="data")
            except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
                if disk_is_full(error):
                    raise cannot_write(target, error) from error
                raise CourseError(
                    f"{archive.name} ({origin}) is truncated or damaged ({error}); delete it and fetch it again"
                ) from error
            if not (Path(scratch) / CIFAR_FOLDER / "test_batch").is_file():
                raise CourseError(
                    f"{archive.name} ({origin}) holds no {CIFAR_FOLDER}/test_batch; it is not CIFAR-10"
                )
            if missing := _missing(Path(scratch) / CIFAR_FOLDER):
                raise CourseError(f"{archive.name} ({origin}) lacks {missing}; fetch it again")
            try:
                os.replace(scratch, target)
            except OSError:
                if _missing(target / CIFAR_FOLDER):  # somebody deleted a damaged batch
                    shutil.rmtree(target)
                    os.replace(scratch, target)
                # else another process was faster; its copy is as good
            Path(scratch).mkdir(exist_ok=True)  # for TemporaryDirectory to remove
    return target / CIFAR_FOLDER, sha256


class _BatchUnpickler(pickle.Unpickler):
    """Admits what a CIFAR-10 batch holds (dicts, lists, bytes, one array) and nothing that could run code."""

    _ADMITTED = {
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
    } | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str):
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"it wants to load {module}.{name}, which no CIFAR-10 batch needs")
        return super().find_class(module, name)


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch file: uint8 NHWC images and int32 labels."""
    try:
        batch = _BatchUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
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
