"""Learning rates during training."""

from __future__ import annotations

import pytest

from helpers import training


def test_one_cycle():
    rate = training.OneCycle(0.3, 100, 0.2)
    assert [float(rate(step)) for step in (0, 10, 20, 60, 100, 120)] == pytest.approx(
        [0, 0.15, 0.3, 0.15, 0, 0]
    )
    assert training.OneCycle.from_config(rate.get_config())(10) == rate(10)


def test_decay():
    rate = training.Decay(1e-3, 1e-4, 101)
    assert [float(rate(step)) for step in (0, 50, 100, 150)] == pytest.approx([1e-3, 10**-3.5, 1e-4, 1e-4])
    assert float(training.Decay(1e-3, 1e-4, 1)(0)) == pytest.approx(1e-3)
    assert training.Decay.from_config(rate.get_config())(10) == rate(10)
