"""What the concept pictures are drawn from, made up for tests of the drawing."""

import numpy as np

from helpers.studies import first_look, gradient_flow, loss_landscape

IMAGES = np.random.default_rng(0).random((8, 32, 32, 3)).astype(np.float32)

WAY = loss_landscape.Path(IMAGES[:3], np.array([0.1, 0.8, 2.5]))
SURFACE = loss_landscape.Surface(
    levels=np.linspace(-12, 12, 9) / 255,
    losses=np.add.outer(np.zeros(9), np.linspace(0, 3, 9)),
    reach=np.add.outer(*2 * (np.abs(np.linspace(-12, 12, 9)) / 255,)),
    eps=8 / 255,
    shadows={name: np.array([[0, 0], [4, 1], [8, 0]]) / 255 for name in ("FGSM", "PGD")},
    paths={"FGSM": WAY, "PGD": WAY},
)
LINES = loss_landscape.Lines(
    np.linspace(0, 16, 5) / 255,
    np.array([0.1, 1, 2, 3, 4]),
    np.array([[0.1, 0.1, 0.2, 0.3, 0.4]] * 3),
    8 / 255,
)
FLOW = gradient_flow.Flow(
    tuple("abcdefghij"),
    3,
    IMAGES[0],
    IMAGES[1],
    np.arange(10.0),
    {key: IMAGES[k + 2] - 0.5 for k, key in enumerate(gradient_flow.ATTACKERS)},
)
STRIP = first_look.Strip(
    levels=np.arange(4),
    images=IMAGES[:4],
    answers=np.array([3, 3, 5, 5]),
    confidences=np.array([0.9, 0.8, 0.95, 0.99]),
    classes=tuple("abcdefghij"),
    label=3,
)
