"""Read an image that a reader uploads."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from ..settings import CourseError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
"""The formats that are read. Pillow would hand some others to external programs."""

LARGEST = 50_000_000
"""The most pixels that are read; decoding 50 million takes a second or two."""


def read_image(content: bytes) -> np.ndarray:
    """Read an image file and scale the largest square in its middle.

    Transparent parts become white. Only the first frame of an animation is read.

    Args:
        content: of the file.

    Returns:
        float32 [32, 32, 3] in [0, 1].

    Raises:
        CourseError: the file is not an image, is damaged, too large, or has a format that is not read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the size, which is checked below, and about odd metadata
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            if (pixels := image.width * image.height) <= LARGEST:
                image.load()
                image = ImageOps.exif_transpose(image)
    except Image.UnidentifiedImageError:
        raise CourseError(
            f"this file is not an image of a format that is read here ({', '.join(FORMATS)})"
        ) from None
    except Image.DecompressionBombError:
        raise CourseError(f"this image has too many pixels; at most {LARGEST:,} are read") from None
    except Exception as error:  # a damaged file can break a decoder in any way
        raise CourseError(
            "this image file is damaged or cut off; open it in another program and save it again"
        ) from error
    if pixels > LARGEST:
        raise CourseError(f"this image has {pixels:,} pixels; at most {LARGEST:,} are read")
    small = ImageOps.fit(_rgb(image), (32, 32), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float32) / np.float32(255)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image, np.uint16) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise CourseError("this image has 32 bits a value, with no agreed white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
