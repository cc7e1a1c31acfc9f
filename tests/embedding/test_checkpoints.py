"""Files of weights as backbones: what is read, what is found in it, and what is refused."""

import argparse
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
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

from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding import load_weights
from selfclean_hooks.embedding.backbones import resolve as checkpoints
from selfclean_hooks.embedding.backbones.resolve import is_checkpoint, named_architecture, resolve
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.embedding.encoders.features import evaluation_mode, penultimate
from selfclean_hooks.errors import BackboneError
from tests.helpers.embedding_data import Items, Net, as_image

NAME = "test_resnet"  # of timm: 0.5 million parameters
IMAGES = ImageDataset(Items(make=as_image))
BATCH = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

State = dict[str, Tensor]


def model(name: str = NAME, seed: int = 0, **settings: Any) -> nn.Module:
    """With a classifier, and scales and batch statistics that are not those of a fresh model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = timm.create_model(name, pretrained=False, **{"num_classes": 5, **settings})
        for key, value in made.state_dict().items():
            if value.ndim == 1 and key.endswith(("weight", "running_var")):
                value.copy_(torch.rand(value.shape) + 0.5)
            elif value.ndim == 1:
                value.copy_(torch.randn(value.shape) / 10)
    return made


def by_hand(source: nn.Module, batch: Tensor = BATCH) -> Tensor:
    """The features of the model itself, fed as its configuration says."""
    mean, std = (torch.tensor(cast(Any, source).pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with evaluation_mode(source):
        return penultimate(source, (batch / 255 - mean) / std)


def features(encoder: Encoder, batch: Tensor = BATCH) -> Tensor:
    with encoder.ready():
        return cast(Tensor, encoder.features(batch))


def is_of(source: nn.Module, path: Path, name: str = NAME) -> Encoder:
    """The encoder that a file gives, seen to compute what its source does."""
    encoder = resolve(f"{name}:{path}" if name else str(path), IMAGES, device="cpu")
    expected = by_hand(source)
    assert expected.std(dim=0).max() > 0.001  # the twin tells images apart
    torch.testing.assert_close(features(encoder), expected, rtol=1e-4, atol=1e-4)
    return encoder


def prefixed(source: nn.Module, front: str) -> State:
    return {f"{front}{key}": value for key, value in source.state_dict().items()}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def refused(text: str | Path) -> str:
    with pytest.raises(BackboneError) as caught:
        resolve(text, IMAGES, device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- files that frameworks write -----------------------------------------------------------------------------------


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


# --- where the weights are in a file -------------------------------------------------------------------------------


def different() -> Net:
    source = Net(6)
    with torch.no_grad():
        for tensor in source.state_dict().values():
            tensor.add_(1)
    return source


FIRST, SECOND = Net(6), different()


def loads(source: nn.Module, path: Path) -> bool:
    """Whether a file gives another module the weights of its source."""
    target, expected = load_weights(Net(6), path), source.state_dict()
    return all(torch.equal(value, expected[key]) for key, value in target.state_dict().items())


@pytest.mark.parametrize(
    "front",
    ["", "model.", "module.", "_orig_mod.", "net.backbone.", "module._orig_mod.", "_orig_mod.module.encoder.0.trunk."],
)
@pytest.mark.parametrize("under", [None, "state_dict", "model", "model_state", "weights"])
def test_whatever_is_before_the_names_is_left_out(tmp_path: Path, front: str, under: str | None) -> None:
    state = prefixed(FIRST, front)
    content = state if under is None else {under: state, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}}
    assert loads(FIRST, saved(tmp_path / "a.pt", content))


def test_a_compiled_and_wrapped_module_is_read_as_it_saves_itself(tmp_path: Path) -> None:
    wrapped = nn.DataParallel(cast(nn.Module, torch.compile(model())))
    state = wrapped.state_dict()
    assert all(key.startswith("module._orig_mod.") for key in state)
    is_of(model(), saved(tmp_path / "a.pt", state))


@pytest.mark.parametrize(
    ("fronts", "taken"),
    [
        (("student.", "teacher."), "teacher."),
        (("teacher.backbone.", "student.backbone."), "teacher.backbone."),
        (("backbone.", "backbone_momentum."), "backbone_momentum."),
        (("module.encoder_q.", "module.encoder_k."), "module.encoder_k."),
        (("online_network.", "target_network."), "target_network."),
        (("net.", "student."), "net."),
        (("model.", "ema.module."), "ema.module."),
        (("model.", "deeper.teacher."), "model."),
        (("state_dict.", "state_dict_ema."), "state_dict_ema."),
        (("model.", "model_ema.module."), "model_ema.module."),
    ],
)
@pytest.mark.parametrize("turn", [1, -1], ids=["", "other order"])
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_the_shortest_prefix_wins_and_then_the_average(
    tmp_path: Path, fronts: tuple[str, str], taken: str, turn: int, nested: bool
) -> None:
    content: dict[str, Any] = {}
    for front in fronts[::turn]:
        source = FIRST if front == taken else SECOND
        folder, _, rest = front.partition(".")
        (content.setdefault(folder, {}) if nested else content).update(prefixed(source, rest if nested else front))
    path = saved(tmp_path / "a.pt", content)
    assert loads(FIRST, path)
    assert not loads(SECOND, path)


def test_a_real_choice_is_refused_and_equal_weights_are_none(tmp_path: Path) -> None:
    two = {**prefixed(FIRST, "left."), **prefixed(SECOND, "right.")}
    with pytest.raises(BackboneError) as caught:
        load_weights(Net(6), saved(tmp_path / "a.pt", two))
    message = str(caught.value)
    assert "must hold one set of weights, got several that fit: 'left.', 'right.': save the state_dict()" in message
    assert loads(FIRST, saved(tmp_path / "b.pt", {**prefixed(FIRST, "left."), **prefixed(FIRST, "right.")}))


def test_of_two_sizes_that_which_fits_is_taken(tmp_path: Path) -> None:
    """A teacher whose layers are called the same and are wider."""
    source, wider = model("vit_tiny_patch16_224", depth=1), model("vit_small_patch16_224", depth=1)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1)
    path = saved(tmp_path / "a.pt", {**prefixed(source, "student."), **prefixed(wider, "teacher.")})
    load_weights(net, path)
    assert torch.equal(cast(Any, net).cls_token, cast(Any, source).cls_token)


# --- what does not fit ---------------------------------------------------------------------------------------------


def without(state: State, *starts: str) -> State:
    return {key: value for key, value in state.items() if not key.startswith(starts)}


def test_missing_and_unknown_names_are_reported(tmp_path: Path) -> None:
    state = model().state_dict()
    inner = {f"model.{key}": value for key, value in without(state, "layer1.").items()}
    gone = [key for key in state if key.startswith("layer1.") and "num_batches" not in key]
    message = refused(f"{NAME}:{saved(tmp_path / 'a.pt', {'state_dict': {**inner, 'model.extra.weight': BATCH}})}")
    assert f"does not fit {NAME}: the file lacks {', '.join(gone[:5])} and {len(gone) - 5} more; " in message
    assert "the model lacks extra.weight: name the architecture" in message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet34", ["the file lacks layer1.2.conv1.weight", "more"]),
        ("resnet50", ["the file lacks layer1.0.conv3", "conv1.weight: model (64, 64, 1, 1), file (64, 64, 3, 3)"]),
        ("test_vit", ["the file lacks cls_token, pos_embed", "the model lacks conv1.weight"]),
    ],
)  # fmt: skip
def test_a_file_of_another_architecture_is_refused(tmp_path: Path, name: str, words: list[str]) -> None:
    message = refused(f"{name}:{saved(tmp_path / 'a.pt', model('resnet18').state_dict())}")
    assert all(word in message for word in words)


def test_a_larger_model_is_not_shortened_to_a_smaller_one(tmp_path: Path) -> None:
    message = refused(f"resnet18:{saved(tmp_path / 'a.pt', model('resnet34').state_dict())}")
    assert "does not fit resnet18: the model lacks layer1.2.conv1.weight" in message
    assert "the file lacks" not in message


def test_another_size_of_images_is_reported(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", model("test_vit", img_size=64).state_dict())
    message = refused(f"test_vit:{path}")
    assert "pos_embed: model (1, 101, 64), file (1, 17, 64) (pos_embed follows the image size" in message
    own = load_weights(timm.create_model("test_vit", num_classes=5, img_size=64), path)
    assert torch.equal(cast(Any, own).pos_embed, cast(Any, model("test_vit", img_size=64)).pos_embed)


def test_counters_of_batches_are_no_weights(tmp_path: Path) -> None:
    state = {key: value for key, value in model().state_dict().items() if "num_batches" not in key}
    is_of(model(), saved(tmp_path / "old.pt", state))
    is_of(model(), saved(tmp_path / "more.pt", {**model().state_dict(), "x.num_batches_tracked": torch.tensor(1)}))


def test_grey_images_are_fed_to_a_model_of_one_channel(tmp_path: Path) -> None:
    source = model(in_chans=1)
    encoder = resolve(f"{NAME}:{saved(tmp_path / 'a.pt', prefixed(source, 'net.'))}", IMAGES, device="cpu")
    assert encoder.prepare is not None
    batch = torch.stack([encoder.prepare(IMAGES[i]) for i in range(3)])
    assert batch.shape[1] == 1
    with evaluation_mode(source):
        expected = penultimate(source, (batch / 255 - 0.5) / 0.5)
    torch.testing.assert_close(features(encoder, batch), expected, rtol=1e-5, atol=1e-5)
    message = refused(f"{NAME}:{saved(tmp_path / 'b.pt', model(in_chans=5).state_dict())}")
    assert "must be of images of 1 or 3 channels, got 5 (conv1.0.weight)" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    rounded = model().to(dtype)
    encoder = is_of(rounded.float(), saved(tmp_path / "a.pt", model().to(dtype).state_dict()))
    assert encoder.module is not None
    assert {parameter.dtype for parameter in encoder.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    state = model().state_dict()
    state["bn1.running_var"][1] = value
    message = refused(f"{NAME}:{saved(tmp_path / 'a.pt', state)}")
    assert "has NaN or infinity in bn1.running_var: use a checkpoint from before" in message


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    state = {key: value.to(torch.int8) if value.ndim == 4 else value for key, value in model().state_dict().items()}
    message = refused(f"{NAME}:{saved(tmp_path / 'a.pt', state)}")
    assert "conv1.0.weight: model torch.float32, file torch.int8" in message


# --- which architecture --------------------------------------------------------------------------------------------


def test_a_file_that_does_not_say_its_architecture_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"state_dict": model().state_dict(), "arch": "mine", "hyper_parameters": {"lr": 1}})
    message = refused(path)
    assert "looked for a timm name in its 'arch' and 'hyper_parameters', and for a config.json" in message
    assert message.endswith(f"write its timm name before it, as resnet18:{path}")


def test_several_names_among_the_hyperparameters_are_refused(tmp_path: Path) -> None:
    content = {"state_dict": model().state_dict(), "hyper_parameters": {"student": NAME, "teacher": "resnet18"}}
    path = saved(tmp_path / "a.pt", content)
    assert f"must say one architecture, got resnet18, {NAME}: " in refused(path)
    is_of(model(), path)


def test_what_a_text_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("w.ckpt", "C:x.ckpt", "train"):
        Path(file).touch()
    Path("folder").mkdir()
    Path("resnet18").mkdir()
    cases: Mapping[str, Any] = {
        "w.ckpt": ("", "w.ckpt"),
        "resnet18:w.ckpt": ("resnet18", "w.ckpt"),
        "resnet18.a1_in1k:w.ckpt": ("resnet18.a1_in1k", "w.ckpt"),
        "C:x.ckpt": ("", "C:x.ckpt"),
        "resnet18:C:x.ckpt": ("resnet18", "C:x.ckpt"),
        "resnet18:gone.ckpt": ("resnet18", "gone.ckpt"),
        r"D:\x.ckpt": ("", r"D:\x.ckpt"),
        "gone.pth": ("", "gone.pth"),
        "folder": ("", "folder"),
    }
    for text, expected in cases.items():
        assert named_architecture(text) == (expected[0], Path(expected[1]))
    for text in ("resnet18", "resnet18.a1_in1k", "data:train", "package.module:attribute", "nothing"):
        assert named_architecture(text) is None
    there = {"w.ckpt", "resnet18:w.ckpt", "resnet18.a1_in1k:w.ckpt", "C:x.ckpt", "resnet18:C:x.ckpt"}
    assert {text for text in (*cases, "resnet18", "data:train", "a:b") if is_checkpoint(text)} == there


# --- files that are none -------------------------------------------------------------------------------------------


class Run:
    """What a training script may keep beside its weights."""


class Runs:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b.txt", "no weights")


def truncate(path: Path) -> None:
    saved(path, model().state_dict())
    path.write_bytes(path.read_bytes()[:-5000])


BAD: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "empty": ("a.ckpt", lambda path: path.touch(), "got an empty file"),
    "missing": ("a.ckpt", lambda path: None, "cannot be read as a file of weights: No such file"),
    "folder": ("a.ckpt", lambda path: path.mkdir(), "got a folder: name the file in it"),
    "truncated": (
        "a.ckpt",
        truncate,
        "is no file of torch.save, or damaged (it is cut short",
    ),
    "zip": ("a.pt", zipped, "is no file of torch.save, or damaged"),
    "web page": ("a.ckpt", lambda path: path.write_text("\n<!DOCTYPE html>\n<html></html>"), "got a web page"),
    "lfs": ("a.pth", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "run git lfs pull"),
    "text": ("a.bin", lambda path: path.write_text("weights"), "must be a file of torch.save or a .safetensors file"),
    "a list": ("a.pt", lambda path: torch.save([torch.ones(2)], path), "must hold a state dict, got list"),
    "optimizer": (
        "a.pt",
        lambda path: torch.save(torch.optim.Adam(model().parameters()).state_dict(), path),
        "got no tensors in it (but state, param_groups): save the state_dict()",
    ),
    "nothing": ("a.pt", lambda path: torch.save({}, path), "got no tensors in it (but nothing)"),
    "a module": (
        "a.pt",
        lambda path: torch.save(Net(), path),
        "must hold weights alone, got tests.helpers.embedding_data.Net in it, which is not run: save the state_dict() "
        "alone, or pass an nn.Module; or, of a class that you trust, call torch.serialization.add_safe_globals first",
    ),
    "safetensors' header": ("a.safetensors", lambda path: path.write_bytes(b"\xff" * 64), "is no safetensors file"),
    "safetensors, truncated": (
        "a.safetensors",
        lambda path: (save_file(model().state_dict(), path), path.write_bytes(path.read_bytes()[:-100])),
        "is no safetensors file, or damaged",
    ),
    "scripted": (
        "a.pt",
        lambda path: cast(Any, torch.jit).trace(nn.Linear(2, 2), torch.ones(1, 2)).save(path),
        "got a TorchScript archive: pass torch.jit.load of it as backbone",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("front", ["", f"{NAME}:"], ids=["bare", "named"])
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path: Path, case: str, front: str) -> None:
    file, make, words = BAD[case]
    make(tmp_path / file)
    message = refused(f"{front}{tmp_path / file}")
    assert str(tmp_path / file) in message
    assert words in message


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path: Path, suffix: str, how: str) -> None:
    path, ran = tmp_path / f"a{suffix}", tmp_path / "ran"
    content = {"state_dict": model().state_dict(), "hyper_parameters": {"x": Runs(ran)}}
    if how == "pickle":
        path.write_bytes(pickle.dumps({"x": Runs(ran)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    message = refused(f"{NAME}:{path}")
    assert not ran.exists()
    assert ("which is not run" in message) == (suffix != ".safetensors")
    if suffix != ".safetensors" and how == "zip":
        torch.load(path, weights_only=False)  # the trap itself works
        assert ran.exists()


def test_a_class_that_the_user_trusts_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"state_dict": model().state_dict(), "run": Run()})
    assert "got tests.embedding.test_checkpoints.Run in it, which is not run" in refused(f"{NAME}:{path}")
    with torch.serialization.safe_globals([Run]):
        is_of(model(), path)


def test_our_own_files_go_to_their_own_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(1)}, path, {checkpoints.OWN: "{}"})
    known = resolve(lambda batch: batch, IMAGES)
    monkeypatch.setattr(checkpoints, "of_file", lambda file, device: known)
    assert resolve(path, IMAGES) is known


def test_no_global_generator_is_moved(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", model(in_chans=1).state_dict())
    before = torch.get_rng_state()
    resolve(f"{NAME}:{path}", IMAGES, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


# --- modules of the user's own -------------------------------------------------------------------------------------


def test_weights_are_put_into_a_module_in_place(tmp_path: Path) -> None:
    source, target = different(), Net(6)
    path = saved(tmp_path / "a.ckpt", {"state_dict": prefixed(source, "net.")})
    assert load_weights(target, path) is target
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())
    wrapped = nn.DataParallel(Net(6))
    assert load_weights(wrapped, path) is wrapped
    assert torch.equal(wrapped.module.state_dict()["head.1.bias"], source.state_dict()["head.1.bias"])


def test_a_module_needs_its_classifier_and_may_do_without(tmp_path: Path) -> None:
    source = torchvision.models.resnet18(num_classes=3)
    path = saved(tmp_path / "a.pt", source.state_dict())
    with pytest.raises(BackboneError, match=r"does not fit ResNet: fc.weight: model \(5, 512\), file \(3, 512\)"):
        load_weights(torchvision.models.resnet18(num_classes=5), path)
    more = saved(tmp_path / "c.pt", {**source.state_dict(), "fc.scale": torch.ones(1)})
    with pytest.raises(BackboneError, match=r"the model lacks fc\.scale"):
        load_weights(source, more)
    bare = torchvision.models.resnet18()
    bare.fc = nn.Identity()
    load_weights(bare, path)
    assert torch.equal(bare.conv1.weight, source.conv1.weight)
    headless = saved(tmp_path / "b.pt", without(source.state_dict(), "fc."))
    with pytest.raises(BackboneError, match=r"the file lacks fc\.weight, fc\.bias: name the architecture"):
        load_weights(source, headless)


def test_a_module_is_as_it_was_after_a_refusal(tmp_path: Path) -> None:
    state = Net(6).state_dict()
    broken = {key: value + 1 for key, value in state.items()}
    broken["head.1.bias"] = torch.full((2,), float("nan"))
    target = Net(6)
    with pytest.raises(BackboneError, match=r"NaN or infinity in head\.1\.bias"):
        load_weights(target, saved(tmp_path / "a.pt", broken))
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


def test_a_module_without_memory_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", Net(6).state_dict())
    for target in (Net(6).to("meta"), nn.Sequential(nn.LazyLinear(3))):
        with pytest.raises(BackboneError, match="has parameters without memory"):
            load_weights(target, path)
