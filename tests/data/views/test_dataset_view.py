"""The views against real data sets: torchvision, Hugging Face, timm and the ones people write themselves."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import v2

from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.views.dataset_view import DatasetView
from tests.helpers.training_data import (
    digests,
    evaluation_v1,
    evaluation_v2,
    global_state,
    nested,
    training_v1,
    training_v2,
)


@pytest.mark.parametrize(("train", "evaluate"), [(training_v1, evaluation_v1), (training_v2, evaluation_v2)])
def test_evaluation_items_is_what_the_evaluation_transform_gives(
    folder: Path, train: Callable[[], Any], evaluate: Callable[[], Any]
) -> None:
    dataset = ImageFolder(str(folder), transform=train())
    view = DatasetView(dataset).evaluation
    assert digests(view.dataset) == digests(ImageFolder(str(folder), transform=evaluate()))
    assert view.dataset[4][1] == 1
    assert not any("differ" in note for note in view.notes)


def test_stored_items_is_what_is_stored(folder: Path) -> None:
    view = DatasetView(
        ImageFolder(str(folder), transform=training_v1(), target_transform=lambda label: label + 10)
    ).stored
    image, label = view.dataset[5]
    assert isinstance(image, Image.Image)
    assert digest(image) == digest(ImageFolder(str(folder))[5][0])
    assert label == 11
    assert "Compose bypassed: the audit reads what is stored" in view.notes


class Joint(ImageFolder):  # type: ignore[misc]
    """As the detection data sets of torchvision: one transform for image and target."""

    def __getitem__(self, index: int) -> Any:
        path, label = self.samples[index]
        return self.transforms(self.loader(path), label) if self.transforms else (self.loader(path), label)


def test_a_joint_transform_of_image_and_target(folder: Path) -> None:
    dataset = Joint(str(folder))
    dataset.transforms = v2.Compose([v2.RandomResizedCrop((8, 12)), v2.RandomHorizontalFlip(), v2.ToImage()])
    image, label = DatasetView(dataset).evaluation.dataset[4]
    assert (tuple(image.shape), label) == ((3, 8, 12), 1)
    stored, label = DatasetView(dataset).stored.dataset[4]
    assert (stored.size, label) == ((20, 24), 1)


class Broken(FakeData):  # type: ignore[misc]
    """The first items cannot be read."""

    def __getitem__(self, index: int) -> Any:
        if index < 3:
            torch.rand(1)
            raise OSError("truncated")
        return super().__getitem__(index)


def test_items_that_cannot_be_read_do_not_stop_the_view() -> None:
    before = global_state()
    view = DatasetView(Broken(6, (3, 8, 8), transform=v1.ToTensor())).stored
    assert isinstance(view.dataset[3][0], Image.Image)
    assert DatasetView(Broken(3, (3, 8, 8))).evaluation.notes == ()
    assert DatasetView(FakeData(0)).stored.notes == ()
    assert global_state() == before


class Encoded(Dataset[Any]):
    """Its transform is what makes a image of the bytes."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return self.transform(bytes([index] * 16)), 0


def decode(data: bytes) -> Image.Image:
    return Image.frombytes("L", (4, 4), data)


def test_stored_items_keeps_a_transform_that_makes_the_image() -> None:
    view = DatasetView(Encoded(v1.Compose([decode, v1.RandomRotation(90)]))).stored
    assert view.dataset[1][0].getpixel((0, 0)) == 1
    assert view.notes[0] == "no image can be read with the transforms bypassed: they are applied, random ones replaced"
    assert "RandomRotation removed" in view.notes


class NeedsItsFlip(FakeData):  # type: ignore[misc]
    """Works with its own transform only."""

    def __getitem__(self, index: int) -> Any:
        image, label = FakeData(self.size, self.image_size)[index]
        return self.transform.transforms[0].forward(image).rotate(self.transform.transforms[0].p), label


def test_the_last_resort_is_the_data_set_as_it_is() -> None:
    dataset = NeedsItsFlip(2, (3, 8, 8), transform=v1.Compose([v1.RandomHorizontalFlip(p=0.5)]))
    view = DatasetView(dataset).stored
    assert view.dataset.transform is dataset.transform
    assert (
        view.notes[1] == "nothing can be read with the random transforms replaced: read as it is, augmentation included"
    )


@pytest.mark.parametrize("variant", ["stored", "evaluation"])
def test_views_travel_to_workers(folder: Path, variant: str) -> None:
    opened = DatasetView(nested(ImageFolder(str(folder), transform=training_v2())))
    view = getattr(opened, variant).dataset
    sent = pickle.loads(pickle.dumps(view))
    loader = DataLoader(sent, batch_size=None, num_workers=1, multiprocessing_context="fork")
    assert [digest(image) for image, _ in loader] == digests(view)
