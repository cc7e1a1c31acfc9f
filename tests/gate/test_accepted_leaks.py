"""Leakage in a baseline: accepted pair by pair."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.audits.audit_splits import splits_of
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.cli.audit_sources import embeddings_of
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import check
from tests.gate.baseline_data import leaking, new


def test_leakage_is_accepted_pair_by_pair() -> None:
    baseline = Baseline.of({"train": leaking((0, "x"), (0, "y"), (2, "z"))})
    assert len(baseline) == 3

    def found(*pairs: tuple[int, str]) -> Any:
        return new(check({"train": leaking(*pairs)}, {}, baseline))

    assert found((2, "z"), (0, "y"), (0, "x")) == found((2, "z")) == {}
    assert found((0, "x"), (0, "new"), (2, "z")) == {"leakage": [0]}
    assert found((2, "x"), (0, "x")) == {"leakage": [2]}
    assert found((1, ""), (0, "x")) == {"leakage": [1]}
    assert found((0, "x"), (3, "z")) == {"leakage": [3]}
    verdict = check({"train": leaking((0, "x"), (2, "z"))}, {}, baseline)
    assert len(verdict.stale) == 1
    assert verdict.stale[0].startswith("train leakage: ")
    assert new(check({"other": leaking((0, "x"))}, {}, baseline)) == {"leakage": [0]}


def test_the_vectors_of_an_audit_may_be_in_any_order() -> None:
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(300, 16)), rng.integers(0, 3, 300)
    vectors[100:110] = vectors[:10] + 1e-3 * rng.normal(size=(10, 16))
    vectors[110:120] = vectors[:10]
    audit = audit_embeddings(vectors, labels, thresholds=Thresholds(0.05))
    baseline = Baseline.of({"": audit})
    assert audit.decisions.surplus.sum() == 20
    order = rng.permutation(300)
    moved = audit_embeddings(vectors[order], labels[order], thresholds=Thresholds(0.05))
    assert new(moved.check(Limits(), baseline)) == {}
    assert moved.check(Limits(), baseline).stale == ()
    more = np.concatenate([vectors, vectors[200:201]])
    grown = audit_embeddings(more, [*labels, labels[200]], thresholds=Thresholds(0.05, label_errors=None))
    assert new(grown.check(Limits(near_duplicates=0.0), baseline))["near_duplicates"] == [300]


@cache
def scenes(train: int, val: int) -> dict[str, Audit]:
    """Frames of one scene in two splits, beside images of their own."""
    frames = np.random.default_rng(1).normal(0, 1e-3, (24, 8)) + np.eye(8)[0]
    parts = frames[:12][:train], frames[12:][:val]
    given = {}
    for name, scene, seed in zip(("train", "val"), parts, (2, 3), strict=True):
        own = np.random.default_rng(seed).normal(size=(20, 8)) - np.eye(8)[0]
        given[name] = embeddings_of(np.concatenate([scene, own]).astype(np.float32))
    policies = dict.fromkeys(given, Policy())
    return dict(splits_of(given, AuditSettings(thresholds=Thresholds(near_duplicates=0.05)), policies).audits)


@pytest.mark.parametrize("removed", [1, 3, 11])
@pytest.mark.parametrize("side", [0, 1])
def test_of_many_that_leak_some_may_go_and_nothing_is_new(side: int, removed: int) -> None:
    baseline = Baseline.of(scenes(12, 12))
    assert check(scenes(12, 12), {}, baseline)
    sizes = (12 - removed, 12) if side == 0 else (12, 12 - removed)
    assert new(check(scenes(*sizes), {}, baseline)) == {}
    assert not check(scenes(12, 12), {}, Baseline.of(scenes(11, 12)))  # one frame more


A, B = [0.0], [0.01]  # nearly the same image


@pytest.mark.parametrize(
    ("train", "val", "new_in"),
    [
        ([A], [B], set()),
        ([A, B], [B], {"train", "val"}),
        ([A], [B, A], {"train", "val"}),
        ([B], [A], {"train", "val"}),
        ([B], [B], {"train", "val"}),
        ([A, A], [B], {"train"}),
        ([A], [B, B], {"val"}),
    ],
)
def test_an_accepted_leak_says_which_content_is_in_which_split(train: Any, val: Any, new_in: set[str]) -> None:
    def found(**scenes: list[list[float]]) -> dict[str, Audit]:
        given = {}
        for seed, (name, scene) in enumerate(scenes.items()):
            shown = np.array([[1.0, *tilt, *[0.0] * 6] for tilt in scene])
            own = np.random.default_rng(seed).normal(size=(20, 8)) - 3 * np.eye(8)[0]
            given[name] = embeddings_of(np.concatenate([shown, own]).astype(np.float32))
        return dict(splits_of(given, AuditSettings(thresholds=Thresholds(0.05)), dict.fromkeys(given, Policy())).audits)

    baseline = Baseline.of(found(train=[A], val=[B]))
    verdict = check(found(train=train, val=val), {}, baseline)
    assert {c.split for c in verdict.checks if c.issue == "leakage" and c.found.size} == new_in
