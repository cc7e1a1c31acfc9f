import random
from typing import Any

import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torchvision import transforms as v1
from torchvision.datasets import FakeData
from torchvision.transforms import v2

from selfclean_hooks.data.views.augmentation import Identity
from selfclean_hooks.data.views.dataset_view import DatasetView
from tests.helpers.training_data import digests, training_v1

CERTAIN = [v1.RandomGrayscale(p=1), v2.RandomInvert(p=1), v1.GaussianBlur(3, sigma=1.0), v2.FiveCrop(4)]


@pytest.mark.parametrize("transform", CERTAIN, ids=lambda transform: type(transform).__name__)
def test_deterministic_transforms_stay(transform: Any) -> None:
    assert DatasetView(FakeData(2, (3, 8, 8), transform=transform)).evaluation.dataset.transform is transform


RANDOM = [
    (v1.RandomRotation(30), "Identity"),
    (v2.JPEG((10, 90)), "Identity"),
    (v1.GaussianBlur(3), "Identity"),
    (v1.RandomApply([v1.RandomCrop(8), v1.ColorJitter(1)], p=1), "CenterCrop, Identity"),
    (v2.RandomChoice([v2.RandomGrayscale(), v2.RandomCrop(8)]), "CenterCrop"),
    (v1.RandomChoice([v1.ColorJitter(1), v1.RandomRotation(9)]), "Identity"),
    (v2.RandomShortestSize([6, 9], max_size=20), "Resize"),
    (v2.RandomResize(6, 9), "Resize"),
    (torch.nn.Sequential(v1.RandomCrop(8), v1.RandomHorizontalFlip()), "Sequential, CenterCrop, Identity"),
    (create_transform(8, is_training=True, auto_augment="rand-m9", re_prob=0.5), "Compose"),
]


def kinds(transform: Any) -> set[str]:
    if isinstance(transform, v1.Compose):
        return {"Compose"}
    return {type(part).__name__ for part in transform.modules()}


@pytest.mark.parametrize(("transform", "names"), RANDOM, ids=lambda value: type(value).__name__)
def test_random_transforms_are_replaced(transform: Any, names: str) -> None:
    dataset = FakeData(2, (3, 12, 12), transform=transform)
    view = DatasetView(dataset).evaluation
    assert set(names.split(", ")) <= kinds(view.dataset.transform) <= {*names.split(", "), "Sequential"}
    assert digests(view.dataset) == digests(view.dataset)
    assert dataset.transform is transform


def test_random_parts_inside_a_module_that_takes_tensors() -> None:
    transform = v1.Compose([v1.ToTensor(), torch.nn.Sequential(v1.RandomResizedCrop(8), v1.RandomErasing(p=1))])
    view = DatasetView(FakeData(2, (3, 12, 12), transform=transform)).evaluation
    assert view.dataset[0][0].shape == (3, 8, 8)
    assert torch.equal(view.dataset[0][0], view.dataset[0][0])


class TwoViews:
    """Unknown to the table, and holding what is known."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.target_base = base

    def __call__(self, image: Any) -> Any:
        return torch.stack([self.base(image), self.base(image)])


def test_random_parts_of_an_unknown_transform_are_replaced() -> None:
    dataset = FakeData(2, (3, 20, 20), transform=TwoViews(training_v1()))
    transform = DatasetView(dataset).evaluation.dataset.transform
    first, second = transform(Image.effect_noise((20, 20), 50).convert("RGB"))
    assert torch.equal(first, second)
    assert "RandomErasing" in repr(transform.target_base)  # what goes by the name of target is left alone


class MyFlip(v1.RandomHorizontalFlip):  # type: ignore[misc]
    pass


class RandomShade:
    def __call__(self, image: Image.Image) -> Image.Image:
        return image.point(lambda level: int(level * random.random()))


def test_subclasses_count_and_unknown_random_ones_are_reported() -> None:
    view = DatasetView(FakeData(2, (3, 8, 8), transform=v1.Compose([MyFlip(), RandomShade()]))).evaluation
    assert "RandomHorizontalFlip removed" in view.notes
    assert "RandomShade kept as it is: not known here, and by its name it may be random" in view.notes
    assert any("differ" in note and "the global random generators" in note for note in view.notes)


def test_notes_name_each_replacement_once() -> None:
    notes = DatasetView(FakeData(2, (3, 20, 20), transform=training_v1())).evaluation.notes
    assert "RandomResizedCrop replaced by Resize and CenterCrop" in notes
    assert "RandomApply removed" in notes
    assert len(notes) == len(set(notes))


def test_identity_answers_in_the_way_it_is_called() -> None:
    identity = Identity()
    assert identity(1) == 1
    assert identity(1, return_tensors="pt") == 1
    assert identity(1, 2) == (1, 2)
    assert identity(image=1, mask=2) == {"image": 1, "mask": 2}
