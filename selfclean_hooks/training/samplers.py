"""torch's own samplers: which positions they draw, and the same sampler for the samples that are kept."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from selfclean_hooks.utils.arrays import IntArray
from selfclean_hooks.utils.torch_internals import given_num_samples


def refusal(sampler: object) -> str | None:
    """Why it is unknown what this sampler draws; None: `draws_of` and `remap_sampler` know it."""
    if _kind(sampler) is not None:
        return None
    came = type(sampler).__name__
    base = next((kind.__name__ for kind in KINDS if isinstance(sampler, kind)), None)
    if base is not None:
        came += f", which changes how a {base} draws"
    return f"one of torch's samplers is needed ({', '.join(kind.__name__ for kind in KINDS)}), got {came}"


def draws_of(sampler: object, n: int) -> IntArray | None:
    """The positions that a sampler over n samples can draw, on all processes of a DistributedSampler together.

    Returns:
        (K,) int64, ascending, each once. None: unknown, see `refusal`.

    Raises:
        IndexError: A SubsetRandomSampler holds a position outside the data set.
    """
    kind = _kind(sampler)
    return None if kind is None else KINDS[kind][0](sampler, n)


def remap_sampler(sampler: Any, dataset: Subset[Any]) -> Sampler[Any]:
    """The same sampler for the samples that are kept. It shares the generator, and nothing is drawn from that now.

    Args:
        sampler: One that `refusal` lets pass. It is left as it is.
        dataset: A Subset, its indices ascending, of the data set that the sampler was made for. At least one of its
            samples must be among those `draws_of`.

    Returns:
        A new sampler, of torch's own class, that draws positions in `dataset`. A number of samples that the user gave
        shrinks in proportion to the samples that can be drawn, and is at least 1.
    """
    new: Sampler[Any] = KINDS[_kind(sampler)][1](sampler, dataset)
    return new


def _kind(sampler: object) -> Any:
    """The class of torch that draws like this one: a subclass may differ in its constructor, not in how it draws."""
    for kind in KINDS:
        if isinstance(sampler, kind):
            ways = ("__iter__", "__len__", "num_samples", "set_epoch")
            same = all(getattr(type(sampler), way, None) is getattr(kind, way, None) for way in ways)
            return kind if same else None
    return RandomSampler if is_stateful(sampler) and type(sampler).__name__ == "RandomSampler" else None


def is_stateful(sampler: object) -> bool:
    """Whether a sampler or batch sampler is one of torchdata's, which draw like torch's and can be resumed."""
    return type(sampler).__module__ == "torchdata.stateful_dataloader.sampler"


def _first(source: Sized, n: int) -> IntArray:
    return np.arange(min(len(source), n))


def _listed(sampler: SubsetRandomSampler, n: int) -> IntArray:
    return np.unique(np.arange(n)[_indices(sampler)])  # by way of arange, as -1 is the last position


def _indices(sampler: SubsetRandomSampler) -> IntArray:
    return np.asarray(sampler.indices, dtype=np.int64)


def _likely(sampler: WeightedRandomSampler, n: int) -> IntArray:
    weights = torch.as_tensor(sampler.weights)[:n]
    positive = torch.nonzero(weights > 0).flatten()
    # Asked for more than there are without replacement, torch goes on with those of weight 0.
    fits = sampler.replacement or sampler.num_samples <= len(positive)
    return positive.cpu().numpy() if fits else np.arange(len(weights))


def _source(before: Sized, dataset: Subset[Any]) -> Any:
    """What a new sampler counts its samples by; a sampler may be made for the first few samples only."""
    left = int(np.searchsorted(dataset.indices, len(before)))
    return dataset if left == len(dataset) else range(left)


def _scaled(num_samples: int, left: int, before: int) -> int:
    return max(1, round(num_samples * left / before))


def _sequential(sampler: SequentialSampler, dataset: Subset[Any]) -> SequentialSampler:
    return SequentialSampler(_source(sampler.data_source, dataset))


def _random(sampler: RandomSampler, dataset: Subset[Any]) -> RandomSampler:
    made = type(sampler) if is_stateful(sampler) else RandomSampler
    source, asked = _source(sampler.data_source, dataset), given_num_samples(sampler)
    num_samples = None if asked is None else _scaled(asked, len(source), len(sampler.data_source))
    return made(source, sampler.replacement, num_samples, sampler.generator)


def _subset_random(sampler: SubsetRandomSampler, dataset: Subset[Any]) -> SubsetRandomSampler:
    places = np.full(len(dataset.dataset), -1)  # type: ignore[arg-type]  # a Dataset with a length
    places[dataset.indices] = np.arange(len(dataset))
    new = places[_indices(sampler)]
    return SubsetRandomSampler(new[new >= 0].tolist(), sampler.generator)


def _weighted(sampler: WeightedRandomSampler, dataset: Subset[Any]) -> WeightedRandomSampler:
    n, kept = len(dataset.dataset), np.asarray(dataset.indices)  # type: ignore[arg-type]  # a Dataset with a length
    before = _likely(sampler, n)
    num_samples = _scaled(sampler.num_samples, len(np.intersect1d(before, kept)), len(before))
    weights = torch.as_tensor(sampler.weights)
    weights = weights[torch.from_numpy(kept[kept < len(weights)])]
    if not sampler.replacement:
        num_samples = max(1, min(num_samples, int((weights > 0).sum())))
    return WeightedRandomSampler(weights, num_samples, sampler.replacement, sampler.generator)  # type: ignore[arg-type]


def _distributed(sampler: DistributedSampler[Any], dataset: Subset[Any]) -> DistributedSampler[Any]:
    names = ("num_replicas", "rank", "shuffle", "seed", "drop_last")
    settings = {name: getattr(sampler, name) for name in names}
    new: DistributedSampler[Any] = DistributedSampler(_source(sampler.dataset, dataset), **settings)  # type: ignore[arg-type]
    new.set_epoch(sampler.epoch)
    return new


# A sampler of torch: the positions it draws, and how it moves to the samples that are kept.
KINDS: dict[Any, tuple[Callable[[Any, int], IntArray], Callable[[Any, Subset[Any]], Sampler[Any]]]] = {
    SequentialSampler: (lambda sampler, n: _first(sampler.data_source, n), _sequential),
    RandomSampler: (lambda sampler, n: _first(sampler.data_source, n), _random),
    WeightedRandomSampler: (_likely, _weighted),
    SubsetRandomSampler: (_listed, _subset_random),
    DistributedSampler: (lambda sampler, n: _first(sampler.dataset, n), _distributed),
}
