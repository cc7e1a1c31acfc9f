"""The truth and the figures of the benchmark: python -m pytest benchmarks/quality"""

from __future__ import annotations

import importlib.util
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from draws import COPIES, FLIPS, OFF, Pool, draw
from judging import Found, judged
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score
from tools import TOOLS, Case


@pytest.fixture(scope="module")
def pool() -> Pool:
    """300 clean, 90 of each kind of off-topic, 90 single copies, 12 chains of 8."""
    role = np.repeat(np.arange(5), [300, 90, 90, 90, 96])
    source, step = np.full(len(role), -1), np.zeros(len(role), int)
    source[role == 3], source[role == 4] = np.arange(90), np.repeat(np.arange(100, 112), 8)
    step[role == 3], step[role == 4] = 1, np.tile(np.arange(1, 9), 12)
    labels = np.where((role == 0) | (source >= 0), np.maximum(source, np.arange(len(role)) * (role == 0)) % 4, -1)
    confused = {"mistaken": (labels[:300] + 1) % 4, "confused": np.array([1, 2, 3, 0])}
    return {"role": role, "source": source, "step": step, "labels": labels, **confused}


@pytest.mark.parametrize(("off", "copies", "flips"), [*itertools.product(OFF, COPIES, FLIPS)])
def test_a_draw_tells_the_truth(pool: Pool, off: str, copies: str, flips: str) -> None:
    made = draw(pool, 0.1, f"{off},{copies},{flips}", seed=1)
    assert made.is_off_topic.sum() == 30 * (off != "none")
    assert made.is_label_error.sum() == 30 * (flips != "none")
    assert len(made.rows) == 300 + 30 * (off != "none") + 30 * (copies != "none")
    wrong = (made.labels != made.true_labels) & ~made.is_off_topic
    np.testing.assert_array_equal(wrong, made.is_label_error)
    first, second = made.dup_pairs.T
    assert (first < second).all()
    origin = np.where(pool["source"][made.rows] >= 0, pool["source"][made.rows], made.rows)
    np.testing.assert_array_equal(origin[first], origin[second])
    assert not made.is_label_error[made.dup_pairs].any()
    assert made.dup_pairs.size == 0 if copies == "none" else len(first) >= 30


def test_figures_agree_with_scikit_learn(pool: Pool) -> None:
    made = draw(pool, 0.1, seed=2)
    rng = np.random.default_rng(0)
    score = np.round(rng.random(len(made.rows)) - 0.3 * made.is_off_topic, 1)  # with ties
    row = judged(Found(score, score < 0.2), "off_topic", made)
    precision, recall, _ = precision_recall_curve(made.is_off_topic, -score)
    assert row["ap"] == pytest.approx(average_precision_score(made.is_off_topic, -score))
    assert row["auroc"] == pytest.approx(roc_auc_score(made.is_off_topic, -score))
    assert row["f1"] == pytest.approx(f1_score(made.is_off_topic, score < 0.2))
    assert row["best_f1"] == pytest.approx(np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def test_pairs_that_are_not_listed_are_never_found(pool: Pool) -> None:
    made = draw(pool, 0.1, seed=3)
    half = made.dup_pairs[::2]
    row = judged(Found(None, None, half, np.zeros(len(half)), half), "near_duplicates", made)
    share = len(half) / len(made.dup_pairs)
    assert row["ap"] == pytest.approx(share)
    assert row["f1"] == row["best_f1"] == pytest.approx(2 * share / (1 + share))


def test_the_same_seed_gives_the_same_draw(pool: Pool) -> None:
    for part, again in zip(draw(pool, 0.05, seed=4), draw(pool, 0.05, seed=4), strict=True):
        np.testing.assert_array_equal(part, again)


@pytest.mark.skipif(importlib.util.find_spec("fastdup") is None, reason="fastdup has an environment of its own")
def test_fastdup_flags_what_it_flags_by_default(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 16)).astype(np.float32)
    vectors[:8] = vectors[8:16] + 0.01
    found = TOOLS["fastdup"](Case(vectors, np.zeros(200, int), np.zeros((200, 8, 8), np.uint8)))
    assert "SENTRY_OPT_OUT" in os.environ
    import pandas as pd
    from fastdup import create  # type: ignore[import-not-found]

    names = pd.DataFrame({"filename": [f"{i}.png" for i in range(200)]})
    run = create(work_dir=str(tmp_path / "work"), input_dir=str(tmp_path))
    run.run(annotations=names, embeddings=vectors, num_threads=1)
    similar = np.unique(np.sort(run.similarity(data=False)[["from", "to"]].to_numpy(), axis=1), axis=0)
    np.testing.assert_array_equal(found["near_duplicates"].flagged_pairs, similar)
    assert {(i, i + 8) for i in range(8)} <= {*map(tuple, similar.tolist())}
    flagged, score = found["off_topic"].flagged, found["off_topic"].score
    assert flagged is not None
    assert score is not None
    assert {*np.flatnonzero(flagged)} == {*run.outliers(data=False)["outlier"]}
    assert score[flagged].max() <= score[~flagged].min()
