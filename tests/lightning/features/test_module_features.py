"""Features of the module in training are those taken by hand, and nothing is left behind in it."""

from collections.abc import Callable
from typing import Any

import lightning
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from selfclean_hooks.embedding.encoders.features import input_of
from selfclean_hooks.errors import BackboneError, DataWarning
from selfclean_hooks.training.module_features import features_of, representation
from selfclean_hooks_lightning.fit import LightningHost
from tests.lightning.features.module_features import by_hand, close, embedded, encoded, images, loader, taught
from tests.lightning.fits import Net, audit_callback, trainer, weights


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    return embedded(monkeypatch)


# features of known models, as taken by hand


class Around(lightning.LightningModule):
    """A model as most wrap it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(x)


def of_timm_model(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda batch: model.forward_head(model.forward_features(batch), pre_logits=True)


def of_resnet(model: Any) -> Callable[[Tensor], Tensor]:
    def features(batch: Tensor) -> Tensor:
        found: Tensor = nn.Sequential(*list(model.children())[:-1])(batch).flatten(1)
        return found

    return features


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], Callable[[Tensor], Tensor]], int]] = {
    "timm resnet10t": (lambda: timm.create_model("resnet10t", pretrained=False, num_classes=5), of_timm_model, 512),
    "timm vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, num_classes=5, depth=2),
        of_timm_model,
        192,
    ),
    "torchvision resnet18": (lambda: torchvision.models.resnet18(num_classes=5), of_resnet, 512),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("named", [False, True], ids=["module", "by name"])
def test_features_of_known_models(name: str, named: bool) -> None:
    make, by_its_own, width = MODELS[name]
    net, batch = Around(make()), torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = encoded(
        representation("model" if named else None, net, "a checkpoint was loaded", LightningHost.packages).backbone,
        batch,
    )
    assert found.shape == (6, width)
    assert not found.requires_grad
    assert close(found, by_hand(net, by_its_own(net.model), batch))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(module.training for module in net.modules())
    assert not any(module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("part", [None, "encoder"])
def test_precisions(dtype: torch.dtype, part: str | None) -> None:
    net = Net().to(dtype)
    found = encoded(representation(part, net, "a checkpoint was loaded", LightningHost.packages).backbone, images())
    expected = by_hand(net, net.encoder, images().to(dtype))
    assert found.dtype == dtype
    assert close(found.float(), expected.float())


def test_precision_in_training(vectors: list[Tensor]) -> None:
    net = taught(Net())
    twin = Net()
    twin.load_state_dict(weights(net))
    expected = by_hand(twin, twin.double().encoder, images().double())
    callback = audit_callback(None, backbone=None)
    with pytest.warns(DataWarning, match="Representation: Net"):
        trainer(callback, max_epochs=1, precision="64-true").fit(net, loader())
    assert vectors[0].dtype == torch.float32
    assert close(vectors[0], expected.float())


def test_eval_mode_and_no_trace() -> None:
    net = taught(Net())
    net.train()
    net.head.eval()
    before, flags = weights(net), [module.training for module in net.modules()]
    encoder = features_of(net, packages=LightningHost.packages)
    one, two = encoded(encoder, images()), encoded(encoder, images())
    assert torch.equal(one, two)  # no dropout
    assert not one.requires_grad
    assert [module.training for module in net.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in weights(net).items())
    assert all(parameter.requires_grad for parameter in net.parameters())


# fed_to by itself


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part, self.pair, self.spare = nn.Linear(3, 3), nn.Bilinear(3, 3, 2), nn.Identity()
        self.ran: list[str] = []

    def forward(self, x: Tensor) -> Any:
        once = self.part(input=x + 1)
        self.ran.append("after the part")
        return self.pair(once, self.part(once))


def test_fed_to_gives_what_enters_and_stops_there() -> None:
    whole, batch = Twice(), torch.rand(2, 3)
    assert torch.equal(input_of(whole.part, whole, batch), batch + 1)
    assert whole.ran == []
    assert not whole.part._forward_pre_hooks
    assert torch.equal(input_of(whole, whole, batch), batch)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("pair", "Bilinear must be called with one argument when Twice is, got 2 arguments: name a part that is, or"),
        ("spare", "Identity must be called with one argument when Twice is, got no call: name a part that is, or pass"),
    ],
)
def test_fed_to_refuses_what_it_cannot_feed(part: str, message: str) -> None:
    whole = Twice()
    with pytest.raises(BackboneError) as refused:
        input_of(whole.get_submodule(part), whole, torch.rand(2, 3))
    assert str(refused.value).startswith(message)
    assert not whole.get_submodule(part)._forward_pre_hooks


def test_fed_to_lets_errors_of_the_model_through() -> None:
    whole = Twice()
    with pytest.raises(TypeError):
        input_of(whole.pair, whole, "no tensor")
    assert not whole.pair._forward_pre_hooks
