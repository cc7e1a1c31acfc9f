"""Which pictures a page carries: all, or those of the worst findings where all would make it too large to mail."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from selfclean_hooks.previews import PNG, decoded

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

Place = tuple[str, int]  # split ("" for the one audited) and position


@dataclass
class Chosen:
    """Pictures and previews by the name of their sample: its position, or "2:17" for one of the split number 2."""

    pictures: dict[str, str] = field(default_factory=dict)  # base64 of PNG or WebP
    previews: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: int = 0


def chosen(audit: Audit, found: Mapping[str, list[dict[str, Any]]], budget: int) -> Chosen:
    """Pictures within a budget of characters, each once.

    Those of findings come first, the worst of every issue before the next; neighbours follow.
    """
    leaks, kept, spent = audit.scores.leaks, Chosen(), 0
    for split, index in dict.fromkeys(_wanted(found)):
        number = leaks.splits.index(split) if split and leaks is not None else 0
        content = audit.leak_thumbnails.get((split, index)) if split else audit.thumbnails.get(index)
        name = f"{number}:{index}" if split else str(index)
        preview = decoded(content)
        if content is None or (preview is None and not is_picture(content)):
            continue
        cost = 4 * -(-len(content) // 3)
        if spent + cost > budget:
            kept.left_out += 1
            continue
        spent += cost
        if preview is None:
            kept.pictures[name] = base64.b64encode(content).decode()
        else:
            kept.previews[name] = {"kind": preview.kind, **asdict(preview)}
    return kept


def is_picture(content: bytes) -> bool:
    """Whether bytes are a PNG or a WebP, by their first ones."""
    return content.startswith(PNG) or (content.startswith(b"RIFF") and content[8:12] == b"WEBP")


def _wanted(found: Mapping[str, list[dict[str, Any]]]) -> Iterator[Place]:
    """Samples in the order in which their pictures matter."""
    ranked = [entry for row in zip_longest(*found.values()) for entry in row if entry is not None]
    for entry in ranked:
        yield from (("", i) for i in entry["samples"])
        if "other" in entry:
            yield entry["other"]["split"], entry["other"]["index"]
    for entry in ranked:
        yield from (("", i) for row in entry.get("near", ()) for i in row)
