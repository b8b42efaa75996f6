"""Switches for the places where the paper's released code departs from its text.

The course follows the text and, where the text says nothing, good practice: Protocol(). Notebook 05's audit
turns the switches on one at a time and measures how every cell of Table 2 changes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Protocol:
    """How a run departs from the course's protocol. The defaults are the course's protocol.

    Attributes:
        attack_normalises: the attack differentiates the classifier including its normalisation. If not, it
            takes the network's gradient at the raw image in [0, 1], which is a different function from the
            one assessed.
        statistics: the mean and standard deviation by which the classifier normalises: the data set's
            ``own``, or ``imagenet``.
        attack_loss: a name in losses.LOSSES.
        tune_on_logits: fine-tuning's cross-entropy takes logits. If not, it treats the logits as
            probabilities.
        selection: which weights fine-tuning ends with: those of the ``last`` epoch, or, for ``test``, those
            of the last epoch in which any accuracy on test images was the best so far.
        autoencoder_sees_clean: the autoencoder is also trained on clean -> clean.
        plateau: the autoencoder's learning rate drops to a fifth when the loss has not fallen for five
            epochs. If not, it falls a little at every step.
    """

    attack_normalises: bool = True
    statistics: str = "own"
    attack_loss: str = "cross_entropy"
    tune_on_logits: bool = True
    selection: str = "last"
    autoencoder_sees_clean: bool = False
    plateau: bool = False

    def changes(self) -> dict:
        """Return the switches that differ from the defaults, with their values."""
        return {name: value for name, value in asdict(self).items() if value != getattr(Protocol, name)}


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
