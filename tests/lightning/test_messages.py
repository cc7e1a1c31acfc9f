"""Lines that say what is audited, what could not be looked for, and what is trained on again."""

import logging
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from selfclean_hooks import Policy, Thresholds
from selfclean_hooks.utils.text import listing
from tests.helpers.log_records import Records
from tests.lightning.fits import Items, Module, Net, audit_callback, clean_data, train_data, trainer, val_data
from tests.lightning.processes.parallel_fits import Calm, caught


class OwnTrainer(lightning.Trainer):
    """As users derive theirs, in a module of their own."""


def lines(caplog: Records) -> list[str]:
    """What was logged where Lightning puts its own lines."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "lightning.pytorch" and record.getMessage().startswith("DataAudit")
    ]


def test_lines_of_a_derived_trainer_reach_the_logger_of_lightning(caplog: Records) -> None:
    callback = audit_callback(None, thresholds=Thresholds(None, None, None))
    host = OwnTrainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with caplog.at_level(logging.INFO):
        host.fit(Net(), DataLoader(clean_data(), 16))
    reported = lines(caplog)
    assert reported[0] == "DataAudit: the training data is audited before epoch 0, 64 samples"
    assert reported[1].startswith("DataAudit of the training data: 64 samples, nothing flagged. ")
    assert len(reported) == 2
    assert not [one for one in caplog.records if "DataAudit" in one.getMessage() and one.name != "lightning.pytorch"]


def test_before_the_audit_it_is_said_what_is_audited(caplog: Records) -> None:
    reported: list[str] = []

    def backbone(batch: Tensor) -> Tensor:
        reported[:] = reported or lines(caplog)
        return batch.flatten(1)

    callback = audit_callback(None, backbone=backbone, held_out={"other": clean_data(10)})
    with caplog.at_level(logging.INFO, "lightning.pytorch"), caught():
        trainer(callback, max_epochs=1).fit(Net(), datamodule=Module(train_data(), val_data(5)))
    assert reported == [
        "DataAudit: the training data is audited before epoch 0, 48 samples and 10 of other and 29 of val"
    ]


# label errors that are not looked for


class Vague(Items):
    """Labels that are neither classes nor numbers."""

    def __getitem__(self, index: int) -> Any:
        return self.x[index], nn.functional.one_hot(self.y[index], 10) / 2


class Bare(Items):
    """No labels."""

    def __getitem__(self, index: int) -> Any:
        return self.x[index]


class Rebuilding(Calm):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        scores: Tensor = self(batch[0] if isinstance(batch, (list, tuple)) else batch)
        return scores.square().mean()


def paragraph_of(made: type[Items], policy: Policy, caplog: Records) -> str:
    data = clean_data()
    data.__class__ = made
    callback = audit_callback(None, policy=policy)
    with caplog.at_level(logging.INFO, "lightning.pytorch"), caught() as reported:
        trainer(callback, max_epochs=1).fit(Rebuilding(), DataLoader(data, 16))
    said: list[str] = [
        text for text in (*reported, *lines(caplog)) if text.startswith("DataAudit of the training data: ")
    ]
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize("action", ["drop", "raise", "warn"])
def test_labels_that_are_none_are_reported_of(action: Any, caplog: Records) -> None:
    reported = paragraph_of(Vague, Policy(label_errors=action), caplog)
    assert "; label errors not looked for: the targets are no labels (index 0: a label must be one" in reported


@pytest.mark.parametrize(
    ("action", "is_reported"), [("drop", True), ("raise", True), ("warn", False), ("ignore", False)]
)
def test_no_labels_matter_where_something_was_to_come_of_them(action: Any, is_reported: bool, caplog: Records) -> None:
    reported = paragraph_of(Bare, Policy(label_errors=action), caplog)
    assert ("; label errors not looked for: there are no labels. " in reported) is is_reported
    assert ("label errors" in reported) is is_reported


def test_nothing_is_said_of_labels_that_were_looked_at(caplog: Records) -> None:
    assert "not looked for" not in paragraph_of(Items, Policy(label_errors="drop"), caplog)


# samples that are trained on again


@pytest.mark.parametrize("returning", [True, False])
def test_samples_trained_on_again_are_reported(returning: bool, tmp_path: Path, caplog: Records) -> None:
    net, data = Calm(), clean_data()

    def backbone(batch: Tensor) -> Tensor:
        """Before the first step, and in the other case after it too, takes the first ten samples for copies."""
        rows = batch.flatten(1)
        if net.global_step and returning:
            return rows
        same = (rows[:, None] == data.x[:10].flatten(1)).all(2).any(1)
        return torch.where(same[:, None], torch.ones_like(rows), rows)

    callback = audit_callback(
        tmp_path,
        policy=Policy(near_duplicates="drop"),
        thresholds=Thresholds(near_duplicates=1e-6, off_topic=None, label_errors=None),
        backbone=backbone,
        audit_epochs=(0, 1),
    )
    with caplog.at_level(logging.INFO, "lightning.pytorch"), caught():
        trainer(callback).fit(net, DataLoader(data, 16, shuffle=True))
    out = np.setdiff1d(np.arange(64), net.seen[0])
    assert len(out) == 9
    assert sorted(net.seen[1]) == (list(range(64)) if returning else sorted(net.seen[0]))
    again = [text for text in lines(caplog) if "trained on again" in text]
    assert again == [f"DataAudit: 9 samples dropped before are trained on again: {listing(out)}"] * returning
