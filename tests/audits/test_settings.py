"""The options that public functions unpack, and the value that they travel in."""

import inspect
from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

from selfclean_hooks import AuditedDataset, audit, audit_splits
from selfclean_hooks.audits.settings import AuditOptions, AuditSettings, audit_settings
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.findings import MAX_ITEMS

OWN = ["backbone", "method", "thresholds", "policy"]
OPTIONS = {
    "device": "auto",
    "batch_size": 64,
    "num_workers": 0,
    "seed": 0,
    "cache_dir": None,
    "progress": True,
    "labels": None,
    "precision": "32",
    "compile": False,
    "max_items": 500,
    "timeout": None,
    "input_key": None,
    "label_key": None,
    "ignore_label": None,
    "group_key": None,
    "image_quality": False,
    "kept_encoder": None,
    "search": "exact",
}
INTERNAL = {"worker_options"}  # fields that users do not give


@pytest.mark.parametrize(("function", "data"), [(audit, "dataset"), (audit_splits, "splits")])
def test_signatures_show_every_option_with_its_default(function: Any, data: str) -> None:
    parameters = inspect.signature(function).parameters
    assert list(parameters) == [data, *OWN, *OPTIONS]
    assert {name: parameters[name].default for name in OPTIONS} == OPTIONS
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def test_options_are_the_settings_of_an_audit() -> None:
    options = get_type_hints(AuditOptions, None, {"torch": torch})
    hints = get_type_hints(EmbeddingSettings, None, {"torch": torch})
    settings = {name: hint for name, hint in hints.items() if name not in INTERNAL}
    assert {name: options[name] for name in settings} == settings
    assert set(options) - set(settings) == {"labels", "max_items", "search"}


def test_options_become_settings() -> None:
    names = [field.name for field in fields(EmbeddingSettings) if field.name not in INTERNAL]
    values: Any = {"device": "cpu", "batch_size": 3, "num_workers": 1, "seed": 2, "cache_dir": "there"}
    values |= {"progress": False, "precision": "bf16", "compile": True, "timeout": 9}
    values |= {"input_key": "x", "label_key": 1, "ignore_label": 255, "group_key": "who"}
    values |= {"image_quality": True, "kept_encoder": "e"}
    assert list(values) == names
    chosen = audit_settings("selfclean", None, None, values | {"labels": [1], "max_items": 9})
    assert chosen == AuditSettings("selfclean", embedding=EmbeddingSettings(**values), max_items=9)
    assert audit_settings("default", None, None, {}) == AuditSettings(max_items=MAX_ITEMS)


def test_unknown_options_are_refused() -> None:
    """Type checkers refuse them too: the comments below would be reported as unused otherwise."""
    data = list(np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(TypeError, match=r"audit\(\) got an unexpected keyword argument 'batchsize'"):
        audit(data, batchsize=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"audit_splits\(\) got an unexpected keyword argument 'batchsize'"):
        audit_splits({"train": data, "val": data}, batchsize=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"audit\(\) got an unexpected keyword argument 'batchsize'"):
        AuditedDataset(data, batchsize=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"audit\(\) missing a required argument: 'dataset'"):
        audit()  # type: ignore[call-arg]


def test_options_are_accepted_by_position() -> None:
    def encode(batch: torch.Tensor) -> torch.Tensor:
        return batch.flatten(1) + 0.1

    data = list(np.random.default_rng(0).integers(0, 255, (12, 4, 4), np.uint8))
    by_name = audit(data, encode, device="cpu", batch_size=5, progress=False, labels=[0, 1] * 6)
    as_before: Any = audit  # type checkers want options by name
    by_position = as_before(data, encode, "default", None, None, "cpu", 5, 0, 0, None, False, [0, 1] * 6)
    np.testing.assert_array_equal(by_position.scores.label, by_name.scores.label)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "other"}, "method must be one of"),
        ({"thresholds": 0.3}, "thresholds must be a Thresholds"),
        ({"policy": "drop"}, "policy must be a Policy"),
        ({"max_items": 0}, "max_items must be a whole number"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        AuditSettings(**changed)
