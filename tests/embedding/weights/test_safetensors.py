"""Files of safetensors, and encoders of pretrain: headers and descriptions that lie are refused."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.embedding.pretrain.run import load
from selfclean_hooks.errors import BackboneError
from tests.embedding.weights.weight_data import IMAGES, NAME, refused
from tests.embedding.weights.weight_records import changed, encoder, without


def safetensors(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        ({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, b"1234", None),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}, bytes(8), None),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4), None),
        ({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4), None),
        ({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4), None),
        ({}, b"", 2**63),
        ({}, b"", 2**40),
        (b"[" * 100_000, b"", None),
        (b'{"__metadata__": {"a": 3}}', b"", None),
        (b"{}", b"", None),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: Any, data: bytes, length: int | None) -> None:
    path = safetensors(tmp_path / "a.safetensors", header, data, length)
    assert refused(f"{NAME}:{path}")
    with pytest.raises(BackboneError, match="is no encoder that selfclean-hooks pretrain wrote"):
        load(path)


DESCRIPTIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "newer": (changed("version", to=3), "must be of version 1 or 2, got 3: use the version of selfclean-hooks"),
    "a text as version": (changed("version", to="1\n"), "must be of version 1 or 2, got '1\\"),
    "no version": (without("version"), "must say what it expects"),
    "a list": (lambda facts: [facts], "must say what it expects"),
    "a number": (lambda facts: 3, "must say what it expects"),
    "null": (lambda facts: None, "must say what it expects"),
    "no JSON": (lambda facts: "{", "must say what it expects"),
    "nested": (lambda facts: "[" * 100_000, "must say what it expects"),
    "digits": (lambda facts: '{"version": ' + "1" * 10_000 + "}", "must say what it expects"),
    "no canvas": (without("canvas"), "must say what it expects"),
    "no size": (without("canvas", "size"), "must say what it expects"),
    "canvas null": (changed("canvas", to=None), "must say what it expects"),
    "a text as size": (changed("canvas", "size", to="28"), "must say what it expects"),
    "a size of any": (changed("canvas", "size", to=10**9), "pixels a side"),
    "a size beyond": (changed("canvas", "size", to=10**30), "must say what it expects"),
    "no pixels": (changed("canvas", "size", to=0), "pixels a side"),
    "many channels": (changed("canvas", "channels", to=10**7), "channels"),
    "other channels": (changed("canvas", "channels", to=1), "does not fit its own description"),
    "ranges": (changed("canvas", "low", to=[1.0]), "must say what it expects"),
    "not a number": (changed("canvas", "low", to=[float("nan")] * 3), "must say what it expects"),
    "recipe null": (changed("recipe", to=None), "must say what it expects"),
    "an objective": (changed("recipe", "objective", to="none"), "the objective must be one of"),
    "a number as objective": (changed("recipe", "objective", to=3), "must say what it expects"),
    "another network": (changed("recipe", "encoder", to="vit_giant_patch14_224"), "does not fit its own description"),
    "no network": (changed("recipe", "encoder", to="hf-hub:somebody/model"), "is no timm model"),
    "no start": (changed("recipe", "start", to="/nowhere"), ""),
    "epochs": (changed("epochs", to=-1), "must say what it expects"),
    "half an epoch": (changed("epochs", to=0.5), "must say what it expects"),
    "seconds": (changed("seconds", to=float("inf")), "must say what it expects"),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_an_encoder_that_describes_itself_wrongly_is_refused(tmp_path: Path, case: str) -> None:
    change, words = DESCRIPTIONS[case]
    path = encoder(tmp_path / "e.safetensors", change)
    if words:
        assert words in refused(path)
    else:
        resolve(path, IMAGES, device="cpu")  # where it started from need not be there any more


def test_an_encoder_of_wrong_weights_is_refused(tmp_path: Path) -> None:
    assert resolve(encoder(tmp_path / "e.safetensors"), IMAGES, device="cpu").module is not None
    cases = {
        "network.mean": torch.full((1, 3, 1, 1), torch.nan),
        "network.std": torch.ones(3, 1, 1, 1),
        "network.trunk.0.weight": torch.ones(16, 3, 3, 3, dtype=torch.int64),
        "more": torch.ones(1),
    }
    for name, value in cases.items():
        assert name in refused(encoder(tmp_path / "e.safetensors", tensors={name: value}))
