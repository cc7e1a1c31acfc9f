import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from selfclean_hooks import audit
from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding.backbones import resolve as backbones
from selfclean_hooks.embedding.backbones import self_supervised
from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.encoders.encoder import of_module
from selfclean_hooks.embedding.encoders.features import evaluation_mode, penultimate
from selfclean_hooks.embedding.quality import rank_me
from selfclean_hooks.embedding.weights import timm_hub
from selfclean_hooks.errors import BackboneError, DataError, SettingError
from tests.helpers.embedding_data import Items, Net, as_image

TINY = "test_resnet.r160_in1k"  # of timm, 0.5 million parameters


def features(module: nn.Module, batch: Any) -> Tensor:
    with evaluation_mode(module):
        return penultimate(module, batch)


@pytest.mark.parametrize(
    ("make", "side", "head"),
    [
        (lambda: torchvision.models.resnet18(num_classes=5), 32, "fc"),
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=5), 32, "classifier.3"),
        (lambda: torchvision.models.vit_b_16(num_classes=5, image_size=32), 32, "heads.head"),
        (lambda: torchvision.models.densenet121(num_classes=5), 32, "classifier"),
    ],
    ids=["resnet18", "mobilenet_v3_small", "vit_b_16", "densenet121"],
)
def test_features_are_those_that_the_classifier_turns_into_the_output(
    make: Callable[[], nn.Module], side: int, head: str
) -> None:
    module, batch = make(), torch.rand(2, 3, side, side)
    found = features(module, batch)
    classifier = module.get_submodule(head)
    assert isinstance(classifier, nn.Linear)
    assert found.shape == (2, classifier.in_features)
    with evaluation_mode(module):
        torch.testing.assert_close(classifier(found), module(batch))


def test_timm_models_are_asked_for_their_features() -> None:
    model = timm.create_model("test_resnet", num_classes=7)
    batch = torch.rand(2, 3, 32, 32)
    found = features(model, batch)
    with evaluation_mode(model):
        torch.testing.assert_close(cast(Any, model).get_classifier()(found), model(batch))


class Wrapped(nn.Module):
    """A module whose forward is given."""

    def __init__(self, forward: Callable[[Any, Any], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.given = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, batch: Any) -> Any:
        return self.given(self, batch)


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs)


def test_a_module_that_does_not_end_in_a_linear_layer_gives_its_output() -> None:
    batch = torch.rand(3, 4)
    for module in (nn.Sequential(linear(4, 5), nn.ReLU()), nn.BatchNorm1d(4), nn.Identity()):
        with evaluation_mode(module):
            expected = module(batch)
        assert torch.equal(features(module, batch), expected)


def test_what_only_dresses_the_classes_up_after_the_last_layer_is_passed_through() -> None:
    body, batch = linear(4, 5), torch.rand(3, 4)
    module = nn.Sequential(body, nn.ReLU(), nn.Dropout(), linear(5, 2), nn.Softmax(1))
    torch.testing.assert_close(features(module, batch), body(batch).relu())


def test_a_linear_layer_with_a_parametrized_weight_is_a_classifier_too() -> None:
    body, batch = linear(4, 5), torch.rand(3, 4)
    head = torch.nn.utils.parametrizations.weight_norm(linear(5, 2))
    torch.testing.assert_close(features(nn.Sequential(body, nn.ReLU(), head), batch), body(batch).relu())


def test_a_linear_layer_that_runs_twice_is_no_classifier() -> None:
    module = Wrapped(lambda m, x: m.layer(m.layer(x)), layer=linear(4, 4))
    batch = torch.rand(3, 4)
    assert torch.equal(features(module, batch), module(batch))


def test_a_linear_layer_called_by_keyword_leaves_the_output() -> None:
    module = Wrapped(lambda m, x: m.layer(input=x), layer=linear(4, 2))
    assert features(module, torch.rand(3, 4)).shape == (3, 2)


@pytest.mark.parametrize(
    ("module", "batch", "came"),
    [
        (nn.Conv2d(3, 2, 1), torch.rand(2, 3, 4, 4), "shape (2, 2, 4, 4)"),
        (nn.Linear(4, 2), torch.rand(2, 3, 4), "shape (2, 3, 2)"),
        (Wrapped(lambda m, x: {"out": m.layer(x)}, layer=nn.Conv2d(3, 2, 1)), torch.rand(2, 3, 4, 4), "a dict"),
    ],
    ids=["4-D", "tokens", "dict"],
)
def test_outputs_that_are_no_features_are_refused(module: nn.Module, batch: Tensor, came: str) -> None:
    with pytest.raises(BackboneError, match="must end in a classifier") as caught:
        features(module, batch)
    assert f"got {came}: pass the part of it that does" in str(caught.value)


def test_compiled_modules_give_the_same_features_also_as_a_part() -> None:
    net, batch = Net().eval(), torch.rand(2, 3, 8, 8)
    expected = features(net, batch)
    whole = torch.compile(net, backend="eager")
    whole(batch)
    outer = nn.Sequential(cast(nn.Module, torch.compile(net, backend="eager")))
    outer(batch)
    for module in (whole, outer):
        encoder = of_module(module)  # type: ignore[arg-type]
        with encoder.ready():
            torch.testing.assert_close(encoder.features(batch), expected)


def flags(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


def state(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_pre_hooks) + len(part._forward_hooks) for part in module.modules())


@pytest.mark.parametrize("how", [torch.jit.script, lambda net: cast(Any, torch.jit).trace(net, torch.rand(2, 3))])
@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_scripted_modules_give_their_output(how: Any) -> None:
    net, batch = nn.Sequential(linear(3, 4), nn.ReLU(), linear(4, 2)), torch.rand(5, 3)
    encoder = of_module(how(net))
    with encoder.ready():
        torch.testing.assert_close(encoder.features(batch), net(batch))


def test_lazy_modules_are_refused_before_they_know_their_shape() -> None:
    with pytest.raises(BackboneError, match="LazyLinear has lazy parameters: run one batch through it first"):
        of_module(nn.LazyLinear(3))


@pytest.mark.parametrize("fails", [False, True])
def test_a_module_is_left_as_it_was(fails: bool) -> None:
    net = Net().train()
    net.body[1].eval()
    next(net.parameters()).requires_grad_(False)
    before = flags(net), state(net), hooks(net), [p.requires_grad for p in net.parameters()]
    if fails:
        with pytest.raises(BackboneError):
            audit(Items(make=lambda image, label: torch.rand(5, 8, 8)), net, progress=False)
    else:
        audit(Items(), net, progress=False)
    after = flags(net), state(net), hooks(net), [p.requires_grad for p in net.parameters()]
    assert (before[0], before[2:]) == (after[0], after[2:])
    assert all(torch.equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.is_grad_enabled()


def trained(workers: int | None) -> list[Tensor]:
    """Weights after a short training, with an audit by the module itself before it or without one."""
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    with_dropout = Net().train()
    data = Items(make=lambda image, label: (torch.from_numpy(image).permute(2, 0, 1) / 255 + torch.rand(1), label))
    if workers is not None:
        audit(data, with_dropout, num_workers=workers, progress=False)
    optimizer = torch.optim.SGD(with_dropout.parameters(), 0.1)
    for images, labels in DataLoader(data, 4, shuffle=True):
        shifted = images + random.random() + np.random.random()  # noqa: NPY002
        nn.functional.cross_entropy(with_dropout(shifted), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return state(with_dropout)


def test_training_after_an_audit_is_the_same_to_the_bit() -> None:
    with torch.random.fork_rng():
        kept = random.getstate(), np.random.get_state()  # noqa: NPY002
        plain, here, workers = trained(None), trained(0), trained(2)
        random.setstate(kept[0]), np.random.set_state(kept[1])  # noqa: NPY002
    for audited in (here, workers):
        assert all(torch.equal(a, b) for a, b in zip(plain, audited, strict=True))


def test_rank_me_is_that_of_its_formula() -> None:
    rng = np.random.default_rng(0)
    for n, dim, rank in ((50, 8, 8), (8, 50, 8), (60, 20, 3)):
        vectors = (rng.normal(size=(n, rank)) @ rng.normal(size=(rank, dim))).astype(np.float32)
        sigma = np.linalg.svd(vectors.astype(np.float64), compute_uv=False)
        p = sigma / sigma.sum() + 1e-7
        assert math.isclose(rank_me(vectors), float(np.exp(-(p * np.log(p)).sum())), rel_tol=1e-4)


def test_rank_me_of_many_rows_takes_evenly_spaced_ones() -> None:
    vectors = np.random.default_rng(0).normal(size=(101, 5)).astype(np.float32)
    assert rank_me(vectors, at_most=11) == rank_me(vectors[::10])


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub, and no way to the hub."""

    def unreachable(*arguments: Any, **named: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    return tmp_path


def cached(folder: Path, model: nn.Module, content: bytes | None = None) -> Path:
    """Put weights where the hub's client looks for them."""
    from safetensors.torch import save_file

    config = timm.get_pretrained_cfg(TINY)
    assert config is not None
    repository = folder / f"models--{str(config.hf_hub_id).replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    if content is not None:
        (snapshot / "model.safetensors").write_bytes(content)
    else:
        save_file(model.state_dict(), str(snapshot / "model.safetensors"))
    return snapshot


def test_a_name_whose_weights_are_cached_works_without_the_hub(offline: Path) -> None:
    model = timm.create_model(TINY, pretrained=False)
    cached(offline, model)
    data = Items(make=as_image)
    found = embed(data, TINY, progress=False)
    assert found.encoder["name"] == f"{TINY} at 32 px"
    encoder = resolve(TINY, ImageDataset(data))
    assert encoder.prepare is not None
    batch = torch.stack([encoder.prepare(data[i][0]) for i in range(12)])
    config = model.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))  # type: ignore[index]
    np.testing.assert_allclose(found.vectors, features(model, (batch / 255 - mean) / std).numpy(), rtol=1e-4, atol=1e-5)


def test_damaged_weights_are_named(offline: Path) -> None:
    snapshot = cached(offline, nn.Identity(), content=b"damaged")
    with pytest.raises(BackboneError, match="cannot be loaded") as caught:
        embed(Items(make=as_image), TINY, progress=False)
    assert str(snapshot) in str(caught.value)


def test_weights_that_are_not_cached_are_refused_with_what_to_do(offline: Path) -> None:
    with pytest.raises(BackboneError, match=f"the weights of '{TINY}' are not in the local cache") as caught:
        embed(Items(make=as_image), TINY, progress=False)
    assert "connect once, pass an nn.Module" in str(caught.value)


def test_the_hub_is_given_a_few_seconds(monkeypatch: pytest.MonkeyPatch, offline: Path) -> None:
    asked: dict[str, Any] = {}

    def model_info(self: Any, repository: str, **named: Any) -> None:
        asked.update(named)
        raise TimeoutError

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(BackboneError, match="TimeoutError"):
        timm_hub.weights_of(TINY)
    assert asked == {"timeout": timm_hub.HUB_SECONDS}


@pytest.mark.parametrize(
    ("slip", "meant"), [("resnt18", "resnet18"), ("resnet18s.a1", "resnet18"), ("vit_smal", "vit")]
)
def test_an_unknown_name_suggests_near_ones(slip: str, meant: str) -> None:
    with pytest.raises(BackboneError, match=f"{slip}' is no timm model: did you mean .*{meant}"):
        resolve(slip, ImageDataset(Items(make=as_image)))


def test_a_name_without_weights_says_so() -> None:
    bare = next(name for name in timm.list_models("vit*") if not timm.list_pretrained(name))
    with pytest.raises(BackboneError, match="no pretrained weights for"):
        resolve(bare, ImageDataset(Items(make=as_image)))


def test_auto_without_the_hub_trains_on_the_data_and_the_seed_decides(
    monkeypatch: pytest.MonkeyPatch, offline: Path
) -> None:
    monkeypatch.setattr(self_supervised, "EPOCHS", 1)
    data = Items(make=as_image)
    first, again, other = (embed(data, seed=seed, progress=False) for seed in (0, 0, 1))
    assert any("no pretrained weights are available" in note for note in first.notes)
    assert first.encoder["name"].startswith("self-supervised, simclr, 1 epochs")
    assert np.array_equal(first.vectors, again.vectors)
    assert first.encoder == again.encoder != other.encoder


def test_auto_with_cached_weights_uses_them(monkeypatch: pytest.MonkeyPatch, offline: Path) -> None:
    cached(offline, timm.create_model(TINY, pretrained=False))
    monkeypatch.setattr(backbones, "PRETRAINED", TINY)
    found = embed(Items(make=as_image), progress=False)
    assert f"backbone: pretrained {TINY}" in found.notes


def test_training_on_data_that_cannot_be_read_gives_the_first_message() -> None:
    with pytest.raises(DataError, match=r"got 0 of 12.*index 0: item 0 is broken"):
        embed(Items(broken=tuple(range(12))), "self-supervised", progress=False)


# --- other things that are no backbone -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (None, "backbone must be .* got NoneType"),
        (3, "got int"),
        (Net, "got the class Net: make an instance of it"),
        (__file__, "must be a file of torch.save or a .safetensors file"),
        (Path(__file__), "must be a file of torch.save or a .safetensors file"),
    ],
)
def test_what_is_no_backbone_is_refused(backbone: Any, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        embed(Items(), backbone, progress=False)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", 3.5])
def test_a_device_that_is_not_there_is_refused(device: Any) -> None:
    for backbone in (Net(), "self-supervised"):
        with pytest.raises(SettingError, match="torch device that this machine has, got"):
            embed(Items(), backbone, device=device, progress=False)


def test_an_explicit_device_and_auto_agree() -> None:
    net = Net()
    there, auto = (embed(Items(), net, device=device, progress=False).vectors for device in ("cpu", "auto"))
    assert np.array_equal(there, auto)
