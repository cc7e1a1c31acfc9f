"""A fit and its twin: the same fit without the callback must leave behind the very same."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from selfclean_hooks.utils.rng import preserve_rng_state
from tests.lightning.fits import Net, audit_callback, clean_data, trainer, val_data, weights


class Outcome(NamedTuple):
    """What a fit leaves behind."""

    weights: dict[str, Tensor]
    positions: dict[int, list[int]]  # in the order they were trained on, by epoch
    flags: list[dict[str, bool]]  # training flags of all parts, at each batch
    gradients: dict[str, bool]  # requires_grad
    random: tuple[Any, ...]  # states of the global generators


class Watched(Net):
    """Notes the training flags of its parts at every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.flags: list[dict[str, bool]] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.flags.append({name: part.training for name, part in self.named_modules()})


def outcome(fit: Callable[..., Net], callbacks: list[Any]) -> Outcome:
    """Of a function that fits a module with these callbacks."""
    with preserve_rng_state():
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002, the generators of users are meant
        torch.manual_seed(0)
        net = fit(*callbacks)
        states = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state().numpy()  # noqa: NPY002
    gradients = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    return Outcome(weights(net), net.seen, getattr(net, "flags", []), gradients, states)


def check_same(fit: Callable[..., Net], folder: Any = None, **settings: Any) -> None:
    """The fit with an audit leaves behind what it does without."""
    audit = audit_callback(folder, **settings)
    plain, audited = outcome(fit, []), outcome(fit, [audit])
    assert audit.audits, "there was an audit"
    assert all(len(found.clean_indices) == len(found) for found in audit.audits.values())
    assert_same(plain, audited)


def assert_same(one: Outcome, two: Outcome) -> None:
    assert one.positions == two.positions
    assert one.weights.keys() == two.weights.keys()
    assert [name for name in one.weights if not torch.equal(one.weights[name], two.weights[name])] == []
    assert one.flags == two.flags
    assert one.gradients == two.gradients
    np.testing.assert_equal(one.random, two.random)


def fit_of(
    data: Callable[[], Any] = clean_data,
    net: Callable[[], Net] = Watched,
    loader: Callable[[Any], Any] | None = None,
    val: bool = True,
    **settings: Any,
) -> Callable[..., Net]:
    """A fit on a DataModule, all objects made anew each time."""

    def fit(*callbacks: Any) -> Net:
        train, module = data(), net()
        loaders = loader(train) if loader is not None else DataLoader(train, 16, shuffle=True)
        source = Given(loaders, DataLoader(val_data(), 16) if val else None)
        trainer(*callbacks, **settings).fit(module, datamodule=source)
        return module

    return fit


class Given(lightning.LightningDataModule):
    """Hands out loaders that were made before."""

    def __init__(self, train: Any, val: Any) -> None:
        super().__init__()
        self.train, self.val = train, val

    def train_dataloader(self) -> Any:
        return self.train

    def val_dataloader(self) -> Any:
        return [] if self.val is None else self.val


def all_global(x: Tensor) -> Tensor:
    """Augmentation that draws from all three global generators."""
    return x + 0.1 * torch.randn(1) + 0.1 * float(np.random.rand()) + 0.1 * random.random()  # noqa: NPY002


class OwnNoise:
    """A transform with generators of its own."""

    def __init__(self) -> None:
        self.torch = torch.Generator().manual_seed(1)
        self.numpy = np.random.default_rng(1)
        self.python = random.Random(1)

    def __call__(self, x: Tensor) -> Tensor:
        return x + torch.randn(1, generator=self.torch) + self.numpy.random() + self.python.random()
