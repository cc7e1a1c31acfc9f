"""Pickles in files of weights: programs of any kind run nothing, and tensors are what they claim."""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from selfclean_hooks.embedding import load_weights
from tests.embedding.weights.weight_data import NAME, refused
from tests.embedding.weights.weight_records import pickled, state

DEEP = 100_000  # more than the stack of a C function that calls itself


PROGRAMS = {
    "a bytearray of any size": b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x02\x85R.",
    "a tensor of any size": b"\x80\x02ctorch\nFloatTensor\n\x8a\x05\x00\x00\x00\x00\x02\x85R.",
    "nested tuples as a key": b"\x80\x02})" + b"\x85" * DEEP + b"K\x01s.",
    "nested lists": b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "nested dictionaries": b"\x80\x02" + b"}X\x01\x00\x00\x00a" * DEEP + b"K\x01" + b"s" * DEEP + b".",
    "a memory of any size": b"\x80\x02K\x01r\xf0\xff\xff\xff.",
    "text of any size": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "an empty stack": b"\x80\x02R.",
    "no mark": b"\x80\x02t.",
    "no end": b"\x80\x02}",
    "an old class": b"(S'id'\nios\nsystem\n.",
    "a number of digits": b"I" + b"9" * 10_000 + b"\n.",
    "lists of lists": b"\x80\x02]" + b"2" * 100 + b"e.",
    "a list": pickle.dumps([1, 2], 2),
    "a text": pickle.dumps("weights", 2),
    "control characters": pickle.dumps({"\x1b[2J\nx": 1}, 2),
    "itself": b"\x80\x02]q\x00h\x00a.",
}
SLOW = {"nested tuples as a key", "nested dictionaries"}  # one reader reads the pickles of old files too


@pytest.mark.parametrize(
    ("case", "old"),
    [*((case, False) for case in PROGRAMS), *((case, True) for case in PROGRAMS if case not in SLOW)],
)
def test_a_pickle_of_anything_is_refused(tmp_path: Path, case: str, old: bool) -> None:
    path = tmp_path / "a.pt"
    if old:
        torch.save({}, path, _use_new_zipfile_serialization=False)
        head = path.read_bytes()
        machine = head.index(b"}", 20)  # of what follows the magic number and the protocol
        path.write_bytes(head[:machine] + b"}." + PROGRAMS[case] + pickle.dumps([], 2))
    else:
        pickled(path, PROGRAMS[case])
    message = refused(f"{NAME}:{path}")
    assert message.isprintable()


def view(shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, numbers: int = 4) -> Tensor:
    return torch.as_strided(torch.arange(float(numbers)), shape, stride, offset)


class Claims:
    """Pickled as a tensor of any shape in four numbers."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> Any:
        storage = torch.arange(4.0).storage()  # type: ignore[no-untyped-call]
        return torch._utils._rebuild_tensor_v2, (storage, *self.arguments, False, OrderedDict())


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize(
    "arguments",
    [
        (0, (10**12,), (1,)),
        (3, (2,), (1,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (2**62, 2**62), (0, 0)),
        (0, (1,) * 100, (1,) * 100),
        (0, ("2",), (1,)),
        (0, (True,), (1,)),
        (0, None, None),
    ],
)  # fmt: skip
def test_a_tensor_that_is_not_in_the_file_is_refused(tmp_path: Path, arguments: Any) -> None:
    torch.save({"conv1.weight": Claims(*arguments)}, tmp_path / "a.pt")
    assert refused(f"resnet18:{tmp_path / 'a.pt'}")


def unlike(change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {key: change(value) if value.ndim == 4 else value for key, value in state().items()}


KINDS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sparse": (lambda v: v.to_sparse(), "a tensor that is sparse"),
    "compressed sparse": (lambda v: v.flatten(1).to_sparse_csr(), "a tensor that is sparse"),
    "meta": (lambda v: v.to("meta"), "a tensor that is meta"),
    "quantized": (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "a tensor that is quantized"),
    "complex": (lambda v: v.to(torch.complex64), "model torch.float32, file torch.complex64"),
    "bool": (lambda v: v > 0, "model torch.float32, file torch.bool"),
    "integers": (lambda v: v.long(), "model torch.float32, file torch.int64"),
    "expanded": (lambda v: v[:1, :1, :1, :1].clone().expand(v.shape), "a tensor that is expanded"),
    "minus infinity": (lambda v: torch.full_like(v, -torch.inf), "NaN or infinity in"),
    "a scalar": (lambda v: v.sum(), "file ()"),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:.*quantiz")
@pytest.mark.parametrize("case", KINDS)
def test_tensors_that_are_no_weights_are_refused_by_name(tmp_path: Path, case: str) -> None:
    change, words = KINDS[case]
    torch.save(unlike(change), tmp_path / "a.pt")
    message = refused(f"{NAME}:{tmp_path / 'a.pt'}")
    assert words in message
    assert "conv1" in message


def test_they_may_be_beside_the_weights(tmp_path: Path) -> None:
    beside = {"adjacency": torch.eye(3).to_sparse(), "mask": torch.ones(2, dtype=torch.complex64)}
    torch.save({"model": state(), **beside}, tmp_path / "a.pt")
    target = timm.create_model(NAME, pretrained=False, num_classes=0)
    load_weights(target, tmp_path / "a.pt")
