"""`torchrun --nproc-per-node 2 -m selfclean_hooks audit ...`: one audit, one report, and one error."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import start_processes

from selfclean_hooks.cli.main import main
from selfclean_hooks.neighbors.screening import device
from selfclean_hooks.utils import shared_work

PATIENCE = 120  # seconds; a hang must fail and not last
N = 90


def launched(rank: int, folder: Path, ports: tuple[int, int]) -> None:
    """Two audits, of data and of a file that is not there, by one of two processes."""
    torch.set_num_threads(1)
    shared_work.cores = lambda: 1
    there = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", **{name: str(value) for name, value in there.items()}}
    device._device.set(replace(device.PROCESSOR, budget=2000))  # several blocks
    status = []
    for name, port in zip(("data", "missing"), ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        status.append(written(folder / f"{name}{rank}", audit(folder, name)))
        (folder / f"{name}{rank}.threads").write_text(" ".join(running()))
    (folder / f"status{rank}").write_text(repr(status))


def running() -> list[str]:
    """Names of the threads of this process, those of libraries included."""
    return sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))


def audit(folder: Path, name: str) -> Callable[[], int]:
    out = folder / f"{name}.audit"
    return lambda: main(["audit", str(folder / f"{name}.npz"), "-o", str(out), "--no-report", "--max-off-topic", "0"])


def written(prefix: Path, command: Callable[[], int]) -> int:
    with (
        Path(f"{prefix}.out").open("w") as out,
        Path(f"{prefix}.err").open("w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        return command()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("launched")
    rng, labels = np.random.default_rng(0), np.arange(N) % 3
    np.savez(found / "data.npz", embeddings=4 * np.eye(8)[labels] + rng.normal(size=(N, 8)), labels=labels)
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    context = start_processes(launched, (found, ports), nprocs=2, join=False, start_method="fork")  # type: ignore[no-untyped-call]
    try:
        assert any(context.join(PATIENCE) for _ in range(3)), "the processes wait for each other"
    finally:
        for process in context.processes:
            process.kill()
    return found


def test_the_audit_is_that_of_one_process_and_reported_once(folder: Path, tmp_path: Path) -> None:
    assert main(["audit", str(folder / "data.npz"), "-o", str(tmp_path / "out"), "--no-report", "-q"]) == 0
    with np.load(tmp_path / "out" / "scores.npz") as alone, np.load(folder / "data.audit" / "scores.npz") as shared:
        assert alone.files == shared.files
        for name in alone.files:
            np.testing.assert_array_equal(alone[name], shared[name])
    assert f"{N} samples" in (folder / "data0.out").read_text()
    assert [(folder / f"data1.{stream}").read_text() for stream in ("out", "err")] == ["", ""]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed by Linux alone")
def test_no_thread_of_a_group_is_left_that_could_abort_the_end_of_the_process(folder: Path) -> None:
    for rank in range(2):
        assert "gloo" not in (folder / f"data{rank}.threads").read_text()


def test_an_error_is_shown_once_and_the_status_is_that_of_the_first(folder: Path) -> None:
    assert [(folder / f"status{rank}").read_text() for rank in range(2)] == ["[0, 2]", "[0, 2]"]
    assert "missing.npz" in (folder / "missing0.err").read_text()
    assert [(folder / f"missing1.{stream}").read_text() for stream in ("out", "err")] == ["", ""]
