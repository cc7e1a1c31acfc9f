"""Collections of loaders and samplers of every make."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from selfclean_hooks import Audit, Policy, Thresholds
from selfclean_hooks.errors import SettingError
from selfclean_hooks.testing import digits
from selfclean_hooks_lightning import DataAudit
from tests.lightning.fits import DROP, Items, Module, N, audit_callback, train_data, trainer, val_data
from tests.lightning.processes.parallel_fits import BATCH, Sorted, dropped, dropping, fitted, loader, trained

ALL = set(range(N))


COLLECTIONS: list[tuple[Any, list[str], list[str]]] = [
    (lambda: {"a": loader(), "b": loader(30)}, ["a", "b"], ["a", "b"]),
    (lambda: [loader(), loader(30)], ["0", "1"], ["0", "1"]),
    (lambda: {"a": [loader(), loader(30)], "b": {"c": loader(20)}}, ["a.0", "a.1", "b.c"], ["a_0", "a_1", "b_c"]),
    (lambda: CombinedLoader({"a": loader(), "b": loader(30)}, "min_size"), ["a", "b"], ["a", "b"]),
    (lambda: CombinedLoader([loader(), loader(30)], "max_size"), ["0", "1"], ["0", "1"]),
]


@pytest.mark.parametrize(("make", "names", "folders"), COLLECTIONS)
def test_one_audit_and_one_folder_per_train_loader(
    make: Any, names: list[str], folders: list[str], tmp_path: Path
) -> None:
    callback, net = audit_callback(tmp_path, policy=DROP, thresholds=None), Sorted()
    _, _, warned = fitted(callback, net=net, data=make(), max_epochs=1)
    assert list(callback.audits) == names
    assert sorted(path.name for path in tmp_path.iterdir()) == folders
    assert sorted(net.by_name) == names
    for name, folder in zip(names, folders, strict=True):
        assert net.by_name[name].isdisjoint(dropped(callback, name))
        saved = Audit.load(tmp_path / folder)
        assert saved.clean_indices.tolist() == callback.audits[name].clean_indices.tolist()
        assert any(text.startswith(f"DataAudit of the training data {name}: ") for text in warned)
    with pytest.raises(AttributeError, match=rf"^there are {len(names)} audits, by loader in \.audits$"):
        _ = callback.audit


def test_each_loader_is_audited_again_by_itself() -> None:
    callback, net = dropping(audit_epochs=(0, 1)), Sorted()
    fitted(callback, net=net, data={"a": loader(), "b": loader(60)})
    for name in ("a", "b"):
        assert net.by_name[name] == set(range(len(callback.audits[name]))) - dropped(callback, name)
        assert callback.audits[name].provenance["training"]["epoch"] == 1


def test_several_validation_loaders_are_compared_by_name() -> None:
    class Two(Module):
        def val_dataloader(self) -> Any:
            return [DataLoader(val_data(4), BATCH), DataLoader(val_data(7), BATCH)]

    callback, net = dropping(), Sorted()
    fitted(callback, net=net, data=Two(train_data(), None, BATCH), max_epochs=1)
    assert set(net.validated) == {0, 1}
    leaks = callback.audit.scores.leaks
    assert leaks is not None
    assert leaks.splits == ("train", "val/0", "val/1")
    assert dropped(callback) >= set(range(7))
    assert net.by_name[""].isdisjoint(range(7))


def test_a_module_without_validation() -> None:
    class Bare(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = nn.Linear(64, 10), set[int]()

        def train_dataloader(self) -> Any:
            return loader()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen |= set(batch[2].tolist())
            return nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.05)

    callback, net = dropping(), Bare()
    trainer(callback).fit(net)
    assert net.seen == ALL - dropped(callback)
    assert "leakage" not in callback.audit.contamination


def test_weighted_sampling() -> None:
    data, callback = train_data(60), dropping()
    n = len(data)
    weights = torch.ones(n)
    weights[:12] = 0
    sampler = WeightedRandomSampler(weights.tolist(), 100)
    net, *_ = fitted(callback, data=DataLoader(data, BATCH, sampler=sampler), max_epochs=1)
    audit = callback.audit
    assert len(audit) == n - 12  # those of weight zero are never trained on
    assert trained(net) <= {12 + int(i) for i in audit.clean_indices}
    assert len(net.seen[0]) == round(100 * len(audit.clean_indices) / (n - 12))


@pytest.mark.parametrize("shared", [0, 5])
def test_two_samplers_over_one_data_set_leak_no_more_than_they_share(shared: int) -> None:
    data = Items(*(a[:200] for a in digits()))

    class Halves(lightning.LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(data, BATCH, sampler=SubsetRandomSampler(range(150 + shared)))

        def val_dataloader(self) -> Any:
            return DataLoader(data, BATCH, sampler=SubsetRandomSampler(range(150, 200)))

    copies_only = Thresholds(near_duplicates=0.0)
    callback = dropping(policy=Policy(leakage="drop"), thresholds=copies_only)
    net, *_ = fitted(callback, data=Halves(), max_epochs=1)
    assert len(callback.audit) == 150 + shared
    assert callback.audit.contamination["leakage"] == shared / (150 + shared)
    assert trained(net) == set(range(150))


class Backwards(Sampler[int]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n - 1, -1, -1))

    def __len__(self) -> int:
        return self.n


LAST = "wrap the data set in AuditedDataset before the loader is made, or use policy 'warn'"
ODD: list[tuple[Any, str]] = [
    (
        lambda: DataLoader(train_data(), BATCH, sampler=Backwards(N)),
        "samples cannot be dropped from the training data or relabelled: one of torch's samplers is needed "
        "(SequentialSampler, RandomSampler, WeightedRandomSampler, SubsetRandomSampler, DistributedSampler), got "
        f"Backwards: pass shuffle=True or one of those, {LAST}",
    ),
    (
        lambda: DataLoader(train_data(), batch_sampler=[list(range(20)), list(range(20, 40))]),
        "samples cannot be dropped from the training data or relabelled: a loader that makes its batches itself is "
        f"needed, got the batch sampler list: pass batch_size= with shuffle=True or sampler= instead, {LAST}",
    ),
]


@pytest.mark.parametrize(("make", "message"), ODD)
def test_a_sampler_of_the_users_own_is_refused_before_any_audit(make: Any, message: str, tmp_path: Path) -> None:
    def never(batch: Any) -> Any:
        raise AssertionError("nothing was to be embedded")

    with pytest.raises(SettingError) as raised:
        fitted(audit_callback(tmp_path / "audit", policy=DROP, backbone=never), data=make())
    assert str(raised.value) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("make", "message"), ODD)
def test_a_sampler_of_the_users_own_goes_with_warn(make: Any, message: str) -> None:
    callback, given = audit_callback(None), make()
    net, made, _ = fitted(callback, data=given, max_epochs=1)
    assert len(callback.audit) == N
    drawn = [int(i) for batch in (given.batch_sampler or given) for i in batch]
    assert net.seen[0] == drawn
    assert made.train_dataloader.dataset is given.dataset


def test_nested_data_sets_and_batch_samplers_of_torch() -> None:
    whole: Any = ConcatDataset([Subset(train_data(), range(20)), Subset(train_data(), range(20, N))])
    callback = dropping()
    fixed = DataLoader(whole, BATCH, sampler=RandomSampler(whole))
    assert isinstance(fixed.batch_sampler, BatchSampler)
    net, *_ = fitted(callback, data=fixed)
    assert trained(net) == ALL - dropped(callback)


def test_the_user_may_ask_for_no_audit_of_leakage() -> None:
    callback: DataAudit = dropping(check_leakage=False)
    net, *_ = fitted(callback)
    assert "leakage" not in callback.audit.contamination
    assert trained(net) == ALL - dropped(callback)
