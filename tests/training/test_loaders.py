"""Loaders made anew for what is kept: against loaders made by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from selfclean_hooks.training.loaders import filter_loader, refusal, sampled_indices
from tests.training.loader_cases import Case, Heir, Numbers, OwnClass, batches, cases, epoch, positions, seeded


@given(cases())
def test_draws_what_a_loader_made_by_hand_draws(case: Case) -> None:
    new = filter_loader(case.loader, positions(*case.kept))
    came = batches(new)
    items = [item for batch in came for item in batch]
    assert len(new) == len(came)
    assert set(items) <= set(case.kept)
    assert case.once is None or sorted(items) == sorted(case.once)
    assert new is case.loader or came == batches(case.twin)


@given(cases())
def test_nothing_of_the_user_changes(case: Case) -> None:
    loader, sampler = case.loader, case.loader.sampler
    generators = [torch.default_generator, loader.generator, getattr(sampler, "generator", None)]
    before = vars(loader).copy(), vars(sampler).copy(), [g.get_state() for g in generators if g is not None]
    new = filter_loader(loader, positions(*case.kept))
    assert before[:2] == (vars(loader), vars(sampler))
    assert all(map(torch.equal, before[2], [g.get_state() for g in generators if g is not None]))
    assert new.generator is loader.generator
    assert getattr(new.sampler, "generator", None) is getattr(sampler, "generator", None)


@given(cases())
def test_a_loader_that_draws_only_what_is_kept_is_left_alone(case: Case) -> None:
    drawn = sampled_indices(case.loader)
    everything = np.arange(len(case.loader.dataset)) if drawn is None else drawn  # type: ignore[arg-type]
    assert filter_loader(case.loader, everything) is case.loader
    fewer = np.setdiff1d(everything, everything[:1])
    assert len(fewer) == 0 or filter_loader(case.loader, fewer) is not case.loader


@pytest.mark.parametrize("generator", [None, 3])
def test_shuffle_goes_on_as_in_a_loader_made_by_hand(generator: int | None) -> None:
    def shuffled(dataset: Any) -> DataLoader[int]:
        return DataLoader(dataset, 4, shuffle=True, generator=None if generator is None else seeded(generator))

    new, twin = filter_loader(shuffled(Numbers(20)), positions(*range(3, 20))), shuffled(range(3, 20))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        came = [batches(new) for _ in range(3)]
        torch.manual_seed(5)
        assert came == [batches(twin) for _ in range(3)]


def test_keeps_every_setting() -> None:
    given: dict[str, Any] = {
        "batch_size": 3,
        "num_workers": 2,
        "collate_fn": list,
        "pin_memory": True,
        "drop_last": True,
        "timeout": 7,
        "worker_init_fn": print,
        "multiprocessing_context": "fork",
        "generator": seeded(0),
        "prefetch_factor": 5,
        "persistent_workers": True,
        "pin_memory_device": "cpu",
        "in_order": False,
    }
    given = {name: value for name, value in given.items() if hasattr(DataLoader(Numbers(1)), name)}
    loader = DataLoader(Numbers(9), **given)
    new = filter_loader(loader, positions(1, 2, 3, 7))
    assert {name: getattr(new, name) for name in given} == {name: getattr(loader, name) for name in given}
    assert new.multiprocessing_context.get_start_method() == "fork"
    unbatched = filter_loader(DataLoader(Numbers(9), batch_size=None), positions(4))
    assert (unbatched.batch_size, unbatched.batch_sampler, list(unbatched)) == (None, None, [4])


def test_with_workers() -> None:
    def shuffled(dataset: Any) -> DataLoader[int]:
        return DataLoader(dataset, 3, shuffle=True, num_workers=2, persistent_workers=True, generator=seeded(1))

    new, twin = filter_loader(shuffled(Numbers(10)), positions(0, 2, 4, 6, 8)), shuffled(range(0, 10, 2))
    assert [batches(new), batches(new)] == [batches(twin), batches(twin)]


def test_reads_batches_of_a_data_set_that_offers_them() -> None:
    class Batched(Numbers):
        def __getitems__(self, indices: list[int]) -> list[int]:
            assert all(type(index) is int for index in indices)
            return [100 + index for index in indices]

    assert epoch(filter_loader(DataLoader(Batched(6), 2), positions(1, 3, 4))) == [101, 103, 104]


def test_indices_from_the_end_and_given_twice() -> None:
    loader = DataLoader(Numbers(10), sampler=SubsetRandomSampler([-1, -2, 3, 3]))
    expected = sampled_indices(loader)
    assert expected is not None
    assert expected.tolist() == [3, 8, 9]
    assert sorted(epoch(filter_loader(loader, positions(0, 3, 9)))) == [3, 3, 9]


def test_a_sampler_for_the_first_few_samples_only() -> None:
    loader = DataLoader(Numbers(10), sampler=RandomSampler(range(4), num_samples=8))
    new = filter_loader(loader, positions(1, 3, 5, 7))
    assert sorted(epoch(new)) == [1, 1, 3, 3]
    weighted = DataLoader(Numbers(10), sampler=WeightedRandomSampler([0.0, 1.0, 1.0], 2, replacement=False))
    assert epoch(filter_loader(weighted, positions(0, 2, 9))) == [2]


def test_weights_of_zero_count_where_torch_has_to_draw_them() -> None:
    loader = DataLoader(Numbers(4), sampler=WeightedRandomSampler([0.0, 0.0, 1.0, 1.0], 4, replacement=False))
    assert sampled_indices(loader) is None
    assert sorted(epoch(filter_loader(loader, positions(0, 2, 3)))) == [2, 3]


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (None, None),
        (RandomSampler(range(10)), None),
        (RandomSampler(range(3)), [0, 1, 2]),
        (SubsetRandomSampler([5, 2, 2]), [2, 5]),
        (SubsetRandomSampler([]), []),
        (WeightedRandomSampler([0, 1, 0, 2], 9), [1, 3]),
        (DistributedSampler(range(10), 2, 0), None),  # type: ignore[arg-type]
        ([7, 1], None),
    ],
)
def test_what_a_loader_is_trained_on(sampler: Any, expected: list[int] | None) -> None:
    found = sampled_indices(DataLoader(Numbers(10), sampler=sampler))
    assert (None if found is None else found.tolist()) == expected
    if sampler is not None:
        nested = BatchSampler(sampler, 2, False)
        for loader in (DataLoader(Numbers(10), batch_sampler=nested), DataLoader(Numbers(10), None, sampler=nested)):
            found = sampled_indices(loader)
            assert (None if found is None else found.tolist()) == expected


@pytest.mark.parametrize("made", [OwnClass, Heir])
def test_a_subclass_keeps_its_own_argument(made: Any) -> None:
    loader = made(Numbers(6), scale=4, batch_size=2)
    assert refusal(loader) is None
    new = filter_loader(loader, positions(1, 2, 5))
    assert (type(new), new.scale, batches(new)) == (made, 4, [[1, 2], [5]])  # type: ignore[attr-defined]


class ByClass(WeightedRandomSampler):
    """Another constructor, the same way to draw."""

    def __init__(self, labels: list[int]) -> None:
        super().__init__([1 / labels.count(label) for label in labels], len(labels))


def test_a_sampler_with_a_constructor_of_its_own() -> None:
    loader = DataLoader(Numbers(4), sampler=ByClass([0, 0, 0, 1]))
    new = filter_loader(loader, positions(0, 3))
    assert type(new.sampler) is WeightedRandomSampler
    assert new.sampler.weights.tolist() == [1 / 3, 1]
    assert set(epoch(new)) <= {0, 3}
