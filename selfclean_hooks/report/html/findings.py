"""The findings on a page: how near duplicates count, and thumbnails; of a page that gets too large, the worst ones."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.data.previews import decode_preview, image_kind
from selfclean_hooks.decisions.flags import aspects_below
from selfclean_hooks.decisions.settings import is_below
from selfclean_hooks.results.findings import Selection
from selfclean_hooks.utils.arrays import IntArray

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

Findings = dict[str, list[dict[str, Any]]]


def findings_of(audit: AuditResult, shown: Selection) -> Findings:
    """Issue: what is shown of it, worst first; issues that did not run are left out.

    An entry holds `samples` (positions; of near duplicates the kept copy first), `scores` (one a mark: of every surplus
    copy, else one), `flagged`, `near` (rows of neighbours, where these are known), `words` (what is poor about it,
    of issues with aspects) and for leakage `other`.
    """
    found: Findings = {"near_duplicates": [*_sets(audit, shown), *_pairs(audit, shown)]}
    found |= {issue: _samples(audit, issue, positions) for issue, positions in shown.samples.items()}
    leaks = audit.scores.leaks
    if leaks is not None:
        found["leakage"] = [_leak(audit, leaks, int(pair)) for pair in shown.leaks]
    return {issue: found[issue] for issue in audit.scores.ran if issue in found}


def positions_of(found: Mapping[str, list[dict[str, Any]]]) -> set[int]:
    """Samples of this data set in the entries, neighbours included."""
    entries = [entry for listed in found.values() for entry in listed]
    near = {i for entry in entries for row in entry.get("near", ()) for i in row}
    return near | {i for entry in entries for i in entry["samples"]}


def _sets(audit: AuditResult, shown: Selection) -> list[dict[str, Any]]:
    known = _pair_scores(audit, {i for members in shown.sets for i in members})
    entries = []
    for kept, *surplus in shown.sets:
        scores = [known.get((min(kept, i), max(kept, i)), float(audit.scores.near_duplicate[i])) for i in surplus]
        entries.append({"samples": [kept, *surplus], "scores": _as_numbers(scores), "flagged": True})
    return entries


def _pair_scores(audit: AuditResult, involved: set[int]) -> dict[tuple[int, int], float]:
    """Scores of the pairs whose samples are both of those; exact copies beyond the list of pairs have a score of 0."""
    s = audit.scores
    index, score = np.concatenate([s.tree_index, s.pair_index]), np.concatenate([s.tree_score, s.pair_score])
    of = np.zeros(len(s), bool)
    of[list(involved)] = True
    rows = of[index].all(1)
    pairs = np.sort(index[rows], axis=1)
    return dict(zip(map(tuple, pairs.tolist()), score[rows].astype(float).tolist(), strict=True))


def _pairs(audit: AuditResult, shown: Selection) -> list[dict[str, Any]]:
    s = audit.scores
    return [
        {"samples": s.pair_index[p].tolist(), "scores": _as_numbers(s.pair_score[[p]]), "flagged": False}
        for p in shown.pairs
    ]


def _samples(audit: AuditResult, issue: str, positions: IntArray) -> list[dict[str, Any]]:
    near = _neighbours(audit, issue)
    entries = []
    for i, entry in _ranked(audit, issue, positions):
        threshold = max(audit.decisions.thresholds[issue], math.nextafter(audit.scores.of(issue)[i], 1))
        words = aspects_below(audit.scores, issue, i, threshold)
        entries.append({**entry, **({"near": near[i]} if i in near else {}), **({"words": words} if words else {})})
    return entries


def _neighbours(audit: AuditResult, issue: str) -> dict[int, list[list[int]]]:
    """Position: rows of neighbours of the sample, of the issues whose findings they help to judge."""
    evidence = audit.evidence
    if evidence is not None and issue == "off_topic":
        return {i: [list(places)] for i, places in evidence.off_topic.items()}
    if evidence is not None and issue == "label_errors":
        return {i: [*map(list, rows)] for i, rows in evidence.labels.items()}
    return {}


def _ranked(audit: AuditResult, issue: str, positions: IntArray) -> list[tuple[int, dict[str, Any]]]:
    """Single samples, worst first; those that a review rejected keep their places among those below the threshold."""
    scores = audit.scores.of(issue)[positions]
    below = is_below(scores, audit.decisions.thresholds[issue])
    hits = audit.decisions.flags[issue][positions]
    order = np.lexsort((positions, scores, ~(below | hits))).tolist()
    numbers = _as_numbers(scores)
    return [
        (int(positions[k]), {"samples": [int(positions[k])], "scores": [numbers[k]], "flagged": bool(hits[k])})
        for k in order
    ]


def _as_numbers(scores: Iterable[float]) -> list[float | None]:
    """As JSON numbers; None: not finite."""
    return [float(score) if np.isfinite(score) else None for score in scores]


def _leak(audit: AuditResult, leaks: LeakPairs, pair: int) -> dict[str, Any]:
    split, index, score = leaks.other_split(pair), int(leaks.other_index[pair]), float(leaks.score[pair])
    other = {"split": split, "index": index, "place": int(leaks.other[pair])}
    other |= {"name": leaks.other_names[pair]} if leaks.other_names else {}
    other |= {"digest": leaks.other_digests[pair]} if leaks.other_digests else {}
    is_flagged = bool(audit.decisions.leaks[pair])
    return {"samples": [int(leaks.index[pair])], "scores": _as_numbers([score]), "flagged": is_flagged, "other": other}


Place = tuple[str, int]  # split ("" for the one audited) and position


@dataclass
class ChosenThumbnails:
    """Images and previews by the key of their sample: its position, or "2:17" for one of the split number 2."""

    images: dict[str, str] = field(default_factory=dict)  # base64 of JPEG, PNG or WebP
    previews: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: int = 0


def choose_thumbnails(audit: AuditResult, found: Mapping[str, list[dict[str, Any]]], budget: int) -> ChosenThumbnails:
    """Thumbnails within a budget of characters, each once.

    Those of findings come first, the worst of every issue before the next; neighbours follow.
    """
    leaks, kept, spent = audit.scores.leaks, ChosenThumbnails(), 0
    for split, index in dict.fromkeys(_wanted(found)):
        number = leaks.splits.index(split) if split and leaks is not None else 0
        content = audit.leak_thumbnails.get((split, index)) if split else audit.thumbnails.get(index)
        name = f"{number}:{index}" if split else str(index)
        preview = decode_preview(content)
        if content is None or (preview is None and not image_kind(content)):
            continue
        cost = 4 * -(-len(content) // 3)
        if spent + cost > budget:
            kept.left_out += 1
            continue
        spent += cost
        if preview is None:
            kept.images[name] = base64.b64encode(content).decode()
        else:
            kept.previews[name] = {"kind": preview.kind, **asdict(preview)}
    return kept


def _wanted(found: Mapping[str, list[dict[str, Any]]]) -> Iterator[Place]:
    """Samples in the order in which their thumbnails matter."""
    ranked = [entry for row in zip_longest(*found.values()) for entry in row if entry is not None]
    for entry in ranked:
        yield from (("", i) for i in entry["samples"])
        if "other" in entry:
            yield entry["other"]["split"], entry["other"]["index"]
    for entry in ranked:
        yield from (("", i) for row in entry.get("near", ()) for i in row)


def surplus_scores(audit: AuditResult, limit: float) -> NDArray[np.float64]:
    """(N,) threshold above which a sample is a surplus copy; NaN: none up to `limit`.

    Where a pair of the single-linkage tree joins two groups, the copy that is kept of one of them becomes surplus. At
    the threshold in force the surplus copies are those of the audit, whose sets have no chains.
    """
    scores, threshold = audit.scores, audit.decisions.thresholds["near_duplicates"]
    surplus = audit.decisions.surplus
    value = np.full(len(scores), np.nan)
    near = (scores.tree_score < limit).nonzero()[0]
    near = near[np.argsort(scores.tree_score[near], kind="stable")]
    kept_of: dict[int, int] = {}  # of a sample that is surplus: another one of its group, nearer to the kept copy
    for (a, b), score in zip(scores.tree_index[near].tolist(), scores.tree_score[near].tolist(), strict=True):
        kept, other = sorted((_kept(kept_of, a), _kept(kept_of, b)), key=lambda i: (bool(surplus[i]), i))
        kept_of[other] = kept
        value[other] = score
    if math.isfinite(threshold):
        is_below = (value < threshold) | (value == 0)
        value[surplus & ~is_below] = math.nextafter(threshold, 0)
        value[~surplus & is_below] = threshold
    return value


def _kept(kept_of: dict[int, int], index: int) -> int:
    """The kept copy of a sample's group; ways to it are made shorter."""
    while index in kept_of:
        step = kept_of[index]
        kept_of[index] = kept_of.get(step, step)
        index = step
    return index
