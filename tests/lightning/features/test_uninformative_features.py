"""Features of the module in training that are constant but for noise, and a part of it whose name is misspelt."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selfclean_hooks import Audit
from selfclean_hooks.errors import BackboneError, DataWarning
from selfclean_hooks.training.module_features import COLLAPSED, representation
from tests.helpers.log_records import Records
from tests.lightning.features.module_features import audited, embedded, images, loader
from tests.lightning.fits import DROP, N, Net, audit_callback, train_data, trainer

SAYS_NOTHING = r"the features of Collapsed carry no information: RankMe is 1\.0\d"


class Collapsed(Net):
    """Looks trained; what enters its last layer is the same for all samples but for noise."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.get_parameter("encoder.2.weight")[0] = 2

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(1 + 1e-4 * self.encoder(x))
        return scores


def said(caught: Any) -> list[str]:
    return [str(one.message) for one in caught if issubclass(one.category, DataWarning)]


def test_before_the_first_step_auto_takes_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vectors = embedded(monkeypatch)
    about = audited(Collapsed(), tmp_path)
    assert about["encoder"]["name"] == "pixels"
    assert re.fullmatch(rf"{SAYS_NOTHING}\. Until then backbone='auto' is used", about["notes"][0])
    assert torch.equal(vectors[-1], images().flatten(1))
    assert Audit.load(tmp_path).provenance["encoder"]["name"] == "pixels"


def test_that_they_are_replaced_is_reported(caplog: Records) -> None:
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        audited(Collapsed())
    reported = [text for text in caplog.messages if re.search(SAYS_NOTHING, text)]
    assert len(reported) == 1
    assert reported[0].startswith("DataAudit: ")
    assert reported[0].endswith("Until then backbone='auto' is used")


def test_in_the_course_of_training_what_was_dropped_stays_dropped(tmp_path: Path) -> None:
    net, callback = Collapsed(), audit_callback(tmp_path, policy=DROP, backbone=None, audit_epochs=(0, 1))
    with pytest.warns(DataWarning) as caught:
        trainer(callback).fit(net, loader(train_data()))
    kept = callback.audit.clean_indices.tolist()
    assert 0 < len(kept) < N
    assert sorted(net.seen[0]) == sorted(net.seen[1]) == kept
    late = [text for text in said(caught) if "no audit for epoch 1" in text]
    assert len(late) == 1
    assert re.fullmatch(rf"DataAudit: no audit for epoch 1, what was dropped stays dropped: {SAYS_NOTHING}", late[0])
    assert callback.audit.provenance["training"]["epoch"] == 0
    assert Audit.load(tmp_path).clean_indices.tolist() == kept


def test_when_a_run_is_resumed_auto_takes_their_place_too(tmp_path: Path) -> None:
    first = trainer(max_epochs=1)
    first.fit(Collapsed(), loader(train_data()))
    first.save_checkpoint(tmp_path / "one.ckpt")
    net, callback = Collapsed(), audit_callback(None, backbone=None)
    with pytest.warns(DataWarning):
        trainer(callback).fit(net, loader(train_data()), ckpt_path=tmp_path / "one.ckpt")
    assert callback.audit.provenance["encoder"]["name"] == "pixels"
    assert list(net.seen) == [1]


def test_a_part_asked_for_by_name_is_not_replaced() -> None:
    class Flat(Net):
        def __init__(self) -> None:
            super().__init__()
            with torch.no_grad():
                self.get_parameter("encoder.2.weight").fill_(0)[0] = 1e-4
                self.get_parameter("encoder.2.bias").fill_(1)

    with pytest.raises(BackboneError, match=r"the features of Sequential carry no information: RankMe is 1\.0\d"):
        trainer(audit_callback(None, backbone="encoder", on_error="raise"), max_epochs=1).fit(Flat(), loader())


def test_features_that_say_something_are_kept() -> None:
    net = Net()
    with torch.no_grad():
        net.get_parameter("encoder.2.weight")[0] = 2
    about = audited(net)
    assert about["encoder"]["name"] == "Net"
    assert about["encoder"]["rank_me"] > COLLAPSED


def test_what_the_user_hands_over_is_taken_at_its_word() -> None:
    def constant(batch: Tensor) -> Tensor:
        return 1 + 1e-4 * batch.flatten(1)

    callback = audit_callback(None, backbone=constant)
    trainer(callback, max_epochs=1).fit(Net(), loader())
    assert callback.audit.provenance["encoder"]["rank_me"] < COLLAPSED


@pytest.mark.parametrize(("slip", "meant"), [("encodr", "encoder"), ("heads", "head"), ("encoder.9", "encoder.")])
def test_a_slip_in_the_name_of_a_part(slip: str, meant: str) -> None:
    net = Net()
    with pytest.raises(BackboneError) as refused:
        trainer(audit_callback(None, backbone=slip), max_epochs=1).fit(net, loader())
    message = str(refused.value)
    assert message.startswith(f"Net has no part {slip!r}: did you mean {meant}")
    assert message.endswith('? Else it is "auto", "self-supervised", a timm name, "hf:NAME", a module or a function')
    assert net.seen == {}


def test_names_that_are_no_slip_are_handed_on() -> None:
    assert representation("resnet10t", Net(), "").backbone == "resnet10t"
