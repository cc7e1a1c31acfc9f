"""How much a cache keeps, and what goes first."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from selfclean_hooks.embedding import cache as cache_module
from selfclean_hooks.embedding.cache import NAME, Cache
from selfclean_hooks.embedding.embed import embed
from tests.embedding.cache.cached_samples import MIB, names, query, stored
from tests.helpers.embedding_data import Items


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "LIMIT", 4 * 2**20)
    stored(tmp_path, "1", {"a": MIB["a"], "b": MIB["b"]})
    stored(tmp_path, "2", {"c": MIB["c"]})
    stored(tmp_path, "1", {"a": MIB["a"]})
    assert names(tmp_path) == ["1a", "1b", "2c"]
    stored(tmp_path, "1", {"d": MIB["d"]})
    assert names(tmp_path) == ["1a", "1d", "2c"]
    stored(tmp_path, "3", {"e": MIB["e"], "f": MIB["f"]})
    assert names(tmp_path) == ["1d", "3e", "3f"]
    assert (tmp_path / NAME).stat().st_size <= 4 * 2**20
    assert {name: vector[0] for name, vector in Cache(tmp_path, "3").get("ef").items()} == {"e": 4, "f": 5}


def test_the_file_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, "1", MIB)
    assert (tmp_path / NAME).stat().st_size > 6 * 2**20
    monkeypatch.setattr(cache_module, "LIMIT", 3 * 2**20)
    stored(tmp_path, "1", {"a": MIB["a"]})
    assert (tmp_path / NAME).stat().st_size <= 3 * 2**20
    assert names(tmp_path)[0] == "1a"
    assert len(names(tmp_path)) == 2
    monkeypatch.setattr(cache_module, "LIMIT", 0)
    stored(tmp_path, "1", {})
    assert names(tmp_path) == []
    assert query(tmp_path, "SELECT count(*) FROM vectors") == [(0,)]


def test_of_data_larger_than_the_limit_a_part_is_kept_and_the_same_part_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LIMIT", 2**20)
    data = Items(60, size=64)  # of 48 KiB each
    expected = embed(data, nn.Flatten(), progress=False).vectors
    kept: list[list[str]] = []
    for _ in range(3):
        found = embed(data, nn.Flatten(), cache_dir=tmp_path, batch_size=7, progress=False)
        assert np.array_equal(found.vectors, expected)
        assert any("not everything of this data set is kept" in note for note in found.notes)
        assert (tmp_path / NAME).stat().st_size <= 2**20
        kept.append(names(tmp_path))
    assert len(kept[0]) >= 14  # two pages of 32 KiB each
    assert kept[0] == kept[1] == kept[2]


def test_no_second_copy_of_the_features_is_held(tmp_path: Path) -> None:
    data = Items(300, size=64)
    embed(data, nn.Flatten(), cache_dir=tmp_path, batch_size=10, progress=False)
    tracemalloc.start()
    try:
        found = embed(data, nn.Flatten(), cache_dir=tmp_path, batch_size=10, progress=False)
        assert tracemalloc.get_traced_memory()[1] < 1.8 * found.vectors.nbytes  # a second copy: above 2
    finally:
        tracemalloc.stop()
