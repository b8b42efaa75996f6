"""The comparison of autoencoders, on made-up answers and on a few images of the stand-in data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import evaluation, pipeline
from helpers.datasets import storage
from helpers.pipeline import Answers
from helpers.settings import CourseError
from helpers.studies import comparison, search, search_sentences
from helpers.studies.search import SearchRecipe

SHORT = SearchRecipe(images=64, epochs=1, validated=12, attacked=6)
FIELDS = {
    "dataset": "made up",
    "profile": "smoke",
    "model": "resnet20",
    "stage": "initial",
    "defense": "ae:x",
    "threat": "static",
    "eps": 8 / 255,
    "steps": 10,
    "seed": 0,
}


def answers(regular, fgsm, pgd, adaptive=0, n=400):
    """Return answers that are right on the first images of each kind; end-to-end on a quarter of them."""
    counts = {"regular": regular, "fgsm": fgsm, "pgd": pgd}
    found = {
        kind: Answers({**FIELDS, "input": kind}, np.arange(n) < correct) for kind, correct in counts.items()
    }
    return {**found, "adaptive": Answers({**FIELDS, "input": "pgd"}, np.arange(n // 4) < adaptive)}


def card(title, latent, scores, mse=0.001):
    """Accuracies on 1,000 validation images in percent: regular, fgsm, pgd, adaptive."""
    return {
        "name": title,
        "title": title,
        "latent": latent,
        "depth": 2,
        "parameters": 1234,
        "mse": {"fgsm": 3 * mse, "pgd": mse},
        "validation": {
            kind: evaluation.proportion(np.arange(1000) < 10 * score)
            for kind, score in zip(("regular", "fgsm", "pgd", "adaptive"), scores, strict=True)
        },
    }


# ------------------------------------------------------------------------------------------------------ no
# autoencoder


@pytest.fixture(scope="module")
def run():
    run = pipeline.start("patches10", "resnet20", "smoke")
    return replace(run, profile=replace(run.profile, n_test=16, n_sweep=8))


@pytest.mark.deep
def test_without_an_autoencoder_the_classifier_itself_is_measured(run):
    bare, split = comparison.bare_card(run, SHORT), run.data.validation.head(12)
    clean, labels = split.take()
    predicted = evaluation.predict(run.classifier, clean).argmax(1)
    assert bare["validation"]["regular"]["correct"] == (predicted == labels).sum()
    assert (bare["latent"], bare["parameters"], bare["mse"]["regular"]) == (32 * 32 * 3, 0, 0.0)
    attacked = storage.to_float(
        pipeline.inputs(replace(run, profile=replace(run.profile, n_validation=12)), "validation", "fgsm")
    )
    assert bare["mse"]["fgsm"] == pytest.approx(np.mean((attacked - clean) ** 2), rel=1e-3)
    assert (
        0 < bare["mse"]["pgd"] < bare["mse"]["fgsm"] <= 1.01 * run.eps**2
    )  # FGSM moves by eps or to the range's end
    assert bare["validation"]["adaptive"]["n"] == 6 and bare["validation"]["pgd"]["n"] == 12
    assert comparison.table({"none": bare}).index.tolist() == ["no autoencoder"]


@pytest.mark.deep
def test_an_attack_through_both_is_the_static_one_where_there_is_no_autoencoder(run):
    found = comparison.bare_answers(run)
    assert list(found) == ["regular", "fgsm", "pgd", "adaptive"]
    np.testing.assert_array_equal(found["adaptive"].correct, found["pgd"].correct[:8])
    record = found["adaptive"].record()
    assert (record["threat"], record["input"], record["defense"], record["n"]) == (
        "adaptive",
        "pgd",
        "none",
        8,
    )
    images = pipeline.inputs(run, "test", "fgsm")
    right = evaluation.is_correct(run.classifier, images, run.split("test").labels)
    np.testing.assert_array_equal(found["fgsm"].correct, right)


# ------------------------------------------------------------------------------------------------------------
# choosing


def test_the_mean_of_three_has_the_interval_of_paired_images():
    rng = np.random.default_rng(0)
    kinds = ("regular", "fgsm", "pgd")
    before, after = ({kind: Answers({}, rng.random(500) < p) for kind in kinds} for p in (0.5, 0.6))
    middle, low, high = comparison.lead(before, after)
    change = np.mean([after[k].correct.astype(float) - before[k].correct for k in kinds], axis=0)
    drawn = [change[rng.integers(0, 500, 500)].mean() for _ in range(4000)]  # the bootstrap's interval
    assert middle == pytest.approx(change.mean())
    np.testing.assert_allclose([low, high], np.percentile(drawn, [2.5, 97.5]), atol=0.004)
    assert comparison.lead(before, before) == (0.0, 0.0, 0.0)
    back = comparison.lead(after, before)
    np.testing.assert_allclose(back, [-middle, -high, -low])


def test_a_lead_by_one_accuracy_is_paired():
    before, after = answers(200, 200, 200), answers(240, 200, 160)
    assert comparison.lead(before, after, "regular") == evaluation.paired_difference(
        before["regular"].correct, after["regular"].correct
    )
    assert comparison.lead(before, after, "pgd")[2] < 0 < comparison.lead(before, after, "regular")[1]
    assert comparison.lead(before, after)[0] == pytest.approx(0.0)
    # All that changes is that 40 images more are right: paired, that is more certain than of other images.
    low, high = comparison.lead(before, after, "regular")[1:]
    apart = evaluation.difference(before["regular"].record(), after["regular"].record())
    assert high - low < 0.5 * (apart[2] - apart[1])


def test_differences_are_printed_in_points():
    assert comparison.in_points((0.0123, -0.0004, 0.025)) == "+1.2 [+0.0, +2.5]"  # never -0.0


def test_one_image_has_no_interval():
    one = answers(1, 1, 1, n=1)
    with pytest.raises(CourseError, match="1 images are too few for an interval"):
        comparison.lead(one, one)


def test_tables_are_in_the_order_that_they_say():
    cards = {
        "wide": card("wide", 512, (90, 30, 30, 0)),
        "narrow": card("narrow", 128, (20, 20, 20, 0)),
        "middle": card("middle", 256, (60, 60, 60, 0), mse=0.00033),
    }
    table = comparison.table(cards)
    assert table.index.tolist() == ["narrow", "middle", "wide"]
    assert (
        table.loc["middle", "MSE on attacked images"] == "0.00066" and table.loc["wide", "numbers"] == "512"
    )
    assert table.loc["wide", "clean"].startswith("90.0 [")


def compared(cards, validation, test):
    """Return what is known of autoencoders of these names, the first of which may be called paper."""
    return comparison.Compared(
        run=None,
        recipe=SHORT,
        shipped=True,
        found={name: search.Candidate(None, card) for name, card in cards.items()},
        validation=validation,
        test=test,
        bare=answers(360, 40, 0),
    )


def test_the_test_table_is_in_the_order_of_test_images():
    names = {"d2_c64": (360, 200, 200), "d2_c2": (80, 80, 80), "vq_vae": (240, 240, 240)}
    cards = {name: card(name, 1, (0, 0, 0, 0)) for name in names}
    test = {name: answers(*counts, adaptive=3 * (name == "vq_vae")) for name, counts in names.items()}
    validation = {
        "d2_c64": answers(300, 100, 100),
        "d2_c2": answers(20, 20, 20),
        "vq_vae": answers(240, 240, 240),
    }
    table = comparison.test_table(compared(cards, validation, test))
    assert table.index.tolist() == ["d2_c64", "vq_vae", "no autoencoder", "d2_c2"]
    assert table["place before"].tolist() == ["2", "1", "", "3"]  # on validation images the second was first
    assert table["mean of three"].tolist() == ["63.3", "60.0", "33.3", "20.0"]
    assert table["bits"].tolist() == ["131,072", "2,304", "24,576", "4,096"]
    assert (
        table.loc["vq_vae", "end-to-end PGD"].startswith("3.0 [")
        and table.loc["d2_c64", "clean"][:4] == "90.0"
    )


# -----------------------------------------------------------------------------------------------------------
# comparing


def test_the_frontier():
    points = {
        "small": (1, 0.2),
        "worse": (2, 0.2),
        "middle": (2, 0.5),
        "twin": (2, 0.5),
        "big": (9, 0.5),
        "best": (9, 0.9),
    }
    assert comparison.pareto_front(points) == ["small", "middle", "twin", "best"]
    assert comparison.pareto_front({"alone": (3, 0.0)}) == ["alone"]
    assert comparison.dominated_by(points, "worse") == ["small", "middle", "twin"]
    assert comparison.dominated_by(points, "big") == ["middle", "twin", "best"]
    assert comparison.dominated_by(points, "twin") == []


def test_the_pareto_front_is_what_comparing_all_pairs_finds():
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = {str(k): (int(rng.integers(5)), float(rng.integers(5))) for k in range(12)}
        expected = {
            n
            for n, (s, a) in points.items()
            if all(not ((t < s and b >= a) or (t <= s and b > a)) for t, b in points.values())
        }
        found = comparison.pareto_front(points)
        assert set(found) == expected and [points[n][0] for n in found] == sorted(points[n][0] for n in found)


def test_codes_and_floats_are_compared_in_bits():
    assert comparison.bits("vq_vae") == 256 * 9 and comparison.bits("paper") == 512 * 32
    assert comparison.bits("blur") == 8 * 32 * 32 * 3, "it passes on the image"


def test_what_dominates_it_and_by_how_much():
    """Chosen by validation images, with what test images say of it beside it; both paired."""
    cards = {
        "paper": card("Table 1", 512, (0, 0, 0, 0)),
        "vq_vae": card("VQ-VAE", 256, (0, 0, 0, 0)),
        "d1_c2": card("16 x 16 x 2", 512, (0, 0, 0, 0)),
        "d2_c64": card("large", 4096, (0, 0, 0, 0)),
    }
    validation = {
        "paper": answers(268, 212, 232),
        "vq_vae": answers(348, 184, 208),
        "d1_c2": answers(256, 216, 208),
        "d2_c64": answers(360, 360, 360),
    }
    test = {
        "paper": answers(260, 200, 220),
        "vq_vae": answers(340, 180, 200),
        "d1_c2": answers(240, 180, 200),
        "d2_c64": answers(360, 360, 360),
    }
    found = compared(cards, validation, test)
    table = comparison.pareto_table(found, "paper", ["paper", "d1_c2", "d2_c64"])
    criteria = ["mean of three", "clean", "FGSM", "PGD"]
    assert table.index.name == "Table 1, by" and list(table.index) == criteria
    assert table["among all"].tolist() == ["dominated", "dominated", "dominated", "on it"]
    assert table["in its family"].tolist() == ["on it", "on it", "dominated", "on it"]
    assert table["dominated by"].tolist() == ["VQ-VAE", "VQ-VAE", "16 x 16 x 2", "–"]
    starts = [text.split(" [")[0] for text in table["more on validation images"]]
    assert starts == ["+2.3", "+20.0", "+1.0", "–"]
    assert table.loc["mean of three", "more on test images"].startswith("+3.3 [")  # (80 - 20 - 20) / 3 of 400
    assert table.loc["FGSM", "more on test images"].startswith("-5.0 [")  # by chance, and not on test images
    one = [{"paper": of["paper"]} for of in (cards, validation, test)]
    alone = comparison.pareto_table(compared(*one), "paper", ["paper"])
    assert set(alone["among all"]) == {"on it"} and set(alone["dominated by"]) == {"–"}


def test_records_that_notebook_03_publishes_are_not_published_twice():
    cards = {name: card(name, 1, (0, 0, 0, 0)) for name in ("paper", "vq_vae")}
    both = {name: answers(1, 2, 3, 4) for name in cards}
    found = compared(cards, both, both)
    assert len(found.publishable()) == 1 + 4
    assert replace(found, shipped=False).publishable() == []


@pytest.mark.parametrize(
    ("codes", "whole", "verdict"),
    [
        (2, 20, "codebook alone is the stronger"),
        (20, 2, "whole autoencoder is the stronger"),
        (5, 5, "Neither"),
    ],
)
def test_the_stronger_of_two_attacks_is_named_and_the_worst_case_counted(codes, whole, verdict):
    both = answers(300, 200, 200, codes)
    both["bpda"] = Answers({**FIELDS, "input": "bpda"}, np.arange(100) < whole)
    found = compared({"vq_vae": card("VQ-VAE", 256, (0, 0, 0, 0))}, {}, {"vq_vae": both})
    told = search_sentences.two_attacks(found, "vq_vae")
    assert verdict in told and "n = 100" in told
    assert f"image by image: **{min(codes, whole)}.0 [" in told


def test_nothing_is_concluded_from_a_demonstration():
    found = compared({"vq_vae": card("VQ-VAE", 256, (0, 0, 0, 0))}, {}, {"vq_vae": answers(300, 200, 200)})
    assert "%" not in search_sentences.conclusions(replace(found, shipped=False))


def test_how_many_pairs_can_be_told_apart():
    few, some, many = (evaluation.proportion(np.arange(1000) < right) for right in (100, 110, 500))
    assert comparison.told_apart([few, some, many]) == (2, 3)
    assert comparison.told_apart([few]) == (0, 0)
