"""Whether a representation is fit to audit with: effective rank, and how well neighbours agree on their labels.

No figure means anything by itself, so each stands beside that of the same network with random weights, on the same
samples. These are distinct contents chosen by their digests, so they stay nearly the same as data are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 1000  # compared at most
LEAST = 50  # fewer samples tell nothing
SHARE = 12  # one in so many is compared with random weights: with the figures about a tenth of the embedding's cost
FEW = 200  # but so many at least
NEIGHBORS = 10
# of random weights' centred RankMe. Measured on healthy encoders: 0.3 to 2, after one epoch to convergence; on
# features that are left with two dimensions: 0.03. Trained features often have a lower rank than random ones.
COLLAPSED = 1 / 8
ALL_BUT_CONSTANT = 1.1  # RankMe of raw features, 1 where they are constant
ROUNDING = 1e-6  # of the largest number
PART = 1 << 18  # numbers copied at a time


@dataclass(frozen=True)
class Figures:
    """What was measured of one representation.

    Attributes:
        rank: RankMe of the raw features over min(N, D), in (0, 1].
        centred_rank: the same once their mean is taken away; 0 where nothing is left.
        agreement: share of the 10 nearest neighbours (cosine) that carry the sample's own label, in [0, 1], the mean
            over the samples; None without labels or with one class only. A class of a few samples cannot fill 10
            places, so it is to be compared, with `Fitness.random` or `Fitness.chance`.
    """

    rank: float
    centred_rank: float
    agreement: float | None = None


@dataclass(frozen=True)
class Fitness:
    """How a representation compares with the same network with random weights.

    Attributes:
        samples: N, how many the figures are of: distinct contents, no copies among them.
        dimensions: D, of the features.
        own: of the representation.
        random: of the network with random weights, on the same samples; None where there is no network or no weight.
        chance: agreement to be expected of neighbours drawn at random; None without labels or with one class only.
        gain_error: standard error of how much `own.agreement` is above `random.agreement`, pairwise by sample.
    """

    samples: int
    dimensions: int
    own: Figures
    random: Figures | None = None
    chance: float | None = None
    gain_error: float | None = None

    @classmethod
    def of(cls, told: Any) -> Fitness | None:
        """What `asdict` made of one, as a manifest holds it; None for anything else."""
        if not isinstance(told, Mapping):
            return None
        try:
            own, other = Figures(**told["own"]), told["random"]
            return cls(**{**told, "own": own, "random": None if other is None else Figures(**other)})
        except (KeyError, TypeError):
            return None

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    def told(self) -> str:
        """In one line."""
        (own, other), most = (self.own, self.random), min(self.samples, self.dimensions)
        ranks, labels = f"RankMe {own.rank:.1%} of {most}", ""
        ranks += f" ({other.rank:.1%} with random weights)" if other is not None else ""
        if own.agreement is not None:
            known = other is not None and other.agreement is not None
            beside = f"{other.agreement:.1%} with random weights, " if other is not None and known else ""
            labels = f"neighbours of the same label {own.agreement:.1%} ({beside}{self.chance:.1%} by chance), "
        return f"representation, of {self.samples} samples: {labels}{ranks}"

    def doubts(self) -> tuple[str, ...]:
        """Why audits with this representation may not find much, in sentences; nothing where that cannot be told.

        - Labels: neighbours agree no better than with random weights (within one standard error), and not even half
          way from chance to 1. Where they do, audits work even if random weights serve as well.
        - Collapse: the centred rank is below an eighth of that of random weights; or the raw features are all but
          constant and those of random weights are not. A lower rank alone is normal for trained features.
        """
        return tuple(filter(None, (self._label_doubt(), self._rank_doubt())))

    def _label_doubt(self) -> str:
        own, other = self.own.agreement, None if self.random is None else self.random.agreement
        if own is None or other is None or self.chance is None or self.gain_error is None:
            return ""
        if own - other > self.gain_error or own - self.chance >= (1 - self.chance) / 2:
            return ""
        return (
            f"the representation finds labels no better than random weights do: {own:.1%} of the nearest neighbours "
            f"carry a sample's own label, {other:.1%} with random weights ({self.samples} samples). What it says of "
            "label errors means little: train it further, choose another backbone, or see whether the samples show "
            "what the labels say"
        )

    def _rank_doubt(self) -> str:
        most, own, other = min(self.samples, self.dimensions), self.own, self.random
        if other is None:
            return ""
        constant = own.rank * most < ALL_BUT_CONSTANT and own.rank < COLLAPSED * other.rank
        if not constant and own.centred_rank >= COLLAPSED * other.centred_rank:
            return ""
        kind, mine, its = ("", own.rank, other.rank) if constant else (" centred", own.centred_rank, other.centred_rank)
        return (
            f"the representation has collapsed: RankMe of its{kind} features is {mine * most:.2f} of {most}, "
            f"{its * most:.2f} with random weights ({self.samples} samples). Samples are hard to tell apart: choose "
            "another backbone, or train this one otherwise"
        )


def fitness_of(
    vectors: NDArray[np.floating], labels: NDArray[np.int64] | None, random: NDArray[np.floating] | None = None
) -> Fitness | None:
    """Compare a representation with that of random weights.

    Args:
        vectors: (N, D) features of distinct contents, finite.
        labels: (N,) class codes, or None.
        random: (N, D') features of the same samples by random weights, or None.

    Returns:
        The figures; None for fewer than 50 samples, which tell nothing.
    """
    if len(vectors) < LEAST:
        return None
    classes = None if labels is None or len(np.unique(labels)) < 2 else labels
    shares = [None if classes is None or x is None else same_label(x, classes) for x in (vectors, random)]
    own, other = shares
    gain = None if own is None or other is None else own - other
    return Fitness(
        len(vectors),
        vectors.shape[1],
        _figures(vectors, own),
        None if random is None else _figures(random, other),
        None if classes is None else _chance(classes),
        None if gain is None else float(gain.std(ddof=1) / np.sqrt(len(gain))),
    )


def fitness_of_given(
    vectors: NDArray[np.floating], labels: NDArray[np.int64] | None, digests: Sequence[str]
) -> Fitness | None:
    """The figures of (N, D) vectors that no encoder is known of; `digests` (N,) tell copies."""
    at = chosen(digests)
    return fitness_of(vectors[at], None if labels is None else labels[at])


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
    are taken. With `centred`, the mean is taken away first; 0 where nothing but rounding is left.
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
    mean = np.zeros(x.shape[1])
    if centred:
        mean = np.array([(x[:, at] / largest).mean(dtype=np.float64) for at in range(x.shape[1])])
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


def _figures(vectors: NDArray[np.floating], shares: NDArray[np.float64] | None) -> Figures:
    most = min(vectors.shape)
    ranks = rank_me(vectors) / most, rank_me(vectors, centred=True) / most
    return Figures(*ranks, None if shares is None else float(shares.mean()))


def _chance(labels: NDArray[np.int64]) -> float:
    n, counts = len(labels), np.unique(labels, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))
