"""The report in a headless Chromium without a network: on a screen, by keyboard, and on paper.

Each check is a function of a page. Its test shows that the report passes and that a page with the fault does
not.
"""

import json
import re
import shutil
from datetime import datetime

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import datasets, report, settings
from helpers.report import pdf

SHOWN = ("00_start_here", "05_results")
"""The committed notebooks that are rendered, with their outputs: formulas, results, checks."""

FAILED = """# A notebook that failed

A formula that is too wide for a telephone:

$$\\frac{1}{n} \\sum_{i=1}^{n}
\\max_{\\|\\delta\\|_\\infty \\le \\epsilon} L(\\theta, x_i + \\delta, y_i) + a + b$$

and code, `price = "$5"`, which is none."""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A report in one file, in a folder where nothing else is."""
    folder, alone = tmp_path_factory.mktemp("report"), tmp_path_factory.mktemp("alone")
    (folder / "notebooks").mkdir()
    for name in SHOWN:
        shutil.copy(settings.ROOT / "notebooks" / f"{name}.ipynb", folder / "notebooks")
    wide = "a_name_that_is_rather_long = " + " + ".join(f"term_{k}" for k in range(30))
    error = new_output("error", ename="CourseError", evalue="no", traceback=["Traceback", f"---> 1 {wide}"])
    cells = [new_markdown_cell(FAILED), new_code_cell(wide, execution_count=1, outputs=[error])]
    nbformat.write(new_notebook(cells=cells), folder / "notebooks" / "99_failed.ipynb")
    recorded = json.loads((settings.FIGURES / "resnet20" / "run.json").read_text())
    nothing = datasets.Split(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, int))
    about = tuple("abcdefghij"), (0, 0, 0), (1, 1, 1), recorded["data"]
    data = datasets.Data("cifar10", nothing, nothing, nothing, *about)
    why = {"cell": 1, "name": "CourseError", "message": "no", "source": wide}
    runs = [
        {
            "notebook": name,
            "title": name,
            "seconds": 60.0,
            "peak_mib": 1000,
            "error": why if name[0] == "9" else None,
        }
        for name in (*SHOWN, "99_failed")
    ]
    weights = [{"file": "weights/cifar10/resnet20.h5", "sha256": "0f" * 32}]
    report.write(
        folder, recorded["parameters"], data, runs, datetime.fromisoformat(recorded["started"]), weights
    )
    return shutil.copy(folder / "index.html", alone / "moved.html")


@pytest.fixture
def opened(browser, page_file):
    """Open the report, or a text in its place.

    The page's ``requests`` and ``complaints`` are what it asked for and what its console said.
    """
    contexts = []

    def open_(text=None, width=1280, scheme="light", scripts=True):
        file = page_file
        if text is not None:
            file = page_file.with_name("changed.html")
            file.write_text(text)
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            offline=True,
            java_script_enabled=scripts,
            bypass_csp=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.requests, page.complaints = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def text(page_file):
    return page_file.read_text()


def changed(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def requests_elsewhere(page):
    return [url for url in page.requests if not url.startswith(("file://", "data:"))] + page.complaints


@pytest.mark.deep
def test_it_asks_for_nothing_and_complains_of_nothing(opened, text):
    page = opened()
    assert requests_elsewhere(page) == []
    assert len([url for url in page.requests if url.startswith("file://")]) == 1, "the page itself only"
    worse = opened(changed(text, "</main>", '<img alt="" src="https://example.org/x.png"></main>'))
    assert "https://example.org/x.png" in requests_elsewhere(worse)
    assert requests_elsewhere(opened(changed(text, "const button", "nonsense(); const button")))


@pytest.mark.slow
def test_the_page_itself_forbids_requests(browser, page_file, text):
    """A picture that a notebook takes from elsewhere is not even asked for."""
    file = page_file.with_name("policy.html")
    file.write_text(changed(text, "</main>", '<img alt="" src="https://example.org/x.png"></main>'))
    context = browser.new_context()
    page, asked = context.new_page(), []
    page.on("response", lambda response: asked.append(response.url))
    page.on("requestfailed", lambda request: asked.append(request.failure))
    page.goto(file.as_uri())
    assert [a for a in asked if "example.org" in a] == [] and any("csp" in str(a).lower() for a in asked)
    context.close()


def formulas(page):
    """Formulas that take no room, and text that looks like one that was not rendered."""
    empty = page.evaluate("""() => [...document.querySelectorAll("math")].filter((m) => {
        const box = m.getBoundingClientRect(); return box.width < 2 || box.height < 2; }).length""")
    raw = page.evaluate("""() => {
        const walker = document.createTreeWalker(document.querySelector("main"), 4);
        const found = []; while (walker.nextNode()) {
          const near = walker.currentNode.parentElement;
          if (!near.closest("pre, code, script")) found.push(walker.currentNode.data); }
        return found.filter((t) => /\\$|\\\\[a-z]+/.test(t)); }""")
    return empty, raw


@pytest.mark.slow
def test_formulas_are_rendered(opened, text):
    page = opened()
    assert page.locator("math").count() >= 15
    assert formulas(page) == (0, [])
    worse = opened(
        changed(changed(text, "</main>", "<p>$x^2$</p></main>"), "<math", '<math style="display: none"')
    )
    assert formulas(worse) == (1, ["$x^2$"])


@pytest.fixture(scope="module")
def axe():
    from axe_playwright_python.sync_playwright import Axe

    def findings(page, scope=None):
        return {v["id"]: v["nodes"][0]["html"] for v in Axe().run(page, scope).response["violations"]}

    return findings


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing(opened, axe, scheme, width):
    """Not even what it calls minor; in light and dark, on a wide and a narrow screen, code unfolded."""
    page = opened(width=width, scheme=scheme)
    page.click("#unfold")
    assert axe(page) == {}


@pytest.mark.slow
def test_axe_would_find_something(opened, axe, text):
    worse = changed(text, "--soft: #565656", "--soft: #c0c0c0")
    worse = changed(worse, "</header>", '<img src="data:,"></header>')
    found = axe(opened(worse), "header")
    assert {"color-contrast", "image-alt"} <= set(found)


def headings(page):
    """Faults of the outline: not one h1, or a level left out."""
    levels = [
        int(name[1])
        for name in page.evaluate(
            "() => [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((h) => h.tagName)"
        )
    ]
    faults = [f"{a} to {b}" for a, b in zip(levels, levels[1:], strict=False) if b > a + 1]
    return faults + ([] if levels.count(1) == 1 and levels[0] == 1 else ["h1"])


@pytest.mark.slow
def test_headings_and_landmarks(opened, text):
    page = opened()
    assert headings(page) == []
    assert page.get_attribute("html", "lang") == "en"
    assert all(page.locator(name).count() == 1 for name in ("main", "header", "nav"))
    assert [page.locator("h2").nth(k).inner_text() for k in range(4)] == [
        "The question",
        "The paper against this run",
        "Transfer against end-to-end attacks",
        "What to believe",
    ]
    assert headings(opened(changed(text, "<h2 id", "<h4 id"))) and headings(opened(text.replace("h1", "h2")))


def unnamed_images(page):
    named = "(image) => image.alt.trim().length > 20 && image.naturalWidth"
    return page.evaluate(f"() => [...document.images].filter((image) => !({named})(image)).length")


@pytest.mark.slow
def test_every_image_is_there_and_described(opened, text):
    page = opened()
    assert page.locator("img").count() > 5 and unnamed_images(page) == 0
    assert unnamed_images(opened(re.sub(r'(<img[^>]*?) alt="[^"]*"', r"\1", text, count=1))) == 1


@pytest.mark.slow
def test_by_keyboard(opened):
    """The first key leads past the navigation; code is folded, and a key unfolds it, one cell or all."""
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, (
        "it is seen when it has the focus"
    )
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    folded, all_of_them = "details.code:not([open])", page.locator("details.code").count()
    before = page.locator(folded).count()
    assert before == all_of_them - 1 > 10, "the cell that failed is open"
    summary = page.locator(f"{folded} > summary").first
    summary.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    assert page.locator(folded).count() == before - 1
    page.focus("#unfold")
    page.keyboard.press("Space")
    assert page.locator(folded).count() == 0 and page.get_attribute("#unfold", "aria-pressed") == "true"
    page.keyboard.press("Space")
    assert page.locator(folded).count() == all_of_them


@pytest.mark.slow
def test_without_scripts_it_is_whole(opened):
    page = opened(scripts=False)
    assert page.locator("#unfold").is_hidden(), "no button that does nothing"
    first = page.locator("details.code").first
    assert not first.locator("pre").is_visible()
    first.locator("summary").click()
    assert first.locator("pre").is_visible()


@pytest.mark.slow
def test_links_lead_somewhere(opened):
    dangling = """() => [...document.querySelectorAll("a[href]")].map((a) => a.getAttribute("href")).filter(
        (href) => href.startsWith("#") ? !document.getElementById(href.slice(1)) :
        !/^(https?|data):/.test(href))"""
    page = opened()
    assert page.evaluate(dangling) == []
    held = page.evaluate("async () => atob(document.querySelector('a[download]').href.split(',')[1])")
    assert len(json.loads(held)["records"]) > 12, "the numbers travel with the page"


def too_wide(page):
    """By how much the page is wider than its window, and images that are."""
    return page.evaluate("""() => Math.max(0, document.documentElement.scrollWidth - innerWidth,
        ...[...document.querySelectorAll("img, h1, h2, h3, p, li, .scroll, pre")].map(
            (e) => Math.round(e.getBoundingClientRect().right) - innerWidth))""")


@pytest.mark.slow
def test_nothing_is_wider_than_a_telephone(opened, text):
    page = opened(width=360)
    assert too_wide(page) == 0
    assert too_wide(opened(changed(text, "img { max-width: 100%; height: auto;", "img {"), width=360)) > 100


def wider_than_paper(page):
    """Parts of the page that reach beyond its right margin when printed on A4, code unfolded."""
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": round((210 - 32) / 25.4 * 96), "height": 1000})
    return page.evaluate("""() => [...document.querySelectorAll("main *")].filter((e) => !e.closest("math") &&
        e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName)""")


@pytest.mark.slow
def test_nothing_is_wider_than_paper(opened, text):
    page = opened()
    assert wider_than_paper(page) == []
    worse = changed(text, "pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 8pt; }", "")
    assert wider_than_paper(opened(worse))


@pytest.mark.slow
def test_paper_is_white_and_shows_no_code(opened):
    page = opened(scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)" != dark
    shown = (
        "() => [...document.querySelectorAll('details.code')].filter((d) => d.getClientRects().length).length"
    )
    assert page.evaluate(shown) == 1, "only the cell that failed"
    assert page.locator("nav").is_hidden()


@pytest.mark.slow
def test_the_pdf(page_file, browser, tmp_path):
    """As make report prints it: a few pages, in order, with text in them and not a picture of text."""
    pdf.print_to_pdf(page_file, tmp_path / "report.pdf")
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF-") and b"/StructTreeRoot" in printed, "tagged, for those who hear it"
    count = len(re.findall(rb"/Type\s*/Page\b(?!s)", printed))
    assert 10 <= count <= 30
    assert printed.count(b"/Font") > 3 and b"/Outlines" in printed
