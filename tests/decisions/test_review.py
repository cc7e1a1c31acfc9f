import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfclean_hooks import Audit, AuditedDataset, Policy, Thresholds
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.core.calibration import clean_in_a_row
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.review.file import KIND, read_reviews, write_review
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.decisions.review.matching import match_marks
from selfclean_hooks.decisions.review.verdicts import unknown_labels
from selfclean_hooks.decisions.settings import Keep
from selfclean_hooks.errors import AuditFileError, ContaminationError, PolicyError, SettingError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Limits, check
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks.report.junit import as_junit
from selfclean_hooks.report.markdown import as_markdown
from selfclean_hooks.report.sarif import as_sarif
from selfclean_hooks.results.stopping_rule import stopping_rule
from tests.decisions.test_duplicate_sets import scores_between
from tests.decisions.test_policy import CLUSTER, low, scores_of
from tests.helpers.review_data import mark

DIGEST = "{:032x}".format
WARN, IGNORE = Policy(), Policy("ignore", "ignore", "ignore", "ignore")
DROP = Policy("drop", "drop", "drop", "drop", leakage="drop")


def ten(names: bool = True, policy: Policy = DROP, **changes: Any) -> Audit:
    scores = scores_of(**changes)
    digests = tuple(DIGEST(i + 1) for i in range(len(scores)))
    files = tuple(f"dir/{i}.png" for i in range(len(scores))) if names else None
    return Audit(scores, policy=policy, names=files, digests=digests)


def reviewed(audit: Audit, *marks: Mark) -> Audit:
    return audit.with_decisions(Review(marks))


# --- what marks do ---------------------------------------------------------------------------------------------------


def test_what_is_fine_is_no_finding_whatever_the_threshold() -> None:
    audit = ten(off_topic=low(3, 4))
    found = reviewed(audit, mark(audit, "off_topic", "rejected", 3))
    assert found.worst("off_topic").tolist() == [4]
    assert found.clean_indices.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert found.decisions.reason[3] == "reviewed: not an issue (off topic)"
    assert found.decisions.action[[3, 4]].tolist() == ["keep", "drop"]
    higher = found.at(thresholds=Thresholds(off_topic=0.95))
    assert higher.worst("off_topic").tolist() == [4, 0, 1, 2, 5, 6, 7, 8, 9]
    assert audit.worst("off_topic").tolist() == [3, 4], "the audit itself is as it was"


def test_what_is_confirmed_is_dropped_whatever_threshold_and_policy() -> None:
    audit = ten(off_topic=low(3), policy=IGNORE)
    found = reviewed(audit, mark(audit, "off_topic", "confirmed", 3), mark(audit, "off_topic", "confirmed", 5))
    for each in (found, found.at(thresholds=Thresholds(off_topic=None))):
        assert each.clean_indices.tolist() == [0, 1, 2, 4, 6, 7, 8, 9]
        assert each.contamination["off_topic"] == 0.2
        assert each.decisions.action[5] == "drop"
        assert each.decisions.reason[5] == "confirmed by review (off topic)"
    assert found.decisions.reason[3] == "off topic (score 0.05 below 0.1); confirmed by review (off topic)"


def test_what_is_confirmed_does_not_count_for_the_guard() -> None:
    audit = ten(off_topic=low(*range(6)))
    with pytest.raises(PolicyError, match="would drop 6 of 10 samples"):
        audit.clean_indices  # noqa: B018
    sure = reviewed(audit, *(mark(audit, "off_topic", "confirmed", i) for i in range(6)))
    assert sure.clean_indices.tolist() == [6, 7, 8, 9]
    some = reviewed(audit.at(policy=replace(DROP, max_drop_fraction=0.2)), mark(audit, "off_topic", "confirmed", 0))
    with pytest.raises(PolicyError, match=r"would drop 5 of 10 samples .*off_topic 5\)"):
        some.clean_indices  # noqa: B018


def test_a_class_is_emptied_only_by_people_who_confirm_each_of_it() -> None:
    labels = np.array([0] * 8 + [1, 1])
    audit = ten(off_topic=np.where(np.arange(10) == 9, 0.02, low(8)), given_label=labels)
    assert audit.clean_indices.tolist() == [*range(9)]
    one = reviewed(audit, mark(audit, "off_topic", "confirmed", 8))
    assert one.clean_indices.tolist() == [*range(8), 9], "the other one is kept in its place"
    assert one.decisions.reason[9].endswith("kept: its class would otherwise be empty")
    both = reviewed(audit, *(mark(audit, "off_topic", "confirmed", i) for i in (8, 9)))
    assert both.clean_indices.tolist() == [*range(8)]


def test_people_who_confirmed_need_no_warning_and_no_error() -> None:
    audit = ten(off_topic=low(3, 4), policy=Policy(off_topic="raise"))
    with pytest.raises(ContaminationError, match="2 of 10 samples"):
        audit.enforce()
    with pytest.raises(ContaminationError, match="1 of 10 samples"):
        reviewed(audit, mark(audit, "off_topic", "confirmed", 3)).enforce()
    reviewed(audit, *(mark(audit, "off_topic", "confirmed", i) for i in (3, 4))).enforce()


def test_new_labels_are_kept_and_reported() -> None:
    audit = ten(label=low(3, 4), class_names=("cat", "dog"), given_label=np.array([0, 1] * 5))
    found = reviewed(audit, mark(audit, "label_errors", "relabelled", 3, label="cat"))
    assert found.worst("label_errors").tolist() == [4]
    assert 3 in found.clean_indices
    assert found.relabelled == {3: "cat"}
    assert found.corrected_labels.tolist() == ["cat", "dog", "cat", "cat", *["cat", "dog"] * 3]
    assert found.corrected_labels.dtype == object
    assert found.decisions.reason[3] == "reviewed: label dog corrected to cat"
    assert (audit.relabelled, audit.corrected_labels[3]) == ({}, "dog")


def test_any_number_is_known_where_labels_are_numbers() -> None:
    audit = ten(label=low(3, 4), targets=np.arange(10) / 3, predicted_target=np.zeros(10))
    assert unknown_labels(audit.scores, {3: "98.75", 4: "1e400", 5: "many", 6: "nan"}) == ("1e400", "many", "nan")
    assert unknown_labels(ten().scores, {3: "98.75"}) == ("98.75",)


def test_a_new_label_settles_what_copies_contradict() -> None:
    """Both are in doubt: once one has the label of the other, neither is."""
    audit = ten(near=[(2, 7, 0.0)], class_names=("cat", "dog"), given_label=np.array([0] * 7 + [1, 0, 1]))
    assert audit.worst("label_errors").tolist() == [2, 7]
    found = reviewed(audit, mark(audit, "label_errors", "relabelled", 7, label="cat"))
    assert found.worst("label_errors").tolist() == []
    assert [each.decisions.conflicts for each in (audit, found)] == [{0}, set()]
    other = reviewed(audit, mark(audit, "label_errors", "relabelled", 7, label="emu"))
    assert other.worst("label_errors").tolist() == [2], "another class contradicts all the same"


def test_unreadable_samples_are_decided_too_while_they_are_unreadable() -> None:
    audit = ten(errors={4: "gone", 6: "gone"})
    marks = [mark(audit, "unreadable", "rejected", 4), mark(audit, "unreadable", "confirmed", 6)]
    found = reviewed(audit, *marks)
    assert found.worst("unreadable").tolist() == [6]
    assert found.clean_indices.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    rejected_again = reviewed(ten(), *marks)
    assert len(rejected_again.clean_indices) == 10
    assert set(rejected_again.decisions.unmatched) == set(marks)


# --- near duplicates -------------------------------------------------------------------------------------------------


def test_a_rejected_copy_leaves_its_set() -> None:
    audit = ten(near=CLUSTER)
    found = reviewed(audit, mark(audit, "near_duplicates", "rejected", 8, 2))
    assert found.worst("near_duplicates").tolist() == [7]
    assert found.decisions.sets[[2, 7, 8]].tolist() == [0, 0, -1]
    assert found.decisions.reason[8] == "reviewed: not an issue (near duplicate)"
    assert found.pairs.set_index(["index_1", "index_2"])["is_near_duplicate_issue"].to_dict() == {
        (2, 7): True,
        (2, 8): False,
        (7, 8): True,
    }
    none = reviewed(audit, *(mark(audit, "near_duplicates", "rejected", i, 2) for i in (7, 8)))
    assert none.contamination["near_duplicates"] == 0
    assert none.decisions.flags["near_duplicates"].sum() == 0
    assert none.decisions.sets.max() == -1
    assert len(none.decisions.duplicates.kept) == 0


def test_a_confirmed_copy_is_dropped_beyond_the_threshold_too() -> None:
    audit = ten(near=[(2, 7, 0.2)], policy=WARN)
    assert audit.contamination["near_duplicates"] == 0
    found = reviewed(audit, mark(audit, "near_duplicates", "confirmed", 7, 2))
    assert found.worst("near_duplicates").tolist() == [7]
    assert found.clean_indices.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert found.decisions.reason[7] == (
        "near duplicate of 2, dir/2.png (set 0, 2 copies, distance 0.2); confirmed by review (near duplicate)"
    )
    far = reviewed(audit, mark(audit, "near_duplicates", "confirmed", 5, 0))
    assert far.decisions.reason[5].startswith("near duplicate of 0, dir/0.png (set 0, 2 copies); confirmed")


@pytest.mark.parametrize("verdict", ["confirmed", "rejected"])
def test_a_mark_counts_for_whichever_of_the_two_is_surplus_today(verdict: str) -> None:
    audit = ten(near=[(2, 7, 0.0)], pixels=np.array([9, *range(1, 10)]), policy=WARN)
    about = mark(audit, "near_duplicates", verdict, 7, 2)
    first, largest = (reviewed(audit.at(policy=Policy(keep=keep)), about) for keep in ("first", "largest_image"))
    assert [first.decisions.dropped[i] for i in (2, 7)] == [False, verdict == "confirmed"]
    assert [largest.decisions.dropped[i] for i in (2, 7)] == [verdict == "confirmed", False]
    assert first.contamination == largest.contamination


def test_a_copy_confirmed_elsewhere_does_not_take_its_set_along() -> None:
    """3 is the kept copy of 8, and is dropped as a copy of 0, from which it lies too far for the threshold: 8 stays."""
    audit = ten(near=[(3, 8, 0.0), (0, 3, 0.3)])
    found = reviewed(audit, mark(audit, "near_duplicates", "confirmed", 3, 0))
    assert found.clean_indices.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert found.decisions.duplicates.kept.tolist() == [8]


def test_what_is_confirmed_for_another_reason_is_not_the_copy_that_is_kept() -> None:
    audit = ten(near=[(2, 7, 0.0)], policy=Policy(near_duplicates="drop"))
    found = reviewed(audit, mark(audit, "off_topic", "confirmed", 2))
    assert found.clean_indices.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9]


def test_in_a_ring_of_copies_one_stays() -> None:
    audit = ten(policy=WARN)
    ring = [mark(audit, "near_duplicates", "confirmed", i, j) for i, j in ((1, 2), (2, 3), (3, 1))]
    found = reviewed(audit, *ring)
    assert sorted({1, 2, 3} & set(found.clean_indices.tolist())) == [3]
    assert found.decisions.unmatched == (ring[2],)


def test_a_pair_that_no_longer_exists_is_reported() -> None:
    audit = ten(near=CLUSTER)
    about = mark(audit, "near_duplicates", "rejected", 5, 4)
    found = reviewed(audit, about)
    assert found.decisions.unmatched == (about,)
    assert found.clean_indices.tolist() == audit.clean_indices.tolist()


# --- leakage ---------------------------------------------------------------------------------------------------------


def leaking(policy: Policy = DROP) -> Audit:
    """Samples 1 and 2 are in val, 2 twice and in test."""
    pairs = [(1, 1, 0), (1, 2, 3), (1, 2, 4), (2, 2, 5), (1, 5, 6)]
    other, index, other_index = np.array(pairs).T
    leaks = LeakPairs(
        ("train", "val", "test"),
        (10, 10, 10),
        other,
        index,
        other_index,
        np.array([0, 0.01, 0.02, 0.03, 0.5], np.float32),
        tuple(f"other/{j}.png" for j in other_index),
        tuple(DIGEST(100 + j) for j in other_index),
        automatic=0.1,
    )
    return ten(leaks=leaks, policy=policy)


def leak(verdict: Any, i: int, j: int, split: str = "val", **changes: Any) -> Mark:
    other = {"other_index": j, "other_sample": f"other/{j}.png", "other_digest": DIGEST(100 + j), "other_split": split}
    return mark(leaking(), "leakage", verdict, i, **{**other, **changes})


def test_a_leak_is_none_once_all_its_pairs_are_rejected() -> None:
    audit = leaking()
    assert audit.worst("leakage").tolist() == [1, 2]
    some = reviewed(audit, leak("rejected", 2, 3), leak("rejected", 2, 4))
    assert some.worst("leakage").tolist() == [1, 2]
    assert some.leakage["is_leakage_issue"].tolist() == [True, False, False, True, False]
    every = reviewed(some, leak("rejected", 2, 5, "test"))
    assert every.worst("leakage").tolist() == [1]
    assert every.decisions.reason[2] == "reviewed: not an issue (leakage)"
    assert every.clean_indices.tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_confirmed_leak_drops_the_sample_of_this_split() -> None:
    found = reviewed(leaking(WARN), leak("confirmed", 5, 6, split="val"), leak("confirmed", 7, 99))
    assert found.worst("leakage").tolist() == [1, 2, 5]
    assert found.clean_indices.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert [str(lost) for lost in found.decisions.unmatched] == ["dir/7.png"], "what it leaked into is gone"


def test_what_is_no_leak_is_none_on_both_sides() -> None:
    train = leaking(WARN)
    to, own, its = (np.array([value]) for value in (1, 0, 1))
    back = LeakPairs(("val", "train"), (10, 10), to, own, its, np.zeros(1, np.float32), automatic=0.1)
    found = SplitsAudit({"train": train, "val": ten(leaks=back, policy=WARN)})
    assert found.audits["val"].worst("leakage").tolist() == [0]
    about = leak("rejected", 1, 0, split="val", other_digest=DIGEST(1), other_sample="")
    there = train.scores.leaks
    assert there is not None
    there = replace(there, other_digests=(DIGEST(1), *(there.other_digests or ())[1:]))
    found = SplitsAudit({**found.audits, "train": replace(train, scores=replace(train.scores, leaks=there))})
    after = found.with_decisions(Review((replace(about, split="train"),)))
    assert [after.audits[name].worst("leakage").tolist() for name in ("train", "val")] == [[2], []]
    assert len(after.leaking) == len(found.leaking) - 1


def test_the_threshold_of_leakage_can_be_moved_by_itself() -> None:
    found = leaking().with_decisions(Review((), {"leakage": 0.6}, split="train"))
    assert found.worst("leakage").tolist() == [1, 2, 5]
    assert found.decisions.thresholds["near_duplicates"] == 0.1


# --- where marks belong ----------------------------------------------------------------------------------------------


def of_contents(contents: Sequence[int], names: Sequence[str] | None = None, **changes: Any) -> Audit:
    scores = scores_of(len(contents), **changes)
    return Audit(scores, names=None if names is None else tuple(names), digests=tuple(DIGEST(c) for c in contents))


def about(index: int = -1, sample: str = "", digest: int | None = None, **changes: Any) -> Mark:
    content = "" if digest is None else DIGEST(digest)
    return Mark("off_topic", "confirmed", index, sample, content, **changes)


@pytest.mark.parametrize(
    ("who", "position"),
    [
        (about(1, "b", 7), 1),
        (about(3, "b", 7), 1),  # the file before the position
        (about(3, "x", 7), 3),  # the position where the file is gone
        (about(9, "x", 7), 1),  # any of that content
        (about(0, "b", 8), -1),  # another content
        (about(0, "c"), 2),  # no content known: the file
        (about(0, "x"), -1),
        (about(2), 2),  # neither: the position
        (about(5), -1),
        (about(9, "old/dir/d", 7), 3),  # the folder was moved
    ],
)
def test_a_sample_is_found_by_content_then_file_then_position(who: Mark, position: int) -> None:
    audit = of_contents([5, 7, 6, 7], ["a", "b", "c", "new/dir/d"])
    found = reviewed(audit, who)
    assert found.decisions.confirmed.nonzero()[0].tolist() == [position] * (position >= 0)
    assert found.decisions.unmatched == (() if position >= 0 else (who,))


def test_without_contents_and_files_positions_count() -> None:
    audit = Audit(scores_of())
    assert reviewed(audit, about(3, "a.png", 5)).decisions.confirmed.nonzero()[0].tolist() == [3]


def test_each_sample_of_a_content_takes_one_mark() -> None:
    audit = of_contents([7, 7, 7, 1], ["p", "q", "r", "s"])
    found = reviewed(audit, about(8, "x", 7), about(9, "q", 7), about(10, "y", 7), about(11, "z", 7))
    assert found.decisions.confirmed.tolist() == [True, True, True, False]
    assert len(found.decisions.unmatched) == 1


def test_a_copy_that_was_removed_does_not_pull_the_other_one_along() -> None:
    before = of_contents([7, 7, 1], ["a", "b", "c"], near=[(0, 1, 0.0)])
    about_b = mark(before, "near_duplicates", "confirmed", 1, 0)
    assert reviewed(before, about_b).clean_indices.tolist() == [0, 2]
    after = reviewed(of_contents([7, 1], ["a", "c"]), about_b)
    assert after.clean_indices.tolist() == [0, 1]
    assert after.decisions.unmatched == (about_b,)
    unnamed = replace(about_b, sample="", other_sample="")
    assert reviewed(of_contents([7, 1]), unnamed).clean_indices.tolist() == [0, 1]


def test_a_wrong_label_that_was_removed_does_not_pull_the_right_one_along() -> None:
    names, labels = ["cat/a.png", "dog/b.png", "dog/c.png"], np.array([0, 1, 1])
    before = of_contents([7, 7, 1], names, class_names=("cat", "dog"), given_label=labels)
    wrong = mark(before, "label_errors", "confirmed", 1)
    assert reviewed(before, wrong).clean_indices.tolist() == [0, 2]
    after = of_contents([7, 1], ["cat/a.png", "dog/c.png"], class_names=("cat", "dog"), given_label=labels[1:] - [1, 0])
    assert reviewed(after, wrong).clean_indices.tolist() == [0, 1]


def test_marks_of_another_split_match_nothing() -> None:
    audit = leaking(WARN)
    theirs, ours = about(3, split="val"), about(4, split="train")
    found = reviewed(audit, theirs, ours, about(5))
    assert found.decisions.confirmed.nonzero()[0].tolist() == [4, 5]
    assert found.decisions.unmatched == (theirs,)


def slowly_placed(marks: Sequence[Mark], audit: Audit) -> dict[int, int]:
    """Number of a mark: position; the closest of all pairs of mark and sample first."""
    names, digests = (texts or ("",) * len(audit) for texts in (audit.names, audit.digests))

    def rank(mark: Mark, i: int) -> int:
        same_content, same_file = mark.digest == digests[i], mark.sample == names[i] != ""
        if mark.digest and digests[i]:
            fits = same_content
        elif mark.sample and names[i]:
            fits = same_file
        else:
            fits = mark.index == i
        alike = bool(mark.sample and names[i]) and mark.sample.split("/")[-2:] == names[i].split("/")[-2:]
        close = [same_file and mark.index == i, same_file, alike, mark.index == i, True]
        return close.index(True) if fits else len(close)

    found: dict[int, int] = {}
    every = [(rank(mark, i), -number, i) for number, mark in enumerate(marks) for i in range(len(audit))]
    for closeness, number, i in sorted(every):
        if closeness < 5 and -number not in found and i not in found.values():
            found[-number] = i
    return found


FILE = st.sampled_from(["", "a", "x/b", "y/x/b", "z/b"])
SAMPLES = st.lists(st.tuples(FILE, st.sampled_from(["", DIGEST(1), DIGEST(2), DIGEST(3)])), min_size=2, max_size=7)
WHOSE = st.builds(
    Mark,
    issue=st.just("off_topic"),
    verdict=st.just("confirmed"),
    index=st.integers(0, 8),
    sample=FILE,
    digest=st.sampled_from(["", DIGEST(1), DIGEST(2)]),
)


@given(samples=SAMPLES, about=st.lists(WHOSE, max_size=6), has_names=st.booleans(), has_digests=st.booleans())
@settings(max_examples=300, deadline=None)
def test_places_are_those_of_a_slow_search(samples: Any, about: Any, has_names: bool, has_digests: bool) -> None:
    names, digests = (tuple(texts) for texts in zip(*samples, strict=True))
    audit = Audit(scores_of(len(samples)), names=names if has_names else None, digests=digests if has_digests else None)
    places, lost = match_marks(about, audit.scores, audit.names, audit.digests)
    slow = slowly_placed(about, audit)
    assert [place.position for place in places] == [slow[number] for number in sorted(slow)]
    assert lost == [each for number, each in enumerate(about) if number not in slow]


# --- baseline and formats --------------------------------------------------------------------------------------------


def test_a_baseline_takes_what_is_fine_and_leaves_what_is_confirmed() -> None:
    audit = ten(near=CLUSTER, off_topic=low(3, 4, 5))
    found = reviewed(
        audit,
        mark(audit, "off_topic", "rejected", 3),
        mark(audit, "off_topic", "confirmed", 4),
        mark(audit, "near_duplicates", "rejected", 7, 2),
    )
    baseline = Baseline.of({"": found})
    notes = {(key.issue, key.samples): entry.note for key, entry in baseline.entries.items()}
    assert {samples: note for (issue, samples), note in notes.items() if issue == "off_topic"} == {
        (DIGEST(4),): "reviewed: not an issue",
        (DIGEST(6),): "",
    }
    assert "reviewed: not an issue" in {note for (issue, _), note in notes.items() if issue == "near_duplicates"}

    def new(audit: Audit) -> dict[str, list[int]]:
        checks = audit.check(Limits(), baseline).checks
        return {each.issue: each.found.tolist() for each in checks if len(each.found)}

    assert new(found) == {"off_topic": [4]}
    assert new(audit) == {"off_topic": [4]}, "without the decisions too"
    assert found.check(Limits(), baseline).stale == ()
    mine = replace(next(iter(baseline.entries.values())), note="mine")
    assert Baseline.of({"": found}, Baseline({mine.key: mine})).entries[mine.key].note == "mine"


def test_what_is_confirmed_is_new_whatever_was_accepted_before() -> None:
    audit = ten(near=CLUSTER, off_topic=low(3), leaks=leaking().scores.leaks)
    baseline = Baseline.of({"": audit})
    assert audit.check(baseline=baseline)
    sure = reviewed(
        audit,
        mark(audit, "off_topic", "confirmed", 3),
        mark(audit, "near_duplicates", "confirmed", 8, 2),
        leak("confirmed", 1, 0),
    )
    verdict = sure.check(baseline=baseline)
    assert {each.issue: each.found.tolist() for each in verdict.checks if len(each.found)} == {
        "off_topic": [3],
        "near_duplicates": [8],
        "leakage": [1],
    }
    assert verdict.stale == ()
    after = Baseline.of({"": sure}, baseline)
    assert {s for key in after.entries for s in key.samples} & {DIGEST(4), DIGEST(9)} == set()
    assert (DIGEST(2), DIGEST(100)) not in {key.samples for key in after.entries}


def test_corrected_labels_are_no_findings_and_are_not_accepted() -> None:
    audit = ten(label=low(4))
    found = reviewed(audit, mark(audit, "label_errors", "relabelled", 4, label="7"))
    assert found.check(Limits(label_errors=0.0))
    assert len(Baseline.of({"": found})) == 0
    before = Baseline.of({"": audit})
    assert found.check(baseline=before).stale == ()


def test_what_is_fine_is_in_no_format() -> None:
    audit = ten(near=CLUSTER, off_topic=low(4, 5), leaks=leaking().scores.leaks, policy=WARN)
    found = reviewed(
        audit,
        mark(audit, "off_topic", "rejected", 4),
        mark(audit, "near_duplicates", "rejected", 7, 2),
        mark(audit, "near_duplicates", "confirmed", 6, 2),
        leak("rejected", 1, 0),
    )
    audits = {"": found}
    verdict = check(audits, {"": Limits(0.0, 0.0, leakage=0.0)})
    for text in (
        as_json(audits, verdict),
        as_markdown(audits, verdict).replace("&#46;", ".").replace("&#47;", "/"),
        as_junit(audits, verdict),
        as_sarif(audits, verdict),
    ):
        listed = {i for i in range(10) if f"dir/{i}.png" in text}
        assert listed == {2, 5, 6, 8}
    reported = json.loads(as_json(audits, verdict))
    assert {row["issue"]: row["num_issues"] for row in reported["summary"]} == {
        "near_duplicates": 2,
        "off_topic": 1,
        "label_errors": 0,
        "leakage": 1,
        "unreadable": 0,
    }
    assert sum(row["samples_1"] for row in reported["leakage"]) == 2, "2 is in val and in test"


# --- files -----------------------------------------------------------------------------------------------------------

ANY = st.text(st.characters(), max_size=5)
INDEX = st.integers(-1, 2**40)
WHO = st.tuples(INDEX, ANY, st.sampled_from(["", DIGEST(7), DIGEST(8)])).filter(lambda who: who != (-1, "", ""))


@st.composite
def marks(draw: st.DrawFn) -> Mark:
    issue = draw(st.sampled_from(["near_duplicates", "off_topic", "label_errors", "leakage", "unreadable"]))
    verdicts = ["confirmed", "rejected", *(["relabelled"] if issue == "label_errors" else [])]
    verdict: Any = draw(st.sampled_from(verdicts))
    changes: dict[str, Any] = {"split": draw(st.sampled_from(["", "train", "a:b"]))}
    if verdict == "relabelled":
        changes["label"] = draw(ANY.filter(str.strip))
    if issue in ("near_duplicates", "leakage"):
        changes |= dict(zip(("other_index", "other_sample", "other_digest"), draw(WHO), strict=True))
    if issue == "leakage":
        changes["other_split"] = draw(st.sampled_from(["val", "\ud800"]))
    return Mark(issue, verdict, *draw(WHO), **changes)


REVIEWS = st.builds(
    Review,
    marks=st.lists(marks(), max_size=8).map(tuple),
    thresholds=st.dictionaries(st.sampled_from(["off_topic", "leakage"]), st.floats(0, 1)),
    seen=st.dictionaries(st.sampled_from(["off_topic", "unreadable"]), st.integers(0, 999)),
    split=st.sampled_from(["", "train", "a:b"]),
    dataset=ANY,
)


@given(review=REVIEWS)
@settings(max_examples=80, deadline=None)
def test_a_file_comes_back_as_it_was(review: Review, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("review") / "decisions.json"
    write_review(review, path)
    assert read_reviews(path) == review
    path.read_bytes().decode("ascii")


@given(first=REVIEWS, second=REVIEWS)
@settings(max_examples=80, deadline=None)
def test_the_last_of_several_counts(first: Review, second: Review) -> None:
    both = Review.merge([first, second])
    slow = {mark.finding: mark for mark in (*first.marks, *second.marks)}
    assert {mark.finding: mark for mark in both.marks} == slow
    assert len(both.marks) == len(slow)
    for split in ("", "train", "a:b"):
        expected_thresholds = {**(first.thresholds if first.split == split else {})}
        expected_thresholds |= second.thresholds if second.split == split else {}
        assert both.thresholds_of(split) == both.of(split).thresholds == expected_thresholds
        own = {mark for mark in both.marks if mark.split == split}
        assert own <= set(both.of(split).marks)


GOOD: dict[str, Any] = {"format": 1, "kind": KIND, "decisions": []}
ENTRY = {"issue": "off_topic", "verdict": "confirmed", "index": 1}


def entry(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "decisions": [{**ENTRY, **changes}]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "must be JSON, got Expecting property name"),
        ("[1]", "an object was wanted, got [1]"),
        (json.dumps(GOOD)[:-1] + ', "kind": "x"}', "'kind' is given twice"),
        (json.dumps(GOOD)[:-1] + ', "thresholds": {"off_topic": NaN}}', "NaN is not a number"),
        ("[" * 100_000, "nested too deeply"),
        ({**GOOD, "kind": "report"}, f"kind must be '{KIND}', got 'report'"),
        ({**GOOD, "format": 2}, "format must be 1, got 2"),
        ({**GOOD, "notes": 1}, "'notes' is not a known key (format, kind"),
        ({**GOOD, "decisions": {}}, "$.decisions: expected array, got object"),
        ({**GOOD, "thresholds": {"off_topic": 2}}, "a threshold must be a score in [0, 1] for one of near_duplicates"),
        ({**GOOD, "thresholds": {"speed": 0.1}}, "got 0.1 for 'speed'"),
        ({**GOOD, "seen": {"off_topic": -1}}, "got -1 for 'off_topic'"),
        ({**GOOD, "thresholds": {"off_topic": 10**400}}, "$.thresholds[...]: number out of range"),
        ({**GOOD, "decisions": [ENTRY, 3]}, "decision 2: an object was wanted, got 3"),
        ({**GOOD, "decisions": [{"issue": "off_topic"}]}, "decision 1: it lacks 'verdict'"),
        (entry(colour=1), "decision 1: 'colour' is not a known key"),
        (entry(issue="typo"), "the issue must be one of near_duplicates, off_topic, label_errors, leakage, unreadable"),
        (entry(verdict="maybe"), "the verdict must be one of confirmed, rejected, relabelled, got 'maybe'"),
        (entry(index=1.5), "index must be a position, 0 or more, got 1.5"),
        (entry(index=True), "index must be a position, 0 or more, got True"),
        (entry(index=-1), "must identify its sample by index, sample or digest, got none of them"),
        (entry(sample=None), "sample must be a string, got None"),
        (entry(digest="xyz"), "digest must be 32 hexadecimal digits or empty, got 'xyz'"),
        (entry(label="cat"), "a new label goes with the verdict relabelled"),
        (entry(verdict="relabelled", label="cat"), "relabelled is a verdict on label_errors, got it for 'off_topic'"),
        (entry(issue="label_errors", verdict="relabelled", label=" "), "a new label goes with the verdict relabelled"),
        (entry(other_index=2), "other issues about one, got 'off_topic' about two"),
        (entry(issue="near_duplicates"), "got 'near_duplicates' about one"),
        (entry(issue="leakage", other_index=2), "other_split goes with leakage, got '' for 'leakage'"),
        (entry(issue="near_duplicates", other_index=2, other_split="val"), "got 'val' for 'near_duplicates'"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_place(content: Any, why: str, tmp_path: Path) -> None:
    path = tmp_path / "decisions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(AuditFileError) as caught:
        read_reviews(path)
    assert str(path) in str(caught.value)
    assert why in str(caught.value)
    assert str(caught.value).endswith("Export the decisions from the report again, or fix the file")


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    for name in ("gone.json", "x.json"):
        with pytest.raises(AuditFileError, match=rf"cannot read the decisions .*{name}.*Give the file"):
            read_reviews(tmp_path / name)


def test_absent_keys_mean_empty(tmp_path: Path) -> None:
    path = tmp_path / "decisions.json"
    path.write_text("\ufeff" + json.dumps({**entry(sample="\udcff"), "split": "train"}))
    assert read_reviews(path) == Review((Mark("off_topic", "confirmed", 1, "\udcff", split="train"),), split="train")


# --- at, save, load --------------------------------------------------------------------------------------------------


def test_a_saved_review_comes_back_and_decides_the_same(tmp_path: Path) -> None:
    audit = ten(
        near=CLUSTER, off_topic=low(3), label=low(4), class_names=("=cat", "dog"), given_label=np.array([0, 1] * 5)
    )
    marks = (
        mark(audit, "near_duplicates", "rejected", 8, 2),
        mark(audit, "off_topic", "confirmed", 6),
        mark(audit, "label_errors", "relabelled", 4, label="+emu"),
    )
    found = audit.with_decisions(Review(marks, {"off_topic": 0.2}, {"off_topic": 9}))
    found = found.at(policy=Policy(label_errors="drop")).described("images")
    found.save(tmp_path)
    again = Audit.load(tmp_path)
    assert again.review == found.review
    assert again.thresholds == Thresholds(off_topic=0.2)
    assert again.frame.equals(found.frame)
    assert again.clean_indices.tolist() == found.clean_indices.tolist()
    reported = (tmp_path / "relabelled.csv").read_text()
    assert reported == "index,sample,given_label,new_label\n4,dir/4.png,'=cat,'+emu\n"
    again.at().save(tmp_path)
    assert Audit.load(tmp_path).review == found.review
    assert not list(tmp_path.glob("decisions.*.json")), "the same decisions need not be kept twice"
    audit.save(tmp_path)
    assert Audit.load(tmp_path).review is None
    assert (tmp_path / "decisions.json").exists(), "what people decided is not deleted"
    assert not (tmp_path / "relabelled.csv").exists()


def test_decisions_that_are_not_the_audits_are_refused_or_moved_aside(tmp_path: Path) -> None:
    audit = ten(off_topic=low(3))
    mine, other = (Review((mark(audit, "off_topic", "confirmed", i),)) for i in (3, 4))
    write_review(other, tmp_path / "decisions.json")
    audit.with_decisions(mine).save(tmp_path)
    assert read_reviews(tmp_path / "decisions.1.json") == other
    assert Audit.load(tmp_path).review == mine
    write_review(other, tmp_path / "decisions.json")
    with pytest.raises(AuditFileError, match="was changed since the audit was saved"):
        Audit.load(tmp_path)
    (tmp_path / "decisions.json").unlink()
    with pytest.raises(AuditFileError, match="which belongs to the audit"):
        Audit.load(tmp_path)


def test_splits_keep_their_reviews(tmp_path: Path) -> None:
    none = replace(LeakPairs.empty(), splits=("val", "train"), sizes=(10, 10))
    found = SplitsAudit({"train": leaking(WARN), "val": ten(leaks=none, policy=WARN)})
    of_val = replace(about(3, "dir/3.png", 4), split="val")
    files = []
    for split, marks in (("train", [leak("rejected", 1, 0, split="val")]), ("val", [of_val])):
        files.append(tmp_path / f"{split}.json")
        here = tuple(replace(each, split=split) for each in marks)
        write_review(Review(here, {"off_topic": 0.3 if split == "train" else 0.4}, split=split), files[-1])
    found = found.with_decisions(files)
    assert {name: audit.thresholds.off_topic for name, audit in found.audits.items()} == {"train": 0.3, "val": 0.4}
    assert found.audits["train"].worst("leakage").tolist() == [2]
    assert found.audits["val"].worst("off_topic").tolist() == [3]
    found.save(tmp_path / "saved")
    again = SplitsAudit.load(tmp_path / "saved")
    assert {name: audit.review for name, audit in again.audits.items()} == {
        name: audit.review for name, audit in found.audits.items()
    }
    assert again.leaking == found.leaking
    one = Audit.load(tmp_path / "saved" / "train")
    assert one.worst("leakage").tolist() == [2]


def test_the_data_set_without_them_follows_decisions() -> None:
    audit = ten(off_topic=low(3, 4), policy=WARN)
    found = reviewed(audit, mark(audit, "off_topic", "rejected", 3), mark(audit, "off_topic", "confirmed", 7))
    kept = AuditedDataset([str(i) for i in range(10)], policy=Policy(off_topic="drop"), audit=found)
    assert [kept[i] for i in range(len(kept))] == ["0", "1", "2", "3", "5", "6", "8", "9"]


def test_later_decisions_come_on_top_of_earlier_ones() -> None:
    audit = ten(off_topic=low(3, 4))
    found = reviewed(audit, *(mark(audit, "off_topic", "confirmed", i) for i in (3, 4)))
    found = reviewed(found, mark(audit, "off_topic", "rejected", 3))
    assert found.clean_indices.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


# --- when to stop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "fine", "start", "reached"),
    [
        ([], 0, 1, False),
        (["rejected"] * 57, 57, 1, False),
        (["rejected"] * 58, 58, 1, True),
        (["confirmed"] + ["rejected"] * 58 + [""] * 9, 58, 2, True),
        (["rejected"] * 58 + ["relabelled"], 0, 60, False),
        (["confirmed", ""] + ["rejected"] * 58, 58, 3, False),
        (["rejected"] * 30 + [""] + ["rejected"] * 30, 30, 32, False),
    ],
)
def test_how_many_are_fine_in_a_row(verdicts: list[str], fine: int, start: int, reached: bool) -> None:
    assert clean_in_a_row() == 58
    row = stopping_rule(verdicts)
    assert (row.fine, row.start, row.reached) == (fine, start, reached)


def test_the_sentence_about_a_row() -> None:
    assert stopping_rule(["confirmed"] + ["rejected"] * 58).describe("off_topic") == (
        "off_topic: 58 consecutive non-issues from rank 2 on: reviewing can stop, an estimated "
        "5% at most of the rest are issues"
    )
    assert stopping_rule(["rejected"]).describe("off_topic").endswith("1 on; reviewing can stop after 58")


# --- everything against a slow twin ----------------------------------------------------------------------------------

THRESHOLD = 2.5 / 2.0**20
POLICIES = st.builds(
    Policy,
    *(st.sampled_from(["ignore", "warn", "drop"]) for _ in range(4)),
    max_drop_fraction=st.just(1.0),
    keep=st.sampled_from(["first", "most_central", "largest_image"]),
)
SAMPLE = st.tuples(st.integers(0, 12), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2))


def line_of(samples: Sequence[tuple[int, bool, bool, bool, int]], policy: Policy) -> Audit:
    """Samples are places on a line, near duplicates up to 2 apart; the same place is the same content."""
    place = np.array([1e6 + 1e3 * i if broken else at for i, (at, _, _, broken, _) in enumerate(samples)])
    scores = scores_between(
        np.abs(place[:, None] - place) / 2.0**20,
        off_topic=np.array([0.01 if odd else 0.9 for _, odd, *_ in samples]),
        label=np.array([0.01 if wrong else 0.9 for _, _, wrong, *_ in samples]),
        given_label=np.array([label for *_, label in samples]),
        pixels=np.array([at % 3 for at, *_ in samples]),
        errors={i: "gone" for i, (*_, broken, _) in enumerate(samples) if broken},
    )
    digests = tuple(DIGEST(int(at)) for at in place)
    names = tuple(f"{i}.png" for i in range(len(samples)))
    return Audit(scores, Thresholds(near_duplicates=THRESHOLD), policy, names=names, digests=digests)


@given(samples=st.lists(SAMPLE, min_size=2, max_size=10), policy=POLICIES, data=st.data())
@settings(max_examples=200, deadline=None)
def test_marks_and_nothing_else_are_obeyed(samples: Any, policy: Policy, data: st.DataObject) -> None:
    audit = line_of(samples, policy)
    before, n = audit.decisions, len(audit)
    single = {}
    for issue in ("off_topic", "label_errors", "unreadable"):
        there = list(range(n)) if issue != "unreadable" else sorted(audit.scores.errors)
        chosen = data.draw(st.lists(st.sampled_from(there), unique=True)) if there else []
        single[issue] = {i: data.draw(st.sampled_from(["confirmed", "rejected"])) for i in chosen}
    surplus = before.surplus.nonzero()[0].tolist()
    chosen = data.draw(st.lists(st.sampled_from(surplus), unique=True)) if surplus else []
    copies = {i: data.draw(st.sampled_from(["confirmed", "rejected"])) for i in chosen}
    given_marks = [mark(audit, issue, v, i) for issue, of in single.items() for i, v in of.items()]
    given_marks += [mark(audit, "near_duplicates", v, i, before.duplicates.of(i)[1]) for i, v in copies.items()]
    found = reviewed(audit, *data.draw(st.permutations(given_marks)))
    now = found.decisions
    assert not {m.issue for m in now.unmatched} - {"near_duplicates"}

    for issue, verdicts in single.items():  # flags: as decided, and otherwise unchanged
        expected = [verdicts[i] == "confirmed" if i in verdicts else bool(before.flags[issue][i]) for i in range(n)]
        assert now.flags[issue].tolist() == expected
        assert now.dismissed[issue].nonzero()[0].tolist() == [
            i for i, v in sorted(verdicts.items()) if v == "rejected" and before.flags[issue][i]
        ]
    sure = {i for verdicts in single.values() for i, v in verdicts.items() if v == "confirmed"}
    if not sure and "drop" not in (policy.off_topic, policy.label_errors, policy.unreadable):
        assert now.surplus.tolist() == [before.surplus[i] and copies.get(i) != "rejected" for i in range(n)]
        sure |= {i for i, v in copies.items() if v == "confirmed"}
        assert now.confirmed.nonzero()[0].tolist() == sorted(sure)
    assert now.dropped[now.confirmed].all(), "whatever the policy"
    for issue, at in (
        (issue, at) for issue, held in now.marks.items() for at, m in held.items() if m.verdict == "rejected"
    ):
        assert not now.contamination_mask(issue)[at]
    for number, kept in enumerate(now.duplicates.kept.tolist()):  # one of each set stays, and that beside its copies
        members = (now.sets == number).nonzero()[0]
        assert len(members) >= 2
        assert [i for i in members.tolist() if not now.surplus[i]] == [kept]
        assert now.duplicates.distance[kept] == 0
        joined = [i for i in members.tolist() if not now.duplicates.distance[i] < THRESHOLD]
        assert now.confirmed[joined].all(), "what is above the threshold is there because a person said so"
    dropping = [i for i in ("off_topic", "label_errors", "unreadable") if policy.action(i) == "drop"]
    wanted = now.confirmed | np.any([np.zeros(n, bool), *(now.flags[i] for i in dropping)], axis=0)
    wanted |= now.surplus & (policy.near_duplicates == "drop")
    spared = wanted & ~now.dropped
    assert not (now.dropped & ~wanted).any()
    for i in spared.nonzero()[0].tolist():
        assert now.reason[i].endswith("kept: its class would otherwise be empty")
        alike = [j for j in range(n) if samples[j][4] == samples[i][4] and not samples[j][3]]
        assert all(now.dropped[j] or j == i for j in alike)


@given(samples=st.lists(SAMPLE, min_size=2, max_size=10), policy=POLICIES, data=st.data())
@settings(max_examples=150, deadline=None)
def test_decisions_hold_when_thresholds_and_kept_copies_change(
    samples: Any, policy: Policy, data: st.DataObject
) -> None:
    """Whatever pairs were confirmed, one of each two goes; what is rejected stays; no set loses its last copy."""
    audit, n = line_of(samples, replace(policy, near_duplicates="warn")), len(samples)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique_by=lambda pair: tuple(sorted(pair)), max_size=5))
    given_marks = [
        mark(audit, "near_duplicates", data.draw(st.sampled_from(["confirmed", "rejected"])), i, j) for i, j in chosen
    ]
    threshold = data.draw(st.sampled_from([0.0, 1.5 / 2**20, THRESHOLD, None]))
    keep: Keep = data.draw(st.sampled_from(["first", "most_central", "largest_image"]))
    found = reviewed(audit, *given_marks).at(
        thresholds=Thresholds(near_duplicates=threshold), policy=replace(IGNORE, keep=keep)
    )
    now = found.decisions
    held = now.marks["near_duplicates"]
    for at, m in held.items():
        assert (
            now.surplus[at]
            == (m.verdict == "confirmed")
            == bool(now.confirmed[at])
            == bool(now.flags["near_duplicates"][at])
        )
    assert now.dropped.nonzero()[0].tolist() == [i for i, m in held.items() if m.verdict == "confirmed"]
    assert not now.dropped[now.duplicates.kept].any()
    for m in now.unmatched:
        sets = now.sets[[m.index, m.other_index]]
        assert m.verdict == "rejected" or sets[0] == sets[1] >= 0, "only a ring leaves a confirmed one"
    reported = {(m.index, m.other_index) for m in (*held.values(), *now.unmatched)}
    for m in given_marks:  # overruled only by another mark about the same surplus copy
        assert (m.index, m.other_index) in reported or held.keys() & {m.index, m.other_index}
    again = reviewed(found, *given_marks)
    assert again.decisions.reason == now.reason


def test_thresholds_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingError, match=r"got inf for 'off_topic'"):
        Review((), {"off_topic": math.inf})
