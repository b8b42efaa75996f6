"""The course's first picture: which photograph it is, and what the classifier says of each step."""

from types import SimpleNamespace

import numpy as np
import pytest
from diagram_samples import STRIP

from helpers import attacks, datasets, evaluation
from helpers.studies import first_look


@pytest.fixture(scope="module")
def data(cnn):
    """Sixty images whose labels are the network's own answers, but for every other one."""
    pixels = np.random.default_rng(1).integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)
    answers = evaluation.predict(cnn, pixels.astype(np.float32) / 255).argmax(1)
    labels = np.where(np.arange(60) % 2, answers, (answers + 1) % 10).astype(np.int32)
    return SimpleNamespace(test=datasets.Split(pixels, labels), classes=tuple("abcdefghij"))


def test_the_photograph_is_the_first_that_is_right_and_becomes_wrong_and_surer(cnn, data):
    number = first_look.photograph(cnn, data, 8 / 255, among=60)
    images, labels = data.test.take()
    attacked = attacks.fgsm(cnn, images, labels, 8 / 255)
    fitting = []
    for k in range(60):
        before, after = (np.exp(evaluation.predict(cnn, x[k : k + 1])[0]) for x in (images, attacked))
        surer = after.max() / after.sum() > before.max() / before.sum()
        if before.argmax() == labels[k] != after.argmax() and surer:
            fitting.append(k)
    assert number == fitting[0]


def test_each_step_of_the_strip_is_fgsm(cnn, data):
    strip = first_look.strip(cnn, data, 5, largest=4)
    images, labels = data.test.take()
    np.testing.assert_array_equal(strip.images[0], images[5])
    for level in (1, 4):
        (fgsm,) = attacks.fgsm(cnn, images[5:6], labels[5:6], level / 255)
        np.testing.assert_allclose(strip.images[level], fgsm, atol=1e-6)
    powers = np.exp(evaluation.predict(cnn, strip.images))
    np.testing.assert_array_equal(strip.answers, powers.argmax(1))
    np.testing.assert_allclose(strip.confidences, powers.max(1) / powers.sum(1), rtol=1e-4)


def test_the_finding_is_the_first_step_that_changes_the_answer():
    assert STRIP.finding == "A step of 2/255 is enough: d 90.0% becomes f 95.0%"
