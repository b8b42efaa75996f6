"""patches10: the course's built-in substitute for CIFAR-10, for machines that do not have it.

The ten classes are ten photographs from scikit-image's wheel, and an image is a 32x32 crop of one of them.
Each crop gets a random colour, brightness, contrast and scale, so that only texture and shapes tell the
classes apart. Nothing is downloaded, and the same recipe gives the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image
from skimage.io import imread

from .. import settings
from ..artifacts.provenance import sha256_of
from ..settings import CourseError
from .storage import checksum
from .types import Data, Split

PICTURES = {
    "brick": "brick.png",
    "cat": "chelsea.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "stars": "hubble_deep_field.jpg",
    "text": "page.png",
    "tissue": "ihc.png",
}
"""The classes, in the order of their labels, and the picture of each."""

PICTURES_FOLDER = Path(skimage.__file__).parent / "data"
COUNTS = {"train": 10_000, "validation": 1_000, "test": 2_000}
RECIPE: dict[str, Any] = {
    "version": 1,  # increase it when a change of the code below changes the images
    "seed": 20102,
    "counts": COUNTS,
    "rows": 5,  # of tiles in a picture; the number of columns makes the tiles about square
    "side": (0.45, 1.0),  # the side of a crop, as a fraction of its tile's
    "within": {"retina.jpg": (215, 215, 1195, 1195)},  # use only the square inside the eye's disc
    "least_std": 5.0,  # of a crop's grey levels, out of 255; a flatter crop shows nothing to recognise
    "brightness": (0.35, 0.65),  # the mean of a crop, in [0, 1]
    "cast": 0.15,  # the largest distance of a channel's mean from that mean
    "contrast": (0.12, 0.24),  # a channel's standard deviation, in [0, 1], is 0.7 to 1 times this
}


def load() -> Data:
    """Load patches10 from the cache, or build it, which takes seconds.

    Raises:
        CourseError: a picture is missing or damaged; the cache cannot be written.
    """
    pictures = {}
    for file in PICTURES.values():
        try:
            pictures[file] = sha256_of(PICTURES_FOLDER / file)
        except OSError as error:
            raise _broken(file, "is missing") from error
    recipe = hashlib.sha256(json.dumps([RECIPE, pictures]).encode()).hexdigest()
    cache = settings.ARTIFACTS / "datasets" / f"patches10-{recipe[:16]}.npz"
    pixels, labels, sha256 = _read(cache) or _build_and_write(cache)
    ends = np.cumsum(list(COUNTS.values()))[:-1]
    train, validation, test = map(Split, np.split(pixels, ends), np.split(labels, ends))
    # The histogram gives the exact mean and needs no 30 million floats.
    histogram = np.stack([np.bincount(train.pixels[..., c].ravel(), minlength=256) for c in range(3)])
    share, levels = histogram / histogram.sum(1, keepdims=True), np.arange(256) / 255
    mean = share @ levels
    std = np.sqrt(share @ levels**2 - mean**2)
    return Data(
        name="patches10",
        train=train,
        validation=validation,
        test=test,
        classes=tuple(PICTURES),
        mean=tuple(round(float(m), 4) for m in mean),
        std=tuple(round(float(s), 4) for s in std),
        provenance={
            "dataset": "patches10 (32x32 crops of ten photographs)",
            "origin": f"scikit-image {version('scikit-image')}'s wheel",
            "sha256": sha256,
            "pictures": pictures,
            **COUNTS,
        },
    )


def _broken(file: str, what: str) -> CourseError:
    remedy = f"pip install --force-reinstall --no-deps scikit-image=={version('scikit-image')}"
    return CourseError(f"patches10 needs scikit-image's picture {file}, which {what}; run: {remedy}")


def _read(cache: Path) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Read pixels, labels and their checksum from the cache; return None if it is missing or damaged."""
    try:
        with np.load(cache, allow_pickle=False) as stored:
            pixels, labels, sha256 = stored["pixels"], stored["labels"], str(stored["sha256"])
        return (pixels, labels, sha256) if checksum(pixels, labels) == sha256 else None
    except Exception:  # a damaged archive can raise nearly anything, and building takes only seconds
        return None


def _build_and_write(cache: Path) -> tuple[np.ndarray, np.ndarray, str]:
    pixels, labels = build()
    sha256, buffer = checksum(pixels, labels), io.BytesIO()
    np.savez(buffer, pixels=pixels, labels=labels, sha256=sha256)
    settings.write_atomically(cache, buffer.getvalue())
    return pixels, labels, sha256


def build() -> tuple[np.ndarray, np.ndarray]:
    """Build all images: first training, then validation, then test images, each split balanced and shuffled.

    Returns:
        Images uint8 [13000, 32, 32, 3] and labels int32 [13000].

    Raises:
        CourseError: a picture is damaged.
    """
    pixels = {split: [] for split in COUNTS}
    for label, file in enumerate(PICTURES.values()):
        try:
            picture = Image.fromarray(imread(PICTURES_FOLDER / file)).convert("RGB")
            picture = picture.crop(RECIPE["within"].get(file, (0, 0, *picture.size)))
        except Exception as error:  # image readers raise nearly anything
            raise _broken(file, "cannot be read") from error
        regions = tiles(picture.height, picture.width)
        for i, (split, count) in enumerate(COUNTS.items()):
            rng = np.random.default_rng([RECIPE["seed"], label, i])
            pixels[split].append(_recolour(_crops(picture, regions[split], count // len(PICTURES), rng), rng))
    images, labels = [], []
    for i, (split, count) in enumerate(COUNTS.items()):
        order = np.random.default_rng([RECIPE["seed"], len(PICTURES), i]).permutation(count)
        images.append(np.concatenate(pixels[split])[order])
        labels.append((order // (count // len(PICTURES))).astype(np.int32))
    return np.concatenate(images), np.concatenate(labels)


def tiles(height: int, width: int) -> dict[str, list[tuple[int, int, int, int]]]:
    """Cut a picture into tiles (left, top, right, bottom) and give each tile to one split.

    The tiles do not overlap. Of any five tiles in a row or a column, three are for training, one for
    validation and one for testing, so that each split sees every part of the picture.
    """
    rows = RECIPE["rows"]
    columns = round(rows * width / height)
    y = [height * k // rows for k in range(rows + 1)]
    x = [width * k // columns for k in range(columns + 1)]
    owner = ("test", "train", "validation", "train", "train")
    regions = {split: [] for split in COUNTS}
    for row in range(rows):
        for column in range(columns):
            box = (x[column], y[row], x[column + 1], y[row + 1])
            regions[owner[(2 * row + column) % 5]].append(box)
    return regions


def _crops(picture: Image.Image, boxes: list, count: int, rng: np.random.Generator) -> np.ndarray:
    """Crop random squares from random tiles, and mirror half of them: uint8 [count, 32, 32, 3]."""
    # Resampling reads a little beyond a crop's edge. Cut the tiles out first, so that it stays inside the
    # tile.
    cut = [picture.crop(box) for box in boxes]
    crops = []
    for _ in range(100 * count):
        which, scale, across, down, mirror = rng.random(5)
        tile = cut[int(which * len(cut))]
        low, high = RECIPE["side"]
        side = (low + scale * (high - low)) * min(tile.size)
        left, top = across * (tile.width - side), down * (tile.height - side)
        # Pillow filters before it shrinks (no aliasing) and computes in integers (the same bytes everywhere).
        box = (left, top, left + side, top + side)
        crop = np.asarray(tile.resize((32, 32), Image.Resampling.BILINEAR, box=box))
        if crop.mean(2).std() >= RECIPE["least_std"]:
            crops.append(crop[:, ::-1] if mirror < 0.5 else crop)
            if len(crops) == count:
                return np.stack(crops)
    raise CourseError("patches10: a picture is too flat to take crops from; reinstall scikit-image")


def _recolour(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give each crop colours, a brightness and a contrast that do not depend on its class (uint8 in and out).

    Each new channel is a random mixture of the old ones, scaled to a random mean and standard deviation.
    The three mixtures range from equal (a tinted grey picture) to unrelated. Computing in float64 makes
    rounding the same on every machine.
    """
    n = len(crops)
    mixture = rng.random((n, 3, 3))
    mixture += rng.random((n, 1, 1)) * (mixture.mean(1, keepdims=True) - mixture)
    mixed = crops.reshape(n, -1, 3) @ mixture.transpose(0, 2, 1)
    mixed = (mixed - mixed.mean(1, keepdims=True)) / np.maximum(mixed.std(1, keepdims=True), 1e-6)

    def between(bounds, channels):
        low, high = bounds
        return low + (high - low) * rng.random((n, 1, channels))

    mean = between(RECIPE["brightness"], 1) + between((-RECIPE["cast"], RECIPE["cast"]), 3)
    mixed = mean + between(RECIPE["contrast"], 1) * between((0.7, 1.0), 3) * mixed
    return np.rint(255 * mixed.clip(0, 1)).astype(np.uint8).reshape(crops.shape)
