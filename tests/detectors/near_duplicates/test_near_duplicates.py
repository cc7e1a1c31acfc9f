"""Near duplicates: fast paths against loops, and what must hold of scores and of the calibration."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.intrinsic_dimension import intrinsic_dimension
from selfclean_hooks.detectors.near_duplicates import pair_scores
from selfclean_hooks.detectors.near_duplicates.calibration import (
    COPY_PROBABILITY,
    MARGIN_DEVIATIONS,
    MARGIN_SAMPLES,
    SCALE_RANK,
    LocalScale,
    _concave_majorant,
    p_values,
    scale_beyond_copies,
)
from selfclean_hooks.detectors.near_duplicates.pair_scores import scaled_score, score_pairs
from selfclean_hooks.detectors.protocol import Finding, Pairs
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.detectors.near_duplicates.near_duplicate_findings import Floats, flags, found, gaussian


def clean(finding: Finding, score: Floats) -> Floats:
    assert finding.calibration is not None
    return finding.calibration.probability_clean(score)


def pairs_of(finding: Finding) -> Pairs:
    assert finding.pairs is not None
    return finding.pairs


def slow_usual(d: Floats, m: float) -> tuple[list[float], list[int]]:
    usual, copies = [], []
    for row in d:
        r, beyond, group = row[-1], float(len(row)), 0
        for _ in range(3):
            group = 0
            for place, value in enumerate(row, 1):
                if value == 0 or beyond * (value / max(r, 1e-30)) ** (m / 2) < COPY_PROBABILITY * place:
                    group = place
            last = min(group + SCALE_RANK, len(row))
            r, beyond = row[last - 1], float(max(last - group, 1))
        usual.append(r * max(1.0, min(SCALE_RANK, len(row) - 1) / beyond) ** (2 / m))
        copies.append(group)
    return usual, copies


@pytest.mark.parametrize("copies", [0, 1, 6, 15, 18])
def test_local_scale_equals_that_of_a_loop(copies: int) -> None:
    rng = np.random.default_rng(copies)
    d = np.sort(rng.uniform(0.1, 1, (50, 20)), axis=1)
    d[:, :copies] *= 1e-4
    d = np.sort(d, axis=1)
    usual, count = scale_beyond_copies(d, 8.0)
    slow, slow_count = slow_usual(d, 8.0)
    np.testing.assert_allclose(usual, slow, rtol=1e-12)
    assert count.tolist() == slow_count


def slow_pairs(vectors: NDArray[np.floating], usual: Floats) -> dict[tuple[int, int], float]:
    x = UnitRows.of(np.asarray(vectors, np.float32)).values.double().numpy()
    table = {}
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            e, r = np.sqrt(((x[i] - x[j]) ** 2).sum() / 4), (usual[i] * usual[j]) ** 0.25
            table[i, j] = e / (e + r) if e > 0 else 0.0
    return table


@pytest.mark.parametrize("kind", ["gaussian", "groups of 30", "exact groups of 30", "one outsider"])
def test_every_pair_below_the_promise_is_there(kind: str) -> None:
    rng = np.random.default_rng(1)
    vectors = {
        "gaussian": gaussian(150),
        "groups of 30": np.repeat(gaussian(5), 30, 0)[:150] + rng.normal(size=(150, 10)) * 0.02,
        "exact groups of 30": np.concatenate([np.repeat(gaussian(3), 30, 0), gaussian(60, seed=2)]),
        "one outsider": np.concatenate([np.ones((149, 10)), gaussian(1)]),
    }[kind]
    finding = found(vectors)
    assert finding.local_scale is not None
    pairs = pairs_of(finding)
    table = slow_pairs(vectors, finding.local_scale)
    listed = {tuple(p): s for p, s in zip(pairs.index.tolist(), pairs.score.tolist(), strict=True)}
    assert pairs.complete_below == 0.5
    missing = {p for p, s in table.items() if s < pairs.complete_below - 1e-6} - set(listed)
    assert not missing
    assert all(abs(table[p] - s) < 1e-4 for p, s in listed.items())


def test_a_truncated_list_is_complete_below_its_last_score() -> None:
    x = UnitRows.of((np.repeat(gaussian(4), 40, 0) + gaussian(160, seed=3) * 0.01).astype(np.float32))
    near = nearest_neighbors(x, 20)
    scale = LocalScale(np.full(160, 0.1), 8.0, np.zeros(160, np.int64), 1.0)
    whole = score_pairs(x, near.indices.numpy(), near.distances.numpy(), scale.distance, np.arange(160))
    truncated = score_pairs(
        x, near.indices.numpy(), near.distances.numpy(), scale.distance, np.arange(160), at_most=100
    )
    assert len(truncated.score) == 100
    assert (whole.score < truncated.complete_below - 1e-9).sum() <= 100
    np.testing.assert_allclose(truncated.score, whole.score[:100], rtol=1e-6)


def test_majorant_is_that_of_all_chords() -> None:
    p = np.sort(np.random.default_rng(0).beta(0.5, 1, 60))
    x = np.append(0, p + (MARGIN_DEVIATIONS * np.sqrt(60 * p) + MARGIN_SAMPLES) / 60)
    y = np.append(0, np.arange(1, 61) / 60)
    start, slope = _concave_majorant(p)
    fast = np.repeat(slope, np.diff(np.append(start, 60)))
    for i in range(1, 61):  # slope at i: smallest over left ends of the largest over right ends
        slow = min(max((y[b] - y[a]) / (x[b] - x[a]) for b in range(i, 61)) for a in range(i))
        assert fast[i - 1] == pytest.approx(slow)


def test_chance_is_that_of_a_smallest_uniform() -> None:
    score = np.linspace(0.01, 0.5, 20)
    share = (score / (1 - score)) ** 7
    np.testing.assert_allclose(p_values(score, 7.0), stats.beta(1, SCALE_RANK).cdf(share), rtol=1e-6)


def test_dimension_of_gaussian_is_found_in_spite_of_copies() -> None:
    rng = np.random.default_rng(0)
    volume = np.sort(rng.uniform(size=(500, 20)), axis=1)
    d = volume ** (2 / 6)  # squared lengths of 6-dimensional gaussian
    assert intrinsic_dimension(d)[0] == pytest.approx(6, rel=0.15)
    assert intrinsic_dimension(d)[1] == pytest.approx(1, abs=0.1)
    d[:, :12] *= 0.01
    assert intrinsic_dimension(d)[0] == pytest.approx(6, rel=0.25)


def test_scores_lie_between_0_and_1_and_mean_what_they_say() -> None:
    finding = found(gaussian())
    pairs, calibration, scale = pairs_of(finding), finding.calibration, finding.local_scale
    assert calibration is not None
    assert scale is not None
    assert (pairs.score >= 0).all()
    assert (pairs.score < 1).all()
    assert (np.diff(pairs.score) >= 0).all()
    assert (np.diff(calibration.score) > 0).all()
    assert (np.diff(calibration.clean) >= 0).all()
    assert ((calibration.clean >= 0) & (calibration.clean <= 1)).all()
    assert scaled_score(np.array([1.0, 1.0, 0.0]), np.array([1.0, 9.0, 0.0])).tolist() == [0.5, 0.25, 0.0]
    assert (scale > 0).all()


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
@pytest.mark.parametrize("n", [0, 1, 2, 60])
def test_pairs_are_unique_however_many_are_sorted_at_once(
    n: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_scores, "AT_ONCE", at_once)
    rng = np.random.default_rng(n)
    first, second = rng.integers(-1, max(1, n), (2, 3 * n))
    distance = rng.random(3 * n)
    index, found = pair_scores.unique_pairs(first, second, distance)
    slow: dict[tuple[int, int], float] = {}
    for i, j, d in zip(first.tolist(), second.tolist(), distance.tolist(), strict=True):
        if min(i, j) >= 0:
            slow.setdefault((min(i, j), max(i, j)), d)
    assert dict(zip(map(tuple, index.tolist()), found.tolist(), strict=True)) == slow
    assert [*map(tuple, index.tolist())] == sorted(slow)


def test_order_of_samples_does_not_matter() -> None:
    vectors = np.concatenate([gaussian(), gaussian()[:40] + gaussian(40, seed=1) * 0.02])
    order = np.random.default_rng(5).permutation(len(vectors))
    finding = found(vectors)
    again = found(vectors[order])
    np.testing.assert_allclose(again.score, finding.score[order], rtol=1e-3)
    np.testing.assert_allclose(clean(again, again.score), clean(finding, finding.score)[order], atol=0.02)


@pytest.mark.parametrize("times", [2, 5, 8, 25])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_copies_are_flagged_however_many_there_are(times: int, noise: float) -> None:
    copies = np.repeat(gaussian(20, 20, seed=3), times, 0)
    vectors = np.concatenate([gaussian(500, 20), copies + noise * gaussian(len(copies), 20, seed=4)])
    finding = found(vectors)
    flagged = flags(finding)
    assert flagged[500:].all()
    assert flagged[:500].sum() <= 5
    assert (clean(finding, finding.score[500:]) < 0.2).all()
    if noise == 0:
        assert (finding.score[500:] == 0).all()


@pytest.mark.parametrize("times", [4, 12, 30])
def test_data_of_nothing_but_copies(times: int) -> None:
    base = gaussian(40, 20)
    finding = found(np.repeat(base, times, 0) + gaussian(40 * times, 20, seed=1) * 0.02)
    assert flags(finding).mean() > 0.95


@pytest.mark.parametrize(
    ("n", "dim"), [(20, 2), (20, 50), (50, 3), (100, 100), (500, 2), (500, 10), (300, 2000), (700, 30)]
)
def test_gaussian_is_clean(n: int, dim: int) -> None:
    share = []
    for seed in range(20 if n < 100 else 5):
        finding = found(gaussian(n, dim, seed))
        share.append(flags(finding).mean())
    assert np.mean(share) <= 0.01


@pytest.mark.parametrize("spread", [1.0, 10.0])
def test_clusters_of_different_spread_are_clean(spread: float) -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(8, size=1200)
    vectors = rng.normal(size=(8, 20))[cluster] * 4 + gaussian(1200, 20, 1) * (spread ** (-cluster / 7.0))[:, None]
    finding = found(vectors)
    assert flags(finding).mean() <= 0.01


def test_half_of_the_data_copied() -> None:
    vectors = np.concatenate([gaussian(500, 20), gaussian(500, 20) + gaussian(500, 20, seed=1) * 0.05])
    finding = found(vectors)
    assert flags(finding).mean() > 0.95


def test_one_pair_among_many() -> None:
    vectors = np.concatenate([gaussian(1000, 20), gaussian(1, 20) * 1.0 + 1e-3 * gaussian(1, 20, seed=9)])
    finding = found(vectors)
    assert flags(finding).nonzero()[0].tolist() == [0, 1000]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 20])
def test_few_samples(n: int) -> None:
    finding = found(gaussian(n, 5))
    assert len(pairs_of(finding).score) == n * (n - 1) // 2
    assert np.isfinite(finding.score).all()
    assert np.isfinite(clean(finding, finding.score)).all()


def test_all_rows_alike() -> None:
    finding = found(np.ones((60, 4)))
    assert (finding.score == 0).all()
    assert (clean(finding, finding.score) == 0).all()


def test_all_alike_but_one() -> None:
    vectors = np.ones((60, 4))
    vectors[7] = [1, -1, 1, -1]
    finding = found(vectors)
    assert flags(finding).sum() == 59
    assert finding.score[7] >= 0.4


def test_zero_rows_are_no_copies_of_anything() -> None:
    vectors = gaussian(100)
    vectors[:3] = 0
    finding = found(vectors)
    assert np.isfinite(finding.score).all()
    assert (finding.score[:3] > 0.3).all()


def test_thresholds_of_a_calibration() -> None:
    calibration = Calibration(np.array([0.0, 0.1, 0.2, 0.3]), np.array([0.0, 0.0, 0.4, 1.0]))
    assert calibration.probability_threshold() == pytest.approx(0.2 + 0.1 / 6)
    score = np.array([0.05, 0.1, 0.2, 0.3])
    assert calibration.fdr_threshold(score, 0.0) == pytest.approx(0.1)
    assert calibration.fdr_threshold(score, 0.2) == pytest.approx(0.2)
    assert calibration.fdr_threshold(score, 0.35) == pytest.approx(0.3)
    assert calibration.fdr_threshold(score[3:], 0.5) == 0.0
