"""The user's objects are as they were after a fit, however it ends, and the callback can be used again."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

import selfclean_hooks.training.auditor
from selfclean_hooks import Limits, Policy
from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.distributed import TrainingAudit, audit_distributed
from selfclean_hooks.errors import ContaminationError
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks_lightning import DataAudit
from tests.lightning.fits import DROP, Items, Module, N, Net, audit_callback, planted, trainer, val_data
from tests.lightning.loaders.loader_sources import SOURCES, Scene

PATCHED = [(made, name) for made in (DataLoader, BatchSampler) for name in ("__init__", "__setattr__", "__delattr__")]
WHOLE: list[Any] = [getattr(made, name) for made, name in PATCHED]


@pytest.fixture(autouse=True)
def nothing_left_by_lightning() -> Iterator[None]:
    """It ignores Ctrl-C for good after the first, and forgets what it patches around a hook if that raises."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)
    for (made, name), whole in zip(PATCHED, WHOLE, strict=True):
        setattr(made, name, whole)
        if f"__old{name}" in vars(made):
            delattr(made, f"__old{name}")


def raising(error: BaseException) -> Callable[..., Any]:
    def fails(*arguments: Any) -> Any:
        raise error

    return fails


class BadStep(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        raise ZeroDivisionError("in training_step")


class BadSecondEpoch(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.current_epoch == 1:
            raise ZeroDivisionError("in the epoch of the re-audit")
        return super().training_step(batch, batch_idx)


class BadOptimizer(Net):
    def configure_optimizers(self) -> Any:
        assert self.trainer.estimated_stepping_batches > 0  # asks for the loader
        raise ZeroDivisionError("in configure_optimizers")


class BadSetup(Net):
    def setup(self, stage: str) -> None:
        raise ZeroDivisionError("in setup, after the callback's")


@pytest.mark.parametrize(
    ("net", "source"),
    [
        *((net, "data module") for net in (BadStep, BadOptimizer, BadSetup)),
        *((BadSecondEpoch, source) for source in SOURCES),
    ],
)
def test_an_exception_in_the_module(net: type[Net], source: str) -> None:
    scene = Scene(source, net)
    audit = audit_callback(None, policy=DROP, audit_epochs=(0, 1))
    with pytest.raises(ZeroDivisionError):
        scene.fit(audit)
    scene.check()
    check_works(audit)


def check_works(audit: DataAudit) -> None:
    """In a new fit, on new objects."""
    scene = Scene("data module")
    scene.fit(audit)
    scene.check()
    dropped = set(range(N)) - set(audit.audit.clean_indices.tolist())
    assert audit.audit.policy.near_duplicates != "drop" or dropped
    assert not dropped & set(scene.net.seen[max(scene.net.seen)])


@pytest.mark.parametrize("source", SOURCES)
def test_ctrl_c_in_the_audit(source: str) -> None:
    scene = Scene(source)
    with pytest.raises(SystemExit):
        scene.fit(audit_callback(None, backbone=raising(KeyboardInterrupt())))
    scene.check()
    assert scene.net.seen == {}
    scene.fit()
    assert sorted(scene.net.seen[0]) == list(range(N))


@pytest.mark.parametrize(
    ("error", "source"),
    [(MemoryError("in the second audit"), "data module"), *((KeyboardInterrupt(), source) for source in SOURCES)],
)
def test_an_interrupt_in_a_later_audit(error: BaseException, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(source)
    audit = audit_callback(None, policy=DROP, audit_epochs=(0, 1))
    really = audit_distributed

    def once(processes: Processes, request: TrainingAudit) -> Audit:
        if request.epoch == 1:
            raise error
        return really(processes, request)

    monkeypatch.setattr(selfclean_hooks.training.auditor, "audit_distributed", once)
    with pytest.raises((SystemExit, MemoryError)):
        scene.fit(audit)
    scene.check()
    assert list(scene.net.seen) == [0]
    monkeypatch.undo()
    check_works(audit)


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({"policy": Policy(off_topic="raise")}, "data module"),
        *(({"limits": Limits(near_duplicates=0.0)}, source) for source in SOURCES),
    ],
)
def test_contaminated_data(settings: dict[str, Any], source: str) -> None:
    scene = Scene(source)
    audit = audit_callback(None, **settings)
    for _ in range(2):  # it is not taken for audited the second time
        with pytest.raises(ContaminationError):
            scene.fit(audit)
        scene.check()
    assert scene.net.seen == {}


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({"backbone": raising(KeyboardInterrupt())}, "data module"),
        *(({"limits": Limits(off_topic=0.0)}, source) for source in SOURCES),
    ],
)
def test_classes_of_torch_are_as_they_were(settings: dict[str, Any], source: str) -> None:
    with pytest.raises((ContaminationError, SystemExit)):
        Scene(source).fit(audit_callback(None, **settings))
    assert [getattr(made, name) for made, name in PATCHED] == WHOLE


class BadItems(Items):
    """Raises once training has begun."""

    begun = False

    def __getitem__(self, index: int) -> Any:
        if self.begun:
            raise ZeroDivisionError("in the data set")
        return super().__getitem__(index)


def test_an_exception_in_the_data_set() -> None:
    class Begins(Net):
        def on_train_start(self) -> None:
            items.begun = True

    scene, items = Scene("data module", Begins), BadItems(planted().images, planted().labels)
    scene.owner.train = scene.held["train"] = DataLoader(items, 16, shuffle=True)
    audit = audit_callback(None, policy=DROP, audit_epochs=(0, 1))
    with pytest.raises(ZeroDivisionError):
        scene.fit(audit)
    scene.check()
    assert len(audit.audit) == N
    check_works(audit)


def test_an_exception_in_the_users_hook() -> None:
    class BadHook(Module):
        def train_dataloader(self) -> Any:
            raise ZeroDivisionError("in train_dataloader")

    source, audit = BadHook(val=val_data()), audit_callback(None, policy=DROP)
    before = set(vars(source))
    with pytest.raises(ZeroDivisionError, match="in train_dataloader"):
        trainer(audit).fit(Net(), datamodule=source)
    assert set(vars(source)) == before
    check_works(audit)


@pytest.mark.parametrize("source", SOURCES)
def test_fit_twice(source: str, tmp_path: Path) -> None:
    scene = Scene(source)
    audit = audit_callback(tmp_path, policy=DROP, audit_epochs=(0, 1))
    scene.fit(audit)
    scene.check()
    first = {epoch: sorted(seen) for epoch, seen in scene.net.seen.items()}
    scene.trainer.fit_loop.max_epochs = 4
    scene.again()
    scene.check()
    assert sorted(scene.net.seen[3]) == first[1] == audit.audit.clean_indices.tolist()
    scene.net.seen.clear()
    scene.fit(audit)  # another trainer: what is known is dropped from the start, and audited again in its course
    scene.check()
    assert sorted(scene.net.seen[0]) == first[1]
    assert sorted(scene.net.seen[1]) == audit.audit.clean_indices.tolist()


def test_a_hook_that_is_an_attribute_of_the_object_comes_back() -> None:
    scene = Scene("data module")
    mine = scene.owner.train_dataloader = lambda: scene.train
    audit = audit_callback(None, policy=DROP)
    scene.fit(audit)
    assert vars(scene.owner)["train_dataloader"] is mine
    assert sorted(scene.net.seen[0]) == audit.audit.clean_indices.tolist()


def test_a_hook_that_the_user_replaces_during_the_fit_stays() -> None:
    scene = Scene("data module")

    def mine() -> Any:
        return scene.train

    class Replaces(Net):
        def on_train_start(self) -> None:
            scene.owner.train_dataloader = mine

    scene.net = Replaces()
    scene.fit(audit_callback(None))
    assert vars(scene.owner)["train_dataloader"] is mine
