"""The list of dropped samples travels in checkpoints: a resumed run drops the same, without another audit."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from selfclean_hooks import Limits, Policy, Thresholds
from selfclean_hooks.errors import DataWarning
from selfclean_hooks_lightning import DataAudit
from tests.helpers.log_records import Records
from tests.lightning.fits import (
    DROP,
    FIRM,
    Items,
    Module,
    N,
    Net,
    audit_callback,
    planted,
    train_data,
    trainer,
    val_data,
)


def trained(folder: Path, *callbacks: Any, data: Any = None, net: Net | None = None, **settings: Any) -> Path:
    """A fit of one epoch, if not reported otherwise, saved."""
    host = trainer(*callbacks, **{"max_epochs": 1, **settings})
    host.fit(net or Net(), datamodule=Module(data or train_data(), val_data()))
    host.save_checkpoint(folder / "a.ckpt")
    return folder / "a.ckpt"


def resumed(checkpoint: Path, audit: DataAudit, data: Any = None, **settings: Any) -> Net:
    net = Net()
    host = trainer(audit, **{"max_epochs": 2, **settings})
    host.fit(net, datamodule=Module(data or train_data(), val_data()), ckpt_path=checkpoint)
    return net


def dropping(**settings: Any) -> DataAudit:
    return audit_callback(None, **{"policy": DROP, **settings})


def test_a_resumed_run_drops_the_same_without_an_audit(tmp_path: Path, audits: list[int]) -> None:
    first = dropping()
    checkpoint = trained(tmp_path, first)
    audits.clear()
    second = dropping()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        net = resumed(checkpoint, second)
    assert audits == []
    assert second.audits == {}
    assert list(net.seen) == [1]
    assert sorted(net.seen[1]) == first.audit.clean_indices.tolist()
    assert second.state_dict() == first.state_dict()


def test_it_is_said_that_the_data_is_as_audited(tmp_path: Path, caplog: Records) -> None:
    first = dropping()
    checkpoint = trained(tmp_path, first)
    kept = len(first.audit.clean_indices)
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        resumed(checkpoint, dropping())
    reported = [record.getMessage() for record in caplog.records if "DataAudit" in record.getMessage()]
    assert reported[-1] == (
        f"DataAudit: the data is as audited before epoch 0; the {N - kept} samples dropped then stay dropped, "
        f"{kept} are kept"
    )


def test_a_checkpoint_holds_nothing_but_plain_values(tmp_path: Path) -> None:
    audit = dropping()
    loaded = torch.load(trained(tmp_path, audit), weights_only=True)
    state = loaded["callbacks"]["DataAudit{'output_dir': 'None'}"]["loaders"][""]
    assert state["n"] == N
    assert sorted({*range(N)} - set(state["dropped"])) == audit.audit.clean_indices.tolist()


def changed_length() -> Items:
    p = planted()
    return Items([*p.images, p.images[0] // 2], [*p.labels, p.labels[0]])


def changed_label() -> Items:
    labels = planted().labels.copy()
    labels[-1] = (labels[-1] + 1) % 10
    return Items(planted().images, labels)


def changed_order() -> Items:
    return Items(planted().images[::-1].copy(), planted().labels[::-1].copy())


def changed_pixel() -> Items:
    images = planted().images.copy()
    images[7, 0, 0] ^= 16
    return Items(images, planted().labels)


@pytest.mark.parametrize("data", [changed_length, changed_label, changed_order, changed_pixel])
def test_changed_data_is_noticed(data: Callable[[], Items], tmp_path: Path, audits: list[int]) -> None:
    checkpoint, n = trained(tmp_path, dropping()), len(data())
    audits.clear()
    again = dropping()
    with pytest.warns(DataWarning, match=rf"the data changed since the last audit \(48 samples then, {n} now\)"):
        net = resumed(checkpoint, again, data())
    assert len(audits) == 1
    assert len(again.audit) == n
    assert sorted(net.seen[1]) == again.audit.clean_indices.tolist()
    assert again.state_dict()["loaders"][""]["n"] == n


def test_a_new_transform_is_no_change_of_the_data(tmp_path: Path, audits: list[int]) -> None:
    checkpoint = trained(tmp_path, dropping())
    audits.clear()
    resumed(checkpoint, dropping(), train_data(transform=torch.neg))
    assert audits == []


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": Policy("drop", "warn", "drop", "drop")},
        {"thresholds": Thresholds(near_duplicates=0.02, label_errors=0.35)},
        {"limits": Limits(near_duplicates=0.9)},
        {"method": "selfclean"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_changed_settings_are_audited_again(settings: dict[str, Any], tmp_path: Path, audits: list[int]) -> None:
    automatic = {"thresholds": Thresholds()}  # which suit both methods
    checkpoint = trained(tmp_path, dropping(**automatic))
    audits.clear()
    again = dropping(**{**automatic, **settings})
    with pytest.warns(DataWarning, match="the settings of the audit changed since the last one"):
        net = resumed(checkpoint, again)
    assert len(audits) == 1
    assert sorted(net.seen[1]) == again.audit.clean_indices.tolist()


@pytest.mark.filterwarnings("ignore::selfclean_hooks.errors.DataWarning")
def test_a_second_fit_of_the_same_callback(audits: list[int]) -> None:
    audit, nets = dropping(), [Net(), Net()]
    for net in nets:
        trainer(audit, max_epochs=1).fit(net, datamodule=Module(train_data(), val_data()))
    assert audits == [0]
    assert sorted(nets[0].seen[0]) == sorted(nets[1].seen[0]) == audit.audit.clean_indices.tolist()
    trainer(audit, max_epochs=1).fit(other := Net(), datamodule=Module(changed_label(), val_data()))
    assert len(audits) == 2
    assert sorted(other.seen[0]) == audit.audit.clean_indices.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_checkpoint_of_a_run_without_the_callback(tmp_path: Path) -> None:
    checkpoint, audit = trained(tmp_path), dropping(backbone=None, policy=Policy())
    resumed(checkpoint, audit)
    assert audit.audit.provenance["encoder"]["name"] == "Net"
    assert "features of Net, after 1 epoch of training" in audit.audit.provenance["notes"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_its_loader_is_asked_for_before_the_loops_are_restored(tmp_path: Path) -> None:
    torch.manual_seed(0)  # with some weights most samples look off topic
    checkpoint, audit, net = trained(tmp_path, net=Net(scheduled=True)), dropping(backbone=None), Net(scheduled=True)
    source = Module(train_data(), val_data())
    trainer(audit, max_epochs=1).fit(net, datamodule=source, ckpt_path=checkpoint)
    assert "features of Net, a checkpoint was loaded" in audit.audit.provenance["notes"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_checkpoint_of_an_epoch_end_counts_that_epoch(tmp_path: Path) -> None:
    keeps = ModelCheckpoint(tmp_path, save_last=True)
    trained(tmp_path, keeps, enable_checkpointing=True)
    audit = dropping(backbone=None, policy=Policy())
    resumed(tmp_path / "last.ckpt", audit)
    assert "features of Net, after 1 epoch of training" in audit.audit.provenance["notes"]
    assert audit.audit.provenance["training"]["epoch"] == 1


# Audits in the course of training.


def test_an_audit_at_the_epoch_end_is_in_the_checkpoint_of_that_epoch(tmp_path: Path, audits: list[int]) -> None:
    first = dropping(backbone=changing(after_audits=audits), audit_epochs=(0, 1))
    keeps = ModelCheckpoint(tmp_path, save_last=True, save_top_k=-1, filename="{epoch}")
    trained(tmp_path, first, keeps, max_epochs=2, enable_checkpointing=True)
    assert audits == [0, 1]
    later = first.audit.clean_indices.tolist()
    state = {path.stem: of_checkpoint(path) for path in (tmp_path / "epoch=0.ckpt", tmp_path / "last.ckpt")}
    assert [state["epoch=0"]["epoch"], state["last"]["epoch"]] == [1, 1]
    assert sorted({*range(N)} - set(state["epoch=0"]["dropped"])) == later
    audits.clear()
    net = resumed(tmp_path / "epoch=0.ckpt", dropping(backbone=changing(after_audits=audits), audit_epochs=(0, 1)))
    assert audits == []
    assert sorted(net.seen[1]) == later


@pytest.mark.parametrize("kind", ["saved after the fit", "saved at the end of the epoch"])
def test_a_run_that_ended_before_an_epoch_to_audit_for(kind: str, tmp_path: Path, audits: list[int]) -> None:
    """Its last epoch had none after it, so that audit was not made: the run that goes on makes it."""
    keeps = ModelCheckpoint(tmp_path, save_last=True)
    checkpoint = trained(tmp_path, dropping(audit_epochs=(0, 1)), keeps, enable_checkpointing=True)
    checkpoint = checkpoint if kind == "saved after the fit" else tmp_path / "last.ckpt"
    assert audits == [0]
    again = dropping(audit_epochs=(0, 1), backbone=lambda batch: batch.flatten(1)[:, :32])
    net = resumed(checkpoint, again)
    assert audits == [0, 1]
    assert sorted(net.seen[1]) == again.audit.clean_indices.tolist()
    assert of_state(again.state_dict())["epoch"] == 1


def test_a_run_that_ended_in_the_middle(tmp_path: Path, audits: list[int]) -> None:
    """Resumed after epochs to audit for have passed: what is known stays, and later audits are made."""
    checkpoint = trained(tmp_path, dropping(audit_epochs=(0, 1)), max_epochs=3)
    assert audits == [0, 1]
    resumed(checkpoint, dropping(audit_epochs=(0, 1, 4)), max_epochs=5)
    assert audits == [0, 1, 4]


def test_first_audit_is_for_a_later_epoch(tmp_path: Path, audits: list[int]) -> None:
    audit = dropping(audit_epochs=(2,))
    checkpoint = trained(tmp_path, audit, max_epochs=2)
    assert audits == []
    assert audit.state_dict() == {"loaders": {}}
    net = resumed(checkpoint, again := dropping(audit_epochs=(2,)), max_epochs=3)
    assert audits == [2]
    assert sorted(net.seen[2]) == again.audit.clean_indices.tolist()


def changing(after_audits: list[int]) -> Callable[[Any], Any]:
    """Features that differ from the second audit on, so that it drops others than the first."""
    return lambda batch: batch.flatten(1)[:, :32] if len(after_audits) > 1 else batch.flatten(1)


def of_checkpoint(path: Path) -> dict[str, Any]:
    states: dict[str, Any] = torch.load(path, weights_only=True)["callbacks"]
    return of_state(next(state for key, state in states.items() if key.startswith("DataAudit")))


def of_state(state: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = state["loaders"][""]
    return found


def test_the_twin_of_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path: Path) -> None:
    """Step for step as many, on the same samples."""
    whole, net = dropping(thresholds=FIRM), Net()
    trainer(whole, max_epochs=2).fit(net, datamodule=Module(train_data(), val_data()))
    parts = resumed(trained(tmp_path, dropping(thresholds=FIRM)), dropping(thresholds=FIRM))
    assert sorted(parts.seen[1]) == sorted(net.seen[1])
