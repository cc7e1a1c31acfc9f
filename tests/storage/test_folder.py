"""A saved audit: what is in the folder, that it comes back as it was, and what is said of folders that are none."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks import Audit, Policy, Thresholds, audit_embeddings
from selfclean_hooks.core.embeddings import Evidence
from selfclean_hooks.errors import PolicyError
from selfclean_hooks.storage.array_schema import PROJECTIONS
from tests.storage.saved_audits import HOSTILE, N, _edited, full, leaking, made

FILES = {"manifest.json", "samples.csv", "pairs.csv", "clean_indices.txt", "scores.npz", "report.html"}


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


def mapped(projection: str) -> Audit:
    return replace(full(), evidence=Evidence({}, {}, np.zeros((N + 2, 2), np.float32), projection))


@pytest.mark.parametrize(
    "make",
    [
        full,
        lambda: replace(full(), evidence=None),
        lambda: replace(full(), evidence=Evidence({}, {}, None, "")),
        partial(mapped, PROJECTIONS[-1]),
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
