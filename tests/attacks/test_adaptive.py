"""Expectation over transformation, and the straight-through gradient."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from helpers import attacks, training
from helpers.attacks import adaptive
from helpers.backend import keras, tf
from helpers.defenses import autoencoder
from helpers.settings import CourseError

EPS = 8 / 255


@pytest.fixture(scope="module")
def learned():
    """Images of two classes that differ by a faint pattern, and a linear classifier that knows it."""
    rng = np.random.default_rng(0)
    pattern = rng.choice([-1.0, 1.0], (8, 8, 3)).astype(np.float32)
    labels = np.arange(60) % 2
    images = 0.5 + 0.02 * pattern * (2 * labels - 1)[:, None, None, None] + rng.normal(0, 0.01, (60, 8, 8, 3))

    def classify(x):
        score = tf.tensordot(x - 0.5, tf.constant(pattern), 3)
        return tf.stack([-score, score], axis=1)

    images = np.clip(images, 0, 1).astype(np.float32)
    assert accuracy(classify, images, labels) == 1
    return classify, images, labels.astype(np.int32)


def accuracy(model, images, labels):
    return float((np.asarray(model(tf.constant(images))).argmax(1) == labels).mean())


def quantise(images):
    """Eight levels a channel: a staircase, whose gradient is 0 wherever it has one."""
    return tf.round(images * 31) / 31


def test_a_staircase_hides_the_gradient_and_straight_through_finds_it(learned):
    classify, images, labels = learned

    def defense(x):
        return classify(quantise(x))

    with pytest.raises(CourseError, match="the model has no gradient"):
        attacks.pgd(defense, images, labels, 0.05)
    seeing = adaptive.straight_through(quantise, then=classify)
    np.testing.assert_array_equal(np.asarray(seeing(images)), np.asarray(defense(tf.constant(images))))
    broken = attacks.pgd(seeing, images, labels, 0.05)
    assert accuracy(defense, broken, labels) < 0.1 < accuracy(defense, images, labels)


def test_the_gradient_is_taken_where_the_defense_has_put_the_image():
    """At the defended point, through the stand-in: d/dx of f(2x)^2 with backward 3x is 2 f 3."""
    model = adaptive.straight_through(
        lambda x: 2 * x, then=lambda x: tf.square(tf.reshape(x, (-1, 1))), backward=lambda x: 3 * x
    )
    x = tf.constant([[[[5.0]]]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x)
    assert y.numpy().item() == 100 and tape.gradient(y, x).numpy().item() == 2 * 10 * 3


def test_numpy_defenses_are_attacked_in_a_graph(learned):
    classify, images, labels = learned

    def defense(x):
        return tf.numpy_function(
            lambda a: np.rint(a * 31).astype(np.float32) / np.float32(31), [x], tf.float32
        )

    moved = attacks.pgd(adaptive.straight_through(defense, then=classify), images, labels, 0.05)
    assert accuracy(lambda x: classify(defense(x)), moved, labels) < 0.1


@pytest.mark.deep
def test_the_autoencoder_needs_no_straight_through(images, labels, cnn):
    """The control: its own gradient raises the loss more than the identity in its place does."""
    keras.utils.set_random_seed(1)
    ae = autoencoder.build_autoencoder()
    step = training.autoencoder_step(ae, keras.optimizers.Adam(5e-3))
    for _ in range(60):
        step(tf.constant(images), tf.constant(images))
    pipeline = autoencoder.defended(ae, cnn)
    replaced = adaptive.straight_through(lambda x: ae(x, training=False), then=cnn)

    def loss(attacked):
        logits = attacks.logits_of(pipeline, tf.constant(attacked))
        return float(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)))

    own = loss(attacks.pgd(pipeline, images, labels, EPS))
    assert own > loss(attacks.pgd(replaced, images, labels, EPS)) and own > loss(images)


def test_the_mean_over_draws_is_the_mean_probability(images, labels, cnn):
    draws = np.random.default_rng(0).normal(0, 0.1, (4, *images.shape)).astype(np.float32)

    def noisy(x):  # the draws of each image in turn, as tf.repeat lays them out
        return attacks.logits_of(cnn, x + tf.reshape(tf.transpose(draws, (1, 0, 2, 3, 4)), x.shape))

    averaged = np.asarray(adaptive.expectation(noisy, 4)(tf.constant(images)))
    expected = np.mean([softmax(np.asarray(cnn(images + d)), 1) for d in draws], axis=0)
    np.testing.assert_allclose(np.exp(averaged), expected, atol=1e-5)


def test_more_draws_make_a_better_attack_on_a_random_defense(learned):
    """A defense that flips the image's contrast at random: one draw's gradient points either way."""
    classify, images, labels = learned

    def flipping(x):
        kept = tf.cast(tf.random.uniform((tf.shape(x)[0], 1, 1, 1)) < 0.8, tf.float32)
        return classify(kept * x + (1 - kept) * (1 - x))

    keras.utils.set_random_seed(0)
    few = attacks.pgd(flipping, images, labels, 0.1, step_size=0.05, steps=1, random_start=False)
    many = attacks.pgd(
        adaptive.expectation(flipping, 16), images, labels, 0.1, step_size=0.05, steps=1, random_start=False
    )
    assert accuracy(classify, many, labels) < 0.1 < accuracy(classify, few, labels)


def test_no_draw_is_refused(cnn):
    with pytest.raises(CourseError, match="samples is 0"):
        adaptive.expectation(cnn, 0)
