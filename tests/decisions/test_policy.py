from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks import Audit, Policy, Thresholds, audit_embeddings
from selfclean_hooks.core.scores import LeakPairs, Scores, scatter_scores
from selfclean_hooks.decisions.decide import decide
from selfclean_hooks.decisions.flags import NO_ISSUE
from selfclean_hooks.errors import PolicyError, SettingError


def scores_of(n: int = 10, **changes: Any) -> Scores:
    """Scores with nothing to flag; pairs and tree are those of `near`, (i, j, distance) triples."""
    near = changes.pop("near", [])
    index = np.array([pair[:2] for pair in near], np.int64).reshape(-1, 2)
    distance = np.array([pair[2] for pair in near], np.float32)
    smallest = np.full(n, 0.9)
    for i, j, d in near:
        smallest[[i, j]] = np.minimum(smallest[[i, j]], d)
    fields: dict[str, Any] = {
        "near_duplicate": smallest,
        "off_topic": np.full(n, 0.9),
        "label": np.full(n, 0.9),
        "nearest_neighbor": np.full(n, -1),
        "given_label": np.zeros(n, np.int64),
        "predicted_label": np.zeros(n, np.int64),
        "automatic": dict.fromkeys(("near_duplicates", "off_topic", "label_errors"), 0.1),
        "pairs_complete_below": 1.0,
    }
    for name in ("pair", "tree"):
        fields |= {f"{name}_index": index, f"{name}_distance": distance}
    return Scores(**{**fields, "pair_score": distance, **changes})


def low(*positions: int, n: int = 10, score: float = 0.05) -> Any:
    values = np.full(n, 0.9)
    values[list(positions)] = score
    return values


CLUSTER = [(2, 7, 0.0), (2, 8, 0.01), (7, 8, 0.01)]  # each near each other


def test_the_first_copy_is_kept() -> None:
    found = decide(scores_of(near=CLUSTER), Thresholds(), Policy(near_duplicates="drop"))
    assert found.clean_indices().tolist() == [0, 1, 2, 3, 4, 5, 6, 9]
    assert found.action[[2, 7, 8]].tolist() == ["keep", "drop", "drop"]
    assert found.reason[2] == "kept copy of duplicate set 0 (3 copies)"
    assert found.reason[7] == "near duplicate of 2 (set 0, 3 copies, distance 0)"
    assert found.reason[8] == "near duplicate of 2 (set 0, 3 copies, distance 0.01)"
    assert found.reason[0] == NO_ISSUE == "no issue found"


def test_the_end_of_a_chain_stays_and_its_reason_says_so() -> None:
    chain = scores_of(near=[(0, 1, 0.02), (1, 2, 0.03)], nearest_neighbor=np.array([1, 0, 1, *[-1] * 7]))
    found = decide(chain, Thresholds(), Policy(near_duplicates="drop"))
    assert found.sets.tolist() == [0, 0, *[-1] * 8]
    assert found.flags["near_duplicates"].nonzero()[0].tolist() == [0, 1, 2]
    assert found.contamination_mask("near_duplicates").nonzero()[0].tolist() == [1]
    assert found.clean_indices().tolist() == [0, *range(2, 10)]
    assert found.reason[2] == "near duplicate of 1 (distance 0.03), but not of a kept copy"
    assert found.action[2] == "keep"


@pytest.mark.parametrize(("keep", "clean"), [("first", 2), ("most_central", 7), ("largest_image", 8)])
def test_the_policy_says_which_copy_is_kept(keep: Any, clean: int) -> None:
    near = [(2, 7, 0.02), (7, 8, 0.02), (2, 8, 0.03)]
    scores = scores_of(near=near, pixels=np.arange(10))
    found = decide(scores, Thresholds(), Policy(near_duplicates="drop", keep=keep))
    assert sorted(set(found.clean_indices().tolist()) & {2, 7, 8}) == [clean]
    assert found.reason[clean] == "kept copy of duplicate set 0 (3 copies)"


@pytest.mark.parametrize("keep", ["last", "", None, "drop", 1])
def test_what_is_no_rule_for_the_kept_copy_is_refused(keep: Any) -> None:
    with pytest.raises(SettingError, match="keep must be one of first, most_central, largest_image, got"):
        Policy(keep=keep)


def labels_of(**labels: int) -> Any:
    """Ten of class 0 but for those named, as in _3=1."""
    found = np.zeros(10, np.int64)
    for position, label in labels.items():
        found[int(position[1:])] = label
    return found


def test_of_copies_with_different_labels_the_rarer_one_is_in_doubt() -> None:
    scores = scores_of(near=CLUSTER, given_label=labels_of(_0=1, _2=1), class_names=("cat", "dog"))
    audit = Audit(scores, policy=Policy(near_duplicates="drop"))
    found = audit.decisions
    assert found.flags["label_errors"].nonzero()[0].tolist() == audit.worst("label_errors").tolist() == [2]
    assert found.conflicts == {0}
    assert found.duplicates.kept.tolist() == [7]
    assert found.reason[2] == (
        "near duplicate of 7 (set 0, 3 copies, distance 0); its copies carry different labels: cat (2), dog (1)"
    )
    assert found.reason[7] == "kept copy of duplicate set 0 (3 copies)"
    assert audit.contamination["label_errors"] == 0.1
    assert audit.duplicate_sets["is_label_conflict"].tolist() == [True] * 3
    assert audit.duplicate_sets["index"].tolist() == [7, 2, 8]
    assert audit.duplicate_sets["given_label"].tolist() == ["cat", "dog", "cat"]
    assert audit.frame["is_label_issue"].to_numpy().nonzero()[0].tolist() == [2]


def test_of_copies_where_every_label_is_as_frequent_all_are_in_doubt() -> None:
    found = decide(scores_of(near=CLUSTER[:1], given_label=labels_of(_7=3)), Thresholds(), Policy())
    assert found.flags["label_errors"].nonzero()[0].tolist() == [2, 7]
    assert found.action.tolist() == ["keep"] * 2 + ["warn"] + ["keep"] * 4 + ["warn"] + ["keep"] * 2
    assert found.reason[2] == (
        "kept copy of duplicate set 0 (2 copies); its copies carry different labels: 0 (1), 3 (1)"
    )


def test_a_copy_in_doubt_is_kept_rather_than_one_that_is_dropped() -> None:
    scores = scores_of(near=[(2, 7, 0.0)], given_label=labels_of(_2=1, _7=2), off_topic=low(2))
    found = decide(scores, Thresholds(), Policy(near_duplicates="drop", off_topic="drop"))
    assert found.duplicates.kept.tolist() == [7]
    assert 7 in found.clean_indices()


def test_doubt_does_not_spread_to_copies_that_agree() -> None:
    near = [(0, 1, 0.01), (0, 2, 0.02)]  # 1 and 2 are apart
    found = decide(scores_of(near=near, given_label=labels_of(_0=1)), Thresholds(), Policy(label_errors="drop"))
    assert found.flags["label_errors"].nonzero()[0].tolist() == [0]
    assert found.clean_indices().tolist() == list(range(10))  # 0 is all its class has
    assert found.reason[0].endswith("kept: its class would otherwise be empty")


def test_a_label_that_is_not_given_contradicts_none() -> None:
    scores = scores_of(near=CLUSTER, given_label=labels_of(_2=-1, _7=-1, _8=1))
    found = decide(scores, Thresholds(), Policy())
    assert not found.flags["label_errors"].any()
    assert found.conflicts == frozenset()


def test_labels_of_copies_are_not_compared_where_labels_are_not_looked_at() -> None:
    scores = scores_of(near=CLUSTER, given_label=labels_of(_2=1))
    assert not decide(scores, Thresholds(label_errors=None), Policy()).flags["label_errors"].any()
    assert not decide(scores, Thresholds(near_duplicates=None), Policy()).flags["label_errors"].any()
    without = {"near_duplicates": 0.1, "off_topic": 0.1}
    not_run = replace(scores, automatic=without, not_run={"label_errors": "why not"}, label=np.full(10, np.nan))
    found = decide(not_run, Thresholds(), Policy(label_errors="drop"))
    assert not found.flags["label_errors"].any()
    assert found.duplicates.kept.tolist() == [2]
    assert decide(scores, Thresholds(label_errors=0.0), Policy()).flags["label_errors"].nonzero()[0].tolist() == [2]


def test_a_pair_at_the_threshold_is_decided_alike_everywhere() -> None:
    at = float(np.float32(0.7))  # a little below 0.7, which float32 cannot hold
    for threshold, is_near in ((0.7, True), (at, False)):
        found = decide(scores_of(near=[(2, 7, np.float32(0.7))]), Thresholds(threshold), Policy())
        assert (found.sets >= 0).nonzero()[0].tolist() == ([2, 7] if is_near else [])
        assert found.flags["near_duplicates"][[2, 7]].tolist() == [is_near] * 2


@st.composite
def clusters(draw: st.DrawFn) -> Scores:
    """Twelve samples on a line, near duplicates up to 0.1 apart, of some labels and scores."""
    place = np.array(draw(st.lists(st.integers(0, 30), min_size=12, max_size=12))) / 16

    def values(low: int, high: int) -> Any:
        return np.array(draw(st.lists(st.integers(low, high), min_size=12, max_size=12)))

    near = sorted((abs(place[i] - place[j]), i, j) for i, j in combinations(range(12), 2))
    changes = {"given_label": values(-1, 2), "pixels": values(-1, 3), "label": values(0, 9) / 10 + 0.05}
    return scores_of(12, near=[(i, j, d) for d, i, j in near if d < 0.1], off_topic=values(0, 9) / 10 + 0.05, **changes)


POLICIES = st.builds(
    Policy,
    near_duplicates=st.sampled_from(["warn", "drop"]),
    off_topic=st.sampled_from(["warn", "drop"]),
    label_errors=st.sampled_from(["warn", "drop"]),
    keep=st.sampled_from(["first", "most_central", "largest_image"]),
)


@given(clusters(), POLICIES)
def test_a_set_loses_all_its_copies_only_where_each_is_dropped_for_another_reason(
    scores: Scores, policy: Policy
) -> None:
    found = decide(scores, Thresholds(), policy)
    own = found.flags["off_topic"] & (policy.off_topic == "drop")
    own = own | (found.flags["label_errors"] & (policy.label_errors == "drop"))
    for number, kept in enumerate(found.duplicates.kept.tolist()):
        members = found.sets == number
        assert not found.dropped[members].all() or own[members].all()
        assert not own[kept] or own[members].all()


@given(clusters(), POLICIES)
def test_every_flag_has_a_reason(scores: Scores, policy: Policy) -> None:
    found = decide(scores, Thresholds(), policy)
    words = {"near_duplicates": ("near duplicate of", "kept copy of"), "off_topic": ("off topic",)}
    words |= {"label_errors": ("label ", "its copies carry different labels")}
    for issue, starts in words.items():
        for i in range(len(scores)):
            has_reason = any(part.startswith(starts) for part in found.reason[i].split("; "))
            assert has_reason == bool(found.flags[issue][i])


@given(clusters(), POLICIES)
def test_of_two_near_duplicates_with_different_labels_one_is_in_doubt(scores: Scores, policy: Policy) -> None:
    found = decide(scores, Thresholds(), policy)
    labels, doubted = scores.given_label, found.flags["label_errors"]
    for i, j in scores.pair_index.tolist():
        if -1 < labels[i] != labels[j] > -1:
            assert doubted[i] or doubted[j]
    for number in range(len(found.duplicates.kept)):
        codes = set(labels[found.sets == number].tolist()) - {-1}
        assert (number in found.conflicts) == (len(codes) > 1)


def test_unreadable_samples_are_near_duplicates_of_none() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    vectors[[4, 5]] = vectors[0]
    audit = audit_embeddings(vectors)
    scores = scatter_scores(audit.scores, np.arange(3, 23), 23, errors={0: "a", 1: "b", 2: "c"})
    found = decide(scores, Thresholds(), Policy(near_duplicates="drop", unreadable="drop"))
    assert found.clean_indices().tolist() == [3, 4, 5, 6, *range(9, 23)]
    assert found.reason[:3] == ("unreadable (a)", "unreadable (b)", "unreadable (c)")


def test_a_copy_that_stays_is_kept_where_the_first_is_dropped_for_another_reason() -> None:
    scores = scores_of(near=CLUSTER, off_topic=low(2))
    found = decide(scores, Thresholds(), Policy(near_duplicates="drop", off_topic="drop"))
    assert found.clean_indices().tolist() == [0, 1, 3, 4, 5, 6, 7, 9]
    assert found.surplus.nonzero()[0].tolist() == [2, 8]


def test_ignored_and_warned_samples_stay() -> None:
    scores = scores_of(near=[(0, 1, 0.0)], off_topic=low(3), label=low(4))
    found = decide(scores, Thresholds(), Policy(near_duplicates="ignore"))
    assert found.clean_indices().tolist() == list(range(10))
    assert found.action.tolist() == ["keep", "keep", "keep", "warn", "warn", "keep", "keep", "keep", "keep", "keep"]


def test_a_sample_that_one_policy_drops_and_another_raises_is_not_clean() -> None:
    scores = scores_of(off_topic=low(3), label=low(3, 4))
    found = decide(scores, Thresholds(), Policy(off_topic="drop", label_errors="raise"))
    assert found.action[3:5].tolist() == ["raise", "raise"]
    assert found.clean_indices().tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_no_class_is_emptied() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])
    off = low(6, score=0.01)
    off[7] = 0.02  # the less suspicious one of class 1
    scores = scores_of(given_label=labels, off_topic=off, label=low(8))
    found = decide(scores, Thresholds(), Policy(off_topic="drop", label_errors="drop"))
    assert found.clean_indices().tolist() == [0, 1, 2, 3, 4, 5, 7, 9]
    assert found.reason[7] == "off topic (score 0.02 below 0.1); kept: its class would otherwise be empty"
    assert found.action[7] == "keep"


def test_a_copy_is_kept_where_it_is_all_its_class_has() -> None:
    scores = scores_of(near=[(2, 7, 0.0)], given_label=np.array([0] * 7 + [1, 0, 0]))
    found = decide(scores, Thresholds(), Policy(near_duplicates="drop"))
    assert found.clean_indices().tolist() == list(range(10))
    assert found.reason[7].endswith("kept: its class would otherwise be empty")


def test_a_mass_drop_is_an_error_that_names_the_causes() -> None:
    scores = scores_of(n=10, off_topic=low(0, 1, 2, 3), label=low(4, 5, 6))
    policy = Policy(off_topic="drop", label_errors="drop")
    with pytest.raises(
        PolicyError, match=r"would drop 7 of 10 samples \(70%\).*\(off_topic 4, label_errors 3\).*max_drop"
    ):
        decide(scores, Thresholds(), policy).clean_indices()
    assert len(decide(scores, Thresholds(), replace(policy, max_drop_fraction=0.7)).clean_indices()) == 3
    assert len(decide(scores, Thresholds(), replace(policy, label_errors="warn")).clean_indices()) == 6


def test_unreadable_samples_are_spread_in_and_dropped_on_request() -> None:
    readable = np.array([0, 1, 3, 4, 5, 6, 8, 9, 10, 11])
    compact = scores_of(
        near=[(2, 7, 0.0)], off_topic=low(4), nearest_neighbor=np.array([9, -1, 7, 0, 0, 0, 0, 2, 0, 0])
    )
    scores = scatter_scores(compact, readable, 12, errors={2: "gone", 7: "truncated"})
    assert scores.pair_index.tolist() == scores.tree_index.tolist() == [[3, 9]]
    assert scores.nearest_neighbor.tolist() == [11, -1, -1, 9, 0, 0, 0, -1, 0, 3, 0, 0]
    assert np.isnan(scores.off_topic).nonzero()[0].tolist() == [2, 7]
    found = decide(scores, Thresholds(), Policy(off_topic="drop", near_duplicates="drop", unreadable="drop"))
    assert found.clean_indices().tolist() == [0, 1, 3, 4, 6, 8, 10, 11]
    assert found.reason[7] == "unreadable (truncated)"
    assert decide(scores, Thresholds(), Policy()).flags["unreadable"].nonzero()[0].tolist() == [2, 7]


def test_a_class_that_was_never_read_is_not_kept_alive() -> None:
    scores = scatter_scores(scores_of(), np.arange(10), 11, errors={10: "gone"})
    assert decide(scores, Thresholds(), Policy(unreadable="drop")).clean_indices().tolist() == list(range(10))


def test_an_issue_that_did_not_run_flags_nothing() -> None:
    scores = scores_of(label=np.full(10, np.nan), automatic={"near_duplicates": 0.1, "off_topic": 0.1})
    found = decide(scores, Thresholds(label_errors=1.0), Policy(label_errors="drop"))
    assert not found.flags["label_errors"].any()
    assert len(found.clean_indices()) == 10


def test_reasons_use_the_names_of_classes() -> None:
    scores = scores_of(label=low(4), predicted_label=np.ones(10, np.int64), class_names=("cat", "dog"))
    assert decide(scores, Thresholds(), Policy()).reason[4] == "label cat looks like dog (score 0.05 below 0.1)"


def leaks_of(*pairs: tuple[str, int, int, float]) -> LeakPairs:
    """Of 10 samples, with ("val" or "test", position, position there, distance), nearest first."""
    splits, index, there, distance = zip(*pairs, strict=True)
    other = np.array([("train", "val", "test").index(split) for split in splits])
    found = np.array(distance, np.float32)
    return LeakPairs(
        ("train", "val", "test"), (10, 50, 50), other, np.array(index), np.array(there), found, automatic=0.1
    )


def test_leaks_are_decided_by_the_near_duplicate_threshold() -> None:
    leaks = leaks_of(
        ("val", 2, 17, 0.0), ("test", 3, 4, 0.05), ("val", 3, 5, 0.061), ("val", 2, 8, 0.08), ("val", 4, 1, 0.1)
    )
    scores = scores_of(leaks=leaks, off_topic=low(3))
    found = decide(scores, Thresholds(), Policy(leakage="drop"))
    assert found.flags["leakage"].nonzero()[0].tolist() == [2, 3]
    assert found.clean_indices().tolist() == [0, 1, 4, 5, 6, 7, 8, 9]
    assert found.reason[2] == "also in val (index 17, distance 0)"
    assert found.reason[3] == (
        "off topic (score 0.05 below 0.1); also in test (index 4, distance 0.05); also in val (index 5, distance 0.061)"
    )
    assert found.reason[4] == NO_ISSUE
    assert found.thresholds["leakage"] == found.thresholds["near_duplicates"] == 0.1
    assert decide(scores, Thresholds(0.0), Policy()).flags["leakage"].nonzero()[0].tolist() == [2]
    assert not decide(scores, Thresholds(None), Policy()).flags["leakage"].any()


def test_of_copies_one_that_does_not_leak_is_kept() -> None:
    scores = scores_of(near=[(2, 7, 0.0)], leaks=leaks_of(("val", 2, 17, 0.0)))
    found = decide(scores, Thresholds(), Policy(near_duplicates="drop", leakage="drop"))
    assert found.clean_indices().tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9]


def test_leakage_counts_in_a_mass_drop() -> None:
    scores = scores_of(leaks=leaks_of(*[("val", i, i, 0.0) for i in range(6)]))
    with pytest.raises(PolicyError, match=r"would drop 6 of 10 samples \(60%\).*\(leakage 6\)"):
        decide(scores, Thresholds(), Policy(leakage="drop")).clean_indices()
    assert len(decide(scores, Thresholds(), Policy(leakage="warn")).clean_indices()) == 10


def test_leaks_survive_spreading() -> None:
    scores = scatter_scores(
        scores_of(leaks=leaks_of(("val", 2, 17, 0.0))), np.arange(2, 12), 12, errors={0: "x", 1: "y"}
    )
    assert decide(scores, Thresholds(), Policy()).flags["leakage"].nonzero()[0].tolist() == [4]


def test_positional_policies_stay_as_they_were() -> None:
    assert Policy("drop", "drop", "drop", "drop", 0.9) == Policy("drop", "drop", "drop", "drop", 0.9, "warn")
    with pytest.raises(SettingError, match="the policy for leakage must be one of ignore, warn, drop, raise, got"):
        Policy(leakage="delete")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["delete", None, True, 1])
def test_what_is_no_action_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="the policy for off_topic must be one of ignore, warn, drop, raise, got"):
        Policy(off_topic=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, "half", None])
def test_what_is_no_fraction_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match=r"max_drop_fraction must be in \[0, 1\], got"):
        Policy(max_drop_fraction=value)
