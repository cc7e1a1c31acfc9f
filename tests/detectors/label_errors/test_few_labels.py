"""Few labels: what few samples do not explain may be a weak predictor, and is not taken for wrong labels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_blobs, make_moons

from selfclean_hooks.detectors.label_errors.calibration import most_confident
from selfclean_hooks.detectors.label_errors.detector import automatic_threshold
from selfclean_hooks.detectors.label_errors.hardness import fit_floors
from selfclean_hooks.detectors.label_errors.likelihood import MANY
from selfclean_hooks.detectors.label_errors.weights import trusted_noise
from tests.detectors.label_errors.test_label_calibration import flipped
from tests.detectors.label_errors.test_label_errors import blobs, run


@pytest.mark.parametrize(("n", "classes", "spread"), [(20, 5, 1.5), (40, 8, 1.3), (80, 10, 1.5), (120, 6, 2.0)])
def test_right_labels_of_few_overlapping_classes_are_not_flagged(n: int, classes: int, spread: float) -> None:
    flagged = 0
    for seed in range(6):
        found = run(*blobs(n, classes=classes, spread=spread, seed=seed))
        flagged += int((found.score < automatic_threshold(found)).sum())
    assert flagged <= 0.01 * 6 * n


def test_right_labels_of_few_points_of_a_plane_are_not_flagged() -> None:
    for n, noise in ((60, 0.45), (90, 0.35), (120, 0.4)):
        for seed in range(3):
            x, y = make_moons(n, noise=noise, random_state=seed)
            found = run(x.astype(np.float32), y)
            assert not (found.score < automatic_threshold(found)).any()


def test_wrong_labels_of_separate_points_of_a_plane_are_found_where_there_are_more() -> None:
    for seed in (1, 3):
        x, y = make_blobs(300, centers=3, cluster_std=1.0, random_state=seed, center_box=(-12, 12))
        wrong = np.random.default_rng(seed).choice(300, 30, replace=False)
        y[wrong] = (y[wrong] + 1) % 3
        found = run(x.astype(np.float32), y)
        flagged = found.score < automatic_threshold(found)
        assert flagged[wrong].mean() > 0.6
        assert flagged.sum() <= 33


def test_more_may_disagree_the_more_samples_and_dimensions_there_are() -> None:
    by_dimension = [most_confident(100, dimension) for dimension in (1, 2, 2.2, 2.3, 8)]
    assert by_dimension == sorted(by_dimension)
    assert by_dimension[3:] == [0.5, 0.5]
    assert most_confident(100, 1) < most_confident(200, 1) < most_confident(300, 1) < most_confident(2000, 1) == 1


@pytest.mark.parametrize(("n", "classes"), [(80, 4), (100, 10), (120, 6)])
def test_wrong_labels_of_few_separate_classes_are_found(n: int, classes: int) -> None:
    flags = right = errors = 0
    for seed in range(4):
        x, y = blobs(n, classes=classes, spread=0.5, seed=seed)
        given, wrong = flipped(y, 0.1, "uniform", seed)
        found = run(x, given)
        flag = found.score < automatic_threshold(found)
        flags, right, errors = flags + flag.sum(), right + (flag & wrong).sum(), errors + wrong.sum()
    assert right >= 0.8 * errors
    assert right >= 0.8 * flags


def test_few_labels_are_taken_to_be_wrong_in_part() -> None:
    parts = [trusted_noise(n / 10, n) for n in (1, 20, MANY // 2, MANY, 10 * MANY)]
    assert parts == pytest.approx([0.1 / MANY, 2 / MANY, 0.05, 0.1, 0.1])


@pytest.mark.parametrize(("n", "possible"), [(64, True), (8 * MANY, False)])
def test_disagreement_that_margins_do_not_tell_is_a_floor_where_many_samples_show_it(n: int, possible: bool) -> None:
    rng = np.random.default_rng(0)
    floors = fit_floors(rng.gamma(2, 1.0, n), np.arange(n) % 5 < 2)
    assert (floors.lowest.floor == 0) == possible
