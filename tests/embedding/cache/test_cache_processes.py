"""Several processes with one cache, those that are killed, and disks that are locked or full."""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks.embedding import cache as cache_module
from selfclean_hooks.embedding import cache_file
from selfclean_hooks.embedding.cache import NAME, Cache
from selfclean_hooks.embedding.cache_file import transaction
from selfclean_hooks.embedding.embed import embed
from tests.embedding.cache.cached_samples import MIB, cached, names, notes_on_cache, query, rows, stored
from tests.helpers.embedding_data import Items, Net


def processes(*work: Callable[[], Any]) -> list[int | None]:
    """The exit codes of processes that do this at the same time."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(work))

    def run(one: Callable[[], Any]) -> None:
        barrier.wait()
        one()

    children = [context.Process(target=run, args=(one,)) for one in work]
    for child in children:
        child.start()
    for child in children:
        child.join(100)
        child.kill()
    return [child.exitcode for child in children]


def test_two_processes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SECONDS", 0.0)  # each batch is written
    data = Items(150)
    expected = embed(data, net := Net(), progress=False)

    def work() -> None:
        for _ in range(2):
            found = embed(data, net, cache_dir=tmp_path, batch_size=3, progress=False)
            assert np.allclose(found.vectors, expected.vectors, atol=1e-6)

    assert processes(work, work) == [0, 0]
    assert rows(tmp_path) == 300  # and as many by random weights
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    found = cached(data, fresh := Net(), tmp_path)
    assert fresh.fed == 0
    assert np.allclose(found.vectors, expected.vectors, atol=1e-6)


class Deadly(Items):
    """The process that reads one item is killed."""

    def __getitem__(self, index: int) -> Any:
        if index == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_what_was_written_before_a_kill_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SECONDS", 0.0)
    killed = lambda: embed(Deadly(30), Net(), cache_dir=tmp_path, batch_size=6, progress=False)  # noqa: E731
    assert processes(killed) == [-signal.SIGKILL]
    assert rows(tmp_path) == 18
    cached(Items(30), net := Net(), tmp_path)
    assert net.fed == 12


def test_a_kill_in_the_middle_of_writing_leaves_what_was_there(tmp_path: Path) -> None:
    stored(tmp_path, "1", MIB)

    def killed() -> None:
        with transaction(tmp_path / NAME, "PRAGMA cache_size = 2", "BEGIN IMMEDIATE", writable=True) as file:
            file.execute("UPDATE vectors SET vector = zeroblob(1048584)")
            os.kill(os.getpid(), signal.SIGKILL)

    before = (tmp_path / NAME).read_bytes()
    assert processes(killed) == [-signal.SIGKILL]
    assert (tmp_path / NAME).read_bytes() != before  # and a journal lies beside it
    found = Cache(tmp_path, "1").get(MIB)
    assert all(np.array_equal(found[name], MIB[name]) for name in MIB)
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("moment", ["opened", "read", "written"])
def test_a_file_that_stays_locked_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setattr(cache_file, "PATIENCE", 0.0)
    stored(tmp_path, "1", {"a": [1, 2]})
    cache = Cache(tmp_path, "1")
    cache.keep({"b": np.ones(2, np.float32)})
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as file:
        file.execute("BEGIN EXCLUSIVE")
        if moment == "opened":
            cache = Cache(tmp_path, "1")
        elif moment == "read":
            assert cache.get("a") == {}
        else:
            cache.flush()
    assert "(database is locked)" in cache.note
    cache.keep({"c": np.ones(2, np.float32)})
    cache.finish("abc")
    assert cache.get("a") == {}
    assert names(tmp_path) == ["1a"]


@pytest.mark.parametrize("moment", ["opened", "written"])
def test_a_full_disk_ends_the_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    if moment == "written":
        cached(Items(6), Net(), tmp_path)
    full = (*cache_file.SETTINGS, f"PRAGMA max_page_count = {1 if moment == 'opened' else 3}")
    monkeypatch.setattr(cache_file, "SETTINGS", full)
    whole = cache_file.transaction

    def small(path: Path, *begin: str, writable: bool) -> Any:
        limits = (begin[0], full[-1], *begin[1:]) if moment == "opened" else (full[-1], *(begin or ("BEGIN",)))
        return whole(path, *(begin if moment == "opened" else limits), writable=writable)

    monkeypatch.setattr(cache_module, "transaction", small)
    data = Items(3000)
    found = cached(data, net := Net(), tmp_path)
    assert net.fed >= 2994
    (note,) = notes_on_cache(found)
    assert "(database or disk is full)" in note
    assert np.array_equal(found.vectors[:6], cached(Items(6), Net(), tmp_path / "other").vectors)


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(Items(6), net := Net(), tmp_path)
    before = (tmp_path / NAME).read_bytes()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    found = cached(Items(), net, tmp_path)
    assert net.fed == 12
    assert any("nothing new is kept in cache_dir" in note and "cannot be written" in note for note in found.notes)
    assert (tmp_path / NAME).read_bytes() == before
    assert np.array_equal(cached(Items(), net, tmp_path / "empty").vectors[:6], found.vectors[:6])
    assert list((tmp_path / "empty").iterdir()) == []
