"""What was accepted stays accepted however samples move, and one more is new."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks import Audit, Limits, Policy, Thresholds
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import check
from tests.decisions.test_policy import scores_of
from tests.gate.baseline_data import KEEP, SAMPLES, SOME_CLEAN, Sample, audit_of, checked, new


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


@given(SAMPLES)
def test_an_empty_baseline_accepts_nothing(samples: list[Sample]) -> None:
    audit, empty = audit_of(samples), Baseline({})
    counted = {issue: audit.worst(issue).tolist() for issue in audit.contamination}
    assert new(audit.check(Limits(), empty)) == {issue: found for issue, found in counted.items() if found}
    assert bool(audit.check(Limits(), empty)) == (not any(counted.values()))


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
