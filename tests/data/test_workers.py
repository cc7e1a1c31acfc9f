"""Reading in worker processes: what they cannot do is done without them, and what never comes is an error."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import forkserver as server
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from selfclean_hooks import audit, audit_splits
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data import workers
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.errors import DataError, DataWarning, SettingError
from selfclean_hooks.utils import patience
from tests.embedding.cache.cached_samples import refused, small
from tests.helpers.embedding_data import Items, as_image, mean_colour
from tests.helpers.forked import forked
from tests.helpers.log_records import Records

N = 30


def flat(batch: Tensor) -> Tensor:
    return batch.flatten(1)


class Rows(Dataset[Any]):
    """Random rows; what reading one of them does is given."""

    def __init__(self, n: int = N, odd: Callable[[int], Any] = lambda index: None) -> None:
        self.n, self.odd = n, odd
        self.handle: Any = None

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        self.odd(index)
        return torch.from_numpy(np.random.default_rng(index).random(12, dtype=np.float32)), index % 3


def embedded(data: Any, **settings: Any) -> Any:
    return embed(data, flat, progress=False, **{"batch_size": 4, "num_workers": 2, **settings})


PLAIN = embedded(Rows(), num_workers=0).vectors


@pytest.fixture(scope="module")
def forkserver() -> Iterator[str]:
    """A start method that hands on by pickle alone, as spawn does, and imports torch once for all processes."""
    server.set_forkserver_preload(["tests.data.test_workers"])
    yield "forkserver"
    state: Any = server._forkserver
    if state._forkserver_pid is not None:  # it would wait for workers of loaders that were forked meanwhile
        os.kill(state._forkserver_pid, signal.SIGKILL)
    state._stop()


@pytest.fixture
def started_by_forkserver(forkserver: str) -> Iterator[None]:
    """Processes for which no start method is asked for."""
    multiprocessing.set_start_method(forkserver, force=True)
    yield
    multiprocessing.set_start_method(None, force=True)


class Local:
    """Can be made, and not be sent."""

    def __reduce__(self) -> Any:
        raise RuntimeError("a handle of this process")


def test_items_that_cannot_be_sent_end_no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    own = vars(workers)["batch_of"]

    def with_handle(read: Any) -> Any:
        batch = own(read)
        if get_worker_info() is not None and batch.samples[0].index >= 8:
            vars(batch)["handle"] = Local()
        return batch

    monkeypatch.setattr(workers, "batch_of", with_handle)
    with pytest.warns(DataWarning, match=r"cannot send what it reads .*a handle of this.* from index 8 on it"):
        found = embedded(Rows())
    assert np.array_equal(found.vectors, PLAIN)
    assert any("from index 8 on it is read without workers" in note for note in found.notes)


def test_workers_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    with pytest.warns(DataWarning, match=r"cannot be started \(.*temporarily unavailable\), so from index 0 on it is"):
        found = embedded(Rows())
    assert np.array_equal(found.vectors, PLAIN)


def test_a_worker_that_is_killed_is_an_error_that_says_where() -> None:
    def killed(index: int) -> None:
        if index == 17 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DataError, match=r"a worker process ended while index .*\b17\b.* was read: .*num_workers=0"):
        embedded(Rows(odd=killed))


def stuck(at: int) -> Callable[[int], Any]:
    return lambda index: time.sleep(600) if index == at else None


@pytest.mark.parametrize(("count", "at"), [(0, 21), (1, 13), (2, 6)])
def test_an_item_that_never_comes_is_named(count: int, at: int) -> None:
    message = rf"index {at} did not answer within 1\.5 s \(timeout=1\.5\)"
    with pytest.raises(DataError, match=message):
        audit(Rows(odd=stuck(at)), flat, progress=False, num_workers=count, timeout=1.5, batch_size=4)
    assert signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, signal.SIG_IGN)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_of_splits_too() -> None:
    with pytest.raises(DataError, match="index 3 did not answer"):
        audit_splits({"train": Rows(), "val": Rows(odd=stuck(3))}, flat, progress=False, timeout=1.0)


class Stubborn(Rows):
    """Tries again whatever happens."""

    def __getitem__(self, index: int) -> Any:
        try:
            return super().__getitem__(index)
        except Exception:
            return super().__getitem__(0)


def test_code_that_catches_every_error_does_not_catch_the_end_of_patience() -> None:
    with pytest.raises(DataError, match="index 5 did not answer"):
        audit(Stubborn(odd=stuck(5)), flat, progress=False, timeout=0.5)


def test_an_alarm_of_the_users_stays() -> None:
    rung: list[int] = []
    former = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        audit(Rows(), flat, progress=False, timeout=5)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert rung == []


@pytest.mark.parametrize("count", [0, 2])
def test_a_line_names_what_is_waited_for(count: int, monkeypatch: pytest.MonkeyPatch, caplog: Records) -> None:
    monkeypatch.setattr(patience, "NOTICE", 1.0)
    is_named = multiprocessing.get_context("fork").Event()  # by then the item comes, however slow the machine is

    def hears(record: logging.LogRecord) -> bool:
        if "index 9 " in record.getMessage():
            is_named.set()
        return True

    caplog.addFilter(hears)
    with caplog.at_level(logging.WARNING, "selfclean_hooks"):
        found = embedded(Rows(odd=lambda index: is_named.wait(60) if index == 9 else None), num_workers=count)
    assert np.array_equal(found.vectors, PLAIN)
    said = [record.getMessage() for record in caplog.records if "waiting for" in record.getMessage()]
    assert "waiting for index 9 since 1 s" in said
    assert {line for line in said if "index" in line} == {said[0]}  # a slow machine is waited for at the end as well


@pytest.mark.parametrize("timeout", [0, -1, True, float("inf"), float("nan"), "5"])
def test_patience_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(SettingError, match="timeout must be a number of seconds above 0, or None"):
        EmbeddingSettings(timeout=timeout)


def opens(number: int) -> None:
    info: Any = get_worker_info()
    info.dataset.handle = [number]


class Opened(Rows):
    """Can be read in workers only, which open its file."""

    def __getitem__(self, index: int) -> Any:
        assert self.handle[0] in (0, 1)
        return super().__getitem__(index)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_the_users_code_starts_the_workers(method: str, started_by_forkserver: None) -> None:
    context = multiprocessing.get_context(method)
    options = {"worker_init_fn": opens, "multiprocessing_context": context, "prefetch_factor": 3}
    data = Opened()
    data.odd = int  # can be pickled
    found = embedded(data, worker_options=options)
    assert (found.errors, data.handle) == ({}, None)
    assert np.array_equal(found.vectors, PLAIN)


def test_workers_that_are_not_forked_read_the_same(started_by_forkserver: None) -> None:
    there, here = (embed(Items(broken=(3,)), mean_colour, num_workers=n, progress=False) for n in (1, 0))
    assert np.array_equal(there.vectors, here.vectors)
    assert there.errors == here.errors == {3: "OSError: item 3 is broken"}
    assert there.notes == ()


def test_workers_that_are_not_forked_know_what_is_known(tmp_path: Path, started_by_forkserver: None) -> None:
    for number, prepare in enumerate((small, refused)):
        encoder = Encoder("mean", mean_colour, None, "fingerprint", prepare)
        found = embed(Items(make=as_image), encoder, cache_dir=tmp_path, num_workers=number, progress=False)
        assert (found.errors, found.notes) == ({}, ())


def test_how_processes_start_stays_the_users_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vars(multiprocessing)["context"]._default_context, "_actual_context", None)
    assert np.array_equal(embedded(Rows()).vectors, PLAIN)
    assert multiprocessing.get_start_method(allow_none=True) is None
    multiprocessing.set_start_method("spawn")  # raises where it was settled


def test_without_these_workers_nothing_is_taken_for_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(DataError, match=r"worker processes are needed for worker_init_fn, and .* cannot be started"):
        embedded(Opened(), worker_options={"worker_init_fn": opens})


NEW_NAMESPACE = 0x00020000  # CLONE_NEWNS: of what is mounted
NOT_ALLOWED = 77


class Grey(Dataset[Any]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 128, 128), float(index)), index % 2


def with_small_shared_memory() -> None:
    """In a process of its own: prints what is noted where workers have 4 MB for batches of 6."""
    mounted = "mount --make-rprivate / && mount -t tmpfs -o size=4m tmpfs /dev/shm"
    if ctypes.CDLL(None).unshare(NEW_NAMESPACE) or subprocess.run(mounted, shell=True, check=False).returncode:
        sys.exit(NOT_ALLOWED)
    warnings.simplefilter("ignore")
    found = embed(Grey(), mean_colour, progress=False, num_workers=2, batch_size=30)
    assert np.array_equal(found.vectors[:, 0], np.arange(40)), found.vectors[:, 0]
    print(*found.notes)


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_a_small_shared_memory_as_in_docker() -> None:
    done = forked(with_small_shared_memory)
    if done.status == NOT_ALLOWED:
        pytest.skip("a file system can be mounted by root in a namespace of its own only")
    assert done.status == 0, done.err[-3000:]
    assert "is read without workers" in done.out
