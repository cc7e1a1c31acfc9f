"""What the user gets to read, and when training is stopped."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from selfclean_hooks import Audit, Limits, Policy, Thresholds, Top
from selfclean_hooks.errors import AuditFileError, ContaminationError, DataWarning, PolicyError
from tests.helpers.log_records import Records
from tests.lightning.fits import DROP, N, Net, audit_callback, clean_data, planted, train_data, trainer

NOTHING = Thresholds(near_duplicates=None, off_topic=None, label_errors=None)


def fit(callback: Any, data: Any = None, net: Net | None = None, **loader: Any) -> Net:
    net = Net() if net is None else net
    given: dict[str, Any] = {"batch_size": 16, **loader}
    trainer(callback, max_epochs=1).fit(net, DataLoader(data or train_data(), **given))
    return net


def said(caught: Any) -> list[str]:
    return [str(one.message) for one in caught if issubclass(one.category, DataWarning)]


# the paragraph


def test_one_paragraph_says_it_all(tmp_path: Path) -> None:
    thresholds = Thresholds(near_duplicates=0.35, label_errors=Top(0.15))
    policy = Policy(near_duplicates="drop", off_topic="ignore")
    callback = audit_callback(tmp_path / "my audit", policy=policy, thresholds=thresholds)
    with pytest.warns(DataWarning) as caught:
        fit(callback)
    audit = callback.audit
    copies, wrong = audit.worst("near_duplicates"), audit.worst("label_errors")
    rank_me = audit.provenance["encoder"]["rank_me"]
    first = ", ".join(map(str, copies[:5].tolist()))
    others = ", ".join(map(str, wrong[:5].tolist()))
    report = tmp_path / "my audit" / "report.html"
    assert said(caught) == [
        f"DataAudit of the training data: {N} samples, {len(copies)} near duplicates ({len(copies) / N:.2%}, dropped;"
        f" worst: {first} and {len(copies) - 5} more); {len(wrong)} label errors ({len(wrong) / N:.2%}, kept; worst: "
        f"{others} and {len(wrong) - 5} more). Representation: Flatten, RankMe {rank_me:.1f}. Report: {report}. "
        f"Trained on: {N - len(copies)}"
    ]
    assert report.is_file()
    truth = planted().is_label_error.nonzero()[0].tolist()
    assert len(set(truth) & set(wrong.tolist())) >= 3  # of the 5 that were planted


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(DataWarning, match=r"\. No output_dir, so no report was written\. "):
        fit(audit_callback(None))
    assert list(tmp_path.iterdir()) == []


def test_clean_data_is_no_warning(tmp_path: Path, caplog: Records) -> None:
    callback = audit_callback(tmp_path, thresholds=NOTHING, policy=DROP)
    with caplog.at_level("INFO"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = fit(callback, clean_data())
    assert said(caught) == []
    lines = [record.getMessage() for record in caplog.records if "DataAudit" in record.getMessage()]
    assert lines[0] == "DataAudit: the training data is audited before epoch 0, 64 samples"
    assert len(lines) == 2
    assert lines[1].startswith("DataAudit of the training data: 64 samples, nothing flagged. Representation: ")
    assert sorted(net.seen[0]) == list(range(64))


def test_what_is_ignored_is_not_mentioned() -> None:
    callback = audit_callback(None, policy=Policy("ignore", "ignore", "ignore"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(callback)
    assert said(caught) == []
    assert all(callback.audit.contamination[issue] > 0 for issue in ("near_duplicates", "off_topic", "label_errors"))


def test_unreadable_samples_are_reported_and_can_be_dropped() -> None:
    class Broken(Dataset[Any]):
        whole = train_data()

        def __len__(self) -> int:
            return len(self.whole)

        def __getitem__(self, index: int) -> Any:
            if index in (3, 8):
                raise OSError("the file is cut short")
            return self.whole[index]

    with pytest.warns(
        DataWarning,
        match=re.escape("2 unreadable (4.17%, dropped; index 3, 8; the first: OSError: the file is cut short)"),
    ):
        net = fit(audit_callback(None, policy=Policy(unreadable="drop")), Broken())
    assert not {3, 8} & set(net.seen[0])


# what stops the training


RAISING = {
    "near_duplicates": Policy(near_duplicates="raise"),
    "off_topic": Policy(off_topic="raise"),
    "label_errors": Policy(label_errors="raise"),
}


@pytest.mark.parametrize("issue", RAISING)
def test_raise_names_the_issue_and_saves_the_audit(tmp_path: Path, issue: str) -> None:
    callback, net = audit_callback(tmp_path, policy=RAISING[issue]), Net()
    with pytest.raises(ContaminationError) as stopped:
        fit(callback, net=net)
    message = str(stopped.value)
    assert message.startswith(f"training is stopped: {issue} is not tolerated (policy 'raise'). DataAudit of the train")
    assert "not tolerated; worst: " in message
    assert message.endswith(f"Report: {tmp_path / 'report.html'}")
    assert len(Audit.load(tmp_path).worst(issue)) > 0
    assert net.seen == {}


def test_raise_is_no_error_where_nothing_is_flagged() -> None:
    net = fit(audit_callback(None, policy=Policy("raise", "raise", "raise", "raise"), thresholds=NOTHING), clean_data())
    assert len(net.seen[0]) == 64


def test_every_limit_that_is_passed_is_named(tmp_path: Path) -> None:
    limits = Limits(near_duplicates=0.01, off_topic=0.9, label_errors=0.02)
    net = Net()
    with pytest.raises(ContaminationError) as stopped:
        fit(audit_callback(tmp_path, limits=limits), net=net)
    audit = Audit.load(tmp_path)
    for issue, limit in (("near_duplicates", "0.01"), ("label_errors", "0.02")):
        count = len(audit.worst(issue))
        assert f"{issue}: {count / N:.4f} ({count} of {N} samples; 95% interval " in str(stopped.value)
        assert f") exceeds the limit {limit}; worst: {audit.worst(issue)[0]}, " in str(stopped.value)
    assert "off_topic: " not in str(stopped.value)
    assert net.seen == {}


def test_within_limits_training_goes_on() -> None:
    with pytest.warns(DataWarning):
        net = fit(audit_callback(None, limits=Limits(near_duplicates=0.5, off_topic=0.5, label_errors=0.5)))
    assert len(net.seen[0]) == N


@pytest.mark.parametrize("saved", [False, True])
def test_a_mass_drop_is_refused(tmp_path: Path, saved: bool) -> None:
    policy, net = Policy(label_errors="drop", max_drop_fraction=0.01), Net()
    with pytest.raises(
        PolicyError, match=r"the policy would drop \d+ of 48 samples .* more than max_drop_fraction=0.01"
    ):
        fit(audit_callback(tmp_path if saved else None, policy=policy), net=net)
    assert net.seen == {}
    assert not (tmp_path / "clean_indices.txt").exists()
    assert (tmp_path / "report.html").exists() is saved


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    calls = []

    def backbone(batch: Tensor) -> Tensor:
        calls.append(len(batch))
        return batch.flatten(1)

    net = Net()
    with pytest.raises(AuditFileError, match="file"):
        fit(audit_callback(tmp_path / "file" / "audit", backbone=backbone, on_error="raise"), net=net)
    assert (calls, net.seen) == ([], {})


# what is left after drops


def test_less_than_a_batch_left_with_drop_last_is_refused() -> None:
    net = Net()
    with pytest.raises(PolicyError) as refused:
        fit(audit_callback(None, policy=DROP), net=net, batch_size=100, drop_last=True)
    assert re.fullmatch(
        r"training on what is left of the training data cannot work: training would run 0 steps: (\d+) of 48 samples "
        r"are left, \1 an epoch for each process, while a batch takes 100 and drop_last=True; lower batch_size, pass "
        r"drop_last=False or drop fewer samples",
        str(refused.value),
    )
    assert net.seen == {}


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_last_batch_of_one_is_left_out_and_that_is_said(drop_last: bool) -> None:
    before = audit_callback(None, policy=DROP)
    with pytest.warns(DataWarning):
        fit(before)
    size = len(before.audit.clean_indices) - 1
    net = Net()
    net.encoder[2] = nn.BatchNorm1d(32)  # which refuses a batch of one
    with pytest.warns(DataWarning) as caught:
        fit(audit_callback(None, policy=DROP), net=net, batch_size=size, drop_last=drop_last)
    reported = (
        "DataAudit: without the dropped samples the last batch of an epoch holds a single one, which BatchNorm may "
        "refuse: it is left out, one sample an epoch; with another batch_size none is"
    )
    assert (reported in said(caught)) is not drop_last
    assert len(net.seen[0]) == size


def test_validation_data_is_never_dropped() -> None:
    val = DataLoader(train_data(), 16)  # all of it leaks
    policy = Policy("drop", "drop", "drop", leakage="ignore")
    net = Net()
    done: Any = trainer(audit_callback(None, policy=policy), max_epochs=1)
    with pytest.warns(DataWarning):
        done.fit(net, DataLoader(train_data(), 16), val)
    assert done.num_val_batches == [3]
