"""What a file of weights holds, read without running anything in it: tensors by name, and what it says of itself.

Names, shapes and types come first; the values of the tensors are read where they are asked for.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfclean_hooks.embedding.weights.pickle_names import OTHER, NotWeightsError
from selfclean_hooks.embedding.weights.stored_tensor import INDEX_BYTES, Checkpoint, Load, StoredTensor
from selfclean_hooks.embedding.weights.torch_archive import PICKLE, ZIP, ScriptedError, read_archive
from selfclean_hooks.errors import BackboneError
from selfclean_hooks.utils.text import visible

SAFETENSORS = {  # types of numbers by their names in the header
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read(path: str | Path, suffix: str | None = None) -> Checkpoint:
    """A file of `torch.save` or safetensors. No code in it is run, and no more memory is used than the file has bytes.

    Args:
        path: of the file.
        suffix: ".safetensors" for such a file whatever its name; None: the name says it.

    Raises:
        BackboneError: it is none, is damaged, holds other classes than those of weights, or holds no tensors.
    """
    path = Path(path)
    start = _start(path)
    tensors, says, load = _safetensors(path) if (suffix or path.suffix) == ".safetensors" else _torch_file(path, start)
    if not tensors:
        keys = ", ".join(visible(key) for key in list(says)[:5]) or "nothing"
        raise BackboneError(f"{path} must hold a state dict, got no tensors in it (but {keys}): save the state_dict()")
    return Checkpoint(path, tensors, says, load, path.stat().st_size)


Content = tuple[dict[str, StoredTensor], Mapping[str, Any], Load]


def _safetensors(path: Path) -> Content:
    from safetensors import SafetensorError, safe_open

    def load(names: Collection[str]) -> dict[str, Tensor]:
        try:
            with safe_open(str(path), "pt", device="cpu") as file:
                return {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, "safetensors file", error) from error

    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > min(INDEX_BYTES, path.stat().st_size):
            raise ValueError(f"its header claims {length >> 20} MB, {INDEX_BYTES >> 20} MB at most are read")
        with safe_open(str(path), "pt", device="cpu") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, no mapping
            tensors = {name: _described(held.get_shape(), held.get_dtype()) for name, held in slices.items()}
            return tensors, file.metadata() or {}, load
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, "safetensors file", error) from error


def _described(shape: list[int], name: str) -> StoredTensor:
    dtype = SAFETENSORS.get(name)
    return StoredTensor(tuple(shape), dtype or torch.uint8, "" if dtype else name.lower())


def _start(path: Path) -> bytes:
    """The first bytes of a file that is not plainly something else."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            with path.open("rb") as file:
                start = file.read(64)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in its name
        reason = getattr(error, "strerror", None) or error
        raise BackboneError(f"{path} cannot be read as a file of weights: {reason}") from error
    if stat.S_ISDIR(kind):
        raise BackboneError(f"{path} must be a file of weights, got a folder: name the file in it")
    if not stat.S_ISREG(kind):  # reading a pipe would wait for whoever writes into it
        raise BackboneError(f"{path} must be a file of weights, got a pipe or device: save what it gives in a file")
    if not start:
        raise BackboneError(f"{path} must be a file of weights, got an empty file: save or download it again")
    if start.startswith(b"version https://git-lfs"):
        raise BackboneError(f"{path} must be a file of weights, got git-lfs's pointer to it: run git lfs pull")
    if start.lstrip()[:1] == b"<":
        raise BackboneError(f"{path} must be a file of weights, got a web page: download the file itself")
    return start


def _torch_file(path: Path, start: bytes) -> Content:
    if not start.startswith((ZIP, PICKLE)):
        raise BackboneError(f"{path} must be a file of torch.save or a .safetensors file, got something else")
    cure = "save the state_dict() alone, or pass an nn.Module"
    try:
        content, reader = read_archive(path, _trusted())
    except NotWeightsError as error:
        raise BackboneError(
            f"{path} must hold weights alone, got {visible(str(error))} in it, which is not run: {cure}; or, of a "
            "class that you trust, call torch.serialization.add_safe_globals first"
        ) from error
    except ScriptedError as error:
        raise BackboneError(
            f"{path} must hold weights alone, got a TorchScript archive: pass torch.jit.load of it as backbone"
        ) from error
    except (ValueError, OSError) as error:
        raise _damaged(path, "file of torch.save", error) from error
    if not isinstance(content, Mapping):
        raise BackboneError(f"{path} must hold a state dict, got {_kind(content)}: save the state_dict()")
    tensors = dict(_flat(content))
    values = reader(tensors)

    def load(names: Collection[str]) -> dict[str, Tensor]:
        try:
            return values(names)
        except (ValueError, OSError, RuntimeError) as error:
            raise _damaged(path, "file of torch.save", error) from error

    return tensors, {str(key): value for key, value in content.items() if key not in tensors}, load


def _kind(content: Any) -> str:
    if content is OTHER or isinstance(content, StoredTensor):
        return "something else" if content is OTHER else "a tensor"
    return type(content).__name__


def _trusted() -> list[str]:
    """Names of the classes that the user has declared safe to torch."""
    declared: list[Any] = getattr(torch.serialization, "get_safe_globals", list)()  # since torch 2.5
    return [
        each[1] if isinstance(each, tuple) else f"{each.__module__}.{each.__qualname__}"
        for each in declared
        if isinstance(each, tuple) or hasattr(each, "__qualname__")
    ]


def _flat(content: Mapping[Any, Any]) -> Iterator[tuple[str, StoredTensor]]:
    """Tensors by name, those of dictionaries one level down too."""
    for key, value in content.items():
        for name, inner in value.items() if isinstance(value, Mapping) else [(None, value)]:
            if isinstance(key, str) and isinstance(inner, StoredTensor) and (name is None or isinstance(name, str)):
                yield key if name is None else f"{key}.{name}", inner


def _damaged(path: Path, what: str, error: Exception) -> BackboneError:
    lines = str(error).strip().splitlines()
    said = visible(lines[0]) if lines else type(error).__name__
    return BackboneError(f"{path} is no {what}, or damaged ({said}): save it again")
