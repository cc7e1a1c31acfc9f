"""Automatic thresholds that move: what lies between the old and the new one is no news."""

from dataclasses import replace

from selfclean_hooks import Limits, Thresholds
from selfclean_hooks.gate.baseline import Baseline
from tests.gate.baseline_data import automatic, new


def test_what_an_automatic_threshold_moves_across_is_no_news() -> None:
    before = automatic(300)
    baseline = Baseline.of({"": before})
    thresholds = before.decisions.thresholds
    assert baseline.thresholds == {
        ("", issue): thresholds[issue] for issue in ("near_duplicates", "off_topic", "label_errors")
    }
    lower = replace(
        baseline, thresholds={at: threshold / 8 for at, threshold in baseline.thresholds.items()}, entries={}
    )
    found = new(before.check(Limits(), lower))
    halves = Thresholds(*(thresholds[issue] / 8 for issue in ("near_duplicates", "off_topic", "label_errors")))
    assert found == new(before.at(thresholds=halves).check(Limits(), Baseline({})))
    assert 0 < sum(map(len, found.values())) < sum(map(len, new(before.check(Limits(), Baseline({}))).values()))
    higher = replace(
        baseline, thresholds={at: min(2 * threshold, 1.0) for at, threshold in baseline.thresholds.items()}, entries={}
    )
    assert new(before.check(Limits(), higher)) == new(before.check(Limits(), Baseline({})))


def test_an_entry_that_the_threshold_moved_away_from_is_not_stale() -> None:
    audit = automatic(300)
    resolved = audit.decisions.thresholds
    wide = Thresholds(*(min(2 * resolved[i], 1.0) for i in ("near_duplicates", "off_topic", "label_errors")))
    of_wide = Baseline.of({"": audit.at(thresholds=wide)})
    assert of_wide.thresholds == {}  # chosen ones are in the settings
    assert len(of_wide.stale({"": audit})) > 0
    thresholds = {("", issue): getattr(wide, issue) for issue in ("near_duplicates", "off_topic", "label_errors")}
    assert replace(of_wide, thresholds=thresholds).stale({"": audit}) == ()


def test_a_threshold_that_somebody_chose_is_in_force() -> None:
    audit = automatic(300)
    none = Baseline({}, {("", issue): 0.0 for issue in ("near_duplicates", "off_topic", "label_errors")})
    assert new(audit.check(Limits(), none)) == {}
    chosen = audit.at(thresholds=replace(audit.thresholds, label_errors=0.4))
    below = (chosen.scores.label < 0.4).nonzero()[0]  # labels that near duplicates contradict need a threshold of those
    assert len(below) > 0
    assert new(chosen.check(Limits(), none)) == {"label_errors": chosen.ranked("label_errors", below).tolist()}
