from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from selfclean_hooks.core.scores import Scores, scatter_scores
from selfclean_hooks.decisions import duplicate_sets as duplicates
from selfclean_hooks.decisions.duplicate_sets import DuplicateSets, duplicate_sets, near_duplicate_components
from selfclean_hooks.decisions.settings import Keep
from selfclean_hooks.detectors.methods import score
from selfclean_hooks.errors import SettingError
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.decisions.test_policy import scores_of
from tests.helpers.reference import (
    KINDS,
    components,
    contradicted,
    distance_matrix,
    near_duplicates,
    pair_scores,
    random_vectors,
)
from tests.helpers.reference import duplicate_sets as twin

KEEP: tuple[Keep, ...] = ("first", "most_central", "largest_image")
Floats = NDArray[np.float64]


def scores_between(d: Floats, **changes: Any) -> Scores:
    """Scores of samples at the given distances (N, N): all pairs are listed, and a shortest tree."""
    d = d.astype(np.float32)
    ends = np.array(list(combinations(range(len(d)), 2)))
    ends = ends[np.argsort(d[ends[:, 0], ends[:, 1]], kind="stable")]
    length = d[ends[:, 0], ends[:, 1]]
    start, end = ends.astype(np.int32).T  # older scipy searches graphs of int32 only
    order = csr_array((np.arange(1.0, len(ends) + 1), (start, end)), shape=d.shape)  # 0 would be no edge
    tree = np.sort(minimum_spanning_tree(order).data.astype(np.int64)) - 1
    apart = d + np.where(np.eye(len(d)) > 0, np.inf, 0)
    fields = {
        "near_duplicate": apart.min(1).astype(np.float64),
        "nearest_neighbor": apart.argmin(1),
        "pair_index": ends,
        "pair_distance": length,
        "pair_score": length,
        "tree_index": ends[tree],
        "tree_distance": length[tree],
    }
    return scores_of(len(d), **{**fields, **changes})


@dataclass(frozen=True)
class Graph:
    """Any near duplicates whatever: distances are multiples of 1/16, so that sums of them are exact."""

    d: Floats
    threshold: float
    last: NDArray[np.int64]
    pixels: NDArray[np.int64]
    labels: NDArray[np.int64]

    @cached_property
    def scores(self) -> Scores:
        return scores_between(self.d, pixels=self.pixels, given_label=self.labels)

    def sets(self, keep: Keep) -> DuplicateSets:
        return duplicate_sets(self.scores, self.threshold, keep, self.last)

    def of(self, positions: Any) -> "Graph":
        parts = (part[positions] for part in (self.last, self.pixels, self.labels))
        return Graph(self.d[np.ix_(positions, positions)], self.threshold, *parts)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    contents = draw(st.integers(1, 7))
    content = np.array(draw(st.lists(st.integers(0, contents - 1), min_size=2, max_size=12)))
    between = np.zeros((contents, contents))
    for i, j in combinations(range(contents), 2):
        between[i, j] = between[j, i] = draw(st.integers(1, 16)) / 16
    n = len(content)

    def values(low: int, high: int) -> NDArray[np.int64]:
        return np.array(draw(st.lists(st.integers(low, high), min_size=n, max_size=n)))

    threshold = draw(st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 0.51, 0.75, 1.0]))
    return Graph(between[np.ix_(content, content)], threshold, values(0, 2), values(-1, 4), values(-1, 2))


def content_sets(found: DuplicateSets) -> set[frozenset[int]]:
    members = [(found.number == number).nonzero()[0].tolist() for number in range(len(found.kept))]
    return {frozenset(each) for each in members}


def distances(vectors: Floats) -> Floats:
    """As the package computes them."""
    x, every = UnitRows.of(vectors), torch.arange(len(vectors))
    found = x.distances(every, every.expand(len(vectors), -1)).numpy().astype(np.float64)
    np.fill_diagonal(found, 0)
    return np.asarray(found)


@cache
def scored(kind: str, method: str) -> tuple[Scores, Floats]:
    """Scores of 70 vectors, and the distances between them."""
    vectors = random_vectors(kind, 70, 5, 0)
    return score(vectors, None, method=method), distances(vectors)


THRESHOLDS = [
    *(("selfclean", threshold) for threshold in (-np.inf, 0.0, 1e-6, 0.02, 0.1, 0.3, 1.0)),
    *(("default", threshold) for threshold in (-np.inf, 0.0, 0.01, 0.2, 0.4, 0.51, 1.0)),
]


@pytest.mark.parametrize(("method", "threshold"), THRESHOLDS)
@pytest.mark.parametrize("kind", KINDS)
def test_sets_of_vectors_are_those_of_the_twin(kind: str, method: str, threshold: float) -> None:
    rng = np.random.default_rng(0)
    last, pixels, (scores, d) = rng.random(70) < 0.3, rng.integers(0, 9, 70), scored(kind, method)
    scores = replace(scores, pixels=pixels)
    steps = 2.0**22 if kind == "collapsed" else 2.0**14  # distances become multiples of 1 / steps: sums are exact

    def rounded(d: Any) -> Any:
        return np.ceil(d * steps) / steps

    names = ("pair_distance", "tree_distance", *(["pair_score"] if method == "selfclean" else []))
    lists = {name: rounded(getattr(scores, name)) for name in names}
    measured = rounded(d) if method == "selfclean" else pair_scores(d, scores.local_scale)
    for keep in KEEP:
        found = duplicate_sets(replace(scores, **lists), threshold, keep, last)
        number, kept = twin(rounded(d), threshold, keep, last, pixels, measured)
        assert found.number.tolist() == number
        assert found.kept.tolist() == kept


@pytest.mark.parametrize(("method", "threshold"), [("selfclean", 0.01), ("default", 0.41)])
@pytest.mark.parametrize("kind", KINDS)
def test_sets_are_the_same_where_not_all_pairs_are_listed(kind: str, method: str, threshold: float) -> None:
    vectors, last = random_vectors(kind, 220, 5, 1), np.zeros(220, bool)
    scores = score(vectors, None, method=method, pairs_below=threshold)
    found = duplicate_sets(scores, threshold, "first", last)
    d = distances(vectors)
    number, kept = twin(d, threshold, "first", last, last.astype(np.int64), pair_scores(d, scores.local_scale))
    assert (found.number.tolist(), found.kept.tolist()) == (number, kept)
    assert (kind, method) == ("collapsed", "selfclean") or len(scores.pair_index) < 220 * 219 / 2


@pytest.mark.parametrize(("method", "threshold"), THRESHOLDS)
@pytest.mark.parametrize("kind", KINDS)
def test_components_are_those_of_the_twin(kind: str, method: str, threshold: float) -> None:
    scores, _ = scored(kind, method)
    d = distance_matrix(UnitRows.of(random_vectors(kind, 70, 5, 0)).values.numpy())
    found = near_duplicate_components(scores, threshold)
    np.testing.assert_array_equal(found, components(pair_scores(d, scores.local_scale), threshold))


@given(graphs(), st.sampled_from(KEEP))
def test_sets_of_any_near_duplicates_are_those_of_the_twin(graph: Graph, keep: Keep) -> None:
    found = graph.sets(keep)
    number, kept = twin(graph.d, graph.threshold, keep, graph.last, graph.pixels)
    assert (found.number.tolist(), found.kept.tolist()) == (number, kept)
    np.testing.assert_array_equal(
        near_duplicate_components(graph.scores, graph.threshold), components(graph.d, graph.threshold)
    )


@given(graphs(), st.sampled_from(KEEP))
def test_no_member_is_far_from_its_kept_copy_and_what_stays_has_no_near_duplicates(graph: Graph, keep: Keep) -> None:
    found, near = graph.sets(keep), near_duplicates(graph.d, graph.threshold)
    for i in found.surplus.nonzero()[0].tolist():
        number, kept = found.of(i)
        assert near[i, kept]
        assert found.distance[i] == graph.d[i, kept]
        assert not found.surplus[kept]
        assert number == found.number[kept]
    stays = ~found.surplus
    assert not near[np.ix_(stays, stays)].any()
    assert (found.distance[found.kept] == 0).all()
    np.testing.assert_array_equal(np.isnan(found.distance), found.number < 0)
    first = [found.number.tolist().index(number) for number in range(len(found.kept))]
    assert first == sorted(first)


@given(graphs(), st.sampled_from(KEEP))
def test_a_copy_to_keep_last_is_kept_only_where_there_are_no_others(graph: Graph, keep: Keep) -> None:
    found = graph.sets(keep)
    for number, kept in enumerate(found.kept.tolist()):
        assert graph.last[kept] == graph.last[found.number == number].min()


@given(graphs(), st.sampled_from(KEEP), st.data())
def test_what_was_left_off_the_list_makes_sets_smaller_and_never_wrong(
    graph: Graph, keep: Keep, data: st.DataObject
) -> None:
    listed = data.draw(st.integers(0, len(graph.scores.pair_index)))
    short = {name: getattr(graph.scores, name)[:listed] for name in ("pair_index", "pair_distance", "pair_score")}
    found = duplicate_sets(replace(graph.scores, **short), graph.threshold, keep, graph.last)
    near = near_duplicates(graph.d, graph.threshold)
    for i in found.surplus.nonzero()[0].tolist():
        assert near[i, found.of(i)[1]]
        assert found.distance[i] == graph.d[i, found.of(i)[1]]
    for i, j in combinations(range(len(graph.d)), 2):
        if graph.d[i, j] == 0 and near[i, j]:  # exact copies stay together
            assert found.number[i] == found.number[j] >= 0
    np.testing.assert_array_equal(
        near_duplicate_components(replace(graph.scores, **short), graph.threshold), components(graph.d, graph.threshold)
    )


@given(graphs(), st.sampled_from(KEEP), st.data())
def test_samples_without_near_duplicates_change_nothing(graph: Graph, keep: Keep, data: st.DataObject) -> None:
    n, more = len(graph.d), data.draw(st.integers(1, 3))
    d = np.full((n + more, n + more), 2.0)
    d[:n, :n] = graph.d
    np.fill_diagonal(d, 0)
    order = np.array(data.draw(st.permutations(range(n, n + more))) + list(range(n)))
    parts = (np.concatenate([part, np.full(more, 1, part.dtype)]) for part in (graph.last, graph.pixels, graph.labels))
    found = Graph(d, graph.threshold, *parts).of(order).sets(keep)
    before = graph.sets(keep)
    assert found.number.tolist() == [-1] * more + before.number.tolist()
    assert found.kept.tolist() == (before.kept + more).tolist()


@given(graphs(), st.data())
def test_the_order_of_samples_matters_only_where_the_rule_leaves_a_choice(graph: Graph, data: st.DataObject) -> None:
    n = len(graph.d)
    graph = replace(graph, pixels=np.array(data.draw(st.permutations(range(n)))))  # every image of its own size
    order = np.array(data.draw(st.permutations(range(n))))
    found, before = graph.of(order).sets("largest_image"), graph.sets("largest_image")
    assert {frozenset(order[list(each)].tolist()) for each in content_sets(found)} == content_sets(before)
    assert set(order[found.kept].tolist()) == set(before.kept.tolist())


@given(graphs(), st.data())
def test_who_is_doubted_is_what_the_twin_says_in_any_order(graph: Graph, data: st.DataObject) -> None:
    found = duplicates.label_conflicts(graph.scores, graph.threshold)
    assert found == contradicted(graph.d, graph.threshold, graph.labels)
    order = np.array(data.draw(st.permutations(range(len(graph.d)))))
    moved = duplicates.label_conflicts(graph.of(order).scores, graph.threshold)
    assert {int(order[i]): labels for i, labels in moved.items()} == found


@pytest.mark.parametrize(("keep", "kept"), [("first", 1), ("most_central", 4), ("largest_image", 7)])
def test_the_rule_chooses_the_copy(keep: Keep, kept: int) -> None:
    near = [(1, 4, 0.02), (1, 7, 0.03), (4, 7, 0.02)]  # 4 lies between the others
    scores = scores_of(near=near, pixels=np.array([0, 5, 0, 0, 5, 0, 0, 6, 0, 0]))
    found = duplicate_sets(scores, 0.1, keep, np.zeros(10, bool))
    assert found.kept.tolist() == [kept]
    assert found.number.nonzero()[0].tolist() == [0, 2, 3, 5, 6, 8, 9]
    last = np.zeros(10, bool)
    last[kept] = True
    assert duplicate_sets(scores, 0.1, keep, last).kept.tolist() == [{1: 4, 4: 1, 7: 1}[kept]]


def test_the_most_central_copy_is_the_one_with_most_near_duplicates_before_the_one_nearest_to_them() -> None:
    near = [(0, 1, 0.001), (1, 2, 0.05), (2, 3, 0.05), (2, 4, 0.05)]
    found = duplicate_sets(scores_of(near=near), 0.1, "most_central", np.zeros(10, bool))
    assert found.kept.tolist() == [2]  # 1 is taken along, so 0 stays by itself
    assert found.number.tolist() == [-1, 0, 0, 0, 0, -1, -1, -1, -1, -1]
    copied = [*near, (0, 5, 0.0), (0, 6, 0.0), (0, 7, 0.0)]  # exact copies count: 1 and its copies are five
    copied += [(1, copy, 0.001) for copy in (5, 6, 7)]
    assert duplicate_sets(scores_of(near=copied), 0.1, "most_central", np.zeros(10, bool)).kept.tolist() == [1]


def test_sizes_that_are_not_known_come_last_and_equal_ones_by_position() -> None:
    scores = scores_of(near=[(2, 5, 0.01), (7, 8, 0.01)], pixels=np.array([9, 9, -1, 9, 9, 4, 9, 6, 6, 9]))
    assert duplicate_sets(scores, 0.1, "largest_image", np.zeros(10, bool)).kept.tolist() == [5, 7]


def test_the_largest_image_cannot_be_kept_where_sizes_are_not_known() -> None:
    with pytest.raises(SettingError) as caught:
        duplicate_sets(scores_of(), 0.1, "largest_image", np.zeros(10, bool))
    assert str(caught.value) == (
        "keep='largest_image' needs the sizes of images, and these samples are not images (or an older version "
        "audited them): keep 'first' or 'most_central'"
    )


def test_a_chain_is_no_set() -> None:
    near = [(0, 1, 0.05), (1, 2, 0.06), (2, 3, 0.07), (3, 4, 0.08), (4, 5, 0.09)]
    found = duplicate_sets(scores_of(near=near), 0.1, "first", np.zeros(10, bool))
    assert found.number.tolist() == [0, 0, 1, 1, 2, 2, -1, -1, -1, -1]
    assert found.kept.tolist() == [0, 2, 4]
    np.testing.assert_allclose(found.distance[:6], [0, 0.05, 0, 0.07, 0, 0.09], rtol=1e-6)
    central = duplicate_sets(scores_of(near=near), 0.1, "most_central", np.zeros(10, bool))
    assert central.kept.tolist() == [1, 3]  # 5 stays: its only near duplicate goes with 3
    assert near_duplicate_components(scores_of(near=near), 0.1).tolist() == [0] * 6 + [1, 2, 3, 4]


def test_sets_are_numbered_by_their_first_members() -> None:
    scores = scores_of(near=[(5, 6, 0.01), (3, 9, 0.02), (1, 8, 0.03), (8, 9, 0.5)])
    nobody, last = np.zeros(10, bool), np.arange(10) == 1
    assert duplicate_sets(scores, 0.1, "first", nobody).number.tolist() == [-1, 0, -1, 1, -1, 2, 2, -1, 0, 1]
    assert duplicate_sets(scores, 0.1, "first", last).kept.tolist() == [8, 3, 5]
    assert duplicate_sets(scores, -np.inf, "first", nobody).number.tolist() == [-1] * 10
    assert len(duplicate_sets(scores, -np.inf, "first", nobody).kept) == 0


@pytest.mark.parametrize(("method", "threshold"), [("default", 0.05), ("selfclean", 1e-3)])
def test_exact_copies_are_never_split_where_they_are_too_many_to_list_their_pairs(
    method: str, threshold: float
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1700, 8))
    vectors[50:1550] = vectors[3]  # 1.1 million pairs at distance 0
    vectors[1600:1620] = vectors[3] + 1e-3 * rng.normal(size=(20, 8))
    vectors[1630] = vectors[7]
    scores = score(vectors, None, method=method, pairs_below=threshold)
    assert scores.pairs_complete_below == 0
    found = duplicate_sets(scores, threshold, "first", np.zeros(1700, bool))
    assert set(found.number[[3, *range(50, 1550)]].tolist()) == {0}
    assert found.kept[0] == 3
    assert found.number[7] == found.number[1630] == 1
    measured = pair_scores(distances(vectors[1600:]), None if scores.local_scale is None else scores.local_scale[1600:])
    beside = (found.number[1600:] >= 0).nonzero()[0].tolist()
    assert beside
    for i in beside:
        kept = found.of(1600 + i)[1]
        assert kept in (3, 7) or measured[i, kept - 1600] < threshold


def test_unreadable_samples_are_in_no_set() -> None:
    compact = scores_of(n=8, near=[(1, 2, 0.0), (2, 5, 0.01), (1, 5, 0.01)], pixels=np.array([1, 1, 1, 1, 1, 9, 1, 1]))
    scores = scatter_scores(compact, np.array([0, 2, 3, 5, 6, 7, 8, 9]), 10, errors={1: "gone", 4: "gone"})
    for keep, kept in (("first", 2), ("most_central", 2), ("largest_image", 7)):
        found = duplicate_sets(scores, 0.1, keep, np.zeros(10, bool))  # type: ignore[arg-type]
        assert (found.number >= 0).nonzero()[0].tolist() == [2, 3, 7]
        assert found.kept.tolist() == [kept]
    assert len(set(near_duplicate_components(scores, 0.1).tolist())) == 8


@pytest.mark.parametrize("labels", [[10**15, 5], [2**62, 2**62 - 1]])
def test_labels_may_be_any_numbers(labels: list[int]) -> None:
    given_label = np.array([labels[0], *[labels[1]] * 9])
    found = duplicates.label_conflicts(scores_of(near=[(0, 1, 0.0), (1, 2, 0.0)], given_label=given_label), 0.1)
    assert found == {0: {labels[0]: 1, labels[1]: 2}}
