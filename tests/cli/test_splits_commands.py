"""Several splits on the command line: audit, gate and report of them."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from selfclean_hooks import Audit
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.cli import main as cli
from tests.helpers.command_line import COPIES, SIZES, Call, contents, refused, two_classes, write_npz, write_splits
from tests.helpers.format_data import SCHEMAS

FILES = ("clean_indices.txt", "leakage.csv", "manifest.json", "pairs.csv", "report.html", "samples.csv", "scores.npz")
LEAKING = {name: len({(s, i) for a, i, b, j in COPIES for s, i in ((a, i), (b, j)) if s == name}) for name in SIZES}


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only read; `write_splits` beside it."""
    folder = tmp_path_factory.mktemp("splits")
    assert cli.main(["audit", *write_splits(folder), "-o", str(folder / "audit"), "--no-progress"]) == 0
    return folder / "audit"


def verdict(out: str) -> Any:
    return json.loads(out)["verdict"]


def test_the_folder_holds_an_audit_a_split_and_what_leads_to_them(audited: Path) -> None:
    expected = {f"{split}/{file}" for split in SIZES for file in FILES} | {"leakage.csv", "report.html", "splits.json"}
    assert set(contents(audited)) == expected
    found = SplitsAudit.load(audited)
    assert {name: len(audit) for name, audit in found.audits.items()} == SIZES
    assert set(found.leakage.drop(columns="distance").itertuples(index=False, name=None)) == COPIES
    assert (found.leakage["distance"] == 0).all()
    differing = found.label_disagreements
    assert {(row.split_1, row.index_1, row.label_1, row.label_2) for row in differing.itertuples()} == {
        ("train", 8, "0", "1"),
        ("val", 5, "1", "0"),
    }


def test_the_split_that_is_trained_on_comes_first_and_is_the_only_one_dropped_from(audited: Path) -> None:
    assert list(SplitsAudit.load(audited).audits) == list(SIZES)  # they were named in another order
    kept = {name: (audited / name / "clean_indices.txt").read_text().split() for name in SIZES}
    assert not {"4", "6", "8"} & set(kept["train"])
    for name in ("val", "test"):
        assert [int(i) for i in kept[name]] == list(range(SIZES[name]))


def test_the_pages_tell_the_verdict_on_their_splits(tmp_path: Path) -> None:
    limits = ["--max-leakage", "val=0", "--max-off-topic", "test=1"]
    assert cli.main(["audit", *write_splits(tmp_path), "-o", str(tmp_path / "out"), "--no-progress", *limits]) == 1
    expected = {"": "Limits exceeded", "val/": "Limits exceeded", "test/": "Within the limits", "train/": ""}
    for place, word in expected.items():
        page = (tmp_path / "out" / f"{place}report.html").read_text()
        assert [w for w in ("Limits exceeded", "Within the limits") if f"{w}</strong>" in page] == (
            [word] if word else []
        )


def test_what_is_printed_says_what_splits_share_and_how_far_they_lie_apart(audited: Path, call: Call) -> None:
    ran = call("gate", audited)
    assert (ran.status, ran.err) == (0, "")
    for name, size in SIZES.items():
        assert f"{name}: {size} samples" in ran.out
    assert "near duplicates in two splits: 5 pairs, 2 of them with different labels\n" in ran.out
    assert "shift from train to val: Frechet distance " in ran.out
    assert ran.out.count("expected of random splits (p = ") == 3


@pytest.mark.parametrize(
    ("limits", "status", "failing"),
    [
        (["--max-leakage", "1"], 0, []),
        (["--max-leakage", "0"], 1, ["train", "val", "test"]),
        (["--max-leakage", "train=0"], 1, ["train"]),
        (["--max-leakage", "val=count:4", "--max-leakage", "test=7.5%"], 0, []),
        (["--max-leakage", "val=count:3", "--max-leakage", "test=7.4%"], 1, ["val", "test"]),
        (["--max-leakage", "0", "--max-leakage", "train=count:3", "--max-leakage", "test=0.1"], 1, ["val"]),
        (["--max-leakage", "val=1", "--max-leakage", "count:3"], 0, []),
        (["--max-near-duplicates", "0", "--max-unreadable", "count:0"], 0, []),
        (["--max-total", "train=0", "--max-total", "val=1"], 1, ["train"]),
    ],
)
def test_limits_by_split(audited: Path, call: Call, limits: list[str], status: int, failing: list[str]) -> None:
    ran = call("gate", audited, *limits, "--format", "json")
    assert (ran.status, ran.err) == (status, "")
    result = verdict(ran.out)
    assert [check["split"] for check in result["checks"] if not check["passed"]] == failing
    assert result["passed"] is (status == 0)


def test_leakage_counts_the_samples_of_each_split(audited: Path, call: Call) -> None:
    assert LEAKING == {"train": 3, "val": 4, "test": 3}
    ran = call("gate", audited, "--max-leakage", "0")
    for name, count in LEAKING.items():
        assert f"{name}: leakage: {count / SIZES[name]:.4f} ({count} of {SIZES[name]} samples; " in ran.out


def test_a_split_without_labels_beside_labelled_ones(tmp_path: Path, call: Call) -> None:
    splits = write_splits(tmp_path)
    write_npz(tmp_path / "val.npz", two_classes(30, 1)[0])
    out = tmp_path / "out"
    assert call("audit", *splits, "-o", out, "--max-label-errors", "train=1").status == 0
    assert call("audit", *splits, "-o", out, "--max-label-errors", "1").status == 1
    not_run = "val: label_errors: not run (there are no labels), "
    for limit, allowed in (("1", []), ("val=1", ["--allow-not-run", "off-topic"])):
        ran = call("gate", out, "--max-label-errors", limit, *allowed)
        assert ran.status == 1
        assert f"{not_run}so the limit 1 is not met" in ran.out
    ran = call("gate", out, "--max-label-errors", "1", "--allow-not-run", "label-errors")
    assert ran.status == 0
    assert f"{not_run}which is allowed" in ran.out
    differing = SplitsAudit.load(out).label_disagreements  # of val there are no labels to differ
    assert differing[["split_1", "index_1", "split_2", "index_2"]].to_numpy().tolist() == [["train", 8, "test", 1]]


@pytest.mark.parametrize("limit", ["1", "val=0", "train=count:3"])
def test_audit_and_gate_agree(audited: Path, tmp_path: Path, call: Call, limit: str) -> None:
    arguments = "--max-leakage", limit, "--format", "json"
    first = call("audit", *write_splits(tmp_path), "-o", tmp_path / "out", *arguments)
    for folder in (tmp_path / "out", audited):
        gated = call("gate", folder, *arguments)
        assert gated.status == first.status
        assert verdict(gated.out) == verdict(first.out)


def test_a_second_report_is_the_first(tmp_path: Path, call: Call) -> None:
    call("audit", *write_splits(tmp_path), "-o", tmp_path / "out")
    before = contents(tmp_path / "out")
    pages = [path for path in before if path.endswith("report.html")]
    assert len(pages) == 4
    for page in pages:
        (tmp_path / "out" / page).unlink()
    ran = call("report", tmp_path / "out")
    assert (ran.status, ran.out.strip(), ran.err) == (0, str(tmp_path / "out" / "report.html"), "")
    assert contents(tmp_path / "out") == before


LIGHT = """
import sys
from selfclean_hooks.cli.main import main
folder, baseline = sys.argv[1:]
status = [
    main(["gate", folder, "--max-leakage", "val=0", "--threshold", "near_duplicates=0.001", "--keep", "most_central"]),
    main(["gate", folder, "--baseline", baseline, "--update-baseline", "--format", "sarif"]),
    main(["gate", folder, "--baseline", baseline, "--format", "junit"]),
    main(["report", folder]),
]
heavy = {"torch", "timm", "lightning", "torchvision", "sklearn"} & set(sys.modules)
assert status == [1, 0, 0, 0], status
assert not heavy, heavy
"""


def test_gate_and_report_of_splits_load_no_model_library(audited: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIGHT, str(audited), str(tmp_path / "baseline.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("status", [0, 1])
def test_every_format_of_splits_is_what_it_should_be(audited: Path, call: Call, status: int) -> None:
    limit = "--max-leakage", 1 - status
    texts = {f: call("gate", audited, *limit, "--format", f) for f in ("json", "junit", "sarif", "markdown", "table")}
    assert {ran.status for ran in texts.values()} == {status}
    assert {ran.err for ran in texts.values()} == {""}

    content = json.loads(texts["json"].out)
    assert list(content["splits"]) == list(SIZES)
    assert [(row["split_1"], row["split_2"]) for row in content["shift"]] == [
        ("train", "val"),
        ("train", "test"),
        ("val", "test"),
    ]
    assert all(0 < row["p_value"] <= 1 for row in content["shift"])
    sarif = json.loads(texts["sarif"].out)
    Draft202012Validator(json.loads((SCHEMAS / "sarif-2.1.0.json").read_text())).validate(sarif)
    leaks = [found for found in sarif["runs"][0]["results"] if found["ruleId"] == "leakage"]
    assert len(leaks) == sum(LEAKING.values())
    failures = Counter(case.get("classname") for case in cases(texts["junit"].out) if case.find("failure") is not None)
    assert sum(failures.values()) == 3 * status
    for name in SIZES:
        assert name in texts["markdown"].out
        assert f"{name}: {SIZES[name]} samples" in texts["table"].out


def cases(junit: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(junit).findall(".//testcase")


def test_a_baseline_of_splits(audited: Path, tmp_path: Path, call: Call) -> None:
    accepted = tmp_path / "accepted.jsonl"
    ran = call("gate", audited, "--baseline", accepted, "--update-baseline")
    assert ran.status == 0
    entries = [json.loads(line) for line in accepted.read_text().splitlines()[1:]]
    leaks = Counter(entry["split"] for entry in entries if entry["issue"] == "leakage" and "samples" in entry)
    pairs = Counter(split for one, _, other, _ in COPIES for split in (one, other))
    assert leaks == pairs
    splits = write_splits(tmp_path)
    again = "audit", *splits, "-o", tmp_path / "out", "--baseline", accepted
    assert call(*again).status == 0
    vectors, labels = two_classes(40, 2)
    leaked, train_labels = two_classes(60)
    vectors[7], labels[7] = leaked[11], train_labels[11]
    write_npz(tmp_path / "test.npz", vectors, labels)
    failed = call(*again)
    assert failed.status == 1
    assert "train: leakage: 0.0167 (1 of 60 samples, 2 more are in the baseline;" in failed.out
    assert "test: leakage: 0.0250 (1 of 40 samples;" in failed.out
    assert "val: leakage: 0.0000 (0 of 30 samples, 2 more are in the baseline;" in failed.out
    renamed = call("audit", *(text.replace("val=", "valid=") for text in splits), *again[4:])
    assert renamed.status == 1  # the split is a part of the key


def test_splits_that_are_the_same_data(tmp_path: Path, call: Call) -> None:
    train = write_splits(tmp_path)[1]
    splits = train, train.replace("train=", "val=")
    ran = call("audit", *splits, "-o", tmp_path / "out")
    assert ran.status == 2  # all of the split that is trained on would be dropped
    assert "error: split 'train': the policy would drop" in ran.err
    assert f"The audit is saved in {tmp_path / 'out'}, without clean_indices.txt" in ran.err
    assert not (tmp_path / "out" / "train" / "clean_indices.txt").exists()
    assert len((tmp_path / "out" / "val" / "clean_indices.txt").read_text().split()) == 60
    found = SplitsAudit.load(tmp_path / "out")
    assert found.leakage[["index_1", "index_2"]].to_numpy().tolist() == [[i, i] for i in range(60)]
    assert found.shift["p_value"].tolist() == [1.0]
    assert call("gate", tmp_path / "out", "--max-leakage", "val=count:59").status == 1


def test_a_class_that_a_held_out_split_lacks_is_fine_and_one_that_train_lacks_is_not(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, out = write_splits(tmp_path), tmp_path / "out"
    vectors, _ = two_classes(30, 1)
    write_npz(tmp_path / "val.npz", vectors, [1] * 30)
    assert call("audit", *splits, "-o", out).status == 0
    before = contents(out)
    write_npz(tmp_path / "val.npz", vectors, [1, 2, 3] * 10)
    monkeypatch.setattr("selfclean_hooks.cli.audit_sources.audit_sources", None)  # nothing is embedded
    assert refused(call("audit", *splits, "-o", out)) == (
        "error: splits must have the same classes: 'val' has 2, 3, and 'train', the training split, has none of that "
        "name (2 classes). Rename the classes, or audit 'val' by itself"
    )
    assert contents(out) == before


@pytest.mark.parametrize(("rows", "message"), [(0, "must be (N, D) numbers, got (0, 16)"), (1, "at least 2")])
def test_a_split_of_no_sample_or_one_is_named(tmp_path: Path, call: Call, rows: int, message: str) -> None:
    splits, out = write_splits(tmp_path), tmp_path / "out"
    assert call("audit", *splits, "-o", out).status == 0
    before = contents(out)
    vectors, labels = two_classes(rows, 1)
    write_npz(tmp_path / "val.npz", vectors, labels)
    error = refused(call("audit", *splits, "-o", out))
    assert error.startswith("error: split 'val': ")
    assert message in error
    assert contents(out) == before


def test_vectors_that_are_not_finite_or_of_another_width_name_the_split(tmp_path: Path, call: Call) -> None:
    splits = write_splits(tmp_path)
    vectors, labels = two_classes(30, 1)
    vectors[3, 0] = float("nan")
    write_npz(tmp_path / "val.npz", vectors, labels)
    error = refused(call("audit", *splits, "-o", tmp_path / "out"))
    assert error.startswith("error: split 'val': embeddings must be finite, got NaN or infinity in 1 of 30 rows")
    write_npz(tmp_path / "val.npz", two_classes(30, 1)[0][:, :8], labels)
    error = refused(call("audit", *splits, "-o", tmp_path / "out"))
    assert "train has 16 features" in error
    assert "val has 8" in error
    assert "None" not in error


def test_a_saved_split_is_an_audit_of_its_own(audited: Path, call: Call) -> None:
    assert len(Audit.load(audited / "val")) == 30
    ran = call("gate", audited / "val", "--max-leakage", "count:3")
    assert ran.status == 1
    assert "leakage: 0.1333 (4 of 30 samples; " in ran.out
    assert "names an unknown split" in refused(call("gate", audited / "val", "--max-leakage", "val=1"))
