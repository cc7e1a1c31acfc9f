"""Several labels a sample: attributes that the vectors show are judged, the others are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, mannwhitneyu

from selfclean_hooks.detectors.label_errors.detector import automatic_threshold
from selfclean_hooks.detectors.label_errors.multi_label import chance_of, discoveries, score_multi_label
from selfclean_hooks.detectors.label_errors.support import LabelSupport
from tests.detectors.test_label_errors import blobs, seen


def test_multi_label_finds_the_entry() -> None:
    x, y = blobs(600, classes=4)
    truth = np.stack([y == 0, y == 1, y >= 1, np.zeros(600, bool)], 1)
    given = truth.copy()
    given[:15, 1] ^= True
    scores, found = score_multi_label(seen(x), given)
    assert scores.shape == (600, 4)
    assert (scores[:, 3] == 1).all()
    assert (scores[:15, 1] < 0.5).mean() > 0.9
    assert (found.predicted[:15] // 2 == 1).mean() > 0.9
    assert np.allclose(found.score, scores.min(1))


def test_chance_is_that_of_the_rank_test() -> None:
    rng = np.random.default_rng(1)
    has, lead = rng.random(200) < 0.3, rng.normal(size=200)
    lead[has] += 0.3
    support = np.stack([np.where(has, lead, -lead), np.zeros(200)], 1)
    labels = LabelSupport(np.stack([has, ~has], 1).astype(np.int64), support, support)
    twin = mannwhitneyu(lead[has], lead[~has], alternative="greater", method="asymptotic", use_continuity=False)
    assert chance_of(labels) == pytest.approx(twin.pvalue)


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    rng = np.random.default_rng(2)
    for p in (rng.random(40), rng.random(40) ** 6, np.full(3, 0.04), np.full(3, 0.5)):
        np.testing.assert_array_equal(discoveries(p, 0.05), false_discovery_control(p) <= 0.05)


@pytest.mark.parametrize(("visible", "invisible"), [(10, 2), (10, 20), (3, 37)])
def test_attributes_that_the_vectors_do_not_show_are_left_out(visible: int, invisible: int) -> None:
    rng = np.random.default_rng(3)
    x, y = blobs(600, 64, 12, seed=3)
    shown, hidden = (rng.random((12, visible)) < 0.4)[y], rng.random((600, invisible)) < 0.3
    given = np.concatenate([shown, hidden], 1)
    wrong = rng.choice(600, 18, replace=False)
    given[wrong, rng.integers(0, visible, 18)] ^= True
    scores, found = score_multi_label(seen(x), given)
    flagged = found.score < automatic_threshold(found)
    assert flagged.sum() <= 24
    assert flagged[wrong].sum() >= 14
    assert (scores[:, visible:] == 1).mean() > 0.8
    _, low, high = found.calibration.estimate_count(found.score)
    assert low <= 18 <= high


def test_nothing_is_claimed_where_no_attribute_shows() -> None:
    x, _ = blobs(600)
    scores, found = score_multi_label(seen(x), np.random.default_rng(4).random((600, 6)) < 0.4)
    assert found.calibration.unknown
    assert automatic_threshold(found) == 0
    assert (scores < 1).any()
