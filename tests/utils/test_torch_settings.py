"""Global settings of torch and numpy around an audit: it finds the same, and they are what they were."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import selfclean_hooks.embedding.backbones.self_supervised
from selfclean_hooks import audit
from selfclean_hooks.utils.torch_settings import without_autocast
from tests.lightning.fits import tensor_data


def deterministic() -> None:
    torch.use_deterministic_algorithms(True)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any] | None]] = {
    "float64": lambda: torch.set_default_dtype(torch.float64),
    "bfloat16": lambda: torch.set_default_dtype(torch.bfloat16),
    "meta": lambda: torch.set_default_device("meta"),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic": deterministic,
    "numpy that raises": lambda: np.errstate(all="raise"),
}


def in_force() -> list[Any]:
    return [
        torch.get_default_dtype(),
        torch.empty(0).device,
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        np.geterr(),
    ]


torch.manual_seed(0)
MODEL = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selfclean_hooks.embedding.backbones.self_supervised, "EPOCHS", 1)
        return {name: scores(backbone) for name, backbone in BACKBONES.items()}


BACKBONES: dict[str, Any] = {"module": MODEL, "self-supervised": "self-supervised"}


def scores(backbone: Any) -> Any:
    return audit(tensor_data(24), backbone, progress=False, device="cpu").scores.near_duplicate


@pytest.mark.filterwarnings("ignore::selfclean_hooks.errors.DataWarning")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_audit_is_the_same(
    setting: str, backbone: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfclean_hooks.embedding.backbones.self_supervised, "EPOCHS", 1)
    with ExitStack() as settings:
        settings.callback(torch.set_default_dtype, torch.get_default_dtype())
        settings.callback(torch.set_default_device, None)
        settings.callback(torch.use_deterministic_algorithms, False)
        if (context := SETTINGS[setting]()) is not None:
            settings.enter_context(context)
        before = in_force()
        found = scores(BACKBONES[backbone])
        assert in_force() == before
    assert np.array_equal(found, expected[backbone])


def test_kinds_of_autocast_that_this_torch_does_not_know_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch 2.4 with "mps", which is an error there."""
    asked: list[str] = []

    def enabled(kind: str) -> bool:
        assert kind != "mps", "unknown device type for autocast"
        asked.append(kind)
        return False

    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: kind != "mps")
    monkeypatch.setattr(torch, "is_autocast_enabled", enabled)
    with without_autocast():
        assert asked == ["cpu", "cuda"]
