"""Turn executed notebooks into chapters of one HTML page."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import nbformat

from ..settings import WIDGET_MIME

WIDE = 30
"""A line with more characters than this may need scrolling on a narrow screen."""


@dataclass(frozen=True)
class Chapter:
    """A notebook as a part of a page.

    Attributes:
        id: its anchor, the notebook's name; all other anchors of the chapter begin with it.
        title: its first heading, as text.
        html: the body. It begins with the title as an h2 and has links to the sections.
    """

    id: str
    title: str
    html: str


def chapter(notebook: nbformat.NotebookNode, name: str, others: Collection[str] = ()) -> Chapter:
    """Turn an executed notebook into a chapter that needs no network.

    Formulas become MathML, scripts are removed, code is collapsed, and headings move down one level.

    Args:
        notebook: the executed notebook.
        name: the notebook's file name without its ending.
        others: names of the notebooks that are chapters of the same page. Links to them lead there; links to
            files outside the page become text.
    """
    page = _page_of(notebook)
    headings = _nest_headings(page, name)
    _mend_anchors_and_links(page, name, {name, *others})
    for table in page.find_all("table"):
        mend_table(page, table)
    for image in page.find_all("img"):
        image.attrs |= size_of(image.get("src", ""))
    for text in page.select("pre, math[display=block]"):
        if max(map(len, text.get_text().splitlines()), default=0) > WIDE:
            text["tabindex"] = "0"  # it can be scrolled with the keyboard too
    _list_sections(page, headings)
    return Chapter(name, headings[0].get_text(), str(page))


def _page_of(notebook: nbformat.NotebookNode):
    """Convert a notebook to HTML without scripts."""
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = math_to_mathml(cell.source)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_MIME, None)  # needs a kernel; the picture beside it does not
            if "text/markdown" in output.get("data", {}):
                output.data["text/markdown"] = math_to_mathml(output.data["text/markdown"])
    notebook.metadata.pop("widgets", None)
    template = (Path(__file__).parent / "templates" / "chapter.html.j2").read_text()
    html, _ = HTMLExporter(raw_template=template, exclude_anchor_links=True).from_notebook_node(notebook)
    page = BeautifulSoup(html, "html.parser")
    for element in page.select("script, style[scoped]"):  # pandas' style, meant for a notebook
        element.decompose()
    return page


def _list_sections(page, headings: list) -> None:
    """Put links to a chapter's sections below its title."""
    sections = page.new_tag("ul", attrs={"class": "sections"})
    for heading in headings[1:]:
        if heading.name == "h3":
            link = page.new_tag("a", href=f"#{heading['id']}")
            link.string = heading.get_text()
            sections.append(page.new_tag("li"))
            sections.contents[-1].append(link)
    if sections.contents:
        headings[0].insert_after(sections)


def _nest_headings(page, name: str) -> list:
    """Move headings down one level, skip no level, and give each an id of this chapter.

    Returns:
        The headings, the title first.
    """
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
        heading["data-was"], heading["id"] = (
            heading.get_text().replace(" ", "-"),
            anchor,
        )  # Jupyter's, and the page's
    return headings


def _mend_anchors_and_links(page, name: str, chapters: Collection[str]) -> None:
    """Make ids unique, point links at the page's chapters, and turn other local links into text."""
    new, styles = {}, " ".join(style.get_text() for style in page.find_all("style"))
    for element in page.find_all(id=True):
        if "data-was" in element.attrs:
            new[element.attrs.pop("data-was")] = element["id"]
        elif (
            f"#{element['id']}" not in styles
        ):  # a style sheet names the ids of pandas' styled tables and the explorer
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


def mend_table(page, table) -> None:
    """Make a table accessible to screen readers, and let it scroll where it is too wide."""
    del table["border"]
    if not table.select("tbody td"):
        text = page.new_tag("p")
        text.string = "None."
        table.replace_with(text)
        return
    _join_header_rows(table)
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
    table.wrap(
        page.new_tag("div", attrs={"class": "scroll", "role": "group", "tabindex": "0", "aria-label": title})
    )


def _join_header_rows(table) -> None:
    """Join pandas' two header rows: the names of the columns and, below them, those of the index."""
    rows = table.select("thead tr")
    if len(rows) != 2:
        return
    above, below = (row.find_all(["th", "td"], recursive=False) for row in rows)
    if len(above) != len(below):
        return
    texts = [(a.get_text(strip=True), b.get_text(strip=True)) for a, b in zip(above, below, strict=True)]
    if any(a and b for a, b in texts):
        return
    for cell, (a, b) in zip(above, texts, strict=True):
        cell.string = a or b
    rows[1].decompose()


def size_of(source: str, dpi: int = 150) -> dict[str, str]:
    """Return the width and height attributes of a PNG in a data URI.

    With them, text that has 10 points in the figure has 10 points on the page and on paper.

    Args:
        source: the image's source.
        dpi: dots an inch, the style's savefig.dpi.
    """
    if not source.startswith("data:image/png;base64,"):
        return {}
    width, height = struct.unpack(">II", base64.b64decode(source.partition(",")[2][:48])[16:24])
    return {"width": str(round(96 * width / dpi)), "height": str(round(96 * height / dpi))}


def math_to_mathml(text: str) -> str:
    """Return Markdown with its formulas as MathML, which browsers render without a library."""
    from latex2mathml.converter import convert

    # Code is set aside first: a dollar sign in code does not begin a formula.
    parts = re.split(r"(```.*?```|`[^`]*`)", text, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(
            r"\$\$(.+?)\$\$", lambda m: convert(m[1].strip(), display="block"), parts[i], flags=re.DOTALL
        )
        parts[i] = re.sub(r"(?<!\\)\$([^$\n]+?)\$", lambda m: convert(m[1].strip()), parts[i])
    return "".join(parts)
