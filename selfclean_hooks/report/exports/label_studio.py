"""Findings as tasks of Label Studio, with the verdict that the audit suggests filled in.

Beside the tasks stands the labelling interface (FILE.xml) for the project's settings. What people decide there comes
back by `--decisions EXPORT.json` (see `decisions/review/file.py`). Label Studio serves images from local files
with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/; those of data in memory
are the audit's thumbnails.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.core.scores import label_texts, predicted_texts
from selfclean_hooks.data.previews import image_kind
from selfclean_hooks.decisions.review.file import FINDING, LABEL, VERDICT
from selfclean_hooks.report.exports.tables import absolute
from selfclean_hooks.report.text import digest_of, name_of
from selfclean_hooks.results.display_names import file_of
from selfclean_hooks.utils.text import plain, visible

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

VERDICTS = ("confirmed", "rejected", "relabelled")


def write_tasks(audits: Mapping[str, AuditResult], path: Path) -> None:
    """Write the tasks, one a flagged finding, worst first, and the labelling interface."""
    tasks = [task for split, audit in audits.items() for task in _tasks(split, audit)]
    path.write_text(json.dumps(plain(tasks), indent=1, allow_nan=False), encoding="utf-8")
    path.with_suffix(".xml").write_text(interface(audits), encoding="utf-8", errors="backslashreplace")


def interface(audits: Mapping[str, AuditResult]) -> str:
    """The labelling interface: the images of a finding, a verdict, and where that is "relabelled" the new label."""
    classes = dict.fromkeys(name for audit in audits.values() for name in _classes(audit))
    shown = 'visibleWhen="choice-selected" whenTagName="verdict" whenChoiceValue="relabelled"'
    choices = "".join(f"\n      <Choice value={quoteattr(name)}/>" for name in classes)
    field = (
        f'<Choices name="{LABEL}" toName="image" choice="single" {shown}>{choices}\n    </Choices>'
        if classes
        else f'<TextArea name="{LABEL}" toName="image" maxSubmissions="1" {shown}/>'
    )
    verdicts = "".join(f'\n      <Choice value="{verdict}"/>' for verdict in VERDICTS)
    return f"""<View>
    <Header name="title" value="$title"/>
    <Image name="image" value="$image"/>
    <HyperText name="beside" value="$beside" valueType="text"/>
    <Choices name="{VERDICT}" toName="image" choice="single" required="true">{verdicts}
    </Choices>
    {field}
</View>
"""


def _classes(audit: AuditResult) -> list[str]:
    """Names of the classes that a label can be chosen from; none for targets and for several labels a sample."""
    scores = audit.scores
    if scores.targets is not None:
        return []
    return sorted({text for text, code in zip(label_texts(scores), scores.given_label, strict=True) if code >= 0})


def _tasks(split: str, audit: AuditResult) -> Iterator[dict[str, Any]]:
    given, predicted = label_texts(audit.scores), predicted_texts(audit.scores)
    for issue, i, other, score in _flagged(audit):
        noun, is_label = BY_NAME[issue].noun, issue == "label_errors"
        title = f"{noun}: given {given[i]}, predicted {predicted[i]}" if is_label else noun
        new = predicted[i] if is_label and predicted[i] and predicted[i] != given[i] else ""
        beside = "" if not other else _beside(audit, other)
        yield {
            "data": {
                "title": visible(f"{title} ({audit.decisions.reason[i]})"),
                "image": _url(file_of(audit, name_of(audit, i)), audit.thumbnails.get(i)),
                "beside": beside,
                FINDING: {"issue": issue, "split": split, **_who(audit, i), **other},
            },
            "predictions": [
                {
                    "model_version": "selfclean-hooks",
                    "score": 1 - score,
                    "result": [
                        _chosen(VERDICT, "relabelled" if new else "confirmed"),
                        *([_chosen(LABEL, new, audit.scores.targets is None)] if new else []),
                    ],
                }
            ],
        }


def _flagged(audit: AuditResult) -> Iterator[tuple[str, int, dict[str, Any], float]]:
    """Issue, position, what identifies the other sample of a pair as in a `Mark`, and the score; worst first."""
    decisions = audit.decisions
    for issue in audit.scores.ran:
        if issue == "leakage":
            yield from _leaks(audit)
        elif issue != "unreadable":
            scores = audit.scores.of(issue)
            for i in audit.worst(issue).tolist():
                kept = decisions.duplicates.of(i)[1] if issue == "near_duplicates" else -1
                other = {} if kept < 0 else {f"other_{key}": value for key, value in _who(audit, kept).items()}
                yield issue, i, other, float(scores[i])


def _leaks(audit: AuditResult) -> Iterator[tuple[str, int, dict[str, Any], float]]:
    leaks = audit.scores.leaks
    assert leaks is not None  # else it did not run
    for pair in audit.decisions.leaks.nonzero()[0].tolist():
        other = {
            "other_split": leaks.other_split(pair),
            "other_index": int(leaks.other_index[pair]),
            "other_sample": leaks.other_names[pair] if leaks.other_names else "",
            "other_digest": leaks.other_digests[pair] if leaks.other_digests else "",
        }
        yield "leakage", int(leaks.index[pair]), other, float(leaks.score[pair])


def _who(audit: AuditResult, i: int) -> dict[str, Any]:
    return {"index": i, "sample": name_of(audit, i), "digest": digest_of(audit, i)}


def _beside(audit: AuditResult, other: Mapping[str, Any]) -> str:
    """The other sample of a pair as HTML."""
    place = other.get("other_split", ""), other["other_index"]
    thumbnail = audit.leak_thumbnails.get(place) if place[0] else audit.thumbnails.get(place[1])
    name = other["other_sample"]
    caption = escape(visible(f"{f'{place[0]}: ' if place[0] else 'kept copy: '}{name or place[1]}"))
    return f'<p>{caption}</p><img src="{escape(_url(file_of(audit, name), thumbnail))}" alt=""/>'


def _url(name: str, thumbnail: bytes | None) -> str:
    if name:
        path = absolute(name).encode("utf-8", "surrogateescape")
        return f"/data/local-files/?d={quote(path.lstrip(b'/'))}"
    kind = image_kind(thumbnail or b"")
    return f"data:image/{kind};base64,{base64.b64encode(thumbnail or b'').decode()}" if kind else ""


def _chosen(name: str, value: str, is_choice: bool = True) -> dict[str, Any]:
    kind = "choices" if is_choice else "textarea"
    content = {"choices": [value]} if is_choice else {"text": [value]}
    return {"from_name": name, "to_name": "image", "type": kind, "value": content}
