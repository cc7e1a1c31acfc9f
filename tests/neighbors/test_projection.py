"""The map of all samples: principal axes or UMAP, in the unit square."""

import os
import signal
import threading
import warnings
from typing import Any

import numpy as np
import pytest

from selfclean_hooks.neighbors import projection
from tests.results.evidence import Floats, N


def unit(n: int, width: int) -> Floats:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, width)) * (1 + 3 / np.arange(1, width + 1)) + rng.normal(size=width)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("shape", [(50, 8), (5000, 20), (30, 100), (2, 1), (7, 1), (2, 5)])
def test_principal_axes_are_those_of_a_singular_value_decomposition(shape: tuple[int, int]) -> None:
    x = unit(*shape)
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    wanted = np.pad(u * s, ((0, 0), (0, 2)))[:, :2]
    found = projection.pca(x)
    for axis in range(2):
        sign = np.sign(found[:, axis] @ wanted[:, axis]) or 1
        np.testing.assert_allclose(sign * found[:, axis], wanted[:, axis], atol=2e-4 * max(s[0], 1))


def test_of_many_dimensions_the_axes_are_iterated_to(monkeypatch: pytest.MonkeyPatch) -> None:
    x = unit(400, 60)
    x[:, :2] *= 3
    exact = projection.pca(x)
    monkeypatch.setattr(projection, "EXACT", 10)
    np.testing.assert_allclose(projection.pca(x), exact, atol=1e-3)


def test_a_map_goes_with_the_samples_and_lies_in_the_unit_square() -> None:
    x, order = unit(300, 12), np.random.default_rng(3).permutation(300)
    found, how = projection.project_to_plane(x)
    assert how == "PCA"
    assert found.dtype == np.float32
    np.testing.assert_allclose(projection.project_to_plane(x[order])[0], found[order], atol=1e-4)
    assert (found.min(0) == 0).all()
    assert (found.max(0) == 1).all()
    inside = ((found > 0) & (found < 1)).mean(0)
    assert (inside > 0.97).all()


def test_points_that_do_not_differ_lie_in_the_middle() -> None:
    assert (projection.scale_to_unit(np.full((4, 2), 3.0, np.float32)) == 0.5).all()


@pytest.mark.parametrize(
    "outcome", [np.full((N, 2), np.nan, np.float32), np.zeros((3, 2), np.float32), ValueError("no")]
)
def test_where_umap_fails_it_is_pca(outcome: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "umap", FakeUmap(outcome))
    monkeypatch.setattr(projection, "find_spec", lambda name: name == "umap")
    assert projection.project_to_plane(unit(N, 8), umap=True)[1] == "PCA"


def test_umap_is_used_where_it_is_installed_and_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    places = unit(N, 2)
    monkeypatch.setitem(__import__("sys").modules, "umap", FakeUmap(places))
    monkeypatch.setattr(projection, "find_spec", lambda name: name == "umap")
    x = unit(N, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, how = projection.project_to_plane(x, umap=True)
    assert how == "UMAP"
    assert (found == projection.scale_to_unit(places)).all()
    assert projection.project_to_plane(x)[1] == "PCA"
    monkeypatch.setattr(projection, "MOST_UMAP", N - 1)
    assert projection.project_to_plane(x, umap=True)[1] == "PCA"


class FakeUmap:
    """In place of the module: what it gives, or raises; it warns and draws from the global generator too."""

    def __init__(self, outcome: Any) -> None:
        self.outcome, self.UMAP = outcome, lambda **settings: self

    def fit_transform(self, rows: Floats) -> Any:
        warnings.warn("n_jobs value overridden", stacklevel=1)
        np.random.rand()  # noqa: NPY002
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_an_interrupt_ends_work_in_a_thread_at_once() -> None:
    at_work, end = threading.Event(), threading.Event()

    def work() -> None:
        at_work.set()
        end.wait(60)

    def interrupt() -> None:
        at_work.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores interrupts
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            projection.in_thread(work)
        assert not end.is_set()
    finally:
        end.set()
        signal.signal(signal.SIGINT, before)


def test_work_in_a_thread_returns_and_raises() -> None:
    assert projection.in_thread(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        projection.in_thread(lambda: 1 // 0)
