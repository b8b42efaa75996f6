"""Image files that readers upload or name, and those that the course writes for them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from helpers.settings import CourseError
from helpers.studies import image_files
from helpers.studies.image_files import read_image


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_files_of_many_kinds_become_images(kind):
    for mode in ("RGB", "L", "CMYK") if kind == "JPEG" else ("RGB", "L", "P", "1"):
        for size in (32, 32), (1, 1), (7, 300), (640, 480):
            image = read_image(file_of(Image.new(mode, size, 0), kind))
            assert image.shape == (32, 32, 3) and image.dtype == np.float32
            no_ink = mode == "CMYK"  # is white
            assert np.allclose(image, float(no_ink), atol=0.02)


def test_a_photograph_keeps_its_colours_and_its_middle():
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, :40], wide[:, 40:80], wide[:, 80:] = (255, 0, 0), (0, 128, 255), (0, 255, 0)
    image = read_image(file_of(Image.fromarray(wide)))
    assert np.allclose(image[:, 2:-2], np.array([0, 128, 255]) / 255, atol=0.01)


def test_transparency_depth_and_rotation():
    clear = read_image(file_of(Image.new("RGBA", (50, 50), (200, 0, 0, 0))))
    half = read_image(file_of(Image.new("RGBA", (50, 50), (0, 0, 0, 128))))
    assert np.allclose(clear, 1) and np.allclose(half, 127 / 255, atol=0.01)
    deep = np.full((40, 40), 128 * 257, np.uint16)
    assert np.allclose(read_image(file_of(Image.fromarray(deep))), 128 / 255, atol=0.005)
    turned = np.zeros((40, 40, 3), np.uint8)
    turned[:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image = read_image(file_of(Image.fromarray(turned), "JPEG", exif=exif))
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
            read_image(content)


@pytest.fixture
def folder(tmp_path):
    """A folder with two pictures, a text, a link to nowhere, a hidden file and a subfolder."""
    place = tmp_path / "mine"
    (place / "sub").mkdir(parents=True)
    Image.new("L", (64, 40), 51).save(place / "b.jpg")
    Image.new("RGBA", (5, 9), "white").save(place / "a.png")
    (place / "notes.txt").write_text("none")
    (place / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (place / ".DS_Store").write_bytes(b"hidden")
    return place


def test_a_folder_is_read_and_what_is_no_picture_is_named(folder):
    pictures, skipped = image_files.read_folder(folder)
    assert [(p.name, p.width, p.height) for p in pictures] == [("a.png", 5, 9), ("b.jpg", 64, 40)]
    assert np.allclose(pictures[1].image, 0.2, atol=0.01)
    assert skipped.keys() == {"notes.txt", "gone.png"}
    alone, none = image_files.read_folder(folder / "b.jpg")
    np.testing.assert_array_equal(alone[0].image, pictures[1].image)
    assert not none


def test_the_size_is_that_of_the_picture_the_right_way_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    picture = image_files.read_picture(tmp_path / "a.jpg")
    assert (picture.width, picture.height) == (20, 40)


@pytest.mark.parametrize("place", ["nowhere", "mine/sub"])
def test_a_folder_without_files(folder, place):
    with pytest.raises(CourseError, match="there is no file"):
        image_files.read_folder(folder.parent / place)


def test_saved_images_are_read_again_as_they_were_but_for_rounding(folder, images):
    pictures, _ = image_files.read_folder(folder)
    exact, between = images[:2], images[:2] * np.float32(0.9)
    np.testing.assert_array_equal(image_files.save(pictures, exact, folder / "new"), exact)
    assert sorted(file.name for file in (folder / "new").iterdir()) == ["a.png", "b.png"]
    again = image_files.save(pictures, between, folder / "other")
    assert 0 < np.abs(again - between).max() <= 0.5 / 255 + 1e-6


def test_no_file_is_overwritten(folder, images):
    pictures, _ = image_files.read_folder(folder)
    before = {file.name: file.lstat() for file in folder.iterdir()}
    with pytest.raises(CourseError, match="mine/ has a.png already"):
        image_files.save(pictures, images[:2], folder)
    with pytest.raises(CourseError, match="notes.txt is a file"):
        image_files.save(pictures, images[:2], folder / "notes.txt")
    assert {file.name: file.lstat() for file in folder.iterdir()} == before


def test_pictures_of_one_stem_keep_their_endings(folder):
    names = ("A.png", "a.jpg", "b.gif")
    pictures = [image_files.Picture(name, 1, 1, np.zeros((32, 32, 3), np.float32)) for name in names]
    assert [file.name for file in image_files.files_in(folder, pictures)] == [
        "A.png.png",
        "a.jpg.png",
        "b.gif.png",
    ]
