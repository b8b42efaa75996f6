"""Samples: storage, mixtures of sources, the order of a pass, and augmentation."""

from __future__ import annotations

import numpy as np
import pytest
from support import grey_levels

from helpers import training
from helpers.datasets import storage
from helpers.settings import CourseError


def test_storage_keeps_every_grey_level():
    levels = np.arange(256).astype(np.uint8)
    exact = levels.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(storage.to_float(levels), exact)
    np.testing.assert_array_equal(storage.to_float(storage.to_uint16(exact)), exact)
    every = np.arange(65536).astype(np.uint16)
    np.testing.assert_array_equal(storage.to_uint16(storage.to_float(every)), every)


def test_storage_moves_other_values_by_a_250th_of_a_grey_level_at_most():
    values = np.random.default_rng(0).random(10_000, np.float32)
    moved = storage.to_float(storage.to_uint16(values))
    assert moved.dtype == np.float32 and np.abs(moved - values).max() <= 1 / 131070 + 1e-7


def test_a_mixture_is_its_sources_one_after_another():
    eight, sixteen = grey_levels(5), storage.to_uint16(grey_levels(5, 1) / 255)
    labels = np.array([3, 1, 4, 1, 5])
    samples = training.Samples([eight, sixteen], labels)
    assert len(samples) == 10
    images, targets = samples.read(np.array([7, 0, 9, 4, 5]))
    assert images.dtype == np.float32
    np.testing.assert_array_equal(targets, labels[[2, 0, 4, 4, 0]])
    expected = [sixteen[2], eight[0], sixteen[4], eight[4], sixteen[0]]
    for image, stored in zip(images, expected, strict=True):
        np.testing.assert_array_equal(image, storage.to_float(stored))


def test_image_targets_come_as_images():
    attacked, originals = storage.to_uint16(grey_levels(5, 1) / 255), grey_levels(5)
    _, targets = training.Samples([attacked, attacked], originals).read(np.array([6, 2]))
    np.testing.assert_array_equal(targets, storage.to_float(originals[[1, 2]]))


def test_sources_that_are_not_parallel():
    with pytest.raises(CourseError, match=r"sources of \[5, 4\] images and 5 targets do not match"):
        training.Samples([grey_levels(5), grey_levels(4)], np.zeros(5, int))


def test_sources_may_be_memory_mapped(tmp_path, samples):
    np.save(tmp_path / "images.npy", samples.sources[0])
    mapped = training.Samples(
        [np.load(tmp_path / "images.npy", mmap_mode="r"), samples.sources[1]], samples.targets
    )
    for (a, _), (b, _) in zip(samples.batches(6, 0, 0), mapped.batches(6, 0, 0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_seed_and_epoch_decide_a_pass(samples):
    def one_pass(seed, epoch, augment=None):
        return np.concatenate([images for images, _ in samples.batches(6, seed, epoch, augment)])

    for augment in (None, training.crop_and_flip):
        first = one_pass(1, 2, augment)
        np.testing.assert_array_equal(first, one_pass(1, 2, augment))
        assert not np.array_equal(first, one_pass(1, 3, augment))
        assert not np.array_equal(first, one_pass(2, 2, augment))


def test_a_pass_covers_everything_once(samples):
    everything = sorted(image.tobytes() for image in samples.read(np.arange(24))[0])
    for size, count in ((6, 24), (24, 24), (100, 24)):  # a batch larger than what there is takes all of it
        batches = list(samples.batches(size, 0, 0))
        seen = [image.tobytes() for images, _ in batches for image in images]
        assert len(seen) == count and sorted(seen) == everything
        assert {len(images) for images, _ in batches} == {min(size, 24)}
    seen = [image.tobytes() for images, _ in samples.batches(7, 0, 0) for image in images]
    assert len(seen) == len(set(seen)) == 21  # full batches only


def test_a_batch_mixes_the_sources_and_keeps_the_labels():
    sources = [np.full((100, 8, 8, 3), k, np.uint8) for k in range(6)]
    labels = np.arange(100) % 10
    for source in sources:
        source[:, 0, 0, 0] = labels
    images, targets = next(training.Samples(sources, labels).batches(256, 0, 0))
    counts = np.bincount(np.rint(255 * images[:, 1, 1, 1]).astype(int), minlength=6)
    assert counts.min() > 20 and counts.sum() == 256
    np.testing.assert_array_equal(np.rint(255 * images[:, 0, 0, 0]), targets)


def test_augmentation_is_a_crop_of_the_padded_image_or_its_mirror_image():
    images = storage.to_float(grey_levels(200))
    made = training.crop_and_flip(images, np.random.default_rng(0), pad=2)
    assert made.shape == images.shape and made.dtype == np.float32
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    found = []
    for image, wide in zip(made, padded, strict=True):
        crops = {(i, j): wide[i : i + 8, j : j + 8] for i in range(5) for j in range(5)}
        hits = [
            (*at, m) for at, crop in crops.items() for m in (1, -1) if np.array_equal(image, crop[:, ::m])
        ]
        assert hits
        found.append(hits[0])
    assert {i for i, _, _ in found} == {j for _, j, _ in found} == set(range(5))
    assert 60 < sum(m == -1 for _, _, m in found) < 140


def test_cutout_greys_a_square_and_nothing_else():
    images = np.zeros((400, 8, 8, 3), np.float32)
    cut = training.cut_out(images, np.random.default_rng(0), size=4)
    areas = []
    for image in cut:
        rows, columns = np.nonzero((image == 0.5).all(2))
        assert set(np.unique(image)) <= {0.0, 0.5}
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1), "it is a rectangle"
        assert np.ptp(rows) < 4 and np.ptp(columns) < 4
        areas.append(len(rows))
    assert max(areas) == 16 and min(areas) == 4, "whole inside, cut at a corner"
    assert not images.any()
