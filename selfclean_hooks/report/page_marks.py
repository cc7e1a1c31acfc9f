"""The decisions that an audit came with, as the page takes them up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from selfclean_hooks.placing import placed
from selfclean_hooks.ruling import ruling_of

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit
    from selfclean_hooks.review import Mark


def marks_of(audit: Audit) -> list[dict[str, Any]]:
    """Every mark as it is written to files, and `at`: the positions in this audit that it is about, -1: none."""
    if audit.review is None:
        return []
    found = {id(mark): at for mark, at in _placed(audit)}
    return [{"entry": _entry(mark), "at": found.get(id(mark), [-1, -1])} for mark in audit.review.marks]


def cuts_of(audit: Audit) -> dict[str, float]:
    """Issue: cut that the review moved, where it is in force still."""
    if audit.review is None:
        return {}
    splits = ("", *(() if audit.scores.leaks is None else audit.scores.leaks.splits[:1]))
    moved = audit.review.thresholds_of(*splits)
    return {issue: cut for issue, cut in moved.items() if cut == audit.decisions.thresholds.get(issue)}


def _placed(audit: Audit) -> Iterator[tuple[Mark, list[int]]]:
    ruling = ruling_of(audit.review, audit.scores, audit.names, audit.digests)
    for issue, marks in ruling.marks.items():
        for position, mark in marks.items():
            yield mark, [position, mark.other_index if issue == "leakage" else -1]
    for place in ruling.near:
        yield place.mark, [place.position, place.other]
    every = audit.review.marks if audit.review is not None else ()
    no_leaks = [mark for mark in every if mark.issue == "leakage" and mark.verdict == "rejected"]
    for place in placed(no_leaks, audit.scores, audit.names, audit.digests)[0]:
        yield place.mark, [place.position, place.mark.other_index]


def _entry(mark: Mark) -> dict[str, Any]:
    """What a mark tells, without what it leaves open."""
    told = {field.name: getattr(mark, field.name) for field in fields(mark)}
    return {name: value for name, value in told.items() if value not in ("", -1)}
