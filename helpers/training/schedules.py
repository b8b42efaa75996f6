"""Learning rates that change during training."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import keras, tf


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Raise the rate linearly from zero to a peak, then lower it linearly to zero.

    Source: after Smith 2018, "A disciplined approach to neural network hyper-parameters".

    Args:
        peak: The highest rate.
        steps: The number of optimizer steps in the whole cycle.
        warm_up: The share of the steps that comes before the peak.
    """

    def __init__(self, peak: float, steps: int, warm_up: float = 0.2):
        self.peak, self.steps, self.warm_up = peak, steps, warm_up

    def __call__(self, step):
        done = tf.cast(step, tf.float32) / self.steps
        return self.peak * tf.maximum(tf.minimum(done / self.warm_up, (1 - done) / (1 - self.warm_up)), 0.0)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up}


class Decay(keras.optimizers.schedules.LearningRateSchedule):
    """Multiply the rate by the same factor at every step, from ``first`` down to ``last``."""

    def __init__(self, first: float, last: float, steps: int):
        self.first, self.last, self.steps = first, last, steps

    def __call__(self, step):
        done = tf.minimum(tf.cast(step, tf.float32) / max(1, self.steps - 1), 1.0)
        return self.first * tf.pow(self.last / self.first, done)

    def get_config(self):
        return {"first": self.first, "last": self.last, "steps": self.steps}


def rate_on_plateau(
    losses: Sequence[float], first: float, floor: float, factor: float = 0.2, patience: int = 5
) -> float:
    """Return the rate after epochs with these losses, by the rule of Keras's ReduceLROnPlateau.

    Args:
        losses: The loss of each epoch so far.
        first: The rate to begin with.
        floor: The lowest rate.
        factor: What the rate is multiplied by on a plateau.
        patience: How many epochs without improvement (by 1e-4 or more) make a plateau.
    """
    rate, lowest, waited = first, float("inf"), 0
    for loss in losses:
        if loss < lowest - 1e-4:
            lowest, waited = loss, 0
            continue
        waited += 1
        if waited >= patience:
            rate, waited = max(floor, rate * factor), 0
    return rate
