"""Weights that are put into a module of the user's own."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from selfclean_hooks.embedding import load_weights
from selfclean_hooks.errors import BackboneError
from tests.embedding.weights.weight_data import different, prefixed, saved, without
from tests.helpers.embedding_data import Net


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
