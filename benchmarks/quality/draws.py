"""Contaminated data sets, drawn from a pool: rows, labels and the truth about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OFF = ("scattered", "clustered", "both", "none")
COPIES = ("exact", "one", "chain", "mixed", "none")
FLIPS = ("uniform", "class", "confusable", "mistaken", "none")
Ints = NDArray[np.int64]
Pool = Mapping[str, NDArray[Any]]


class Draw(NamedTuple):
    """N samples, shuffled. A row of the pool comes twice where an exact copy was drawn."""

    rows: Ints  # (N,) rows of the pool
    labels: Ints  # (N,) as given, wrong ones included
    true_labels: Ints  # (N,) -1: off-topic
    is_off_topic: NDArray[np.bool_]
    is_label_error: NDArray[np.bool_]
    dup_pairs: Ints  # (P, 2) smaller position first: all pairs of each set of copies


class Drawn(NamedTuple):
    """A Draw in one representation."""

    vectors: NDArray[np.float32]  # (N, D)
    labels: Ints
    is_off_topic: NDArray[np.bool_]
    is_label_error: NDArray[np.bool_]
    dup_pairs: Ints


def load(file: str | Path) -> dict[str, NDArray[Any]]:
    """A pool, with `pixels` as its third representation."""
    with np.load(file) as found:
        pool = dict(found)
    return pool | {"pixels": pixels(pool["images"])}


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, D) in [0, 1], coloured images as 16 x 16."""
    x = images.astype(np.float32) / 255
    if x.ndim == 4:
        n, side = x.shape[:2]
        x = x.reshape(n, 16, side // 16, 16, side // 16, 3).mean((2, 4))
    return np.asarray(x.reshape(len(x), -1), np.float32)


def contaminated(
    pool: Pool,
    representation: str,
    level: float,
    kinds: str = "both,mixed,uniform",
    seed: int = 0,
    n: int | None = None,
) -> Drawn:
    """A contaminated data set as embeddings; see `draw`."""
    made = draw(pool, level, kinds, seed, n)
    truth = (made.labels, made.is_off_topic, made.is_label_error, made.dup_pairs)
    return Drawn(pool[representation][made.rows], *truth)


def draw(pool: Pool, level: float, kinds: str = "both,mixed,uniform", seed: int = 0, n: int | None = None) -> Draw:
    """n clean samples (default: all) and n * level of each issue.

    Args:
        pool: as `load` reads it.
        level: off-topic samples and copies added, and labels flipped, as a fraction of n.
        kinds: one word each of OFF, COPIES and FLIPS, with commas between. "both": half scattered, half one cluster;
            "mixed": a third each of exact copies, one operation and chains of up to 8.
        seed: the same seed gives the same data.
        n: clean samples.
    """
    off, copies, flips = kinds.split(",")
    if off not in OFF or copies not in COPIES or flips not in FLIPS:
        raise ValueError(f"kinds must be one each of {OFF}, {COPIES} and {FLIPS}, got {kinds!r}")
    rng = np.random.default_rng(seed)
    whole = (pool["role"] == 0).nonzero()[0]
    clean = whole if n is None else np.sort(rng.choice(whole, n, replace=False))
    wanted = round(level * len(clean))
    copied = copied_rows(pool, clean, 0 if copies == "none" else wanted, copies, rng)
    strange = strange_rows(pool, 0 if off == "none" else wanted, off, rng)
    rows = np.concatenate([clean, copied, strange])
    true = pool["labels"][rows].astype(np.int64)
    labels = true.copy()
    source = np.where(pool["source"][rows] >= 0, pool["source"][rows], rows)
    single = np.setdiff1d(np.arange(len(clean)), np.isin(clean, source[len(clean) :]).nonzero()[0])
    wrong = np.zeros(len(rows), bool)
    if flips != "none":
        classes = np.arange(true.max() + 1)
        chosen, given = flipped(pool, rows, true, single, wanted, flips, len(classes), rng)
        labels[chosen], wrong[chosen] = given, True
    labels[true < 0] = rng.integers(0, true.max() + 1, (true < 0).sum())
    return shuffled(rows, labels, true, wrong, source, rng)


def copied_rows(pool: Pool, clean: Ints, n: int, kind: str, rng: np.random.Generator) -> Ints:
    """n rows that copy clean ones; no source serves two kinds."""
    shares = {"exact": n - 2 * (n // 3), "one": n // 3, "chain": n // 3} if kind == "mixed" else {kind: n}
    used: Ints = np.empty(0, np.int64)
    made = []
    if shares.get("chain"):
        rows = chains(pool, clean, shares["chain"], rng)
        used, made = np.unique(pool["source"][rows]), [rows]
    if shares.get("one"):
        free = (pool["role"] == 3) & np.isin(pool["source"], clean) & ~np.isin(pool["source"], used)
        rows = rng.choice(free.nonzero()[0], shares["one"], replace=False)
        used, made = np.concatenate([used, pool["source"][rows]]), [*made, rows]
    if shares.get("exact"):
        made.append(rng.choice(np.setdiff1d(clean, used), shares["exact"], replace=False))
    return np.concatenate(made) if made else used


def chains(pool: Pool, clean: Ints, n: int, rng: np.random.Generator) -> Ints:
    """n rows: the first 1 to 8 steps of chains, longer ones where there are too few chains."""
    here = (pool["role"] == 4) & np.isin(pool["source"], clean)
    sources = rng.permutation(np.unique(pool["source"][here]))
    longest = int(pool["step"].max())
    length = rng.integers(1, longest + 1, len(sources))
    while length.sum() < n and (length < longest).any():
        length[np.flatnonzero(length < longest)[0]] = longest
    length = np.clip(n - np.concatenate([[0], np.cumsum(length)[:-1]]), 0, length)
    steps = dict(zip(sources.tolist(), length.tolist(), strict=True))
    reached = pool["step"] <= np.array([steps.get(s, 0) for s in pool["source"].tolist()])
    rows: Ints = (here & reached).nonzero()[0]
    return rows


def strange_rows(pool: Pool, n: int, kind: str, rng: np.random.Generator) -> Ints:
    shares = {"both": (n - n // 2, n // 2), "scattered": (n, 0), "clustered": (0, n), "none": (0, 0)}[kind]
    parts = [
        rng.choice((pool["role"] == role).nonzero()[0], share, replace=False)
        for role, share in zip((1, 2), shares, strict=True)
    ]
    return np.concatenate(parts)


def flipped(
    pool: Pool, rows: Ints, true: Ints, single: Ints, n: int, kind: str, classes: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """n positions, none of them a copy or copied, and the wrong labels they get."""
    if kind == "class":  # some classes suffer more, and most go to one other class
        rate = rng.dirichlet(np.full(classes, 0.7)) + 0.02
        weight = rate[true[single]] / np.bincount(true[single], minlength=classes)[true[single]]
        chosen = rng.choice(single, n, replace=False, p=weight / weight.sum())
        first, other = rng.integers(1, classes, (2, classes))
        step = np.where(rng.random(n) < 0.7, first[true[chosen]], other[true[chosen]])
        return chosen, (true[chosen] + step) % classes
    chosen = rng.choice(single, n, replace=False)
    if kind == "confusable":
        return chosen, pool["confused"][true[chosen]]
    if kind == "mistaken":
        return chosen, pool["mistaken"][rows[chosen]]
    return chosen, (true[chosen] + rng.integers(1, classes, n)) % classes


def shuffled(
    rows: Ints, labels: Ints, true: Ints, wrong: NDArray[np.bool_], source: Ints, rng: np.random.Generator
) -> Draw:
    order = rng.permutation(len(rows))
    rows, labels, true, source = rows[order], labels[order], true[order], source[order]
    groups = np.split(np.argsort(source, kind="stable"), np.cumsum(np.unique(source, return_counts=True)[1])[:-1])
    pairs = [(i, j) for group in groups if len(group) > 1 for i in group for j in group if i < j]
    dup_pairs = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Draw(rows, labels, true, true < 0, wrong[order], dup_pairs)
