"""A user's DataLoader made anew for the samples that are kept: nothing else about it changes."""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
)

from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.data.views.kept_samples import KeptSamples, NewLabels
from selfclean_hooks.errors import DataError
from selfclean_hooks.training import samplers

ELSEWHERE = "wrap the data set in AuditedDataset before the loader is made, or use policy 'warn'"
REPLACED = {"dataset", "shuffle", "sampler", "batch_sampler"}
SETTINGS = inspect.signature(DataLoader).parameters.keys() - REPLACED
WORKER_OPTIONS = ("worker_init_fn", "multiprocessing_context", "prefetch_factor", "persistent_workers", "timeout")
PLAIN = (bool, int, float, str, bytes, type(None))  # values that compare to True or False


def sampled_indices(loader: Any) -> NDArray[np.int64] | None:
    """The samples that a loader can draw, where its sampler leaves some out.

    Args:
        loader: A DataLoader; nothing is drawn from it. Of any other object nothing is known.

    Returns:
        (K,) int64, ascending, each once: positions in `loader.dataset`. None: all, or unknown.
    """
    sampler = getattr(loader, "batch_sampler", None)
    if sampler is None:
        sampler = getattr(loader, "sampler", None)
    while isinstance(sampler, BatchSampler) and (
        type(sampler).__iter__ is BatchSampler.__iter__ or samplers.is_stateful(sampler)
    ):
        sampler = sampler.sampler
    if samplers.refusal(sampler) is not None:
        return None  # before the length is asked for, which a stream has not
    positions = samplers.draws_of(sampler, _size(loader))
    return None if positions is None or len(positions) == _size(loader) else positions


def worker_options(loader: Any) -> dict[str, Any]:
    """How the workers of a loader are started, for `EmbeddingSettings.worker_options`; {} without workers."""
    if not getattr(loader, "num_workers", 0):
        return {}
    found = {name: getattr(loader, name, None) for name in WORKER_OPTIONS}
    return {**{name: value for name, value in found.items() if value}, "dataset_type": type(loader.dataset)}


def refusal(loader: object) -> str | None:
    """Why samples cannot be left out of this loader, and what to do about it; None: `filter_loader` can.

    A loader of the same class is made to find out, without a sample being read.
    """
    if not isinstance(loader, DataLoader):
        return f"a DataLoader is needed to leave samples out, got a {type(loader).__name__}: {_cure('return one')}"
    try:
        check_map_style(loader.dataset)
    except DataError as error:
        return str(error)
    return _batching(loader) or _sampling(loader) or _making(loader)


def filter_loader(
    loader: DataLoader[Any], kept: NDArray[np.int64], new_labels: NewLabels | None = None
) -> DataLoader[Any]:
    """A new loader of the same class and settings that draws nothing but the samples kept.

    It shares the generator with the user's loader, and nothing is drawn from that or from a global one now. Attributes
    that the user set on a loader after it was made are not taken over.

    Args:
        loader: The user's, left as it is.
        kept: (K,) int, ascending: positions in `loader.dataset`.
        new_labels: Of some of these.

    Returns:
        A loader over `KeptSamples(loader.dataset, kept, new_labels)`, a Subset; `loader` itself if all that it draws is
        kept as it is.

    Raises:
        DataError: Nothing that the loader draws is kept, or samples cannot be left out: see `refusal`.
    """
    if isinstance(loader, DataLoader):
        check_map_style(loader.dataset)
        if _draws_only(loader, kept) and not (new_labels and new_labels.source):
            return loader
    reason = refusal(loader)
    if reason is not None:
        raise DataError(reason)
    dataset = KeptSamples(loader.dataset, np.asarray(kept).tolist(), new_labels)
    return _made(loader, dataset, samplers.remap_sampler(loader.sampler, dataset))


def problem(loader: DataLoader[Any], before: int, world_size: int = 1) -> str | None:
    """Why a loader from `filter_loader` would train nothing at all, None: it trains.

    Args:
        loader: From `filter_loader`.
        before: How many samples there were to draw.
        world_size: The number of processes that share the samples by a sampler of Lightning's; 1 if it adds none.
    """
    share, batch_size = _share(loader, world_size), loader.batch_size or 1
    if share >= (batch_size if loader.drop_last else 1):
        return None
    positions = sampled_indices(loader)
    left = _size(loader) if positions is None else len(positions)
    return (
        f"training would run 0 steps: {left} of {before} samples are left, {share} an epoch for each process, while a "
        f"batch takes {batch_size} and drop_last=True; lower batch_size, pass drop_last=False or drop fewer samples"
    )


def batches(loader: DataLoader[Any], world_size: int = 1) -> int:
    """Batches of an epoch for each of the processes."""
    share, batch_size = _share(loader, world_size), loader.batch_size or 1
    return share // batch_size if loader.drop_last else -(-share // batch_size)


def single_sample_batch(loader: DataLoader[Any], before_loader: DataLoader[Any], world_size: int = 1) -> bool:
    """Whether the last batch has come to hold one sample only, of several, which BatchNorm cannot train on.

    Args:
        loader: From `filter_loader`.
        before_loader: The user's.
        world_size: As for `problem`.
    """
    if loader is before_loader:
        return False
    return _ends_alone(loader, world_size) and not _ends_alone(before_loader, world_size)


def without_last_batch(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The same loader with drop_last=True; itself where its class takes no such argument, or no batch would be left."""
    if "drop_last" not in _names(type(loader)) or len(loader) < 2:
        return loader
    return _made(loader, loader.dataset, loader.sampler, drop_last=True)


def _cure(first: str) -> str:
    return f"{first}, {ELSEWHERE}"


def _batching(loader: DataLoader[Any]) -> str | None:
    own: Any = loader.batch_sampler
    plain = type(own) is BatchSampler or samplers.is_stateful(own)
    if own is None or (plain and own.sampler is loader.sampler and loader.batch_size is not None):
        return None
    cure = _cure("pass batch_size= with shuffle=True or sampler= instead")
    return f"a loader that makes its batches itself is needed, got the batch sampler {type(own).__name__}: {cure}"


def _sampling(loader: DataLoader[Any]) -> str | None:
    reason = samplers.refusal(loader.sampler)
    return None if reason is None else f"{reason}: {_cure('pass shuffle=True or one of those')}"


def _making(loader: DataLoader[Any]) -> str | None:
    """Make the loader once more as it is and compare, the one way to know what the constructor of a subclass does."""
    wanted = f"a DataLoader that can be made anew is needed, got a {type(loader).__name__}"
    cure = _cure("let its __init__ hand DataLoader's keyword arguments on as they come and keep its own as attributes")
    own = _names(type(loader))
    gone = sorted(name for name in own if not hasattr(loader, name))
    if gone:
        return f"{wanted} without the attribute {', '.join(gone)}: {cure}"
    everything = KeptSamples(loader.dataset, range(_size(loader)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user has seen them once
            again = _made(loader, everything, loader.sampler)
    except Exception as error:  # whatever the code of the user raises
        return f"{wanted} that raises {type(error).__name__} ({error}): {cure}"
    changed = _changed(loader, again)
    if again.dataset is not everything or again.sampler is not loader.sampler or changed:
        return f"{wanted} that changes {', '.join(changed) or 'its data set or sampler'}: {cure}"
    return None


def _made(loader: DataLoader[Any], dataset: Dataset[Any], sampler: Any, **changed: Any) -> DataLoader[Any]:
    settings = {name: getattr(loader, name) for name in _names(type(loader))} | changed
    return type(loader)(dataset=dataset, sampler=sampler, **settings)


def _names(made: type) -> set[str]:
    """Arguments of a class of loaders, its own and those that **kwargs hand to the classes below."""
    names: set[str] = set()
    for base in (base for base in made.__mro__ if "__init__" in vars(base)):
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]  # all but self
        names.update(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - REPLACED


def _changed(loader: DataLoader[Any], again: DataLoader[Any]) -> list[str]:
    own = {name for name, value in vars(loader).items() if not name.startswith("_") and isinstance(value, PLAIN)}
    before = {name: getattr(loader, name) for name in SETTINGS | own}
    return sorted(name for name, value in before.items() if getattr(again, name, value) != value)


def _draws_only(loader: DataLoader[Any], kept: NDArray[np.int64]) -> bool:
    positions = sampled_indices(loader)
    stays = np.isin(np.arange(_size(loader)) if positions is None else positions, kept)
    if not stays.all() and not stays.any():
        raise DataError(f"samples to train on are needed, but all {len(stays)} would be dropped: drop fewer of them")
    return bool(stays.all())


def _size(loader: DataLoader[Any]) -> int:
    return len(loader.dataset)  # type: ignore[arg-type]  # of a map-style data set


def _share(loader: DataLoader[Any], world_size: int) -> int:
    """How many samples one process draws an epoch."""
    sampler: Any = loader.sampler
    if isinstance(sampler, DistributedSampler) or world_size == 1:
        return len(sampler)
    # Lightning puts a sampler over the whole data set in the place of these, whatever their number of samples.
    whole = isinstance(sampler, (RandomSampler, SequentialSampler))
    return math.ceil((_size(loader) if whole else len(sampler)) / world_size)


def _ends_alone(loader: DataLoader[Any], world_size: int) -> bool:
    if loader.batch_size is None or loader.drop_last:
        return False
    return _share(loader, world_size) % loader.batch_size == 1  # never so for batches of one
