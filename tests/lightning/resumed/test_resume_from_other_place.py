"""A run resumed with another `output_dir` finds its list of dropped samples, if there is no doubt whose it is."""

import warnings
from pathlib import Path

import pytest

from selfclean_hooks.errors import DataWarning
from selfclean_hooks_lightning import DataAudit
from tests.lightning.fits import DROP, Module, Net, audit_callback, train_data, trainer, val_data


def saved(folder: Path, *names: str) -> tuple[Path, list[DataAudit]]:
    """A checkpoint of a run with callbacks that write to folders of these names."""
    callbacks = [audit_callback(folder / name, policy=DROP) for name in names]
    host = trainer(*callbacks, max_epochs=1)
    host.fit(Net(), datamodule=Module(train_data(), val_data()))
    host.save_checkpoint(folder / "one.ckpt")
    return folder / "one.ckpt", callbacks


def resumed(folder: Path, checkpoint: Path, *names: str) -> tuple[Net, list[DataAudit]]:
    net, callbacks = Net(), [audit_callback(folder / name, policy=DROP) for name in names]
    data = Module(train_data(), val_data())
    trainer(*callbacks, max_epochs=2).fit(net, datamodule=data, ckpt_path=checkpoint)
    return net, callbacks


@pytest.mark.filterwarnings("ignore::selfclean_hooks.errors.DataWarning")
@pytest.mark.parametrize("elsewhere", ["here", "there"])
def test_another_output_dir_finds_the_list(tmp_path: Path, elsewhere: str, audits: list[int]) -> None:
    checkpoint, (first,) = saved(tmp_path, "here")
    audits.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        net, (second,) = resumed(tmp_path, checkpoint, elsewhere)
    assert audits == []
    assert sorted(net.seen[1]) == first.audit.clean_indices.tolist()
    assert second.state_dict() == first.state_dict()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_two_callbacks_do_not_share_the_list_of_one(tmp_path: Path, audits: list[int]) -> None:
    checkpoint, _ = saved(tmp_path, "a")
    audits.clear()
    _, callbacks = resumed(tmp_path, checkpoint, "b", "c")
    assert audits == [1, 1]
    assert all(len(callback.audits) == 1 for callback in callbacks)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_of_two_lists_none_is_guessed(tmp_path: Path, audits: list[int]) -> None:
    checkpoint, _ = saved(tmp_path, "a", "b")
    audits.clear()
    net, (callback,) = resumed(tmp_path, checkpoint, "c")
    assert audits == [1]
    assert sorted(net.seen[1]) == callback.audit.clean_indices.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_of_two_lists_the_own_one_is_found(tmp_path: Path, audits: list[int]) -> None:
    checkpoint, (first, _) = saved(tmp_path, "a", "b")
    audits.clear()
    net, (callback,) = resumed(tmp_path, checkpoint, "a")
    assert callback.state_dict()["loaders"][""]["dropped"] == first.state_dict()["loaders"][""]["dropped"]
    assert (len(audits), len(net.seen[1])) == (0, len(first.audit.clean_indices))
