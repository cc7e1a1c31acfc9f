"""Copies are searched for once: rows that are equal, and what is found for one of them as that of all."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from selfclean_hooks.neighbors.unit_vectors import UnitRows


@dataclass(frozen=True, eq=False)
class DistinctRows:
    """The U distinct ones of N rows."""

    first: Tensor  # (U,) the first position of each
    of: Tensor  # (N,) which of them each row is
    spacing: Tensor  # (U,) float32 distance between copies: 0, of zero rows 1/2

    @classmethod
    def among(cls, x: UnitRows, classes: Tensor | None = None) -> DistinctRows:
        """Rows that are equal and, with `classes` (N,), of the same class."""
        for seed in count():
            key = _keys(x.values, classes, seed)
            values, of = torch.unique(key, return_inverse=True)
            if len(values) == len(x):
                every = torch.arange(len(x))
                return cls(every, every, x.zero / 2)
            first = torch.full((len(values),), len(x)).scatter_reduce_(0, of, torch.arange(len(x)), "amin")
            if _are_copies(x.values, first[of], classes):
                return cls(first, of, x.zero[first] / 2)
        raise AssertionError("there is always another seed")

    def __len__(self) -> int:
        return len(self.first)

    def members(self) -> tuple[Tensor, Tensor, Tensor]:
        """All positions (N,) with copies in a row, ascending; where those of each distinct row start, and how many."""
        number = torch.bincount(self.of, minlength=len(self))
        return torch.argsort(self.of, stable=True), number.cumsum(0) - number, number

    def expand(self, indices: Tensor, distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k nearest of all N rows, from lists (U, m) of the distinct ones among themselves; nearest first."""
        order, start, number = self.members()
        near = torch.cat([torch.arange(len(self)).unsqueeze(1), indices], 1)
        far = torch.cat([self.spacing.unsqueeze(1), distances], 1)
        held = torch.where(near >= 0, number[near], 0)
        ends, slot = held.cumsum(1), torch.arange(k + 1).repeat(len(self), 1)
        place = torch.searchsorted(ends, slot, right=True)
        there = place < near.shape[1]
        place = place.clamp(max=near.shape[1] - 1)
        at = start[near.gather(1, place).clamp(min=0)] + slot - (ends - held).gather(1, place)
        found = torch.where(there, order[torch.where(there, at, 0)], -1)
        far = torch.where(there, far.gather(1, place), torch.inf)
        by_index = torch.argsort(torch.where(there, found, len(self.of)), dim=1)
        by_distance = by_index.gather(1, torch.argsort(far.gather(1, by_index), dim=1, stable=True))
        found, far = found.gather(1, by_distance)[self.of], far.gather(1, by_distance)[self.of]
        own = found == torch.arange(len(self.of)).unsqueeze(1)
        own[:, -1] |= ~own.any(1)  # so many copies that it is not among the first
        return found[~own].view(-1, k), far[~own].view(-1, k)

    def expand_first(self, found: tuple[Tensor, Tensor], among_copies: bool) -> tuple[Tensor, Tensor]:
        """The nearest (N,) of all rows from that of the distinct ones (U,); with `among_copies` a copy is the nearest.

        Nearest ones are given as distinct rows, -1 at distance inf where there is none.
        """
        index, distance = torch.where(found[0] >= 0, self.first[found[0]], -1)[self.of], found[1][self.of]
        if not among_copies:
            return index, distance
        order, start, number = self.members()
        first, second = order[start], order[(start + 1).clamp(max=len(order) - 1)]
        copy = torch.where(first[self.of] == torch.arange(len(index)), second[self.of], first[self.of])
        has_copy = (number[self.of] > 1) & (self.spacing[self.of] <= distance)
        return torch.where(has_copy, copy, index), torch.where(has_copy, self.spacing[self.of], distance)


FEW = 16  # columns in which most rows differ that differ at all


def _keys(values: Tensor, classes: Tensor | None, seed: int) -> Tensor:
    """(N,) int64 that equal rows of a class share, and others next to never do."""
    key = _hashes(values[:, :: -(-values.shape[1] // FEW)].contiguous(), seed)
    _, of, number = torch.unique(key, return_inverse=True, return_counts=True)
    alike = (number[of] > 1).nonzero()[:, 0]
    other = -1 - seed  # whose weights are no continuation of those of a few columns
    key[alike] = torch.cat([_hashes(values[part], other) for part in torch.split(alike, 4096)])
    return key if classes is None else key * 0x9E3779B1 + classes


def _hashes(values: Tensor, seed: int, chunk: int = 4096) -> Tensor:
    """(N,) int64 that equal rows of float32 share, and others next to never do."""
    weights = torch.randint(-(1 << 62), 1 << 62, (values.shape[1],), generator=torch.Generator().manual_seed(seed))
    parts = torch.split(values, chunk)
    return torch.cat([((part + 0.0).view(torch.int32) * weights).sum(1) for part in parts])  # + 0.0: no minus zero


def _are_copies(values: Tensor, of: Tensor, classes: Tensor | None, chunk: int = 4096) -> bool:
    """Whether every row equals the row `of` (N,) that stands for it."""
    others = (of != torch.arange(len(of))).nonzero()[:, 0]
    alike = all(torch.equal(values[part], values[of[part]]) for part in torch.split(others, chunk))
    return alike and (classes is None or torch.equal(classes[others], classes[of[others]]))
