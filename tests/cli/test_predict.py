"""python -m helpers predict: a reader's own pictures on the command line."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest
from PIL import Image
from support import small_systems

from helpers import settings
from helpers.cli.app import main
from helpers.studies import pictures


@pytest.fixture(scope="module")
def systems():
    with small_systems() as found:
        yield found


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    for k, colour in enumerate(("red", "grey", "navy")):
        Image.effect_noise((50 + k, 40), 90).convert("RGB").save(place / f"{colour}.jpg")
    return place


@pytest.fixture
def predict(folder, systems, monkeypatch, capsys):
    """Run the command on the folder with a small network: what it is given and returns, out and err."""
    asked = []
    monkeypatch.setattr(pictures, "load", lambda *given: asked.append(given) or systems)

    def run(*options, place=folder):
        status = main(["predict", str(place), *map(str, options)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err, asked

    return run


def test_a_table_of_every_picture(predict):
    status, out, _, asked = predict("--model", "sepreresnet56", "--stage", "fine_tuned")
    assert status == 0 and asked == [("cifar10", "sepreresnet56", "fine_tuned")]
    rows = out.splitlines()
    assert [row.split()[:2] for row in rows[1:4]] == [
        ["grey.jpg", "51×40"],
        ["navy.jpg", "52×40"],
        ["red.jpg", "50×40"],
    ]
    assert rows[1].count("%") == 2


def test_one_file(predict, folder):
    status, out, _, _ = predict(place=folder / "red.jpg")
    assert status == 0 and "red.jpg" in out and "grey.jpg" not in out


def test_what_is_no_image_is_named_and_tells_by_the_status(predict, folder):
    (folder / "notes.txt").write_text("none")
    status, out, err, _ = predict()
    assert status == 1 and "skipped notes.txt: " in err and "red.jpg" in out
    status, out, err, asked = predict(place=folder / "notes.txt")
    assert status == 2 and "error: there is no image" in err and len(asked) == 1 and not out


def test_scripts_read_json_or_csv(predict, folder):
    options = ("--attack", "pgd", "--eps", "16/255", "--save", folder / "new", "--format")
    status, out, _, _ = predict(*options, "json")
    found = json.loads(out)
    assert status == 0 and [row["file"] for row in found] == ["grey.jpg", "navy.jpg", "red.jpg"]
    names = {
        f"{form}{defense}_{what}"
        for form in pictures.FORMS
        for defense in ("", "_ae")
        for what in ("class", "confidence")
    }
    assert found[0].keys() == {"file", "width", "height"} | names
    _, out, _, _ = predict("--format", "csv")
    assert [row["file"] for row in csv.DictReader(io.StringIO(out))] == [row["file"] for row in found]


def test_attacked_images_are_written_once(predict, folder, tmp_path):
    new = tmp_path / "new"
    status, out, _, asked = predict("--attack", "fgsm", "--save", new)
    assert status == 0 and "read again from the files" in out
    files = {file.name: file.read_bytes() for file in new.iterdir()}
    assert files.keys() == {"red.png", "grey.png", "navy.png"}
    with Image.open(new / "red.png") as written:
        assert (written.format, written.size, written.mode) == ("PNG", (32, 32), "RGB")
    status, out, err, _ = predict("--attack", "fgsm", "--save", new)
    assert status == 2 and "already" in err and not out and len(asked) == 1, "before anything is computed"
    assert {file.name: file.read_bytes() for file in new.iterdir()} == files


@pytest.mark.parametrize(
    "options, message",
    [
        (["--save", "new"], "--save needs an attack"),
        (["--end-to-end"], "--end-to-end needs an attack"),
        (["--attack", "magic"], "'magic' is not one of"),
        (["--attack", "pgd", "--eps", "8"], "write 8/255"),
        (["--model", "vgg16"], "unknown model 'vgg16'"),
        (["--stage", "last"], "'last' is not one of"),
    ],
)
def test_bad_options(predict, options, message):
    status, out, err, asked = predict(*options)
    assert status == 2 and message in err and len(err.splitlines()) == 1 and not out and not asked


def test_bad_pictures_are_told_before_tensorflow_is_imported(tmp_path):
    code = "import sys; from helpers.cli.app import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", code, "predict", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=settings.ROOT)
    assert "there is no file or folder nowhere" in done.stderr
    modules = done.stdout.split()
    assert "helpers.cli.app" in modules and "tensorflow" not in modules
