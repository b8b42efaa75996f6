"""A copy with fused BatchNorm is the same function as the classifier."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import attacks, classifiers, datasets
from helpers.backend import keras, tf
from helpers.classifiers import fused, registry
from helpers.defenses import autoencoder
from helpers.settings import CourseError

DEPTH = {name: pytest.mark.deep if name == "resnet20" else pytest.mark.slow for name in registry.MODELS}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=mark) for name, mark in DEPTH.items()])
def classifier(request):
    """A classifier whose BatchNorms all do something: scales of either sign, means and variances."""
    keras.utils.set_random_seed(0)
    model = classifiers.build(request.param, datasets.CIFAR_MEAN, datasets.CIFAR_STD)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        kind = weight.name.split("/")[-1]
        if kind.startswith("gamma"):
            weight.assign(
                rng.uniform(0.5, 1.5, weight.shape) * rng.choice([-1, 1], weight.shape, p=[0.1, 0.9])
            )
        elif kind.startswith("moving_variance"):
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif kind.startswith(("beta", "moving_mean", "bias")):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return model


def test_logits_and_gradients_are_the_classifiers(classifier, images, labels):
    copy, before = fused.fuse(classifier), classifier.get_weights()
    x, y = tf.constant(images), tf.constant(labels)
    logits, ours = classifier(x).numpy(), copy(x).numpy()
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(ours, logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    gradient = attacks.input_gradient(classifier, x, y).numpy()
    # Where a ReLU's input is nearly zero, rounding decides whether the gradient passes.
    difference = np.abs(attacks.input_gradient(copy, x, y).numpy() - gradient)
    assert (difference <= 1e-4 * np.abs(gradient).max()).mean() > 0.99
    for old, new in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_no_batchnorm_is_left(classifier):
    copy = fused.fuse(classifier)
    assert not [m for m in copy.submodules if isinstance(m, keras.layers.BatchNormalization)]


def test_bfloat16_is_close(classifier, images):
    exact, rounded = classifier(images).numpy(), fused.fuse(classifier, "mixed_bfloat16")(images).numpy()
    assert rounded.dtype == np.float32 and not np.array_equal(rounded, exact)
    assert np.corrcoef(rounded.ravel(), exact.ravel())[0, 1] > 0.99


def test_a_defense_is_fused_too(classifier, images):
    pipeline = autoencoder.defended(autoencoder.build_autoencoder(), classifier)
    copy = fused.fuse(pipeline)
    assert not [m for m in copy.submodules if isinstance(m, keras.layers.BatchNormalization)]
    np.testing.assert_allclose(copy(images), pipeline(images), rtol=0, atol=1e-4)
    assert np.ptp(np.asarray(copy(images))) > 1e-2


def test_another_model_is_refused(cnn):
    with pytest.raises(CourseError, match="cannot be fused"):
        fused.fuse(cnn)
