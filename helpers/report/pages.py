"""Executed notebooks as chapters of one HTML page, and that page as a PDF."""

from __future__ import annotations

import base64
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import nbformat

from ..settings import WIDGET_MIME, CourseError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
"""Programs that print a page without showing it, by name; the first on the PATH is taken."""

WIDE = 30
"""Characters of a line from which on a text may need scrolling on a narrow screen."""


@dataclass(frozen=True)
class Chapter:
    """A notebook as a part of a page.

    Attributes:
        id: its anchor, the notebook's name; all other anchors of the chapter begin with it.
        title: its first heading, as text.
        html: the body, which begins with the title as an h2, and links to the sections.
    """

    id: str
    title: str
    html: str


def chapter(notebook: nbformat.NotebookNode, name: str, others: Collection[str] = ()) -> Chapter:
    """An executed notebook as a chapter that needs no network: formulas are MathML, there are no scripts, code is
    folded, and headings stand a level lower.

    Args:
        name: the notebook's file name without its ending.
        others: names of the notebooks that are chapters of the same page; links to them lead there, and links to files
            that are not in the page become text.
    """
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = math_to_mathml(cell.source)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_MIME, None)  # needs a kernel; what was displayed in its place does not
            if "text/markdown" in output.get("data", {}):
                output.data["text/markdown"] = math_to_mathml(output.data["text/markdown"])
    notebook.metadata.pop("widgets", None)
    template = (Path(__file__).parent / "templates" / "chapter.html.j2").read_text()
    html, _ = HTMLExporter(raw_template=template, exclude_anchor_links=True).from_notebook_node(notebook)
    page = BeautifulSoup(html, "html.parser")
    for element in page.select("script, style[scoped]"):  # pandas' style, for a notebook's own page
        element.decompose()
    headings = _nest_headings(page, name)
    _mend_anchors_and_links(page, name, {name, *others})
    for table in page.find_all("table"):
        _mend_table(page, table)
    for image in page.find_all("img"):
        image.attrs |= size_of(image.get("src", ""))
    for text in page.select("pre, math[display=block]"):
        if max(map(len, text.get_text().splitlines()), default=0) > WIDE:  # may scroll, by keyboard too
            text["tabindex"] = "0"
    sections = BeautifulSoup('<ul class="sections"></ul>', "html.parser").ul
    for heading in headings[1:]:
        if heading.name == "h3":
            link = page.new_tag("a", href=f"#{heading['id']}")
            link.string = heading.get_text()
            sections.append(page.new_tag("li"))
            sections.contents[-1].append(link)
    if sections.contents:
        headings[0].insert_after(sections)
    return Chapter(name, headings[0].get_text(), str(page))


def _nest_headings(page, name: str) -> list:
    """One level lower each, and no level left out; ids are the chapter's own. The first is its title."""
    if page.h1 is None:
        page.insert(0, page.new_tag("h1"))
        page.h1.string = name
    headings, before = page.find_all(re.compile("^h[1-6]$")), 1
    seen = set()
    for heading in headings:
        level = min(int(heading.name[1]) + 1, before + 1, 6)
        heading.name, before = f"h{level}", level
        word = re.sub(r"\W+", "-", heading.get_text()).strip("-").lower() or "section"
        anchor = name if level == 2 and name not in seen else f"{name}-{word}"
        while anchor in seen:
            anchor += "-again"
        seen.add(anchor)
        heading["data-was"], heading["id"] = heading.get_text().replace(" ", "-"), anchor  # Jupyter's, and the page's
    return headings


def _mend_anchors_and_links(page, name: str, chapters: Collection[str]) -> None:
    new, styles = {}, " ".join(style.get_text() for style in page.find_all("style"))
    for element in page.find_all(id=True):
        if "data-was" in element.attrs:
            new[element.attrs.pop("data-was")] = element["id"]
        elif f"#{element['id']}" not in styles:  # pandas' styled tables, the explorer: a style sheet names them
            new[element["id"]] = element["id"] = f"{name}-{element['id']}"
    for link in page.find_all("a", href=True):
        target = link["href"]
        if target.startswith("#"):
            link["href"] = f"#{new.get(unquote(target[1:]), name)}"
        elif not re.match(r"[a-z]+:", target):
            path = PurePosixPath(unquote(target.partition("#")[0]))
            if path.suffix == ".ipynb" and path.stem in chapters and len(path.parts) == 1:
                link["href"] = f"#{path.stem}"
            else:
                link.unwrap()


def _mend_table(page, table) -> None:
    """What pandas and Markdown leave out for those who hear a table; and a frame that scrolls where it is too wide."""
    del table["border"]
    if not table.select("tbody td"):
        text = page.new_tag("p")
        text.string = "None."
        table.replace_with(text)
        return
    rows = table.select("thead tr")
    if len(rows) == 2:  # pandas: names of columns in one row, names of the index in the next
        above, below = (row.find_all(["th", "td"], recursive=False) for row in rows)
        if len(above) == len(below) and not any(a.get_text(strip=True) and b.get_text(strip=True)
                                                for a, b in zip(above, below, strict=True)):
            for a, b in zip(above, below, strict=True):
                a.string = a.get_text(strip=True) or b.get_text(strip=True)
            rows[1].decompose()
    for cell in table.find_all("th"):
        del cell["valign"]
        if not cell.get_text(strip=True):
            cell.name = "td"
        elif cell.find_parent("thead"):
            cell["scope"] = "col"
        else:
            cell["scope"] = "rowgroup" if int(cell.get("rowspan", 1)) > 1 else "row"
    heading = table.find_previous(re.compile("^h[2-6]$"))
    title = f"Table: {heading.get_text()}" if heading else "Table"
    table.wrap(page.new_tag("div", attrs={"class": "scroll", "role": "group", "tabindex": "0", "aria-label": title}))


def size_of(source: str, dpi: int = 150) -> dict[str, str]:
    """Width and height, as attributes, of a PNG in a data URI that is drawn with so many dots an inch (the style's
    savefig.dpi): what was 10 points large in the figure is so on the page, and on paper."""
    if not source.startswith("data:image/png;base64,"):
        return {}
    width, height = struct.unpack(">II", base64.b64decode(source.partition(",")[2][:48])[16:24])
    return {"width": str(round(96 * width / dpi)), "height": str(round(96 * height / dpi))}


def math_to_mathml(text: str) -> str:
    """Markdown with its formulas as MathML, which browsers render without a library."""
    from latex2mathml.converter import convert

    # Code is set aside first: a dollar sign in it is no formula.
    parts = re.split(r"(```.*?```|`[^`]*`)", text, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"\$\$(.+?)\$\$", lambda m: convert(m[1].strip(), display="block"), parts[i], flags=re.DOTALL)
        parts[i] = re.sub(r"(?<!\\)\$([^$\n]+?)\$", lambda m: convert(m[1].strip()), parts[i])
    return "".join(parts)


def find_browser() -> str | None:
    """A Chromium of this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def print_to_pdf(page: Path, target: Path, seconds: int = 300) -> None:
    """Print a page as a PDF by a headless Chromium, without a network.

    Raises:
        CourseError: there is no Chromium here, or it printed nothing.
    """
    browser = find_browser()
    if browser is None:
        raise CourseError(
            f"there is no Chromium here, so no {target.name}: install one (Debian, Ubuntu: apt-get install chromium) "
            f"and make the report again, or open {page.name} in any browser and print it"
        )
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "page.pdf"
        command = [browser, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                   "--no-pdf-header-footer", "--generate-pdf-document-outline", f"--user-data-dir={scratch}/profile",
                   f"--print-to-pdf={made}", page.resolve().as_uri()]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses to run as root otherwise, which containers do
        try:
            subprocess.run(command, capture_output=True, timeout=seconds, check=True)
            made.stat()
        except (OSError, subprocess.SubprocessError) as error:
            raise CourseError(
                f"{Path(browser).name} could not print {page.name} ({type(error).__name__}); open it in a browser and "
                "print it from there"
            ) from error
        os.makedirs(target.parent, exist_ok=True)
        shutil.move(made, target)
