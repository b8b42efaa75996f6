"""What the training tests share."""

from __future__ import annotations

import numpy as np
import pytest
from support import grey_levels

from helpers import training


@pytest.fixture
def samples():
    """Return 24 images in two sources, with labels."""
    return training.Samples([grey_levels(12), grey_levels(12, 1)], np.arange(12) % 10)
