from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference import KINDS, distance_matrix, duplicate_sets, random_vectors

from selfclean_hooks import Policy, Thresholds
from selfclean_hooks.errors import PolicyError, SettingError
from selfclean_hooks.leaks import Leaks
from selfclean_hooks.policy import decide
from selfclean_hooks.policy import duplicate_sets as sets_of
from selfclean_hooks.scores import Scores, score, spread
from selfclean_hooks.vectors import UnitRows


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


@pytest.mark.parametrize("threshold", [0.0, 1e-7, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_sets_are_the_connected_components(kind: str, threshold: float) -> None:
    vectors = random_vectors(kind, 120, 5, 0)
    d = distance_matrix(UnitRows.of(vectors).values.numpy())
    scores = score(vectors, None)
    found = sets_of(scores, threshold)
    np.testing.assert_array_equal(found, duplicate_sets(d, threshold))
    flags = decide(scores, Thresholds(near_duplicates=threshold), Policy()).flags["near_duplicates"]
    np.testing.assert_array_equal(flags, found >= 0)


def test_sets_are_numbered_by_their_first_members() -> None:
    scores = scores_of(near=[(5, 6, 0.01), (3, 9, 0.02), (1, 8, 0.03), (8, 9, 0.5)])
    assert sets_of(scores, 0.1).tolist() == [-1, 0, -1, 1, -1, 2, 2, -1, 0, 1]
    assert sets_of(scores, 0.9).tolist() == [-1, 0, -1, 0, -1, 1, 1, -1, 0, 0]
    assert sets_of(scores, -np.inf).tolist() == [-1] * 10


def test_the_first_copy_is_kept() -> None:
    found = decide(scores_of(near=[(2, 7, 0.0), (7, 8, 0.01)]), Thresholds(), Policy(near_duplicates="drop"))
    assert found.clean_indices().tolist() == [0, 1, 2, 3, 4, 5, 6, 9]
    assert found.action[[2, 7, 8]].tolist() == ["keep", "drop", "drop"]
    assert found.reason[2] == "kept copy of duplicate set 0 of 3"
    assert found.reason[7] == "near duplicate of 2 (set 0 of 3, nearest at 0)"
    assert found.reason[0] == ""


def test_a_copy_that_stays_is_kept_where_the_first_is_dropped_for_another_reason() -> None:
    scores = scores_of(near=[(2, 7, 0.0), (7, 8, 0.01)], off_topic=low(2))
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
    assert found.reason[7] == "off topic (score 0.02 below 0.1); kept all the same: its class would be empty"
    assert found.action[7] == "keep"


def test_a_copy_is_kept_where_it_is_all_its_class_has() -> None:
    scores = scores_of(near=[(2, 7, 0.0)], given_label=np.array([0] * 7 + [1, 0, 0]))
    found = decide(scores, Thresholds(), Policy(near_duplicates="drop"))
    assert found.clean_indices().tolist() == list(range(10))
    assert found.reason[7].endswith("kept all the same: its class would be empty")


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
    scores = spread(compact, readable, 12, errors={2: "gone", 7: "truncated"})
    assert scores.pair_index.tolist() == scores.tree_index.tolist() == [[3, 9]]
    assert scores.nearest_neighbor.tolist() == [11, -1, -1, 9, 0, 0, 0, -1, 0, 3, 0, 0]
    assert np.isnan(scores.off_topic).nonzero()[0].tolist() == [2, 7]
    found = decide(scores, Thresholds(), Policy(off_topic="drop", near_duplicates="drop", unreadable="drop"))
    assert found.clean_indices().tolist() == [0, 1, 3, 4, 6, 8, 10, 11]
    assert found.reason[7] == "unreadable (truncated)"
    assert decide(scores, Thresholds(), Policy()).flags["unreadable"].nonzero()[0].tolist() == [2, 7]


def test_a_class_that_was_never_read_is_not_kept_alive() -> None:
    scores = spread(scores_of(), np.arange(10), 11, errors={10: "gone"})
    assert decide(scores, Thresholds(), Policy(unreadable="drop")).clean_indices().tolist() == list(range(10))


def test_an_issue_that_did_not_run_flags_nothing() -> None:
    scores = scores_of(label=np.full(10, np.nan), automatic={"near_duplicates": 0.1, "off_topic": 0.1})
    found = decide(scores, Thresholds(label_errors=1.0), Policy(label_errors="drop"))
    assert not found.flags["label_errors"].any()
    assert len(found.clean_indices()) == 10


def test_reasons_use_the_names_of_classes() -> None:
    scores = scores_of(label=low(4), predicted_label=np.ones(10, np.int64), class_names=("cat", "dog"))
    assert decide(scores, Thresholds(), Policy()).reason[4] == "label cat looks like dog (score 0.05 below 0.1)"


def leaks_of(*pairs: tuple[str, int, int, float]) -> Leaks:
    """Of 10 samples, with ("val" or "test", position, position there, distance), nearest first."""
    splits, index, there, distance = zip(*pairs, strict=True)
    other = np.array([("train", "val", "test").index(split) for split in splits])
    found = np.array(distance, np.float32)
    return Leaks(("train", "val", "test"), (10, 50, 50), other, np.array(index), np.array(there), found)


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
    assert found.reason[4] == ""
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
    scores = spread(scores_of(leaks=leaks_of(("val", 2, 17, 0.0))), np.arange(2, 12), 12, errors={0: "x", 1: "y"})
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
