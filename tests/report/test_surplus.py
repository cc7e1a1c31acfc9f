"""Surplus copies on the page: those of the audit at its own threshold, those of connected groups at others."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks import Audit, Thresholds, audit_embeddings
from selfclean_hooks.report.html.findings import surplus_scores


def crowded(seed: int, threshold: float | None = 0.3) -> Audit:
    """Copies of copies, some exact, and chains."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(150, 6))
    rows[40:80] = rows[rng.integers(0, 40, 40)] + rng.normal(size=(40, 6)) * rng.choice([0, 0.01, 0.2], 40)[:, None]
    return audit_embeddings(rows, thresholds=Thresholds(near_duplicates=threshold))


@pytest.mark.parametrize("seed", range(4))
def test_at_the_threshold_in_force_it_is_the_surplus_of_the_audit(seed: int) -> None:
    audit = crowded(seed)
    scores = surplus_scores(audit, 1.0)
    threshold = audit.decisions.thresholds["near_duplicates"]
    assert ((scores < threshold) | (scores == 0)).tolist() == audit.decisions.surplus.tolist()
    assert audit.decisions.surplus.any()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("at", [0.05, 0.15, 0.6, 0.9])
def test_elsewhere_a_group_keeps_one(seed: int, at: float) -> None:
    audit = replace(crowded(seed), thresholds=Thresholds(near_duplicates=None))
    s = audit.scores
    near = s.tree_score < at
    graph = coo_array((np.ones(near.sum()), s.tree_index[near].T), shape=(len(s), len(s)))
    groups = connected_components(graph, directed=False)[0]
    assert int((surplus_scores(audit, 1.0) < at).sum()) == len(s) - groups


def test_the_same_copy_is_kept_at_every_threshold_and_none_is_counted_beyond_the_limit() -> None:
    audit = replace(crowded(1), thresholds=Thresholds(near_duplicates=None))
    whole, part = surplus_scores(audit, 1.0), surplus_scores(audit, 0.2)
    known = ~np.isnan(part)
    assert (part[known] < 0.2).all()
    assert part[known].tolist() == whole[known].tolist()
    assert not (whole[~known] < 0.2).any()
