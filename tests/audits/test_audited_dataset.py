"""AuditedDataset with a stand-in for the audit: what is kept, forwarded and set. Audits for real: test_audit.py."""

import copy
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets as huggingface
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset
from torchvision import transforms as v1
from torchvision.datasets import FakeData, ImageFolder

from selfclean_hooks.audits.audited_dataset import AuditedDataset
from selfclean_hooks.data.dataset_tree import class_names, file_name, origin
from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.views.dataset_view import DatasetView
from selfclean_hooks.decisions.settings import Policy
from selfclean_hooks.errors import ContaminationError, DataError, SettingError


@dataclass
class FakeAudit:
    """What AuditedDataset asks of an audit."""

    clean_indices: NDArray[np.int64]
    n: int
    settings: tuple[tuple[str, Any], ...] = ()
    enforced: int = 0
    contaminated: bool = False
    policy: Policy = field(default_factory=Policy)

    def at(self, **settings: Any) -> "FakeAudit":
        return FakeAudit(self.clean_indices[:1], self.n, tuple(settings.items()))

    def enforce(self) -> None:
        self.enforced += 1
        if self.contaminated:
            raise ContaminationError("2 label errors")


def audited(dataset: Any, kept: list[int]) -> AuditedDataset:
    audit: Any = FakeAudit(np.array(kept, dtype=np.int64), len(dataset))
    return AuditedDataset(dataset, audit=audit)


class Rows(Dataset[Any]):
    """One of each attribute that has an entry a sample."""

    def __init__(self) -> None:
        self.data = np.arange(12).reshape(4, 3)
        self.targets = [5, 6, 7, 8]
        self.labels = torch.tensor(self.targets)
        self.samples = tuple(zip("abcd", self.targets, strict=True))
        self.imgs = None
        self.paths = ["a.png", "b.png", "c.png", "d.png"]
        self.classes = ["w", "x", "y", "z"]

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return self.data[index], self.targets[index]

    def double(self) -> int:
        return 2 * len(self)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for shade in (10, 20):
            Image.new("RGB", (8, 8), (shade, index, 0)).save(tmp_path / name / f"{shade}.png")
    return tmp_path


def test_it_holds_the_kept_samples_in_order() -> None:
    inner = Rows()
    dataset = audited(inner, [0, 2, 3])
    assert len(dataset) == 3
    assert [label for _, label in (dataset[index] for index in range(3))] == [5, 7, 8]
    assert dataset[-1][1] == dataset[np.int64(2)][1] == dataset[torch.tensor(2)][1] == 8  # type: ignore[index]
    assert dataset.indices.dtype == np.int64
    assert dataset.indices.tolist() == [0, 2, 3]
    assert dataset.dataset is inner


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_beyond_the_kept_samples_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"index {index} is outside the 3 samples that were kept"):
        audited(Rows(), [0, 2, 3])[index]


def test_it_can_be_iterated_and_be_empty() -> None:
    assert len(list(audited(Rows(), [1, 3]))) == 2
    assert len(audited(Rows(), [])) == 0


def test_the_users_own_augmentation_is_applied() -> None:
    draws = iter(range(100))
    dataset = audited(FakeData(4, (3, 4, 4), transform=lambda image: next(draws)), [1, 2])
    assert [dataset[0][0], dataset[0][0], dataset[1][0]] == [0, 1, 2]


def test_batches_use_what_the_inner_data_set_offers() -> None:
    class Batched(Rows):
        asked: tuple[int, ...] = ()

        def __getitems__(self, indices: list[int]) -> list[Any]:
            self.asked = tuple(indices)
            return [self[index] for index in indices]

    inner = Batched()
    assert [label for _, label in audited(inner, [0, 2, 3]).__getitems__([2, -2])] == [8, 7]
    assert inner.asked == (3, 2)
    assert all(type(index) is int for index in inner.asked)
    assert [label for _, label in audited(Rows(), [0, 2, 3]).__getitems__([2, 0])] == [8, 5]


def test_attributes_of_samples_are_filtered() -> None:
    dataset = audited(Rows(), [0, 3])
    assert dataset.targets == [5, 8]
    assert dataset.labels.tolist() == [5, 8]
    assert dataset.samples == (("a", 5), ("d", 8))
    assert dataset.data.tolist() == [[0, 1, 2], [9, 10, 11]]
    assert dataset.imgs is None
    assert dataset.paths == ["a.png", "d.png"]
    assert dataset.double() == 8


def test_other_attributes_are_those_of_the_inner_data_set() -> None:
    inner = Rows()
    dataset = audited(inner, [0])
    assert dataset.classes is inner.classes  # as many classes as samples, yet no attribute of samples
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dataset.nothing
    inner._secret = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute '_secret'"):
        _ = dataset._secret


def test_an_attribute_of_samples_that_cannot_be_filtered_is_refused() -> None:
    inner = Rows()
    inner.targets = dict(enumerate(inner.targets))  # type: ignore[assignment]
    with pytest.raises(AttributeError, match=r"4 entries in a dict, .*: use audited\.dataset\.targets"):
        _ = audited(inner, [0]).targets


def test_setting_a_transform_reaches_the_inner_data_set(folder: Path) -> None:
    inner = ImageFolder(str(folder))
    dataset = audited(inner, [0, 3])
    dataset.transform = v1.ToTensor()
    dataset.target_transform = lambda label: label + 10
    assert inner.transform is dataset.transform
    assert dataset[1][0].shape == (3, 8, 8)
    assert dataset[1][1] == 11
    dataset.note = "mine"
    assert not hasattr(inner, "note")


def test_copies_and_pickles() -> None:
    dataset = audited(Rows(), [0, 3])
    for twin in (copy.copy(dataset), copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert twin.targets == [5, 8]
        assert twin.indices.tolist() == [0, 3]
        assert twin.audit.n == 4


def test_it_travels_to_workers(folder: Path) -> None:
    dataset = pickle.loads(pickle.dumps(audited(ImageFolder(str(folder), transform=v1.ToTensor()), [0, 2, 3])))
    loader = DataLoader(dataset, batch_size=2, num_workers=1, multiprocessing_context="fork")
    assert torch.cat([labels for _, labels in loader]).tolist() == [0, 1, 1]


def test_it_nests_and_the_views_go_through_it(folder: Path) -> None:
    inner = ImageFolder(str(folder), transform=v1.Compose([v1.RandomRotation(90), v1.ToTensor()]))
    dataset = audited(ConcatDataset([audited(inner, [0, 2, 3]), Subset(inner, [1])]), [1, 3])
    plain = [ImageFolder(str(folder))[index][0] for index in (2, 1)]
    assert [digest(image) for image, _ in (DatasetView(dataset).stored.dataset[i] for i in (0, 1))] == list(
        map(digest, plain)
    )
    assert torch.equal(DatasetView(dataset).evaluation.dataset[1][0], v1.ToTensor()(plain[1]))
    assert origin(dataset, 0) == ("dataset.datasets[0].dataset", 2)
    assert file_name(dataset, 1) == inner.samples[1][0]
    assert class_names(dataset) == ("cat", "dog")
    assert "RandomRotation" in repr(inner.transform)


def test_hugging_face_items_and_guarded_methods() -> None:
    hub = huggingface.Dataset.from_dict({"x": [10, 11, 12], "label": [0, 1, 0]})
    dataset = audited(hub, [0, 2])
    assert [dataset[index]["x"] for index in range(2)] == [10, 12]
    assert dataset.__getitems__([1, 0]) == [{"x": 12, "label": 0}, {"x": 10, "label": 0}]
    assert next(iter(DataLoader(dataset, batch_size=2)))["x"].tolist() == [10, 12]
    assert dataset.column_names == ["x", "label"]
    with pytest.raises(AttributeError, match=r"\.with_format\(\) would return all samples"):
        dataset.with_format("torch")
    assert DatasetView(dataset).stored.dataset[1]["x"] == 12


def test_the_audit_is_enforced_once_and_may_refuse() -> None:
    audit: Any = FakeAudit(np.arange(4), 4)
    dataset: Any = AuditedDataset(Rows(), audit=audit)
    assert dataset.audit is audit
    assert audit.enforced == 1
    audit.contaminated = True
    with pytest.raises(ContaminationError, match="2 label errors"):
        AuditedDataset(Rows(), audit=audit)


def test_policy_and_thresholds_are_applied_to_a_given_audit() -> None:
    audit: Any = FakeAudit(np.arange(4), 4)
    policy: Any = "a policy"
    dataset: Any = AuditedDataset(Rows(), policy=policy, audit=audit)
    assert dataset.audit.settings == (("thresholds", None), ("policy", "a policy"))
    assert dataset.indices.tolist() == [0]
    assert audit.enforced == 0
    assert dataset.audit.enforced == 1


def test_an_audit_of_something_else_is_refused() -> None:
    audit: Any = FakeAudit(np.arange(3), 3)
    with pytest.raises(DataError, match="which has 4 samples; it is of 3: audit this one"):
        AuditedDataset(Rows(), audit=audit)
    with pytest.raises(SettingError, match="backbone, seed would go to a new audit"):
        AuditedDataset(Rows(), audit=audit, backbone="resnet18", seed=1)
    with pytest.raises(DataError, match="got a str: open it first"):
        AuditedDataset("folder", audit=audit)
