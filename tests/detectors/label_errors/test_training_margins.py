"""What margins add to label scores: the blend against a slow twin, and what must hold of it."""

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfclean_hooks import FDR, Audit, Thresholds, audit_embeddings
from selfclean_hooks.audits.pipeline import with_margins
from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.training_margins import (
    CHANCE_GAIN,
    MIN_PROBABILITY,
    ROUNDS,
    blend_with_margins,
)

Floats = NDArray[np.float64]


def simulate_margins(n: int = 400, share: float = 0.1, seed: int = 0, apart: float = 2.5) -> tuple[Floats, Floats, Any]:
    """Probabilities of an embedding that knows something, margins that know something else, which labels are wrong."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < share
    lead = rng.normal(np.where(wrong, -1.0, 1.0) * 1.2, 1)
    clean = 1 / (1 + np.exp(-2.4 * lead) * share / (1 - share))
    return clean, rng.normal(np.where(wrong, -apart, 0), 1), wrong


def slow_blend(clean: list[float], margin: list[float]) -> list[float]:
    """The same in loops."""
    at = [i for i in range(len(clean)) if math.isfinite(clean[i]) and math.isfinite(margin[i])]
    ranks = [
        sum(margin[j] < margin[i] for j in at) + (sum(margin[j] == margin[i] for j in at) + 1) / 2 - 0.5 for i in at
    ]
    z = [NormalDist().inv_cdf(rank / len(at)) for rank in ranks]
    p = [min(max(clean[i], MIN_PROBABILITY), 1 - MIN_PROBABILITY) for i in at]
    part, right, wrong, spread = p, 0.0, 0.0, 1.0
    for _ in range(ROUNDS):
        right = sum(r * v for r, v in zip(part, z, strict=True)) / sum(part)
        wrong = sum((1 - r) * v for r, v in zip(part, z, strict=True)) / sum(1 - r for r in part)
        spread = sum(r * (v - right) ** 2 + (1 - r) * (v - wrong) ** 2 for r, v in zip(part, z, strict=True)) / len(z)
        if right <= wrong or spread < 1e-9:
            return clean
        part = slow_posterior(p, [(right - wrong) / spread * v for v in z])
    one, other, both = (NormalDist(mean, math.sqrt(spread)) for mean in (right, wrong, 0.0))
    both = NormalDist(0, math.sqrt(sum(v * v for v in z) / len(z)))
    gained = 2 * sum(
        math.log((q * one.pdf(v) + (1 - q) * other.pdf(v)) / both.pdf(v)) for q, v in zip(p, z, strict=True)
    )
    if gained <= CHANCE_GAIN:
        return clean
    slope = (right - wrong) / spread * (1 - CHANCE_GAIN / gained)
    after = slow_posterior(p, [slope * v for v in z])
    return [after[at.index(i)] if i in at else clean[i] for i in range(len(clean))]


def slow_posterior(p: list[float], ratio: list[float]) -> list[float]:
    low, high = -100.0, 100.0
    for _ in range(200):
        level = (low + high) / 2
        after = [1 / (1 + (1 - q) / q * math.exp(-x - level)) for q, x in zip(p, ratio, strict=True)]
        low, high = (level, high) if sum(after) < sum(p) else (low, level)
    return after


@pytest.mark.parametrize("seed", range(3))
def test_slow_twin(seed: int) -> None:
    clean, margin, _ = simulate_margins(60, 0.25, seed)
    margin = np.round(margin, 1)  # some are equal
    clean[3], clean[4], margin[5], margin[4] = np.nan, np.nan, np.nan, np.nan
    found = blend_with_margins(clean, margin)
    np.testing.assert_allclose(found, slow_blend(clean.tolist(), margin.tolist()), atol=1e-6)
    assert not np.allclose(found, clean, equal_nan=True)


def auc(score: Floats, wrong: Any) -> float:
    return float((score[wrong][:, None] < score[~wrong][None]).mean())


def test_both_know_more_than_either() -> None:
    clean, margin, wrong = simulate_margins(2000)
    assert auc(blend_with_margins(clean, margin), wrong) > max(auc(clean, wrong), auc(margin, wrong)) + 0.01


def test_as_many_are_held_wrong_as_before() -> None:
    clean, margin, _ = simulate_margins(2000)
    found = blend_with_margins(clean, margin)
    assert (1 - found).sum() == pytest.approx((1 - np.clip(clean, MIN_PROBABILITY, 1 - MIN_PROBABILITY)).sum())


def test_it_is_calibrated_where_the_embedding_is() -> None:
    clean, margin, wrong = simulate_margins(20_000, apart=1.5)
    found = blend_with_margins(clean, margin)
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1)):
        band = (found >= low) & (found < high)
        assert (~wrong[band]).mean() == pytest.approx(found[band].mean(), abs=0.06)


def test_margins_that_tell_nothing_change_next_to_nothing() -> None:
    """Where they are drawn at random; most draws change nothing at all."""
    unchanged = 0
    for seed in range(20):
        clean, _, _ = simulate_margins(500, seed=seed)
        margin = np.random.default_rng(100 + seed).normal(size=500)
        found = blend_with_margins(clean, margin)
        assert np.abs(found - clean).mean() < 0.02
        unchanged += int(np.array_equal(found, clean))
    assert unchanged >= 10


def test_margins_that_are_high_for_wrong_labels_change_nothing() -> None:
    clean, margin, _ = simulate_margins()
    assert np.array_equal(blend_with_margins(clean, -margin), clean)


@pytest.mark.parametrize("margin", [np.full(400, 3.0), np.full(400, np.nan)], ids=["constant", "never seen"])
def test_no_margins(margin: Floats) -> None:
    clean, _, _ = simulate_margins()
    assert np.array_equal(blend_with_margins(clean, margin), clean)


def test_unknown_on_either_side() -> None:
    clean, margin, _ = simulate_margins()
    clean[:3], margin[2:6] = np.nan, [np.nan, np.inf, -np.inf, np.nan]
    found = blend_with_margins(clean, margin)
    assert np.array_equal(found[:6], clean[:6], equal_nan=True)
    assert np.isfinite(found[6:]).all()
    assert np.array_equal(found[6:], blend_with_margins(clean[6:], margin[6:]))


def test_certainty_of_the_embedding_is_not_beyond_doubt() -> None:
    clean, margin, wrong = simulate_margins(2000)
    clean[:] = np.where(clean > 0.5, 1.0, clean)
    found = blend_with_margins(clean, margin)
    doubted = (clean == 1) & (found < 0.9)
    assert wrong[doubted].mean() > 3 * wrong[clean == 1].mean()
    assert found.min() > 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 20, 150]), st.sampled_from([0.0, 0.02, 0.3, 1.0]))
def test_properties(seed: int, n: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    clean, margin, _ = simulate_margins(n, max(share, 1e-3) if share < 1 else 0.9, seed)
    clean = np.round(clean, 1)  # some are equal, 0 and 1 among them
    given_before = clean.copy(), margin.copy()
    found = blend_with_margins(clean, margin)
    assert found.shape == (n,)
    assert found.dtype == np.float64
    assert ((found >= 0) & (found <= 1)).all()
    for value in np.unique(clean):  # of equally good embeddings that with the higher margin is the better
        among = np.flatnonzero(clean == value)
        order = among[np.argsort(margin[among])]
        assert (np.diff(found[order]) >= -1e-12).all()
    order = rng.permutation(n)
    np.testing.assert_allclose(blend_with_margins(clean[order], margin[order]), found[order], atol=1e-7)
    np.testing.assert_allclose(blend_with_margins(clean, 3 * margin + 5), found, atol=1e-7)
    assert np.array_equal(clean, given_before[0])
    assert np.array_equal(margin, given_before[1])


# Of an audit.


@pytest.fixture(scope="module")
def audit() -> Audit:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    return audit_embeddings(np.eye(8)[labels] + 0.3 * rng.normal(size=(120, 8)), labels, method="selfclean")


def calibrated(audit: Audit) -> Audit:
    straight = Calibration(np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.5, 1.0]))
    label = np.append(audit.scores.label[:-1], 0)
    return replace(audit, scores=replace(audit.scores, label=label, calibration={"label_errors": straight}))


def test_an_audit_with_margins(audit: Audit) -> None:
    before, margins = calibrated(audit), np.random.default_rng(1).normal(size=120) + audit.scores.label * 20
    after = with_margins(before, margins, epochs=3)
    clean = before.scores.calibration["label_errors"].probability_clean(before.scores.label)
    np.testing.assert_allclose(after.scores.label, blend_with_margins(clean, margins), atol=1e-8)
    assert after.scores.automatic == {**before.scores.automatic, "label_errors": 0.5}
    assert np.array_equal(after.scores.predicted_label, before.scores.predicted_label)
    assert np.array_equal(after.scores.off_topic, before.scores.off_topic)
    assert np.array_equal(after.frame["is_label_issue"], after.scores.label < 0.5)
    meaning = after.scores.calibration["label_errors"]
    assert np.array_equal(meaning.probability_clean(after.scores.label), after.scores.label)
    assert after.provenance["notes"] == ["label scores: blended with the margins of 3 epochs"]
    assert before.provenance["notes"] == []
    assert clean.min() == 0 < after.scores.label.min()
    few = after.at(thresholds=Thresholds(label_errors=FDR(0.05))).contamination["label_errors"]
    assert few <= after.contamination["label_errors"]


def test_an_audit_whose_label_scores_have_no_meaning_stays_as_it_is(audit: Audit) -> None:
    assert with_margins(audit, np.zeros(120), epochs=1) is audit
