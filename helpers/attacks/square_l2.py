"""Square's proposals in l2 (Andriushchenko et al. 2020, algorithm 3): how it moves the change around.

The change of an image always uses the whole budget. A query takes what one window holds, and what is unused,
and puts it into another window. As in the authors' code, a query's windows are the same for all images.
"""

from __future__ import annotations

import numpy as np

TILES = 5
"""The number of tiles on each side of the image with which the search starts."""


def first_change(shape: tuple[int, ...], signs: np.ndarray) -> np.ndarray:
    """Return the changes with which the search starts: tiles of bumps, of norm 1: float32 [n, h, w, c].

    Args:
        shape: of an image, (h, w, c).
        signs: -1 or 1 for each tile and channel: float32 [n, tiles, c].
    """
    height, width, _ = shape
    side = max(min(height, width) // TILES, 1)
    change = np.zeros((len(signs), *shape), np.float32)
    starts = [range((size % side) // 2, size - side + 1, side) for size in (height, width)]
    tile = bump(side)[None, :, :, None]
    for k, (top, left) in enumerate((top, left) for top in starts[0] for left in starts[1]):
        sign = signs[:, k % signs.shape[1], None, None, :]
        change[:, top : top + side, left : left + side] += sign * tile
    return normalized(change)


def moved_change(
    change: np.ndarray,
    eps: float,
    windows: np.ndarray,
    pattern: np.ndarray,
    signs: np.ndarray,
) -> np.ndarray:
    """Move what one window of a change holds, and what is unused, into another window.

    Args:
        change: float32 [n, h, w, c], of norm eps or less, because images are clipped to [0, 1].
        eps: the budget.
        windows: the top left corners of the window that is filled and of the one that is emptied:
            integers [2, 2].
        pattern: a bump of norm 1: float32 [side, side].
        signs: -1 or 1 for each channel: float32 [n, c].

    Returns:
        The new changes, float32 [n, h, w, c], of norm 1.
    """
    side = len(pattern)
    inside = [(slice(None), slice(top, top + side), slice(left, left + side)) for top, left in windows]
    either = np.zeros(change.shape[1:3], bool)
    for _, rows, columns in inside:
        either[rows, columns] = True
    held = np.square(change * either[None, :, :, None]).sum((1, 2), keepdims=True)
    used = np.square(change).sum((1, 2, 3), keepdims=True)
    unused = np.maximum(eps**2 - used, 0) / change.shape[3]
    bumps = signs[:, None, None, :] * pattern[None, :, :, None]
    bumps = normalized(bumps + normalized(change[inside[0]], (1, 2)), (1, 2))
    moved = change.copy()
    moved[inside[1]] = 0
    moved[inside[0]] = bumps * np.sqrt(held + unused)
    return normalized(moved)


def side_of_window(area: float, size: int) -> int:
    """Return the side of the windows, in pixels: odd and at least 3, where the image is so large."""
    side = max(round(area**0.5), 3)
    return min(side + (side % 2 == 0), size)


def bump(side: int, upright: bool = True) -> np.ndarray:
    """Return a hill beside a valley, of norm 1 (section 5, figure 2): float32 [side, side]."""
    half = side // 2
    found = np.concatenate([_hill(half, side), -_hill(side - half, side)])
    found /= max(np.linalg.norm(found), 1e-12)
    return found if upright else found.T


def _hill(height: int, width: int) -> np.ndarray:
    """Return nested rectangles that grow towards the middle, of norm 1: float32 [height, width]."""
    found = np.zeros((height, width), np.float32)
    row, column = height // 2, width // 2
    for k in range(max(height // 2, width // 2) + 1):
        rows, columns = slice(max(row - k, 0), row + k + 1), slice(max(column - k, 0), column + k + 1)
        found[rows, columns] += 1 / (k + 1) ** 2
    return found / max(np.linalg.norm(found), 1e-12)


def normalized(values: np.ndarray, axes: tuple[int, ...] = (1, 2, 3)) -> np.ndarray:
    """Scale values to norm 1 over some axes; what is all zeros stays so."""
    norm = np.sqrt(np.square(values).sum(axes, keepdims=True))
    return values / np.maximum(norm, 1e-12)
