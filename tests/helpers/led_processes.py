"""What each of four processes does in test_shared_work.py: led by the first, all four and in smaller groups."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist

from selfclean_hooks.detectors.label_errors import directions
from selfclean_hooks.detectors.methods import score
from selfclean_hooks.detectors.near_duplicates import alignment, residuals
from selfclean_hooks.detectors.near_duplicates.alignment import displacements
from selfclean_hooks.neighbors.cross_search import cross_nearest_neighbors
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.screening.device import PROCESSOR, screening_on
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils import shared_work
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.shared_work import SentOnce, lead, map_blocks
from tests.helpers.reference import random_vectors

GROUPS = {"four": (0, 1, 2, 3), "three": (0, 2, 3), "last two": (2, 3)}
BUDGET = 900  # distances of a block: so that there are several
DATA = ("clustered", "copies", "collapsed", "zero rows", "grid")
SCORED = ("clustered", "collapsed", "zero rows")


def run(rank: int, folder: Path) -> None:
    """All that one process sees, by group and name: (value, None) or (None, error)."""
    torch.set_num_threads(1)
    shared_work.cores = lambda: 1  # the last digits of sums depend on the number of threads
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=4)
    seen: dict[str, dict[str, Any]] = {}
    for name, members in reversed(GROUPS.items()):
        group = dist.new_group(list(members), backend="gloo")
        if rank in members:
            processes = Processes(members.index(rank), len(members), group)
            shown = {title: scene for title, scene in SCENES.items() if name == "three" or title not in BY_THREE}
            seen[name] = {title: reported(lambda: scene(processes)) for title, scene in shown.items()}  # noqa: B023
            if name == "four":
                seen[name]["one dies"] = reported(lambda: lead(processes, dying))  # noqa: B023
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(seen))


def reported(scene: Callable[[], Any]) -> tuple[Any, tuple[str, str] | None]:
    try:
        return scene(), None
    except BaseException as error:  # an interrupt is one of the errors to be seen
        return None, (type(error).__name__, str(error))


class Number(SentOnce):
    """Counts how often it is sent."""

    sent = 0

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        type(self).sent += 1
        return Number, (self.value,)

    def times(self, block: int) -> int:
        return self.value * block

    def whose(self, _: int) -> int:
        return os.getpid()

    def threads(self, _: int) -> int:
        return torch.get_num_threads()

    def fails(self, block: int) -> int:
        if block == self.value:
            raise ArithmeticError(f"at {block}")
        return block

    def dies(self, block: int) -> int:
        if block == self.value:
            os._exit(9)
        return block


class Holder:
    """Refers to what is sent once."""

    def __init__(self, number: Number) -> None:
        self.number = number

    def plus(self, block: int) -> int:
        return self.number.value + block


def in_order() -> list[int]:
    return map_blocks(Number(10).times, range(7))


def everywhere(processes: Processes) -> int:
    """How many processes work."""
    return len(set(lead(processes, lambda: map_blocks(Number(0).whose, range(8)))))


def sent_once() -> tuple[list[list[int]], int]:
    """Results of several works on one thing, and of one on another; how often the first was sent."""
    Number.sent, one = 0, Number(5)
    found = [map_blocks(Holder(one).plus, range(3)) for _ in range(3)]
    sent = Number.sent
    del one
    return [*found, map_blocks(Holder(Number(7)).plus, range(3))], sent


def threads(processes: Processes) -> Any:
    """Of torch, in the first process alone and where all work."""

    def work() -> tuple[int, set[int]]:
        return torch.get_num_threads(), set(map_blocks(Number(0).threads, range(8)))

    shared_work.cores = lambda: 3
    try:
        return lead(processes, work)
    finally:
        shared_work.cores = lambda: 1


def failing_block() -> Any:
    return map_blocks(Number(5).fails, range(8))


def failing_block_caught() -> Any:
    try:
        failing_block()
    except ArithmeticError:
        return in_order()


def failing_first() -> Any:
    in_order()
    raise OSError("the first alone")


def interrupted() -> Any:
    in_order()
    raise KeyboardInterrupt


def dying() -> Any:
    in_order()
    return map_blocks(Number(5).dies, range(8))  # 5 is a block of the second of four


def engine(kind: str) -> list[np.ndarray[Any, Any]]:
    """Neighbours, with and without classes, and the tree."""
    x, labels = UnitRows.of(random_vectors(kind, 120, 8, 0)), np.arange(120) % 5
    with screening_on(replace(PROCESSOR, budget=BUDGET)):
        lists, by_class = nearest_neighbors(x, 6, screen=torch.bfloat16), nearest_neighbors(x, 3, labels)
        tree = minimum_spanning_tree(x, lists)
    assert by_class.same is not None
    assert by_class.other is not None
    found = [lists.indices, lists.distances, by_class.indices, *by_class.same, *by_class.other]
    return [*(part.numpy() for part in found), tree.edges, tree.lengths]


def leakage(kind: str) -> list[np.ndarray[Any, Any]]:
    """Pairs of two splits that share rows, by either."""
    rows = random_vectors(kind, 130, 8, 0)
    x, y = UnitRows.of(rows[:90]), UnitRows.of(rows[70:])
    with screening_on(replace(PROCESSOR, budget=BUDGET)):
        sides = cross_nearest_neighbors(x, y, 5, below=0.1, screen=torch.bfloat16)
    return [part.numpy() for side in sides for part in side]


def scores(processes: Processes, kind: str, method: str = "default") -> Any:
    """Of three classes, in several parts whatever is shared out."""
    vectors = random_vectors(kind, 150, 10, 1)
    with (
        screening_on(replace(PROCESSOR, budget=BUDGET)),
        patch.multiple(directions, BLOCK=32, MAX_EXACT_SAMPLES=100, NUM_LANDMARKS=40),
    ):
        return lead(processes, lambda: score(vectors, np.arange(150) % 3, method=method))


def images(processes: Processes) -> Any:
    """Scores of 90 images, and how far some pairs of them differ, in several blocks."""
    shown = np.random.default_rng(2).integers(0, 255, (90, 32, 32, 3), np.uint8)
    shown[60:] = shown[:30] // 2
    vectors, pairs = random_vectors("copies", 90, 10, 3), np.random.default_rng(4).integers(0, 90, (200, 2))
    with patch.multiple(residuals, BLOCK=16, PREPARED=30), patch.multiple(alignment, BLOCK=20):
        return lead(processes, lambda: [score(vectors, None, miniatures=shown), *displacements(shown, pairs)])


SCENES: dict[str, Callable[[Processes], Any]] = {
    "in order": lambda processes: lead(processes, in_order),
    "everywhere": everywhere,
    "sent once": lambda processes: lead(processes, sent_once),
    "threads": threads,
    "a block fails": lambda processes: lead(processes, failing_block),
    "a block fails and is caught": lambda processes: lead(processes, failing_block_caught),
    "the first fails": lambda processes: lead(processes, failing_first),
    "the first is interrupted": lambda processes: lead(processes, interrupted),
    **{f"engine: {kind}": lambda processes, kind=kind: lead(processes, lambda: engine(kind)) for kind in DATA},  # type: ignore[misc]
    **{f"leakage: {kind}": lambda processes, kind=kind: lead(processes, lambda: leakage(kind)) for kind in DATA},  # type: ignore[misc]
    **{f"default: {kind}": lambda processes, kind=kind: scores(processes, kind) for kind in SCORED},  # type: ignore[misc]
    "images": images,
    "selfclean": lambda processes: scores(processes, "clustered", "selfclean"),
}
BY_THREE = [title for title in SCENES if ": " in title and "clustered" not in title]  # not in the other groups as well
