from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset
from torchvision.datasets import FakeData, ImageFolder

from selfclean_hooks.data.dataset_tree import Origin, class_names, file_name, origin
from selfclean_hooks.data.digests import digest
from tests.helpers.training_data import Applied, nested


class Shuffled(Dataset[Any]):
    def __init__(self, dataset: Any) -> None:
        self.dataset, self.order = dataset, list(reversed(range(len(dataset))))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.order[index]]


def follow(dataset: Any, path: str) -> Any:
    return eval(f"dataset.{path}" if path else "dataset", {"dataset": dataset})


def test_origin_finds_the_very_item(folder: Path) -> None:
    dataset = nested(Applied(ImageFolder(str(folder))))
    for index in range(-len(dataset), len(dataset)):
        path, position = origin(dataset, index)
        leaf = follow(dataset, path)
        assert isinstance(leaf, ImageFolder)
        assert digest(leaf[position][0]) == digest(dataset[index][0])
        assert file_name(dataset, index) == leaf.samples[position][0]
    assert origin(dataset, 5).path == "datasets[1].dataset.dataset"


def test_origin_of_a_leaf_and_of_an_unknown_order() -> None:
    leaf = FakeData(4)
    assert origin(leaf, -1) == Origin("", 3)
    assert origin(Shuffled(leaf), 1) == Origin("", 1)
    assert origin(Subset(leaf, range(2, 4)), 1) == Origin("dataset", 3)
    assert origin(Subset(leaf, torch.tensor([3, -1])), 1) == Origin("dataset", 3)  # type: ignore[arg-type]
    assert origin([1, 2], 0) == Origin("", 0)
    with pytest.raises(IndexError, match="index 4 is outside a data set of 4 samples"):
        origin(leaf, 4)


def test_file_name_where_the_leaf_says_so(folder: Path) -> None:
    dataset = Applied(FakeData(2))
    dataset.dataset.paths = [Path("a.png"), Path("b.png")]
    assert file_name(dataset, 1) == "b.png"
    assert file_name(ImageFolder(str(folder)), -1) == str(folder / "dog" / "2.png")
    assert file_name(FakeData(2), 0) is None
    assert file_name([1, 2], 0) is None


def test_class_names(folder: Path, hub: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    leaf = ImageFolder(str(folder))
    other = tmp_path_factory.mktemp("other")
    (other / "bird").mkdir()
    Image.new("L", (4, 4)).save(other / "bird" / "0.png")
    assert class_names(nested(leaf)) == ("cat", "dog")
    assert class_names(Subset(hub, [0])) == ("cat", "dog")
    assert class_names(ConcatDataset([leaf, hub])) == ("cat", "dog")
    assert class_names(ConcatDataset([leaf, ImageFolder(str(other))])) is None
    assert class_names(ConcatDataset([leaf, FakeData(2)])) is None
    assert class_names(ImageFolder(str(folder), target_transform=abs)) is None
    assert class_names([1, 2]) is None


class Around(Dataset[Any]):
    """A wrapper that names what it holds as it likes."""

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)

    def __len__(self) -> int:
        return len(self._first())

    def __getitem__(self, index: int) -> Any:
        return self._first()[index]

    def _first(self) -> Any:
        return next(iter(vars(self).values()))


@pytest.mark.parametrize("name", ["subset", "data", "ds"])
def test_a_single_data_set_under_any_name_is_followed(folder: Path, name: str) -> None:
    leaf = ImageFolder(str(folder))
    half = Subset(leaf, [4, 1, 0])
    assert file_name(Around(**{name: half}), 1) == leaf.samples[1][0]
    assert origin(Around(**{name: half}), 2) == Origin(f"{name}.dataset", 0)
    assert file_name(Around(**{name: Around(**{name: leaf})}), -1) == leaf.samples[5][0]


def test_of_two_data_sets_none_is_followed(folder: Path) -> None:
    leaf = ImageFolder(str(folder))
    both = Around(one=leaf, other=ImageFolder(str(folder)))
    assert origin(both, 3) == Origin("", 3)
    assert file_name(both, 3) is None


def test_one_of_another_length_is_no_rival(folder: Path) -> None:
    leaf = ImageFolder(str(folder))
    both = Around(one=leaf, few=Subset(leaf, [0, 1]))
    assert origin(both, 3) == Origin("one", 3)
    assert file_name(both, 3) == leaf.samples[3][0]


def test_a_data_set_beside_an_order_is_not_followed(folder: Path) -> None:
    leaf = ImageFolder(str(folder))
    assert origin(Around(subset=leaf, order=list(range(len(leaf)))), 3) == Origin("", 3)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


class Endless(Dataset[Any]):
    def __getitem__(self, index: int) -> int:
        return index


class Unwilling(Endless):
    def __len__(self) -> int:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [Stream, Endless, Unwilling])
def test_a_held_object_without_a_length_does_no_harm(folder: Path, kind: type) -> None:
    leaf = ImageFolder(str(folder))
    assert origin(Around(subset=leaf, other=kind()), 3) == Origin("subset", 3)
    assert file_name(Around(subset=leaf, other=kind()), 3) == leaf.samples[3][0]
