"""The simple transformations, and that an attack gets through each."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from helpers import attacks
from helpers.backend import tf
from helpers.defenses import transformations
from helpers.settings import CourseError


def test_jpeg_is_what_another_decoder_reads(images):
    found = transformations.jpeg(tf.constant(images[:3]), 60).numpy()
    for image, ours in zip(images[:3], found, strict=True):
        pixels = tf.cast(tf.round(255 * image), tf.uint8)
        theirs = Image.open(
            io.BytesIO(tf.io.encode_jpeg(pixels, quality=60, chroma_downsampling=True).numpy())
        )
        assert np.abs(255 * ours - np.asarray(theirs, np.float32)).mean() < 2  # decoders differ a little
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1


def test_bit_depth_leaves_so_many_levels(images):
    found = transformations.bit_depth(tf.constant(images), 2).numpy()
    np.testing.assert_allclose(np.unique(found), [0, 1 / 3, 2 / 3, 1], atol=1e-6)
    assert np.abs(found - images).max() <= 1 / 6 + 1e-6


def test_blur_is_scipy_s(images):
    found = transformations.blur(tf.constant(images), 0.7).numpy()
    expected = gaussian_filter(images, (0, 0.7, 0.7, 0), mode="nearest", radius=(0, 3, 3, 0))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", transformations.DEFENSES)
def test_an_attack_that_knows_it_does_better_than_one_that_does_not(cnn, images, labels, name):
    model, target = transformations.before(name, cnn), transformations.to_attack(name, cnn)
    np.testing.assert_array_equal(model(tf.constant(images)), target(tf.constant(images)))
    answers = np.asarray(model(tf.constant(images))).argmax(1)
    options = {"step_size": 0.01, "steps": 10}
    aware = attacks.pgd(target, images, answers, 8 / 255, **options)
    unaware = attacks.pgd(cnn, images, answers, 8 / 255, **options)

    def loss(moved):
        return (
            tf.nn.sparse_softmax_cross_entropy_with_logits(answers, model(tf.constant(moved))).numpy().mean()
        )

    assert loss(aware) > loss(images)
    assert loss(aware) >= loss(unaware) - 0.02


def test_rounding_gives_no_gradient_of_its_own(cnn, images, labels):
    with pytest.raises(CourseError, match="gradient"):
        attacks.fgsm(lambda x: cnn(transformations.jpeg(x), training=False), images, labels, 8 / 255)


@pytest.mark.parametrize(
    ("apply", "options", "message"),
    [
        (transformations.jpeg, {"quality": 0}, "quality is 0"),
        (transformations.jpeg, {"quality": 0.75}, "from 1 to 100"),
        (transformations.bit_depth, {"bits": 9}, "bits is 9"),
        (transformations.blur, {"sigma": 0}, "number of pixels"),
    ],
)
def test_bad_settings_are_refused(images, apply, options, message):
    with pytest.raises(CourseError, match=message):
        apply(tf.constant(images), **options)


def test_an_unknown_name_is_refused(cnn):
    with pytest.raises(CourseError, match="jpeg, bit_depth, blur"):
        transformations.before("sharpen", cnn)
