"""patches10: the course's embedded stand-in for CIFAR-10, for machines that cannot have it.

Ten photographs that scikit-image's wheel ships are the ten classes; an image is a 32x32 crop of one of them. Colour,
brightness, contrast and scale are drawn anew for every crop, so that a class can only be told by its texture and
shapes. Nothing is downloaded, and the same recipe gives the same bytes wherever it runs.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from skimage.io import imread

from .. import settings
from ..artifacts.provenance import sha256_of
from ..settings import CourseError
from .cifar10 import Data, Split

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
"""The classes, by label, and the picture that each is cropped from."""

PICTURES_FOLDER = Path(skimage.__file__).parent / "data"
COUNTS = {"train": 10_000, "validation": 1_000, "test": 2_000}
RECIPE = {
    "version": 1,  # to be raised when the code below changes what it draws
    "seed": 20102,
    "counts": COUNTS,
    "rows": 5,  # of tiles a picture; as many columns as make the tiles about square
    "side": (0.45, 1.0),  # of a crop, in sides of its tile
    "within": {
        "retina.jpg": (215, 215, 1195, 1195)
    },  # the part used: of the eye's disc, the square inside it
    "least_std": 5.0,  # of a crop's grey levels out of 255: flatter ones show nothing to recognise
    "brightness": (0.35, 0.65),  # the crop's mean, in [0, 1]
    "cast": 0.15,  # how far a channel's mean may be from that
    "contrast": (0.12, 0.24),  # 0.7 to 1 times this is a channel's standard deviation, in [0, 1]
}


def load() -> Data:
    """patches10, from the cache or built (seconds).

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
    # From the histogram: exact, and without 30 million floats.
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
            "origin": f"scikit-image {skimage.__version__}'s wheel",
            "sha256": sha256,
            "pictures": pictures,
            **COUNTS,
        },
    )


def _broken(file: str, what: str) -> CourseError:
    remedy = f"pip install --force-reinstall --no-deps scikit-image=={skimage.__version__}"
    return CourseError(f"patches10 needs scikit-image's picture {file}, which {what}; run: {remedy}")


# ------------------------------------------------------------------------------------------------------- the cache


def _digest(pixels: np.ndarray, labels: np.ndarray) -> str:
    """The checksum of the pixels and labels, in their order."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels))
    digest.update(labels.astype("<i4"))
    return digest.hexdigest()


def _read(cache: Path) -> tuple[np.ndarray, np.ndarray, str] | None:
    """The cached pixels and labels and their checksum; None if there are none, or other ones than were written."""
    try:
        with np.load(cache, allow_pickle=False) as stored:
            pixels, labels, sha256 = stored["pixels"], stored["labels"], str(stored["sha256"])
        return (pixels, labels, sha256) if _digest(pixels, labels) == sha256 else None
    except Exception:  # a damaged archive can raise nearly anything, and building anew takes only seconds
        return None


def _build_and_write(cache: Path) -> tuple[np.ndarray, np.ndarray, str]:
    pixels, labels = build()
    sha256, buffer = _digest(pixels, labels), io.BytesIO()
    np.savez(buffer, pixels=pixels, labels=labels, sha256=sha256)
    settings.write_atomically(cache, buffer.getvalue())
    return pixels, labels, sha256


# ------------------------------------------------------------------------------------------------------- the crops


def build() -> tuple[np.ndarray, np.ndarray]:
    """All images, uint8 [13000, 32, 32, 3], training, validation and test images after one another, and their labels,
    int32 [13000]. Each split is balanced and shuffled.

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

    No pixel is in two of them. Any five tiles in a row or a column are three of training, one of validation and one of
    test, so that each split sees every part of the picture.
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
    """Square crops at random places and scales of random tiles, half of them mirrored: uint8 [count, 32, 32, 3]."""
    # Cut out first: what resampling reads beyond a crop's edge then still belongs to the crop's own tile.
    cut = [picture.crop(box) for box in boxes]
    crops = []
    for _ in range(100 * count):
        which, scale, across, down, mirror = rng.random(5)
        tile = cut[int(which * len(cut))]
        low, high = RECIPE["side"]
        side = (low + scale * (high - low)) * min(tile.size)
        left, top = across * (tile.width - side), down * (tile.height - side)
        # Pillow widens the filter when it shrinks (no aliasing), and computes in integers (the same everywhere).
        box = (left, top, left + side, top + side)
        crop = np.asarray(tile.resize((32, 32), Image.Resampling.BILINEAR, box=box))
        if crop.mean(2).std() >= RECIPE["least_std"]:
            crops.append(crop[:, ::-1] if mirror < 0.5 else crop)
            if len(crops) == count:
                return np.stack(crops)
    raise CourseError("patches10: a picture is too flat to take crops from; reinstall scikit-image")


def _recolour(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give every crop colours, a brightness and a contrast that do not depend on its class; uint8 in and out.

    Each new channel is a random mixture of the old ones, from three equal (a tinted grey picture) to three unlike, and
    is brought to a random mean and standard deviation. In float64, so that rounding gives the same bytes everywhere.
    """
    n = len(crops)
    mixture = rng.random((n, 3, 3))
    mixture += rng.random((n, 1, 1)) * (mixture.mean(1, keepdims=True) - mixture)
    mixed = crops.reshape(n, -1, 3) @ mixture.transpose(0, 2, 1)
    mixed = (mixed - mixed.mean(1, keepdims=True)) / np.maximum(mixed.std(1, keepdims=True), 1e-6)

    def between(low, high, channels):
        return low + (high - low) * rng.random((n, 1, channels))

    mean = between(*RECIPE["brightness"], 1) + between(-RECIPE["cast"], RECIPE["cast"], 3)
    mixed = mean + between(*RECIPE["contrast"], 1) * between(0.7, 1.0, 3) * mixed
    return np.rint(255 * mixed.clip(0, 1)).astype(np.uint8).reshape(crops.shape)
