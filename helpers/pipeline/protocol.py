"""What the paper's released code does otherwise than its text, as switches.

The course does as the text says, and where that is silent, as is right: Protocol(). Notebook 05's audit throws one
switch at a time and measures what becomes of every cell of Table 2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Protocol:
    """How a run departs from the course's way. The defaults do not.

    Attributes:
        attack_normalises: the attack differentiates the classifier with its normalisation. If not, it takes the
            network's gradient at the raw image in [0, 1], which is another function than the one assessed.
        statistics: whose mean and deviation normalise: the data set's own, or ``imagenet``.
        attack_loss: a name in losses.LOSSES.
        tune_on_logits: fine-tuning's cross-entropy takes logits. If not, it takes them for probabilities.
        selection: which weights fine-tuning ends with: the ``last`` epoch's, or those of the last epoch after which
            any accuracy on ``test`` images was the best so far.
        autoencoder_sees_clean: the autoencoder is trained on clean -> clean as well.
        plateau: the autoencoder's rate drops to a fifth when the loss has not fallen for five epochs. If not, it falls
            a little at every step.
    """

    attack_normalises: bool = True
    statistics: str = "own"
    attack_loss: str = "cross_entropy"
    tune_on_logits: bool = True
    selection: str = "last"
    autoencoder_sees_clean: bool = False
    plateau: bool = False

    def changes(self) -> dict:
        """The switches that are thrown."""
        return {name: value for name, value in asdict(self).items() if value != getattr(Protocol, name)}


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
