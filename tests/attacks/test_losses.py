"""The attacks' losses against their definitions, image by image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from helpers.attacks import losses
from helpers.backend import tf
from helpers.settings import CourseError


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    return rng.integers(0, 10, 40).astype(np.int32), rng.normal(0, 3, (40, 10)).astype(np.float32)


def by_hand(name, label, logits):
    others = np.delete(logits, label)
    first, second, third, *_ = sorted(logits)[::-1]
    return {
        "cross_entropy": -log_softmax(logits)[label],
        "of_softmax": -log_softmax(logits)[label],
        "margin": others.max() - logits[label],
        "dlr": -(logits[label] - others.max()) / (first - third),
    }[name]


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_loss_is_its_definition(case, name):
    expected = [by_hand(name, label, logits.astype(np.float64)) for label, logits in zip(*case, strict=True)]
    np.testing.assert_allclose(losses.named(name)(*map(tf.constant, case)), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_on_softmax_has_no_gradient_where_the_classifier_is_sure():
    logits = tf.constant([[20.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    for loss, sure in ((losses.of_softmax, False), (losses.cross_entropy, True)):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = tf.reduce_sum(loss(tf.constant([0, 0]), logits))
        gradient = tape.gradient(total, logits).numpy()
        assert gradient[0].any() == sure and gradient[1].any()


def test_the_targeted_ratio_is_its_definition(case):
    labels, logits = case
    targets = (labels + 3) % 10
    expected = []
    for y, t, z in zip(labels, targets, logits.astype(np.float64), strict=True):
        first, _, third, fourth, *_ = sorted(z)[::-1]
        expected.append(-(z[y] - z[t]) / (first - (third + fourth) / 2))
    ours = losses.dlr_towards(*map(tf.constant, (labels, targets, logits)))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_margin_and_ratio_are_positive_exactly_where_the_classifier_errs(case):
    labels, logits = case
    errs = logits.argmax(1) != labels
    for loss in (losses.margin, losses.dlr):
        np.testing.assert_array_equal(loss(*map(tf.constant, case)).numpy() > 0, errs)


def test_the_ratio_ignores_the_scale_of_the_logits(case):
    labels, logits = case
    scaled, plain = (losses.dlr(tf.constant(labels), tf.constant(k * logits)) for k in (1000, 1))
    np.testing.assert_allclose(scaled, plain, rtol=1e-4)


def test_an_unknown_loss_is_refused():
    with pytest.raises(CourseError, match="unknown loss 'hinge'; choose one of cross_entropy, margin, dlr"):
        losses.named("hinge")
