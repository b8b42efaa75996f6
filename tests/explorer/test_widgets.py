"""The explorer's controls and pages, without a browser and on random networks."""

from __future__ import annotations

import io
import re
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from diagram_samples import STRIP
from PIL import Image

from helpers import explorer
from helpers.explorer import Choice, widgets
from helpers.settings import WIDGET_MIME

DEFENDED = Choice(stage="fine_tuned", defense="ae")


def file_of(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def view(toys):
    """What PGD end-to-end does to test image 3 behind the autoencoder."""
    return explorer.explore(toys, *explorer.test_image(toys, 3), replace(DEFENDED, threat="adaptive"))


@pytest.fixture(scope="module")
def panel(toys):
    return widgets.Panel(toys, replace(DEFENDED, steps=2), number=3)


def file(name: str, content: bytes) -> dict:
    """An uploaded file, as the control has it."""
    return {
        "name": name,
        "type": "",
        "size": len(content),
        "content": content,
        "last_modified": datetime.now(UTC),
    }


def sources(html: str) -> dict[str, str]:
    """The pictures' sources, by class."""
    return dict(re.findall(r'<figure class="(\w+)[^"]*"><img[^>]* src="([^"]+)"', html))


def test_the_slider_shows_the_photograph_of_its_step(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda content, **_: shown.append(content))
    monkeypatch.setattr(widgets.widgets, "HTML", lambda: made.append(SimpleNamespace(value="")) or made[-1])
    box = SimpleNamespace(_repr_mimebundle_=lambda: {WIDGET_MIME: {}})
    monkeypatch.setattr(widgets.widgets, "VBox", lambda _: box)
    made = []
    control = explorer.slider(STRIP)
    assert "d 90.0%" in made[0].value and set(shown[0]) == {WIDGET_MIME, "text/plain"}
    control.value = 3
    assert "f 99.0%" in made[0].value
    png = Image.open(io.BytesIO(urllib.request.urlopen(sources(made[0].value)["attacked"]).read()))
    np.testing.assert_array_equal(np.asarray(png), np.rint(255 * STRIP.images[3]))


def test_every_control_changes_the_view(panel):
    """Without a browser: a value is set as a browser would set it."""
    own = file("own.png", file_of(Image.new("RGB", (64, 48), "teal")))
    for control, value in (
        (panel.eps, 20),
        (panel.steps, 4),
        (panel.threat, "adaptive"),
        (panel.stage, "initial"),
        (panel.defense, False),
        (panel.attack, "fgsm"),
        (panel.attack, "noise"),
        (panel.number, 5),
        (panel.kind, 2),
        (panel.number, 1),
        (panel.upload, (own,)),
        (panel.kind, widgets.ANY),
        (panel.attack, "none"),
    ):
        before, control.value = panel.output.value, value
        assert panel.output.value != before, control.description
        assert set(sources(panel.output.value)) == {"original", "perturbation", "attacked", "reconstructed"}
        assert panel.view.choice == panel.choice
        assert re.fullmatch(r"<small>computed in \d+ ms</small>", panel.seconds.value)


def test_images_are_chosen_by_class_and_number(panel, toys):
    labels = toys.images.labels
    calls = len(re.findall("figure class", panel.output.value))
    for kind in (4, 7):
        panel.kind.value = kind
        assert panel.number.value == 0 and panel.number.max == np.sum(labels == kind) - 1
        panel.number.value = 2
        expected = explorer.test_image(toys, np.flatnonzero(labels == kind)[2])
        assert panel.view.label == expected[1] == kind and np.array_equal(panel.view.original, expected[0])
        assert f"{toys.classes[kind]} (true class)" in panel.output.value
    panel.kind.value = widgets.ANY
    assert panel.number.max == len(labels) - 1 and calls == 4


def test_one_change_computes_one_view(toys, monkeypatch):
    panel = widgets.Panel(toys, Choice(attack="none"), number=100)
    asked, explore = [], widgets.explore
    monkeypatch.setattr(widgets, "explore", lambda *a: asked.append(a) or explore(*a))
    panel.kind.value = 1  # it has fewer than 100 images, so the number must change too
    assert len(asked) == 1
    panel.number.value = 1
    assert len(asked) == 2


def test_an_upload_is_shown_and_a_bad_one_told(toys):
    panel = widgets.Panel(toys, replace(DEFENDED, steps=1))
    panel.upload.value = (file("teal.png", file_of(Image.new("RGBA", (90, 50), "teal"))),)
    assert panel.view.label is None and "teal.png" in panel.message.value and "unknown" in panel.message.value
    assert np.allclose(panel.view.original, np.array([0, 128, 128]) / 255, atol=0.01)
    shown = panel.output.value
    panel.upload.value = (file("<b>.doc", b"not an image"),)
    assert 'role="alert"' in panel.message.value and "not an image" in panel.message.value
    assert "&lt;b&gt;.doc" in panel.message.value and "Traceback" not in panel.message.value
    assert panel.output.value == shown, "the last good image stays"
    panel.number.value = 9
    assert panel.view.label is not None and panel.message.value == ""


def test_controls_without_effect_are_off(toys):
    panel = widgets.Panel(toys)
    for attack, off in (("none", (1, 1, 1)), ("noise", (1, 0, 1)), ("fgsm", (0, 0, 1)), ("pgd", (0, 0, 0))):
        panel.attack.value = attack
        assert (panel.threat.disabled, panel.eps.disabled, panel.steps.disabled) == tuple(map(bool, off))


def test_every_control_has_a_label(panel):
    controls = [
        panel.kind,
        panel.number,
        panel.upload,
        panel.attack,
        panel.threat,
        panel.eps,
        panel.steps,
        panel.stage,
    ]
    assert all(len(control.description) > 2 for control in (*controls, panel.defense))


def test_the_page_shows_what_was_computed(view):
    html = explorer.page(view)
    assert explorer.verdict(view).split(" (")[0] in html and explorer.threat_model(view.choice) in html
    pictures = sources(html)
    for name, image in (("original", view.original), ("attacked", view.attacked)):
        shown = np.asarray(Image.open(urllib.request.urlopen(pictures[name])))
        assert np.abs(shown / 255 - image).max() < 0.51 / 255
    magnified = np.asarray(Image.open(urllib.request.urlopen(pictures["perturbation"]))) / 255
    assert "perturbation × 16" in html
    assert np.abs((magnified - 0.5) * 2 * 8 / 255 - view.change).max() < 2 / 255 / 255 * 8
    for before, after in zip(view.before, view.after, strict=True):
        assert (
            f'<td class="number">{explorer.percent(before)}</td><td class="number">{explorer.percent(after)}'
            in html
        )
    assert html.count("(true class)") == 1
    assert len(re.findall(r"<img[^>]* alt=\"[^\"]{10,}\"", html)) == 4


def test_frames_and_grid(toys):
    views = explorer.over_budgets(toys, 0, replace(DEFENDED, steps=1), [0, 8 / 255, 16 / 255])
    html = explorer.frames(views)
    assert html.count('class="frame ') == 6 and "<script" not in html and "http" not in html
    assert html.count('type="radio"') == 5 and html.count(" checked>") == 2
    figure = explorer.grid(views, 0)
    assert len(figure.axes) == 12 and figure.get_suptitle().startswith("Test image 0, ")
    for axis, view in zip((*figure.axes[3:6], *figure.axes[9:]), views.values(), strict=True):
        bold = axis.title.get_fontweight() == "bold"
        assert bold is not explorer.is_right(view), "wrong answers are bold"
    shown = figure.axes[10].images[0].get_array()
    assert np.array_equal(shown, views["adaptive", 8 / 255].reconstructed)
