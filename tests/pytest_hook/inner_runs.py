"""A small project with a test of its data, in which pytest is run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision  # noqa: F401  (inner runs forget what they import, and triton cannot be imported twice)
from PIL import Image

IMAGES = 12
TEST = """
import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor
from selfclean_hooks.decisions.settings import Thresholds
from selfclean_hooks_pytest import assert_clean

class Pixels(torch.nn.Module):
    def forward(self, batch):
        with open("embedded.txt", "a") as file:
            file.write("x" * len(batch))
        return batch.flatten(1)

def test_images():
    data = ImageFolder("data", ToTensor())
    assert_clean(data, near_duplicates=0.01, backbone=Pixels())
"""


def write_images(folder: Path) -> None:
    """Of two classes, not compressed, so that a file may change and keep its size. Number 4 of the cats is a copy."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    pixels[4] = pixels[0]
    for i, array in enumerate(pixels):
        path = folder / ("cat" if i < IMAGES // 2 else "dog") / f"{i}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Pytest within this process, so that torch need not be imported again, and without any other plugin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return pytester.runpytest_inprocess("-p", "selfclean_hooks_pytest.plugin", *arguments)


def embedded(pytester: pytest.Pytester) -> int:
    """How many images went through `Pixels` in all runs so far."""
    path = pytester.path / "embedded.txt"
    return path.stat().st_size if path.exists() else 0


def change(pytester: pytest.Pytester, old: str, new: str, file: str = "test_data.py") -> None:
    """Edit the inner test."""
    path = pytester.path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def reported(result: pytest.RunResult) -> list[str]:
    """The lines about audits at the end of a run."""
    return [line for line in result.outlines if line.startswith(("passed ", "FAILED ")) and " samples: " in line]


def failure(result: pytest.RunResult) -> list[str]:
    """The message of the failure as pytest prints it."""
    return [line for line in result.outlines if line.startswith("E ")]


def cache(pytester: pytest.Pytester, *parts: str) -> Path:
    """In pytest's own cache folder."""
    return pytester.path.joinpath(".pytest_cache", "d", "selfclean_hooks", *parts)


def outcomes(result: pytest.RunResult) -> dict[str, Any]:
    """Passed, failed and errors."""
    return {name: n for name, n in result.parseoutcomes().items() if name != "warnings" and name != "warning"}
