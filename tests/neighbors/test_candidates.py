"""The lowest of each row, kept block by block, and the lowest of each range: those of a sort of the whole matrix."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from selfclean_hooks.neighbors.block_search import BlockSearch
from selfclean_hooks.neighbors.exact_search import ANY, OTHER, SAME
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.screening.candidates import Candidates, DeviceCandidates, PackedCandidates
from selfclean_hooks.neighbors.screening.screen import make_screen, slices
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.helpers.reference import distance_matrix, random_vectors

PRECISIONS = (torch.bfloat16, torch.float32)
ROWS, COLUMNS = 40, 1300


def matrix(kind: str, precision: torch.dtype) -> Tensor:
    values = torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    if kind == "below zero":
        values = values - torch.linspace(0, 1.1, ROWS).unsqueeze(1)
    elif kind == "all equal":
        values = torch.full_like(values, 0.5)
    elif kind == "falling":
        values = values * 1e-3 + torch.linspace(1, 0, COLUMNS)
    elif kind == "few columns count":
        values = torch.where(values < 0.01, values, torch.inf)
    return values.to(precision)


def check(found: Candidates, whole: Tensor, m: int) -> None:
    values, columns = found.on_processor()
    expected = whole.float().sort(dim=1).values[:, :m]
    assert torch.equal(values, expected)
    assert torch.equal(columns < 0, values == torch.inf)
    assert torch.equal(torch.where(columns < 0, torch.inf, whole.float().gather(1, columns.clamp(min=0))), values)
    assert all(len(set(row)) == len(row) for row in (columns + (columns < 0) * torch.arange(-m, 0)).tolist())


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("kind", ["random", "below zero", "all equal", "falling", "few columns count"])
@pytest.mark.parametrize(("m", "block"), [(1, 1300), (7, 600), (60, 1024), (60, 512), (9, 100), (3, 1)])
def test_the_lowest_are_those_of_a_sort(kind: str, m: int, block: int, precision: torch.dtype) -> None:
    whole = matrix(kind, precision)[:, : 200 * block]
    packed, turned = (PackedCandidates(ROWS, m, precision) for _ in range(2))
    for columns in slices(whole.shape[1], block):
        part = whole[:, columns].contiguous()
        minima = packed.take(part, columns.start)
        turned.take(part.T.contiguous().T, columns.start)
        seen = torch.from_numpy(minima).view(precision).float()
        for at, span in enumerate(slices(columns.stop - columns.start, 512)):
            lowest = part[:, span].float().amin(1)
            known = lowest >= 0
            assert torch.equal(seen[known, at], lowest[known])
            assert (seen[~known, at] <= 0).all()
    check(packed, whole, m)
    check(turned, whole, m)


def test_some_rows_take_from_a_part_of_a_block() -> None:
    whole = matrix("random", torch.bfloat16)
    found = PackedCandidates(ROWS, 5, torch.bfloat16)
    found.take(whole[10:30, 100:1200], 100, slice(10, 30))
    found.take(whole[10:30:2, 1200:], 1200, np.arange(10, 30, 2))
    values, columns = found.on_processor()
    whole[11:30:2, 1200:] = torch.inf
    whole[:, :100] = torch.inf
    assert torch.equal(values[10:30], whole[10:30].float().sort(dim=1).values[:, :5])
    assert (columns[:10] == -1).all()
    assert (columns[30:] == -1).all()


def test_candidates_of_a_device_are_the_same() -> None:
    whole, x = matrix("below zero", torch.bfloat16), UnitRows.of(random_vectors("gauss", ROWS, 4, 0))
    found = DeviceCandidates(ROWS, 9, make_screen(x, torch.bfloat16))
    for columns in slices(COLUMNS, 400):
        found.take(whole[:, columns], columns.start, more=columns.start > 0)
    check(found, whole, 9)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("tile", [130, 512])
@pytest.mark.parametrize("kind", ["clustered", "gauss", "zero rows", "copies"])
def test_no_row_of_a_range_is_nearer_than_its_bound(kind: str, tile: int, precision: torch.dtype) -> None:
    n = 1100
    x = UnitRows.of(random_vectors(kind, n, 24, 0))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    screen = make_screen(x, precision, order)
    search = BlockSearch(x, screen, torch.zeros(n, dtype=torch.int64), ((ANY, 5, 10),))
    bounds = search.nearest(tile, None)[1]
    assert bounds is not None
    group, samples = np.arange(n) % 3, np.arange(0, n, 7)
    group[order[tile : 2 * tile]] = 1  # a range of one group
    lower, is_outside = bounds.outside(samples, group, bounds.between(group))
    d = distance_matrix(x.values.numpy())[samples]
    differ = group[samples][:, None] != group
    for at, places in enumerate(slices(n, bounds.width)):
        some = order[places].numpy()
        nearest = np.where(differ, d, np.inf)[:, some].min(1)
        assert (lower[:, at] <= nearest * (1 + 1e-6)).all()
        np.testing.assert_array_equal(np.isinf(lower[:, at]), np.isinf(nearest))
        np.testing.assert_array_equal(is_outside[:, at], differ[:, some].all(1))
        found, near, least = bounds.search(samples, np.full(len(samples), at), group, 2)
        np.testing.assert_array_equal(found, samples)
        there = np.isfinite(nearest)
        assert (least[there, 0] <= nearest[there] * (1 + 1e-6)).all()
        assert (least[there, 0] >= nearest[there] - 0.01).all()
        assert (group[near[there, 0]] != group[samples[there]]).all()
        assert (near[~there] == -1).all()


@pytest.mark.parametrize("kind", ["clustered", "zero rows", "copies"])
def test_ranges_are_no_nearer_to_each_other_than_their_bounds(kind: str) -> None:
    n, tile = 700, 130
    x = UnitRows.of(random_vectors(kind, n, 24, 0))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    search = BlockSearch(x, make_screen(x, torch.bfloat16, order), torch.zeros(n, dtype=torch.int64), ((ANY, 5, 10),))
    bounds = search.nearest(tile, None)[1]
    assert bounds is not None
    group = np.arange(n) % 3
    group[order[tile : 2 * tile]] = 1  # a range of one group
    d = np.where(np.eye(n), np.inf, distance_matrix(x.values.numpy()))
    ranges = [order[places].numpy() for places in slices(n, tile)]
    for own in range(3):
        found = bounds.between(group).others(np.arange(len(ranges)), np.full(len(ranges), own))
        others = [some[group[some] != own] for some in ranges]
        nearest = [[d[np.ix_(some, there)].min(initial=np.inf) for there in others] for some in ranges]
        np.testing.assert_array_equal(np.isinf(found), np.isinf(nearest))
        assert (found <= np.multiply(nearest, 1 + 1e-6)).all()
        assert (found[np.isfinite(found)] >= np.array(nearest)[np.isfinite(found)] - 0.01).all()


@pytest.mark.parametrize("kind", [ANY, SAME, OTHER])
def test_longer_lists_of_a_few_rows_are_certified(kind: str) -> None:
    n, k = 700, 3
    x = UnitRows.of(random_vectors("positive", n, 64, 0))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    groups = torch.arange(n) % 5
    order = order[torch.argsort(groups[order], stable=True)]
    search = BlockSearch(x, make_screen(x, torch.bfloat16, order), groups[order], ((kind, k, k),))
    places = torch.arange(0, n, 9)
    near, far, uncertified = search.again(places, kind, k)
    d = torch.from_numpy(distance_matrix(x.values.numpy())).fill_diagonal_(torch.inf)
    if kind != ANY:
        d[(groups.unsqueeze(1) == groups) == (kind == OTHER)] = torch.inf
    assert uncertified.float().mean() < 0.2
    expected = d[order[places]].sort(dim=1).values[:, :k]
    np.testing.assert_allclose(far[~uncertified], expected[~uncertified], rtol=1e-6)
    np.testing.assert_allclose(d[order[places]].gather(1, near), far, rtol=1e-6)


def test_rows_of_several_tiles_whose_places_are_chosen() -> None:
    """So many that similar ones stand together."""
    n = 4300
    rng = np.random.default_rng(0)
    x = UnitRows.of(rng.normal(size=(12, 16))[rng.integers(0, 12, n)] + 0.3 * rng.normal(size=(n, 16)))
    labels = rng.integers(0, 5, n)
    found, labelled = nearest_neighbors(x, 9), nearest_neighbors(x, 9, labels)
    rows = rng.integers(0, n, 200)
    d = cdist(x.values.numpy()[rows], x.values.numpy(), "sqeuclidean") / 4
    d[np.arange(200), rows] = np.inf
    expected = np.sort(d, 1)[:, :9]
    for lists in (found, labelled):
        np.testing.assert_allclose(lists.distances[rows], expected, rtol=1e-6)
    for kind, same in ((labelled.same, True), (labelled.other, False)):
        assert kind is not None
        alike = labels[rows][:, None] == labels
        np.testing.assert_allclose(kind[1][rows], np.where(alike == same, d, np.inf).min(1), rtol=1e-6)
    tree, whole = minimum_spanning_tree(x, found), minimum_spanning_tree(x, nearest_neighbors(x, 60))
    np.testing.assert_array_equal(tree.lengths, whole.lengths)
    assert found.bounds is not None
