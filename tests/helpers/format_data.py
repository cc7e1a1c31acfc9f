"""Audits with known findings and names that are hard to write down, for the tests of every format."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selfclean_hooks import Audit, Limits
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Count, Verdict, check
from tests.decisions.test_policy import low, scores_of

SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"

HOSTILE = {
    "plain": "cat/1.png",
    "lines": "a\nb\r\nc\u2028d\te.png",
    "xml": "]]>&amp;<x y='1'>\"</failure><!--.png",
    "html": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "markdown": "**a** | `b` | [c](http://evil.example) ~d~ <e> ![f](g) \\| &#124; $h$ :i:",
    "mention": "@team #1 GH-1 www.evil.example https://evil.example a@b.example",
    "placeholder": "{0} {{1}} [kept](1) %s %SRCROOT%",
    "rich": "[red]x[/red] [link=http://evil.example]y[/link]",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \xfc \u5b57.png",
    "undecodable": os.fsdecode(b"caf\xe9\xff.png"),
    "surrogate": "\ud800.png",
    "control": "\x01\x07\x1b[31m\x7f\x85\u202e\ufffe\uffff.png",
    "long": "deep/" * 1000 + "x.png",
    "wide": "\u5b57" * 2000,
    "spaces": "  a   b  .png",
    "formula": "=cmd|' /C calc'!A1",
    "percent": "50%.png?x=1#y:z",
    "up": "../../etc/./x.png",
    "dash": "- # > 1. ---",
}


def one(name: str = "cat/{}.png", **changes: Any) -> Audit:
    """Ten samples: 1 and 2 are copies of 0, 4 is off topic, 9 cannot be read; labels were not checked."""
    why = {"label_errors": changes.pop("why", "there are no labels")}
    scores = scores_of(
        near=[(0, 1, 0.0), (0, 2, 0.01), (1, 2, 0.01)],
        off_topic=low(4),
        label=np.full(10, np.nan),
        not_run=why,
        errors={9: changes.pop("error", "OSError: gone")},
        **changes,
    )
    names = tuple(name.replace("{}", str(i)) for i in range(10))
    return Audit(scores, names=names, digests=digests())


def digests(of: str = "train") -> tuple[str, ...]:
    return tuple(f"{of.encode().hex()[:8]:0<8}{i:024x}" for i in range(10))


def two(name: str = "train/{}.png", other: str = "val") -> dict[str, Audit]:
    """A split like `one`, whose samples 5 and 6 are in the other split too (as 3); that one has a wrong label at 7."""
    leaks = LeakPairs(
        splits=("train", other),
        sizes=(10, 10),
        other=np.array([1, 1, 1]),
        index=np.array([5, 6, 7]),
        other_index=np.array([3, 3, 4]),
        distance=np.array([0.0, 0.02, 0.9], np.float32),
        other_names=tuple(name.replace("{}", f"v{i}") for i in (3, 3, 4)),
        other_digests=tuple(digests("val")[i] for i in (3, 3, 4)),
        automatic=0.1,
    )
    train = one(name)
    scores = scores_of(label=low(7), predicted_label=np.ones(10, np.int64), class_names=("cat", name))
    val = Audit(scores, names=tuple(name.replace("{}", f"v{i}") for i in range(10)), digests=digests("val"))
    return {"train": replace(train, scores=replace(train.scores, leaks=leaks)), other: val}


STRICT = Limits(near_duplicates=0.1, off_topic=0.5, label_errors=0.0, unreadable=Count(0), leakage=0.5)


def judged(audits: Mapping[str, Audit], limits: Limits = STRICT, baseline: Baseline | None = None) -> Verdict:
    """The same limits for every split, that of leakage only where it was looked for."""
    without = replace(limits, leakage=None)
    of = {split: without if audit.scores.leaks is None else limits for split, audit in audits.items()}
    return check(audits, of, baseline)


def half_accepted() -> tuple[dict[str, Audit], Verdict]:
    """One data set whose off-topic sample and one surplus copy are in the baseline, beside an entry that is stale."""
    audits = {"": one()}
    accepted = Baseline.of(audits).entries
    entries = {key: entry for key, entry in accepted.items() if key.issue in ("off_topic", "near_duplicates")}
    gone = next(entry for key, entry in accepted.items() if key.issue == "unreadable")
    gone = replace(gone, samples=("f" * 32,), names=("gone | `file`.png",))
    return audits, judged(audits, Limits(), Baseline({**entries, gone.key: gone}))
