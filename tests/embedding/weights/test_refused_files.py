"""Files that hold no weights are refused in one line, and nothing in them is run."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from selfclean_hooks.embedding.backbones import resolve as checkpoints
from selfclean_hooks.embedding.backbones.resolve import resolve
from tests.embedding.weights.weight_data import IMAGES, NAME, is_of, model, refused, saved
from tests.helpers.embedding_data import Net


class Run:
    """What a training script may keep beside its weights."""


class Runs:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b.txt", "no weights")


def truncate(path: Path) -> None:
    saved(path, model().state_dict())
    path.write_bytes(path.read_bytes()[:-5000])


BAD: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "empty": ("a.ckpt", lambda path: path.touch(), "got an empty file"),
    "missing": ("a.ckpt", lambda path: None, "cannot be read as a file of weights: No such file"),
    "folder": ("a.ckpt", lambda path: path.mkdir(), "got a folder: name the file in it"),
    "truncated": (
        "a.ckpt",
        truncate,
        "is no file of torch.save, or damaged (it is cut short",
    ),
    "zip": ("a.pt", zipped, "is no file of torch.save, or damaged"),
    "web page": ("a.ckpt", lambda path: path.write_text("\n<!DOCTYPE html>\n<html></html>"), "got a web page"),
    "lfs": ("a.pth", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "run git lfs pull"),
    "text": ("a.bin", lambda path: path.write_text("weights"), "must be a file of torch.save or a .safetensors file"),
    "a list": ("a.pt", lambda path: torch.save([torch.ones(2)], path), "must hold a state dict, got list"),
    "optimizer": (
        "a.pt",
        lambda path: torch.save(torch.optim.Adam(model().parameters()).state_dict(), path),
        "got no tensors in it (but state, param_groups): save the state_dict()",
    ),
    "nothing": ("a.pt", lambda path: torch.save({}, path), "got no tensors in it (but nothing)"),
    "a module": (
        "a.pt",
        lambda path: torch.save(Net(), path),
        "must hold weights alone, got tests.helpers.embedding_data.Net in it, which is not run: save the state_dict() "
        "alone, or pass an nn.Module; or, of a class that you trust, call torch.serialization.add_safe_globals first",
    ),
    "safetensors' header": ("a.safetensors", lambda path: path.write_bytes(b"\xff" * 64), "is no safetensors file"),
    "safetensors, truncated": (
        "a.safetensors",
        lambda path: (save_file(model().state_dict(), path), path.write_bytes(path.read_bytes()[:-100])),
        "is no safetensors file, or damaged",
    ),
    "scripted": (
        "a.pt",
        lambda path: cast(Any, torch.jit).trace(nn.Linear(2, 2), torch.ones(1, 2)).save(path),
        "got a TorchScript archive: pass torch.jit.load of it as backbone",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("front", ["", f"{NAME}:"], ids=["bare", "named"])
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path: Path, case: str, front: str) -> None:
    file, make, words = BAD[case]
    make(tmp_path / file)
    message = refused(f"{front}{tmp_path / file}")
    assert str(tmp_path / file) in message
    assert words in message


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path: Path, suffix: str, how: str) -> None:
    path, ran = tmp_path / f"a{suffix}", tmp_path / "ran"
    content = {"state_dict": model().state_dict(), "hyper_parameters": {"x": Runs(ran)}}
    if how == "pickle":
        path.write_bytes(pickle.dumps({"x": Runs(ran)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    message = refused(f"{NAME}:{path}")
    assert not ran.exists()
    assert ("which is not run" in message) == (suffix != ".safetensors")
    if suffix != ".safetensors" and how == "zip":
        torch.load(path, weights_only=False)  # the trap itself works
        assert ran.exists()


def test_a_class_that_the_user_trusts_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"state_dict": model().state_dict(), "run": Run()})
    assert "got tests.embedding.weights.test_refused_files.Run in it, which is not run" in refused(f"{NAME}:{path}")
    with torch.serialization.safe_globals([Run]):
        is_of(model(), path)


def test_our_own_files_go_to_their_own_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(1)}, path, {checkpoints.OWN: "{}"})
    known = resolve(lambda batch: batch, IMAGES)
    monkeypatch.setattr(checkpoints, "of_file", lambda file, device: known)
    assert resolve(path, IMAGES) is known


def test_no_global_generator_is_moved(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", model(in_chans=1).state_dict())
    before = torch.get_rng_state()
    resolve(f"{NAME}:{path}", IMAGES, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
