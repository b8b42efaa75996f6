"""Checks of notebook 07, exercises 4 and 6: a step of adversarial training, and a repair."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import wraps

import numpy as np

from .. import attacks
from ..backend import keras, tf
from . import toys
from .predicates import as_array, as_number
from .toy_pictures import SEEN, initial_network, initial_weights, judge_images, pictures
from .verdict import NotDone, Wrong, ask, check

EPS = 8 / 255


# -------------------------------------------------------------------------------- a step of the min-max game

NFGSM = "nfgsm(model, images, labels, eps, noise)"
TRAIN_STEP = "train_step(model, optimizer, images, labels, eps, noise)"
RATE = 0.1


@check("07.4", f"write {NFGSM} and {TRAIN_STEP}")
def check_min_max(nfgsm: Callable, train_step: Callable) -> str:
    """Accept N-FGSM (de Jorge et al. 2022) with a given noise, and a training step on its images.

    The images may be made with BatchNorm in either mode. The step is one of SGD on their mean cross-entropy,
    with BatchNorm in training mode.
    """
    images, labels = toys.images(), toys.labels()
    noise = np.random.default_rng(31).uniform(-2 * EPS, 2 * EPS, images.shape).astype(np.float32)
    tensors = tf.constant(images), tf.constant(labels)
    model = _trainable()
    answer = ask(nfgsm, model, *tensors, EPS, tf.constant(noise), call=NFGSM)
    _compare_nfgsm(as_array(answer, "your images", images.shape), images, labels, noise)

    model = _trainable()
    before, optimizer = model.get_weights(), keras.optimizers.SGD(RATE)
    answer = ask(train_step, model, optimizer, *tensors, EPS, tf.constant(noise), call=TRAIN_STEP)
    _compare_step(answer, before, model, images, labels, noise)
    return (
        "noise, a step on the images, and a step on the weights: one training step with N-FGSM, which costs "
        "as much as two ordinary ones"
    )


def _trainable() -> keras.Model:
    """Return a copy of toys.network that may be trained."""
    model = keras.models.clone_model(toys.network())
    model.set_weights(toys.network().get_weights())
    return model


def _mean_loss(model: keras.Model, images: np.ndarray, labels: np.ndarray, training: bool) -> tf.Tensor:
    logits = model(tf.convert_to_tensor(images, tf.float32), training=training)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def _by_value(function: Callable) -> Callable:
    """Cache a function of arrays by their values, since all answers are compared with the same results."""
    found: dict[tuple, np.ndarray] = {}

    @wraps(function)
    def cached(*arguments):
        key = tuple(
            hashlib.sha256(a.tobytes()).digest() if isinstance(a, np.ndarray) else a for a in arguments
        )
        if key not in found:
            found[key] = function(*arguments)
        return found[key]

    return cached


@_by_value
def _direction(images: np.ndarray, labels: np.ndarray, training: bool) -> np.ndarray:
    """Return the loss's gradient with respect to the images, on a fresh copy of the toy."""
    x, model = tf.constant(images, tf.float32), _trainable()
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = _mean_loss(model, x, labels, training)
    return tape.gradient(loss, x).numpy()


def _moved(images: np.ndarray, labels: np.ndarray, noise: np.ndarray, training: bool) -> np.ndarray:
    return images + noise + EPS * np.sign(_direction(images + noise, labels, training))


def _agree(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Compare two sets of images. Ignore the few values whose gradient is too near zero to have a sign."""
    return bool(np.mean(np.abs(found - wanted) < 1e-4) > 0.99)


def _compare_nfgsm(found: np.ndarray, images: np.ndarray, labels: np.ndarray, noise: np.ndarray) -> None:
    modes = (True, False)
    right = [_moved(images, labels, noise, mode) for mode in modes]
    if any(_agree(found, wanted) for wanted in right):
        return
    for wrong, hint in _wrong_images(images, labels, noise):
        if any(_agree(found, wrong(mode)) for mode in modes):
            raise Wrong(f"return images + noise + eps * sign(gradient at images + noise); {hint}")
    noisy = images + noise
    step, gradient = found - noisy, _direction(noisy, labels, True)
    if np.sum(step * gradient) > 0.9 * np.linalg.norm(step) * np.linalg.norm(gradient):
        raise Wrong(
            "your step is proportional to the gradient: the sign is missing, which moves each value by eps"
        )
    same = max(float(np.mean(np.abs(found - wanted) < 1e-4)) for wanted in right)
    raise Wrong(
        f"only {100 * same:.0f}% of your values are images + noise + eps * sign(gradient), with the gradient "
        f"of the cross-entropy at images + noise; yours move by up to {np.abs(found - images).max():.3f}, "
        f"and should move by up to {np.abs(right[0] - images).max():.3f}"
    )


def _wrong_images(
    images: np.ndarray, labels: np.ndarray, noise: np.ndarray
) -> Iterator[tuple[Callable[[bool], np.ndarray], str]]:
    """Yield wrong versions of N-FGSM, as functions of BatchNorm's mode, and what is wrong with each."""
    noisy, own = images + noise, toys.answers(toys.network(), images)

    def step(at: np.ndarray, mode: bool) -> np.ndarray:
        return EPS * np.sign(_direction(at, labels, mode))

    def right(mode: bool) -> np.ndarray:
        return noisy + step(noisy, mode)

    yield lambda mode: noisy, "you add the noise but take no step: was the gradient zero?"
    yield (
        lambda mode: images + step(images, mode),
        "you forgot the noise: yours is FGSM, to which training overfits",
    )
    yield (
        lambda mode: images + step(noisy, mode),
        "you take the gradient at the noisy image, but forgot the noise in the sum",
    )
    yield (
        lambda mode: noisy + step(images, mode),
        "take the gradient where the step begins, at the noisy image",
    )
    yield lambda mode: noisy - step(noisy, mode), "your step goes downhill: the attacker maximises the loss"
    into_the_ball = "you project into the eps-ball; N-FGSM does not, since that undoes most of the noise"
    yield lambda mode: right(mode).clip(images - EPS, images + EPS), into_the_ball
    yield lambda mode: right(mode).clip(images - EPS, images + EPS).clip(0, 1), into_the_ball
    yield (
        lambda mode: right(mode).clip(0, 1),
        "you clip to [0, 1]; N-FGSM does not, since these images are for training, not for evaluation",
    )
    yield (
        lambda mode: noisy.clip(0, 1) + step(noisy.clip(0, 1), mode),
        "you clip the noisy image to [0, 1]; N-FGSM does not",
    )
    yield (
        lambda mode: _moved(images, labels, noise.clip(-EPS, EPS), mode),
        "you clip the noise to eps; N-FGSM's noise is twice as large, which is the point of the method",
    )
    yield (
        lambda mode: noisy + 1.25 * step(noisy, mode),
        "your step is 1.25 eps, as in Wong et al. 2020; here it is eps",
    )
    yield lambda mode: right(mode) - images, "you return the change alone; add it to the image"
    yield (
        lambda mode: _moved(images, own, noise, mode),
        "you maximise the loss of the network's own answers; use the labels",
    )


def _compare_step(
    answer: object,
    before: list[np.ndarray],
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    noise: np.ndarray,
) -> None:
    twin = _trainable()
    places = [k for k, w in enumerate(twin.weights) if any(w is v for v in twin.trainable_weights)]
    after = model.get_weights()
    change = np.concatenate([(after[k] - before[k]).ravel() for k in places])
    if not np.isfinite(change).all():
        raise Wrong("your train_step puts NaN into the network's weights")
    if not change.any():
        raise Wrong(
            "your train_step does not change the network's weights; "
            "optimizer.apply_gradients(zip(gradients, variables)) changes them"
        )
    modes = (True, False)
    attacked = {mode: _moved(images, labels, noise, mode) for mode in modes}
    # In training mode the attack's pass also moves the statistics; the second pass does not depend on them.
    if not any(_near(change, _sgd(attacked[mode], labels)) for mode in modes):
        wrong = _wrong_steps(images, labels, noise, attacked)
        hint = next((text for step, text in wrong if _near(change, step)), None)
        asked = (
            "compute the mean cross-entropy of nfgsm's images, in training mode, and apply its gradient once"
        )
        hint = hint or asked
        raise Wrong(f"your train_step does not change the weights as it should; {hint}")
    loss = as_number(answer, "the loss")
    expected = [float(_mean_loss(_trainable(), attacked[mode], labels, True)) for mode in modes]
    if not any(np.isclose(loss, value, rtol=0.02) for value in expected):
        clean = float(_mean_loss(_trainable(), images, labels, True))
        hint = (
            "that is the loss of the clean images"
            if np.isclose(loss, clean, rtol=0.02)
            else "return the loss that you differentiated"
        )
        raise Wrong(
            f"the weights are right, but the loss is {expected[0]:.3f} and you return {loss:.3f}; {hint}"
        )


def _wrong_steps(
    images: np.ndarray, labels: np.ndarray, noise: np.ndarray, attacked: dict[bool, np.ndarray]
) -> Iterator[tuple[np.ndarray, str]]:
    """Yield how wrong steps would change the toy's weights, and what is wrong with each."""
    plain, direction = attacked[True], np.sign(_direction(images + noise, labels, True))
    right, on_clean = _sgd(plain, labels), _sgd(images, labels)
    yield on_clean, "you train on the clean images; train on the attacked ones"
    yield _sgd(images + noise, labels), "you train on noisy images; attack them first"
    yield -right, "your weights go uphill: the attacker maximises the loss, you minimise it"
    yield len(images) * right, "you take the sum of the losses; take the mean over the batch"
    for step in (_sgd(attacked[False], labels, False), _sgd(plain, labels, False, images + noise)):
        yield step, "your training pass is in inference mode; call the model with training=True"
    yield _sgd(images + noise - EPS * direction, labels), "your attack goes downhill in training; use nfgsm"
    fgsm = images + EPS * np.sign(_direction(images, labels, True))
    yield _sgd(fgsm, labels), "you train on FGSM's images, without the noise; use nfgsm"
    yield (
        _sgd(plain.clip(images - EPS, images + EPS), labels),
        "you train on projected images; use nfgsm's as they are",
    )
    together = _sgd(np.concatenate([plain, images]), np.tile(labels, 2))
    for step in (together, (right + on_clean) / 2, right + on_clean):
        yield step, "you train on clean images as well; use only the attacked ones"
    yield 2 * right, "your step is twice as large; do you apply it twice?"


@_by_value
def _sgd(
    images: np.ndarray, labels: np.ndarray, training: bool = True, passed: np.ndarray | None = None
) -> np.ndarray:
    """Return the change of the toy's trainable weights in one step of SGD on these images.

    If ``passed`` is given, the toy sees these images in training mode first, which moves the statistics that
    inference mode uses.
    """
    model = _trainable()
    if passed is not None:
        model(tf.constant(passed), training=True)
    with tf.GradientTape() as tape:
        loss = _mean_loss(model, images, labels, training)
    gradients = tape.gradient(loss, model.trainable_variables)
    return -RATE * np.concatenate([g.numpy().ravel() for g in gradients])


def _near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.linalg.norm(found - wanted) < 0.02 * np.linalg.norm(wanted))


# ------------------------------------------------------------------------------------------- an open problem

ENOUGH = 0.85
"""The share of pictures that a repaired network must classify correctly in the worst case."""


@check("07.6", "write repair(model, images, labels, eps)")
def check_repair(repair: Callable) -> str:
    """Accept any repair after which 85% of unseen pictures are right in the worst case."""
    images, labels = pictures(2000)
    call = "repair(model, images, labels, eps)"
    model = ask(repair, initial_network(), images, labels, EPS, call=call)
    if not callable(model):
        raise Wrong(f"return a network, a callable from images to logits, not a {type(model).__name__}")
    logits = ask(lambda x: attacks.logits_of(model, x), tf.constant(images[:7]), call="model(images)")
    as_array(logits, "your network's logits", (7, 2))
    if isinstance(model, keras.Model) and _as_handed_in(model):
        raise NotDone("you return the network that you were given, unchanged")
    found = judge_images(model)
    clean, transfer, gradient, worst = (
        float(found[key].mean()) for key in ("clean", "transfer", "gradient", "worst")
    )
    shown = (
        f"{100 * clean:.0f}% of unseen pictures are right, {100 * transfer:.0f}% when attacked for the "
        f"initial network, and {100 * worst:.0f}% in the worst case of attacks on yours"
    )
    if worst >= ENOUGH:
        return f"{shown}; about {100 * SEEN:.0f}% is the most that anyone can reach against this budget"
    hint = "train on images attacked anew in every step, with the whole budget"
    if clean < 0.65:
        hint = "it has learned almost nothing: is the learning rate too large, or are there too few steps?"
    elif gradient > worst + 0.3:
        hint = "an attack without gradients breaks what PGD does not: the gradient is hidden, not repaired"
    elif transfer > 0.85:
        hint = "it recognises those old images or their pattern; attack the current network in every step"
    elif worst < 0.1 and clean > 0.97:
        hint = (
            "it still relies on features that the attacker can change: was it attacked during training, and "
            "with this eps?"
        )
    raise Wrong(f"{shown}, but {100 * ENOUGH:.0f}% are required; {hint}")


def _as_handed_in(model: keras.Model) -> bool:
    before, after = initial_weights(), model.get_weights()
    return len(before) == len(after) and all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
