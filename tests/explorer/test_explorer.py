"""The explorer: what it computes, what it says, its controls without a browser, and its notebook in JupyterLab."""

import io
import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime

import nbformat
import numpy as np
import psutil
import pytest
from jupyter_client import BlockingKernelClient
from PIL import Image

from helpers import attacks, explorer, pipeline, report, settings
from helpers.cli.app import LAB
from helpers.defenses import autoencoder as ae_module
from helpers.explorer import Choice, widgets
from helpers.maintain import record
from helpers.report import pages
from helpers.settings import CourseError

PARAMETERS = {
    "profile": "smoke",
    "dataset": "patches10",
    "model": "resnet20",
    "seed": 0,
    "weights": "course",
    "eps": 8 / 255,
}
DEFENDED = Choice(stage="fine_tuned", defense="ae")


@pytest.fixture(scope="module")
def networks(artifacts_folder):
    return explorer.load(pipeline.start(**PARAMETERS, networks="auto"))


@pytest.fixture(scope="module")
def view(networks):
    """What PGD through both does to test image 3 behind the autoencoder."""
    return explorer.explore(networks, *explorer.test_image(networks, 3), replace(DEFENDED, threat="adaptive"))


# ---------------------------------------------------------------------------------------------------------- computing


@pytest.mark.parametrize("attack", explorer.ATTACKS)
@pytest.mark.parametrize("threat", explorer.THREATS)
def test_attacked_images_stay_within_the_budget(networks, attack, threat):
    image, label = explorer.test_image(networks, 0)
    for eps in (0.0, 3 / 255, 32 / 255):
        found = explorer.explore(
            networks, image, label, replace(DEFENDED, attack=attack, threat=threat, eps=eps)
        )
        largest = np.abs(found.change).max()
        assert largest <= (0 if attack == "none" else eps) + 1e-6
        assert found.attacked.min() >= 0 and found.attacked.max() <= 1
        assert found.changed == (attack != "none" and eps > 0)
        if found.changed:
            assert largest > eps - 1e-6


@pytest.mark.parametrize(
    ("attack", "threat", "stage"),
    [
        ("pgd", "static", "fine_tuned"),
        ("pgd", "grey_box", "fine_tuned"),
        ("pgd", "adaptive", "fine_tuned"),
        ("pgd", "adaptive", "initial"),
        ("fgsm", "adaptive", "initial"),
    ],
)
def test_the_attack_is_the_courses_own_aimed_at_what_is_named(networks, attack, threat, stage):
    """Against the uncompiled, unfolded networks. Rounding flips a sign here and there, so most values must agree."""
    run, (image, label) = networks.run, explorer.test_image(networks, 5)
    choice = Choice(attack=attack, threat=threat, stage=stage, steps=3)
    target = pipeline.stages(run)["initial" if threat == "static" else stage]
    if threat == "adaptive":
        target = ae_module.defended(pipeline.autoencoder(run)[0], target)
    batch = image[None], np.array([label])
    expected = (
        attacks.fgsm(target, *batch, choice.eps)
        if attack == "fgsm"
        else attacks.pgd(target, *batch, choice.eps, step_size=0.01, steps=3, seed=0)
    )
    found = explorer.explore(networks, image, label, choice).attacked
    assert np.mean(np.abs(found - expected[0]) > 1e-5) < 0.02


@pytest.mark.parametrize("stage", explorer.STAGES)
@pytest.mark.parametrize("defense", explorer.DEFENSES)
def test_the_answers_are_those_of_the_chosen_system(networks, stage, defense):
    run, (image, label) = networks.run, explorer.test_image(networks, 7)
    system, autoencoder = pipeline.stages(run)[stage], pipeline.autoencoder(run)[0]
    found = explorer.explore(networks, image, label, Choice(stage=stage, defense=defense))
    assert np.allclose(found.reconstructed, autoencoder(found.attacked[None])[0], atol=1e-5)
    for probabilities, seen in ((found.before, found.original), (found.after, found.attacked)):
        seen = autoencoder(seen[None]) if defense == "ae" else seen[None]
        logits = np.asarray(system(seen, training=False))[0]
        expected = np.exp(logits - logits.max())
        assert np.allclose(probabilities, expected / expected.sum(), atol=1e-4)


def test_without_a_known_class_the_attack_leads_away_from_the_answer(networks):
    for number in range(20):
        image, _ = explorer.test_image(networks, number)
        unknown = explorer.explore(networks, image, None, Choice())
        if answer := int(unknown.before.argmax()):
            break
    told = explorer.explore(networks, image, answer, Choice())
    assert answer and unknown.label is None and explorer.is_right(unknown) is None
    assert np.array_equal(unknown.attacked, told.attacked)


def test_the_same_position_gives_the_same_picture(networks, view):
    again = explorer.explore(networks, view.original, view.label, view.choice)
    other = explorer.explore(networks, view.original, view.label, view.choice, seed=1)
    assert np.array_equal(again.attacked, view.attacked) and not np.array_equal(other.attacked, view.attacked)


def test_nothing_is_traced_anew_and_an_answer_comes_soon(networks):
    """Whatever is moved. The bound is a ratio, which a busy machine leaves alone: an answer takes a fraction of what
    tracing one graph takes; a single trace, or an attack step by step in Python, would exceed it."""
    image, label = explorer.test_image(networks, 1)
    graphs = [attacks._ascend, networks.autoencoder, *networks.answers.values(), *networks.targets.values()]
    before, seconds = [graph.experimental_get_tracing_count() for graph in graphs], []
    for eps in range(0, 33, 8):
        for threat in explorer.THREATS:
            for stage in explorer.STAGES:
                choice = Choice(threat=threat, eps=eps / 255, stage=stage, defense="ae")
                begin = time.perf_counter()
                explorer.explore(networks, image, label, choice)
                seconds.append(time.perf_counter() - begin)
    for steps in (1, 3, 20):
        explorer.explore(networks, image, label, replace(DEFENDED, steps=steps))
        explorer.explore(networks, image, None, replace(DEFENDED, attack="fgsm", eps=steps / 255))
    assert [graph.experimental_get_tracing_count() for graph in graphs] == before
    begin = time.perf_counter()
    attacks.fgsm(
        explorer._compiled(pipeline.for_attack(networks.run.classifier)), image[None], np.array([label]), 0.1
    )
    assert np.median(seconds) < 0.5 * (time.perf_counter() - begin)


def test_budgets_and_findings(networks):
    number = explorer.first_recognised(networks, DEFENDED)
    budgets = [0, 8 / 255]
    views = explorer.over_budgets(networks, number, DEFENDED, budgets)
    assert list(views) == [(threat, eps) for threat in ("grey_box", "adaptive") for eps in budgets]
    assert explorer.is_right(views["grey_box", 0])
    known = dict(
        classes=("cat", "dog"), label=0, original=0, attacked=1, reconstructed=1, before=np.array([1, 0])
    )
    right, wrong = (explorer.View(DEFENDED, after=np.array(p), **known) for p in ([0.9, 0.1], [0.1, 0.9]))
    text = explorer.finding({("grey_box", 0): right, ("adaptive", 0): right, ("adaptive", 2 / 255): wrong})
    assert text == "PGD on the network: right throughout; PGD through both: wrong from 2/255"


def test_bad_choices_are_refused(networks):
    for wrong, message in (
        ({"attack": "magic"}, "unknown attack 'magic'"),
        ({"threat": "psychic"}, "unknown threat"),
        ({"stage": "last"}, "unknown stage"),
        ({"defense": "wall"}, "unknown defense"),
        ({"eps": 8}, "write 8/255"),
        ({"steps": 0}, "at least 1"),
    ):
        with pytest.raises(CourseError, match=message):
            Choice(**wrong)
    with pytest.raises(CourseError, match="no test image 128; this run has 0 to 127"):
        explorer.test_image(networks, 128)


# ----------------------------------------------------------------------------------------------------------- in words


def seen(label, then, now, changed=True, attack="pgd"):
    """A view of a cat, an airplane or grass: by number, what it is, was taken for (80%) and is taken for (93%)."""
    before, after = np.full(3, 0.1), np.full(3, 0.035)
    before[then], after[now] = 0.8, 0.93
    image = np.zeros((32, 32, 3), np.float32)
    return explorer.View(
        choice=Choice(attack=attack),
        classes=("cat", "airplane", "grass"),
        label=label,
        original=image,
        attacked=image + changed * np.float32(0.01),
        reconstructed=image,
        before=before,
        after=after,
    )


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (seen(0, 0, 0, changed=False), "Taken for a cat (93%), which is right."),
        (
            seen(1, 0, 0, changed=False),
            "Taken for a cat (93%), but it is an airplane: wrong without any attack.",
        ),
        (seen(None, 0, 0, changed=False), "Taken for a cat (93%)."),
        (seen(0, 0, 0), "Still taken for a cat (93%; 80% before), which is right."),
        (seen(2, 0, 0), "Still taken for a cat (93%; 80% before), but it is grass."),
        (seen(None, 0, 0), "Still taken for a cat (93%; 80% before)."),
        (seen(1, 1, 0), "Taken for a cat (93%); an airplane before (80%), and an airplane it is."),
        (seen(2, 1, 0), "Taken for a cat (93%); an airplane before (80%). It is grass."),
        (seen(0, 1, 0), "Taken for a cat (93%), which is right; an airplane before (80%)."),
        (seen(None, 2, 0), "Taken for a cat (93%); grass before (80%)."),
    ],
)
def test_the_verdict_in_words(view, text):
    assert explorer.verdict(view) == text


def test_percentages_do_not_round_to_certainty():
    shown = [explorer.percent(p) for p in (0.0, 0.001, 0.005, 0.5, 0.9949, 0.9951, 1.0)]
    assert shown == ["0%", "<1%", "0%", "50%", "99%", ">99%", "100%"]


def test_the_threat_model_in_words():
    say = explorer.threat_model
    assert say(Choice(attack="none")) == "Nobody attacks."
    assert "8/255, up or down at random" in say(Choice(attack="noise"))
    assert say(Choice(attack="fgsm", threat="adaptive")).startswith(
        "The attacker knows autoencoder and network, and"
    )
    assert say(Choice(attack="fgsm")).endswith("at most 8/255, in one step.")
    assert say(Choice(threat="static", steps=7, eps=32 / 255)).endswith(
        "at most 32/255, in 7 steps of 0.0314."
    )


# --------------------------------------------------------------------------------------------------------- one's own


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
        (b"", "no image of a kind that is read here"),
        (b"%PDF-1.7 nothing", "no image of a kind that is read here"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image of a kind that is read here"),
        (file_of(photograph)[:2000], "damaged or cut off"),
        (file_of(photograph, "JPEG")[:900], "damaged or cut off"),
        (file_of(photograph, "PPM"), "no image of a kind that is read here"),
        (vast, "90,000,000 pixels; at most 50,000,000"),
        (bomb, "too many pixels; at most 50,000,000"),
        (file_of(Image.fromarray(np.ones((40, 40), np.float32)), "TIFF"), "32 bits a value"),
    ):
        with pytest.raises(CourseError, match=message):
            explorer.read_image(content)


# --------------------------------------------------------------------------------------------- controls and frames


@pytest.fixture(scope="module")
def panel(networks):
    return widgets.Panel(networks, replace(DEFENDED, steps=2), number=3)


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


def test_images_are_chosen_by_class_and_number(panel, networks):
    labels = networks.images.labels
    calls = len(re.findall("figure class", panel.output.value))
    for kind in (4, 7):
        panel.kind.value = kind
        assert panel.number.value == 0 and panel.number.max == np.sum(labels == kind) - 1
        panel.number.value = 2
        expected = explorer.test_image(networks, np.flatnonzero(labels == kind)[2])
        assert panel.view.label == expected[1] == kind and np.array_equal(panel.view.original, expected[0])
        assert f"{networks.classes[kind]} (true class)" in panel.output.value
    panel.kind.value = widgets.ANY
    assert panel.number.max == len(labels) - 1 and calls == 4


def test_one_change_computes_one_view(networks, monkeypatch):
    panel = widgets.Panel(networks, Choice(attack="none"), number=100)
    asked, explore = [], explorer.explore
    monkeypatch.setattr(explorer, "explore", lambda *a: asked.append(a) or explore(*a))
    panel.kind.value = 1  # has fewer images than 100: the number must change, too
    assert len(asked) == 1
    panel.number.value = 1
    assert len(asked) == 2


def test_an_upload_is_shown_and_a_bad_one_told(networks):
    panel = widgets.Panel(networks, replace(DEFENDED, steps=1))
    panel.upload.value = (file("teal.png", file_of(Image.new("RGBA", (90, 50), "teal"))),)
    assert (
        panel.view.label is None
        and "teal.png" in panel.message.value
        and "Nobody knows" in panel.message.value
    )
    assert np.allclose(panel.view.original, np.array([0, 128, 128]) / 255, atol=0.01)
    shown = panel.output.value
    panel.upload.value = (file("<b>.doc", b"not an image"),)
    assert 'role="alert"' in panel.message.value and "no image of a kind" in panel.message.value
    assert "&lt;b&gt;.doc" in panel.message.value and "Traceback" not in panel.message.value
    assert panel.output.value == shown, "the last good image stays"
    panel.number.value = 9
    assert panel.view.label is not None and panel.message.value == ""


def test_controls_without_effect_are_off(networks):
    panel = widgets.Panel(networks)
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
    html = widgets.page(view)
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


def test_frames_and_grid(networks):
    views = explorer.over_budgets(networks, 0, replace(DEFENDED, steps=1), [0, 8 / 255, 16 / 255])
    html = widgets.frames(views)
    assert html.count('class="frame ') == 6 and "<script" not in html and "http" not in html
    assert html.count('type="radio"') == 5 and html.count(" checked>") == 2
    figure = widgets.grid(views, 0)
    assert len(figure.axes) == 12 and figure.get_suptitle().startswith("Test image 0, ")
    shown = figure.axes[10].images[0].get_array()
    assert np.array_equal(shown, views["adaptive", 8 / 255].reconstructed)


# ---------------------------------------------------------------------------------------------------------- notebook


@pytest.fixture(scope="module")
def executed(networks, tmp_path_factory):
    """The notebook, run without a browser."""
    file = tmp_path_factory.mktemp("explorer") / "explorer.ipynb"
    run = report.execute(report.explorer(), file, PARAMETERS)
    assert run["error"] is None
    return file


def test_the_notebook_is_found_and_the_reports_last_chapter():
    assert report.find("explorer") == report.explorer() not in report.numbered()
    assert report.chapters() == [*report.numbered(), report.explorer()]
    cells = nbformat.read(report.explorer(), as_version=4).cells
    assert all(len(c.source.splitlines()) <= 20 for c in cells if c.cell_type == "code")
    for word in ("The question", "You will learn", "You need", "Minutes"):
        assert word in cells[0].source


def test_the_notebook_runs_and_shows_pictures_without_a_kernel(executed, browser, tmp_path):
    notebook = nbformat.read(executed, as_version=4)
    assert not any(o.get("name") == "stderr" for o in report.outputs_of(notebook))
    (figure,) = report.figures_in(notebook)
    assert figure["name"] == "explorer" and "PGD through both" in figure["alt"]
    page = tmp_path / "explorer.html"
    text = pages.chapter(notebook, "explorer").html
    page.write_text(f'<!doctype html><html lang="en"><title>Explorer</title><body>{text}</body></html>')
    assert "<script" not in text and text.count('class="frame ') == 14
    tab, asked = browser.new_page(), []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri())

    def shown(name):
        return tab.locator(f".frame:visible .{name} img")

    assert shown("attacked").count() == 1
    seen = [(shown("attacked").get_attribute("src"), tab.locator(".frame:visible table").inner_text())]
    tab.locator("#frames-eps-4").focus()
    for key in ("ArrowRight", "ArrowRight"):
        tab.keyboard.press(key)
        seen.append(
            (shown("attacked").get_attribute("src"), tab.locator(".frame:visible table").inner_text())
        )
    assert len({picture for picture, _ in seen}) == 3 and len({table for _, table in seen}) > 1
    grey_box = seen[-1][0]
    tab.get_by_label("autoencoder and network (adaptive)").check()
    assert shown("attacked").get_attribute("src") != grey_box
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    tab.close()


def test_what_is_committed_needs_no_kernel(executed, tmp_path):
    copy = tmp_path / "explorer.ipynb"
    nbformat.write(record._as_committed(report.explorer(), nbformat.read(executed, as_version=4)), copy)
    for committed in (copy, settings.ROOT / "notebooks" / "explorer.ipynb"):
        notebook = nbformat.read(committed, as_version=4)
        kinds = [set(output.data) for output in report.outputs_of(notebook)]
        assert {"image/png", "text/plain"} in kinds and not any(
            "html" in str(k) or "widget" in str(k) for k in kinds
        )
        assert widgets.ELSEWHERE in str(notebook) and "widgets" not in notebook.metadata
        assert len(report.figures_in(notebook)) == 1 and committed.stat().st_size < 500_000


# -------------------------------------------------------------------------------------------------------- JupyterLab


@pytest.fixture(scope="module")
def lab(networks, browser, tmp_path_factory):
    """JupyterLab with the notebook, in folders of its own; its address."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "work").mkdir()
    notebook = nbformat.read(report.explorer(), as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = "\n".join(f"{name} = {value!r}" for name, value in PARAMETERS.items())
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / "work" / "explorer.ipynb")
    own = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
    )
    env = {
        **os.environ,
        **{name: str(folder / name.lower()) for name in own},
        "PYTHONPATH": str(settings.ROOT),
    }
    news = folder / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    tracker = folder / "jupyterlab_settings_dir" / "@jupyterlab" / "notebook-extension"
    tracker.mkdir(
        parents=True
    )  # all cells attached, in view or not: what is looked for may be above or below
    (tracker / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": "work",
        "IdentityProvider.token": "test",
    }
    command = [*LAB, "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token=test", server, folder / "log")
        _begin_kernel(f"http://127.0.0.1:{port}/api/sessions?token=test", folder / "jupyter_runtime_dir")
        yield f"http://127.0.0.1:{port}/lab/tree/explorer.ipynb?token=test"
    finally:
        family = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
        server.terminate()  # shuts its kernels down, too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        for process in psutil.wait_procs(family, timeout=5)[1]:
            process.kill()


def _wait_for(address: str, server: subprocess.Popen, log) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=5).read()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def _begin_kernel(sessions: str, runtime) -> None:
    """Start the notebook's kernel and let it import what it needs.

    On a busy machine, JupyterLab asks which kernel to take if it must wait long for one; a page that finds the
    notebook's kernel running does not.
    """
    wanted = {
        "path": "explorer.ipynb",
        "name": "explorer.ipynb",
        "type": "notebook",
        "kernel": {"name": "python3"},
    }
    request = urllib.request.Request(
        sessions, json.dumps(wanted).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=240) as answer:
        kernel = json.load(answer)["kernel"]["id"]
    client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    try:
        # Not wait_for_ready, which takes a kernel for dead that is slow to begin.
        done = client.execute("from helpers.explorer import widgets", reply=True, timeout=600)
        assert done["content"]["status"] == "ok", done["content"]
    finally:
        client.stop_channels()


@pytest.mark.timeout(1500)
def test_in_jupyterlab_the_slider_moves_the_picture_and_the_probabilities(lab, browser):
    from playwright.sync_api import TimeoutError

    # JupyterLab sometimes loses the widgets' first messages on a busy machine (it then logs "Canceled future"): open
    # the page again, as one would. Idle, the controls are there within half a minute.
    for patience in (120_000, 240_000, 360_000):
        tab, complaints = browser.new_page(viewport={"width": 1400, "height": 1200}), []
        tab.on(
            "console",
            lambda message, into=complaints: into.append(message.text) if message.type == "error" else 0,
        )
        tab.on("pageerror", lambda error, into=complaints: into.append(str(error)))
        tab.set_default_timeout(240_000)  # for a busy machine; idle, nothing takes longer than half a minute
        tab.goto(lab)
        tab.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
        tab.get_by_role("menuitem", name="Run", exact=True).click()
        tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        view = tab.locator(".widget-html .explorer:has(.pictures)")
        trouble = tab.locator("[data-mime-type$='jupyter.error'], [data-mime-type$='jupyter.stderr']")
        try:
            view.or_(trouble).first.wait_for(timeout=patience)
            break
        except TimeoutError:
            seen = f"{complaints}; the page:\n{tab.inner_text('body')[:6000]}"
            tab.close()
    else:
        pytest.fail(f"no explorer, three times: {seen}")
    assert not trouble.count(), trouble.all_inner_texts()

    def state():
        probabilities = view.locator("tbody tr").all_inner_texts()
        return (
            view.locator(".attacked img").get_attribute("src"),
            probabilities,
            view.locator("caption").inner_text(),
        )

    slider = tab.locator(".widget-slider:has-text('eps, of 255') [role=slider]")
    slider.focus()
    level, before = int(slider.get_attribute("aria-valuenow").split(".")[0]), state()
    for _ in range(12):
        tab.keyboard.press("ArrowRight")
    tab.wait_for_function(
        "level => document.querySelector('.widget-html .explorer .verdict p').innerText.includes(`${level}/255`)",
        arg=level + 12,
    )
    after = state()
    assert after[0] != before[0], "the attacked picture is another"
    assert after[1] != before[1] and len(after[1]) == 10, "the probabilities are others"
    assert after[2] == before[2] == "Class probabilities: fine-tuned network, autoencoder on"
    tab.get_by_label("autoencoder before it").uncheck()
    tab.locator(".explorer caption:has-text('autoencoder off')").first.wait_for()
    large = {
        "name": "large.png",
        "mimeType": "image/png",
        "buffer": b"no picture" * 1_500_000,
    }  # in one message
    with tab.expect_file_chooser() as chooser:  # the widget's own input is not part of the page
        tab.get_by_role("button", name="or upload an image").click()
    chooser.value.set_files(large)
    tab.get_by_text("large.png: this file is no image of a kind that is read here").wait_for()
    assert not trouble.count(), trouble.all_inner_texts()
    assert not [text for text in complaints if "widget" in text.lower() or "model" in text.lower()], (
        complaints
    )
    tab.close()
