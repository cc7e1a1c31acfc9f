"""Files of weights made record by record, so that they can lie."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from selfclean_hooks.embedding.pretrain.images import Canvas
from selfclean_hooks.embedding.pretrain.networks import network_of
from selfclean_hooks.embedding.pretrain.objectives import projection_of
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.representation import MARK, Description, Representation
from tests.embedding.weights.weight_data import NAME


def state() -> dict[str, Tensor]:
    return timm.create_model(NAME, pretrained=False, num_classes=0).state_dict()


def records(content: Any) -> dict[str, bytes]:
    """The records of a file of torch.save."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archived(path: Path, held: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return path


def pickled(path: Path, program: bytes) -> Path:
    """A file of torch.save whose pickle is a program of one's own."""
    return archived(path, {**records({"a": torch.ones(1)}), "archive/data.pkl": program})


def encoder(path: Path, change: Callable[[Any], Any] = lambda facts: facts, tensors: Mapping[str, Tensor] = {}) -> Path:
    """A file of an encoder with another description."""
    network = network_of("small", "random", torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), 28)
    trained = Representation(network, projection_of("simclr", network.dim), Canvas(28, 3))
    facts = json.loads(Description(Canvas(28, 3), Recipe(size=28, encoder="small"), 1, 12, 0.5).to_json())
    held = {key: value.contiguous() for key, value in trained.state_dict().items()}
    text = change(facts)
    save_file({**held, **tensors}, path, {MARK: text if isinstance(text, str) else json.dumps(text)})
    return path


def changed(*keys: str, to: Any) -> Callable[[dict[str, Any]], Any]:
    def change(facts: dict[str, Any]) -> Any:
        inner = facts
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        return facts

    return change


def without(*keys: str) -> Callable[[dict[str, Any]], Any]:
    def change(facts: dict[str, Any]) -> Any:
        del (facts[keys[0]] if keys[1:] else facts)[keys[-1]]
        return facts

    return change
