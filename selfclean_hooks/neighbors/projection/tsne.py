"""t-SNE (van der Maaten and Hinton, 2008) in linear time, without random numbers: the same rows give the same map.

Like that of Linderman et al. (2019): it starts from the principal components, neighbours attract each other alike, and
what repels them is a field on a grid, the sum of one kernel around all points, found by FFT; of a few, by pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from scipy.sparse import csr_array

from selfclean_hooks.utils.arrays import Float32Array, FloatArray

NEIGHBORS = 15  # that attract a sample
EARLY, LATE = 50, 150  # steps: with exaggerated attraction, which finds the clusters, and without
EXAGGERATION = 12.0
LONGEST = 5.0  # step of a point; the kernel is 1 wide
CELL = 0.5  # of the grid, as long as it has no more than
LEAST_SIDE, MOST_SIDE = 48, 256  # cells a side
BLOCK = 512
FEW = 160  # samples, up to which all pairs take less time than a field


def tsne(rows: Float32Array) -> Float32Array:
    """(N, 2) float32 map of (N, K) rows, N above 15, whose first two columns are where it starts."""
    n, links = len(rows), shared_neighbors(rows)
    start, force_at = rows[:, :2] - rows[:, :2].mean(0), forces_by_pairs(links) if n <= FEW else forces_by_field(links)
    places: FloatArray = start.astype(np.float64) / (start.std(0).max() or 1)
    step, gains = np.zeros_like(places), np.ones_like(places)
    for at in range(EARLY + LATE):
        exaggeration, momentum = (EXAGGERATION, 0.5) if at < EARLY else (1.0, 0.8)
        force = force_at(places, exaggeration)
        gains = np.where(force * step > 0, gains + 0.2, gains * 0.8).clip(0.01)
        step = momentum * step + 4 * n / exaggeration * gains * force
        step *= np.minimum(1, LONGEST / np.linalg.norm(step, axis=1, keepdims=True).clip(1e-12))
        places = places + step
        places -= places.mean(0)
    return places.astype(np.float32)


def forces_by_pairs(links: csr_array) -> Callable[[FloatArray, float], FloatArray]:
    """What moves N points: attraction along the links, exaggerated, and repulsion, exact, in O(N^2) memory."""
    attracting = links.toarray()

    def forces(places: FloatArray, exaggeration: float) -> FloatArray:
        squares = (places * places).sum(1)
        near = 1 / (1 + (squares[:, None] + squares - 2 * places @ places.T).clip(0))
        pull = near * (exaggeration * attracting - near / (near.sum() - len(near)).clip(1e-12))
        return np.asarray(pull @ places - pull.sum(1)[:, None] * places)

    return forces


def forces_by_field(links: csr_array) -> Callable[[FloatArray, float], FloatArray]:
    """The same in O(N): by the field, to a few hundredths."""
    first = np.repeat(np.arange(links.shape[0]), np.diff(links.indptr))

    def forces(places: FloatArray, exaggeration: float) -> FloatArray:
        apart = ((places[first] - places[links.indices]) ** 2).sum(1)
        pull = csr_array((links.data / (1 + apart), links.indices, links.indptr), shape=links.shape)
        return exaggeration * (pull @ places - pull.sum(1)[:, None] * places) + repulsion(places)

    return forces


def shared_neighbors(rows: Float32Array) -> csr_array:
    """(N, N) how alike two samples are, 1 in all: those of which one is among the 15 nearest of the other."""
    n, squares = len(rows), (rows * rows).sum(1)
    near = np.empty((n, NEIGHBORS), np.int64)
    for low in range(0, n, BLOCK):
        block = rows[low : low + BLOCK]
        distances = squares - 2 * block @ rows.T  # less the square of the row itself, the same for all
        np.fill_diagonal(distances[:, low:], np.inf)
        near[low : low + BLOCK] = np.argpartition(distances, NEIGHBORS - 1, 1)[:, :NEIGHBORS]
    links = csr_array((np.ones(near.size), near.ravel(), np.arange(n + 1) * NEIGHBORS), shape=(n, n))
    both = links + links.T
    return csr_array(both / both.sum())


def repulsion(places: FloatArray) -> FloatArray:
    """(N, 2) force on each of (N, 2) points by all others: the sum of v / (1 + v^2)^2, v the way from there to here.

    Divided by the sum of 1 / (1 + v^2) over all pairs. Half the slope of the field of 1 / (1 + v^2), on a grid.
    """
    from scipy import fft  # a gate on a saved audit, and a map of few samples, do without

    low = places.min(0)
    span = float((places - low).max())
    side = int(np.clip(span / CELL, LEAST_SIDE, MOST_SIDE))
    cell = max(span / (side - 4), 1e-3)
    at = (places - low) / cell + 1.5
    corner = at.astype(np.int64)
    shares = np.stack([1 - (at - corner), at - corner])  # (2, N, 2) of the lower and the upper neighbour on each axis
    corners = [
        ((corner[:, 0] + i) * side + corner[:, 1] + j, shares[i, :, 0] * shares[j, :, 1])
        for i, j in product((0, 1), repeat=2)
    ]
    density = np.sum([np.bincount(cells, share, side * side) for cells, share in corners], 0).reshape(side, side)
    whole = fft.next_fast_len(2 * side, real=True)  # room around it: nothing wraps around
    away = (np.fft.fftfreq(whole, 1 / whole) * cell) ** 2
    kernel = 1 / (1 + away[:, None] + away)
    spectrum = fft.rfft2(density.astype(np.float32), (whole, whole)) * fft.rfft2(kernel.astype(np.float32))
    field = fft.irfft2(spectrum, (whole, whole))[:side, :side]

    def at_points(values: FloatArray) -> FloatArray:
        return np.asarray(sum(values.ravel()[cells] * share for cells, share in corners))

    slopes = np.stack([at_points(slope) for slope in np.array(np.gradient(field, cell))], 1)
    here, next_to = (shares**2).sum(0), 2 * shares.prod(0)  # (N, 2): what a point's own share in the field comes to
    own = np.stack([here[:, 0], next_to[:, 0]]), np.stack([here[:, 1], next_to[:, 1]])
    others = float(at_points(field).sum() - np.einsum("in,jn,ij", *own, kernel[:2, :2]))
    return -slopes / (2 * max(others, 1e-12))
