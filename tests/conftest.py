"""Data sets on disk for several tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets as huggingface
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from tests.helpers.command_line import call, saved, source  # noqa: F401  (fixtures)


def pytest_configure() -> None:
    """One thread here and in the processes that tests start: threads cost more than small tensors gain by them."""
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def no_seed_left_in_the_environment() -> Iterator[None]:
    """Lightning's `seed_everything` leaves two variables behind, by which later fits change their loaders."""
    yield
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    return tmp_path


@pytest.fixture
def hub(folder: Path) -> Any:
    features = huggingface.Features(image=huggingface.Image(), label=huggingface.ClassLabel(names=["cat", "dog"]))
    samples = ImageFolder(str(folder)).samples
    columns = {"image": [path for path, _ in samples], "label": [label for _, label in samples]}
    return huggingface.Dataset.from_dict(columns, features=features)


@pytest.fixture
def audits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that callbacks audit for; an entry for each audit made."""
    import selfclean_hooks.training.auditor

    made: list[int] = []
    really: Any = selfclean_hooks.training.auditor.audit_distributed  # type: ignore[attr-defined]

    def counted(processes: Any, request: Any) -> Any:
        made.append(request.epoch)
        return really(processes, request)

    monkeypatch.setattr(selfclean_hooks.training.auditor, "audit_distributed", counted)
    return made
