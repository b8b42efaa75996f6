"""The slides in a headless Chromium without a network: by keyboard, and whether each fits the projector."""

import pytest

from helpers import report

SIZE = {"width": 1280, "height": 720}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    out = tmp_path_factory.mktemp("slides") / "slides.html"
    report.write_slides(out)
    return out


@pytest.fixture
def opened(browser, file):
    pages = []

    def open_(text=None, scripts=True):
        shown = file
        if text is not None:
            shown = file.with_name("changed.html")
            shown.write_text(text)
        context = browser.new_context(viewport=SIZE, offline=True, java_script_enabled=scripts)
        pages.append(context)
        page = context.new_page()
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: message.type == "error" and page.requests.append(message.text))
        page.on("pageerror", lambda error: page.requests.append(str(error)))
        page.goto(shown.as_uri())
        return page

    yield open_
    for context in pages:
        context.close()


def at(page):
    """The slide that fills the window."""
    return page.evaluate("""() => [...document.querySelectorAll(".slide")].findIndex(
        (slide) => Math.abs(slide.getBoundingClientRect().top) < 2)""")


def too_large(page):
    """Titles of the slides with more in them than they show."""
    return page.evaluate("""() => [...document.querySelectorAll(".slide")].filter((slide) => {
        const parts = [slide, ...slide.querySelectorAll(".content, .part, figure, pre, .scroll")];
        return parts.some((e) => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1)
          || [...slide.querySelectorAll("img")].some((image) => image.clientHeight < 200);
        }).map((slide) => slide.querySelector("h1, h2").innerText)""")


@pytest.mark.deep
def test_every_slide_fits_and_keys_go_through_all(opened, file):
    page = opened()
    assert too_large(page) == [] and len(page.requests) == len({*page.requests} | {file.as_uri()}) >= 1
    assert not [url for url in page.requests if not url.startswith(("file:", "data:"))]
    count, hidden = page.locator(".slide").count(), page.locator(".fragment:not(.shown)").count()
    assert at(page) == 0 and hidden > 3
    for _ in range(count - 1 + hidden):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert at(page) == count - 1 and page.locator(".fragment:not(.shown)").count() == 0
    page.keyboard.press("ArrowRight")
    assert at(page) == count - 1
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(200)
    assert at(page) < count - 1
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    assert at(page) == 0 and page.url.endswith("#slide-0")
    css = "html { scroll-padding-top: 0; scroll-snap-type: y mandatory; font-size:"
    worse = file.read_text().replace(css, "html { font-size: 60px; x:")
    assert too_large(opened(worse))


@pytest.mark.slow
def test_without_scripts_nothing_is_hidden(opened):
    page = opened(scripts=False)
    assert page.locator(".fragment").count() == page.locator(".fragment:visible").count() > 3


@pytest.mark.slow
def test_axe_finds_nothing(opened):
    from axe_playwright_python.sync_playwright import Axe

    page = opened()
    page.evaluate("document.querySelectorAll('.fragment').forEach((e) => e.classList.add('shown'))")
    assert {v["id"]: v["nodes"][0]["html"] for v in Axe().run(page).response["violations"]} == {}
