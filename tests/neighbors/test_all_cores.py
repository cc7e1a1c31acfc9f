"""The first of several processes computes with all cores while the others wait."""

import os

import pytest
import torch

from selfclean_hooks.audits.distributed import all_cores
from selfclean_hooks.utils.processes import Processes


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)


@pytest.fixture(autouse=True)
def threads() -> None:
    assert torch.get_num_threads() != 3, "the tests need another number to tell the two apart"


@pytest.mark.parametrize(("rank", "size", "is_changed"), [(0, 2, True), (1, 2, False), (0, 1, False)])
def test_the_first_of_several_gets_all(rank: int, size: int, is_changed: bool) -> None:
    before = torch.get_num_threads()
    with all_cores(Processes(rank, size)):
        assert torch.get_num_threads() == (3 if is_changed else before)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("size", [1, 2])
def test_the_number_is_put_back_after_an_error(size: int) -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="no luck"), all_cores(Processes(0, size)):
        raise RuntimeError("no luck")
    assert torch.get_num_threads() == before


def test_where_the_system_knows_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    with all_cores(Processes(0, 2)):
        assert torch.get_num_threads() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    before = torch.get_num_threads()
    with all_cores(Processes(0, 2)):
        assert torch.get_num_threads() == before
