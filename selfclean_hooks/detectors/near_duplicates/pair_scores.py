"""Pairs scored by their distance relative to the local scale of both samples."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.protocol import Pairs
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_PAIRS = 200_000  # kept at most, or ten per sample
PROBES = 128  # rows that the limit of a search is estimated from
AT_ONCE = 1 << 20  # pairs that are sorted together, about
PLENTY = 4  # times as many pairs are let through by it: each is seen from both ends


def scaled_score(distance: NDArray[np.floating], scale: NDArray[np.floating]) -> FloatArray:
    """`e / (e + r)`, e and r the square roots of distances and scales: in [0, 1], 0 for exact copies."""
    e, r = np.sqrt(distance, dtype=np.float64), np.sqrt(scale, dtype=np.float64)
    r += e
    return np.asarray(np.divide(e, r, out=np.zeros_like(e), where=e > 0))


def pair_scale(scale: NDArray[np.floating], pairs: IntArray) -> FloatArray:
    """The scale of `pairs` (P, 2) of samples: the geometric mean of both ends, (P,)."""
    ends = scale.astype(np.float64)[pairs]
    return np.asarray(np.sqrt(ends[:, 0] * ends[:, 1]))


def listed_pairs(rows: IntArray, near: IntArray) -> IntArray:
    """(R * k, 2) pairs of rows (R,) with each entry of their lists (R, k)."""
    return np.stack([np.broadcast_to(rows[:, None], near.shape), near], 2).reshape(-1, 2)


def score_pairs(
    x: UnitRows,
    indices: IntArray,
    distances: NDArray[np.floating],
    scale: FloatArray,
    first: IntArray,
    at_most: int | None = None,
) -> Pairs:
    """All pairs with a score below 1/2, and what else the lists hold.

    A pair missing from both lists is at least as long as the end of either. Where a list ends nearer than the local
    scale (a group of more copies than a list holds), its sample is compared with all that come into question.

    Args:
        x: N unit rows.
        indices: (N, k) nearest samples, nearest first.
        distances: (N, k) to these.
        scale: (N,) local scales.
        first: (N,) first member of each sample's group of copies, its own position where it is in none.
        at_most: maximum number of pairs, besides those of a sample and the first of its group; `complete_below` is the
            score up to which none is missing.
    """
    n, k = indices.shape
    at_most = max(MAX_PAIRS, 10 * n) if at_most is None else at_most
    index, distance = unique_pairs(np.repeat(np.arange(n), k), indices.ravel(), distances.ravel().astype(np.float64))
    complete = 1.0 if k >= n - 1 else 0.5
    short = (distances[:, -1] < scale).nonzero()[0] if k < n - 1 else np.empty(0, np.int64)
    if len(short):
        copies = (first != np.arange(n)).nonzero()[0]
        to_first = x.distances(torch.from_numpy(copies), torch.from_numpy(first[copies]).unsqueeze(1))[:, 0].double()
        more, complete = _search_missing_pairs(x, short, distances[:, -1].astype(np.float64), scale, at_most)
        found = (*index.T, distance), more, (first[copies], copies, to_first.numpy())
        index, distance = unique_pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    score = scaled_score(distance, pair_scale(scale, index))
    order = np.lexsort((index[:, 1], index[:, 0], distance, score))
    if len(order) > at_most:
        complete = min(complete, float(score[order[at_most]]))
        joins = first[index[order, 1]] == index[order, 0]
        order = order[(np.arange(len(order)) < at_most) | joins]
    return Pairs(index[order], distance[order].astype(np.float32), score[order].astype(np.float32), complete)


def with_further_pairs(pairs: Pairs, x: UnitRows, scale: FloatArray, further: IntArray) -> Pairs:
    """The pairs with those of `further` (P, 2), each once and smaller position first, that they lack; in no order."""
    index = further[~np.isin(further @ [len(x), 1], pairs.index @ [len(x), 1])]
    one, other = torch.from_numpy(index).unbind(1)
    distance = x.distances(one, other.unsqueeze(1))[:, 0].double().numpy()
    score = scaled_score(distance, pair_scale(scale, index)).astype(np.float32)
    return replace(
        pairs,
        index=np.concatenate([pairs.index, index]),
        distance=np.append(pairs.distance, distance.astype(np.float32)),
        score=np.append(pairs.score, score),
    )


def pairs_by_content(miniatures: NDArray[np.uint8], pairs: IntArray) -> tuple[IntArray, IntArray]:
    """Both ends of pairs (P, 2) of images (N, S, S, 3), the darker one first: what is done with them is then the same
    for either order."""
    used, place = np.unique(pairs, return_inverse=True)
    light = miniatures[used].reshape(len(used), -1).sum(1, dtype=np.int64)[place.reshape(pairs.shape)]
    swapped = (light[:, 0] > light[:, 1]) | ((light[:, 0] == light[:, 1]) & (pairs[:, 0] > pairs[:, 1]))
    return np.where(swapped, pairs[:, 1], pairs[:, 0]), np.where(swapped, pairs[:, 0], pairs[:, 1])


def sample_scores(pairs: Pairs, n: int) -> FloatArray:
    """(N,) smallest score of a sample's pairs; 1 where it has none."""
    score = np.ones(n)
    np.minimum.at(score, pairs.index.ravel(), np.repeat(pairs.score, 2))
    return score


def unique_pairs(
    first: IntArray, second: IntArray, distance: NDArray[np.floating]
) -> tuple[IntArray, NDArray[np.floating]]:
    """Each pair once, smaller position first: (P, 2) and (P,) distances. Pairs with -1 are left out."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    count = int(high.max(initial=0)) + 1
    edges = np.linspace(0, count, 2 + len(low) // AT_ONCE).round().astype(np.int64)
    parts = []
    for start, stop in itertools.pairwise(edges.tolist()):  # by their smaller position: to sort all takes much memory
        at = np.flatnonzero((low >= start) & (low < stop))
        at = at[np.unique(low[at] * count + high[at], return_index=True)[1]]
        parts.append((np.stack([low[at], high[at]], 1), distance[at]))
    index, unique_distance = (np.concatenate(part) for part in zip(*parts, strict=True))
    return index, unique_distance


def _search_missing_pairs(
    x: UnitRows, short: IntArray, end: FloatArray, scale: FloatArray, at_most: int
) -> tuple[tuple[IntArray, IntArray, FloatArray], float]:
    """Pairs of `short` rows with a score below 1/2, and the score below which none is missing."""
    columns = (end**2 < scale[short].max() * scale).nonzero()[0]  # what their own lists may miss
    limit = _likely_limit(x, short, columns, scale, at_most)
    pairs, reached = _pairs_up_to(x, short, columns, scale, at_most, limit)
    if len(pairs[2]) < at_most and limit < 1:
        pairs, reached = _pairs_up_to(x, short, columns, scale, at_most, 1.0)
    return pairs, float(np.sqrt(reached) / (1 + np.sqrt(reached)))


def _likely_limit(x: UnitRows, short: IntArray, columns: IntArray, scale: FloatArray, at_most: int) -> float:
    """A ratio of distance and scale below which there are likely somewhat more than `at_most` pairs; at most 1."""
    some = short[np.linspace(0, len(short) - 1, min(len(short), PROBES)).round().astype(np.int64)]
    share = PLENTY * at_most / (len(short) * max(1, len(columns)))
    if share >= 1:
        return 1.0
    product = matrix_product(x.values[torch.from_numpy(some)], x.values[torch.from_numpy(columns)]).numpy()
    ratio = (1 - product) / 2 / np.maximum(np.sqrt(scale[some, None] * scale[columns]), np.finfo(np.float64).tiny)
    return float(np.clip(np.quantile(ratio, share), 0, 1))


def _pairs_up_to(
    x: UnitRows, short: IntArray, columns: IntArray, scale: FloatArray, at_most: int, limit: float
) -> tuple[tuple[IntArray, IntArray, FloatArray], float]:
    """Pairs up to a ratio of distance and scale; past `at_most` of them it is lowered to what fits, and returned."""
    both, rest = np.intersect1d(columns, short), np.setdiff1d(columns, short)
    others, root = torch.from_numpy(np.concatenate([both, rest])), torch.from_numpy(np.sqrt(scale))
    targets = x.values[others]
    pairs = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    for part in torch.split(torch.from_numpy(short), max(1, (1 << 21) // max(1, len(columns)))):
        start = int(np.searchsorted(both, int(part[0])))  # a pair of two short rows is found from the first
        screened = matrix_product(x.values[part], targets[start:]).neg_().add_(1).div_(2)
        bound = (root[part] * limit).float().unsqueeze(1) * root[others[start:]].float() + 1e-6  # rounding of products
        row, column = (screened <= bound).nonzero(as_tuple=True)
        column += start
        first, second = part[row], others[column]
        once = (first < second) | (column >= len(both))
        first, second = first[once], second[once]
        d = x.distances(first, second.unsqueeze(1))[:, 0].double()
        near = d <= limit * root[first] * root[second]
        new = (first[near].numpy(), second[near].numpy(), d[near].numpy())
        pairs = tuple(np.concatenate(both) for both in zip(pairs, new, strict=True))  # type: ignore[assignment]
        if len(pairs[2]) > 2 * at_most:  # keep the best, and search for nothing worse from here on
            ratio = pairs[2] / np.maximum(np.sqrt(scale[pairs[0]] * scale[pairs[1]]), np.finfo(np.float64).tiny)
            best = np.argsort(ratio, kind="stable")[:at_most]
            pairs, limit = (pairs[0][best], pairs[1][best], pairs[2][best]), float(ratio[best[-1]])
            if limit == 0:  # exact copies alone fill the list
                break
    return pairs, limit
