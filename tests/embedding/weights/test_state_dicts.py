"""Where the weights are in a file, whether they fit, and which architecture they are of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from torch import nn

from selfclean_hooks.embedding import load_weights
from selfclean_hooks.embedding.backbones.resolve import is_checkpoint, named_architecture, resolve
from selfclean_hooks.embedding.encoders.features import evaluation_mode, penultimate
from selfclean_hooks.errors import BackboneError
from tests.embedding.weights.weight_data import (
    BATCH,
    IMAGES,
    NAME,
    different,
    features,
    is_of,
    model,
    prefixed,
    refused,
    saved,
    without,
)
from tests.helpers.embedding_data import Net

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
    wrapped = nn.DataParallel(cast(nn.Module, torch.compile(model(), backend="eager")))
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
