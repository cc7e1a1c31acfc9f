"""JSON in files: what is read is checked against a schema, with errors that are sentences; no character is hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
DEEPEST = 64  # levels
AT = re.compile(r"(?P<what>.*?)(?: - at `(?P<where>.*)`)?", re.DOTALL)


def parse(text: str | bytes, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value that a JSON text stands for.

    Raises:
        ValueError: it is none, holds NaN or infinity, or is nested too deeply.
    """
    try:
        value = json.loads(text, object_pairs_hook=pairs_hook, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [entry for inner in level for entry in _entries(inner)]
    if level:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    return value


def check(value: Any, kind: type[T]) -> T:
    """The value as a `kind`: a type, or a class that msgspec knows fields of.

    Raises:
        ValueError: it does not fit; says what was wanted, what came and where.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        found = AT.fullmatch(str(error))
        assert found is not None  # it matches any text
        where, what = found["where"], found["what"].replace("`", "")
        raise ValueError(f"{where}: {what[:1].lower()}{what[1:]}" if where else what) from None


def escaped(text: str) -> str:
    """JSON text in which no character is left that a terminal would act on or hide."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _entries(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _reject_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number")
