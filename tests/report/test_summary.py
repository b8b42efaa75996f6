"""The first page: each sentence says what was measured, and no more."""

import numpy as np
import pytest
from bs4 import BeautifulSoup
from small_notebooks import PARAMETERS

from helpers import datasets, evaluation, report
from helpers.pipeline import published
from helpers.report import summary

pytestmark = pytest.mark.deep  # each summary draws figures

CIFAR = {**PARAMETERS, "dataset": "cifar10", "profile": "quick"}


BARE, BEHIND, DEFENDED = ("pgd", "initial", "none"), ("pgd", "initial", "ae"), ("pgd", "fine_tuned", "ae")


def record_of(cell, percent, threat="static", n=1000, eps=8 / 255, model="resnet20"):
    kind, stage, defense = cell
    fields = {"dataset": "cifar10", "profile": "quick", "model": model, "seed": 0, "threat": threat}
    eps, steps = (0, 0) if kind == "regular" else (eps, {"fgsm": 1, "pgd": 10}.get(kind, 100))
    correct = np.arange(n) < round(n * percent / 100)
    return evaluation.record(
        correct, stage=stage, defense=defense, input=kind, eps=eps, steps=steps, **fields
    )


def summary_of(*records, **changes):
    parameters = {**CIFAR, **changes}
    return summary.of_run(parameters, parameters["dataset"], list(records))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (10, 60, "the defense helps"),
        (60, 10, "the defense does harm"),
        (50, 51, "makes no difference that this run"),
    ],
)
def test_the_answer_says_what_the_protocol_gives(before, after, words):
    found = summary_of(record_of(BARE, before), record_of(DEFENDED, after))
    assert (
        words in found.answer[0]
        and f"{before:.1f}% [" in found.answer[0]
        and f"{after:.1f}% [" in found.answer[0]
    )
    assert "0.13% and 79.36%" in found.answer[0]


def test_one_picture_holds_the_answer():
    """The claim, the defense rebuilt, what its attacker leaves, and each robust network."""
    robust = record_of(("worst_case", "single_step", "none"), 30, "adaptive")
    found = summary_of(record_of(DEFENDED, 79), record_of(DEFENDED, 2, "adaptive"), robust).figures["answer"]
    assert all(value in found["alt"] for value in ("79.0%", "2.0%", "30.0%")) and found["png"]
    assert "answer" not in summary_of(record_of(DEFENDED, 79)).figures


def test_a_quick_run_of_shipped_networks_does_not_say_that_it_trained():
    doubts = {
        networks: " ".join(summary.of_run(CIFAR, "cifar10", [], networks=networks).doubts)
        for networks in ("shipped", "trained")
    }
    assert "trains on a subset" in doubts["trained"] and "trains on a subset" not in doubts["shipped"]


@pytest.mark.parametrize(
    ("static", "adaptive", "words", "claim"),
    [
        (70, 0, "falls", "no"),
        (70, 50, "loses a part", "no"),
        (70, 71, "no worse that this run can see", "undecided"),
        (50, 70, "doubt that attack", "yes"),
    ],
)
def test_the_answer_says_what_is_left_for_an_attacker_who_knows(static, adaptive, words, claim):
    found = summary_of(record_of(DEFENDED, static), record_of(DEFENDED, adaptive, "adaptive"))
    assert words in found.answer[1] and f"leave {adaptive:.1f}%" in found.answer[1]
    verdicts = {c.text: c.verdict for c in found.claims}
    assert verdicts["The defense is as good against an attacker who knows it."] == claim


def test_what_was_not_measured_is_said_to_be_missing():
    found = summary_of()
    assert all(sentence.startswith("No notebook measured") for sentence in found.answer)
    assert {claim.verdict for claim in found.claims} == {"not measured"}
    assert found.comparison == "" and not found.figures and "No notebook of this run" in found.adaptive
    half = summary_of(record_of(BARE, 10))
    assert half.answer[0].startswith("No notebook measured") and set(half.figures) == {"paper"}


def test_the_comparison_counts_signs_and_distances():
    shift = 10
    records = [
        record_of(cell, max(0, value - shift), n=10_000)
        for cell, value in published.PAPER["resnet20"].items()
    ]
    found = summary_of(*records)
    assert "11 differences" in found.comparison
    assert "Here 11 have the paper's sign, 0 the other" in found.comparison
    assert "by more than 10.0 points" in found.comparison and "in 0 of 12" in found.comparison
    assert (
        "in 12 of 12"
        in summary_of(*(record_of(c, v) for c, v in published.PAPER["resnet20"].items())).comparison
    )
    turned = [record_of(cell, 100 - value, n=10_000) for cell, value in published.PAPER["resnet20"].items()]
    assert "Here 0 have the paper's sign, 11 the other" in summary_of(*turned).comparison


def test_the_same_images_are_compared_image_by_image():
    """Of 1,000 images ten more are right: within chance for different images, but not for the same ones."""
    before, after = np.arange(1000) < 500, np.arange(1000) < 515
    one, other = record_of(BARE, 50), record_of(DEFENDED, 51.5)
    answers = {"static/initial/none/pgd": before, "static/fine_tuned/ae/pgd": after}
    found = summary.of_run(CIFAR, "cifar10", [one, other], answers=answers)
    assert "the defense helps" in found.answer[0]
    assert "no difference" in summary_of(one, other).answer[0]
    answers["static/fine_tuned/ae/pgd"] = after[:900]  # not those of the record
    assert "no difference" in summary.of_run(CIFAR, "cifar10", [one, other], answers=answers).answer[0]


def test_the_verdicts_count_all_claims_of_the_page():
    """A difference that alone would be beyond chance is not, among others that are not beyond chance."""
    pair = [record_of(BARE, 50), record_of(DEFENDED, 55)]
    assert "the defense helps" in summary_of(*pair).answer[0]
    more = record_of(BEHIND, 50), record_of(DEFENDED, 55, "adaptive")
    assert "no difference" in summary_of(*pair, *more).answer[0]


def test_only_the_records_of_this_run_count():
    right = record_of(DEFENDED, 70)
    others = (
        record_of(DEFENDED, 1, eps=4 / 255),
        record_of(DEFENDED, 1, model="sepreresnet56"),
        record_of(DEFENDED, 1, n=10),
        record_of(DEFENDED, 1, eps=0),
    )
    assert summary_of(right, *others).transfer == {DEFENDED: right}
    assert summary_of(*others, right).transfer == {DEFENDED: right}
    worst = record_of(("worst_case", "fine_tuned", "ae"), 3, "adaptive", n=100)
    assert (
        "All attacks of this run together leave 3.0%"
        in summary_of(right, record_of(DEFENDED, 5, "adaptive"), worst).adaptive
    )


def test_networks_trained_on_attacks_are_all_named():
    assert len(summary_of(record_of(DEFENDED, 70)).answer) == 2
    systems = {("single_step", "none"): (78, 37), ("joint", "ae"): (75, 30), ("initial", "none"): (92, 1)}
    found = summary_of(
        *(record_of(("regular", *system), clean) for system, (clean, _) in systems.items()),
        *(record_of(("worst_case", *system), worst, "adaptive") for system, (_, worst) in systems.items()),
    )
    last = found.answer[-1]
    assert "single-step adversarial training 37.0% [" in last and "(78.0% clean)" in last
    assert "trained together 30.0% [" in last and "initial" not in last


def test_what_a_network_began_with_is_said_with_its_numbers():
    def doubts(model, **changes):
        return " ".join(summary_of(record_of(DEFENDED, 70, model=model), model=model, **changes).doubts)

    said = doubts("efficientnet_b0")
    assert (
        "training began with EfficientNet-Lite0, ImageNet." in said
        and "for one pass over the six sources" in said
    )
    assert "ImageNet" not in doubts("efficientnet_b0", weights="none")
    assert "began with" not in doubts("resnet20") and "one pass" not in doubts("resnet20")


@pytest.mark.parametrize("changes", [{"eps": 4 / 255}, {"dataset": "patches10"}])
def test_other_budgets_and_data_are_not_set_beside_the_paper(changes):
    eps = changes.get("eps", 8 / 255)
    found = summary_of(record_of(BARE, 10, eps=eps), record_of(DEFENDED, 60, eps=eps), **changes)
    words = " ".join(
        [*found.answer, found.comparison, *found.doubts, *(f["alt"] for f in found.figures.values())]
    )
    assert "the defense helps" in words
    assert (
        "paper:" not in words
        and "79.36" not in words
        and "RobustBench" not in words
        and "Hollow" not in words
    )


def rendered(records, data=None, **changes):
    parameters = {**CIFAR, **changes}
    info = {"parameters": parameters, "started": "2000-01-01", "minutes": 1, "notebooks": [], "data": {}}
    return report.render(
        {**info, "weights": [], "environment": {}}, data or cifar10_without_images(), records, []
    )


def cifar10_without_images():
    nothing = datasets.Split(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, int))
    return datasets.Data("cifar10", nothing, nothing, nothing, tuple("abcdefghij"), (0, 0, 0), (1, 1, 1))


def test_a_network_without_a_table_in_the_paper(monkeypatch):
    monkeypatch.delitem(published.PAPER, "resnet20")
    text = rendered([record_of(BARE, 10), record_of(DEFENDED, 60)])
    assert "The paper has no numbers for this network." in text and ">60.0 [" in text
    assert "79.36" not in text and "It reports that" not in text and "The paper against this run" not in text


def test_the_profile_is_said_loudly_unless_it_is_full():
    for profile in ("smoke", "quick"):
        assert f"<strong>A {profile} run.</strong>" in rendered([], profile=profile)
    assert 'class="notice"' not in rendered([], profile="full")


def test_a_missing_cell_is_a_dash():
    text = rendered([record_of(BARE, 10), record_of(BARE, 5, "grey_box"), record_of(BEHIND, 3, "adaptive")])
    assert (
        "–" in text and "10.0 [" in text and "None" not in BeautifulSoup(text, "html.parser").main.get_text()
    )
