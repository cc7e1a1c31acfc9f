"""What counts as one group."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from selfclean_hooks.core.groups import group_text, note_groups
from selfclean_hooks.data.dataset_tree import read_groups
from selfclean_hooks.errors import DataError, SettingError


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), torch.tensor(torch.nan), pd.NA, pd.NaT, ""])
def test_what_is_missing_is_no_group(value: Any) -> None:
    assert group_text(value) == ""


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float32(3), torch.tensor(3), np.array([3]), "3", "3.0"])
def test_a_number_is_one_group_whatever_its_type(value: Any) -> None:
    """A column with gaps holds floats in one split and whole numbers in another."""
    assert group_text(value) == "3"


@pytest.mark.parametrize("value", [2.5, -1, float("inf"), True, ("a", 1), "1.0.0", "v1.0", ".0", "3.00", "a"])
def test_all_else_is_its_text(value: Any) -> None:
    assert group_text(value) == str(value)


@pytest.mark.parametrize("value", [np.zeros(2), torch.zeros(2, 2), pd.Series(["a", "b"])])
def test_several_values_are_no_group(value: Any) -> None:
    with pytest.raises(DataError, match="a group must be one value, got "):
        group_text(value)


@pytest.mark.parametrize("groups", [{0: "a", 1: "b"}, {"a", "b"}])
def test_groups_without_an_order_are_refused(groups: Any) -> None:
    with pytest.raises(SettingError, match="or one group for each sample, got "):
        read_groups([0, 1], [None, None], groups)


def test_groups_that_hold_no_sample_are_pointed_out() -> None:
    assert "no sample is in a group" in note_groups(("", ""))[0]
    assert note_groups(()) == ()
