"""The file of decisions: what is written is read, and what is none is refused with the place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks.decisions.review.file import KIND, read_reviews, write_review
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.errors import AuditFileError
from tests.decisions.reviewed_audits import DIGEST

ANY = st.text(st.characters(), max_size=5)


INDEX = st.integers(-1, 2**40)


WHO = st.tuples(INDEX, ANY, st.sampled_from(["", DIGEST(7), DIGEST(8)])).filter(lambda who: who != (-1, "", ""))


@st.composite
def marks(draw: st.DrawFn) -> Mark:
    issue = draw(st.sampled_from(["near_duplicates", "off_topic", "label_errors", "leakage", "unreadable"]))
    verdicts = ["confirmed", "rejected", *(["relabelled"] if issue == "label_errors" else [])]
    verdict: Any = draw(st.sampled_from(verdicts))
    changes: dict[str, Any] = {"split": draw(st.sampled_from(["", "train", "a:b"]))}
    if verdict == "relabelled":
        changes["label"] = draw(ANY.filter(str.strip))
    if issue in ("near_duplicates", "leakage"):
        changes |= dict(zip(("other_index", "other_sample", "other_digest"), draw(WHO), strict=True))
    if issue == "leakage":
        changes["other_split"] = draw(st.sampled_from(["val", "\ud800"]))
    return Mark(issue, verdict, *draw(WHO), **changes)


REVIEWS = st.builds(
    Review,
    marks=st.lists(marks(), max_size=8).map(tuple),
    thresholds=st.dictionaries(st.sampled_from(["off_topic", "leakage"]), st.floats(0, 1)),
    seen=st.dictionaries(st.sampled_from(["off_topic", "unreadable"]), st.integers(0, 999)),
    split=st.sampled_from(["", "train", "a:b"]),
    dataset=ANY,
)


@given(review=REVIEWS)
def test_a_file_comes_back_as_it_was(review: Review, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("review") / "decisions.json"
    write_review(review, path)
    assert read_reviews(path) == review
    path.read_bytes().decode("ascii")


@given(first=REVIEWS, second=REVIEWS)
def test_the_last_of_several_counts(first: Review, second: Review) -> None:
    both = Review.merge([first, second])
    slow = {mark.finding: mark for mark in (*first.marks, *second.marks)}
    assert {mark.finding: mark for mark in both.marks} == slow
    assert len(both.marks) == len(slow)
    for split in ("", "train", "a:b"):
        expected_thresholds = {**(first.thresholds if first.split == split else {})}
        expected_thresholds |= second.thresholds if second.split == split else {}
        assert both.thresholds_of(split) == both.of(split).thresholds == expected_thresholds
        own = {mark for mark in both.marks if mark.split == split}
        assert own <= set(both.of(split).marks)


GOOD: dict[str, Any] = {"format": 1, "kind": KIND, "decisions": []}


ENTRY = {"issue": "off_topic", "verdict": "confirmed", "index": 1}


def entry(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "decisions": [{**ENTRY, **changes}]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "must be JSON, got Expecting property name"),
        ("[1]", "an object was wanted, got [1]"),
        (json.dumps(GOOD)[:-1] + ', "kind": "x"}', "'kind' is given twice"),
        (json.dumps(GOOD)[:-1] + ', "thresholds": {"off_topic": NaN}}', "NaN is not a number"),
        ("[" * 100_000, "nested too deeply"),
        ({**GOOD, "kind": "report"}, f"kind must be '{KIND}', got 'report'"),
        ({**GOOD, "format": 2}, "format must be 1, got 2"),
        ({**GOOD, "notes": 1}, "'notes' is not a known key (format, kind"),
        ({**GOOD, "decisions": {}}, "$.decisions: expected array, got object"),
        ({**GOOD, "thresholds": {"off_topic": 2}}, "a threshold must be a score in [0, 1] for one of near_duplicates"),
        ({**GOOD, "thresholds": {"speed": 0.1}}, "got 0.1 for 'speed'"),
        ({**GOOD, "seen": {"off_topic": -1}}, "got -1 for 'off_topic'"),
        ({**GOOD, "thresholds": {"off_topic": 10**400}}, "$.thresholds[...]: number out of range"),
        ({**GOOD, "decisions": [ENTRY, 3]}, "decision 2: an object was wanted, got 3"),
        ({**GOOD, "decisions": [{"issue": "off_topic"}]}, "decision 1: it lacks 'verdict'"),
        (entry(colour=1), "decision 1: 'colour' is not a known key"),
        (
            entry(issue="typo"),
            "the issue must be one of near_duplicates, off_topic, label_errors, group_leakage, image_quality, leakage",
        ),
        (entry(verdict="maybe"), "the verdict must be one of confirmed, rejected, relabelled, got 'maybe'"),
        (entry(index=1.5), "index must be a position, 0 or more, got 1.5"),
        (entry(index=True), "index must be a position, 0 or more, got True"),
        (entry(index=-1), "must identify its sample by index, sample or digest, got none of them"),
        (entry(sample=None), "sample must be a string, got None"),
        (entry(digest="xyz"), "digest must be 32 hexadecimal digits or empty, got 'xyz'"),
        (entry(label="cat"), "a new label goes with the verdict relabelled"),
        (entry(verdict="relabelled", label="cat"), "relabelled is a verdict on label_errors, got it for 'off_topic'"),
        (entry(issue="label_errors", verdict="relabelled", label=" "), "a new label goes with the verdict relabelled"),
        (entry(other_index=2), "other issues about one, got 'off_topic' about two"),
        (entry(issue="near_duplicates"), "got 'near_duplicates' about one"),
        (entry(issue="leakage", other_index=2), "other_split goes with leakage, got '' for 'leakage'"),
        (entry(issue="near_duplicates", other_index=2, other_split="val"), "got 'val' for 'near_duplicates'"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_place(content: Any, why: str, tmp_path: Path) -> None:
    path = tmp_path / "decisions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(AuditFileError) as caught:
        read_reviews(path)
    assert str(path) in str(caught.value)
    assert why in str(caught.value)
    assert str(caught.value).endswith("Export the decisions from the report again, or fix the file")


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    for name in ("gone.json", "x.json"):
        with pytest.raises(AuditFileError, match=rf"cannot read the decisions .*{name}.*Give the file"):
            read_reviews(tmp_path / name)


def test_absent_keys_mean_empty(tmp_path: Path) -> None:
    path = tmp_path / "decisions.json"
    path.write_text("\ufeff" + json.dumps({**entry(sample="\udcff"), "split": "train"}))
    assert read_reviews(path) == Review((Mark("off_topic", "confirmed", 1, "\udcff", split="train"),), split="train")
