"""The Square attack (Andriushchenko et al. 2020): a random search that needs only the model's outputs.

A defense that merely hides its gradient does not stop it.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from numbers import Real

import numpy as np

from ..backend import tf
from ..backend.finite import without_nan
from ..backend.tracing import Model, Traced, logits_of
from ..settings import CourseError, check_count, plain_numbers
from . import losses, square_l2
from .batches import in_batches
from .checks import check_seed, checked

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries, out of 10,000, after which the area of the squares is halved (section 5)."""


@plain_numbers
def square(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    queries: int = 1000,
    p: float = 0.8,
    seed: int = 0,
    norm: str = "linf",
    batch_size: int = 250,
) -> np.ndarray:
    """Attack images with Square, untargeted (Andriushchenko et al. 2020, algorithms 1 to 3).

    In linf, the search starts with vertical stripes of plus or minus eps. Each later query sets one random
    square to plus or minus eps in each channel. In l2, a query moves a part of the change from one window to
    another (square_l2.py). What a query changes is kept if the margin between the best wrong class and the
    true one grows.

    Args:
        model: a callable from images to logits (see gradient.py); it needs no gradient.
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n], the true classes.
        eps: the radius of the ball, in the norm; the paper's is 8/255 in linf.
        queries: the largest number of tries for each image; an image's search ends with its first success.
        p: the fraction of the pixels in the first squares. It is halved at HALVINGS, scaled to ``queries``.
        seed: an image's random numbers depend only on it and the image's position in ``images``.
        norm: ``linf`` or ``l2``.
        batch_size: the number of images in a batch.

    Returns:
        Attacked images, float32, within eps and in [0, 1]; those misclassified from the start are unchanged.

    Raises:
        CourseError: an argument is invalid.
    """
    model, images, labels = checked(model, images, labels, eps, norm, by_gradient=False)
    check_count(queries, "queries", "an attack takes at least 1")
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    check_seed(seed)
    if not isinstance(p, Real) or not 0 < p <= 1:
        raise CourseError(f"p is {p!r}; it is a fraction of the pixels, above 0 and at most 1")
    attacked = images.copy()
    margins = without_nan(_margins(model, images, labels, batch_size))
    generators = [np.random.default_rng((seed, k)) for k in range(len(images))]
    propose = _in_linf if norm == "linf" else partial(_in_l2, seed=seed)
    for query in range(queries):
        area = area_at(query, queries, p, *images.shape[1:3])
        remaining = np.flatnonzero(~(margins > 0))
        if not len(remaining):
            break
        chosen = [generators[k] for k in remaining]
        candidates = propose(images[remaining], attacked[remaining], np.float32(eps), query, area, chosen)
        found = without_nan(_margins(model, candidates, labels[remaining], batch_size), remaining)
        better = (found > margins[remaining]) | (query == 0)
        attacked[remaining[better]], margins[remaining[better]] = candidates[better], found[better]
    return attacked


def area_at(query: int, queries: int, p: float, height: int, width: int) -> float:
    """Return the area, in pixels, of the square at this query, counted from 0 (section 5)."""
    return p / 2 ** bisect_left(HALVINGS, query * 10_000 // queries) * height * width


def side_of(area: float, height: int, width: int) -> int:
    """Return the side, in pixels, of a square of this area that fits into the image."""
    return min(max(round(area**0.5), 1), height, width)


def _in_linf(images, attacked, eps, query, area, generators):
    """Return the images that a query tries in linf: float32 [n, h, w, c]."""
    shape = images.shape[1:]
    if query == 0:
        signs, inside = _stripes(shape, generators), True
    else:
        signs, inside = _squares(shape, generators, side_of(area, *shape[:2]))
    # Every value is at one end of its range. So setting it does what the paper's addition and clipping do.
    return np.where(inside, np.clip(images + eps * signs, 0, 1), attacked)


def _in_l2(images, attacked, eps, query, area, generators, seed):
    """Return the images that a query tries in l2: float32 [n, h, w, c]."""
    height, width, channels = shape = images.shape[1:]
    if query == 0:
        tiles = (square_l2.TILES + 1) ** 2
        change = square_l2.first_change(
            shape, _signs(np.stack([g.random((tiles, channels), np.float32) for g in generators]))
        )
    else:
        place = np.random.default_rng((seed, query, 0))  # two numbers seed an image's generator, three this
        side = square_l2.side_of_window(area, min(height, width))
        corners = place.integers(0, [height - side + 1, width - side + 1], (2, 2))
        signs = _signs(np.stack([g.random(channels, np.float32) for g in generators]))
        pattern = square_l2.bump(side, upright=place.random() < 0.5)
        change = square_l2.moved_change(attacked - images, eps, corners, pattern, signs)
    return np.clip(images + eps * change, 0, 1)


def _stripes(shape: tuple[int, ...], generators: list[np.random.Generator]) -> np.ndarray:
    """Draw a sign for each column of each channel: [n, 1, w, c]."""
    _, width, channels = shape
    return _signs(np.stack([g.random((1, width, channels), np.float32) for g in generators]))


def _squares(
    shape: tuple[int, ...], generators: list[np.random.Generator], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a square for each image: signs [n, 1, 1, c], and which pixels it covers [n, h, w, 1]."""
    height, width, channels = shape
    draws = np.stack([g.random(2 + channels, np.float32) for g in generators])
    top, left = (draws[:, i, None] * (size - side + 1) // 1 for i, size in enumerate((height, width)))
    rows, columns = np.arange(height), np.arange(width)
    in_rows, in_columns = (top <= rows) & (rows < top + side), (left <= columns) & (columns < left + side)
    return _signs(draws[:, None, None, 2:]), (in_rows[:, :, None] & in_columns[:, None, :])[..., None]


def _signs(draws: np.ndarray) -> np.ndarray:
    """Turn draws from [0, 1) into -1 or 1."""
    return np.where(draws < 0.5, np.float32(-1), np.float32(1))


def _margins(model: Traced, images: np.ndarray, labels: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the margins [n] by which the best wrong class leads.

    A batch's size is a power of two or batch_size. So there are few shapes to trace as images drop out, and
    a few remaining images are not padded to a whole batch.
    """
    n = len(images)
    size = min(batch_size, 1 << (n - 1).bit_length())
    fill = [(0, -n % size)]
    images, labels = np.pad(images, fill + [(0, 0)] * 3, mode="edge"), np.pad(labels, fill, mode="edge")
    return in_batches(model.graph(_margin), (images, labels), size)[:n]


def _margin(model: Model, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    logits = logits_of(model, images)
    lost = tf.reduce_any(tf.math.is_nan(logits), 1)  # the largest of several logits may hide it
    return tf.where(lost, np.nan, losses.margin(labels, logits))
