"""What notebook 05 says about its numbers: the sentences follow the measurements."""

from dataclasses import dataclass

import numpy as np
import pytest

from helpers import pipeline
from helpers.evaluation.titles import CELLS
from helpers.studies import result_sentences as sentences

FIELDS = {
    "dataset": "cifar10",
    "profile": "smoke",
    "model": "resnet20",
    "eps": 8 / 255,
    "steps": 10,
    "seed": 0,
}
N = 1000


@dataclass
class Run:
    """What the sentences ask of a run."""

    model: str = "resnet20"
    comparable: bool = True
    label: str = ""


def answers(right, cell, threat="static"):
    kind, stage, defense = cell
    fields = FIELDS | {"input": kind, "stage": stage, "defense": defense, "threat": threat}
    return pipeline.Answers(fields, np.arange(N) < round(10 * right))


def table(**changed):
    """The paper's own table; ``pgd_fine_tuned_ae=50`` changes a cell."""
    percents = {cell: pipeline.PAPER["resnet20"][cell] for cell in CELLS}
    percents |= {cell: changed["_".join(cell)] for cell in CELLS if "_".join(cell) in changed}
    return {a.cell: a for a in (answers(right, cell) for cell, right in percents.items())}


def records(**changed):
    return [a.record() for a in table(**changed).values()]


AWARE = [
    answers(right, ("pgd", stage, "ae"), threat).record()
    for stage, threat, right in (
        ("initial", "grey_box", 60),
        ("initial", "adaptive", 0.1),
        ("fine_tuned", "grey_box", 9),
        ("fine_tuned", "adaptive", 1.3),
    )
]


@pytest.mark.parametrize(
    "changed, told",
    [
        ({}, "11 of 11"),
        ({"pgd_fine_tuned_ae": 61.4}, "9 of 11"),  # not better than alone, and worse than before tuning
        ({"fgsm_fine_tuned_ae": 59.5}, "9 of 11"),
    ],
)
def test_signs_are_the_papers_where_they_are_beyond_chance(changed, told):
    assert told in sentences.signs(Run(), table(**changed))


def test_another_sign_is_not_an_undecided_one():
    turned = sentences.signs(Run(), table(pgd_fine_tuned_ae=61.4))
    assert "1 the other" in turned and "1 are undecided" in turned


@pytest.mark.parametrize("run", [Run(comparable=False), Run("efficientnet_b0")])
def test_without_numbers_of_the_paper_only_chance_is_asked(run):
    told = sentences.signs(run, table(pgd_fine_tuned_ae=61.5))
    assert "10 of 11" in told and "paper" not in told


def test_the_caption_names_the_table_and_the_run():
    told = sentences.caption(Run(label="smoke run"), records())
    assert "Table 2" in told and "n = 1,000" in told and "smoke run" in told
    assert "**" not in sentences.caption(Run(), records())


def test_titles_and_descriptions_have_the_numbers():
    title = sentences.results_title(records(pgd_fine_tuned_none=80, pgd_fine_tuned_ae=78))
    assert "+72.7" in title and "-2.0" in title
    assert "initial, PGD: 0.1 to 72.8" in sentences.results_alt(records())
    told = sentences.knowledge_title(records() + AWARE)
    assert "79.4% oblivious, 9.0% grey-box, 1.3% end-to-end" in told
    assert "end-to-end 0.1 [" in sentences.knowledge_alt(records() + AWARE)
    few = [record | {"n": 200} for record in AWARE]
    assert "1,000" in sentences.counts(records(), few) and "200" in sentences.counts(records(), few)


def audit(*rows):
    moved = [{"variant": v, "title": t, "kind": k, "differences": [{"points": p} for p in points]}
             for v, t, k, *points in rows]  # fmt: skip
    course = {"variant": "course", "title": "the course", "kind": "course", "differences": []}
    return {"parameters": {"profile": "quick"}, "rows": [course | {"records": records()}, *moved]}


def test_an_audit_is_titled_with_what_moves_most():
    found = audit(
        ("a", "one", "departure", 1.0, -3.0),
        ("b", "two", "departure", 0.0, 52.0),
        ("c", "three", "departure", -73.0, 2.0),
        ("all", "together", "departure", 90.0, 0.0),
        ("seed_1", "seed 1", "seed", 0.5, -1.9),
    )
    title = sentences.audit_title(found)
    assert title.replace("\n", " ").endswith("three -73.0, two +52.0; another seed 1.9")
    assert "three -73.0, two +52.0" in sentences.audit_alt(found)
    assert sentences.audit_mark(found) == "quick run, cifar10, n = 1,000"
