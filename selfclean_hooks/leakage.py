"""The nearest samples of one split to those of another, exact, in one blocked product that serves both sides."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from selfclean_hooks.detectors.near_scale import score_of
from selfclean_hooks.errors import DataError
from selfclean_hooks.leaks import Leaks
from selfclean_hooks.scores import not_finite
from selfclean_hooks.screen import TILE, screen_of
from selfclean_hooks.search import rescored, search
from selfclean_hooks.vectors import UnitRows, multiplied

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit
    from selfclean_hooks.embed import Embeddings

NEIGHBORS = 8
Found = tuple[Tensor, Tensor]  # positions and distances
Floats = NDArray[np.float32]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]  # positions in two splits, distances and scores
Reach = Mapping[str, "Floats | None"]  # split: distance usual around each sample; None: distances are scores


def nearest_across(
    x: UnitRows,
    y: UnitRows,
    k: int = NEIGHBORS,
    *,
    below: float = math.inf,
    block: int = 4096,
    screen: torch.dtype | None = None,
) -> tuple[Found, Found]:
    """For every row of x its nearest row of y, and up to k where they are near; the same for y. O(N + M) memory.

    Certified as in `neighbors`: what a fast product leaves in doubt is searched again in a higher precision. To ask
    for the k nearest of rows without near ones would leave many in doubt, for nothing.

    Args:
        x: N unit rows.
        y: M unit rows.
        k: how many neighbours at most.
        below: the nearest is found at any distance, the others of the k nearest up to this one.
        block: rows of a block; the result does not depend on it.
        screen: precision of the first pass; bfloat16 where that is fast.

    Returns:
        Positions in y and distances, each (N, k), nearest first, -1 and inf where there are none; and the same for y,
        each (M, k).
    """
    n, m = len(x), len(y)
    both = UnitRows(torch.cat([x.values, y.values]), torch.cat([x.zero, y.zero]))
    fast = screen_of(both, screen)
    xs, ys = torch.arange(n), torch.arange(n, n + m)
    of_x, of_y = _Best.of(n, 3 * k), _Best.of(m, 3 * k)
    for a in range(0, n, block):
        for b in range(n, n + m, block):
            rows, columns = slice(a, min(a + block, n)), slice(b, min(b + block, n + m))
            similarity = multiplied(fast.rows[rows], fast.rows[columns])
            of_x.offer(rows, similarity, b)
            of_y.offer(slice(b - n, columns.stop - n), similarity.T, a)
    to_y, near_y = _settled(both, xs, ys, of_x, fast.bound[:n], k, below)
    return (torch.where(to_y >= 0, to_y - n, -1), near_y), _settled(both, ys, xs, of_y, fast.bound[n:], k, below)


@dataclass(eq=False)
class _Best:
    """The highest similarities of every row so far."""

    values: Tensor  # (N, m) float32, -inf: none
    indices: Tensor  # (N, m)

    @classmethod
    def of(cls, n: int, m: int) -> _Best:
        return cls(torch.full((n, m), -torch.inf), torch.full((n, m), -1))

    def offer(self, rows: slice, similarity: Tensor, first: int) -> None:
        """Take what is better from a block (R, C) whose first column is sample `first`."""
        m = self.values.shape[1]
        values, columns = _highest(similarity, m)
        values = torch.cat([self.values[rows], values], 1)
        self.values[rows], keep = values.topk(m, dim=1)
        self.indices[rows] = torch.cat([self.indices[rows], first + columns], 1).gather(1, keep)


def _highest(similarity: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The m highest of every row, or all: float32 values and columns. They lie in the m tiles of highest maximum."""
    width = similarity.shape[1]
    padded = functional.pad(similarity, (0, -width % TILE), value=-torch.inf).contiguous()
    tiles = torch.unflatten(padded, 1, (-1, TILE))
    best = tiles.amax(-1).float()
    best = best.topk(min(m, best.shape[1]), dim=1).indices
    inside = tiles.gather(1, best.unsqueeze(-1).expand(-1, -1, TILE)).flatten(1).float()
    values, place = inside.topk(min(m, width), dim=1)
    return values, best.gather(1, place // TILE) * TILE + place % TILE


def _settled(both: UnitRows, own: Tensor, others: Tensor, best: _Best, bound: Tensor, k: int, below: float) -> Found:
    """The nearest by true distance; the rows that the first pass leaves in doubt are searched again."""
    last = best.values[:, -1]  # -inf: nothing was left out
    indices, distances = rescored(both, own, best.indices)
    indices, distances = indices[:, :k].contiguous(), distances[:, :k].contiguous()
    needed = torch.minimum(distances[:, -1], distances[:, 0].clamp(min=below))
    again = ((1 - 2 * needed < last + bound) & (needed > 0)).nonzero()[:, 0]  # nothing is nearer than a copy
    indices[again], distances[again] = search(both, own[again], k, own, columns=others)
    far = distances >= below
    far[:, 0] = False
    return indices.masked_fill_(far, -1), distances.masked_fill_(far, torch.inf)


def with_leakage(audit: Audit, embeddings: Embeddings, others: Mapping[str, Embeddings], name: str = "train") -> Audit:
    """The audit of one split with what it shares with the others.

    Args:
        audit: of `embeddings`.
        embeddings: of the split that is trained on.
        others: of the other splits, by name; by the same encoder.
        name: of the split that is trained on.

    Raises:
        DataError: a split was embedded by another encoder or is not finite, there is none, or one has the name of the
            split that is trained on.
    """
    if name in others:
        raise DataError(f"leakage is looked for between {name} and other splits, got {', '.join(others)}")
    automatic, reach = audit.scores.automatic["near_duplicates"], {name: audit.scores.reach}
    leaks = leaks_among({name: embeddings, **others}, reach, listed_below(audit), automatic, (name,))
    return replace(audit, scores=replace(audit.scores, leaks=leaks[name]))


def leaks_among(
    splits: Mapping[str, Embeddings],
    reach: Reach,
    below: float,
    automatic: float = 0.0,
    of: Collection[str] | None = None,
) -> dict[str, Leaks]:
    """What each split shares with the others: see `Leaks`. Identical content lies at distance 0.

    A pair is scored as if its sample of the later split lay beside that of the earlier one in the earlier split.

    Args:
        splits: by name; by the same encoder; the one that is trained on first.
        reach: `Scores.reach` of all splits but the last, or of those in `of`.
        below: score up to which further neighbours than the nearest are listed.
        automatic: score below which "auto" flags.
        of: the splits to look at; default: all. Each pair of splits is compared once.

    Raises:
        DataError: as `with_leakage`.
    """
    wanted = list(splits if of is None else of)
    _check(splits)
    rows = {name: UnitRows.of(e.vectors) for name, e in splits.items()}
    pairs: dict[tuple[str, str], Pairs] = {}
    for name, other in combinations(sorted(splits, key=lambda name: name not in wanted), 2):
        if name in wanted:
            usual = reach.get(name)
            far = below if usual is None else float(np.nanmax(usual)) * (below / max(1 - below, 1e-9)) ** 2
            first, second, distance = _pairs(rows[name], splits[name], rows[other], splits[other], far)
            score = distance if usual is None else score_of(distance, usual[first]).astype(np.float32)
            pairs[name, other], pairs[other, name] = (first, second, distance, score), (second, first, distance, score)
    is_scaled = any(usual is not None for usual in reach.values())
    return {name: _leaks(name, splits, pairs, automatic, is_scaled) for name in wanted}


def _leaks(
    name: str, splits: Mapping[str, Embeddings], pairs: Mapping[tuple[str, str], Pairs], automatic: float, scaled: bool
) -> Leaks:
    """The pairs of one split with the others, worst first."""
    others = [split for split in splits if split != name]
    found = [pairs[name, other] for other in others]
    number = np.repeat(np.arange(1, len(found) + 1), [len(score) for *_, score in found])
    index, other_index, distance, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((other_index, index, number, distance, score))
    places = list(zip((number[order] - 1).tolist(), other_index[order].tolist(), strict=True))

    def of_each(texts: list[tuple[str, ...]]) -> tuple[str, ...] | None:
        told = tuple(texts[split][at] for split, at in places)
        return told if any(told) else None

    return Leaks(
        splits=(name, *others),
        sizes=tuple(splits[split].n for split in (name, *others)),
        other=number[order],
        index=index[order],
        other_index=other_index[order],
        distance=distance[order],
        scaled=score[order] if scaled else None,
        other_names=of_each([splits[split].names or ("",) * splits[split].n for split in others]),
        other_digests=of_each([splits[split].keys or ("",) * splits[split].n for split in others]),
        automatic=automatic,
    )


def _check(splits: Mapping[str, Embeddings]) -> None:
    (name, embeddings), *others = splits.items()
    if not others:
        raise DataError(f"leakage is looked for between {name} and other splits, got none")
    for split, other in others:
        mine, its = ((e.vectors.shape[1], e.encoder.get("fingerprint")) for e in (embeddings, other))
        if mine != its:
            told = [f"{width} features" + (f" of {encoder}" if encoder else "") for width, encoder in (mine, its)]
            raise DataError(
                f"all splits must be embedded by one encoder: {name} has {told[0]}, {split} has {told[1]}. Embed them "
                "with the same Encoder"
            )
        if len(not_finite(other.vectors)):
            raise DataError(f"embeddings must be finite, got NaN or infinity in {split}: mend the encoder")


def _pairs(
    own: UnitRows, mine: Embeddings, its: UnitRows, other: Embeddings, below: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Positions in both splits and the distance of every pair found from either side, each once."""
    its = _same_where_identical(own, mine, its, other)
    (to_its, near_its), (to_own, near_own) = nearest_across(own, its, below=below)
    rows, columns = (torch.arange(len(side)).unsqueeze(1) for side in (own, its))
    first = torch.cat([rows.expand_as(to_its).flatten(), to_own.flatten()])
    second = torch.cat([to_its.flatten(), columns.expand_as(to_own).flatten()])
    distance = torch.cat([near_its.flatten(), near_own.flatten()]).numpy()
    there = ((first >= 0) & (second >= 0)).nonzero()[:, 0]
    _, once = np.unique((first * len(its) + second)[there].numpy(), return_index=True)
    kept = there[torch.from_numpy(once)].numpy()
    return mine.readable[first.numpy()[kept]], other.readable[second.numpy()[kept]], distance[kept]


def _same_where_identical(own: UnitRows, mine: Embeddings, its: UnitRows, other: Embeddings) -> UnitRows:
    """The other's unit rows; where the content is one of mine, the very row it has there.

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


def listed_below(audit: Audit) -> float:
    """Score up to which neighbours beside the nearest are listed: the threshold in force, or "auto" if higher."""
    in_force = audit.decisions.thresholds["near_duplicates"]
    return max(in_force, audit.scores.automatic["near_duplicates"], float(np.finfo(np.float32).tiny))
