"""Ranks of numbers."""

import numpy as np
import pytest
from scipy.stats import rankdata

from selfclean_hooks.utils.arrays import average_ranks


@pytest.mark.parametrize("values", [[], [3.0], [2, 2, 2], [5, -1, 5, 0, 5, np.inf, -np.inf, 0]])
def test_equal_numbers_share_the_mean_of_their_ranks(values: list[float]) -> None:
    assert average_ranks(np.array(values, float)).tolist() == rankdata(values).tolist()
