"""torchdata's StatefulDataLoader: samples are dropped, and a run that ends amid an epoch goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.lightning.fits import DROP, Net, audit_callback, train_data, trainer, weights
from tests.lightning.processes.parallel_fits import caught, dropped

stateful = pytest.importorskip("torchdata.stateful_dataloader")


def loader(**settings: Any) -> Any:
    return stateful.StatefulDataLoader(train_data(), **{"batch_size": 8, **settings})


@pytest.mark.parametrize("settings", [{"shuffle": True}, {}, {"shuffle": True, "num_workers": 1, "drop_last": True}])
def test_samples_are_dropped(settings: dict[str, Any]) -> None:
    callback, net = audit_callback(None, policy=DROP), Net()
    made: Any = trainer(callback, max_epochs=1)
    with caught():
        made.fit(net, loader(**settings))
    assert type(made.train_dataloader) is stateful.StatefulDataLoader
    assert not set(net.seen[0]) & dropped(callback)
    assert len(net.seen[0]) > 24


def fit(folder: Path, steps: int, path: Path | None = None) -> tuple[Net, Any]:
    torch.manual_seed(5)
    net, callback = Net(), audit_callback(None, policy=DROP)
    keep = ModelCheckpoint(folder, every_n_train_steps=4, save_top_k=-1)
    generator = torch.Generator().manual_seed(1)
    made = trainer(callback, keep, max_epochs=2, max_steps=steps, enable_checkpointing=True)
    with caught():
        made.fit(net, loader(shuffle=True, generator=generator), ckpt_path=path)
    return net, callback


def test_a_run_is_resumed_amid_an_epoch(tmp_path: Path) -> None:
    whole, callback = fit(tmp_path / "whole", -1)
    fit(tmp_path / "part", 4)
    resumed, again = fit(tmp_path / "resumed", -1, next((tmp_path / "part").glob("*.ckpt")))
    assert again.audits == {}  # the list was in the checkpoint
    assert resumed.seen[0] == whole.seen[0][4 * 8 :]
    assert not {at for seen in resumed.seen.values() for at in seen} & dropped(callback)
    assert all(torch.isfinite(value).all() for value in weights(resumed).values())
