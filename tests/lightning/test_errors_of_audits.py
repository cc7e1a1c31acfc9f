"""What an error of the audit itself does: a warning where nothing depends on the audit, else it stops the training."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from selfclean_hooks import Limits, Policy
from selfclean_hooks.audits import distributed
from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.errors import AuditFileError, BackboneError, ContaminationError, DataWarning, SettingError
from selfclean_hooks.training import auditor, state
from selfclean_hooks.training.audited_training import AuditedTraining
from selfclean_hooks.training.margins.epoch_recorder import EpochRecorder, Head
from selfclean_hooks_lightning import DataAudit, lightning_internals
from selfclean_hooks_lightning import callback as callback_module
from selfclean_hooks_lightning import fit as fit_module
from tests.helpers.log_records import Records
from tests.lightning.fits import DROP, FIRM, Net, audit_callback, train_data, trainer, weights
from tests.lightning.processes.parallel_fits import caught

ENFORCING: list[dict[str, Any]] = [
    {"policy": DROP},
    {"policy": Policy(off_topic="raise")},
    {"limits": Limits(label_errors=0.9)},
    {"on_error": "raise"},
]


def raising(error: BaseException) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail


# What fails, where it is replaced, and with what.
FAILURES: dict[str, tuple[Any, str, BaseException]] = {
    "scores": (distributed, "audit_of", ZeroDivisionError("division by zero")),
    "memory": (distributed, "embed_distributed", MemoryError("14 GiB")),
    "thumbnails": (distributed, "thumbnails", OSError(28, "No space left on device")),
    "saving": (Audit, "save", RuntimeError("the page cannot be made")),
    "fingerprint": (state, "data_fingerprint", RecursionError("too deep")),
    "message": (auditor, "paragraph", KeyError("no such issue")),
    "weights": (distributed, "resolve_distributed", BackboneError("no weights can be had")),
    "leakage": (distributed, "with_leakage", IndexError("none left")),
}


def fit(net: Net, callback: Any = None, epochs: int = 2, logger: Any = False) -> Any:
    made = trainer(*([callback] if callback else []), max_epochs=epochs, logger=logger)
    data = train_data(60)
    made.fit(net, DataLoader(data, 16, shuffle=True), DataLoader(train_data(40), 16))
    return made


def seeded(callback: Any = None) -> tuple[Net, Tensor]:
    """The module after a fit from one seed, and the next number of the global generator."""
    torch.manual_seed(3)
    net = Net()
    fit(net, callback)
    return net, torch.rand(1)


plainly = cache(seeded)  # the same for all failures


def check_undisturbed(callback: Any) -> None:
    plain, number = plainly()
    net, same = seeded(callback)
    assert net.seen == plain.seen
    assert torch.equal(number, same)
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(net).items())


@pytest.mark.parametrize("failure", FAILURES)
def test_where_nothing_depends_on_it_training_is_what_it_is_without(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Records
) -> None:
    owner, name, error = FAILURES[failure]
    monkeypatch.setattr(owner, name, raising(error))
    callback = audit_callback(tmp_path / "audit")
    with caught() as reported:
        check_undisturbed(callback)
    failed = [text for text in reported if text.startswith("DataAudit: the training data is not audited: ")]
    assert len(failed) == 1
    assert str(error) in failed[0]
    logged = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[1] for record in logged if record.exc_info] == [error]
    assert callback.audits == {}


@pytest.mark.parametrize("settings", ENFORCING, ids=["drop", "raise", "limits", "on_error"])
@pytest.mark.parametrize("failure", ["scores", "saving"])
def test_where_something_depends_on_it_training_stops(
    failure: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, error = FAILURES[failure]
    monkeypatch.setattr(owner, name, raising(error))
    net = Net()
    with pytest.raises(type(error)) as stopped:
        fit(net, audit_callback(tmp_path, **settings))
    assert stopped.value is error
    assert net.seen == {}


def test_what_the_user_asks_for_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "audit_of", raising(ArithmeticError("no scores")))
    with caught() as reported:
        check_undisturbed(audit_callback(None, policy=DROP, limits=Limits(near_duplicates=0.0), on_error="warn"))
    assert any("is not audited: ArithmeticError: no scores" in text for text in reported)


# Of the callback itself, as with another version of Lightning: where it is set up, in each epoch, and at the end.
OWN_FAILURES: dict[str, tuple[Any, str, BaseException, str]] = {
    "setup": (callback_module, "Fit", RuntimeError("no store"), "the training data is not audited"),
    "training": (fit_module, "AuditedTraining", TypeError("an argument more"), "the training data is not audited"),
    "source": (lightning_internals, "train_source", AttributeError("_data_source"), "the training data is not audited"),
    "new source": (lightning_internals, "set_train_source", AttributeError("x"), "the training data is not audited"),
    "validation": (lightning_internals, "validation_source", LookupError("val"), "the training data is not audited"),
    "start": (AuditedTraining, "starts", OSError("away"), "the audit is not logged"),
    "epoch": (AuditedTraining, "epoch_starts", ValueError("odd"), "label scores of later audits are those of the"),
    "end of an epoch": (AuditedTraining, "epoch_ends", AttributeError("y"), "no audit for the next epoch"),
}


@pytest.mark.parametrize("failure", OWN_FAILURES)
def test_errors_of_the_callback_itself_are_treated_alike(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, error, lost = OWN_FAILURES[failure]
    monkeypatch.setattr(owner, name, raising(error))
    with caught() as reported:
        check_undisturbed(audit_callback(None))
    assert any(text.startswith(f"DataAudit: {lost}") and str(error) in text for text in reported)
    with pytest.raises(type(error)), caught():
        seeded(audit_callback(None, on_error="raise"))


def test_a_setup_that_fails_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning_internals, "set_train_source", raising(AttributeError("x")))
    net = Net()
    with caught():
        made = fit(net, callback := audit_callback(None))
    assert "train_dataloader" not in vars(net)
    assert made.fit_loop._data_source.instance is not net
    assert callback.audits == {}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_interrupts_are_no_errors(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "audit_of", raising(error))
    net = Net()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(net, audit_callback(None, on_error="warn"))
    assert net.seen == {}


def test_limits_stop_whatever_errors_do() -> None:
    with pytest.raises(ContaminationError, match="training is stopped"), caught():
        fit(Net(), audit_callback(None, limits=Limits(near_duplicates=0.0), on_error="warn"))


def test_wrong_settings_raise() -> None:
    with pytest.raises(SettingError, match=r'on_error must be "warn" .* or None .*, got \'ignore\''):
        DataAudit(on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match='precision="16" needs an accelerator'):
        fit(Net(), audit_callback(None, precision="16", on_error="warn", backbone=nn.Sequential(nn.Flatten())))


def test_an_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with caught() as reported:
        check_undisturbed(audit_callback(tmp_path / "file" / "audit"))
    assert any("is not audited" in text and "file" in text for text in reported)
    with pytest.raises(AuditFileError, match="file"):
        fit(Net(), audit_callback(tmp_path / "file" / "audit", on_error="raise"))


@pytest.mark.parametrize(
    ("policy", "on_error"),
    [(None, None), (None, "raise"), (Policy(near_duplicates="drop"), None), (Policy(near_duplicates="drop"), "warn")],
)
def test_later_audits_alike(on_error: Any, policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own, calls = vars(distributed)["audit_of"], list[int]()

    def second_fails(*args: Any, **kwargs: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 2:
            raise FloatingPointError("overflow")
        return own(*args, **kwargs)

    monkeypatch.setattr(distributed, "audit_of", second_fails)
    callback, net = audit_callback(None, policy=policy, audit_epochs=(0, 1, 2), on_error=on_error), Net()
    if on_error == "raise" or (on_error is None and policy is not None):
        with pytest.raises(FloatingPointError), caught():
            fit(net, callback, epochs=3)
        assert sorted(net.seen) == [0]
        return
    with caught() as reported:
        fit(net, callback, epochs=3)
    lost = "DataAudit: no audit for epoch 1, what was dropped stays dropped: FloatingPointError: overflow"
    assert reported.count(lost) == 1
    assert (len(calls), sorted(net.seen)) == (3, [0, 1, 2])
    assert len(net.seen[0]) == len(net.seen[1])


class BrokenLogger:
    """Of no use."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        raise ConnectionError("the server is away")


def test_loggers_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfclean_hooks_lightning.fit.LightningHost.loggers", lambda host: [BrokenLogger()])
    with caught() as reported:
        check_undisturbed(audit_callback(None))
    assert "DataAudit: the audit is not logged: ConnectionError: the server is away" in reported


@pytest.mark.parametrize(
    ("owner", "name"), [(EpochRecorder, "batch_starts"), (Head, "see"), (EpochRecorder, "batch_ends")]
)
def test_margins_that_cannot_be_recorded(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, caplog: Records
) -> None:
    monkeypatch.setattr(owner, name, raising(LookupError("lost")))
    with caught(), caplog.at_level("INFO"):
        check_undisturbed(audit_callback(None, audit_epochs=(0, 1)))
    assert any("those of the features alone, as LookupError: lost" in one.getMessage() for one in caplog.records)
    with pytest.raises(LookupError), caught():
        fit(Net(), audit_callback(None, audit_epochs=(0, 1), on_error="raise"))


def test_a_state_that_cannot_be_read(tmp_path: Path, caplog: Records) -> None:
    made = fit(Net(), callback := audit_callback(None), epochs=1)
    made.save_checkpoint(tmp_path / "one.ckpt")
    content = torch.load(tmp_path / "one.ckpt", weights_only=False)
    content["callbacks"][callback.state_key] = {"loaders": {"": {"n": "many"}}}
    torch.save(content, tmp_path / "one.ckpt")
    again, net = audit_callback(None), Net()
    with caught() as reported:
        trainer(again).fit(net, DataLoader(train_data(60), 16), ckpt_path=tmp_path / "one.ckpt")
    assert any("the state in the checkpoint cannot be read" in text for text in reported)
    assert len(again.audit) == len(train_data(60))
    assert sorted(net.seen) == [1]


def test_errors_go_on_where_warnings_are_silenced(monkeypatch: pytest.MonkeyPatch, caplog: Records) -> None:
    monkeypatch.setattr(distributed, "audit_of", raising(ValueError("odd")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(Net(), audit_callback(None, thresholds=FIRM))
    assert [one.levelno for one in caplog.records if one.exc_info] == [logging.WARNING]


def test_a_warning_that_filters_turn_into_an_error_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "audit_of", raising(ValueError("odd")))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        with pytest.raises(DataWarning, match="odd"):
            fit(Net(), audit_callback(None))
