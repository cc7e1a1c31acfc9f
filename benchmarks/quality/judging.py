"""How good a ranking and a threshold are, where the truth is known. Low scores are worse; equal ones count as one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from draws import Draw
from numpy.typing import NDArray
from scipy.stats import rankdata

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]
ISSUES = ("near_duplicates", "off_topic", "label_errors")
NO_PAIRS = np.empty((0, 2), np.int64)


class Found(NamedTuple):
    """What a tool says of one issue. Pairs have the smaller position first and come once each."""

    score: Floats | None = None  # (N,) low = worse
    flagged: Bools | None = None  # (N,) None: the tool has no threshold of its own
    pairs: NDArray[np.int64] = NO_PAIRS  # (P, 2)
    pair_score: Floats | None = None  # (P,)
    flagged_pairs: NDArray[np.int64] | None = None  # (Q, 2)


Row = dict[str, float | str]


def judged(found: Found, issue: str, truth: Draw) -> Row:
    """AP, AUROC, F1 at the tool's own threshold, the best F1 on its ranking, and the number of samples flagged."""
    if issue == "near_duplicates":
        return _pairs_judged(found, truth)
    counted = ~truth.is_off_topic if issue == "label_errors" else np.ones(len(truth.rows), bool)
    wrong = (truth.is_label_error if issue == "label_errors" else truth.is_off_topic)[counted]
    row: Row = {}
    if found.score is not None:
        row |= _ranked(found.score[counted], wrong, int(wrong.sum())) | {"auroc": auroc(found.score[counted], wrong)}
    if found.flagged is not None:
        flagged = found.flagged[counted]
        row |= {"f1": f1(int((flagged & wrong).sum()), int(flagged.sum()), int(wrong.sum()))}
        row["flagged"] = int(flagged.sum())
    return row


def _pairs_judged(found: Found, truth: Draw) -> Row:
    """Pairs of two off-topic samples are left out: patches of one photograph are near each other."""
    n, strange = len(truth.rows), truth.is_off_topic
    real = _keys(truth.dup_pairs, n)
    row: Row = {}
    if found.pair_score is not None:
        kept = ~strange[found.pairs].all(1)
        hits = np.isin(_keys(found.pairs[kept], n), real)
        row |= _ranked(found.pair_score[kept], hits, len(real))
    if found.score is not None:
        copied = np.isin(np.arange(n), truth.dup_pairs)
        row |= {"auroc": auroc(found.score[~strange], copied[~strange])}
    if found.flagged_pairs is not None:
        kept_pairs = found.flagged_pairs[~strange[found.flagged_pairs].all(1)]
        row |= {"f1": f1(int(np.isin(_keys(kept_pairs, n), real).sum()), len(kept_pairs), len(real))}
        row["flagged"] = len(np.unique(kept_pairs))
    return row


def _keys(pairs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    return pairs[:, 0] * n + pairs[:, 1]


def _ranked(score: Floats, real: Bools, total: int) -> Row:
    """Average precision and best F1 over all thresholds between different scores; what is not listed is never found."""
    if total == 0:
        return {}
    order = np.argsort(score, kind="stable")
    last = np.append(np.diff(score[order]) > 0, True) if len(score) else np.empty(0, bool)
    found = np.cumsum(real[order])[last]
    listed = np.arange(1, len(score) + 1)[last]
    precision, gained = found / listed, np.diff(found, prepend=0)
    best = (2 * found / (listed + total)).max(initial=0.0)
    return {"ap": float((precision * gained).sum() / total), "best_f1": float(best)}


def auroc(score: Floats, real: Bools) -> float:
    """Probability that a real issue scores lower than another sample; equal scores count half."""
    positive, negative = int(real.sum()), int((~real).sum())
    if positive == 0 or negative == 0:
        return float("nan")
    above = rankdata(-np.asarray(score, np.float64))[real].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def f1(hits: int, flagged: int, total: int) -> float:
    """0 where nothing was flagged or nothing was right; NaN where there is nothing to find."""
    return float("nan") if total == 0 else 2 * hits / (flagged + total)
