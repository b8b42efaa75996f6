"""What notebook 08 says of a sweep follows from its records; and the shipped sweep is as its prose tells."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from helpers import evaluation
from helpers.studies import seeds, sweep_sentences
from helpers.studies.sweep_sentences import END_TO_END, TITLES, TRANSFER
from helpers.sweeps import cost, results

N = 200


def records_of(accuracy, profile="quick", dataset="cifar10"):
    """Records of every place; ``accuracy`` is a function of place, eps of 255, steps and seed."""
    places = {place for pair in seeds.CLAIMS.values() for place in pair}
    found = []
    for place in sorted(places):
        attacked = [(eps, steps) for eps in (4, 8) for steps in (5, 50)] if place[2] == "pgd" else [(0, 0)]
        for eps, steps in attacked:
            for seed in (0, 1):
                names = dict(zip(seeds.PLACE, place, strict=True))
                fields = {"dataset": dataset, "profile": profile, "model": "resnet20", "seed": seed}
                right = np.arange(N) < round(N * accuracy(place, eps, steps, seed))
                found.append(evaluation.record(right, eps=eps / 255, steps=steps, **names, **fields))
    return found


def ordered(place, eps, steps, seed):
    """Accuracies for which every claim holds by far, in every seed."""
    level = {"initial": 0.4, "fine_tuned": 0.8}[place[0]]
    if place[2] == "regular":
        return 0.9 if place[1] == "none" else 0.6
    if place[1] == "none":
        return 0.0
    return level if place[3] == "static" else 0.1


def maps_of(records):
    return {title: seeds.grid_of(records, place) for place, title in TITLES.items()}


def test_the_design_names_budgets_steps_and_seeds_in_order():
    told = sweep_sentences.design(records_of(ordered))
    assert "quick on cifar10, ResNet-20" in told and "budgets 4, 8 of 255" in told
    assert "5, 50 steps; seeds 0, 1" in told and "of 200 test images" in told


def test_a_sweep_other_than_the_full_one_on_cifar10_is_marked():
    assert sweep_sentences.label(records_of(ordered, "full")) == ""
    assert sweep_sentences.label(records_of(ordered)) == "quick sweep"
    assert "patches10, not" in sweep_sentences.label(records_of(ordered, "smoke", "patches10"))


def test_the_notice_tells_a_small_sweep_from_the_shipped_one():
    told, other = SimpleNamespace(notice=""), SimpleNamespace(notice="> **Notice.** ...")
    shipped, small = records_of(ordered), records_of(ordered, "smoke", "patches10")
    assert sweep_sentences.notice(told, shipped) == ""
    texts = {sweep_sentences.notice(told, small), sweep_sentences.notice(other, shipped)}
    assert len(texts) == 2 and all(text.startswith("> **Notice.**") for text in texts)


def test_rises_are_counted_along_both_axes():
    records = records_of(lambda place, eps, steps, seed: 0.5 + 0.1 * (eps == 8) - 0.2 * (steps == 50))
    lines = sweep_sentences.order(maps_of(records)).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "2 of 2 pairs with a larger budget, 0 of 2 pairs with more steps" in line
        assert "10.0 points" in line
    falling = sweep_sentences.order(maps_of(records_of(lambda place, eps, *_: 0.5 - eps / 100)))
    assert "at most" not in falling and falling.count("0 of 2") == 4


def test_a_sweep_of_one_budget_has_no_pair_of_budgets():
    small = [r for r in records_of(ordered) if r["eps"] < 5 / 255]
    told = sweep_sentences.order(maps_of(small))
    assert "budget" not in told and told.count("0 of 1 pairs with more steps") == 2


def test_the_title_of_the_maps_names_both_ranges():
    title = sweep_sentences.maps_title(maps_of(records_of(ordered)))
    assert "80 to 80%" in title and "10 to 10%" in title


def test_seeds_outside_the_interval_are_counted():
    records = records_of(lambda place, eps, steps, seed: 0.5 + 0.3 * seed * (eps == 8 and steps == 5))
    cells = seeds.against_images(records, TRANSFER)
    assert sweep_sentences.seeds_title(cells).startswith("In 3 of 4 cells")
    assert "50.0, 80.0 at 8/255 with 5 steps" in sweep_sentences.seeds_alt(cells)
    assert "30.0 points" in sweep_sentences.seeds_found(records)
    assert "larger one in 1 of 4 cells" in sweep_sentences.seeds_found(records)
    same = seeds.against_images(records_of(ordered), TRANSFER)
    assert sweep_sentences.seeds_title(same).startswith("In every cell")


def test_claims_survive_depend_or_do_not():
    told = sweep_sentences.verdicts(records_of(ordered))
    assert told.count(": survives") == 4 and "sure in 4" in told and "+40.0 to +40.0 points" in told

    def denied(place, eps, steps, seed):
        if place == END_TO_END:
            return 0.9 if seed or eps == 8 else 0.1
        return ordered(place, eps, steps, seed)

    records = records_of(denied)
    told = sweep_sentences.verdicts(records)
    assert told.count(": survives") == 3 and told.count("does not survive") == 1
    found = {claim: seeds.check(records, claim) for claim in seeds.CLAIMS}
    assert sweep_sentences.claims_title(found).startswith("3 of 4")
    assert "3 of 4 conclusions survive" in sweep_sentences.conclusions(records)


def test_the_box_names_what_is_not_sure():
    def close(place, eps, steps, seed):
        if place == TRANSFER and eps == 4 and not seed:
            return 0.41
        return ordered(place, eps, steps, seed)

    box = sweep_sentences.conclusions(records_of(close))
    assert all(line.startswith(">") for line in box.splitlines())
    assert "4 of 4" in box and "sure in 2 of 4 cells; 1.0 to 40.0 points" in box
    assert "not sure" not in sweep_sentences.conclusions(records_of(ordered)).lower()


def test_the_cost_title_has_the_mean_start():
    steps = [{"name": "start", "seconds": s} for s in (6.0, 9.0)] + [{"name": "attack", "seconds": 99.0}]
    assert "8 s" in sweep_sentences.cost_title(steps)  # 7.5, rounded to even
    assert sweep_sentences.cost_title(cost.recorded()["steps"])


def test_the_shipped_sweep_is_as_the_prose_of_notebook_08_tells():
    records = results.recorded("seeds")["records"]
    verdicts = seeds.verdicts(records)
    assert (verdicts["they do not"] == 0).all(), "no seed denies any claim"
    unsure = verdicts[verdicts["sure in every seed"] < verdicts["cells"]]
    gain = "fine-tuning helps against the same images"
    assert list(unsure.index) == [gain] == [verdicts["most (points)"].idxmin()]
    assert unsure.loc[gain, "most (points)"] - unsure.loc[gain, "least (points)"] > 10
    cells = seeds.against_images(records, TRANSFER)
    assert all(cell["inside"] for cell in cells), "every marker lies on its bar"
    table = seeds.spread(records, TRANSFER)
    assert list(table.index[table["deviation"] > table["of the images alone"]]) == [(16.0, 50)]
    widest = max(cells, key=lambda cell: np.ptp(list(cell["by_seed"].values())))
    assert (255 * widest["eps"], widest["steps"]) == (pytest.approx(16), 50)
    rises = np.diff(seeds.grid_of(records, END_TO_END).to_numpy(), axis=1) > 1e-9
    assert rises.sum() == 1 and rises[0, 0], "from five to ten steps at 2/255, and nowhere else"
    assert (np.diff(seeds.grid_of(records, END_TO_END).to_numpy(), axis=0) <= 1e-9).all()
    near = table.xs(8.0, level=0)
    assert (near["highest"] - near["lowest"]).max() > 2, "as large as between 72% and 74%"
