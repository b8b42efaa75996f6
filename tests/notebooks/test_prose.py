"""The prose of the lessons: its numbers and claims are the records', and cells are short enough to read."""

import re

import nbformat
import pytest

from helpers import pipeline, report, settings
from helpers.maintain import prose

REWRITTEN = (
    "00_start_here",
    "01_fgsm_and_pgd",
    "02_denoising_autoencoder",
    "03_choosing_the_autoencoder",
    "03b_other_autoencoders",
    "04_fine_tuning",
    "05_results",
    "06_breaking_the_defense",
    "07_honest_baselines",
    "08_reading_a_sweep",
    "explorer",
    "appendix_provenance",
)
"""The notebooks that say what happened. Each of the others comes here when it does."""

WORDS = 1600
WIDTH = 100
HEIGHT = 15
CONDITIONAL = re.compile(r"\b(look whether|(?<!what )if the|if it|unless)\b", re.IGNORECASE)


def cells(notebook, kind):
    found = nbformat.read(report.find(notebook), as_version=4).cells
    return [cell.source for cell in found if cell.cell_type == kind]


@pytest.mark.parametrize("notebook", report.chapters(), ids=lambda n: n.stem)
def test_the_numbers_are_the_recorded_ones(notebook):
    records = pipeline.recorded_results()["records"]
    for source in cells(notebook.stem, "markdown"):
        assert prose.filled(source, records) == source, "write them anew: python -m helpers.maintain.prose"
    assert prose.untrue(notebook, records) == []


@pytest.mark.parametrize("notebook", REWRITTEN)
def test_a_cell_fits_a_slide(notebook):
    for source in cells(notebook, "code"):
        lines = source.splitlines()
        assert len(lines) <= HEIGHT and max(map(len, lines)) <= WIDTH, source


@pytest.mark.parametrize("notebook", REWRITTEN)
def test_a_lesson_is_short(notebook):
    text = re.sub(r"<!--.*?-->", "", " ".join(cells(notebook, "markdown")))
    assert len(text.split()) <= WORDS


@pytest.mark.parametrize("notebook", REWRITTEN)
def test_the_prose_says_what_happened(notebook):
    found = [hit[0] for source in cells(notebook, "markdown") for hit in CONDITIONAL.finditer(source)]
    assert found == []


def questions(text):
    """Return the last sentence of each one-minute question, as a reader sees it."""
    asked = re.findall(r"<summary><b>One minute\.</b> (.+?)</summary>", text, re.DOTALL)
    plain = (re.sub(r"</?code>", "`", re.sub(r"<!--.*?-->", "", one)) for one in asked)
    return [re.split(r"[.:] (?=[A-Z])", one)[-1] for one in plain]


@pytest.mark.parametrize("notebook", [name for name in REWRITTEN if name[:2].isdigit()])
def test_the_guide_knows_each_one_minute_question(notebook):
    """The teacher's guide has a row for each question of a lesson, and none that nobody asks."""
    asked = questions("\n".join(cells(notebook, "markdown")))
    guide = (settings.ROOT / "notebooks" / "README.md").read_text()
    table = guide.partition("<!-- questions -->")[2].partition("<!-- /questions -->")[0]
    rows = re.findall(r"^\| (\w+) \| (.+?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    lesson = notebook.partition("_")[0]
    assert asked and asked == [row[1] for row in rows if row[0] == lesson]
    assert all(one.endswith("?") for one in asked)


def test_each_one_minute_question_is_marked_as_one():
    for notebook in REWRITTEN:
        text = "\n".join(cells(notebook, "markdown"))
        assert len(questions(text)) == len(re.findall("one minute", text, re.IGNORECASE)), notebook


def test_the_first_lesson_asks_before_it_tells():
    text = "\n".join(cells("00_start_here", "markdown"))
    assert text.count("**Bet first.**") == 3 and text.count("<b>One minute.</b>") == 3
    assert text.count("<details>") == text.count("</details>") == 6
