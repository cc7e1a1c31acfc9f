"""Brute-force twins: every fast path once more, as short and as slow as it gets, in float64."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import cdist, squareform

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SELFCLEAN_1K = Path(__file__).parents[1] / "data" / "selfclean_1k.npz"


def unit_rows(vectors: NDArray[np.floating]) -> Floats:
    """Rows scaled to length 1, rounded to float32 as the package keeps them; zero rows stay zero."""
    scaled = vectors.astype(np.float64)
    largest = np.abs(scaled).max(1, keepdims=True)
    scaled = scaled / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(length > 0, length, 1), np.float32).astype(np.float64)


def distance_matrix(unit: NDArray[np.floating]) -> Floats:
    """(N, N) of (1 - cos) / 2 of unit rows; a zero row at 0.5 from everything else."""
    x = unit.astype(np.float64)
    zero = ~x.any(1)
    d = cdist(x, x, "sqeuclidean") / 4
    d[zero] = d[:, zero] = 0.5
    np.fill_diagonal(d, 0)
    return np.asarray(d.clip(0, 1))


def nearest_distances(d: Floats, k: int) -> Floats:
    """(N, k) distances of the k nearest others, ascending."""
    return np.stack([np.sort(np.delete(row, i))[:k] for i, row in enumerate(d)])


def nearest_by_label(d: Floats, labels: Ints, same: bool) -> Floats:
    """(N,) distance of the nearest other sample whose label is the same, or is not; inf where there is none."""
    others = ~np.eye(len(d), dtype=bool) & ((labels[:, None] == labels) == same)
    return np.asarray(np.where(others, d, np.inf).min(1))


def all_pairs(d: Floats) -> list[tuple[float, int, int]]:
    """(distance, i, j) of all i < j, nearest first."""
    return sorted((d[i, j], i, j) for i in range(len(d)) for j in range(i + 1, len(d)))


def dendrogram(d: Floats) -> Floats:
    """scipy's single linkage."""
    return np.asarray(linkage(squareform(d, checks=False), "single"))


def lad(merges: Floats) -> Floats:
    """Leave-out agglomerative dendrogram by plain recursion, which goes as deep as the tree."""
    n = len(merges) + 1
    scores = np.zeros(n)
    state = {"area": 0.0, "end": 0.0, "parent": 1.0}
    seen: list[tuple[float, float]] = []

    def walk(node: int, start: float, end: float, parent: float) -> None:
        height = 0.0 if node < n else merges[node - n, 2]
        at_gap = start != state["end"]
        if at_gap:
            state["area"] += (start - state["end"]) * state["parent"]
            state["area"] += sum((start - left) * swept for left, swept in seen if left < start)
            seen.clear()
            state["end"] = start
        state["area"] += (end - start) * (parent - height)
        if node < n:
            scores[node] = state["area"]
            state.update(end=end, parent=parent)
            return
        if not at_gap:
            seen.append((end, parent - height))
        leaves = {int(c): 1 if c < n else int(merges[int(c) - n, 3]) for c in merges[node - n, :2]}
        small, large = sorted(leaves, key=lambda child: (leaves[child], child))
        total, width = leaves[small] + leaves[large], end - start
        middle = start + width * leaves[small] / total
        walk(small, start, middle, height)
        walk(large, middle, start + width * leaves[large] / total, height)

    walk(2 * n - 2, 0.0, 1.0, 1.0)
    return scores


def label_scores(d: Floats, labels: Ints) -> Floats:
    """b^2 / (a^2 + b^2), sample by sample."""
    scores = []
    for i in range(len(d)):
        same = [d[i, j] for j in range(len(d)) if j != i and labels[j] == labels[i]]
        other = [d[i, j] for j in range(len(d)) if labels[j] != labels[i]]
        a, b = min(same, default=max(other)), min(other)
        scores.append(0.5 if a == b == 0 else b**2 / (a**2 + b**2))
    return np.array(scores)


def automatic_threshold(scores: Floats, p: float, share: float) -> float:
    """The logistic through the quantiles at p and sqrt(p / 2) of the scores inside of (0, 1), at 0.05 * p * share."""

    def logit(v: float) -> float:
        return math.log(v / (1 - v))

    inside = scores[(scores > 0) & (scores < 1)]
    low, high = (logit(float(np.quantile(inside, q))) for q in (p, math.sqrt(p / 2)))
    scale = (high - low) / (logit(math.sqrt(p / 2)) - logit(p))
    return 1 / (1 + math.exp(-(low + scale * (logit(0.05 * p * share) - logit(p)))))


def near_duplicates(d: Floats, threshold: float) -> NDArray[np.bool_]:
    """(N, N) which samples are near duplicates of which others."""
    near = (d < threshold) | ((d == 0) & (threshold > -np.inf))
    np.fill_diagonal(near, False)
    return np.asarray(near)


def pair_scores(d: Floats, local_scale: NDArray[np.floating] | None) -> Floats:
    """(N, N) scores of pairs at distances `d`: length by length plus what is usual around both; or the distances."""
    if local_scale is None:
        return d
    length, usual = np.sqrt(d), np.outer(local_scale.astype(np.float64), local_scale.astype(np.float64)) ** 0.25
    return np.divide(length, length + usual, out=np.zeros_like(d), where=d > 0)


def components(d: Floats, threshold: float) -> Ints:
    """(N,) connected component of near duplicates, numbered by first member."""
    component = np.full(len(d), -1, np.int64)
    near = near_duplicates(d, threshold)
    for i in range(len(d)):
        stack, number = [i], component.max() + 1
        while stack:
            j = stack.pop()
            if component[j] < 0:
                component[j] = number
                stack.extend(near[j].nonzero()[0].tolist())
    return component


def duplicate_sets(
    d: Floats, threshold: float, keep: str, last: NDArray[Any], pixels: Ints, scores: Floats | None = None
) -> tuple[list[int], list[int]]:
    """Number of the set of each sample (-1: none), and the kept copies: taken one by one, the best that is left.

    The distances `d` are the scores where there are no others.
    """
    n, near = len(d), near_duplicates(d if scores is None else scores, threshold)

    def rank(i: int) -> tuple[float, ...]:
        beside = near[i].nonzero()[0].tolist()
        how_good = {
            "first": (),
            "most_central": (-len(beside), math.fsum(d[i, j] for j in beside)),
            "largest_image": (-int(pixels[i]),),
        }
        return int(last[i]), *how_good[keep], i

    owner = [-1] * n
    for i in sorted(range(n), key=rank):
        free = [j for j in range(n) if near[i, j] and owner[j] < 0]
        if owner[i] < 0 and free:
            for j in (i, *free):
                owner[j] = i
    kept = list(dict.fromkeys(i for i in owner if i >= 0))
    return [kept.index(i) if i >= 0 else -1 for i in owner], kept


def contradicted(d: Floats, threshold: float, labels: Ints) -> dict[int, dict[int, int]]:
    """Samples with a near duplicate whose label, another one, is at least as frequent around it; labels around each."""
    near, n = near_duplicates(d, threshold), len(d)
    around = [Counter(int(labels[j]) for j in range(n) if (near[i, j] or i == j) and labels[j] >= 0) for i in range(n)]
    share = [Fraction(around[i][int(labels[i])], max(1, around[i].total())) for i in range(n)]
    doubted = {}
    for i in range(n):
        others = [j for j in range(n) if near[i, j] and -1 < labels[j] != labels[i] > -1]
        if any(share[i] <= share[j] for j in others):
            doubted[i] = dict(around[i])
    return doubted


def random_vectors(kind: str, n: int, dim: int, seed: int) -> Floats:
    """Data of the kinds that break neighbour searches."""
    rng = np.random.default_rng(seed)
    gauss = rng.normal(size=(n, dim))
    if kind == "clustered":
        gauss = rng.normal(size=(5, dim))[rng.integers(0, 5, n)] * 3 + gauss * 0.3
    if kind == "copies":
        gauss[n // 2 :] = gauss[rng.integers(0, max(1, n // 2), n - n // 2)]
    if kind == "zero rows":
        gauss[:: max(2, n // 5)] = 0
        gauss[1] = 1
    if kind == "collapsed":
        gauss = 1 + 1e-3 * gauss
    if kind == "grid":
        gauss = rng.integers(-1, 2, (n, dim)).astype(np.float64)
        gauss[0] = 1
    if kind == "positive":
        gauss = np.abs(gauss)
    return gauss


KINDS = ("gauss", "clustered", "copies", "zero rows", "collapsed", "grid", "positive")
