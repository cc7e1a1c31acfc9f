"""The data of a page: scores, findings, samples and the review that the audit came with."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import clean_in_a_row
from selfclean_hooks.core.issues import BY_NAME, NAMES, PAIRS, SCORED
from selfclean_hooks.core.scores import class_name, label_texts, predicted_texts
from selfclean_hooks.decisions.duplicate_sets import label_conflicts
from selfclean_hooks.decisions.review.matching import match_marks
from selfclean_hooks.decisions.review.verdicts import review_verdicts
from selfclean_hooks.report.html.findings import choose_thumbnails, findings_of, positions_of, surplus_scores
from selfclean_hooks.results.findings import Selection

if TYPE_CHECKING:
    from selfclean_hooks.decisions.review.marks import Mark
    from selfclean_hooks.results.result import AuditResult

MIN_IMAGE_BUDGET = 1_000_000  # characters for images, however long the rest is
NAMES_LENGTH = (
    4_000_000  # characters of all names together; where they are longer, only samples that are shown have names
)
UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
NO_PLACE = 65535  # of a sample without a place on the map


def as_json(audit: AuditResult, shown: Selection, images: int, room: int, files: str | None = None) -> str:
    """The data of a page, ASCII, without any character that could end a script or begin markup.

    Args:
        audit: what is shown.
        shown: which of its findings.
        images: budget for images, in characters.
        room: for all data, in characters; images may take what the rest leaves of it, and `MIN_IMAGE_BUDGET`.
        files: what stands before the names of samples in the addresses of their files; None: the page knows none.
    """
    found = findings_of(audit, shown)
    rest = _written({**_data(audit, shown, found), "files": files})
    held = choose_thumbnails(audit, found, max(MIN_IMAGE_BUDGET, min(images, room - len(rest))))
    return f'{rest[:-1]},"images":{_written(held.images)},"previews":{_written(held.previews)},' + (
        f'"withoutImage":{held.left_out}}}'
    )


def _written(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).translate(UNSAFE)


def _data(audit: AuditResult, shown: Selection, found: Mapping[str, Any]) -> dict[str, Any]:
    """All but the thumbnails."""
    evidence, leaks = audit.evidence, audit.scores.leaks
    classes = _classes(audit)
    return {
        "format": 1,
        "key": fingerprint(audit),
        "dataset": str(audit.provenance.get("dataset", {}).get("name", "")),
        "split": leaks.splits[0] if leaks is not None and leaks.splits else "",
        "splits": list(leaks.splits) if leaks is not None else [],
        "n": len(audit),
        "cleanInARow": clean_in_a_row(),
        "labels": _kind_of_labels(audit),
        **classes,
        "names": _names(audit),
        "samples": _samples(audit, sorted(positions_of(found))),
        "reviewable": NAMES,
        "pairs": PAIRS,
        "issues": {issue: _issue(audit, issue, shown, found[issue]) for issue in found},
        "map": None if evidence is None or evidence.map is None else _map(evidence.map),
        "projection": "" if evidence is None else evidence.projection,
        "marks": marks_of(audit),
        "movedThresholds": page_thresholds(audit),
    }


def fingerprint(audit: AuditResult) -> str:
    """Key of an audit's marks in a browser: the same for the same scores of the same data."""
    s, leaks = audit.scores, audit.scores.leaks
    scored = [issue for issue in SCORED if issue in s.issues]
    source = json.dumps([audit.provenance.get("dataset", {}), list(leaks.splits) if leaks else []], default=str)
    parts = [source.encode(), *(np.ascontiguousarray(scores).tobytes() for scores in map(s.of, scored))]
    return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()


def pack_json(values: NDArray[Any]) -> str:
    """An array as base64 of its bytes, the least significant first."""
    return base64.b64encode(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()).decode()


def _scores(scores: NDArray[np.floating]) -> dict[str, str]:
    """Scores without loss: of single precision where that is all they have."""
    short = scores.astype(np.float32)
    is_short = bool((np.isnan(scores) | (short == scores)).all())
    return {"kind": "f4" if is_short else "f8", "bytes": pack_json(short if is_short else scores.astype(np.float64))}


def _issue(audit: AuditResult, issue: str, shown: Selection, found: list[dict[str, Any]]) -> dict[str, Any]:
    s, row = audit.scores, BY_NAME[issue]
    threshold = audit.decisions.thresholds[issue]
    calibration = s.calibration.get(issue)
    finite = math.isfinite(threshold)
    limit = min(1, max(s.pairs_complete_below, threshold if finite else 0)) if issue == "near_duplicates" else 1
    return {
        "title": row.title,
        "description": row.description,
        "question": row.question,
        "answers": row.answers,
        "colour": row.colour,
        "isPair": row.is_pair,
        "thresholdIssue": row.threshold,
        "scores": _scores(s.of(issue)),
        "threshold": threshold if finite else None,
        "limit": limit,
        "surplus": _surplus(audit, limit) if issue == "near_duplicates" else None,
        "action": audit.policy.action(issue),
        "also": _also(audit, issue),
        "calibration": None
        if calibration is None or calibration.unknown
        else {
            name: None if curve is None else curve.tolist()
            for name in ("score", "clean", "low", "high")
            for curve in [getattr(calibration, name)]
        },
        "unknown": "" if calibration is None else calibration.unknown,
        "counted": int(audit.decisions.contamination_mask(issue).sum()),
        "findings": found,
        "leftOut": int(shown.left_out.get(issue, 0)),
    }


def _surplus(audit: AuditResult, limit: float) -> dict[str, Any]:
    """Positions of the samples that are surplus copies below a threshold up to the limit, and that threshold."""
    scores = surplus_scores(audit, limit)
    at = (~np.isnan(scores)).nonzero()[0]
    return {"at": pack_json(at.astype(np.uint32)), "scores": _scores(scores[at])}


def _also(audit: AuditResult, issue: str) -> list[int]:
    """Samples flagged whatever their scores: labels that copies contradict."""
    return (
        [*label_conflicts(audit.scores, audit.decisions.thresholds["near_duplicates"])]
        if issue == "label_errors"
        else []
    )


def _kind_of_labels(audit: AuditResult) -> str:
    targets = audit.scores.targets
    if targets is not None:
        return "numbers" if targets.ndim == 1 else "several"
    return "classes" if bool((audit.scores.given_label >= 0).any()) else "none"


def _classes(audit: AuditResult) -> dict[str, Any]:
    """Names of classes, and the place of each sample's class among them plus one; 0: none."""
    s = audit.scores
    if _kind_of_labels(audit) != "classes":
        return {"classes": [], "given": None}
    named = np.arange(len(s.class_names or ()))
    codes = np.union1d(np.union1d(s.given_label, s.predicted_label), named)
    codes = codes[codes >= 0]
    place = np.searchsorted(codes, s.given_label) + 1
    place[s.given_label < 0] = 0
    texts = [class_name(s, code) for code in codes.tolist()]
    return {"classes": texts, "given": pack_json(place.astype(np.uint32 if len(codes) >= NO_PLACE else np.uint16))}


def _names(audit: AuditResult) -> list[str] | None:
    return list(audit.names) if audit.names and sum(map(len, audit.names)) <= NAMES_LENGTH else None


def _samples(audit: AuditResult, positions: list[int]) -> dict[str, dict[str, Any]]:
    """Name, digest and labels of each sample that is shown."""
    given, predicted = label_texts(audit.scores), predicted_texts(audit.scores)
    is_labelled, is_predicted = audit.scores.given_label >= 0, audit.scores.predicted_label >= 0
    if audit.scores.targets is not None:
        is_labelled[:] = is_predicted[:] = True

    def facts(i: int) -> Iterator[tuple[str, Any]]:
        if audit.names:
            yield "name", audit.names[i]
        if audit.digests and audit.digests[i]:
            yield "digest", audit.digests[i]
        if is_labelled[i]:
            yield "given", given[i]
        if is_predicted[i]:
            yield "predicted", predicted[i]

    return {str(i): dict(facts(i)) for i in positions}


def _map(places: NDArray[np.float32]) -> str:
    """(N, 2) places in [0, 1] as whole numbers; `NO_PLACE` for samples without one."""
    known = np.isfinite(places).all(1)
    whole = np.full(places.shape, NO_PLACE, np.uint16)
    whole[known] = np.rint(places[known].clip(0, 1) * (NO_PLACE - 1)).astype(np.uint16)
    return pack_json(whole)


def marks_of(audit: AuditResult) -> list[dict[str, Any]]:
    """Every mark as it is written to files, and `at`: the positions in this audit that it is about, -1: none."""
    if audit.review is None:
        return []
    found = {id(mark): at for mark, at in _placed(audit)}
    return [{"entry": _entry(mark), "at": found.get(id(mark), [-1, -1])} for mark in audit.review.marks]


def page_thresholds(audit: AuditResult) -> dict[str, float]:
    """Issue: threshold that the review moved, where it is still in force."""
    if audit.review is None:
        return {}
    splits = ("", *(() if audit.scores.leaks is None else audit.scores.leaks.splits[:1]))
    moved = audit.review.thresholds_of(*splits)
    return {issue: score for issue, score in moved.items() if score == audit.decisions.thresholds.get(issue)}


def _placed(audit: AuditResult) -> Iterator[tuple[Mark, list[int]]]:
    ruling = review_verdicts(audit.review, audit.scores, audit.names, audit.digests)
    for issue, marks in ruling.marks.items():
        for position, mark in marks.items():
            yield mark, [position, mark.other_index if issue == "leakage" else -1]
    for place in ruling.near_duplicates:
        yield place.mark, [place.position, place.other]
    every = audit.review.marks if audit.review is not None else ()
    no_leaks = [mark for mark in every if mark.issue == "leakage" and mark.verdict == "rejected"]
    for place in match_marks(no_leaks, audit.scores, audit.names, audit.digests)[0]:
        yield place.mark, [place.position, place.mark.other_index]


def _entry(mark: Mark) -> dict[str, Any]:
    """The fields of a mark that are set."""
    values = {field.name: getattr(mark, field.name) for field in fields(mark)}
    return {name: value for name, value in values.items() if value not in ("", -1)}
