"""The codebook of a VQ-VAE: how it quantises, how it learns, and how its use is counted."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import training
from helpers.attacks import adaptive
from helpers.backend import keras, tf
from helpers.defenses import architectures
from helpers.defenses.autoencoder import build_autoencoder
from helpers.defenses.codebook import Codebook, code_counts, codebook_of, perplexity
from helpers.settings import CourseError


def vq_vae():
    keras.utils.set_random_seed(0)
    return architectures.vq_vae()


@pytest.fixture
def book():
    """Four codes at the corners of a square."""
    book = Codebook(4)
    book.build((None, 2))
    book.vectors.assign([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    book.counts.assign(tf.ones(4))
    book.sums.assign(book.vectors)
    return book


def test_every_vector_becomes_the_nearest_code(book):
    given = np.random.default_rng(0).uniform(-1, 2, (3, 5, 2)).astype(np.float32)
    distances = np.linalg.norm(given[..., None, :] - book.vectors.numpy(), axis=-1)
    np.testing.assert_array_equal(book.indices(given), distances.argmin(-1))
    np.testing.assert_array_equal(book(given), book.vectors.numpy()[distances.argmin(-1)])


def test_the_gradient_passes_straight_through(book):
    given = tf.constant([[0.1, 0.2], [0.9, 0.6]])
    with tf.GradientTape() as tape:
        tape.watch(given)
        total = tf.reduce_sum(book(given) * [[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(tape.gradient(total, given), [[1, 2], [3, 4]])


def test_inference_leaves_the_codes_alone_and_training_moves_them(book):
    before = [w.numpy() for w in book.weights]
    given = tf.constant([[0.2, 0.0], [0.4, 0.0], [1.0, 0.8]])
    book(given, training=False)
    for old, new in zip(before, book.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    book(given, training=True)
    # By hand: the first code has two vectors with sum (0.6, 0), the last has one; the others none.
    counts = [0.99 + 0.01 * n for n in (2, 0, 0, 1)]
    sums = 0.99 * before[0] + 0.01 * np.array([[0.6, 0], [0, 0], [0, 0], [1.0, 0.8]])
    np.testing.assert_allclose(book.counts, counts, rtol=1e-6)
    np.testing.assert_allclose(book.vectors, sums / np.array(counts)[:, None], rtol=1e-5, atol=1e-7)


def test_the_commitment_draws_the_encoder_to_its_code(book):
    given = tf.constant([[0.25, 0.0], [1.0, 0.75]])
    with tf.GradientTape() as tape:
        tape.watch(given)
        book(given, training=True)
        (loss,) = book.losses
    chosen = book.vectors.numpy()[[0, 3]]
    assert float(loss) == pytest.approx(0.25 * np.mean((given - chosen) ** 2), rel=1e-5)
    np.testing.assert_allclose(
        tape.gradient(loss, given), 0.25 * 2 * (given - chosen) / 4, rtol=1e-5, atol=1e-7
    )
    book(given, training=False)
    assert not book.losses  # no loss outside training


def test_dead_codes_move_to_vectors(book):
    book.counts.assign([1.0, 0.05, 1.0, 0.05])
    given = tf.constant([[0.0, 0.0], [0.9, 0.1], [1.0, 0.0], [0.1, 0.1]])
    book(given, training=True)
    placed = book.vectors.numpy()
    # The second code takes the second of the four vectors.
    np.testing.assert_allclose(placed[1], [0.9, 0.1], atol=1e-5)
    np.testing.assert_allclose(placed[[0, 2, 3]], [[0, 0], [1, 0], [0.1, 0.1]], atol=1e-5)


def test_a_codebook_learns_where_the_vectors_are():
    """Two hundred vectors in eight heaps: afterwards there is a code in each heap."""
    rng = np.random.default_rng(0)
    heaps = rng.uniform(-5, 5, (8, 3)).astype(np.float32)
    book = Codebook(16)
    book.build((None, 3))
    for _ in range(60):
        book(
            (heaps[rng.integers(0, 8, 200)] + rng.normal(0, 0.05, (200, 3))).astype(np.float32), training=True
        )
    assert np.abs(book(heaps) - heaps).max() < 0.1


@pytest.mark.deep
def test_a_training_step_moves_encoder_decoder_and_codes_of_the_vq_vae(images):
    keras.utils.set_random_seed(0)
    model = architectures.vq_vae(codes=16, channels=8)
    before = model.get_weights()
    optimizer = keras.optimizers.Adam(5e-3)
    step = training.autoencoder_step(model, optimizer)
    losses = [float(step(tf.constant(images), tf.constant(images))) for _ in range(15)]
    assert losses[-1] < losses[0]
    kernels = [k for k, w in enumerate(model.weights) if "kernel" in w.name or "vectors" in w.name]
    assert len(kernels) == 7
    assert not any(np.array_equal(before[k], model.weights[k].numpy()) for k in kernels)


@pytest.mark.deep
def test_a_step_minimises_the_commitment_too_and_reports_the_reconstruction_alone(images):
    """So histories of different architectures compare."""
    kernels = {}
    for commitment in (0.0, 10.0):
        keras.utils.set_random_seed(0)
        model = architectures.vq_vae(codes=16, channels=8)
        model.get_layer("codebook").commitment = commitment
        optimizer = keras.optimizers.SGD(0.0)
        step = training.autoencoder_step(model, optimizer)
        step(tf.constant(images), tf.constant(images))  # the codes find their places
        expected = float(np.mean((model(images) - images) ** 2))
        optimizer.learning_rate.assign(0.1)
        assert float(step(tf.constant(images), tf.constant(images))) == pytest.approx(expected, rel=0.05)
        kernels[commitment] = model.get_layer("project").kernel.numpy()
    assert np.abs(kernels[0.0] - kernels[10.0]).max() > 1e-4


def test_straight_through_is_another_gradient_than_the_identity_for_all(images, cnn):
    """The two attacks on a VQ-VAE: through its encoder and decoder, or past both."""
    model = vq_vae()
    model(images, training=True)
    aims = {
        "built in": lambda x: cnn(model(x, training=False), training=False),
        "identity": adaptive.straight_through(lambda x: model(x, training=False), then=cnn),
    }
    gradients = {}
    for name, aim in aims.items():
        x = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(aim(x)[:, 3])
        gradients[name] = tape.gradient(total, x).numpy()
        assert np.abs(gradients[name]).max() > 0
    np.testing.assert_allclose(aims["built in"](images), aims["identity"](tf.constant(images)), atol=1e-6)
    made = tf.constant(model(images, training=False))
    with tf.GradientTape() as tape:
        tape.watch(made)
        total = tf.reduce_sum(cnn(made, training=False)[:, 3])
    np.testing.assert_allclose(gradients["identity"], tape.gradient(total, made), atol=1e-6)
    assert not np.allclose(gradients["built in"], gradients["identity"], atol=1e-3)


def test_codes_are_counted(images):
    model = vq_vae()
    model(images, training=True)
    counts = code_counts(model, images, batch_size=5)
    assert counts.shape == (512,) and counts.sum() == len(images) * 256
    book = codebook_of(model)
    by_hand = book.indices(keras.Model(model.input, book.input)(images, training=False)).numpy()
    np.testing.assert_array_equal(counts, np.bincount(by_hand.ravel(), minlength=512))
    with pytest.raises(CourseError, match="has no codebook"):
        code_counts(build_autoencoder(), images)


@pytest.mark.parametrize(
    "counts, expected", [([7, 7, 7, 7], 4), ([9, 0, 0], 1), ([1, 1, 0, 0], 2), ([3, 1], 4 / 27**0.25)]
)
def test_perplexity(counts, expected):
    assert perplexity(np.array(counts)) == pytest.approx(expected)
