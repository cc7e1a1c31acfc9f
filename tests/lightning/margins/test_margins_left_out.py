"""Margins that cannot be recorded, or not of all steps; and fits that are resumed or made again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, dataloader

from selfclean_hooks.training.margins.batch_indices import BatchIndexRecorder
from tests.helpers.log_records import Records
from tests.lightning.fits import (
    Net,
    clean_data,
    trainer,
)
from tests.lightning.margins.margin_fits import (
    DRAW,
    LOADERS,
    Blended,
    Logged,
    Untouched,
    assert_undone,
    callback_of,
    recorded,
    twin,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


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
def test_what_cannot_be_recorded_is_said_once(reason: str, blends: Blended, caplog: Records) -> None:
    made, loader = REASONS[reason]
    net, callback = made(), callback_of(None, audit_epochs=(0, 2))
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(callback, max_epochs=3).fit(net, loader(clean_data()))
    said = [record.getMessage() for record in caplog.records if "features alone" in record.getMessage()]
    assert said == [f"DataAudit: label scores of later audits are those of the features alone, as {reason}"]
    assert blends == []
    assert_undone(net)


def test_label_scores_without_a_calibration_are_left_alone(caplog: Records) -> None:
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
