"""Files of weights as frameworks write them give the features of the trained model."""

import argparse
import json
from pathlib import Path
from typing import Any, cast

import lightning
import pytest
import timm
import torch
import torchvision
from lightning.pytorch.callbacks import WeightAveraging
from safetensors.torch import save_file
from timm.utils.checkpoint_saver import CheckpointSaver
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader

from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.embedding.embed import embed
from tests.embedding.weights.weight_data import IMAGES, NAME, by_hand, features, is_of, model, prefixed, refused, saved
from tests.helpers.embedding_data import Items, as_image


class Saves(lightning.Callback):
    """A checkpoint after each step: at the end of training the average is all that is left."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self.path)


class Classifier(lightning.LightningModule):
    """Trains a timm model beside other weights."""

    def __init__(self, arch: str = NAME, optimizer: str = "sgd", width: int = 5) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.ModuleDict({"backbone": model(arch, num_classes=width)})
        self.loss = nn.CrossEntropyLoss(weight=torch.rand(width))

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return cast(Tensor, self.loss(self.net["backbone"](batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.003)


def fitted(folder: Path, module: Classifier, *callbacks: lightning.Callback, steps: int = 1) -> Path:
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    trainer.fit(module, DataLoader(cast(Any, Items(size=32)), 4))
    trainer.save_checkpoint(folder / "end.ckpt")
    return folder / "end.ckpt"


@pytest.mark.parametrize("name", [NAME, ""], ids=["named", "by its hyperparameters"])
def test_a_lightning_checkpoint_gives_the_features_of_the_trained_module(tmp_path: Path, name: str) -> None:
    module = Classifier()
    path = fitted(tmp_path, module)
    source = module.net["backbone"]
    assert not torch.allclose(by_hand(source), by_hand(model()))  # it has learned
    encoder = is_of(source, path, name)
    assert encoder.name.startswith(f"{NAME} from {path} at ")
    assert encoder.note == f"backbone: {NAME} with weights from {path}"
    assert encoder.fingerprint == is_of(source, saved(tmp_path / "a.pt", source.state_dict())).fingerprint
    assert encoder.fingerprint != is_of(model(), saved(tmp_path / "b.pt", model().state_dict())).fingerprint


def test_the_average_that_lightning_keeps_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    fitted(tmp_path, Classifier(), WeightAveraging(), Saves(path), steps=3)
    content = torch.load(path, weights_only=True)
    last, average = (
        {k.removeprefix("net.backbone."): v for k, v in content[key].items() if k.startswith("net.")}
        for key in ("current_model_state", "state_dict")
    )
    assert any(not torch.equal(last[key], average[key]) for key in last)
    source = model()
    source.load_state_dict(average)
    is_of(source, path)
    source.load_state_dict(last)
    with pytest.raises(AssertionError, match="not close"):
        is_of(source, path)


@pytest.mark.parametrize("name", [NAME, ""], ids=["named", "by arch"])
@pytest.mark.parametrize("ema", [False, True], ids=["plain", "ema"])
def test_what_timm_saves_in_training_is_read_and_the_average_preferred(tmp_path: Path, name: str, ema: bool) -> None:
    source, average = model(), ModelEmaV3(model(seed=1))
    args = argparse.Namespace(model=NAME, lr=0.003)
    optimizer = torch.optim.SGD(source.parameters(), 0.1, momentum=0.9)
    saver = cast(Any, CheckpointSaver)(source, optimizer, args, average if ema else None, checkpoint_dir=str(tmp_path))
    path = tmp_path / "last.pth.tar"
    saver._save(str(path), 3, 0.5)
    is_of(average.module if ema else source, path, name)


def test_safetensors_and_a_config_beside_them_are_read_as_on_the_hub(tmp_path: Path) -> None:
    source = model()
    path = tmp_path / "model.safetensors"
    save_file(source.state_dict(), path)
    is_of(source, path)
    reported = {"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1], "input_size": [3, 32, 32]}
    config = {"architecture": NAME, "num_classes": 5, "pretrained_cfg": reported}
    (tmp_path / "config.json").write_text(json.dumps(config))
    cast(Any, source).pretrained_cfg.update(reported)
    assert is_of(source, path, "").name.endswith("at 32 px")
    (tmp_path / "config.json").write_text('{"architecture": "resnet18", "mean": [0, 0, 0]}')  # of another model
    is_of(model(), path)
    assert "does not fit resnet18" in refused(path)


def test_settings_of_a_model_in_the_config_are_kept(tmp_path: Path) -> None:
    source = model("test_vit", img_size=32)
    path = saved(tmp_path / "a.bin", source.state_dict())
    config = {
        "architecture": "test_vit",
        "model_args": {"img_size": 32, "num_classes": 9},
        "pretrained_cfg": {"input_size": [3, 32, 32]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    is_of(source, path, "")
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_args": {"nonsense": 3}}))
    assert "timm cannot make the test_vit of" in refused(path)


@pytest.mark.parametrize("config", ["[1, 2]", "{", "", '{"architectures": ["ResNet"]}', '{"architecture": 3}'])
def test_a_config_of_another_program_says_nothing(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    path = saved(tmp_path / "a.pt", model().state_dict())
    is_of(model(), path)
    assert f"write its timm name before it, as resnet18:{path}" in refused(path)


def test_torchvision_resnets_have_the_names_of_timm(tmp_path: Path) -> None:
    source = torchvision.models.resnet18(num_classes=3)
    twin = timm.create_model("resnet18", num_classes=3)
    twin.load_state_dict(source.state_dict())
    is_of(twin, saved(tmp_path / "a.pth", source.state_dict()), "resnet18")


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext", "deit_tiny_distilled_patch16_224"])
def test_other_architectures_come_without_their_classifier(tmp_path: Path, name: str) -> None:
    source = model(name)
    path = saved(tmp_path / "a.pt", prefixed(source, "model."))
    encoder = resolve(f"{name}:{path}", IMAGES, device="cpu")
    side = cast(Any, source).pretrained_cfg["input_size"][-1]
    batch = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    torch.testing.assert_close(features(encoder, batch), by_hand(source, batch), rtol=1e-4, atol=1e-4)


def test_an_audit_runs_with_a_checkpoint(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", {"state_dict": prefixed(model(), "model.")})
    found = embed(Items(make=as_image), f"{NAME}:{path}", progress=False)
    assert found.vectors.shape[0] == 12
    assert f"backbone: {NAME} with weights from {path}" in found.notes
