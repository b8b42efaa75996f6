"""Adversarial training, on a network that trains in milliseconds."""

from dataclasses import replace

import numpy as np
import pytest
from support import tiny_network

from helpers import attacks, training
from helpers.backend import keras, tf
from helpers.defenses import autoencoder
from helpers.training import AdversarialRecipe, Pair, adversarial

EPS = 8 / 255
SHORT = AdversarialRecipe("short", "none", steps=1, step_size=10 / 255, epochs=3, peak_rate=0.05)


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return training.Samples(
        [rng.integers(0, 256, (48, 8, 8, 3), np.uint8)], np.arange(48, dtype=np.int32) % 10
    )


def by_hand(model, images, labels, recipe, eps, seed, number):
    """The attacked batch that a step trains on, in NumPy but for the gradient."""
    draw = tf.random.stateless_uniform(
        images.shape, [seed, number], -recipe.noise * eps, recipe.noise * eps
    ).numpy()
    inside = (lambda moved: np.clip(moved, 0, 1)) if recipe.projected else (lambda moved: moved)
    moved = inside(images + draw) if recipe.random_start else images
    for _ in range(recipe.steps):
        x = tf.constant(moved)
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = model(x, training=True)
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            )
        ahead = moved + recipe.step_size * np.sign(tape.gradient(loss, x))
        near = np.clip(ahead, images - eps, images + eps) if recipe.projected else ahead
        moved = inside(near).astype(np.float32)
    return moved


@pytest.mark.deep
@pytest.mark.parametrize(
    "recipe",
    [
        SHORT,
        replace(SHORT, steps=3, step_size=2 / 255),
        replace(SHORT, random_start=False),
        replace(SHORT, step_size=EPS, noise=2.0, projected=False),
    ],
    ids=["one step", "three steps", "no random start", "N-FGSM"],
)
def test_a_step_is_training_on_the_images_attacked_just_now(recipe):
    images = np.random.default_rng(0).random((6, 8, 8, 3), np.float32)
    labels = np.arange(6)
    model, twin = tiny_network(), tiny_network()
    step = adversarial.adversarial_step(model, keras.optimizers.SGD(0.1), recipe, EPS, seed=7)
    for number in range(2):
        loss = step(tf.constant(images), tf.constant(labels))
        moved = by_hand(twin, images, labels, recipe, EPS, 7, number)
        reach = EPS if recipe.projected else 2 * EPS + recipe.step_size
        assert reach / 2 < np.abs(moved - images).max() <= reach + 1e-6
        with tf.GradientTape() as tape:
            logits = twin(moved, training=True)
            expected = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            )
            decay = sum(tf.nn.l2_loss(v) for v in twin.trainable_variables if len(v.shape) > 1)
            total = expected + recipe.weight_decay * decay
        for v, g in zip(
            twin.trainable_variables, tape.gradient(total, twin.trainable_variables), strict=True
        ):
            v.assign_sub(0.1 * g)
        assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    for ours, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.deep
def test_an_autoencoder_learns_at_its_share_of_the_rate():
    images, labels = (
        tf.constant(np.random.default_rng(0).random((6, 32, 32, 3), np.float32)),
        tf.constant(np.arange(6)),
    )

    def moved(share):
        """How far one step moves the weights of the autoencoder, and of the classifier."""
        keras.utils.set_random_seed(0)
        denoiser = autoencoder.build_autoencoder()
        behind = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
        parts = denoiser, behind
        before = [[w.copy() for w in part.get_weights()] for part in parts]
        recipe = replace(SHORT, with_autoencoder=True, autoencoder_rate=share)
        adversarial.adversarial_step(
            adversarial.joined(*parts), keras.optimizers.SGD(0.1), recipe, EPS, seed=7
        )(images, labels)
        return [
            np.concatenate([(b - a).ravel() for a, b in zip(old, part.get_weights(), strict=True)])
            for old, part in zip(before, parts, strict=True)
        ]

    (whole, classifier), (share, same) = moved(1.0), moved(0.01)
    assert np.abs(whole).max() > 1e-4
    np.testing.assert_allclose(share, 0.01 * whole, atol=1e-6)
    np.testing.assert_array_equal(classifier, same)


def trained(folder, samples, scores, recipe=SHORT):
    """Train anew with this accuracy under PGD after each epoch; the model and its history."""
    model, scores = tiny_network(), iter(scores)
    history = recipe.train(
        Pair(model), samples, eps=EPS, seed=0, folder=folder, on_epoch_end=lambda: {"pgd": next(scores)}
    )
    return model.get_weights(), history


@pytest.mark.deep
def test_the_best_epoch_is_kept(tmp_path, samples):
    weights, history = trained(tmp_path / "a", samples, [0.2, 0.4, 0.3])
    assert [record["pgd"] for record in history] == [0.2, 0.4, 0.3]
    others = {  # which epoch is kept when another one is best
        best: trained(tmp_path / str(best), samples, [0.4 if k == best else 0.3 for k in range(3)])[0]
        for best in range(3)
    }
    same = [all(np.array_equal(a, b) for a, b in zip(weights, others[k], strict=True)) for k in range(3)]
    assert same == [False, True, False]


@pytest.mark.deep
def test_a_collapse_ends_training_and_keeps_what_was_before(tmp_path, samples):
    long = replace(SHORT, epochs=6)
    weights, history = trained(tmp_path / "a", samples, [0.3, 0.4, 0.1, 0.5, 0.5, 0.5], long)
    assert [record["pgd"] for record in history] == [0.3, 0.4, 0.1]
    before, _ = trained(tmp_path / "b", samples, [0.3, 0.4, 0.3, 0.3, 0.3, 0.3], long)
    for a, b in zip(weights, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.deep
def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path, samples):
    def interrupted():
        yield 0.5
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scores = interrupted()
        SHORT.train(
            Pair(tiny_network()),
            samples,
            eps=EPS,
            seed=0,
            folder=tmp_path / "a",
            on_epoch_end=lambda: {"pgd": next(scores)},
        )
    resumed, history = trained(tmp_path / "a", samples, [0.6, 0.7])
    undisturbed, whole = trained(tmp_path / "b", samples, [0.5, 0.6, 0.7])
    assert [record["loss"] for record in history] == [record["loss"] for record in whole]
    for a, b in zip(resumed, undisturbed, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_it_makes_a_network_harder_to_fool(tmp_path, monkeypatch):
    """Two classes differ in brightness, strongly but not always, and in a faint pattern, always.

    After Tsipras et al. 2019: training on clean images relies on the pattern, which the attack can reverse.
    """
    monkeypatch.setattr(adversarial, "crop_and_flip", lambda images, rng: images)
    rng = np.random.default_rng(0)
    labels = np.arange(400, dtype=np.int32) % 2
    sign, eps = (2 * labels - 1)[:, None, None, None], 12 / 255
    bright = np.where(rng.random((400, 1, 1, 1)) < 0.9, sign, -sign)
    faint = np.where(rng.random((8, 8, 3)) < 0.5, 1, -1) * sign
    pixels = 128 + 30 * bright + 6 * faint + rng.normal(0, 2, (400, 8, 8, 3))
    samples = training.Samples([np.rint(pixels).astype(np.uint8)], labels)
    images = samples.read(np.arange(400))[0]

    def right_under_attack(recipe):
        model = tiny_network()
        long, folder = replace(recipe, epochs=30, peak_rate=0.1), tmp_path / recipe.title
        scores = iter(np.linspace(0.5, 1, 30))  # the last epoch is the best one
        long.train(
            Pair(model), samples, eps=eps, seed=0, folder=folder, on_epoch_end=lambda: {"pgd": next(scores)}
        )
        return 1 - attacks.fooled(model, attacks.pgd(model, images, labels, eps), labels).mean()

    attacked = right_under_attack(replace(SHORT, step_size=eps))
    plain = right_under_attack(replace(SHORT, title="plain", steps=0, random_start=False))
    assert attacked > 0.8 and plain < 0.5
