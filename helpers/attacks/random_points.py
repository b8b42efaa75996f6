"""Random points of the eps-ball around an image, which do not depend on how images are batched."""

from __future__ import annotations

import numpy as np

from ..settings import plain_numbers


@plain_numbers
def random_start_for(
    images: np.ndarray, eps: float, norm: str, seed: int, numbers: np.ndarray, attempt: int = 0
) -> np.ndarray:
    """Move images to uniformly random points of their eps-balls, then clip them to [0, 1].

    Args:
        images: float32 [n, h, w, c] in [0, 1].
        eps: the radius of the ball.
        norm: ``linf`` or ``l2``.
        seed: of the random numbers.
        numbers: integers [n]. A point depends only on the seed, the attempt and the image's number.
        attempt: the number of the try.
    """
    draw = _in_cube if norm == "linf" else _in_unit_ball
    change = np.float32(eps) * draw(images.shape[1:], seed, numbers, attempt)
    return np.clip(images + change, 0, 1).astype(np.float32)


@plain_numbers
def random_noise(images: np.ndarray, eps: float, seed: int, first: int = 0) -> np.ndarray:
    """Move images to uniformly random points of their linf balls, as PGD does before its first step.

    Image k gets the random numbers of image ``first + k``.
    """
    return random_start_for(images, eps, "linf", seed, first + np.arange(len(images)))


@plain_numbers
def random_signs(images: np.ndarray, eps: float, seed: int, first: int = 0) -> np.ndarray:
    """Move every value by eps, up or down at random, and clip to [0, 1].

    FGSM moves values just as far, so an attack must do better than this baseline.
    """
    signs = np.sign(_in_cube(images.shape[1:], seed, first + np.arange(len(images))))
    return np.clip(images + np.float32(eps) * signs, 0, 1).astype(np.float32)


def _in_cube(shape: tuple[int, ...], seed: int, numbers: np.ndarray, attempt: int = 0) -> np.ndarray:
    """Draw from [-1, 1) for every value of the images with these numbers."""
    size = int(np.prod(shape))
    blocks = -(-size // 8)  # one block of Philox's counter yields eight float32
    draws = [_generator(seed, attempt, k * blocks).random(size, np.float32) for k in numbers]
    return 2 * np.reshape(draws, (len(draws), *shape)) - 1


def _in_unit_ball(shape: tuple[int, ...], seed: int, numbers: np.ndarray, attempt: int = 0) -> np.ndarray:
    """Draw a point of the Euclidean unit ball for each of the images with these numbers."""
    size, points = int(np.prod(shape)), []
    for k in numbers:
        generator = _generator(seed, attempt, k * 4 * size)  # more blocks than one draw can use
        direction = generator.standard_normal(size, np.float32)
        points.append(direction / np.linalg.norm(direction) * generator.random() ** (1 / size))
    return np.reshape(points, (len(points), *shape)).astype(np.float32)


def _generator(seed: int, attempt: int, block: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed + (attempt << 64)).advance(int(block)))
