"""Numbers in the notebooks' prose: which record a mark means, what is written, which claims hold."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers import pipeline
from helpers.maintain import prose
from helpers.settings import CourseError
from helpers.sweeps import results

FIELDS = {
    **prose.TOLD,
    "stage": "initial",
    "defense": "none",
    "threat": "static",
    "n": 2000,
    "ci_low": 0.1,
    "ci_high": 0.2,
}


def record(correct, **fields):
    return {**FIELDS, "correct": correct, "accuracy": correct / 2000, **fields}


RECORDS = [
    record(1800, input="regular", eps=0.0, steps=0),
    record(250, input="fgsm", eps=8 / 255, steps=1),
    record(10, input="pgd", eps=8 / 255, steps=10),
    record(900, input="pgd", eps=2 / 255, steps=10),
    record(20, input="pgd", eps=8 / 255, steps=5),
    record(30, input="pgd", eps=8 / 255, steps=10, stage="fine_tuned", defense="ae", threat="adaptive"),
    record(1, input="fgsm", eps=8 / 255, steps=1, model="sepreresnet56"),
    record(2, input="fgsm", eps=8 / 255, steps=1, profile="quick"),
    record(700, input="worst_case", eps=8 / 255, steps=1000, stage="madry", threat="adaptive"),
    record(600, input="certified", eps=0.25, steps=0, defense="smoothing", threat="any"),
]


@pytest.mark.parametrize(
    "words, text",
    [
        ("regular", "90.0"),
        ("fgsm", "12.5"),
        ("pgd", "0.5"),
        ("pgd eps=2", "45.0"),
        ("pgd steps=5", "1.0"),
        ("fine_tuned ae pgd adaptive", "1.5"),
        ("fgsm : n", "2,000"),
        ("fgsm : wrong", "1,750"),
        ("fgsm : correct", "250"),
        ("regular:low", "10.0"),
        ("regular : high", "20.0"),
        ("worst_case stage=madry adaptive steps=1000", "35.0"),
        ("certified smoothing any radius=0.25", "30.0"),
    ],
)
def test_words_choose_a_record_and_a_field(words, text):
    assert prose.text_of(words, RECORDS) == text


@pytest.mark.parametrize("words", ["square", "pgd adaptive", "fgsm : colour", "regular fgsm eps=7"])
def test_words_that_choose_nothing_are_refused(words):
    with pytest.raises(CourseError):
        prose.text_of(words, RECORDS)


def test_words_that_choose_two_records_are_refused():
    with pytest.raises(CourseError, match="2 records"):
        prose.text_of("fgsm", [*RECORDS, RECORDS[1]])


def test_only_what_is_between_the_marks_is_written():
    text = "Of <!--= fgsm : n -->9<!--/-->, <!--= fgsm -->?<!--/-->% are right.<!--? pgd < fgsm -->"
    expected = text.replace(">9<", ">2,000<").replace(">?<", ">12.5<")
    assert prose.filled(text, RECORDS) == prose.filled(expected, RECORDS) == expected


@pytest.mark.parametrize(
    "claim, true",
    [
        ("pgd < fgsm < regular", True),
        ("pgd < regular < fgsm", False),
        ("regular > 89.9", True),
        ("regular > 90", False),
        ("regular", False),
    ],
)
def test_a_claim_is_compared_with_the_records(claim, true):
    assert prose.holds(claim, RECORDS) is true


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A recorded sweep of three seeds, which leave 10, 20 and 60% at 4/255 and 40% at 8/255."""
    about = {"profile": "quick", "input": "pgd", "steps": 50, "n": 400, "ci_low": 0.1, "ci_high": 0.2}
    cells = [(4, 0, 0.1), (4, 1, 0.2), (4, 2, 0.6), (8, 0, 0.4), (8, 1, 0.4), (8, 2, 0.4)]
    made = [
        record(0, **about, eps=eps / 255, seed=seed) | {"accuracy": accuracy, "correct": int(400 * accuracy)}
        for eps, seed, accuracy in cells
    ]
    kept = {"grid": {"name": "three", "profile": "quick"}, "environment": {}, "records": made}
    (tmp_path / "three.json").write_text(json.dumps(kept))
    monkeypatch.setattr(results, "RECORDED", tmp_path)


@pytest.mark.parametrize(
    "words, text",
    [
        ("sweep=three pgd eps=4 steps=50 seed=1", "20.0"),
        ("sweep=three pgd eps=4 steps=50 seed=1 : n", "400"),
        ("sweep=three pgd eps=4 steps=50 : mean", "30.0"),
        ("sweep=three pgd eps=4 steps=50 : lowest", "10.0"),
        ("sweep=three pgd eps=4 steps=50 : highest", "60.0"),
        ("sweep=three pgd eps=4 steps=50 : range", "50.0"),
        ("sweep=three pgd eps=4 steps=50 : deviation", "26.5"),
        ("sweep=three pgd eps=4 steps=50 : images", "2.3"),
    ],
)
def test_words_choose_a_seed_of_a_sweep_or_what_all_give(sweep, words, text):
    assert prose.text_of(words, RECORDS) == text


@pytest.mark.parametrize("words", ["sweep=three pgd eps=4 steps=50", "sweep=three pgd eps=2 steps=50 : mean"])
def test_a_sweep_that_gives_several_or_none_is_refused(sweep, words):
    with pytest.raises(CourseError):
        prose.text_of(words, RECORDS)


def test_a_claim_may_set_a_sweep_beside_the_recorded_run(sweep):
    cell = "sweep=three pgd eps=4 steps=50"
    assert prose.holds(f"{cell} : mean < pgd eps=2", RECORDS)  # 30 and 45
    assert not prose.holds(f"{cell} : highest < pgd eps=2", RECORDS)
    assert prose.holds(f"{cell} seed=1 > pgd", RECORDS)


def test_a_notebook_is_written_once_and_its_code_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "recorded_results", lambda: {"records": RECORDS})
    mark = "<!--= pgd -->?<!--/-->"
    notebook = tmp_path / "one.ipynb"
    claims = new_markdown_cell(f"{mark}%<!--? fgsm < pgd --><!--? pgd < fgsm -->")
    nbformat.write(new_notebook(cells=[claims, new_code_cell(f"# {mark}")]), notebook)
    assert prose.write([notebook]) == ["one.ipynb"] and prose.write([notebook]) == []
    markdown, code = nbformat.read(notebook, as_version=4).cells
    assert markdown.source.startswith("<!--= pgd -->0.5<!--/-->%") and code.source == f"# {mark}"
    assert prose.untrue(notebook, RECORDS) == ["fgsm < pgd"]
