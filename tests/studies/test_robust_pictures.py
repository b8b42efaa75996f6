"""The pictures that open notebook 07."""

import numpy as np
import pytest
from support import small_in_registry

from helpers import pipeline
from helpers.studies import robust_pictures


@pytest.mark.deep
def test_each_network_is_attacked_itself_within_the_budget(small_weights):
    with small_in_registry():
        run = pipeline.start("patches10", "small", "smoke", weights=str(small_weights))
        shown = robust_pictures.changes(run, ["initial"], n=3)
        same = robust_pictures.changes(run, ["initial"], n=3)
    attacked, change = (shown.rows[f"initial classifier: {row}"] for row in ("attacked", "change"))
    delta = attacked - shown.rows["clean"]
    assert 0 < np.abs(delta).max() <= run.eps + 1e-6
    np.testing.assert_allclose(change, 0.5 + delta / (2 * run.eps), atol=1e-4)
    right = 3 - int(shown.wrong["initial classifier: attacked"].sum())
    assert f"initial classifier {right}" in shown.title and shown.title in shown.alt
    np.testing.assert_array_equal(attacked, same.rows["initial classifier: attacked"])
