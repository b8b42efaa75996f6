"""Randomised smoothing, on models whose smoothed class probabilities are known in closed form."""

import numpy as np
import pytest
from scipy.stats import norm
from support import tiny_network

from helpers.backend import keras, tf
from helpers.defenses import smoothing
from helpers.settings import CourseError
from helpers.training import noise

SIGMA = 0.25


def half_space(images):
    """Ten logits; class 1 where the image's first value is above a half, else class 0."""
    side = images[:, 0, 0, 0] - 0.5
    return tf.stack([-side, side] + [-9.0 + 0 * side] * 8, 1)


@pytest.fixture
def beside_the_border():
    """Images whose distance from half_space's border is 0.3, 0.15 and 0, on the side of class 1, 0 and
    neither."""
    images = np.full((3, 8, 8, 3), 0.5, np.float32)
    images[:, 0, 0, 0] = [0.8, 0.35, 0.5]
    return images


def test_a_linear_classifier_is_certified_up_to_its_border_and_no_further(beside_the_border):
    found = smoothing.certify(half_space, beside_the_border, SIGMA, samples=20_000, seed=1)
    assert found.predictions.tolist() == [1, 0, smoothing.ABSTAIN]
    # Cohen et al. 2019, proposition 3: for a linear classifier the bound is exact. The samples cost a little
    # of it.
    np.testing.assert_array_less(found.radii[:2], [0.3, 0.15])
    np.testing.assert_allclose(found.radii[:2], [0.3, 0.15], atol=0.02)
    assert found.radii[2] == 0
    labels = np.array([1, 1, 0])
    assert found.certified(labels, 0.2).tolist() == [True, False, False]
    assert found.certified(labels, 0.4).tolist() == [False, False, False]
    assert found.certified(labels, 0.0).tolist() == [True, False, False]  # abstaining is not answering


def test_counts_are_the_normal_distribution_s(beside_the_border):
    counts = smoothing.noisy_counts(half_space, beside_the_border[0], SIGMA, 10_000, (3, 0), 500, 10)
    assert counts.sum() == 10_000
    expected = norm.cdf(0.3 / SIGMA)
    assert abs(counts[1] / 10_000 - expected) < 4 * np.sqrt(expected * (1 - expected) / 10_000)


def test_noise_depends_on_seed_and_image_alone(beside_the_border):
    once = smoothing.certify(half_space, beside_the_border, SIGMA, seed=5)
    again = smoothing.certify(half_space, beside_the_border[:2], SIGMA, seed=5)
    other = smoothing.certify(half_space, beside_the_border, SIGMA, seed=6)
    np.testing.assert_array_equal(once.radii[:2], again.radii)
    assert (once.radii[:2] != other.radii[:2]).all()


def test_certificates_hold_as_often_as_promised(beside_the_border):
    wrong = [
        smoothing.certify(
            half_space, beside_the_border[:1], SIGMA, select=20, samples=200, alpha=0.3, seed=s
        ).radii[0]
        > 0.3
        for s in range(60)
    ]
    assert 0 < np.mean(wrong) < 0.3 + 2.5 * np.sqrt(0.3 * 0.7 / 60)  # 0: the bound would be needlessly loose


def test_the_bound_is_clopper_and_pearson_s():
    assert smoothing.lower_bound(100, 100, 0.001) == pytest.approx(0.001 ** (1 / 100))
    assert smoothing.lower_bound(0, 100, 0.001) == 0
    assert smoothing.largest_radius(0.5, 100) == pytest.approx(0.5 * norm.ppf(0.001 ** (1 / 100)))


def test_between_l2_and_linf():
    assert smoothing.l2_around(8 / 255) == pytest.approx(8 / 255 * np.sqrt(3072))
    assert smoothing.linf_within(smoothing.l2_around(8 / 255)) == pytest.approx(8 / 255)


@pytest.mark.parametrize("sigma", [0, -0.1, 64, "a"])
def test_a_deviation_in_grey_levels_is_refused(beside_the_border, sigma):
    with pytest.raises(CourseError, match="sigma is .*0.25"):
        smoothing.certify(half_space, beside_the_border, sigma)


def test_alpha_is_a_probability(beside_the_border):
    with pytest.raises(CourseError, match="alpha is 5"):
        smoothing.certify(half_space, beside_the_border, SIGMA, alpha=5)


def test_training_on_noise_is_cross_entropy_on_noisy_images():
    images = np.random.default_rng(0).random((6, 8, 8, 3), np.float32)
    labels = np.arange(6)
    model, twin = tiny_network(), tiny_network()
    optimizer = keras.optimizers.SGD(0.1)
    loss = noise.noisy_classifier_step(model, optimizer, SIGMA, seed=4, weight_decay=0.01)(
        tf.constant(images), tf.constant(labels)
    )
    seen = images + SIGMA * tf.random.stateless_normal(images.shape, [4, 0]).numpy()
    with tf.GradientTape() as tape:
        logits = twin(seen, training=True)
        expected = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        )
        total = expected + 0.005 * sum(
            tf.reduce_sum(v**2) for v in twin.trainable_variables if len(v.shape) > 1
        )
    for v, g in zip(twin.trainable_variables, tape.gradient(total, twin.trainable_variables), strict=True):
        v.assign_sub(0.1 * g)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for ours, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.deep
@pytest.mark.parametrize("with_classifier", [False, True], ids=["MSE", "stability"])
def test_a_denoiser_learns_and_its_classifier_stays(with_classifier):
    keras.utils.set_random_seed(0)
    denoiser = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 3, padding="same")])
    classifier = tiny_network()
    before = classifier.get_weights()
    images = tf.constant(np.random.default_rng(0).random((16, 8, 8, 3), np.float32))
    optimizer = keras.optimizers.Adam(0.01)
    step = noise.denoiser_step(denoiser, optimizer, SIGMA, 0, classifier if with_classifier else None)
    losses = [float(step(images, tf.zeros(16))) for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    for was, now in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
