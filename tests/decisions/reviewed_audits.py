"""Ten samples, some with marks, for the tests of reviews."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Policy
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.review.marks import Mark, Review
from tests.decisions.test_policy import scores_of
from tests.helpers.review_data import mark

DIGEST = "{:032x}".format


WARN, IGNORE = Policy(), Policy("ignore", "ignore", "ignore", "ignore")


DROP = Policy("drop", "drop", "drop", "drop", leakage="drop")


def ten(names: bool = True, policy: Policy = DROP, **changes: Any) -> Audit:
    scores = scores_of(**changes)
    digests = tuple(DIGEST(i + 1) for i in range(len(scores)))
    files = tuple(f"dir/{i}.png" for i in range(len(scores))) if names else None
    return Audit(scores, policy=policy, names=files, digests=digests)


def reviewed(audit: Audit, *marks: Mark) -> Audit:
    return audit.with_decisions(Review(marks))


def leaking(policy: Policy = DROP) -> Audit:
    """Samples 1 and 2 are in val, 2 twice and in test."""
    pairs = [(1, 1, 0), (1, 2, 3), (1, 2, 4), (2, 2, 5), (1, 5, 6)]
    other, index, other_index = np.array(pairs).T
    leaks = LeakPairs(
        ("train", "val", "test"),
        (10, 10, 10),
        other,
        index,
        other_index,
        np.array([0, 0.01, 0.02, 0.03, 0.5], np.float32),
        tuple(f"other/{j}.png" for j in other_index),
        tuple(DIGEST(100 + j) for j in other_index),
        automatic=0.1,
    )
    return ten(leaks=leaks, policy=policy)


def leak(verdict: Any, i: int, j: int, split: str = "val", **changes: Any) -> Mark:
    other = {"other_index": j, "other_sample": f"other/{j}.png", "other_digest": DIGEST(100 + j), "other_split": split}
    return mark(leaking(), "leakage", verdict, i, **{**other, **changes})


def of_contents(contents: Sequence[int], names: Sequence[str] | None = None, **changes: Any) -> Audit:
    scores = scores_of(len(contents), **changes)
    return Audit(scores, names=None if names is None else tuple(names), digests=tuple(DIGEST(c) for c in contents))


def about(index: int = -1, sample: str = "", digest: int | None = None, **changes: Any) -> Mark:
    content = "" if digest is None else DIGEST(digest)
    return Mark("off_topic", "confirmed", index, sample, content, **changes)


@pytest.mark.parametrize(
    ("who", "position"),
    [
        (about(1, "b", 7), 1),
        (about(3, "b", 7), 1),  # the file before the position
        (about(3, "x", 7), 3),  # the position where the file is gone
        (about(9, "x", 7), 1),  # any of that content
        (about(0, "b", 8), -1),  # another content
        (about(0, "c"), 2),  # no content known: the file
        (about(0, "x"), -1),
        (about(2), 2),  # neither: the position
        (about(5), -1),
        (about(9, "old/dir/d", 7), 3),  # the folder was moved
    ],
)
def test_a_sample_is_found_by_content_then_file_then_position(who: Mark, position: int) -> None:
    audit = of_contents([5, 7, 6, 7], ["a", "b", "c", "new/dir/d"])
    found = reviewed(audit, who)
    assert found.decisions.confirmed.nonzero()[0].tolist() == [position] * (position >= 0)
    assert found.decisions.unmatched == (() if position >= 0 else (who,))
