"""Names that are no files, and settings beside weights that cannot be."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from selfclean_hooks.embedding.backbones.resolve import is_checkpoint, resolve
from tests.embedding.weights.weight_data import IMAGES, NAME, refused
from tests.embedding.weights.weight_records import state


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    pipe, device = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        assert "got a pipe or device" in refused(f"{NAME}:{path}")
    (tmp_path / f"c{suffix}").write_bytes(b"")
    os.mkfifo(tmp_path / "config.json")
    assert "got an empty file" in refused(tmp_path / f"c{suffix}")
    torch.save(state(), tmp_path / "d.pt")
    resolve(f"{NAME}:{tmp_path / 'd.pt'}", IMAGES, device="cpu")  # the pipe beside it is not read either


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-there/x", "\x00", "\ud800"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    assert not is_checkpoint(f"resnet18:{name}.pt")
    assert "cannot be read as a file of weights" in refused(f"resnet18:{name}.pt")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"mean": "grey"}, "must have a list of numbers as mean, got 'grey'"),
        ({"std": [0.1, 0, 0.1]}, "numbers above 0 as std, got [0.1, 0, 0.1]"),
        ({"std": [1e999]}, "numbers above 0 as std"),
        ({"input_size": [3, 10**9, 10**9]}, "must have input_size [channels, height, width]"),
        ({"input_size": 224}, "must have input_size"),
        ({"input_size": [3, 2048, 2048]}, "up to 1024 each"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "must have no checkpoint_path in model_args"),
        ({"model_args": {"layers": [10**9] * 4}}, "must have numbers up to 16384 in model_args"),
        ({"model_args": {"x": [[[[[[[[[[1]]]]]]]]]]}}, "must have numbers up to"),
        ({"model_args": {"layers": [1500] * 4}}, "timm cannot make the test_resnet"),
        ({"model_args": {"layers": "many"}}, "timm cannot make the test_resnet"),
        ({"model_args": {"channels": [16000] * 4}}, "does not fit test_resnet"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    torch.save(state(), tmp_path / "a.pt")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": NAME, **config}))
    assert words in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("text", ['{"a":' * 100_000, "[" * 100_000, '{"architecture": ' + "9" * 10_000 + "}", "\x00"])
def test_settings_that_cannot_be_read_say_nothing(tmp_path: Path, text: str) -> None:
    torch.save(state(), tmp_path / "a.pt")
    (tmp_path / "config.json").write_text(text)
    assert "does not say its architecture" in refused(tmp_path / "a.pt")
    resolve(f"{NAME}:{tmp_path / 'a.pt'}", IMAGES, device="cpu")
