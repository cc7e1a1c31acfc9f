"""The decision of one data set on the command line: limits, baseline, and bad input that changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from selfclean_hooks import Audit
from selfclean_hooks.gate.baseline_file import VERSION
from tests.helpers.command_line import Call, contents, refused, two_classes, write_npz
from tests.helpers.image_files import noisy, write

AMOUNT = "must be a fraction in [0, 1] or a number of samples (0.01, 1%, count:5, or val=0.01 for one split)"
THRESHOLD = 'must be "auto", a score in [0, 1], FDR(...), Top(...) or None'


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--max-near-duplicates", "count:2"], 0, "is within the limit 2 samples"),
        (["--max-near-duplicates", "count:1"], 1, "exceeds the limit 1 samples; worst: "),
        (["--max-near-duplicates", "3.4%"], 0, "is within the limit 0.034"),
        (["--max-near-duplicates", "3.3%"], 1, "exceeds the limit 0.033; worst: "),
        (["--max-total", "count:2"], 1, "total: 0.0500 (3 of 60 samples; "),
        (["--max-near-duplicates", "0", "--threshold", "near_duplicates=none"], 1, "near_duplicates: not run (it is "),
        (["--max-total", "count:2", "--threshold", "label-errors=none"], 1, "total: not run (label_errors: it is "),
        (["--max-label-errors", "1", "--threshold", "label_errors=none", "--allow-not-run", "label-errors"], 0, ""),
        (["--max-off-topic", "0", "--threshold", "off-topic=1e-9"], 0, "off_topic: 0.0000 (0 of 60 samples; "),
        (["--max-leakage", "0"], 1, "leakage: not run (no other split was given), so the limit 0 is not met"),
        (["--max-leakage", "0", "--allow-not-run", "leakage"], 0, "which is allowed"),
        (["--max-unreadable", "count:0", "--keep", "most_central"], 0, "unreadable: 0.0000 (0 of 60 samples;"),
    ],
)
def test_amounts_and_what_may_go_unchecked(
    saved: Path, call: Call, arguments: list[str], status: int, sentence: str
) -> None:
    before = contents(saved)
    ran = call("gate", saved, *arguments)
    assert (ran.status, ran.err) == (status, "")
    assert sentence in ran.out
    assert contents(saved) == before


# --- baseline --------------------------------------------------------------------------------------------------------


def test_what_was_accepted_passes_and_one_more_copy_does_not(source: Path, tmp_path: Path, call: Call) -> None:
    accepted, out = tmp_path / "accepted.jsonl", tmp_path / "out"
    again = "audit", source, "-o", out, "--baseline", accepted, "--no-progress"
    ran = call(*again, "--update-baseline", "--max-near-duplicates", "0")
    assert ran.status == 0
    assert f"baseline {accepted}: 2 entries (2 new, 0 removed)" in " ".join(ran.err.split())
    written = accepted.read_bytes()
    assert call(*again).status == call("gate", out, "--baseline", accepted).status == 0
    with np.load(source) as arrays:
        vectors, labels = arrays["embeddings"], arrays["labels"]
    order = np.random.default_rng(1).permutation(60)
    write_npz(source, vectors[order], labels[order])
    assert call(*again).status == 0
    write_npz(source, np.concatenate([vectors, vectors[[7]]]), np.append(labels, labels[7]))
    ran = call(*again)
    assert ran.status == 1
    assert "near_duplicates: 0.0164 (1 of 61 samples, 2 more are in the baseline;" in ran.out
    assert "exceeds the limit 0 samples; worst: 60" in ran.out
    assert call("gate", out).status == 0  # without the baseline there is no limit
    assert accepted.read_bytes() == written


def test_files_may_be_renamed_and_what_is_gone_is_reported(tmp_path: Path, call: Call) -> None:
    folder, accepted = tmp_path / "images", tmp_path / "accepted.jsonl"
    for name, seed in (("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 2), ("f", 4), ("g", 5)):
        write(folder / f"{name}.png", noisy(seed))
    again = (
        "audit",
        folder,
        "-o",
        tmp_path / "out",
        "--backbone",
        "tests.helpers.embedding_data:flat",
        "--baseline",
        accepted,
    )
    assert call(*again, "--update-baseline").status == 0
    (folder / "a.png").rename(folder / "z.png")
    (folder / "b.png").rename(folder / "y.png")
    write(folder / "new" / "clean.png", noisy(9))
    ran = call(*again)
    assert ran.status == 0
    assert "any more" not in ran.out
    (folder / "f.png").unlink()
    ran = call(*again)
    assert ran.status == 0
    assert f"stale entry of the baseline: near_duplicates: {folder / 'd.png'} {folder / 'f.png'}\n" in ran.out
    ran = call(*again, "--update-baseline")
    assert "1 entries (0 new, 1 removed)" in " ".join(ran.err.split())
    write(folder / "x.png", noisy(4))
    assert call(*again).status == 1


def test_without_an_audit_folder_of_its_own_a_gate_updates_the_baseline(
    saved: Path, tmp_path: Path, call: Call
) -> None:
    accepted = tmp_path / "accepted.jsonl"
    before = contents(saved)
    ran = call("gate", saved, "--baseline", accepted, "--update-baseline", "--threshold", "label_errors=none")
    assert ran.status == 0
    entries = [json.loads(line) for line in accepted.read_text().splitlines()]
    assert [entry.get("issue") for entry in entries] == [None, "near_duplicates", "off_topic", "near_duplicates"]
    assert call("gate", saved, "--baseline", accepted).status == 1  # the wrong label
    assert contents(saved) == before


# --- a threshold that flags everything -------------------------------------------------------------------------------


def test_a_threshold_that_flags_everything_changes_nothing(saved: Path, tmp_path: Path, call: Call) -> None:
    accepted, beside = tmp_path / "accepted.jsonl", tmp_path / "saved.refused"
    assert call("gate", saved, "--baseline", accepted, "--update-baseline").status == 0
    before = contents(tmp_path)
    update = "--threshold", "off_topic=1", "--baseline", accepted, "--update-baseline"
    for command in (["gate", saved], ["audit", tmp_path / "x.npz", "-o", saved, "--no-progress"]):
        ran = call(*command, *update, "--max-off-topic", "1")
        assert ran.status == 2
        assert "error: the threshold 1 flags 100% of the samples for off_topic: that says more about the " in ran.err
        assert ("Nothing was written" if command[0] == "gate" else f"The audit is saved in {beside}") in ran.err
        after = {name: digest for name, digest in contents(tmp_path).items() if not name.startswith("saved.refused/")}
        assert after == before
    assert Audit.load(beside).thresholds.off_topic == 1
    assert Audit.load(saved).thresholds.off_topic == "auto"


def test_no_format_says_that_a_refused_audit_passed(saved: Path, call: Call) -> None:
    refused = "gate", saved, "--threshold", "off_topic=1", "--format"
    why = "the threshold 1 flags 100% of the samples for off_topic"
    verdict = json.loads(call(*refused, "json").out)["verdict"]
    assert (verdict["passed"], verdict["reasons"][0].startswith(why)) == (False, True)
    assert json.loads(call(*refused, "metrics").out)["passed"] is False
    suites = ElementTree.fromstring(call(*refused, "junit").out)
    assert suites.attrib["errors"] == "1"
    assert [case.attrib["name"] for case in suites.iter("testcase") if case.find("error") is not None] == ["refused"]
    (invocation,) = json.loads(call(*refused, "sarif").out)["runs"][0]["invocations"]
    assert not invocation["executionSuccessful"]
    assert why in invocation["toolExecutionNotifications"][0]["message"]["text"]
    text = call(*refused, "markdown").out
    assert text.startswith("## selfclean-hooks: failed")
    assert "Refused" in text
    assert why not in call(*refused, "table").out  # an error of the command


def test_a_limit_that_fails_elsewhere_is_not_hidden(saved: Path, call: Call) -> None:
    most = "gate", saved, "--threshold", "off_topic=1"
    assert call(*most, "--max-near-duplicates", "0").status == 1
    assert call(*most, "--max-near-duplicates", "1").status == 2
    for limit in ("--max-off-topic", "--max-total"):
        assert call(*most, limit, "0").status == 2


def test_copies_that_are_certain_are_judged_however_many_they_are(tmp_path: Path, call: Call) -> None:
    rng = np.random.default_rng(5)
    copies = np.repeat(rng.normal(size=(30, 24)), 4, axis=0) + 0.005 * rng.normal(size=(120, 24))
    np.savez(tmp_path / "x.npz", embeddings=copies.astype(np.float32))
    command = "audit", tmp_path / "x.npz", "-o", tmp_path / "out", "--no-progress"
    ran = call(*command, "--max-near-duplicates", "count:7")
    assert ran.status == 1
    assert "exceeds the limit 7 samples" in " ".join(ran.out.split())
    assert "error: the policy would drop 90 of 120 samples" in ran.err
    assert call(*command).status == 2  # nothing fails, but there are no clean indices either


def test_a_refused_audit_of_the_current_folder_lies_beside_it(
    source: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    for place, output in (("here", "."), ("here/below", "..")):
        monkeypatch.chdir(tmp_path / place)
        assert call("audit", source, "-o", output, "--no-progress").status == 0
        ran = call("audit", source, "-o", output, "--threshold", "near_duplicates=1", "--no-progress")
        assert ran.status == 2
        assert "Traceback" not in ran.err
        assert (tmp_path / "here.refused" / "manifest.json").exists()
        assert Audit.load(tmp_path / "here").thresholds.near_duplicates == "auto"


# --- bad input -------------------------------------------------------------------------------------------------------


def lines(*texts: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text("".join(f"{text}\n" for text in texts))


HEADER = json.dumps({"selfclean_hooks_baseline": VERSION})
NEXT = json.dumps({"selfclean_hooks_baseline": VERSION + 1})
ENTRY = json.dumps({"issue": "off_topic", "samples": ["0" * 32]})

BASELINES = [
    (lambda path: path.unlink(), "cannot read the baseline {}: No such file or directory. Write one with --update"),
    (lines(NEXT, ENTRY), f"the baseline {{}} must be of version {VERSION}, got {VERSION + 1}: use the version of"),
    (lines(), "{} must be a baseline, that is begin with"),
    (lines(HEADER, ENTRY, ENTRY[:-9]), "line 3 of the baseline {} is not an entry: "),
    (lines(HEADER, "<<<<<<< ours", ENTRY), "resolve the merge conflict in it"),
    (lines(HEADER, ENTRY.replace("off_topic", "bogus")), "line 2 of the baseline {} is not an entry: "),
    (lambda path: path.write_bytes(b"\x80\xff\x00" * 9), "cannot read the baseline {}: "),
    (lambda path: (path.unlink(), path.mkdir()), "cannot read the baseline {}: Is a directory"),
]


@pytest.mark.parametrize(
    ("damage", "message", "update"),
    [*((*case, False) for case in BASELINES), (*BASELINES[1], True), (*BASELINES[3], True), (*BASELINES[-1], True)],
)
def test_a_baseline_that_cannot_be_read(
    damage: Any, message: str, update: bool, source: Path, saved: Path, tmp_path: Path, call: Call
) -> None:
    accepted = tmp_path / "accepted.jsonl"
    accepted.write_text("")
    damage(accepted)
    before = contents(tmp_path)
    options = ["--baseline", accepted, *["--update-baseline"] * update]
    for command in (["gate", saved], ["audit", source, "-o", saved], ["audit", tmp_path / "nowhere", "-o", saved]):
        assert message.format(accepted) in refused(call(*command, *options))  # before the source is looked at
    assert contents(tmp_path) == before
    assert accepted.is_dir() or "Is a directory" not in message


def test_a_baseline_that_cannot_be_written_is_reported_before_the_audit(
    source: Path, saved: Path, tmp_path: Path, call: Call
) -> None:
    before = contents(tmp_path)
    for parent in ("x.npz", "x.npz/below"):
        options = "--baseline", tmp_path / parent / "accepted.jsonl", "--update-baseline"
        for command in (["gate", saved], ["audit", source, "-o", saved], ["audit", tmp_path / "nowhere", "-o", saved]):
            message = refused(call(*command, *options))
            assert "x.npz" in message
            assert "nowhere" not in message
    assert contents(tmp_path) == before


BAD = [
    (["--max-near-duplicates", "1.01"], f"the limit of near_duplicates {AMOUNT}, got '1.01'"),
    (["--max-total=-0.01"], f"the limit of total {AMOUNT}, got '-0.01'"),
    (["--max-leakage", "101%"], f"the limit of leakage {AMOUNT}, got '101%'"),
    (["--max-unreadable", "count:-1"], f"the limit of unreadable {AMOUNT}, got 'count:-1'"),
    (["--max-off-topic", "count:1.5"], f"the limit of off_topic {AMOUNT}, got 'count:1.5'"),
    (["--max-off-topic", "inf"], f"the limit of off_topic {AMOUNT}, got 'inf'"),
    (["--max-off-topic", "count:" + "9" * 5000], "the limit of off_topic must be a fraction"),
    (["--max-off-topic", "val=0.1"], "the limit val=0.1 of off_topic names an unknown split: a single data set"),
    (["--max-off-topic", "0.1", "--max-off-topic", "0.2"], "the limit of off_topic is given twice: leave out one"),
    (["--allow-not-run", "bogus"], "there is no issue 'bogus': choose from near_duplicates, off_topic, label_errors, "),
    (["--threshold", "bogus=0.1"], "there is no issue 'bogus': choose from near_duplicates, off_topic, label_errors"),
    (["--threshold", "leakage=0.1"], "there is no issue 'leakage': choose from "),
    (["--threshold", "off_topic=1.5"], f"the threshold of off_topic {THRESHOLD}, got 1.5"),
    (["--threshold", "off_topic"], f"the threshold of off_topic {THRESHOLD}, got ''"),
    (["--max-bogus", "1"], "No such option"),
    (["--keep", "last"], "'last' is not one of"),
    (["--update-baseline"], "--update-baseline writes the file that --baseline FILE names: give both"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_settings_are_reported_before_anything_is_read_or_written(
    arguments: list[str], message: str, source: Path, saved: Path, tmp_path: Path, call: Call
) -> None:
    before = contents(tmp_path)
    for command in (["gate", saved], ["audit", source, "-o", saved], ["audit", tmp_path / "nowhere", "-o", saved]):
        assert message in refused(call(*command, *arguments))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("rows", [0, 1])
def test_a_source_without_samples_to_compare(rows: int, saved: Path, tmp_path: Path, call: Call) -> None:
    few = write_npz(tmp_path / "few.npz", *two_classes(rows))
    before = contents(tmp_path)
    message = refused(call("audit", few, "-o", saved, "--no-progress"))
    assert f"({rows}, 16)" in message
    assert contents(tmp_path) == before
