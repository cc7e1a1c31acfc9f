"""Fits of digits with the callback that drops beside what Lightning has of its own, and what came of them."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from selfclean_hooks_lightning import DataAudit
from tests.lightning.fits import DROP, Module, Net, audit_callback, train_data, trainer, val_data

BATCH = 10


class Calm(Net):
    """Can train on a batch of one sample, which an audit may leave."""

    def __init__(self, scheduled: bool = False) -> None:
        super().__init__(scheduled)
        self.encoder[2] = nn.LayerNorm(32)


class Sorted(Calm):
    """Takes batches of any shape; remembers the positions by name of the loader."""

    def __init__(self, unnamed: str = "") -> None:
        super().__init__()
        self.by_name: dict[str, set[int]] = {}
        self.unnamed = unnamed

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        losses = []
        for name, (x, y, position) in named(batch, self.unnamed):
            self.by_name.setdefault(name, set()).update(position.tolist())
            losses.append(nn.functional.cross_entropy(self(x), y))
        return sum(losses)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validated.append(dataloader_idx)


def named(batch: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(batch, dict) or not isinstance(batch[0], torch.Tensor):
        for key, part in batch.items() if isinstance(batch, dict) else enumerate(batch):
            if part is not None:
                yield from named(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, batch


def loader(n: int = 40) -> DataLoader[Any]:
    return DataLoader(train_data(n), BATCH, shuffle=True)


def dropping(**settings: Any) -> DataAudit:
    return audit_callback(None, **{"policy": DROP, **settings})


def fitted(*callbacks: Any, net: Any = None, data: Any = None, **settings: Any) -> tuple[Any, Any, list[str]]:
    """The module and the trainer after a fit, and what the callback warned of."""
    net = Calm() if net is None else net
    data = Module(train_data(), val_data(4), BATCH) if data is None else data
    made = trainer(*callbacks, **settings)
    with caught() as reported:
        if isinstance(data, lightning.LightningDataModule):
            made.fit(net, datamodule=data)
        else:
            made.fit(net, data)
    assert made.state.finished
    return net, made, [text for text in reported if text.startswith("DataAudit")]


@contextlib.contextmanager
def caught() -> Any:
    reported: list[str] = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield reported
    reported.extend(str(warning.message) for warning in seen)


def dropped(callback: DataAudit, name: str = "") -> set[int]:
    """What the latest audit leaves out; never nothing, or the tests would say nothing."""
    audit = callback.audits[name]
    out = set(range(len(audit))) - set(audit.clean_indices.tolist())
    assert out
    return out


def trained(net: Any, epoch: int | None = None) -> set[int]:
    """The positions that reached training_step."""
    found = {i for at, seen in net.seen.items() if epoch in (None, at) for i in seen}
    assert found
    return found
