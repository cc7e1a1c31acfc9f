"""Loaders of every kind that can be filtered, each with the loader that the user would have made by hand."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


class Numbers(Dataset[int]):
    """Item i is i: what comes out of a loader tells where it came from."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.n:
            raise IndexError(index)
        return index


class OwnClass(DataLoader[int]):
    """Takes an argument of its own and hands on the rest, as many do."""

    def __init__(self, dataset: Any, scale: int = 1, **rest: Any) -> None:
        self.scale = scale
        super().__init__(dataset, **rest)


class Heir(OwnClass):
    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)


class Case(NamedTuple):
    """A user's loader, what to keep of it, and the loader he would have made himself for that."""

    loader: DataLoader[int]
    kept: list[int]
    twin: DataLoader[int]
    once: set[int] | None  # what an epoch brings, each exactly once; None: not so for this sampler


def positions(*kept: int) -> NDArray[np.int64]:
    return np.array(kept, dtype=np.int64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batches(loader: DataLoader[int]) -> list[list[int]]:
    return [torch.as_tensor(batch).reshape(-1).tolist() for batch in loader]


def epoch(loader: DataLoader[int]) -> list[int]:
    return [item for batch in batches(loader) for item in batch]


@st.composite
def cases(draw: Any) -> Case:
    """Some samples, and of those that the sampler draws at least one, are kept."""
    n = draw(st.integers(2, 30))
    samplers = draw(st.sampled_from([_sequential, _random, _weighted, _listed, _distributed]))(draw, n)
    some = draw(st.sampled_from(sorted(samplers.drawn)))
    kept = sorted({some, *draw(st.sets(st.integers(0, n - 1)))})
    batch_size = draw(st.none() | st.integers(1, 5))
    drop_last = batch_size is not None and draw(st.booleans())
    seed = draw(st.integers(0, 9))
    dataset = Numbers(n)
    given: dict[str, Any] = {"batch_size": batch_size, "drop_last": drop_last}
    loader = DataLoader(dataset, sampler=samplers.of_user(dataset, seeded(seed)), generator=seeded(seed), **given)
    subset = Subset(dataset, kept)
    twin = DataLoader(subset, sampler=samplers.by_hand(subset, kept, seeded(seed)), generator=seeded(seed), **given)
    once = samplers.drawn & set(kept) if samplers.once and not drop_last else None
    return Case(loader, kept, twin, once)


class Samplers(NamedTuple):
    drawn: set[int]
    once: bool
    of_user: Callable[[Any, torch.Generator], Sampler[int]]
    by_hand: Callable[[Any, list[int], torch.Generator], Sampler[int]]


def _sequential(draw: Any, n: int) -> Samplers:
    return Samplers(
        set(range(n)), True, lambda data, generator: SequentialSampler(data), lambda data, *_: SequentialSampler(data)
    )


def _random(draw: Any, n: int) -> Samplers:
    replacement, asked = draw(st.booleans()), draw(st.none() | st.integers(1, 40))

    def by_hand(data: Any, kept: list[int], generator: torch.Generator) -> Sampler[int]:
        fewer = None if asked is None else max(1, round(asked * len(kept) / n))
        return RandomSampler(data, replacement, fewer, generator)

    once = not replacement and asked is None
    return Samplers(set(range(n)), once, lambda data, g: RandomSampler(data, replacement, asked, g), by_hand)


def _weighted(draw: Any, n: int) -> Samplers:
    weights = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=n, max_size=n).filter(any))
    drawn = {index for index, weight in enumerate(weights) if weight > 0}
    replacement = draw(st.booleans())
    asked = draw(st.integers(1, 40 if replacement else len(drawn)))

    def by_hand(data: Any, kept: list[int], generator: torch.Generator) -> Sampler[int]:
        fewer = max(1, round(asked * len(drawn & set(kept)) / len(drawn)))
        return WeightedRandomSampler([weights[index] for index in kept], fewer, replacement, generator)

    once = not replacement and asked == len(drawn)
    return Samplers(drawn, once, lambda data, g: WeightedRandomSampler(weights, asked, replacement, g), by_hand)


def _listed(draw: Any, n: int) -> Samplers:
    indices = draw(st.permutations(range(n)))[: draw(st.integers(1, n))]

    def by_hand(data: Any, kept: list[int], generator: torch.Generator) -> Sampler[int]:
        return SubsetRandomSampler([kept.index(index) for index in indices if index in kept], generator)

    return Samplers(set(indices), True, lambda data, generator: SubsetRandomSampler(indices, generator), by_hand)


def _distributed(draw: Any, n: int) -> Samplers:
    world, shuffle = draw(st.integers(1, 3)), draw(st.booleans())
    given: dict[str, Any] = {"num_replicas": world, "rank": draw(st.integers(0, world - 1)), "shuffle": shuffle}
    given |= {"seed": draw(st.integers(0, 9)), "drop_last": draw(st.booleans())}
    number = draw(st.integers(0, 3))

    def made(data: Any, *_: Any) -> Sampler[int]:
        sampler: DistributedSampler[int] = DistributedSampler(data, **given)
        sampler.set_epoch(number)
        return sampler

    return Samplers(set(range(n)), world == 1, made, made)
