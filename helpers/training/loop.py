"""One training loop for every network of the course, and what each of them is trained with.

The loop is resumable: it checkpoints after every epoch, and what an epoch does depends on nothing but the seed and
the epoch's number. A run that was killed and started again ends with the same weights as one that was not.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..backend import devices, keras, tf
from ..datasets.storage import to_float
from ..settings import CourseError, progress, write_atomically

Batch = tuple[np.ndarray, np.ndarray]
Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""One optimiser step on (images, targets); returns the loss."""
Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From a batch of images to images of the same form."""


class Samples:
    """Storage images of one or several sources, with one target a row, read a batch at a time.

    The sources are parallel: row i of each shows the same photograph. They may be memory-mapped, so that a mixture of
    any size takes no more memory than a batch.

    Args:
        sources: arrays [n, 32, 32, 3], uint8 (k means k/255) or uint16 (k means k/65535).
        targets: [n] labels, or [n, 32, 32, 3] storage images (the autoencoder's).
    """

    def __init__(self, sources: Sequence[np.ndarray], targets: np.ndarray):
        if any(len(source) != len(targets) for source in sources):
            raise CourseError(
                f"sources of {[len(s) for s in sources]} images and {len(targets)} targets do not match"
            )
        self.sources, self.targets = list(sources), targets

    def __len__(self) -> int:
        return len(self.sources) * len(self.targets)

    def read(self, rows: np.ndarray) -> Batch:
        """The samples with these numbers: images as float32 in [0, 1], and their targets."""
        which, row = np.divmod(rows, len(self.targets))
        images = np.empty((len(rows), *self.sources[0].shape[1:]), np.float32)
        for k in np.unique(which):
            images[which == k] = to_float(self.sources[k][row[which == k]])
        targets = self.targets[row]
        return images, to_float(targets) if targets.ndim > 1 else targets

    def batches(
        self, size: int, seed: int, epoch: int, augment: Augmentation | None = None
    ) -> Iterator[Batch]:
        """One shuffled pass in full batches; the same (seed, epoch) gives the same pass."""
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        size = min(size, len(order))
        for start in range(0, len(order) - size + 1, size):
            images, targets = self.read(order[start : start + size])
            yield (augment(images, rng) if augment else images), targets


def crop_and_flip(images: np.ndarray, rng: np.random.Generator, pad: int = 4) -> np.ndarray:
    """The usual CIFAR augmentation: a random crop of the image padded with zeros, mirrored half of the time."""
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    top, left = rng.integers(0, 2 * pad + 1, (2, n))
    columns = left[:, None] + np.arange(width)
    flipped = rng.random(n) < 0.5
    columns[flipped] = columns[flipped, ::-1]
    rows = top[:, None] + np.arange(height)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def cut_out(images: np.ndarray, rng: np.random.Generator, size: int = 8) -> np.ndarray:
    """Images with a grey square anywhere, partly outside perhaps (DeVries & Taylor 2017, "Improved regularization of
    convolutional neural networks with cutout")."""
    n, height, width, _ = images.shape
    middle = rng.integers(0, (height, width), (n, 2))
    rows = np.abs(np.arange(height) - middle[:, :1] + 0.5) < size / 2
    columns = np.abs(np.arange(width) - middle[:, 1:] + 0.5) < size / 2
    return np.where((rows[:, :, None] & columns[:, None, :])[..., None], np.float32(0.5), images)


AUGMENTATIONS: dict[str, Augmentation] = {
    "crop after padding by 4, mirror": crop_and_flip,
    "crop after padding by 4, mirror, cutout of 8 x 8": lambda images, rng: cut_out(
        crop_and_flip(images, rng), rng
    ),
}
"""What a recipe may name as its augmentation."""


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to a peak, then linear to zero (after Smith 2018, "A disciplined approach ...")."""

    def __init__(self, peak: float, steps: int, warm_up: float = 0.2):
        self.peak, self.steps, self.warm_up = peak, steps, warm_up

    def __call__(self, step):
        done = tf.cast(step, tf.float32) / self.steps
        return self.peak * tf.maximum(tf.minimum(done / self.warm_up, (1 - done) / (1 - self.warm_up)), 0.0)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up}


def run(
    step: Step,
    samples: Samples,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    state: dict[str, tf.train.Checkpoint | keras.Model | keras.optimizers.Optimizer],
    folder: Path,
    title: str,
    augment: Augmentation | None = None,
    on_epoch_end: Callable[[], dict[str, float]] = dict,
    on_epoch_begin: Callable[[list[dict]], None] = lambda history: None,
) -> list[dict]:
    """Train for some epochs, resuming where an earlier call with the same folder was stopped.

    Args:
        state: what a checkpoint holds (the network and its optimiser).
        folder: of the checkpoints; the caller gives every configuration a folder of its own.
        on_epoch_end: measures something after each epoch; its numbers go into the history.
        on_epoch_begin: called before each epoch with the history so far, and of nothing else may what it does depend.

    Returns:
        The history, one dict an epoch: epoch, loss (mean over the epoch), seconds, and what watch measured.

    Raises:
        CourseError: the loss is no longer a number.
    """
    devices.check_batch_size(batch_size, title)
    for model in state.values():
        if isinstance(model, keras.Model):
            devices.synchronise(model)
    folder.mkdir(parents=True, exist_ok=True)
    epoch = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(epoch=epoch, **state)
    if latest := tf.train.latest_checkpoint(str(folder)):
        checkpoint.restore(latest)
    done = int(epoch.numpy())
    history = json.loads((folder / "history.json").read_text())[:done] if done else []
    steps = max(1, len(samples) // batch_size)
    with (
        progress(total=epochs * steps, initial=done * steps, title=title) as bar,
        devices.folder_to_write(folder) as written,
    ):
        manager = tf.train.CheckpointManager(checkpoint, str(written), max_to_keep=2)
        for number in range(done, epochs):
            start = time.perf_counter()
            on_epoch_begin(history)
            loss = one_epoch(step, samples.batches(batch_size, seed, number, augment), bar.update)
            if not np.isfinite(loss):
                raise CourseError(
                    f"{title}: the loss is {loss} in epoch {number + 1}; lower the learning rate"
                )
            record = {
                "epoch": number + 1,
                "loss": loss,
                "seconds": time.perf_counter() - start,
                **on_epoch_end(),
            }
            history.append(record)
            bar.note(record)
            # The history first: a kill between the two leaves a record too many, which the next start cuts off.
            write_atomically(written / "history.json", json.dumps(history).encode())
            epoch.assign(number + 1)
            try:
                with devices.answering():
                    manager.save()
            except tf.errors.OpError as error:  # TensorFlow does not raise OSError
                why = "the disk is full" if "No space left" in error.message else error.message[-120:]
                raise CourseError(
                    f"{title}: the checkpoint of epoch {number + 1} could not be written: {why}. Free some space or "
                    "set ARTIFACTS_DIR to another disk; the same command goes on from the epoch before"
                ) from error
    return history


def one_epoch(step: Step, batches: Iterable[Batch], done: Callable[[], None] = lambda: None) -> float:
    """A step for each batch; calls ``done`` after each. Returns the mean loss."""
    losses, step = [], devices.together(step)
    for images, targets in batches:
        losses.append(step(images, targets))
        done()
    return float(np.mean([float(one) for one in losses]))  # only now: to read a loss is to wait for its step


def save_with_history(model: keras.Model, history: list[dict], path: Path) -> None:
    """A trained model's weights and what training told, as one file."""
    arrays = {f"w{i:03d}": w for i, w in enumerate(model.get_weights())}
    with open(path, "wb") as file:
        np.savez(file, history=np.array(json.dumps(history)), **arrays)


def load_with_history(model: keras.Model | None, path: Path) -> list[dict]:
    """Fill a model, if one is given, from a file of save_with_history; returns the history."""
    with np.load(path) as stored:
        if model:
            model.set_weights([stored[name] for name in sorted(stored.files) if name != "history"])
        return json.loads(str(stored["history"]))


# ------------------------------------------------------------------------------------------------ base classifiers


def classifier_step(
    classifier: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    label_smoothing: float = 0.0,
    weight_decay: float = 0.0,
    training: bool = True,
    on_logits: bool = True,
) -> Step:
    """One step of cross-entropy on logits, with L2 decay of the kernels. ``training`` is BatchNorm's mode.

    Not ``on_logits`` takes the logits for probabilities, a mistake of the paper's released code (protocol).
    """
    cross_entropy = keras.losses.CategoricalCrossentropy(on_logits, label_smoothing, reduction="none")
    variables = classifier.trainable_variables
    kernels = [v for v in variables if len(v.shape) > 1]

    @tf.function(reduce_retracing=True)
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = classifier(images, training=training)
            loss = tf.reduce_mean(cross_entropy(tf.one_hot(labels, logits.shape[-1]), logits))
            total = (
                loss + weight_decay * tf.add_n([tf.nn.l2_loss(k) for k in kernels]) if weight_decay else loss
            )
            total = devices.share(total)
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return loss

    return step


BASE_RECIPE = {
    "optimizer": "SGD, Nesterov 0.9",
    "batch_size": 128,
    "peak_rate": 0.1,
    "warm_up": 0.1,
    "weight_decay": 5e-4,
    "label_smoothing": 0.0,
    "augmentation": "crop after padding by 4, mirror",
}
"""How ``make weights`` trains: one cycle up to the peak rate and linearly down to zero. Weights that are shipped may be
older: each card has the recipe of its own."""


def train_classifier(
    classifier: keras.Model,
    samples: Samples,
    *,
    epochs: int,
    seed: int,
    folder: Path,
    on_epoch_end: Callable[[], dict[str, float]] = dict,
    recipe: dict = BASE_RECIPE,
) -> list[dict]:
    """Train a base classifier by BASE_RECIPE, or another recipe with its keys, from whatever weights it has.

    Returns the history; the weights are the last epoch's.
    """
    size = min(recipe["batch_size"], len(samples))
    steps = epochs * (len(samples) // size)
    optimizer = keras.optimizers.SGD(
        OneCycle(recipe["peak_rate"], steps, recipe["warm_up"]), 0.9, nesterov=True
    )
    return run(
        classifier_step(classifier, optimizer, recipe["label_smoothing"], recipe["weight_decay"]),
        samples,
        epochs=epochs,
        batch_size=size,
        seed=seed,
        state={"model": classifier, "optimizer": optimizer},
        folder=folder,
        title=f"{classifier.name}: base training",
        augment=AUGMENTATIONS[recipe["augmentation"]],
        on_epoch_end=on_epoch_end,
    )


AVERAGING_RECIPE = {
    "optimizer": "SGD, Nesterov 0.9",
    "batch_size": 128,
    "rate": 0.03,
    "epochs": 25,
    "first_averaged": 4,
    "weight_decay": 5e-4,
    "augmentation": "crop after padding by 4, mirror, cutout of 8 x 8",
}
"""How ``make weights`` goes on after BASE_RECIPE (Izmailov et al. 2018, "Averaging weights leads to wider optima and
better generalization"): at a constant rate, and what is shipped is the mean of the weights after each epoch."""

SECOND_RECIPE = {**BASE_RECIPE, "augmentation": AVERAGING_RECIPE["augmentation"]}
"""How a network with a second round (registry.Round) begins it, from the averaged weights: a second cycle (Loshchilov &
Hutter 2017, "SGDR: Stochastic gradient descent with warm restarts"), now with cutout."""

STATISTICS_BATCHES, STATISTICS_SIZE = 50, 500


def average_weights(
    classifier: keras.Model,
    average: keras.Model,
    samples: Samples,
    *,
    seed: int,
    folder: Path,
    on_epoch_end: Callable[[], dict[str, float]] = dict,
    recipe: dict = AVERAGING_RECIPE,
) -> list[dict]:
    """Train on by AVERAGING_RECIPE, and make ``average`` the mean of the classifier's weights over the epochs.

    BatchNorm's statistics do not average; they are measured anew on training images, with momentum, so that those of
    the last few thousand count.

    Args:
        classifier: trained already; trained further.
        average: a network of the same form, to be filled.
        on_epoch_end: as for run; may assess ``average``.
        recipe: another one with the same keys.

    Returns:
        The history.
    """
    size, augment = min(recipe["batch_size"], len(samples)), AUGMENTATIONS[recipe["augmentation"]]
    optimizer = keras.optimizers.SGD(recipe["rate"], 0.9, nesterov=True)
    seen = tf.Variable(0, dtype=tf.int64)
    devices.synchronise(average)
    measure = devices.everywhere(tf.function(lambda images: average(images, training=True)))

    def add() -> dict[str, float]:
        seen.assign_add(1)
        count = int(seen.numpy()) - recipe["first_averaged"] + 1
        if count > 0:
            for mean, new in zip(average.trainable_variables, classifier.trainable_variables, strict=True):
                mean.assign_add((new - mean) / count)
        else:
            average.set_weights(classifier.get_weights())
        batches = samples.batches(min(STATISTICS_SIZE, len(samples)), seed + 1, int(seen.numpy()), augment)
        for images, _ in itertools.islice(batches, STATISTICS_BATCHES):
            measure(images)
        return on_epoch_end()

    return run(
        classifier_step(classifier, optimizer, 0.0, recipe["weight_decay"]),
        samples,
        epochs=recipe["epochs"],
        batch_size=size,
        seed=seed,
        state={"model": classifier, "average": average, "optimizer": optimizer, "seen": seen},
        folder=folder,
        title=f"{classifier.name}: averaging",
        augment=augment,
        on_epoch_end=add,
    )


# -------------------------------------------------------------------------------------- autoencoder and fine-tuning


class Decay(keras.optimizers.schedules.LearningRateSchedule):
    """From one rate to another, by the same factor at every step."""

    def __init__(self, first: float, last: float, steps: int):
        self.first, self.last, self.steps = first, last, steps

    def __call__(self, step):
        done = tf.minimum(tf.cast(step, tf.float32) / max(1, self.steps - 1), 1.0)
        return self.first * (self.last / self.first) ** done

    def get_config(self):
        return {"first": self.first, "last": self.last, "steps": self.steps}


def autoencoder_step(autoencoder: keras.Model, optimizer: keras.optimizers.Optimizer) -> Step:
    """One step on the mean squared error between what the autoencoder makes of attacked images and the originals, plus
    what losses of its own the autoencoder has (architectures.Codebook). Returns the former."""
    variables = autoencoder.trainable_variables

    @tf.function(reduce_retracing=True)
    def step(attacked, originals):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(autoencoder(attacked, training=True) - originals))
            total = devices.share(tf.add_n([loss, *autoencoder.losses]))
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return loss

    return step


def train_autoencoder(
    autoencoder: keras.Model,
    samples: Samples,
    *,
    epochs: int,
    batch_size: int,
    rates: tuple[float, float],
    seed: int,
    folder: Path,
    on_epoch_end: Callable[[], dict[str, float]] = dict,
    plateau: bool = False,
) -> list[dict]:
    """Train the autoencoder by Adam, the rate decaying from rates[0] to rates[1] (the paper, section 2).

    With ``plateau`` it starts at rates[0] and drops as rate_on_plateau has it.
    """
    size = min(batch_size, len(samples))
    optimizer = keras.optimizers.Adam(rates[0] if plateau else Decay(*rates, epochs * (len(samples) // size)))

    def on_epoch_begin(history: list[dict]) -> None:
        if plateau:
            optimizer.learning_rate.assign(rate_on_plateau([h["loss"] for h in history], *rates))

    return run(
        autoencoder_step(autoencoder, optimizer),
        samples,
        epochs=epochs,
        batch_size=size,
        seed=seed,
        state={"model": autoencoder, "optimizer": optimizer},
        folder=folder,
        title="autoencoder",
        on_epoch_end=on_epoch_end,
        on_epoch_begin=on_epoch_begin,
    )


def rate_on_plateau(
    losses: Sequence[float], first: float, floor: float, factor: float = 0.2, patience: int = 5
) -> float:
    """The rate after these epochs' losses, by the rule of Keras's ReduceLROnPlateau: times ``factor`` whenever
    ``patience`` epochs have gone by without a loss lower by 1e-4 than the lowest."""
    rate, lowest, waited = first, float("inf"), 0
    for loss in losses:
        if loss < lowest - 1e-4:
            lowest, waited = loss, 0
            continue
        waited += 1
        if waited >= patience:
            rate, waited = max(floor, rate * factor), 0
    return rate


FINE_TUNE_BATCH = 256
FINE_TUNE_RATES = (1e-4, 1e-5)


def rates_of_phases(lengths: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Between which rates each phase of fine-tuning falls, so that it is one fall over all of them.

    Args:
        lengths: of each phase, the images of an epoch and the epochs.
    """
    steps = [epochs * (images // min(FINE_TUNE_BATCH, images)) for images, epochs in lengths]
    first, last = FINE_TUNE_RATES
    ends = [first * (last / first) ** (sum(steps[:k]) / sum(steps)) for k in range(len(steps) + 1)]
    return list(itertools.pairwise(ends))


def fine_tune(
    classifier: keras.Model,
    samples: Samples,
    epochs: int,
    *,
    seed: int,
    folder: Path,
    phase: int = 1,
    rates: tuple[float, float] = FINE_TUNE_RATES,
    on_epoch_end: Callable[[], dict[str, float]] = dict,
    on_logits: bool = True,
) -> list[dict]:
    """Fine-tune a classifier by Adam, batches of 256 mixed from all sources (the paper, section 2, "Fine-Tuning").

    Args:
        phase: which of several it is, from 1. Each has an optimiser of its own.
        rates: between which the rate falls; over all phases from 1e-4 to 1e-5 (rates_of_phases).
        on_epoch_end: as for run.
        on_logits: as for classifier_step.

    Returns:
        The history, each record with the phase's number.
    """
    size = min(FINE_TUNE_BATCH, len(samples))
    optimizer = keras.optimizers.Adam(Decay(*rates, epochs * (len(samples) // size)))
    history = run(
        classifier_step(classifier, optimizer, on_logits=on_logits),
        samples,
        epochs=epochs,
        batch_size=size,
        seed=seed + 1000 * (phase - 1),
        state={"model": classifier, "optimizer": optimizer},
        folder=folder,
        title=f"{classifier.name}: fine-tuning, phase {phase}",
        on_epoch_end=on_epoch_end,
    )
    return [{**record, "phase": phase} for record in history]
