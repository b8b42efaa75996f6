"""What attacks and assessment accept, and that neither uses a stale graph or takes NaN for an answer."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from helpers import attacks, evaluation
from helpers.attacks.adaptive import expectation, straight_through
from helpers.attacks.attack_ensemble import ensemble, worst_case
from helpers.attacks.auto_pgd import apgd, apgd_targeted
from helpers.attacks.square_attack import square
from helpers.backend import keras, tf, tracing
from helpers.defenses import smoothing
from helpers.settings import CourseError

EPS = 8 / 255


@pytest.fixture(scope="module")
def dense():
    """A linear classifier of 8 x 8 images."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(10, kernel_initializer="normal")]
    )


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).random((6, 8, 8, 3), np.float32)


@pytest.fixture(scope="module")
def truth(dense, pictures):
    return dense(pictures).numpy().argmax(1)


class Shifting(keras.layers.Layer):
    """A layer whose shift is a Python number, which a graph freezes."""

    shift = 0

    def call(self, images):
        return tf.roll(images, self.shift, axis=2)


# ---------------------------------------------------------------------------------------------- stale graphs

ATTACKS = {
    "fgsm": attacks.fgsm,
    "pgd": lambda *case: attacks.pgd(*case, steps=2),
    "apgd": lambda *case: apgd(*case, steps=2),
    "apgd targeted": lambda *case: apgd_targeted(*case, steps=2, classes=2),
    "square": lambda *case: square(*case, queries=3),
    "logits": lambda model, images, *_: attacks.logits_in_batches(model, images),
}
EACH = [pytest.param(name, marks=pytest.mark.deep) if "targeted" in name else name for name in ATTACKS]
"""The attacks, for parametrize; targeted APGD traces several graphs."""


def function(dense):
    """A function that reads a Python number, and how to change it."""
    state = {"shift": 0}

    def model(x):
        return dense(tf.roll(x, state["shift"], axis=2))

    return model, lambda shift: state.update(shift=shift)


def keras_model(dense):
    layer = Shifting()
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, dense(layer(inputs))), lambda shift: setattr(layer, "shift", shift)


@pytest.mark.deep
@pytest.mark.parametrize("kind", [function, keras_model])
@pytest.mark.parametrize("name", EACH)
def test_what_a_model_reads_from_python_is_read_in_every_call(dense, pictures, truth, kind, name):
    model, change = kind(dense)
    ATTACKS[name](model, pictures, truth, EPS)
    change(3)
    fresh, change_fresh = kind(dense)
    change_fresh(3)
    expected = ATTACKS[name](fresh, pictures, truth, EPS)
    np.testing.assert_array_equal(ATTACKS[name](model, pictures, truth, EPS), expected)


class Owner:
    """A model that is an object, and one that is its method; both read its attribute."""

    def __init__(self, network, shift=0):
        self.network, self.shift = network, shift

    def __call__(self, images):
        return self.network(tf.roll(images, self.shift, axis=2))

    def answer(self, images):
        return self(images)


def an_object(owner):
    return lambda: owner


def its_method(owner):
    method = owner.answer
    return lambda: method


def its_method_anew(owner):
    """Python makes a new object whenever the method is named, which may lie where the last one was."""
    return lambda: owner.answer


@pytest.mark.parametrize("name", ["fgsm", "logits"])
@pytest.mark.parametrize("kind", [an_object, its_method, its_method_anew])
def test_the_attributes_of_an_object_are_read_in_every_call(dense, pictures, truth, kind, name):
    owner = Owner(dense)
    model = kind(owner)
    before = ATTACKS[name](model(), pictures, truth, EPS)
    owner.shift = 3
    after = ATTACKS[name](model(), pictures, truth, EPS)
    assert (after != before).any()
    np.testing.assert_array_equal(after, ATTACKS[name](Owner(dense, 3), pictures, truth, EPS))


def test_predictions_are_not_stale_either(dense, pictures):
    model, change = keras_model(dense)
    before = evaluation.predict(model, pictures)
    change(3)
    after = evaluation.predict(model, pictures)
    np.testing.assert_allclose(after, dense(np.roll(pictures, 3, axis=2)), atol=1e-5)
    assert np.abs(after - before).max() > 0.1


@pytest.mark.parametrize("kind", [function, keras_model])
def test_the_ensemble_agrees_with_the_assessment(dense, pictures, truth, kind):
    model, change = kind(dense)
    attack = {"fgsm": lambda m, x, y, eps, seed: attacks.fgsm(m, x, y, eps)}
    worst_case(model, pictures, truth, 0.002, attacks=attack)
    change(3)
    result = worst_case(model, pictures, truth, 0.002, attacks=attack)
    np.testing.assert_array_equal(evaluation.is_correct(model, pictures, truth), result.broken_by != "clean")
    np.testing.assert_array_equal(evaluation.is_correct(model, result.images, truth), result.robust)


def test_a_gradient_that_changes_alone_is_noticed(dense, pictures, truth):
    state = {"shift": 0}
    model = straight_through(tf.identity, dense, backward=lambda x: tf.roll(x, state["shift"], axis=2))
    before = attacks.fgsm(model, pictures, truth, EPS)
    state["shift"] = 3
    after = attacks.fgsm(model, pictures, truth, EPS)
    inner = (np.minimum(before, after) > 0.1) & (np.maximum(before, after) < 0.9)
    change = np.where(inner, after - pictures, 0)
    expected = np.where(inner, np.roll(before - pictures, -3, axis=2), 0)
    assert (np.sign(change) != np.sign(expected)).mean() < 0.2 and (before != after).mean() > 0.3


def numpy_noise(dense):
    return lambda x: dense(x + np.random.default_rng().normal(0, 0.3, (8, 8, 3)).astype(np.float32))


def counting(dense):
    calls = []
    return lambda x: dense(x) * tf.cos(float(calls.append(1) or len(calls)) + tf.range(10.0))


class Noisy(keras.layers.Layer):
    def call(self, images):
        return images + np.random.default_rng().normal(0, 0.3, (8, 8, 3)).astype(np.float32)


def noisy_layer(dense):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, dense(Noisy()(inputs)))


@pytest.mark.parametrize("name", [*EACH, "smoothing", "eot", "predict"])
@pytest.mark.parametrize("kind", [numpy_noise, counting, noisy_layer])
def test_randomness_that_a_graph_would_freeze_is_refused(dense, pictures, truth, kind, name):
    calls = ATTACKS | {
        "smoothing": lambda model, images, *_: smoothing.certify(model, images, 0.25),
        "eot": lambda model, *case: attacks.pgd(expectation(model, 4), *case),
        "predict": lambda model, images, *_: evaluation.predict(model, images),
    }
    model = kind(dense)
    if name == "predict" and kind is not noisy_layer:  # a function is not traced there
        assert (calls[name](model, pictures, truth, EPS) != calls[name](model, pictures, truth, EPS)).any()
        return
    with pytest.raises(CourseError, match=r"tf\.random"):
        calls[name](model, pictures, truth, EPS)


def test_randomness_of_tensorflow_is_not(dense, pictures, truth):
    def noisy(x):
        return dense(x + tf.random.normal(tf.shape(x), 0, 0.3))

    def of_numpy(x):
        noise = tf.numpy_function(
            lambda: np.random.normal(0, 0.3, (8, 8, 3)).astype(np.float32), [], tf.float32
        )
        return dense(x + tf.reshape(noise, (8, 8, 3)))

    for model in (noisy, of_numpy):
        asked = [attacks.logits_in_batches(model, pictures) for _ in range(2)]
        assert np.abs(asked[0] - asked[1]).max() > 0.1
        assert attacks.pgd(expectation(model, 4), pictures, truth, EPS).shape == pictures.shape


# ---------------------------------------------------------------------------------- the graphs that are kept


def traces(dense):
    """A model that counts how often it is traced."""
    count = []

    def model(x):
        if not tf.executing_eagerly():
            count.append(1)
        return dense(x)

    return model, count


def test_a_graph_is_traced_once_while_the_model_stays_the_same(dense, pictures, truth):
    model, count = traces(dense)
    attacks.pgd(model, pictures, truth, EPS)
    first = len(count)
    for seed in range(3):
        attacks.pgd(model, pictures, truth, EPS, seed=seed)
    assert len(count) == first > 0


@pytest.mark.deep
def test_graphs_are_forgotten_with_their_model_and_when_there_are_many(dense, pictures, truth):
    kept = []
    for _ in range(tracing.KEPT + 3):
        model, _ = traces(dense)
        attacks.fgsm(model, pictures, truth, EPS)
        kept.append(model)
    assert len(tracing._kept) == tracing.KEPT
    network = keras.models.clone_model(dense)
    attacks.fgsm(network, pictures, truth, EPS)
    evaluation.predict(network, pictures)
    alive = weakref.ref(network)
    del network, model, kept
    gc.collect()
    assert alive() is None and len(tracing._kept) == 0


def test_weights_may_change(dense, pictures, truth):
    network = keras.models.clone_model(dense)
    network.set_weights(dense.get_weights())
    first = attacks.fgsm(network, pictures, truth, EPS)
    network.set_weights([-w for w in dense.get_weights()])
    assert (attacks.fgsm(network, pictures, truth, EPS) != first).mean() > 0.5
    np.testing.assert_allclose(evaluation.predict(network, pictures), -dense(pictures), atol=1e-5)


# --------------------------------------------------------------------------------------- NaN and other types


def nan_from(dense, least):
    """NaN for images that are brighter than ``least`` in their first value."""
    return lambda x: tf.where(x[:, 0, 0, :1] > least, np.nan, dense(x))


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "apgd targeted", "square"])
def test_an_attack_names_the_image_that_gives_a_nan(dense, pictures, truth, name):
    marked = np.minimum(pictures, 0.5)
    marked[4, 0, 0] = 1
    with pytest.raises(CourseError, match="NaN.*: image 4"):
        ATTACKS[name](nan_from(dense, 0.9), marked, truth, EPS)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "apgd targeted"])
def test_an_attack_names_the_image_whose_gradient_is_a_nan(dense, pictures, truth, name):
    @tf.custom_gradient
    def poisoned(x):
        return x, lambda gradient: tf.where(x[:, :1, :1, :1] > 0.9, np.nan, gradient)

    marked = np.minimum(pictures, 0.5)
    marked[4, 0, 0] = 1
    with pytest.raises(CourseError, match="NaN.*: image 4"):
        ATTACKS[name](lambda x: dense(poisoned(x)), marked, truth, EPS)


def test_the_ensemble_names_the_image_by_its_place_in_what_it_was_given(dense, pictures, truth):
    labels, marked = truth.copy(), np.minimum(pictures, 0.5)
    labels = np.asarray(dense(marked)).argmax(1)
    labels[:3] = (labels[:3] + 1) % 10  # the attack gets the last three only
    marked[4, 0, 0] = 0.5
    model = nan_from(dense, 0.5)
    with pytest.raises(CourseError, match="NaN.*: image 4"):
        worst_case(model, np.where(np.arange(6)[:, None, None, None] == 4, marked, marked * 0.9), labels, EPS)


@pytest.mark.parametrize("label", [0, 3])
def test_a_nan_is_never_correct(pictures, label):
    def silent(x):
        return 0 * tf.reshape(x, [-1, 192])[:, :10] + np.nan

    labels = np.full(6, label)
    assert not evaluation.is_correct(silent, pictures, labels).any()
    assert attacks.fooled(silent, pictures, labels).all()
    assert not attacks.fooled(silent, pictures, labels, targeted=True).any()
    found = smoothing.certify(silent, pictures[:1], 0.25)
    assert found.radii.tolist() == [0] and found.predictions.tolist() == [smoothing.ABSTAIN]


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_logits_of_any_precision(dense, pictures, truth, name, dtype):
    ATTACKS[name](lambda x: tf.cast(dense(x), dtype), pictures, truth, EPS)


@pytest.mark.deep
def test_logits_of_float64_are_attacked_as_those_of_float32(dense, pictures, truth):
    for name, attack in ATTACKS.items():
        found = attack(lambda x: tf.cast(dense(x), tf.float64), pictures, truth, EPS)
        np.testing.assert_allclose(found, attack(dense, pictures, truth, EPS), atol=1e-6, err_msg=name)
    assert attacks.logits_of(lambda x: tf.cast(dense(x), tf.bfloat16), pictures).dtype == tf.float32


# ----------------------------------------------------------------------------------------------- few classes


def classes(dense, n):
    return lambda x: dense(x)[:, :n]


@pytest.mark.deep
@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("eps", [0.0, 1e-4, 1.0])
def test_the_ensemble_leaves_out_what_needs_more_classes(dense, pictures, n, eps):
    model = classes(dense, n)
    labels = model(pictures).numpy().argmax(1)
    result = worst_case(model, pictures, labels, eps, effort="quick")
    assert result.attacks == (("apgd-ce", "square") if n < 4 else ("apgd-ce", "apgd-t", "square"))
    assert set(result.left_out) == ({"apgd-t"} if n < 4 else set())
    assert set(result.counts()) == {"clean", *result.attacks}


def test_an_ensemble_of_which_nothing_is_left_is_refused(dense, pictures):
    attack = {"apgd-t": ensemble("quick")["apgd-t"]}
    with pytest.raises(CourseError, match="no attack"):
        worst_case(classes(dense, 3), pictures, np.zeros(6, int), EPS, attacks=attack)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "apgd targeted", "square", "assessment", "ensemble"])
def test_one_output_is_no_answer(dense, pictures, name):
    calls = ATTACKS | {
        "assessment": lambda *case: evaluation.is_correct(*case[:3]),
        "ensemble": lambda *case: worst_case(*case, effort="quick"),
    }
    with pytest.raises(CourseError, match="one output.*sigmoid"):
        calls[name](classes(dense, 1), pictures, np.zeros(6, int), EPS)


# ------------------------------------------------------------------------------------------ numbers as text

TAKES = {
    "pgd": lambda model, x, y, eps, two: attacks.pgd(model, x, y, eps, steps=two, restarts=two),
    "step size": lambda model, x, y, eps, two: attacks.pgd(model, x, y, 0.1, step_size=eps, batch_size=two),
    "worst case": lambda model, x, y, eps, two: (
        worst_case(
            model, x, y, eps, attacks={"fgsm": lambda m, *case: attacks.fgsm(m, *case[:3])}, batch_size=two
        ).images
    ),
    "certify": lambda model, x, y, eps, two: (
        smoothing.certify(
            model, x[:2], eps, select=two, samples=20, alpha=0.3, seed=two, batch_size=two
        ).radii
    ),
    "expectation": lambda model, x, y, eps, two: expectation(model, two)(x),
}


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("two", [2.0, "2"])
def test_numbers_may_be_text_and_whole_numbers_may_end_in_0(dense, pictures, truth, name, two):
    expected = TAKES[name](dense, pictures, truth, 8 / 255, 2)
    np.testing.assert_array_equal(TAKES[name](dense, pictures, truth, "8/255", two), expected)


# ------------------------------------------------------------------- what attacks refuse, assessment refuses

BAD = {
    "float 0..255": (dict(images=lambda x: 255 * x), "divide them by 255"),
    "int64 0..255": (dict(images=lambda x: (255 * x).astype(int)), "images are int64; divide them by 255"),
    "booleans": (dict(images=lambda x: x > 0.5), "images are bool"),
    "normalised": (dict(images=lambda x: 4 * x - 2), r"\[0, 1\]"),
    "NaN": (dict(images=lambda x: np.where(x > 0.999 * x.max(), np.nan, x)), "not numbers .*: image "),
    "infinity": (dict(images=lambda x: np.where(x > 0.999 * x.max(), np.inf, x)), "not numbers .*: image "),
    "one image": (dict(images=lambda x: x[0]), r"shape \(8, 8, 3\)"),
    "none": (dict(images=lambda x: x[:0], labels=lambda y: y[:0]), r"shape \(0, 8, 8, 3\)"),
    "words": (dict(labels=lambda y: np.array(["cat"] * len(y))), "labels must be 6 integers"),
    "float labels": (dict(labels=lambda y: y.astype(float)), "labels must be 6 integers"),
    "one-hot": (dict(labels=lambda y: np.eye(10)[y]), "take argmax"),
    "too few": (dict(labels=lambda y: y[:2]), "labels must be 6 integers"),
    "unknown class": (dict(labels=lambda y: y + 10), "classes 0 to 9"),
    "probabilities": (dict(model=lambda m: lambda x: tf.nn.softmax(m(x))), "take the softmax off"),
    "no model": (dict(model=lambda m: "resnet20"), "the model is a str"),
}


@pytest.mark.parametrize("case", BAD)
def test_attack_and_assessment_refuse_the_same(dense, pictures, truth, case):
    changes, message = BAD[case]
    given = {"model": dense, "images": pictures, "labels": truth}
    given |= {name: change(given[name]) for name, change in changes.items()}
    for call in (lambda *case: attacks.fgsm(*case, EPS), evaluation.is_correct):
        with pytest.raises(CourseError, match=message) as caught:
            call(*given.values())
        assert "\n" not in str(caught.value)
    if "images" in changes:
        with pytest.raises(CourseError, match=message):
            evaluation.predict(dense, given["images"])


def test_tensors_are_accepted(dense, pictures, truth):
    assert evaluation.is_correct(dense, tf.constant(pictures), tf.constant(truth)).all()
    np.testing.assert_allclose(evaluation.predict(dense, tf.constant(pictures)), dense(pictures), atol=1e-5)
    np.testing.assert_array_equal(
        attacks.fgsm(dense, tf.constant(pictures), tf.constant(truth), EPS),
        attacks.fgsm(dense, pictures, truth, EPS),
    )
