"""Data sets of every make: streams, dicts, Hugging Face, without labels, unreadable, next to empty."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets as huggingface
import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset

from selfclean_hooks import Limits, Policy
from selfclean_hooks.errors import DataError
from tests.lightning.fits import DROP, Items, N, audit_callback, train_data
from tests.lightning.processes.parallel_fits import BATCH, Calm, caught, dropped, dropping, fitted, trained

ALL = set(range(N))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([train_data()[i] for i in range(40)])


STREAMED = (
    "a map-style data set is needed, one with len() and [index]; got a Stream: read the items into a list first, or "
    "use a map-style data set (selfclean_hooks.clean takes streams)"
)


def test_a_stream_is_trained_on_and_not_audited_with_warn() -> None:
    callback = audit_callback(None)
    net, _, warned = fitted(callback, data=DataLoader(Stream(), BATCH), max_epochs=1)
    assert warned == [f"DataAudit: the training data is not audited: {STREAMED}"]
    assert callback.audits == {}
    assert trained(net) == set(range(40))


@pytest.mark.parametrize("settings", [{"policy": DROP}, {"limits": Limits(near_duplicates=0.5)}])
def test_a_stream_is_refused_where_something_depends_on_it(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError) as raised:
        fitted(audit_callback(None, **settings), data=DataLoader(Stream(), BATCH))
    assert str(raised.value) == (
        f"the training data cannot be audited, so nothing can be dropped or limited: {STREAMED}"
    )


class Asking(lightning.LightningModule):
    """Trains on dict items as Hugging Face data sets return them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(64, 10), dict[int, list[int]]()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.setdefault(self.current_epoch, []).extend(batch["id"].tolist())
        return nn.functional.cross_entropy(self.layer(batch["image"].flatten(1).float()), batch["label"])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.05)


class AsDicts(Items):
    def __getitem__(self, index: int) -> Any:
        image, label, position = super().__getitem__(index)
        return {"id": position, "image": image, "label": label}


def test_dict_items() -> None:
    data = train_data()
    data.__class__ = AsDicts
    callback, net = dropping(), Asking()
    fitted(callback, net=net, data=DataLoader(data, BATCH))
    assert trained(net) == ALL - dropped(callback)
    assert "label_errors" in callback.audit.contamination


def test_a_hugging_face_data_set() -> None:
    data = train_data()
    rows = [{"id": i, "image": x[0].numpy(), "label": int(y)} for x, y, i in (data[i] for i in range(N))]
    hub = huggingface.Dataset.from_list(rows).with_format("torch")
    callback, net = dropping(), Asking()
    fitted(callback, net=net, data=DataLoader(hub, BATCH, shuffle=True))
    assert len(callback.audit) == N
    assert trained(net) == ALL - dropped(callback)


def test_data_without_labels() -> None:
    class Bare(Items):
        def __getitem__(self, index: int) -> Any:
            return self.x[index]

    class Rebuilding(Calm):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen.setdefault(self.current_epoch, []).append(len(batch))
            return self(batch).square().mean()

    data = train_data()
    data.__class__ = Bare
    callback, net = dropping(), Rebuilding()
    fitted(callback, net=net, data=DataLoader(data, BATCH), max_epochs=1)
    assert "label_errors" not in callback.audit.contamination
    assert sum(net.seen[0]) == N - len(dropped(callback))


class Torn(Items):
    """Two items that cannot be read."""

    def __getitem__(self, index: int) -> Any:
        if index in (5, 45):
            raise OSError(f"image {index} is truncated")
        return super().__getitem__(index)


def test_unreadable_items_are_dropped_so_that_training_goes_on(tmp_path: Path) -> None:
    data = train_data()
    data.__class__ = Torn
    callback = audit_callback(tmp_path, policy=Policy(unreadable="drop"))
    net, _, warned = fitted(callback, data=DataLoader(data, BATCH))
    assert trained(net) == ALL - {5, 45}
    assert any("2 unreadable (4.17%, dropped; index 5, 45; the first: " in text for text in warned)
    with pytest.raises(OSError, match="truncated"), caught():
        fitted(audit_callback(None), data=DataLoader(data, BATCH))


@pytest.mark.parametrize("policy", [None, DROP])
def test_two_samples_are_enough(policy: Policy | None) -> None:
    callback = audit_callback(None, policy=policy, thresholds=None)
    net, *_ = fitted(callback, data=DataLoader(Subset(train_data(), [0, 40]), 2))
    assert len(callback.audit) == 2
    assert trained(net) == {0, 40}


FEW = "an audit compares samples: the data set must hold at least 2, got"


@pytest.mark.parametrize("few", [[], [3]])
@pytest.mark.parametrize("settings", [{}, {"fast_dev_run": True}])
def test_too_few_samples_are_left_alone_with_warn(few: list[int], settings: dict[str, Any]) -> None:
    callback, data = audit_callback(None), DataLoader(Subset(train_data(), few), 2)
    net, _, warned = fitted(callback, data=data, **settings)
    assert warned == [f"DataAudit: the training data is not audited: {FEW} {len(few)}"]
    assert callback.audits == {}
    assert {i for seen in net.seen.values() for i in seen} == set(few)


@pytest.mark.parametrize("settings", [{"policy": DROP}, {"limits": Limits(off_topic=0.1)}])
def test_too_few_samples_are_refused_where_something_depends_on_them(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"{FEW} 1$"):
        fitted(audit_callback(None, **settings), data=DataLoader(Subset(train_data(), [3]), 2))
