"""Every private name of torch that the package relies on; no other module uses one."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.utils.data import RandomSampler, dataloader

PRIVATE_NAMES = {  # by the object that has them
    "torch.utils.data.dataloader": ("_BaseDataLoaderIter",),
    "iterator of a DataLoader": ("_next_index", "_dataset", "_sampler_iter", "_num_yielded"),
    "iterator of a DataLoader with workers": ("_shutdown_workers",),
    "RandomSampler": ("_num_samples",),
    "torch": ("_C",),
    "torch._C": ("_current_graph_task_id",),
    "torch.cpu": ("_is_avx512_bf16_supported",),
    "torch.nn": ("_ConvNd", "_NormBase"),
    "compiled nn.Module": ("_compiled_call_impl", "_orig_mod"),
    "compiled function": ("_torchdynamo_orig_callable",),
}

LoaderIterator: Any = dataloader._BaseDataLoaderIter  # there is no public place that all indices pass
Convolution = nn.modules.conv._ConvNd  # base of all convolutions
Normalization = nn.modules.batchnorm._NormBase  # base of batch and instance norms
NEXT_INDEX = "_next_index"  # its method that draws the indices of one batch


def replace_next_index(change: Callable[[Any], Callable[[Any], Any]]) -> None:
    """Replace the method by which iterators of loaders draw the indices of a batch, if this version has it."""
    if draws_can_be_recorded():
        setattr(LoaderIterator, NEXT_INDEX, change(next_index()))


def next_index() -> Any:
    """That method, None in a version of torch without it."""
    return vars(LoaderIterator).get(NEXT_INDEX)


def draws_can_be_recorded() -> bool:
    """Whether this version of torch has a method that all indices pass."""
    return next_index() is not None


def iterated_dataset(iterator: Any) -> Any:
    """The data set of an iterator of a loader."""
    return getattr(iterator, "_dataset", None)


def sampler_epoch(iterator: Any) -> Any:
    """The iterator of the sampler, a new object in each epoch."""
    return getattr(iterator, "_sampler_iter", None)


def batches_yielded(iterator: Any) -> int:
    """How many batches an iterator of a loader has yielded in this epoch."""
    return int(getattr(iterator, "_num_yielded", 0))


def end_workers(iterator: Any) -> None:
    """End the workers of an iterator of a loader: torch's signal handler raises no more for one that was killed."""
    end: Callable[[], None] = getattr(iterator, "_shutdown_workers", lambda: None)
    try:
        end()
    except RuntimeError:  # the handler, for the last time
        end()


def given_num_samples(sampler: RandomSampler) -> int | None:
    """The `num_samples` that the user gave; the public property falls back on the size of the data set."""
    given: int | None = sampler._num_samples
    return given


def has_avx512_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16, as far as this version of torch knows."""
    supports = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return supports is not None and bool(supports())


def in_backward() -> bool:
    """Whether a layer is executed once more in the backward pass, by gradient checkpointing."""
    task = getattr(torch._C, "_current_graph_task_id", None)
    return task is not None and task() != -1


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that torch.compile was called with, or `module` itself."""
    inner: nn.Module = getattr(module, "_orig_mod", module)
    return inner


def is_compiled(module: nn.Module) -> bool:
    """Whether any part of a module was compiled by torch, which hooks would disturb."""
    return any(_is_compiled(part) for part in module.modules())


def _is_compiled(part: nn.Module) -> bool:
    if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
        return True
    held = (vars(part), *(vars(kind) for kind in type(part).__mro__ if kind is not nn.Module))
    functions = (value for names in held for value in list(names.values()) if isinstance(value, FunctionType))
    return any("_torchdynamo_orig_callable" in vars(function) for function in functions)
