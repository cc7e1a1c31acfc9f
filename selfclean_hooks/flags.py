"""What is flagged of single samples, by scores and by people; near duplicates are decided in sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.duplicates import contradicted
from selfclean_hooks.review import Review
from selfclean_hooks.ruling import Ruling, corrected
from selfclean_hooks.scores import Scores
from selfclean_hooks.thresholds import ISSUES, Thresholds, flagged

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Flags:
    """Flags of N samples for every issue but near duplicates, and what they rest on."""

    cuts: Mapping[str, float]  # issue: score below which it is flagged, -inf: none are
    flags: Mapping[str, Bools]  # issue: (N,)
    fine: Mapping[str, Bools]  # issue: (N,) flagged, had no person found it fine
    doubts: Mapping[int, Mapping[int, int]]  # see `contradicted`
    leaks: Bools  # (L,) pairs with samples of other splits that are near duplicates
    scores: Scores  # with the labels that people gave


def flags_of(scores: Scores, thresholds: Thresholds, review: Review | None, ruling: Ruling) -> Flags:
    """What is below the cuts or was confirmed, and was not found fine.

    Args:
        scores: of N samples.
        thresholds: where a score becomes a flag.
        review: what people decided, or None.
        ruling: what that amounts to.
    """
    cuts, now = cuts_of(scores, thresholds, review), corrected(scores, ruling.relabelled)
    doubts = contradicted(now, cuts["near_duplicates"]) if cuts["label_errors"] > -math.inf else {}
    every = np.arange(len(scores))
    leaks, raw = np.zeros(0, bool), {issue: flagged(scores.of(issue), cuts[issue]) for issue in ISSUES[1:]}
    raw["label_errors"] |= np.isin(every, list(doubts))
    raw["leakage"] = np.zeros(len(scores), bool)
    if scores.leaks is not None:
        leaks = flagged(scores.leaks.score, cuts["leakage"])
        raw["leakage"][scores.leaks.index[leaks]] = True
        leaks &= ~ruling.no_leak
    raw["unreadable"] = np.isin(every, list(scores.errors))
    open_ = {**raw, "leakage": np.zeros(len(scores), bool)}
    if scores.leaks is not None:
        open_["leakage"][scores.leaks.index[leaks]] = True
    flags = {issue: (hits | ruling.confirmed[issue]) & ~ruling.settled[issue] for issue, hits in open_.items()}
    fine = {issue: hits & ~flags[issue] for issue, hits in raw.items()}
    fine["label_errors"][list(ruling.relabelled)] = False
    return Flags(cuts, flags, fine, doubts, leaks, now)


def cuts_of(scores: Scores, thresholds: Thresholds, review: Review | None) -> dict[str, float]:
    """Issue: score below which it is flagged; leakage as near duplicates are, unless a reviewer moved its own cut."""
    cuts = dict.fromkeys(ISSUES, -math.inf)
    for issue, automatic in scores.automatic.items():
        cuts[issue] = thresholds.resolve(issue, automatic, scores.of(issue), scores.calibration.get(issue))
    if scores.leaks is not None:
        is_auto = thresholds.near_duplicates == "auto"
        cuts["leakage"] = scores.leaks.automatic if is_auto else cuts["near_duplicates"]
        moved = {} if review is None else review.thresholds_of("", *scores.leaks.splits[:1])
        cuts["leakage"] = moved.get("leakage", cuts["leakage"])
    return cuts
