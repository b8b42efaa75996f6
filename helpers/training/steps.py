"""Optimizer steps: what one batch changes in a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..backend import devices, keras, tf
from .loop import Step


def classifier_step(
    classifier: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    label_smoothing: float = 0.0,
    weight_decay: float = 0.0,
    training: bool = True,
    on_logits: bool = True,
    mixup: float = 0.0,
) -> Step:
    """Build a step of cross-entropy on logits with L2 decay of the kernels.

    ``training`` is the mode of BatchNorm. Without ``on_logits`` the logits are treated as probabilities, a
    mistake in the paper's released code. ``mixup`` is the alpha of mix_up; 0 leaves images as they are.
    """
    cross_entropy = keras.losses.CategoricalCrossentropy(on_logits, label_smoothing, reduction="none")
    variables = classifier.trainable_variables

    @tf.function(reduce_retracing=True)
    def step(images, labels):
        targets = tf.one_hot(labels, classifier.output_shape[-1])
        if mixup:
            images, targets = mix_up(images, targets, mixup, optimizer.iterations)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(cross_entropy(targets, classifier(images, training=training)))
            total = devices.share(decayed(loss, variables, weight_decay) if weight_decay else loss)
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return loss

    return step


def mix_up(
    images: tf.Tensor, targets: tf.Tensor, alpha: float, number: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each image and its target with those of another image.

    Batches are shuffled, so reading one backwards pairs its images at random. A batch has one weight, drawn
    from Beta(alpha, alpha); it depends only on ``number``, the number of the step.

    Source: Zhang et al. 2018, "mixup: Beyond empirical risk minimization", section 2.
    """
    one, other = tf.unstack(tf.random.stateless_gamma([2], tf.stack([0, number]), tf.constant(alpha)))
    share = one / (one + other)

    def blended(x):
        return share * x + (1 - share) * tf.reverse(x, [0])

    return blended(images), blended(targets)


def autoencoder_step(autoencoder: keras.Model, optimizer: keras.optimizers.Optimizer) -> Step:
    """Build a step on the mean squared error between restored images and the originals.

    Losses that belong to the autoencoder itself (architectures.Codebook) are minimized too, but not returned.
    """
    variables = autoencoder.trainable_variables

    @tf.function(reduce_retracing=True)
    def step(attacked, originals):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(autoencoder(attacked, training=True) - originals))
            total = devices.share(tf.add_n([loss, *autoencoder.losses]))
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return loss

    return step


def perturbed_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    perturb: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
    weight_decay: float,
    rates: Sequence[float] | None = None,
) -> Step:
    """Build a step of cross-entropy on perturbed images, with L2 decay of the kernels.

    ``perturb`` makes the images that are trained on from images, labels and the number of the step. ``rates``
    are factors for the gradients of the trainable variables.
    """
    variables = model.trainable_variables

    @tf.function(reduce_retracing=True, autograph=False)
    def step(images, labels):
        images = perturb(images, labels, tf.cast(optimizer.iterations, tf.int64))
        with tf.GradientTape() as tape:
            loss = cross_entropy(model, images, labels)
            total = decayed(loss, variables, weight_decay)
        gradients = tape.gradient(total, variables)
        if rates:
            gradients = [
                tf.scalar_mul(rate, gradient) for rate, gradient in zip(rates, gradients, strict=True)
            ]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    return step


def cross_entropy(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of a model whose BatchNorm is in training mode."""
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=True))
    return tf.reduce_mean(each)


def decayed(loss: tf.Tensor, variables: Sequence[tf.Variable], weight_decay: float) -> tf.Tensor:
    """Add the L2 decay of the kernels, which are the variables of more than one dimension."""
    return loss + weight_decay * tf.add_n([tf.nn.l2_loss(v) for v in variables if len(v.shape) > 1])
