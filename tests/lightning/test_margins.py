"""The margins of the samples in training are recorded, at no change of the training, and blended into later audits."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler, dataloader

from selfclean_hooks import Audit, Policy, Thresholds
from selfclean_hooks.detectors.label_errors.training_margins import blend_with_margins
from selfclean_hooks.training.margins.batch_indices import BatchIndexRecorder
from tests.lightning.fit_twins import all_global, check_same, fit_of
from tests.lightning.fits import (
    DROP,
    FIRM,
    N,
    Net,
    clean_data,
    planted,
    train_data,
    trainer,
    val_data,
)
from tests.lightning.margin_fits import Blended, Logged, callback_of, twin

DRAW = vars(dataloader._BaseDataLoaderIter)["_next_index"]
NOTHING = Thresholds(near_duplicates=1e-12, off_topic=1e-12, label_errors=1e-12)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def blends() -> Iterator[Blended]:
    found = Blended()
    with found.watching():
        yield found


def assert_undone(net: nn.Module) -> None:
    assert vars(dataloader._BaseDataLoaderIter)["_next_index"] is DRAW
    assert not any(part._forward_hooks for part in net.modules())


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


def many(data: Any) -> BatchSampler:
    return BatchSampler(RandomSampler(data), 16, drop_last=True)


LOADERS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda data: DataLoader(data, 16, shuffle=True),
    "2 workers": lambda data: DataLoader(data, 16, shuffle=True, num_workers=2),
    "persistent": lambda data: DataLoader(data, 16, shuffle=True, num_workers=2, persistent_workers=True),
    "prefetch": lambda data: DataLoader(data, 16, shuffle=True, num_workers=1, prefetch_factor=8),
    "batch sampler": lambda data: DataLoader(data, batch_sampler=many(data)),
    "replacement": lambda data: DataLoader(data, 16, sampler=RandomSampler(data, replacement=True)),
    "one of a list": lambda data: {"a": DataLoader(data, 16, shuffle=True)},
}
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


def recorded(net: Logged, loader: Callable[[Any], Any], blends: Blended, **settings: Any) -> None:
    """Fit, and compare what was blended into the audit before epoch 2 with what the module has logged."""
    data = settings.pop("data", None) or clean_data()
    policy, firm = settings.pop("policy", Policy()), settings.pop("thresholds", NOTHING)
    callback = callback_of(None, audit_epochs=(0, 2), policy=policy, thresholds=firm)
    trainer(callback, max_epochs=3, **settings).fit(net, loader(data), DataLoader(val_data(), 16))
    ((margins, epochs),) = blends
    assert epochs == 2
    np.testing.assert_allclose(margins, twin([net], len(data), 2), rtol=1e-5, atol=1e-5)
    assert "label scores: blended with the margins of 2 epochs" in callback.audit.provenance["notes"]
    assert callback.state_dict().keys() == {"loaders"}
    assert_undone(net)


@pytest.mark.parametrize("loader", LOADERS)
def test_margins_are_those_that_the_module_logs(loader: str, blends: Blended) -> None:
    recorded(Unpacked() if loader == "one of a list" else Logged(), LOADERS[loader], blends)


@pytest.mark.parametrize("settings", SETTINGS[1:], ids=str)
def test_under_settings_of_the_trainer(settings: dict[str, Any], blends: Blended) -> None:
    loader = LOADERS["persistent" if settings.get("persistent") else "plain"]
    recorded(Logged(), loader, blends, **{name: value for name, value in settings.items() if name != "persistent"})


@pytest.mark.parametrize("net", [Twice, TwoHeads, ByHand, Recomputed])
def test_of_modules_of_all_kinds(net: type[Logged], blends: Blended) -> None:
    recorded(net(), LOADERS["plain"], blends, data=clean_data(160))


def test_in_half_precision(blends: Blended) -> None:
    recorded(Logged(), LOADERS["plain"], blends, precision="bf16-mixed")


@pytest.mark.parametrize("workers", ["plain", "persistent"])
def test_positions_are_those_audited_where_samples_are_dropped(workers: str, blends: Blended) -> None:
    net = Logged()
    recorded(net, LOADERS[workers], blends, data=train_data(), policy=DROP, thresholds=FIRM)
    assert 5 < np.isnan(blends[0][0]).sum() < N
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


class Untouched(Logged):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert_undone(self)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    "settings", [{"audit_epochs": (0,)}, {"audit_epochs": (0, 1), "fast_dev_run": True}], ids=["one", "fast_dev_run"]
)
def test_nothing_is_touched_where_no_later_audit_follows(settings: dict[str, Any], blends: Blended) -> None:
    epochs = settings["audit_epochs"]
    fit = trainer(callback_of(None, audit_epochs=epochs), fast_dev_run=settings.get("fast_dev_run", False))
    fit.fit(Untouched(), DataLoader(clean_data(), 16))
    assert blends == []


class NoHead(Logged):
    """Its logits come from no layer."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.encoder(x), self.head.weight, self.head.bias)


class NoLinear(Logged):
    """Its logits come from a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Sequential(nn.Conv2d(1, 10, 8)), nn.Flatten()  # type: ignore[assignment]


class Both(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch[0], batch_idx) + super().training_step(batch[1], batch_idx)


class Compiled(Net):
    """Compiled without torch's compiler being called."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = torch.compile(lambda x: x, backend="eager")


class Repeating(DataLoader[Any]):
    def __iter__(self) -> Any:
        return iter([batch for batch in super().__iter__() for _ in range(2)])


def by_label(items: list[Any]) -> Any:
    """Batches in another order than drawn."""
    return torch.utils.data.default_collate(sorted(items, key=lambda item: int(item[1])))


def plain(data: Any, **settings: Any) -> DataLoader[Any]:
    return DataLoader(data, 16, shuffle=True, **settings)


REASONS: dict[str, tuple[type[Net], Callable[[Any], Any]]] = {
    "no linear layer gave the logits of a batch, one row a sample and one column a class": (NoLinear, plain),
    "the outputs of the last linear layer do not predict the labels better than one guess for all": (NoHead, plain),
    "several loaders are trained on together": (Both, lambda data: [plain(data), plain(data)]),
    "hooks would disturb what torch.compile made of the module": (Compiled, plain),
    "a Repeating may hand out other batches than it draws": (Logged, lambda data: Repeating(data, 16)),
    "with in_order=False batches come in any order": (Logged, lambda d: plain(d, in_order=False, num_workers=1)),
    "a batch does not hold the labels of the samples drawn for it, in their order": (
        Logged,
        lambda data: plain(data, collate_fn=by_label),
    ),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_be_recorded_is_said_once(reason: str, blends: Blended, caplog: Any) -> None:
    made, loader = REASONS[reason]
    net, callback = made(), callback_of(None, audit_epochs=(0, 2))
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(callback, max_epochs=3).fit(net, loader(clean_data()))
    said = [record.getMessage() for record in caplog.records if "features alone" in record.getMessage()]
    assert said == [f"DataAudit: label scores of later audits are those of the features alone, as {reason}"]
    assert blends == []
    assert_undone(net)


def test_label_scores_without_a_calibration_are_left_alone(caplog: Any) -> None:
    audit = callback_of(None, audit_epochs=(0, 2), method="selfclean")
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(audit, max_epochs=3).fit(Untouched(), plain(clean_data()))
    said = [record.getMessage() for record in caplog.records if "features alone" in record.getMessage()]
    assert len(said) == 1
    assert said[0].endswith("as method='selfclean' does not estimate how likely a label is right")


def test_a_batch_of_two_views_is_left_out(blends: Blended) -> None:
    """With twice as many rows it is not known which is which."""

    class Views(Logged):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if batch_idx % 2:
                return self(torch.cat([batch[0], batch[0]])).square().mean()  # type: ignore[no-any-return]
            return super().training_step(batch, batch_idx)

    recorded(Views(), LOADERS["plain"], blends)


def test_a_step_that_is_not_made_is_left_out(blends: Blended) -> None:
    class Stops(Logged):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            return -1 if batch_idx == 2 else None

    recorded(Stops(), LOADERS["2 workers"], blends)


def test_a_resumed_run_goes_on(tmp_path: Path, blends: Blended) -> None:
    nets = [Logged(), Logged()]
    first, second = (callback_of(None, audit_epochs=(0, 2)) for _ in nets)
    host = trainer(first, max_epochs=1)
    host.fit(nets[0], plain(clean_data()))
    host.save_checkpoint(tmp_path / "a.ckpt")
    assert blends == []
    held = torch.load(tmp_path / "a.ckpt", weights_only=True)["callbacks"][first.state_key]["margins"][""]
    assert (held["epochs"], held["total"].dtype, int(held["count"].sum())) == (1, torch.float32, 64)
    trainer(second, max_epochs=3).fit(nets[1], plain(clean_data()), ckpt_path=tmp_path / "a.ckpt")
    ((margins, epochs),) = blends
    assert epochs == 2
    np.testing.assert_allclose(margins, twin(nets, 64, 2), rtol=1e-5, atol=1e-6)


def test_an_audit_that_a_resumed_run_makes_first_has_them_too(tmp_path: Path, blends: Blended) -> None:
    net = Logged()
    host = trainer(callback_of(None, audit_epochs=(0, 2)), max_epochs=2)
    host.fit(net, plain(clean_data()))
    host.save_checkpoint(tmp_path / "a.ckpt")
    assert blends == []
    again = callback_of(None, audit_epochs=(0, 2))
    trainer(again, max_epochs=3).fit(Logged(), plain(clean_data()), ckpt_path=tmp_path / "a.ckpt")
    ((margins, epochs),) = blends
    assert epochs == 2
    np.testing.assert_allclose(margins, twin([net], 64, 2), rtol=1e-5, atol=1e-6)
    assert again.state_dict().keys() == {"loaders"}


def test_a_second_fit_begins_anew(blends: Blended) -> None:
    callback, nets = callback_of(None, audit_epochs=(0, 2)), [Logged(), Logged()]
    trainer(callback, max_epochs=1).fit(nets[0], plain(clean_data()))
    assert callback.state_dict()["margins"][""]["epochs"] == 1
    trainer(callback, max_epochs=3).fit(nets[1], plain(clean_data()))
    ((margins, epochs),) = blends
    assert epochs == 2
    np.testing.assert_allclose(margins, twin(nets[1:], 64, 2), rtol=1e-5, atol=1e-6)


def test_several_that_note_may_stop_in_any_order() -> None:
    data = clean_data(8)
    one, two = BatchIndexRecorder(data), BatchIndexRecorder(data)
    one.start()
    two.start()
    one.stop()
    assert vars(dataloader._BaseDataLoaderIter)["_next_index"] is not DRAW
    iterator = iter(DataLoader(data, 4))
    next(iterator)
    found = two._by_iterator[iterator]
    assert list(found.waiting) == [[0, 1, 2, 3]]
    assert one._by_iterator.get(iterator) is None
    two.stop()
    assert vars(dataloader._BaseDataLoaderIter)["_next_index"] is DRAW
