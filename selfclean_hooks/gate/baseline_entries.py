"""The findings of an audit as a baseline knows them: by the content of the samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from selfclean_hooks.core.issues import NAMES, PAIRS
from selfclean_hooks.core.label_text import label_texts
from selfclean_hooks.core.scores import Scores
from selfclean_hooks.decisions.duplicate_sets import near_duplicate_components, near_duplicate_links
from selfclean_hooks.decisions.thresholds import is_below
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.baseline_file import Entry, Key
from selfclean_hooks.utils.arrays import BoolArray

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

Node = tuple[int, str]  # 0 in this split, 1 in another; content
NAMED = 20  # files told in an entry
SINGLE = tuple(issue for issue in NAMES if issue not in PAIRS)
FINE = "looked at: fine"  # note about what a person rejected


def entries_of(audit: AuditResult, split: str, everything: bool = False) -> Iterator[Entry]:
    """The findings to accept: undecided ones, and with a note those that people found fine.

    What is said of samples that people want dropped, and of labels that they corrected, is left out, unless
    `everything` is asked for.
    """
    left_out = audit.decisions.confirmed & (not everything)
    yield from _of_samples(audit, split, left_out, everything)
    yield from _of_copies(audit, split, left_out)


def _of_samples(audit: AuditResult, split: str, left_out: BoolArray, everything: bool) -> Iterator[Entry]:
    """Findings about samples by themselves, and leaks."""
    names, others = audit.names or ("",) * len(audit), _names_of_others(audit)
    for key, found in _single_to_accept(audit, split, left_out, everything).items():
        if all(key.samples):
            beside = [others.get(key.samples[1], "")] if key.issue == "leakage" else []
            note = FINE if all(is_fine for _, is_fine in found) else ""
            indices = dict.fromkeys(i for i, _ in found)
            yield _entry(key, [*(names[i] for i in indices), *beside], len(indices), note)


def _of_copies(audit: AuditResult, split: str, left_out: BoolArray) -> Iterator[Entry]:
    """Links between contents, and numbers of copies of one."""
    d, digests, names = audit.decisions, digests_of(audit), audit.names or ("",) * len(audit)
    scores, near, fine = _without(audit.scores, left_out), d.thresholds["near_duplicates"], d.fine["near_duplicates"]
    component = near_duplicate_components(scores, near)
    copies: dict[str, list[int]] = {}
    for i in (np.bincount(component, minlength=1)[component] > 1).nonzero()[0].tolist():
        copies.setdefault(digests[i], []).append(i)
    for content, indices in copies.items():
        if content and len(indices) > 1:
            key = Key("near_duplicates", split, (content, content), "")
            yield _entry(key, [names[i] for i in indices], len(indices), FINE if fine[indices].any() else "")
    for pair in near_duplicate_links(scores, near).tolist():
        first, second = sorted(pair, key=lambda i: digests[i])
        if digests[first] and digests[first] != digests[second]:
            key = Key("near_duplicates", split, (digests[first], digests[second]), "")
            yield _entry(key, [names[first], names[second]], note=FINE if fine[pair].any() else "")


def single(audit: AuditResult, split: str, hits: Mapping[str, BoolArray]) -> Iterator[tuple[str, int, Key]]:
    """Findings about one sample by itself, of those whose content is known.

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
    """Samples that other splits hold too, with each content they hold, once. One of unknown content has no match.

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
    """What a link joins. The same content in this split and in another are two things: none may move unseen."""
    return (0, key.samples[0]), (int(key.issue == "leakage"), key.samples[-1])


def linked_sets(audit: AuditResult) -> dict[str, set[int]]:
    """Content: the components of near duplicates that it is in."""
    component = near_duplicate_components(audit.scores, audit.decisions.thresholds["near_duplicates"])
    found: dict[str, set[int]] = {}
    for content, number in zip(digests_of(audit), component.tolist(), strict=True):
        found.setdefault(content, set()).add(number)
    return found


def digests_of(audit: AuditResult) -> tuple[str, ...]:
    """What the samples contain.

    Raises:
        SettingError: the audit does not say.
    """
    if audit.digests is None:
        raise SettingError(
            "a baseline knows findings by the content of the samples, and this audit does not say what that was (an "
            "older version wrote it): audit the data again"
        )
    return audit.digests


def _single_to_accept(
    audit: AuditResult, split: str, left_out: BoolArray, everything: bool
) -> dict[Key, list[tuple[int, bool]]]:
    """Findings about samples by themselves and about leaks, by key: positions, and whether they were found fine."""
    d = audit.decisions
    open_ = {issue: d.flags[issue] & ~left_out for issue in SINGLE}
    if everything:
        open_["label_errors"] = open_["label_errors"] | np.isin(np.arange(len(audit)), list(d.relabelled))
    fine = {issue: d.fine[issue] & ~left_out for issue in SINGLE}
    no_leaks = np.zeros(0, bool)
    if audit.scores.leaks is not None:
        no_leaks = is_below(audit.scores.leaks.score, d.thresholds["leakage"]) & ~d.leaks
    found: dict[Key, list[tuple[int, bool]]] = {}
    for is_fine, hits, near in ((False, open_, d.leaks), (True, fine, no_leaks)):
        for _, index, key in (*single(audit, split, hits), *leaks(audit, split, near)):
            if not left_out[index]:
                found.setdefault(key, []).append((index, is_fine))
    return found


def _names_of_others(audit: AuditResult) -> dict[str, str]:
    """Content: a file that holds it in another split."""
    held = audit.scores.leaks
    return dict(zip(held.other_digests or (), held.other_names or (), strict=False)) if held is not None else {}


def _entry(key: Key, names: list[str], copies: int = 1, note: str = "") -> Entry:
    told = tuple(name for name in dict.fromkeys(names) if name)[:NAMED]
    return Entry(key.issue, key.samples, key.split, key.label, copies, told, note)


def _without(scores: Scores, left_out: BoolArray) -> Scores:
    """The scores without the pairs of some samples."""
    if not left_out.any():
        return scores
    pairs, edges = ~left_out[scores.pair_index].any(1), ~left_out[scores.tree_index].any(1)
    return replace(
        scores,
        pair_index=scores.pair_index[pairs],
        pair_distance=scores.pair_distance[pairs],
        pair_score=scores.pair_score[pairs],
        tree_index=scores.tree_index[edges],
        tree_distance=scores.tree_distance[edges],
        scaled_tree_score=None if scores.scaled_tree_score is None else scores.scaled_tree_score[edges],
    )
