"""A data set is opened once: how many views an audit makes of it, and how often it reads each sample."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfclean_hooks import AuditedDataset, audit, audit_splits
from selfclean_hooks.data.fingerprint import data_fingerprint
from selfclean_hooks.data.views import cached_dataset
from selfclean_hooks.data.views.cached_dataset import CachedDataset
from selfclean_hooks.data.views.dataset_view import DatasetView

TWICE = 3  # samples read a second time, to see whether items are drawn at random
READS: Counter[tuple[str, int]] = Counter()
VIEWS: Counter[int] = Counter()


class Counted(Dataset[Any]):
    """Small images; counts what is read of it and of its copies."""

    def __init__(self, n: int, name: str = "", labels: bool = True, draw: Callable[[], Tensor] | None = None) -> None:
        self.n, self.name, self.labels, self.draw = n, name, labels, draw

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        READS[self.name, index] += 1
        numbers = np.random.default_rng([index, len(self.name)]).random((3, 8, 8), dtype=np.float32)
        image = torch.from_numpy(numbers) if self.draw is None else self.draw()
        return (image, index % 3) if self.labels else image


def module() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 3))


def function(batch: Tensor) -> Tensor:
    return batch.flatten(1)


@pytest.fixture(autouse=True)
def _counters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    own = DatasetView.__init__

    def counting(self: DatasetView, dataset: Any) -> None:
        VIEWS[id(dataset)] += 1
        own(self, dataset)

    monkeypatch.setattr(DatasetView, "__init__", counting)
    READS.clear()
    VIEWS.clear()
    yield
    READS.clear()
    VIEWS.clear()


@pytest.mark.parametrize(
    ("n", "backbone", "labels"),
    [
        (30, module(), True),
        (30, function, False),
        (300, function, True),
        (600, module(), True),
    ],
)
def test_an_audit_opens_a_data_set_once_and_reads_it_once(n: int, backbone: Any, labels: bool) -> None:
    result = audit(Counted(n, labels=labels), backbone or module(), device="cpu", progress=False)
    assert list(VIEWS.values()) == [1]
    assert READS.total() <= 1.1 * n + len(result.thumbnails or {})
    assert set(READS) == {("", index) for index in range(n)}
    if n <= cached_dataset.MAX_ITEMS:  # then what is shown is in the cache, too
        assert READS.total() == n + TWICE


@pytest.mark.parametrize(("n", "names"), [(300, ("train", "val")), (30, ("train", "val", "another"))])
def test_so_do_splits(n: int, names: tuple[str, ...]) -> None:
    audit_splits({name: Counted(n, name) for name in names}, module(), device="cpu", progress=False)
    assert list(VIEWS.values()) == [1] * len(names)
    assert READS.total() == len(names) * (n + TWICE)


def test_so_does_an_audited_data_set() -> None:
    AuditedDataset(Counted(300), backbone=module(), device="cpu", progress=False)
    assert list(VIEWS.values()) == [1]
    assert READS.total() == 300 + TWICE


def test_what_is_drawn_at_random_is_read_anew() -> None:
    before = torch.get_rng_state()
    result = audit(Counted(30, draw=lambda: torch.rand(3, 8, 8)), function, device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert any("the global random generators" in note for note in result.provenance["notes"])
    # each of the three samples twice, and twice with a seed, to see whose generator it is
    assert READS.total() == 30 + 4 * TWICE + len(result.thumbnails or {})


def test_the_fingerprint_of_a_view_reads_what_the_audit_reads() -> None:
    data = Counted(300)
    view = DatasetView(data)
    assert data_fingerprint(view) == data_fingerprint(data)
    READS.clear()
    view = DatasetView(data)
    data_fingerprint(view)
    audit(view, module(), device="cpu", progress=False)
    # one in twenty twice, and two with an eye to what reading changes in the data set
    assert READS.total() == 300 + 300 // 20 + 2 + TWICE


def test_workers_read_the_same() -> None:
    here, there = (
        audit(Counted(60), module().requires_grad_(False).apply(_ones), num_workers=workers, progress=False)
        for workers in (0, 2)
    )
    assert np.array_equal(here.scores.near_duplicate, there.scores.near_duplicate)
    assert here.thumbnails == there.thumbnails


def _ones(part: nn.Module) -> None:
    if isinstance(part, nn.Linear):
        with torch.no_grad():
            part.weight.copy_(torch.linspace(-1, 1, part.weight.numel()).sin().view_as(part.weight))
            part.bias.zero_()


class Buffer(Dataset[Tensor]):
    """Returns one tensor, filled anew for each item."""

    def __init__(self) -> None:
        self.held = torch.zeros(3)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return self.held.fill_(index)


def test_an_item_changed_in_place_is_read_again() -> None:
    items = CachedDataset(Buffer())
    assert [float(items[index][0]) for index in (0, 1, 0, 3, 1)] == [0, 1, 0, 3, 1]


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_dataset, "MAX_ITEMS", 5)
    items = CachedDataset(Counted(20))
    for index in (*range(20), *range(20)):
        items[index]
    assert READS.total() == 35
    READS.clear()
    monkeypatch.setattr(cached_dataset, "MAX_BYTES", 3 * 3 * 8 * 8 * 4 + 1000)
    items = CachedDataset(Counted(20))
    for index in (*range(20), *range(20)):
        items[index]
    assert READS.total() == 37


def test_nothing_is_kept_of_what_draws_from_the_global_generators() -> None:
    items = CachedDataset(Counted(3, labels=False, draw=lambda: torch.rand(3)))
    assert not torch.equal(items[0], items[0])
