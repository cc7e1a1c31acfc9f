import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from selfclean_hooks.utils.rng import generators_of, preserve_rng_state, state_restorer

SHARED = np.random.default_rng(5)


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held


def closure(generator: Any) -> Callable[[], Any]:
    return lambda: generator


def default(generator: Any) -> Callable[[], Any]:
    def draw(g: Any = generator) -> Any:
        return g

    return draw


PLACES: dict[str, Callable[[Any], Any]] = {
    "attribute": Holder,
    "attribute of an attribute": lambda g: Holder(Holder(g)),
    "list": lambda g: Holder([1, [g]]),
    "dict": lambda g: Holder({"a": {"b": g}}),
    "tuple in a slot": lambda g: Slotted((g,)),
    "closure": lambda g: Holder(closure(g)),
    "default of an argument": lambda g: Holder(default(g)),
    "partial": lambda g: Holder(partial(print, g)),
    "method": lambda g: Holder(Holder(g).method),
    "cycle": lambda g: cyclic(g),
}
MADE: dict[str, Callable[[], Any]] = {
    "numpy": lambda: np.random.default_rng(0),
    "old numpy": lambda: np.random.RandomState(0),
    "random": lambda: random.Random(0),
    "torch": lambda: torch.Generator().manual_seed(0),
}


def cyclic(generator: Any) -> Holder:
    outer = Holder([generator])
    outer.held.append(outer)
    return outer


def drawn(generator: Any) -> float:
    if isinstance(generator, torch.Generator):
        return float(torch.rand(1, generator=generator))
    return float(generator.random())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", MADE)
def test_generators_are_found_and_put_back(kind: str, place: str) -> None:
    generator = MADE[kind]()
    holder = PLACES[place](generator)
    assert generator in generators_of(holder)
    with preserve_rng_state(holder):
        first = [drawn(generator) for _ in range(3)]
    assert [drawn(generator) for _ in range(3)] == first
    assert [drawn(generator) for _ in range(3)] != first


def test_generators_that_a_module_shares_are_found() -> None:
    assert SHARED in generators_of(Holder(1))
    with preserve_rng_state(Holder(1)):
        first = drawn(SHARED)
    assert drawn(SHARED) == first


def test_they_are_put_back_after_an_exception() -> None:
    generator = random.Random(0)

    def fail() -> None:
        with preserve_rng_state(Holder(generator)):
            seen.append(generator.random())
            raise RuntimeError

    seen: list[float] = []
    with pytest.raises(RuntimeError):
        fail()
    assert [generator.random()] == seen


def test_what_has_no_state_is_left_out_and_each_is_found_once() -> None:
    one = random.Random(0)
    found = generators_of(Holder([one, one, random.SystemRandom()]))
    assert [generator for generator in found if generator is not SHARED] == [one]


def test_restoring_twice_is_restoring_once() -> None:
    generator = random.Random(0)
    restore = state_restorer([generator])
    first = generator.random()
    for _ in range(2):
        restore()
        assert generator.random() == first


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_a_generator_beside_a_large_nested_list_is_found(first: bool) -> None:
    """More objects than are looked at: the nearest come first."""
    generator, holder = random.Random(0), Holder(None)
    samples = [[[number] for number in range(200)] for _ in range(1000)]
    names = ("generator", "samples") if first else ("samples", "generator")
    for name in names:
        setattr(holder, name, {"generator": Holder(generator), "samples": samples}[name])
    assert generator in generators_of(holder)
