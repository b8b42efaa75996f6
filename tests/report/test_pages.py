"""Executed notebooks as chapters: headings, links, tables, code."""

import re

import numpy as np
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import evaluation
from helpers.plots import tables
from helpers.report import contents, pages


def chapter_of(*cells, name="05_results", others=("01_fgsm_and_pgd",)):
    notebook = new_notebook(cells=[new_markdown_cell(c) if isinstance(c, str) else c for c in cells])
    chapter = pages.chapter(notebook, name, others)
    return chapter, BeautifulSoup(chapter.html, "html.parser")


def test_a_chapters_headings_stand_below_the_reports_and_leave_no_level_out():
    chapter, page = chapter_of("# Results\n\n## One\n\n#### Deep\n\n# Another\n\n## One")
    assert chapter.title == "Results"
    assert [h.name for h in page.find_all(re.compile("^h[1-6]$"))] == ["h2", "h3", "h4", "h2", "h3"]
    ids = [element["id"] for element in page.find_all(id=True)]
    assert (
        ids[0] == "05_results" and len(set(ids)) == len(ids) and all(i.startswith("05_results") for i in ids)
    )
    assert [a["href"] for a in page.select(".sections a")] == ["#05_results-one", "#05_results-one-again"]
    assert chapter_of("no heading")[0].title == "05_results"


def test_links_lead_to_chapters_or_become_text():
    text = "# T\n\n[a](01_fgsm_and_pgd.ipynb) [b](exercises/01_fgsm_and_pgd.ipynb) [c](../weights/card.json) "
    _, page = chapter_of(text + "[d](https://example.org) [e](#The-end)\n\n## The end")
    links = {a.get_text(): a["href"] for a in page.select("p a")}
    assert links == {"a": "#01_fgsm_and_pgd", "d": "https://example.org", "e": "#05_results-the-end"}
    assert "b c" in page.p.get_text()


def test_pandas_tables_can_be_heard():
    frame = tables.paper_table([], "resnet20")
    html = frame._repr_html_()
    cell = new_code_cell(
        "frame", outputs=[new_output("display_data", {"text/html": html, "text/plain": "no"})]
    )
    _, page = chapter_of("# T\n\n## The table", cell)
    (header,) = page.select("thead tr")
    assert [th.get_text() for th in header.find_all("th")][:4] == ["input", "stage", "defense", "paper"]
    assert all(th["scope"] == "col" for th in header.find_all("th"))
    assert {th["scope"] for th in page.select("tbody th")} == {"row", "rowgroup"}
    assert page.table.parent["tabindex"] == "0" and page.table.parent["aria-label"] == "Table: The table"
    assert not page.find_all("style")


def test_code_is_folded_and_a_failure_is_not():
    good = new_code_cell(
        "a = 1", execution_count=1, outputs=[new_output("stream", name="stdout", text="<b>1</b>")]
    )
    error = new_output("error", ename="E", evalue="v", traceback=["\x1b[31mline <1>\x1b[0m"])
    script = new_output("display_data", {"text/html": "<p>kept</p><script>left()</script>"})
    _, page = chapter_of("# T", good, new_code_cell("bad()", execution_count=2, outputs=[script, error]))
    folded, open_ = page.select("details.code")
    assert "open" not in folded.attrs and "open" in open_.attrs and open_["id"] == "05_results-failed"
    assert page.select("pre.output")[0].get_text() == "<b>1</b>"
    assert "line <1>" in page.select("pre.error")[0].get_text()
    assert "kept" in page.get_text() and not page.find_all("script")
    assert (
        "$"
        not in chapter_of(
            "# T",
            new_code_cell("s", outputs=[new_output("display_data", {"text/markdown": "the value is $x^2$"})]),
        )[1].get_text()
    )


def test_answers_come_back_from_a_notebook(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    answers = {"one": np.arange(13) % 3 == 0, "other": np.zeros(8, bool)}
    evaluation.publish([], answers)
    evaluation.publish([])
    outputs = [new_output("display_data", data=data) for data in shown]
    notebook = new_notebook(cells=[new_code_cell(outputs=outputs)])
    found = contents.answers_in(notebook)
    assert list(found) == list(answers)
    for name, correct in answers.items():
        np.testing.assert_array_equal(found[name], correct)
