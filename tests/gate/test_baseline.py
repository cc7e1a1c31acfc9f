import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.audits.audit_splits import splits_of
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.cli.audit_sources import embeddings_of
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.settings import Keep
from selfclean_hooks.errors import AuditFileError, SettingError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.baseline_file import HEADER
from selfclean_hooks.gate.verdict import Verdict, check
from tests.decisions.test_duplicate_sets import scores_between
from tests.decisions.test_policy import scores_of


@dataclass(frozen=True)
class Sample:
    """A file: its content is a place on a line, where near duplicates are up to 2 apart."""

    place: int
    label: int = 0
    is_off_topic: bool = False
    is_mislabelled: bool = False
    is_broken: bool = False
    name: str = ""

    @property
    def digest(self) -> str:
        return blake2b(repr((self.place, self.is_off_topic, self.is_broken)).encode(), digest_size=16).hexdigest()


def audit_of(samples: list[Sample], policy: Policy | None = None) -> Audit:
    """Readable or broken samples; off-topic and mislabelled ones have a low score."""
    place = np.array([1e6 + 1e3 * i if s.is_broken else s.place for i, s in enumerate(samples)])
    d = np.abs(place[:, None] - place) / 2.0**20
    scores = scores_between(
        d,
        off_topic=np.array([0.01 if s.is_off_topic else 0.9 for s in samples]),
        label=np.array([0.01 if s.is_mislabelled else 0.9 for s in samples]),
        given_label=np.array([s.label for s in samples]),
        pixels=np.array([s.place % 3 for s in samples]),
        errors={i: "gone" for i, s in enumerate(samples) if s.is_broken},
    )
    names, digests = zip(*((s.name, s.digest) for s in samples), strict=True)
    return Audit(scores, Thresholds(near_duplicates=2.5 / 2.0**20), policy or Policy(), names=names, digests=digests)


def new(verdict: Verdict) -> dict[str, list[int]]:
    """Issue: what is found beside the baseline."""
    return {each.issue: each.found.tolist() for each in verdict.checks if len(each.found)}


def checked(samples: list[Sample], baseline: Baseline, policy: Policy | None = None) -> Verdict:
    return audit_of(samples, policy).check(Limits(), baseline)


ANY = st.builds(
    Sample,
    place=st.integers(0, 20),
    label=st.integers(0, 2),
    is_off_topic=st.booleans(),
    is_mislabelled=st.booleans(),
    is_broken=st.booleans(),
    name=st.text(max_size=4),
)
SAMPLES = st.lists(ANY, min_size=2, max_size=12)
KEEP: st.SearchStrategy[Keep] = st.sampled_from(["first", "most_central", "largest_image"])
FILES = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUICK = settings(max_examples=80, deadline=None)


@QUICK
@given(SAMPLES, KEEP, KEEP, st.data())
def test_what_is_in_the_baseline_stays_in_it_however_samples_are_moved(
    samples: list[Sample], before: Any, after: Any, data: st.DataObject
) -> None:
    baseline = Baseline.of({"": audit_of(samples, Policy(keep=before, label_errors="drop"))})
    moved = [replace(s, name=s.name + "!") for s in data.draw(st.permutations(samples))]
    for place in data.draw(st.lists(st.integers(0, 5), unique=True)):  # clean files
        moved.insert(data.draw(st.integers(0, len(moved))), Sample(1000 + 100 * place))
    verdict = checked(moved, baseline, Policy(keep=after, off_topic="drop"))
    assert verdict
    assert verdict.baseline
    assert new(verdict) == {}
    assert verdict.stale == ()
    found = Counter({each.issue: len(each.accepted) for each in verdict.checks})
    contamination = audit_of(moved, Policy(keep=after, off_topic="drop")).contamination
    assert found == {issue: round(share * len(moved)) for issue, share in contamination.items()}


@QUICK
@given(SAMPLES)
def test_an_empty_baseline_accepts_nothing(samples: list[Sample]) -> None:
    audit, empty = audit_of(samples), Baseline({})
    counted = {issue: audit.worst(issue).tolist() for issue in audit.contamination}
    assert new(audit.check(Limits(), empty)) == {issue: found for issue, found in counted.items() if found}
    assert bool(audit.check(Limits(), empty)) == (not any(counted.values()))


@QUICK
@given(SAMPLES, st.data())
def test_one_more_copy_of_what_was_accepted_is_new(samples: list[Sample], data: st.DataObject) -> None:
    samples = [replace(s, label=0) for s in samples]  # one more vote may put other labels in doubt
    baseline = Baseline.of({"": audit_of(samples)})
    chosen = data.draw(st.sampled_from(samples))
    if chosen.is_broken:
        return
    at = data.draw(st.integers(0, len(samples)))
    found = new(checked([*samples[:at], chosen, *samples[at:]], baseline))
    assert len(found["near_duplicates"]) == 1
    assert all(len(positions) == 1 for positions in found.values())  # and what is wrong with the content itself


@QUICK
@given(SAMPLES, st.data())
def test_a_new_near_duplicate_of_all_there_are_is_new(samples: list[Sample], data: st.DataObject) -> None:
    apart = [replace(s, place=10 * s.place, label=0) for s in samples if not s.is_broken]
    if len(apart) < 2:
        return
    baseline = Baseline.of({"": audit_of(apart)})
    beside = data.draw(st.sampled_from(apart)).place + 1
    at = data.draw(st.integers(0, len(apart)))
    found = new(checked([*apart[:at], Sample(beside), *apart[at:]], baseline, Policy(keep=data.draw(KEEP))))
    assert set(found) == {"near_duplicates"}
    assert len(found["near_duplicates"]) == 1


def test_of_each_issue_the_new_finding_alone_is_found() -> None:
    old = [Sample(0), Sample(1), Sample(100, is_off_topic=True), Sample(200, is_mislabelled=True), *SOME_CLEAN]
    baseline = Baseline.of({"": audit_of(old)})
    off_topic, broken = Sample(300, is_off_topic=True), Sample(0, is_broken=True)
    assert new(checked([off_topic, *old], baseline)) == {"off_topic": [0]}
    assert new(checked([broken, *old], baseline)) == {"unreadable": [0]}
    assert new(checked([*old, replace(old[3], place=400)], baseline)) == {"label_errors": [len(old)]}
    relabelled = [replace(s, label=2) if s.is_mislabelled else s for s in old]
    assert new(checked(relabelled, baseline)) == {"label_errors": [3]}
    contradicted = [*old[:1], replace(old[1], label=1), *old[2:]]
    assert new(checked(contradicted, baseline)) == {"label_errors": [0, 1]}


SOME_CLEAN = [Sample(1000), Sample(1100), Sample(1200)]


def test_a_new_finding_fails_whatever_was_accepted_and_limits_count_new_ones_alone() -> None:
    old = [*SOME_CLEAN, *(Sample(i * 100 + 2000, is_off_topic=True) for i in range(5))]
    baseline = Baseline.of({"": audit_of(old)})
    audit = audit_of([*old, Sample(9000, is_off_topic=True), Sample(9100)])
    verdict = audit.check(Limits(), baseline)
    assert verdict.failures == (
        "off_topic: 0.1000 (1 of 10 samples, 5 more are in the baseline; 95% interval 0.0179 to 0.4042) exceeds the "
        "limit 0 samples; worst: 8",
    )
    assert audit.check(Limits(off_topic=0.1), baseline)
    assert not audit.check(Limits(off_topic=0.05), baseline)
    assert audit.check(Limits(total=0.1), baseline)
    assert audit.check(Limits(near_duplicates=0.0), baseline)  # a limit was given, so off_topic has none


def test_label_conflicts_in_a_chain_survive_reordering() -> None:
    chain = [Sample(0, label=0), Sample(2, label=1), Sample(4, label=0)]
    baseline = Baseline.of({"": audit_of(chain)})
    assert new(checked(chain[::-1], baseline)) == {}
    assert new(checked([chain[1], chain[0], chain[2]], baseline)) == {}


def test_samples_of_a_chain_stay_accepted_where_the_link_between_them_is_gone() -> None:
    chain = [Sample(0), Sample(1), Sample(2), *SOME_CLEAN]
    baseline = Baseline.of({"": audit_of(chain)})
    verdict = checked([chain[2], chain[0], *SOME_CLEAN], baseline)
    assert new(verdict) == {}
    assert len(verdict.stale) == 2  # both links of the sample that is gone


def test_entries_that_nothing_matches_are_stale() -> None:
    old = [
        Sample(0, name="a.png"),
        Sample(1, name="b.png"),
        Sample(50, is_off_topic=True, name="c.png"),
        Sample(60, is_mislabelled=True, label=2, name="d.png"),
        Sample(70, name="e.png"),
        Sample(70, name="f.png"),
        Sample(70, name="g.png"),
        Sample(80),
    ]
    baseline = Baseline.of({"": audit_of(old)})
    assert checked(old, baseline).stale == ()
    assert checked(old[1:], baseline).stale[0].startswith("near_duplicates: ")
    assert checked([*old[:2], *old[3:]], baseline).stale == ("off_topic: c.png",)
    assert checked([*old[:3], *old[4:]], baseline).stale == ("label_errors: d.png (label 2)",)
    relabelled = [replace(s, label=1) if s.is_mislabelled else s for s in old]
    assert checked(relabelled, baseline).stale == ("label_errors: d.png (label 2)",)
    assert checked(old[:6] + old[7:], baseline).stale == ("near_duplicates: e.png f.png g.png",)  # two, not three
    assert checked(SOME_CLEAN, baseline).stale == tuple(str(e) for _, e in sorted(baseline.entries.items()))
    assert check({"val": audit_of(old)}, {}, baseline).stale == ()  # nobody looked


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


def test_a_sample_of_unknown_content_is_accepted_by_no_baseline() -> None:
    samples = [Sample(0), Sample(0), Sample(100, is_off_topic=True), *SOME_CLEAN]
    audit = replace(audit_of(samples), digests=("",) * len(samples))
    baseline = Baseline.of({"": audit})
    assert len(baseline) == 0
    assert new(audit.check(Limits(), baseline)) == {"near_duplicates": [1], "off_topic": [2]}


def test_a_link_to_a_sample_of_unknown_content_is_not_accepted() -> None:
    audit = audit_of([Sample(0), Sample(1), *SOME_CLEAN])
    assert audit.digests is not None
    half_known = replace(audit, digests=("", *audit.digests[1:]))
    baseline = Baseline.of({"": half_known})
    assert len(baseline) == 0
    assert new(half_known.check(Limits(), baseline)) == {"near_duplicates": [1]}


def test_a_link_is_stale_where_both_are_there_and_no_longer_near() -> None:
    audit = audit_of([Sample(0, name="a"), Sample(1, name="b"), *SOME_CLEAN])
    baseline = Baseline.of({"": audit})
    (entry,) = baseline.entries.values()
    assert baseline.stale({"": audit}) == ()
    assert baseline.stale({"": audit.at(thresholds=Thresholds(near_duplicates=0.0))}) == (str(entry),)


def test_an_audit_that_tells_no_contents_cannot_be_compared() -> None:
    audit = Audit(scores_of())
    for ask in (lambda: Baseline.of({"": audit}), lambda: audit.check(Limits(), Baseline({}))):
        with pytest.raises(SettingError) as caught:
            ask()
        assert str(caught.value) == (
            "a baseline identifies findings by the content of the samples, and this audit holds no digests (an older "
            "version wrote it): audit the data again"
        )


def leaking(*pairs: tuple[int, str], n: int = 4) -> Audit:
    """Samples of train at positions with near duplicates of some content in val."""
    audit = audit_of([Sample(100 * i) for i in range(n)])
    index = np.array([position for position, _ in pairs])
    ones = np.ones(len(pairs), np.int64)
    leaks = LeakPairs(
        *(("train", "val"), (n, 9), ones, index, ones, np.zeros(len(pairs), np.float32)),
        other_digests=tuple(content for _, content in pairs),
    )
    return replace(audit, scores=replace(audit.scores, leaks=leaks))


def test_leakage_is_accepted_pair_by_pair() -> None:
    baseline = Baseline.of({"train": leaking((0, "x"), (0, "y"), (2, "z"))})
    assert len(baseline) == 3

    def found(*pairs: tuple[int, str]) -> Any:
        return new(check({"train": leaking(*pairs)}, {}, baseline))

    assert found((2, "z"), (0, "y"), (0, "x")) == found((2, "z")) == {}
    assert found((0, "x"), (0, "new"), (2, "z")) == {"leakage": [0]}
    assert found((2, "x"), (0, "x")) == {"leakage": [2]}
    assert found((1, ""), (0, "x")) == {"leakage": [1]}
    assert found((0, "x"), (3, "z")) == {"leakage": [3]}
    verdict = check({"train": leaking((0, "x"), (2, "z"))}, {}, baseline)
    assert len(verdict.stale) == 1
    assert verdict.stale[0].startswith("train leakage: ")
    assert new(check({"other": leaking((0, "x"))}, {}, baseline)) == {"leakage": [0]}


def test_the_vectors_of_an_audit_may_be_in_any_order() -> None:
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(300, 16)), rng.integers(0, 3, 300)
    vectors[100:110] = vectors[:10] + 1e-3 * rng.normal(size=(10, 16))
    vectors[110:120] = vectors[:10]
    audit = audit_embeddings(vectors, labels, thresholds=Thresholds(0.05))
    baseline = Baseline.of({"": audit})
    assert audit.decisions.surplus.sum() == 20
    order = rng.permutation(300)
    moved = audit_embeddings(vectors[order], labels[order], thresholds=Thresholds(0.05))
    assert new(moved.check(Limits(), baseline)) == {}
    assert moved.check(Limits(), baseline).stale == ()
    more = np.concatenate([vectors, vectors[200:201]])
    grown = audit_embeddings(more, [*labels, labels[200]], thresholds=Thresholds(0.05, label_errors=None))
    assert new(grown.check(Limits(near_duplicates=0.0), baseline))["near_duplicates"] == [300]


# --- as many as there were, and what nobody looked at ------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "issue"),
    [
        (Sample(50, is_broken=True), "unreadable"),
        (Sample(50, is_off_topic=True), "off_topic"),
        (Sample(50, is_mislabelled=True), "label_errors"),
    ],
)
def test_more_samples_of_an_accepted_content_are_new(bad: Sample, issue: str) -> None:
    clean = [Sample(0), Sample(1000)]
    baseline = Baseline.of({"": audit_of([*clean, bad])})
    assert checked([bad, *clean], baseline)
    assert len(new(checked([bad, bad, *clean, bad], baseline))[issue]) == 2
    assert checked([bad, bad, *clean, bad], Baseline.of({"": audit_of([bad, *clean, bad, bad])}))


def test_the_file_that_was_added_is_the_finding_and_not_one_that_was_accepted() -> None:
    old = [Sample(7, name="b.png"), Sample(7, name="c.png"), Sample(500, name="x.png")]
    baseline = Baseline.of({"": audit_of(old)})
    assert new(checked([Sample(7, name="a.png"), *old], baseline)) == {"near_duplicates": [0]}
    assert new(checked([*old, Sample(8, name="d.png")], baseline)) == {"near_duplicates": [3]}


def test_entries_that_nobody_looked_at_are_kept_and_not_stale() -> None:
    samples = [Sample(0), Sample(1), Sample(50, is_off_topic=True), Sample(60)]
    audit = audit_of(samples)
    baseline = Baseline.of({"": audit, "val": audit})
    off = audit.at(thresholds=replace(audit.thresholds, off_topic=None))
    assert check({"": off}, {}, baseline).stale == ()
    assert Baseline.of({"": off}, baseline).entries == baseline.entries
    gone = audit_of(samples[:2] + samples[3:])
    assert Baseline.of({"": gone}, baseline).entries.keys() == {
        key for key in baseline.entries if key.split == "val" or key.issue != "off_topic"
    }


@pytest.mark.parametrize("removed", [1, 3, 11])
@pytest.mark.parametrize("side", [0, 1])
def test_of_many_that_leak_some_may_go_and_nothing_is_new(side: int, removed: int) -> None:
    def found(train: int, val: int) -> dict[str, Audit]:
        """Frames of one scene in two splits, beside images of their own."""
        frames = np.random.default_rng(1).normal(0, 1e-3, (24, 8)) + np.eye(8)[0]
        parts = frames[:12][:train], frames[12:][:val]
        given = {}
        for name, scene, seed in zip(("train", "val"), parts, (2, 3), strict=True):
            own = np.random.default_rng(seed).normal(size=(20, 8)) - np.eye(8)[0]
            given[name] = embeddings_of(np.concatenate([scene, own]).astype(np.float32))
        policies = dict.fromkeys(given, Policy())
        return dict(splits_of(given, AuditSettings(thresholds=Thresholds(near_duplicates=0.05)), policies).audits)

    baseline = Baseline.of(found(12, 12))
    assert check(found(12, 12), {}, baseline)
    sizes = (12 - removed, 12) if side == 0 else (12, 12 - removed)
    verdict = check(found(*sizes), {}, baseline)
    assert new(verdict) == {}
    assert not check(found(12, 12), {}, Baseline.of(found(11, 12)))  # one frame more


A, B = [0.0], [0.01]  # nearly the same image


@pytest.mark.parametrize(
    ("train", "val", "new_in"),
    [
        ([A], [B], set()),
        ([A, B], [B], {"train", "val"}),
        ([A], [B, A], {"train", "val"}),
        ([B], [A], {"train", "val"}),
        ([B], [B], {"train", "val"}),
        ([A, A], [B], {"train"}),
        ([A], [B, B], {"val"}),
    ],
)
def test_an_accepted_leak_says_which_content_is_in_which_split(train: Any, val: Any, new_in: set[str]) -> None:
    def found(**scenes: list[list[float]]) -> dict[str, Audit]:
        given = {}
        for seed, (name, scene) in enumerate(scenes.items()):
            shown = np.array([[1.0, *tilt, *[0.0] * 6] for tilt in scene])
            own = np.random.default_rng(seed).normal(size=(20, 8)) - 3 * np.eye(8)[0]
            given[name] = embeddings_of(np.concatenate([shown, own]).astype(np.float32))
        return dict(splits_of(given, AuditSettings(thresholds=Thresholds(0.05)), dict.fromkeys(given, Policy())).audits)

    baseline = Baseline.of(found(train=[A], val=[B]))
    verdict = check(found(train=train, val=val), {}, baseline)
    assert {c.split for c in verdict.checks if c.issue == "leakage" and c.found.size} == new_in


# --- automatic thresholds ----------------------------------------------------------------------------


def automatic(n: int, seed: int = 0) -> Audit:
    """Classes with some labels wrong and some vectors far away: the first n of one sequence."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 400)
    vectors = rng.normal(size=(400, 8)) + 3 * np.eye(8)[labels]
    vectors[::40] = rng.normal(size=(10, 8)) * 3
    vectors[1::20] = vectors[::20] + 0.1 * rng.normal(size=(20, 8))
    given = np.where(np.arange(400) % 17 == 0, (labels + 1) % 4, labels)
    return audit_embeddings(vectors[:n], given[:n])


def test_what_an_automatic_threshold_moves_across_is_no_news() -> None:
    before = automatic(300)
    baseline = Baseline.of({"": before})
    thresholds = before.decisions.thresholds
    assert baseline.thresholds == {
        ("", issue): thresholds[issue] for issue in ("near_duplicates", "off_topic", "label_errors")
    }
    lower = replace(
        baseline, thresholds={at: threshold / 8 for at, threshold in baseline.thresholds.items()}, entries={}
    )
    found = new(before.check(Limits(), lower))
    halves = Thresholds(*(thresholds[issue] / 8 for issue in ("near_duplicates", "off_topic", "label_errors")))
    assert found == new(before.at(thresholds=halves).check(Limits(), Baseline({})))
    assert 0 < sum(map(len, found.values())) < sum(map(len, new(before.check(Limits(), Baseline({}))).values()))
    higher = replace(
        baseline, thresholds={at: min(2 * threshold, 1.0) for at, threshold in baseline.thresholds.items()}, entries={}
    )
    assert new(before.check(Limits(), higher)) == new(before.check(Limits(), Baseline({})))


def test_an_entry_that_the_threshold_moved_away_from_is_not_stale() -> None:
    audit = automatic(300)
    wide = Thresholds(*(min(2 * audit.decisions.thresholds[i], 1.0) for i in audit.decisions.thresholds))
    of_wide = Baseline.of({"": audit.at(thresholds=wide)})
    assert of_wide.thresholds == {}  # chosen ones are in the settings
    assert len(of_wide.stale({"": audit})) > 0
    thresholds = {("", issue): getattr(wide, issue) for issue in ("near_duplicates", "off_topic", "label_errors")}
    assert replace(of_wide, thresholds=thresholds).stale({"": audit}) == ()


def test_a_threshold_that_somebody_chose_is_in_force() -> None:
    audit = automatic(300)
    none = Baseline({}, {("", issue): 0.0 for issue in ("near_duplicates", "off_topic", "label_errors")})
    assert new(audit.check(Limits(), none)) == {}
    chosen = audit.at(thresholds=replace(audit.thresholds, label_errors=0.4))
    below = (chosen.scores.label < 0.4).nonzero()[0]  # labels that near duplicates contradict need a threshold of those
    assert len(below) > 0
    assert new(chosen.check(Limits(), none)) == {"label_errors": chosen.ranked("label_errors", below).tolist()}


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
