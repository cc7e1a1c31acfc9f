"""Samples of validation and test data in the training data: found in the fit, dropped from the training data alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from selfclean_hooks import Audit, Limits, Policy, Thresholds
from selfclean_hooks.errors import ContaminationError, DataWarning
from tests.lightning.fits import LOOSE, Items, Module, Net, audit_callback, clean_data, train_data, trainer, val_data

COPIES = Thresholds(near_duplicates=0.0, off_topic=None, label_errors=None)  # identical content alone
QUIET = Policy("ignore", "ignore", "ignore", "ignore", leakage="drop")


class Planted(Items):
    """The clean digits from `start` on."""

    def __init__(self, start: int, n: int) -> None:
        whole = clean_data(start + n)
        super().__init__(np.zeros((0, 8, 8)), [])
        self.x, self.y = whole.x[start:], whole.y[start:]


TRAIN, VAL, TEST = (0, 60), (50, 40), (55, 20)  # 50..59 are in val too, 55..59 in test
LEAKED = list(range(50, 60))


class Three(Module):
    """With a test split that is ready while fitting, or is not."""

    def __init__(self, ready: bool = True) -> None:
        super().__init__(Planted(*TRAIN), Planted(*VAL))
        self.ready = ready

    def test_dataloader(self) -> Any:
        self.calls.append("test")
        if not self.ready:
            raise RuntimeError("call setup('test') first")
        return DataLoader(Planted(*TEST), 16)


class Checked(Net):
    """Remembers which images were validated."""

    def __init__(self) -> None:
        super().__init__()
        self.held_out: list[torch.Tensor] = []

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.held_out.append(batch[0])


def fit(callback: Any, module: Any = None, *loaders: Any, **settings: Any) -> tuple[Checked, Any, list[str]]:
    """The net, the trainer and what was warned of."""
    done: Any
    net, done = Checked(), trainer(callback, **{"max_epochs": 1, "num_sanity_val_steps": 0, **settings})
    with pytest.warns() as caught:
        done.fit(net, *loaders, datamodule=module)
    return net, done, [str(one.message) for one in caught if issubclass(one.category, DataWarning)]


def callback(folder: Path | None = None, **settings: Any) -> Any:
    return audit_callback(folder, **{"thresholds": COPIES, "policy": QUIET, **settings})


def leaks(audit: Audit) -> list[tuple[str, int, str, int]]:
    flagged = audit.leakage.query("is_leakage_issue")
    columns = ["split_1", "index_1", "split_2", "index_2"]
    return sorted(flagged[columns].itertuples(index=False, name=None))


def test_copies_are_found_with_both_positions(tmp_path: Path) -> None:
    hook = callback(tmp_path, leakage="warn")
    net, _, said = fit(hook, Module(Planted(*TRAIN), Planted(*VAL)))
    expected = [("train", position, "val", position - 50) for position in LEAKED]
    assert leaks(hook.audit) == expected
    written = pd.read_csv(tmp_path / "leakage.csv").query("is_leakage_issue")
    assert sorted(zip(written.index_1, written.index_2, strict=True)) == [(one[1], one[3]) for one in expected]
    assert leaks(Audit.load(tmp_path)) == expected
    assert {one[1] for one in expected} <= set(hook.audit.thumbnails)
    assert {("val", one[3]) for one in expected} <= set(hook.audit.leak_thumbnails)
    assert hook.audit.frame.reason[53] == "also in val (index 3, distance 0)"
    assert len(said) == 1
    assert "60 samples, 10 leaking into other splits (16.67%, kept; worst: 50, 51, 52, 53, 54 and 5 more). " in said[0]
    assert sorted(net.seen[0]) == list(range(60))


@pytest.mark.parametrize("settings", [{}, {"leakage": "drop", "policy": Policy("ignore", "ignore", "ignore")}])
def test_they_are_dropped_from_training_and_from_nothing_else(settings: Any) -> None:
    train, val, hook = DataLoader(Planted(*TRAIN), 10), DataLoader(Planted(*VAL), 16), callback(**settings)
    net, done, _ = fit(hook, None, train, val)
    assert sorted(net.seen[0]) == hook.audit.clean_indices.tolist() == list(range(50))
    assert torch.equal(torch.cat(net.held_out), Planted(*VAL).x)
    assert done.val_dataloaders is val
    assert done.num_training_batches == 5


def test_validation_by_a_hook_is_asked_once_and_not_changed() -> None:
    module = Module(Planted(*TRAIN), val := Planted(*VAL))
    net, done, _ = fit(callback(), module, max_epochs=2)
    assert sorted(module.calls) == ["train", "val"]
    assert done.val_dataloaders.dataset is val
    assert len(torch.cat(net.held_out)) == 2 * len(val)
    assert [len(seen) for seen in net.seen.values()] == [50, 50]


def test_validation_is_not_asked_for_by_the_audit_where_leakage_is_not_looked_for(tmp_path: Path) -> None:
    module = Module(Planted(*TRAIN), Planted(*VAL))
    hook = callback(tmp_path, check_leakage=False, policy=Policy(near_duplicates="raise"))
    trainer(hook, max_epochs=1, limit_val_batches=0).fit(Checked(), datamodule=module)
    assert module.calls == ["train"]
    assert "leakage" not in hook.audit.contamination
    assert len(hook.audit.leakage) == 0
    assert not (tmp_path / "leakage.csv").exists()


def test_validation_that_is_not_run_is_not_compared() -> None:
    module = Module(Planted(*TRAIN), Planted(*VAL))
    hook = callback()
    trainer(hook, max_epochs=1, limit_val_batches=0).fit(Checked(), datamodule=module)
    assert module.calls == ["train"]
    assert "leakage" not in hook.audit.contamination


def test_several_validation_loaders_have_numbers_or_their_names() -> None:
    vals = [Planted(*VAL), Planted(*TEST)]
    expected = [("train", p, "val/0", p - 50) for p in LEAKED] + [("train", p, "val/1", p - 55) for p in LEAKED[5:]]
    hook = callback()
    net, _, _ = fit(hook, None, DataLoader(Planted(*TRAIN), 10), [DataLoader(val, 16) for val in vals])
    assert leaks(hook.audit) == sorted(expected)
    assert hook.audit.contamination["leakage"] == 10 / 60
    assert len(torch.cat(net.held_out)) == 60


def test_the_test_split_is_compared_where_it_is_ready() -> None:
    module, hook = Three(), callback()
    fit(hook, module)
    assert [one for one in leaks(hook.audit) if one[2] == "test"] == [("train", p, "test", p - 55) for p in LEAKED[5:]]
    assert {one[2] for one in leaks(hook.audit)} == {"val", "test"}


def test_a_test_split_that_is_not_ready_is_noted(tmp_path: Path) -> None:
    hook = callback(tmp_path)
    fit(hook, Three(ready=False))
    note = (
        "test is not compared with the training data: Three has it not ready while fitting (RuntimeError: call "
        "setup('test') first). Pass held_out={'test': dataset} to compare it"
    )
    assert note in hook.audit.provenance["notes"]
    assert {one[2] for one in leaks(hook.audit)} == {"val"}


def test_further_data_sets_take_the_place_of_the_test_hook() -> None:
    module, hook = Three(ready=False), callback(held_out={"test": Planted(*TEST), "other clinic": Planted(20, 3)})
    net, _, _ = fit(hook, module)
    assert {one[2] for one in leaks(hook.audit)} == {"val", "test", "other clinic"}
    assert "test" not in module.calls
    assert not any("not ready" in note for note in hook.audit.provenance["notes"])
    assert sorted(net.seen[0]) == [p for p in range(50) if p not in (20, 21, 22)]


def test_further_data_sets_alone_are_enough() -> None:
    hook = callback(held_out={"test": Planted(*TEST)})
    net, _, _ = fit(hook, None, DataLoader(Planted(*TRAIN), 10))
    assert sorted(net.seen[0]) == list(range(55))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([Planted(*VAL)[0]])


@pytest.mark.parametrize("val", [Stream(), [], Planted(0, 0)], ids=["stream", "none", "empty"])
def test_validation_that_cannot_be_compared_stops_nothing(val: Any) -> None:
    module = Module(Planted(*TRAIN), val)
    hook = callback(held_out={"test": Planted(*TEST)})
    if isinstance(val, Dataset):
        fit(hook, module)
    else:
        fit(hook, None, DataLoader(Planted(*TRAIN), 10), val)
    assert {one[2] for one in leaks(hook.audit)} == {"test"}
    noted = [note for note in hook.audit.provenance["notes"] if note.startswith("val is not compared with")]
    assert len(noted) == isinstance(val, Stream)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"leakage": "raise"}, "leakage is not tolerated (policy 'raise')"),
        ({"policy": Policy(leakage="raise")}, "leakage is not tolerated (policy 'raise')"),
        (
            {"limits": Limits(leakage=0.0)},
            "leakage: 0.1667 (10 of 60 samples; 95% interval 0.0931 to 0.2803) exceeds the limit 0; "
            "worst: 50, 51, 52, 53, 54 and 5 more",
        ),
    ],
)
def test_leakage_stops_where_reported(tmp_path: Path, settings: Any, reason: str) -> None:
    net = Net()
    with pytest.raises(ContaminationError) as stopped:
        trainer(callback(tmp_path, **settings)).fit(net, datamodule=Module(Planted(*TRAIN), Planted(*VAL)))
    assert str(stopped.value).startswith(f"training is stopped: {reason}. DataAudit of the training data: 60 samples")
    assert net.seen == {}
    assert len(leaks(Audit.load(tmp_path))) == 10


def test_a_limit_on_leakage_is_not_met_where_it_is_not_looked_for() -> None:
    with pytest.raises(ContaminationError, match=r"leakage: not run .*so the limit 0 is not met"):
        trainer(callback(limits=Limits(leakage=0.0))).fit(Net(), DataLoader(Planted(*TRAIN), 10))


def test_near_copies_leak_too() -> None:
    """The digits of the other tests hold near copies of what validation holds."""
    hook = audit_callback(None, policy=QUIET, thresholds=LOOSE)
    net, _, _ = fit(hook, None, DataLoader(train_data(), 16), DataLoader(val_data(6), 16))
    found = hook.audit.leakage.query("is_leakage_issue")
    assert set(range(6)) < set(found.index_1)
    assert (found.distance > 0).any()
    assert not set(found.index_1) & set(net.seen[0])
