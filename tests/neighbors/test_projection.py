"""The map of all samples: principal axes or t-SNE, in the unit square."""

import warnings

import numpy as np
import pytest

from selfclean_hooks.neighbors.projection import plane, tsne
from tests.results.evidence import Floats


def unit(n: int, width: int) -> Floats:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, width)) * (1 + 3 / np.arange(1, width + 1)) + rng.normal(size=width)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("shape", [(50, 8), (2000, 20), (30, 100), (2, 1), (7, 1), (2, 5)])
def test_principal_axes_are_those_of_a_singular_value_decomposition(shape: tuple[int, int]) -> None:
    x = unit(*shape)
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    wanted = np.pad(u * s, ((0, 0), (0, 2)))[:, :2]
    found = plane.pca(x)
    for axis in range(2):
        sign = np.sign(found[:, axis] @ wanted[:, axis]) or 1
        np.testing.assert_allclose(sign * found[:, axis], wanted[:, axis], atol=2e-4 * max(s[0], 1))


def test_of_many_samples_some_show_the_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    x = unit(400, 60)
    x[:, :2] *= 9
    exact = plane.pca(x)
    monkeypatch.setattr(plane, "ENOUGH", 200)
    some = plane.pca(x)
    assert some.shape == exact.shape
    for axis in range(2):
        assert abs(np.corrcoef(some[:, axis], exact[:, axis])[0, 1]) > 0.95


def test_a_map_goes_with_the_samples_and_lies_in_the_unit_square() -> None:
    x, order = unit(300, 12), np.random.default_rng(3).permutation(300)
    found, how = project(x)
    assert how == "PCA"
    assert found.dtype == np.float32
    np.testing.assert_allclose(project(x[order])[0], found[order], atol=1e-4)
    assert (found.min(0) == 0).all()
    assert (found.max(0) == 1).all()
    inside = ((found > 0) & (found < 1)).mean(0)
    assert (inside > 0.97).all()


def test_points_that_do_not_differ_lie_in_the_middle() -> None:
    assert (plane.scale_to_unit(np.full((4, 2), 3.0, np.float32)) == 0.5).all()


def project(rows: Floats, by_tsne: bool = False) -> tuple[Floats, str]:
    """Rows that are equal are copies."""
    return plane.project_to_plane(rows, np.unique(rows, axis=0, return_inverse=True)[1].ravel(), by_tsne)


def clusters(n: int = 300) -> tuple[Floats, np.ndarray]:
    """Ten groups, n samples in all, and which is of which."""
    rng = np.random.default_rng(1)
    groups = np.arange(n) % 10
    x = rng.normal(size=(10, 30))[groups] + 0.5 * rng.normal(size=(n, 30))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32), groups


@pytest.mark.parametrize("n", [150, 300])
def test_neighbours_stay_neighbours(n: int) -> None:
    assert 150 < tsne.FEW < 300  # by pairs, by a field
    x, groups = clusters(n)
    agreement = {}
    for by_tsne in (False, True):
        places, how = project(x, by_tsne)
        distances = ((places[:, None] - places) ** 2).sum(2)
        near = np.argsort(distances, axis=1)[:, 1:11]
        agreement[how] = (groups[near] == groups[:, None]).mean()
    assert agreement["t-SNE"] > 0.95
    assert agreement["PCA"] < 0.8


def random_state() -> str:
    return repr(np.random.get_state())  # noqa: NPY002


def test_the_map_is_the_same_again_and_draws_no_random_numbers() -> None:
    x, _ = clusters(100)
    before = random_state()
    first, second = (project(x, by_tsne=True)[0] for _ in range(2))
    assert (first == second).all()
    assert random_state() == before


@pytest.mark.parametrize("spread", [0.01, 1, 2])
@pytest.mark.parametrize("n", [16, 200])
def test_the_repulsion_is_that_of_all_pairs(n: int, spread: float) -> None:
    places = np.random.default_rng(n).normal(size=(n, 2)) * spread
    apart = places[:, None] - places
    near = 1 / (1 + (apart**2).sum(2))
    wanted = (apart * (near**2)[..., None]).sum(1) / (near.sum() - n)
    found = tsne.repulsion(places)
    assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)


@pytest.mark.parametrize("exaggeration", [1, 12])
def test_forces_by_pairs_are_those_by_the_field(exaggeration: float) -> None:
    rows = plane.pca(clusters(200)[0], 10)
    links, places = tsne.shared_neighbors(rows), 4 * rows[:, :2].astype(np.float64)
    by_pairs = tsne.forces_by_pairs(links)(places, exaggeration)
    difference = by_pairs - tsne.forces_by_field(links)(places, exaggeration)
    assert np.linalg.norm(difference) < 0.05 * np.linalg.norm(by_pairs)


def test_repulsion_of_points_far_apart_goes_to_nothing() -> None:
    places = np.array([[0.0, 0.0], [3000.0, 0.0], [0.0, 5000.0]])
    assert (np.abs(tsne.repulsion(places)) < 1).all()


def test_neighbours_are_shared() -> None:
    rows = plane.pca(clusters(60)[0], 10)
    distances = ((rows[:, None] - rows) ** 2).sum(2) + np.diag(np.full(60, np.inf))
    near = np.zeros((60, 60))
    np.put_along_axis(near, np.argsort(distances, axis=1)[:, : tsne.NEIGHBORS], 1, 1)
    np.testing.assert_allclose(tsne.shared_neighbors(rows).toarray(), (near + near.T) / near.sum() / 2)


@pytest.mark.parametrize(
    "rows",
    [
        np.concatenate([np.repeat(unit(1, 6), 580, axis=0), unit(20, 6)]),
        np.concatenate([unit(50, 6), -unit(1, 6)]),
        unit(17, 3),
    ],
)
def test_any_rows_have_a_map(rows: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        places, how = project(rows, by_tsne=True)
    assert how == "t-SNE"
    assert places.shape == (len(rows), 2)
    assert ((places >= 0) & (places <= 1)).all()


def test_blank_rows_are_no_copies_and_have_a_map_all_the_same() -> None:
    places, how = plane.project_to_plane(np.zeros((20, 4), np.float32), np.arange(20), by_tsne=True)
    assert how == "t-SNE"
    assert (places == 0.5).all()


def test_copies_lie_in_one_place() -> None:
    x = np.concatenate([clusters(100)[0], np.repeat(clusters(100)[0][:1], 40, axis=0)])
    places = project(x, by_tsne=True)[0]
    assert (places[100:] == places[0]).all()


@pytest.mark.parametrize("n", [1, 2, 15])
def test_few_samples_and_very_many_are_projected_on_their_principal_axes(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project(unit(n, 8), by_tsne=True)[1] == "PCA"
    assert project(np.repeat(unit(n, 8), 20, axis=0), by_tsne=True)[1] == "PCA"
    monkeypatch.setattr(plane, "MOST_TSNE", 19)
    assert project(unit(20, 8), by_tsne=True)[1] == "PCA"
