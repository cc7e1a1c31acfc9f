"""Files of torch.save: read as torch reads them, and refused where their directory lies."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfclean_hooks.embedding.weights.checkpoint_file import read
from tests.embedding.weights.weight_data import NAME, refused
from tests.embedding.weights.weight_records import archived, records, state


def unusual() -> dict[str, Any]:
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "plain": base,
        "transposed": base.T,
        "a view": base[1:3, 2:5],
        "a scalar": torch.tensor(3),
        "none": torch.zeros(0, 3),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "float8": base.to(torch.float8_e4m3fn),
        "uint16": torch.tensor([1, 2, 65535]).to(torch.uint16),
        "bool": base > 3,
        "a parameter": nn.Parameter(base + 1),
        "complex": torch.complex(base, base),
        "of a module": nn.BatchNorm1d(3).state_dict(),
        "beside": [1, None, {"x": (2.5, "y", b"z", {3})}, torch.Size([2]), torch.device("cpu"), torch.float16, 2**70],
    }


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_are_read_as_torch_reads_them(tmp_path: Path, new: bool, protocol: int) -> None:
    content, path = unusual(), tmp_path / "a.pt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    file = read(path)
    nested = {f"of a module.{key}": value for key, value in content["of a module"].items()}
    expected = {**{key: value for key, value in content.items() if isinstance(value, Tensor)}, **nested}
    assert file.tensors.keys() == expected.keys()
    for name, value in file.load(list(expected)).items():
        assert value.dtype == expected[name].dtype
        assert file.tensors[name].shape == tuple(value.shape) == tuple(expected[name].shape)
        assert value.is_complex() or torch.equal(value.float(), expected[name].detach().float())
    assert torch.equal(file.load(["complex"])["complex"], content["complex"])


def test_shared_weights_are_read_once(tmp_path: Path) -> None:
    tied = torch.ones(1000)
    torch.save({"a": tied, "b": tied, "c": tied[:10]}, tmp_path / "a.pt")
    read_once = read(tmp_path / "a.pt").load(["a", "b", "c"])
    assert len({value.untyped_storage().data_ptr() for value in read_once.values()}) == 1


def lying(path: Path, at: int, value: int) -> Path:
    """An archive in whose directory a number of the largest record is another one."""
    held = records({"a": torch.ones(300)})
    content = bytearray(archived(path, held).read_bytes())
    name = next(name for name in held if name.endswith("data/0")).encode()
    start = content.rindex(name) - 46
    assert content[start : start + 4] == b"PK\x01\x02"
    content[start + at : start + at + 4] = struct.pack("<L", value)
    path.write_bytes(content)
    return path


def doubled(path: Path) -> Path:
    """Two records are one place."""
    held = records({"a": torch.ones(300), "b": torch.zeros(300)})
    content = bytearray(archived(path, held).read_bytes())
    places = [content.rindex(name.encode()) - 46 for name in held if name.endswith(("data/0", "data/1"))]
    content[places[1] + 42 : places[1] + 46] = content[places[0] + 42 : places[0] + 46]
    path.write_bytes(content)
    return path


DIRECTORIES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "compressed": (lambda p: archived(p, records(state()), zipfile.ZIP_DEFLATED), "is compressed, which torch.save"),
    "bzip2": (lambda p: archived(p, records(state()), zipfile.ZIP_BZIP2), "is compressed, which torch.save"),
    "longer than it is": (lambda p: lying(p, 24, 2**31), "is compressed"),
    "shorter than its tensor": (lambda p: archived(p, {**records({"a": torch.ones(9)}), "archive/data/0": b"ab"}), ""),
    "longer than its tensor": (
        lambda p: archived(p, {**records({"a": torch.ones(9)}), "archive/data/0": bytes(99)}),
        "the record data/0 has 99 bytes, its tensors need 36",
    ),
    "elsewhere": (lambda p: lying(p, 42, 3), "overlaps with what comes after it"),
    "overlapping": (doubled, "overlaps with what comes after it"),
    "without a record": (
        lambda p: archived(p, {k: v for k, v in records({"a": torch.ones(9)}).items() if "data/0" not in k}),
        "the record data/0 has 0 bytes, its tensors need 36",
    ),
    "other bytes": (lambda p: archived(p, {**records(state()), "archive/byteorder": b"big"}), "of another machine"),
}


@pytest.mark.parametrize("case", DIRECTORIES)
def test_a_directory_that_lies_is_refused(tmp_path: Path, case: str) -> None:
    make, words = DIRECTORIES[case]
    make(tmp_path / "a.pt")
    message = refused(f"{NAME}:{tmp_path / 'a.pt'}")
    assert words in message
    assert "is no file of torch.save, or damaged (" in message
