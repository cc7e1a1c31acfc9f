"""Several processes as one: what they tell each other, how they fail, what they read together."""

from __future__ import annotations

import pickle
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import start_processes

from selfclean_hooks.utils.processes import Processes
from tests.helpers import process_group
from tests.helpers.process_group import CASES, COPIES, GROUPS, SCENES, Coloured, own_weights, reported

PATIENCE = 120  # seconds; a hang must fail and not last

Seen = dict[str, tuple[Any, Any]]


@cache
def alone(scene: str) -> Any:
    return reported(lambda: SCENES[scene](Processes(), Path()))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Seen]]:
    """Group: what each of its processes saw, in order."""
    folder = tmp_path_factory.mktemp("processes")
    for name in GROUPS:
        (folder / name).mkdir()
    context = start_processes(process_group.run, (folder,), nprocs=3, join=False, start_method="fork")  # type: ignore[no-untyped-call]
    try:
        assert any(context.join(PATIENCE) for _ in range(4)), "the processes wait for each other"
    finally:
        for process in context.processes:
            process.kill()
    by_rank = [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(3)]
    return {name: [by_rank[rank][name] for rank in members] for name, members in {**GROUPS, "here": (0, 1, 2)}.items()}


def both(seen: dict[str, list[Seen]], scene: str) -> list[list[Any]]:
    """What the processes of each group saw of a scene."""
    return [[process[scene] for process in seen[group]] for group in GROUPS]


def values(seen: dict[str, list[Seen]], scene: str) -> list[list[Any]]:
    outcomes = both(seen, scene)
    assert all(error is None for group in outcomes for _, error in group)
    return [[value for value, _ in group] for group in outcomes]


def errors(seen: dict[str, list[Seen]], scene: str) -> list[list[Any]]:
    return [[error for _, error in group] for group in both(seen, scene)]


def test_one_process_alone_is_the_identity() -> None:
    processes = Processes()
    assert (processes.rank, processes.size, processes.is_first) == (0, 1, True)
    assert processes.share(5) == range(5)
    thing = object()
    assert processes.run_on_each(lambda: thing) is thing
    assert processes.run_on_first(lambda: thing) is thing
    assert processes.gather_all(lambda: thing) == processes.gather(lambda: thing) == [thing]


@pytest.mark.parametrize("meeting", ["run_on_each", "gather_all", "gather", "run_on_first"])
@pytest.mark.parametrize("error", [OSError("x"), KeyboardInterrupt(), process_group.PickyError("a", "b")])
def test_one_process_alone_raises_what_is_raised(meeting: str, error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        getattr(Processes(), meeting)(work)
    assert caught.value is error


def test_without_a_process_group_there_is_one_process() -> None:
    assert (Processes.here().rank, Processes.here().size, Processes.here().group) == (0, 1, None)


def test_the_default_group_gives_rank_and_size(seen: dict[str, list[Seen]]) -> None:
    assert [process["processes"][0][:2] for process in seen["here"]] == [(0, 3), (1, 3), (2, 3)]


def test_a_long_audit_is_waited_for(seen: dict[str, list[Seen]]) -> None:
    """The default group gives up after 30 minutes."""
    for process in seen["here"]:
        assert process["processes"][0][2] >= timedelta(days=1)


def test_shares_are_disjoint_and_cover_everything(seen: dict[str, list[Seen]]) -> None:
    assert values(seen, "share") == [
        [[0, 3, 6], [1, 4], [2, 5]],
        [[0, 2, 4, 6], [1, 3, 5]],
        [[0, 2, 4, 6], [1, 3, 5]],
    ]
    assert values(seen, "is_first") == [[True, False, False], [True, False], [True, False]]


def test_values_of_the_meetings(seen: dict[str, list[Seen]]) -> None:
    assert values(seen, "each") == [[0, 10, 20], [0, 10], [0, 10]]
    assert values(seen, "every") == [[[0, 10, 20]] * 3, [[0, 10]] * 2, [[0, 10]] * 2]
    assert values(seen, "once") == [["by 0"] * 3, ["by 0"] * 2, ["by 0"] * 2]
    assert values(seen, "who works in once") == [[[0], [], []], [[0], []], [[0], []]]
    for first, *others in values(seen, "collect"):
        assert np.array_equal(first, np.arange(len(others) + 1)[:, None].repeat(3, 1))
        assert others == [[]] * len(others)


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        ("each, one fails", ("OSError", "the disk is gone")),
        ("every, one fails", ("KeyError", "'no such key'")),
        ("collect, one fails", ("OSError", "the disk is gone")),
        ("once, the first fails", ("OSError", "the disk is gone")),
        ("an interrupt", ("KeyboardInterrupt", "")),
        ("an exit", ("SystemExit", "3")),
    ],
)
def test_an_error_in_one_process_is_raised_in_all(
    seen: dict[str, list[Seen]], scene: str, expected: tuple[str, str]
) -> None:
    assert all(error == expected for group in errors(seen, scene) for error in group)


def test_all_raise_the_same_error_if_several_fail(seen: dict[str, list[Seen]]) -> None:
    """Or some would catch theirs and go on while others leave."""
    for group in errors(seen, "each, all fail apart"):
        assert group == [("OSError", "a")] * len(group)


def test_an_interrupt_comes_before_any_error(seen: dict[str, list[Seen]]) -> None:
    """An error may be caught by the host, and the user wants to stop."""
    for group in errors(seen, "an interrupt and an error"):
        assert group == [("KeyboardInterrupt", "")] * len(group)


@pytest.mark.parametrize(
    ("scene", "at", "own", "reported_to_others"),
    [
        ("an error that cannot be copied", -1, "PickyError", "PickyError: it fails because it does"),
        ("the same in once", 0, "PickyError", "PickyError: it fails because it does"),
        ("an error of a local class", 0, "Local", "Local: nobody knows me"),
    ],
)
def test_an_error_that_cannot_be_sent_is_reported_in_words(
    seen: dict[str, list[Seen]], scene: str, at: int, own: str, reported_to_others: str
) -> None:
    for group in errors(seen, scene):
        assert group.pop(at)[0] == own
        assert group == [("SelfCleanError", reported_to_others)] * len(group)


def test_the_process_that_fails_raises_its_own_error_with_its_traceback(seen: dict[str, list[Seen]]) -> None:
    assert values(seen, "with its own traceback") == [[True, False, False], [True, False], [True, False]]


def test_after_all_these_errors_the_processes_are_still_in_step(seen: dict[str, list[Seen]]) -> None:
    assert values(seen, "still in step") == [[[0, 1, 2]] * 3, [[0, 1]] * 2, [[0, 1]] * 2]


def described(embeddings: Any) -> dict[str, Any]:
    reported = {name: value for name, value in vars(embeddings).items() if name not in ("vectors", "labels")}
    arrays = {name: getattr(embeddings, name) for name in ("pixels", "miniatures")}
    return {**reported, **{name: None if values is None else values.tolist() for name, values in arrays.items()}}


@pytest.mark.parametrize("case", CASES)
def test_several_processes_embed_what_one_embeds(seen: dict[str, list[Seen]], case: str) -> None:
    one, one_error = alone(f"embed: {case}")
    for (first, error), *others in both(seen, f"embed: {case}"):
        assert error == one_error
        assert others == [(None, one_error)] * len(others)
        if one_error is None:
            assert np.array_equal(first.vectors, one.vectors)
            assert first.vectors.dtype == one.vectors.dtype
            assert np.array_equal(first.labels, one.labels)
            assert described(first) == described(one)


def test_the_cases_that_fail_are_those_that_must() -> None:
    failing = {case: alone(f"embed: {case}")[1] for case in CASES}
    assert {case: error[0] for case, error in failing.items() if error is not None} == {
        "too few": "DataError",
        "nothing readable": "DataError",
        "labels of another length": "DataError",
    }


def by_hand(size: int) -> Any:
    """Each sample by the process whose share it is in; copies get what the first of them got."""
    pixels = Coloured(13, COPIES).array.transpose(0, 3, 1, 2).astype(np.float32).reshape(13, -1) / np.float32(255)
    first: dict[bytes, int] = {}
    for position in range(13):
        first.setdefault(pixels[position].tobytes(), position)
    return np.stack([row + np.float32(first[row.tobytes()] % size) for row in pixels])


def test_shares_are_merged_as_by_hand(seen: dict[str, list[Seen]]) -> None:
    for members, group in zip(GROUPS.values(), values(seen, "embed: marked"), strict=True):
        assert np.array_equal(group[0].vectors, by_hand(len(members)))
        assert not np.array_equal(group[0].vectors, by_hand(1))


def test_each_process_reads_its_share_once_and_nothing_else(seen: dict[str, list[Seen]]) -> None:
    for members, group in zip(GROUPS.values(), values(seen, "reads"), strict=True):
        assert group == [list(range(rank, 13, len(members))) for rank in range(len(members))]


@pytest.mark.parametrize(
    ("scene", "kind", "words"),
    [
        ("embed: NaN in one", "BackboneError", "the backbone gave NaN or infinity for "),
        ("embed: other width in one", "BackboneError", "the backbone must give every sample as many features, got 48"),
        ("embed: failure in one", "BackboneError", "OSError: this device is broken"),
        ("embed: interrupt in one", "KeyboardInterrupt", ""),
        ("resolve: failure in one", "BackboneError", "got int"),
        ("resolve: no checkpoint", "BackboneError", "process_group.py"),
    ],
)
def test_what_goes_wrong_in_one_share_is_raised_in_all(
    seen: dict[str, list[Seen]], scene: str, kind: str, words: str
) -> None:
    for group in errors(seen, scene):
        assert len(set(group)) == 1
        assert group[0][0] == kind
        assert words in group[0][1]


def test_the_cache_is_filled_by_all_and_written_once(seen: dict[str, list[Seen]]) -> None:
    expected, _ = alone("embed: copies across shares")
    for members, group in zip(GROUPS.values(), values(seen, "cached"), strict=True):
        assert [fed[1] for fed, _, _ in group] == [0] * len(members)
        assert all(fed[0] > 0 for fed, _, _ in group)
        assert [files for _, files, _ in group] == [1] * len(members)
        assert np.array_equal(group[0][2], expected.vectors)


def test_statistics_that_differ_between_processes_do_not_mix(seen: dict[str, list[Seen]]) -> None:
    """DistributedDataParallel leaves each process with running statistics of its own after a step."""
    model = own_weights(0).eval()
    body = nn.Sequential(*list(model.children())[:4])
    x = torch.stack([item for item, _ in (Coloured(13, {})[i] for i in range(13))])
    with torch.no_grad():
        expected = body(x).numpy()
    for group in values(seen, "statistics apart"):
        assert all(same for _, same in group)
        assert np.allclose(group[0][0].vectors, expected, atol=1e-6)
