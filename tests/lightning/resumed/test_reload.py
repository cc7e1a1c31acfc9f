"""`reload_dataloaders_every_n_epochs`: loaders and data sets made anew in the course of a fit."""

import logging
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests.helpers.log_records import Records
from tests.lightning.fits import Items, Module, N, clean_data, planted, train_data, val_data
from tests.lightning.processes.parallel_fits import BATCH, Calm, dropped, dropping, fitted, trained


class Anew(Module):
    """A new data set each time the hook is called: `made(epoch)`."""

    def __init__(self, made: Any) -> None:
        super().__init__(None, val_data(4), BATCH)
        self.made = made

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        self.calls.append(f"train {self.trainer.current_epoch}")
        return DataLoader(self.made(self.trainer.current_epoch), self.batch_size, shuffle=True)

    @property
    def asked(self) -> list[int]:
        return [int(call[6:]) for call in self.calls if call.startswith("train")]


def rolled(epoch: int) -> Items:
    """Other data each epoch: the same samples in another order."""
    p = planted()
    return Items(np.roll(p.images, epoch, 0), np.roll(p.labels, epoch))


@pytest.mark.parametrize(
    ("drops", "every", "asked"), [(True, 1, [0, 1, 2, 3]), (True, 2, [0, 2]), (True, 0, [0]), (False, 1, [0, 1, 2, 3])]
)
def test_the_same_data_as_a_new_object_is_audited_once(
    every: int, asked: list[int], drops: bool, caplog: Records
) -> None:
    data = Anew((lambda epoch: train_data()) if drops else (lambda epoch: clean_data()))
    callback = dropping(thresholds=None) if drops else dropping(policy=None)
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        net, trainer, _ = fitted(callback, data=data, reload_dataloaders_every_n_epochs=every, max_epochs=4)
    assert data.asked == asked
    reported = [
        text for text in caplog.messages if text.startswith("DataAudit: the data is as audited before epoch 0; ")
    ]
    assert not reported  # once a fit would do, and the audit itself has just spoken
    out = dropped(callback) if drops else set()
    assert all(trained(net, epoch) == set(range(len(callback.audit))) - out for epoch in range(4))
    assert trainer.reload_dataloaders_every_n_epochs == every
    assert len(net.validated) == 4 * 3


def test_other_data_is_noticed_and_audited_again() -> None:
    data, audits = Anew(rolled), []

    class Watched(Calm):
        def on_train_epoch_start(self) -> None:
            audits.append(callback.audit)

    callback = dropping()
    net, _, warned = fitted(callback, net=Watched(), data=data, reload_dataloaders_every_n_epochs=1, max_epochs=3)
    changed = "DataAudit: the data changed since the last audit (48 samples then, 48 now), so it is audited again"
    assert warned.count(changed) == 2
    assert len({id(audit) for audit in audits}) == 3
    for epoch, audit in enumerate(audits):
        assert trained(net, epoch) == set(audit.clean_indices.tolist())
    assert len({tuple(audit.clean_indices) for audit in audits}) == 3


def test_data_that_grows() -> None:
    data = Anew(lambda epoch: train_data(30 + 10 * epoch))
    callback = dropping(thresholds=None)
    net, _, warned = fitted(callback, data=data, reload_dataloaders_every_n_epochs=1)
    assert len(callback.audit) == N
    assert any("the data changed since the last audit (36 samples then, 48 now)" in text for text in warned)
    assert trained(net, 1) == set(range(N)) - dropped(callback)


@pytest.mark.parametrize(("every", "asked"), [(0, [0]), (1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3])])
def test_a_later_audit_leaves_the_rhythm_of_reloading_as_it_is(every: int, asked: list[int]) -> None:
    data = Anew(lambda epoch: train_data())
    callback = dropping(audit_epochs=(1,))
    net, trainer, _ = fitted(callback, data=data, reload_dataloaders_every_n_epochs=every, max_epochs=5)
    assert trained(net, 0) == set(range(N))
    assert all(trained(net, epoch) == set(range(N)) - dropped(callback) for epoch in range(1, 5))
    assert trainer.reload_dataloaders_every_n_epochs == every
    assert data.asked == asked
