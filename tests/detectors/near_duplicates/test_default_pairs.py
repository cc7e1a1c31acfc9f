"""Pairs, sets and leaks of the default method against loops that are slow and plain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfclean_hooks import Policy, Thresholds, audit_embeddings
from selfclean_hooks.audits.pipeline import audit_of, with_leakage
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.core.scores import PairScales, Scores
from selfclean_hooks.decisions.settings import FDR, Keep, Top
from selfclean_hooks.detectors.leakage import find_leakage
from tests.detectors.test_default_method import Floats, clouds
from tests.detectors.test_leakage import embeddings
from tests.helpers.reference import distance_matrix, duplicate_sets, unit_rows


def score_table(rows: Floats, scores: Scores) -> Floats:
    """(N, N) score of every pair, one by one."""
    assert scores.local_scale is not None
    d, table = distance_matrix(unit_rows(rows)), np.zeros((len(rows), len(rows)))
    for i in range(len(rows)):
        for j in range(len(rows)):
            e, r = d[i, j] ** 0.5, (float(scores.local_scale[i]) * float(scores.local_scale[j])) ** 0.25
            table[i, j] = e / (e + r) if e > 0 else 0.0
    return table


def chains() -> Floats:
    """Copies of copies, each a step further from the first, exact copies, and groups of many."""
    rng, rows = np.random.default_rng(5), clouds(120)[0]
    steps = rng.normal(0, 0.12, (8, 5, 16)).cumsum(1)
    series = (rows[:8, None] + steps).reshape(-1, 16)
    crowd = rows[20] + rng.normal(0, 0.05, (30, 16))
    return np.concatenate([rows, series, rows[10:14], rows[10:12], crowd])[rng.permutation(196)]


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.3, 0.45, "auto"])
@pytest.mark.parametrize("keep", ["first", "most_central"])
def test_sets_of_near_duplicates(threshold: Any, keep: Keep) -> None:
    rows = chains()
    audit = audit_embeddings(rows, thresholds=Thresholds(near_duplicates=threshold), policy=Policy(keep=keep))
    table, threshold = score_table(rows, audit.scores), audit.decisions.thresholds["near_duplicates"]
    near = (table < threshold) | (table == 0)
    np.fill_diagonal(near, False)
    kept, sets, surplus = audit.decisions.duplicates.kept, audit.decisions.sets, audit.decisions.surplus
    assert len(kept) > 3
    assert sets.max() + 1 == len(kept)
    for a in kept:
        assert not any(near[a, b] for b in kept)
    for i in surplus.nonzero()[0]:
        assert near[i, kept[sets[i]]]
    for i in (sets < 0).nonzero()[0]:  # what is in no set is kept, beside nothing that is kept
        assert not any(near[i, j] for j in range(len(rows)) if not surplus[j])
    np.testing.assert_array_equal(audit.decisions.flags["near_duplicates"], near.any(1))
    shown = audit.duplicate_sets
    assert shown["index"].tolist() == sorted(shown["index"], key=lambda i: (sets[i], surplus[i], i))


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.3, 0.45])
def test_sets_are_those_of_a_loop(threshold: float) -> None:
    rows = chains()
    audit = audit_embeddings(rows, thresholds=Thresholds(near_duplicates=threshold))
    table, nothing = score_table(rows, audit.scores), np.zeros(len(rows), np.int64)
    number, kept = duplicate_sets(table, threshold, "first", nothing, nothing)
    assert audit.decisions.sets.tolist() == number
    assert audit.decisions.duplicates.kept.tolist() == kept


def test_every_pair_below_the_threshold_is_listed_with_its_score() -> None:
    rows = chains()
    audit = audit_embeddings(rows, thresholds=Thresholds(near_duplicates=0.4))
    table = score_table(rows, audit.scores)
    listed = {(i, j): s for i, j, s in zip(*audit.scores.pair_index.T.tolist(), audit.scores.pair_score, strict=True)}
    below = {(i, j) for i in range(len(rows)) for j in range(i + 1, len(rows)) if table[i, j] < 0.4}
    assert below <= set(listed)
    assert all(abs(table[pair] - score) < 1e-4 for pair, score in listed.items())
    np.fill_diagonal(table, 1)
    lowest = table.min(1)
    certain = lowest < 0.5  # beyond that only the nearest by distance are looked at
    assert certain.sum() > 100
    np.testing.assert_allclose(audit.scores.near_duplicate[certain], lowest[certain], atol=1e-4)
    assert (audit.scores.near_duplicate[~certain] >= 0.5).all()
    assert audit.pairs["near_duplicate_score"].is_monotonic_increasing


def splits() -> tuple[Floats, dict[str, Floats]]:
    """Train; val with near copies (0 to 9) and an exact one (10); test with near ones, further (0 to 4)."""
    rng, rows = np.random.default_rng(7), clouds(260)[0]
    train, val, test = rows[:160], rows[160:220], rows[220:]
    val = np.concatenate([train[:10] + rng.normal(0, 0.02, (10, 16)), train[20:21], val])
    return train, {"val": val, "test": np.concatenate([train[30:35] + rng.normal(0, 0.08, (5, 16)), test])}


def slow_leaks(train: Floats, other: Floats, local_scale: NDArray[np.floating]) -> Floats:
    """(N, M) score of every pair of samples of two splits: the local scale is that of the one in train."""
    d = distance_matrix(unit_rows(np.concatenate([train, other])))[: len(train), len(train) :]
    table = np.zeros(d.shape)
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            e, r = d[i, j] ** 0.5, float(local_scale[i]) ** 0.5
            table[i, j] = e / (e + r) if e > 0 else 0.0
    return table


@pytest.mark.parametrize("below", [0.15, 0.25, 0.4])
def test_leaks_are_measured_by_the_split_that_is_trained_on(below: float) -> None:
    train, others = splits()
    local_scale = audit_embeddings(train).scores.local_scale
    assert local_scale is not None
    sides = {"train": embeddings(train), **{name: embeddings(rows) for name, rows in others.items()}}
    found = find_leakage(sides, {"train": PairScales(local_scale)}, below, 0.3, ("train",))["train"]
    tables = [slow_leaks(train, rows, local_scale) for rows in others.values()]
    assert found.automatic == 0.3
    assert (np.diff(found.score) >= 0).all()
    np.testing.assert_allclose(found.worst, np.minimum(*[t.min(1) for t in tables]), rtol=1e-4, atol=1e-6)
    for number, table in enumerate(tables, 1):
        mine = found.other == number
        ends = list(zip(found.index[mine].tolist(), found.other_index[mine].tolist(), strict=True))
        np.testing.assert_allclose(found.score[mine], [table[end] for end in ends], rtol=1e-4, atol=1e-6)
        nearest = {(i, int(table[i].argmin())) for i in range(len(train))}
        assert (table < below).sum() > 0
        assert nearest | {(int(i), int(j)) for i, j in np.argwhere(table < below)} <= set(ends)
        assert len(set(ends)) == len(ends)


def test_both_sides_of_a_leak_score_alike() -> None:
    train, others = splits()
    local_scale = audit_embeddings(train).scores.local_scale
    sides = {"train": embeddings(train), "val": embeddings(others["val"])}
    found = find_leakage(sides, {"train": PairScales(local_scale)}, 0.3)
    one, other = (
        {(*sorted(((0, i), (1, j))),): s for i, j, s in ends}
        for ends in (
            zip(found["train"].index.tolist(), found["train"].other_index.tolist(), found["train"].score, strict=True),
            zip(found["val"].other_index.tolist(), found["val"].index.tolist(), found["val"].score, strict=True),
        )
    )
    assert one == other


@pytest.mark.parametrize("threshold", ["auto", 0.0, 0.15, 0.35, Top(0.1), FDR(0.2), None])
def test_leaks_are_flagged_as_near_duplicates_are(threshold: Any) -> None:
    train, others = splits()
    sides = {name: embeddings(rows) for name, rows in {"train": train, **others}.items()}
    alone = audit_of(sides["train"], AuditSettings(thresholds=Thresholds(near_duplicates=threshold)))
    audit = with_leakage(alone, sides.pop("train"), sides)
    resolved, local_scale = audit.decisions.thresholds["near_duplicates"], audit.scores.local_scale
    assert audit.decisions.thresholds["leakage"] == resolved
    assert local_scale is not None
    worst = np.minimum(*[slow_leaks(train, rows, local_scale).min(1) for rows in others.values()])
    np.testing.assert_array_equal(
        audit.decisions.flags["leakage"], (worst < resolved) | ((worst == 0) & (resolved > -np.inf))
    )
    assert audit.decisions.flags["leakage"][20] == (threshold is not None)
    table = audit.leakage
    assert set(table["index_1"][table["is_leakage_issue"]]) == set(audit.worst("leakage").tolist())


def test_leaks_at_auto_are_those_planted() -> None:
    train, others = splits()
    sides = {name: embeddings(rows) for name, rows in others.items()}
    one = embeddings(train)
    audit = with_leakage(audit_of(one, AuditSettings()), one, sides)
    assert audit.decisions.flags["leakage"].nonzero()[0].tolist() == [*range(10), 20, *range(30, 35)]


def test_a_split_with_an_unreadable_sample_is_measured_in_place() -> None:
    train, others = splits()
    whole = embeddings(train)
    broken = embeddings(train, errors=(0,))  # all others a place further
    sides = {"val": embeddings(others["val"])}
    one, moved = (with_leakage(audit_of(e, AuditSettings()), e, sides).scores.leaks for e in (whole, broken))
    assert one is not None
    assert moved is not None
    positions = broken.readable
    np.testing.assert_array_equal(positions[one.index], moved.index)
    np.testing.assert_array_equal(one.score, moved.score)
