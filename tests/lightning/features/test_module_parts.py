"""Which part of a module gives the features, and what is done where none does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

from selfclean_hooks.errors import BackboneError, DataWarning
from selfclean_hooks.training.module_features import features_of, representation
from selfclean_hooks_lightning.fit import LightningHost
from tests.lightning.features.module_features import (
    Plain,
    audited,
    by_hand,
    close,
    embedded,
    encoded,
    images,
    loader,
    taught,
)
from tests.lightning.fits import DROP, Net, audit_callback, trainer


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    return embedded(monkeypatch)


class Halved(Plain):
    """Feeds its body something else than the images."""

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x * 0.5 - 0.25))


class Silent(lightning.LightningModule):
    """Without forward(), with the parts given."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.loss = nn.CrossEntropyLoss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        part: Any = next(self.children())
        loss: Tensor = part(batch[0]).square().mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def small(width: int = 12) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def test_a_part_is_fed_by_forward() -> None:
    net = Halved()
    features = features_of(net, net.body, packages=LightningHost.packages)
    assert close(encoded(features, images()), by_hand(net, net.body, images() * 0.5 - 0.25))
    assert features.name == "Sequential"


def test_a_part_by_name_in_training(tmp_path: Path, vectors: list[Tensor]) -> None:
    net = taught(Net())
    expected = by_hand(net, net.encoder[:3], images())  # up to what goes on through ReLU
    about = audited(net, tmp_path, backbone="encoder.2")
    assert about["encoder"]["name"] == "Norm"
    assert about["notes"][0] == "features of Net.encoder.2, trained before (the weights of Norm have moved)"
    assert close(vectors[0], expected)


def test_a_part_without_forward_is_fed_the_samples() -> None:
    net = Silent(one=small(5), other=small(7))
    assert close(
        encoded(features_of(net, net.get_submodule("other"), packages=LightningHost.packages), images()),
        hidden(net.other, images()),
    )


def hidden(model: Any, batch: Tensor) -> Tensor:
    """What enters the last layer of `small`."""
    return by_hand(model, model[:-1], batch)


def test_without_forward_the_only_part_with_weights_is_taken() -> None:
    net = Silent(model=small())
    assert close(encoded(features_of(net, packages=LightningHost.packages), images()), hidden(net.model, images()))


def test_without_forward_several_parts_are_asked_about() -> None:
    with pytest.raises(BackboneError) as refused:
        representation(
            None, Silent(student=small(), teacher=small()), "a checkpoint was loaded", LightningHost.packages
        )
    assert str(refused.value) == (
        "Silent has no forward(), and it is not clear which part of it gives the features, of student, teacher: name "
        "one, as backbone='student', or write forward()"
    )


def test_a_module_that_gives_no_features_is_replaced_before_training() -> None:
    net = Silent(student=nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)), teacher=small())
    with torch.no_grad():
        net.get_parameter("student.1.weight")[0] = 2
    about = audited(net)
    assert about["encoder"]["name"] == "pixels"
    assert about["notes"][0].endswith("or write forward(). Until then backbone='auto' is used")


class Unusual(Net):
    """Looks trained; what forward() does is given."""

    def __init__(self, how: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.how = how
        with torch.no_grad():
            self.get_parameter("encoder.2.weight")[0] = 2

    def forward(self, x: Any) -> Any:
        return self.how(self, x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.setdefault(self.current_epoch, []).extend(batch[2].tolist())
        return nn.functional.cross_entropy(self.head(self.encoder(batch[0])), batch[1])


class TwoArguments(Unusual):
    def forward(self, x: Any, y: Any) -> Any:  # type: ignore[override]
        return x


UNUSUAL = {
    "two arguments": (TwoArguments(lambda *rest: None), "missing 1 required positional argument: 'y'"),
    "a dict": (Unusual(lambda net, x: net.head(net.encoder(x["image"]))), "IndexError"),
    "maps": (Unusual(lambda net, x: x), "got shape (64, 1, 8, 8)"),
    "several": (Unusual(lambda net, x: (net.encoder(x), x)), "got a tuple"),
    "nothing": (Unusual(lambda net, x: None), "got a NoneType"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_forward_that_gives_no_features_is_replaced_before_training(name: str, tmp_path: Path) -> None:
    net, why = UNUSUAL[name]
    about = audited(net, tmp_path)
    assert about["encoder"]["name"] == "pixels"
    assert why in about["notes"][0]
    assert about["notes"][0].endswith(". Until then backbone='auto' is used")


def test_forward_that_gives_no_features_ends_no_training() -> None:
    net, callback = Unusual(lambda net, x: x), audit_callback(None, policy=DROP, backbone=None, audit_epochs=(0, 1))
    with pytest.warns(DataWarning) as caught:
        trainer(callback).fit(net, loader())
    assert sorted(net.seen[0]) == sorted(net.seen[1]) == callback.audit.clean_indices.tolist()
    failed = [str(one.message) for one in caught if "no audit for epoch 1" in str(one.message)]
    assert len(failed) == 1
    assert "Unusual must end in a classifier" in failed[0]


@pytest.mark.parametrize("backbone", ["encoder", "body.nothing", "module"])
def test_a_name_that_is_neither_a_part_nor_a_model_is_refused(backbone: str) -> None:
    with pytest.raises(BackboneError, match=f"(has no part|backbone) '{backbone}'.*: did you mean"):
        trainer(audit_callback(None, backbone=backbone), max_epochs=1).fit(Plain(), loader())


def test_a_part_that_is_not_reached_is_refused_by_name() -> None:
    net = taught(Net())
    net.spare = nn.BatchNorm1d(4)
    with torch.no_grad():
        net.spare.weight[0] = 2
    callback = audit_callback(None, backbone="spare", on_error="raise")
    with pytest.raises(BackboneError, match="BatchNorm1d must be called with one argument when Net is, got no call"):
        trainer(callback, max_epochs=1).fit(net, loader())
