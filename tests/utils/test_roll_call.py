"""Processes that do not come: they are named, all end with one error, and those that work are waited for."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from selfclean_hooks.utils import patience as patience_module
from selfclean_hooks.utils import roll_call
from selfclean_hooks.utils.patience import patience
from selfclean_hooks.utils.processes import Processes

LIMIT, PATIENCE = 1.5, 90  # seconds; a hang must fail and not last


def failing_between(processes: Processes) -> Any:
    """One process fails outside of a collective operation, with the others on their way to the next one."""

    def work() -> Any:
        processes.run_on_each(lambda: 1)
        if processes.rank == 1:
            raise ArithmeticError("here alone")
        return processes.gather_all(lambda: processes.rank)

    return processes.together(work)


def failing_at_the_end(processes: Processes) -> Any:
    def work() -> None:
        if processes.rank == 1:
            raise MemoryError("here alone")

    return processes.together(work)


def shared_and_caught(processes: Processes) -> Any:
    """An error that all know of is not exchanged again."""

    def fails() -> None:
        if processes.rank == 1:
            raise OSError("one disk")

    def work() -> Any:
        try:
            processes.run_on_each(fails)
        except OSError as error:
            raise ValueError("made of it") from error

    return processes.together(work)


def first_scores_for_long(processes: Processes) -> Any:
    return processes.run_on_first(lambda: time.sleep(2 * LIMIT) or "scored")  # type: ignore[func-returns-value]


def slow_with_signs_of_life(processes: Processes) -> Any:
    def work() -> str:
        for _ in range(10 if processes.rank == 1 else 0):
            time.sleep(LIMIT / 5)
            processes.beat()
        return "done"

    return processes.run_on_each(work)


def gone(processes: Processes) -> Any:
    return processes.run_on_each(lambda: time.sleep(3 * LIMIT if processes.rank == 1 else 0))


SCENES: dict[str, Callable[[Processes], Any]] = {  # the last one leaves no group
    "fails between": failing_between,
    "fails at the end": failing_at_the_end,
    "shared": shared_and_caught,
    "the first scores": first_scores_for_long,
    "signs of life": slow_with_signs_of_life,
    "still in step": lambda processes: processes.gather_all(lambda: processes.rank),
    "gone": gone,
    "afterwards": lambda processes: processes.gather_all(lambda: processes.rank),
}


def run(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("selfclean_hooks").addHandler(handler)
    patience_module.NOTICE = 0.6
    roll_call.BEAT = 0.1  # several within the limit, also on a busy machine
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    processes, seen = Processes.here(), dict[str, Any]()
    for name, scene in SCENES.items():
        try:
            with patience(LIMIT):
                seen[name] = scene(processes), None
        except Exception as error:
            seen[name] = None, (type(error).__name__, str(error))
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps((seen, lines)))
    time.sleep(0 if rank == 1 else 3 * LIMIT)  # the store lives with its processes


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], list[str]]]:
    folder = tmp_path_factory.mktemp("roll_call")
    context = start_processes(run, (folder,), nprocs=2, join=False, start_method="fork")  # type: ignore[no-untyped-call]
    try:
        assert any(context.join(PATIENCE) for _ in range(3)), "the processes wait for each other"
    finally:
        for process in context.processes:
            process.kill()
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(2)]


Seen = list[tuple[dict[str, Any], list[str]]]


@pytest.mark.parametrize(
    ("scene", "outcome"),
    [
        ("fails between", (None, ("ArithmeticError", "here alone"))),
        ("fails at the end", (None, ("MemoryError", "here alone"))),
        ("shared", (None, ("ValueError", "made of it"))),
        ("the first scores", ("scored", None)),
        ("signs of life", ("done", None)),
        ("still in step", ([0, 1], None)),
    ],
)
def test_all_processes_go_one_way(seen: Seen, scene: str, outcome: Any) -> None:
    assert [found[scene] for found, _ in seen] == [outcome, outcome]


@pytest.mark.parametrize("scene", ["gone", "afterwards"])
def test_a_process_that_does_not_come_is_named_in_all(seen: Seen, scene: str) -> None:
    error = (
        "UnansweredError",
        f"rank 1 of 2 did not answer within {LIMIT} s (timeout={LIMIT}): look there, or give it more time",
    )
    assert [found[scene] for found, _ in seen] == [(None, error), (None, error)]


def test_a_line_says_which_is_waited_for(seen: Seen) -> None:
    assert "waiting for rank 1 of 2 since 1 s" in seen[0][1]
    assert "waiting for rank 0 of 2 since 1 s" in seen[1][1]
