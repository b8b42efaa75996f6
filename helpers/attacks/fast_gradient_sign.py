"""The fast gradient sign method (FGSM): one step of eps along the sign of the gradient."""

from __future__ import annotations

import numpy as np

from .gradient import Model
from .projected_gradient_descent import pgd


def fgsm(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    norm: str = "linf",
    loss: str = "cross_entropy",
    targeted: bool = False,
    batch_size: int = 128,
) -> np.ndarray:
    """Attack images with FGSM (Goodfellow et al. 2015; the paper, section 1).

    FGSM is PGD with a single step of eps from the image itself.

    Args:
        model: a callable from images to logits (see gradient.py).
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n]: the true classes, or the target classes if ``targeted``.
        eps: the largest change: of any value (linf; the paper's is 8/255), or the Euclidean norm of an
            image's change (l2; 0.5 is common for 32x32 images).
        norm: ``linf`` or ``l2``. In l2 the step follows the gradient's direction.
        loss: the loss to maximise, a name in losses.LOSSES.
        targeted: whether to move towards the labels instead of away from them.
        batch_size: the number of images attacked at once.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1].

    Raises:
        CourseError: an argument or the model's outputs are invalid; the message says which.
    """
    attacked = pgd(
        model,
        images,
        labels,
        eps,
        step_size=eps,
        steps=1,
        random_start=False,
        norm=norm,
        loss=loss,
        targeted=targeted,
        batch_size=batch_size,
    )
    return attacked
