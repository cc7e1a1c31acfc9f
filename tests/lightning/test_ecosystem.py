"""Both names of Lightning, and the callbacks and tuners that people use beside the audit."""

import logging
from pathlib import Path
from typing import Any

import lightning
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    RichProgressBar,
    StochasticWeightAveraging,
    Timer,
    TQDMProgressBar,
)
from lightning.pytorch.tuner.tuning import Tuner
from torch import nn
from torch.utils.data import DataLoader

import selfclean_hooks_lightning
import selfclean_hooks_lightning.pytorch_lightning as for_pytorch_lightning
from selfclean_hooks import Thresholds
from tests.helpers.log_records import Records
from tests.lightning.fits import DROP, FIRM, Module, N, train_data, val_data
from tests.lightning.fits import trainer as quiet_trainer
from tests.lightning.processes.parallel_fits import BATCH, Calm, caught, dropped, dropping, fitted, trained

ALL = set(range(N))
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def made(reported: list[str]) -> int:
    """How many audits the warnings tell of."""
    return len([text for text in reported if text.startswith("DataAudit of ")])


def remembered(callback: Any) -> set[int]:
    """The drop list as checkpoints hold it."""
    return {int(i) for i in callback.state_dict()["loaders"][""]["dropped"]}


class Rated(Calm):
    """With a learning rate that can be tuned."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = 0.05

    def on_train_start(self) -> None:
        self.seen.clear()  # of the trial of a tuner

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.lr)


class Other(pytorch_lightning.LightningModule):
    """A module of the package pytorch_lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.seen: dict[int, list[int]] = {}

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).extend(batch[2].tolist())
        return nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.05)


@pytest.mark.parametrize("package", [pytorch_lightning, lightning.pytorch])
@pytest.mark.parametrize("hooks", [selfclean_hooks_lightning, for_pytorch_lightning])
def test_both_packages_and_the_two_mixed_up(package: Any, hooks: Any) -> None:
    callback = hooks.DataAudit(policy=DROP, thresholds=FIRM, backbone=nn.Flatten(), output_dir=None, audit_epochs=(1,))
    net = Other() if package is pytorch_lightning else Calm()
    package.Trainer(callbacks=[callback], max_epochs=2, **QUIET).fit(net, DataLoader(train_data(), BATCH))
    assert trained(net, 0) == ALL
    assert trained(net, 1) == ALL - dropped(callback)


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_tells_in_the_voice_of_its_trainer(package: str, caplog: Records) -> None:
    ours, trainer_of = (
        (selfclean_hooks_lightning, lightning)
        if package == "lightning.pytorch"
        else (for_pytorch_lightning, pytorch_lightning)
    )
    net = Calm() if trainer_of is lightning else Other()
    callback: Any = ours.DataAudit(backbone=nn.Flatten(), output_dir=None)
    with caplog.at_level(logging.INFO, package):
        trainer_of.Trainer(callbacks=[callback], fast_dev_run=True, **QUIET).fit(net, DataLoader(train_data(), BATCH))
    assert [name for name, _, text in caplog.record_tuples if text.startswith("DataAudit: fast_dev_run")] == [package]


def test_the_classes_are_callbacks_of_their_package() -> None:
    assert issubclass(selfclean_hooks_lightning.DataAudit, lightning.pytorch.Callback)
    assert issubclass(for_pytorch_lightning.DataAudit, pytorch_lightning.Callback)
    assert not issubclass(selfclean_hooks_lightning.DataAudit, pytorch_lightning.Callback)
    assert selfclean_hooks_lightning.DataAudit.__doc__ == for_pytorch_lightning.DataAudit.__doc__


@pytest.mark.parametrize("last", [True, False])
def test_model_checkpoint(tmp_path: Path, last: bool) -> None:
    saving = ModelCheckpoint(tmp_path, monitor="val_loss", save_last=last, save_top_k=-1)
    callback = dropping(audit_epochs=(0, 1))
    net, _, _ = fitted(*[saving, callback][:: 1 if last else -1], enable_checkpointing=True)
    assert trained(net, 1).isdisjoint(dropped(callback))
    for path in saving.best_k_models:
        state = torch.load(path, weights_only=True)["callbacks"][callback.state_key]
        assert set(state["loaders"][""]["dropped"]) == dropped(callback)
    assert len(saving.best_k_models) == 2


@pytest.mark.parametrize("on_train_epoch_end", [True, False])
@pytest.mark.parametrize("order", [1, -1])
def test_early_stopping_spares_the_next_audit_if_it_stops_in_validation(on_train_epoch_end: bool, order: int) -> None:
    stopping = EarlyStopping("val_loss", patience=0, min_delta=1e9, check_on_train_epoch_end=on_train_epoch_end)
    callback = dropping(audit_epochs=(0, 2))
    net, _, _ = fitted(*[stopping, callback][::order], max_epochs=9)
    assert sorted(net.seen) == [0, 1]
    # at the end of an epoch Lightning asks those that may stop the training last, whatever their order
    assert callback.audit.provenance["training"]["epoch"] == (2 if on_train_epoch_end else 0)


def test_audits_again_where_training_has_to_go_on_after_a_wish_to_stop() -> None:
    stopping = EarlyStopping("val_loss", patience=0, min_delta=1e9, check_on_train_epoch_end=False)
    callback = dropping(audit_epochs=(0, 3))
    net, _, _ = fitted(stopping, callback, max_epochs=9, min_epochs=5)
    assert sorted(net.seen) == [0, 1, 2, 3, 4]
    assert callback.audit.provenance["training"]["epoch"] == 3


LIMITS: list[dict[str, Any]] = [
    {"max_steps": 6, "limit_train_batches": 3},
    {"max_epochs": 2},
    {"max_time": {"hours": 1}, "max_epochs": 2},
]


@pytest.mark.parametrize("limit", LIMITS)
def test_no_audit_for_an_epoch_that_never_comes(limit: dict[str, Any]) -> None:
    callback = dropping(audit_epochs=(0, 2))
    net, _, _ = fitted(callback, **{"max_epochs": 5, **limit})
    assert sorted(net.seen) == [0, 1]
    assert callback.audit.provenance["training"]["epoch"] == 0


@pytest.mark.parametrize("epochs", [(0,), (1,)])
def test_learning_rate_finder(epochs: tuple[int, ...]) -> None:
    finder = LearningRateFinder(num_training_steps=25)
    callback = dropping(audit_epochs=epochs)
    net, _, warned = fitted(finder, callback, net=Rated(), data=Module(train_data(90), val_data(4), BATCH))
    assert finder.optimal_lr is not None
    assert net.lr != 0.05
    assert trained(net, 1) == set(range(len(train_data(90)))) - dropped(callback)
    assert made(warned) == 1
    assert remembered(callback) == dropped(callback)


@pytest.mark.parametrize("epochs", [(0,), (1,)])
def test_tuning_and_fitting_with_one_trainer(epochs: tuple[int, ...], tmp_path: Path) -> None:
    callback, net, data = dropping(audit_epochs=epochs), Rated(), Module(train_data(), val_data(4), BATCH)
    trainer = quiet_trainer(callback, default_root_dir=tmp_path)
    with caught() as reported:
        assert Tuner(trainer).lr_find(net, datamodule=data, num_training=25) is not None
        if epochs == (0,):
            assert trained(net).isdisjoint(dropped(callback))
        net.seen.clear()
        trainer.fit(net, datamodule=data)
    assert made(reported) == 1
    assert trained(net, 1) == ALL - dropped(callback)
    assert trained(net, 0) == (ALL - dropped(callback) if epochs == (0,) else ALL)


@pytest.mark.parametrize(("mode", "order"), [("power", 1), ("binsearch", -1)])
def test_batch_size_finder(mode: str, order: int, tmp_path: Path) -> None:
    finder, callback = BatchSizeFinder(mode, init_val=8, max_trials=3), dropping()
    net, data = Calm(), Module(train_data(), val_data(4), BATCH)
    _, trainer, warned = fitted(*[finder, callback][::order], net=net, data=data, default_root_dir=tmp_path)
    assert finder.optimal_batch_size == data.batch_size != BATCH
    assert trainer.train_dataloader.batch_size == data.batch_size
    assert trained(net, 1) == ALL - dropped(callback)
    assert made(warned) == 1
    assert remembered(callback) == dropped(callback)


def test_scaling_the_batch_size_before_a_fit(tmp_path: Path) -> None:
    callback, net, data = dropping(), Calm(), Module(train_data(), val_data(4), BATCH)
    trainer = quiet_trainer(callback, default_root_dir=tmp_path)
    with caught() as reported:
        assert Tuner(trainer).scale_batch_size(net, datamodule=data, init_val=8, max_trials=3) == data.batch_size
        assert trained(net).isdisjoint(dropped(callback))
        net.seen.clear()
        trainer.fit(net, datamodule=data)
    assert made(reported) == 1
    assert trained(net, 0) == trained(net, 1) == ALL - dropped(callback)


@pytest.mark.parametrize("beside", [StochasticWeightAveraging(0.01, 0.5), Timer("00:01:00:00")])
def test_other_callbacks(beside: Any) -> None:
    same = Thresholds(near_duplicates=0.35, label_errors=None)  # labels are judged anew by what training shows
    callback = dropping(audit_epochs=(0, 1), thresholds=same)
    net, _, _ = fitted(beside, callback, max_epochs=4)
    assert [trained(net, epoch) for epoch in range(4)] == [ALL - dropped(callback)] * 4


@pytest.mark.parametrize(
    ("bar", "shown"), [(None, False), (TQDMProgressBar(), True), (TQDMProgressBar(refresh_rate=0), False)]
)
def test_our_progress_bar_follows_the_trainer(
    bar: Any, shown: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as the bar can tell
    callback = dropping()
    net, _, _ = fitted(*filter(None, [bar]), callback, enable_progress_bar=bar is not None, max_epochs=1)
    assert ("embedding" in capfd.readouterr().err) is shown
    assert trained(net) == ALL - dropped(callback)


def test_beside_the_live_display_of_rich(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    callback = dropping(audit_epochs=(0, 1))
    net, _, _ = fitted(RichProgressBar(), callback, enable_progress_bar=True)
    assert trained(net, 1) == ALL - dropped(callback)
    assert "Epoch 1/1" in capfd.readouterr().out
