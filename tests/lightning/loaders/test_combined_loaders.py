"""Lightning's CombinedLoader, changed loader by loader."""

import importlib

import pytest
from torch.utils.data import DataLoader

from selfclean_hooks.training.loader_collections import map_loaders
from selfclean_hooks_lightning.lightning_internals import rebuild_combined
from tests.training.loader_cases import Numbers, batches

A, B, C = (DataLoader(Numbers(n)) for n in (1, 2, 3))


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size", "sequential"])
def test_a_combined_loader(namespace: str, mode: str) -> None:
    made = importlib.import_module(f"{namespace}.utilities.combined_loader").CombinedLoader
    loaders = made({"x": A, "y": [B]}, mode)
    loaders.limits = [5, 1]
    assert map_loaders(loaders, lambda name, loader: loader, rebuild_combined) is loaders
    new = map_loaders(loaders, lambda name, loader: C if name == "y.0" else loader, rebuild_combined)
    assert (type(new), new._mode, new.limits) == (made, mode, [5, 1])
    assert new.iterables == {"x": A, "y": [C]}
    assert loaders.iterables == {"x": A, "y": [B]}
    by_hand = made({"x": A, "y": [C]}, mode)
    by_hand.limits = [5, 1]
    assert str(list(new)) == str(list(by_hand))
    assert batches(B) == [[0], [1]]
