"""Loaders that samples cannot be left out of, and what each refusal says."""

from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler, SubsetRandomSampler

from selfclean_hooks.errors import DataError
from selfclean_hooks.training.loaders import filter_loader, refusal
from tests.training.loader_cases import Numbers, positions


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class Backwards(Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        return iter((2, 1, 0))


class FirstOnly(RandomSampler):
    def __iter__(self) -> Iterator[int]:
        return iter((0,))


class Shuffled(DataLoader[int]):
    def __init__(self, dataset: Any, **rest: Any) -> None:
        super().__init__(dataset, shuffle=True, **rest)


class Wrapping(DataLoader[int]):
    def __init__(self, dataset: Any, collate_fn: Any = None, **rest: Any) -> None:
        super().__init__(dataset, collate_fn=lambda items: collate_fn(items), **rest)


class Forgetting(DataLoader[int]):
    def __init__(self, dataset: Any, scale: int, **rest: Any) -> None:
        super().__init__(dataset, batch_size=scale, **rest)


class Popping(DataLoader[int]):
    def __init__(self, dataset: Any, **rest: Any) -> None:
        self.scale = rest.pop("scale", 1)
        super().__init__(dataset, **rest)


class Doubling(DataLoader[int]):
    def __init__(self, dataset: Any, **rest: Any) -> None:
        super().__init__([*dataset, *dataset], **rest)  # type: ignore[arg-type]


class Narrow(DataLoader[int]):
    def __init__(self, dataset: Any, batch_size: int = 2) -> None:
        super().__init__(dataset, batch_size)


LAST = "wrap the data set in AuditedDataset before the loader is made, or use policy 'warn'"
KNOWN = "SequentialSampler, RandomSampler, WeightedRandomSampler, SubsetRandomSampler, DistributedSampler"
OWN = f"let its __init__ hand DataLoader's keyword arguments on as they come and keep its own as attributes, {LAST}"
BATCHES = f"pass batch_size= with shuffle=True or sampler= instead, {LAST}"
ANEW = "a DataLoader that can be made anew is needed, got a"
REFUSED: list[tuple[Any, str]] = [
    (range(3), f"a DataLoader is needed to leave samples out, got a range: return one, {LAST}"),
    (
        DataLoader(Stream()),
        "a map-style data set is needed, one with len() and [index]; got a Stream: "
        "read the items into a list first, or use a map-style data set (selfclean_hooks.clean takes streams)",
    ),
    (
        DataLoader(Numbers(3), batch_sampler=[[0, 1], [2]]),
        f"a loader that makes its batches itself is needed, got the batch sampler list: {BATCHES}",
    ),
    (
        DataLoader(Numbers(3), batch_sampler=BatchSampler(Backwards(), 2, False)),
        f"a loader that makes its batches itself is needed, got the batch sampler BatchSampler: {BATCHES}",
    ),
    (
        DataLoader(Numbers(3), sampler=Backwards()),
        f"one of torch's samplers is needed ({KNOWN}), got Backwards: pass shuffle=True or one of those, {LAST}",
    ),
    (
        DataLoader(Numbers(3), sampler=FirstOnly(Numbers(3))),
        f"one of torch's samplers is needed ({KNOWN}), got FirstOnly, which changes how a RandomSampler draws: "
        f"pass shuffle=True or one of those, {LAST}",
    ),
    (Forgetting(Numbers(3), 2), f"{ANEW} Forgetting without the attribute scale: {OWN}"),
    (
        Shuffled(Numbers(3)),
        f"{ANEW} Shuffled that raises ValueError (sampler option is mutually exclusive with shuffle): {OWN}",
    ),
    (Wrapping(Numbers(3), list), f"{ANEW} Wrapping that changes collate_fn: {OWN}"),
    (Popping(Numbers(3), scale=2), f"{ANEW} Popping that changes scale: {OWN}"),
    (Doubling(Numbers(3)), f"{ANEW} Doubling that changes its data set or sampler: {OWN}"),
]


@pytest.mark.parametrize(("loader", "message"), REFUSED, ids=[message[-60:] for _, message in REFUSED])
def test_says_why_it_refuses(loader: Any, message: str) -> None:
    assert refusal(loader) == message
    with pytest.raises(DataError) as raised:
        filter_loader(loader, positions(0))
    assert str(raised.value) == message


def test_refuses_a_constructor_that_takes_no_sampler() -> None:
    reason = refusal(Narrow(Numbers(3)))
    assert reason is not None
    assert "unexpected keyword argument 'sampler'" in reason


def test_a_loader_that_would_be_refused_is_returned_if_nothing_is_dropped() -> None:
    loader = DataLoader(Numbers(3), sampler=Backwards())
    assert filter_loader(loader, positions(0, 1, 2)) is loader
    empty: DataLoader[int] = DataLoader(Numbers(0))
    assert filter_loader(empty, positions()) is empty


def test_refuses_to_leave_nothing() -> None:
    loader = DataLoader(Numbers(4), sampler=SubsetRandomSampler([1, 2]))
    with pytest.raises(DataError, match=r"^samples to train on are needed, but all 2 would be dropped: drop fewer of"):
        filter_loader(loader, positions(0, 3))
