"""What cannot be audited is refused before any work; what a policy forbids is said."""

import warnings
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit, audit_embeddings
from selfclean_hooks.errors import ContaminationError, DataError, DataWarning, PolicyError, SettingError
from tests.audits.small_audits import DROP, vectors_and_labels
from tests.decisions.test_policy import low, scores_of
from tests.helpers.reference import random_vectors


def test_a_list_of_pairs_that_is_truncated_says_so() -> None:
    vectors = random_vectors("gauss", 1450, 8, 0)  # a few more pairs than are listed
    with pytest.warns(DataWarning, match="only the 1000000 worst, which are all of those below"):
        found = audit_embeddings(vectors, method="selfclean", thresholds=Thresholds(near_duplicates=0.99))
    assert len(found.pairs) == 10**6
    assert found.pairs.distance.iloc[-1] <= found.scores.pairs_complete_below < 0.99
    assert found.at(policy=DROP).thresholds == found.thresholds  # no reason to refuse what it was made with
    assert found.contamination["near_duplicates"] > 0.99


@pytest.mark.parametrize(
    ("labels", "why"), [(None, "there are no labels"), ([3] * 60, "all samples carry the same label (3)")]
)
def test_label_errors_that_cannot_run_say_why(labels: Any, why: str) -> None:
    found = audit_embeddings(vectors_and_labels(60)[0], labels, policy=DROP)
    assert found.scores.not_run == {"label_errors": why}
    assert "label_errors" not in found.contamination
    assert found.summary.set_index("issue").action["label_errors"] == "not run"
    assert found.frame.label_score.isna().all()
    assert found.frame.predicted_label.isna().all()
    assert not found.check(Limits(label_errors=1.0))
    assert not found.frame.is_label_issue.any()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels must be one class or number per sample, shape \(5,\), .*, got \(2,\)"),
        (np.eye(5)[:4], r"shape \(5,\), .* got \(4, 5\)"),
        (np.eye(5) / 2, r"labels of shape \(5, 5\) must be zeros and ones, .* got 0.5 at index 0, column 0"),
        ([[0], [1, 2], [0], [1], [2]], r"shape \(5,\), .* got list with items of different shapes"),
        ([0, 1, np.nan, 2, np.inf], r"got inf at index 4 \(1 of 5\)"),
        (["a", "b", 2, "a", "b"], r"got str \(first 'a' at index 0\), int \(first 2 at index 2\)"),
    ],
)
def test_labels_that_are_none_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        audit_embeddings(random_vectors("gauss", 5, 3, 0), labels)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones(512), r"embeddings must be \(N, D\), got \(512,\)"),
        (np.ones((2, 3, 3)), r"embeddings must be \(N, D\), got \(2, 3, 3\)"),
        (None, r"embeddings must be \(N, D\), got \(\)"),
        ([[1, 2], [3]], r"embeddings must be \(N, D\), got list with items of different shapes"),
        (np.ones((0, 3)), r"at least 2 embeddings of at least 1 dimension, got \(0, 3\)"),
        (np.ones((1, 3)), r"at least 2 embeddings of at least 1 dimension, got \(1, 3\)"),
        (np.ones((3, 0)), r"at least 2 embeddings of at least 1 dimension, got \(3, 0\)"),
        (np.ones((3, 2), complex), "embeddings must be real numbers, got dtype complex128"),
        (np.full((3, 2), "a"), "embeddings must be real numbers, got dtype <U1"),
        (np.zeros((9, 2)), "all 9 embeddings are zero.*Choose another backbone"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(vectors: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        audit_embeddings(vectors)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused_by_index(bad: float) -> None:
    vectors = random_vectors("gauss", 5000, 3, 0)
    vectors[[3, 17, 4999], [0, 1, 2]] = bad
    with pytest.raises(
        DataError, match="NaN or infinity in 3 of 5000 rows, index 3, 17, 4999: leave these samples out"
    ):
        audit_embeddings(vectors)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(SettingError, match="method must be one of default, selfclean, got 'best'"):
        audit_embeddings(np.eye(3), method="best")


def test_enforce_raises_where_the_policy_says_so() -> None:
    found = Audit(scores_of(near=[(0, 1, 0.0)], off_topic=low(4)), policy=Policy("ignore", "raise", "raise"))
    with pytest.raises(
        ContaminationError, match=r"1 of 10 samples \(10.00%\) flagged for off_topic; worst: 4\. The policy"
    ):
        found.enforce()


def test_enforce_warns_where_the_policy_says_so() -> None:
    with pytest.warns(DataWarning, match="1 of 10 samples .* flagged for near_duplicates; worst: 1"):
        Audit(scores_of(near=[(0, 1, 0.0)])).enforce()


@pytest.mark.parametrize("policy", [Policy(), Policy("raise", "raise", "raise", "raise")])
def test_enforce_says_nothing_of_clean_data(policy: Policy) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Audit(scores_of(), policy=policy).enforce()


def test_a_policy_that_drops_too_much_is_an_error_and_ignored_flags_are_not() -> None:
    vectors, labels = vectors_and_labels()
    found = audit_embeddings(vectors, labels, thresholds=Thresholds(near_duplicates=0.9), policy=Policy("drop"))
    with pytest.raises(PolicyError, match=r"more than max_drop_fraction=0\.5"):
        _ = found.clean_indices
    assert len(found.at(policy=Policy()).clean_indices) == 200


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"thresholds": {"off_topic": 0.1}}, "thresholds must be a Thresholds"),
        ({"policy": "drop"}, "policy must be a Policy"),
        ({"method": "best"}, "method must be one of default, selfclean, got 'best'"),
    ],
)
def test_senseless_settings_are_refused_before_any_work(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        audit(["never read"], **wrong)
    with pytest.raises(SettingError, match=message):
        audit_embeddings("never read", **wrong)


def test_a_list_of_words_and_numbers_is_no_list_of_words() -> None:
    with pytest.raises(DataError, match=r"all integers or all words, got str .*, int"):
        audit_embeddings(np.eye(3), ["a", "b", 1])
