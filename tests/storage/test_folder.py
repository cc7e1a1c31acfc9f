"""A saved audit: what is in the folder, that it comes back as it was, and what is said of folders that are none."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks import Audit, Policy, Thresholds, audit_embeddings
from selfclean_hooks.core.embeddings import Evidence
from selfclean_hooks.core.scores import LeakPairs, scatter_scores
from selfclean_hooks.errors import AuditFileError, PolicyError
from selfclean_hooks.results.finding_neighbors import with_evidence
from selfclean_hooks.utils.files import check_writable, write

N = 60
HOSTILE = (
    "a\nb.png",
    "<script>alert(1)</script>.png",
    "caf\udce9.png",
    '=HYPERLINK("x")',
    "+1+1",
    "@x",
    "-3.5",
    "a,b\r\"c'",
)
FILES = {"manifest.json", "samples.csv", "pairs.csv", "clean_indices.txt", "scores.npz", "report.html"}


def vectors(n: int = N) -> np.ndarray[Any, Any]:
    found = np.random.default_rng(0).normal(size=(n, 12)).astype(np.float32)
    found[3] = found[1]
    return found


def made(labels: Any = "words", **settings: Any) -> Audit:
    words = np.array(["cat", "<b>dog</b>", "=1+1"])[np.arange(N) % 3]
    return audit_embeddings(vectors(), words if isinstance(labels, str) else labels, **settings)


def full() -> Audit:
    """With all there can be: unreadable samples, hostile names, thumbnails, a note."""
    plain = made()
    positions = np.delete(np.arange(N + 2), [5, 7])
    errors = {5: "OSError: broken\nfile", 7: "=ValueError"}
    scores = scatter_scores(plain.scores, positions, N + 2, errors=errors, class_names=plain.scores.class_names)
    names = (*HOSTILE, *(f"{i}.png" for i in range(N + 2 - len(HOSTILE))))
    provenance = {**plain.provenance, "notes": ["é \udcff"], "encoder": {"name": "x", "rank_me": 3.25}}
    scores = replace(scores, pixels=np.arange(N + 2) - 1)
    digests = ("", *(f"{i:032x}" for i in range(N + 1)))
    thumbnails = {1: b"\x89PNG", 3: b"", 9: b"ab"}
    whole = replace(plain, scores=scores, names=names, digests=digests, provenance=provenance, thumbnails=thumbnails)
    return with_evidence(whole, vectors())


def leaking(names: bool = True) -> Audit:
    """An audit with pairs of two other splits, one of them of hostile name."""
    index, distance = np.array([3, 0, N + 1]), np.array([0, 0.01, 0.9], np.float32)
    leaks = LeakPairs(
        ("train", "val", "=1+1"), (N + 2, 9, 4), np.array([1, 2, 1]), index, np.array([8, 3, 0]), distance
    )
    leaks = replace(leaks, other_names=HOSTILE[:3], other_digests=("a", "", "b"), automatic=0.02) if names else leaks
    audit = full()
    thumbnails = {("=1+1", 3): b"PNG", ("val", 8): b""}
    return replace(audit, scores=replace(audit.scores, leaks=leaks), leak_thumbnails=thumbnails)


def assert_same(found: Audit, expected: Audit) -> None:
    pd.testing.assert_frame_equal(found.frame, expected.frame, check_exact=True)
    pd.testing.assert_frame_equal(found.pairs, expected.pairs, check_exact=True)
    pd.testing.assert_frame_equal(found.summary, expected.summary, check_exact=True)
    assert found.contamination == expected.contamination
    assert found.clean_indices.tolist() == expected.clean_indices.tolist()
    assert found.provenance == expected.provenance
    assert (found.thresholds, found.policy) == (expected.thresholds, expected.policy)
    assert (found.names, dict(found.thumbnails)) == (expected.names, dict(expected.thumbnails))
    assert found.digests == expected.digests
    np.testing.assert_array_equal(found.scores.pixels, expected.scores.pixels)
    assert found.scores.not_run == expected.scores.not_run
    assert found.scores.pairs_complete_below == expected.scores.pairs_complete_below
    pd.testing.assert_frame_equal(found.leakage, expected.leakage, check_exact=True)
    assert dict(found.leak_thumbnails) == dict(expected.leak_thumbnails)
    if found.evidence is None or expected.evidence is None:
        assert found.evidence is expected.evidence
    else:
        mine, its = found.evidence, expected.evidence
        assert (dict(mine.off_topic), dict(mine.labels)) == (dict(its.off_topic), dict(its.labels))
        assert mine.projection == its.projection
        np.testing.assert_array_equal(mine.map, its.map)
    ours, theirs = found.scores.leaks, expected.scores.leaks
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        assert (ours.splits, ours.sizes, ours.other_names) == (theirs.splits, theirs.sizes, theirs.other_names)
        assert (ours.other_digests, ours.automatic) == (theirs.other_digests, theirs.automatic)


@pytest.mark.parametrize(
    "make",
    [
        full,
        lambda: replace(full(), evidence=None),
        lambda: replace(full(), evidence=Evidence({}, {}, None, "")),
        leaking,
        lambda: leaking(names=False),
        made,
        lambda: made(None),
        lambda: made(np.arange(N) % 4 - 1),
        lambda: made(np.zeros(N, int)),
        lambda: audit_embeddings(np.eye(2), [0, 1]),
        lambda: made(method="selfclean"),
        lambda: full().at(thresholds=Thresholds(0.05, None, 0.4), policy=Policy("drop", "ignore", "drop", "drop", 1)),
    ],
)
def test_a_saved_audit_comes_back_exactly(make: Callable[[], Audit], tmp_path: Path) -> None:
    audit = make()
    audit.save(tmp_path / "new" / "folder")
    found = Audit.load(tmp_path / "new" / "folder")
    assert_same(found, audit)
    other = Thresholds(None, 0.9, 0.9)
    assert_same(found.at(thresholds=other), audit.at(thresholds=other))
    further = {"leakage.csv"} if audit.scores.leaks is not None else set()
    further |= {"clean_files.txt"} if audit.names else set()
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == FILES | further


def test_saving_again_replaces_the_old_audit(tmp_path: Path) -> None:
    full().save(tmp_path)
    (tmp_path / "mine.txt").write_text("stays")
    second = made(None)
    second.save(tmp_path)
    assert_same(Audit.load(tmp_path), second)
    assert (tmp_path / "mine.txt").read_text() == "stays"


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    audit = full().at(thresholds=Thresholds(None, "auto", "auto"))
    audit = replace(audit, provenance={**audit.provenance, "encoder": {"rank_me": float("nan"), "dim": np.int64(3)}})
    audit.save(tmp_path)
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    assert text.endswith("}\n")
    assert manifest["format"] == 1
    assert manifest["encoder"] == {"rank_me": None, "dim": 3}
    assert manifest["counts"]["n"] == N + 2
    assert manifest["counts"]["kept"] == len(audit.clean_indices)
    assert manifest["counts"]["near_duplicates"]["threshold"] is None
    assert manifest["counts"]["unreadable"]["num_issues"] == 2
    assert manifest["notes"] == ["é \udcff"]
    made(None).save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["not_run"] == {"label_errors": "there are no labels"}
    assert manifest["counts"]["label_errors"]["num_issues"] is None


def test_tables_hold_every_sample_and_no_formula(tmp_path: Path) -> None:
    audit = full()
    audit.save(tmp_path)
    read = pd.read_csv(tmp_path / "samples.csv", keep_default_na=False)
    assert list(read.columns) == ["index", "sample", *audit.frame.columns]
    assert read["index"].tolist() == list(range(N + 2))
    assert read["sample"].tolist()[: len(HOSTILE)] == [
        "a\nb.png",
        "<script>alert(1)</script>.png",
        "caf\\udce9.png",
        '\'=HYPERLINK("x")',
        "'+1+1",
        "'@x",
        "-3.5",
        "a,b\\r\"c'",
    ]
    assert read["error"][7] == "'=ValueError"
    assert set(read["given_label"]) == {"cat", "<b>dog</b>", "'=1+1", ""}
    assert (read["near_duplicate_set"] == audit.frame["near_duplicate_set"]).all()
    scores = pd.to_numeric(read["off_topic_score"]).to_numpy()
    np.testing.assert_array_equal(scores, audit.frame["off_topic_score"].to_numpy())
    pairs = pd.read_csv(tmp_path / "pairs.csv", dtype={"distance": np.float32})
    np.testing.assert_array_equal(pairs["distance"], audit.pairs["distance"])
    assert list(pairs.columns) == list(audit.pairs.columns)


def test_the_table_of_leakage_names_both_files(tmp_path: Path) -> None:
    audit = leaking()
    audit.save(tmp_path)
    read = pd.read_csv(tmp_path / "leakage.csv", keep_default_na=False)
    assert list(read.columns) == [
        "split_1",
        "index_1",
        "sample_1",
        "split_2",
        "index_2",
        "sample_2",
        "distance",
        "is_leakage_issue",
    ]
    assert read["split_2"].tolist() == ["val", "'=1+1", "val"]
    assert read["sample_1"].tolist() == ['\'=HYPERLINK("x")', "a\nb.png", "53.png"]
    assert read["sample_2"].tolist() == ["a\nb.png", "<script>alert(1)</script>.png", "caf\\udce9.png"]
    assert read["is_leakage_issue"].tolist() == audit.leakage["is_leakage_issue"].tolist()
    leaking(names=False).save(tmp_path)
    assert (pd.read_csv(tmp_path / "leakage.csv", keep_default_na=False)["sample_2"] == "").all()


def test_an_audit_without_leakage_removes_the_old_table(tmp_path: Path) -> None:
    leaking().save(tmp_path)
    full().save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"clean_files.txt"}


def test_a_folder_of_a_version_that_knew_no_leakage_loads(tmp_path: Path) -> None:
    audit = made(policy=Policy(near_duplicates="drop"))
    audit.save(tmp_path)
    with np.load(tmp_path / "scores.npz") as file:
        assert not [name for name in file.files if "leak" in name]
    policy = json.loads((tmp_path / "manifest.json").read_text())["policy"]
    assert policy.pop("leakage") == "warn"
    _edited(tmp_path, policy=policy)
    assert_same(Audit.load(tmp_path), audit)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("leak_other", [1, 3, 1], "leak_other points outside of 3"),
        ("leak_other", [1, 0, 1], "leak_other points outside of 3"),
        ("leak_index", [0, N + 2, 1], "leak_index points outside of 62"),
        ("leak_index", [0, 1], r"leak_index must be of shape \(3,\)"),
        ("leak_other_index", [8, 4, 0], "points outside of the other splits"),
        ("leak_other_index", [8, -1, 0], "leak_other_index is out of range"),
        ("leak_sizes", [N, 9, 4], "leak_sizes must begin with 62"),
        ("leak_sizes", [N + 2, 9], r"must be of shape \(3,\) for"),
        ("leak_name_offsets", [0, 0, 51], r"leak_name_offsets must be of shape \(4,\)"),
        ("leak_thumbnail_index", [[7, 0], [1, 8]], "leak_thumbnail_index points outside of 3 splits"),
        ("leak_thumbnail_index", [[1, 8]], r"leak_thumbnail_offsets must be of shape \(2,\)"),
    ],
)
def test_pairs_between_splits_that_cannot_be(name: str, value: Any, message: str, tmp_path: Path) -> None:
    leaking().save(tmp_path)
    if name == "leak_name_offsets":
        with np.load(tmp_path / "scores.npz") as file:
            value = [0, 0, len(file["leak_name_bytes"])]
    _rewritten(tmp_path, lambda arrays: arrays.update({name: np.array(value)}))
    with pytest.raises(AuditFileError, match=message):
        Audit.load(tmp_path)


def test_negative_class_codes_stay_numbers(tmp_path: Path) -> None:
    made(np.arange(N) % 3 - 1).save(tmp_path)
    assert pd.read_csv(tmp_path / "samples.csv")["given_label"].tolist()[:3] == [-1, 0, 1]


def test_clean_indices_are_one_integer_a_line(tmp_path: Path) -> None:
    audit = made(policy=Policy(near_duplicates="drop"))
    audit.save(tmp_path)
    lines = (tmp_path / "clean_indices.txt").read_text().splitlines()
    assert lines == [str(i) for i in range(N) if i != 3]


def test_scores_load_without_pickle(tmp_path: Path) -> None:
    full().save(tmp_path)
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as file:
        assert len(file["off_topic"]) == N + 2


def test_a_refused_policy_leaves_everything_but_the_clean_list(tmp_path: Path) -> None:
    made().save(tmp_path)
    strict = made(policy=Policy(near_duplicates="drop", max_drop_fraction=0.0))
    with pytest.raises(PolicyError, match="would drop 1 of 60 samples"):
        strict.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"clean_indices.txt"}
    assert json.loads((tmp_path / "manifest.json").read_text())["counts"]["kept"] is None
    assert "There is no clean list" in (tmp_path / "report.html").read_text()
    assert Audit.load(tmp_path).policy == strict.policy


# --- folders that are no saved audit ----------------------------------------------------------------


def _rewritten(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """A scores.npz of other content that the manifest vouches for."""
    from selfclean_hooks.storage.ownership import digest_of

    with np.load(folder / "scores.npz") as file:
        arrays = dict(file)
    change(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (folder / "scores.npz").write_bytes(buffer.getvalue())
    _edited(folder, scores_blake2b=digest_of(buffer.getvalue()))


def _edited(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (lambda d: (d / "manifest.json").unlink(), r"manifest.json: No such file.*Give the folder"),
    (lambda d: (d / "scores.npz").unlink(), r"scores.npz: No such file.*Give the folder"),
    (lambda d: _truncate(d / "manifest.json"), r"manifest.json must be as Audit.save wrote it; .*run the audit again"),
    (lambda d: (d / "manifest.json").write_bytes(b"\xff\xfe"), r"manifest.json must be as"),
    (lambda d: (d / "manifest.json").write_text("[" * 100_000), r"manifest.json must be as"),
    (lambda d: (d / "manifest.json").write_text("[]"), r"it holds a list, not an object"),
    (lambda d: _edited(d, format=2), r"manifest.json must have format 1, got 2: load it with the version"),
    (lambda d: _edited(d, counts={}), r"manifest.json must be as .*\$\.counts: object missing required field n"),
    (lambda d: _edited(d, not_run=3), r"manifest.json must be as .*\$\.not_run: expected object, got int"),
    (lambda d: _edited(d, policy={"off_topic": "delete"}), r"manifest.json must be as .*'delete'"),
    (lambda d: _edited(d, thresholds={"shape": 1}), r"manifest.json must be as .*shape"),
    (lambda d: _truncate(d / "scores.npz"), r"scores.npz must be as .* is not what manifest.json says"),
    (lambda d: _flip(d / "scores.npz"), r"scores.npz must be as .* is not what manifest.json says"),
    (lambda d: _edited(d, counts={"n": 3}), r"near_duplicate must be of shape \(3,\) for 3 samples, got \(62,\)"),
    (lambda d: _rewritten(d, lambda a: a.pop("off_topic")), r"scores.npz must be as .*off_topic"),
    (lambda d: _rewritten(d, lambda a: a.update(pair_score=a["pair_score"][1:])), r"pair_score must be of shape"),
    (lambda d: _rewritten(d, lambda a: a.update(pair_index=a["pair_index"] + N)), r"pair_index points outside"),
    (
        lambda d: _rewritten(d, lambda a: a.update(name_offsets=a["name_offsets"][:-1])),
        r"name_offsets must be of shape \(63,\)",
    ),
    (lambda d: _rewritten(d, lambda a: a.update(error_index=a["error_index"][:1])), r"scores.npz must be as"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_named_with_its_file_and_a_cure(damage: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    full().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(AuditFileError, match=message):
        Audit.load(tmp_path)


def test_what_is_no_folder_is_no_audit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(AuditFileError, match=r"a saved audit is a folder with manifest.json and scores.npz"):
            Audit.load(path)


def test_files_of_two_saves_are_not_mixed(tmp_path: Path) -> None:
    made().save(tmp_path / "a")
    made(None).save(tmp_path / "b")
    os.replace(tmp_path / "a" / "scores.npz", tmp_path / "b" / "scores.npz")
    with pytest.raises(AuditFileError, match="from another save"):
        Audit.load(tmp_path / "b")


# --- writing --------------------------------------------------------------------------------------


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(AuditFileError, match=r"cannot write .*file.*Give a folder that can be written"):
            made().save(folder)
        with pytest.raises(AuditFileError, match="cannot write"):
            check_writable(folder)
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_in_the_way_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(AuditFileError, match=r"manifest.json: something that is no file is in the way"):
        made().save(tmp_path)


def test_check_writable_makes_the_folder_and_leaves_it_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(AuditFileError, match="No space left on device"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    write(path, b"new")
    assert path.read_bytes() == b"new"


def test_reading_a_saved_audit_needs_no_torch(tmp_path: Path) -> None:
    full().save(tmp_path)
    code = (
        "import sys; from selfclean_hooks import Audit; a = Audit.load(sys.argv[1]); a.to_html(sys.argv[2]); "
        "sys.exit(' '.join(m for m in ('torch', 'lightning', 'timm', 'torchvision') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "again.html")], capture_output=True, text=True
    )
    assert done.stderr.strip() == ""
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "report.html").read_bytes()


def test_bounds_of_a_calibration_and_what_cannot_be_estimated_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    audit = audit_embeddings(rng.normal(size=(60, 5)), rng.integers(0, 2, 60))
    calibration = dict(audit.scores.calibration)
    calibration["off_topic"] = replace(calibration["off_topic"], unknown="nothing stands apart")
    calibration["near_duplicates"] = replace(calibration["near_duplicates"], low=None, high=None)
    one = calibration["label_errors"]
    calibration["label_errors"] = replace(one, low=one.clean / 2, high=one.clean)
    replace(audit, scores=replace(audit.scores, calibration=calibration)).save(tmp_path / "out")
    loaded = Audit.load(tmp_path / "out").scores.calibration
    assert loaded["off_topic"].unknown == "nothing stands apart"
    assert loaded["near_duplicates"].low is None
    np.testing.assert_array_equal(loaded["label_errors"].low, one.clean / 2)
    np.testing.assert_array_equal(loaded["label_errors"].high, one.clean)
