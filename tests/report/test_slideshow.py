"""Slides from tagged cells: what they show of a cell, and that the class's need no network."""

import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import report
from helpers.cli.app import main
from helpers.report import slideshow
from helpers.settings import CourseError

WORDS = 65
LINES = 16
TEXT = """# 99 · A lesson

> **Bet first.** How <!--= pgd -->many<!--/-->?

## Attack it

Move *every* value, says [the paper](paper.ipynb):

$$x + \\epsilon$$

A last word.

<details><summary>One minute</summary>

Hidden.
</details>

> **What we found** (n = 3).
>
> - One.
> - Two.
> - Three."""


def show(**about):
    return {"slideshow": {"slide_type": "slide", **about}}


def cell(source, metadata, *outputs):
    return new_code_cell(source, metadata=metadata, outputs=list(outputs))


def slides_of(tmp_path, *cells):
    file = tmp_path / "99_lesson.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell(TEXT), *cells]), file)
    return report.slides_of([file])


def one_of(tmp_path, metadata):
    (slide,) = slides_of(tmp_path, new_markdown_cell(TEXT, metadata=metadata))
    return slide, BeautifulSoup(slide.parts[0], "html.parser")


def test_without_show_a_cell_is_shown_whole_but_for_headings_and_folded_answers(tmp_path):
    slide, page = one_of(tmp_path, show())
    assert slide.title == "99 · A lesson" == slide.notebook
    text = page.get_text(" ")
    assert "Bet first." in text and "A last word." in text and "Three." in text
    assert "Hidden" not in text and "Attack it" not in text and "pgd" not in str(page)
    assert page.math and not page.find("a") and "the paper" in text


def test_show_chooses_blocks_and_the_heading_above_them_is_the_title(tmp_path):
    slide, page = one_of(tmp_path, show(show=["Move every value", "$$x", "What we found", "- Two"]))
    assert slide.title == "Attack it"
    assert page.math and [item.get_text() for item in page.find_all("li")] == ["Two."]
    assert len(page.find_all("blockquote")) == 1 and "last word" not in page.get_text()
    shown = "Attack it Move every value, says the paper: What we found (n = 3). Two."
    assert slide.words == len(shown.split())


def test_a_title_may_be_given(tmp_path):
    assert one_of(tmp_path, show(title="Mine", show=["A last"]))[0].title == "Mine"


@pytest.mark.parametrize("words", [["Nothing begins so"], ["A last word", "Hidden"]])
def test_what_is_not_there_is_refused(tmp_path, words):
    with pytest.raises(CourseError, match="99_lesson, cell"):
        one_of(tmp_path, show(show=words))


PRINTED = new_output("stream", text="<1>\n")
PICTURE = new_output(
    "display_data", {"image/png": "iVBORw0KGgo=\n"}, metadata={"image/png": {"alt": "A & B"}}
)
SAID = new_output("display_data", {"text/markdown": "**Said**", "text/plain": "no"})
TABLE = new_output("display_data", {"text/html": "<style>x</style><table><tbody><tr><td>7</td></tr></table>"})


def test_code_is_shown_only_on_request(tmp_path):
    plain, loop = slides_of(
        tmp_path, cell("a = 1", show(), PRINTED), cell("b = 2", show(code=True, title="T"), PRINTED)
    )
    assert plain.title == "Attack it"
    assert "a = " not in BeautifulSoup(plain.parts[0], "html.parser").get_text()
    text = BeautifulSoup(loop.parts[0], "html.parser").get_text()
    assert "b = 2" in text and "<1>" in text and loop.words == 1


def test_outputs_are_shown_by_their_best_form(tmp_path):
    (slide,) = slides_of(tmp_path, cell("a", show(), PRINTED, PICTURE, SAID, TABLE))
    page = BeautifulSoup(slide.parts[0], "html.parser")
    assert page.img["src"] == "data:image/png;base64,iVBORw0KGgo=" and page.img["alt"] == "A & B"
    assert page.strong.get_text() == "Said" and page.td.get_text() == "7" and not page.find("style")
    (slide,) = slides_of(tmp_path, cell("a", show(show=["text/markdown"]), PRINTED, PICTURE, SAID, TABLE))
    page = BeautifulSoup(slide.parts[0], "html.parser")
    assert page.get_text().strip() == "Said" and not page.find("img")


def test_what_was_printed_in_pieces_is_one_block(tmp_path):
    (slide,) = slides_of(tmp_path, cell("a", show(), PRINTED, PRINTED, SAID, PRINTED))
    page = BeautifulSoup(slide.parts[0], "html.parser")
    assert [block.get_text() for block in page.find_all("pre")] == ["<1>\n<1>\n", "<1>\n"]


def test_a_cell_without_outputs_has_no_slide(tmp_path):
    with pytest.raises(CourseError, match="has no output"):
        slides_of(tmp_path, cell("a = 1", show()))


def test_fragments_join_the_slide_that_has_begun(tmp_path):
    fragment = {"slideshow": {"slide_type": "fragment"}}
    (slide,) = slides_of(tmp_path, cell("a", show(), PRINTED), cell("b", {}, SAID), cell("c", fragment, SAID))
    assert len(slide.parts) == 2
    with pytest.raises(CourseError, match="no slide has begun"):
        slides_of(tmp_path, cell("c", fragment, SAID))


# ----------------------------------------------------------------------------------------- the class's slides


@pytest.fixture(scope="module")
def deck():
    return report.slides_of()


def test_the_class_has_its_slides(deck):
    assert 20 <= len(deck) <= 30
    seen = list(dict.fromkeys(slide.notebook for slide in deck))
    assert [title[:2] for title in seen] == list(slideshow.CLASS)


def test_a_slide_can_be_read_from_the_last_row(deck):
    assert {slide.title: slide.words for slide in deck if slide.words > WORDS} == {}
    for slide in deck:
        page = BeautifulSoup("".join(slide.parts), "html.parser")
        code = sum(len(block.get_text().strip().splitlines()) for block in page.select(".highlight"))
        assert code <= LINES, slide.title
        assert page.select("img, blockquote, .highlight, table, pre, math, strong"), slide.title
        assert all(len(image["alt"]) > 30 for image in page.find_all("img"))


def test_only_the_class_has_slides():
    names = {path.stem for path in map(report.find, slideshow.CLASS)}
    for path in report.chapters():
        kinds = {c.metadata.get("slideshow", {}).get("slide_type") for c in nbformat.read(path, 4).cells}
        assert ("slide" in kinds) == (path.stem in names), path.stem


def test_the_page_needs_no_network(tmp_path, deck):
    out = tmp_path / "new" / "slides.html"
    assert report.write_slides(out) == len(deck)
    text = out.read_text()
    page = BeautifulSoup(text, "html.parser")
    linked = [element.get("src") or element.get("href") for element in page.select("[src], [href]")]
    assert linked and all(link.startswith("data:") for link in linked)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", text)
    assert "default-src 'none'" in text and len(page.select("section.slide")) == len(deck) + 1
    ids = [element["id"] for element in page.find_all(id=True)]
    assert len(ids) == len(set(ids))


def test_the_command_writes_the_page_where_it_is_told(tmp_path, capsys):
    out = tmp_path / "class" / "90.html"
    assert main(["slides", "--out", str(out)]) == 0
    assert out.read_text().startswith("<!doctype html>") and "90.html" in capsys.readouterr().err
