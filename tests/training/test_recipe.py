"""The recipe for a new host in integrations/README.md, run with a toy trainer."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from selfclean_hooks import Policy, Thresholds
from selfclean_hooks.testing import contaminate, digits, off_topic_patches
from tests.training.toy_trainer import Trainer

README = Path(__file__).parents[2] / "integrations" / "README.md"
PIXELS = nn.Flatten()
pytestmark = pytest.mark.usefixtures("features_alone")
N = 88  # samples of contaminated()
FIRM = Thresholds(near_duplicates=0.41, label_errors=0.4)


@pytest.fixture(scope="module")
def recipe() -> Any:
    """`DataAudit` of the README."""
    section = README.read_text(encoding="utf-8").partition("## Adding one")[2]
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0], names)
    return names["DataAudit"]


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))


def loader(images: Any, labels: Any) -> DataLoader[Any]:
    x = torch.from_numpy(np.asarray(images)).float().unsqueeze(1) / 255
    y = torch.from_numpy(np.asarray(labels)).long()
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(x, y, torch.arange(len(x))), 16, shuffle=True, generator=generator)


def contaminated() -> DataLoader[Any]:
    images, labels = digits()
    planted = contaminate(images[:80], labels[:80], off_topic_patches(20, 8), seed=0)
    return loader(planted.images, planted.labels)


def audit(recipe: Any, **options: Any) -> Any:
    drop = Policy("drop", "drop", "drop")
    return recipe(**{"backbone": PIXELS, "policy": drop, "thresholds": FIRM, "output_dir": None, **options})


def weights(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def test_flagged_samples_never_reach_a_step(recipe: Any) -> None:
    callback = audit(recipe)
    trainer = Trainer(classifier(), 2, [callback])
    trainer.fit(contaminated())
    kept = callback.audits[""].clean_indices.tolist()
    assert 0 < len(kept) < N
    assert [sorted(seen) for seen in trainer.seen] == [kept, kept]


def test_a_later_audit_uses_the_module_in_training_and_its_margins(recipe: Any) -> None:
    callback = audit(recipe, backbone="1", audit_epochs=(1,))
    trainer = Trainer(classifier(), 3, [callback])
    trainer.fit(contaminated())
    found = callback.audits[""]
    assert "features of Sequential.1, after 1 epoch of training" in found.provenance["notes"]
    kept = found.clean_indices.tolist()
    assert [len(seen) for seen in trainer.seen] == [N, len(kept), len(kept)]
    assert sorted(trainer.seen[1]) == sorted(trainer.seen[2]) == kept


def test_margins_of_the_steps_reach_the_next_audit(recipe: Any) -> None:
    callback = audit(recipe, audit_epochs=(0, 2))
    Trainer(classifier(), 3, [callback]).fit(contaminated())
    assert "label scores: blended with the margins of 2 epochs" in callback.audits[""].provenance["notes"]


def test_a_resumed_run_drops_the_same_without_another_audit(recipe: Any) -> None:
    whole, resumed = (Trainer(classifier(), epochs, [audit(recipe)]) for epochs in (1, 2))
    whole.fit(contaminated())
    resumed.fit(contaminated(), whole.checkpoints[0])
    assert resumed.callbacks[0].audits == {}
    assert (resumed.epoch, len(resumed.seen)) == (2, 1)
    assert sorted(resumed.seen[0]) == sorted(whole.seen[0])


def test_without_drops_the_weights_are_those_without_the_callback(recipe: Any) -> None:
    images, labels = digits()
    callback = audit(recipe, policy=Policy("warn", "warn", "warn"), audit_epochs=(0, 1))
    trained = []
    for callbacks in ([], [callback]):
        trainer = Trainer(classifier(), 2, callbacks)
        trainer.fit(loader(images[:64], labels[:64]))
        trained.append(weights(trainer.module))
    assert callback.audits[""].provenance["training"]["epoch"] == 1
    assert all(torch.equal(plain, audited) for plain, audited in zip(*trained, strict=True))


def test_the_switch_turns_audits_off(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFCLEAN_HOOKS_ENABLED", "0")
    callback = audit(recipe)
    trainer = Trainer(classifier(), 1, [callback])
    trainer.fit(contaminated())
    assert callback.audits == {}
    assert len(trainer.seen[0]) == N


RELABEL = Policy("drop", "drop", "relabel")


def mislabelled() -> tuple[Any, Any]:
    images, labels = digits()
    planted = contaminate(images[:300], labels[:300], images[:0], off_topic=0, label_errors=0.15, seed=1)
    return planted.images, planted.labels


def test_training_with_new_labels_is_training_on_the_corrected_data(recipe: Any) -> None:
    images, labels = mislabelled()
    callback = audit(recipe, policy=RELABEL)
    trainer = Trainer(classifier(), 2, [callback])
    trainer.fit(loader(images, labels))
    found = callback.audits[""]
    assert len(found.new_labels) > 5
    assert "drop" in found.decisions.action
    kept = found.clean_indices
    twin = Trainer(classifier(), 2)
    twin.fit(loader(images[kept], found.corrected_labels.astype(int)[kept]))
    assert [kept[seen].tolist() for seen in twin.seen] == trainer.seen
    for plain, audited in zip(weights(twin.module), weights(trainer.module), strict=True):
        assert torch.equal(plain, audited)


def test_a_resumed_run_keeps_the_new_labels_without_another_audit(recipe: Any) -> None:
    images, labels = mislabelled()
    whole, resumed = (Trainer(classifier(), epochs, [audit(recipe, policy=RELABEL)]) for epochs in (1, 2))
    whole.fit(loader(images, labels))
    resumed.fit(loader(images, labels), whole.checkpoints[0])
    assert resumed.callbacks[0].audits == {}
    assert resumed.callbacks[0].state_dict() == whole.callbacks[0].state_dict()
    dataset: Any = resumed.loader.dataset
    found = whole.callbacks[0].audits[""]
    served = {int(position): str(int(label)) for _, label, position in (dataset[i] for i in range(len(dataset)))}
    assert served == {i: found.corrected_labels[i] for i in found.clean_indices.tolist()}


def test_margins_of_relabelled_samples_are_left_out_of_later_audits(recipe: Any) -> None:
    images, labels = mislabelled()
    callback = audit(recipe, policy=RELABEL, audit_epochs=(0, 2))
    Trainer(classifier(), 3, [callback]).fit(loader(images, labels))
    assert "label scores: blended with the margins of 2 epochs" in callback.audits[""].provenance["notes"]


def test_clean_labels_train_the_same_under_relabel(recipe: Any) -> None:
    images, labels = digits()
    trained = []
    for callbacks in (
        [],
        [audit(recipe, policy=Policy(label_errors="relabel"), thresholds=Thresholds(label_errors=0))],
    ):
        trainer = Trainer(classifier(), 2, callbacks)
        trainer.fit(loader(images[:64], labels[:64]))
        trained.append(weights(trainer.module))
    assert all(torch.equal(plain, audited) for plain, audited in zip(*trained, strict=True))
