"""A fit with data from each of the places it can come from, and what the user's objects held before."""

from functools import cache
from typing import Any

from torch.utils.data import DataLoader

from tests.lightning.fits import Module, Net, train_data, trainer, val_data


class OwnHooks(Net):
    """A module that brings its own data."""

    def __init__(self, train: Any, val: Any) -> None:
        super().__init__()
        self.loaders = train, val

    def train_dataloader(self) -> Any:
        return self.loaders[0]

    def val_dataloader(self) -> Any:
        return self.loaders[1]


class Given(Module):
    """Loaders made beforehand, behind hooks."""

    def train_dataloader(self) -> Any:
        self.calls.append("train")
        return self.train

    def val_dataloader(self) -> Any:
        return self.val


class Scene:
    """A trainer, a module and data from one of three sources, and what all of them hold before a fit."""

    def __init__(self, source: str, net: type[Net] = Net, **settings: Any) -> None:
        self.train = DataLoader(train_data(), 16, shuffle=True)
        self.val = DataLoader(val_data(), 16)
        self.settings = settings
        self.trainer: Any
        self.net: Net
        self.fit_arguments: dict[str, Any] = {}
        if source == "module":
            self.net = type("Own", (OwnHooks, net), {})(self.train, self.val)
        else:
            self.net = net()
        if source == "data module":
            self.fit_arguments = {"datamodule": Given(self.train, self.val)}
        if source == "passed":
            self.fit_arguments = {"train_dataloaders": self.train, "val_dataloaders": self.val}
        self.owner = self.fit_arguments.get("datamodule", self.net)
        self.loaders = {id(loader): dict(vars(loader)) for loader in (self.train, self.val)}
        self.names = {id(owner): set(vars(owner)) for owner in (self.net, self.owner)}
        self.held = {name: value for name, value in vars(self.owner).items() if not name.startswith("_")}

    def fit(self, *callbacks: Any) -> None:
        self.trainer = trainer(*callbacks, **self.settings)
        self.source = self.trainer.fit_loop._data_source
        self.every = self.trainer.reload_dataloaders_every_n_epochs
        self.again()

    def again(self) -> None:
        self.trainer.fit(self.net, **self.fit_arguments)

    def check(self) -> None:
        """All is as it was."""
        for owner in (self.net, self.owner):
            assert self.names[id(owner)] <= set(vars(owner)) <= self.names[id(owner)] | lightnings_own()
        for name, value in self.held.items():
            assert vars(self.owner)[name] is value or name in ("trainer", "total_steps"), name
        for loader in (self.train, self.val):
            before = self.loaders[id(loader)]
            others = {name for name, value in before.items() if vars(loader)[name] is not value and "__pl" not in name}
            assert not others, others
        assert self.trainer.fit_loop._data_source is self.source
        assert self.trainer.reload_dataloaders_every_n_epochs == self.every


@cache
def lightnings_own() -> set[str]:
    """Attributes that a fit without the callback leaves in a module or a DataModule."""
    scene = Scene("data module")
    scene.fit()
    return {name for owner in (scene.net, scene.owner) for name in set(vars(owner)) - scene.names[id(owner)]}


SOURCES = ["data module", "module", "passed"]
