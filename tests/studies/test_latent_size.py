"""The test for a hump, on made-up answers; the series it is applied to, on a few stand-in images."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import pipeline, settings
from helpers.defenses.architectures import ARCHITECTURES
from helpers.settings import CourseError
from helpers.studies import latent_size, search, size_sentences
from helpers.studies.latent_size import hump
from helpers.studies.search import SearchRecipe

SIZES = [128, 256, 512, 1024, 2048, 4096]
RISING_AND_FALLING = [0.2, 0.4, 0.6, 0.55, 0.3, 0.1]
LEVELLING_OFF = [0.2, 0.45, 0.6, 0.67, 0.69, 0.695]


def answers(shares, n=1000, seed=0, paired=True):
    """Return which images are right at each size; paired images are hard or easy at all sizes alike."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random((n, 1)) if paired else rng.random((n, len(shares)))
    return difficulty < np.array(shares)


# -------------------------------------------------------------------------------------------------- the hump


def test_the_curvature_is_that_of_the_least_squares_parabola_and_the_mean_of_the_images_own():
    right = answers(RISING_AND_FALLING, paired=False)
    found, x = hump(right, SIZES), np.log2(SIZES)
    np.testing.assert_allclose(found.curve, np.polyfit(x, right.mean(0), 2), rtol=1e-8)
    own = [np.polyfit(x, one.astype(float), 2)[0] for one in right]
    assert found.curvature[0] == pytest.approx(np.mean(own)) == pytest.approx(found.curve[0])
    assert found.curvature[1] < found.curvature[0] < found.curvature[2]


def test_what_rises_and_falls_is_a_hump():
    found = hump(answers(RISING_AND_FALLING), SIZES)
    assert found.is_hump and found.top == 2 and (found.n, found.seeds) == (1000, 1)
    assert 256 < found.summit[1] < found.summit[0] < found.summit[2] < 1024
    assert found.rise[0] == pytest.approx(0.4, abs=0.04) and found.fall[0] == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("shares", [LEVELLING_OFF, LEVELLING_OFF[::-1]], ids=["rising", "falling"])
def test_what_only_levels_off_bends_down_and_is_no_hump(shares):
    found = hump(answers(shares), SIZES)
    assert found.curvature[2] < 0, "the curvature alone would have said that it is one"
    assert not found.is_hump
    assert min(found.rise[1], found.fall[1]) <= 0


def test_a_valley_is_no_hump_and_has_no_summit():
    found = hump(answers([0.6, 0.4, 0.2, 0.2, 0.4, 0.6]), SIZES)
    assert found.curvature[1] > 0 and not found.is_hump and np.isnan(found.summit[0])


def test_the_interval_covers_the_true_curvature_as_often_as_it_says():
    truth = np.polyfit(np.log2(SIZES), RISING_AND_FALLING, 2)[0]
    covered = 0
    for seed in range(200):
        found = hump(answers(RISING_AND_FALLING, 200, seed, paired=False), SIZES, resamples=200, seed=seed)
        covered += found.curvature[1] <= truth <= found.curvature[2]
    assert 178 <= covered <= 199  # 190 expected


def test_images_are_drawn_with_their_answers_at_all_sizes():
    """Answers that go together leave the differences between sizes more certain."""
    together, apart = (hump(answers([0.4, 0.6, 0.4], paired=paired), SIZES[:3]) for paired in (True, False))
    width = {id(found): found.rise[2] - found.rise[1] for found in (together, apart)}
    assert width[id(together)] < 0.7 * width[id(apart)]


def test_further_seeds_are_drawn_as_well():
    """Two networks that differ make the interval wider than images alone; two alike do not."""
    one = answers(RISING_AND_FALLING)
    other = answers([0.2, 0.3, 0.35, 0.3, 0.25, 0.2])
    alone, both, twice = (hump(right, SIZES) for right in (one, np.stack([one, other]), np.stack([one, one])))
    assert (alone.seeds, both.seeds) == (1, 2)
    assert both.by_seed == pytest.approx([hump(right, SIZES).curvature[0] for right in (one, other)])
    assert both.curvature[0] == pytest.approx(np.mean(both.by_seed))
    width = [found.curvature[2] - found.curvature[1] for found in (alone, both, twice)]
    assert width[1] > 3 * width[0] and width[2] == pytest.approx(width[0], rel=0.15)


def test_the_top_may_be_chosen_on_other_images():
    right = answers(RISING_AND_FALLING)
    found = hump(right, SIZES, top=4)
    mean = right.mean(0)
    assert found.top == 4 and found.rise[0] == pytest.approx(mean[4] - mean[0])
    assert found.fall[0] == pytest.approx(mean[4] - mean[5])


@pytest.mark.parametrize(
    ("right", "sizes", "message"),
    [
        (answers([0.2, 0.4]), SIZES[:2], "at least 3 sizes"),
        (answers([0.2, 0.4, 0.3]), [512, 128, 256], "smallest first"),
        (answers([0.2, 0.4, 0.3]), SIZES, "do not fit 6 sizes"),
        (answers([0.2, 0.4, 0.3], n=1), SIZES[:3], "1 images are too few"),
    ],
)
def test_answers_that_cannot_be_fitted_are_refused(right, sizes, message):
    with pytest.raises(CourseError, match=message):
        hump(right, sizes)


def test_sentences_claim_a_hump_only_where_there_is_one():
    humped, level = hump(answers(RISING_AND_FALLING), SIZES), hump(answers(LEVELLING_OFF), SIZES)
    assert "**A hump**" in size_sentences.hump_found(humped, "test")
    told = size_sentences.hump_found(level, "test")
    assert "No hump" in told and "the largest does not lie below" in told
    assert "one training seed" in told and "n = 1,000 test images" in told


# ------------------------------------------------------------------------------------------------ the series


def test_the_series_differs_in_its_channels_alone():
    latents = [ARCHITECTURES[name].latent for name in latent_size.SERIES]
    assert latents == SIZES and {ARCHITECTURES[name].depth for name in latent_size.SERIES} == {2}
    assert set(latent_size.FEW) < set(latent_size.SERIES)


def test_seeds_are_found_by_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "WEIGHTS", tmp_path)
    run = SimpleNamespace(data=SimpleNamespace(name="made_up"), model="resnet20")
    assert latent_size._shipped_seeds(run) == [0]
    for seed in (0, 1, 12):
        file = search.path_of("made_up", "resnet20", "d2_c2", seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert latent_size._shipped_seeds(run) == [0, 1, 12]
    assert search.path_of("made_up", "resnet20", "d2_c2").name == "resnet20_d2_c2.h5"


@pytest.mark.deep
def test_a_series_is_measured_on_the_same_images(monkeypatch):
    monkeypatch.setattr(search, "LIVE", SearchRecipe(images=64, epochs=1, validated=12, attacked=6))
    monkeypatch.setattr(latent_size, "FEW", ("d2_c2", "d2_c4", "paper"))
    run = pipeline.start("patches10", "resnet20", "smoke")
    run = replace(run, profile=replace(run.profile, n_test=16, n_sweep=8))
    compared = latent_size.series(run)
    assert compared.names == ["d2_c2", "d2_c4", "paper"] and compared.sizes.tolist() == SIZES[:3]
    assert not compared.shipped and list(compared.by_seed) == [0]
    held_out, test = (latent_size.measure(compared, split) for split in ("validation", "test"))
    assert held_out.correct("pgd").shape == (1, 12, 3) and test.correct("pgd").shape == (1, 16, 3)
    for k, record in enumerate(test.records("regular")):
        assert record["correct"] == test.correct("regular")[0, :, k].sum()
    assert test.publishable() == [], "a demonstration is no record"
    # A second seed's answers stand beside the first's.
    twice = replace(test, answers={0: test.answers[0], 1: test.answers[0]})
    assert twice.correct("pgd").shape == (2, 16, 3) and len(twice.further("pgd")) == 1
    passed = latent_size.passing(compared, 8)
    assert passed.n == 8 and set(passed.shares) == {"pgd", "signs"}
    for share, low, high in passed.shares["signs"].values():
        assert share >= 0 and low <= share <= high
    shown = latent_size.pictures(compared, compared.names[:2], 3)
    assert list(shown.rows) == ["clean", "attacked", "128 numbers", "256 numbers"]
    assert all(images.shape == (3, 32, 32, 3) for images in shown.rows.values())
