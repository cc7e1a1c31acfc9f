"""Whether classes have names, and what is said of a label in doubt."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import audit_embeddings
from selfclean_hooks.core.labels import has_name_for_every_class
from selfclean_hooks.core.scores import describe_label_issue
from selfclean_hooks.decisions.settings import split_policies
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.splits import conflicting_labels


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, False),
        (np.array([0.5, 1.0]), False),
        (np.array([0, 1, -1]), True),
        (np.array([0, 2]), False),
        (np.zeros((3, 2), bool), True),
        (np.zeros((3, 3), bool), False),
    ],
)
def test_a_name_for_every_class(labels: Any, expected: bool) -> None:
    assert has_name_for_every_class(("cat", "dog"), labels) is expected


def test_the_doubtful_one_of_several_labels_is_named() -> None:
    labels = np.random.default_rng(0).random((20, 2)) < 0.5
    labels[0] = True, False
    scores = replace(audit_embeddings(np.eye(20), labels, progress=False).scores, class_names=("cat", "dog"))

    def said(code: float) -> str:
        return describe_label_issue(replace(scores, predicted_target=np.full(20, code)), 0)

    assert [said(code) for code in (0, 3)] == ["label cat seems wrong", "label dog seems missing"]
    assert [said(code) for code in (-1, 1, 2)] == ["labels cat in doubt"] * 3


@pytest.mark.parametrize("policy", ["drop", {"val": "drop"}])
def test_a_policy_is_no_word(policy: Any) -> None:
    with pytest.raises(SettingError, match=r"policy must be a Policy, as Policy\(near_duplicates=...\), got "):
        split_policies(policy, ("train", "val"))


def test_a_method_for_classes_suggests_no_regression_target() -> None:
    found = audit_embeddings(np.eye(4), [0.5, 1.5, 2.5, np.nan], method="selfclean", progress=False)
    assert found.frame["predicted_label"].isna().all()
    assert found.frame["given_label"].tolist()[:3] == [0.5, 1.5, 2.5]
    assert conflicting_labels(found) == ["0.5", "1.5", "2.5", ""]


def test_labels_of_which_some_are_unknown_contradict_none() -> None:
    found = audit_embeddings(np.eye(3), np.array([[1, 0], [1, -1], [0, 0]]), progress=False)
    assert conflicting_labels(found) == ["0", "", "none"]
