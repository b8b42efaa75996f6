"""Which records of a run are compared with the paper's numbers."""

import numpy as np

from helpers import evaluation
from helpers.pipeline import published


def test_other_attacks_and_systems_are_not_in_the_papers_tables():
    base = dict(dataset="cifar10", profile="full", model="resnet20", stage="initial", defense="ae", seed=0)
    correct = np.ones(4, bool)
    own = evaluation.record(correct, **base, input="pgd", threat="adaptive", eps=8 / 255, steps=10)
    others = [
        evaluation.record(~correct, **base, **fields)
        for fields in (
            {"input": "pgd", "threat": "adaptive", "eps": 8 / 255, "steps": 100},
            {"input": "pgd", "threat": "adaptive", "eps": 4 / 255, "steps": 10},
            {"input": "pgd", "threat": "transfer", "eps": 8 / 255, "steps": 10},
            {"input": "square", "threat": "black_box", "eps": 8 / 255, "steps": 200},
            {"input": "worst_case", "threat": "adaptive", "eps": 8 / 255, "steps": 80},
        )
    ]
    others += [own | {"stage": "single_step"}, own | {"defense": "blur"}, own | {"defense": "ae:unet"}]
    assert published.of_the_paper([*others, own, *others], 8 / 255) == [own]
