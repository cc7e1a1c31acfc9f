import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from selfclean_hooks.data.views.dataset_view import DatasetView
from selfclean_hooks.utils.rng import preserve_rng_state
from tests.helpers.training_data import global_state


class Function(Dataset[Any]):
    """Augments in code, where no table reaches."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return np.random.rand(4, 4) + random.random() + torch.rand(4, 4).numpy()  # noqa: NPY002


def test_global_randomness_is_reported_and_the_state_kept() -> None:
    before = global_state()
    view = DatasetView(Function()).evaluation
    assert global_state() == before
    assert any("drawn from the global random generators" in note for note in view.notes)


def draw_and_fail() -> None:
    assert len(Function()[0]) == 4
    raise OSError("truncated")


def test_kept_rng_restores_after_an_exception() -> None:
    before = global_state()
    with pytest.raises(OSError, match="truncated"), preserve_rng_state():
        draw_and_fail()
    assert global_state() == before
