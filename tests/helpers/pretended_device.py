"""A pretended accelerator: its tensors are held by the processor, but do not mix with those of the processor.

As with a real one, an operation on tensors of both is an error, but for copies and for positions; and numpy sees none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

KIND = torch.device("meta")  # the one kind that torch asks no driver about
aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put_.default)


class There(Tensor):
    """A tensor on the pretended device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        there: There = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=KIND
        )
        there.held = held
        return there

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError("used outside of the pretended device")


class _Pretending(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        there = [each for each in given if isinstance(each, There)]
        positions = {id(each) for each in args[1]} if function in INDEXED and isinstance(args[0], There) else set()
        here = [each for each in given if not isinstance(each, There) and each.dim() and id(each) not in positions]
        if there and here and function not in COPIES:
            raise RuntimeError(f"{function}: tensors on two devices")
        to = kwargs.get("device")
        if to is not None:
            kwargs["device"] = torch.device("cpu")
        found = function(*tree_map_only(There, _held, args), **tree_map_only(There, _held, kwargs))
        if function._schema.is_mutable:
            return kwargs.get("out", args[0])
        is_there = bool(there) if to is None else to == KIND
        return tree_map_only(Tensor, There, found) if is_there else found


def _held(tensor: There) -> Tensor:
    return tensor.held


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """Within the block there is such a device."""
    with _Pretending():  # type: ignore[no-untyped-call]
        yield KIND
