"""Which features an audit looks at: those of the module in training once it has learned something."""

import json
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

from selfclean_hooks.embedding.backbones import resolve as backbones
from selfclean_hooks.embedding.encoders.encoder import Encoder, of_module
from selfclean_hooks.embedding.quality import rank_me
from selfclean_hooks.errors import DataWarning
from selfclean_hooks.training.module_features import Representation, representation, signs_of_training
from tests.helpers.log_records import Records
from tests.lightning.features.module_features import (
    Plain,
    audited,
    by_hand,
    close,
    embedded,
    images,
    loader,
    pixels,
)
from tests.lightning.fits import Net, audit_callback, trainer, weights


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    return embedded(monkeypatch)


def test_a_fresh_module_is_not_trusted(tmp_path: Path, vectors: list[Tensor]) -> None:
    about = audited(Net(), tmp_path)
    sentence = (
        "Net looks freshly initialised, so its features say nothing yet: backbone='auto' is used, pretrained weights "
        "where they can be had, else a small encoder that is now trained on the data"
    )
    assert sentence in about["notes"]
    assert about["encoder"]["name"] == "pixels"
    assert close(vectors[0], images().flatten(1))
    assert "looks freshly initialised" in (tmp_path / "report.html").read_text()


def test_the_user_is_reported_that_a_fresh_module_is_not_trusted(caplog: Records) -> None:
    """The report may not be looked at, or not be written at all."""
    callback = audit_callback(None, backbone=None)
    with caplog.at_level("INFO"), pytest.warns(DataWarning) as caught:
        trainer(callback, max_epochs=1).fit(Net(), loader())
    said = [str(one.message) for one in caught] + [record.getMessage() for record in caplog.records]
    assert any("Net looks freshly initialised" in text for text in said)


def test_a_fresh_part_is_not_trusted() -> None:
    about = audited(Net(), backbone="encoder")
    assert about["notes"][0].startswith("Net.encoder looks freshly initialised")
    assert about["encoder"]["name"] == "pixels"


def test_a_module_passed_as_backbone_is_taken_at_its_word(vectors: list[Tensor]) -> None:
    net = Net()
    expected = by_hand(net, net.encoder, images())
    about = audited(net, backbone=net)
    assert about["encoder"]["name"] == "Net"
    assert not any("freshly" in note for note in about["notes"])
    assert close(vectors[0], expected)


def test_a_module_with_weights_of_a_checkpoint_is_used(tmp_path: Path, vectors: list[Tensor]) -> None:
    first = trainer(max_epochs=1)
    net = Net()
    first.fit(net, loader())
    first.save_checkpoint(tmp_path / "one.ckpt")
    expected = by_hand(net, net.encoder, images())
    resumed, callback = Net(), audit_callback(tmp_path, backbone=None)
    with pytest.warns(DataWarning, match="Representation: Net, RankMe"):
        trainer(callback, max_epochs=2).fit(resumed, loader(), ckpt_path=str(tmp_path / "one.ckpt"))
    assert callback.audit.provenance["notes"][0] == "features of Net, after 1 epoch of training"
    assert close(vectors[0], expected)


def test_a_checkpoint_of_no_epoch_is_a_checkpoint(tmp_path: Path) -> None:
    """A model without normalisation layers shows nothing: the checkpoint alone says that it has learned."""
    first, net = trainer(max_epochs=0), Plain()
    first.fit(net, loader())
    first.save_checkpoint(tmp_path / "none.ckpt")
    callback = audit_callback(None, backbone=None)
    with pytest.warns(DataWarning, match="Representation: Plain, RankMe"):
        trainer(callback, max_epochs=1).fit(Plain(), loader(), ckpt_path=str(tmp_path / "none.ckpt"))
    assert callback.audit.provenance["notes"][0] == "features of Plain, a checkpoint was loaded"


def test_weights_that_were_loaded_show_in_the_norm_layers(tmp_path: Path, vectors: list[Tensor]) -> None:
    first, net = trainer(max_epochs=1), Net()
    first.fit(net, loader())
    first.save_checkpoint(tmp_path / "one.ckpt")
    loaded = Net.load_from_checkpoint(tmp_path / "one.ckpt")
    expected = by_hand(loaded, loaded.encoder, images())
    about = audited(loaded)
    assert about["notes"][0] == "features of Net, trained before (the weights of encoder.2 have moved)"
    assert close(vectors[0], expected)


def test_a_later_audit_uses_the_module_as_it_then_is(tmp_path: Path, vectors: list[Tensor]) -> None:
    net, states = Net(), []

    class Keep(lightning.Callback):
        def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            states.append(weights(pl_module))

    callback = audit_callback(tmp_path, backbone=None, audit_epochs=(0, 1))
    with pytest.warns(DataWarning):
        trainer(Keep(), callback).fit(net, loader())
    manifest = [json.loads((tmp_path / f"epoch={epoch}" / "manifest.json").read_text()) for epoch in (0, 1)]
    assert [one["encoder"]["name"] for one in manifest] == ["pixels", "Net"]
    assert manifest[1]["notes"][0] == "features of Net, after 1 epoch of training"
    then = Net()
    then.load_state_dict(states[0])
    assert close(vectors[1], by_hand(then, then.encoder, images()))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(8), nn.LayerNorm(8), nn.GroupNorm(2, 8)])
def test_a_norm_layer_tells_by_its_weights(norm: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 8), norm)
    assert signs_of_training(model) == ""
    with torch.no_grad():
        norm.weight.fill_(0.3)
    assert signs_of_training(model) == ""  # a constant, as another start
    with torch.no_grad():
        norm.weight[3] += 0.01
    assert signs_of_training(model) == "trained before (the weights of 1 have moved)"
    assert signs_of_training(norm) == f"trained before (the weights of {type(norm).__name__} have moved)"


@pytest.mark.parametrize("model", [nn.Linear(4, 8), nn.BatchNorm1d(8, affine=False), nn.LayerNorm(1), nn.Identity()])
def test_a_module_without_norm_weights_tells_nothing(model: nn.Module) -> None:
    assert signs_of_training(model) == ""
    assert representation(None, nn.Sequential(model), "").backbone == "auto"


@pytest.mark.parametrize("backbone", ["auto", "self-supervised", "resnet10t", pixels, nn.Flatten()])
def test_what_audit_takes_is_handed_on(backbone: Any) -> None:
    assert representation(backbone, Net(), "after 3 epochs of training") == Representation(backbone, "")


def test_rank_me_is_reported(tmp_path: Path) -> None:
    about = audited(Net(), tmp_path, backbone=pixels)
    assert about["encoder"]["rank_me"] == rank_me(images().flatten(1).numpy())
    assert json.loads((tmp_path / "manifest.json").read_text())["encoder"]["rank_me"] > 1


def test_a_timm_name_is_a_timm_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def of_timm(name: str, *rest: Any) -> Encoder:
        asked.append(name)
        return of_module(nn.Flatten())

    monkeypatch.setattr(backbones, "of_timm", of_timm)
    assert audited(Net(), backbone="resnet10t.c3_in1k")["encoder"]["name"] == "Flatten"
    assert asked == ["resnet10t.c3_in1k"]
