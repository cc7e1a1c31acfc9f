"""Labels are judged a second time by predictors that were given labels without the errors found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.calibration import LabelScores, score_support
from selfclean_hooks.detectors.label_errors.ensemble import judge_labels, label_support, second_support, without_errors
from selfclean_hooks.detectors.label_errors.likelihood import LabelSupport
from tests.detectors.label_errors.test_label_calibration import flipped
from tests.detectors.label_errors.test_label_errors import blobs, seen


@pytest.mark.parametrize("classes", [3, 70])
def test_predictors_that_are_given_the_same_labels_say_the_same(classes: int) -> None:
    x, y = blobs(n=420, classes=classes)
    first = label_support(seen(x), y)
    second = second_support(seen(x), y, first)
    np.testing.assert_allclose(second.support, first.support, atol=1e-5)
    np.testing.assert_array_equal(second.classes, first.classes)
    np.testing.assert_array_equal(second.sharp, first.sharp)


def test_the_order_of_the_classes_does_not_matter() -> None:
    x, y = blobs(classes=5, spread=1.0)
    given, _ = flipped(y, 0.2, "class")
    inputs, first = seen(x), label_support(seen(x), given)
    order = [0, 3, 1, 4, 2]  # the given label stays first
    other = LabelSupport(first.classes[:, order], first.support[:, order], first.sharp[:, order])
    expected = second_support(inputs, y, first).support[:, order]
    np.testing.assert_allclose(second_support(inputs, y, other, block=64).support, expected, atol=1e-4)


def test_wrong_labels_of_unequal_noise_rank_lower() -> None:
    gained = []
    for seed in range(4):
        x, y = blobs(500, classes=6, spread=1.1, seed=seed)
        given, wrong = flipped(y, 0.15, "class", seed)
        support = label_support(seen(x), given)
        once, twice = score_support(support), judge_labels(seen(x), given, support)
        gained.append(average_precision_score(wrong, -twice.score) - average_precision_score(wrong, -once.score))
    assert np.mean(gained) > 0.01


def test_what_is_more_likely_wrong_than_right_is_replaced_but_no_class_vanishes() -> None:
    labels, predicted = np.array([0, 0, 1, 2, 2]), np.array([1, 1, 2, 1, 2])
    score, calibration = np.array([0.1, 0.9, 0.1, 0.1, 0.9]), Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    found = LabelScores(score, predicted, calibration)
    np.testing.assert_array_equal(without_errors(labels, found), [1, 0, 2, 1, 2])
    unknown = replace(found, calibration=replace(calibration, unknown="nothing is known"))
    np.testing.assert_array_equal(without_errors(labels, unknown), labels)
    alone = replace(found, predicted=np.array([1, 1, 2, 2, 2]))  # 1 would have samples of class 0 alone
    np.testing.assert_array_equal(without_errors(np.array([0, 0, 1, 2, 2]), alone), [1, 0, 2, 2, 2])
    none_left = without_errors(np.array([0, 1, 1, 2, 2]), found)  # the only sample of class 0 stays
    np.testing.assert_array_equal(none_left, [0, 1, 2, 1, 2])
    only = replace(found, score=score[[0, 0, 1]], predicted=np.array([1, 2, 2]))  # 0 stays, so 1 would be left without
    np.testing.assert_array_equal(without_errors(np.array([0, 1, 2]), only), [0, 1, 2])
