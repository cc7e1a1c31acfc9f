"""Pairs between splits: the search against its twin, and what an audit makes of them."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.audits.pipeline import audit_of, with_leakage
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.core.scores import LeakPairs, PairScales
from selfclean_hooks.detectors.leakage import find_leakage
from selfclean_hooks.errors import ContaminationError, DataError
from selfclean_hooks.neighbors.cross_search import cross_nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.helpers.reference import KINDS, distance_matrix, random_vectors, unit_rows

SCREENS = (torch.bfloat16, torch.float32)
SIZES = ((1, 5, 3), (5, 1, 3), (2, 3, 1), (40, 33, 16), (65, 64, 1280), (300, 31, 2), (31, 300, 24))
Floats = NDArray[np.float64]


def leaks_of(one: Embeddings, others: dict[str, Embeddings], name: str, below: float) -> LeakPairs:
    """By distance, as `method="selfclean"` has it."""
    return find_leakage({name: one, **others}, {name: PairScales()}, below, of=(name,))[name]


def embeddings(vectors: Any, n: int = 0, errors: tuple[int, ...] = (), **changes: Any) -> Embeddings:
    """Of samples whose contents all differ."""
    vectors = np.asarray(vectors, np.float32)
    n = n or len(vectors) + len(errors)
    fields: dict[str, Any] = {
        "errors": dict.fromkeys(errors, "gone"),
        "labels": None,
        "why_no_labels": "there are no labels",
        "class_names": None,
        "names": None,
        "digests": tuple("" if i in errors else f"{id(vectors)}-{i}" for i in range(n)),
        "data": {},
        "encoder": {"name": "x", "fingerprint": "f"},
        "notes": (),
    }
    return Embeddings(vectors=vectors, n=n, **{**fields, **changes})


def gauss(n: int, seed: int, dim: int = 12) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def planted() -> tuple[Embeddings, dict[str, Embeddings]]:
    """Train 7 is val 3 and, nearly, test 0; train 8 is nearly val 4; val has an unreadable sample at 1."""
    train, val, test = gauss(60, 0), gauss(20, 1), gauss(30, 2)
    val[2], val[3] = train[7], train[8] + 1e-3
    test[0] = train[7] + 1e-4
    names = tuple(f"val/{i}.png" for i in range(21))
    return embeddings(train), {"val": embeddings(val, errors=(1,), names=names), "test": embeddings(test)}


def leaky(method: str = "default", **settings: Any) -> Audit:
    train, others = planted()
    thresholds = settings.pop("thresholds", Thresholds(near_duplicates=0.01))
    found = audit_of(train, AuditSettings(method, thresholds, Policy(**settings)))
    return with_leakage(found, train, others)


# --- the search -------------------------------------------------------------------------------------


def check_side(found: tuple[torch.Tensor, torch.Tensor], d: Floats, k: int, below: float = np.inf) -> None:
    """Row by row: the nearest, and as many of the k nearest as are nearer than `below`."""
    for row, indices, distances in zip(d, *(part.tolist() for part in found), strict=True):
        there = [i for i in indices if i >= 0]
        expected = np.sort(row)[:k]
        expected = np.concatenate([expected[:1], expected[1:][expected[1:] < below]])
        assert len(indices) == k
        assert len(set(there)) == len(there)
        assert distances[len(there) :] == [np.inf] * (k - len(there))
        np.testing.assert_array_equal(np.array(distances[: len(there)]) == 0, expected == 0)
        np.testing.assert_allclose(distances[: len(there)], expected, rtol=1e-6, atol=1e-14)
        np.testing.assert_allclose(row[there], expected, rtol=1e-6, atol=1e-14)


def check(x: UnitRows, y: UnitRows, **settings: Any) -> None:
    n, k = len(x), settings.get("k", 8)
    d = distance_matrix(np.concatenate([x.values.numpy(), y.values.numpy()]))[:n, n:]
    of_x, of_y = cross_nearest_neighbors(x, y, **settings)
    for found, matrix in ((of_x, d), (of_y, d.T)):
        check_side(found, matrix, k, settings.get("below", np.inf))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "m", "dim"), SIZES)
def test_neighbours_across_are_those_of_the_full_matrix(n: int, m: int, dim: int, kind: str) -> None:
    rows = random_vectors(kind, n + m, dim, n)[np.random.default_rng(m).permutation(n + m)]
    for screen in SCREENS:
        check(UnitRows.of(rows[:n]), UnitRows.of(rows[n:]), screen=screen)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(2, 40), st.integers(1, 4)), elements=st.floats(-3, 3, width=16)),
    st.integers(1, 39),
    st.integers(1, 5),
    st.sampled_from(SCREENS),
)
def test_ties_copies_and_zero_rows(rows: Floats, n: int, k: int, screen: torch.dtype) -> None:
    n = min(n, len(rows) - 1)
    check(UnitRows.of(rows[:n]), UnitRows.of(rows[n:]), k=k, screen=screen, block=7)


@pytest.mark.parametrize("below", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_after_the_first_are_those_below(kind: str, below: float) -> None:
    rows = random_vectors(kind, 400, 3, 0)
    check(UnitRows.of(rows[:250]), UnitRows.of(rows[250:]), below=below, screen=torch.bfloat16)


def test_neighbours_below_are_found_beside_a_copy() -> None:
    rows = random_vectors("collapsed", 200, 16, 0)  # the first pass cannot tell these apart
    check(UnitRows.of(rows), UnitRows.of(rows[::-1]), below=0.01, screen=torch.bfloat16)


def test_the_result_does_not_depend_on_the_blocks() -> None:
    x, y = (UnitRows.of(gauss(n, n)) for n in (150, 90))
    whole, parts = (cross_nearest_neighbors(x, y, block=block) for block in (4096, 32))
    for one, other in zip((*whole[0], *whole[1]), (*parts[0], *parts[1]), strict=True):
        assert torch.equal(one, other)


# --- the pairs --------------------------------------------------------------------------------------


def test_the_pairs_are_the_nearest_of_both_sides_and_all_below_the_threshold() -> None:
    train, val = gauss(50, 3, 3), gauss(20, 4, 3)
    leaks = leaks_of(embeddings(train), {"val": embeddings(val)}, "train", 0.01)
    d = distance_matrix(unit_rows(np.concatenate([train, val])))[:50, 50:]
    wanted = {(i, int(d[i].argmin())) for i in range(50)} | {(int(d[:, j].argmin()), j) for j in range(20)}
    wanted |= {(int(i), int(j)) for i, j in np.argwhere(d < 0.01)}
    assert (d < 0.01).sum(0).max() <= 8
    assert set(zip(leaks.index.tolist(), leaks.other_index.tolist(), strict=True)) == wanted
    assert len(leaks) == len(wanted)
    assert (np.diff(leaks.distance) >= 0).all()
    np.testing.assert_allclose(leaks.distance, d[leaks.index, leaks.other_index], rtol=1e-5)
    np.testing.assert_allclose(leaks.worst, d.min(1), rtol=1e-5)
    assert leaks.distance.dtype == np.float32


def test_identical_content_lies_at_0_although_its_features_differ() -> None:
    train, val = gauss(30, 0), gauss(20, 1)
    val[4] = train[9] * (1 + 1e-4 * gauss(1, 5)[0])
    one, other = embeddings(train), embeddings(val)
    assert leaks_of(one, {"val": other}, "train", 0.0).distance[0] > 0
    other = replace(other, digests=(*other.digests[:4], one.digests[9], *other.digests[5:]))
    before = val.copy()
    leaks = leaks_of(one, {"val": other}, "train", 0.0)
    assert (leaks.index[0], leaks.other_index[0], leaks.distance[0]) == (9, 4, 0)
    assert leaks.distance[1] > 0
    np.testing.assert_array_equal(other.vectors, before)


def test_unknown_content_is_not_identical() -> None:
    nothing = ("",) * 30
    leaks = leaks_of(
        embeddings(gauss(30, 0), digests=nothing), {"val": embeddings(gauss(30, 1), digests=nothing)}, "a", 0
    )
    assert leaks.distance[0] > 0


def test_permuting_the_other_split_permutes_its_positions() -> None:
    train, val, order = gauss(60, 0), gauss(25, 1), np.random.default_rng(0).permutation(25)
    one, other = (leaks_of(embeddings(train), {"v": embeddings(v)}, "t", 0.05) for v in (val, val[order]))
    np.testing.assert_array_equal(one.index, other.index)
    np.testing.assert_array_equal(one.other_index, order[other.other_index])
    np.testing.assert_array_equal(one.distance, other.distance)


def test_positions_are_those_of_the_data_sets_unreadable_samples_included() -> None:
    leaks = leaky().scores.leaks
    assert leaks is not None
    assert (leaks.splits, leaks.sizes) == (("train", "val", "test"), (60, 21, 30))
    assert [leaks.other_split(pair) for pair in range(3)] == ["val", "test", "val"]
    assert leaks.index[:3].tolist() == [7, 7, 8]
    assert leaks.other_index[:3].tolist() == [3, 0, 4]
    assert 1 not in leaks.other_index[leaks.other == 1]
    assert leaks.other_names is not None
    assert leaks.other_names[:3] == ("val/3.png", "", "val/4.png")


def test_spreading_moves_the_positions_of_the_audited_split_alone() -> None:
    leaks = leaky().scores.leaks
    assert leaks is not None
    moved = leaks.scatter(np.arange(60) + 5, 70)
    np.testing.assert_array_equal(moved.index, leaks.index + 5)
    np.testing.assert_array_equal(moved.other_index, leaks.other_index)
    assert moved.sizes == (70, 21, 30)
    assert np.isnan(moved.worst).nonzero()[0].tolist() == [0, 1, 2, 3, 4, 65, 66, 67, 68, 69]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({}, "between train and other splits, got none"),
        ({"val": embeddings(gauss(9, 1, 5))}, "by one encoder: train has 12 features of f, val has 5 features of f"),
        ({"val": embeddings(gauss(9, 1), encoder={"fingerprint": "g"})}, "val has 12 features of g"),
        ({"val": embeddings(gauss(9, 1) * np.nan)}, "must be finite, got NaN or infinity in val"),
    ],
)
def test_what_cannot_be_compared_is_refused(others: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        leaks_of(embeddings(gauss(20, 0)), others, "train", 0.0)


def test_a_name_given_twice_is_refused() -> None:
    train = embeddings(gauss(20, 0))
    with pytest.raises(DataError, match="between train and other splits, got train"):
        with_leakage(audit_of(train, AuditSettings()), train, {"train": train})


# --- what an audit makes of them --------------------------------------------------------------------


def test_flags_reasons_and_counts() -> None:
    found = leaky(leakage="drop")
    assert found.worst("leakage").tolist() == [7, 8]
    assert found.contamination["leakage"] == 2 / 60
    assert found.frame.action[[7, 8, 9]].tolist() == ["drop", "drop", "keep"]
    reason = str(found.frame.reason[7])
    assert reason.startswith("also in val (index 3, val/3.png, distance 0); also in test (index 0, distance ")
    assert 7 not in found.clean_indices
    assert len(found.clean_indices) == 58
    assert found.summary.issue.tolist() == ["near_duplicates", "off_topic", "label_errors", "leakage", "unreadable"]
    row = found.summary.set_index("issue").loc["leakage"]
    assert row.tolist() == [2, 2 / 60, 0.01, "drop"]


def test_nothing_is_said_of_leakage_where_it_was_not_looked_for() -> None:
    found = audit_embeddings(gauss(60, 0), policy=Policy(leakage="raise"))
    assert "leakage" not in {*found.contamination, *found.summary.issue, *found.decisions.thresholds}
    assert found.worst("leakage").tolist() == []
    assert len(found.leakage) == 0
    assert found.leakage.columns.tolist() == leaky().leakage.columns.tolist()
    found.at(policy=Policy("ignore", "ignore", "ignore", leakage="raise")).enforce()
    verdict = found.check(Limits(leakage=1.0))
    assert verdict.reasons == ("leakage: not run (no other split was given), so the limit 1 is not met",)


def test_the_gate_counts_samples_of_the_split_trained_on() -> None:
    found = leaky()
    assert found.check(Limits(leakage=0.04))
    assert found.check(Limits(leakage=0.0)).reasons == (
        "leakage: 0.0333 (2 of 60 samples; 95% interval 0.0092 to 0.1136) exceeds the limit 0; worst: 7, 8",
    )


def test_a_policy_may_stop_on_leakage() -> None:
    found = leaky(near_duplicates="ignore", off_topic="ignore", leakage="raise")
    with pytest.raises(ContaminationError, match=r"2 of 60 samples \(3.33%\) flagged for leakage; worst: 7, 8"):
        found.enforce()


def test_exact_copies_leak_by_any_threshold_but_none() -> None:
    found = leaky()
    assert found.at(thresholds=Thresholds(0.0)).worst("leakage").tolist() == [7]
    assert found.at(thresholds=Thresholds(None)).worst("leakage").tolist() == []


def test_a_tighter_threshold_never_flags_more() -> None:
    train, val = embeddings(gauss(80, 0, 3)), embeddings(gauss(40, 1, 3))
    found = with_leakage(audit_of(train, AuditSettings(thresholds=Thresholds(1.0))), train, {"val": val})
    audits = [found.at(thresholds=Thresholds(threshold)) for threshold in (1.0, 0.4, 0.2, 0.1, 0.0, None)]
    flags = [audit.decisions.flags["leakage"] for audit in audits]
    assert len(np.unique([flag.sum() for flag in flags])) >= 4
    for audit, flag in zip(audits, flags, strict=True):
        table = audit.leakage
        assert set(table.index_1[table.is_leakage_issue]) == set(flag.nonzero()[0])
    assert [int(flag.sum()) for flag in flags] == sorted((int(flag.sum()) for flag in flags), reverse=True)
    for wide, tight in pairwise(flags):
        assert not (tight & ~wide).any()
    assert flags[0].all()
    assert not flags[-1].any()


def test_of_a_duplicate_set_the_copy_that_does_not_leak_is_kept() -> None:
    train, others = planted()
    train.vectors[20] = train.vectors[8]
    policy = Policy(near_duplicates="drop", leakage="drop", off_topic="ignore")
    settings = AuditSettings(thresholds=Thresholds(near_duplicates=0.0), policy=policy)
    found = with_leakage(audit_of(train, settings), train, others)
    kept = set(range(60)) - set(found.clean_indices.tolist())
    assert kept == {7, 20}
    others["val"].vectors[3] = train.vectors[8]  # now both copies are in val
    found = with_leakage(audit_of(train, settings), train, others)
    assert set(range(60)) - set(found.clean_indices.tolist()) == {7, 8, 20}


def test_no_class_is_emptied_by_leakage() -> None:
    labels = np.zeros(60, np.int64)
    labels[7] = 1
    train, others = planted()
    train = replace(train, labels=labels)
    found = with_leakage(
        audit_of(train, AuditSettings("default", Thresholds(0.0), Policy(leakage="drop"))), train, others
    )
    assert 7 in found.clean_indices
    assert str(found.frame.reason[7]).endswith("kept: its class would otherwise be empty")


@pytest.mark.parametrize("method", ["default", "selfclean"])
def test_the_table_of_pairs(method: str) -> None:
    found = leaky(method)
    table, leaks = found.leakage, found.scores.leaks
    assert leaks is not None
    assert table.columns.tolist() == ["split_1", "index_1", "split_2", "index_2", "distance", "is_leakage_issue"]
    assert table.iloc[0].tolist() == ["train", 7, "val", 3, 0.0, True]
    assert table.is_leakage_issue.sum() == 3
    assert (np.diff(leaks.score) >= 0).all()
    np.testing.assert_array_equal(table.distance, leaks.distance)
    assert table.distance.is_monotonic_increasing == (method == "selfclean")  # else far pairs may be worse than near
