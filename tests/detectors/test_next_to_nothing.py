"""What detectors make of data that say next to nothing: one distinct sample, few labels, labels that never differ."""

from typing import Any

import numpy as np
import pytest

from selfclean_hooks import audit_embeddings
from selfclean_hooks.detectors.methods import score
from selfclean_hooks.detectors.off_topic.detector import off_topic_scores
from selfclean_hooks.neighbors.unit_vectors import UnitRows

IMAGES = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8), 6, 0)


@pytest.mark.parametrize("labels", [None, np.arange(6) % 2], ids=["no labels", "two classes"])
@pytest.mark.parametrize("miniatures", [None, IMAGES], ids=["vectors", "images"])
def test_where_all_samples_are_the_same_all_are_copies_and_none_is_off_topic(miniatures: Any, labels: Any) -> None:
    found = score(np.ones((6, 3)), labels, miniatures=miniatures)
    assert (found.near_duplicate < found.automatic["near_duplicates"]).all()
    assert (found.off_topic >= found.automatic["off_topic"]).all()
    np.testing.assert_array_equal(found.off_topic, found.off_topic[0])


def test_one_sample_is_on_topic() -> None:
    assert off_topic_scores(UnitRows.of(np.eye(1, 3)), np.zeros(1), np.zeros(1, np.int64))[0].tolist() == [1.0]


def test_of_two_regression_targets_neither_is_judged() -> None:
    found = audit_embeddings(np.eye(4), [1.5, np.nan, np.nan, 2.0], progress=False)
    np.testing.assert_array_equal(found.scores.label, [1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(found.scores.predicted_target, [1.5, np.nan, np.nan, 2.0])
    assert found.corrected_labels.tolist() == ["1.5", "", "", "2"]


def test_an_attribute_that_two_samples_have_is_not_judged() -> None:
    labels = np.array([[0, 1], [1, 1], [-1, -1], [-1, -1], [-1, -1]])
    found = audit_embeddings(np.eye(5), labels, progress=False)
    np.testing.assert_array_equal(found.scores.label, [1, 1, np.nan, np.nan, np.nan])
    assert found.contamination["label_errors"] == 0


def test_where_no_sample_has_a_label_the_reason_says_so() -> None:
    found = audit_embeddings(np.eye(4), [-1] * 4, progress=False)
    assert found.scores.not_run == {"label_errors": "there are no labels: none of the 4 samples carries one"}
    assert score(np.eye(4), np.full(4, -1)).not_run == {"label_errors": "there are no labels"}


def test_a_small_branch_without_labels_beside_two_classes_is_off_topic() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, -1], [60, 60, 6])
    vectors = 5 * np.eye(8)[labels] + 0.3 * rng.normal(size=(126, 8))
    found = score(vectors, labels)
    assert sorted(np.argsort(found.off_topic)[:6].tolist()) == list(range(120, 126))
