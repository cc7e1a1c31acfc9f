"""Review files: what the page exports, and what --decisions reads; exports of Label Studio too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from msgspec import Struct

from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.utils import files
from selfclean_hooks.utils.files import write
from selfclean_hooks.utils.json_content import check, parse

VERSION = 1
KIND = "selfclean-hooks decisions"
MARK_DEFAULTS = {each.name: each.default for each in fields(Mark)}  # name -> value of an absent key
REMEDY = "Export the decisions from the report again, or fix the file"
FINDING, VERDICT, LABEL = "selfclean_hooks", "verdict", "label"  # of the data; names of the controls


class _ReviewFile(Struct, frozen=True):
    """The JSON object; `Mark` checks what is in a decision."""

    format: int
    kind: str
    dataset: str = ""
    split: str = ""
    thresholds: dict[str, float] = {}
    seen: dict[str, int] = {}
    decisions: tuple[Any, ...] = ()


def read_review(path: str | Path) -> Review:
    """Read a file of decisions, or an export of Label Studio, strictly.

    Raises:
        AuditFileError: it is not one; the message says where and why.
    """
    try:
        text = files.read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise AuditFileError(
            f"cannot read the decisions {path}: {getattr(error, 'strerror', None) or error}. Give the file that the "
            "report exported"
        ) from error
    with _errors_name_file(path):
        return _parse_review(parse(text, _reject_duplicate_keys))


def read_reviews(paths: str | Path | Iterable[str | Path]) -> Review:
    """Read one or several files of decisions; of marks about the same finding the last file's counts."""
    return Review.merge(read_review(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths))


def as_review(review: Review | str | Path | Iterable[str | Path]) -> Review:
    """A review, read from files where it is not one already."""
    return review if isinstance(review, Review) else read_reviews(review)


def write_review(review: Review, path: str | Path) -> None:
    """Write a file of decisions atomically.

    Raises:
        AuditFileError: it cannot be written, or there is a file that holds no decisions.
    """
    if Path(path).is_file():
        read_review(path)
    write(Path(path), review_to_json(review))


def review_to_json(review: Review) -> bytes:
    """The content of a file of decisions: ASCII, so that undecodable file names survive; one line a mark."""
    head = {
        "format": VERSION,
        "kind": KIND,
        "dataset": review.dataset,
        "split": review.split,
        "thresholds": dict(review.thresholds),
        "seen": dict(review.seen),
    }
    lines = ",\n".join(json.dumps(_mark_to_dict(mark, review.split)) for mark in review.marks)
    return (json.dumps(head)[:-1] + ', "decisions": [' + (f"\n{lines}\n" if lines else "") + "]}\n").encode()


def _mark_to_dict(mark: Mark, split: str) -> dict[str, Any]:
    """A mark without default values; `split` is given once for the whole file."""
    values = {name: getattr(mark, name) for name in MARK_DEFAULTS}
    always = ("issue", "verdict", "index", "sample", "digest")
    defaults = {**MARK_DEFAULTS, "split": split}
    return {name: value for name, value in values.items() if name in always or value != defaults[name]}


def _parse_review(content: Any) -> Review:
    if isinstance(content, list) and any(isinstance(entry, Mapping) for entry in content):  # an export of Label Studio
        return Review(tuple(_parse_mark(number, entry, "") for number, entry in decisions_in(content)))
    _check_keys(content, _ReviewFile.__struct_fields__)
    for name, wanted in (("kind", KIND), ("format", VERSION)):
        if content.get(name) != wanted or isinstance(content.get(name), bool):
            raise ValueError(f"{name} must be {wanted!r}, got {content.get(name)!r:.60}")
    file = check(content, _ReviewFile)
    marks = tuple(_parse_mark(number, entry, file.split) for number, entry in enumerate(file.decisions, 1))
    return Review(marks, file.thresholds, file.seen, file.split, file.dataset)


def _parse_mark(number: int, entry: Any, split: str) -> Mark:
    try:
        _check_keys(entry, MARK_DEFAULTS)
        missing = [name for name in ("issue", "verdict") if name not in entry]
        if missing:
            raise ValueError(f"it lacks {missing[0]!r}")
        return Mark(**{"split": split, **entry})
    except ValueError as error:
        raise ValueError(f"decision {number}: {error}") from error


def _check_keys(content: Any, known: Iterable[str]) -> None:
    if not isinstance(content, Mapping):
        raise ValueError(f"an object was wanted, got {content!r:.60}")
    unknown = [name for name in content if name not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a known key ({', '.join(known)})")


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return dict(pairs)


@contextmanager
def _errors_name_file(path: str | Path) -> Iterator[None]:
    """Errors inside are raised with the name of the file."""
    try:
        yield
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise AuditFileError(f"the decisions {path} must be JSON, got {error.msg} in {place}. {REMEDY}") from error
    except ValueError as error:  # a SettingError is one
        raise AuditFileError(f"{path} must be a file of decisions: {error}. {REMEDY}") from error


def decisions_in(tasks: Sequence[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number of the task, from 1, and its decision as a file of decisions holds it.

    Read are Label Studio's exports "JSON" and "JSON-MIN". Of several annotations of a task the last one counts; tasks
    that were skipped or have no verdict yet say nothing.

    Raises:
        ValueError: these are no tasks of ours.
    """
    for number, task in enumerate(tasks, 1):
        data = task.get("data", task) if isinstance(task, Mapping) else None
        finding = data.get(FINDING) if isinstance(data, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(finding, Mapping):
            raise ValueError(f"task {number} lacks {FINDING!r}, which `selfclean-hooks export` writes into its data")
        chosen = _chosen(task["annotations"]) if "annotations" in task else data
        verdict, label = (_first(chosen.get(name)) for name in (VERDICT, LABEL))
        if verdict:
            yield number, {**finding, "verdict": verdict, **({"label": label} if verdict == "relabelled" else {})}


def _chosen(annotations: object) -> dict[str, Any]:
    """Name of the control: what was chosen or written, in the last annotation."""
    if not isinstance(annotations, list):
        raise ValueError(f"annotations must be a list, got {annotations!r:.60}")
    done = [each for each in annotations if isinstance(each, Mapping) and not each.get("was_cancelled")]
    last = max(done, key=lambda each: str(each.get("updated_at", "")), default={})  # ISO dates sort as texts
    given = last.get("result")
    results = [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []
    return {str(each.get("from_name")): _values(each.get("value")) for each in results}


def _values(value: Any) -> Any:
    return value.get("choices", value.get("text")) if isinstance(value, Mapping) else None


def _first(value: Any) -> str:
    """The one choice: JSON-MIN has it as text, JSON in a list."""
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""
