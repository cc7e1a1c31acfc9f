"""Files of weights that lie: about sizes, shapes, types, or what they are. One sentence, little memory, nothing run."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding import load_weights
from selfclean_hooks.embedding.backbones.resolve import is_checkpoint, resolve
from selfclean_hooks.embedding.pretrain.description import MARK, Description
from selfclean_hooks.embedding.pretrain.images import Canvas
from selfclean_hooks.embedding.pretrain.networks import Representation, network_of
from selfclean_hooks.embedding.pretrain.objectives import projection_of
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.run import load
from selfclean_hooks.embedding.weights.checkpoint_file import read
from selfclean_hooks.errors import BackboneError
from tests.helpers.embedding_data import Items, as_image

NAME = "test_resnet"
IMAGES = ImageDataset(Items(make=as_image))
MEGABYTE = 2**20


def state() -> dict[str, Tensor]:
    return timm.create_model(NAME, pretrained=False, num_classes=0).state_dict()


def refused(text: str | Path) -> str:
    with pytest.raises(BackboneError) as caught:
        resolve(text, IMAGES, device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2000 + 2 * len(str(text))
    return message


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


# --- what any torch version writes is read as torch reads it -------------------------------------------------------


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


# --- archives whose directory lies ---------------------------------------------------------------------------------


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


# --- pickles -------------------------------------------------------------------------------------------------------

DEEP = 300_000
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


@pytest.mark.parametrize("case", PROGRAMS)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
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


# --- files that are none, and settings beside them -----------------------------------------------------------------


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
        ({"model_args": {"layers": [9000] * 4}}, "timm cannot make the test_resnet"),
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


# --- safetensors, and the files of pretrain ------------------------------------------------------------------------


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


def encoder(path: Path, change: Callable[[Any], Any] = lambda facts: facts, tensors: Mapping[str, Tensor] = {}) -> Path:
    """A file of an encoder with another description."""
    network = network_of("small", "random", torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), 28)
    trained = Representation(network, projection_of("simclr", network.dim), 3)
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


DESCRIPTIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "newer": (changed("version", to=2), "must be of version 1, got 2: use the version of selfclean-hooks that wrote"),
    "a text as version": (changed("version", to="1\n"), "must be of version 1, got '1\\"),
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


# --- memory --------------------------------------------------------------------------------------------------------


def many_keys(path: Path) -> None:
    numbers = torch.ones(1)
    torch.save({f"layer.{i}": numbers for i in range(10**6)}, path)


def bomb(path: Path) -> None:
    """3 MB that unpack to 3 GB."""
    held = records({"conv1.weight": torch.zeros(4)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in held.items():
            if name.endswith("data/0"):
                with archive.open(name, "w", force_zip64=True) as record:
                    for _ in range(192):
                        record.write(bytes(2**24))
            else:
                archive.writestr(name, content)


def giant(path: Path) -> None:
    """The names of a model of 4 GB, and none of its weights."""
    with torch.device("meta"):
        names = timm.create_model("vit_giant_patch14_224", pretrained=False, num_classes=0).state_dict()
    torch.save({"arch": "vit_giant_patch14_224", "state_dict": {name: torch.ones(1) for name in names}}, path)


def repeated(path: Path) -> None:
    """All weights of a model of 1.2 GB, which are the same few numbers again and again."""
    with torch.device("meta"):
        shapes = timm.create_model("vit_large_patch16_224", pretrained=False, num_classes=0).state_dict()
    numbers = torch.zeros(max(value.numel() for value in shapes.values()))
    tied = {name: numbers[: value.numel()].view(value.shape) for name, value in shapes.items()}
    torch.save({"arch": "vit_large_patch16_224", "state_dict": tied}, path)


def giant_encoder(path: Path) -> None:
    encoder(path.with_suffix(".safetensors"), changed("recipe", "encoder", to="vit_giant_patch14_224")).rename(path)


LARGE: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "a million keys": ("a.pt", many_keys),
    "unpacks to gigabytes": ("a.ckpt", bomb),
    "names a large model": ("a.pth", giant),
    "repeats few weights": ("a.bin", repeated),
    "a bytearray": ("a.pt", lambda path: pickled(path, PROGRAMS["a bytearray of any size"])),
    "an encoder that names a large model": ("e.safetensors", giant_encoder),
}
READS = """
import sys
from pathlib import Path
import timm
from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.errors import BackboneError

def megabytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) >> 10

Path("/proc/self/clear_refs").write_text("5")  # the record of the peak begins anew
before = megabytes("VmRSS")
try:
    if sys.argv[1] == "nothing":
        held = bytearray(2**30)
    resolve(sys.argv[1], ImageDataset([]), device="cpu")
except BackboneError as error:
    print(error, file=sys.stderr)
    print(megabytes("VmHWM") - before)
"""


def peak(text: str) -> tuple[int, str]:
    """Megabytes that it takes to refuse a file, and the message."""
    ran = subprocess.run([sys.executable, "-c", READS, text], capture_output=True, text=True, check=True)
    return int(ran.stdout), ran.stderr.strip()


needs_linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc")


@needs_linux
@pytest.mark.parametrize("case", LARGE)
def test_little_memory_is_used_before_a_file_is_refused(tmp_path: Path, case: str) -> None:
    name, make = LARGE[case]
    make(tmp_path / name)
    text = f"resnet18:{tmp_path / name}" if case == "a million keys" else str(tmp_path / name)
    used, message = peak(text)
    assert "\n" not in message
    assert used < 400, f"{used} MB: {message}"


@needs_linux
def test_the_measurement_can_fail() -> None:
    assert peak("nothing")[0] >= 1000
