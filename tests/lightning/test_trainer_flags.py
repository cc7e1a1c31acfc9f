"""Every flag of the Trainer that touches data, length or precision: with the callback as without, less the dropped."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.log_records import Records
from tests.lightning.fits import DROP, Module, N, audit_callback, train_data, val_data
from tests.lightning.processes.parallel_fits import BATCH, Calm, dropped, dropping, fitted, trained

BARE: dict[str, Any] = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "log_every_n_steps")
)
Sizes = Callable[[int, int], list[int]]  # of the samples kept and their batches: the samples of each epoch


def whole(kept: int, batches: int) -> list[int]:
    return [kept, kept]


def batches_of(number: Callable[[int], int]) -> Sizes:
    return lambda kept, batches: [number(batches) * BATCH] * 2


FLAGS: list[tuple[dict[str, Any], Sizes]] = [
    ({}, whole),
    ({"barebones": True, **BARE}, whole),
    ({"overfit_batches": 2}, batches_of(lambda batches: 2)),
    ({"overfit_batches": 0.5}, batches_of(lambda batches: batches // 2)),
    ({"limit_train_batches": 0.5}, batches_of(lambda batches: batches // 2)),
    ({"limit_train_batches": 0.99}, batches_of(lambda batches: batches - 1)),
    ({"num_sanity_val_steps": -1}, whole),
    ({"accumulate_grad_batches": 4}, whole),
    ({"precision": "bf16-true"}, whole),
    ({"max_steps": 12}, lambda kept, batches: [kept, min(kept, (12 - batches) * BATCH)]),
    ({"max_epochs": 4, "check_val_every_n_epoch": 2}, lambda kept, batches: [kept] * 4),
    ({"val_check_interval": 0.5}, whole),
    ({"val_check_interval": 3}, whole),
    ({"use_distributed_sampler": False}, whole),
    ({"reload_dataloaders_every_n_epochs": 1}, whole),
]


def reported_of(flags: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in flags.items() if name not in BARE) or "none"


@pytest.mark.parametrize(("flags", "sizes"), FLAGS, ids=[reported_of(flags) for flags, _ in FLAGS])
def test_trains_on_what_is_kept_and_validates_as_often_as_without(flags: dict[str, Any], sizes: Sizes) -> None:
    callback = dropping()
    net, trainer, _ = fitted(callback, **flags)
    kept = N - len(dropped(callback))
    expected = sizes(kept, math.ceil(kept / BATCH))
    assert trained(net).isdisjoint(dropped(callback))
    assert [len(seen) for seen in net.seen.values()] == expected
    each = flags.get("accumulate_grad_batches", 1)
    assert trainer.global_step == sum(math.ceil(math.ceil(size / BATCH) / each) for size in expected)
    if not {"val_check_interval", "max_steps"} & flags.keys():
        alone, _, _ = fitted(**flags)
        assert net.validated == alone.validated


@pytest.mark.parametrize("interval", [0.5, 3])
def test_validation_follows_the_filtered_length(interval: float) -> None:
    callback = dropping()
    net, _, _ = fitted(callback, max_epochs=1, val_check_interval=interval)
    batches = math.ceil((N - len(dropped(callback))) / BATCH)
    every = interval if interval > 1 else int(batches * interval)
    assert net.validated == [0] * 3 * int(batches // every)  # over 3 validation batches


def test_without_validation_nothing_is_compared_with_it() -> None:
    callback = dropping()
    net, _, _ = fitted(callback, limit_val_batches=0)
    assert net.validated == []
    assert "leakage" not in callback.audit.contamination
    assert trained(net) == set(range(N)) - dropped(callback)


def test_nothing_is_audited_where_nothing_is_trained() -> None:
    callback = dropping()
    fitted(callback, limit_train_batches=0)
    assert callback.audits == {}


@pytest.mark.parametrize("batches", [True, 3])
def test_fast_dev_run_is_a_rehearsal(batches: Any, tmp_path: Path, caplog: Records) -> None:
    sizes = []

    class Counting(nn.Flatten):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return super().forward(x)

    callback = audit_callback(tmp_path / "audit", policy=DROP, backbone=Counting())
    data = Module(train_data(300), val_data(4), 16)
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        net, _, warned = fitted(callback, data=data, fast_dev_run=batches)
    assert sum(sizes) == 256
    assert caplog.messages.count(
        "DataAudit: fast_dev_run, so only the first 256 of 360 samples were audited, and nothing is dropped, limited "
        "or written"
    ) == 1  # fmt: skip
    assert (warned, callback.audits, list(tmp_path.iterdir())) == ([], {}, [])
    assert len(trained(net)) == 16 * int(batches)


def test_fast_dev_run_shows_that_the_backbone_does_not_fit(tmp_path: Path, caplog: Records) -> None:
    fits_not = "the backbone Linear does not take a batch of shape"
    wrong = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=fits_not):
        fitted(audit_callback(tmp_path / "audit", backbone=wrong, on_error="raise"), fast_dev_run=True)
    with caplog.at_level(logging.WARNING, "lightning.pytorch"):
        fitted(audit_callback(tmp_path / "audit", backbone=wrong), fast_dev_run=True)
    assert fits_not in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true", "32-true"])
def test_features_of_the_module_in_any_precision(precision: Any) -> None:
    net = Calm()
    callback = dropping(backbone=net, thresholds=None)
    fitted(callback, net=net, precision=precision, max_epochs=1)
    assert callback.audit.provenance["encoder"]["name"] == "Calm"
    assert callback.audit.provenance["encoder"]["rank_me"] > 2
    assert trained(net).isdisjoint(dropped(callback))


class Compilable(Calm):
    """Keeps its records where nothing is compiled."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.seen.setdefault(self.current_epoch, []).extend(batch[2].tolist())

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])


@pytest.mark.parametrize(("backbone", "backend"), [(None, "eager"), ("encoder", "aot_eager")])
def test_compiled_modules(backbone: str | None, backend: str) -> None:
    net: Any = Compilable()
    if backbone:
        net.encoder = torch.compile(net.encoder, backend=backend)
    fed: Any = net if backbone else torch.compile(net, backend=backend)
    callback = dropping(backbone=backbone, audit_epochs=(1,), thresholds=None)
    fitted(callback, net=fed)
    note = " ".join(callback.audit.provenance["notes"])
    assert "after 1 epoch of training" in note
    assert trained(net, 0) == set(range(N))
    assert trained(net, 1) == set(range(N)) - dropped(callback)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_audits_again_with_the_module_in_training(precision: Any) -> None:
    callback = dropping(backbone=None, audit_epochs=(1,), thresholds=None)
    net, _, _ = fitted(callback, precision=precision)
    assert trained(net, 1) == set(range(N)) - dropped(callback)
    assert callback.audit.provenance["training"]["epoch"] == 1
