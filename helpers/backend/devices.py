"""Training and attacks on several devices: data parallelism with tf.distribute.

    COURSE_DEVICES=mirrored python -m helpers train --profile full      # all GPUs of this machine
    COURSE_DEVICES=mirrored:2 python -m helpers train --profile full    # two GPUs, or two parts of the CPU
    COURSE_DEVICES=workers TF_CONFIG=... python -m helpers weights      # the same command on every worker

Every device holds the whole network and takes an equal part of each batch. The result is what one device
would have computed with the whole batch, up to rounding: gradients are those of the batch's mean loss, and
BatchNorm's statistics are those of the whole batch. Several workers draw the same batches from the same seed,
and each takes its own part. They share one store on one disk, and only worker 0 writes to it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..settings import CourseError, workers
from . import keras, tf
from .arrays import tensor

STRATEGY = tf.distribute.get_strategy()
COUNT = STRATEGY.num_replicas_in_sync
"""The number of devices that share a batch."""


def everywhere(function: Callable) -> Callable[..., tf.Tensor]:
    """Return a function of whole batches that lets each device compute its part.

    Args:
        function: maps arrays [n, ...] to a tensor [n, ...]; each row of the result must depend on the same
            row of the arrays only. n must be a multiple of COUNT.

    Returns:
        The function; its result has the rows in the order of the batch.
    """
    if COUNT == 1:
        return lambda *arrays: function(*map(tf.constant, arrays))
    # As a graph: in eager mode the devices would wait for each other at every operation.
    graph = tf.function(lambda *parts: STRATEGY.run(function, parts), autograph=False)

    def shared(*arrays):
        with answering():
            return STRATEGY.gather(graph(*map(_parts, arrays)), axis=0)

    return shared


def together(step: Callable) -> Callable[..., tf.Tensor]:
    """Return a training step whose batch the devices share; it returns the mean of their losses.

    Args:
        step: maps arrays [n, ...] to a mean loss; n must be a multiple of COUNT. Its gradient must be that of
            the loss divided by COUNT (``share``), because an optimizer sums over the devices.
    """
    if COUNT == 1:
        return lambda *arrays: step(*map(tensor, arrays))

    def shared(*arrays):
        with answering():
            return STRATEGY.reduce(
                tf.distribute.ReduceOp.MEAN, STRATEGY.run(step, tuple(map(_parts, arrays))), None
            )

    return shared


def share(loss: tf.Tensor) -> tf.Tensor:
    """Return a device's share of the mean loss over the whole batch."""
    return loss / COUNT if COUNT > 1 else loss


def synchronise(model: keras.Model) -> None:
    """Let BatchNorm use the whole batch's statistics, not only those of a device's part.

    This does nothing on one device. Keras's fused kernel, which is used otherwise, multiplies the variance
    that it stores by n / (n - 1) for a batch of size n. The kernel used here does not. For a batch of 128
    images of 8 x 8 that is a difference of 1 in 8,000.
    """
    if COUNT == 1:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.fused, layer.synchronized = False, True  # type: ignore[attr-defined]


def check_batch_size(size: int, title: str) -> None:
    """Check that the devices can share a batch equally.

    Args:
        size: the number of images in a batch.
        title: what the message calls the work.

    Raises:
        CourseError: they cannot.
    """
    if size % COUNT:
        raise CourseError(
            f"{title}: {COUNT} devices cannot share a batch of {size} equally; use another number of them"
        )


def check_one(title: str) -> None:
    """Check that there is only one device, for work that cannot be shared.

    Raises:
        CourseError: there are several.
    """
    if COUNT > 1:
        raise CourseError(f"{title} runs on one device; leave COURSE_DEVICES out")


@contextmanager
def folder_to_write(folder: Path) -> Iterator[Path]:
    """Yield the folder itself on worker 0, and a temporary one on the others.

    TensorFlow requires that every worker writes, and each to a folder of its own.
    """
    if not workers()[0]:
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def finish() -> None:
    """Wait for the other workers at the end of shared work.

    A worker may have its result of the last step before another has fetched its part of it, so it must not
    leave yet. Nobody passes this point until all have reached it, and then all work is done. So an error here
    only means that some have already left, which does no harm.
    """
    if not workers()[1]:
        return
    with suppress(tf.errors.OpError):
        STRATEGY.reduce(tf.distribute.ReduceOp.SUM, STRATEGY.run(tf.ones, ([],)), None).numpy()


@contextmanager
def answering() -> Iterator[None]:
    """Report it if another worker is gone. Put this around everything that workers do together.

    Raises:
        CourseError: another worker is gone.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        if not workers()[1]:
            raise
        raise CourseError(
            "another worker no longer answers, so this one cannot go on. Finished steps are kept: start the "
            f"same command on all workers again ({error.message.splitlines()[0][:200]})"
        ) from error


def _parts(array: np.ndarray) -> tf.distribute.DistributedValues:
    """Return each device's part of a batch; with several workers, only the parts of this worker's devices."""
    check_batch_size(len(array), "this step")  # otherwise some images would silently be left out
    size = len(array) // COUNT

    def part(context):
        first = context.replica_id_in_sync_group * size
        return tf.constant(array[first : first + size])

    return STRATEGY.experimental_distribute_values_from_function(part)
