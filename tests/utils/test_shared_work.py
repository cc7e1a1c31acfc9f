"""Work that the first of several processes shares out: the same results, errors that all see, and one that dies."""

from __future__ import annotations

import pickle
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pytest
from torch.multiprocessing.spawn import start_processes

from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.shared_work import map_blocks
from tests.helpers import led_processes
from tests.helpers.led_processes import GROUPS, SCENES, reported

PATIENCE = 120  # seconds; a hang must fail and not last
DEAD = 1


@cache
def alone(scene: str) -> Any:
    return reported(lambda: SCENES[scene](Processes()))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Group: what each of its processes saw."""
    folder = tmp_path_factory.mktemp("led")
    context = start_processes(led_processes.run, (folder,), nprocs=4, join=False, start_method="fork")  # type: ignore[no-untyped-call]
    try:
        for process in context.processes:
            process.join(PATIENCE)
        assert [process.exitcode for process in context.processes] == [0, 9, 0, 0]
    finally:
        for process in context.processes:
            process.kill()
    by_rank = {rank: pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(4) if rank != DEAD}
    return {name: [by_rank[rank][name] for rank in members if rank != DEAD] for name, members in GROUPS.items()}


Seen = dict[str, list[dict[str, Any]]]


def of(seen: Seen, scene: str) -> list[Any]:
    """What all processes saw of a scene, those of three at least."""
    assert all(scene in process for process in seen["three"])
    return [process[scene] for group in GROUPS for process in seen[group] if scene in process]


def same(one: Any, other: Any) -> bool:
    """To the last bit."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


SHARED = [scene for scene in SCENES if ": " in scene]


@pytest.mark.parametrize("scene", ["in order", *SHARED, "images", "selfclean"])
def test_results_are_those_of_one_process(seen: Seen, scene: str) -> None:
    expected, error = alone(scene)
    assert error is None
    for value, error in of(seen, scene):
        assert error is None
        assert same(value, expected)


def test_all_processes_work(seen: Seen) -> None:
    assert [process["everywhere"][0] for process in seen["four"]] == [4, 4, 4]
    assert [process["everywhere"][0] for process in seen["last two"]] == [2, 2]


def test_what_is_large_is_sent_once(seen: Seen) -> None:
    for found, error in of(seen, "sent once"):
        assert error is None
        assert found == ([[5, 6, 7]] * 3 + [[7, 8, 9]], 1)


def test_the_first_has_all_cores_but_where_all_work(seen: Seen) -> None:
    assert of(seen, "threads") == [((3, {1}), None)] * 8


@pytest.mark.parametrize(
    ("scene", "outcome"),
    [
        ("a block fails", (None, ("ArithmeticError", "at 5"))),
        ("a block fails and is caught", ([0, 10, 20, 30, 40, 50, 60], None)),
        ("the first fails", (None, ("OSError", "the first alone"))),
        ("the first is interrupted", (None, ("KeyboardInterrupt", ""))),
    ],
)
def test_all_go_one_way(seen: Seen, scene: str, outcome: Any) -> None:
    assert of(seen, scene) == [outcome] * 8


def test_one_that_dies_ends_the_others_with_one_error(seen: Seen) -> None:
    error = ("UnansweredError", "rank 1 of 4 is gone: its own output says why. All processes end")
    assert [process["one dies"] for process in seen["four"]] == [(None, error)] * 3


def test_ticks_reach_the_end() -> None:
    ticks: list[tuple[int, int]] = []
    assert map_blocks(str, range(3), lambda done, of: ticks.append((done, of))) == ["0", "1", "2"]
    assert ticks == [(1, 3), (2, 3), (3, 3)]
