"""The kernel ridge regression and the densities that speak on labels, each beside a slow twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.label_errors import directions as module
from selfclean_hooks.detectors.label_errors.directions import (
    ComputedRows,
    arc_cosine_kernel,
    kernel_pca,
    landmark_positions,
)
from selfclean_hooks.detectors.label_errors.predictors import (
    SHRINKAGE,
    log_densities,
)
from selfclean_hooks.detectors.label_errors.ridge import leave_one_out_classes, leave_one_out_ridge
from selfclean_hooks.neighbors.unit_vectors import SharedRows

Floats = NDArray[np.floating[Any]]


def rows(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)))


def test_kernel_is_that_of_rectified_random_directions() -> None:
    x = rows(5, 3).numpy()
    directions = np.random.default_rng(0).normal(size=(400_000, 3)).astype(np.float32)
    layer = np.maximum(x @ directions.T, 0)
    assert np.allclose(arc_cosine_kernel(x, x), 2 * layer @ layer.T / len(directions), atol=0.01)


def test_kernel_directions_rebuild_the_centred_kernel() -> None:
    x = rows(60, 9)
    u, s = kernel_pca(SharedRows(x))
    assert isinstance(u, np.ndarray)
    centred = torch.nn.functional.normalize(x - x.mean(0)).numpy()
    middle = np.eye(60) - 1 / 60
    assert np.allclose((u * s**2) @ u.T, middle @ arc_cosine_kernel(centred, centred) @ middle, atol=1e-4)


def test_landmarks_that_are_all_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(80, 6)
    y = np.random.default_rng(1).random((80, 2))
    exact = leave_one_out_ridge(*kernel_pca(SharedRows(x)), y, scale=80)
    monkeypatch.setattr(module, "MAX_EXACT_SAMPLES", 79)
    assert np.allclose(leave_one_out_ridge(*kernel_pca(SharedRows(x)), y, scale=80), exact, atol=2e-3)


@pytest.mark.parametrize("most", [20, 400])
def test_landmarks_do_not_depend_on_the_order_of_rows(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NUM_LANDMARKS", most)
    x, order = rows(300, 5), torch.from_numpy(np.random.default_rng(2).permutation(300))
    found, again = landmark_positions(x, x.mean(0)), landmark_positions(x[order], x.mean(0))
    assert torch.equal(x[found], x[order][again])
    assert len(set(found.tolist())) == min(most, 300)


def test_rows_that_are_computed_when_read_are_those_that_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    x, rng = rows(300, 7), np.random.default_rng(5)
    for name, value in (("MAX_EXACT_SAMPLES", 10), ("NUM_LANDMARKS", 40), ("BLOCK", 64)):
        monkeypatch.setattr(module, name, value)
    held, s = kernel_pca(SharedRows(x))
    monkeypatch.setattr(module, "MOST_HELD", 0)
    read, same = kernel_pca(SharedRows(x))
    assert isinstance(read, ComputedRows)
    assert read.shape == held.shape
    assert (s == same).all()
    assert np.allclose(read[:], held[:], atol=1e-3)
    np.testing.assert_allclose(held[:].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(held[:].T @ held[:], np.eye(len(s)), atol=1e-2)
    y, labels = rng.random((300, 2)), rng.integers(0, 4, 300)
    np.testing.assert_allclose(leave_one_out_ridge(read, s, y), leave_one_out_ridge(held, s, y), atol=1e-5)
    predict, expected = (leave_one_out_classes(u, s, labels).predict(u[10:90], labels[10:90]) for u in (read, held))
    np.testing.assert_allclose(predict, expected, atol=1e-5)


def test_log_densities_have_not_seen_the_sample() -> None:
    rng = np.random.default_rng(3)
    z, labels = rng.normal(size=(40, 5)), np.append(rng.integers(0, 3, 39), 3)  # class 3 has one member
    z += labels[:, None] * 0.3
    z -= z.mean(0)
    density = log_densities(z, labels)
    found = np.concatenate([density.predict(z[at : at + 7], labels[at : at + 7]) for at in range(0, len(z), 7)])
    n = len(z)
    floor = np.eye(5) * 1e-6 * (z**2).sum() / (n * 5)
    within = z - means_of(z, labels)[labels]
    for i in range(n):
        others = np.delete(np.arange(n), i)
        means = means_of(z[others], labels[others])
        left = z[others] - means[labels[others]]
        s = (1 - SHRINKAGE) / n * (left.T @ left + means.T @ means)
        s += np.eye(5) * SHRINKAGE * (within**2).sum() / (n * 5) + floor
        far = np.array([(z[i] - m) @ np.linalg.solve(s, z[i] - m) for m in means])
        assert np.allclose(found[i], -(far - far.min()) / 2, rtol=1e-3, atol=1e-4)


def means_of(z: Floats, labels: NDArray[np.int64]) -> Floats:
    """Means of four classes, drawn to 0 as by one more sample there."""
    return np.stack([z[labels == c].sum(0) / ((labels == c).sum() + 1) for c in range(4)])


def test_degenerate_rows() -> None:
    u, s = kernel_pca(SharedRows(torch.nn.functional.normalize(torch.ones(20, 4))))
    assert len(u) == 20
    assert np.isfinite(u[:]).all()
    assert np.isfinite(s).all()
    z = np.zeros((20, 1))
    z[0] = 1
    z -= z.mean(0)
    labels, none = np.arange(20) % 2, np.zeros((20, 0))
    assert np.isfinite(log_densities(z, labels).predict(z, labels)).all()
    assert log_densities(none, labels).predict(none, labels).shape == (20, 2)
