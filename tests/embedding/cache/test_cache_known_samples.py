"""Samples that a cache knows are not even prepared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks.embedding.embed import embed
from tests.embedding.cache.cached_samples import cached, change, encoder, refused, rows, small
from tests.helpers.embedding_data import Items, as_image


@pytest.mark.parametrize("workers", [0, 2])
def test_known_samples_are_not_prepared(tmp_path: Path, workers: int) -> None:
    data = Items(make=as_image, broken=(3,))
    first = cached(data, encoder(small), tmp_path)
    again = embed(data, encoder(refused), cache_dir=tmp_path, batch_size=5, num_workers=workers, progress=False)
    assert again.errors == {3: "OSError: item 3 is broken"}
    assert np.array_equal(first.vectors, again.vectors)
    assert first.keys == again.keys
    data.array[5] = 0
    assert list(cached(data, encoder(refused), tmp_path).errors) == [3, 5]


class Removing(Items):
    """While one item is read, another process removes what is known."""

    def __init__(self, folder: Path) -> None:
        super().__init__(make=as_image)
        self.folder = folder

    def __getitem__(self, index: int) -> Any:
        if index == 7:
            change(self.folder, "DELETE FROM samples")
            change(self.folder, "DELETE FROM vectors")
        return super().__getitem__(index)


def test_what_another_process_removes_meanwhile_is_embedded_again(tmp_path: Path) -> None:
    data = Removing(tmp_path)
    expected = embed(Items(make=as_image), encoder(small), progress=False)
    cached(Items(make=as_image), encoder(small), tmp_path)
    found = embed(data, encoder(small), cache_dir=tmp_path, batch_size=5, progress=False)
    assert np.array_equal(found.vectors, expected.vectors)
    assert rows(tmp_path) == 7
