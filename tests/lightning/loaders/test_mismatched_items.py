"""Items that a loader's collate_fn makes fit for training, and that an audit cannot read as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from selfclean_hooks import Limits, Policy
from selfclean_hooks.embedding.backbones import resolve as backbones
from selfclean_hooks.embedding.backbones import self_supervised
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.errors import BackboneError, DataError
from tests.lightning.fits import DROP, Items, Net, audit_callback, clean_data, trainer
from tests.lightning.processes.parallel_fits import caught


@pytest.fixture(autouse=True)
def quick_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pretrained model can be had, as without a network, and training one takes an epoch."""

    def of_timm(name: str, *rest: Any) -> Any:
        raise BackboneError(f"no weights of {name}")

    monkeypatch.setattr(backbones, "of_timm", of_timm)
    monkeypatch.setattr(self_supervised, "EPOCHS", 1)


class TwoViews(Items):
    def __getitem__(self, index: int) -> Any:
        x = self.x[index]
        return (x, x.flip(-1)), self.y[index], index


class InADict(Items):
    def __getitem__(self, index: int) -> Any:
        return {"shown": self.x[index]}, self.y[index], index


class IdFirst(Items):
    def __getitem__(self, index: int) -> Any:
        return f"sample {index}", self.x[index], self.y[index]


def first_view(items: list[Any]) -> Any:
    views, labels, positions = zip(*items, strict=True)
    return torch.stack([view[0] for view in views]), torch.stack(labels), torch.tensor(positions)


def out_of_dict(items: list[Any]) -> Any:
    shown, labels, positions = zip(*items, strict=True)
    return torch.stack([each["shown"] for each in shown]), torch.stack(labels), torch.tensor(positions)


def without_id(items: list[Any]) -> Any:
    ids, images, labels = zip(*items, strict=True)
    return torch.stack(images), torch.stack(labels), torch.tensor([int(text.split()[1]) for text in ids])


VIEWS = "two views"  # are audited by the first
ITEMS: dict[str, tuple[type[Items], Any]] = {
    VIEWS: (TwoViews, first_view),
    "id first": (IdFirst, without_id),
    "in a dict": (InADict, out_of_dict),
}
UNREADABLE = sorted(ITEMS.keys() - {VIEWS})


def loader(kind: str) -> DataLoader[Any]:
    made, collate = ITEMS[kind]
    data = clean_data()
    data.__class__ = made
    return DataLoader(data, 16, shuffle=True, collate_fn=collate)


def trained_before() -> Net:
    net = Net()
    with torch.no_grad():
        net.get_parameter("encoder.2.weight")[0] = 2
    return net


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("net", [Net, trained_before])
def test_with_warn_training_goes_on(kind: str, net: Any, tmp_path: Path) -> None:
    module, callback = net(), audit_callback(tmp_path / "audit", backbone=None)
    with caught() as reported:
        trainer(callback).fit(module, loader(kind))
    reported = [text for text in reported if text.startswith("DataAudit")]
    assert len(reported) == 1
    assert reported[0].startswith("DataAudit: the training data is not audited: ")
    assert callback.audits == {}
    assert callback.state_dict() == {"loaders": {}}
    assert [sorted(module.seen[epoch]) for epoch in (0, 1)] == [list(range(64))] * 2


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize(
    "settings",
    [{"policy": DROP}, {"policy": Policy(off_topic="raise")}, {"limits": Limits(near_duplicates=0.5)}],
    ids=["drop", "raise", "limits"],
)
def test_where_something_depends_on_the_audit_it_is_an_error(kind: str, settings: dict[str, Any]) -> None:
    net = trained_before()
    with caught(), pytest.raises(DataError) as refused:
        trainer(audit_callback(None, backbone=None, **settings)).fit(net, loader(kind))
    assert str(refused.value).startswith("the training data cannot be audited, so nothing can be dropped or limited: ")
    assert net.seen == {}


class OfManySizes(Items):
    def __getitem__(self, index: int) -> Any:
        image = Image.fromarray((self.x[index, 0] * 255).byte().numpy())
        return image.resize((8 + index % 3, 8)), self.y[index], index


def resized(image: Any) -> Tensor:
    return torch.from_numpy(np.asarray(image.convert("L").resize((8, 8))).copy())[None] / 255


def of_one_size(items: list[Any]) -> Any:
    images, labels, positions = zip(*items, strict=True)
    return torch.stack([resized(image) for image in images]), torch.stack(labels), torch.tensor(positions)


def test_what_the_module_cannot_be_fed_auto_can(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = Encoder("small", lambda batch: batch.flatten(1), None, None, resized)
    monkeypatch.setattr(backbones, "_named", lambda *rest: auto)
    data = clean_data()
    data.__class__ = OfManySizes
    callback, net = audit_callback(None, backbone=None), trained_before()
    with caught():
        trainer(callback, max_epochs=1).fit(net, DataLoader(data, 16, collate_fn=of_one_size))
    assert callback.audit.provenance["encoder"]["name"] == "small"
    assert callback.audit.provenance["notes"][0].endswith("Until then backbone='auto' is used")
    assert len(net.seen[0]) == 64


def test_of_two_views_the_first_is_audited() -> None:
    callback, net = audit_callback(None, backbone=None), trained_before()
    with caught():
        trainer(callback, max_epochs=1).fit(net, loader(VIEWS))
    assert len(callback.audit) == len(net.seen[0]) == 64
    assert "items hold 2 images each: the first is audited" in callback.audit.provenance["notes"]


def test_a_backbone_for_such_items_audits_them() -> None:
    def pixels(batch: Any) -> Tensor:
        views: list[Tensor] = batch
        return nn.functional.normalize(views[0].flatten(1))

    callback, net = audit_callback(None, backbone=pixels), Net()
    with caught():
        trainer(callback, max_epochs=1).fit(net, loader(VIEWS))
    assert len(callback.audit) == 64
