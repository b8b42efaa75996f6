"""Image files that readers upload."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from helpers import explorer
from helpers.settings import CourseError


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_files_of_many_kinds_become_images(kind):
    for mode in ("RGB", "L", "CMYK") if kind == "JPEG" else ("RGB", "L", "P", "1"):
        for size in (32, 32), (1, 1), (7, 300), (640, 480):
            image = explorer.read_image(file_of(Image.new(mode, size, 0), kind))
            assert image.shape == (32, 32, 3) and image.dtype == np.float32
            no_ink = mode == "CMYK"  # is white
            assert np.allclose(image, float(no_ink), atol=0.02)


def test_a_photograph_keeps_its_colours_and_its_middle():
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, :40], wide[:, 40:80], wide[:, 80:] = (255, 0, 0), (0, 128, 255), (0, 255, 0)
    image = explorer.read_image(file_of(Image.fromarray(wide)))
    assert np.allclose(image[:, 2:-2], np.array([0, 128, 255]) / 255, atol=0.01)


def test_transparency_depth_and_rotation():
    clear = explorer.read_image(file_of(Image.new("RGBA", (50, 50), (200, 0, 0, 0))))
    half = explorer.read_image(file_of(Image.new("RGBA", (50, 50), (0, 0, 0, 128))))
    assert np.allclose(clear, 1) and np.allclose(half, 127 / 255, atol=0.01)
    deep = np.full((40, 40), 128 * 257, np.uint16)
    assert np.allclose(explorer.read_image(file_of(Image.fromarray(deep))), 128 / 255, atol=0.005)
    turned = np.zeros((40, 40, 3), np.uint8)
    turned[:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image = explorer.read_image(file_of(Image.fromarray(turned), "JPEG", exif=exif))
    assert image[:12].max() < 0.1 and image[-12:].min() > 0.9


def test_files_that_cannot_be_used_are_told_in_a_sentence():
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8))
    vast = file_of(Image.new("1", (10_000, 9_000)))
    bomb = file_of(Image.new("1", (20_000, 10_000)))
    for content, message in (
        (b"", "not an image"),
        (b"%PDF-1.7 nothing", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (file_of(photograph)[:2000], "damaged"),
        (file_of(photograph, "JPEG")[:900], "damaged"),
        (file_of(photograph, "PPM"), "not an image"),
        (vast, "90,000,000 pixels; at most 50,000,000"),
        (bomb, "too many pixels; at most 50,000,000"),
        (file_of(Image.fromarray(np.ones((40, 40), np.float32)), "TIFF"), "32 bits a value"),
    ):
        with pytest.raises(CourseError, match=message):
            explorer.read_image(content)
