"""Generators one level down in a data set: with nothing dropped, training is what it is without the callback."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.lightning.fits import Items, clean_data
from tests.lightning.undisturbed.fit_twins import check_same, fit_of

SHARED = np.random.default_rng(0)


class Drawing(Items):
    """Adds noise from a function in its own code."""

    draw: Callable[[], float]
    held: Any

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        x, y, position = super().__getitem__(index)
        return x + 0.1 * self.draw(), y, position


class OfAttribute(Drawing):
    def draw(self) -> float:
        return float(self.held.generator.random())


class OfList(Drawing):
    def draw(self) -> float:
        return float(torch.rand(1, generator=self.held[1]))


class OfDict(Drawing):
    def draw(self) -> float:
        return float(self.held["noise"].random())


class OfClosure(Drawing):
    def draw(self) -> float:
        return float(self.held())


class OfModule(Drawing):
    def draw(self) -> float:
        return float(SHARED.random())


def closure() -> Callable[[], float]:
    generator = np.random.default_rng(4)
    return lambda: float(generator.random())


def rewound() -> None:
    SHARED.bit_generator.state = np.random.default_rng(5).bit_generator.state


PLACES: dict[str, tuple[type[Drawing], Callable[[], Any]]] = {
    "object": (OfAttribute, lambda: SimpleNamespace(generator=np.random.default_rng(1))),
    "list": (OfList, lambda: ["noise", torch.Generator().manual_seed(2)]),
    "dict": (OfDict, lambda: {"noise": np.random.default_rng(3)}),
    "closure": (OfClosure, closure),
    "module": (OfModule, rewound),
}


def data_of(place: str) -> Callable[[], Drawing]:
    made, held = PLACES[place]

    def data() -> Drawing:
        plain = clean_data()
        new = made((plain.x * 255).squeeze(1).numpy(), plain.y.numpy())
        new.held = held()
        return new

    return data


@pytest.mark.parametrize("place", PLACES)
def test_training_is_what_it_is_without_the_callback(place: str) -> None:
    check_same(fit_of(data_of(place)), audit_epochs=(0, 1))


@pytest.mark.parametrize("place", PLACES)
def test_the_noise_of_these_matters(place: str) -> None:
    """Else the test above says nothing: one item more drawn, and the next is another."""
    data = data_of(place)()
    assert not torch.equal(data[0][0], data[0][0])
