import pickle
import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from selfclean_hooks import pretrain as module
from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.pretrain import Pretrained, pretrain, shrink

Pictures = Sequence[Image.Image]


def noise(count: int, shape: tuple[int, ...] = (28, 28), seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(count)]


def digits(count: int) -> tuple[list[Image.Image], NDArray[np.int64]]:
    data = load_digits()
    pixels = (data.images[:count] * (255 / 16)).astype(np.uint8)
    return [Image.fromarray(image) for image in pixels], data.target[:count]


def embed(trained: Pretrained, pictures: Pictures) -> torch.Tensor:
    batch = torch.stack([shrink(picture, trained.size, trained.channels) for picture in pictures]).float() / 255
    with torch.no_grad():
        embedded: torch.Tensor = trained.encoder(batch)
    return embedded


@pytest.mark.parametrize("count", range(2, 11))
def test_tiny_data_train(count: int) -> None:
    pictures = noise(count)
    trained = pretrain(pictures, epochs=2)
    embedded = embed(trained, pictures)
    assert trained.epochs == 2
    assert embedded.dtype == torch.float32
    assert embedded.shape[0] == count
    assert torch.isfinite(embedded).all()


@pytest.mark.parametrize(("picture", "channels"), [(Image.new("L", (9, 9)), 1), (Image.new("RGB", (9, 9), "red"), 3)])
def test_identical_pictures_get_identical_finite_embeddings(picture: Image.Image, channels: int) -> None:
    trained = pretrain([picture] * 6, epochs=3)
    embedded = embed(trained, [picture] * 6)
    assert trained.channels == channels
    assert torch.isfinite(embedded).all()
    assert torch.allclose(embedded, embedded[:1].expand_as(embedded), atol=1e-6)


def test_mixed_sizes_and_modes_train_and_stay_as_they_were() -> None:
    alpha = Image.new("RGBA", (40, 70), (0, 200, 0, 100))
    pictures = [*noise(2, (10, 90, 3)), *noise(2, (33, 20)), alpha, Image.new("P", (1, 1))]
    before = [picture.tobytes() for picture in pictures]
    trained = pretrain(pictures, epochs=1)
    assert trained.channels == 3
    assert torch.isfinite(embed(trained, pictures)).all()
    assert [picture.tobytes() for picture in pictures] == before


@pytest.mark.parametrize(("side", "size"), [(8, 28), (28, 28), (37, 36), (500, 64)])
def test_size_follows_the_pictures(side: int, size: int) -> None:
    assert pretrain(noise(2, (side, side)), epochs=1).size == size


def test_grey_pictures_saved_as_colour_count_as_grey_until_one_is_not() -> None:
    grey = [picture.convert("RGB") for picture in noise(5)]
    assert pretrain(grey, epochs=1).channels == 1
    assert pretrain([*grey, Image.new("RGB", (28, 28), "red")], epochs=1).channels == 3


def test_unreadable_pictures_are_skipped() -> None:
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
def test_too_few_pictures_is_said(count: int) -> None:
    with pytest.raises(
        DataError, match=f"at least two pictures that can be read, got {count} of {count}: pass backbone="
    ):
        pretrain(noise(count))


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"batch_size": 1}, {"max_seconds": 0.0}, {"max_seconds": np.nan}])
def test_settings_without_sense_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        pretrain(noise(4), **setting)  # type: ignore[arg-type]


def test_seed_decides() -> None:
    pictures = noise(40)
    first, again, other = (embed(pretrain(pictures, seed=s, epochs=2, batch_size=16), pictures) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def states() -> tuple[object, bytes, bytes]:
    numpy_state = pickle.dumps(np.random.get_state())  # noqa: NPY002, read in order to compare it
    return random.getstate(), numpy_state, torch.get_rng_state().numpy().tobytes()


def test_global_random_states_and_threads_are_left_alone_also_after_an_exception() -> None:
    before, threads = states(), torch.get_num_threads()
    pretrain(noise(8), seed=7, epochs=1)
    assert states() == before

    def stop(done: int, planned: int) -> None:
        torch.rand(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(noise(8), epochs=1, progress=stop)
    assert states() == before
    assert torch.get_num_threads() == threads


def test_progress_reports_every_step() -> None:
    seen: list[tuple[int, int]] = []
    pretrain(noise(10), epochs=3, batch_size=4, progress=lambda done, planned: seen.append((done, planned)))
    assert seen == [(step, 6) for step in range(1, 7)]


def test_max_seconds_ends_training_after_a_whole_step() -> None:
    seen: list[int] = []
    trained = pretrain(
        noise(10), epochs=1000, batch_size=4, max_seconds=1e-9, progress=lambda done, _: seen.append(done)
    )
    assert seen == [1]
    assert trained.epochs == 0
    assert torch.isfinite(embed(trained, noise(10))).all()


def test_large_data_are_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PICTURES", 5)
    seen: list[int] = []
    pretrain(noise(50), epochs=1, batch_size=2, progress=lambda done, planned: seen.append(planned))
    assert seen == [2, 2]  # five pictures, two a step
    few = [pretrain(noise(50), epochs=1, seed=s).encoder.get_buffer("mean") for s in (0, 0, 1)]
    assert few[0] == few[1]
    assert few[0] != few[2]


def test_encoder_is_ready_and_scale_free_in_the_batch() -> None:
    pictures = noise(12)
    trained = pretrain(pictures, epochs=2)
    assert not any(part.training for part in trained.encoder.modules())
    alone = torch.cat([embed(trained, [picture]) for picture in pictures])
    assert torch.allclose(alone, embed(trained, pictures), atol=1e-5)


def test_training_beats_the_same_network_untrained() -> None:
    """Nearest neighbours by the learned half alone: the thumbnail does not help here."""
    pictures, labels = digits(800)

    def accuracy(trained: Pretrained) -> float:
        batch = torch.stack([shrink(picture, trained.size, trained.channels) for picture in pictures]).float() / 255
        with torch.no_grad():
            features = trained.encoder.learned(batch).numpy()  # type: ignore[operator]
        knn = KNeighborsClassifier(5, metric="cosine").fit(features[:400], labels[:400])
        return float(knn.score(features[400:], labels[400:]))

    untrained = pretrain(pictures, epochs=1, max_seconds=1e-9)
    assert accuracy(pretrain(pictures, epochs=12, batch_size=128)) > accuracy(untrained) + 0.02


def test_shrink_gives_channels_first_bytes() -> None:
    red = Image.new("RGB", (50, 20), "red")
    assert shrink(red, 30).shape == (3, 30, 30)
    assert shrink(red, 30).dtype == torch.uint8
    assert shrink(red, 30).amax((1, 2)).tolist() == [255, 0, 0]
    assert set(shrink(red, 30, 1).flatten().tolist()) == {76}


OFFLINE = """
import socket, sys
def refuse(*arguments, **named):
    raise SystemExit("the network was used")
socket.socket.connect = socket.getaddrinfo = refuse
from PIL import Image
from selfclean_hooks.pretrain import pretrain
assert not {"lightly", "lightning", "timm", "torchvision"} & set(sys.modules), "imported too early"
pretrain([Image.new("L", (9, 9), i) for i in range(4)], epochs=1)
"""


def test_training_needs_no_network_prints_nothing_and_imports_late() -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
