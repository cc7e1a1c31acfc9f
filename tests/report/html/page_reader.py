"""Audits with made-up images, and what a page of one holds."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.core.scores import LeakPairs

N = 90
PNG = b"\x89PNG\r\n\x1a\n-made-up"


def made(labels: bool = True, **settings: Any) -> Audit:
    vectors = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
    vectors[3] = vectors[1]
    return audit_embeddings(vectors, np.arange(N) % 3 if labels else None, **settings)


def with_images(audit: Audit) -> Audit:
    return replace(audit, thumbnails={i: PNG for i in range(len(audit))})


def leaking(audit: Audit, pairs: int = 40, flagged: int = 35, other: str = "val", name: str = "v.png") -> Audit:
    """Sample i is sample i + 100 of another split; the pairs after the first `flagged` are no near duplicates."""
    threshold = audit.decisions.thresholds["near_duplicates"]
    distance = np.where(np.arange(pairs) < flagged, threshold / 2, 0.9).astype(np.float32)
    index, sizes = np.arange(pairs), (len(audit), 500)
    ones, names = np.ones(pairs, int), (name,) * pairs
    leaks = LeakPairs(("train", other), sizes, ones, index, index + 100, distance, names, automatic=threshold)
    images = {(other, i + 100): PNG + b"other" for i in range(pairs)}
    return replace(audit, scores=replace(audit.scores, leaks=leaks), leak_thumbnails=images)


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles and scripts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside: list[str] = []
        self.feed(source)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_data(self, data: str) -> None:
        if self.inside[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside.append("/" + tag)
