import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, StackDataset, Subset
from torchvision import transforms as v1
from torchvision.datasets import FakeData, ImageFolder

from selfclean_hooks.data.views.dataset_view import DatasetView
from tests.helpers.training_data import (
    Applied,
    Wrapper,
    digests,
    evaluation_v1,
    global_state,
    nested,
    training_v1,
    training_v2,
)


def contents(dataset: Any) -> bytes:
    """Everything a data set holds, its generators and caches included."""
    return pickle.dumps(dataset)


@pytest.mark.parametrize("build", [training_v1, training_v2])
@pytest.mark.parametrize("variant", ["stored", "evaluation"])
def test_a_view_leaves_no_trace(folder: Path, build: Callable[[], Any], variant: str) -> None:
    leaf = ImageFolder(str(folder), transform=build())
    dataset = Subset(leaf, [0, 3, 5])
    before, rng = contents(dataset), global_state()
    view = getattr(DatasetView(dataset), variant)
    assert global_state() == rng
    assert digests(view.dataset) == digests(view.dataset)
    assert contents(dataset) == before
    assert view.dataset.dataset.samples is leaf.samples


def test_both_attributes_of_torchvision_are_swapped() -> None:
    dataset = FakeData(4, (3, 20, 20), transform=training_v1(), target_transform=lambda label: label - 100)
    for view in (DatasetView(dataset).stored, DatasetView(dataset).evaluation):
        pair = view.dataset.transforms
        assert pair.target_transform is dataset.target_transform
        assert "Random" not in repr(pair)
        assert "Random" not in repr(view.dataset.transform)
        assert view.dataset[0][1] < 0
    assert "RandomErasing" in repr(dataset.transforms)


def test_nested_trees_are_followed_to_the_leaf(folder: Path) -> None:
    dataset = nested(ImageFolder(str(folder), transform=training_v1()))
    assert digests(DatasetView(dataset).evaluation.dataset) == digests(
        nested(ImageFolder(str(folder), transform=evaluation_v1()))
    )
    assert digests(DatasetView(dataset).stored.dataset) == digests(nested(ImageFolder(str(folder))))


def test_a_leaf_met_twice_is_copied_once(folder: Path) -> None:
    leaf = ImageFolder(str(folder), transform=training_v1())
    view = DatasetView(ConcatDataset([leaf, Subset(leaf, [0])])).stored.dataset
    assert view.datasets[0] is view.datasets[1].dataset
    assert view.datasets[0] is not leaf


def test_wrappers_with_their_own_transform(folder: Path) -> None:
    dataset = Wrapper(Subset(ImageFolder(str(folder)), [5, 1]), training_v1())
    plain = Subset(ImageFolder(str(folder)), [5, 1])
    assert digests(DatasetView(dataset).stored.dataset) == digests(plain)
    assert digests(DatasetView(dataset).evaluation.dataset) == digests(Wrapper(plain, evaluation_v1()))


def test_stacked_data_sets(folder: Path) -> None:
    leaf = ImageFolder(str(folder), transform=training_v1())
    by_name = DatasetView(
        StackDataset(image=Wrapper(leaf, v1.RandomHorizontalFlip()), label=Applied(list(range(6))))
    ).stored.dataset
    assert isinstance(by_name[3]["image"][0], Image.Image)
    assert by_name[3]["label"] == 3


def test_plain_containers_are_data_sets() -> None:
    for dataset in ([(Image.new("L", (2, 2)), 1)], np.zeros((2, 4, 4)), torch.zeros(2, 3, 4, 4)):
        assert DatasetView(dataset).stored.dataset is dataset
        assert DatasetView(dataset).evaluation.notes == ()


class NoneHere:
    """Map-style without deriving from anything, dict items."""

    def __init__(self) -> None:
        self.transforms = [v1.RandomRotation(90), v1.ColorJitter(1)]
        self.augment = True

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = Image.effect_noise((8, 8), 9) if self.augment else Image.new("L", (8, 8), index)
        for transform in self.transforms:
            image = transform(image)
        return {"image": image, "label": index}


@pytest.mark.parametrize("variant", ["stored", "evaluation"])
def test_lists_of_transforms_and_an_augment_switch(variant: str) -> None:
    dataset = NoneHere()
    view = getattr(DatasetView(dataset), variant)
    assert view.dataset[1]["image"].getpixel((3, 3)) == 1
    assert "augment set to False" in view.notes
    assert dataset.augment


class KeywordCompose:
    """Called and indexed as the Compose of albumentations, with a generator a transform."""

    def __init__(self) -> None:
        self.transforms = [Noise(np.random.default_rng(0))]

    def __getitem__(self, index: int) -> Any:
        return self.transforms[index]

    def __call__(self, *, image: Any) -> dict[str, Any]:
        return {"image": self.transforms[0](image)}


class Keywords(Dataset[Any]):
    def __init__(self) -> None:
        self.transform = KeywordCompose()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return self.transform(image=np.zeros((4, 4), np.float32))["image"], index


def test_transforms_called_by_keyword() -> None:
    dataset = Keywords()
    assert not DatasetView(dataset).stored.dataset[0][0].any()
    view = DatasetView(dataset).evaluation
    assert any("a generator of its own" in note for note in view.notes)
    assert np.array_equal(dataset[0][0], Keywords()[0][0])  # the user's generator has not moved


class Guarded(Dataset[Any]):
    """Forwards every attribute: copy.copy and pickle of it never end. Reading fills a cache."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.cache: dict[int, Any] = {}
        self.slots: list[Any] = [None] * len(inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        self.slots[index] = self.cache.setdefault(index, self.inner[index])
        return self.cache[index]


def test_caches_of_the_user_are_not_filled_with_what_the_audit_reads() -> None:
    dataset = Guarded(FakeData(3, (3, 8, 8), transform=v1.ToTensor()))
    view = DatasetView(dataset).stored.dataset
    assert isinstance(view[1][0], Image.Image)
    assert dataset.cache == {}
    assert dataset.slots == [None] * 3
    assert isinstance(dataset[1][0], torch.Tensor)


class OwnRng(Dataset[Any]):
    """Draws from generators of its own, one of them shared with its transform."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.old = np.random.RandomState(0)
        self.python = random.Random(0)
        self.torch = torch.Generator().manual_seed(0)
        self.transform = Noise(self.rng)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        shade = self.old.rand() + self.python.random() + float(torch.rand(1, generator=self.torch))
        return self.transform(np.full((4, 4), shade + self.rng.random(), np.float32)), index


class Noise:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, image: Any) -> Any:
        return image + self.rng.random((4, 4), np.float32)


@pytest.mark.parametrize("variant", ["stored", "evaluation"])
def test_own_generators_are_copied_and_reported(variant: str) -> None:
    dataset, twin = OwnRng(), OwnRng()
    view = getattr(DatasetView(dataset), variant)
    digests(view.dataset)
    assert digests(dataset) == digests(twin)
    assert any("drawn from a generator of its own" in note for note in view.notes)
    assert view.dataset.rng is not dataset.rng


def test_a_generator_shared_with_the_transform_stays_shared() -> None:
    view = DatasetView(OwnRng()).evaluation.dataset
    assert view.transform.rng is view.rng


class Batched:
    """A transform with something to look into; most are functions."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"pixel_values": [self.tf(image) for image in batch["image"]], "label": batch["label"]}


def test_hugging_face_stored_items_drops_the_transform(hub: Any, folder: Path) -> None:
    dataset = hub.with_transform(Batched(training_v1()))
    view = DatasetView(Subset(dataset, [5, 0])).stored
    assert digests(view.dataset) == digests(Subset(ImageFolder(str(folder)), [5, 0]))
    assert "format 'custom' bypassed: the audit reads what is stored" in view.notes
    assert dataset.format["type"] == "custom"


def test_hugging_face_evaluation_items_looks_into_the_transform(hub: Any, folder: Path) -> None:
    dataset = hub.with_transform(Batched(training_v1()))
    view = DatasetView(dataset).evaluation
    assert digests(view.dataset) == digests(ImageFolder(str(folder), transform=evaluation_v1()))
    assert "RandomErasing" in repr(dataset.format["format_kwargs"]["transform"].tf)


def test_hugging_face_function_is_kept_and_reported(hub: Any) -> None:
    tf = training_v1()

    def augment(batch: dict[str, Any]) -> dict[str, Any]:
        return {"pixel_values": [tf(image) for image in batch["image"]]}

    notes = DatasetView(hub.with_transform(augment)).evaluation.notes
    assert "its transform augment is code and kept as it is, augmentation included" in notes
    assert any("the global random generators" in note for note in notes)
    assert DatasetView(hub.with_format("torch")).evaluation.notes == ()
