"""Which findings are shown: all that is flagged, and some beyond."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Thresholds, audit, audit_embeddings, audit_splits
from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.findings import BEYOND, TRANCHE, select_findings, with_max_items
from tests.results.evidence import N, Rows, flat, made, vectors


def estimated(calibration: Calibration | None, **settings: Any) -> Audit:
    """An audit with this estimate for each issue."""
    audit = made(**settings)
    every = {} if calibration is None else dict.fromkeys(audit.scores.issues, calibration)
    return replace(audit, scores=replace(audit.scores, calibration=every))


def test_all_that_is_flagged_is_shown_and_half_as_many_beyond() -> None:
    audit = estimated(None, thresholds=Thresholds(0.0, 0.0, None))
    off_topic = np.sort(audit.scores.off_topic)
    for hits in (0, 10, 120):
        threshold = audit.at(thresholds=Thresholds(None, float(off_topic[hits]), None))
        found = select_findings(threshold)
        assert len(found.samples["off_topic"]) == min(N, hits + max(BEYOND, hits // 2))
        assert (
            found.samples["off_topic"].tolist()
            == np.argsort(audit.scores.off_topic, kind="stable")[: len(found.samples["off_topic"])].tolist()
        )
        assert found.left_out == {"near_duplicates": 0, "off_topic": 0, "label_errors": 0}
        assert found.sets == ()
        fewer = select_findings(threshold, 7)
        assert fewer.samples["off_topic"].tolist() == found.samples["off_topic"][:7].tolist()
        assert fewer.left_out["off_topic"] == max(0, hits - 7)


@pytest.mark.parametrize(("issue", "hits"), [(10, 0), (180, 0), (100, 60), (150, 60), (130, 170), (180, 170)])
def test_as_many_are_shown_as_are_to_be_inspected_to_find_most_issues(issue: int, hits: int) -> None:
    """By this estimate the first so many are issues and the others clean, so 90% of them are found at nine tenths."""
    scores = np.sort(made().scores.off_topic)
    step = (float(scores[issue - 1]), float(scores[issue]))
    audit = estimated(Calibration(np.array(step), np.array([0.0, 1.0])))
    audit = audit.at(thresholds=Thresholds(None, float(scores[hits]) if hits else 0.0, None))
    shown = len(select_findings(audit).samples["off_topic"])
    assert shown == min(N, max(9 * issue // 10, hits + max(BEYOND, hits // 2)))
    assert len(select_findings(audit, 40).samples["off_topic"]) == 40


def test_half_of_the_items_are_shown_where_the_number_of_issues_is_unknown() -> None:
    audit = estimated(Calibration(np.array([1.0]), np.array([1.0]), unknown="there is no body"))
    audit = audit.at(thresholds=Thresholds(0.0, 0.0, None))
    for most in (150, 300, 400):
        found = select_findings(audit, most)
        assert len(found.samples["off_topic"]) == max(BEYOND, most // 2)
        assert len(found.pairs) == min(most - 26, max(BEYOND, most // 2))
    some = estimated(None, thresholds=Thresholds(0.0, 0.0, None))
    assert len(select_findings(some, 1000).samples["off_topic"]) == 200, "who asks for more findings looks further"


def test_sets_begin_with_their_kept_copy_and_pairs_lie_above_the_threshold() -> None:
    audit = made(thresholds=Thresholds(near_duplicates=0.0))
    found = select_findings(audit)
    assert set(found.sets) == {(7, *range(20, 45)), (100, 101)}
    assert len(found.pairs) == BEYOND
    beyond = audit.scores.pair_score > 0
    assert found.pairs.tolist() == beyond.nonzero()[0][:BEYOND].tolist()
    assert found.left_out["near_duplicates"] == 0


@pytest.mark.parametrize("most", [1, 2, 25, 26, 27])
def test_a_huge_set_leaves_room_for_others(most: int) -> None:
    found = select_findings(made(thresholds=Thresholds(near_duplicates=0.0)), most)
    surplus = sum(len(members) - 1 for members in found.sets)
    assert surplus == min(most, 26)
    assert surplus + len(found.pairs) <= most
    assert found.left_out["near_duplicates"] == 26 - surplus
    assert len(found.sets) == min(2, most)
    assert TRANCHE < 25


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "5", None])
def test_less_than_one_item_is_refused(wrong: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: audit_embeddings(vectors(), max_items=wrong),
        lambda: audit(Rows(), flat, max_items=wrong),
        lambda: audit_splits({"a": Rows(), "b": Rows()}, flat, max_items=wrong),
    ]
    for call in calls:
        with pytest.raises(SettingError, match="max_items must be a whole number of at least 1, got"):
            call()


def test_the_number_of_items_is_remembered(tmp_path: Path) -> None:
    made(max_items=6).save(tmp_path)
    found = Audit.load(tmp_path)
    assert len(select_findings(found).samples["off_topic"]) == 6
    assert len(select_findings(found, 9).samples["off_topic"]) == 9
    assert len(select_findings(with_max_items(found, 500)).samples["off_topic"]) > 9
    assert "max_items" not in made().provenance["settings"]


def test_what_people_looked_at_stays_in_view() -> None:
    audit = estimated(None, thresholds=Thresholds(near_duplicates=0.0))
    before, last = select_findings(audit), int(np.nanargmax(audit.scores.off_topic))
    assert last not in before.samples["off_topic"]
    digests = audit.digests or ()
    marks = [
        Mark("off_topic", "confirmed", last, "", digests[last]),
        Mark("off_topic", "rejected", int(before.samples["off_topic"][0]), "", digests[before.samples["off_topic"][0]]),
        Mark("near_duplicates", "rejected", 101, "", digests[101], 100, "", digests[100]),
    ]
    reviewed = audit.with_decisions(Review(tuple(marks), {}, {}))
    after = select_findings(reviewed)
    assert {last, int(before.samples["off_topic"][0])} <= set(after.samples["off_topic"].tolist())
    assert (100, 101) not in after.sets
    assert audit.scores.pair_index[after.pairs[0]].tolist() == [100, 101]
