"""Images of every kind train an encoder: few, equal, of mixed sizes, of many channels, unreadable."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfclean_hooks import audit
from selfclean_hooks.data.images import shrink
from selfclean_hooks.embedding.pretrain.images import Canvas
from selfclean_hooks.embedding.pretrain.run import load, save
from selfclean_hooks.errors import DataError
from tests.embedding.pretrain.small_trainings import embed, noise, pretrain


@pytest.mark.parametrize("count", [2, 3, 10])
def test_tiny_data_train(count: int) -> None:
    images = noise(count)
    trained = pretrain(images, epochs=2)
    embedded = embed(trained, images)
    assert trained.epochs == 2
    assert embedded.dtype == torch.float32
    assert embedded.shape[0] == count
    assert torch.isfinite(embedded).all()


@pytest.mark.parametrize(("image", "channels"), [(Image.new("L", (9, 9)), 1), (Image.new("RGB", (9, 9), "red"), 3)])
def test_identical_images_get_identical_finite_embeddings(image: Image.Image, channels: int) -> None:
    trained = pretrain([image] * 6, epochs=3)
    embedded = embed(trained, [image] * 6)
    assert trained.canvas.channels == channels
    assert torch.isfinite(embedded).all()
    assert torch.allclose(embedded, embedded[:1].expand_as(embedded), atol=1e-6)


def test_mixed_sizes_and_modes_train_and_stay_as_they_were() -> None:
    alpha = Image.new("RGBA", (40, 70), (0, 200, 0, 100))
    images = [*noise(2, (10, 90, 3)), *noise(2, (33, 20)), alpha, Image.new("P", (1, 1))]
    before = [image.tobytes() for image in images]
    trained = pretrain(images, epochs=1)
    assert trained.canvas.channels == 3
    assert torch.isfinite(embed(trained, images)).all()
    assert [image.tobytes() for image in images] == before


@pytest.mark.parametrize(("side", "size"), [(8, 16), (28, 28), (37, 36), (500, 64)])
def test_size_follows_the_images(side: int, size: int) -> None:
    assert pretrain(noise(2, (side, side)), epochs=1).canvas.size == size


def test_grey_images_saved_as_colour_count_as_grey_until_one_is_not() -> None:
    grey = [image.convert("RGB") for image in noise(5)]
    assert pretrain(grey, epochs=1).canvas.channels == 1
    assert pretrain([*grey, Image.new("RGB", (28, 28), "red")], epochs=1).canvas.channels == 3


def test_unreadable_images_are_skipped() -> None:
    good = noise(6)

    class Broken(Sequence[Image.Image]):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            if index in (0, 7):
                raise OSError("truncated")
            return good[index - 1]

    trained = pretrain(Broken(), epochs=1)
    assert torch.equal(embed(trained, good), embed(pretrain(good, epochs=1), good))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_is_said(count: int) -> None:
    with pytest.raises(
        DataError, match=f"at least two images that can be read, got {count} of {count}: pass backbone="
    ):
        pretrain(noise(count))


def test_shrink_gives_channels_first_bytes() -> None:
    red = Image.new("RGB", (50, 20), "red")
    assert shrink(red, 30).shape == (3, 30, 30)
    assert shrink(red, 30).dtype == torch.uint8
    assert shrink(red, 30).amax((1, 2)).tolist() == [255, 0, 0]
    assert set(shrink(red, 30, 1).flatten().tolist()) == {76}


@pytest.mark.parametrize("channels", [2, 13])
def test_images_of_many_channels(channels: int) -> None:
    rng = np.random.default_rng(0)
    scale = np.arange(1, channels + 1)[:, None, None] * 1000.0
    images = [scale * rng.random((channels, 20, 30)) for _ in range(8)]
    trained = pretrain(images, epochs=2)
    assert (trained.canvas.channels, trained.canvas.size) == (channels, 32)
    np.testing.assert_allclose(trained.canvas.high, 990 * np.arange(1, channels + 1), rtol=0.02)
    fed = trained.canvas(images[0])
    assert (fed.shape, fed.dtype) == ((channels, 32, 32), torch.uint8)
    assert fed.float().mean((1, 2)).sub(127).abs().max() < 12  # each channel over its own range
    assert torch.isfinite(embed(trained, images)).all()
    with pytest.raises(DataError, match=f"as many channels as the first ones, {channels}: got 4"):
        trained.canvas(np.zeros((4, 9, 9)))
    with pytest.raises(DataError, match=f"as many channels as the first ones, {channels}: got 3"):
        trained.canvas(Image.new("RGB", (9, 9)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_do_not_count_for_the_range(value: float, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((4, 2, 16, 16)).astype(np.float16)
    plain = pretrain(list(images[1:]), epochs=1)
    images[0] = value
    images[:, 1] = value  # a channel without any value
    trained = pretrain(list(images), epochs=1)
    assert (trained.canvas.low[0], trained.canvas.high[0]) == (plain.canvas.low[0], plain.canvas.high[0])
    save(trained, tmp_path / "encoder.safetensors")
    assert load(tmp_path / "encoder.safetensors").canvas == trained.canvas


def test_sixteen_bits_are_not_clipped() -> None:
    ramp = np.linspace(0, 60_000, 32 * 32).reshape(32, 32).astype(np.uint16)
    fed = Canvas(32, 1)(Image.fromarray(ramp))
    assert len(np.unique(fed.numpy())) > 200


def test_a_data_set_of_many_channels_is_audited() -> None:
    rng = np.random.default_rng(0)
    data = [(rng.random((6, 12, 12)).astype(np.float32), i % 2) for i in range(12)]
    data[7] = data[3]
    found = audit(data, "auto", progress=False)
    assert found.pairs.loc[0, ["index_1", "index_2"]].tolist() == [3, 7]
    assert any("for images of up to 4 channels" in note for note in found.provenance["notes"])
