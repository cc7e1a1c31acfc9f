"""The lines that integrations/README.md gives for other trainers, run as they stand with the real libraries."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from lightning.fabric import Fabric
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from selfclean_hooks import Audit, AuditedDataset, Policy, audit
from selfclean_hooks.audits import audited_dataset
from selfclean_hooks.testing import contaminate, digits, off_topic_patches

pytestmark = pytest.mark.usefixtures("features_alone")

README = Path(__file__).parents[2] / "integrations" / "README.md"
POLICY = Policy("drop", "drop")


class Items(Dataset[Any]):
    """(image, label, position) of digits, some of them copies."""

    def __init__(self) -> None:
        images, labels = digits()
        planted = contaminate(images[:60], labels[:60], off_topic_patches(20, 8), seed=0)
        self.x, self.y = torch.from_numpy(planted.images).float()[:, None] / 255, torch.from_numpy(planted.labels)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, Any, int]:
        return self.x[index], self.y[index], index


def lines_of(host: str) -> str:
    """The block of code that follows the name of a host."""
    section = README.read_text("utf-8").partition("## Other trainers")[2].partition("\n## ")[0]
    code: list[str] = re.findall(r"```python\n(.*?)```", section.partition(f"**{host}")[2], re.DOTALL)
    return code[0]


def by_pixels(data: Any, **options: Any) -> Audit:
    """`audit` with pixels as features, where the lines leave the backbone to be found."""
    return audit(data, **{"backbone": pixels, "progress": False, **options})


def pixels(batch: Any) -> Any:
    return batch.flatten(1)


@pytest.fixture(autouse=True)
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited_dataset, "run_audit", by_pixels)


def run(code: str, **given: Any) -> dict[str, Any]:
    names = {"policy": POLICY, "AuditedDataset": AuditedDataset, "DataLoader": DataLoader, "Path": Path, **given}
    exec(code, names)
    return names


def positions(batches: Any) -> list[int]:
    return sorted(int(position) for _, _, which in batches for position in which)


def expected() -> list[int]:
    kept: list[int] = by_pixels(Items(), policy=POLICY).clean_indices.tolist()
    assert 0 < len(kept) < len(Items())
    return kept


def test_a_loop_and_ignite() -> None:
    found = run(lines_of("A loop of your own"), train=Items())
    ignite = pytest.importorskip("ignite.engine", reason="ignite is not installed")
    seen: list[Any] = []
    ignite.Engine(lambda engine, batch: seen.append(batch)).run(found["loader"], max_epochs=1)
    assert positions(seen) == expected()


def test_fabric(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    given = {"fabric": fabric, "backbone": nn.Flatten(), "cache": tmp_path}
    assert positions(run(lines_of("Fabric"), train=Items(), **given)["loader"]) == expected()


def test_accelerate(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(with accelerator.*?)```", README.read_text("utf-8"), re.DOTALL)
    given = {"accelerator": Accelerator(cpu=True), "backbone": nn.Flatten(), "cache": tmp_path}
    assert positions(run(code, train=Items(), **given)["loader"]) == expected()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders with digits, one of them twice."""
    images, labels = digits()
    chosen: Sequence[int] = [*range(30), 4]
    for place, index in enumerate(chosen):
        file = tmp_path / "train" / str(labels[index]) / f"{place:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).convert("RGB").resize((32, 32)).save(file)
    return tmp_path


def test_timm(folder: Path) -> None:
    found = run(lines_of("timm"), folder=str(folder), device=torch.device("cpu"))
    assert 0 < len(found["train"]) < 31
    batches = list(found["loader"])
    assert {tuple(images.shape[1:]) for images, _ in batches} == {(3, 32, 32)}


def test_fastai(folder: Path) -> None:
    vision = pytest.importorskip("fastai.vision.all", reason="fastai is not installed")
    given = {**vars(vision), "folder": folder / "train"}
    names = run(lines_of("fastai"), **{**given, "audit": by_pixels})
    loaders = names["block"].dataloaders(folder / "train", bs=4, num_workers=0)
    assert len(loaders.train_ds) + len(loaders.valid_ds) == len(names["kept"]) < 31
