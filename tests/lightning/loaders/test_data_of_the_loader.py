"""After a drop the data set of the loader passes for the user's own; workers of the audit start as the loader's do."""

from __future__ import annotations

import copy
import logging
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, get_worker_info

from selfclean_hooks import Policy
from selfclean_hooks.data.views.kept_samples import KeptSamples
from tests.helpers.log_records import Records
from tests.lightning.fits import DROP, Items, N, Net, audit_callback, planted, train_data, trainer
from tests.lightning.processes.parallel_fits import caught, dropped, dropping


class Rich(Items):
    """With what users keep at a data set."""

    classes = tuple("abcdefghij")

    def __init__(self) -> None:
        super().__init__(planted().images, planted().labels)
        self.targets = self.y.tolist()
        self.epoch = 0
        self.together: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.together.append(len(indices))
        return [self[index] for index in indices]


class Asks(Net):
    def on_train_epoch_start(self) -> None:
        data = self.trainer.train_dataloader.dataset  # type: ignore[union-attr]
        assert isinstance(data, Subset)
        assert len(data.classes) == 10  # type: ignore[attr-defined]
        assert len(data.targets) == len(data)  # type: ignore[attr-defined]
        data.set_epoch(self.current_epoch + 5)  # type: ignore[attr-defined]
        data.stage = f"epoch {self.current_epoch}"  # type: ignore[attr-defined]


def test_attributes_methods_and_what_is_set() -> None:
    data, net, callback = Rich(), Asks(), dropping()
    with caught():
        trainer(callback).fit(net, DataLoader(data, 20, shuffle=True))
    assert (data.epoch, vars(data)["stage"]) == (6, "epoch 1")
    assert not set(net.seen[0]) & dropped(callback)
    assert 20 in data.together


def kept() -> KeptSamples:
    return KeptSamples(Rich(), [1, 4, 9])


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_copies(make: Any) -> None:
    again = make(kept())
    assert (len(again), again.classes, again.targets) == (3, Rich.classes, [Rich().targets[at] for at in (1, 4, 9)])
    assert [again[at][2] for at in range(3)] == [item[2] for item in again.__getitems__([0, 1, 2])] == [1, 4, 9]


def test_what_has_an_entry_for_each_sample_is_not_set_in_part() -> None:
    with pytest.raises(AttributeError, match=r"\.targets has one entry for each of 48 samples, 3 of which are kept"):
        kept().targets = [0, 1, 2]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kept().nothing


class Lazy(Dataset[Any]):
    """Opens its file in workers."""

    handle: Any = None

    def __init__(self) -> None:
        self.whole = train_data()

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Any:
        assert self.handle is not None
        return self.whole[index]


def opened(number: int) -> None:
    info: Any = get_worker_info()
    info.dataset.handle = number


def test_workers_start_as_the_loaders_do() -> None:
    callback, net = audit_callback(None, policy=DROP), Net()
    with caught():
        trainer(callback, max_epochs=1).fit(net, DataLoader(Lazy(), 20, num_workers=1, worker_init_fn=opened))
    assert callback.audit.scores.errors == {}
    assert not set(net.seen[0]) & dropped(callback)


# what was dropped is always seen


@pytest.mark.parametrize("action", ["ignore", "always"])
def test_a_line_says_what_was_dropped(action: Any, caplog: Records) -> None:
    callback = dropping()
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, "lightning.pytorch"):
        warnings.simplefilter(action)
        trainer(callback, max_epochs=1).fit(Net(), DataLoader(train_data(), 20))
    lost = sorted(dropped(callback))
    said = [one for one in caplog.records if "samples are dropped" in one.getMessage()]
    assert [one.levelno for one in said] == [logging.INFO]
    assert said[0].getMessage().startswith(f"DataAudit: {len(lost)} of {N} samples are dropped, index {lost[0]}, ")


def test_audits_that_will_never_be_made(caplog: Records) -> None:
    with caught() as reported:
        trainer(audit_callback(None, audit_epochs=(3,)), max_epochs=3).fit(Net(), DataLoader(train_data(60), 20))
    assert "DataAudit: no audit before epoch 3: training ends after 3, counted from 0" in reported
    with caught() as reported, caplog.at_level(logging.INFO, "lightning.pytorch"):
        trainer(audit_callback(None, audit_epochs=(0, 4)), max_epochs=9, max_steps=8).fit(
            Net(), DataLoader(train_data(60), 20)
        )
    assert not any("no audit before" in text for text in reported)
    assert any("no audit before epoch 4: training ends after 2" in one.getMessage() for one in caplog.records)


def test_folds_of_one_data_set_are_no_changed_data(caplog: Records) -> None:
    data, callback = train_data(90), dropping()
    for fold in range(3):
        positions = np.setdiff1d(np.arange(len(data)), np.arange(fold, len(data), 3)).tolist()
        with caught() as reported, caplog.at_level(logging.INFO, "lightning.pytorch"):
            trainer(callback, max_epochs=1).fit(Net(), DataLoader(Subset(data, positions), 20))
        assert not any("changed" in text for text in reported)
        assert len(callback.audit) == len(positions)
    assert sum("another part of the data set" in one.getMessage() for one in caplog.records) == 2


class Worthless(Net):
    """Its features are noise from the first epoch on."""

    def forward(self, x: Any) -> Any:
        return self.head(torch.sin(1e4 * self.encoder(x) + 100 * self.encoder(x.flip(-1))))


def test_a_later_audit_that_means_little_leaves_the_earlier_list() -> None:
    policy = Policy(near_duplicates="drop", label_errors="drop", max_drop_fraction=1.0)
    callback = audit_callback(None, policy=policy, audit_epochs=(0, 1), backbone=None, thresholds=None)
    net = Worthless()
    with caught() as reported:
        trainer(callback).fit(net, DataLoader(train_data(90), 20, shuffle=True))
    said = [text for text in reported if "its scores mean little" in text]
    assert len(said) == 1
    assert said[0].startswith(
        "DataAudit: no audit for epoch 1, what was dropped stays dropped: its scores mean little: "
    )
    assert sorted(net.seen[0]) == sorted(net.seen[1])
