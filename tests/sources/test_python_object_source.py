import sys
from pathlib import Path

import pytest

from selfclean_hooks.sources.source import open_source
from tests.helpers.image_files import refused

MODULE = """
from torch.utils.data import IterableDataset
from selfclean_hooks.sources.array import ArrayDataset
import numpy as np

ready = ArrayDataset(np.zeros((3, 4, 4), np.uint8))
pairs = [(ready[0][0], 1)]
text = "text"

class Own:
    kept = ready
    def __len__(self): return 5
    def __getitem__(self, index): return index

class Loader:
    dataset = ready

class Data:
    calls = []
    def prepare_data(self): self.calls.append("prepare_data")
    def setup(self, stage): self.calls.append(stage)
    def train_dataloader(self): return Loader()

class Several(Data):
    def train_dataloader(self): return {"a": Loader()}

class Stream(IterableDataset):
    def __iter__(self): return iter([1])
    def __len__(self): return 1

def make(size=2):
    import selfclean_helper_of_test
    return ArrayDataset(np.zeros((size, 4, 4), np.uint8))

def needs(root, split="train"): return ready
def fails(): raise RuntimeError("no such disk")
def leaves(): raise SystemExit(0)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "selfclean_source_of_test.py").write_text(MODULE)
    (tmp_path / "selfclean_helper_of_test.py").write_text("")
    (tmp_path / "selfclean_broken_of_test.py").write_text("import a_module_that_is_not_there")
    monkeypatch.chdir(tmp_path)
    for name in ("selfclean_source_of_test", "selfclean_helper_of_test", "selfclean_broken_of_test"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "selfclean_source_of_test"


@pytest.mark.parametrize(
    ("attribute", "length"),
    [("ready", 3), ("pairs", 1), ("Own", 5), ("Own.kept", 3), ("make", 2), ("Data", 3), ("Loader.dataset", 3)],
)
def test_python_objects_from_the_current_folder(module: str, attribute: str, length: int) -> None:
    before = list(sys.path)
    source = open_source(f"{module}:{attribute}")
    assert source.dataset is not None
    assert (source.name, len(source.dataset)) == (f"{module}:{attribute}", length)
    assert sys.path == before


def test_a_data_module_is_set_up_for_fitting(module: str) -> None:
    open_source(f"{module}:Data")
    assert sys.modules[module].Data.calls == ["prepare_data", "fit"]


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("absent", "has no attribute 'absent'"),
        ("text", "a map-style data set is needed, one with len() and [index]; got a str"),
        ("Stream", "got a Stream: read the items into a list first"),
        ("Several", "wanted one train DataLoader, got dict: name one data set instead"),
        ("needs", "it wants arguments, (root, split='train'): write a function without required arguments"),
        ("fails", "it failed: RuntimeError: no such disk"),
        ("leaves", "it failed: SystemExit: 0"),
    ],
)
def test_python_objects_that_cannot_be_used(module: str, attribute: str, message: str) -> None:
    before = list(sys.path)
    assert message in refused(f"{module}:{attribute}")
    assert sys.path == before


def test_an_import_error_keeps_its_message(module: str) -> None:
    assert "No module named 'a_module_that_is_not_there'" in refused("selfclean_broken_of_test:x")
    assert "No module named 'selfclean_absent'" in refused("selfclean_absent:x")


def test_a_lightning_data_module_is_read_without_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = """
    from lightning import LightningDataModule
    from torch.utils.data import DataLoader
    class Data(LightningDataModule):
        def setup(self, stage): self.train = [(float(i), i % 2) for i in range(7)]
        def train_dataloader(self): return DataLoader(self.train, batch_size=2)
    """
    (tmp_path / "selfclean_lightning_of_test.py").write_text(lines.replace("\n    ", "\n"))
    monkeypatch.chdir(tmp_path)
    source = open_source("selfclean_lightning_of_test:Data")
    monkeypatch.delitem(sys.modules, "selfclean_lightning_of_test")
    assert source.dataset is not None
    assert len(source.dataset) == 7
