"""The global settings of torch, as the package's own models need them; the user's own are restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor


@contextmanager
def plain_torch() -> Iterator[None]:
    """32-bit floats on the processor by default, gradients, no autocast: as torch starts. Restored afterwards."""
    dtype = torch.get_default_dtype()
    with ExitStack() as settings:
        settings.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        settings.enter_context(on_cpu())
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        settings.enter_context(without_autocast())
        yield


@contextmanager
def on_cpu() -> Iterator[None]:
    """New tensors are made on the processor, whatever the default device is."""
    if torch.empty(0).device.type == "cpu":  # get_default_device of torch 2.4 fails after set_default_device(None)
        yield  # a device that is set costs Python code in each call of torch
    else:
        with torch.device("cpu"):
            yield


@contextmanager
def without_autocast() -> Iterator[None]:
    """Layers compute in the precision of their weights, whatever autocast is around."""
    with ExitStack() as settings:
        for kind in ("cpu", "cuda", "mps"):
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):  # torch 2.4: not of "mps"
                settings.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes in one thread: the order of sums, and so their last digits, depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues of a symmetric (n, n) matrix, ascending, and their vectors (n, n), for any number of threads."""
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


@contextmanager
def full_sums(device: torch.device) -> Iterator[None]:
    """Products of bfloat16 on a device are summed in float32 throughout."""
    if device.type != "cuda":
        yield
        return
    matmul, name = torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"
    before, split = getattr(matmul, name), getattr(matmul, f"{name}_split_k", None)  # newer versions of torch
    setattr(matmul, name, False)
    try:
        yield
    finally:
        setattr(matmul, name, before if split is None else (before, split))
