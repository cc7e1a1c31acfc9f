"""Several labels a sample: attributes that the vectors show are judged, the others are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, mannwhitneyu

from selfclean_hooks.detectors.label_errors.detector import automatic_threshold, score_labels, score_targets
from selfclean_hooks.detectors.label_errors.detector import inputs_among as among
from selfclean_hooks.detectors.label_errors.likelihood import LabelSupport
from selfclean_hooks.detectors.label_errors.targets.multi_label import chance_of, discoveries, score_multi_label
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.detectors.label_errors.test_label_errors import blobs, seen


def test_multi_label_finds_the_entry() -> None:
    x, y = blobs(600, classes=4)
    truth = np.stack([y == 0, y == 1, y >= 1, np.zeros(600, bool)], 1)
    given = truth.copy()
    given[:15, 1] ^= True
    scores, found = score_multi_label(lambda _: seen(x), given)
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


@pytest.mark.parametrize(("visible", "invisible"), [(10, 2), (3, 17)])
def test_attributes_that_the_vectors_do_not_show_are_left_out(visible: int, invisible: int) -> None:
    rng = np.random.default_rng(3)
    x, y = blobs(600, 64, 12, seed=3)
    shown, hidden = (rng.random((12, visible)) < 0.4)[y], rng.random((600, invisible)) < 0.3
    given = np.concatenate([shown, hidden], 1)
    wrong = rng.choice(600, 18, replace=False)
    given[wrong, rng.integers(0, visible, 18)] ^= True
    scores, found = score_multi_label(lambda _: seen(x), given)
    flagged = found.score < automatic_threshold(found)
    assert flagged.sum() <= 24
    assert flagged[wrong].sum() >= 14
    assert (scores[:, visible:] == 1).mean() > 0.8
    _, low, high = found.calibration.estimate_count(found.score)
    assert low <= 18 <= high


def test_nothing_is_claimed_where_no_attribute_shows() -> None:
    x, _ = blobs(600)
    scores, found = score_multi_label(lambda _: seen(x), np.random.default_rng(4).random((600, 6)) < 0.4)
    assert found.calibration.unknown
    assert automatic_threshold(found) == 0
    assert (scores < 1).any()


def with_unknown(seed: int = 0) -> tuple[UnitRows, tuple[Any, Any], NDArray[np.int8]]:
    """Vectors that show three labels, their neighbours, and labels of which each fourth entry is unknown."""
    rng = np.random.default_rng(seed)
    vectors, y = blobs(240, classes=4, seed=seed)
    x = UnitRows.of(vectors)
    near = nearest_neighbors(x, 20)
    given = np.stack([y == 0, y == 1, y >= 2], 1).astype(np.int8)
    given[:5, 1] ^= 1
    given[rng.random(given.shape) < 0.25] = -1
    given[7] = -1
    return x, (near.indices.numpy(), near.distances.numpy()), given


def test_an_attribute_is_judged_as_if_samples_where_it_is_unknown_had_no_label() -> None:
    x, lists, given = with_unknown()
    scores, _ = score_multi_label(lambda kept: among(kept, x, *lists), given)
    for c in range(3):
        twin = score_labels(x, given[:, c].astype(np.int64), *lists)
        np.testing.assert_allclose(scores[:, c], twin.score)


def test_the_known_entries_of_a_sample_decide() -> None:
    x, lists, given = with_unknown()
    found, predicted = score_targets(x, given, *lists)
    assert np.isnan(found.score[7])
    assert predicted[7] == -1
    assert not np.isnan(np.delete(found.score, 7)).any()
    wrong = np.nonzero(given[:5, 1] >= 0)[0]
    assert (found.score[wrong] < automatic_threshold(found)).all()
    assert (predicted[wrong] // 2 == 1).all()
    assert (found.score < automatic_threshold(found)).sum() <= len(wrong) + 3


def test_labels_that_are_hardly_known_are_not_judged() -> None:
    x, lists, given = with_unknown()
    given[:, 0] = -1
    given[:2, 0] = 0, 1
    scores, found = score_multi_label(lambda kept: among(kept, x, *lists), given)
    assert (scores[:2, 0] == 1).all()
    assert (found.predicted[:2] // 2 != 0).all()
