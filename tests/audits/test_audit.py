import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.errors import DataWarning, SettingError
from tests.audits.small_audits import DROP, vectors_and_labels
from tests.helpers.reference import KINDS, distance_matrix, pair_scores, random_vectors, unit_rows


@pytest.fixture(scope="module")
def found() -> Audit:
    return audit_embeddings(*vectors_and_labels())


ISSUES = ["near_duplicates", "off_topic", "label_errors", "unreadable"]


def test_the_frame_has_a_row_a_sample_and_the_columns_agreed_on(found: Audit) -> None:
    assert list(found.frame.columns) == [
        "near_duplicate_score",
        "is_near_duplicate_issue",
        "near_duplicate_set",
        "nearest_neighbor",
        "off_topic_score",
        "is_off_topic_issue",
        "label_score",
        "is_label_issue",
        "given_label",
        "predicted_label",
        "error",
        "action",
        "reason",
    ]
    assert found.frame.index.tolist() == list(range(200))
    for column in ("near_duplicate_score", "off_topic_score", "label_score"):
        assert found.frame[column].between(0, 1).all()


def test_pairs_are_worst_first_and_at_least_as_many_as_samples(found: Audit) -> None:
    assert list(found.pairs.columns) == [
        "index_1",
        "index_2",
        "distance",
        "near_duplicate_score",
        "is_near_duplicate_issue",
    ]
    assert (found.pairs.index_1 < found.pairs.index_2).all()
    assert found.pairs.near_duplicate_score.is_monotonic_increasing
    assert len(found.pairs) >= 200
    ends = [found.pairs.groupby(column).near_duplicate_score.min() for column in ("index_1", "index_2")]
    worst = pd.concat(ends).groupby(level=0).min()
    np.testing.assert_allclose(worst, found.frame.near_duplicate_score[worst.index])


def test_copied_rows_are_flagged_and_one_of_each_is_kept(found: Audit) -> None:
    assert found.frame.is_near_duplicate_issue[[*range(5), *range(195, 200)]].all()
    assert (found.frame.near_duplicate_score[195:] == 0).all()
    kept = set(found.at(policy=DROP, thresholds=Thresholds(0.0, None, None)).clean_indices)
    assert kept == set(range(195))


@pytest.mark.parametrize("method", ["default", "selfclean"])
def test_permuting_rows_permutes_the_answer(method: str) -> None:
    vectors, labels = vectors_and_labels()
    vectors, labels = vectors[:195], labels[:195]  # copies tie, and either may be the first
    order = np.random.default_rng(1).permutation(195)
    one, other = (audit_embeddings(v, y, method) for v, y in ((vectors, labels), (vectors[order], labels[order])))
    for column in ("near_duplicate_score", "off_topic_score", "label_score"):
        np.testing.assert_allclose(other.frame[column], one.frame[column].to_numpy()[order], atol=1e-6)
    np.testing.assert_array_equal(other.frame.predicted_label, one.frame.predicted_label.to_numpy()[order])
    np.testing.assert_array_equal(order[other.scores.nearest_neighbor], one.scores.nearest_neighbor[order])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_any_array_will_do_and_is_left_alone(dtype: str) -> None:
    vectors, labels = vectors_and_labels(60)
    given = (vectors * 100).astype(dtype)
    before = given.copy()
    expected = audit_embeddings(given.astype(np.float64), labels).frame
    given.setflags(write=False)
    tensor = torch.from_numpy(before.copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forms = (given.tolist(), np.asfortranarray(given), tensor, pd.DataFrame(given)) if dtype == "float16" else ()
        for same in (given, *forms):
            pd.testing.assert_frame_equal(audit_embeddings(same, labels).frame, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(given, before)


def test_tensors_with_a_gradient_and_in_bfloat16_will_do() -> None:
    vectors = torch.from_numpy(vectors_and_labels(60)[0]).bfloat16()
    expected = audit_embeddings(vectors.float()).frame
    pd.testing.assert_frame_equal(audit_embeddings(vectors.clone().requires_grad_()).frame, expected)


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_huge_and_tiny_vectors_are_only_directions(scale: float, found: Audit) -> None:
    vectors, labels = vectors_and_labels()
    pd.testing.assert_frame_equal(audit_embeddings(vectors * scale, labels).frame, found.frame, atol=1e-5, rtol=1e-4)


def test_default_device_and_dtype_and_random_state_do_not_matter_and_are_left_alone(found: Audit) -> None:
    state = torch.get_rng_state()
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)
    try:
        other = audit_embeddings(*vectors_and_labels())
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device() == torch.device("meta")
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    pd.testing.assert_frame_equal(other.frame, found.frame)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_lowered_matmul_precision_does_not_matter_and_is_left_alone() -> None:
    vectors, labels = random_vectors("positive", 400, 256, 0), np.arange(400) % 4
    expected = audit_embeddings(vectors, labels)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        lowered = audit_embeddings(vectors, labels)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    pd.testing.assert_frame_equal(lowered.frame, expected.frame)
    pd.testing.assert_frame_equal(lowered.pairs, expected.pairs)
    assert lowered.scores.automatic == expected.scores.automatic


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n", "dim", "labelled"),
    [(2, 1, True), (2, 4, False), (3, 2, True), (33, 1, True), (64, 5, False), (200, 3, True)],
)
def test_awkward_data_is_audited_whole(n: int, dim: int, kind: str, labelled: bool) -> None:
    vectors = random_vectors(kind, n, dim, 0)
    if len(np.unique(vectors, axis=0)) == 1:
        vectors[0] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)
        found = audit_embeddings(vectors, np.arange(n) % 3 if labelled else None, policy=DROP)
        check_consistent(found)


def check_consistent(a: Audit) -> None:
    """Nothing that is derived from the scores disagrees."""
    frame, kept = a.frame, a.clean_indices
    assert len(a) == len(frame)
    assert (a.pairs.index_1 < a.pairs.index_2).all()
    assert len(a.pairs) >= min(len(a), len(a) * (len(a) - 1) // 2)
    np.testing.assert_array_equal(kept, np.unique(kept))
    assert ((frame.near_duplicate_set >= 0) <= frame.is_near_duplicate_issue).all()
    paired = a.pairs[a.pairs.is_near_duplicate_issue]
    same_set = frame.near_duplicate_set.to_numpy()
    np.testing.assert_array_equal(frame.is_near_duplicate_issue[paired.index_1], True)
    sets = a.duplicate_sets
    kept_copy = sets[sets.is_kept].set_index("near_duplicate_set")["index"]
    to_kept = to_kept_copy(a, sets["index"].to_numpy(), kept_copy[sets.near_duplicate_set].to_numpy())
    assert ((to_kept < a.decisions.thresholds["near_duplicates"]) | (to_kept == 0)).all()
    np.testing.assert_array_equal(same_set[sets["index"]], sets.near_duplicate_set)
    assert (sets.groupby("near_duplicate_set").is_kept.sum() == 1).all()
    assert a.summary.issue.tolist() == ISSUES
    for issue, count, fraction in a.summary[["issue", "num_issues", "contamination"]].itertuples(index=False):
        if issue in a.contamination:
            assert count == len(a.worst(issue)) == round(fraction * len(a))
            assert fraction == a.contamination[issue]
            assert a.check(Limits(**{issue: fraction}))
    sizes = frame.near_duplicate_set[frame.near_duplicate_set >= 0].value_counts()
    assert a.summary.num_issues[0] == (sizes - 1).sum()
    given = frame.given_label
    assert set(given[kept].dropna()) == set(given.dropna())
    assert (frame.reason != "").all()
    assert ((frame.reason == "no issue found") <= (frame.action == "keep")).all()


def to_kept_copy(a: Audit, members: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores of the pairs of set members and their kept copies; 0 of exact copies, which need not be listed."""
    ends = np.sort(np.stack([members, kept], 1), axis=1)
    listed = a.pairs.set_index(["index_1", "index_2"]).near_duplicate_score
    found = listed.reindex(pd.MultiIndex.from_arrays(ends.T)).to_numpy(np.float64)
    exact = a.duplicate_sets.set_index("index").distance[members].to_numpy() == 0
    return np.where(exact, 0, found)


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(KINDS),
    st.sampled_from(["default", "selfclean"]),
)
def test_whatever_the_thresholds_nothing_disagrees(
    seed: int, a: float, b: float, c: float, kind: str, method: str
) -> None:
    vectors, labels = random_vectors(kind, 40, 4, seed), np.random.default_rng(seed).integers(0, 5, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        whole = audit_embeddings(vectors, labels, method)
    check_consistent(whole.at(thresholds=Thresholds(a, b, c), policy=DROP))
    lower = whole.at(thresholds=Thresholds(a, b / 2, c / 2))
    for column in ("is_near_duplicate_issue", "is_off_topic_issue", "is_label_issue"):
        assert (lower.frame[column] <= whole.at(thresholds=Thresholds(a, b, c)).frame[column]).all()


@pytest.mark.parametrize("seed", range(5))
def test_of_every_duplicate_set_one_stays(seed: int) -> None:
    vectors, labels = random_vectors("copies", 100, 4, seed), np.random.default_rng(seed).integers(0, 3, 100)
    found = audit_embeddings(vectors, labels, thresholds=Thresholds(1e-4, None, None), policy=DROP)
    kept = found.frame.loc[found.clean_indices]
    counts = kept.near_duplicate_set[kept.near_duplicate_set >= 0].value_counts()
    assert (counts == 1).all()
    assert len(counts) == found.frame.near_duplicate_set.max() + 1


def test_at_changes_only_what_is_derived(found: Audit) -> None:
    other = found.at(thresholds=Thresholds(off_topic=1.0))
    assert other.scores is found.scores
    assert other.frame.is_off_topic_issue.sum() > found.frame.is_off_topic_issue.sum()
    assert found.thresholds == Thresholds()
    pd.testing.assert_frame_equal(other.at(thresholds=Thresholds()).frame, found.frame)


def test_decisions_made_are_those_of_the_audit_with_its_images(found: Audit) -> None:
    other = found.annotated(thumbnails={3: b"image"}, provenance={**found.provenance, "notes": ["seen"]})
    assert other.decisions is found.decisions
    assert (other.thumbnails, list(other.provenance["notes"])) == ({3: b"image"}, ["seen"])
    fresh = Audit(other.scores, other.thresholds, other.policy, other.provenance, thumbnails=other.thumbnails)
    pd.testing.assert_frame_equal(other.frame, fresh.frame)
    for deciding in ({"thresholds": Thresholds(off_topic=1.0)}, {"policy": DROP}, {"names": ("",) * len(found)}):
        with pytest.raises(AssertionError):
            found.annotated(**deciding)


@pytest.mark.parametrize(("method", "threshold"), [("default", 0.5), ("selfclean", 0.9)])
def test_all_pairs_below_the_threshold_are_listed(method: str, threshold: float) -> None:
    vectors, labels = vectors_and_labels(300)
    found = audit_embeddings(vectors, labels, method, Thresholds(near_duplicates=np.float32(threshold)))
    every = every_pair(found, vectors)
    assert (every < threshold).sum() > 200
    assert set(every[every < threshold - 1e-5].index) <= set(zip(found.pairs.index_1, found.pairs.index_2, strict=True))
    assert found.pairs.is_near_duplicate_issue.sum() == (found.pairs.near_duplicate_score < np.float32(threshold)).sum()
    assert (
        abs(found.pairs.is_near_duplicate_issue.sum() - (every < threshold).sum())
        <= (abs(every - threshold) <= 1e-5).sum()
    )
    near = np.zeros((300, 300), bool)
    hits = found.pairs[found.pairs.is_near_duplicate_issue]
    near[hits.index_1, hits.index_2] = near[hits.index_2, hits.index_1] = True
    stays = (~found.decisions.surplus).nonzero()[0]
    assert not near[np.ix_(stays, stays)].any()
    assert near[found.decisions.surplus][:, stays].any(1).all()


def every_pair(found: Audit, vectors: NDArray[np.float64]) -> "pd.Series[float]":
    """Scores of all pairs of the audited vectors, by the positions of both."""
    score = pair_scores(distance_matrix(unit_rows(vectors)), found.scores.local_scale)
    ends = np.triu_indices(len(score), 1)
    return pd.Series(score[ends], index=pd.MultiIndex.from_arrays(ends))


def test_a_threshold_above_the_listed_pairs_is_refused_unless_asked_for_from_the_start() -> None:
    vectors, _ = vectors_and_labels(300)
    found = audit_embeddings(vectors)
    with pytest.raises(
        SettingError, match=r"pairs were kept up to a score of .*run the audit again with thresholds=Thresh"
    ):
        found.at(thresholds=Thresholds(near_duplicates=0.99))


@pytest.mark.parametrize(("method", "listed", "n"), [("default", 200_000, 1300), ("selfclean", 10**6, 2900)])
def test_half_of_the_rows_identical(method: str, listed: int, n: int) -> None:
    vectors = random_vectors("gauss", n, 16, 0)
    vectors[::2] = vectors[0]
    with pytest.warns(DataWarning, match=f"only the {listed} worst, which are all of those below 0"):
        found = audit_embeddings(vectors, np.arange(n) % 7, method, Thresholds(0.0, None, None), DROP)
    assert len(found.pairs) == listed
    assert found.frame.near_duplicate_set.max() == 0
    # every class of a copy has other members, so one copy is kept
    np.testing.assert_array_equal(found.clean_indices, [0, *range(1, n, 2)])


@pytest.mark.parametrize("method", ["default", "selfclean"])
def test_copies_with_different_labels_are_label_errors_and_the_class_survives(method: str) -> None:
    vectors, labels = vectors_and_labels(100)
    labels[99] = 7
    found = audit_embeddings(vectors, labels, method, policy=Policy(near_duplicates="drop"))
    assert found.frame.is_label_issue[[4, 99]].all()
    assert found.frame.predicted_label[99] == labels[4]
    if method == "selfclean":  # where one neighbour says it all; the default asks more of them, which are for 4
        assert found.frame.label_score[[4, 99]].tolist() == [0, 0]
        assert found.frame.predicted_label[4] == 7
    for copy in (4, 99):
        assert f"its copies carry different labels: {labels[4]} (1), 7 (1)" in found.frame.reason[copy]
    assert 99 in found.clean_indices
    assert "its class would otherwise be empty" in found.frame.reason[99]


@pytest.mark.parametrize(("method", "label_score"), [("default", 1.0), ("selfclean", 0.5)])
def test_a_class_of_one_and_two_samples(method: str, label_score: float) -> None:
    found = audit_embeddings([[1.0, 0.0], [0.0, 1.0]], [0, 1], method)
    assert found.frame.label_score.tolist() == [label_score, label_score]
    assert not found.frame.filter(like="is_").to_numpy().any()
    assert found.frame.near_duplicate_score.tolist() == [0.5, 0.5]
    assert len(found.pairs) == 1


def test_labels_as_words_numbers_and_fractions_of_none(found: Audit) -> None:
    vectors, labels = vectors_and_labels()
    words = np.array(["ant", "bee", "cat", "dog"])[labels]
    for same in (words, words.astype(object), list(words), pd.Series(words)):
        named = audit_embeddings(vectors, same).frame
        assert named.given_label.tolist() == words.tolist()
        np.testing.assert_array_equal(named.label_score, found.frame.label_score)
    for numbers in (labels.astype(float), torch.from_numpy(labels), labels.tolist(), labels.astype(np.uint8)):
        pd.testing.assert_frame_equal(audit_embeddings(vectors, numbers).frame, found.frame)


@pytest.mark.parametrize("labels", [None, [0, 1] * 6, [[0, 1], [1, 1]] * 6, [0.5, 1.5] * 6])
@pytest.mark.parametrize("method", ["default", "selfclean"])
def test_identical_vectors_are_copies_of_one(labels: Any, method: Any) -> None:
    with pytest.warns(DataWarning, match="all 12 embeddings are identical: the samples are copies of one"):
        done = audit_embeddings(np.full((12, 3), 0.3), labels, method)
    assert done.worst("near_duplicates").tolist() == list(range(1, 12))
    assert len(done.worst("off_topic")) == 0
    assert any("identical" in note for note in done.provenance["notes"])


def test_zero_rows_are_named_and_lie_halfway() -> None:
    vectors = random_vectors("gauss", 30, 3, 0)
    vectors[[4, 9]] = 0
    with pytest.warns(DataWarning, match="2 of 30 embeddings are zero, index 4, 9"):
        found = audit_embeddings(vectors)
    assert found.frame.near_duplicate_score[[4, 9]].tolist() == [0.5, 0.5]
