"""Ranks of numbers, and what is read as an array."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.stats import rankdata

from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.arrays import as_vectors, average_ranks, digits_in_common

ROWS = np.array([[1.0, 0.5], [-0.25, 2.0], [0.0, -4.0]], np.float32)


@pytest.mark.parametrize("values", [[], [3.0], [2, 2, 2], [5, -1, 5, 0, 5, np.inf, -np.inf, 0]])
def test_equal_numbers_share_the_mean_of_their_ranks(values: list[float]) -> None:
    assert average_ranks(np.array(values, float)).tolist() == rankdata(values).tolist()


@pytest.mark.parametrize(
    "vectors",
    [
        pd.Series(list(ROWS)),
        pd.Series(ROWS.tolist()),
        np.array([*ROWS, None], object)[:-1],
        torch.from_numpy(ROWS).to(torch.float8_e4m3fn),
        np.ma.masked_array(ROWS, ROWS > 9),
    ],
    ids=["arrays", "lists", "objects", "8 bits", "nothing masked"],
)
def test_rows_are_read_from_whatever_holds_them(vectors: Any) -> None:
    np.testing.assert_array_equal(as_vectors(vectors), ROWS)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (torch.from_numpy(ROWS).to_sparse(), r"\(N, D\), got a sparse tensor: pass one array"),
        (sparse.csr_matrix(ROWS), r"got a sparse csr_matrix: pass \.toarray\(\)"),
        (torch.empty(3, 2, device="meta"), "the device meta, which holds no data"),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged), "got a nested tensor"),
        (np.ma.masked_array(ROWS, ROWS > 1), "NaN or infinity in 1 of 3 rows, index 1"),
        (pd.Series([[1.0, 2.0], [3.0]]), "items of different shapes"),
    ],
    ids=["sparse", "scipy", "meta", "nested", "masked", "lengths"],
)
def test_what_holds_no_rows_is_refused_in_a_sentence(vectors: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_vectors(vectors)


@pytest.mark.parametrize(
    ("values", "digits"),
    [([0.1, -3, 7], 0), ([1961, 1974, np.nan, 2003], 2), ([1.7e9, 1.7e9 + 30, 1.7e9 + 95], 7), ([np.nan], 0), ([], 0)],
)
def test_digits_that_numbers_share(values: list[float], digits: int) -> None:
    assert digits_in_common(np.array(values, float)) == digits
