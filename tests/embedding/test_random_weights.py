"""The same module with random weights, which says what training gave."""

import copy

import pytest
import torch
from torch import nn

from selfclean_hooks.embedding.encoders.encoder import of_callable, of_module
from selfclean_hooks.embedding.encoders.features import tensors_of
from selfclean_hooks.embedding.encoders.random_weights import random_copy, random_state
from tests.embedding.small_modules import Net


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.words = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Embedding(50, 40)
        self.up, self.layer_norm = nn.ConvTranspose2d(8, 4, 3), nn.LayerNorm(4)
        self.token, self.temperature = nn.Parameter(torch.ones(1, 1, 500)), nn.Parameter(torch.tensor([7.0]))
        self.own_bias = nn.Parameter(torch.ones(3))
        self.head, self.tied = nn.Linear(40, 50), nn.Linear(40, 50, bias=False)
        self.tied.weight = self.head.weight
        self.register_buffer("mask", torch.full((3,), 5.0))
        self.register_buffer("lost", torch.ones(2), persistent=False)
        with torch.no_grad():
            for value in self.state_dict().values():
                value.fill_(9)


def test_random_weights_are_those_that_a_module_starts_with() -> None:
    state = random_state(Parts())
    assert set(state) == {
        *("conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
        *("words.weight", "up.weight", "up.bias", "layer_norm.weight", "layer_norm.bias", "token", "own_bias"),
        *("head.weight", "head.bias"),
    }
    for name, fan_in in (("conv", 27), ("up", 36), ("head", 40)):
        bound = fan_in**-0.5
        assert 0.8 * bound < state[f"{name}.weight"].abs().max() <= bound
        assert state[f"{name}.bias"].abs().max() <= bound
        assert state[f"{name}.weight"].std() == pytest.approx(bound / 3**0.5, rel=0.2)
    for name, value in {"norm.weight": 1, "norm.bias": 0, "norm.running_mean": 0, "norm.running_var": 1}.items():
        assert bool((state[name] == value).all())
    assert bool((state["layer_norm.weight"] == 1).all())
    assert bool((state["own_bias"] == 0).all())
    assert state["words.weight"].std() == pytest.approx(1, rel=0.1)
    assert state["token"].std() == pytest.approx(0.02, rel=0.2)


def test_random_weights_are_as_torch_draws_them() -> None:
    for layer in (nn.Linear(30, 900), nn.Conv2d(20, 900, 3, groups=2), nn.ConvTranspose1d(40, 900, 5)):
        for name, value in random_state(layer).items():
            assert value.std() == pytest.approx(layer.state_dict()[name].std().item(), rel=0.1)
            assert value.abs().max() == pytest.approx(layer.state_dict()[name].abs().max().item(), rel=0.1)


def test_random_weights_are_the_same_each_time_in_the_modules_dtype_and_not_shared() -> None:
    module, before = Parts().half(), torch.get_rng_state()
    one, other = random_state(module), random_state(module)
    assert all(torch.equal(one[name], other[name]) and one[name].dtype == torch.float16 for name in one)
    assert torch.equal(before, torch.get_rng_state())
    with torch.device("meta"):
        assert torch.equal(random_state(module)["head.weight"], one["head.weight"])
    assert all(bool((value == 9).all()) for value in module.state_dict().values())
    assert not torch.equal(one["head.weight"], random_state(module, seed=1)["head.weight"])


def test_while_ready_the_module_has_them_and_afterwards_its_own() -> None:
    net = Net().train()
    before, copied = copy.deepcopy(net.state_dict()), random_copy(of_module(net))
    assert copied is not None
    with copied.ready():
        assert torch.equal(net.body.weight, random_state(net)["body.weight"])
        assert not net.training
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in tensors_of(net).items())


def test_what_has_no_weights_has_no_random_copy() -> None:
    assert random_copy(of_callable(torch.flatten)) is None
    assert random_copy(of_module(nn.Flatten())) is None
