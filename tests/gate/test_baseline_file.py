"""The file of a baseline: merges, notes and lines edited by hand; a damaged one is left alone."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.baseline_file import HEADER
from selfclean_hooks.gate.verdict import check
from tests.gate.baseline_data import FILES, SAMPLES, SOME_CLEAN, Sample, audit_of, automatic, checked, new


@FILES
@given(samples=SAMPLES)
def test_what_is_written_is_read(samples: list[Sample], tmp_path: Path) -> None:
    path, audits = tmp_path / "baseline.jsonl", {"train": audit_of(samples), "val": audit_of(samples[::-1])}
    baseline = Baseline.of(audits)
    baseline.write(path)
    assert Baseline.read(path).entries == baseline.entries
    first, *lines = path.read_text().splitlines()
    assert json.loads(first) == {HEADER: 1}
    read = [entry for line in lines if "threshold" not in (entry := json.loads(line))]
    assert len(read) == len(baseline)
    keys = [(e["issue"], e["split"], e["samples"], e.get("label", "")) for e in read]
    assert keys == sorted(keys)
    again = tmp_path / "again.jsonl"
    Baseline.of(audits, Baseline.read(path)).write(again)
    assert again.read_bytes() == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".jsonl"] == []


@FILES
@given(one=SAMPLES, two=SAMPLES, data=st.data())
def test_a_merge_of_two_baselines_accepts_what_either_does(
    one: list[Sample], two: list[Sample], data: st.DataObject, tmp_path: Path
) -> None:
    texts = []
    for samples in (one, two):
        Baseline.of({"": audit_of(samples)}).write(tmp_path / "part")
        texts.append((tmp_path / "part").read_text())
    header, *lines = "".join(texts).splitlines()
    merged = tmp_path / "merged"
    merged.write_text("\n".join([header, *data.draw(st.permutations(lines)), "", ""]))
    baseline = Baseline.read(merged)
    assert new(checked(one, baseline)) == new(checked(two, baseline)) == {}


ENTRY = {"issue": "near_duplicates", "samples": ["a" * 32, "a" * 32], "copies": 2, "names": ["x.png"]}


def written(path: Path, *lines: Any, header: Any = None) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in (header or {HEADER: 1}, *lines)]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_of_lines_about_the_same_the_most_copies_count_and_a_note_survives(tmp_path: Path) -> None:
    noted, more = {**ENTRY, "note": "reviewed\u2028by \u00e9va"}, {**ENTRY, "copies": 4}
    for number, lines in enumerate(([noted, more], [more, noted], [more, noted, ENTRY])):
        (entry,) = Baseline.read(written(tmp_path / str(number), *lines)).entries.values()
        assert (entry.copies, entry.note) == (4, "reviewed\u2028by \u00e9va")


def test_lines_edited_by_hand_are_read(tmp_path: Path) -> None:
    line = json.dumps({**ENTRY, "note": "zwei\u2028Zeilen\x85\u00fc"}, ensure_ascii=False)
    written(tmp_path / "b", "", line, "   ")
    text = (tmp_path / "b").read_text(encoding="utf-8")
    for name, content in {
        "crlf": text.replace("\n", "\r\n"),
        "bom": "\ufeff" + text,
        "end": text.rstrip("\n "),
    }.items():
        (tmp_path / name).write_bytes(content.encode())
        (entry,) = Baseline.read(tmp_path / name).entries.values()
        assert entry.note == "zwei\u2028Zeilen\x85\u00fc"


def entries_in(path: Path) -> list[str]:
    return [line for line in path.read_bytes().decode().split("\n") if '"samples"' in line]


def test_notes_survive_an_update(tmp_path: Path) -> None:
    samples = [Sample(0, is_off_topic=True), Sample(0), Sample(1), *SOME_CLEAN]
    audits = {"": audit_of(samples)}
    Baseline.of(audits).write(tmp_path / "b")
    lines = entries_in(tmp_path / "b")
    first = json.dumps({HEADER: 1})
    noted = [json.dumps({**json.loads(line), "note": f"note {i}"}) for i, line in enumerate(lines)]
    (tmp_path / "b").write_text("\n".join([first, *noted]))
    grown = {"": audit_of([*samples, Sample(700, is_off_topic=True)])}
    Baseline.of(grown, Baseline.read(tmp_path / "b")).write(tmp_path / "b")
    notes = [json.loads(line).get("note") for line in entries_in(tmp_path / "b")]
    assert sorted(filter(None, notes)) == [f"note {i}" for i in range(len(lines))]
    assert len(notes) == len(lines) + 1


DEEP = "[" * 100_000


LEVEL = '{"issue": "off_topic", "split": "", "threshold": 1' + "0" * 400 + "}"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Expecting property name"),
        ("<<<<<<< HEAD", "Expecting value"),
        ("=======", "Expecting value"),
        (">>>>>>> branch", "Expecting value"),
        ("null", "Expected object, got null"),
        ("[]", "Expected object, got array"),
        ("3", "Expected object, got int"),
        ('"text"', "Expected object, got str"),
        ("{}", "Object missing required field issue"),
        ({HEADER: 2}, "Object contains unknown field"),
        ({**ENTRY, "issue": "total"}, "the issue 'total'"),
        ({**ENTRY, "issue": ["off_topic"]}, "$.issue: expected str, got array"),
        ({**ENTRY, "samples": []}, "$.samples: expected array of length >= 1"),
        ({**ENTRY, "samples": ["a", "b", "c"]}, "$.samples: expected array of length <= 2"),
        ({**ENTRY, "samples": [1, 2]}, "$.samples[0]: expected str, got int"),
        ({**ENTRY, "samples": None}, "$.samples: expected array, got null"),
        ({**ENTRY, "samples": "a" * 32}, "$.samples: expected array, got str"),
        ({**ENTRY, "copies": 0}, "$.copies: expected int >= 1"),
        ({**ENTRY, "copies": 1.5}, "$.copies: expected int, got float"),
        ({**ENTRY, "copies": 10**400}, "$.copies: expected int <= "),
        ({**ENTRY, "names": None}, "$.names: expected array, got null"),
        ({**ENTRY, "label": 3}, "$.label: expected str, got int"),
        ({**ENTRY, "note": None}, "$.note: expected str, got null"),
        ({**ENTRY, "another": 1}, "Object contains unknown field another"),
        (LEVEL, "$.threshold: number out of range"),
        ({**json.loads(LEVEL), "threshold": 7}, "$.threshold: expected float <= 2"),
        ({**json.loads(LEVEL), "threshold": "1"}, "$.threshold: expected float, got str"),
        (DEEP, "it is nested"),
    ],
)
def test_a_damaged_line_is_named_and_the_file_left_alone(tmp_path: Path, line: Any, why: str) -> None:
    path = written(tmp_path / "b.jsonl", ENTRY, "", line, ENTRY)
    before = path.read_bytes()
    with pytest.raises(AuditFileError) as caught:
        Baseline.read(path)
    message, shown = str(caught.value), line if isinstance(line, str) else json.dumps(line)
    assert message.startswith(f"line 4 of the baseline {path} is not an entry: {shown[:60]!r} ({why}")
    assert message.endswith("Restore the file, or resolve the merge conflict in it (both sides may stay)")
    assert path.read_bytes() == before


@pytest.mark.parametrize("first", ["", "{", "[]", "null", "<<<<<<< HEAD", "# note", '{"version": 1}', DEEP])
def test_a_file_that_does_not_begin_as_a_baseline_is_refused(tmp_path: Path, first: str) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(first)
    with pytest.raises(AuditFileError) as caught:
        Baseline.read(path)
    assert str(caught.value).startswith(
        f'{path} must be a baseline, that is begin with {{"selfclean_hooks_baseline": 1}}, got {first[:60]!r}: give the'
    )
    assert path.read_text() == first


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_another_version_is_refused(tmp_path: Path, version: Any) -> None:
    path = written(tmp_path / "b.jsonl", ENTRY, header={HEADER: version})
    with pytest.raises(AuditFileError) as caught:
        Baseline.read(path)
    assert str(caught.value).startswith(f"the baseline {path} must be of version 1, got {version!r}: use the version")


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(os.urandom(64) + b"\xff\xfe")
    for name, why in (("binary", "'utf-8' codec"), (".", "Is a directory"), ("none", "No such file or directory")):
        with pytest.raises(
            AuditFileError, match=r"cannot read the baseline .*Write one with --update-baseline"
        ) as caught:
            Baseline.read(tmp_path / name)
        assert why in str(caught.value)


def test_a_baseline_is_not_written_over_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(AuditFileError, match="something that is no file is in the way"):
        Baseline({}).write(tmp_path / "folder")
    with pytest.raises(AuditFileError, match="cannot write"):
        Baseline({}).write(tmp_path / "missing" / "b.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


NAMES = [
    os.fsdecode(b"caf\xe9\xff.png"),
    "\ud800.png",
    "a\nb\r\u2028\x85.png",
    '"{}\\.png',
    "\U0001f468\u200d\U0001f469",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_survives(tmp_path: Path, name: str) -> None:
    audit = replace(audit_of([Sample(0, is_off_topic=True, name=name), *SOME_CLEAN]))
    named = replace(audit, scores=replace(audit.scores, class_names=(name, "b")))
    baseline = Baseline.of({name: named})
    baseline.write(tmp_path / "b")
    (entry,) = Baseline.read(tmp_path / "b").entries.values()
    assert (entry.names, entry.split) == ((name,), name)
    assert len(entries_in(tmp_path / "b")) == 1
    assert check({name: named}, {}, Baseline.read(tmp_path / "b"))


def test_thresholds_are_in_the_file_and_a_merge_takes_the_lower(tmp_path: Path) -> None:
    audit = automatic(300)
    baseline = Baseline.of({"train": audit, "val": automatic(200)})
    baseline.write(tmp_path / "b")
    assert Baseline.read(tmp_path / "b").thresholds == baseline.thresholds
    header, *lines = (tmp_path / "b").read_text().splitlines()
    other = [line.replace('"threshold": 0', '"threshold": 1') for line in lines if "threshold" in line]
    (tmp_path / "b").write_text("\n".join([header, *other, *lines, *other]))
    assert Baseline.read(tmp_path / "b").thresholds == baseline.thresholds
    assert Baseline.of({"train": audit}, baseline).thresholds == baseline.thresholds
    for wrong in (
        '{"threshold": "x", "issue": "off_topic", "split": ""}',
        '{"threshold": 0.1, "issue": "of", "split": ""}',
    ):
        (tmp_path / "b").write_text(f"{header}\n{wrong}\n")
        with pytest.raises(AuditFileError, match="line 2 of the baseline"):
            Baseline.read(tmp_path / "b")


@pytest.mark.parametrize("content", ["mine", "", "\xff", "{}\n", '{"selfclean_hooks_baseline": 2}\n'])
def test_a_file_that_is_no_baseline_is_not_replaced(content: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(AuditFileError, match="baseline"):
        Baseline({}).write(path)
    assert path.read_bytes() == content.encode("latin-1")
