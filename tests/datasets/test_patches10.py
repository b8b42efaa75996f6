"""patches10: the same bytes everywhere, no pixel in two splits, and nothing to be learnt from colour."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from skimage.io import imread

from helpers import settings
from helpers.datasets import patches10
from helpers.settings import CourseError


@pytest.fixture(scope="module")
def built(artifacts_folder):
    """All images, as the session's store has them."""
    data = patches10.load()
    splits = (data.train, data.validation, data.test)
    return tuple(np.concatenate([getattr(s, name) for s in splits]) for name in ("pixels", "labels"))


@pytest.fixture
def artifacts(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path)
    return tmp_path


@pytest.fixture
def data(built, artifacts, monkeypatch):
    monkeypatch.setattr(patches10, "build", lambda: built)
    return patches10.load()


def caches(folder):
    return list((folder / "datasets").iterdir())


@pytest.mark.deep
def test_a_second_build_gives_the_same_bytes(built):
    for first, second in zip(built, patches10.build(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_sizes_types_and_balance(data):
    for split, count in ((data.train, 10_000), (data.validation, 1_000), (data.test, 2_000)):
        assert split.pixels.shape == (count, 32, 32, 3) and split.pixels.dtype == np.uint8
        assert split.labels.shape == (count,) and split.labels.dtype == np.int32
        np.testing.assert_array_equal(np.bincount(split.labels), [count // 10] * 10)
        assert (
            np.bincount(split.labels[:500], minlength=10).min() >= 25
        )  # shuffled: any beginning is about balanced
    images, _ = data.train.take()
    np.testing.assert_allclose(data.mean, images.mean((0, 1, 2), dtype=np.float64), atol=6e-5)
    np.testing.assert_allclose(data.std, images.std((0, 1, 2), dtype=np.float64), atol=6e-5)
    assert len(set(data.classes)) == 10 and data.notice == ""


def test_provenance_names_the_origin(data):
    provenance = data.provenance
    assert (provenance["train"], provenance["validation"], provenance["test"]) == (10_000, 1_000, 2_000)
    assert provenance["origin"].startswith("scikit-image ")
    assert sorted(provenance["pictures"]) == sorted(patches10.PICTURES.values())


@pytest.mark.parametrize("file", patches10.PICTURES.values())
def test_every_pixel_of_a_picture_belongs_to_one_split(file):
    height, width = imread(patches10.PICTURES_FOLDER / file).shape[:2]
    owners = np.zeros((height, width), int)
    for boxes in patches10.tiles(height, width).values():
        assert len(boxes) >= 5
        for left, top, right, bottom in boxes:
            assert min(right - left, bottom - top) >= 32
            owners[top:bottom, left:right] += 1
    assert (owners == 1).all()


@pytest.mark.parametrize("split", patches10.COUNTS)
def test_crops_read_nothing_outside_their_own_tiles(split):
    """Paint noise of 0..99 inside the split's tiles and white elsewhere: no crop shows any white."""
    rng = np.random.default_rng(0)
    picture = np.full((303, 384, 3), 255, np.uint8)
    boxes = patches10.tiles(303, 384)[split]
    for left, top, right, bottom in boxes:
        picture[top:bottom, left:right] = rng.integers(0, 100, (bottom - top, right - left, 3))
    crops = patches10._crops(Image.fromarray(picture), boxes, 200, rng)
    assert crops.shape == (200, 32, 32, 3) and crops.max() < 100


def test_no_image_is_in_two_splits(data):
    splits = [{image.tobytes() for image in s.pixels} for s in (data.train, data.validation, data.test)]
    assert [len(s) for s in splits] == [10_000, 1_000, 2_000]
    assert len(set.union(*splits)) == 13_000


@pytest.mark.deep
def test_mean_colour_does_not_give_the_class_away(data):
    """Chance is 10%. Nearest neighbours in mean RGB, and in mean and standard deviation of each channel."""

    def features(split):
        values = split.pixels.reshape(len(split), -1, 3)
        return np.hstack([values.mean(1), values.std(1)])

    known, asked = features(data.train), features(data.test)
    known, asked = known / known.std(0), asked / known.std(0)
    for columns in (3, 6):
        a, b = known[:, :columns], asked[:, :columns]
        nearest = np.argpartition((a**2).sum(1) - 2 * b @ a.T, 15, axis=1)[:, :15]
        votes = np.apply_along_axis(np.bincount, 1, data.train.labels[nearest], minlength=10)
        assert (votes.argmax(1) == data.test.labels).mean() < 0.25


def test_the_cache_is_reused(data, artifacts, monkeypatch):
    assert len(caches(artifacts)) == 1
    monkeypatch.setattr(patches10, "build", lambda: pytest.fail("built again"))
    again = patches10.load()
    np.testing.assert_array_equal(again.test.pixels, data.test.pixels)
    assert again.provenance == data.provenance and (again.mean, again.std) == (data.mean, data.std)


@pytest.mark.parametrize("damage", ["truncated", "empty", "a byte changed", "other arrays"])
def test_a_damaged_cache_is_rebuilt(data, artifacts, damage):
    (cache,) = caches(artifacts)
    content = bytearray(cache.read_bytes())
    if damage == "truncated":
        cache.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        cache.write_bytes(b"")
    elif damage == "a byte changed":
        content[len(content) // 2] ^= 1
        cache.write_bytes(content)
    else:
        np.savez(cache, pixels=data.test.pixels, labels=data.test.labels, sha256=data.sha256)
    again = patches10.load()
    assert again.sha256 == data.sha256
    np.testing.assert_array_equal(again.train.pixels, data.train.pixels)
    assert patches10._read(cache) is not None  # and the cache is whole again


def test_another_recipe_has_another_cache(data, artifacts, monkeypatch):
    monkeypatch.setitem(patches10.RECIPE, "seed", 1)
    patches10.load()
    assert len(caches(artifacts)) == 2


@pytest.mark.parametrize("damage", ["is missing", "cannot be read"])
def test_a_missing_or_damaged_picture_is_named_with_the_remedy(
    artifacts, monkeypatch, tmp_path_factory, damage
):
    folder = tmp_path_factory.mktemp("pictures")
    for file in patches10.PICTURES.values():
        shutil.copy(patches10.PICTURES_FOLDER / file, folder)
    first = folder / next(iter(patches10.PICTURES.values()))
    if damage == "is missing":
        first.unlink()
    else:
        first.write_bytes(b"no picture")
    monkeypatch.setattr(patches10, "PICTURES_FOLDER", folder)
    with pytest.raises(CourseError, match=f"{first.name}.*{damage}.*pip install") as caught:
        patches10.load()
    assert "\n" not in str(caught.value) and str(folder) not in str(caught.value)
    assert not (artifacts / "datasets").exists()
