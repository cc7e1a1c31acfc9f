"""The verdict as GitHub's Markdown, for the summary of a step or a comment."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selfclean_hooks.report.text import WORST, by_split, contamination_of, issue_in_words, limit_of, sample_name, why
from selfclean_hooks.utils.text import LONGEST, visible

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Check, Verdict
    from selfclean_hooks.results.result import AuditResult

MOST_BYTES = 900_000  # a step's summary may have 1 MiB
LISTED = 50  # notes, and entries of the baseline that are out of date
HEAD = "| issue | found | contamination (95% interval) | limit | result |\n|:---|---:|---:|---:|:---|"
ENTITY = {ord(c): f"&#{ord(c)};" for c in string.punctuation if c not in "-/,;=()"}  # an entity is never mark-up


def as_markdown(audits: Mapping[str, AuditResult], verdict: Verdict, shift: Sequence[Mapping[str, Any]] = ()) -> str:
    """A line that says passed or failed, a table a split, the worst samples of what failed, notes; at most 900 kB.

    Whatever comes from the data stands as code, all its punctuation as entities: it makes no mark-up, no link and no
    mention.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`.
        shift: how far splits lie apart, a mapping for each two of them.
    """
    parts = list(by_split(audits, verdict))
    blocks = [_headline(verdict), *(_table(split, audit, checks) for split, audit, checks in parts)]
    blocks += _shift(shift)
    for _, audit, checks in parts:
        blocks += [_details(audit, check) for check in checks if not check.passed and len(check.found)]
    notes = [note for audit in audits.values() for note in audit.provenance.get("notes", ())]
    blocks += _bullets("Refused", verdict.refused)
    blocks += _bullets("Stale entries of the baseline", verdict.stale)
    blocks += _bullets("Notes", list(dict.fromkeys(map(str, notes))))
    return "\n\n".join(_fitting(blocks)) + "\n"


def data(text: str, most: int = LONGEST) -> str:
    """Text from the data as code, on one line."""
    return f"<code>{visible(text, most).translate(ENTITY)}</code>" if text else ""


def _headline(verdict: Verdict) -> str:
    limited = [check for check in verdict.checks if check.limit is not None]
    kept = sum(check.passed for check in limited)
    summary = f"{kept} of {len(limited)} limits kept" if limited else "no limits were set"
    new = ", only findings that are not in the baseline count" if verdict.baseline else ""
    return f"## selfclean-hooks: {'passed' if verdict.passed else 'failed'}\n\n{summary}{new}."


def _table(split: str, audit: AuditResult, checks: Sequence[Check]) -> str:
    size = f"{len(audit)} samples"
    title = f"### {data(split)}: {size}" if split else f"### {size}"
    return "\n".join([f"{title}\n", HEAD, *map(_row, checks)])


def _row(check: Check) -> str:
    accepted = f" (and {len(check.accepted)} accepted)" if len(check.accepted) else ""
    found, share = (f"{len(check.found)}{accepted}", contamination_of(check)) if not check.not_run else ("", "")
    return f"| {issue_in_words(check.issue)} | {found} | {share} | {limit_of(check)} | {_result(check)} |"


def _result(check: Check) -> str:
    result = "**failed**" if not check.passed else "passed" if check.limit is not None else "no limit"
    if not check.not_run:
        return result
    return ("not run: " if check.passed else "**failed**, not run: ") + data(check.not_run)


def _shift(shift: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    head = "| from | to | Frechet distance | expected of random splits | p |\n|:---|:---|---:|---:|---:|"
    rows = [
        f"| {data(row['split_1'])} | {data(row['split_2'])} | "
        f"{row['distance']:.4g} | {row['expected']:.4g} | {row['p_value']:.3g} |"
        for row in shift
    ]
    if rows:
        yield "\n".join(["### Shift between splits\n", head, *rows])


def _details(audit: AuditResult, check: Check) -> str:
    shown = check.found[:WORST].tolist()
    where = f"{data(check.split)}: " if check.split else ""
    title = f"{where}{issue_in_words(check.issue)}: the worst {len(shown)} of {len(check.found)}"
    rows = [f"| {data(sample_name(audit, index))} | {data(why(audit, index), 2 * LONGEST)} |" for index in shown]
    table = "\n".join(["| sample | why |\n|:---|:---|", *rows])
    return f"<details><summary>{title}</summary>\n\n{table}\n\n</details>"


def _bullets(title: str, entries: Sequence[str]) -> Iterator[str]:
    if entries:
        rest = [f"- and {len(entries) - LISTED} more"] if len(entries) > LISTED else []
        lines = [f"- {data(entry, 2 * LONGEST)}" for entry in entries[:LISTED]] + rest
        yield "\n".join([f"### {title}\n", *lines])


def _fitting(blocks: Sequence[str]) -> Iterator[str]:
    """The blocks that fit, and how many do not."""
    room, left_out = MOST_BYTES - 200, 0
    for block in blocks:
        size = len(block.encode()) + 2
        if size > room:
            left_out += 1
            continue
        room -= size
        yield block
    if left_out:
        yield f"{left_out} parts are left out to keep this short: the JSON and the report hold everything."
