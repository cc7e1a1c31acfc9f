"""The shift of two splits, against scipy's matrix root, every possible assignment, and what chance must look like."""

import pickle
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.stats import binom, kstest
from sklearn.datasets import load_digits

from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.neighbors import split_shift as module
from selfclean_hooks.neighbors.split_shift import Shift, split_shift
from tests.helpers.reference import Floats, unit_rows


def made(n: int, m: int, dim: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Two splits of one distribution, off the origin and wider in some directions than in others."""
    rng = np.random.default_rng(seed)
    both = rng.normal(size=(n + m, dim)) * np.linspace(1.5, 0.5, dim) + 1
    return both[:n], both[n:]


def reduced(x: Floats, y: Floats, components: int) -> tuple[Floats, Floats, float]:
    """Both splits in their common principal components, and the share of variance these hold."""
    both = unit_rows(np.concatenate([x, y]))
    both = both - both.mean(0)
    _, lengths, axes = np.linalg.svd(both, full_matrices=False)
    z = both @ axes[:components].T
    return z[: len(x)], z[len(x) :], float((lengths[:components] ** 2).sum() / (lengths**2).sum())


def by_root(x: Floats, y: Floats) -> float:
    """The formula as it is printed, for full covariances."""
    s1, s2 = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(y.T))
    gap = x.mean(0) - y.mean(0)
    return float(gap @ gap + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2))))


def by_products(x: Floats, y: Floats) -> float:
    """The same without a root: its trace is the sum of the singular values of the product of the centred rows."""
    gap = x.mean(0) - y.mean(0)
    x, y = (rows - rows.mean(0) for rows in (x, y))
    n, m = max(1, len(x) - 1), max(1, len(y) - 1)
    overlap = np.linalg.svd(x @ y.T, compute_uv=False).sum() / np.sqrt(n * m)
    return float(gap @ gap + (x**2).sum() / n + (y**2).sum() / m - 2 * overlap)


def close(one: Shift, other: Shift) -> None:
    assert one.p_value == other.p_value
    assert one.components == other.components
    figures = [(s.distance, s.expected, s.explained) for s in (one, other)]
    np.testing.assert_allclose(figures[0], figures[1], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("n", "m", "dim", "components"), [(60, 40, 8, 64), (50, 90, 30, 5), (30, 40, 300, 12)])
def test_distance_is_that_of_the_formula(n: int, m: int, dim: int, components: int) -> None:
    x, y = made(n, m, dim)
    a, b, explained = reduced(x, y + 0.2, components)
    found = split_shift(x, y + 0.2, components=components, permutations=1)
    assert found.distance == pytest.approx(by_root(a, b), rel=1e-8)
    assert found.distance == pytest.approx(by_products(a, b), rel=1e-8)
    assert found.components == a.shape[1]
    assert found.explained == pytest.approx(explained)


@pytest.mark.parametrize(("n", "m", "dim"), [(1, 2, 4), (2, 2, 3), (1, 40, 6), (2, 50, 20), (10, 15, 40), (3, 200, 30)])
def test_distance_of_fewer_samples_than_components(n: int, m: int, dim: int) -> None:
    for x, y in (made(n, m, dim), made(n, m, dim)[::-1]):
        a, b, _ = reduced(x, y, 64)
        found = split_shift(x, y)
        assert found.distance == pytest.approx(by_products(a, b), rel=1e-10)
        assert found.components == min(dim, n + m - 1)
        assert found.explained == pytest.approx(1)


@pytest.mark.parametrize(("n", "m", "dim"), [(4, 6, 3), (9, 3, 2), (2, 8, 20), (1, 12, 4), (3, 3, 2), (4, 4, 20)])
def test_null_is_that_of_all_assignments(n: int, m: int, dim: int) -> None:
    """The p value within what its draws allow, the median between the exact quantiles beside it."""
    x, y = made(n, m, dim, seed=5)
    a, b, _ = reduced(x, y, 64)
    z = np.concatenate([a, b])
    chosen = (np.isin(np.arange(n + m), part) for part in combinations(range(n + m), n))
    null = np.array([by_products(z[part], z[~part]) for part in chosen])
    exact = np.mean(null >= by_products(a, b) - 1e-12)
    found = split_shift(x, y, permutations=2000)
    assert abs(found.p_value - exact) < 4 * np.sqrt(exact * (1 - exact) / 2000) + 1e-3
    low, high = np.quantile(null, (0.45, 0.55), method="inverted_cdf")
    assert low - 1e-9 <= found.expected <= high + 1e-9


class EveryDraw:
    """In place of random splits every possible one, each once."""

    def __init__(self, seed: int) -> None:
        self.rng, self.parts = np.random.Generator(np.random.PCG64(seed)), combinations(range(8), 4)

    def standard_normal(self, shape: tuple[int, ...]) -> Floats:
        return self.rng.standard_normal(shape)

    def choice(self, n: int, size: int, replace: bool, shuffle: bool) -> NDArray[np.int64]:
        return np.array(next(self.parts))


@pytest.mark.parametrize("seed", [0, 5, 12, 16, 17])
def test_splits_that_are_the_same_count_as_such_although_they_differ_by_rounding(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two splits of equal size each is as far from the other: every distance is there twice."""
    rows = np.random.default_rng(seed).normal(size=(8, 20)) + 1
    a, b, _ = reduced(rows[:4], rows[4:], 64)
    z, parts = np.concatenate([a, b]), combinations(range(8), 4)
    null = [by_products(z[[*part]], np.delete(z, part, axis=0)) for part in parts]
    at_least = sum(value >= by_products(a, b) - 1e-9 for value in null)
    assert at_least % 2 == 0
    monkeypatch.setattr("numpy.random.default_rng", EveryDraw)
    assert split_shift(rows[:4], rows[4:], permutations=70).p_value == pytest.approx((1 + at_least) / 71)


@pytest.mark.parametrize(("n", "m", "dim"), [(30, 30, 5), (25, 2, 40)])
def test_p_values_are_uniform_where_there_is_no_shift(n: int, m: int, dim: int) -> None:
    tests = 120
    found = np.array([split_shift(*made(n, m, dim, seed), permutations=39, seed=seed).p_value for seed in range(tests)])
    assert kstest(found, "uniform", method="exact").pvalue > 1e-3
    for level in (0.05, 0.25, 0.5):
        low, high = binom(tests, level).interval(0.999)
        assert low <= (found <= level + 1e-9).sum() <= high


def test_expected_is_what_splits_of_one_distribution_have() -> None:
    """In the median; and it grows as a split shrinks, which a distance alone would not tell from a shift."""
    medians = []
    for m in (100, 20, 5):
        found = [split_shift(*made(100, m, 6, seed), permutations=19) for seed in range(40)]
        ratio = np.median([f.distance / f.expected for f in found])
        assert 0.8 < ratio < 1.25
        medians.append(np.median([f.expected for f in found]))
    assert medians[0] < medians[1] / 2 < medians[2] / 4


def test_shifts_of_the_mean_and_of_the_spread_are_found() -> None:
    x, y = made(400, 200, 10)
    moved, wider = y + 0.5 * np.eye(10)[3], 1 + 1.6 * (y - 1)
    for other in (moved, wider):
        found = split_shift(x, other)
        assert found.p_value == 1 / 200
        assert found.distance > 1.5 * found.expected
    assert split_shift(x, y).p_value > 0.05


def test_more_shift_is_more_distance() -> None:
    x, y = made(120, 60, 10)
    distances = [split_shift(x, y + offset * np.eye(10)[0], permutations=1).distance for offset in (0.2, 0.5, 1, 2)]
    assert distances == sorted(distances)


def test_digits_split_by_class_and_at_random() -> None:
    pixels, digit = load_digits(return_X_y=True)
    by_class = split_shift(pixels[digit < 5], pixels[digit >= 5])
    assert by_class.p_value == 1 / 200
    assert by_class.distance > 10 * by_class.expected
    first = np.random.default_rng(0).random(len(pixels)) < 0.8
    at_random = split_shift(pixels[first], pixels[~first])
    assert at_random.p_value > 0.05
    assert at_random.distance < 1.5 * at_random.expected
    assert at_random.components == 61  # 3 of the pixels are always 0
    assert at_random.explained == pytest.approx(1)


@pytest.mark.parametrize(("n", "m", "dim"), [(40, 40, 6), (50, 20, 200), (1, 30, 4), (700, 90, 20)])
def test_neither_the_order_of_splits_nor_of_rows_matters(n: int, m: int, dim: int) -> None:
    x, y = made(n, m, dim, seed=2)
    rng = np.random.default_rng(1)
    found = split_shift(x, y)
    close(split_shift(y, x), found)
    close(split_shift(x[rng.permutation(n)], y[rng.permutation(m)]), found)
    assert split_shift(x, y) == found
    assert split_shift(x, y, seed=1).expected != found.expected


def test_length_of_the_vectors_and_precision_do_not_matter() -> None:
    x, y = made(40, 30, 6)
    found = split_shift(x, y)
    lengths = np.random.default_rng(0).lognormal(size=(40, 1))
    scaled = split_shift(x * lengths, 1e200 * y)
    assert scaled.distance == pytest.approx(found.distance, rel=1e-5)
    assert split_shift(x.astype(np.float32), y).distance == pytest.approx(found.distance, rel=1e-5)


@pytest.mark.parametrize("dim", [5, 90])
def test_blocks_do_not_matter(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = made(50, 23, dim)
    found = split_shift(x, y)
    monkeypatch.setattr(module, "BLOCK_SIZE", 7)
    close(split_shift(x, y), found)


def test_identical_splits_are_no_shift() -> None:
    for n, dim in ((1, 3), (2, 5), (50, 8), (30, 100)):
        x, _ = made(n, 1, dim)
        found = split_shift(x, x[::-1].copy())
        assert found.distance == pytest.approx(0, abs=1e-9)
        assert found.p_value == 1


def test_two_single_samples_have_a_distance_and_no_evidence() -> None:
    x, y = np.array([[1.0, 0, 0]]), np.array([[0, 2.0, 0]])
    found = split_shift(x, y)
    assert (found.p_value, found.components) == (1, 1)
    assert [found.distance, found.expected, found.explained] == pytest.approx([2, 2, 1])


def test_p_value_of_one_sample_is_how_unusual_it_is() -> None:
    x, y = made(99, 1, 5)
    assert split_shift(x, y).p_value > 0.05
    assert split_shift(x, -3 * np.ones((1, 5))).p_value < 0.05
    assert split_shift(x, x.mean(0, keepdims=True)).p_value > 0.9


@pytest.mark.parametrize(("n", "m", "dim"), [(1, 1, 3), (40, 9, 5), (9, 3, 200), (3000, 100, 16)])
def test_samples_that_are_all_alike(n: int, m: int, dim: int) -> None:
    row = np.random.default_rng(0).normal(size=dim)
    lengths = np.random.default_rng(1).lognormal(size=(n, 1))
    assert split_shift(row * lengths, np.tile(row, (m, 1))) == Shift(0.0, 0.0, 1.0, 0, 1.0)
    assert split_shift(np.zeros((n, dim)), np.zeros((m, dim))) == Shift(0.0, 0.0, 1.0, 0, 1.0)


def test_one_split_of_copies_and_constant_features() -> None:
    x, _ = made(80, 1, 6)
    x[:, 4] = 0
    copies = np.tile(x[:1], (500, 1))
    for one, other in ((x, copies), (x, copies[:30]), (copies, x)):
        a, b, _ = reduced(one, other, 5)
        found = split_shift(one, other)
        assert found.distance == pytest.approx(by_products(a, b), rel=1e-10)
        assert (found.components, found.p_value) == (5, 1 / 200)


def test_zero_rows_lie_at_the_origin() -> None:
    x, y = made(60, 60, 6)
    y[:20] = 0
    a, b, _ = reduced(x, y, 64)
    found = split_shift(x, y)
    assert found.distance == pytest.approx(by_products(a, b), rel=1e-8)
    assert found.p_value < 0.05


def test_nothing_of_the_caller_is_changed() -> None:
    x, y = (split.astype(np.float32) for split in made(20, 10, 4))
    kept = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    split_shift(x, y)
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


@pytest.mark.parametrize("dim", [3, 50])
def test_progress_ends_at_its_total(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_SIZE", 8)
    seen: list[tuple[int, int]] = []
    split_shift(*made(20, 5, dim), permutations=10, tick=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 19) for done in range(1, 20)]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((0, 3)), np.ones((2, 3))),
        (np.ones((2, 3)), np.ones((0, 3))),
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones(3), np.ones((2, 3))),
        (np.ones((2, 0)), np.ones((2, 0))),
    ],
)
def test_other_shapes_are_refused(x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    with pytest.raises(DataError) as error:
        split_shift(x, y)
    wanted = "a shift is between splits of (N, D) and (M, D) vectors, at least one each"
    assert str(error.value) == f"{wanted}, got {x.shape} and {y.shape}: embed both with the same encoder"


@pytest.mark.parametrize("name", ["permutations", "components"])
def test_settings_below_one_are_refused(name: str) -> None:
    x, y = made(3, 3, 2)
    zero = {name: 0}
    with pytest.raises(SettingError, match=f"^{name} must be at least 1, got 0: leave it out for the default$"):
        split_shift(x, y, permutations=zero.get("permutations", 9), components=zero.get("components", 2))


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, selfclean_hooks.neighbors.split_shift; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
