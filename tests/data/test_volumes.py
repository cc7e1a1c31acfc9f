"""Volumes (1, D, H, W): by slices where an encoder takes images, as they are where it is the user's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from selfclean_hooks import audit
from selfclean_hooks.data.images import SLICES, raster, shown_image, shrink, volume_slices
from selfclean_hooks.data.previews import image_kind
from selfclean_hooks.embedding.backbones import self_supervised
from selfclean_hooks.errors import DataError


def scan(seed: int, depth: int = 12) -> NDArray[np.float32]:
    """A bright body somewhere in noise."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((depth, 20, 16)) / np.array([depth, 20, 16])[:, None, None, None]
    centre = rng.uniform(0.3, 0.7, 3)
    body = np.exp(-((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / 0.02)
    noisy: NDArray[np.float32] = (body + rng.normal(0, 0.05, body.shape)).astype(np.float32)[None]
    return noisy


@pytest.mark.parametrize("depth", [1, 2, 5, 8, 40])
def test_slices_are_evenly_spaced_whatever_the_depth(depth: int) -> None:
    volume = np.arange(depth, dtype=np.int16)[None, :, None, None] * np.ones((1, 1, 3, 4), np.int16)
    for given in (volume, torch.from_numpy(volume)):
        slices = volume_slices(given)
        assert slices is not None
        assert slices.shape == (SLICES, 3, 4)
        wanted = [round(at * (depth - 1) / (SLICES - 1)) for at in range(SLICES)]
        assert slices[:, 0, 0].tolist() == wanted
        np.testing.assert_array_equal(raster(given), slices)


@pytest.mark.parametrize("shape", [(2, 5, 6, 7), (1, 5, 6, 1), (1, 5, 1, 7), (5, 6, 7), (1, 0, 6, 7), (1, 2, 3, 4, 5)])
def test_what_is_no_volume(shape: tuple[int, ...]) -> None:
    assert volume_slices(np.zeros(shape)) is None
    assert volume_slices(np.full((1, 3, 4, 5), "a")) is None


def test_a_person_sees_all_slices() -> None:
    image = shown_image(scan(0))
    assert image is not None
    assert image.size == (4 * 16, 2 * 20)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_volumes_of_several_depths_are_audited_by_an_encoder_of_their_own(
    kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(self_supervised, "EPOCHS", 1)
    volumes = [scan(seed, depth=10 + seed % 3) for seed in range(12)]
    volumes[7] = volumes[2].copy()
    data = [(kind(volume), index % 2) for index, volume in enumerate(volumes)]
    found = audit(data, backbone="self-supervised", progress=False)
    pairs = found.pairs[found.pairs["distance"] == 0]
    assert pairs[["index_1", "index_2"]].to_numpy().tolist() == [[2, 7]]
    assert all(image_kind(found.thumbnails[index]) for index in (2, 7))


def test_a_module_gets_the_volume_itself() -> None:
    seen: list[torch.Size] = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv3d(1, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            seen.append(x.shape[1:])
            return self.head(self.body(x).mean((2, 3, 4)))

    audit([(scan(seed), seed % 2) for seed in range(6)], backbone=Net(), progress=False)
    assert set(seen) == {torch.Size([1, 12, 20, 16])}


def test_an_encoder_of_photographs_refuses_them() -> None:
    slices: Any = raster(scan(0))
    with pytest.raises(DataError, match=r"or the slices of a volume, \(8, 20, 16\): use backbone=.self-supervised"):
        shrink(slices, 16)
