"""A module that logs its own margins, and what of them was blended into audits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, dataloader

import selfclean_hooks.training.auditor
from selfclean_hooks import Audit, Policy, Thresholds
from selfclean_hooks_lightning import DataAudit
from tests.lightning.fits import (
    Net,
    audit_callback,
    clean_data,
    trainer,
    val_data,
)


class Blended(list[tuple[Any, int]]):
    """(mean margins, epochs) of each audit that they were blended into."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        blend: Any = selfclean_hooks.training.auditor.with_margins  # type: ignore[attr-defined]

        def noted(audit: Audit, margins: Any, epochs: int) -> Audit:
            self.append((margins, epochs))
            found: Audit = blend(audit, margins, epochs)
            return found

        with patch.object(selfclean_hooks.training.auditor, "with_margins", noted):
            yield


class Logged(Net):
    """Logs the margins itself, by the positions that its items tell."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[tuple[int, int, float]] = []  # epoch, position, margin

    def log_margins(self, logits: Tensor, batch: Any) -> None:
        for row, label, position in zip(logits.detach().float(), batch[1].tolist(), batch[2].tolist(), strict=True):
            others = [float(value) for at, value in enumerate(row) if at != label]
            self.reported.append((self.current_epoch, position, float(row[label]) - max(others)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits = self(batch[0])
        self.log_margins(logits, batch)
        self.seen.setdefault(self.current_epoch, []).extend(batch[2].tolist())
        return nn.functional.cross_entropy(logits, batch[1])

    def on_validation_batch_start(self, *rest: Any) -> None:
        assert not any(part._forward_hooks for part in self.modules()), "no hook stays after a step"


def twin(nets: list[Logged], n: int, before: int) -> np.ndarray[Any, Any]:
    """Mean of what was logged in the epochs before one, sample by sample."""
    reported: dict[int, list[float]] = {}
    for net in nets:
        for epoch, position, margin in net.reported:
            if epoch < before:
                reported.setdefault(position, []).append(margin)
    return np.array([np.mean(reported[at]) if at in reported else np.nan for at in range(n)])


def callback_of(folder: Path | None, **settings: Any) -> DataAudit:
    """It reads with no processes of its own, whatever the loader does."""
    return audit_callback(folder, **{"num_workers": 0, "check_leakage": False, **settings})


NOTHING = Thresholds(near_duplicates=1e-12, off_topic=1e-12, label_errors=1e-12)
DRAW = vars(dataloader._BaseDataLoaderIter)["_next_index"]


def assert_undone(net: nn.Module) -> None:
    assert vars(dataloader._BaseDataLoaderIter)["_next_index"] is DRAW
    assert not any(part._forward_hooks for part in net.modules())


def many(data: Any) -> BatchSampler:
    return BatchSampler(RandomSampler(data), 16, drop_last=True)


LOADERS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda data: DataLoader(data, 16, shuffle=True),
    "2 workers": lambda data: DataLoader(data, 16, shuffle=True, num_workers=2, prefetch_factor=8),
    "persistent": lambda data: DataLoader(data, 16, shuffle=True, num_workers=1, persistent_workers=True),
    "batch sampler": lambda data: DataLoader(data, batch_sampler=many(data)),
    "replacement": lambda data: DataLoader(data, 16, sampler=RandomSampler(data, replacement=True)),
    "one of a list": lambda data: {"a": DataLoader(data, 16, shuffle=True)},
}


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


class Untouched(Logged):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert_undone(self)
        return super().training_step(batch, batch_idx)
