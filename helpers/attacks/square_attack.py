"""The Square attack (Andriushchenko et al. 2020): a random search that asks the model for its outputs alone.

What defeats gradients without making a classifier robust does not defeat this.
"""

from __future__ import annotations

from bisect import bisect_left
from numbers import Real

import numpy as np

from ..backend import tf
from ..settings import CourseError
from . import losses
from .gradient import Model, check_count, check_seed, checked, in_batches, logits_of

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries, those after which the squares' area is halved (the paper's section 5)."""


def square(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    *,
    queries: int = 1000,
    p: float = 0.8,
    seed: int = 0,
    batch_size: int = 250,
) -> np.ndarray:
    """The Square attack in linf (Andriushchenko et al. 2020, algorithms 1 and 2), untargeted.

    It starts with vertical stripes of plus or minus eps. Then one square a query, at a random place, is set to plus or
    minus eps in each channel, which is kept if the margin between the best wrong class and the true one grows.

    Args:
        model: a callable from float32 images [n, h, w, c] in [0, 1] to logits [n, classes]; needs no gradient. A Keras
            model is called in inference mode.
        images: float32 [n, h, w, c] in [0, 1].
        labels: integers [n], the true classes.
        eps: the largest change of any value in [0, 1]; the paper's is 8/255.
        queries: how many changed images the model is shown for each image, at most; the stripes are the first. An
            image that is misclassified is not changed further.
        p: the share of an image's pixels in the first squares. It is halved at the paper's points, scaled to
            ``queries``.
        seed: an image's random numbers depend on it and on the image's position in ``images`` alone.

    Returns:
        Attacked images, float32, within eps of the images and in [0, 1]; those misclassified from the outset as they
        are.

    Raises:
        CourseError: an argument is not of that form.
    """
    images, labels = checked(model, images, labels, eps)
    check_count(queries, "queries", "an attack takes at least 1")
    check_count(batch_size, "batch_size", "a batch holds at least 1")
    check_seed(seed)
    if not isinstance(p, Real) or not 0 < p <= 1:
        raise CourseError(f"p is {p!r}; it is a share of the pixels, above 0 and at most 1")
    attacked = images.copy()
    margins = _margins(model, images, labels, batch_size)
    generators = [np.random.default_rng((seed, k)) for k in range(len(images))]
    for query in range(queries):
        standing = np.flatnonzero(~(margins > 0))
        if not len(standing):
            break
        originals, chosen = images[standing], [generators[k] for k in standing]
        if query == 0:
            signs, inside = _stripes(images.shape[1:], chosen), True
        else:
            side = side_at(query, queries, p, *images.shape[1:3])
            signs, inside = _squares(images.shape[1:], chosen, side)
        # Every value is at one end of what it may be: setting it is what the paper's adding of 2 eps and clipping does.
        moved = np.clip(originals + np.float32(eps) * signs, 0, 1)
        candidates = np.where(inside, moved, attacked[standing])
        found = _margins(model, candidates, labels[standing], batch_size)
        better = (found > margins[standing]) | (query == 0)
        attacked[standing[better]], margins[standing[better]] = candidates[better], found[better]
    return attacked


def side_at(query: int, queries: int, p: float, height: int, width: int) -> int:
    """The side, in pixels, of the square tried at this query (from 0) of so many (the paper's section 5)."""
    area = p / 2 ** bisect_left(HALVINGS, query * 10_000 // queries) * height * width
    return min(max(round(area**0.5), 1), height, width)


def _stripes(shape: tuple[int, ...], generators: list[np.random.Generator]) -> np.ndarray:
    """Signs [n, 1, w, c]: each column of each channel up or down as a whole."""
    _, width, channels = shape
    return _signs(np.stack([g.random((1, width, channels), np.float32) for g in generators]))


def _squares(
    shape: tuple[int, ...], generators: list[np.random.Generator], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Signs [n, 1, 1, c], and whether a pixel is inside the image's square [n, h, w, 1]."""
    height, width, channels = shape
    draws = np.stack([g.random(2 + channels, np.float32) for g in generators])
    top, left = (draws[:, i, None] * (size - side + 1) // 1 for i, size in enumerate((height, width)))
    rows, columns = np.arange(height), np.arange(width)
    in_rows, in_columns = (top <= rows) & (rows < top + side), (left <= columns) & (columns < left + side)
    return _signs(draws[:, None, None, 2:]), (in_rows[:, :, None] & in_columns[:, None, :])[..., None]


def _signs(draws: np.ndarray) -> np.ndarray:
    """-1 or 1, from draws from [0, 1)."""
    return np.where(draws < 0.5, np.float32(-1), np.float32(1))


def _margins(model: Model, images: np.ndarray, labels: np.ndarray, batch_size: int) -> np.ndarray:
    """The margins [n] by which the best wrong class leads.

    The batches' sizes are powers of two or batch_size, so that a GPU meets few shapes while images drop out, and few
    left over are not padded to a whole batch.
    """
    n = len(images)
    size = min(batch_size, 1 << (n - 1).bit_length())
    fill = [(0, -n % size)]
    images, labels = np.pad(images, fill + [(0, 0)] * 3, mode="edge"), np.pad(labels, fill, mode="edge")
    return in_batches(lambda x, y: _margin(model, x, y), (images, labels), size)[:n]


@tf.function(reduce_retracing=True, autograph=False)
def _margin(model, images, labels):
    return losses.margin(labels, logits_of(model, images))
