"""Read and write image files: what a reader uploads to the explorer, or names on the command line."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..settings import CourseError, progress, write_atomically

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
"""The formats that are read. Pillow would hand some others to external programs."""

LARGEST = 50_000_000
"""The most pixels that are read; decoding 50 million takes a second or two."""

SIDE = 32
"""The side of the images that the networks know, in pixels."""


class Picture(NamedTuple):
    """A picture from a file.

    Attributes:
        name: of the file.
        width, height: of the picture in the file, in pixels, the right way up.
        image: float32 [32, 32, 3] in [0, 1]: the largest square in its middle, resized.
    """

    name: str
    width: int
    height: int
    image: np.ndarray


def read_folder(place: Path) -> tuple[list[Picture], dict[str, str]]:
    """Read every picture of a folder, or one file. Subfolders and hidden files are left out.

    Returns:
        The pictures by name, and for each file that is none, its name and why it is skipped.

    Raises:
        CourseError: there is no such file or folder, or nothing in it.
    """
    if not place.exists():
        raise CourseError(f"there is no file or folder {place.name}; check the path")
    try:
        within = sorted(place.iterdir()) if place.is_dir() else [place]
    except OSError as error:
        raise CourseError(f"the folder {place.name} cannot be read: {error.strerror}") from error
    files = [file for file in within if not file.is_dir() and (file == place or file.name[0] != ".")]
    if not files:
        raise CourseError(f"there is no file in {place.resolve().name}/; name a folder with images")
    pictures, skipped = [], {}
    with progress(len(files), "reading") as bar:
        for file in files:
            try:
                pictures.append(read_picture(file))
            except CourseError as error:
                skipped[file.name] = str(error)
            bar.update()
    return pictures, skipped


def read_picture(file: Path) -> Picture:
    """Read an image file; the errors are those of read_image."""
    if not file.is_file():  # a pipe, or a link to nowhere
        raise CourseError("this is not a file that can be read")
    image = _opened(file)
    return Picture(file.name, image.width, image.height, _shrunk(image))


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
    return _shrunk(_opened(io.BytesIO(content)))


def write_png(file: Path, image: np.ndarray) -> None:
    """Write an image [h, w, 3] in [0, 1] as PNG. PNG loses nothing but what rounding to 8 bits loses."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(buffer, "PNG")
    write_atomically(file, buffer.getvalue())


def save(pictures: Sequence[Picture], images: np.ndarray, folder: Path) -> np.ndarray:
    """Write images as PNG, named after their pictures, and read them again.

    Args:
        pictures: the pictures that the images were made of.
        images: float32 [n, 32, 32, 3] in [0, 1].
        folder: where to; it is made if it does not exist.

    Returns:
        The images as the files have them, with 8 bits a value: float32 [n, 32, 32, 3].

    Raises:
        CourseError: a file of that name is there already. Nothing is written then.
    """
    files = files_in(folder, pictures)
    for file, image in zip(files, images, strict=True):
        write_png(file, image)
    return np.stack([read_picture(file).image for file in files])


def files_in(folder: Path, pictures: Sequence[Picture]) -> list[Path]:
    """Return the PNG file of each picture in a folder: cat.png for cat.jpg.

    Where two pictures would have the same file, each keeps its ending: cat.jpg.png.

    Raises:
        CourseError: one of them is there already, or the folder is a file.
    """
    stems = [Path(picture.name).stem for picture in pictures]
    unique = len(set(map(str.lower, stems))) == len(stems)
    files = [folder / f"{stems[k] if unique else picture.name}.png" for k, picture in enumerate(pictures)]
    if folder.exists() and not folder.is_dir():
        raise CourseError(f"{folder.name} is a file; name a folder for the attacked images")
    if there := [file.name for file in files if file.exists()]:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise CourseError(
            f"{folder.resolve().name}/ has {there[0]}{more} already; "
            "name another folder for the attacked images"
        )
    return files


def printable(name: str) -> str:
    """Return a file's name without characters that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _opened(source: Path | io.BytesIO) -> Image.Image:
    """Return the image of a file or of its content, the right way up."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the size, which is checked below, and about odd metadata
            with Image.open(source, formats=FORMATS) as image:
                if (pixels := image.width * image.height) <= LARGEST:
                    return ImageOps.exif_transpose(image)
    except Image.UnidentifiedImageError:
        raise CourseError(
            f"this file is not an image of a format that is read here ({', '.join(FORMATS)})"
        ) from None
    except Image.DecompressionBombError:
        raise CourseError(f"this image has too many pixels; at most {LARGEST:,} are read") from None
    except PermissionError:
        raise CourseError("this file may not be read; change its permissions") from None
    except Exception as error:  # a damaged file can break a decoder in any way
        raise CourseError(
            "this image file is damaged or cut off; open it in another program and save it again"
        ) from error
    raise CourseError(f"this image has {pixels:,} pixels; at most {LARGEST:,} are read")


def _shrunk(image: Image.Image) -> np.ndarray:
    small = ImageOps.fit(_rgb(image), (SIDE, SIDE), Image.Resampling.LANCZOS)
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
