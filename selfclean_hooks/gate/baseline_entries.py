"""The findings of an audit as entries of a baseline, by the content of the samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from selfclean_hooks.core.issues import NAMES, PAIRS
from selfclean_hooks.core.scores import Scores, label_texts
from selfclean_hooks.decisions.duplicate_sets import near_duplicate_components, near_duplicate_links
from selfclean_hooks.decisions.settings import is_below
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.baseline_file import Entry, Key
from selfclean_hooks.utils.arrays import BoolArray

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

Node = tuple[int, str]  # 0 in this split, 1 in another; content
MAX_NAMES = 20  # in an entry
SINGLE = tuple(issue for issue in NAMES if issue not in PAIRS)
NOT_AN_ISSUE = "reviewed: not an issue"  # note on rejected findings


def entries_of(audit: AuditResult, split: str, everything: bool = False) -> Iterator[Entry]:
    """The findings to accept: unreviewed ones, and with a note rejected ones.

    Findings about confirmed samples and corrected labels are left out, unless `everything` is true.
    """
    excluded = audit.decisions.confirmed & (not everything)
    yield from _of_samples(audit, split, excluded, everything)
    yield from _of_copies(audit, split, excluded)


def _of_samples(audit: AuditResult, split: str, excluded: BoolArray, everything: bool) -> Iterator[Entry]:
    """Findings about single samples, and leakage."""
    names, others = audit.names or ("",) * len(audit), _names_of_others(audit)
    for key, found in _single_to_accept(audit, split, excluded, everything).items():
        if all(key.samples):
            beside = [others.get(key.samples[1], "")] if key.issue == "leakage" else []
            note = NOT_AN_ISSUE if all(is_fine for _, is_fine in found) else ""
            indices = dict.fromkeys(i for i, _ in found)
            yield _entry(key, [*(names[i] for i in indices), *beside], len(indices), note)


def _of_copies(audit: AuditResult, split: str, excluded: BoolArray) -> Iterator[Entry]:
    """Links between contents, and the number of copies of one content."""
    d, digests, names = audit.decisions, digests_of(audit), audit.names or ("",) * len(audit)
    scores, near, fine = (
        _without(audit.scores, excluded),
        d.thresholds["near_duplicates"],
        d.dismissed["near_duplicates"],
    )
    component = near_duplicate_components(scores, near)
    copies: dict[str, list[int]] = {}
    for i in (np.bincount(component, minlength=1)[component] > 1).nonzero()[0].tolist():
        copies.setdefault(digests[i], []).append(i)
    for content, indices in copies.items():
        if content and len(indices) > 1:
            key = Key("near_duplicates", split, (content, content), "")
            yield _entry(key, [names[i] for i in indices], len(indices), NOT_AN_ISSUE if fine[indices].any() else "")
    for pair in near_duplicate_links(scores, near)[0].tolist():
        first, second = sorted(pair, key=lambda i: digests[i])
        if digests[first] and digests[first] != digests[second]:
            key = Key("near_duplicates", split, (digests[first], digests[second]), "")
            yield _entry(key, [names[first], names[second]], note=NOT_AN_ISSUE if fine[pair].any() else "")


def single(audit: AuditResult, split: str, hits: Mapping[str, BoolArray]) -> Iterator[tuple[str, int, Key]]:
    """Findings about single samples of known content.

    Args:
        audit: where they are.
        split: its name.
        hits: issue: (N,) which samples.
    """
    digests, labels = digests_of(audit), label_texts(audit.scores)
    for issue in SINGLE:
        for i in hits[issue].nonzero()[0].tolist() if issue in audit.contamination else ():
            if digests[i]:
                label = labels[i] if issue == "label_errors" else ""
                yield issue, i, Key(issue, split, (digests[i],), label)


def leaks(audit: AuditResult, split: str, near: BoolArray) -> Iterator[tuple[str, int, Key]]:
    """Samples that another split holds too, once for each content there; unknown content matches nothing.

    Args:
        audit: where they are.
        split: its name.
        near: (L,) which of the pairs between splits.
    """
    held, digests = audit.scores.leaks, digests_of(audit)
    if held is None:
        return
    others = held.other_digests or ("",) * len(held)
    pairs = near.nonzero()[0].tolist()
    for index, other in dict.fromkeys((int(held.index[pair]), others[pair]) for pair in pairs):
        yield "leakage", index, Key("leakage", split, (digests[index], other), "")


def nodes_of(key: Key) -> tuple[Node, Node]:
    """The two ends of a link. The same content in this split and in another one are different nodes."""
    return (0, key.samples[0]), (int(key.issue == "leakage"), key.samples[-1])


def linked_sets(audit: AuditResult) -> dict[str, set[int]]:
    """Content: its components of near duplicates."""
    component = near_duplicate_components(audit.scores, audit.decisions.thresholds["near_duplicates"])
    found: dict[str, set[int]] = {}
    for content, number in zip(digests_of(audit), component.tolist(), strict=True):
        found.setdefault(content, set()).add(number)
    return found


def digests_of(audit: AuditResult) -> tuple[str, ...]:
    """Digests of the content of the samples.

    Raises:
        SettingError: the audit has none.
    """
    if audit.digests is None:
        raise SettingError(
            "a baseline identifies findings by the content of the samples, and this audit holds no digests (an older "
            "version wrote it): audit the data again"
        )
    return audit.digests


def _single_to_accept(
    audit: AuditResult, split: str, excluded: BoolArray, everything: bool
) -> dict[Key, list[tuple[int, bool]]]:
    """Findings about single samples and leakage, by key: positions, and whether they were rejected."""
    d = audit.decisions
    open_ = {issue: d.flags[issue] & ~excluded for issue in SINGLE}
    if everything:
        open_["label_errors"] = open_["label_errors"] | np.isin(np.arange(len(audit)), list(d.relabelled))
    fine = {issue: d.dismissed[issue] & ~excluded for issue in SINGLE}
    no_leaks = np.zeros(0, bool)
    if audit.scores.leaks is not None:
        no_leaks = is_below(audit.scores.leaks.score, d.thresholds["leakage"]) & ~d.leaks
    found: dict[Key, list[tuple[int, bool]]] = {}
    for is_fine, hits, near in ((False, open_, d.leaks), (True, fine, no_leaks)):
        for _, index, key in (*single(audit, split, hits), *leaks(audit, split, near)):
            if not excluded[index]:
                found.setdefault(key, []).append((index, is_fine))
    return found


def _names_of_others(audit: AuditResult) -> dict[str, str]:
    """Content: a file that holds it in another split."""
    held = audit.scores.leaks
    return dict(zip(held.other_digests or (), held.other_names or (), strict=False)) if held is not None else {}


def _entry(key: Key, names: list[str], copies: int = 1, note: str = "") -> Entry:
    known = tuple(name for name in dict.fromkeys(names) if name)[:MAX_NAMES]
    return Entry(key.issue, key.samples, key.split, key.label, copies, known, note)


def _without(scores: Scores, excluded: BoolArray) -> Scores:
    """The scores without the pairs of some samples."""
    if not excluded.any():
        return scores
    pairs, edges = ~excluded[scores.pair_index].any(1), ~excluded[scores.tree_index].any(1)
    return replace(
        scores,
        pair_index=scores.pair_index[pairs],
        pair_distance=scores.pair_distance[pairs],
        pair_score=scores.pair_score[pairs],
        mirrored=None if scores.mirrored is None else scores.mirrored[pairs],
        tree_index=scores.tree_index[edges],
        tree_distance=scores.tree_distance[edges],
        scaled_tree_score=None if scores.scaled_tree_score is None else scores.scaled_tree_score[edges],
    )
