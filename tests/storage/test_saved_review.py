"""Reviews that are saved with an audit, taken up again and added to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfclean_hooks import Audit, AuditedDataset, Policy, Thresholds
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.review.file import read_reviews, write_review
from selfclean_hooks.decisions.review.marks import Review
from selfclean_hooks.errors import AuditFileError
from tests.decisions.reviewed_audits import WARN, about, leak, leaking, reviewed, ten
from tests.decisions.test_policy import CLUSTER, low
from tests.helpers.review_data import mark


def test_a_saved_review_comes_back_and_decides_the_same(tmp_path: Path) -> None:
    audit = ten(
        near=CLUSTER, off_topic=low(3), label=low(4), class_names=("=cat", "dog"), given_label=np.array([0, 1] * 5)
    )
    marks = (
        mark(audit, "near_duplicates", "rejected", 8, 2),
        mark(audit, "off_topic", "confirmed", 6),
        mark(audit, "label_errors", "relabelled", 4, label="+emu"),
    )
    found = audit.with_decisions(Review(marks, {"off_topic": 0.2}, {"off_topic": 9}))
    found = found.at(policy=Policy(label_errors="drop")).described("images")
    found.save(tmp_path)
    again = Audit.load(tmp_path)
    assert again.review == found.review
    assert again.thresholds == Thresholds(off_topic=0.2)
    assert again.frame.equals(found.frame)
    assert again.clean_indices.tolist() == found.clean_indices.tolist()
    reported = (tmp_path / "relabelled.csv").read_text()
    assert reported == "index,sample,given_label,new_label\n4,dir/4.png,'=cat,'+emu\n"
    again.at().save(tmp_path)
    assert Audit.load(tmp_path).review == found.review
    assert not list(tmp_path.glob("decisions.*.json")), "the same decisions need not be kept twice"
    audit.save(tmp_path)
    assert Audit.load(tmp_path).review is None
    assert (tmp_path / "decisions.json").exists(), "what people decided is not deleted"
    assert not (tmp_path / "relabelled.csv").exists()


def test_decisions_that_are_not_the_audits_are_refused_or_moved_aside(tmp_path: Path) -> None:
    audit = ten(off_topic=low(3))
    mine, other = (Review((mark(audit, "off_topic", "confirmed", i),)) for i in (3, 4))
    write_review(other, tmp_path / "decisions.json")
    audit.with_decisions(mine).save(tmp_path)
    assert read_reviews(tmp_path / "decisions.1.json") == other
    assert Audit.load(tmp_path).review == mine
    write_review(other, tmp_path / "decisions.json")
    with pytest.raises(AuditFileError, match="was changed since the audit was saved"):
        Audit.load(tmp_path)
    (tmp_path / "decisions.json").unlink()
    with pytest.raises(AuditFileError, match="which belongs to the audit"):
        Audit.load(tmp_path)


def test_splits_keep_their_reviews(tmp_path: Path) -> None:
    none = replace(LeakPairs.empty(), splits=("val", "train"), sizes=(10, 10))
    found = SplitsAudit({"train": leaking(WARN), "val": ten(leaks=none, policy=WARN)})
    of_val = replace(about(3, "dir/3.png", 4), split="val")
    files = []
    for split, marks in (("train", [leak("rejected", 1, 0, split="val")]), ("val", [of_val])):
        files.append(tmp_path / f"{split}.json")
        here = tuple(replace(each, split=split) for each in marks)
        write_review(Review(here, {"off_topic": 0.3 if split == "train" else 0.4}, split=split), files[-1])
    found = found.with_decisions(files)
    assert {name: audit.thresholds.off_topic for name, audit in found.audits.items()} == {"train": 0.3, "val": 0.4}
    assert found.audits["train"].worst("leakage").tolist() == [2]
    assert found.audits["val"].worst("off_topic").tolist() == [3]
    found.save(tmp_path / "saved")
    again = SplitsAudit.load(tmp_path / "saved")
    assert {name: audit.review for name, audit in again.audits.items()} == {
        name: audit.review for name, audit in found.audits.items()
    }
    assert again.leaking == found.leaking
    one = Audit.load(tmp_path / "saved" / "train")
    assert one.worst("leakage").tolist() == [2]


def test_the_data_set_without_them_follows_decisions() -> None:
    audit = ten(off_topic=low(3, 4), policy=WARN)
    found = reviewed(audit, mark(audit, "off_topic", "rejected", 3), mark(audit, "off_topic", "confirmed", 7))
    kept = AuditedDataset([str(i) for i in range(10)], policy=Policy(off_topic="drop"), audit=found)
    assert [kept[i] for i in range(len(kept))] == ["0", "1", "2", "3", "5", "6", "8", "9"]


def test_later_decisions_come_on_top_of_earlier_ones() -> None:
    audit = ten(off_topic=low(3, 4))
    found = reviewed(audit, *(mark(audit, "off_topic", "confirmed", i) for i in (3, 4)))
    found = reviewed(found, mark(audit, "off_topic", "rejected", 3))
    assert found.clean_indices.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
