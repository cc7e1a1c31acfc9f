"""Stability of a ranking, against scipy and a set-based twin."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from selfclean_hooks import Audit, Thresholds, audit_embeddings
from selfclean_hooks.errors import DataError
from selfclean_hooks.results.stability import describe, rank_correlation, stability

N = 60


def made(seed: int = 0, n: int = N, labels: bool = True) -> Audit:
    vectors = np.random.default_rng(0).normal(size=(n, 12))
    vectors += 0.3 * np.random.default_rng(seed).normal(size=vectors.shape)
    vectors[3] = vectors[1]
    thresholds = Thresholds(near_duplicates=0.43, off_topic=0.7, label_errors=0.42)
    return audit_embeddings(vectors, np.arange(n) % 3 if labels else None, thresholds=thresholds)


def test_an_audit_agrees_with_itself() -> None:
    found = stability(made(), made())
    assert list(found) == ["near_duplicates", "off_topic", "label_errors"]
    for values in found.values():
        assert values["rank_correlation"] == values["flagged_again"] == values["jaccard"] == 1.0
        assert values["flagged_before"] == values["flagged_after"] == values["flagged_both"]


def test_against_scipy_and_sets() -> None:
    before, after = made(1), made(2)
    found = stability(before, after)
    for issue, name in (("near_duplicates", "near_duplicate"), ("off_topic", "off_topic"), ("label_errors", "label")):
        expected = spearmanr(getattr(before.scores, name), getattr(after.scores, name)).statistic
        assert found[issue]["rank_correlation"] == pytest.approx(expected)
        assert abs(expected) < 0.999
        old, new = ({*audit.decisions.flags[issue].nonzero()[0].tolist()} for audit in (before, after))
        assert found[issue]["flagged_again"] == len(old & new) / len(old)
        assert found[issue]["jaccard"] == len(old & new) / len(old | new)
        assert old != new


def test_ties_and_missing_scores() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 50).astype(float), rng.integers(0, 5, 50).astype(float)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    one[:5], other[3:9] = np.nan, np.nan
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other, nan_policy="omit").statistic)
    assert rank_correlation(one, -one) == pytest.approx(-1)


def test_nothing_to_correlate_gives_numbers_all_the_same() -> None:
    rising, flat, missing = np.arange(4.0), np.ones(4), np.full(4, np.nan)
    assert rank_correlation(flat, 2 * flat) == 1.0
    assert rank_correlation(flat, rising) == 0.0
    assert rank_correlation(missing, rising) == 1.0


def test_nothing_flagged_is_nothing_lost() -> None:
    some, none = made(), made().at(thresholds=Thresholds(None, None, None))
    assert stability(none, none)["off_topic"]["jaccard"] == 1.0
    assert stability(none, some)["off_topic"]["flagged_again"] == 1.0
    assert stability(none, some)["off_topic"]["jaccard"] == 0.0
    assert stability(some, none)["off_topic"]["flagged_again"] == 0.0


def test_only_issues_that_ran_in_both() -> None:
    assert list(stability(made(), made(labels=False))) == ["near_duplicates", "off_topic"]


def test_unreadable_samples_are_left_out() -> None:
    before, after = made(1), made(2)
    scores = after.scores.off_topic.copy()
    scores[[0, 7]] = np.nan
    found = stability(before, replace(after, scores=replace(after.scores, off_topic=scores)))
    both = np.setdiff1d(np.arange(N), [0, 7])
    expected = spearmanr(before.scores.off_topic[both], after.scores.off_topic[both]).statistic
    assert found["off_topic"]["rank_correlation"] == pytest.approx(expected)


def test_other_data_is_refused() -> None:
    with pytest.raises(DataError, match=r"got 60 and 50 samples: audit the same data set, in the same order"):
        stability(made(), made(n=50))


def test_reported_in_one_sentence_an_issue() -> None:
    found = {"rank_correlation": 0.832, "flagged_before": 62.0, "flagged_after": 57.0, "flagged_both": 45.0}
    sentence = "off_topic against the last audit: rank correlation 0.83, 45 of 62 flagged again, 12 new"
    assert describe({"off_topic": found}) == [sentence]
    assert [text.split()[0] for text in describe(stability(made(1), made(2)))] == [
        "near_duplicates",
        "off_topic",
        "label_errors",
    ]
