"""Copies of a module in training, callbacks that make some, and several audits in one trainer."""

import copy
import io
import itertools
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks as host_callbacks
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch.utils.data import DataLoader

from selfclean_hooks import Policy, Thresholds, Top
from selfclean_hooks_lightning.hooks import MethodOverride
from tests.lightning.fits import DROP, FIRM, Module, N, Net, audit_callback, clean_data, train_data, trainer, val_data
from tests.lightning.loaders.loader_sources import SOURCES, OwnHooks, Scene
from tests.lightning.processes.parallel_fits import Calm
from tests.lightning.undisturbed.fit_twins import Watched, all_global, assert_same, outcome


def saved(net: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


class KeepsCopies(lightning.Callback):
    """Copies the module at every step."""

    def __init__(self, make: Any) -> None:
        self.make, self.copies = make, list[Any]()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.copies.append(self.make(pl_module))


class HasData(OwnHooks):
    """Its own data behind its own hooks, as a class that can be pickled."""

    def __init__(self) -> None:
        super().__init__(DataLoader(train_data(), 16, shuffle=True), DataLoader(val_data(), 16))


@pytest.mark.parametrize("make", [copy.deepcopy, saved, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_has_the_users_own_hook(make: Any) -> None:
    net, audit, keeps = HasData(), audit_callback(None, policy=DROP), KeepsCopies(make)
    trainer(audit, keeps, max_epochs=1).fit(net)
    assert len(audit.audit.clean_indices) < N
    assert sorted(net.seen[0]) == audit.audit.clean_indices.tolist(), "the fit goes on"
    assert "train_dataloader" not in vars(net)
    for twin in (keeps.copies[0], keeps.copies[-1]):
        loader = twin.train_dataloader()
        assert loader is twin.loaders[0]
        assert len(loader.dataset) == N
    again = make(keeps.copies[0])
    assert again.train_dataloader() is again.loaders[0]


@pytest.mark.parametrize("make", [copy.deepcopy, saved])
def test_a_copy_made_while_loaders_were_passed_has_no_hook(make: Any) -> None:
    net, keeps = Net(), KeepsCopies(make)
    trainer(audit_callback(None, policy=DROP), keeps, max_epochs=1).fit(net, DataLoader(train_data(), 16))
    with pytest.raises(MisconfigurationException, match="must be implemented"):
        keeps.copies[0].train_dataloader()


@pytest.mark.parametrize("make", [copy.deepcopy, saved])
def test_a_copy_keeps_a_hook_that_is_an_attribute(make: Any) -> None:
    net, keeps = Net(), KeepsCopies(make)
    net.train_dataloader = partial(DataLoader, train_data(), 16)  # type: ignore[method-assign]  # as some users do
    trainer(audit_callback(None, policy=DROP), keeps, max_epochs=1).fit(net)
    assert len(keeps.copies[0].train_dataloader().dataset) == N


@pytest.mark.parametrize(("source", "make"), [("module", saved), *((source, copy.deepcopy) for source in SOURCES)])
def test_a_copy_trains_by_itself(source: str, make: Any) -> None:
    keeps, audit = KeepsCopies(make), audit_callback(None, policy=DROP)
    scene = Scene(source) if source != "module" else None
    if scene is None:
        trainer(audit, keeps, max_epochs=1).fit(HasData())
        trainer(max_epochs=1).fit(twin := keeps.copies[0])
    else:
        scene.fit(audit, keeps)
        trainer(max_epochs=1).fit(twin := keeps.copies[0], DataLoader(train_data(), 16))
    assert sorted(twin.seen[0]) == list(range(N))


def averaged(kind: str) -> Any:
    if kind == "swa":
        return StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1, device=None)
    if not hasattr(host_callbacks, "WeightAveraging"):
        pytest.skip("this Lightning has no WeightAveraging yet")
    return host_callbacks.WeightAveraging()


@pytest.mark.parametrize(
    ("source", "kind", "first"),
    [
        ("data module", "swa", True),
        ("own hooks", "swa", False),
        ("data module", "average", False),
        ("own hooks", "average", True),
    ],
)
def test_weight_averaging(source: str, kind: str, first: bool) -> None:
    def fit(*callbacks: Any) -> Net:
        net = Watched() if source == "data module" else HasData()
        data = Module(clean_data(transform=all_global), val_data()) if source == "data module" else None
        both = (*callbacks, averaged(kind)) if first else (averaged(kind), *callbacks)
        trainer(*both, max_epochs=3).fit(net, datamodule=data)
        return net

    audit = audit_callback(None, policy=Policy(), thresholds=FIRM, audit_epochs=(0, 1))
    assert_same(outcome(fit, []), outcome(fit, [audit]))
    assert audit.audit.provenance["training"]["epoch"] == 1


# Several at once.


@pytest.mark.parametrize("source", SOURCES)
def test_two_audits_in_one_trainer(source: str, tmp_path: Path) -> None:
    copies = Thresholds(near_duplicates=0.35, off_topic=None, label_errors=None)
    labels = Thresholds(near_duplicates=None, off_topic=None, label_errors=Top(0.1))
    one = audit_callback(tmp_path / "a", policy=DROP, thresholds=copies, check_leakage=False)
    two = audit_callback(tmp_path / "b", policy=DROP, thresholds=labels, check_leakage=False)
    scene = Scene(source)
    scene.fit(one, two)
    scene.check()
    kept = one.audit.clean_indices
    assert len(one.audit) == N > len(two.audit) == len(kept) > len(two.audit.clean_indices)
    assert sorted(scene.net.seen[0]) == sorted(scene.net.seen[1]) == kept[two.audit.clean_indices].tolist()
    assert {path.parent.name for path in tmp_path.glob("*/manifest.json")} == {"a", "b"}


@pytest.mark.parametrize("every", [0, 1, 2])
def test_two_audits_that_both_find_something_new_later(every: int, tmp_path: Path) -> None:
    """At epoch 1, by features that have changed meanwhile; the trainer's setting survives both."""

    def halves(name: str) -> Any:
        state = {"calls": 0}

        def features(batch: Any) -> Any:
            return batch.flatten(1)[:, :32] if state["calls"] > 0 else batch.flatten(1)

        class Switch(lightning.Callback):
            def on_train_start(self, trainer: Any, pl_module: Any) -> None:
                state["calls"] = 1

        copies = Thresholds(near_duplicates=0.35, off_topic=None, label_errors=None)
        settings = {"thresholds": copies, "check_leakage": False, "backbone": features, "audit_epochs": (0, 1)}
        return audit_callback(tmp_path / name, policy=DROP, **settings), Switch()

    (one, switch), (two, another) = halves("a"), halves("b")
    source, net = Module(train_data(), val_data()), Calm()
    host: Any = trainer(one, two, switch, another, max_epochs=4, reload_dataloaders_every_n_epochs=every)
    host.fit(net, datamodule=source)
    before, after = (sorted(net.seen[epoch]) for epoch in (0, 1))
    kept = one.audit.clean_indices
    assert before != after == kept[two.audit.clean_indices].tolist()
    assert after == sorted(net.seen[2]) == sorted(net.seen[3])
    assert host.reload_dataloaders_every_n_epochs == every
    assert source.calls.count("train") == {0: 1, 1: 4, 2: 2}[every]


class Owner:
    def hook(self) -> list[str]:
        return ["own"]


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
@pytest.mark.parametrize("attribute", [False, True])
def test_stand_ins_are_undone_in_any_order(order: tuple[int, ...], attribute: bool) -> None:
    owner: Any = Owner()
    if attribute:
        owner.hook = lambda: ["attribute"]
    before, plain = dict(vars(owner)), owner.hook()
    stand_ins = [MethodOverride(owner, "hook", partial(named, name)) for name in "abc"]
    assert owner.hook() == [*plain, "a", "b", "c"]
    left = set("abc")
    for place in order:
        stand_ins[place].undo()
        left.remove("abc"[place])
        assert owner.hook() == [*plain, *sorted(left)]
    assert vars(owner) == before


def named(name: str, former: Any) -> list[str]:
    return [*former(), name]
