"""Code and commands of README and docs run as they stand, on small data: pixels take the place of weights."""

import functools
import json
import re
import shlex
import shutil
import webbrowser
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import ImageFolder

from selfclean_hooks import Audit, Policy, audit
from selfclean_hooks.cli.main import main
from selfclean_hooks.decisions.review.file import KIND
from selfclean_hooks.embedding.backbones import resolve
from selfclean_hooks.embedding.encoders.encoder import of_callable
from selfclean_hooks.testing import contaminate, digits, off_topic_patches

pytestmark = pytest.mark.usefixtures("features_alone")

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "integrations/README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n+)?```python\n(.*?)```", re.DOTALL)
QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
}


def blocks(page: str) -> list[tuple[str, str]]:
    """(why it is not run, or nothing; the code) of each block."""
    text = (ROOT / page).read_text(encoding="utf-8").partition("\n## Other trainers")[0]  # test_other_trainers.py
    return BLOCK.findall(text)


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def write_folder(folder: Path, images: Any, labels: Any) -> None:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number}.png")


class Data(NamedTuple):
    """What all pages start from."""

    folder: Path
    dataset: TensorDataset
    found: Audit


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("pages")
    images, labels = digits()
    planted = contaminate(images[:150], labels[:150], off_topic_patches(20, 8))
    dataset = TensorDataset(torch.from_numpy(planted.images).float()[:, None] / 255, torch.from_numpy(planted.labels))
    write_folder(folder / "photos", planted.images, planted.labels)
    write_folder(folder / "data" / "train", *(values[labels < 2][:60] for values in (images, labels)))
    (folder / "decisions.json").write_text(json.dumps({"kind": KIND, "format": 1, "decisions": []}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pixels = of_callable(lambda batch: batch.flatten(1))
        found = audit(ImageFolder("photos"), pixels, policy=Policy("drop", "drop", "drop"), progress=False)
    return Data(folder, dataset, found)


@pytest.fixture
def names(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the pages take for granted: a data set, a model, a folder of images and decisions about it."""
    shutil.copytree(data.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resolve, "of_timm", lambda name, images, device: of_callable(lambda b: b.flatten(1), device))
    monkeypatch.setattr(webbrowser, "open", lambda *arguments: True)
    trainer = functools.partial(lightning.Trainer, max_epochs=1, accelerator="cpu", **QUIET)
    monkeypatch.setattr(lightning, "Trainer", trainer)
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda *arguments, **options: data.dataset)
    loader = DataLoader(data.dataset, batch_size=32, shuffle=True)
    given = {"dataset": data.dataset, "a": data.found, "model": Classifier(), "data": loader, "Trainer": trainer}
    return {**given, "ImageFolder": ImageFolder, "my_training_transform": None, "np": np}


@pytest.mark.parametrize("page", [page for page in PAGES if any(not why for why, _ in blocks(page))])
def test_code_runs(page: str, names: dict[str, Any]) -> None:
    for why, code in blocks(page):
        if not why:
            exec(compile(code, page, "exec"), names)
    for name in [name for name in names if name.startswith("test_")]:
        names[name]()


def commands(page: str) -> list[list[str]]:
    """The words of each `$ selfclean-hooks ...`, without the program."""
    lines = re.findall(r"(?m)^\$ selfclean-hooks (.*)$", (ROOT / page).read_text(encoding="utf-8"))
    return [shlex.split(line, comments=True) for line in lines]


def write_boxes(root: Path, files: list[Path]) -> None:
    """The images in the format of YOLO, with a box each."""
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
    classes = sorted({file.parent.name for file in files})
    for number, file in enumerate(files):
        shutil.copy(file, root / "images" / "train" / f"{number:03}.png")
        box = f"{classes.index(file.parent.name)} 0.5 0.5 1 1\n"
        (root / "labels" / "train" / f"{number:03}.txt").write_text(box)
    (root / "data.yaml").write_text(json.dumps({"train": "images/train", "names": classes}))


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_run(page: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends with 0, or with 1 where its limits are exceeded; what trains an encoder is run in tests/embedding."""
    shutil.copytree("photos", "fashion")
    shutil.copytree("data/train", "data/val")
    write_boxes(Path("data"), sorted(Path("data/train").rglob("*.png")))
    names["a"].save("audit")
    for words in commands(page):
        if words[0] == "pretrain":
            monkeypatch.setattr(resolve, "of_checkpoint", lambda *given: of_callable(lambda b: b.flatten(1)))
            Path("encoder.safetensors").touch()
            continue
        assert main(words) in ({0, 1} if any(word.startswith("--max-") for word in words) else {0}), words


def test_what_is_not_run_says_why() -> None:
    assert BLOCK.findall("<!-- not run: a hub -->\n```python\na\n```\n```python\nb\n```") == [
        ("<!-- not run: a hub -->\n", "a\n"),
        ("", "b\n"),
    ]
    reasons = [why for page in PAGES for why, _ in blocks(page) if why]
    assert 0 < len(reasons) < sum(len(blocks(page)) for page in PAGES) / 2
