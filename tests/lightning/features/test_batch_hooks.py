"""Hooks that change batches (normalisation on the device) are applied to the audit's, and leave no trace."""

from __future__ import annotations

from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from selfclean_hooks.errors import BackboneError
from tests.lightning.fits import Net, audit_callback, planted, trainer, weights
from tests.lightning.processes.parallel_fits import caught


class Raw(Dataset[Any]):
    """Bytes, which the module turns into numbers."""

    def __init__(self) -> None:
        self.x = torch.from_numpy(planted(60).images).unsqueeze(1)
        self.y = torch.from_numpy(planted(60).labels).long()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return self.x[index], self.y[index], index


class Scaled(Net):
    """Normalises in a hook of its own; counts calls in every way."""

    hook = "on_after_batch_transfer"

    def __init__(self) -> None:
        super().__init__()
        self.encoder[2] = nn.LayerNorm(32)
        self.calls, self.log_of_calls, self.inputs = 0, list[int](), list[Tensor]()
        self.register_buffer("seen_batches", torch.zeros(1))

    def _changed(self, batch: Any) -> Any:
        self.calls += 1
        self.log_of_calls.append(len(batch[0]))
        self.get_buffer("seen_batches").add_(1)
        noise = torch.rand(1) if self.trainer.training else torch.zeros(1)
        return (batch[0].float() / 255 - 0.3 + 0.01 * noise, *batch[1:])

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.inputs.append(x)
        return super().forward(x)


class After(Scaled):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self._changed(batch)


class Before(Scaled):
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self._changed(batch)


class Transfer(Scaled):
    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return self._changed(batch)


class InData(lightning.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(Raw(), 16, shuffle=True)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return (batch[0].float() / 255 - 0.3, *batch[1:])


def fit(net: Net, *callbacks: Any, data: Any = None) -> Any:
    made: Any = trainer(*callbacks, max_epochs=2)
    torch.manual_seed(9)
    with caught():
        made.fit(net, data or DataLoader(Raw(), 16, shuffle=True))
    return made


@pytest.mark.parametrize("kind", [After, Before, Transfer])
def test_batches_of_the_audit_pass_the_hook(kind: type[Scaled]) -> None:
    torch.manual_seed(0)
    net, callback = kind(), audit_callback(None, backbone=None, audit_epochs=(1,))
    fit(net, callback)
    fed = torch.cat(net.inputs)
    assert fed.dtype is torch.float32
    images = torch.from_numpy(planted(60).images).unsqueeze(1).float() / 255 - 0.3
    assert torch.equal(fed[: len(images)], images)  # without the noise of training
    notes = callback.audit.provenance["notes"]
    assert any("features of the module in training are those after" in note and kind.__name__ in note for note in notes)


@pytest.mark.parametrize("kind", [After, Before, Transfer])
def test_without_a_trace(kind: type[Scaled]) -> None:
    torch.manual_seed(0)
    plain = kind()
    audited = kind()
    audited.load_state_dict(weights(plain))
    fit(plain)
    fit(audited, audit_callback(None, backbone=None, audit_epochs=(1,)))
    assert (audited.calls, audited.log_of_calls) == (plain.calls, plain.log_of_calls)
    assert audited.seen == plain.seen
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(audited).items())


def test_hooks_of_a_data_module() -> None:
    net, callback = Scaled(), audit_callback(None, backbone="encoder", audit_epochs=(1,))
    fit(net, callback, data=InData())
    assert any("on_after_batch_transfer of InData" in note for note in callback.audit.provenance["notes"])
    assert callback.audit.provenance["encoder"]["name"] == "Sequential"


def test_other_backbones_are_fed_as_before() -> None:
    fed: list[Tensor] = []

    def pixels(batch: Tensor) -> Tensor:
        fed.append(batch)
        return batch.flatten(1)

    callback = audit_callback(None, backbone=pixels)
    fit(After(), callback)
    assert torch.cat(fed).min() >= 0


class Fails(Scaled):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer.validating:
            raise LookupError("no such channel")
        return self._changed(batch)


def test_a_hook_that_fails_is_named() -> None:
    callback = audit_callback(None, backbone=None, audit_epochs=(1,), on_error="raise")
    with pytest.raises(
        BackboneError, match=r"cannot pass on_after_batch_transfer of Fails: LookupError: no such channel"
    ):
        fit(Fails(), callback)
