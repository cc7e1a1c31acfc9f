"""Nothing dropped: training is what it is without the callback, also where the audit runs the module in training."""

import random
from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import selfclean_hooks.embedding.backbones.self_supervised
from selfclean_hooks import Policy
from selfclean_hooks.utils.rng import preserve_rng_state
from tests.lightning.fits import FIRM, Module, Net, audit_callback, clean_data, train_data, trainer, val_data
from tests.lightning.undisturbed.fit_twins import (
    OwnNoise,
    Watched,
    all_global,
    assert_same,
    check_same,
    fit_of,
    outcome,
)

# The module in training is what the audit runs: it must not be left changed by that.


class PartlyFrozen(Watched):
    """One block is in eval mode for good and not trained, as in fine-tuning; some scales have moved in training."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64)).requires_grad_(False).eval()
        nn.init.normal_(self.encoder[2].weight, 1, 0.1)  # type: ignore[arg-type]  # a BatchNorm

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.encoder(self.frozen(x.flatten(1)).detach()))
        return scores


@pytest.mark.parametrize(("backbone", "precision"), [(None, "32-true"), ("encoder", "32-true"), (None, "bf16-mixed")])
def test_backbone_is_the_module(backbone: str | None, precision: Any) -> None:
    fit = fit_of(lambda: clean_data(transform=all_global), net=PartlyFrozen, precision=precision)
    check_same(fit, backbone=backbone, audit_epochs=(0, 1), policy=Policy())


def test_frozen_parts_stay_frozen() -> None:
    fit = fit_of(net=PartlyFrozen)
    left = outcome(fit, [audit_callback(None, backbone=None, audit_epochs=(0, 1))])
    assert len(left.flags) == 8
    for flags in left.flags:
        assert {name for name, training in flags.items() if not training} == {"frozen", "frozen.0", "frozen.1"}
    assert {name for name, wanted in left.gradients.items() if not wanted} == {
        "frozen.0.weight",
        "frozen.0.bias",
        "frozen.1.weight",
        "frozen.1.bias",
    }


def test_backbone_is_the_object_in_training() -> None:
    """As the text for a fresh module suggests: "Pass the module as backbone to use it all the same"."""
    audits = []

    def fit(*callbacks: Any) -> Net:
        net = Watched()
        if callbacks:
            audits.append(audit_callback(None, backbone=net, audit_epochs=(0, 1)))
        trainer(*audits).fit(net, datamodule=Module(clean_data(), val_data()))
        return net

    assert_same(outcome(fit, []), outcome(fit, [None]))
    assert audits[0].audit.provenance["training"]["epoch"] == 1


def test_self_supervised_training_before_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfclean_hooks.embedding.backbones.self_supervised, "EPOCHS", 1)
    check_same(fit_of(lambda: clean_data(transform=all_global)), backbone="self-supervised")


def test_warnings_alone_change_nothing() -> None:
    fit = fit_of(lambda: train_data(transform=all_global))
    audit = audit_callback(None, policy=Policy(), thresholds=FIRM, audit_epochs=(0, 1))
    with pytest.warns(UserWarning, match="near duplicates"):
        audited = outcome(fit, [audit])
    assert audit.audit.frame["is_near_duplicate_issue"].any()
    assert_same(outcome(fit, []), audited)


# These tests can fail.


class Draws(lightning.Callback):
    """Takes one random number before training."""

    def __init__(self, draw: Callable[[], Any]) -> None:
        self.draw = draw

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.draw()


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), lambda: np.random.rand(), random.random])  # noqa: NPY002
def test_one_random_number_is_noticed(draw: Callable[[], Any]) -> None:
    fit = fit_of(lambda: clean_data(transform=all_global))
    with pytest.raises(AssertionError):
        assert_same(outcome(fit, []), outcome(fit, [Draws(draw)]))


def test_one_batch_in_training_mode_is_noticed() -> None:
    class Forward(lightning.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            with preserve_rng_state(), torch.no_grad():
                pl_module(clean_data().x)

    plain, disturbed = outcome(fit_of(), []), outcome(fit_of(), [Forward()])
    changed = {name for name in plain.weights if not torch.equal(plain.weights[name], disturbed.weights[name])}
    assert changed == {"encoder.2.running_mean", "encoder.2.running_var", "encoder.2.num_batches_tracked"}


def test_an_item_read_from_the_data_set_is_noticed() -> None:
    class Reads(lightning.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.datamodule.train.dataset[0]

    fit = fit_of(lambda: clean_data(transform=OwnNoise()))
    with pytest.raises(AssertionError):
        assert_same(outcome(fit, []), outcome(fit, [Reads()]))
