"""The calibration of off-topic scores: its mixtures against a slow twin, and what it leaves open."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from selfclean_hooks.detectors.off_topic import mixtures
from selfclean_hooks.detectors.off_topic.calibration import off_topic_calibration
from selfclean_hooks.detectors.off_topic.detector import automatic_threshold
from selfclean_hooks.detectors.off_topic.mixtures import Histogram, fit_mixtures
from tests.detectors.off_topic.test_off_topic import Doubles, clouds, found_in, score_of


@pytest.mark.parametrize("classes", [1, 7, 1000])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_calibration_is_a_probability_that_rises(classes: int, share: float) -> None:
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.beta(20, 2, 2000), rng.beta(2, 20, int(2000 * share))])
    found = off_topic_calibration(score, rng.integers(0, classes, len(score)))
    assert (np.diff(found.score) > 0).all()
    assert (np.diff(found.clean) >= 0).all()
    assert ((found.clean >= 0) & (found.clean <= 1)).all()
    assert found.clean[-1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("fraction", [0.0, 0.05])
def test_mixtures_equal_a_slow_twin(fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """One combination after the other, with the normal distribution of scipy."""
    monkeypatch.setattr(mixtures, "TAILS", np.array([-0.3, 0.2]))
    monkeypatch.setattr(mixtures, "SCALES", np.array([0.9, 1.1]))
    monkeypatch.setattr(mixtures, "CENTERS", np.array([3.0]))
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], [120, 80])
    values = np.concatenate([rng.normal(0, 1, 120), rng.normal(0.5, 1.5, 80)])
    histogram = Histogram.of(values)
    fits = list(fit_mixtures(values, group, 0.1, histogram))
    fit = fits[0 if fraction == 0 else 1 + mixtures.FRACTIONS.tolist().index(fraction)]
    ends = [-np.inf, *histogram.edges]
    laws = [np.quantile(values[group == g], [0.5 * (1 - fraction), 0.8 * (1 - fraction)]) for g in (0, 1)]
    scales = np.array([1.05 * (upper - middle) / norm.ppf(0.8) for middle, upper in laws])  # 10 of 200 samples
    number = np.array([120, 80])
    common = np.sqrt((number * scales**2).sum() / 200)
    shrunk = np.exp((number * np.log(scales) + 30 * np.log(common)) / (number + 30))

    def below(end: float, g: int, stretch: float, by: float) -> float:
        z = (end - laws[g][0]) / shrunk[g] / by
        tail = norm.ppf(0.8)
        return float(norm.cdf(z if z < tail else tail + (z - tail) / np.exp(stretch)))

    for row, (stretch, by) in enumerate([(t, s) for t in (-0.3, 0.2) for s in (0.9, 1.1)]):
        mass = np.diff([sum(number[g] / 200 * below(end, g, stretch, by) for g in (0, 1)) for end in ends])
        np.testing.assert_allclose(fit.clean[row], (1 - fraction) * mass, atol=1e-9)
        for column in range(len(fit.off_topic)):
            total = (1 - fraction) * np.maximum(mass, 1e-9 / 200) + fit.off_topic[column]
            prior = -((stretch - 0.1) ** 2) / (2 * 0.3**2) - np.log(by) ** 2 / (2 * 0.1**2)
            prior += np.log(0.5 if fraction == 0 else 0.5 / len(mixtures.FRACTIONS) / len(fit.off_topic))
            slow = (histogram.counts * np.log(total)).sum() + prior
            found = fit.log_prior[row, 0] + fit.log_likelihood[row, column]
            assert found == pytest.approx(slow, rel=1e-9)
    middle = number @ [law[0] for law in laws] / 200
    near = [np.clip((end - middle - common) / (2 * common), 0, 1) for end in ends]
    far = norm.cdf(ends, middle + 3 * common, 0.6 * common)
    flat = [0, *(np.arange(len(ends) - 2) / (len(ends) - 2)), 1]
    mixed = np.diff(0.68 * np.array(far) + 0.3 * np.array(near) + 0.02 * np.array(flat))
    if fraction:
        np.testing.assert_allclose(fit.off_topic[4], fraction * mixed, atol=1e-9)  # the second width, 30% nearer


def test_unusual_fractions_are_in_the_interval_alone() -> None:
    """Without labels more than a tenth may be a class: the estimate leaves it out, the interval does not."""
    score = laid_out(1000, 200, 4)
    found, labelled = off_topic_calibration(score), off_topic_calibration(score, np.zeros(len(score), np.int64))
    assert found.estimate_count(score)[2] == pytest.approx(labelled.estimate_count(score)[2], rel=0.1)
    assert found.estimate_count(score)[0] < 0.9 * labelled.estimate_count(score)[0]


def test_a_tenth_that_lies_apart_is_a_class_where_there_are_no_labels() -> None:
    vectors, labels = clouds(900, 5, 100, 0, dim=32, tight=True)
    for given, share in ((labels, 1.0), (None, 0.0)):
        score = score_of(vectors, given)
        flagged = score < automatic_threshold(off_topic_calibration(score, given), given is not None)
        assert flagged[-100:].mean() == pytest.approx(share, abs=0.05)
        assert flagged[:-100].mean() < 0.01


def laid_out(n: int, off: int, gap: float, seed: int = 0) -> Doubles:
    """Scores of n clean samples, and of the last, off-topic ones, `gap` standard deviations of log distance beyond."""
    rng = np.random.default_rng(seed)
    log_distance = np.concatenate([rng.normal(-2, 0.1, n), rng.normal(-2 + 0.1 * gap, 0.1, off)])
    return np.asarray(1 - np.exp(log_distance))


@pytest.mark.parametrize("off", [10, 50, 200])
def test_a_group_apart_is_counted(off: int) -> None:
    score = laid_out(1000, off, 9)
    found = off_topic_calibration(score, np.zeros(len(score), np.int64))
    expected, fewest, most = found.estimate_count(score)
    assert found.unknown == ""
    assert fewest <= off <= most
    assert most - fewest < 0.5 * off + 15
    assert expected == pytest.approx(off, rel=0.2)


@pytest.mark.parametrize("off", [0, 30, 100])
def test_what_does_not_lie_apart_is_left_open(off: int) -> None:
    """The interval holds the number, or nothing is claimed, and nearly nothing is flagged."""
    for seed in range(5):
        score, rng = laid_out(1000, off, 2, seed), np.random.default_rng(seed)
        agreement = rng.binomial(10, np.where(np.arange(len(score)) < 1000, 0.6, 0.1)) / 10
        found = off_topic_calibration(score, rng.integers(0, 10, len(score)), agreement=agreement)
        _, fewest, most = found.estimate_count(score)
        assert found.unknown or fewest <= off <= most
        assert found.unknown or most - fewest > 10
        assert (score[:1000] < automatic_threshold(found)).mean() < 0.02


@pytest.mark.parametrize("n", [20, 50, 100])
def test_few_samples_tell_little(n: int) -> None:
    flagged = []
    for seed in range(10):
        found = found_in(*clouds(n, 2, 0, seed))
        flagged.append((found.score < found.automatic).mean())
        assert found.calibration is not None
        assert found.calibration.unknown or found.calibration.estimate_count(found.score)[2] >= 1
    assert np.mean(flagged) <= 0.01


def test_points_of_a_plane_have_no_estimate() -> None:
    rng = np.random.default_rng(0)
    score = score_of(np.array([3, 0]) + rng.normal(0, 1, (200, 2)), None)
    found = off_topic_calibration(score, None, 1.0)
    assert "few directions" in found.unknown
    assert found.probability_threshold() == 0
