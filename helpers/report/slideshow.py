"""Slides for a class, from tagged cells of the committed notebooks: one HTML page that needs no network.

A cell is on a slide if its metadata say so, under ``slideshow``, as in JupyterLab's property inspector:

- ``slide_type``: ``slide`` begins a slide; ``fragment`` is added to it when the next key is pressed.
- ``title``: of the slide; else the heading above the cell.
- ``show``: of a Markdown cell, the beginnings of the paragraphs, formulas and list items that are shown; of a
  code cell, the MIME types. Without it all is shown, except headings and folded answers.
- ``code``: whether the slide shows a cell's code.

nbconvert's own slides load reveal.js, require.js and MathJax from the network (jupyter/nbconvert, issue 296).
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from .. import settings
from ..settings import CourseError, write_atomically
from . import contents, execution, pages

CLASS = ("00", "01", "02", "04", "06")
"""The notebooks of the class of 90 minutes, in its order."""

TYPES = ("slide", "fragment")
_HEADING = re.compile(r"^#{1,6} (.+)$")
_BLOCKS = re.compile(r"\n\n+|\n(?=(?:> )?- )")
_FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)
_MARK = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass
class Slide:
    """A slide.

    Attributes:
        notebook: the title of the notebook it comes from.
        title: its heading.
        parts: HTML, one part for each cell; every part but the first is hidden until a key is pressed.
    """

    notebook: str
    title: str
    parts: list[str] = field(default_factory=list)

    @property
    def words(self) -> int:
        """The number of words to read: of text, not of code, printed results, tables and formulas."""
        from bs4 import BeautifulSoup

        page = BeautifulSoup("".join(self.parts), "html.parser")
        for element in page.select("pre, table, math"):
            element.decompose()
        return len(self.title.split()) + len(page.get_text(" ").split())


def write_slides(out: Path, notebooks: Sequence[Path] | None = None) -> int:
    """Write the slides of some notebooks (default: the class's) as one page; return how many there are."""
    import jinja2

    slides = slides_of(notebooks)
    loader = jinja2.PackageLoader("helpers.report")
    templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = templates.get_template("slides.html.j2").render(slides=slides)
    execution.make_folder(out.parent)
    write_atomically(out, text.encode())
    return len(slides)


def slides_of(notebooks: Sequence[Path] | None = None) -> list[Slide]:
    """Return the slides of some notebooks (default: the class's).

    Raises:
        CourseError: a cell's metadata ask for something that is not there.
    """
    found: list[Slide] = []
    for notebook in [contents.find(name) for name in CLASS] if notebooks is None else notebooks:
        begun = len(found)
        source, heading, title = nbformat.read(notebook, as_version=4), "", contents.title_of(notebook)
        for cell in source.cells:
            where = f"{notebook.stem}, cell {cell.id}"
            about = dict(cell.metadata.get("slideshow", {}))
            kind = about.get("slide_type")
            part = ""
            if kind in TYPES:
                part, heading = _part(cell, about, heading, where)
            if kind == "slide":
                found.append(Slide(title, about.get("title") or heading))
            elif kind == "fragment" and len(found) == begun:
                raise CourseError(f"{where} is a fragment, but no slide has begun; make it a slide")
            if part:
                found[-1].parts.append(part)
            heading = _last(cell, heading)
    return found


def _last(cell: nbformat.NotebookNode, heading: str) -> str:
    """Return the last heading of a cell, or the one above it."""
    lines = cell.source.splitlines() if cell.cell_type == "markdown" else []
    return next((match[1] for line in reversed(lines) if (match := _HEADING.match(line))), heading)


def _part(cell: nbformat.NotebookNode, about: dict, heading: str, where: str) -> tuple[str, str]:
    """Return what a slide shows of a cell, as HTML, and the heading above that."""
    if cell.cell_type == "markdown":
        text, heading = _excerpt(cell.source, about.get("show"), heading, where)
        return _clean(_markdown(text)), heading
    shown = _highlighted(cell.source) if about.get("code") else ""
    shown += "".join(_output(output, about.get("show")) for output in _joined(cell.outputs))
    if not shown:
        raise CourseError(f"{where} has no output for its slide; run the notebook and commit its outputs")
    return _clean(shown), heading


def _excerpt(source: str, show: Sequence[str] | None, heading: str, where: str) -> tuple[str, str]:
    """Return the blocks of a Markdown cell that begin as ``show`` says, and the heading above the first."""
    wanted, chosen, above = list(show or ()), [], None
    for block in _BLOCKS.split(_FOLDED.sub("", _MARK.sub("", source)).strip()):
        if match := _HEADING.match(block):
            heading = match[1]
            continue
        begins = [text for text in wanted if _plain(block).startswith(_plain(text))]
        if block and (begins or show is None):
            above = heading if above is None else above
            chosen.append(block.rstrip("\n>"))
            wanted = [text for text in wanted if text not in begins]
    if wanted or not chosen:
        missing = f" that begins with {wanted[0]!r}" if wanted else ""
        raise CourseError(f"{where} has no paragraph{missing}; mend 'show' in the cell's metadata")
    joined = chosen[0]
    for before, block in zip(chosen, chosen[1:], strict=False):
        listed, quoted = (all(re.match(form, text) for text in (before, block)) for form in (r"(> )?- ", ">"))
        joined += ("\n" if listed else "\n>\n" if quoted else "\n\n") + block
    return joined, above or heading


def _plain(text: str) -> str:
    return re.sub(r"[*>`]", "", text).strip()


def _markdown(text: str) -> str:
    from nbconvert.filters import markdown2html

    return markdown2html(pages.math_to_mathml(text))


def _highlighted(code: str) -> str:
    from nbconvert.filters import Highlight2HTML

    return Highlight2HTML()(code, language="python")


def _joined(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return outputs with what was printed in several pieces as one."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream":
            found[-1] = nbformat.from_dict({**found[-1], "text": found[-1].text + output.text})
        else:
            found.append(output)
    return found


def _output(output: nbformat.NotebookNode, show: Sequence[str] | None) -> str:
    """Return an output as HTML: the best of its forms that a page without scripts can show."""
    from nbconvert.filters import strip_ansi

    if output.output_type == "stream":
        text = html.escape(strip_ansi(output.text))
        return f"<pre>{text}</pre>" if show is None or "text/plain" in show else ""
    data = {kind: value for kind, value in output.get("data", {}).items() if show is None or kind in show}
    if settings.WIDGET_MIME in data:
        return ""
    if "image/png" in data:
        alt = output.metadata.get("image/png", {}).get("alt") or output.data.get("text/plain", "")
        source = data["image/png"].replace("\n", "")
        return f'<figure><img src="data:image/png;base64,{source}" alt="{html.escape(alt)}"></figure>'
    if "text/html" in data:
        return data["text/html"]
    if "text/markdown" in data:
        return _markdown(data["text/markdown"])
    text = data.get("text/plain", "")
    return f"<pre>{html.escape(text)}</pre>" if text else ""


def _clean(text: str) -> str:
    """Return HTML without scripts, styles, links and folded text."""
    from bs4 import BeautifulSoup

    page = BeautifulSoup(text, "html.parser")
    for element in page.select("script, style, details"):
        element.decompose()
    for link in page.find_all("a"):
        link.unwrap()
    for table in page.find_all("table"):
        pages.mend_table(page, table)
    return str(page)
