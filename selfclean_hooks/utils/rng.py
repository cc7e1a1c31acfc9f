"""Global random state, left as it was found; and whether a data set draws from it."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
OPAQUE = (str, bytes, int, float, complex, type, np.ndarray, torch.Tensor, ModuleType, BuiltinFunctionType)
OBJECTS = 100_000  # looked at, at most: a data set may hold a list of all its samples
ENTRIES = 1_000  # of each list, tuple, set or dict


def generators_of(*objects: Any) -> list[Any]:
    """The generators that objects hold: in attributes, containers, closures and the modules of their classes."""
    found: dict[int, Any] = {}
    seen: dict[int, Any] = {}  # kept alive, so that no two have one id
    waiting = deque(objects)
    while waiting and len(seen) < OBJECTS:
        value = waiting.popleft()  # the nearest first: what is cut off lies deep in lists of samples
        if value is None or isinstance(value, OPAQUE) or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, GENERATORS):
            if not isinstance(value, random.SystemRandom):  # has no state
                found[id(value)] = value
        else:
            waiting.extend(_held(value))
    return list(found.values())


def state_restorer(generators: list[Any]) -> Callable[[], None]:
    """A function that puts the generators back into the states that they are in now."""
    states = [(generator, _state(generator)) for generator in generators]

    def restore() -> None:
        for generator, state in states:
            _set_state(generator, state)

    return restore


def _held(value: Any) -> Iterator[Any]:
    """What an object is made of, as far as it can hold a generator."""
    if isinstance(value, dict):
        yield from islice(value.values(), ENTRIES)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from islice(value, ENTRIES)
    elif isinstance(value, MethodType):
        yield value.__self__
        yield value.__func__
    elif isinstance(value, partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, FunctionType):
        yield from (cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell))
        yield from (value.__defaults__ or (), value.__kwdefaults__ or {}, _of_module(value.__module__))
    else:
        yield from vars(value).values() if hasattr(value, "__dict__") else ()
        yield from (getattr(value, name, None) for name in _slots(type(value)))
        yield _of_module(type(value).__module__)


def _of_module(name: str | None) -> list[Any]:
    """Generators that code of a module shares as globals; those of libraries are `preserve_rng_state`'s to know."""
    held = vars(sys.modules[name]) if name in sys.modules else {}
    return [value for value in held.values() if isinstance(value, GENERATORS)]


def _slots(kind: type) -> list[str]:
    slots = [base.__dict__.get("__slots__", ()) for base in kind.__mro__]
    return [name for entry in slots for name in ([entry] if isinstance(entry, str) else entry) if name[:2] != "__"]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that is not assigned yet
        return False


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)


@contextmanager
def preserve_rng_state(*holders: Any) -> Iterator[None]:
    """Leaves random generators as they were found, also after an exception.

    The global ones of random, numpy and torch, and those that the `holders` (data sets) hold.
    """
    restore = state_restorer(generators_of(*holders))
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002, read in order to restore it
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = torch.cuda.get_rng_state_all() if used else None
    try:
        yield
    finally:
        restore()
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
