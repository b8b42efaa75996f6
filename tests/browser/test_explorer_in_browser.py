"""The explorer's notebook: run without a browser, on a page without a kernel, and in JupyterLab."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request

import nbformat
import psutil
import pytest
from jupyter_client import BlockingKernelClient

from helpers import report, settings
from helpers.cli.report import LAB
from helpers.explorer import widgets
from helpers.maintain import record
from helpers.report import pages

PARAMETERS = {"profile": "smoke", "dataset": "patches10", "model": "resnet20"}
PARAMETERS |= {"seed": 0, "weights": "course", "eps": 8 / 255}


@pytest.fixture(scope="module")
def executed(artifacts_folder, tmp_path_factory):
    """The notebook, run without a browser."""
    file = tmp_path_factory.mktemp("explorer") / "explorer.ipynb"
    run = report.execute(report.explorer(), file, PARAMETERS)
    assert run["error"] is None
    return file


def test_the_notebook_is_found_and_the_reports_last_chapter():
    assert report.find("explorer") == report.explorer() not in report.numbered()
    course = sorted(report.numbered() + report.optional())
    assert report.chapters() == [*course, report.explorer(), *report.appendices()]
    cells = nbformat.read(report.explorer(), as_version=4).cells
    assert all(len(c.source.splitlines()) <= 20 for c in cells if c.cell_type == "code")
    for word in ("The question", "You will learn", "You need", "Minutes"):
        assert word in cells[0].source


@pytest.mark.slow
def test_the_notebook_runs_and_shows_pictures_without_a_kernel(executed, browser, tmp_path):
    notebook = nbformat.read(executed, as_version=4)
    assert not any(o.get("name") == "stderr" for o in report.outputs_of(notebook))
    (figure,) = report.figures_in(notebook)
    assert figure["name"] == "explorer" and "PGD end-to-end" in figure["alt"]
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


def needs_no_kernel(file):
    notebook = nbformat.read(file, as_version=4)
    kinds = [set(output.data) for output in report.outputs_of(notebook)]
    assert {"image/png", "text/plain"} in kinds
    assert not any("html" in str(kind) or "widget" in str(kind) for kind in kinds)
    assert widgets.ELSEWHERE in str(notebook) and "widgets" not in notebook.metadata
    assert len(report.figures_in(notebook)) == 1 and file.stat().st_size < 500_000


def test_the_committed_notebook_needs_no_kernel():
    needs_no_kernel(settings.ROOT / "notebooks" / "explorer.ipynb")


@pytest.mark.slow
def test_what_would_be_committed_needs_no_kernel(executed, tmp_path):
    copy = tmp_path / "explorer.ipynb"
    nbformat.write(record.as_committed(report.explorer(), nbformat.read(executed, as_version=4)), copy)
    needs_no_kernel(copy)


# ------------------------------------------------------------------------------------------------- JupyterLab


@pytest.fixture(scope="module")
def lab(executed, browser, tmp_path_factory):
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

    On a busy machine, JupyterLab asks which kernel to take if it must wait long for one; a page that finds
    the notebook's kernel running does not.
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


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_in_jupyterlab_the_slider_moves_the_picture_and_the_probabilities(lab, browser):
    from playwright.sync_api import TimeoutError

    # JupyterLab sometimes loses the widgets' first messages on a busy machine (it then logs "Canceled
    # future"): open the page again, as one would. Idle, the controls are there within half a minute.
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
        "level => document.querySelector('.widget-html .verdict p').innerText.includes(`${level}/255`)",
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
    tab.get_by_text("large.png: this file is not an image").wait_for()
    assert not trouble.count(), trouble.all_inner_texts()
    assert not [text for text in complaints if "widget" in text.lower() or "model" in text.lower()], (
        complaints
    )
    tab.close()
