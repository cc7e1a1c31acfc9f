from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchvision.datasets import FakeData

from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.data.views.dataset_view import DatasetView
from selfclean_hooks.errors import DataError


class Plain:
    """Map-style without deriving from anything."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return index


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter([1])


class NoLength(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "got a Stream: read the items into a list first"),
        (NoLength(), "got a NoLength: .*it has no length"),
        (iter([1]), "got a list_iterator: read the items"),
        ("folder/", "got a str: open it first"),
        (Path("folder"), "open it first"),
        ({"train": [1], "val": [2]}, r"pass one of its values \(train, val\)"),
        (DataLoader([1]), "got a DataLoader: pass its .dataset"),  # type: ignore[arg-type]
        (FakeData, "got the class FakeData: make an instance of it"),
        (np.array(3), "it has no length"),
        (None, "got a NoneType"),
    ],
)
def test_check_map_style_says_what_to_do(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_map_style(dataset)
    with pytest.raises(DataError, match="a map-style data set is needed"):
        DatasetView(dataset)


def test_check_map_style_accepts_what_can_be_indexed(hub: Any) -> None:
    for dataset in ([1], (1,), np.zeros((2, 3)), torch.zeros(2, 3), FakeData(1), Plain(), hub):
        check_map_style(dataset)
