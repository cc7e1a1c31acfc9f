"""Nothing dropped: training is what it is without the callback, bit for bit: data, loaders, settings of the trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from selfclean_hooks import Policy, Thresholds
from tests.lightning.fits import DROP, Items, Module, Net, clean_data, train_data, trainer, val_data
from tests.lightning.undisturbed.fit_twins import OwnNoise, Watched, all_global, check_same, fit_of

NOTHING = Thresholds(near_duplicates=1e-12, off_topic=1e-12, label_errors=1e-12)

# Augmentation, by where its random numbers come from.


class NoisyItems(Items):
    """Augments in its own code, with generators of its own."""

    def __init__(self, images: Any, labels: Any) -> None:
        super().__init__(images, labels)
        self.noise = OwnNoise()
        self.generator = torch.Generator().manual_seed(2)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        x, y, position = super().__getitem__(index)
        return self.noise(x) * torch.rand(1, generator=self.generator), y, position


class CachingItems(Items):
    """Augments an item the first time it is read, and keeps it."""

    def __init__(self, images: Any, labels: Any) -> None:
        super().__init__(images, labels)
        self.cache: dict[int, Tensor] = {}

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        x, y, position = super().__getitem__(index)
        if index not in self.cache:
            self.cache[index] = all_global(x)
        return self.cache[index], y, position


def noisy(made: type[Items]) -> Callable[[], Items]:
    def data() -> Items:
        plain = clean_data()
        return made((plain.x * 255).squeeze(1).numpy(), plain.y.numpy())

    return data


DATA: dict[str, Callable[[], Any]] = {
    "no augmentation": clean_data,
    "global generators": lambda: clean_data(transform=all_global),
    "transform with its own": lambda: clean_data(transform=OwnNoise()),
    "data set with its own": noisy(NoisyItems),
    "data set that caches": noisy(CachingItems),
}
WORKERS: dict[str, dict[str, Any]] = {
    "0 workers": {},
    "2 workers": {"num_workers": 2},
    "persistent": {"num_workers": 1, "persistent_workers": True},
}


@pytest.mark.parametrize(
    ("data", "workers"),
    [
        *((data, "0 workers") for data in DATA),
        ("global generators", "2 workers"),
        ("data set that caches", "persistent"),
    ],
)
def test_augmentation_and_workers(data: str, workers: str) -> None:
    fit = fit_of(
        DATA[data],
        loader=lambda train: DataLoader(train, 16, shuffle=True, **WORKERS[workers]),
        max_epochs=1 if workers == "2 workers" else 2,  # each epoch starts them anew
    )
    check_same(fit)


class Backwards(Sampler[int]):
    """A sampler of the user's own, which draws from the global generator."""

    def __init__(self, data: Any) -> None:
        self.n = len(data)

    def __iter__(self) -> Any:
        start = int(torch.randint(self.n, (1,)))
        return iter([(start - i) % self.n for i in range(self.n)])

    def __len__(self) -> int:
        return self.n


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


SAMPLERS: dict[str, Callable[[Any], Any]] = {
    "sequential": lambda data: SequentialSampler(data),
    "random with its own generator": lambda data: RandomSampler(data, generator=seeded()),
    "replacement": lambda data: RandomSampler(data, replacement=True, num_samples=50),
    "weighted": lambda data: WeightedRandomSampler(torch.arange(1.0, len(data) + 1).tolist(), 50),
    "subset": lambda data: SubsetRandomSampler(range(10, 60), generator=seeded()),
    "distributed": lambda data: DistributedSampler(data, num_replicas=1, rank=0),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers(sampler: str) -> None:
    fit = fit_of(loader=lambda data: DataLoader(data, 16, sampler=SAMPLERS[sampler](data)))
    check_same(fit, policy=DROP, thresholds=NOTHING)


@pytest.mark.parametrize(
    "loader",
    [
        lambda data: DataLoader(data, 16, sampler=Backwards(data)),
        lambda data: DataLoader(data, batch_sampler=BatchSampler(Backwards(data), 16, drop_last=True)),
        lambda data: DataLoader(data, 16, shuffle=True, generator=seeded()),
        lambda data: DataLoader(data, 16, shuffle=True, generator=seeded(), num_workers=1, drop_last=True),
    ],
    ids=["own sampler", "batch sampler", "generator", "generator and workers"],
)
def test_loaders(loader: Callable[[Any], Any]) -> None:
    check_same(fit_of(DATA["global generators"], loader=loader), policy=Policy())


def test_several_loaders() -> None:
    class Both(Watched):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch["a"], batch_idx) + super().training_step(batch["b"][0], batch_idx)

    def loader(data: Any) -> Any:
        return {"a": DataLoader(data, 16, shuffle=True), "b": [DataLoader(train_data(), 16, shuffle=True)]}

    check_same(fit_of(net=Both, loader=loader))


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16-true"},
        {"accumulate_grad_batches": 3},
        {"num_sanity_val_steps": 0},
        {"limit_val_batches": 0},
        {"check_val_every_n_epoch": 2},
        {"val_check_interval": 0.5},
        {"limit_train_batches": 2},
        {"overfit_batches": 2},
        {"reload_dataloaders_every_n_epochs": 1},
    ],
    ids=lambda settings: " ".join(f"{name}={value}" for name, value in settings.items()),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_trainer_settings(settings: dict[str, Any]) -> None:
    check_same(fit_of(DATA["global generators"], **settings), audit_epochs=(0, 1))


def test_without_validation_loaders() -> None:
    check_same(fit_of(DATA["global generators"], val=False))


def passed(*callbacks: Any) -> Net:
    net = Watched()
    loader = DataLoader(clean_data(transform=all_global), 16, shuffle=True)
    trainer(*callbacks).fit(net, loader, DataLoader(val_data(), 16))
    return net


def passed_train_only(*callbacks: Any) -> Net:
    net = Watched()
    trainer(*callbacks).fit(net, DataLoader(clean_data(transform=all_global), 16, shuffle=True))
    return net


def own_hooks(*callbacks: Any) -> Net:
    class Hooks(Watched):
        def train_dataloader(self) -> Any:
            order = torch.randperm(64).tolist()  # as an unseeded random_split does
            return DataLoader(torch.utils.data.Subset(clean_data(transform=all_global), order), 16, shuffle=True)

        def val_dataloader(self) -> Any:
            return DataLoader(val_data(), 16)

    net = Hooks()
    trainer(*callbacks).fit(net)
    return net


def data_module(*callbacks: Any) -> Net:
    net = Watched()
    trainer(*callbacks).fit(net, datamodule=Module(clean_data(transform=all_global), val_data()))
    return net


@pytest.mark.parametrize("fit", [passed, passed_train_only, own_hooks, data_module])
def test_where_the_loaders_come_from(fit: Callable[..., Net], tmp_path: Path) -> None:
    check_same(fit, tmp_path, policy=DROP, thresholds=NOTHING)
