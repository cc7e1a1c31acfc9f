"""Training and evaluation transforms that belong together, and trees of data sets, for the tests of views."""

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, random_split
from torchvision import transforms as v1
from torchvision.transforms import v2

from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.items import split

MEAN = [0.5, 0.5, 0.5]


def training_v1() -> Any:
    jitter = v1.RandomApply([v1.ColorJitter(0.4, 0.4)], p=0.8)
    steps = [v1.RandomResizedCrop(16), v1.RandomHorizontalFlip(), jitter, v1.ToTensor(), v1.Normalize(MEAN, MEAN)]
    return v1.Compose([*steps, v1.RandomErasing(p=0.9)])


def evaluation_v1() -> Any:
    return v1.Compose([v1.Resize(16), v1.CenterCrop(16), v1.ToTensor(), v1.Normalize(MEAN, MEAN)])


def training_v2() -> Any:
    nested = v2.Compose([v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()])
    steps = [
        v2.ToImage(),
        nested,
        v2.RandomCrop(16, padding=4),
        v2.RandomOrder([v2.RandomGrayscale(), v2.ColorJitter(1)]),
    ]
    return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise()])


def evaluation_v2() -> Any:
    return v2.Compose([v2.ToImage(), v2.CenterCrop(16), v2.ToDtype(torch.float32, scale=True)])


def digests(dataset: Any) -> list[str]:
    return [digest(split(dataset[index]).value) for index in range(len(dataset))]


def global_state() -> tuple[Any, ...]:
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002


class Applied(Dataset[Any]):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


class Wrapper(Dataset[Any]):
    """The usual way to give the parts of a random_split their own transform."""

    def __init__(self, inner: Any, transform: Any) -> None:
        self.inner, self.transform = inner, transform

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        image, label = self.inner[index]
        return self.transform(image), label


def nested(leaf: Any) -> Any:
    halves = random_split(leaf, [0.5, 0.5], generator=torch.Generator().manual_seed(0))
    return ConcatDataset([Subset(ConcatDataset([halves[0], halves[1]]), [4, 1, 0]), halves[1]])
