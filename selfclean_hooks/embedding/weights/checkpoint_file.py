"""What a file of weights holds, read without running anything in it: tensors by name, and what it says of itself."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfclean_hooks.errors import BackboneError

STARTS = (b"PK\x03\x04", b"\x80")  # of the files of torch.save: a zip archive, or before torch 1.6 a pickle


@dataclass(frozen=True)
class Checkpoint:
    """One file.

    Attributes:
        path: where it is.
        tensors: by name; of a dictionary inside the file the name is in front: "state_dict.model.conv1.weight".
        says: what the file holds besides tensors: the metadata of safetensors, or hyperparameters and the like.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    says: Mapping[str, Any]


def read(path: str | Path) -> Checkpoint:
    """A file of `torch.save` or safetensors. No code in it is run: torch files are read with weights_only=True.

    Raises:
        BackboneError: it is none, is damaged, needs more than weights_only=True allows, or holds no tensors.
    """
    path = Path(path)
    start = _start(path)
    tensors, says = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path, start)
    if not tensors:
        keys = ", ".join(map(str, list(says)[:5])) or "nothing"
        raise BackboneError(f"{path} must hold a state dict, got no tensors in it (but {keys}): save the state_dict()")
    return Checkpoint(path, tensors, says)


def _start(path: Path) -> bytes:
    """The first bytes of a file that is not plainly something else."""
    if path.is_dir():
        raise BackboneError(f"{path} must be a file of weights, got a folder: name the file in it")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise BackboneError(f"{path} cannot be read as a file of weights: {error.strerror or error}") from error
    if not start:
        raise BackboneError(f"{path} must be a file of weights, got an empty file: save or download it again")
    if start.startswith(b"version https://git-lfs"):
        raise BackboneError(f"{path} must be a file of weights, got git-lfs's pointer to it: run git lfs pull")
    if start.lstrip()[:1] == b"<":
        raise BackboneError(f"{path} must be a file of weights, got a web page: download the file itself")
    return start


def _safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118, no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"{path} is no safetensors file, or damaged ({_line(error)}): save it again") from error


def _torch_file(path: Path, start: bytes) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    if not start.startswith(STARTS):
        raise BackboneError(f"{path} must be a file of torch.save or a .safetensors file, got something else")
    # timm's training keeps its arguments beside the weights, in this class without behaviour
    allowed = getattr(torch.serialization, "safe_globals", None)  # since torch 2.5
    try:
        with allowed([argparse.Namespace]) if allowed else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the error says too
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged files torch raises whatever the first wrong byte leads to
        raise BackboneError(_refused(path, error)) from error
    if not isinstance(content, Mapping):
        raise BackboneError(f"{path} must hold a state dict, got {type(content).__name__}: save the state_dict()")
    tensors = dict(_flat(content))
    return tensors, {str(key): value for key, value in content.items() if key not in tensors}


def _flat(content: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name, those of dictionaries one level down too."""
    for key, value in content.items():
        for name, inner in value.items() if isinstance(value, Mapping) else [(None, value)]:
            if isinstance(key, str) and isinstance(inner, Tensor) and (name is None or isinstance(name, str)):
                yield key if name is None else f"{key}.{name}", inner


def _refused(path: Path, error: Exception) -> str:
    cure = "save the state_dict() alone, or pass an nn.Module"
    needed = re.search(r"GLOBAL (\S+)", str(error))
    if needed:
        return (
            f"{path} must hold weights alone, got {needed[1]} in it, which is not run: {cure}; or, of a class that you "
            "trust, call torch.serialization.add_safe_globals first"
        )
    if "TorchScript" in str(error):
        return f"{path} must hold weights alone, got a TorchScript archive: pass torch.jit.load of it as backbone"
    if "Unsupported" in str(error):
        return f"{path} must hold weights alone, got a pickle of other things, which is not run: {cure}"
    return f"{path} is no file of torch.save, or damaged ({_line(error)}): save it again"


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
