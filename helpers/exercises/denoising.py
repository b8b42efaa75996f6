"""Checks of notebook 02's exercises: parameters, the autoencoder and its loss, a blur, another denoiser."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

from ..backend import keras, tf
from ..defenses import autoencoder
from . import toys
from .predicates import as_array, as_number, hint_for
from .verdict import Wrong, ask, check, untouched


@check("02.1", "write parameters(kernel, inputs, outputs)")
def check_parameters(parameters: Callable) -> str:
    """Accept a function that counts the weights of a convolution with square kernels and a bias."""
    for kernel, inputs, outputs in ((5, 8, 4), (3, 3, 16), (3, 16, 8), (1, 7, 2)):
        call = "parameters(kernel, inputs, outputs)"
        found = as_number(ask(parameters, kernel, inputs, outputs, call=call), "your number")
        truth = kernel * kernel * inputs * outputs + outputs
        if found == truth:
            continue
        hints = {
            truth - outputs: "the biases are missing, one for each output channel",
            truth - outputs + 1: "there is a bias for each output channel, not one for the layer",
            truth - outputs + inputs: "there is a bias for each output channel, not for each input channel",
            kernel * kernel * outputs + outputs: "each output channel has one kernel for each input channel",
            kernel * inputs * outputs + outputs: "a kernel is square: it has kernel times kernel weights",
            outputs * (32 - kernel + 1) ** 2: "the weights do not depend on the size of the image",
        }
        hint = hints.get(found, "count the weights of one kernel, then the kernels, then the biases")
        raise Wrong(
            f"a {kernel}x{kernel} convolution from {inputs} to {outputs} channels has {truth:,} parameters, "
            f"not {found:,.6g}; {hint}"
        )
    total = sum(int(layer.count_params()) for layer in autoencoder.build_autoencoder().layers)
    return f"right for every layer; those of Table 1 sum to {total:,}"


@check("02.2", "write build(bottleneck)")
def check_build(build: Callable) -> str:
    """Accept a function that builds the paper's autoencoder with any number of bottleneck channels."""
    for bottleneck in (8, 3, 64):
        model = ask(build, bottleneck, call="build(bottleneck)")
        if not isinstance(model, keras.Model) or not model.built:
            raise Wrong(
                f"build({bottleneck}) should return a built Keras model, but returned "
                f"{type(model).__name__}; begin with keras.Input((32, 32, 3)) or layers.InputLayer"
            )
        if model.input_shape[1:] != (32, 32, 3):
            raise Wrong(f"the model takes {model.input_shape[1:]}; images are (32, 32, 3)")
        if model.output_shape[1:] != (32, 32, 3):
            raise Wrong(
                f"the model returns {model.output_shape[1:]}, not an image (32, 32, 3); check the "
                "strides, padding='same' and the last layer's channels"
            )
        rng = np.random.default_rng(0)
        out = np.asarray(model(tf.constant(rng.normal(0, 30, (2, 32, 32, 3)), tf.float32), training=False))
        if out.min() < 0 or out.max() > 1:
            raise Wrong(
                f"the outputs run from {out.min():.3g} to {out.max():.3g}; they must stay in [0, 1] for any "
                "input: end with a sigmoid"
            )
        shapes = [layer.output_shape[1:] for layer in model.layers if isinstance(layer.output_shape, tuple)]
        narrow = min(shapes, key=np.prod)
        if (8, 8, bottleneck) not in shapes:
            raise Wrong(
                f"for bottleneck = {bottleneck} no layer has the shape {(8, 8, bottleneck)}; the narrowest "
                f"is {narrow}. Two strides of 2 go from 32 to 8, and the second has `bottleneck` channels"
            )
        if np.prod(narrow) < 64 * bottleneck and bottleneck < 64:
            raise Wrong(
                f"for bottleneck = {bottleneck} a layer {narrow} is narrower than the bottleneck "
                f"{(8, 8, bottleneck)}"
            )
        _check_count(model, bottleneck)
        _check_layers(model)
    return "for three bottlenecks, the autoencoder has the right layers and the right number of parameters"


def _check_count(model: keras.Model, bottleneck: int) -> None:
    truth = 448 + (144 * bottleneck + bottleneck) + (72 * bottleneck + 8) + 1168 + 435
    found = int(model.count_params())
    if found != truth:
        raise Wrong(
            f"for bottleneck = {bottleneck} the model has {found:,} parameters and should have {truth:,}; "
            "the channels are 16, bottleneck, 8, 16 and 3, and all kernels are 3x3"
        )


def _check_layers(model: keras.Model) -> None:
    """Check that the convolutions are Table 1's, with a ReLU before each but the first."""
    seen = _convolutions(model)
    transposed = [isinstance(layer, keras.layers.Conv2DTranspose) for layer, _ in seen]
    if sum(transposed) != 2:
        raise Wrong(
            f"{sum(transposed)} of the layers are transposed convolutions, and 2 should be; Table 1 "
            "upsamples with Conv2DTranspose and strides of 2, not with UpSampling2D"
        )
    strides = [layer.strides[0] for layer, _ in seen]
    if strides != [2, 2, 2, 2, 1] or transposed != [False, False, True, True, False]:
        raise Wrong(
            f"the strides of the convolutions are {', '.join(map(str, strides))}; Table 1 has two "
            "convolutions with strides of 2, two transposed ones with strides of 2, and one convolution "
            "with a stride of 1"
        )
    for k, (_, given) in enumerate(seen[1:], 1):
        if given.min() < 0 or not np.any(given == 0):
            raise Wrong(
                f"convolution {k + 1} gets values from {given.min():.3g} to {given.max():.3g}, and "
                f"{100 * np.mean(given == 0):.0f}% of them are 0; put a ReLU after each convolution except "
                "the last, so that negative values become 0"
            )


def _convolutions(model: keras.Model) -> list[tuple[keras.layers.Layer, np.ndarray]]:
    """Return the model's convolutions in the order of their calls, each with its input."""
    seen = []

    def noting(layer: keras.layers.Layer, call: Callable) -> Callable:
        def noted(inputs: tf.Tensor, *more, **named) -> tf.Tensor:
            seen.append((layer, np.asarray(inputs)))
            return call(inputs, *more, **named)

        return noted

    layers = [layer for layer in model.submodules if isinstance(layer, keras.layers.Conv2D)]
    calls = [layer.call for layer in layers]
    images = tf.constant(np.random.default_rng(0).normal(0, 1, (4, 32, 32, 3)), tf.float32)
    try:
        for layer, call in zip(layers, calls, strict=True):
            layer.call = noting(layer, call)
        model(images, training=False)
    finally:
        for layer in layers:
            del layer.call
    return seen


@check("02.3", "write denoising_loss(autoencoder, attacked, originals)")
def check_denoising_loss(denoising_loss: Callable) -> str:
    """Accept a function that returns the mean squared error of autoencoder(attacked) from the originals."""
    model = _toy_autoencoder()
    originals = toys.images(6)
    attacked = np.clip(originals + np.random.default_rng(3).uniform(-0.2, 0.2, originals.shape), 0, 1)
    x, y = tf.constant(attacked, tf.float32), tf.constant(originals)
    with untouched(model), tf.GradientTape() as tape:
        answer = ask(denoising_loss, model, x, y, call="denoising_loss(autoencoder, attacked, originals)")
    found = as_array(answer, "the loss")
    if found.size != 1:
        raise Wrong(
            f"the loss should be one number, but has the shape {found.shape}; take the mean over everything"
        )
    found, out, back = float(found.reshape(())), model(x).numpy(), model(y).numpy()
    truth = np.mean((out - originals) ** 2)
    if not np.isclose(found, truth, rtol=1e-4):
        hints = (
            (
                np.mean((out - attacked) ** 2),
                "the target is the attacked image, so the autoencoder would learn to keep the attack",
            ),
            (
                np.mean((back - attacked) ** 2),
                "input and target are swapped, so the autoencoder would learn to attack",
            ),
            (
                np.mean((back - originals) ** 2),
                "the input is the original, so the autoencoder never sees an attack",
            ),
            (np.mean((attacked - originals) ** 2), "the autoencoder is not used"),
            (np.sum((out - originals) ** 2), "that is the sum; divide by the number of values"),
            (
                np.sum((out - originals) ** 2) / len(out),
                "that is the sum over an image; divide by its 3,072 values too",
            ),
            (np.mean(np.abs(out - originals)), "that is the absolute error; square it"),
            (np.sqrt(truth), "that is the root; the loss is the mean square itself"),
            (np.sum((out - originals) ** 2) / 2, "that is tf.nn.l2_loss, half the sum; take the mean"),
            (_cross_entropy(y, model(x)), "that is the cross-entropy; the paper takes the squared error"),
            (-truth, "the sign is flipped: minimising it drives the output away from the original"),
        )
        hint = hint_for(
            found,
            hints,
            "square the difference between output and original, and take the mean over all values",
            1e-4,
        )
        raise Wrong(f"the loss is {found:.5g} and should be {truth:.5g}; {hint}")
    gradients = tape.gradient(answer, model.trainable_variables) if tf.is_tensor(answer) else [None]
    if any(g is None for g in gradients):
        raise Wrong(
            "the number is right, but it has no gradient with respect to the weights, so nothing can be "
            "learned from it; stay in TensorFlow: no .numpy(), no predict"
        )
    return f"the loss is {found:.4f}, as it should be, and has a gradient to train with"


def _cross_entropy(truth: tf.Tensor, values: tf.Tensor) -> float:
    # Pass the sigmoid's own output, from which Keras goes back to the logits, as it does in a student's loss.
    return float(tf.reduce_mean(keras.losses.binary_crossentropy(truth, values)))


@cache
def _toy_autoencoder() -> keras.Model:
    model = autoencoder.build_autoencoder()
    rng = np.random.default_rng(4)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model


@check("02.4", "write blur(images, sigma)")
def check_blur(blur: Callable) -> str:
    """Accept a Gaussian blur of each image and channel by itself.

    Any treatment of the border will do that keeps a grey image grey.
    """
    grey = np.full((2, 32, 32, 3), 0.6, np.float32)
    images = toys.images(3)
    for sigma in (2.0, 1.0):
        answer = ask(blur, grey, sigma, call="blur(images, sigma)")
        if (kind := getattr(answer, "dtype", None)) is not None and "float" not in str(kind):
            raise Wrong(f"your images are {kind}, which has no values between 0 and 1; return float32")
        flat = as_array(answer, "your images", grey.shape)
        _check_apart(blur, images, sigma)
        if not np.allclose(flat[:, 12:20, 12:20], 0.6, atol=0.01):
            raise Wrong(
                f"a grey image of 0.6 became {flat[0, 16, 16, 0]:.3f} in the middle; the kernel's weights "
                "must sum to 1"
            )
        if not np.allclose(flat, 0.6, atol=0.01):
            raise Wrong(
                f"a grey image of 0.6 became {flat.min():.3f} at its edge; beyond the edge, repeat or mirror "
                "the image instead of padding with zeros"
            )
        found = as_array(ask(blur, images, sigma, call="blur(images, sigma)"), "your images", images.shape)
        found, original = _inner(found), _inner(images)

        def like(*sigmas: float) -> np.ndarray:
            return _inner(gaussian_filter(images.astype(np.float64), sigmas, mode="nearest", truncate=5))

        truth = like(0, sigma, sigma, 0)
        # A kernel that is cut off at 3 sigma, or sampled differently, differs a little.
        tolerance = 0.1 * np.abs(truth - truth.mean()).mean()
        if np.abs(found - truth).mean() <= tolerance:
            continue
        hints = (
            (original, "nothing was blurred"),
            (like(0, sigma, 0, 0), "only the columns were blurred; blur along the rows too"),
            (like(0, 0, sigma, 0), "only the rows were blurred; blur along the columns too"),
            (
                like(0, sigma**0.5, sigma**0.5, 0),
                "you use sigma as the variance; it is the standard deviation",
            ),
        )
        nearest, hint = min((np.abs(found - other).mean(), hint) for other, hint in hints)
        if nearest > tolerance:
            width = "too little" if found.std() > truth.std() else "too much"
            hint = f"with sigma = {sigma:g} the image is blurred {width}"
        raise Wrong(f"the values are off by {np.abs(found - truth).mean():.3f} on average; {hint}")
    return "each channel of each image is blurred by itself, and grey stays grey up to the edge"


def _inner(images: np.ndarray) -> np.ndarray:
    """Return the middle of the images, which no treatment of the border affects."""
    return images[:, 11:21, 11:21]


def _check_apart(blur: Callable, images: np.ndarray, sigma: float) -> None:
    """Check that one image or one channel does not affect the others."""
    other_image, other_channel = images.copy(), images.copy()
    other_image[0], other_channel[..., 0] = 1 - images[0], 1 - images[..., 0]
    call = "blur(images, sigma)"
    first, second, third = (
        as_array(ask(blur, x, sigma, call=call), "your images", images.shape)
        for x in (images, other_image, other_channel)
    )
    mixed = np.abs(second - first)[1:].max() > 1e-3, np.abs(third - first)[..., 1:].max() > 1e-3
    what = {
        (True, True): "images and channels are mixed: one image changes the next, and red changes green",
        (True, False): "images are mixed: one changes the next",
        (False, True): "channels are mixed: red changes green",
    }
    if any(mixed):
        raise Wrong(f"{what[mixed]}; blur along height and width only: give a sigma for each axis")


# ----------------------------------------------------------------------------------------------- open problem


def smooth_images(n: int = 16) -> np.ndarray:
    """Make smooth random pictures, float32 [n, 32, 32, 3] in [0, 1].

    Most of their content is coarse, as in photographs.
    """
    noise = np.random.default_rng(5).normal(0, 1, (n, 32, 32, 3))
    soft = gaussian_filter(noise, (0, 4, 4, 0)) * 10 + gaussian_filter(noise, (0, 1.5, 1.5, 0)) * 0.6
    soft = (soft - soft.min((1, 2, 3), keepdims=True)) / np.ptp(soft, (1, 2, 3), keepdims=True)
    return soft.astype(np.float32)


LOST = 0.12
"""The largest squared error allowed, as a share of a smooth picture's variance. The course's own autoencoder
has 0.09 to 0.10, depending on its training, so it passes with some margin."""


@check("02.5", "write defense(images)")
def check_defense(defense: Callable) -> str:
    """Accept a transformation that weakens a fine perturbation and keeps most of a smooth picture."""
    images = smooth_images()
    rng = np.random.default_rng(6)
    attacked = np.clip(images + rng.choice([-8 / 255, 8 / 255], images.shape), 0, 1).astype(np.float32)

    def of(x: np.ndarray) -> np.ndarray:
        return as_array(ask(defense, tf.constant(x), call="defense(images)"), "your images", x.shape)

    clean, after = of(images), of(attacked)
    low, high = min(clean.min(), after.min()), max(clean.max(), after.max())
    if low < -1e-6 or high > 1 + 1e-6:
        raise Wrong(f"your images leave [0, 1]: they run from {low:.3f} to {high:.3f}")
    if (apart := np.abs(of(images) - clean).max()) > 1e-3:
        raise Wrong(
            f"two calls on the same images differ by {apart:.3f}: the defense is random, and a random "
            "defense needs another attack (see exercise 06.6)"
        )
    alone = of(images[:1])
    if np.abs(alone - clean[:1]).max() > 1e-3:
        raise Wrong(
            "the result for an image alone and in a batch differs by "
            f"{np.abs(alone - clean[:1]).max():.3f}: the defense mixes the images of a batch; treat each one "
            "by itself"
        )
    lost = np.mean((clean - images) ** 2) / np.mean((images - images.mean((1, 2), keepdims=True)) ** 2)
    if lost > LOST:
        raise Wrong(
            f"the squared error is {100 * lost:.0f}% of the clean picture's variance, and at most "
            f"{100 * LOST:.0f}% is allowed; keep more of the picture"
        )
    through = np.linalg.norm(after - clean) / np.linalg.norm(attacked - images)
    if through > 0.7:
        raise Wrong(
            f"{100 * through:.0f}% of the perturbation's norm gets through, and at most 70% should; what "
            "distinguishes it from the picture?"
        )
    return (
        f"{100 * through:.0f}% of a fine perturbation's norm gets through, and the squared error is "
        f"{100 * lost:.1f}% of the picture's variance. Passing is only the start; the rubric is the "
        "real exercise: does it help the classifier, and against which attacker?"
    )
