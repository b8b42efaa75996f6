"""Answers to the exercises, right and wrong: what test_answers.py puts to the checks.

RIGHT and WRONG map a check's name to its answers by title; an answer is the tuple of what the check is called
with. In WRONG a word of the message follows that names the fault. Each wrong answer is a mistake that
somebody makes.

``python tests/exercises/exercise_answers.py`` prints what the checks say to the
wrong answers, as a Markdown table.
"""

from __future__ import annotations

import re
import statistics
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter
from scipy.stats import beta, binomtest, norm
from scipy.stats import entropy as scipy_entropy

from helpers import attacks, evaluation, exercises, settings
from helpers.attacks import adaptive, losses
from helpers.attacks.square_attack import square
from helpers.backend import keras, tf
from helpers.defenses import architectures, smoothing
from helpers.defenses import autoencoder as ae_module
from helpers.defenses.architectures import Architecture
from helpers.exercises import toys
from helpers.studies import comparison

RIGHT: dict[str, dict[str, tuple]] = {}
WRONG: dict[str, dict[str, tuple[tuple, str]]] = {}


def one(**answers) -> dict[str, tuple]:
    """Titles and single answers, as RIGHT has them."""
    return {title.replace("_", " "): (answer,) for title, answer in answers.items()}


# ------------------------------------------------------------------------------------------------ notebook 00

RIGHT["check_to_unit"] = one(
    float32=lambda pixels: pixels.astype(np.float32) / 255,
    float64=lambda pixels: pixels / 255,
    tensorflow=lambda pixels: tf.cast(pixels, tf.float32) / 255,
    convert=lambda pixels: tf.image.convert_image_dtype(pixels, tf.float32),
    times=lambda pixels: np.float32(1 / 255) * pixels,
    half=lambda pixels: [[[[int(v) / 255 for v in p] for p in row] for row in image] for image in pixels],
)
WRONG["check_to_unit"] = {
    "undivided": ((lambda pixels: pixels.astype(np.float32),), "run from 0 to 255"),
    "by 256": ((lambda pixels: pixels / 256,), "the largest is 255"),
    "whole numbers": ((lambda pixels: pixels // 255,), "uint8"),
    "whole numbers as float": ((lambda pixels: (pixels // 255).astype(np.float32),), "only 0 and 1 are left"),
    "normalised": ((lambda pixels: pixels / 255 - 0.47,), "leave normalisation to the classifier"),
    "to [-1, 1]": ((lambda pixels: pixels / 127.5 - 1,), "leave normalisation"),
    "back to uint8": ((lambda pixels: (pixels / 255).astype(np.uint8),), "return float32"),
    "stretched": (
        (
            lambda p: (
                (p - p.min((1, 2, 3), keepdims=True)) / np.ptp(p, (1, 2, 3), keepdims=True).astype(float)
            ),
        ),
        "the same number",
    ),
    "channels first": ((lambda pixels: pixels.transpose(0, 3, 1, 2) / 255,), "shape"),
    "in place": ((lambda pixels: np.floor_divide(pixels, 255, out=pixels) / 1,), "changes the arrays"),
    "by the batch's largest": ((lambda pixels: pixels / pixels.max(),), "the same number"),
    "cut off": ((lambda pixels: np.clip(pixels, 0, 1).astype(np.float32),), "do not clip"),
    "float16": ((lambda pixels: (pixels / 255).astype(np.float16),), "three digits"),
}


def wilson_in_parts(middle=lambda z, n: z * z / (2 * n), root=lambda z, n: z * z / (4 * n * n), over=(1, 1)):
    """Wilson's interval as the task writes it, or with an argument another: what the middle and the half
    width are divided by, as powers of 1 + z²/n, among them."""

    def interval(correct, n):
        z, p = 1.96, correct / n
        half = z * np.sqrt(p * (1 - p) / n + root(z, n)) / (1 + z * z / n) ** over[1]
        center = (p + middle(z, n)) / (1 + z * z / n) ** over[0]
        return center - half, center + half

    return interval


def wilson(z=1.96, scale=1.0, wald=False, center=True, turned=False):
    """Wilson's interval by its formula, or with an argument another."""

    def interval(correct, n):
        p = correct / n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n) if center else p
        with np.errstate(invalid="ignore"):  # of a proportion above 1, by one of the mistakes
            half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        if wald:
            middle, half = p, z * np.sqrt(p * (1 - p) / n)
        limits = scale * (middle - half), scale * (middle + half)
        return limits[::-1] if turned else limits

    return interval


RIGHT["check_interval"] = one(
    formula=wilson(),
    in_parts=wilson_in_parts(),
    exact_z=wilson(1.959963984540054),
    helpers=lambda correct, n: evaluation.wilson(correct, n),
    array=lambda correct, n: np.array(wilson()(correct, n), np.float32),
    tensor=lambda correct, n: tf.constant(wilson()(correct, n)),
)
WRONG["check_interval"] = {
    "Wald": ((wilson(wald=True),), "the Wald interval"),
    "Wald, clipped": ((lambda c, n: tuple(np.clip(wilson(wald=True)(c, n), 0, 1)),), "left no doubt"),
    "90%": ((wilson(1.645),), "z is 1.96"),
    "z left out": ((wilson(1.0),), "too narrow"),
    "percent": ((wilson(scale=100.0),), "not percent"),
    "upper limit first": ((wilson(turned=True),), "lower limit first"),
    "about correct/n": ((wilson(center=False),), "outside [0, 1]"),
    "not divided": ((wilson_in_parts(over=(0, 0)),), "; divide by 1 + z²/n"),
    "half width not divided": ((wilson_in_parts(over=(1, 0)),), "the middle and the half width"),
    "middle not divided": ((wilson_in_parts(over=(0, 1)),), "the middle and the half width"),
    "1 / 1 + z²/n": ((wilson_in_parts(over=(-1, -1)),), "brackets: 1/(1 + z²/n)"),
    "z*z/2*n": ((wilson_in_parts(middle=lambda z, n: z * z / 2 * n),), "brackets: z²/(2n), z²/(4n²)"),
    "z*z/4/n*n": ((wilson_in_parts(root=lambda z, n: z * z / 4 / n * n),), "brackets: z²/(2n), z²/(4n²)"),
    "z*z/4*n**2": ((wilson_in_parts(root=lambda z, n: z * z / 4 * n**2),), "brackets: z²/(2n), z²/(4n²)"),
    "both brackets": (
        (wilson_in_parts(lambda z, n: z * z / 2 * n, lambda z, n: z * z / 4 * n**2),),
        "brackets: z²/(2n), z²/(4n²)",
    ),
    "half width only": ((lambda c, n: 0.02,), "two limits"),
    "rounded": ((lambda c, n: np.round(wilson()(c, n), 2),), "do not round"),
    "correct and n swapped": ((lambda c, n: wilson()(n, max(c, 1)),), "or infinite"),
}

NEEDED = 1.96**2 * 0.91 * 0.09 / 0.005**2
RIGHT["check_needed"] = {
    "formula": (5000, NEEDED),
    "rounded up": (20_000, 12_586),
    "by trial": (100, 12_500),
    "NumPy": (np.int64(12_000), np.float32(NEEDED)),
}
WRONG["check_needed"] = {
    "half the width": ((1000, 4 * NEEDED), "to either side"),
    "the full width": ((1000, 1.96**2 * 0.91 * 0.09 / 0.01**2), "0.01 is the full width"),
    "the full width, rounded": ((1000, 3146), "0.01 is the full width"),
    "z left out, rounded": ((1000, 3276), "1.96 of them"),
    "worst case": ((1000, 1.96**2 * 0.25 / 0.005**2), "worst case of 50%"),
    "90%": ((1000, 1.645**2 * 0.91 * 0.09 / 0.005**2), "for 95%"),
    "z left out": ((1000, 0.91 * 0.09 / 0.005**2), "1.96 of them"),
    "points": ((1000, 1.96**2 * 0.91 * 0.09 / 0.5**2), "0.005, not 0.5"),
    "not squared": ((1000, 1.96**2 * 0.91 * 0.09 / 0.005), "square"),
    "a thousand": ((1000, 1000), "1.8 points either way"),
    "predicted a share": ((0.5, NEEDED), "any whole number will do"),
    "nothing": ((1000, 0), "compute an interval"),
    "a text": ((1000, "12585"), "is the text '12585'"),
}

SPAM = {
    "knows": "the filter and its weights, not that links are opened",
    "knowledge": "grey-box",
    "may_do": "add words to the mail, and remove none",
    "budget": "at most 20 added words per mail",
    "goal": "the mail is delivered to the inbox",
    "n": 500,
}
RIGHT["check_card"] = one(
    filled=SPAM,
    adaptive=SPAM | {"knowledge": "Adaptive", "n": np.int64(1000)},
    white_box=SPAM | {"knowledge": "white-box"},
    other_spelling=SPAM | {"knowledge": "gray box", "n": 500.0},
    more_fields=SPAM | {"remarks": "mails of one week"},
)
WRONG["check_card"] = {
    "a field missing": (({k: v for k, v in SPAM.items() if k != "goal"},), "lacks 'goal'"),
    "one word": ((SPAM | {"knows": "everything"},), "in at least three words"),
    "two words": ((SPAM | {"goal": "spam accepted"},), "in at least three words"),
    "no such knowledge": ((SPAM | {"knowledge": "black-box"},), "choose oblivious"),
    "another knowledge": ((SPAM | {"knowledge": "everything"},), "adaptive = knows everything"),
    "budget without number": ((SPAM | {"budget": "only a few words"},), "without a number"),
    "number in words": ((SPAM | {"budget": "at most twenty words"},), "in digits"),
    "no mails": ((SPAM | {"n": 0},), "whole number of mails"),
    "few mails": ((SPAM | {"n": 10},), "take at least 100"),
    "n in words": ((SPAM | {"n": "many"},), "one number"),
    "copied": ((SPAM | {"goal": SPAM["may_do"]},), "two fields say the same"),
    "a text": (("the attacker knows all",), "should be a dict"),
}

# ------------------------------------------------------------------------------------------------ notebook 01

RIGHT["check_grey_levels"] = one(
    numpy=lambda attacked, images: 255 * np.abs(attacked - images).max(axis=(1, 2, 3)),
    tensorflow=lambda attacked, images: 255 * tf.reduce_max(tf.abs(attacked - images), axis=[1, 2, 3]),
    a_list=lambda attacked, images: [
        255 * float(np.abs(a - x).max()) for a, x in zip(attacked, images, strict=True)
    ],
    float64=lambda attacked, images: (
        np.abs(np.float64(attacked) - images).reshape(len(images), -1).max(1) * 255
    ),
    kept_axes=lambda attacked, images: 255 * np.abs(attacked - images).max(axis=(1, 2, 3), keepdims=True),
    both_sides=lambda a, x: 255 * np.maximum((a - x).max((1, 2, 3)), (x - a).max((1, 2, 3))),
)


def grey_levels_in_place(attacked, images):
    attacked -= images
    return 255 * np.abs(attacked).max((1, 2, 3))


WRONG["check_grey_levels"] = {
    "of the whole batch": ((lambda a, x: 255 * np.abs(a - x).max(),), "one number"),
    "not in grey levels": ((lambda a, x: np.abs(a - x).max((1, 2, 3)),), "multiply by 255"),
    "upwards only": ((lambda a, x: 255 * (a - x).max((1, 2, 3)),), "downwards"),
    "mean": ((lambda a, x: 255 * np.abs(a - x).mean((1, 2, 3)),), "not a mean"),
    "length": ((lambda a, x: 255 * np.linalg.norm((a - x).reshape(len(x), -1), axis=1),), "not the l2 norm"),
    "of each channel": ((lambda a, x: 255 * np.abs(a - x).max((1, 2)),), "axes 1 to 3"),
    "cut to whole numbers": (
        (lambda a, x: (255 * np.abs(a - x).max((1, 2, 3))).astype(int),),
        "keep the decimals",
    ),
    "256 levels": ((lambda a, x: 256 * np.abs(a - x).max((1, 2, 3)),), "the largest is 255"),
    "uint8": (
        (lambda a, x: ((255 * a).astype(np.uint8) - (255 * x).astype(np.uint8)).max((1, 2, 3)),),
        "as floats",
    ),
    "in place": ((grey_levels_in_place,), "changes the arrays"),
    "raises": ((lambda a, x: a - y,), "NameError: name 'y' is not defined"),  # noqa: F821
    "other arguments": ((lambda a: a,), "called as grey_levels(attacked, images)"),
    "not the function": ((3.0,), "give the function"),
}


def mean_loss(labels, logits):
    return tf.reduce_mean(losses.cross_entropy(labels, logits))


def on_probabilities(labels, logits):
    """Keras's default, which takes logits for probabilities."""
    return keras.losses.SparseCategoricalCrossentropy()(labels, logits)


def softmax_first(labels, logits):
    return keras.losses.sparse_categorical_crossentropy(labels, tf.identity(tf.nn.softmax(logits)))


def softmax_twice(labels, logits):
    return losses.cross_entropy(labels, tf.nn.softmax(logits))


def with_one_hot(labels, logits):
    return tf.nn.softmax_cross_entropy_with_logits(tf.one_hot(labels, 10), logits)


def keras_on_logits(labels, logits):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)


def gradient_of(model, images, labels, loss=losses.cross_entropy, training=False):
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(loss(labels, model(images, training=training)))
    return tape.gradient(total, images)


def fgsm(
    loss=losses.cross_entropy, training=False, direction=tf.sign, clip=(0, 1), scale=1.0, of=None, aim=None
):
    """FGSM, or, with an argument, a wrong variant."""

    def attack(model, images, labels, eps):
        labels = labels if aim is None else aim(model, images, labels)
        step = direction(gradient_of(model, images, labels, loss, training))
        moved = (images if of is None else of(images)) + scale * eps * step
        return moved if clip is None else tf.clip_by_value(moved, *clip)

    return attack


def fgsm_in_numpy(model, images, labels, eps):
    x = tf.Variable(np.array(images))
    with tf.GradientTape() as tape:
        loss = losses.cross_entropy(labels, model(x))
    return np.clip(x.numpy().astype(np.float64) + eps * np.sign(tape.gradient(loss, x).numpy()), 0.0, 1.0)


RIGHT["check_fgsm"] = one(
    as_in_the_notebook=fgsm(),
    helpers=lambda model, images, labels, eps: attacks.fgsm(model, images, labels, eps),
    compiled=tf.function(fgsm()),
    numpy_float64=fgsm_in_numpy,
    batch_mean=fgsm(mean_loss),  # the sign does not see the factor
    one_hot=fgsm(with_one_hot),
    keras_from_logits=fgsm(keras_on_logits),
    other_names_and_options=lambda f, x, y, e=8 / 255, verbose=False: fgsm()(f, x, y, e),
)


def fgsm_unwatched(model, images, labels, eps):
    with tf.GradientTape() as tape:
        loss = losses.cross_entropy(labels, model(images))
    return tf.clip_by_value(images + eps * tf.sign(tape.gradient(loss, images)), 0, 1)


def fgsm_by_predict(model, images, labels, eps):
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = losses.cross_entropy(labels, model.predict(images, verbose=0))
    return tf.clip_by_value(images + eps * tf.sign(tape.gradient(loss, images)), 0, 1)


WRONG["check_fgsm"] = {
    "no clip": ((fgsm(clip=None),), "the largest is 1.031"),
    "clipped to -1": ((fgsm(clip=(-1, 1)),), "the smallest is -0.031"),
    "wrong sign": ((fgsm(scale=-1.0),), "downhill"),
    "eps in pixels": ((fgsm(scale=255.0),), "in [0, 1] already"),
    "eps divided twice": ((fgsm(scale=1 / 255),), "a second time"),
    "half a step": ((fgsm(scale=0.5),), "too short"),
    "no sign": ((fgsm(direction=lambda g: g),), "is the sign missing?"),
    "no sign, of the mean": ((fgsm(mean_loss, direction=lambda g: g),), "is the sign missing?"),
    "divided by its largest": ((fgsm(direction=lambda g: g / tf.reduce_max(tf.abs(g))),), "take the sign"),
    "Keras takes logits for probabilities": ((fgsm(on_probabilities),), "from_logits=True"),
    "softmax first": ((fgsm(softmax_first),), "without a softmax"),
    "softmax twice": ((fgsm(softmax_twice),), "twice"),
    "labels swapped for answers": (
        (fgsm(aim=lambda model, x, y: tf.cast(tf.argmax(model(x), 1), tf.int32)),),
        "not from the label",
    ),
    "labels in another order": ((fgsm(aim=lambda model, x, y: y[::-1]),), "compare your loss, labels"),
    "gradient of the batch's mean": (
        (fgsm(direction=lambda g: tf.sign(tf.reduce_mean(g, 0, keepdims=True)) * tf.ones_like(g)),),
        "move in the same way",
    ),
    "BatchNorm in training mode": ((fgsm(training=True),), "training=False"),
    "eps of the notebook": ((lambda m, x, y, eps: fgsm()(m, x, y, 8 / 255),), "use the argument eps"),
    "the step alone": ((lambda m, x, y, eps: eps * tf.sign(gradient_of(m, x, y)),), "add it to the images"),
    "the gradient": ((lambda m, x, y, eps: gradient_of(m, x, y),), "do you add a step of that size"),
    "in 0..255": ((lambda m, x, y, eps: 255 * fgsm()(m, x, y, eps),), "not in 0..255"),
    "not watched": ((fgsm_unwatched,), "tape.watch"),
    "predict": ((fgsm_by_predict,), "predict and NumPy cut it"),
    "PGD": ((lambda m, x, y, eps: attacks.pgd(m, x, y, eps),), "take the sign"),
    "random signs": ((lambda m, x, y, eps: attacks.random_signs(np.array(x), eps, 0),), "direction"),
    "one image": ((lambda m, x, y, eps: fgsm()(m, x, y, eps)[0],), "shape"),
    "NaN": ((lambda m, x, y, eps: x / 0 * 0,), "NaN"),
    "returns a text": ((lambda m, x, y, eps: "done",), "should be numbers"),
}


def project(moved, images, eps):
    return tf.clip_by_value(tf.clip_by_value(moved, images - eps, images + eps), 0, 1)


def in_l2(moved, images, eps):
    change = np.array(moved) - np.array(images)
    length = np.linalg.norm(change.reshape(len(change), -1), axis=1)[:, None, None, None]
    return np.clip(images + change * np.minimum(1, eps / length), 0, 1)


def shrunk(moved, images, eps):
    change = np.array(moved) - np.array(images)
    return np.clip(images + change * np.minimum(1, eps / np.abs(change).max((1, 2, 3), keepdims=True)), 0, 1)


def rejected(moved, images, eps):
    """What is outside goes back to the original."""
    inside = (np.abs(moved - images) <= eps) & (np.array(moved) >= 0) & (np.array(moved) <= 1)
    return np.where(inside, moved, images)


RIGHT["check_project"] = one(
    as_in_the_notebook=project,
    numpy=lambda moved, images, eps: np.clip(np.clip(moved, images - eps, images + eps), 0, 1),
    range_first=lambda moved, images, eps: images + np.clip(np.clip(moved, 0, 1) - images, -eps, eps),
    change_clipped=lambda moved, images, eps: np.clip(images + np.clip(moved - images, -eps, eps), 0, 1),
    limits=lambda moved, images, eps: tf.clip_by_value(
        moved, tf.maximum(images - eps, 0), tf.minimum(images + eps, 1)
    ),
    helpers=lambda moved, images, eps: attacks.project(moved, images, eps, "linf"),
    float64=lambda moved, images, eps: np.float64(project(moved, images, eps)),
)
WRONG["check_project"] = {
    "to [0, 1] only": ((lambda moved, images, eps: tf.clip_by_value(moved, 0, 1),), "images - eps"),
    "to the ball only": (
        (lambda moved, images, eps: tf.clip_by_value(moved, images - eps, images + eps),),
        "the largest is 1.0",
    ),
    "about zero": ((lambda moved, images, eps: tf.clip_by_value(moved, -eps, eps),), "within eps of 0"),
    "the change": (
        (lambda moved, images, eps: tf.clip_by_value(moved - images, -eps, eps),),
        "or you return the change instead",
    ),
    "eps in pixels": (
        (lambda moved, images, eps: project(moved, images, eps * 255),),
        "away from the original",
    ),
    "eps divided twice": ((lambda moved, images, eps: project(moved, images, eps / 255),), "a second time"),
    "eps of the notebook": (
        (lambda moved, images, eps: project(moved, images, 8 / 255),),
        "use the argument eps",
    ),
    "in l2": ((in_l2,), "do not shrink"),
    "shrunk": ((shrunk,), "do not shrink"),
    "arguments swapped": (
        (lambda moved, images, eps: project(images, moved, eps),),
        "moves only the values outside",
    ),
    "the originals": ((lambda moved, images, eps: images,), "you returned the originals"),
    "rejected": ((rejected,), "on its edge"),
    "upwards only": (
        (lambda moved, images, eps: np.clip(np.minimum(moved, images + eps), 0, 1),),
        "images - eps",
    ),
}


def targeted(
    sign=-1.0,
    about="originals",
    clip=True,
    loss=losses.cross_entropy,
    fresh=True,
    steps_taken=None,
    start=None,
    length=None,
    aim=None,
    training=False,
    start_anew=False,
):
    """Targeted PGD without random start, or, with an argument, a wrong variant."""

    def attack(model, images, targets, eps, step_size, steps):
        targets = targets if aim is None else aim(model, images, targets)
        x, first = images if start is None else start(images, eps), None
        for _ in range(steps if steps_taken is None else steps_taken):
            gradient = gradient_of(model, x, targets, loss, training) if fresh or first is None else first
            first = gradient
            before = images if about == "originals" else x
            x = (images if start_anew else x) + sign * (step_size if length is None else length) * tf.sign(
                gradient
            )
            if about:
                x = tf.clip_by_value(x, before - eps, before + eps)
            if clip:
                x = tf.clip_by_value(x, 0, 1)
        return x

    return attack


def uniform_start(images, eps):
    return tf.clip_by_value(
        images + np.random.default_rng().uniform(-eps, eps, images.shape).astype("float32"), 0, 1
    )


def projected_at_the_end(model, images, targets, eps, step_size, steps):
    return project(targeted(about=None)(model, images, targets, eps, step_size, steps), images, eps)


RIGHT["check_targeted_pgd"] = one(
    as_in_the_notebook=targeted(),
    helpers=lambda model, images, targets, eps, step_size, steps: attacks.pgd(
        model, images, targets, eps, step_size=step_size, steps=steps, random_start=False, targeted=True
    ),
    batch_mean=targeted(loss=mean_loss),
    one_hot=targeted(loss=with_one_hot),
    float64=lambda *arguments: np.float64(targeted()(*arguments)),
    uphill_on_the_negative=targeted(sign=1.0, loss=lambda y, z: -losses.cross_entropy(y, z)),
)
WRONG["check_targeted_pgd"] = {
    "uphill": ((targeted(sign=1.0),), "should fall"),
    "away from the answers": (
        (targeted(sign=1.0, aim=lambda model, x, t: tf.cast(tf.argmax(model(x), 1), tf.int32)),),
        "move towards the target",
    ),
    "no projection": ((targeted(about=None),), "a value moved by 0.100, but eps is 0.031; project"),
    "projects about the last step": ((targeted(about="last"),), "onto the ball around the originals"),
    "projects once, at the end": ((projected_at_the_end,), "after every step, not once at the end"),
    "no clip": ((targeted(clip=False),), "you"),
    "one gradient": ((targeted(fresh=False),), "repeats the first"),
    "starts anew": ((targeted(start_anew=True),), "where the last one ended"),
    "one step": ((targeted(steps_taken=1),), "where one step ends"),
    "no steps": ((targeted(steps_taken=0),), "moved nothing"),
    "always ten steps": ((targeted(steps_taken=10),), "one step of 0.010 moved"),
    "steps of eps": ((targeted(length=8 / 255),), "step_size, not eps"),
    "random start": ((targeted(start=uniform_start),), "start from the images themselves"),
    "the helpers' random start": (
        (lambda m, x, t, eps, a, n: attacks.pgd(m, x, t, eps, step_size=a, steps=n, targeted=True),),
        "no random start",
    ),
    "always three steps": ((targeted(steps_taken=3),), "each step has size step_size"),
    "softmax twice": ((targeted(loss=softmax_twice),), "twice"),
    "BatchNorm in training mode": ((targeted(training=True),), "training=False"),
    "eps in pixels": (
        (lambda m, x, t, eps, a, n: targeted()(m, x, t, eps, 255 * a, n),),
        "step_size",
    ),
}

RIGHT["check_reach"] = {
    "both": ((2.55, 2.55)),
    "rounded": ((2.5, 2.55)),
    "NumPy": ((np.float32(2.55), np.float64(2.5500001))),
    "tensor": ((2.55, tf.constant(2.5500002))),
}
WRONG["check_reach"] = {
    "predicted the budget": ((8, 2.55), "what bounds the change"),
    "predicted one step": ((0.255, 2.55), "predicted 0.26"),
    "predicted in [0, 1]": ((0.01, 2.55), "predicted 0.01"),
    "predicted with the start": ((10.55, 2.55), "the budget of 8, or the steps"),
    "measured with a random start": ((2.55, 8.0), "random_start=False"),
    "measured in [0, 1]": ((2.55, 0.01), "multiply it by 255"),
    "measured a mean": ((2.55, 2.1), "the largest change"),
    "measured an array": ((2.55, np.full(4, 2.55)), "one number, not 4"),
    "a text": (("2.55 grey levels", 2.55), "one number"),
}


def pgd_on_the_true_class(model, images, labels, eps):
    return attacks.pgd(model, images, labels, eps)


def colder(model, images, labels, eps):
    return attacks.pgd(lambda x: model(x, training=False) / 3000, images, labels, eps)


RIGHT["check_attack_the_sure"] = one(
    margin=lambda model, images, labels, eps: attacks.pgd(model, images, labels, eps, loss="margin"),
    dlr=lambda model, images, labels, eps: attacks.pgd(model, images, labels, eps, loss="dlr"),
    temperature=colder,
    one_step_of_the_margin=lambda model, images, labels, eps: attacks.fgsm(
        model, images, labels, eps, loss="margin"
    ),
    by_hand=fgsm(lambda labels, logits: -tf.gather(logits, labels, batch_dims=1)),
)
WRONG["check_attack_the_sure"] = {
    "PGD": ((pgd_on_the_true_class,), "are still right, and at most 2 should"),
    "more steps": (
        (lambda m, x, y, eps: attacks.pgd(m, x, y, eps, steps=30, restarts=2),),
        "are still right",
    ),
    "FGSM": ((fgsm(),), "24 did not move"),
    "noise": ((lambda m, x, y, eps: attacks.random_signs(np.array(x), eps, 0),), "are still right"),
    "few queries": ((lambda m, x, y, eps: square(m, x, y, eps / 8, queries=2),), "are still right"),
    "twice the budget": (
        (lambda m, x, y, eps: attacks.pgd(m, x, y, 2 * eps, loss="margin"),),
        "eps is 0.031",
    ),
    "another image": ((lambda m, x, y, eps: np.zeros_like(x),), "a value moved by 1.000"),
    "the network is changed": (
        (lambda m, x, y, eps: (m.set_weights([0 * w for w in m.get_weights()]), x)[1],),
        "changed the network",
    ),
}

# ------------------------------------------------------------------------------------------------ notebook 02

RIGHT["check_parameters"] = one(
    formula=lambda kernel, inputs, outputs: kernel**2 * inputs * outputs + outputs,
    factored=lambda k, i, o: o * (k * k * i + 1),
    numpy=lambda k, i, o: np.prod([k, k, i, o]) + np.int64(o),
    by_keras=lambda k, i, o: keras.Sequential(
        [keras.Input((32, 32, i)), keras.layers.Conv2D(o, k)]
    ).count_params(),
)
WRONG["check_parameters"] = {
    "no bias": ((lambda k, i, o: k * k * i * o,), "biases are missing"),
    "one bias": ((lambda k, i, o: k * k * i * o + 1,), "not one for the layer"),
    "bias for inputs": ((lambda k, i, o: k * k * i * o + i,), "not for each input"),
    "no input channels": ((lambda k, i, o: k * k * o + o,), "for each input channel"),
    "kernel not squared": ((lambda k, i, o: k * i * o + o,), "a kernel is square"),
    "values of the image": ((lambda k, i, o: o * (32 - k + 1) ** 2,), "size of the image"),
    "a fraction": ((lambda k, i, o: (k * k * i + 1) * o + 0.4,), "not 804.4"),
    "only the kernel": ((lambda k, i, o: k * k,), "count the weights of one kernel"),
}


def autoencoder(
    last="sigmoid",
    strides=(2, 2),
    channels=(16, None, 8, 16),
    padding="same",
    out=3,
    by=None,
    scale=False,
    between="relu",
):
    """The function that builds the paper's autoencoder, or, with an argument, a variant."""

    def build(bottleneck):
        layers, relu = keras.layers, {"padding": padding, "activation": between}
        a, b, c, d = (bottleneck if n is None else n for n in channels)
        up = [
            [layers.Conv2DTranspose(n, 3, strides=s, **relu)]
            if by is None
            else [layers.UpSampling2D(s), layers.Conv2D(n, 3, **relu)]
            for n, s in ((c, strides[1]), (d, strides[0]))
        ]
        return keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                layers.Conv2D(a, 3, strides=strides[0], **relu),
                layers.Conv2D(b, 3, strides=strides[1], **relu),
                *up[0],
                *up[1],
                layers.Conv2D(out, 3, padding="same", activation=last),
                *([layers.Lambda(lambda x: (x + 1) / 2)] if scale else []),
            ]
        )

    return build


def functional(bottleneck):
    layers, relu = keras.layers, {"padding": "same", "activation": "relu", "strides": 2}
    images = x = keras.Input((32, 32, 3))
    for layer in (
        layers.Conv2D(16, 3, **relu),
        layers.Conv2D(bottleneck, 3, **relu),
        layers.Conv2DTranspose(8, 3, **relu),
        layers.Conv2DTranspose(16, 3, **relu),
        layers.Conv2D(3, 3, padding="same"),
    ):
        x = layer(x)
    return keras.Model(images, tf.sigmoid(x))


RIGHT["check_build"] = one(
    as_in_the_notebook=autoencoder(),
    functional=functional,
    layers_of_relu=lambda bottleneck: with_layers_of_relu(bottleneck),
    two_halves=lambda bottleneck: in_halves(bottleneck),
    tanh_scaled=autoencoder("tanh", scale=True),
    hard_sigmoid=autoencoder("hard_sigmoid"),
)


def with_layers_of_relu(bottleneck):
    """The ReLUs as layers of their own."""
    plain = autoencoder(between=None)(bottleneck).layers
    relus = [[layer, keras.layers.ReLU()] for layer in plain[:-1]]
    return keras.Sequential([keras.Input((32, 32, 3)), *sum(relus, []), plain[-1]])


def in_halves(bottleneck):
    """Encoder and decoder as models of their own."""
    whole = autoencoder()(bottleneck).layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.Sequential([keras.Input((32, 32, 3)), *whole[:2]]),
            keras.Sequential([keras.Input((8, 8, bottleneck)), *whole[2:]]),
        ]
    )


def pooled(bottleneck):
    """Smaller by pooling, not by strides."""
    layers, whole = keras.layers, autoencoder()(bottleneck).layers
    down = [
        [layers.Conv2D(n, 3, padding="same", activation="relu"), layers.MaxPool2D()] for n in (16, bottleneck)
    ]
    return keras.Sequential([keras.Input((32, 32, 3)), *sum(down, []), *whole[2:]])


WRONG["check_build"] = {
    "no ReLU": ((autoencoder(between=None),), "a ReLU after each convolution"),
    "softplus": ((autoencoder(between="softplus"),), "0% of them are 0"),
    "leaky": ((autoencoder(between=tf.nn.leaky_relu),), "a ReLU after each convolution"),
    "upsampling": ((autoencoder(by="upsampling"),), "not with UpSampling2D"),
    "pooling": ((pooled,), "strides of the convolutions are 1, 1, 2, 2, 1"),
    "no sigmoid": ((autoencoder(None),), "end with a sigmoid"),
    "ReLU at the end": ((autoencoder("relu"),), "end with a sigmoid"),
    "tanh": ((autoencoder("tanh"),), "stay in [0, 1]"),
    "bottleneck ignored": ((autoencoder(channels=(16, 8, 8, 16)),), "for bottleneck = 3 no layer"),
    "bottleneck in the first layer": ((autoencoder(channels=(None, 8, 8, 16)),), "the channels are 16"),
    "bottleneck everywhere": (
        (autoencoder(channels=(16, None, None, 16)),),
        "for bottleneck = 3 the model has",
    ),
    "one stride": ((autoencoder(strides=(2, 1)),), "Two strides of 2"),
    "no padding": ((autoencoder(padding="valid"),), "padding='same'"),
    "one channel out": ((autoencoder(out=1),), "(32, 32, 1)"),
    "encoder only": (
        (
            lambda bottleneck: keras.Sequential(
                [keras.Input((32, 32, 3)), *autoencoder()(bottleneck).layers[:2]]
            ),
        ),
        "(8, 8, 8)",
    ),
    "no input": (
        (lambda bottleneck: keras.Sequential([keras.layers.Conv2D(16, 3, 2, "same")]),),
        "begin with keras.Input",
    ),
    "a list": ((lambda bottleneck: [16, bottleneck, 8, 16, 3],), "should return a built Keras model"),
}


def denoising(loss=lambda a, b: tf.reduce_mean(tf.square(a - b)), of=lambda ae, x, y: (ae(x), y)):
    return lambda autoencoder, attacked, originals: loss(*of(autoencoder, attacked, originals))


RIGHT["check_denoising_loss"] = one(
    as_in_the_notebook=denoising(),
    keras_loss=denoising(lambda a, b: keras.losses.MeanSquaredError()(b, a)),
    mean_of_means=denoising(lambda a, b: tf.reduce_mean(keras.losses.mse(b, a))),
    norm=denoising(lambda a, b: tf.norm(a - b) ** 2 / tf.cast(tf.size(a), tf.float32)),
    in_training_mode=denoising(of=lambda ae, x, y: (ae(x, training=True), y)),
    compiled=tf.function(denoising()),
)
WRONG["check_denoising_loss"] = {
    "target attacked": ((denoising(of=lambda ae, x, y: (ae(x), x)),), "keep the attack"),
    "swapped": ((denoising(of=lambda ae, x, y: (ae(y), x)),), "would learn to attack"),
    "clean to clean": ((denoising(of=lambda ae, x, y: (ae(y), y)),), "never sees an attack"),
    "without the autoencoder": ((denoising(of=lambda ae, x, y: (x, y)),), "the autoencoder is not used"),
    "sum": ((denoising(lambda a, b: tf.reduce_sum((a - b) ** 2)),), "that is the sum"),
    "sum over an image": (
        (denoising(lambda a, b: tf.reduce_mean(tf.reduce_sum((a - b) ** 2, [1, 2, 3]))),),
        "sum over an image",
    ),
    "l2_loss": ((denoising(lambda a, b: tf.nn.l2_loss(a - b)),), "half the sum"),
    "cross-entropy": (
        (denoising(lambda a, b: tf.reduce_mean(keras.losses.binary_crossentropy(b, a))),),
        "takes the squared error",
    ),
    "absolute": ((denoising(lambda a, b: tf.reduce_mean(tf.abs(a - b))),), "absolute error"),
    "root": ((denoising(lambda a, b: tf.sqrt(tf.reduce_mean((a - b) ** 2))),), "that is the root"),
    "negative": ((denoising(lambda a, b: -tf.reduce_mean((a - b) ** 2)),), "the sign is flipped"),
    "by pixel": ((denoising(lambda a, b: keras.losses.mse(b, a)),), "one number"),
    "NumPy": ((denoising(lambda a, b: np.mean((np.array(a) - np.array(b)) ** 2)),), "has no gradient"),
}


def gaussian(sigmas=lambda s: (0, s, s, 0), mode="nearest"):
    return lambda images, sigma: gaussian_filter(np.asarray(images), sigmas(sigma), mode=mode)


def by_convolution(images, sigma, padding="SYMMETRIC", normalised=True, reach=3):
    radius = int(reach * sigma + 0.5)
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    weights = weights / (weights.sum() if normalised else weights.max())
    kernel = np.outer(weights, weights)[:, :, None, None].repeat(3, 2).astype(np.float32)
    rim = [[0, 0], [radius, radius], [radius, radius], [0, 0]]
    return tf.nn.depthwise_conv2d(tf.pad(images, rim, padding), kernel, [1, 1, 1, 1], "VALID")


RIGHT["check_blur"] = one(
    scipy=gaussian(),
    reflected=gaussian(mode="reflect"),
    mirrored=gaussian(mode="mirror"),
    tensorflow=by_convolution,
    cut_at_four_sigma=lambda images, sigma: by_convolution(images, sigma, reach=4),
    float64=lambda images, sigma: gaussian()(np.float64(images), sigma),
)


def blur_in_place(images, sigma):
    for k in range(len(images)):
        images[k] = gaussian_filter(images[k], (sigma, sigma, 0), mode="nearest")
    return images


WRONG["check_blur"] = {
    "one sigma for all axes": ((gaussian(lambda s: s),), "images and channels are mixed"),
    "one sigma and nothing else": ((gaussian_filter,), "images and channels are mixed"),
    "one sigma, dark edge": ((gaussian(lambda s: s, mode="constant"),), "images and channels are mixed"),
    "over channels": ((gaussian(lambda s: (0, s, s, s)),), "channels are mixed"),
    "each image with one sigma": (
        (lambda images, sigma: np.stack([gaussian_filter(image, sigma) for image in images]),),
        "; blur along height and width only",
    ),
    "in place": ((blur_in_place,), "changes the arrays"),
    "uint8": ((lambda images, sigma: gaussian()(images, sigma).astype(np.uint8),), "return float32"),
    "over images": ((gaussian(lambda s: (s, s, s, 0)),), "images are mixed: one"),
    "columns only": ((gaussian(lambda s: (0, s, 0, 0)),), "only the columns"),
    "rows only": ((gaussian(lambda s: (0, 0, s, 0)),), "only the rows"),
    "variance": ((gaussian(lambda s: (0, s**0.5, s**0.5, 0)),), "standard deviation"),
    "twice": ((gaussian(lambda s: (0, 2 * s, 2 * s, 0)),), "too much"),
    "dark edge": ((gaussian(mode="constant"),), "at its edge"),
    "weights not normalised": (
        (lambda images, sigma: by_convolution(images, sigma, normalised=False),),
        "must sum to 1",
    ),
    "nothing": ((lambda images, sigma: images,), "nothing was blurred"),
}


@cache
def shipped_autoencoder():
    model = ae_module.build_autoencoder()
    model.load_weights(settings.ROOT / "weights" / "cifar10" / "resnet20_ae.h5")
    return model


RIGHT["check_defense"] = one(
    blur=lambda images: gaussian()(images, 1.0),
    blur_in_tensorflow=lambda images: by_convolution(images, 1.0),
    average=lambda images: tf.nn.avg_pool2d(
        tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC"), 3, 1, "VALID"
    ),
    median=lambda images: median_filter(np.array(images), (1, 3, 3, 1)),
    strong_blur=lambda images: gaussian()(images, 3.2),  # a squared error of 10.2%
    the_courses_autoencoder=lambda images: shipped_autoencoder()(images),
)
WRONG["check_defense"] = {
    "nothing": ((lambda images: images,), "100% of the perturbation"),
    "grey": ((lambda images: 0 * images + 0.5,), "the squared error is 1"),
    "blurred too much": ((lambda images: gaussian()(images, 4.0),), "at most 12% is allowed"),
    "blurred away": (
        (lambda images: gaussian()(images, 6.0),),
        "picture's variance, and at most 12% is allowed",
    ),
    "rounding": ((lambda images: tf.round(images * 31) / 31,), "gets through"),
    "noise": (
        (lambda x: np.clip(np.array(x) + np.random.default_rng().normal(0, 0.05, x.shape), 0, 1),),
        "the defense is random, and a random defense needs another attack (see exercise 06.6)",
    ),
    "mean of the batch": (
        (lambda images: 0 * images + tf.reduce_mean(images, 0, keepdims=True),),
        "mixes the images",
    ),
    "sharpened": ((lambda images: 2 * images - by_convolution(images, 1.0),), "leave [0, 1]"),
    "another size": ((lambda images: tf.nn.avg_pool2d(images, 2, 2, "VALID"),), "shape"),
}

# ------------------------------------------------------------------------------------------------ notebook 03


def latent(depth, channels):
    return (32 // 2**depth) ** 2 * channels


def summed(path, bias=1):
    return sum(9 * a * b + bias * b for a, b in zip(path, path[1:], strict=False))


def learned(depth, channels):
    return summed([3, *[16] * (depth - 1), channels, channels, *[16] * (depth - 1), 3])


def sixteens(depth, channels, change):
    return summed(change([3, *[16] * (depth - 1), channels, channels, *[16] * (depth - 1), 3], depth))


RIGHT["check_sizes"] = {
    "formula": (latent, learned),
    "NumPy": (lambda d, c: np.int64(32**2 * c) / np.float64(4) ** d, lambda d, c: np.array(learned(d, c))),
    "by Keras": (latent, lambda d, c: architectures.convolutional(d, c).count_params()),
    "shifted": (lambda d, c: (32 >> d) ** 2 * c, learned),
}
WRONG["check_sizes"] = {
    "divided by depth": ((lambda d, c: (32 // (2 * d)) ** 2 * c, learned), "power of depth"),
    "one side": ((lambda d, c: 32 // 2**d * c, learned), "both height and width"),
    "no channels": ((lambda d, c: (32 // 2**d) ** 2, learned), "one number per channel"),
    "a quarter of each side": ((lambda d, c: (32 // 4**d) ** 2 * c, learned), "halves each side"),
    "no strides": ((lambda d, c: 32 * 32 * c, learned), "strides are missing"),
    "the image's channels": ((lambda d, c: 3072 // 4**d, learned), "use the bottleneck's channels"),
    "something else": ((lambda d, c: d * c, learned), "after that many strides"),
    "no biases": ((latent, lambda d, c: summed([3, *[16] * (d - 1), c, c, *[16] * (d - 1), 3], 0)), "biases"),
    "the encoder": ((latent, lambda d, c: sixteens(d, c, lambda path, d: path[: d + 1])), "encoder alone"),
    "the decoder": ((latent, lambda d, c: sixteens(d, c, lambda path, d: path[d:])), "decoder alone"),
    "no last one": ((latent, lambda d, c: sixteens(d, c, lambda path, d: path[:-1])), "last convolution"),
    "one bottleneck": (
        (latent, lambda d, c: sixteens(d, c, lambda path, d: path[: d + 1] + path[d + 2 :])),
        "keeps the bottleneck's channels",
    ),
    "all alike": ((latent, lambda d, c: summed([3, *[c] * (2 * d), 3])), "only the bottleneck"),
    "one too many": ((latent, lambda d, c: learned(d + 1, c)), "one layer too many"),
    "the layers": ((latent, lambda d, c: 2 * d + 1), "list the channels"),
    "a text": ((latent, lambda d, c: "3795"), "one number"),
}


def pareto(beats=lambda o, s: o[0] <= s[0] and o[1] >= s[1] and o != s):
    return lambda points: [n for n, own in points.items() if not any(beats(o, own) for o in points.values())]


def sorted_by(key, better=lambda a, best: a > best):
    def pareto_front(points):
        kept, best = [], -1
        for name in sorted(points, key=lambda n: key(points[n])):
            if better(points[name][1], best):
                kept.append(name)
                best = points[name][1]
        return kept

    return pareto_front


def sorted_with_ties(points):
    kept, last = set(), (0, -1)
    for name, (size, accuracy) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if accuracy > last[1] or (size, accuracy) == last:
            kept.add(name)
            last = size, accuracy
    return kept


def luck(of=lambda accuracies, p: accuracies.max(1) - p, repetitions=4000):
    return lambda k, n, p, rng: of(rng.binomial(n, p, (repetitions, k)) / n, p).mean()


def luck_by_images(k, n, p, rng):
    return np.mean([(rng.random((k, n)) < p).mean(1).max() for _ in range(1000)]) - p


def luck_on_the_same_images(k, n, p, rng):
    answers = rng.random((1000, n)) < p
    return np.mean([max([right.mean()] * k) for right in answers]) - p


KEPT = pareto()
RIGHT["check_pareto_front"] = {
    "each against all": (KEPT, luck()),
    "sorted, ties kept": (sorted_with_ties, luck_by_images),
    "the course's": (
        comparison.pareto_front,
        lambda k, n, p, rng: exercises.searching.expected_luck(k, n, p),
    ),
    "a set, against the mean": (lambda points: set(KEPT(points)), luck(lambda a, p: a.max(1) - a.mean(1))),
    "in words": (
        pareto(lambda o, s: (o[0] <= s[0] and o[1] > s[1]) or (o[0] < s[0] and o[1] >= s[1])),
        luck(repetitions=20_000),
    ),
}
WRONG["check_pareto_front"] = {
    "it beats itself": ((pareto(lambda o, s: o[0] <= s[0] and o[1] >= s[1]), luck()), "it beats itself"),
    "> on both sides": ((pareto(lambda o, s: o[0] < s[0] and o[1] > s[1]), luck()), "you overlook ties"),
    "> of accuracy": (
        (pareto(lambda o, s: o[0] <= s[0] and o[1] > s[1]), luck()),
        "equally accurate and smaller",
    ),
    "> of size": (
        (pareto(lambda o, s: o[0] < s[0] and o[1] >= s[1]), luck()),
        "equally small and more accurate",
    ),
    "large sizes": ((pareto(lambda o, s: o[0] >= s[0] and o[1] >= s[1] and o != s), luck()), "large sizes"),
    "low accuracies": (
        (pareto(lambda o, s: o[0] <= s[0] and o[1] <= s[1] and o != s), luck()),
        "low accuracies",
    ),
    "sorted by size": ((sorted_by(lambda point: point[0]), luck()), "beats it"),
    "sorted, one of equals": (
        (sorted_by(lambda point: (point[0], -point[1])), luck()),
        "neither beats the other",
    ),
    "sorted, at least as good": (
        (sorted_by(lambda p: p[0], lambda a, best: a >= best), luck()),
        "you overlook ties",
    ),
    "the best": (
        (lambda points: [max(points, key=lambda n: points[n][1])], luck()),
        "only the most accurate one",
    ),
    "all": ((lambda points: list(points), luck()), "beats it"),
    "points": ((lambda points: list(points.values()), luck()), "return names"),
    "one name": ((lambda points: min(points), luck()), "in a list or a set"),
    "not less p": ((KEPT, luck(lambda a, p: a.max(1))), "subtract p"),
    "in percent": ((KEPT, luck(lambda a, p: 100 * (a.max(1) - p))), "give it in [0, 1]"),
    "no largest": ((KEPT, luck(lambda a, p: a - p)), "take the largest of the k"),
    "largest of the means": ((KEPT, luck(lambda a, p: a.mean(0).max() - p)), "take the largest of the k"),
    "largest of repetitions": ((KEPT, luck(lambda a, p: a.max(0) - p, 1000)), "not over repetitions"),
    "the same images": ((KEPT, luck_on_the_same_images), "take the largest of the k"),
    "once": ((KEPT, luck(repetitions=1)), "repeat the whole"),
    "the smallest": ((KEPT, luck(lambda a, p: a.min(1) - p)), "the worst of k"),
    "best less worst": ((KEPT, luck(lambda a, p: np.ptp(a, 1))), "minus the worst"),
    "one deviation": ((KEPT, lambda k, n, p, rng: np.sqrt(p * (1 - p) / n)), "deviation of one"),
}


def nearest(z, codes):
    return tf.gather(codes, tf.argmin(tf.norm(z[:, None] - codes[None], axis=-1), axis=1))


def quantise(through=lambda z, q: z + tf.stop_gradient(q - z), choice=nearest):
    return lambda z, codes: through(z, choice(z, codes))


def by_custom_gradient(z, codes):
    @tf.custom_gradient
    def quantised(z):
        return tf.stop_gradient(nearest(z, codes)), lambda upstream: upstream

    return quantised(z)


def soft(z, codes):
    return tf.nn.softmax(-tf.reduce_sum((z[:, None] - codes[None]) ** 2, -1)) @ codes


def commitment(z, q):
    return tf.reduce_mean((z - tf.stop_gradient(q)) ** 2)


STRAIGHT = quantise()
RIGHT["check_quantiser"] = {
    "one line": (STRAIGHT, commitment),
    "custom gradient": (by_custom_gradient, lambda z, q: tf.reduce_mean(tf.square(tf.stop_gradient(q) - z))),
    "the course's": (lambda z, codes: adaptive.straight_through(lambda _: nearest(z, codes))(z), commitment),
    "zero added": (quantise(lambda z, q: tf.stop_gradient(q) + z - tf.stop_gradient(z)), commitment),
    "Keras": (STRAIGHT, lambda z, q: tf.reduce_mean(keras.losses.mean_squared_error(tf.stop_gradient(q), z))),
}
WRONG["check_quantiser"] = {
    "no gradient": ((lambda z, codes: tf.stop_gradient(nearest(z, codes)), commitment), "z has no gradient"),
    "to the code": ((nearest, commitment), "reaches the code but not z"),
    "stopped at z": (
        (quantise(lambda z, q: tf.stop_gradient(z) + (q - tf.stop_gradient(z))), commitment),
        "reaches the code but not z",
    ),
    "both": ((quantise(lambda z, q: z - tf.stop_gradient(z) + q), commitment), "so do the codes"),
    "exchanged": ((quantise(lambda z, q: q + tf.stop_gradient(z - q)), commitment), "value is z itself"),
    "turned": ((quantise(lambda z, q: z + tf.stop_gradient(z - q)), commitment), "wrong sign"),
    "everything stopped": ((quantise(lambda z, q: tf.stop_gradient(z + (q - z))), commitment), "no gradient"),
    "nothing stopped": ((quantise(lambda z, q: z + (q - z)), commitment), "reaches the code but not z"),
    "twice": (
        (quantise(lambda z, q: tf.stop_gradient(q - 2 * z) + 2 * z), commitment),
        "twice as large",
    ),
    "its number": (
        (lambda z, codes: tf.argmin(tf.norm(z[:, None] - codes, axis=-1), 1), commitment),
        "tf.gather",
    ),
    "largest dot product": (
        (quantise(choice=lambda z, c: tf.gather(c, tf.argmax(z @ tf.transpose(c), 1))), commitment),
        "largest dot product",
    ),
    "farthest": (
        (
            quantise(choice=lambda z, c: tf.gather(c, tf.argmax(tf.norm(z[:, None] - c, axis=-1), 1))),
            commitment,
        ),
        "farthest",
    ),
    "softmax": ((soft, commitment), "mixture of codes"),
    "NumPy": ((lambda z, codes: nearest(z, codes).numpy(), commitment), "NumPy array"),
    "commits the code": (
        (STRAIGHT, lambda z, q: tf.reduce_mean((tf.stop_gradient(z) - q) ** 2)),
        "wrong term",
    ),
    "commits both": ((STRAIGHT, lambda z, q: tf.reduce_mean((z - q) ** 2)), "moves the code as well"),
    "commits nothing": (
        (STRAIGHT, lambda z, q: tf.reduce_mean(tf.stop_gradient(z - q) ** 2)),
        "it has no gradient",
    ),
    "a sum": ((STRAIGHT, lambda z, q: tf.reduce_sum((z - tf.stop_gradient(q)) ** 2)), "that is the sum"),
    "a vector's sum": (
        (STRAIGHT, lambda z, q: tf.reduce_mean(tf.reduce_sum((z - tf.stop_gradient(q)) ** 2, 1))),
        "sums over a vector's",
    ),
    "weighted": ((STRAIGHT, lambda z, q: 0.25 * commitment(z, q)), "leave out the weight"),
}


def perplexity(counts):
    p = counts[counts > 0] / counts.sum()
    return np.exp(-np.sum(p * np.log(p)))


def entropy(counts, log=np.log):
    p = counts[counts > 0] / counts.sum()
    return -np.sum(p * log(p))


USED = {"A": "few", "B": "sound", "C": "dominated", "D": "collapsed", "E": "sound"}
RIGHT["check_usage"] = {
    "e": (perplexity, USED),
    "base 2": (lambda counts: 2 ** entropy(counts, np.log2), USED),
    "SciPy": (lambda counts: np.exp(scipy_entropy(counts)), USED),
    "a product": (lambda c: 1 / np.prod((c[c > 0] / c.sum()) ** (c[c > 0] / c.sum())), USED),
    "written large": (perplexity, {name: what.upper() for name, what in USED.items()}),
}
WRONG["check_usage"] = {
    "zeros": ((lambda c: np.exp(-np.sum(c / c.sum() * np.log(c / c.sum()))), USED), "0 log 0"),
    "codes in use": ((lambda counts: (counts > 0).sum(), USED), "codes in use"),
    "entropy": ((entropy, USED), "that is the entropy"),
    "bits": ((lambda counts: entropy(counts, np.log2), USED), "entropy in bits"),
    "mixed bases": ((lambda counts: np.exp(entropy(counts, np.log2)), USED), "same base"),
    "mixed bases, turned": ((lambda counts: 2 ** entropy(counts), USED), "same base"),
    "squares": ((lambda counts: 1 / np.sum((counts / counts.sum()) ** 2), USED), "sum of squares"),
    "sign": ((lambda counts: np.exp(-entropy(counts)), USED), "sign of the entropy"),
    "no shares": (
        (lambda c: np.exp(-np.sum(c[c > 0] * np.log(c[c > 0]))), USED),
        "shares",
    ),
    "averaged": ((lambda counts: np.exp(entropy(counts) / len(counts)), USED), "do not average"),
    "collapsed for few": ((perplexity, USED | {"A": "collapsed"}), "60 vectors"),
    "dominated for uneven": ((perplexity, USED | {"B": "dominated"}), "unequal use is fine"),
    "sound for dominated": ((perplexity, USED | {"C": "sound"}), "share of the first"),
    "few for collapsed": ((perplexity, USED | {"D": "few"}), "59 of the codes were chosen by none"),
    "few for even": ((perplexity, USED | {"E": "few"}), "64 of 64"),
    "one missing": ((perplexity, {k: v for k, v in USED.items() if k != "E"}), "E is missing"),
    "no such thing": ((perplexity, USED | {"B": "uneven"}), "choose from"),
    "a list": ((perplexity, list(USED.values())), "should be a dict"),
}


def own(
    channels=8,
    activation="elu",
    last="sigmoid",
    before=None,
    after=None,
    latent=None,
    bottleneck=None,
    image=3,
    title="own",
):
    """An entry of ARCHITECTURES: Table 1's form with another activation, and things put before and after
    it."""
    layers = keras.layers

    def build():
        how = dict(kernel_size=3, strides=2, padding="same", activation=activation)
        put = [[layers.Lambda(change)] if change else [] for change in (before, bottleneck, after)]
        return keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                *put[0],
                layers.Conv2D(16, **how),
                layers.Conv2D(channels, **how),
                *put[1],
                layers.Conv2DTranspose(channels, **how),
                layers.Conv2DTranspose(16, **how),
                layers.Conv2D(image, 3, padding="same", activation=last),
                *put[2],
            ]
        )

    return Architecture(title, build, 64 * channels if latent is None else latent, 2)


def residual():
    layers, images = keras.layers, keras.Input((32, 32, 3))
    bottleneck = layers.Conv2D(8, 5, strides=4, padding="same", activation="relu")(images)
    bottleneck = layers.Add()([bottleneck, layers.Conv2D(8, 3, padding="same")(bottleneck)])
    up = layers.UpSampling2D(4, interpolation="bilinear")(bottleneck)
    return keras.Model(images, layers.Conv2D(3, 3, padding="same", activation="sigmoid")(up))


def dense():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.AveragePooling2D(4),
            layers.Flatten(),
            layers.Dense(48),
            layers.Dense(192, activation="sigmoid"),
            layers.Reshape((8, 8, 3)),
            layers.UpSampling2D(4, interpolation="bilinear"),
        ]
    )


def without_last(model):
    return keras.Model(model.inputs, model.layers[-2].output)


RIGHT["check_architecture"] = one(
    another_activation=own(),
    another_bottleneck=own(5, "relu", title="8 x 8 x 5"),
    deeper=Architecture("4 layers", lambda: architectures.convolutional(4, 64), 256, 4),
    residual=Architecture("residual", residual, 512, 2),
    dense=Architecture("dense", dense, 48, 2),
    wider_u_net=Architecture("U-Net, 12", lambda: architectures.unet(12), 12 * 1024 + 24 * 256 + 48 * 64, 2),
    fewer_codes=Architecture("VQ-VAE of 64", lambda: architectures.vq_vae(64), 256, 1),
)
WRONG["check_architecture"] = {
    "a model": ((residual(),), "one entry of ARCHITECTURES"),
    "the function alone": ((residual,), "one entry of ARCHITECTURES"),
    "its model": ((Architecture("x", residual(), 512, 2),), "give a function"),
    "no model": ((Architecture("x", lambda: 3, 512, 2),), "should return a built Keras model"),
    "another size": ((Architecture("x", lambda: without_last(dense()), 48, 2),), "must be (32,"),
    "one channel": ((own(image=1),), "(32, 32, 1)"),
    "not in [0, 1]": ((own(last=None),), "end with a sigmoid"),
    "random": ((own(before=lambda x: x + tf.random.normal(tf.shape(x), 0, 0.3)),), "different outputs"),
    "mixes the batch": ((own(before=lambda x: x - tf.reduce_mean(x, 0, keepdims=True)),), "mixes the images"),
    "Table 1": ((Architecture("mine", ae_module.build_autoencoder, 512, 2),), "that is 'paper'"),
    "another of the course's": ((own(16, "relu"),), "that is 'd2_c16'"),
    "the blur": ((architectures.ARCHITECTURES["blur"],), "no weights to train"),
    "latent without channels": ((own(latent=64),), "narrowest layer has 512"),
    "a U-Net by its bottleneck": (
        (Architecture("x", lambda: architectures.unet(12), 768, 2),),
        "bypasses the bottleneck",
    ),
    "rounded": ((own(bottleneck=tf.round),), "no gradient"),
    "stopped": ((own(after=tf.stop_gradient),), "no gradient"),
    "grey": ((own(after=lambda x: 0.7 + 1e-7 * x),), "the same output for every picture"),
    "latent in words": ((Architecture("x", residual, "512", 2),), "must be integers"),
}

# ------------------------------------------------------------------------------------------------ notebook 04

RIGHT["check_counts"] = one(
    as_in_the_notebook=lambda rows, n, sources: np.bincount(rows // n, minlength=sources),
    histogram=lambda rows, n, sources: np.histogram(rows, np.arange(sources + 1) * n)[0],
    a_list=lambda rows, n, sources: [sum(k * n <= r < (k + 1) * n for r in rows) for k in range(sources)],
    divmod=lambda rows, n, sources: tf.math.bincount(tf.cast(rows // n, tf.int32), minlength=sources),
)


def counts_in_place(rows, n, sources):
    rows //= n
    return np.bincount(rows, minlength=sources)


WRONG["check_counts"] = {
    "modulo": (
        (lambda rows, n, sources: np.bincount(rows % sources, minlength=sources),),
        "divide by n, and drop",
    ),
    "of rows": ((lambda rows, n, sources: np.bincount(rows % n, minlength=sources),), "one for each source"),
    "empty sources dropped": (
        (lambda rows, n, sources: np.unique(rows // n, return_counts=True)[1],),
        "even if it is 0",
    ),
    "shares": ((lambda rows, n, s: np.bincount(rows // n, minlength=s) / len(rows),), "return counts"),
    "in place": ((counts_in_place,), "changes the arrays"),
    "from 1": (
        (lambda rows, n, s: np.bincount(np.maximum(rows - 1, 0) // n, minlength=s),),
        "follow one another",
    ),
    "divided by sources": (
        (lambda rows, n, s: np.bincount(np.minimum(rows // s, s - 1), minlength=s),),
        "drop the remainder",
    ),
    "some twice": ((lambda rows, n, s: 2 * np.bincount(rows // n, minlength=s),), "sum to 128"),
}


def balanced(gained=lambda b, a: a & ~b, lost=lambda b, a: b & ~a, points=None):
    points = points or (lambda b, a, g, f: 100 * (g - f) / len(b))

    def balance(before, after):
        g, f = int(gained(before, after).sum()), int(lost(before, after).sum())
        return g, f, points(before, after, g, f)

    return balance


RIGHT["check_balance"] = one(
    as_in_the_notebook=balanced(),
    from_means=balanced(points=lambda b, a, g, f: 100 * (a.mean() - b.mean())),
    array=lambda b, a: np.array(balanced()(b, a)),
    comparisons=balanced(lambda b, a: a > b, lambda b, a: b > a),
)
WRONG["check_balance"] = {
    "swapped": ((balanced(lambda b, a: b & ~a, lambda b, a: a & ~b),), "gained if it was wrong before"),
    "all that are right": (
        (balanced(lambda b, a: a, lambda b, a: b),),
        "you count all images that were right",
    ),
    "net only": (
        (lambda b, a: (max(a.sum() - b.sum(), 0), max(b.sum() - a.sum(), 0), 100 * (a.mean() - b.mean())),),
        "count both directions",
    ),
    "a fraction": ((balanced(points=lambda b, a, g, f: (g - f) / len(b)),), "a hundredth"),
    "of the changed": (
        (balanced(points=lambda b, a, g, f: 100 * (g - f) / max(g + f, 1)),),
        "those that changed",
    ),
    "of the right": ((balanced(points=lambda b, a, g, f: 100 * (g - f) / b.sum()),), "those that were right"),
    "wrong sign": ((balanced(points=lambda b, a, g, f: 100 * (f - g) / len(b)),), "a gain is positive"),
    "images": ((balanced(points=lambda b, a, g, f: g - f),), "a number of images"),
    "in words": ((lambda b, a: (*balanced()(b, a)[:2], "-10.0"),), "should be numbers"),
    "two numbers": ((lambda b, a: balanced()(b, a)[:2],), "three numbers"),
}


def mixed(sources, labels, size, rng):
    rows = rng.permutation(len(sources) * len(labels))[:size]
    which, row = np.divmod(rows, len(labels))
    return np.stack([sources[k][i] for k, i in zip(which, row, strict=True)]), labels[row]


def concatenated(sources, labels, size, rng):
    images, truth = np.concatenate(sources), np.tile(labels, len(sources))
    rows = rng.choice(len(images), size, replace=False)
    return tf.constant(images[rows]), tf.constant(truth[rows])


def shuffled_apart(sources, labels, size, rng):
    images, truth = np.concatenate(sources), np.tile(labels, len(sources))
    return rng.permutation(images)[:size], rng.permutation(truth)[:size]


def repeated_labels(sources, labels, size, rng):
    """Labels repeated where they should be tiled."""
    images, truth = np.concatenate(sources), np.repeat(labels, len(sources))
    rows = rng.permutation(len(images))[:size]
    return images[rows], truth[rows]


def one_source(sources, labels, size, rng):
    rows = rng.permutation(len(labels))[:size]
    return sources[rng.integers(len(sources))][rows], labels[rows]


def first_rows(sources, labels, size, rng):
    each = size // len(sources)
    order = rng.permutation(each * len(sources))
    images = np.concatenate([s[:each] for s in sources])
    return images[order], np.tile(labels[:each], len(sources))[order]


def in_order(sources, labels, size, rng):
    images, truth = np.concatenate(sources), np.tile(labels, len(sources))
    rows = np.sort(rng.permutation(len(images))[:size])
    return images[rows], truth[rows]


def with_replacement(sources, labels, size, rng):
    images, truth = np.concatenate(sources), np.tile(labels, len(sources))
    rows = rng.integers(len(images) // 2, size=size) * 2
    return images[rows], truth[rows]


def averaged(sources, labels, size, rng):
    rows = rng.permutation(len(labels))[:size]
    return np.mean(sources, 0)[rows] - 0.23, labels[rows]


RIGHT["check_mixed_batch"] = one(
    divmod=mixed,
    concatenated=concatenated,
    samples=lambda sources, labels, size, rng: concatenated(list(sources), np.array(labels), size, rng),
    a_list=lambda *arguments: list(mixed(*arguments)),
    int64_labels=lambda s, y, size, rng: mixed(s, np.int64(y), size, rng),
)
WRONG["check_mixed_batch"] = {
    "labels shuffled apart": ((shuffled_apart,), "another image's label"),
    "labels repeated, not tiled": ((repeated_labels,), "another image's label"),
    "one source": ((one_source,), "draw from all of them at once"),
    "one after the other": (
        (lambda s, y, size, rng: (np.concatenate(s)[:size], np.tile(y, 6)[:size]),),
        "draw from all of them",
    ),
    "the first of each": ((first_rows,), "draw images, not photographs"),
    "in order": ((in_order,), "sorted by source"),
    "with replacement": ((with_replacement,), "twice"),
    "labels shuffled in place": (
        (lambda s, y, size, rng: (rng.shuffle(y), mixed(s, y, size, rng))[1],),
        "changes the arrays",
    ),
    "a fixed seed": (
        (lambda s, y, size, rng: mixed(s, y, size, np.random.default_rng(0)),),
        "the argument rng",
    ),
    "everything": ((lambda s, y, size, rng: (np.concatenate(s), np.tile(y, 6)),), "a batch of 96"),
    "images only": ((lambda *a: mixed(*a)[0],), "a pair"),
    "averaged": ((averaged,), "none of the sources"),
}

RIGHT["check_fair_epochs"] = {
    "rounded": (18, lambda steps, images, batch: round(steps / (images // batch))),
    "by trial": (3, lambda s, n, b: min(range(1, 99), key=lambda k: abs(k * (n // b) - s))),
    "NumPy": (np.float32(18), lambda steps, images, batch: np.rint(steps / (images // batch))),
}
WRONG["check_fair_epochs"] = {
    "as many epochs": ((18, lambda steps, images, batch: 3), "33 steps"),
    "for six sources": ((18, lambda s, n, b: max(1, round(s / (6 * n // b)))), "six sources"),
    "steps": ((18, lambda steps, images, batch: steps), "a number of steps"),
    "a fraction": ((18, lambda steps, images, batch: steps / (images // batch)), "a whole number"),
    "rounded up": (
        (18, lambda steps, images, batch: int(np.ceil(steps / (images // batch)))),
        "which is nearer",
    ),
    "rounded down": (
        (18, lambda steps, images, batch: max(1, steps // (images // batch))),
        "which is nearer",
    ),
    "the rest kept": ((18, lambda s, n, b: max(1, round(s / np.ceil(n / b)))), "11 full batches"),
    "images counted": ((18, lambda s, n, b: max(1, round(s * b / n))), "which is nearer"),
    "steps of an epoch": ((18, lambda steps, images, batch: images // batch), "steps in one epoch"),
    "batch forgotten": ((18, lambda steps, images, batch: max(1, steps // images)), "full batches"),
    "none predicted": ((0, lambda steps, images, batch: 19), "above 0"),
    "a number": ((18, 19), "give the function"),
}

RIGHT["check_phases"] = one(
    without_clean=[(["fgsm", "pgd", "ae(regular)", "ae(fgsm)", "ae(pgd)"], 3)],
    one_after_the_other=[
        ([name], 3) for name in ("regular", "fgsm", "pgd", "ae(regular)", "ae(fgsm)", "ae(pgd)")
    ],
    tuples=((("regular", "ae(pgd)"), np.int64(9)),),
    two_phases=[(["pgd"], 6), (["regular", "ae(regular)"], 4)],
)
WRONG["check_phases"] = {
    "the paper's": (
        ([(["regular", "fgsm", "pgd", "ae(regular)", "ae(fgsm)", "ae(pgd)"], 3)],),
        "the paper's own",
    ),
    "an unknown source": (([(["clean", "pgd"], 3)],), "source 'clean'"),
    "a test source": (([(["regular", "ae(test)"], 3)],), "ae(test)"),
    "too long": (([(["regular", "pgd"], 10)],), "does not test the mixture"),
    "no epochs": (([(["regular"], 0)],), "at least 1"),
    "a name for a list": (([("regular", 3)],), "write a list"),
    "no pair": (([["regular", "pgd", "fgsm"]],), "write it as"),
    "nothing": (([],), "at least one pair"),
    "no sources": (([([], 3)],), "no sources"),
}

# ------------------------------------------------------------------------------------------------ notebook 05

THREATS = {"A": "transfer", "B": "grey_box", "C": "adaptive", "D": "adaptive"}
RIGHT["check_threats"] = one(
    names=THREATS,
    titles={"A": "Transfer", "B": "grey-box", "C": "Adaptive", "D": "adaptive"},
    spelled={"A": "transfer", "B": "gray box", "C": "adaptive", "D": "adaptive "},
)
WRONG["check_threats"] = {
    "B is adaptive": ((THREATS | {"B": "adaptive"},), "the gradient leave out"),
    "all transfer": ((dict.fromkeys("ABCD", "transfer"),), "evaluation B is not transfer"),
    "A is grey-box": ((THREATS | {"A": "grey_box"},), "which one is assessed"),
    "D is grey-box": ((THREATS | {"D": "grey_box"},), "know about the rounding"),
    "C is transfer": ((THREATS | {"C": "transfer"},), "evaluation C"),
    "white-box": ((THREATS | {"C": "white-box"},), "choose transfer"),
    "D is missing": (({k: v for k, v in THREATS.items() if k != "D"},), "D is missing"),
    "a list": ((list(THREATS.values()),), "a dict"),
}

RIGHT["check_worst_case"] = one(
    numpy=lambda correct: correct.all(0).mean(),
    least=lambda correct: correct.min(axis=0).mean(),
    tensorflow=lambda correct: tf.reduce_mean(tf.cast(tf.reduce_all(correct, 0), tf.float32)),
    by_hand=lambda correct: sum(all(column) for column in correct.T) / correct.shape[1],
    product=lambda correct: correct.prod(0).mean(),
)
WRONG["check_worst_case"] = {
    "the strongest attack": ((lambda correct: correct.mean(1).min(),), "the strongest attack alone"),
    "mean": ((lambda correct: correct.mean(),), "the one that works"),
    "any": ((lambda correct: correct.any(0).mean(),), "all attacks must fail"),
    "product of accuracies": ((lambda correct: correct.mean(1).prod(),), "independent"),
    "broken": ((lambda correct: 1 - correct.all(0).mean(),), "share of broken images"),
    "percent": ((lambda correct: 100 * correct.all(0).mean(),), "in [0, 1]"),
    "a count": ((lambda correct: correct.all(0).sum(),), "a number of images"),
    "in place": (
        (lambda correct: np.logical_and(correct[0], correct[1], out=correct[0]).mean(),),
        "changes the arrays",
    ),
    "wrong axis": ((lambda correct: correct.all(1).mean(),), "second axis"),
    "each attack's": ((lambda correct: correct.mean(1),), "one number"),
}


def through(
    target=lambda ae, f: lambda x: f(ae(x)), sign=1.0, project=True, clip=True, after=None, about=None
):
    """End-to-end PGD, or, with an argument, a wrong variant."""

    def attack(ae, f, images, labels, eps):
        model, start = target(ae, f), images if about is None else about(ae, images)
        x = start
        for _ in range(10):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(losses.cross_entropy(labels, model(x)))
            x = x + sign * 0.01 * tf.sign(tape.gradient(loss, x))
            x = tf.clip_by_value(x, start - eps, start + eps) if project else x
            x = tf.clip_by_value(x, 0, 1) if clip else x
        return x if after is None else after(ae, x)

    return attack


def through_helpers(ae, f, images, labels, eps):
    return attacks.pgd(ae_module.defended(ae, f), np.array(images), np.array(labels), eps)


RIGHT["check_attack_through"] = one(
    by_hand=through(),
    helpers=through_helpers,
    a_function=lambda ae, f, x, y, eps: attacks.pgd(lambda z: f(ae(z)), x, y, eps, loss="margin"),
    fgsm=lambda ae, f, x, y, eps: attacks.fgsm(lambda z: f(ae(z)), x, y, eps),
    identity_backward=lambda ae, f, x, y, eps: attacks.pgd(
        adaptive.straight_through(ae, f, backward=lambda z: tf.nn.avg_pool2d(z, 3, 1, "SAME")),
        x,
        y,
        eps,
        steps=20,
    ),
    float64=lambda *arguments: np.float64(through()(*arguments)),
)
WRONG["check_attack_through"] = {
    "the classifier alone": ((through(lambda ae, f: f),), "the classifier alone"),
    "no clip": ((through(clip=False),), "leave [0, 1]: the largest is 1.031"),
    "reconstruction attacked": ((through(about=lambda ae, x: ae(x)),), "you change the autoencoder's output"),
    "helpers on the reconstruction": (
        (lambda ae, f, x, y, eps: attacks.pgd(f, ae(x), y, eps),),
        "you change the autoencoder's output",
    ),
    "identity for the autoencoder": (
        (lambda ae, f, x, y, eps: attacks.pgd(adaptive.straight_through(ae, f), x, y, eps),),
        "left the autoencoder out of the gradient",
    ),
    "eps divided twice": ((lambda ae, f, x, y, eps: through()(ae, f, x, y, eps / 255),), "a second time"),
    "reconstruction returned": ((through(after=lambda ae, x: ae(x)),), "you change the autoencoder's output"),
    "NumPy between": (
        (through(lambda ae, f: lambda x: f(ae.predict(x, verbose=0))),),
        "predict and NumPy cut it",
    ),
    "gradient stopped": (
        (through(lambda ae, f: lambda x: f(tf.stop_gradient(ae(x)))),),
        "is a gradient None?",
    ),
    "downhill": ((through(sign=-1.0),), "it should rise"),
    "no projection": ((through(project=False),), "project onto the ball"),
    "noise": ((lambda ae, f, x, y, eps: attacks.random_signs(np.array(x), eps, 0),), "are still right"),
    "nothing": ((lambda ae, f, x, y, eps: x,), "no value moved"),
    "twice the budget": (
        (lambda ae, f, x, y, eps: through()(ae, f, x, y, 2 * eps),),
        "project onto the ball",
    ),
}


def evaluation_with(
    *, units=1.0, training=False, clipped=False, same_labels=False, percent=False, clean=False
):
    """The evaluation of notebook 05's exercise; each argument plants a mistake."""

    def evaluate(classifier, images, labels, eps, size=16):
        step_size, eps = 0.01, eps / units
        attacked = []
        for first in range(0, len(images), size):
            x = tf.constant(images[first : first + size])
            y = (labels if same_labels else labels[first:])[: len(x)]
            moved = x
            for _ in range(10):
                with tf.GradientTape() as tape:
                    tape.watch(moved)
                    logits = classifier(moved, training=training)
                    loss = (losses.of_softmax if clipped else losses.cross_entropy)(y, logits)
                moved = moved + step_size * tf.sign(tape.gradient(loss, moved))
                moved = tf.clip_by_value(tf.clip_by_value(moved, x - eps, x + eps), 0, 1)
            attacked.append(moved)
        attacked = np.concatenate(attacked)
        correct = toys.answers(classifier, images if clean else attacked) == labels
        return attacked, correct.mean() * (100 if percent else 1)

    return evaluate


def evaluation_by_helpers(classifier, images, labels, eps):
    attacked = attacks.pgd(classifier, images, labels, eps)
    return attacked, evaluation.is_correct(classifier, attacked, labels).mean()


def assessed_in_training_mode(classifier, images, labels, eps):
    attacked, _ = evaluation_with()(classifier, images, labels, eps)
    return attacked, np.mean(np.argmax(classifier(attacked, training=True), axis=1) == labels)


BROKEN = evaluation_with(units=255, training=True, clipped=True, same_labels=True)
RIGHT["check_evaluation"] = one(
    mended=evaluation_with(),
    helpers=evaluation_by_helpers,
    float64=lambda *a: [np.float64(part) for part in evaluation_with()(*a)],
    other_batches=lambda f, x, y, eps: evaluation_with()(f, x, y, eps, 7),
)
WRONG["check_evaluation"] = {
    "as it was": ((BROKEN,), "4 of the four mistakes are"),
    "eps in the wrong unit": (
        (evaluation_with(units=255),),
        "1 of the four mistakes is still there:\n- no value moved by more",
    ),
    "training mode": (
        (evaluation_with(training=True),),
        "1 of the four mistakes is still there:\n- the evaluation changes the network",
    ),
    "clipped probabilities": (
        (evaluation_with(clipped=True),),
        "1 of the four mistakes is still there:\n- for a very confident classifier",
    ),
    "labels of the first batch": (
        (evaluation_with(same_labels=True),),
        "1 of the four mistakes is still there:\n- the loss of",
    ),
    "two left": ((evaluation_with(training=True, same_labels=True),), "2 of the four mistakes are"),
    "three left": (
        (evaluation_with(units=255, clipped=True, same_labels=True),),
        "3 of the four mistakes are",
    ),
    "percent": ((evaluation_with(percent=True),), "in [0, 1]"),
    "assessed on clean images": ((evaluation_with(clean=True),), "you report"),
    "eps of the notebook": (
        (lambda f, x, y, e: evaluation_with()(f, x, y, 8 / 255),),
        "use the argument eps",
    ),
    "assessed in training mode": (
        (assessed_in_training_mode,),
        "1 of the four mistakes is still there:\n- the evaluation changes the network",
    ),
    "only the accuracy": ((lambda *a: evaluation_with()(*a)[1],), "a pair"),
    "eps in pixels": ((lambda f, x, y, e: evaluation_with(units=1 / 20)(f, x, y, e),), "a value moved by"),
}


def rounded(images):
    return tf.round(images * 31) / 31


def rounded_in_numpy(images):
    return np.round(np.array(images) * 31) / 31


def with_identity(model, images, labels, eps):
    """PGD with the identity's gradient in place of the rounding's, which needs the defense by name."""
    around = adaptive.straight_through(rounded, toys.network())
    return attacks.pgd(around, images, labels, eps)


def without_gradients(model, images, labels, eps):
    return square(model, np.array(images), np.array(labels), eps, queries=400)


RIGHT["check_without_gradient"] = {
    "straight through": (rounded, with_identity),
    "square": (rounded, without_gradients),
    "more levels": (lambda images: tf.floor(images * 63 + 0.5) / 63, with_identity),
    "substitute": (rounded, lambda model, x, y, eps: attacks.pgd(toys.network(), x, y, eps)),
}
WRONG["check_without_gradient"] = {
    "no defense": ((lambda images: images, with_identity), "nothing to get around"),
    "a blur": ((lambda images: by_convolution(images, 0.3), with_identity), "nothing to get around"),
    "grey": ((lambda images: 0 * images + 0.5, with_identity), "keep their class"),
    "no attack": ((rounded, lambda model, x, y, eps: x), "your attack leaves"),
    "noise": (
        (rounded, lambda m, x, y, eps: attacks.random_signs(np.array(x), eps, 0)),
        "your attack leaves",
    ),
    "plain PGD": ((rounded, lambda m, x, y, eps: attacks.pgd(m, x, y, eps)), "no gradient"),
    "too large a budget": ((rounded, lambda m, x, y, e: with_identity(m, x, y, 2 * e)), "eps is 0.031"),
    "NumPy in a graph": ((rounded_in_numpy, without_gradients), "NumPy inside a graph"),
}

# ------------------------------------------------------------------------------------------------ notebook 06

RUNGS = {
    "A": "initial_classifier",
    "B": "pgd",
    "C": "noise",
    "D": "square",
    "E": "other_network",
    "F": "grey_box",
}
RIGHT["check_rungs"] = {
    "as on the ladder": (RUNGS, ["C", "E", "A", "F", "D", "B"]),
    "D early": (RUNGS, list("CDEAFB")),
    "D in the middle": (RUNGS, tuple("CEADFB")),
    "spelled otherwise": (
        RUNGS | {"F": "grey-box", "E": "Other network", "B": "PGD"},
        ["c", "e", "a", "f", "d", "b"],
    ),
    "a text": (RUNGS, "C < E < A < F < D < B"),
}
WRONG["check_rungs"] = {
    "most first": ((RUNGS, list("BDFAEC")), "reverse it"),
    "F knows all": ((RUNGS | {"F": "pgd"}, list("CEAFDB")), "weights; nobody mentioned"),
    "A and F swapped": ((RUNGS | {"A": "grey_box", "F": "initial_classifier"}, list("CEAFDB")), "attacker A"),
    "D has the weights": (
        (RUNGS | {"D": "pgd"}, list("CEAFDB")),
        "an attacker knows: autoencoder and class",
    ),
    "E attacks the initial classifier": ((RUNGS | {"E": "initial_classifier"}, list("CEAFDB")), "attacker E"),
    "no such rung": ((RUNGS | {"B": "white-box"}, list("CEAFDB")), "choose from"),
    "whoever asks knows most": ((RUNGS, list("CEAFBD")), "B can ask the copy"),
    "asking is worth nothing": ((RUNGS, list("DCEAFB")), "a coin learns nothing"),
    "half as good as all": ((RUNGS, list("CEADBF")), "B has F's classifier and"),
    "the old one is better": ((RUNGS, list("CEFADB")), "F has the very classifier"),
    "own network last": ((RUNGS, list("CAFEDB")), "never a part of the service"),
    "one twice": ((RUNGS, list("CEAFBB")), "each of A to F once"),
    "names for letters": ((RUNGS, list(RUNGS.values())), "each of A to F once"),
    "E is missing": (({k: v for k, v in RUNGS.items() if k != "E"}, list("CEAFDB")), "E is missing"),
    "a list": ((list(RUNGS.values()), list("CEAFDB")), "should be a dict"),
}


def counted(count=lambda worst, left: (worst & ~left).sum()):
    return lambda worst, correct: {name: count(worst, left) for name, left in correct.items()}


CAUSES = {"P": "order", "Q": "sound", "R": "strongest", "S": "left_out"}
RIGHT["check_contradictions"] = {
    "as in the solution": (counted(), CAUSES),
    "comparison": (counted(lambda worst, left: int((worst > left).sum())), CAUSES),
    "by hand": (
        counted(lambda worst, left: sum(w and not c for w, c in zip(worst, left, strict=True))),
        CAUSES,
    ),
    "tensors": (counted(lambda w, c: tf.reduce_sum(tf.cast(w & ~c, tf.int32))), CAUSES | {"S": "left out"}),
}
WRONG["check_contradictions"] = {
    "swapped": ((counted(lambda worst, left: (~worst & left).sum()), CAUSES), "the other way round"),
    "all that differ": (
        (counted(lambda worst, left: (worst != left).sum()), CAUSES),
        "only one direction",
    ),
    "both stand": ((counted(lambda worst, left: (worst & left).sum()), CAUSES), "robust in both"),
    "sums": ((counted(lambda worst, left: max(worst.sum() - left.sum(), 0)), CAUSES), "cancel each other"),
    "sums with sign": (
        (counted(lambda worst, left: int(worst.sum()) - int(left.sum())), CAUSES),
        "cancel each other",
    ),
    "shares": ((counted(lambda worst, left: (worst & ~left).mean()), CAUSES), "that is a share"),
    "yes or no": ((counted(lambda worst, left: (worst & ~left).any()), CAUSES), "count the images"),
    "one number": (
        (lambda w, c: sum((w & ~x).sum() for x in c.values()), CAUSES),
        "one number for each of the",
    ),
    "a list": (
        (lambda w, c: [(w & ~x).sum() for x in c.values()], CAUSES),
        "one number for each of the attacks",
    ),
    "the order goes unseen": ((counted(), CAUSES | {"P": "sound"}), "report P is not 'sound'"),
    "strongest for left out": ((counted(), CAUSES | {"S": "strongest"}), "report S is not 'strongest'"),
    "left out for strongest": ((counted(), CAUSES | {"R": "left_out"}), "PGD 0, PGD-margin"),
    "a fault in Q": ((counted(), CAUSES | {"Q": "any"}), "PGD 0, PGD-margin 0, Square 0"),
    "another word": ((counted(), CAUSES | {"Q": "fine"}), "choose from sound"),
    "S is missing": ((counted(), {k: v for k, v in CAUSES.items() if k != "S"}), "S is missing"),
}


def curve(of=attacks.pgd, budget=lambda eps: eps, scale=1.0, broken=False, of_the_right=False, aim=None):
    """Accuracy against budget by PGD, or with an argument by a mistake."""

    def measure(model, images, labels, budgets):
        accuracies = []
        for eps in budgets:
            aimed, step = aim or model, max(budget(eps) / 4, 1e-9)
            moved = of(aimed, images, labels, budget(eps), step_size=step) if budget(eps) else images
            right = toys.answers(model, moved) == labels
            if of_the_right:
                right = right[toys.answers(model, images) == labels]
            accuracies.append(scale * (1 - right.mean() if broken else right.mean()))
        return accuracies

    return measure


def fixed_step(model, images, labels, budgets):
    return [
        evaluation.is_correct(model, attacks.pgd(model, images, labels, b), labels).mean() for b in budgets
    ]


def one_step(model, images, labels, eps, step_size):
    return attacks.fgsm(model, images, labels, eps)


def coins(model, images, labels, eps, step_size):
    return attacks.random_signs(images, eps, 0)


def unclipped(model, images, labels, eps, step_size):
    return fgsm(clip=None)(model, tf.constant(images), tf.constant(labels), eps)


GUESS = [70, 40, 20, 5, 0]
RIGHT["check_curve"] = {
    "steps with the budget": (GUESS, curve()),
    "the default step": (GUESS, fixed_step),
    "margin loss": (np.array(GUESS), curve(lambda *a, **o: attacks.pgd(*a, **o, loss="margin"))),
    "a dict": (GUESS, lambda m, x, y, budgets: dict(zip(budgets, curve()(m, x, y, budgets), strict=True))),
    "made monotonous": (GUESS, lambda *a: np.minimum.accumulate(curve()(*a))),
    "a tensor": ((77.5, 77.5, 50, 50, 0), lambda *a: tf.constant(curve()(*a))),
}
WRONG["check_curve"] = {
    "predicted a rise": (([70, 40, 45, 5, 0], curve()), "accuracy cannot rise"),
    "predicted shares": (([0.7, 0.4, 0.2, 0.1, 0], curve()), "give percent"),
    "predicted one number": ((20, curve()), "one for each budget"),
    "eps in pixels": ((GUESS, curve(budget=lambda eps: min(255 * eps, 1))), "no attack can leave less than"),
    "eps divided twice": ((GUESS, curve(budget=lambda eps: eps / 255)), "hardly falls"),
    "one budget for all": (
        (GUESS, curve(budget=lambda eps: 8 / 255 if eps else 0)),
        "no attack can leave less than",
    ),
    "the smallest for all": (
        (GUESS, curve(budget=lambda eps: 0.25 / 255 if eps else 0)),
        "a plain PGD leaves",
    ),
    "no clip": ((GUESS, curve(unclipped)), "leave [0, 1]"),
    "another model attacked": ((GUESS, curve(aim=toys.network(40.0))), "a plain PGD leaves"),
    "noise": ((GUESS, curve(coins)), "a plain PGD leaves"),
    "downhill": (
        (
            GUESS,
            curve(lambda m, x, y, e, step_size: attacks.pgd(m, x, y, e, step_size=step_size, targeted=True)),
        ),
        "a plain PGD leaves",
    ),
    "percent": ((GUESS, curve(scale=100.0)), "give them in [0, 1]"),
    "what is broken": ((GUESS, curve(broken=True)), "the share of broken images"),
    "of those that were right": ((GUESS, curve(of_the_right=True)), "the number of all images"),
    "attacked also at 0": (
        (GUESS, curve(budget=lambda eps: eps + 1 / 255)),
        "a budget of 0 allows no change",
    ),
    "no accuracy at 0": ((GUESS, lambda m, x, y, b: curve()(m, x, y, b[1:])), "each of the 5 budgets"),
}


def through_rounding(images):
    return images + tf.stop_gradient(exercises.rounded(images) - images)


@tf.custom_gradient
def rounded_with_a_gradient(images):
    return exercises.rounded(images), lambda upstream: upstream


def attack_rounded(
    between=lambda ae, f: lambda x: f(ae(through_rounding(x))),
    sign=1.0,
    steps=10,
    scale=1.0,
    clip=True,
    project=True,
    after=None,
    fresh=True,
):
    """PGD through rounding, autoencoder and classifier, or, with an argument, a wrong variant."""

    def attack(ae, f, images, labels, eps):
        model, x, eps = between(ae, f), images, scale * eps
        for _ in range(steps):
            gradient = gradient_of(lambda z, training: model(z), x, labels)
            x = (x if fresh else images) + sign * 0.01 * scale * tf.sign(gradient)
            x = tf.clip_by_value(x, images - eps, images + eps) if project else x
            x = tf.clip_by_value(x, 0, 1) if clip else x
        return x if after is None else after(x)

    return attack


def around_everything(ae, f):
    """The identity's gradient for rounding and autoencoder together, though the autoencoder has one."""
    return adaptive.straight_through(lambda x: ae(exercises.rounded(x)), f)


RIGHT["check_rounded"] = {
    "stop_gradient": (through_rounding, attack_rounded()),
    "custom_gradient": (rounded_with_a_gradient, attack_rounded()),
    "helpers": (
        adaptive.straight_through(exercises.rounded),
        lambda ae, f, x, y, eps: attacks.pgd(lambda z: f(ae(through_rounding(z))), x, y, eps, loss="margin"),
    ),
    "compiled": (tf.function(through_rounding), lambda *a: np.float64(attack_rounded()(*a))),
    "gradient before the rounding": (through_rounding, attack_rounded(lambda ae, f: lambda x: f(ae(x)))),
}
WRONG["check_rounded"] = {
    "just the rounding": ((exercises.rounded, attack_rounded()), "finds no gradient"),
    "NumPy": ((lambda x: np.array(exercises.rounded(x)), attack_rounded()), "finds no gradient"),
    "the images": ((lambda x: x, attack_rounded()), "you return the images unchanged"),
    "gradient stopped for all": (
        (lambda x: tf.stop_gradient(exercises.rounded(x)), attack_rounded()),
        "no gradient",
    ),
    "the bracket's sign": (
        (lambda x: -x + tf.stop_gradient(exercises.rounded(x) + x), attack_rounded()),
        "-1 times what it should be",
    ),
    "zero gradient": ((lambda x: exercises.rounded(x) + 0 * x, attack_rounded()), "zero everywhere"),
    "twice the gradient": (
        (lambda x: 2 * x + tf.stop_gradient(exercises.rounded(x) - 2 * x), attack_rounded()),
        "2 times what it should be",
    ),
    "a soft rounding": ((lambda x: x - tf.sin(62 * np.pi * x) / (62 * np.pi), attack_rounded()), "off by"),
    "plain PGD": (
        (through_rounding, attack_rounded(lambda ae, f: lambda x: f(ae(exercises.rounded(x))))),
        "is a gradient None?",
    ),
    "the classifier alone": (
        (through_rounding, attack_rounded(lambda ae, f: f)),
        "the autoencoder has a gradient",
    ),
    "classifier behind the rounding": (
        (through_rounding, attack_rounded(lambda ae, f: lambda x: f(through_rounding(x)))),
        "gets through the autoencoder",
    ),
    "identity for all": ((through_rounding, attack_rounded(around_everything)), "has a gradient of its own"),
    "no clip": ((through_rounding, attack_rounded(clip=False)), "clip them"),
    "eps in pixels": ((through_rounding, attack_rounded(scale=255.0)), "in [0, 1] already"),
    "eps divided twice": ((through_rounding, attack_rounded(scale=1 / 255)), "no value moved by more"),
    "no projection": ((through_rounding, attack_rounded(project=False)), "project onto the ball"),
    "downhill": ((through_rounding, attack_rounded(sign=-1.0)), "it should rise"),
    "rounded images returned": (
        (through_rounding, attack_rounded(after=exercises.rounded)),
        "you return rounded",
    ),
    "noise": (
        (through_rounding, lambda ae, f, x, y, eps: attacks.random_signs(np.array(x), eps, 0)),
        "are still right",
    ),
}

DIAGNOSES = {"A": "weak", "B": "masked", "C": "sound", "D": "transfer"}
EVIDENCE = {"A": "uses eps", "B": "zero gradients", "D": "fresh images"}


class OfTableB:
    """A number read from the checklist of exercise 06.5 when it is needed: the checklist takes long to
    make."""

    def __init__(self, which, times=1.0):
        self.which, self.times = which, times

    def __array__(self, dtype=None, copy=None):
        row = exercises.checklists()["B"].set_index("check")["value"]["worst case"]
        return np.asarray(self.times * float(re.findall(r"([\d.]+)%", row)[self.which]), dtype)


LEFT_OF_B, REPORTED_OF_B = OfTableB(0), OfTableB(2)
RIGHT["check_tables"] = {
    "as in the solution": (DIAGNOSES, EVIDENCE, LEFT_OF_B),
    "other rows": (DIAGNOSES, EVIDENCE | {"A": "attack <= FGSM", "B": "Square"}, LEFT_OF_B),
    "a row for C": (DIAGNOSES, EVIDENCE | {"C": "none"}, LEFT_OF_B),
    "true gradient": (DIAGNOSES | {"C": "Sound"}, EVIDENCE | {"B": "true gradient"}, 46),
}
WRONG["check_tables"] = {
    "Square means masked": ((DIAGNOSES | {"A": "masked"}, EVIDENCE, LEFT_OF_B), "the model has a gradient"),
    "a weak attack in B": (
        (DIAGNOSES | {"B": "weak"}, EVIDENCE, LEFT_OF_B),
        "what could the attack have followed",
    ),
    "D is weak": ((DIAGNOSES | {"D": "weak"}, EVIDENCE, LEFT_OF_B), "the assessed images are weaker"),
    "0% is suspect": ((DIAGNOSES | {"C": "weak"}, EVIDENCE, LEFT_OF_B), "none of its checks failed"),
    "95.8% in B is sound": ((DIAGNOSES | {"B": "sound"}, EVIDENCE, LEFT_OF_B), "8 of its checks failed"),
    "B was made elsewhere": (
        (DIAGNOSES | {"B": "transfer"}, EVIDENCE, LEFT_OF_B),
        "'fresh images' was not run",
    ),
    "another word": ((DIAGNOSES | {"A": "obfuscated"}, EVIDENCE, LEFT_OF_B), "choose from sound"),
    "worst case for masked": ((DIAGNOSES, EVIDENCE | {"B": "worst case"}, LEFT_OF_B), "not why"),
    "eps = 1 for masked": ((DIAGNOSES, EVIDENCE | {"B": "eps = 1"}, LEFT_OF_B), "for other reasons as well"),
    "follows gradient": (
        (DIAGNOSES, EVIDENCE | {"B": "follows gradient"}, LEFT_OF_B),
        "no gradient to follow",
    ),
    "Square for weak": ((DIAGNOSES, EVIDENCE | {"A": "Square"}, LEFT_OF_B), "so does FGSM"),
    "loss rises for transfer": (
        (DIAGNOSES, EVIDENCE | {"D": "loss rises"}, LEFT_OF_B),
        "for other reasons as well",
    ),
    "a row that passed": ((DIAGNOSES, EVIDENCE | {"B": "in the ball"}, LEFT_OF_B), "did not fail"),
    "no such row": ((DIAGNOSES, EVIDENCE | {"B": "gradients"}, LEFT_OF_B), "has no row 'gradients'"),
    "the reported number": ((DIAGNOSES, EVIDENCE, REPORTED_OF_B), "other attacks in the table leave less"),
    "a share": ((DIAGNOSES, EVIDENCE, OfTableB(0, 0.01)), "in percent"),
    "nothing is left": ((DIAGNOSES, EVIDENCE, 0), "no evidence"),
    "D is missing": (
        (DIAGNOSES, {k: v for k, v in EVIDENCE.items() if k != "D"}, LEFT_OF_B),
        "missing in evidence",
    ),
}


def by_hand_over_draws(model, images, labels, eps, samples=32):
    """PGD along the gradient of the mean loss over draws, with all draws of a step in one batch."""
    moved = images
    for _ in range(10):
        many = gradient_of(model, tf.repeat(moved, samples, axis=0), tf.repeat(labels, samples))
        mean = tf.reduce_mean(tf.reshape(many, (-1, samples, *images.shape[1:])), 1)
        moved = project(moved + 0.01 * tf.sign(mean), images, eps)
    return moved


def colours_only(model, images, labels, eps):
    """The same change for all pixels: it is what it was wherever it is moved."""
    moved = images
    for _ in range(10):
        gradient = gradient_of(lambda x, training: model.classifier(x), moved, labels)
        gradient = tf.reduce_mean(gradient, [1, 2], keepdims=True)
        moved = project(moved + 0.01 * tf.sign(gradient), images, eps)
    return moved


RIGHT["check_attack_dice"] = one(
    helpers=lambda model, x, y, eps: attacks.pgd(adaptive.expectation(model, 32), x, y, eps),
    by_hand=by_hand_over_draws,
    more_samples=lambda m, x, y, eps: attacks.pgd(adaptive.expectation(m, 64), x, y, eps, steps=5),
    colours_only=colours_only,
    short_steps=lambda m, x, y, eps: attacks.pgd(m, x, y, eps, steps=300, step_size=0.0005),
)
WRONG["check_attack_dice"] = {
    "plain PGD": ((lambda m, x, y, eps: attacks.pgd(m, x, y, eps),), "over more draws"),
    "more steps": ((lambda m, x, y, eps: attacks.pgd(m, x, y, eps, steps=50),), "over more draws"),
    "two draws": (
        (lambda m, x, y, eps: attacks.pgd(adaptive.expectation(m, 2), x, y, eps),),
        "over more draws",
    ),
    "FGSM": ((lambda m, x, y, eps: attacks.fgsm(m, x, y, eps),), "over more draws"),
    "the dice left out": (
        (lambda m, x, y, eps: attacks.pgd(m.classifier, x, y, eps),),
        "left out the random shift",
    ),
    "noise": ((lambda m, x, y, eps: attacks.random_signs(np.array(x), eps, 0),), "still right"),
    "downhill": (
        (lambda m, x, y, eps: attacks.pgd(adaptive.expectation(m, 8), x, y, eps, targeted=True),),
        "does the loss of the true classes grow?",
    ),
    "nothing": ((lambda m, x, y, eps: x,), "no value moved"),
    "twice the budget": (
        (lambda m, x, y, eps: by_hand_over_draws(m, x, y, 2 * eps, 8),),
        "project onto the ball",
    ),
    "one image": ((lambda m, x, y, eps: x[0],), "shape"),
}


# ------------------------------------------------------------------------------------------------ notebook 07


def guaranteed(radius, shape):
    return radius / np.sqrt(np.prod(shape))


def needed(eps, shape):
    return eps * np.sqrt(np.prod(shape))


def as_on_cifar(of):
    return lambda value, shape: of(value, (32, 32, 3))


RIGHT["check_norms"] = {
    "as in the solution": (0.5, guaranteed, needed),
    "a length": (2, lambda r, s: r / np.linalg.norm(np.ones(s)), lambda e, s: np.linalg.norm(np.full(s, e))),
    "helpers": (
        1.7,
        lambda r, s: smoothing.linf_within(r, int(np.prod(s))),
        lambda e, s: smoothing.l2_around(e, int(np.prod(s))),
    ),
    "one by the other": (0.03, lambda r, s: r / needed(1, s), needed),
    "tensors": (
        np.float32(100),
        lambda r, s: tf.constant(r) / tf.sqrt(float(np.prod(s))),
        lambda e, s: tf.norm(tf.fill(s, e)),
    ),
}
WRONG["check_norms"] = {
    "the same number": ((0.5, lambda r, s: r, needed), "a ball in one norm"),
    "turned": ((0.5, needed, guaranteed), "the wrong way round"),
    "no root": ((0.5, lambda r, s: r / np.prod(s), needed), "take the root"),
    "no root on the way back": ((0.5, guaranteed, lambda e, s: e * np.prod(s)), "take the root"),
    "channels forgotten": ((0.5, lambda r, s: r / np.sqrt(s[0] * s[1]), needed), "three values"),
    "channels forgotten on the way back": ((0.5, guaranteed, lambda e, s: e * s[0]), "three values"),
    "grey levels": ((0.5, lambda r, s: 255 * guaranteed(r, s), needed), "not in grey levels"),
    "divided again": ((0.5, guaranteed, lambda e, s: needed(e / 255, s)), "do not divide by 255 again"),
    "3,072 for all": ((0.5, as_on_cifar(guaranteed), needed), "use the shape"),
    "the cube root": ((0.5, lambda r, s: r / np.prod(s) ** (1 / 3), needed), "l2 norm of a change"),
    "a guess of nothing": ((0, guaranteed, needed), "above 0"),
    "a number for a function": ((0.5, 0.0045, needed), "give the function guaranteed itself"),
    "all values": ((0.5, guaranteed, lambda e, s: np.full(s, e)), "one number"),
}

RAN = {
    "A": "robust_overfitting",
    "B": "weak_attack",
    "C": "sound",
    "D": "catastrophic",
    "E": "unfinished",
    "F": "no_attack",
}


def best(key="pgd", of="ACDE", shift=0):
    """The epoch of each history that is best by a number."""
    found = exercises.histories()
    return {name: max(found[name], key=lambda record: record[key])["epoch"] + shift for name in of}


LAST = {name: len(exercises.histories()[name]) for name in "ACDE"}
RIGHT["check_histories"] = {
    "as in the solution": (RAN, best()),
    "spelled otherwise": (RAN | {"A": "Robust overfitting", "F": "no attack"}, best()),
    "floats": (RAN, {name: float(epoch) for name, epoch in best().items()}),
    "numpy": (RAN, {n: 1 + np.argmax([r["pgd"] for r in exercises.histories()[n]]) for n in "ACDE"}),
}
WRONG["check_histories"] = {
    "the two overfittings turned": (
        (RAN | {"A": "catastrophic", "D": "robust_overfitting"}, best()),
        "still rises on training images",
    ),
    "catastrophic for robust": ((RAN | {"D": "robust_overfitting"}, best()), "on training images as well"),
    "hardly falls, so robust": ((RAN | {"B": "sound"}, best()), "from the first epoch on"),
    "nothing left, so collapsed": ((RAN | {"F": "catastrophic"}, best()), "it lost no robustness"),
    "sound is unfinished": ((RAN | {"C": "unfinished"}, best()), "levelled off"),
    "a gap is overfitting": ((RAN | {"C": "robust_overfitting"}, best()), "stay together"),
    "unfinished is sound": ((RAN | {"E": "sound"}, best()), "still rising"),
    "the attack is weak in F": ((RAN | {"F": "weak_attack"}, best()), "near zero from the first epoch"),
    "another word": ((RAN | {"A": "overfitting"}, best()), "choose from sound"),
    "the last": ((RAN, best() | {"D": LAST["D"]}), "not always the best"),
    "best on training images": ((RAN, best() | {"A": best("training_pgd")["A"]}), "which it has seen"),
    "best without an attack": ((RAN, best("clean") | {"A": best()["A"]}), "without an attack"),
    "places for epochs": ((RAN, best(shift=-1)), "epochs count from 1"),
    "epoch 0": ((RAN, best() | {"A": 0}), "has no epoch 0"),
    "one chosen by a weak attack": ((RAN, best(of="ABCDE")), "no reason to choose"),
    "E left out": ((RAN, best(of="ACD")), "E is missing in keep"),
    "D is missing": (({n: c for n, c in RAN.items() if n != "D"}, best()), "D is missing in courses"),
    "a list": ((list(RAN.values()), best()), "should be a dict"),
}


def clopper_pearson(hits, n, alpha):
    return beta.ppf(alpha, hits, n - hits + 1)


def decide(
    bound=clopper_pearson,
    radius=lambda lower, sigma: sigma * norm.ppf(lower),
    leading=lambda first, counts: first.argmax(),
    seen=lambda first, counts: counts,
    abstains=lambda lower: lower <= 0.5,
    abstention=(-1, 0.0),
):
    """CERTIFY's decision; with an argument, a variant."""

    def decision(first, counts, sigma, alpha):
        chosen, used = leading(first, counts), seen(first, counts)
        lower = bound(used[chosen], used.sum(), alpha)
        return abstention if abstains(lower) else (chosen, radius(lower, sigma))

    return decision


def two_sided(hits, n, alpha):
    return binomtest(int(hits), int(n)).proportion_ci(1 - alpha, method="exact").low


def wald(hits, n, alpha):
    return hits / n - norm.ppf(1 - alpha) * np.sqrt(hits / n * (1 - hits / n) / n)


def with_a_rival(first, counts, sigma, alpha):
    """Both classes bounded with the whole alpha."""
    chosen, (second, _) = first.argmax(), np.sort(counts)[-2:]
    low, high = (
        clopper_pearson(counts[chosen], counts.sum(), alpha),
        beta.ppf(1 - alpha, second + 1, counts.sum() - second),
    )
    return (-1, 0.0) if low <= 0.5 else (chosen, sigma / 2 * (norm.ppf(low) - norm.ppf(high)))


def one_sided(hits, n, alpha):
    return binomtest(int(hits), int(n), alternative="greater").proportion_ci(1 - alpha, method="exact").low


RIGHT["check_decide"] = one(
    as_in_the_solution=decide(),
    scipys_interval=decide(one_sided),
    helpers=decide(lambda hits, n, alpha: smoothing.lower_bound(int(hits), int(n), alpha)),
    by_isf=decide(lambda hits, n, alpha: beta.isf(1 - alpha, hits, n - hits + 1)),
    statistics=decide(radius=lambda lower, sigma: statistics.NormalDist(0, sigma).inv_cdf(lower)),
    a_list=lambda *a: [np.float64(value) for value in decide()(*a)],
)
WRONG["check_decide"] = {
    "two-sided": ((decide(two_sided),), "two-sided"),
    "the share": ((decide(lambda hits, n, alpha: hits / n),), "like the observed share's"),
    "the share, smoothed": ((decide(lambda hits, n, alpha: (hits + 1) / (n + 2)),), "uses `counts` alone"),
    "Wald": ((decide(wald),), "the Wald interval's"),
    "Wilson": (
        (
            decide(
                lambda h, n, a: (
                    binomtest(int(h), int(n), alternative="greater").proportion_ci(1 - a, "wilson").low
                )
            ),
        ),
        "the Wilson bound",
    ),
    "alpha on the wrong side": (
        (decide(lambda h, n, a: beta.ppf(1 - a, h, n - h + 1)),),
        "on the wrong side",
    ),
    "a Bayesian's": ((decide(lambda h, n, a: beta.ppf(a, h + 1, n - h + 1)),), "a Bayesian bound"),
    "alpha fixed": (
        (decide(lambda h, n, a: clopper_pearson(h, n, 0.001)),),
        "use the argument alpha",
    ),
    "sigma forgotten": ((decide(radius=lambda lower, sigma: norm.ppf(lower)),), "multiply by sigma"),
    "variance": (
        (decide(radius=lambda lower, sigma: sigma**2 * norm.ppf(lower)),),
        "multiply by sigma twice",
    ),
    "no quantile": ((decide(radius=lambda lower, sigma: sigma * lower),), "the quantile is missing"),
    "never abstains": ((decide(abstains=lambda lower: False),), "abstain: return"),
    "abstains below the share": (
        (
            lambda f, c, s, a: (
                decide()(f, c, s, a)
                if c.max() <= c.sum() / 2 or decide()(f, c, s, a)[0] != -1
                else (f.argmax(), 0.0)
            ),
        ),
        "abstain: return",
    ),
    "a radius without a class": ((decide(abstention=(-1, 0.1)),), "certifies nothing"),
    "chosen from the draws that bound": (
        (decide(leading=lambda f, c: c.argmax()),),
        "the selecting draws choose another",
    ),
    "all draws bound": ((decide(seen=lambda f, c: f + c),), "uses `counts` alone"),
    "the selecting draws bound": ((decide(seen=lambda f, c: f),), "uses `counts` alone"),
    "abstains too often": ((decide(abstains=lambda lower: lower <= 0.55),), "above a half, which is enough"),
    "a rival bounded, too": ((with_a_rival,), "bound the second class"),
    "a word for an abstention": ((decide(abstention=("abstain", 0.0)),), "the class should be"),
    "radius alone": ((lambda *a: decide()(*a)[1],), "return two values"),
    "radius first": ((lambda *a: decide()(*a)[::-1],), "answer the class that leads"),
}


def nfgsm(
    start=lambda x, noise, eps: x + noise,
    at=None,
    add=None,
    of=losses.cross_entropy,
    way=tf.sign,
    after=None,
    training=True,
    labels_of=None,
):
    """N-FGSM's images; with an argument, others."""

    def attacked(model, images, labels, eps, noise):
        begin = start(images, noise, eps)
        where = begin if at is None else at(images, noise)
        labels = labels if labels_of is None else labels_of(model, images)
        with tf.GradientTape() as tape:
            tape.watch(where)
            loss = of(labels, model(where, training=training))
        step = eps * way(tape.gradient(loss, where))
        moved = (begin if add is None else add(images, noise)) + step
        return moved if after is None else after(moved, images, eps)

    return attacked


N_FGSM = nfgsm()


def train_step(
    attack=N_FGSM, training=True, sign=1.0, mean=tf.reduce_mean, batch=None, inside=False, returned=None
):
    """A step of training on attacked images; with an argument, a variant."""

    def step(model, optimizer, images, labels, eps, noise):
        moved = tf.stop_gradient(attack(model, images, labels, eps, noise))
        with tf.GradientTape() as tape:
            if inside:  # the sign has no gradient: slower, but the same
                moved = attack(model, images, labels, eps, noise)
            x, y = (moved, labels) if batch is None else batch(moved, images, labels)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=training))
            loss = sign * mean(each)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss if returned is None else returned(model, images, labels)

    return step


def keras_step(model, optimizer, images, labels, eps, noise):
    moved, of = (
        nfgsm()(model, images, labels, eps, noise),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    with tf.GradientTape() as tape:
        loss = of(labels, model(moved, training=True))
    optimizer.minimize(loss, model.trainable_variables, tape=tape)
    return float(loss)


def forgetting_to_apply(model, optimizer, images, labels, eps, noise):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(losses.cross_entropy(labels, model(images + noise, training=True)))
    tape.gradient(loss, model.trainable_variables)
    return loss


def own_labels(model, images):
    return tf.argmax(model(images, training=False), 1)


def mean_clean_loss(model, images, labels):
    copy = keras.models.clone_model(toys.network())  # training mode would move the toy's own statistics
    copy.set_weights(toys.network().get_weights())
    return tf.reduce_mean(losses.cross_entropy(labels, copy(images, training=True)))


RIGHT["check_min_max"] = {
    "as in the solution": (nfgsm(), train_step()),
    "the attack in inference mode": (nfgsm(training=False), train_step(nfgsm(training=False))),
    "through the attack": (nfgsm(), train_step(inside=True)),
    "Keras": (nfgsm(of=keras.losses.SparseCategoricalCrossentropy(from_logits=True)), keras_step),
    "compiled": (tf.function(nfgsm(), autograph=False), train_step()),
    "NumPy outside": (lambda *a: nfgsm()(*a).numpy(), train_step()),
}
WRONG["check_min_max"] = {
    "FGSM": ((nfgsm(start=lambda x, noise, eps: x), train_step()), "yours is FGSM"),
    "noise for the gradient only": (
        (nfgsm(at=lambda x, noise: x + noise, add=lambda x, noise: x), train_step()),
        "forgot the noise in the sum",
    ),
    "gradient at the image": ((nfgsm(at=lambda x, noise: x), train_step()), "where the step begins"),
    "downhill": ((nfgsm(way=lambda g: -tf.sign(g)), train_step()), "goes downhill"),
    "projected": (
        (nfgsm(after=lambda m, x, eps: tf.clip_by_value(m, x - eps, x + eps)), train_step()),
        "you project into the eps-ball",
    ),
    "projected and clipped": ((nfgsm(after=project), train_step()), "you project into the eps-ball"),
    "clipped": (
        (nfgsm(after=lambda m, x, eps: tf.clip_by_value(m, 0, 1)), train_step()),
        "you clip to [0, 1]",
    ),
    "noise clipped": (
        (nfgsm(lambda x, n, eps: tf.clip_by_value(x + n, 0, 1)), train_step()),
        "clip the noisy image",
    ),
    "noise cut": (
        (nfgsm(lambda x, n, eps: x + tf.clip_by_value(n, -eps, eps)), train_step()),
        "clip the noise to eps",
    ),
    "Wong's step": ((nfgsm(way=lambda g: 1.25 * tf.sign(g)), train_step()), "1.25 eps"),
    "the change alone": ((nfgsm(after=lambda m, x, eps: m - x), train_step()), "add it to the image"),
    "noise alone": ((nfgsm(way=tf.zeros_like), train_step()), "add the noise but take no step"),
    "no sign": ((nfgsm(way=lambda g: g), train_step()), "the sign is missing"),
    "its own answers": ((nfgsm(labels_of=own_labels), train_step()), "network's own answers"),
    "half a step": ((nfgsm(way=lambda g: tf.sign(g) / 2), train_step()), "of your values are"),
    "on clean images": ((nfgsm(), train_step(batch=lambda m, x, y: (x, y))), "train on the clean images"),
    "on noise": ((nfgsm(), train_step(nfgsm(way=tf.zeros_like))), "attack them first"),
    "weights uphill": ((nfgsm(), train_step(sign=-1.0)), "your weights go uphill"),
    "the sum": ((nfgsm(), train_step(mean=tf.reduce_sum)), "take the mean"),
    "inference mode": ((nfgsm(), train_step(training=False)), "call the model with training=True"),
    "both": (
        (nfgsm(), train_step(batch=lambda m, x, y: (tf.concat([m, x], 0), tf.concat([y, y], 0)))),
        "clean images as well",
    ),
    "trained on FGSM": (
        (nfgsm(), train_step(nfgsm(lambda x, n, eps: x))),
        "FGSM's images, without the noise",
    ),
    "attack downhill in training": ((nfgsm(), train_step(nfgsm(way=lambda g: -tf.sign(g)))), "goes downhill"),
    "never applied": ((nfgsm(), forgetting_to_apply), "does not change the network's weights"),
    "the clean loss": ((nfgsm(), train_step(returned=mean_clean_loss)), "the loss of the clean images"),
}

FLAWED = {
    "A": "transfer",
    "B": "interval",
    "C": "holds",
    "D": "units",
    "E": "masked",
    "F": "chosen",
    "G": "holds",
}
RIGHT["check_claims"] = {
    "as in the solution": (FLAWED, [1, 3, 8]),
    "a set": (FLAWED | {"C": "Holds"}, {8, 3, 1}),
    "a tuple": (FLAWED, (1, 3, 8)),
    "numpy": (FLAWED, np.array([3.0, 1.0, 8.0])),
}
WRONG["check_claims"] = {
    "JPEG is robust": ((FLAWED | {"A": "holds"}, [1, 3, 8]), "which system were these images made for"),
    "two points are a gain": ((FLAWED | {"B": "holds"}, [1, 3, 8]), "the interval of the difference"),
    "certified is more": ((FLAWED | {"D": "holds"}, [1, 3, 8]), "how many grey levels"),
    "a certificate is transfer": ((FLAWED | {"D": "transfer"}, [1, 3, 8]), "how many grey levels"),
    "end-to-end, so it holds": ((FLAWED | {"E": "holds"}, [1, 3, 8]), "the one that needs none"),
    "49% is 49%": ((FLAWED | {"F": "holds"}, [1, 3, 8]), "number on other images"),
    "F is chance": ((FLAWED | {"F": "interval"}, [1, 3, 8]), "which images chose the epoch"),
    "a stand-in proves nothing": ((FLAWED | {"G": "masked"}, [1, 3, 8]), "that succeeds is proof"),
    "C is chance": ((FLAWED | {"C": "interval"}, [1, 3, 8]), "200 images of 500"),
    "another word": ((FLAWED | {"A": "static"}, [1, 3, 8]), "choose from holds"),
    "G is missing": (({n: f for n, f in FLAWED.items() if n != "G"}, [1, 3, 8]), "G is missing"),
    "PGD alone": ((FLAWED, [1, 2, 3, 8]), "breaks less than several attacks"),
    "certified accuracy": ((FLAWED, [1, 3, 4, 8]), "one grey level"),
    "many images": ((FLAWED, [1, 3, 5, 8]), "a large n does not help"),
    "half the budget": ((FLAWED, [1, 3, 6, 8]), "half as large"),
    "other images": ((FLAWED, [1, 3, 7, 8]), "other images"),
    "of those it had right": ((FLAWED, [1, 3, 8, 9]), "only images that the network classified correctly"),
    "nothing left, nothing to show": ((FLAWED, [1, 3]), "a low number is no reason"),
    "n is too small": ((FLAWED, []), "its interval accounts for n"),
    "row 0": ((FLAWED, [0, 2, 7]), "there is no row 0"),
    "a text": ((FLAWED, "1, 3, 8"), "a list of row numbers"),
}


def trained_on(batch, steps=300, fresh=False, rate=0.05):
    """A repair that trains on what batch makes of images, labels, budget, network and noise in every step."""

    def repair(model, images, labels, eps):
        model = exercises.small_network(seed=1) if fresh else model
        optimizer, rng = keras.optimizers.SGD(rate, 0.9), np.random.default_rng(0)

        @tf.function
        def step(x, y, noise):
            moved = tf.stop_gradient(batch(model, x, y, eps, noise))
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(losses.cross_entropy(y, model(moved)))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        for _ in range(steps):
            k = rng.integers(0, len(images), 64)
            noise = rng.uniform(-2 * eps, 2 * eps, (64, 8, 8, 3)).astype(np.float32)
            step(tf.constant(images[k]), tf.constant(labels[k]), tf.constant(noise))
        return model

    return repair


def by_pgd(model, x, y, eps, noise):
    moved = x + noise / 2
    for _ in range(3):
        moved = project(moved + eps / 2 * tf.sign(gradient_of(model, moved, y)), x, eps)
    return moved


def middle_alone(model, images, labels, eps):
    """No training at all: what an eye would go by."""

    def classify(x):
        light = tf.reduce_mean(x[:, 2:6, 2:6], [1, 2, 3]) - 0.5
        return tf.stack([-light, light], 1)

    return classify


def on_old_images(model, images, labels, eps):
    """The paper's fine-tuning: on images made once, for the network as it was, and on clean ones."""
    old = attacks.pgd(model, images, labels, eps)
    return exercises.fitted(model, np.concatenate([images, old]), np.tile(labels, 2))


def rounding_first(model, images, labels, eps):
    return lambda x: model(tf.round(tf.convert_to_tensor(x) * 15) / 15)


def masked_on_purpose(model, images, labels, eps):
    """Answers of the repaired kind under the old images, with a gradient that is zero."""
    return lambda x: tf.round(1e4 * model(x)) + 0 * tf.reduce_sum(x, [1, 2, 3])[:, None]


RIGHT["check_repair"] = one(
    n_fgsm=trained_on(nfgsm()),
    pgd=trained_on(by_pgd, 200),
    anew=trained_on(nfgsm(), fresh=True),
    middle_alone=middle_alone,
)
WRONG["check_repair"] = {
    "on old images": ((on_old_images,), "recognises those old images"),
    "on noise": ((trained_on(lambda m, x, y, eps, noise: x + noise),), "still relies on"),
    "more of the same": ((lambda m, x, y, eps: exercises.fitted(m, x, y),), "still relies on"),
    "eps divided twice": (
        (trained_on(lambda m, x, y, e, n: nfgsm()(m, x, y, e / 255, n / 255)),),
        "with this eps",
    ),
    "downhill": ((trained_on(nfgsm(way=lambda g: -tf.sign(g))),), "still relies on"),
    "untrained": ((lambda m, x, y, eps: exercises.small_network(),), "almost nothing"),
    "a rounding": ((rounding_first,), "the gradient is hidden"),
    "no gradient": ((masked_on_purpose,), "the gradient is hidden"),
    "as it was": ((lambda m, x, y, eps: (m, 0),), "return a network"),
    "logits of its images": ((lambda m, x, y, eps: m(x),), "return a network"),
    "one class": ((lambda m, x, y, eps: lambda z: m(z)[:, :1],), "shape"),
    "images changed": ((lambda m, x, y, eps: (np.clip(x, 0.4, 0.6, out=x), m)[1],), "changes the arrays"),
}


# ------------------------------------------------------------------------------------------------ notebook 08

RIGHT["check_spread"] = one(
    numpy=lambda accuracies: (accuracies.mean(0), accuracies.std(0, ddof=1)),
    by_hand=lambda a: (a.sum(0) / len(a), np.sqrt(((a - a.mean(0)) ** 2).sum(0) / (len(a) - 1))),
    lists=lambda a: [[np.mean(c) for c in a.T], [statistics.stdev(c) for c in a.T]],
    tensorflow=lambda a: (tf.reduce_mean(a, 0), tf.math.reduce_std(a, 0) * np.sqrt(len(a) / (len(a) - 1))),
)
WRONG["check_spread"] = {
    "divided by n": ((lambda a: (a.mean(0), a.std(0)),), "divides by one less"),
    "variance": ((lambda a: (a.mean(0), a.var(0, ddof=1)),), "take its root"),
    "standard error": ((lambda a: (a.mean(0), a.std(0, ddof=1) / np.sqrt(len(a))),), "standard error"),
    "range": ((lambda a: (a.mean(0), np.ptp(a, 0)),), "the highest minus the lowest"),
    "along the cells": ((lambda a: (a.mean(1), a.std(1, ddof=1)),), "axis 0"),
    "percent": ((lambda a: (100 * a.mean(0), 100 * a.std(0, ddof=1)),), "in [0, 1]"),
    "best seed": ((lambda a: (a.max(0), a.std(0, ddof=1)),), "best seed"),
    "mean alone": ((lambda a: a.mean(0),), "return two arrays"),
    "over everything": ((lambda a: (a.mean(), a.std(ddof=1)),), "shape"),
}


def paired(z=1.96, sign=1, ddof=1, width=lambda each, before, after: each.std(ddof=1) / np.sqrt(len(each))):
    """The interval of 08.2; with an argument, a variant."""

    def difference(before, after):
        each = sign * (after.astype(float) - before)
        half = z * width(each, before, after)
        return each.mean(), each.mean() - half, each.mean() + half

    return difference


def standard_error(answers):
    return answers.std() / np.sqrt(len(answers))


RIGHT["check_paired"] = one(
    as_the_task=paired(),
    divided_by_n=paired(width=lambda each, *_: standard_error(each)),
    exact_quantile=paired(z=1.959964),
    the_courses=lambda before, after: evaluation.paired_difference(before, after),
    mcnemar=paired(
        width=lambda each, before, after: (
            np.sqrt((before != after).sum() - each.sum() ** 2 / len(each)) / len(each)
        )
    ),
)
WRONG["check_paired"] = {
    "as if other images": (
        (paired(width=lambda _, before, after: np.hypot(standard_error(before), standard_error(after))),),
        "pair them",
    ),
    "widths added": (
        (paired(width=lambda _, before, after: standard_error(before) + standard_error(after)),),
        "add the two widths",
    ),
    "the other way round": ((paired(sign=-1),), "before minus after"),
    "percent": ((lambda b, a: tuple(100 * x for x in paired()(b, a)),), "in [0, 1]"),
    "one standard error": ((paired(z=1),), "one standard error"),
    "no root of n": ((paired(width=lambda each, *_: each.std()),), "root of n"),
    "90 percent": ((paired(z=1.645),), "90%"),
    "share that changed": ((lambda b, a: ((a != b).mean(), *paired()(b, a)[1:]),), "in either direction"),
    "interval first": ((lambda b, a: (*paired()(b, a)[1:], paired()(b, a)[0]),), "but you return"),
    "ends turned": ((lambda b, a: tuple(paired()(b, a)[k] for k in (0, 2, 1)),), "in this order"),
    "no interval": ((lambda b, a: a.mean() - b.mean(),), "shape"),
}

RIGHT["check_survives"] = one(
    numpy=lambda points: (points > 0).all(0),
    smallest=lambda points: points.min(axis=0) > 0,
    a_list=lambda points: [all(p > 0 for p in cell) for cell in points.T],
    tensorflow=lambda points: tf.reduce_all(points > 0, 0),
)
WRONG["check_survives"] = {
    "any": ((lambda points: (points > 0).any(0),), "one seed only"),
    "mean": ((lambda points: points.mean(0) > 0,), "a seed disagrees"),
    "majority": ((lambda points: (points > 0).sum(0) >= 2,), "majority"),
    "zero counts": ((lambda points: (points >= 0).all(0),), "neither one is higher"),
    "any agreement": ((lambda points: abs(np.sign(points).sum(0)) == 3,), "refute"),
    "first seed": ((lambda points: points[0] > 0,), "first seed only"),
    "along the cells": ((lambda points: (points > 0).all(1),), "axis 0"),
    "one answer": ((lambda points: bool((points > 0).all()),), "a single answer"),
    "turned": ((lambda points: ~(points > 0).all(0),), "does not survive"),
    "points": ((lambda points: points.min(0),), "True or False"),
}

GRID = """
dataset: patches10
profile: smoke
autoencoder: [paper]
trained_eps: [4/255, 8/255]
eps: [4/255]
steps: [10]
seed: [0, 1, 2]
"""
RIGHT["check_grid"] = one(
    smallest=GRID,
    more_seeds=GRID.replace("[0, 1, 2]", "[3, 4, 5, 6, 7]"),
    more_budgets=GRID.replace("eps: [4/255]\n", "eps: [4/255, 8/255]\n"),
    a_third_defense=GRID.replace("trained_eps: [4/255,", "trained_eps: [4/255, 6/255,"),
    with_the_undefended=GRID.replace("[paper]", "[none, paper]"),
)
WRONG["check_grid"] = {
    "one defense": (
        (GRID.replace("trained_eps: [4/255, 8/255]", "trained_eps: [8/255]"),),
        "a smaller and a larger",
    ),
    "larger budget only": (
        (GRID.replace("\neps: [4/255]", "\neps: [8/255]"),),
        "attacks of the smaller budget",
    ),
    "one seed": ((GRID.replace("[0, 1, 2]", "[0]"),), "take 3 or more"),
    "two seeds": ((GRID.replace("[0, 1, 2]", "[0, 1]"),), "2 seeds cannot show"),
    "nothing trained": ((GRID.replace("[paper]", "[none]"),), "nothing is trained"),
    "pixels": ((GRID.replace("\neps: [4/255]", "\neps: [4]"),), "eps"),
    "misspelt": ((GRID.replace("seed:", "seeds:"),), "no key 'seeds'"),
    "everything": (
        (
            GRID.replace("steps: [10]", "steps: [5, 10, 50]").replace(
                "\neps: [4/255]", "\neps: [2/255, 4/255, 8/255, 16/255]"
            ),
        ),
        "more than 60; leave out",
    ),
    "not valid YAML": (("trained_eps: [4/255, 8/255",), "not valid YAML"),
    "a dict": (({"seed": [0, 1, 2]},), "give the grid as text"),
    "a sentence": (("three seeds and two budgets",), "has no keys"),
}


def mutation_table() -> str:
    """Every wrong answer and what its check says to it, in Markdown; the summary counts what was refused."""
    from helpers.exercises import CHECKS

    lines, refused, accepted = (
        ["| exercise | check | wrong answer | refused | the check says |", "|---|---|---|---|---|"],
        0,
        0,
    )
    for name, check in CHECKS.items():
        for title, (answers, _) in WRONG[name].items():
            verdict = check(*answers)
            refused += verdict.status == "not right yet"
            said = verdict.text.replace("|", "/").replace("\n", " ")
            lines.append(
                f"| {check.exercise} | {name} | {title} | {'no' if verdict.passed else 'yes'} | {said} |"
            )
        accepted += sum(check(*answers).passed for answers in RIGHT[name].values())
    wrong, right = (sum(map(len, table.values())) for table in (WRONG, RIGHT))
    lines.append("")
    lines.append(
        f"{len(CHECKS)} checks: {refused} of {wrong} wrong answers refused, {accepted} of {right} right "
        "ones accepted."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(mutation_table())
