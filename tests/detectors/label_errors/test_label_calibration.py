"""How many labels are wrong: the floor of the disagreement, and what is claimed where nothing can be known."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors import calibration
from selfclean_hooks.detectors.label_errors.calibration import LabelScores, lower_mean, raise_odds, score_support
from selfclean_hooks.detectors.label_errors.detector import automatic_threshold
from selfclean_hooks.detectors.label_errors.hardness import (
    FLOORS,
    MIN_CLASS,
    MIN_SLOPE,
    NO_NOISE,
    SUPPORTED,
    TEMPERATURES,
    Floors,
    fit_floors,
    hardness_by_class,
    uniform_noise,
)
from selfclean_hooks.detectors.label_errors.likelihood import LabelSupport
from tests.detectors.label_errors.test_label_errors import blobs, run

Ints = NDArray[np.int64]
Wrong = NDArray[np.bool_]


def flipped(y: Ints, share: float, kind: str, seed: int = 0) -> tuple[Ints, Wrong]:
    """Labels with a share of them wrong, anywhere or from half of the classes to the next, and which are."""
    rng, classes = np.random.default_rng(seed), int(y.max()) + 1
    may = np.arange(len(y)) if kind == "uniform" else np.nonzero(y < (classes + 1) // 2)[0]
    wrong = np.zeros(len(y), bool)
    wrong[rng.choice(may, round(share * len(y)), replace=False)] = True
    step = rng.integers(1, classes, len(y)) if kind == "uniform" else 1
    return np.where(wrong, (y + step) % classes, y), wrong


def test_floors_are_those_of_maximum_likelihood() -> None:
    rng = np.random.default_rng(0)
    margin = rng.gamma(2, 1.5, 3000)
    disagrees = rng.random(3000) < 0.1 + 0.9 * expit(-margin)
    found = fit_floors(margin, disagrees)
    order = np.argsort(margin)
    parts = np.array_split(order, 60)
    x, rate = (np.array([values[part].mean() for part in parts]) for values in (margin, disagrees))

    def loss(line: NDArray[np.float64], floor: float) -> float:
        p = np.clip(floor + (1 - floor) * expit(-line[0] - line[1] * x), 1e-9, 1 - 1e-9)
        return float(-50 * (rate * np.log(p) + (1 - rate) * np.log1p(-p)).sum())

    bounds = [(-50, 0), (MIN_SLOPE, 50)]
    lines = [minimize(loss, [-0.1, 1.0], args=(floor,), bounds=bounds) for floor in FLOORS]
    least = np.array([line.fun for line in lines])
    assert found.best.floor == FLOORS[least.argmin()]
    supported = FLOORS[least <= least.min() + 1.92]
    assert (found.lowest.floor, found.highest.floor) == (supported[0], supported[-1])
    assert np.allclose([found.best.intercept, found.best.slope], lines[least.argmin()].x, atol=0.02)


@pytest.mark.parametrize("floor", [0.0, 0.05, 0.3])
def test_the_floor_is_that_of_the_simulation(floor: float) -> None:
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        margin = rng.gamma(2, 1.5, 3000)
        hard = rng.random(3000) < expit(-margin)
        found = fit_floors(margin, hard | (rng.random(3000) < floor))
        held.append(found.lowest.floor - 1e-9 <= floor <= found.highest.floor + 1e-9)
        assert found.highest.floor - found.lowest.floor < 0.1
    assert np.mean(held) >= 0.8


@pytest.mark.parametrize("sizes", [(MIN_CLASS - 1, 30), (MIN_CLASS + 10,), (MIN_CLASS + 10, 30), (60, 80, 30, 20)])
def test_floors_of_classes_are_those_of_a_slow_twin(sizes: tuple[int, ...]) -> None:
    rng, best, power = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes), 0.75
    margin = rng.gamma(2, 1.5, len(best))
    disagrees = rng.random(len(best)) < 0.05 + 0.1 * best
    floors = fit_floors(margin, disagrees, power)
    found = hardness_by_class(margin, disagrees, best, floors)
    own = [best == i for i, size in enumerate(sizes) if size >= MIN_CLASS]
    rest = ~np.any([np.zeros(len(best), bool), *own], axis=0)
    groups = [*own, *([rest] if rest.any() else [])]
    assert found.groups == len(groups)
    if len(groups) == 1:
        assert np.array_equal(found.floor, floors.best.of(margin).floor)
        return

    def parts(group: Wrong) -> list[tuple[float, Wrong]]:
        order = np.nonzero(group)[0][np.argsort(margin[group])]
        split = np.array_split(order, max(1, min(20, len(order) // 8)))
        return [(floors.scale * np.mean((margin[part] / floors.scale) ** power), disagrees[part]) for part in split]

    def log_likelihood(binned: list[tuple[float, Wrong]], floor: float, line: NDArray[np.float64]) -> float:
        total = 0.0
        for x, other in binned:
            p = min(max(floor + (1 - floor) / (1 + math.exp(line[0] + line[1] * x)), 1e-9), 1 - 1e-9)
            total += other.sum() * math.log(p) + (~other).sum() * math.log1p(-p)
        return total

    binned = [parts(group) for group in groups]
    each = np.array([[[log_likelihood(g, e, line) for g in binned] for e in FLOORS] for line in floors.line])
    line = each.max(1).sum(1).argmax()
    prior = np.full(len(FLOORS), 1 / len(FLOORS))
    for _ in range(30):
        posterior = prior[:, None] * np.exp(each[line])
        posterior /= posterior.sum(0)
        prior = posterior.mean(1)
    for group, floor in zip(groups, FLOORS @ posterior, strict=True):
        assert np.allclose(found.floor[group], floor)
    assert np.allclose(found.rate, floors.at(FLOORS[line]).of(margin).rate)


@pytest.mark.parametrize("high", [0.0, 0.15, 0.4])
def test_floors_of_classes_are_those_of_the_simulation_and_alike_where_these_are(high: float) -> None:
    rng = np.random.default_rng(int(100 * high))
    best = rng.integers(0, 12, 6000)
    floor = np.where(best < 4, high, 0.02)
    margin = rng.gamma(2, 1.5, len(best))
    disagrees = (rng.random(len(best)) < expit(-0.3 - margin)) | (rng.random(len(best)) < floor)
    found = hardness_by_class(margin, disagrees, best, fit_floors(margin, disagrees))
    assert np.abs(found.floor - floor).max() < 0.06
    assert found.floor[floor == 0.02].std() < 0.01


def count_of(found: LabelScores) -> tuple[float, float, float]:
    return found.calibration.estimate_count(found.score)


CASES = [  # more than half of a class would be another class
    case
    for case in product((0.0, 0.02, 0.05, 0.1, 0.2, 0.4), ("uniform", "class"), ((0.5, 3), (1.3, 8)))
    if case[:2] != (0.4, "class")
]


@pytest.fixture(scope="module")
def audits() -> list[tuple[LabelScores, Wrong]]:
    """Classes near and far from each other, with 0 to 40% of wrong labels."""
    out = []
    for seed, (share, kind, (spread, classes)) in enumerate(CASES):
        x, y = blobs(500, classes=classes, spread=spread, seed=seed)
        given, wrong = flipped(y, share, kind, seed)
        out.append((run(x, given), wrong))
    return out


def test_the_interval_holds_the_number_of_wrong_labels(audits: list[tuple[LabelScores, Wrong]]) -> None:
    known = [(found, wrong) for found, wrong in audits if not found.calibration.unknown]
    held = [low <= wrong.sum() <= high for found, wrong in known for _, low, high in [count_of(found)]]
    assert len(known) >= 0.8 * len(CASES)
    assert np.mean(held) >= 0.9


def test_claimed_precision_is_that_of_the_flags(audits: list[tuple[LabelScores, Wrong]]) -> None:
    errors = []
    for found, wrong in audits:
        flagged = found.score < automatic_threshold(found)
        if flagged.sum() >= 10:
            claimed = 1 - found.calibration.probability_clean(found.score)[flagged]
            errors.append(abs(claimed.mean() - wrong[flagged].mean()))
    assert np.mean(np.array(errors) <= 0.1) >= 0.7


def test_clean_labels_are_hardly_flagged(audits: list[tuple[LabelScores, Wrong]]) -> None:
    for found, wrong in audits:
        if not wrong.any():
            assert (found.score < automatic_threshold(found)).mean() <= 0.01


def test_labels_that_the_vectors_do_not_show_are_unknown() -> None:
    x, _ = blobs(600)
    found = run(x, np.random.default_rng(0).integers(0, 3, 600))
    assert found.calibration.unknown
    assert automatic_threshold(found) == 0
    assert np.isnan(count_of(found)).all()


def test_raising_odds() -> None:
    p = np.array([0.0, 0.2, 0.5, 1.0])
    assert np.allclose(raise_odds(p, 4.0), [0, 0.5, 0.8, 1])
    assert np.allclose(raise_odds(raise_odds(p, 4.0), 0.25), p)


def test_nothing_is_wrong_where_too_few_are_labelled() -> None:
    x, _ = blobs(30)
    found = run(x, np.full(30, -1))
    assert isinstance(found.calibration, Calibration)
    assert automatic_threshold(found) == 0


def hard_samples(seed: int, n: int = 4000, at_random: float = 0.0, steep: float = 0.5) -> tuple[LabelSupport, Wrong]:
    """Nearly half of the labels disagree as samples are hard, which dies out slowly, at 0.75 of the margin.

    The others are supported in steps of `steep` nats, and labels of hard samples follow the support. A part of all
    labels is wrong at random; which, is returned.
    """
    rng, classes = np.random.default_rng(seed), 6
    margin = rng.exponential(1.5, n)
    disagrees = rng.random(n) < expit(1 - margin**0.75)
    support = np.sort(rng.exponential(steep, (n, classes)), 1)
    support = support[:, :1] - support
    support[:, 1:] -= margin[:, None]
    given = np.where(disagrees, 1 + (support + rng.gumbel(size=support.shape))[:, 1:].argmax(1), 0)
    wrong = rng.random(n) < at_random
    given[wrong] = (given + rng.integers(1, classes, n))[wrong] % classes
    order = np.argsort(np.arange(classes) != given[:, None], axis=1, kind="stable")  # the given label first
    listed = np.argsort(rng.random((n, classes)), 1)
    support = np.take_along_axis(support, order, 1)
    return LabelSupport(np.take_along_axis(listed, order, 1), support, support), wrong


@pytest.mark.parametrize("seed", range(3))
def test_where_the_representation_tells_little_nothing_is_claimed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, _ = hard_samples(seed)
    assert score_support(labels).calibration.unknown
    monkeypatch.setattr(calibration, "MAX_HARD", (1.0, 2.0))
    found = score_support(labels)
    assert found.calibration.estimate_count(found.score)[0] > 50  # what it is for: none of these labels is wrong


@pytest.mark.parametrize(("at_random", "steep"), [(0.02, 2.0), (0.1, 2.0), (0.1, 1.0)])
def test_the_number_depends_on_hardness_by_degrees(at_random: float, steep: float, monkeypatch: Any) -> None:
    labels, _ = hard_samples(1, at_random=at_random, steep=steep)
    floor, counts = noise_of(labels)[1].best.floor, []
    hard = (float((labels.sharp.argmax(1) > 0).mean()) - floor) / (1 - floor)
    for trust in np.linspace(0, 1, 11):  # wherever the data lie between the limits
        monkeypatch.setattr(calibration, "MAX_HARD", (hard + trust - 1, hard + trust))
        found = score_support(labels)
        counts.append(float((1 - found.calibration.probability_clean(found.score)).sum()))
    assert counts[-1] > counts[0] + 50
    assert np.abs(np.diff(counts)).max() < 0.5 * np.ptp(counts)


def noise_of(labels: LabelSupport) -> tuple[Any, Floors, Ints, NDArray[np.float64]]:
    best, ranked = labels.sharp.argmax(1), -np.sort(-labels.sharp, axis=1)
    margin = ranked[:, 0] - ranked[:, 1]
    floors = fit_floors(margin, best > 0)
    return uniform_noise(labels, best, margin, floors), floors, best, margin


@pytest.mark.parametrize("at_random", [0.0, 0.03, 0.1, 0.3])
def test_labels_wrong_at_random_are_counted_where_the_representation_tells_little(at_random: float) -> None:
    labels, wrong = hard_samples(5, at_random=at_random, steep=2.0)
    found, floors, _, _ = noise_of(labels)
    assert found.lowest <= wrong.mean() + 1e-9
    assert abs(found.best - wrong.mean()) < 0.03
    assert floors.best.floor > found.best + 0.02 or at_random > 0.1  # hard samples pass for wrong labels by the floor
    scored = score_support(labels)
    if at_random:
        low, high = scored.calibration.estimate_count(scored.score)[1:]
        assert low <= wrong.sum() <= high


def test_labels_of_hard_samples_and_confused_labels_are_not_wrong_at_random() -> None:
    labels, _ = hard_samples(0, steep=2.0)
    assert noise_of(labels)[0] == NO_NOISE
    confused = LabelSupport(labels.classes, labels.support, labels.sharp.copy())
    second = np.argsort(-labels.sharp, axis=1)[:, 1]
    swapped = np.random.default_rng(1).random(len(second)) < 0.2  # the second best label is given
    for values in (confused.classes, confused.support, confused.sharp):
        values[swapped, 0], values[swapped, second[swapped]] = values[swapped, second[swapped]], values[swapped, 0]
    assert noise_of(confused)[0] == NO_NOISE


def test_uniform_noise_is_that_of_maximum_likelihood() -> None:
    labels, _ = hard_samples(7, n=300, at_random=0.1, steep=2.0)
    found, floors, best, margin = noise_of(labels)
    rates = [rate for rate in FLOORS if rate <= floors.highest.floor]
    losses = np.full((len(TEMPERATURES), len(rates)), 0.0)
    for at, t in enumerate(TEMPERATURES):
        for i in np.nonzero((best > 0) & (margin >= np.median(margin)))[0]:
            others = np.delete(labels.sharp[i], best[i])
            follows = np.exp(t * others[0]) / np.exp(t * others).sum()
            hard = floors.best.of(margin[i : i + 1])
            disagree = hard.floor[0] + (1 - hard.floor[0]) * hard.rate[0]
            for place, rate in enumerate(rates):
                part = min(1.0, rate / disagree)
                losses[at, place] -= np.log((1 - part) * follows + part / 5)
    least = losses.min(0)
    assert found.best == rates[least.argmin()]
    assert found.lowest == np.array(rates)[least <= least.min() + SUPPORTED][0]


@pytest.mark.parametrize("most", [0.0, 0.05, 0.2, 1.0])
def test_a_mean_is_lowered_by_one_factor_of_the_odds(most: float) -> None:
    p = np.array([0.9, 0.5, 0.1, 0.0])
    lower = lower_mean(p, most, lambda values: float(values.mean()))
    assert np.isclose(lower.mean(), min(most, p.mean()))
    if 0 < most < p.mean():
        ratio = (lower / (1 - lower))[:3] / (p / (1 - p))[:3]
        assert np.allclose(ratio, ratio[0])
