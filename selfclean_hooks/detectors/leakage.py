"""Leakage: cross-split near duplicates, exact."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.core.groups import same_group
from selfclean_hooks.core.scores import LeakPairs, PairScales
from selfclean_hooks.detectors.near_duplicates.detector import BAND, LEAST_SURE
from selfclean_hooks.detectors.near_duplicates.pair_scores import scaled_score
from selfclean_hooks.detectors.near_duplicates.pixel_evidence import SAME, PixelEvidence
from selfclean_hooks.errors import DataError
from selfclean_hooks.neighbors.cross_search import cross_nearest_neighbors
from selfclean_hooks.neighbors.exact_search import search_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows, repeated_blanks, with_blank_directions
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray, not_finite

NEIGHBORS = 20  # of a sample that tell how alike ordinary neighbours are: the farthest of so many are
Pairs = tuple[IntArray, IntArray, Float32Array, Float32Array]  # positions in two splits, distances and scores


@np.errstate(under="ignore")  # a user may let numpy raise where small numbers become 0
def find_leakage(
    splits: Mapping[str, Embeddings],
    scales: Mapping[str, PairScales],
    below: float,
    automatic: float = 0.0,
    of: Collection[str] | None = None,
) -> dict[str, LeakPairs]:
    """Cross-split near duplicates of each split, see `LeakPairs`. Identical content lies at distance 0.

    A pair is scored by the local scale of its sample in the earlier split.

    Args:
        splits: by name, embedded by the same encoder; the training split first.
        scales: `Scores.pair_scales` of all splits but the last, or of those in `of`; without local scales, distances
            are scores.
        below: score up to which further neighbours than the nearest are listed.
        automatic: score below which "auto" flags.
        of: the splits to report on; default: all. Each pair of splits is compared once.

    Raises:
        DataError: there is one split only, they were embedded by different encoders, or values are not finite.
    """
    wanted = list(splits if of is None else of)
    _check(splits)
    contents = {name: [e.digests[at] for at in e.readable.tolist()] for name, e in splits.items()}
    blanks = repeated_blanks((e.vectors, contents[name]) for name, e in splits.items())
    rows = {name: UnitRows.of(with_blank_directions(e.vectors, contents[name], blanks)) for name, e in splits.items()}
    pairs: dict[tuple[str, str], Pairs] = {}
    flagged_below = automatic
    for name, other in combinations(sorted(splits, key=lambda name: name not in wanted), 2):
        if name in wanted:
            measured, are_images = scales.get(name, PairScales()), splits[other].miniatures is not None
            scale, in_pixels = measured.local, measured.pixel if are_images else None
            ratio = below / max(1 - below, 1e-9) if in_pixels is None else 1.0  # pixels may bring what is farther near
            far = below if scale is None else float(np.nanmax(scale)) * ratio**2
            sides = rows[name], splits[name], rows[other], splits[other]
            images = None if in_pixels is None else _Images(*sides)
            similar = np.empty((0, 2), np.int64) if images is None else images.similar
            first, second, distance = _pairs_of_two_splits(*sides, far, similar)
            score = distance if scale is None else scaled_score(distance, scale[first]).astype(np.float32)
            if images is not None and in_pixels is not None:
                score, sure = images.score(first, second, score, in_pixels[first].astype(np.float64), automatic)
                flagged_below = max(flagged_below, sure)
            pairs[name, other], pairs[other, name] = (first, second, distance, score), (second, first, distance, score)
    is_scaled = any(scale.local is not None for scale in scales.values())
    return {name: _leak_pairs(name, splits, pairs, flagged_below, is_scaled) for name in wanted}


@dataclass(frozen=True, eq=False)
class _Images:
    """Two splits of images, whose pixels say of their pairs what they say of those within one (`PixelEvidence`)."""

    own: UnitRows
    mine: Embeddings
    its: UnitRows
    other: Embeddings

    @cached_property
    def evidence(self) -> PixelEvidence:
        """Of the own images, and of the other's after them."""
        assert self.mine.miniatures is not None
        assert self.other.miniatures is not None
        return PixelEvidence(np.concatenate([self.mine.miniatures, self.other.miniatures]))

    @cached_property
    def similar(self) -> IntArray:
        """(P, 2) rows of both splits whose images have similar spectra."""
        return np.subtract(self.evidence.find_similar(len(self.own)), (0, len(self.own)))

    def score(
        self, first: IntArray, second: IntArray, score: NDArray[np.floating], scale: FloatArray, automatic: float
    ) -> tuple[Float32Array, float]:
        """The scores (P,) of pairs of samples with the pixels as well, and the score below which "auto" flags.

        Args:
            first: (P,) positions in the one split.
            second: (P,) positions in the other.
            score: (P,) of the network.
            scale: (P,) residual of ordinary neighbours.
            automatic: below it near duplicates within a split are flagged; copies that are certain are too.
        """
        evidence = self.evidence
        beyond = len(self.own) + np.searchsorted(self.other.readable, second)
        pairs = np.stack([np.searchsorted(self.mine.readable, first), beyond], 1)
        score = evidence.combine(score, pairs, scale)[0]
        sure = float(score[evidence.likeness(pairs) <= SAME].max(initial=0.0))
        evidence.find_copies(pairs, self._ordinary)
        most = max(automatic, sure, LEAST_SURE)
        found = evidence.with_copies(score, pairs, BAND * most, most).astype(np.float32)
        return found, float(np.nextafter(np.float32(most), 1)) if sure or len(evidence.copies) else automatic

    def _ordinary(self, ends: IntArray) -> IntArray:
        """(E, k) rows of the nearest neighbours in the own split; the nearest of them may be copies."""
        both = UnitRows(torch.cat([self.own.values, self.its.values]), torch.cat([self.own.zero, self.its.zero]))
        rows, columns = torch.from_numpy(ends), torch.arange(len(self.own))
        near = search_neighbors(both, rows, min(NEIGHBORS, len(self.own) - 1), rows, columns=columns)[0]
        return near.numpy()


def _leak_pairs(
    name: str, splits: Mapping[str, Embeddings], pairs: Mapping[tuple[str, str], Pairs], automatic: float, scaled: bool
) -> LeakPairs:
    """The pairs of one split with the others, worst first."""
    others = [split for split in splits if split != name]
    parts = [pairs[name, other] for other in others]
    number = np.repeat(np.arange(1, len(parts) + 1), [len(score) for *_, score in parts])
    index, other_index, distance, score = map(np.concatenate, zip(*parts, strict=True))
    order = np.lexsort((other_index, index, number, distance, score))
    places = list(zip((number[order] - 1).tolist(), other_index[order].tolist(), strict=True))

    def collect(texts: list[tuple[str, ...]]) -> tuple[str, ...] | None:
        values = tuple(texts[split][at] for split, at in places)
        return values if any(values) else None

    return LeakPairs(
        splits=(name, *others),
        sizes=tuple(splits[split].n for split in (name, *others)),
        other=number[order],
        index=index[order],
        other_index=other_index[order],
        distance=distance[order],
        scaled_score=score[order] if scaled else None,
        other_names=collect([splits[split].names or ("",) * splits[split].n for split in others]),
        other_digests=collect([splits[split].keys or ("",) * splits[split].n for split in others]),
        automatic=automatic,
    )


def _check(splits: Mapping[str, Embeddings]) -> None:
    (name, embeddings), *others = splits.items()
    if not others:
        raise DataError(f"leakage is searched for between {name} and other splits, got none")
    for split, other in others:
        mine, its = ((e.vectors.shape[1], e.encoder.get("fingerprint")) for e in (embeddings, other))
        if mine != its:
            described = [f"{width} features" + (f" of {encoder}" if encoder else "") for width, encoder in (mine, its)]
            raise DataError(
                f"all splits must be embedded by one encoder: {name} has {described[0]}, {split} has {described[1]}. "
                "Embed them with the same Encoder"
            )
        if len(not_finite(other.vectors)):
            raise DataError(f"embeddings must be finite, got NaN or infinity in {split}: fix the encoder")


def _pairs_of_two_splits(
    own: UnitRows, mine: Embeddings, its: UnitRows, other: Embeddings, below: float, similar: IntArray
) -> tuple[IntArray, IntArray, Float32Array]:
    """Positions in both splits and the distance of every pair found from either side, each once, not of one group.

    The pairs of rows of `similar` (P, 2) are among them in any case.
    """
    its = _share_rows_of_identical_content(own, mine, its, other)
    (to_its, near_its), (to_own, near_own) = cross_nearest_neighbors(own, its, below=below)
    rows, columns = (torch.arange(len(side)).unsqueeze(1) for side in (own, its))
    both = UnitRows(torch.cat([own.values, its.values]), torch.cat([own.zero, its.zero]))
    one, other_one = torch.from_numpy(similar).unbind(1)
    apart = both.distances(one, (len(own) + other_one).unsqueeze(1))[:, 0]
    first = torch.cat([rows.expand_as(to_its).flatten(), to_own.flatten(), one])
    second = torch.cat([to_its.flatten(), columns.expand_as(to_own).flatten(), other_one])
    distance = torch.cat([near_its.flatten(), near_own.flatten(), apart]).numpy()
    there = ((first >= 0) & (second >= 0)).nonzero()[:, 0]
    _, once = np.unique((first * len(its) + second)[there].numpy(), return_index=True)
    kept = there[torch.from_numpy(once)].numpy()
    here, beyond = mine.readable[first.numpy()[kept]], other.readable[second.numpy()[kept]]
    may_leak = ~same_group(mine.groups, other.groups, here, beyond)
    return here[may_leak], beyond[may_leak], distance[kept][may_leak]


def _share_rows_of_identical_content(own: UnitRows, mine: Embeddings, its: UnitRows, other: Embeddings) -> UnitRows:
    """The other's unit rows; for content that is also mine, the identical row.

    Features of one content differ in the last bits between batches, and copies are to lie at distance 0 exactly.
    """
    row_of = {mine.digests[p]: row for row, p in enumerate(mine.readable.tolist())}
    row_of.pop("", None)
    rows = torch.tensor([row_of.get(other.digests[p], -1) for p in other.readable.tolist()])
    same = (rows >= 0).nonzero()[:, 0]
    values, zero = (
        its.values.index_copy(0, same, own.values[rows[same]]),
        its.zero.index_copy(0, same, own.zero[rows[same]]),
    )
    return UnitRows(values, zero)
