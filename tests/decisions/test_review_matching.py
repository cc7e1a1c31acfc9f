"""Where marks belong once samples have moved: by content, then file, then position."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks import Audit
from selfclean_hooks.decisions.review.marks import Mark
from selfclean_hooks.decisions.review.matching import match_marks
from tests.decisions.reviewed_audits import DIGEST, WARN, about, leaking, of_contents, reviewed
from tests.decisions.test_policy import scores_of
from tests.helpers.review_data import mark


def test_without_contents_and_files_positions_count() -> None:
    audit = Audit(scores_of())
    assert reviewed(audit, about(3, "a.png", 5)).decisions.confirmed.nonzero()[0].tolist() == [3]


def test_each_sample_of_a_content_takes_one_mark() -> None:
    audit = of_contents([7, 7, 7, 1], ["p", "q", "r", "s"])
    found = reviewed(audit, about(8, "x", 7), about(9, "q", 7), about(10, "y", 7), about(11, "z", 7))
    assert found.decisions.confirmed.tolist() == [True, True, True, False]
    assert len(found.decisions.unmatched) == 1


def test_a_copy_that_was_removed_does_not_pull_the_other_one_along() -> None:
    before = of_contents([7, 7, 1], ["a", "b", "c"], near=[(0, 1, 0.0)])
    about_b = mark(before, "near_duplicates", "confirmed", 1, 0)
    assert reviewed(before, about_b).clean_indices.tolist() == [0, 2]
    after = reviewed(of_contents([7, 1], ["a", "c"]), about_b)
    assert after.clean_indices.tolist() == [0, 1]
    assert after.decisions.unmatched == (about_b,)
    unnamed = replace(about_b, sample="", other_sample="")
    assert reviewed(of_contents([7, 1]), unnamed).clean_indices.tolist() == [0, 1]


def test_a_wrong_label_that_was_removed_does_not_pull_the_right_one_along() -> None:
    names, labels = ["cat/a.png", "dog/b.png", "dog/c.png"], np.array([0, 1, 1])
    before = of_contents([7, 7, 1], names, class_names=("cat", "dog"), given_label=labels)
    wrong = mark(before, "label_errors", "confirmed", 1)
    assert reviewed(before, wrong).clean_indices.tolist() == [0, 2]
    after = of_contents([7, 1], ["cat/a.png", "dog/c.png"], class_names=("cat", "dog"), given_label=labels[1:] - [1, 0])
    assert reviewed(after, wrong).clean_indices.tolist() == [0, 1]


def test_marks_of_another_split_match_nothing() -> None:
    audit = leaking(WARN)
    theirs, ours = about(3, split="val"), about(4, split="train")
    found = reviewed(audit, theirs, ours, about(5))
    assert found.decisions.confirmed.nonzero()[0].tolist() == [4, 5]
    assert found.decisions.unmatched == (theirs,)


def slowly_placed(marks: Sequence[Mark], audit: Audit) -> dict[int, int]:
    """Number of a mark: position; the closest of all pairs of mark and sample first."""
    names, digests = (texts or ("",) * len(audit) for texts in (audit.names, audit.digests))

    def rank(mark: Mark, i: int) -> int:
        same_content, same_file = mark.digest == digests[i], mark.sample == names[i] != ""
        if mark.digest and digests[i]:
            fits = same_content
        elif mark.sample and names[i]:
            fits = same_file
        else:
            fits = mark.index == i
        alike = bool(mark.sample and names[i]) and mark.sample.split("/")[-2:] == names[i].split("/")[-2:]
        close = [same_file and mark.index == i, same_file, alike, mark.index == i, True]
        return close.index(True) if fits else len(close)

    found: dict[int, int] = {}
    every = [(rank(mark, i), -number, i) for number, mark in enumerate(marks) for i in range(len(audit))]
    for closeness, number, i in sorted(every):
        if closeness < 5 and -number not in found and i not in found.values():
            found[-number] = i
    return found


FILE = st.sampled_from(["", "a", "x/b", "y/x/b", "z/b"])


SAMPLES = st.lists(st.tuples(FILE, st.sampled_from(["", DIGEST(1), DIGEST(2), DIGEST(3)])), min_size=2, max_size=7)


WHOSE = st.builds(
    Mark,
    issue=st.just("off_topic"),
    verdict=st.just("confirmed"),
    index=st.integers(0, 8),
    sample=FILE,
    digest=st.sampled_from(["", DIGEST(1), DIGEST(2)]),
)


@given(samples=SAMPLES, about=st.lists(WHOSE, max_size=6), has_names=st.booleans(), has_digests=st.booleans())
def test_places_are_those_of_a_slow_search(samples: Any, about: Any, has_names: bool, has_digests: bool) -> None:
    names, digests = (tuple(texts) for texts in zip(*samples, strict=True))
    audit = Audit(scores_of(len(samples)), names=names if has_names else None, digests=digests if has_digests else None)
    places, lost = match_marks(about, audit.scores, audit.names, audit.digests)
    slow = slowly_placed(about, audit)
    assert [place.position for place in places] == [slow[number] for number in sorted(slow)]
    assert lost == [each for number, each in enumerate(about) if number not in slow]
