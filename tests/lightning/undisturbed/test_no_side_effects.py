"""What the callback does not do: call hooks more often, audit outside of `fit`, do anything when it is switched off."""

from collections import Counter
from typing import Any

import pytest
from torch import Tensor
from torch.utils.data import DataLoader

import selfclean_hooks.training.auditor
from selfclean_hooks import Policy
from tests.lightning.fits import DROP, FIRM, Module, N, Net, audit_callback, planted, train_data, trainer, val_data
from tests.lightning.loaders.loader_sources import SOURCES, Scene


@pytest.mark.parametrize(
    ("settings", "scheduled", "policy"),
    [
        ({}, True, DROP),
        ({}, False, DROP),
        ({}, True, Policy()),
        ({"reload_dataloaders_every_n_epochs": 1}, True, DROP),
        ({"reload_dataloaders_every_n_epochs": 1}, False, Policy()),
        ({"reload_dataloaders_every_n_epochs": 2}, True, DROP),
        ({"num_sanity_val_steps": 0}, False, DROP),
        ({"num_sanity_val_steps": 0, "reload_dataloaders_every_n_epochs": 1}, True, DROP),
        ({"limit_val_batches": 0}, True, DROP),
        ({"overfit_batches": 1}, True, DROP),
        ({"overfit_batches": 1}, False, Policy()),
    ],
    ids=str,
)
def test_hooks_are_called_as_often_as_without(settings: dict[str, Any], scheduled: bool, policy: Policy) -> None:
    def calls(*callbacks: Any) -> Counter[str]:
        source = Module(train_data(), val_data(), batch_size=64)
        trainer(*callbacks, max_epochs=3, **settings).fit(Net(scheduled), datamodule=source)
        return Counter(source.calls)

    assert calls(audit_callback(None, policy=policy, thresholds=FIRM)) == calls()


@pytest.fixture
def no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if an audit is made."""

    def fails(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("an audit was made")

    monkeypatch.setattr(selfclean_hooks.training.auditor, "audit_distributed", fails)


class Whole(Net):
    """With steps for all stages; looks at what stands in the place of its data's hooks meanwhile."""

    def look(self) -> None:
        for owner in (self, self.trainer.datamodule):  # type: ignore[attr-defined]  # set by the Trainer
            assert owner is None or not {name for name in vars(owner) if name.endswith("_dataloader")}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking and not self.trainer.training and self.trainer.state.fn != "fit":
            self.look()
        super().validation_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.look()

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.look()
        return self(batch[0])  # type: ignore[no-any-return]


class WholeModule(Module):
    def test_dataloader(self) -> Any:
        return DataLoader(self.val, batch_size=16)

    def predict_dataloader(self) -> Any:
        return DataLoader(self.train, batch_size=16)  # Lightning cannot predict with a positional one


STAGES = ["validate", "test", "predict"]


@pytest.mark.usefixtures("no_audit")
@pytest.mark.parametrize("stage", STAGES)
def test_other_stages_alone(stage: str) -> None:
    audit, net, source = audit_callback(None, policy=DROP), Whole(), WholeModule(train_data(), val_data())
    before = set(vars(source))
    found = getattr(trainer(audit), stage)(net, datamodule=source)
    assert audit.audits == {}
    assert set(vars(source)) - before <= {"_hparams"}
    if stage == "predict":
        assert sum(map(len, found)) == N, "nothing is dropped here"


@pytest.mark.parametrize("stage", STAGES)
def test_other_stages_after_a_fit(stage: str, request: pytest.FixtureRequest) -> None:
    audit, net, source = audit_callback(None, policy=DROP), Whole(), WholeModule(train_data(), val_data())
    host = trainer(audit)
    host.fit(net, datamodule=source)
    found, state = audit.audit, audit.state_dict()
    request.getfixturevalue("no_audit")
    seen = getattr(host, stage)(net, datamodule=source)
    assert audit.audit is found
    assert audit.state_dict() == state
    if stage == "predict":
        assert sum(map(len, seen)) == N


@pytest.mark.usefixtures("no_audit")
@pytest.mark.parametrize(
    ("value", "source"),
    [*(("0", source) for source in SOURCES), *((value, "data module") for value in ("false", "False", " off ", "no"))],
)
def test_switched_off(value: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFCLEAN_HOOKS_ENABLED", value)
    brought = {
        "loaders": {
            "": {"n": 3, "fingerprint": "f", "settings": "s", "epoch": 0, "dropped": [1], "relabelled": [[2, 0]]}
        }
    }
    audit, scene = audit_callback(None, policy=DROP, audit_epochs=(0, 1)), Scene(source, Looking)
    audit.load_state_dict(brought)
    scene.fit(audit)
    scene.check()
    assert sorted(scene.net.seen[0]) == sorted(scene.net.seen[1]) == list(range(N))
    assert audit.audits == {}
    assert audit.state_dict() == brought


class Looking(Whole):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.look()


@pytest.mark.parametrize("value", ["1", "true", "", "yes"])
def test_switched_on(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFCLEAN_HOOKS_ENABLED", value)
    audit, scene = audit_callback(None, policy=DROP), Scene("data module")
    scene.fit(audit)
    assert len(audit.audit) == len(planted().images)
    with pytest.raises(AssertionError):
        Scene("data module", Looking).fit(audit_callback(None))  # that test above can fail


def test_switched_off_keeps_what_a_checkpoint_brings(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, scene = audit_callback(None, policy=DROP), Scene("data module")
    scene.fit(first)
    scene.trainer.save_checkpoint(tmp_path / "a.ckpt")
    monkeypatch.setenv("SELFCLEAN_HOOKS_ENABLED", "0")
    off, again = audit_callback(None, policy=DROP), Scene("data module", max_epochs=3)
    again.fit_arguments["ckpt_path"] = tmp_path / "a.ckpt"
    again.fit(off)
    assert sorted(again.net.seen[2]) == list(range(N))
    again.trainer.save_checkpoint(tmp_path / "b.ckpt")
    monkeypatch.undo()
    on, third = audit_callback(None, policy=DROP), Scene("data module", max_epochs=4)
    third.fit_arguments["ckpt_path"] = tmp_path / "b.ckpt"
    third.fit(on)
    assert sorted(third.net.seen[3]) == first.audit.clean_indices.tolist()
    assert on.audits == {}, "it was not audited again"
