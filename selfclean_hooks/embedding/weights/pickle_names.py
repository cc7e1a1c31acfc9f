"""What the names in a pickle of torch.save stand for: types of numbers, tensors, dictionaries; nothing is imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from selfclean_hooks.embedding.weights.stored_tensor import Storage, StoredTensor

DIMENSIONS = 64  # of a tensor at most
KEYS = (str, int, float, bool, type(None))  # as keys of dictionaries; a hash of nested tuples may end the process
PLAIN_TYPES = {name: kind for name, kind in vars(torch).items() if isinstance(kind, torch.dtype)}
C_NAMES = (  # of torch's types, by which it calls its storages
    "Double float64, Float float32, Half float16, BFloat16 bfloat16, Long int64, Int int32, Short int16, Char int8, "
    "Byte uint8, Bool bool, ComplexDouble complex128, ComplexFloat complex64, QInt32 qint32, QInt8 qint8, "
    "QUInt8 quint8, QUInt4x2 quint4x2, QUInt2x4 quint2x4, Untyped uint8"
)
STORAGES = {f"{name}Storage": PLAIN_TYPES[kind] for name, kind in map(str.split, C_NAMES.split(", "))}
PREFIX = "_rebuild_"  # of torch's functions that make a tensor
KINDS = {  # of tensors that are no plain ones, by the rest of the name of the function that makes them
    "sparse_tensor": "sparse",
    "qtensor": "quantized",
    "meta_tensor_no_storage": "meta",
    "nested_tensor": "nested",
    "wrapper_subclass": "wrapped",
    "device_tensor_from_cpu_tensor": "device",
    "device_tensor_from_numpy": "device",
    "xla_tensor": "device",
}
DICTIONARIES = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict"}
HARMLESS = {  # what is kept beside weights; argparse: by timm's training
    *(f"builtins.{name}" for name in ("set", "frozenset", "list", "int", "float", "str", "bytearray", "complex")),
    *(f"torch.{name}" for name in ("Size", "device", "Tensor", "nn.parameter.Parameter", "serialization._get_layout")),
    *(f"torch.per_{what}" for what in ("tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric")),
    *("torch.per_channel_affine_float_qparams", "_codecs.encode", "argparse.Namespace"),
}


class NotWeightsError(Exception):
    """The pickle holds an object of a class that is none of weights: `str` of the error names it."""


class Other:
    """Stands for any value that is of no use here."""


OTHER = Other()


class Named:
    """A class or function, which is not looked up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, arguments: Any) -> Any:
        """What a call of it would give, described."""
        if self.name in DICTIONARIES:
            return _dictionary(arguments)
        _, is_tensor, kind = self.name.rpartition(".")[2].partition(PREFIX)
        if not is_tensor:
            return OTHER
        if kind in ("parameter", "parameter_with_state"):
            return arguments[0]
        if kind == "from_type_v2":
            return arguments[0](arguments[2])
        if kind in KINDS:
            return StoredTensor((), torch.uint8, KINDS[kind])
        numbers, offset, shape, stride, *more = arguments  # requires_grad, hooks, the type of v3, what was changed
        dtype = more.pop(2) if kind == "tensor_v3" else numbers.dtype
        return _tensor(numbers, offset, shape, stride, dtype, any(more[2:]))


def meaning(module: str, name: str, trusted: Sequence[str]) -> Any:
    """What a name stands for: a torch.dtype or something that can be called.

    Raises:
        NotWeightsError: it is none that is known, or that the user trusts.
    """
    full = f"{module.replace('__builtin__', 'builtins')}.{name}"
    if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
        return STORAGES[name]
    if module == "torch" and name in PLAIN_TYPES:
        return PLAIN_TYPES[name]
    is_tensor = module.split(".")[0] == "torch" and name.startswith(PREFIX)
    if is_tensor or full in HARMLESS or full in DICTIONARIES or full in trusted:
        return Named(full)
    raise NotWeightsError(full)


def storage(kind: Any, dtype: Any, key: Any, _: Any, length: Any, *view: Any) -> Storage:
    """What a reference to numbers outside of the pickle stands for."""
    if kind != "storage" or not isinstance(dtype, torch.dtype) or any(each is not None for each in view):
        raise ValueError("a reference to something other than numbers in its pickle")
    return Storage(str(key), dtype, _whole(length))


def _dictionary(arguments: Sequence[Any]) -> dict[Any, Any]:
    """Python 2 wrote the entries of an OrderedDict as arguments; a list of them is used up, so that it counts once."""
    entries = arguments[0] if arguments else {}
    if isinstance(entries, dict):
        return entries
    pairs = list(entries) if isinstance(entries, list) else []
    if pairs:
        entries.clear()
    return {key: value for key, value in pairs if isinstance(key, KEYS)}


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError("a size that is none in its pickle")
    return value


def _tensor(numbers: Storage, offset: Any, shape: Any, stride: Any, dtype: Any, changed: bool) -> StoredTensor:
    """Checked to lie within its numbers."""
    if len(shape) > DIMENSIONS or len(shape) != len(stride):
        raise ValueError(f"a tensor of {len(shape)} dimensions and {len(stride)} steps in its pickle")
    shape, stride, offset = tuple(map(_whole, shape)), tuple(map(_whole, stride)), _whole(offset)
    length, used = numbers.nbytes // dtype.itemsize, math.prod(shape)
    end = offset + 1 + sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) if used else 0
    if end > length:
        raise ValueError(f"a tensor of shape {shape} in {length} numbers in its pickle")
    kind = "quantized" if str(dtype).startswith("torch.q") else "conjugate" if changed else ""
    return StoredTensor(shape, dtype, kind or ("expanded" if used > length else ""), (numbers, offset, stride))
