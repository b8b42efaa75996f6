"""Small pictures of two classes whose best robust accuracy is known, and a network for them (notebook 07)."""

from __future__ import annotations

from functools import cache

import numpy as np

from .. import attacks
from ..backend import keras, tf

EPS = 8 / 255


SEEN = 0.92
"""The share of pictures whose middle shows their class: the best possible robust accuracy at EPS."""


@cache
def _patterns() -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of the middle's 4 x 4 pixels, and the sign of the shift of each value around it.

    Both have shape [8, 8, 3].
    """
    middle = np.zeros((8, 8, 3), np.float32)
    middle[2:6, 2:6] = 1
    signs = np.random.default_rng(70).choice([-1.0, 1.0], (8, 8, 3)).astype(np.float32)
    return middle, signs * (1 - middle)


def pictures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw pictures of two classes, float32 [n, 8, 8, 3] in [0, 1], and their labels.

    The square in the middle is lighter (class 1) or darker (class 0) by 0.2 in 92% of the pictures; in the
    others it is the other class's. Around it each value of every picture is shifted by 0.015 up or down: too
    little to see and less than 8/255, but together enough to tell nearly all pictures apart (after Tsipras et
    al. 2019, "Robustness may be at odds with accuracy").
    """
    rng, (middle, fine) = np.random.default_rng(seed), _patterns()
    labels = rng.integers(0, 2, n)
    side = (2.0 * labels - 1)[:, None, None, None]
    shown = np.where(rng.random(n) < SEEN, 1.0, -1.0)[:, None, None, None] * side
    images = 0.5 + 0.2 * shown * middle + 0.015 * side * fine + rng.normal(0, 0.06, (n, 8, 8, 3))
    return images.clip(0, 1).astype(np.float32), labels.astype(np.int32)


def small_network(seed: int = 0) -> keras.Model:
    """Return an untrained classifier of these pictures, with logits [n, 2]."""
    layers, start = keras.layers, keras.initializers.GlorotUniform
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(4.0, -2.0),
            layers.Flatten(),
            layers.Dense(32, activation="relu", kernel_initializer=start(2 * seed)),
            layers.Dense(2, kernel_initializer=start(2 * seed + 1)),
        ],
        name="small",
    )


def fitted(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, steps: int = 300, seed: int = 0
) -> keras.Model:
    """Train the model in place on clean images, by SGD with 64 images a step, and return it."""
    optimizer, rng = keras.optimizers.SGD(0.05, 0.9), np.random.default_rng(seed)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    for _ in range(steps):
        chosen = rng.integers(0, len(images), min(64, len(images)))
        step(tf.constant(images[chosen]), tf.constant(labels[chosen]))
    return model


@cache
def initial_weights() -> list[np.ndarray]:
    """Return the weights of the small network trained on 2,000 clean pictures."""
    return fitted(small_network(), *pictures(2000)).get_weights()


def initial_network() -> keras.Model:
    """Return the small network, trained on 2,000 clean pictures."""
    model = small_network()
    model.set_weights(initial_weights())
    return model


def assessed(model: attacks.Model) -> dict[str, float]:
    """Measure a network's accuracy on 500 unseen pictures, attacked at 8/255.

    Returns:
        The accuracy without an attack (``clean``), on images attacked for the initial network (``transfer``),
        and in the worst case of attacks on itself (``worst``).
    """
    return {
        name: float(correct.mean()) for name, correct in judge_images(model).items() if name != "gradient"
    }


def judge_images(model: attacks.Model) -> dict[str, np.ndarray]:
    """Return which of the 500 pictures are right (booleans), by attack.

    The names are those of ``assessed``, and ``gradient``: the worst case of the attacks with gradients.
    """
    images, labels = pictures(500, seed=1)
    side = (2.0 * labels - 1)[:, None, None, None]
    middle, fine = _patterns()

    def is_right(moved: np.ndarray) -> np.ndarray:
        logits = np.asarray(attacks.logits_of(model, tf.constant(moved, tf.float32)))
        return np.isfinite(logits).all(1) & (logits.argmax(1) == labels)

    # These two attacks need no gradient: they know how the pictures are drawn.
    clean = is_right(images)
    blind = [
        is_right((images - EPS * side * towards).clip(0, 1)) for towards in (middle + fine, middle - fine)
    ]
    climbed = [clean]
    try:
        for loss in ("cross_entropy", "margin"):
            moved = attacks.pgd(
                model, images, labels, EPS, step_size=EPS / 8, steps=20, loss=loss, batch_size=500
            )
            climbed.append(is_right(moved))
    except Exception:  # a student's model may raise anything; the other attacks remain
        pass
    gradient = np.all(climbed, axis=0)
    return {
        "clean": clean,
        "transfer": is_right(_transferred()),
        "gradient": gradient,
        "worst": gradient & np.all(blind, axis=0),
    }


@cache
def _transferred() -> np.ndarray:
    images, labels = pictures(500, seed=1)
    return attacks.pgd(initial_network(), images, labels, EPS, batch_size=500)
