"""Representation quality: effective rank, and k-NN label agreement.

No figure means anything by itself, so each stands beside that of the same network with random weights, on the same
samples. These are distinct contents chosen by their digests, so they stay nearly the same as data are added.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.embeddings import QualityFigures, RepresentationQuality

SAMPLES = 1000  # compared at most
LEAST = 50  # fewer samples say nothing
SHARE = 12  # one in so many is compared with random weights: with the figures about a tenth of the embedding's cost
FEW = 200  # but so many at least
NEIGHBORS = 10
ROUNDING = 1e-6  # of the largest number
PART = 1 << 18  # numbers copied at a time


def representation_quality(
    vectors: NDArray[np.floating], labels: NDArray[np.int64] | None, random: NDArray[np.floating] | None = None
) -> RepresentationQuality | None:
    """Compare a representation with that of random weights.

    Args:
        vectors: (N, D) features of distinct contents, finite.
        labels: (N,) class codes, -1 for none, or None.
        random: (N, D') features of the same samples by random weights, or None.

    Returns:
        The figures; None for fewer than 50 samples, which say nothing.
    """
    if len(vectors) < LEAST:
        return None
    known = slice(None) if labels is None or (labels != -1).all() else labels != -1  # a slice copies nothing
    classes = None if labels is None or len(np.unique(labels[known])) < 2 else labels[known]
    shares = [None if classes is None or x is None else same_label(x[known], classes) for x in (vectors, random)]
    own, other = shares
    gain = None if own is None or other is None else own - other
    return RepresentationQuality(
        len(vectors),
        vectors.shape[1],
        _figures(vectors, own),
        None if random is None else _figures(random, other),
        None if classes is None else _chance(classes),
        None if gain is None else float(gain.std(ddof=1) / np.sqrt(len(gain))),
    )


def quality_of_vectors(
    vectors: NDArray[np.floating], labels: NDArray[np.int64] | None, digests: Sequence[str]
) -> RepresentationQuality | None:
    """The figures of (N, D) vectors of an unknown encoder; copies are recognized by their `digests` (N,)."""
    at = chosen(digests)
    return representation_quality(vectors[at], None if labels is None else labels[at])


def chosen(digests: Sequence[str], at_most: int = SAMPLES) -> NDArray[np.int64]:
    """(K,) ascending positions of the samples to compare: of distinct contents those with the lowest digests.

    Args:
        digests: (N,) of the content of each sample, "" where unknown: those are left out.
        at_most: how many.
    """
    contents, first = np.unique(np.array(digests, np.str_), return_index=True)
    return np.sort(first[contents != ""][:at_most]).astype(np.int64)


def same_label(vectors: NDArray[np.floating], labels: NDArray[np.int64], k: int = NEIGHBORS) -> NDArray[np.float64]:
    """(N,) share of the k nearest neighbours of each sample, without itself, that carry its label.

    Args:
        vectors: (N, D); compared by cosine, in O(N^2) memory.
        labels: (N,) class codes.
        k: how many neighbours, at most N - 1 are taken.
    """
    similarity = _gram(vectors, of_rows=True)
    lengths = np.sqrt(similarity.diagonal())
    similarity /= np.where(lengths > 0, lengths, 1)  # of the other sample: its own length does not change the order
    np.fill_diagonal(similarity, -np.inf)
    k = min(k, len(labels) - 1)
    nearest = np.argpartition(similarity, -k, axis=1)[:, -k:]
    shares: NDArray[np.float64] = (labels[nearest] == labels[:, None]).mean(1)
    return shares


def is_constant(vectors: NDArray[np.floating]) -> bool:
    """Whether all rows of (N, D) are equal up to rounding."""
    low, high = vectors.min(0), vectors.max(0)
    with np.errstate(over="ignore"):
        return bool(((high - low) <= ROUNDING * np.maximum(np.abs(low), np.abs(high)).max()).all())


def rank_me(vectors: NDArray[np.floating], at_most: int = 25_600, centred: bool = False) -> float:
    """RankMe (Garrido et al., 2023): the effective rank of (N, D) embeddings, between 1 and min(N, D).

    exp(-sum p_k log p_k) with p_k = sigma_k / sum(sigma) + 1e-7 over the singular values of the uncentred matrix.
    Compares runs of one method; no value by itself means collapse. Of more than `at_most` samples, evenly spaced ones
    are taken. With `centred`, the mean is subtracted first; 0 where nothing but rounding is left.
    """
    if centred and is_constant(vectors):
        return 0.0
    rows = vectors
    if len(vectors) > at_most:
        rows = vectors[np.linspace(0, len(vectors) - 1, at_most).astype(np.int64)]
    gram = _gram(rows, centred, of_rows=len(rows) < rows.shape[1])
    sigma = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))
    if not sigma.any():
        return 0.0
    p = sigma / sigma.sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


def _gram(x: NDArray[np.floating], centred: bool = False, *, of_rows: bool) -> NDArray[np.float64]:
    """Inner products of the rows, or of the columns, of the matrix scaled as a whole; copies small parts at a time."""
    largest = max(float(x.max()), -float(x.min())) or 1.0  # squares of huge numbers are infinite
    mean, columns_read = np.zeros(x.shape[1]), max(1, PART // len(x))
    for start in range(0, x.shape[1] if centred else 0, columns_read):
        some = slice(start, start + columns_read)
        mean[some] = (x[:, some] / largest).mean(0, dtype=np.float64)
    mine, other = x.shape if of_rows else x.shape[::-1]
    gram, step = np.zeros((mine, mine)), max(1, PART // mine)
    for start in range(0, other, step):
        part = slice(start, start + step)
        if of_rows:
            columns = x[:, part] / np.float64(largest) - mean[part]
            gram += columns @ columns.T
        else:
            rows = x[part] / np.float64(largest) - mean
            gram += rows.T @ rows
    return gram


def _figures(vectors: NDArray[np.floating], shares: NDArray[np.float64] | None) -> QualityFigures:
    most = min(vectors.shape)
    ranks = rank_me(vectors) / most, rank_me(vectors, centred=True) / most
    return QualityFigures(*ranks, None if shares is None else float(shares.mean()))


def _chance(labels: NDArray[np.int64]) -> float:
    n, counts = len(labels), np.unique(labels, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))
