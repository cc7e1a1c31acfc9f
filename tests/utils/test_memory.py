"""What is done with goes back to the system, and is there again when it is asked for."""

import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from selfclean_hooks.utils.memory import MANY, release_freed, release_mapped

MIB = 1 << 20


def resident(kind: str) -> float:
    """MiB of this process that are in memory: "RssAnon" or "RssFile"."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_was_freed_is_given_back() -> None:
    release_freed(MANY)
    blocks = [np.ones(8000) for _ in range(2000)]
    held = resident("RssAnon")
    last = blocks.pop()  # in use: what lies before it is kept without
    blocks.clear()
    release_freed(MANY)
    assert held - resident("RssAnon") > 60
    assert last.sum() == 8000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_a_file_are_let_go_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    np.save(path, np.arange(4 * MIB, dtype=np.float64))
    mapped = np.asarray(np.load(path, mmap_mode="r"))
    total, held = mapped.sum(), resident("RssFile")
    release_mapped(mapped)
    assert held - resident("RssFile") > 24
    assert mapped.sum() == total


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_written_to_a_mapped_file_stays(mode: Literal["c", "r+"], tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.zeros(MIB))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode=mode)
    mapped[:] = 1
    release_mapped(mapped[5:])
    release_mapped(np.ones(3))
    assert mapped.sum() == MIB
