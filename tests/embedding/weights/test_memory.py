"""Little memory is used before a file of weights is refused, however much it claims."""

import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.errors import BackboneError
from tests.embedding.weights.test_pickles import PROGRAMS
from tests.embedding.weights.weight_records import changed, encoder, pickled, records
from tests.helpers.forked import forked
from tests.helpers.new_memory import new_memory


def many_keys(path: Path) -> None:
    numbers = torch.ones(1)
    torch.save({f"layer.{i}": numbers for i in range(10**6)}, path)


def bomb(path: Path) -> None:
    """A megabyte that unpacks to a quarter of a gigabyte."""
    held = records({"conv1.weight": torch.zeros(4)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in held.items():
            if name.endswith("data/0"):
                with archive.open(name, "w", force_zip64=True) as record:
                    for _ in range(16):
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
    "many keys": ("a.pt", many_keys),
    "unpacks to a quarter of a gigabyte": ("a.ckpt", bomb),
    "names a large model": ("a.pth", giant),
    "repeats few weights": ("a.bin", repeated),
    "a bytearray": ("a.pt", lambda path: pickled(path, PROGRAMS["a bytearray of any size"])),
    "an encoder that names a large model": ("e.safetensors", giant_encoder),
}


def megabytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) >> 10


def refuse(text: str) -> None:
    """Print the megabytes that it takes, and the message."""
    Path("/proc/self/clear_refs").write_text("5")  # the record of the peak begins anew
    before = megabytes("VmRSS")
    try:
        with new_memory(2**28) if text == "nothing" else nullcontext():
            resolve(text, ImageDataset([]), device="cpu")
    except BackboneError as error:
        print(megabytes("VmHWM") - before, error, flush=True)


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Megabytes that it takes to refuse each file, in a process of its own, and the message."""
    texts = {"nothing": "nothing"}
    for case, (name, make) in LARGE.items():
        path = tmp_path_factory.mktemp("large") / name
        make(path)
        texts[case] = f"resnet18:{path}" if case == "many keys" else str(path)
    lines = {case: forked(partial(refuse, text)).out.partition(" ") for case, text in texts.items()}
    return {case: (int(used), message) for case, (used, _, message) in lines.items()}


needs_linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc")


@needs_linux
@pytest.mark.parametrize("case", LARGE)
def test_little_memory_is_used_before_a_file_is_refused(peaks: dict[str, tuple[int, str]], case: str) -> None:
    used, message = peaks[case]
    assert used < 200, f"{used} MB: {message}"


@needs_linux
def test_the_measurement_can_fail(peaks: dict[str, tuple[int, str]]) -> None:
    assert peaks["nothing"][0] >= 250
