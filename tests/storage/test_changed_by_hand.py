"""Files of a saved audit that someone changed: whatever is in them, they load or one sentence says what is wrong."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.cli import main as cli
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.report.html.page import render
from selfclean_hooks.storage import array_schema
from selfclean_hooks.storage.ownership import digest_of
from tests.helpers.format_data import two
from tests.storage.saved_audits import leaking

WEIRD: list[Any] = [
    None, True, -1, 0, 10**400, 2**63, 1e308, float("inf"), float("nan"), "", "x" * 5000, "\x1b[2J\ud800",
    [], [[]], {}, {"": None}, [1, "a", None], "../..", "10", [0] * 100,
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value of a JSON document may be changed."""
    if path:
        yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    at = copy
    for key in path[:-1]:
        at = at[key]
    if value is places:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return copy


def audit() -> Audit:
    made = leaking().with_decisions(Review((Mark("off_topic", "confirmed", 3), Mark("off_topic", "rejected", 4))))
    fitness = {"rank": 0.5, "centred_rank": 0.5, "agreement": 0.3}
    about = {"samples": 9, "dimensions": 3, "own": fitness, "random": fitness, "chance": 0.1, "gain_error": 0.01}
    settings = {"method": "default", "max_items": 20}
    provenance = {**made.provenance, "fitness": about, "settings": settings}
    return type(made)(
        **{**{name: getattr(made, name) for name in vars(made) if name[0] != "_"}, "provenance": provenance}
    )


def changes(document: Any, share: int) -> list[tuple[Any, ...]]:
    every = [(path, value) for path in places(document) for value in (*WEIRD, places)]
    order = np.random.default_rng(0).permutation(len(every))
    return [every[i] for i in order[: max(1, len(every) // share)]]


def loads_or_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether it loads; all that is shown of it is shown then."""
    try:
        found = SplitsAudit.load(folder) if (folder / "splits.json").exists() else Audit.load(folder)
    except AuditFileError as error:
        said = str(error)
        assert str(folder) in said
        assert said[-1] not in "\n"
        return False
    audits = found.audits if isinstance(found, SplitsAudit) else {"": found}
    for one in audits.values():
        render(one)
        assert len(one.frame) == len(one)
    for output in ("table", "json", "markdown"):
        assert cli.main(["gate", str(folder), "--format", output]) in (0, 1, 2)
        assert "Traceback" not in capsys.readouterr().err
    return True


SHARE = 60  # one change in so many is tried; 1 tries all


def test_manifests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit().save(tmp_path)
    path = tmp_path / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    seen = set()
    for place, value in changes(document, SHARE):
        path.write_text(json.dumps(changed(document, place, value)))
        seen.add(loads_or_says_why(tmp_path, capsys))
    assert seen == {False, True}


def test_indices_of_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"split_1": "train", "split_2": "val", "distance": 0.5, "expected": 0.25, "p_value": 0.125}
    SplitsAudit(two(), ({**row, "components": 3, "explained": 1.0},)).save(tmp_path)
    path = tmp_path / "splits.json"
    document = json.loads(path.read_text())
    for place, value in changes(document, SHARE // 4):
        path.write_text(json.dumps(changed(document, place, value)))
        loads_or_says_why(tmp_path, capsys)


# --- arrays ----------------------------------------------------------------------------------------------------------


def rewritten(folder: Path, write: Callable[[dict[str, Any]], bytes]) -> None:
    with np.load(folder / "scores.npz") as file:
        content = write(dict(file))
    (folder / "scores.npz").write_bytes(content)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "scores_blake2b": digest_of(content)}))


def saved_arrays(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


CHANGES: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "shorter": lambda a: a[:-1],
    "longer": lambda a: np.concatenate([a, a[:1], a[:1]]) if a.ndim else a,
    "empty": lambda a: a[:0],
    "another axis": lambda a: a[..., None],
    "no axis": lambda a: a.dtype.type(1),
    "complex": lambda a: a.astype(np.complex128),
    "text": lambda a: a.astype(str),
    "times": lambda a: np.zeros(a.shape, "datetime64[s]"),
    "booleans": lambda a: a.astype(bool),
    "half": lambda a: a.astype(np.float16),
    "unsigned": lambda a: a.astype(np.uint64),
    "turned": lambda a: a.astype(a.dtype.newbyteorder()),
    "huge": lambda a: np.full_like(a, np.iinfo(a.dtype).max if a.dtype.kind in "iu" else 1e30),
    "negative": lambda a: np.full_like(a, np.iinfo(a.dtype).min if a.dtype.kind in "iu" else -5),
    "infinite": lambda a: np.full_like(a, np.inf if a.dtype.kind == "f" else 3),
    "missing": lambda a: np.full_like(a, np.nan if a.dtype.kind == "f" else 0),
    "records": lambda a: np.zeros(a.shape, [("x", "i8")]),
}


def test_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit().save(tmp_path)
    content = (tmp_path / "scores.npz").read_bytes()
    with np.load(tmp_path / "scores.npz") as file:
        names = file.files
    every = [(name, change) for name in names for change in (*CHANGES, None)]
    for at in np.random.default_rng(0).permutation(len(every))[::SHARE]:
        name, change = every[at]
        (tmp_path / "scores.npz").write_bytes(content)

        def write(arrays: dict[str, Any], name: str = name, change: str | None = change) -> bytes:
            other = {} if change is None else {name: CHANGES[change](arrays[name])}
            return saved_arrays({key: arrays[key] for key in arrays if key != name} | other)

        rewritten(tmp_path, write)
        loads_or_says_why(tmp_path, capsys)


def test_bytes_of_arrays(tmp_path: Path) -> None:
    audit().save(tmp_path)
    with np.load(tmp_path / "scores.npz") as file:
        buffer = io.BytesIO()
        np.savez(buffer, **dict(file))  # not compressed: values and headers are hit too
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        content = bytearray(buffer.getvalue())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        rewritten(tmp_path, lambda _, content=content: bytes(content))  # type: ignore[misc]
        try:
            seen.add(len(Audit.load(tmp_path).frame))
        except AuditFileError:
            seen.add(0)
        (tmp_path / "scores.npz").write_bytes(buffer.getvalue())
    assert seen == {0, 62}


def test_what_would_unpack_to_more_than_the_samples_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit().save(tmp_path)
    monkeypatch.setattr(array_schema, "MOST_BYTES", 10_000_000)
    rewritten(tmp_path, lambda arrays: saved_arrays({**arrays, "thumbnail_bytes": np.zeros(30_000_000, np.uint8)}))
    assert (tmp_path / "scores.npz").stat().st_size < 100_000
    with pytest.raises(AuditFileError, match=r"must take at most [\d,]+ bytes for 62 samples, got 30,0"):
        Audit.load(tmp_path)


def test_arrays_of_later_versions_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit().save(tmp_path)
    monkeypatch.setattr(array_schema, "MOST_BYTES", 10_000_000)
    rewritten(tmp_path, lambda arrays: saved_arrays({**arrays, "of_later": np.zeros(30_000_000, np.uint8)}))
    assert Audit.load(tmp_path).n == 62


@pytest.mark.parametrize("what", ["a length that is not there", "an array twice", "no array"])
def test_odd_archives(what: str, tmp_path: Path) -> None:
    audit().save(tmp_path)

    def write(arrays: dict[str, Any]) -> bytes:
        buffer = io.BytesIO(saved_arrays({name: array for name, array in arrays.items() if name != "off_topic"}))
        with zipfile.ZipFile(buffer, "a") as file:
            if what == "no array":
                file.writestr("off_topic.npy", b"hello")
                return buffer.getvalue()
            held = io.BytesIO()
            np.save(held, arrays["off_topic"])
            head = held.getvalue()[:128]
            if what == "an array twice":
                file.writestr("off_topic.npy", held.getvalue())
                file.writestr("label.npy", held.getvalue())
            else:
                file.writestr("off_topic.npy", head)
        return buffer.getvalue()

    with pytest.warns(UserWarning, match="Duplicate") if what == "an array twice" else pytest.MonkeyPatch.context():
        rewritten(tmp_path, write)
    with pytest.raises(AuditFileError, match=r"scores\.npz must be as Audit\.save wrote it"):
        Audit.load(tmp_path)
