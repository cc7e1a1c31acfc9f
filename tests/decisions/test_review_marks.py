"""What marks do: samples and copies that are confirmed, rejected or relabelled."""

import math
from dataclasses import replace

import numpy as np
import pytest

from selfclean_hooks import Policy, Thresholds
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.review.marks import Review
from selfclean_hooks.decisions.review.verdicts import unknown_labels
from selfclean_hooks.errors import ContaminationError, PolicyError, SettingError
from tests.decisions.reviewed_audits import DIGEST, DROP, IGNORE, WARN, leak, leaking, reviewed, ten
from tests.decisions.test_policy import CLUSTER, low
from tests.helpers.review_data import mark


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


def test_thresholds_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingError, match=r"got inf for 'off_topic'"):
        Review((), {"off_topic": math.inf})


def test_a_confirmed_leak_counts_where_leakage_was_not_looked_for() -> None:
    about = leak("confirmed", 5, 6)
    found = reviewed(ten(policy=WARN), about, leak("rejected", 2, 3))
    assert found.clean_indices.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert [lost.verdict for lost in found.decisions.unmatched] == ["rejected"]


def test_the_sample_of_the_other_split_is_found_by_its_file_where_no_content_is_known() -> None:
    scores = leaking(WARN).scores
    assert scores.leaks is not None
    audit = ten(leaks=replace(scores.leaks, other_digests=None), policy=WARN)
    gone = leak("rejected", 2, 3, other_sample="other/33.png", other_digest="")
    found = reviewed(audit, leak("rejected", 1, 0, other_index=9), gone)
    assert found.worst("leakage").tolist() == [2]
    assert found.decisions.unmatched == (gone,)
