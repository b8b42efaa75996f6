"""Training and attacks on many devices: data parallelism by tf.distribute.

    COURSE_DEVICES=mirrored python -m helpers train --profile full      # all GPUs of this machine
    COURSE_DEVICES=mirrored:2 python -m helpers train --profile full    # two; without a GPU, two parts of the CPU
    COURSE_DEVICES=workers TF_CONFIG=... python -m helpers weights        # the same on every worker

Every device has the whole network and takes an equal part of each batch. What comes out is what one device would have
computed with the whole batch, up to rounding: gradients are those of the batch's mean loss, and BatchNorm's statistics
are the whole batch's. Several workers read the same batches, by their seed, and each takes its own part; they share one
store on one disk, into which only worker 0 writes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..settings import CourseError, workers
from . import keras, tf

STRATEGY = tf.distribute.get_strategy()
COUNT = STRATEGY.num_replicas_in_sync
"""How many devices share a batch."""


def everywhere(function: Callable) -> Callable[..., tf.Tensor]:
    """A function of batches whose parts the devices compute; their results are one behind the other, in order.

    Args:
        function: of arrays [n, ...] to a tensor [n, ...] that has row i from rows i alone; n a multiple of COUNT.
    """
    if COUNT == 1:
        return lambda *arrays: function(*map(tf.constant, arrays))
    # As a graph: run eagerly, the devices would wait for each other at every operation.
    graph = tf.function(lambda *parts: STRATEGY.run(function, parts), autograph=False)

    def shared(*arrays):
        with answering():
            return STRATEGY.gather(graph(*map(_parts, arrays)), axis=0)

    return shared


def together(step: Callable) -> Callable[..., tf.Tensor]:
    """An optimiser's step whose batch the devices share; it returns the mean of their losses.

    Args:
        step: of arrays [n, ...] to a mean loss, n a multiple of COUNT. Its gradient must be that of its loss divided by
            COUNT (``share``), for an optimizer sums over the devices.
    """
    if COUNT == 1:
        return lambda *arrays: step(*map(tf.constant, arrays))

    def shared(*arrays):
        with answering():
            return STRATEGY.reduce(
                tf.distribute.ReduceOp.MEAN, STRATEGY.run(step, tuple(map(_parts, arrays))), None
            )

    return shared


def share(loss: tf.Tensor) -> tf.Tensor:
    """A device's part of a mean loss over the whole batch."""
    return loss / COUNT if COUNT > 1 else loss


def synchronise(model: keras.Model) -> None:
    """Let BatchNorm see the whole batch and not only a device's part. Does nothing on one device.

    Keras's fused kernel, which is used otherwise, corrects the variance that it keeps for a batch's size n by
    n / (n - 1); this one does not, which at a batch of 128 images of 8 x 8 is a difference of 1 in 8,000.
    """
    if COUNT == 1:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.fused, layer.synchronized = False, True


def check_batch_size(size: int, title: str) -> None:
    """Refuse a batch that the devices cannot share equally."""
    if size % COUNT:
        raise CourseError(
            f"{title}: {COUNT} devices cannot share a batch of {size} equally; take another number of them"
        )


def check_one(title: str) -> None:
    """Refuse what is not made for many devices."""
    if COUNT > 1:
        raise CourseError(f"{title} runs on one device; leave COURSE_DEVICES out")


@contextmanager
def folder_to_write(folder: Path) -> Iterator[Path]:
    """The folder itself for worker 0, and a passing one for the others: TensorFlow wants each to write, and apart."""
    if not workers()[0]:
        yield folder
        return
    with tempfile.TemporaryDirectory() as passing:
        yield Path(passing)


def _parts(array: np.ndarray) -> tf.distribute.DistributedValues:
    """Each device's part of a batch; of several workers' devices, those of this one."""
    check_batch_size(len(array), "this step")  # else some images would be left out in silence
    size = len(array) // COUNT

    def part(context):
        first = context.replica_id_in_sync_group * size
        return tf.constant(array[first : first + size])

    return STRATEGY.experimental_distribute_values_from_function(part)


def finish() -> None:
    """Wait for the other workers, at the end of what they do together.

    A worker may have its result of the last step before another has fetched its part from it, and must not leave
    before. Nobody gets past here before all have come, and all work lies behind whoever comes; so it does not matter
    if some have left when the others hear of it.
    """
    if not workers()[1]:
        return
    with suppress(tf.errors.OpError):
        STRATEGY.reduce(tf.distribute.ReduceOp.SUM, STRATEGY.run(tf.ones, ([],)), None).numpy()


@contextmanager
def answering() -> Iterator[None]:
    """Say so if another worker has gone; put around whatever they do together.

    Raises:
        CourseError: it has.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        if not workers()[1]:
            raise
        raise CourseError(
            "another worker no longer answers, so that this one cannot go on. What was finished is kept: start the "
            f"same command on all workers again ({error.message.splitlines()[0][:200]})"
        ) from error
