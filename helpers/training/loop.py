"""The training loop that every network of the course goes through.

The loop can be resumed: it saves a checkpoint after every epoch, and an epoch depends only on the seed and on
the epoch's number. A run that is killed and started again ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Required, TypedDict

import numpy as np

from ..backend import devices, keras, tf
from ..settings import CourseError, progress, read_json, write_atomically
from .augmentation import Augmentation
from .samples import Batch, Samples

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""One optimizer step on a batch of images and targets; returns the loss."""


class Options(TypedDict, total=False):
    """The arguments of run that every training function passes on to it."""

    seed: Required[int]
    folder: Required[Path]
    on_epoch_end: Callable[[], dict[str, float]]


def run(
    step: Step,
    samples: Samples,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    state: dict[str, tf.train.Checkpoint | keras.Model | keras.optimizers.Optimizer | tf.Variable],
    folder: Path,
    title: str,
    augment: Augmentation | None = None,
    on_epoch_end: Callable[[], dict[str, float]] = dict,
    on_epoch_begin: Callable[[list[dict]], None] = lambda history: None,
) -> list[dict]:
    """Train for some epochs, and continue where an earlier call with the same folder stopped.

    Args:
        step: One optimizer step.
        samples: What to train on.
        epochs: How many passes over the samples.
        batch_size: The images in one step, or all samples if there are fewer; devices share them equally.
        seed: Decides the order of the samples and their augmentation.
        state: What a checkpoint holds: the network, its optimizer, and whatever else an epoch changes.
        folder: Where the checkpoints are kept; every configuration needs a folder of its own.
        title: What the progress bar and error messages call this training.
        augment: Changes each batch of images before the step.
        on_epoch_end: Called after each epoch; the numbers it returns go into the history.
        on_epoch_begin: Called before each epoch with the history so far; it must depend only on that history.

    Returns:
        The history, one dict for each epoch: epoch, mean loss, seconds, and what ``on_epoch_end`` returned.

    Raises:
        CourseError: The loss is not finite, or a checkpoint cannot be written.
    """
    batch_size = min(batch_size, len(samples))
    devices.check_batch_size(batch_size, title)
    for model in state.values():
        if isinstance(model, keras.Model):
            devices.synchronise(model)
    checkpoints = _Checkpoints(state, folder, title)
    history = checkpoints.restore()
    done, steps = len(history), samples.steps(batch_size)
    with (
        progress(total=epochs * steps, initial=done * steps, title=title) as bar,
        checkpoints.writing() as save,
    ):
        for number in range(done, epochs):
            start = time.perf_counter()
            on_epoch_begin(history)
            loss = one_epoch(step, samples.batches(batch_size, seed, number, augment), bar.update)
            if not np.isfinite(loss):
                raise CourseError(
                    f"{title}: the loss is {loss} in epoch {number + 1}; lower the learning rate"
                )
            record = {"epoch": number + 1, "loss": loss, "seconds": time.perf_counter() - start}
            history.append(record | on_epoch_end())
            bar.note(history[-1])
            save(history)
    return history


def one_epoch(step: Step, batches: Iterable[Batch], done: Callable[[], None] = lambda: None) -> float:
    """Take a step on each batch, call ``done`` after each, and return the mean loss."""
    losses, take = [], devices.together(step)
    for images, targets in batches:
        losses.append(take(images, targets))
        done()
    return float(
        np.mean([float(loss) for loss in losses])
    )  # only now, because reading a loss waits for its step


class _Checkpoints:
    """The state and the history of a training, kept in a folder."""

    def __init__(self, state: dict, folder: Path, title: str):
        self._folder, self._title = folder, title
        self._epoch = tf.Variable(tf.constant(0, tf.int64))
        self._checkpoint = tf.train.Checkpoint(epoch=self._epoch, **state)

    def restore(self) -> list[dict]:
        """Load the latest checkpoint, if there is one, and return the history up to it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if latest := tf.train.latest_checkpoint(str(self._folder)):
            self._checkpoint.restore(latest)
        done = int(self._epoch.numpy())
        return read_json(self._folder / "history.json", list, finite=False)[:done] if done else []

    @contextmanager
    def writing(self) -> Iterator[Callable[[list[dict]], None]]:
        """Yield the function that saves a checkpoint; it takes the history."""
        with devices.folder_to_write(self._folder) as folder:
            manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=2)

            def save(history: list[dict]) -> None:
                # The history first: if a kill between the two leaves one record too many, restore drops it.
                write_atomically(folder / "history.json", json.dumps(history).encode())
                self._epoch.assign(len(history))
                self._save(manager)

            yield save

    def _save(self, manager: tf.train.CheckpointManager) -> None:
        try:
            with devices.answering():
                manager.save()
        except tf.errors.OpError as error:  # TensorFlow does not raise OSError
            why = "the disk is full" if "No space left" in error.message else error.message[-120:]
            raise CourseError(
                f"{self._title}: the checkpoint of epoch {self._epoch.numpy()} could not be written: {why}. "
                "Free some space or set ARTIFACTS_DIR to another disk; the same command continues from the "
                "epoch before"
            ) from error
