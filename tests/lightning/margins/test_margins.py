"""The margins of the samples in training are recorded, at no change of the training, and blended into later audits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, SubsetRandomSampler, dataloader

from selfclean_hooks import Audit, Thresholds
from selfclean_hooks.detectors.label_errors.training_margins import blend_with_margins
from tests.lightning.fits import (
    DROP,
    FIRM,
    N,
    clean_data,
    planted,
    train_data,
    trainer,
)
from tests.lightning.margins.margin_fits import (
    DRAW,
    LOADERS,
    NOTHING,
    Blended,
    Logged,
    Untouched,
    assert_undone,
    callback_of,
    recorded,
    twin,
)
from tests.lightning.undisturbed.fit_twins import all_global, check_same, fit_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Twice(Logged):
    """Runs the head on noise first; the last pass counts."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self(torch.randn_like(batch[0]))
        return super().training_step(batch, batch_idx)


class TwoHeads(Logged):
    """After the classes another layer is executed, with more outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(32, 25)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        logits: Tensor = self.head(features) + 0 * self.other(features).sum()
        return logits


class ByHand(Logged):
    """Manual optimisation."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


class Recomputed(Logged):
    """The encoder is executed once more in the backward pass, with a layer that could pass for a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 12)  # of more classes than there are in the data

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(checkpoint(self.encoder, x, use_reentrant=False))
        return scores


SETTINGS: list[dict[str, Any]] = [
    {},
    {"limit_train_batches": 3},
    {"accumulate_grad_batches": 3},
    {"val_check_interval": 0.5},
    {"reload_dataloaders_every_n_epochs": 1},
    {"limit_train_batches": 3, "persistent": True},
]


class Unpacked(Logged):
    """Takes the batch of a dict of one loader."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch["a"], batch_idx)


@pytest.mark.parametrize("loader", LOADERS)
def test_margins_are_those_that_the_module_logs(loader: str, blends: Blended) -> None:
    recorded(Unpacked() if loader == "one of a list" else Logged(), LOADERS[loader], blends)


@pytest.mark.parametrize("settings", SETTINGS[1:], ids=str)
def test_under_settings_of_the_trainer(settings: dict[str, Any], blends: Blended) -> None:
    loader = LOADERS["persistent" if settings.get("persistent") else "plain"]
    recorded(Logged(), loader, blends, **{name: value for name, value in settings.items() if name != "persistent"})


@pytest.mark.parametrize("net", [Twice, TwoHeads, ByHand, Recomputed])
def test_of_modules_of_all_kinds(net: type[Logged], blends: Blended) -> None:
    recorded(net(), LOADERS["plain"], blends, data=clean_data(240))


def test_in_half_precision(blends: Blended) -> None:
    recorded(Logged(), LOADERS["plain"], blends, precision="bf16-mixed")


def test_positions_are_those_audited_where_samples_are_dropped(blends: Blended) -> None:
    net = Logged()
    recorded(net, LOADERS["persistent"], blends, data=train_data(), policy=DROP, thresholds=FIRM)
    assert 0 < np.isnan(blends[0][0]).sum() < N
    assert len(net.seen[0]) < N


def test_positions_are_those_among_the_samples_drawn(blends: Blended) -> None:
    net, drawn = Logged(), range(10, 60)
    callback = callback_of(None, audit_epochs=(0, 1))
    loader = DataLoader(clean_data(), 16, sampler=SubsetRandomSampler(drawn))
    trainer(callback).fit(net, loader)
    np.testing.assert_allclose(blends[0][0], twin([net], 64, 1)[10:60], rtol=1e-5, atol=1e-6)


def test_label_scores_of_later_audits_are_blended(tmp_path: Path, blends: Blended) -> None:
    net, data = Logged(), train_data(100)
    callback = callback_of(tmp_path, audit_epochs=(0, 2), thresholds=Thresholds())
    trainer(callback, max_epochs=3).fit(net, DataLoader(data, 16, shuffle=True))
    first, later = (Audit.load(tmp_path / f"epoch={epoch}") for epoch in (0, 2))
    assert np.array_equal(callback.audit.scores.label, later.scores.label)
    clean = first.scores.calibration["label_errors"].probability_clean(first.scores.label)
    expected = blend_with_margins(clean, blends[0][0])
    np.testing.assert_allclose(later.scores.label, expected)
    assert not np.allclose(later.scores.label, clean)
    assert np.array_equal(later.scores.predicted_label, first.scores.predicted_label)
    assert np.array_equal(later.scores.off_topic, first.scores.off_topic)
    assert later.scores.automatic["label_errors"] == 0.5
    flagged = later.frame["is_label_issue"].to_numpy()
    assert np.array_equal(flagged, expected < 0.5)
    wrong = planted(100).is_label_error
    assert wrong[flagged].mean() > 3 * wrong.mean()


@pytest.mark.parametrize("workers", ["plain", "persistent"])
def test_training_is_what_it_is_without(workers: str, blends: Blended) -> None:
    data = lambda: clean_data(transform=all_global)  # noqa: E731
    fit = fit_of(data, loader=LOADERS[workers], max_epochs=3)
    check_same(fit, policy=DROP, thresholds=NOTHING, audit_epochs=(0, 2), num_workers=0)
    assert len(blends) == 1
    assert np.isfinite(blends[0][0]).all()


class Fails(Logged):
    """In the middle of a step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 2:
            assert sum(len(part._forward_hooks) for part in self.modules()) == 1
            assert vars(dataloader._BaseDataLoaderIter)["_next_index"] is not DRAW
            raise ValueError("in the middle")
        return loss


@pytest.mark.parametrize("workers", ["plain", "persistent"])
def test_all_is_undone_after_an_error(workers: str, blends: Blended) -> None:
    net, callback = Fails(), callback_of(None, audit_epochs=(0, 2))
    with pytest.raises(ValueError, match="in the middle"):
        trainer(callback).fit(net, LOADERS[workers](clean_data()))
    assert_undone(net)
    assert blends == []


@pytest.mark.parametrize(
    "settings", [{"audit_epochs": (0,)}, {"audit_epochs": (0, 1), "fast_dev_run": True}], ids=["one", "fast_dev_run"]
)
def test_nothing_is_touched_where_no_later_audit_follows(settings: dict[str, Any], blends: Blended) -> None:
    epochs = settings["audit_epochs"]
    fit = trainer(callback_of(None, audit_epochs=epochs), fast_dev_run=settings.get("fast_dev_run", False))
    fit.fit(Untouched(), DataLoader(clean_data(), 16))
    assert blends == []
