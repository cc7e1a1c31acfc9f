"""The arguments of `DataAudit`: each that makes no sense is refused when it is made, in a sentence that helps."""

from pathlib import Path
from typing import Any

import lightning
import pytest
from torch import nn
from torch.utils.data import DataLoader

from selfclean_hooks import Audit, Limits, Policy, Thresholds
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.errors import AuditFileError, DataWarning, SettingError
from selfclean_hooks.training.settings import audits_enabled
from selfclean_hooks_lightning import DataAudit
from tests.lightning.fits import Net, audit_callback, clean_data, train_data, trainer

EPOCHS = "audit_epochs must be whole numbers from 0 (before the first step), as (0, 5), got "
NUMBER = " must be a whole number of at least "
BACKBONE = (
    "backbone must be None (the module in training once it has learned something), the name of a part of it, "
    '"auto", "self-supervised", a timm name, "hf:NAME", an nn.Module or a function, got a '
)
HELD_OUT = "held_out must be a dict of data sets by name, as {'test': dataset}, none of them 'train', got "
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"policy": "drop"}, "policy must be a Policy, as Policy(near_duplicates=...), got 'drop'"),
    ({"policy": {"off_topic": "drop"}}, "policy must be a Policy, as Policy(near_duplicates=...), got {'off_topic'"),
    ({"policy": Policy}, "policy must be a Policy, as Policy(near_duplicates=...), got <class"),
    ({"thresholds": 0.1}, "thresholds must be a Thresholds, as Thresholds(near_duplicates=...), got 0.1"),
    ({"limits": {"off_topic": 0.1}}, "limits must be Limits, as Limits(near_duplicates=0.01), got {'off_topic': 0.1}"),
    ({"limits": 0.1}, "limits must be Limits, as Limits(near_duplicates=0.01), got 0.1"),
    ({"audit_epochs": (-1,)}, EPOCHS + "(-1,)"),
    ({"audit_epochs": (0, 1.0)}, EPOCHS + "(0, 1.0)"),
    ({"audit_epochs": 0.5}, EPOCHS + "0.5"),
    ({"audit_epochs": None}, EPOCHS + "None"),
    ({"audit_epochs": ()}, EPOCHS + "()"),
    ({"audit_epochs": "0"}, EPOCHS + "'0'"),
    ({"audit_epochs": True}, EPOCHS + "True"),
    ({"audit_epochs": (True,)}, EPOCHS + "(True,)"),
    ({"method": "best"}, "method must be one of default, selfclean, got 'best'"),
    ({"backbone": 5}, BACKBONE + "int"),
    ({"backbone": ["encoder"]}, BACKBONE + "list"),
    ({"batch_size": 0}, "batch_size" + NUMBER + "1 and below 2**63, got 0"),
    ({"batch_size": 2.5}, "batch_size" + NUMBER + "1 and below 2**63, got 2.5"),
    ({"num_workers": -1}, "num_workers" + NUMBER + "0 and below 2**63, got -1"),
    ({"seed": -1}, "seed" + NUMBER + "0 and below 2**63, got -1"),
    ({"leakage": "remove"}, "the policy for leakage must be one of ignore, warn, drop, raise, got 'remove'"),
    ({"held_out": [1, 2]}, HELD_OUT + "a list"),
    ({"held_out": {"train": []}}, HELD_OUT + "the names train"),
    ({"output_dir": 5}, "output_dir must be a folder or None, got 5"),
    ({"search": "fast"}, "search must be one of exact, approximate, got 'fast'"),
    ({"cache_dir": 5}, "cache_dir must be a folder or None, got 5"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[str(given) for given, _ in REFUSED])
def test_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as refused:
        DataAudit(**arguments)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("given", "epochs"), [((0,), (0,)), ([5, 0, 5], (0, 5)), (3, (3,)), (0, (0,)), (range(3), (0, 1, 2))]
)
def test_epochs_in_order(given: Any, epochs: tuple[int, ...]) -> None:
    assert DataAudit(audit_epochs=given).settings.epochs == epochs


@pytest.mark.parametrize("backbone", [None, "auto", "model.encoder", Path("weights"), nn.Flatten(), len])
def test_backbones(backbone: Any) -> None:
    assert DataAudit(backbone=backbone).settings.backbone is backbone


def test_defaults() -> None:
    settings = DataAudit().settings
    assert (settings.policy, settings.thresholds, settings.limits) == (Policy(), Thresholds(), Limits())
    assert (settings.epochs, settings.output_dir, settings.check_leakage) == ((0,), Path("audit"), True)
    assert (settings.method, settings.embedding, settings.num_workers) == ("default", EmbeddingSettings(), None)
    assert not settings.changes_data


def test_leakage_is_short_for_the_policy() -> None:
    given = Policy(off_topic="drop")
    assert DataAudit(given, leakage="raise").settings.policy == Policy(off_topic="drop", leakage="raise")
    assert given == Policy(off_topic="drop")
    assert DataAudit(leakage="drop").settings.changes_data


def test_is_a_callback() -> None:
    callback = DataAudit()
    assert isinstance(callback, lightning.Callback)
    assert not {"log", "log_dict"} & set(dir(callback))


def test_no_audit_yet_and_several() -> None:
    callback = DataAudit()
    with pytest.raises(AttributeError, match=r"there are 0 audits, by loader in \.audits: fit first"):
        _ = callback.audit
    data = {"one": DataLoader(clean_data(32), 8), "other": DataLoader(clean_data(40), 8)}
    callback = audit_callback(None, policy=Policy("ignore", "ignore", "ignore"))

    class Both(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch["one"], batch_idx)

    trainer(callback, max_epochs=1).fit(Both(), data)
    assert {name: len(audit) for name, audit in callback.audits.items()} == {"one": 32, "other": 40}
    with pytest.raises(AttributeError, match="there are 2 audits"):
        _ = callback.audit


def test_state_has_a_place_of_its_own_for_each_folder() -> None:
    keys = {DataAudit(output_dir=folder).state_key for folder in ("one", "other", None)}
    assert len(keys) == 3
    assert DataAudit(output_dir="one").state_key == "DataAudit{'output_dir': 'one'}"


@pytest.mark.parametrize(("value", "runs"), [("0", False), (" No", False), ("OFF", False), ("1", True), ("", True)])
def test_the_switch(monkeypatch: pytest.MonkeyPatch, value: str, runs: bool) -> None:
    monkeypatch.setenv("SELFCLEAN_HOOKS_ENABLED", value)
    assert audits_enabled() is runs


def test_settings_reach_the_audit(tmp_path: Path) -> None:
    given = Policy(near_duplicates="drop", off_topic="ignore", label_errors="warn")
    threshold = Thresholds(near_duplicates=0.02, off_topic=None, label_errors=0.2)
    callback = audit_callback(
        tmp_path, policy=given, thresholds=threshold, method="selfclean", leakage="ignore", batch_size=7
    )
    with pytest.warns(DataWarning):
        trainer(callback, max_epochs=1).fit(Net(), DataLoader(train_data(60), 16))
    saved = Audit.load(tmp_path)
    assert saved.policy == Policy("drop", "ignore", "warn", leakage="ignore")
    assert saved.thresholds == threshold
    assert saved.provenance["settings"]["method"] == "selfclean"
    assert saved.provenance["dataset"]["name"] == "train (Items)"


def test_the_search_reaches_the_audit_and_is_what_a_list_of_dropped_samples_depends_on() -> None:
    pytest.importorskip("faiss")
    callback = audit_callback(None, search="approximate", policy=Policy("ignore", "ignore", "ignore"))
    trainer(callback, max_epochs=1).fit(Net(), DataLoader(clean_data(40), 16))
    assert callback.audit.provenance["settings"]["search"]["of_all"] == 1.0
    assert callback.settings.decisive != DataAudit(search="exact").settings.decisive


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize("place", ["manifest.json", "clean_indices.txt", "epoch=1/samples.csv"])
def test_files_of_the_users_in_output_dir_are_left(place: str, on_error: str, tmp_path: Path) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    settings = {"audit_epochs": (0, 1), "on_error": on_error}
    said = f"holds {path.name}, which no audit wrote"
    with pytest.raises(AuditFileError, match=said) if on_error == "raise" else pytest.warns(DataWarning, match=said):
        trainer(audit_callback(tmp_path, **settings)).fit(Net(), DataLoader(train_data(64), 16))
    assert path.read_text() == "mine"
    assert [left for left in tmp_path.rglob("*") if left.is_file()] == [path]
