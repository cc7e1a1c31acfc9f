"""Data that differs from one loader to the next in a fit or between fits, and audits that would leave too little."""

import math
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, SubsetRandomSampler

from selfclean_hooks import Audit, Policy, Thresholds
from selfclean_hooks.errors import PolicyError
from selfclean_hooks.testing import digits
from selfclean_hooks_lightning import DataAudit
from tests.lightning.fits import audit_callback, clean_data, train_data, trainer, val_data
from tests.lightning.processes.parallel_fits import BATCH, Calm, caught, dropping, fitted, trained

COPIES_ONLY = Thresholds(near_duplicates=1e-6, off_topic=None, label_errors=None)


# another choice of the same data set at each reload


class Redrawn(lightning.LightningDataModule):
    """One data set, of which each epoch trains on other samples, the same number every time."""

    def __init__(self) -> None:
        super().__init__()
        self.data = train_data(80)

    @staticmethod
    def choice(epoch: int) -> list[int]:
        chosen: list[int] = np.random.default_rng(epoch).permutation(96)[:60].tolist()
        return chosen

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        return DataLoader(self.data, BATCH, sampler=SubsetRandomSampler(self.choice(self.trainer.current_epoch)))


def test_other_samples_of_the_same_data_set_are_audited_anew() -> None:
    audits: list[Audit] = []

    class Watched(Calm):
        def on_train_epoch_start(self) -> None:
            audits.append(callback.audit)

    callback = dropping()
    net, _, warned = fitted(callback, net=Watched(), data=Redrawn(), reload_dataloaders_every_n_epochs=1, max_epochs=3)
    changed = "DataAudit: the data changed since the last audit (60 samples then, 60 now), so it is audited again"
    assert warned.count(changed) == 2
    assert len({id(audit) for audit in audits}) == 3
    for epoch, audit in enumerate(audits):
        positions = np.sort(Redrawn.choice(epoch))
        assert 0 < len(audit.clean_indices) < 60
        assert trained(net, epoch) == set(positions[audit.clean_indices].tolist())


# audits whose drops would leave too little


class Blurred:
    """A backbone that sees no difference between the darkest images; the number of those is reported before each audit.

    Of these all but one are dropped as copies.
    """

    def __init__(self, net: Any, data: Any, *counts: int) -> None:
        self.net, self.counts = net, counts
        self.darkness = data.x.flatten(1).sum(1).sort().values

    def __call__(self, batch: Tensor) -> Tensor:
        count = self.counts[int(self.net.global_step > 0)]
        rows = batch.flatten(1)
        dark = rows.sum(1, keepdim=True) <= self.darkness[count - 1]
        return torch.where(dark, torch.ones_like(rows), rows)


TOO_FEW: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no step": (
        {"batch_size": 50, "drop_last": True},
        {},
        "training would run 0 steps: {left} of 64 samples are left, {left} an epoch for each process, while a batch "
        "takes 50 and drop_last=True; lower batch_size, pass drop_last=False or drop fewer samples",
    ),
    "less than val_check_interval": (
        {"batch_size": 8},
        {"val_check_interval": 7},
        "val_check_interval=7 asks for validation every 7 batches, and {batches} are left in an epoch: lower it, pass "
        "check_val_every_n_epoch=None or drop fewer samples",
    ),
}


def copies_dropped(net: Any, data: Any, folder: Path | None, *counts: int, **settings: Any) -> DataAudit:
    policy = Policy(near_duplicates="drop")
    backbone = Blurred(net, data, *counts)
    return audit_callback(folder, policy=policy, thresholds=COPIES_ONLY, backbone=backbone, **settings)


def refusal(words: str, left: int) -> str:
    why = words.format(left=left, batches=math.ceil(left / 8))
    return f"training on what is left of the training data cannot work: {why}"


@pytest.mark.parametrize("case", TOO_FEW)
def test_a_later_audit_that_would_leave_too_little_is_not_followed(tmp_path: Path, case: str) -> None:
    loader, settings, words = TOO_FEW[case]
    net, data = Calm(), clean_data()
    callback = copies_dropped(net, data, tmp_path, 6, 30, audit_epochs=(0, 1))
    host = trainer(callback, max_epochs=3, **settings)
    with caught() as reported:
        host.fit(net, DataLoader(data, shuffle=True, **loader), DataLoader(val_data(), 16))
    late = f"DataAudit: no audit for epoch 1, what was dropped stays dropped: {refusal(words, 64 - 29)}"
    assert reported.count(late) == 1
    assert host.state.finished
    kept = callback.audit.clean_indices.tolist()
    assert len(kept) == 64 - 5
    assert callback.audit.provenance["training"]["epoch"] == 0
    state = callback.state_dict()["loaders"][""]
    assert state["epoch"] == 0
    assert sorted({*range(64)} - set(state["dropped"])) == kept
    assert [int(line) for line in (tmp_path / "clean_indices.txt").read_text().split()] == kept
    assert Audit.load(tmp_path).provenance["training"]["epoch"] == 0
    assert sorted(net.seen) == [0, 1, 2]
    assert all(set(seen) <= set(kept) for seen in net.seen.values())


@pytest.mark.parametrize("case", TOO_FEW)
def test_a_first_audit_that_would_leave_too_little_stops_before_the_first_step(tmp_path: Path, case: str) -> None:
    loader, settings, words = TOO_FEW[case]
    net, data = Calm(), clean_data()
    callback = copies_dropped(net, data, tmp_path, 30, 30)
    host = trainer(callback, num_sanity_val_steps=0, **settings)
    with caught() as reported, pytest.raises(PolicyError) as refused:
        host.fit(net, DataLoader(data, shuffle=True, **loader), DataLoader(val_data(), 16))
    assert str(refused.value) == refusal(words, 64 - 29)
    assert net.seen == {}
    assert host.global_step == 0
    assert callback.audits == {}
    assert callback.state_dict() == {"loaders": {}}
    assert not any(text.startswith("DataAudit of") for text in reported)  # nothing is said to be trained on


def test_val_check_interval_over_several_epochs_needs_no_batches() -> None:
    net, data = Calm(), clean_data()
    callback = copies_dropped(net, data, None, 30, 30)
    host = trainer(callback, val_check_interval=7, check_val_every_n_epoch=None)
    with caught():
        host.fit(net, DataLoader(data, 8, shuffle=True), DataLoader(val_data(), 16))
    assert host.global_step == 2 * math.ceil((64 - 29) / 8)


# two fits of one callback


def other_data() -> Any:
    images, labels = digits()
    data = clean_data()
    data.x, data.y = torch.from_numpy(images[64:128]).float().unsqueeze(1) / 255, torch.from_numpy(labels[64:128])
    return data


@pytest.mark.parametrize("same", [True, False], ids=["same data", "other data of that length"])
def test_stability_is_reported_for_the_same_data_alone(tmp_path: Path, same: bool) -> None:
    callback = audit_callback(tmp_path)
    with caught():
        trainer(callback, max_epochs=1).fit(Calm(), DataLoader(clean_data(), 16))
        callback.load_state_dict({"loaders": {}})  # else the same data would not be audited again
        trainer(callback, max_epochs=1).fit(Calm(), DataLoader(clean_data() if same else other_data(), 16))
    stability = callback.audit.provenance["training"]["stability"]
    assert bool(stability) is same
    assert ("against the last audit" in (tmp_path / "report.html").read_text()) is same
    assert any("against the last audit" in note for note in callback.audit.provenance["notes"]) is same


def test_the_second_fit_on_other_data_says_that_it_changed() -> None:
    callback = dropping(backbone=nn.Flatten())
    with caught() as reported:
        trainer(callback, max_epochs=1).fit(Calm(), DataLoader(clean_data(), 16))
        trainer(callback, max_epochs=1).fit(Calm(), DataLoader(other_data(), 16))
    assert sum("the data changed since the last audit (64 samples then, 64 now)" in text for text in reported) == 1
