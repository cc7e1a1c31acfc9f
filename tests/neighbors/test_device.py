"""Screened on a device in blocks of any size, rows on it or sent to it: the same neighbours, tree and pairs."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import torch

from selfclean_hooks import audit_embeddings
from selfclean_hooks.errors import SettingError
from selfclean_hooks.neighbors.cross_search import cross_nearest_neighbors
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.screening import device as module
from selfclean_hooks.neighbors.screening.device import PROCESSOR, Device, products_are_full, screening_on
from selfclean_hooks.neighbors.screening.screen import make_screen
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.torch_settings import full_sums
from tests.helpers.pretended_device import pretended_device
from tests.helpers.reference import random_vectors

CARD = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))
WHOLE, NONE = 1 << 30, 0  # bytes of room
CASES = [  # data, samples, distances of a block, room
    ("clustered", 70, 1 << 20, WHOLE),
    ("clustered", 100, 2000, NONE),
    ("copies", 70, 900, WHOLE),
    ("zero rows", 50, 900, NONE),
    ("gauss", 9, 1, NONE),
    ("gauss", 3, 1 << 20, WHOLE),
    ("gauss", 2, 1, NONE),
]


@contextmanager
def accelerator(kind: str, budget: int, room: int) -> Iterator[Device]:
    if kind == "cuda":
        yield Device(torch.device(kind), budget, room)
    else:
        with pretended_device() as there:
            yield Device(there, budget, room)


def found(x: UnitRows, y: UnitRows, precision: torch.dtype) -> list[torch.Tensor]:
    """All that the engine is asked for."""
    labels = np.arange(len(x)) % 4
    lists = nearest_neighbors(x, 9, labels, screen=precision)
    tree = minimum_spanning_tree(x, lists)
    pairs = cross_nearest_neighbors(x, y, 3, block=20, screen=precision)
    assert lists.same is not None
    assert lists.other is not None
    edges = torch.from_numpy(tree.edges), torch.from_numpy(tree.lengths)
    return [lists.indices, lists.distances, *lists.same, *lists.other, *edges, *pairs[0], *pairs[1]]


@pytest.mark.parametrize("kind", ["pretended", CARD])
@pytest.mark.parametrize(("data", "n", "budget", "room"), CASES)
def test_what_is_found_does_not_depend_on_the_device(data: str, n: int, budget: int, room: int, kind: str) -> None:
    x, y = (UnitRows.of(random_vectors(data, n, 12, seed)) for seed in (0, 1))
    for precision in (torch.bfloat16, torch.float32):
        expected = found(x, y, precision)
        with accelerator(kind, budget, room) as there, screening_on(there):
            again = found(x, y, precision)
        for one, other in zip(expected, again, strict=True):
            assert torch.equal(one, other)


def test_rows_lie_on_the_device_where_they_fit() -> None:
    x = UnitRows.of(random_vectors("gauss", 50, 8, 0))
    with pretended_device() as kind:
        for room, there in ((1 << 20, kind.type), (100, "cpu")):
            with screening_on(Device(kind, room=room)):
                screen = make_screen(x, torch.bfloat16)
            assert screen.columns.device.type == there
            assert screen.distances(screen).device.type == kind.type


@pytest.mark.parametrize("budget", [1, 7, 300, 1 << 24])
def test_a_block_holds_no_more_than_its_budget(budget: int) -> None:
    for rows, columns in ((1, 1), (5, 100_000), (100_000, 100_000), (1_000_000, 3)):
        height, width = Device(torch.device("cpu"), budget).block(rows, columns)
        assert 1 <= height <= rows
        assert 1 <= height * min(width, columns) <= max(budget, 1)


def test_a_device_of_another_kind_or_of_short_products_does_not_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Device.of(torch.device("meta")) is PROCESSOR
    monkeypatch.setattr(module, "products_are_full", lambda kind, precision: False)
    monkeypatch.setattr(module, "_free_bytes", lambda kind: 1 << 30)
    assert Device.of(torch.device("mps")) is PROCESSOR
    monkeypatch.setattr(module, "products_are_full", lambda kind, precision: True)
    assert Device.of(torch.device("mps")).kind.type == "mps"


@pytest.mark.parametrize("bits", [13, 8])
def test_short_products_are_noticed(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of TF32 have lost 13 bits of their factors."""
    cpu = torch.device("cpu")
    assert products_are_full(cpu, torch.float32)
    assert products_are_full(cpu, torch.bfloat16)
    products_are_full.cache_clear()

    def short(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = (part.view(torch.int32).bitwise_and(-1 << bits).view(torch.float32) for part in (a, b))
        return a @ b.T

    monkeypatch.setattr(module, "matrix_product", short)
    assert not products_are_full(cpu, torch.float32)
    products_are_full.cache_clear()


@pytest.mark.parametrize("before", [True, False, (False, False)])
def test_sums_are_full_within_and_as_they_were_afterwards(before: Any) -> None:
    matmul, name = torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"

    def state() -> tuple[bool, Any]:
        return getattr(matmul, name), getattr(matmul, f"{name}_split_k", None)

    if not isinstance(before, bool) and state()[1] is None:
        pytest.skip("this version of torch knows one setting")
    setattr(matmul, name, before)
    held, within = state(), []
    try:
        with suppress(ZeroDivisionError), full_sums(torch.device("cuda")):
            within.append(state()[0])
            raise ZeroDivisionError
        assert within == [False]
        assert state() == held
    finally:
        setattr(matmul, name, True)


def test_embeddings_are_compared_on_the_device_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def of(kind: torch.device) -> Device:
        asked.append(kind.type)
        return PROCESSOR

    monkeypatch.setattr(Device, "of", of)
    audit_embeddings(random_vectors("gauss", 20, 4, 0), device="cpu")
    assert set(asked) == {"cpu"}
    with pytest.raises(SettingError, match="device must be"):
        audit_embeddings(random_vectors("gauss", 20, 4, 0), device="nowhere")
