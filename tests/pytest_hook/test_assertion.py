"""What `assert_clean` asserts, called as in a script: without pytest's cache and options."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import selfclean_hooks_pytest.session
from selfclean_hooks import Audit, Baseline, Count, Policy, Thresholds, audit, audit_embeddings, audit_splits
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.errors import AuditFileError, BackboneError, DataError, SettingError
from selfclean_hooks_pytest.assertion import assert_clean
from tests.helpers.embedding_data import Items, flat

LABELS = [0] * 6 + [1] * 6


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the plugin is installed must make no difference."""
    monkeypatch.setattr(selfclean_hooks_pytest.session, "RUNNING", [])


def copies(*positions: int, broken: tuple[int, ...] = ()) -> Items:
    """12 images with an exact copy of number 0 at these positions."""
    found = Items(broken=broken)
    found.array[list(positions)] = found.array[0]
    return found


def fails(data: Any, **settings: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        assert_clean(data, backbone=flat, **settings)
    return str(caught.value)


def refuses(data: Any, **settings: Any) -> str:
    with pytest.raises(SettingError) as caught:
        assert_clean(data, **settings)
    return str(caught.value)


class Untouched(Items):
    """Fails a test that reads it."""

    def __getitem__(self, index: int) -> Any:
        pytest.fail(f"item {index} was read")


def test_clean_data_passes_and_the_audit_is_returned() -> None:
    found = assert_clean(Items(), backbone=flat)
    assert isinstance(found, Audit)
    assert len(found) == 12


def test_a_failure_says_what_how_many_the_limit_and_which() -> None:
    text = fails(copies(3), labels=LABELS)
    assert text.splitlines() == [
        "near duplicates 8.33%, limit 1% (12 samples of Items)",
        "",
        "near duplicates: 8.33% (1 of 12 samples; 95% interval 1.49% to 35.39%), limit 1%",
        "    sample 3: near duplicate of 0 (set 0, 2 copies, distance 0)",
        "",
        "give report=FOLDER to save the report, and to be able to accept findings",
    ]


def test_the_worst_are_named_and_the_others_counted() -> None:
    text = fails(copies(*range(1, 9)), labels=[0] * 10 + [1] * 2)
    assert text.count("near duplicate of 0") == 5
    assert "    and 3 more\n" in text


def test_what_is_certain_has_a_limit_by_itself() -> None:
    assert fails(Items(broken=(4,))).startswith("unreadable 8.33%, limit 0% (12 samples of Items)")
    assert "sample 4: unreadable (OSError: item 4 is broken)" in fails(Items(broken=(4,)))
    assert_clean(Items(broken=(4,)), backbone=flat, unreadable=None)
    everything = Thresholds(near_duplicates=0.0, off_topic=1.0, label_errors=1.0)
    found = assert_clean(Items(), backbone=flat, thresholds=everything)  # a matter of judgement: no limit
    assert isinstance(found, Audit)
    assert found.contamination["label_errors"] > 0.5
    assert "label errors" in fails(Items(), thresholds=everything, label_errors=0.5).splitlines()[0]


def test_limits_are_fractions_or_numbers_of_samples() -> None:
    assert_clean(copies(3), backbone=flat, near_duplicates=1 / 12)
    assert_clean(copies(3), backbone=flat, near_duplicates=Count(1))
    assert_clean(copies(3), backbone=flat, near_duplicates=None)
    assert fails(copies(3, 5), near_duplicates=Count(1)).startswith("near duplicates 16.67%, limit 1 samples")
    assert "total" in fails(copies(3), near_duplicates=None, total=0.0)


def test_splits_have_the_same_limits_or_their_own() -> None:
    splits = _splits()
    text = fails(splits, leakage=None)
    assert text.splitlines()[0] == "train: near duplicates 8.33%, limit 1% (24 samples of train, val)"
    found = assert_clean(splits, backbone=flat, near_duplicates={"train": 0.1, "val": 0.0}, leakage=None)
    assert isinstance(found, SplitsAudit)
    assert_clean(found, near_duplicates={"val": 0.0}, leakage=None)  # one left out has none
    with pytest.raises(AssertionError, match=r"^train: near duplicates 8\.33%, limit 0%"):
        assert_clean(found, near_duplicates={"train": 0.0}, leakage=None)


def test_leakage_has_a_limit_where_there_are_splits() -> None:
    splits = _splits()
    splits["val"].array[5] = splits["train"].array[7]
    exact = Thresholds(near_duplicates=0.0)
    text = fails(splits, near_duplicates=None, thresholds=exact)
    assert text.splitlines()[0].startswith("train: leakage 8.33%, limit 1%; val: leakage 8.33%, limit 1%")
    assert "    sample 5: also in train (index 7, distance 0)" in text
    assert_clean(splits, backbone=flat, near_duplicates=None, leakage=0.1, thresholds=exact)


def test_a_check_that_could_not_run_fails_where_it_has_a_limit() -> None:
    text = fails(Items(), leakage=0.0)
    assert text.startswith("leakage not run (12 samples of Items)")
    assert 'so its limit is not kept; not_run=("leakage",) would allow that' in text
    assert_clean(Items(), backbone=flat, leakage=0.0, not_run=("leakage",))
    text = fails(Items(), labels=[0] * 12, label_errors=0.1)
    assert "label errors: not run (all samples carry the same label (0))" in text


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"near_duplicate": 0.1}, "assert_clean knows no 'near_duplicate': did you mean near_duplicates?"),
        ({"zebra": 0.1}, "assert_clean knows no 'zebra': there are near_duplicates, off_topic, label_errors, leakage,"),
        ({"near_duplicates": 2}, "the limit of near_duplicates must be a fraction in [0, 1] or None, got 2; a number"),
        ({"off_topic": "1%"}, "the limit of off_topic must be a fraction in [0, 1] or None, got '1%'"),
        ({"off_topic": {"val": 0.1}}, "off_topic= names the split 'val', and there are no splits, as one data set was"),
        ({"not_run": ("labels",)}, "not_run must list issues that may go unchecked, of near_duplicates"),
        ({"method": "best"}, "method must be one of default, selfclean, got 'best'"),
        (
            {"baseline": "nowhere.jsonl"},
            "there is no baseline nowhere.jsonl: leave baseline= out once, and the failure",
        ),
        (
            dict.fromkeys(("near_duplicates", "off_topic", "label_errors", "leakage", "unreadable")),
            "every limit is None, so there is nothing to assert: give one",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(limits: Mapping[str, Any], message: str) -> None:
    assert refuses(Untouched(), **limits).startswith(message)


def test_a_split_that_there_is_not_is_refused() -> None:
    splits = {"train": Untouched(), "val": Untouched()}
    assert refuses(splits, leakage={"test": 0.0}) == "leakage= names the split 'test', and there are train, val"


def test_errors_of_the_audit_reach_the_test_as_they_are() -> None:
    with pytest.raises(DataError, match="a map-style data set is needed"):
        assert_clean("folder")
    with pytest.raises(BackboneError, match="is no timm model"):
        assert_clean(Items(), backbone="no_such_model")
    with pytest.raises(SettingError, match="splits must be at least two data sets by name"):
        assert_clean({"train": Items()}, backbone=flat)


def test_an_audit_that_was_made_already() -> None:
    found = audit(copies(3), flat, progress=False)
    with pytest.raises(AssertionError, match=r"near duplicates 8\.33%, limit 1%"):
        assert_clean(found)
    passed = assert_clean(found, thresholds=Thresholds(near_duplicates=None))  # turned off: no limit by itself
    assert passed.thresholds == Thresholds(near_duplicates=None)  # type: ignore[union-attr]
    splits = audit_splits(_splits(), flat, progress=False)
    assert assert_clean(splits, near_duplicates=1.0, leakage=None) is not splits
    for setting in ({"backbone": "auto."}, {"labels": np.zeros(12)}, {"backbone": flat}, {"batch_size": 1}):
        (name,) = setting
        assert refuses(found, **setting).startswith(f"{name}= says how to make an audit, and this is one already")


def test_accepted_findings_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "accepted.jsonl"
    Baseline.of({"": audit(copies(3), flat, progress=False)}).write(path)
    assert_clean(copies(3), backbone=flat, baseline=path)
    text = fails(copies(3, 5), baseline=path)
    assert text.startswith("near duplicates 8.33%, limit 0% (12 samples of Items)")
    assert "(1 of 12 samples, 1 more in the baseline;" in text
    assert_clean(copies(3, 5), backbone=flat, baseline=path, near_duplicates=0.1)


def test_with_a_baseline_nothing_new_passes(tmp_path: Path) -> None:
    path, doubtful = tmp_path / "accepted.jsonl", Thresholds(label_errors=1.0)
    Baseline({}).write(path)
    assert_clean(Items(), backbone=flat, thresholds=doubtful)
    assert "label errors" in fails(Items(), thresholds=doubtful, baseline=path).splitlines()[0]
    assert_clean(Items(), backbone=flat, thresholds=doubtful, baseline=path, label_errors=None)
    one_class = [0] * 12  # so that label errors cannot be looked for, which is not asked for either
    assert_clean(Items(), backbone=flat, labels=one_class, baseline=path)


def test_entries_of_the_baseline_that_match_nothing_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "accepted.jsonl"
    Baseline.of({"": audit(copies(3), flat, progress=False)}).write(path)
    other = Items(24)
    other.array = other.array[12:]
    other.array[1] = other.array[0]
    assert "\nin the baseline, but found no more: " in fails(other, baseline=path)


def test_a_damaged_baseline_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "accepted.jsonl"
    path.write_text("<<<<<<< HEAD\n")
    with pytest.raises(AuditFileError, match="must be a baseline"):
        assert_clean(Untouched(), baseline=path)


def test_the_audit_is_saved_where_that_is_asked_for(tmp_path: Path) -> None:
    assert_clean(Items(), backbone=flat, report=tmp_path / "passed")
    assert len(Audit.load(tmp_path / "passed")) == 12
    text = fails(copies(3), report=tmp_path / "failed")
    assert f"report: {tmp_path / 'failed'}/report.html" in text
    assert f"selfclean-hooks gate {tmp_path / 'failed'} --baseline data-baseline.jsonl --update-baseline" in text
    assert (tmp_path / "failed" / "report.html").is_file()


def test_a_policy_that_would_drop_too_much_hides_nothing(tmp_path: Path) -> None:
    found = audit(copies(*range(1, 9)), flat, policy=Policy(near_duplicates="drop"), progress=False)
    with pytest.raises(AssertionError, match=r"near duplicates 66\.67%, limit 1%"):
        assert_clean(found, report=tmp_path / "audit")
    assert (tmp_path / "audit" / "report.html").is_file()


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    with torch.random.fork_rng():
        assert_clean(Items(), backbone=flat)
        assert torch.equal(torch.get_rng_state(), before)


def test_vectors_are_audited_first() -> None:
    found = audit_embeddings(np.eye(6)[[0, 1, 2, 3, 4, 4]])
    with pytest.raises(AssertionError, match=r"near duplicates 16\.67%, limit 1% \(6 samples of embeddings\)"):
        assert_clean(found)


def _splits() -> dict[str, Items]:
    """Two splits of different images, the first with a copy."""
    train, val = copies(3), Items(24)
    val.array = val.array[12:]
    return {"train": train, "val": val}


def test_image_quality_is_looked_for_where_it_has_a_limit() -> None:
    found = copies()
    found.array[3] = 0
    assert "image_quality" not in assert_clean(found, backbone=flat).contamination  # type: ignore[union-attr]
    text = fails(found, image_quality=0.05)
    assert text.startswith("image quality 8.33%, limit 5%")
    assert "dark, blank (score" in text
    assert_clean(found, backbone=flat, image_quality=Count(1))
    made = audit(found, backbone=flat, progress=False)
    with pytest.raises(AssertionError, match=r"image quality: not run \(it is measured on request"):
        assert_clean(made, image_quality=0.1)


def test_samples_of_one_group_are_no_duplicates() -> None:
    groups = ["a", "b", "c", "a", *"defghijk"]
    assert "near duplicates" in fails(copies(3))
    assert_clean(copies(3), backbone=flat, group_key=groups)
    splits = {"train": copies(), "val": copies()}
    text = fails(splits, group_key=dict.fromkeys(splits, groups), leakage=None, group_leakage=0.5)
    assert "train: group leakage 100.00%, limit 50%" in text
