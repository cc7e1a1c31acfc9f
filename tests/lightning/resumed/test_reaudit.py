"""Audits in the course of training: what they find holds from their epoch on, in place of what was found before."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from selfclean_hooks import Audit, Limits, Policy
from selfclean_hooks.errors import ContaminationError, DataWarning
from tests.lightning.fits import DROP, LOOSE, Module, Net, audit_callback, train_data, trainer, val_data, weights

View = Callable[[Tensor], Tensor]
VIEWS: list[View] = [lambda rows: rows, lambda rows: rows[:, 32:], lambda rows: rows[:, ::3]]
COPIES: View = lambda rows: torch.cat([rows[:, :1] % 0.5 + 1, rows[:, :1] * 0], 1)  # noqa: E731  # nearly all are
BLIND: View = lambda rows: rows.new_full((len(rows), 3), torch.nan)  # noqa: E731


class ByEpoch:
    """A backbone that looks at other pixels in every epoch audited for."""

    def __init__(self, net: Net, views: list[View] = VIEWS) -> None:
        self.net, self.views = net, views

    def __call__(self, batch: Tensor) -> Tensor:
        net = self.net
        epoch = net.current_epoch + (net.global_step > 0)  # at the end of an epoch it is audited for the next
        return self.views[epoch](batch.flatten(1))


class Watch(lightning.Callback):
    """What the trainer holds at the start of every epoch."""

    def __init__(self) -> None:
        self.loaders: list[Any] = []
        self.every_n_epochs: list[int] = []

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.loaders.append(trainer.train_dataloader)

    def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
        self.every_n_epochs.append(trainer.reload_dataloaders_every_n_epochs)


class Dated(Module):
    """Remembers in which epochs its hooks were called."""

    def train_dataloader(self) -> Any:
        return self._noted("train", super().train_dataloader())

    def val_dataloader(self) -> Any:
        return self._noted("val", super().val_dataloader())

    def _noted(self, name: str, loader: Any) -> Any:
        assert self.trainer is not None
        self.calls[-1] = f"{name} in epoch {self.trainer.current_epoch}"
        return loader


class ByHand(lightning.LightningDataModule):
    """Loaders of the positions given, those of the current epoch."""

    def __init__(self, data: Any, kept: list[list[int]]) -> None:
        super().__init__()
        self.data, self.kept = data, kept

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        return DataLoader(Subset(self.data, self.kept[self.trainer.current_epoch]), 16, shuffle=True)


def fit(net: Net, data: Any, *callbacks: Any, epochs: int = 3, **settings: Any) -> Any:
    lightning.seed_everything(5, verbose=False)
    done: Any = trainer(*callbacks, max_epochs=epochs, **settings)
    if isinstance(data, lightning.LightningDataModule):
        done.fit(net, datamodule=data)
    else:
        done.fit(net, data)
    return done


def shuffled(data: Any) -> DataLoader[Any]:
    return DataLoader(data, 16, shuffle=True)


def clean(folder: Path) -> list[int]:
    kept: list[int] = Audit.load(folder).clean_indices.tolist()
    return kept


def made() -> Net:
    """Fits batches of one too, which BatchNorm does not."""
    net = Net()
    net.encoder[2] = nn.LayerNorm(32)
    return net


def by_epoch(net: Net) -> list[list[int]]:
    return [sorted(net.seen[epoch]) for epoch in sorted(net.seen)]


def texts(caught: Any) -> list[str]:
    said = [str(one.message) for one in caught if issubclass(one.category, DataWarning)]
    return [text for text in said if "the last batch of an epoch holds a single one" not in text]


def test_what_an_audit_finds_holds_from_its_epoch_on(tmp_path: Path) -> None:
    net, data, watch = made(), train_data(), Watch()
    before = weights(net)
    settings: Any = {"thresholds": LOOSE, "audit_epochs": (0, 1, 2), "backbone": ByEpoch(net)}
    callback = audit_callback(tmp_path, policy=DROP, **settings)
    with pytest.warns(DataWarning) as caught:
        fit(net, shuffled(data), callback, watch)
    kept = [clean(tmp_path / f"epoch={epoch}") for epoch in range(3)]
    assert by_epoch(net) == kept
    assert len({tuple(positions) for positions in kept}) == 3
    assert set(kept[1]) - set(kept[0])  # what the last audit no longer finds is trained on again
    assert len(texts(caught)) == 3
    assert [len(loader) for loader in watch.loaders] == [-(-len(positions) // 16) for positions in kept]

    twin = made()
    twin.load_state_dict(before)
    fit(twin, ByHand(data, kept), reload_dataloaders_every_n_epochs=1)
    assert twin.seen == net.seen
    assert all(torch.equal(value, weights(twin)[name]) for name, value in weights(net).items())


def test_the_latest_lies_in_the_folder_itself_with_how_stable_it_is(tmp_path: Path) -> None:
    net = made()
    callback = audit_callback(tmp_path, audit_epochs=(0, 1), backbone=ByEpoch(net))
    with pytest.warns(DataWarning):
        fit(net, shuffled(train_data()), callback, epochs=2)
    manifests = {
        name: json.loads((tmp_path / name / "manifest.json").read_text()) for name in (".", "epoch=0", "epoch=1")
    }
    assert manifests["."] == manifests["epoch=1"]
    assert manifests["epoch=0"]["training"] == {"epoch": 0, "stability": {}}
    assert manifests["epoch=1"]["training"]["epoch"] == 1
    stability = manifests["epoch=1"]["training"]["stability"]
    assert set(stability) == {"near_duplicates", "off_topic", "label_errors"}
    before, after = Audit.load(tmp_path / "epoch=0"), Audit.load(tmp_path / "epoch=1")
    flags = [set(audit.frame.query("is_label_issue").index) for audit in (before, after)]
    found = stability["label_errors"]
    assert (found["flagged_before"], found["flagged_after"]) == (len(flags[0]), len(flags[1]))
    assert found["flagged_both"] == len(flags[0] & flags[1])
    sentence = f"{found['flagged_both']:.0f} of {found['flagged_before']:.0f} flagged again"
    report = (tmp_path / "report.html").read_text()
    assert "label_errors against the last audit: rank correlation" in report
    assert sentence in report
    assert "against the last audit" not in (tmp_path / "epoch=0" / "report.html").read_text()


def test_without_other_samples_to_drop_the_loader_stays(tmp_path: Path) -> None:
    net, watch, module = made(), Watch(), Module(train_data(), val_data())
    policy = Policy("drop", "drop", "warn")  # label errors are others as training goes on: margins count
    with pytest.warns(DataWarning) as caught:
        fit(net, module, audit_callback(tmp_path, policy=policy, audit_epochs=(0, 1, 2)), watch)
    assert sum("DataAudit of the training data" in text for text in texts(caught)) == 3
    assert len({id(loader) for loader in watch.loaders}) == 1
    assert module.calls.count("train") == 1
    assert set(watch.every_n_epochs) == {0}


@pytest.mark.parametrize("epochs", [(1,), (0, 1), (0, 1, 2)])
def test_training_is_what_it_is_without_audits_if_nothing_is_dropped(epochs: tuple[int, ...]) -> None:
    plain, audited = made(), made()
    audited.load_state_dict(weights(plain))
    fit(plain, shuffled(train_data()))
    with pytest.warns(DataWarning):
        fit(audited, shuffled(train_data()), audit_callback(None, audit_epochs=epochs))
    assert audited.seen == plain.seen
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(audited).items())


def test_a_first_audit_for_a_later_epoch() -> None:
    net, data = made(), train_data()
    callback = audit_callback(None, policy=DROP, audit_epochs=(2,))
    with pytest.warns(DataWarning) as caught:
        done = fit(net, shuffled(data), callback)
    everything, kept = list(range(len(data))), callback.audit.clean_indices.tolist()
    assert by_epoch(net) == [everything, everything, kept]
    assert len(texts(caught)) == 1
    assert done.global_step == 3 + 3 + -(-len(kept) // 16)


def test_the_data_module_is_asked_once_however_often_the_set_changes() -> None:
    net, module, watch = made(), Module(train_data(), val_data()), Watch()
    callback = audit_callback(None, policy=DROP, audit_epochs=(0, 1, 2), backbone=ByEpoch(net))
    with pytest.warns(DataWarning):
        done = fit(net, module, callback, watch)
    assert sorted(module.calls) == ["train", "val"]
    assert sorted(set(net.validated)) == [0, 1, 2]
    assert set(watch.every_n_epochs) == {0}
    assert done.reload_dataloaders_every_n_epochs == 0


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_users_own_reloading_goes_on(every: int) -> None:
    def calls(audited: bool) -> tuple[list[str], set[int]]:
        net, module, watch = made(), Dated(train_data(), val_data()), Watch()
        callback = audit_callback(None, policy=DROP, audit_epochs=(0, 1), backbone=ByEpoch(net))
        callbacks = [callback, watch] if audited else [watch]
        fit(net, module, *callbacks, epochs=5, reload_dataloaders_every_n_epochs=every)
        return module.calls, set(watch.every_n_epochs)

    with pytest.warns(DataWarning):
        with_audit, settings = calls(True)
    without, _ = calls(False)
    assert settings == {every}
    assert sorted(with_audit) == sorted(without)


@pytest.mark.parametrize(
    ("view", "why"),
    [
        (BLIND, "the backbone gave NaN or infinity"),
        (None, "the backbone ByEpoch does not take a batch of shape (48, 1, 8, 8): RuntimeError: out of luck"),
    ],
)
def test_an_audit_that_cannot_be_made_leaves_training_as_it_is(tmp_path: Path, view: View | None, why: str) -> None:
    def broken(rows: Tensor) -> Tensor:
        raise RuntimeError("out of luck")

    net, data = made(), train_data()
    backbone = ByEpoch(net, [VIEWS[0], view or broken, VIEWS[2]])
    callback = audit_callback(tmp_path, policy=DROP, audit_epochs=(0, 1, 2), backbone=backbone)
    with pytest.warns(DataWarning) as caught:
        fit(net, shuffled(data), callback)
    kept = [clean(tmp_path / f"epoch={epoch}") for epoch in (0, 2)]
    assert by_epoch(net) == [kept[0], kept[0], kept[1]]
    assert kept[0] != kept[1]
    said = [text for text in texts(caught) if not text.startswith("DataAudit of")]
    assert len(said) == 1
    assert said[0].startswith(f"DataAudit: no audit for epoch 1, what was dropped stays dropped: {why}")


@pytest.mark.parametrize("saved", [False, True])
def test_a_mass_drop_in_the_course_of_training_is_not_made(tmp_path: Path, saved: bool) -> None:
    net, data = made(), train_data()
    callback = audit_callback(
        tmp_path if saved else None, policy=DROP, audit_epochs=(0, 1), backbone=ByEpoch(net, [VIEWS[0], COPIES])
    )
    with pytest.warns(DataWarning) as caught:
        fit(net, shuffled(data), callback, epochs=2)
    first, second = by_epoch(net)
    assert first == second
    assert len(first) < len(data)
    said = [text for text in texts(caught) if not text.startswith("DataAudit of")]
    assert len(said) == 1
    assert said[0].startswith("DataAudit: no audit for epoch 1, what was dropped stays dropped: the policy would drop")
    assert callback.audit.clean_indices.tolist() == first  # the audit whose drops are in force
    if saved:
        assert clean(tmp_path) == first
        assert (tmp_path / "epoch=1" / "report.html").is_file()
        assert not (tmp_path / "epoch=1" / "clean_indices.txt").exists()


@pytest.mark.parametrize("most", [1, 0.5], ids=["drops it", "would drop too much"])
@pytest.mark.parametrize("action", ["warn", "drop"])
def test_a_limit_stops_in_the_course_of_training(tmp_path: Path, action: Any, most: float) -> None:
    net, data = made(), train_data()
    callback = audit_callback(
        tmp_path,
        audit_epochs=(0, 1),
        backbone=ByEpoch(net, [VIEWS[0], COPIES]),
        policy=Policy(near_duplicates=action, max_drop_fraction=most),
        limits=Limits(near_duplicates=0.3),
    )
    with pytest.warns(DataWarning), pytest.raises(ContaminationError) as stopped:
        fit(net, shuffled(data), callback)
    assert str(stopped.value).startswith("training is stopped: near_duplicates: 0.")
    assert "exceeds the limit 0.3; worst: " in str(stopped.value)
    assert sorted(net.seen) == [0]
    assert Audit.load(tmp_path / "epoch=1").contamination["near_duplicates"] > 0.5


def test_no_audit_for_an_epoch_that_is_not_trained(tmp_path: Path) -> None:
    net = made()
    with pytest.warns(DataWarning) as caught:
        fit(net, shuffled(train_data()), audit_callback(tmp_path, audit_epochs=(0, 2)), epochs=2)
    assert len(texts(caught)) == 1
    assert sorted(path.name for path in tmp_path.glob("epoch=*")) == ["epoch=0"]
