"""Collections of loaders, changed loader by loader."""

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from torch.utils.data import DataLoader

from selfclean_hooks.training.loader_collections import map_loaders
from tests.training.loader_cases import Numbers

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
    ([1, 2], [""]),  # a loader itself, and an empty one too
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


def _leaves(new: Any) -> list[str]:
    if isinstance(new, str):
        return [new]
    return [leaf for part in (new.values() if isinstance(new, dict) else new) for leaf in _leaves(part)]
