"""FGSM and PGD: what must hold for any model, and every kind of bad input."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import kstest
from support import eagerly

from helpers import attacks
from helpers.attacks.losses import LOSSES
from helpers.backend import tf
from helpers.settings import CourseError

EPS = 8 / 255


def losses(model, images, labels):
    """The cross-entropy of each image."""
    return -log_softmax(np.asarray(attacks.logits_of(model, images), np.float64), 1)[
        np.arange(len(labels)), labels
    ]


def both(model, images, labels, eps, **options):
    """FGSM's and PGD's images."""
    return attacks.fgsm(model, images, labels, eps, **options), attacks.pgd(
        model, images, labels, eps, **options
    )


# ---------------------------------------------------------------------------------------- invariants


@pytest.mark.parametrize("eps", [0.0, 0, np.float32(0), np.float64(0)])
def test_a_budget_of_zero_changes_nothing(cnn, images, labels, eps):
    for attacked in both(cnn, images, labels, eps):
        np.testing.assert_array_equal(attacked, images)


@pytest.mark.parametrize("eps", [1 / 255, EPS, 0.3, 1.0])
@pytest.mark.parametrize("targeted", [False, True])
def test_attacked_images_stay_in_the_ball_and_in_range(cnn, images, labels, eps, targeted):
    options = {"step_size": 0.1, "steps": 5, "targeted": targeted}
    for attacked in (
        attacks.fgsm(cnn, images, labels, eps, targeted=targeted),
        attacks.pgd(cnn, images, labels, eps, **options),
        attacks.pgd(cnn, images, labels, eps, random_start=False, **options),
    ):
        assert attacked.shape == images.shape and attacked.dtype == np.float32
        assert np.abs(attacked - images).max() <= eps + 1e-6
        assert attacked.min() >= 0 and attacked.max() <= 1
        assert (attacked != images).mean() > 0.5


def test_the_arguments_are_not_written_to(cnn, images, labels):
    before = images.copy()
    both(cnn, images, labels, EPS)
    np.testing.assert_array_equal(images, before)


@pytest.mark.deep
def test_weights_and_batchnorm_statistics_are_untouched(cnn, resnet20, images, labels):
    for model in (cnn, resnet20):
        before = model.get_weights()
        both(model, images[:2], labels[:2], EPS)
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("kind", [np.float32, np.float64, Fraction, str])
def test_eps_may_be_any_kind_of_number(cnn, images, labels, kind):
    expected = both(cnn, images[:2], labels[:2], 0.25)
    for a, b in zip(expected, both(cnn, images[:2], labels[:2], kind(0.25)), strict=True):
        np.testing.assert_array_equal(a, b)
    whole = attacks.fgsm(cnn, images[:2], labels[:2], 1)
    np.testing.assert_array_equal(whole, attacks.fgsm(cnn, images[:2], labels[:2], 1.0))


def test_it_runs_eagerly_too(cnn, images, labels):
    """tf.config.run_functions_eagerly is what people debug with."""
    graph = attacks.pgd(cnn, images, labels, EPS, steps=2)
    with eagerly():
        eager = attacks.pgd(cnn, images, labels, EPS, steps=2)
    assert (np.abs(graph - eager) <= 1e-6).mean() > 0.999


def test_a_model_may_be_a_function(cnn, images, labels):
    np.testing.assert_array_equal(
        attacks.fgsm(lambda x: cnn(x, training=False), images, labels, EPS),
        attacks.fgsm(cnn, images, labels, EPS),
    )


# ----------------------------------------------------------------------------------- norms and tries


def lengths(change):
    """The Euclidean length of each image's change."""
    return np.linalg.norm(change.reshape(len(change), -1).astype(np.float64), axis=1)


@pytest.mark.parametrize("eps", [0.0, 0.5, 2.0])
def test_l2_attacks_stay_in_the_euclidean_ball_and_in_range(cnn, images, labels, eps):
    options = {"norm": "l2", "step_size": 0.3, "steps": 4}
    for attacked in (
        attacks.fgsm(cnn, images, labels, eps, norm="l2"),
        attacks.pgd(cnn, images, labels, eps, **options),
        attacks.pgd(cnn, images, labels, eps, random_start=False, **options),
    ):
        assert attacked.min() >= 0 and attacked.max() <= 1
        assert lengths(attacked - images).max() <= eps + 1e-5
    assert eps == 0 or lengths(attacked - images).min() > eps / 2
    assert (losses(cnn, attacked, labels) >= losses(cnn, images, labels)).all()


def test_an_l2_step_follows_the_gradient(cnn, images, labels):
    grey = 0.25 + images / 2  # away from the limits, so that nothing is clipped
    gradient = attacks.input_gradient(cnn, tf.constant(grey), tf.constant(labels)).numpy()
    step = 0.25 * gradient / lengths(gradient)[:, None, None, None]
    np.testing.assert_allclose(attacks.fgsm(cnn, grey, labels, 0.25, norm="l2"), grey + step, atol=1e-6)


def test_the_l2_start_is_uniform_in_the_ball():
    grey = np.full((500, 4, 4, 3), 0.5, np.float32)
    moved = attacks.random_start_for(grey, 0.25, "l2", 0, np.arange(500)) - grey
    assert kstest((lengths(moved) / 0.25) ** 48, "uniform").pvalue > 1e-3
    assert np.abs(moved.mean(0)).max() < 0.01
    one = attacks.random_start_for(grey[:1], 0.25, "l2", 0, np.array([7])) - grey[:1]
    np.testing.assert_array_equal(one[0], moved[7])


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_restarts_break_more_and_keep_what_is_broken(cnn, images, labels, norm):
    """At a budget where the outcome depends on the start; every try's noise is another."""
    labels = np.asarray(cnn(images)).argmax(1)
    options = {"norm": norm, "step_size": 0.0, "steps": 1}
    eps = {"linf": 0.02, "l2": 1.5}[norm]
    tries = [attacks.random_start_for(images, eps, norm, 0, np.arange(12), k) for k in range(6)]
    assert all((a != b).any() for a, b in zip(tries, tries[1:], strict=False))
    broken = np.array([attacks.fooled(cnn, moved, labels) for moved in tries])
    assert broken[0].sum() < broken.any(0).sum()  # else this would test nothing
    for size in (5, 128):
        moved = attacks.pgd(cnn, images, labels, eps, restarts=6, batch_size=size, **options)
        np.testing.assert_array_equal(attacks.fooled(cnn, moved, labels), broken.any(0))
        for i in range(12):  # the first try that broke the image, or the last
            k = broken[:, i].argmax() if broken[:, i].any() else 5
            np.testing.assert_array_equal(moved[i], tries[k][i])


def test_targeted_restarts_stop_at_the_target(cnn, images, labels):
    moved = attacks.pgd(cnn, images, labels, 1.0, step_size=0.05, restarts=3, targeted=True)
    assert attacks.fooled(cnn, moved, labels, targeted=True).mean() > 0.9


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_can_be_maximised(cnn, images, labels, name):
    truth = np.asarray(cnn(images)).argmax(1)
    moved = attacks.pgd(cnn, images, truth, EPS, loss=name)

    def loss(x):
        return LOSSES[name](tf.constant(truth, tf.int32), attacks.logits_of(cnn, tf.constant(x))).numpy()

    assert (loss(moved) > loss(images)).mean() > 0.9
    assert (moved != attacks.pgd(cnn, images, truth, EPS, loss="cross_entropy")).any() or name in (
        "cross_entropy",
        "of_softmax",
    )


# -------------------------------------------------------------------------------- what they maximise


def test_fgsm_is_the_sign_of_the_gradient_of_the_cross_entropy():
    """On a linear model, where the gradient is W(p - y); pixels that the model ignores stay as they are."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, (12, 5))
    weights[3] = 0
    images, labels = rng.uniform(0.2, 0.8, (6, 2, 2, 3)).astype(np.float32), np.arange(6) % 5

    def model(x):
        return tf.reshape(x, [-1, 12]) @ tf.constant(weights, tf.float32)

    excess = softmax(images.reshape(6, 12) @ weights, axis=1) - np.eye(5)[labels]
    step = (0.1 * np.sign(excess @ weights.T)).reshape(images.shape)
    np.testing.assert_allclose(attacks.fgsm(model, images, labels, 0.1), images + step, atol=1e-6)
    np.testing.assert_allclose(
        attacks.fgsm(model, images, labels, 0.1, targeted=True), images - step, atol=1e-6
    )
    assert (step.reshape(6, 12)[:, 3] == 0).all()


@pytest.mark.parametrize("attack", [attacks.fgsm, attacks.pgd])
def test_the_loss_rises_and_the_targets_loss_falls(cnn, images, labels, attack):
    targets = (labels + 1) % 10
    attacked, drawn = attack(cnn, images, labels, EPS), attack(cnn, images, targets, EPS, targeted=True)
    assert (losses(cnn, attacked, labels) > losses(cnn, images, labels)).all()
    assert (losses(cnn, drawn, targets) < losses(cnn, images, targets)).all()


def test_pgd_beats_fgsm_and_fgsm_beats_noise(cnn, images, labels):
    fgsm, pgd = (losses(cnn, attacked, labels).mean() for attacked in both(cnn, images, labels, EPS))
    noise = losses(cnn, attacks.random_noise(images, EPS, 0), labels).mean()
    assert pgd > fgsm > noise


def test_batchnorm_is_in_inference_mode(cnn, images, labels):
    """In training mode an image's gradient would depend on its neighbours."""
    alone = attacks.pgd(cnn, images[:1], labels[:1], EPS, random_start=False, steps=2)
    among = attacks.pgd(cnn, images, labels, EPS, random_start=False, steps=2)
    np.testing.assert_allclose(alone[0], among[0], atol=1e-6)


# --------------------------------------------------------------------------------- batches and seeds


@pytest.mark.parametrize("size", [1, 5, 12])
def test_the_batch_size_changes_nothing(cnn, images, labels, size):
    options = {"steps": 2, "seed": 3}
    np.testing.assert_allclose(
        attacks.pgd(cnn, images, labels, EPS, batch_size=size, **options),
        attacks.pgd(cnn, images, labels, EPS, **options),
        atol=1e-6,
    )
    # With steps of no length the random start is all that is left.
    start = attacks.pgd(cnn, images, labels, EPS, batch_size=size, step_size=0.0, **options)
    np.testing.assert_array_equal(start, attacks.random_noise(images, EPS, 3))


def test_an_image_gets_the_same_noise_whatever_it_is_batched_with():
    for shape in ((32, 32, 3), (5, 5, 3)):  # 75 values do not fill whole blocks of random numbers
        grey = np.full((10, *shape), 0.5, np.float32)
        whole = attacks.random_noise(grey, EPS, 7)
        parts = [attacks.random_noise(grey[a:b], EPS, 7, a) for a, b in ((0, 3), (3, 4), (4, 10))]
        np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_the_seed_alone_decides(cnn, images, labels):
    first, again, other = (attacks.pgd(cnn, images, labels, EPS, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.1
    assert (attacks.random_noise(images, EPS, 0) != attacks.random_noise(images, EPS, 1)).mean() > 0.9


def test_noise_is_uniform_in_the_ball():
    grey = np.full((40, 32, 32, 3), 0.5, np.float32)
    noise = (attacks.random_noise(grey, 0.25, 0) - grey).reshape(40, -1)
    assert kstest(noise.ravel(), "uniform", (-0.25, 0.5)).pvalue > 1e-3
    assert np.abs(np.corrcoef(noise) - np.eye(40)).max() < 0.1  # no two images share theirs
    assert np.abs(np.corrcoef(noise[:, :300].T) - np.eye(300)).mean() < 0.2  # nor any two pixels


def test_noise_is_clipped_to_the_range():
    for value in (0.0, 1.0):
        moved = attacks.random_noise(np.full((4, 8, 8, 3), value, np.float32), 0.1, 0)
        assert moved.min() >= 0 and moved.max() <= 1 and 0.4 < (moved == value).mean() < 0.6


# ----------------------------------------------------------------------------------------- bad input


def corrupted(array, value):
    array = array.copy()
    array.flat[0] = value
    return array


BAD = {
    "eps 8": (dict(eps=8), r"eps is 8, but images are in \[0, 1\]: write 8/255"),
    "eps negative": (dict(eps=-0.1), r"eps is -0\.1; it must be a number in \[0, 1\], such as 8/255"),
    "eps NaN": (dict(eps=np.nan), r"eps is nan; it must be a number in \[0, 1\]"),
    "eps None": (dict(eps=None), r"eps is None; it must be a number"),
    "eps text": (dict(eps="eight"), r"eps is 'eight'; it must be a number"),
    "eps array": (dict(eps=np.full(2, 0.1)), r"eps is .*; it must be a number"),
    "step size 2": (dict(step_size=2), r"step_size is 2, but images are in \[0, 1\]: write 2/255"),
    "step size negative": (dict(step_size=-1), r"step_size is -1; it must be"),
    "no steps": (dict(steps=0), "steps is 0; an attack takes at least 1"),
    "steps negative": (dict(steps=-3), "steps is -3; an attack takes at least 1"),
    "half a step": (dict(steps=2.5), "steps is 2.5"),
    "batch size 0": (dict(batch_size=0), "batch_size is 0"),
    "batch size negative": (dict(batch_size=-1), "batch_size is -1"),
    "seed negative": (dict(seed=-1), "seed is -1"),
    "images 0..255": (dict(images=lambda x: 255 * x), "run from 0 to 255; divide them by 255"),
    "images uint8": (
        dict(images=lambda x: (255 * x).astype(np.uint8)),
        "images are uint8; divide them by 255",
    ),
    "images normalised": (
        dict(images=lambda x: 4 * x - 2),
        "run from -2 to 2.*leave normalisation to the model",
    ),
    "images slightly out": (dict(images=lambda x: x * 1.001), "run from 0 to 1.001; clip them"),
    "images NaN": (dict(images=lambda x: corrupted(x, np.nan)), "not numbers .NaN or infinity."),
    "images infinite": (dict(images=lambda x: corrupted(x, np.inf)), "not numbers .NaN or infinity."),
    "empty batch": (
        dict(images=lambda x: x[:0], labels=lambda y: y[:0]),
        r"shape \(0, 32, 32, 3\); a batch \[n, height, width, channels\], n > 0, is needed",
    ),
    "one image": (
        dict(images=lambda x: x[0]),
        r"shape \(32, 32, 3\); a batch \[n, height, width, channels\]",
    ),
    "labels too high": (
        dict(labels=lambda y: corrupted(y, 10)),
        "labels run from 0 to 10, but .* classes 0 to 9",
    ),
    "labels negative": (
        dict(labels=lambda y: corrupted(y, -1)),
        "labels run from -1 to 9, but .* classes 0 to 9",
    ),
    "labels one-hot": (
        dict(labels=lambda y: np.eye(10)[y]),
        r"12 integers, but are float64 \(12, 10\); take argmax",
    ),
    "labels one-hot, integer": (
        dict(labels=lambda y: np.eye(10, dtype=int)[y]),
        r"but are int64 \(12, 10\); take arg",
    ),
    "labels in a column": (
        dict(labels=lambda y: y[:, None]),
        r"labels must be 12 integers, but are int64 \(12, 1\)",
    ),
    "labels float": (
        dict(labels=lambda y: y.astype(np.float32)),
        r"must be 12 integers, but are float32 \(12,\)",
    ),
    "labels too few": (dict(labels=lambda y: y[:5]), r"labels must be 12 integers, but are int64 \(5,\)"),
    "softmax outputs": (
        dict(model=lambda m: lambda x: tf.nn.softmax(m(x))),
        "probabilities .* take the softmax off",
    ),
    "no model": (dict(model=lambda m: "resnet20"), "the model is a str, which cannot be called"),
    "features, not logits": (
        dict(model=lambda m: lambda x: tf.zeros((len(x), 4, 4, 8))),
        r"the model returned shape \(1, 4, 4, 8\) for one image; logits \[n, classes\] are needed",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_with_its_remedy(cnn, images, labels, case):
    changes, message = BAD[case]
    good = {"model": cnn, "images": images, "labels": labels, "eps": EPS}
    given = good | {k: v(good[k]) if callable(v) else v for k, v in changes.items()}
    calls = [attacks.pgd]
    if not {"steps", "step_size", "seed"} & set(changes):
        calls.append(attacks.fgsm)
    for call in calls:
        with pytest.raises(CourseError, match=message) as caught:
            call(**given)
        assert "\n" not in str(caught.value)


def test_random_signs_move_every_value_by_eps(images):
    inside = 0.25 + images / 2
    moved = attacks.random_signs(inside, EPS, seed=0) - inside
    np.testing.assert_allclose(np.abs(moved), EPS, atol=1e-6)
    assert 0.45 < (moved > 0).mean() < 0.55
    assert not np.array_equal(moved, attacks.random_signs(inside, EPS, seed=1) - inside)
