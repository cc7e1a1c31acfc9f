"""The policy "relabel": which labels are replaced, which samples dropped, and what the audit says of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from selfclean_hooks import Audit, Policy, Thresholds, audit_embeddings
from selfclean_hooks.core.scores import label_texts
from selfclean_hooks.decisions.decide import PROBABLY_RIGHT, RELIABLE
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.decisions.settings import split_policies
from selfclean_hooks.errors import PolicyError, SettingError
from selfclean_hooks.results.corrections import Corrections
from tests.helpers.command_line import Call

RELABEL = Policy(label_errors="relabel")
CLASSES, EACH = 6, 60


@pytest.fixture(scope="module")
def noisy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overlapping clusters, their classes, and labels of which a fifth is wrong."""
    rng = np.random.default_rng(3)
    classes = np.repeat(np.arange(CLASSES), EACH)
    x = rng.normal(size=(CLASSES, 12))[classes] + rng.normal(scale=0.75, size=(len(classes), 12))
    wrong = rng.random(len(classes)) < 0.2
    return x, classes, np.where(wrong, (classes + rng.integers(1, CLASSES, len(classes))) % CLASSES, classes)


@pytest.fixture(scope="module")
def found(noisy: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Audit:
    return audit_embeddings(noisy[0], labels=noisy[2], policy=RELABEL)


def test_every_flagged_sample_is_relabelled_or_dropped_by_its_probabilities(found: Audit) -> None:
    scores, done = found.scores, found.decisions
    confidence = scores.prediction_confidence
    assert confidence is not None
    clean = scores.calibration["label_errors"].probability_clean(scores.label)
    for i in range(len(found)):
        expected = "keep"
        if done.flags["label_errors"][i]:
            likely = (1 - clean[i]) * confidence[i]  # of the predicted label; NaN where that is the given one
            unlikely = "warn" if clean[i] >= PROBABLY_RIGHT else "drop"
            expected = "relabel" if likely >= RELIABLE else unlikely
        elif any(flags[i] for flags in done.flags.values()):
            expected = "warn"
        assert done.action[i] == expected
        assert (i in found.new_labels) == (expected == "relabel")
        assert (i in found.clean_indices) == (expected != "drop")
    assert {"relabel", "drop"} <= set(done.action)


def test_new_labels_are_better_and_the_given_ones_stay(
    found: Audit, noisy: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    _, classes, given = noisy
    assert found.scores.given_label.tolist() == given.tolist() == found.frame["given_label"].tolist()
    new = found.corrected_labels.astype(int)
    at = np.array(list(found.new_labels))
    assert (new[at] == classes[at]).mean() > 0.8 > (given[at] == classes[at]).mean() + 0.5
    untouched = np.setdiff1d(np.arange(len(found)), at)
    assert (new[untouched] == given[untouched]).all()
    assert all("relabelled as " in found.frame["reason"][i] for i in at)


def test_confidence_is_about_the_predicted_class_beside_the_given_one(found: Audit) -> None:
    same = found.scores.given_label == found.scores.predicted_label
    confidence = found.scores.prediction_confidence
    assert confidence is not None
    assert np.isnan(confidence[same]).all()
    assert ((confidence[~same] > 0) & (confidence[~same] <= 1)).all()


def test_corrections_name_a_sample_of_the_new_label(found: Audit) -> None:
    corrections = Corrections.of(found)
    texts = label_texts(found.scores)
    assert {i: texts[source] for i, source in corrections.relabelled.tolist()} == found.new_labels
    assert corrections.dropped.tolist() == (found.decisions.action == "drop").nonzero()[0].tolist()
    again = Corrections.from_dict(corrections.as_dict())
    assert again.relabelled.tolist() == corrections.relabelled.tolist()
    assert again.dropped.tolist() == corrections.dropped.tolist()
    warned = Corrections.of(found.at(policy=Policy()))
    assert not warned
    assert not len(warned.relabelled)
    assert Corrections.from_dict({"dropped": [3]}).relabelled.shape == (0, 2)  # of an older checkpoint


def test_people_come_before_the_policy(found: Audit) -> None:
    first, second, third = list(found.new_labels)[:3]
    marks = (
        Mark("label_errors", "relabelled", index=first, label="5"),
        Mark("label_errors", "rejected", index=second),
        Mark("label_errors", "confirmed", index=third),
    )
    reviewed = found.with_review(Review(marks))
    assert reviewed.new_labels[first] == "5" == reviewed.corrected_labels[first]
    assert second not in reviewed.new_labels
    assert second in reviewed.clean_indices
    assert third not in reviewed.new_labels
    assert third not in reviewed.clean_indices
    unknown = found.with_review(Review((Mark("label_errors", "relabelled", index=first, label="owl"),)))
    with pytest.raises(PolicyError, match="no sample has the label 'owl'"):
        Corrections.of(unknown)


def test_too_many_changes_are_an_error_with_both_counts(found: Audit) -> None:
    strict = found.at(policy=Policy(label_errors="relabel", max_drop_fraction=0.05))
    relabelled = len(strict.new_labels)
    with pytest.raises(PolicyError, match=rf"would drop \d+ and relabel {relabelled} of 360 samples .*label_errors"):
        _ = strict.clean_indices


def test_no_class_is_emptied(noisy: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, classes, _ = noisy
    rare = classes.copy()
    rare[[0, 1]] = CLASSES  # a class of two that look like another one
    emptied = audit_embeddings(x, labels=rare, policy=RELABEL, thresholds=Thresholds(label_errors=0.5))
    assert emptied.decisions.flags["label_errors"][[0, 1]].all()
    kept = [i for i in (0, 1) if emptied.decisions.action[i] == "keep"]
    assert len(kept) == 1
    assert kept[0] not in emptied.new_labels


def test_what_cannot_be_relabelled_says_so() -> None:
    x = np.random.default_rng(0).normal(size=(40, 5))
    for labels, kind in ((x[:, 0], "regression targets"), (x[:, :3] > 0, "several a sample")):
        with pytest.raises(PolicyError, match=f"is 'relabel', but the labels are {kind}.*'warn' or 'drop'"):
            _ = audit_embeddings(x, labels=labels, policy=RELABEL).clean_indices
    with pytest.raises(PolicyError, match="method='default'"):
        _ = audit_embeddings(x, labels=np.arange(40) % 2, policy=RELABEL, method="selfclean").clean_indices
    assert len(audit_embeddings(x, policy=RELABEL).clean_indices) == 40  # nothing to relabel
    few = [0, 1, *[-1] * 38]
    assert len(audit_embeddings(x, labels=few, policy=RELABEL).clean_indices) == 40  # too few labels to judge
    with pytest.raises(SettingError, match="near_duplicates must be one of ignore, warn, drop, raise, got 'relabel'"):
        Policy(near_duplicates="relabel")  # type: ignore[arg-type]


def test_a_saved_audit_relabels_the_same(found: Audit, tmp_path: Path) -> None:
    found.save(tmp_path)
    again = Audit.load(tmp_path)
    assert again.new_labels == found.new_labels
    assert again.policy == RELABEL
    assert (again.decisions.action == found.decisions.action).all()


def test_the_command_line_relabels_a_saved_audit(found: Audit, tmp_path: Path, call: Call) -> None:
    found.at(policy=Policy("drop", "drop", "drop")).save(tmp_path)
    gated = call("gate", tmp_path, "--relabel", "--format", "json")
    assert gated.status == 0
    (split,) = json.loads(gated.out)["splits"].values()
    assert {row["issue"]: row["action"] for row in split["summary"]}["label_errors"] == "relabel"


def test_splits_beside_the_training_data_keep_their_labels() -> None:
    assert split_policies(RELABEL, ["train", "val"])["val"] == Policy()
    with pytest.raises(SettingError, match="'val' says 'relabel': samples are relabelled only in the training split"):
        split_policies({"val": RELABEL}, ["train", "val"])
