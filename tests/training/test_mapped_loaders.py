"""Collections of loaders as Lightning takes them, changed loader by loader."""

import importlib
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from torch.utils.data import DataLoader

from selfclean_hooks.training.loaders import map_loaders
from tests.training.loader_cases import Numbers, batches

Pair = namedtuple("Pair", ["left", "right"])
A, B, C = (DataLoader(Numbers(n)) for n in (1, 2, 3))
COLLECTIONS: list[tuple[Any, list[str]]] = [
    (A, [""]),
    ([A, B], ["0", "1"]),
    ((A, B), ["0", "1"]),
    (Pair(A, B), ["0", "1"]),
    ({"x": A, "y": B}, ["x", "y"]),
    (OrderedDict(x=A, y=B), ["x", "y"]),
    ({"x": [A, {"z": B}], "y": C}, ["x.0", "x.1.z", "y"]),
    ([1, 2], [""]),  # Lightning takes it for a loader, and an empty one too
    ([], [""]),
    (None, [""]),
]


@pytest.mark.parametrize(("loaders", "names"), COLLECTIONS)
def test_names_every_loader_and_returns_the_collection_if_none_changed(loaders: Any, names: list[str]) -> None:
    seen = []

    def seeing(name: str, loader: Any) -> Any:
        seen.append(name)
        return loader

    assert map_loaders(loaders, seeing) is loaders
    assert seen == names


@pytest.mark.parametrize(("loaders", "names"), COLLECTIONS)
def test_puts_what_is_new_in_the_same_place(loaders: Any, names: list[str]) -> None:
    before = repr(loaders)
    new = map_loaders(loaders, lambda name, loader: name)
    assert type(new) is type(loaders) or names == [""]
    assert repr(loaders) == before
    if isinstance(new, dict):
        assert list(new) == list(loaders)
    assert _leaves(new) == names


def test_one_change_leaves_the_others() -> None:
    loaders = {"x": [A, B], "y": (C,)}
    new = map_loaders(loaders, lambda name, loader: C if name == "x.1" else loader)
    assert new == {"x": [A, C], "y": (C,)}
    assert new["y"] is loaders["y"]
    assert loaders["x"][1] is B


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size", "sequential"])
def test_a_combined_loader(namespace: str, mode: str) -> None:
    made = importlib.import_module(f"{namespace}.utilities.combined_loader").CombinedLoader
    loaders = made({"x": A, "y": [B]}, mode)
    loaders.limits = [5, 1]
    assert map_loaders(loaders, lambda name, loader: loader) is loaders
    new = map_loaders(loaders, lambda name, loader: C if name == "y.0" else loader)
    assert (type(new), new._mode, new.limits) == (made, mode, [5, 1])
    assert new.iterables == {"x": A, "y": [C]}
    assert loaders.iterables == {"x": A, "y": [B]}
    by_hand = made({"x": A, "y": [C]}, mode)
    by_hand.limits = [5, 1]
    assert str(list(new)) == str(list(by_hand))
    assert batches(B) == [[0], [1]]


def _leaves(new: Any) -> list[str]:
    if isinstance(new, str):
        return [new]
    return [leaf for part in (new.values() if isinstance(new, dict) else new) for leaf in _leaves(part)]
