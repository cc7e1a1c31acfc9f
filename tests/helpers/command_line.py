"""The command line in process, what it is fed with, and how it is reported that it refused."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from selfclean_hooks.cli import main as cli

Call = Callable[..., "Ran"]
Vectors = NDArray[np.float32]

COPIES = {  # between the splits of `write_splits`; the labels of the last two differ
    ("train", 4, "val", 0),
    ("train", 6, "val", 2),
    ("val", 9, "test", 3),
    ("train", 8, "test", 1),
    ("val", 5, "test", 4),
}
SIZES = {"train": 60, "val": 30, "test": 40}


class Ran(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: Any) -> Ran:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return Ran(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def audited_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `source` and what the command saves of it, made once."""
    place = tmp_path_factory.mktemp("audited_once")
    vectors, labels = two_classes(60)
    vectors[[10, 20]] = vectors[0]
    labels[-1] = 1 - labels[-1]
    data = write_npz(place / "x.npz", vectors, labels)
    with redirect_stdout(StringIO()):
        assert cli.main(["audit", str(data), "-o", str(place / "saved"), "--no-progress"]) == 0
    return place


@pytest.fixture
def source(audited_once: Path, tmp_path: Path) -> Path:
    """Two clear classes in 16 dimensions: row 0 is there three times, and the last label is wrong."""
    return Path(shutil.copy(audited_once / "x.npz", tmp_path))


@pytest.fixture
def saved(source: Path, audited_once: Path, tmp_path: Path) -> Path:
    """The audit of `source`, as the command saves it."""
    return shutil.copytree(audited_once / "saved", tmp_path / "saved")


def two_classes(n: int, seed: int = 0) -> tuple[Vectors, NDArray[np.int64]]:
    """Rows of two clear classes, in turn."""
    labels = np.arange(n) % 2
    rows = np.random.default_rng(seed).normal(size=(n, 16))
    rows += 8 * labels[:, None] * np.eye(16)[0] + 8 * (1 - labels[:, None]) * np.eye(16)[1]
    return rows.astype(np.float32), labels


def write_npz(path: Path, vectors: Any, labels: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, embeddings=vectors, **({} if labels is None else {"labels": labels}))
    return path


def write_splits(folder: Path) -> list[str]:
    """Three splits with `COPIES` between them, as they are named on the command line."""
    parts = {name: two_classes(n, seed) for seed, (name, n) in enumerate(SIZES.items())}
    for one, index, other, copy in COPIES:
        parts[other][0][copy] = parts[one][0][index]
    return [f"{name}={write_npz(folder / f'{name}.npz', *parts[name])}" for name in ("val", "train", "test")]


def refused(ran: Ran) -> str:
    """The message of a run that ended in an error."""
    assert ran.status == 2
    assert "Traceback" not in ran.out + ran.err
    assert ran.out == ""
    return " ".join(ran.err.split())


def contents(folder: Path) -> Mapping[str, str]:
    """Every file below the folder and the digest of what it holds."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
