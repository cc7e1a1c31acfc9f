"""The course of a training: its time, its end, its random numbers, and how it goes on after a kill."""

import itertools
import pickle
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from selfclean_hooks import audit
from selfclean_hooks.embedding.backbones import self_supervised
from selfclean_hooks.embedding.pretrain import convergence, images
from selfclean_hooks.embedding.pretrain import run as files
from selfclean_hooks.embedding.pretrain.recipe import OBJECTIVES, Recipe
from selfclean_hooks.embedding.pretrain.run import Pretrained
from selfclean_hooks.embedding.pretrain.training import epochs_for
from selfclean_hooks.errors import AuditFileError, DataWarning, SettingError
from tests.embedding.pretrain.small_trainings import Images, embed, noise, pretrain

UNFINISHED = pytest.mark.filterwarnings("ignore:the training stopped:selfclean_hooks.errors.DataWarning")


def digits(count: int) -> tuple[list[Image.Image], NDArray[np.int64]]:
    data = load_digits()
    pixels = (data.images[:count] * (255 / 16)).astype(np.uint8)
    return [Image.fromarray(image) for image in pixels], data.target[:count]


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"max_seconds": 0.0},
        {"max_seconds": np.nan},
        {"size": 4},
        {"learning_rate": -1.0},
        {"patience": -1},
        {"objective": "supervised"},
        {"start": "nowhere.ckpt"},
        {"start": "pretrained"},
    ],
)
def test_settings_without_sense_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        pretrain(noise(4), **setting)


def test_seed_decides() -> None:
    images = noise(20)
    first, again, other = (embed(pretrain(images, seed=s, epochs=2, batch_size=10, size=8), images) for s in (3, 3, 4))
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


@contextmanager
def _default(set_default: Any, value: Any, before: Any) -> Iterator[None]:
    set_default(value)
    try:
        yield
    finally:
        set_default(before)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: _default(torch.set_default_dtype, torch.float64, torch.float32),
    "float16": lambda: _default(torch.set_default_dtype, torch.float16, torch.float32),
    "meta": lambda: _default(torch.set_default_device, "meta", None),
    "deterministic": lambda: _default(torch.use_deterministic_algorithms, True, False),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_torch_do_not_matter_and_are_left_alone(setting: str, tmp_path: Path) -> None:
    def settings() -> list[Any]:
        grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        algorithms, autocast = torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu")
        return [torch.get_default_dtype(), torch.get_default_device(), grad, inference, algorithms, autocast]

    expected = pretrain(noise(4), epochs=1)
    with SETTINGS[setting]():
        before = settings()
        trained = pretrain(noise(4), epochs=1)
        files.save(trained, tmp_path / "encoder.safetensors")
        loaded = files.load(tmp_path / "encoder.safetensors")
        assert settings() == before
    for found in (trained, loaded):
        state = found.encoder.state_dict()
        assert all(torch.equal(state[name], value) for name, value in expected.encoder.state_dict().items())


def test_progress_reports_every_step() -> None:
    seen: list[tuple[int, int]] = []
    pretrain(noise(10), epochs=3, batch_size=4, progress=lambda done, planned: seen.append((done, planned)))
    assert seen == [(step, 6) for step in range(1, 7)]


@UNFINISHED
def test_max_seconds_ends_training_after_a_whole_step() -> None:
    seen: list[int] = []
    trained = pretrain(
        noise(10), epochs=1000, batch_size=4, max_seconds=1e-9, progress=lambda done, _: seen.append(done)
    )
    assert len(seen) == 1
    assert trained.epochs == 0
    assert torch.isfinite(embed(trained, noise(10))).all()


def test_large_data_are_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_IMAGES", 5)
    seen: list[int] = []
    pretrain(noise(50), epochs=1, batch_size=2, progress=lambda done, planned: seen.append(planned))
    assert seen == [2, 2]  # five images, two a step
    few = [pretrain(noise(50), epochs=1, seed=s).encoder.network.mean for s in (0, 0, 1)]
    assert few[0] == few[1]
    assert few[0] != few[2]


def accuracy_of(trained: Pretrained, images: Images, labels: NDArray[np.int64]) -> float:
    with torch.no_grad():
        features = trained.encoder.learned(torch.stack([trained.canvas(p) for p in images]).float() / 255).numpy()
    half = len(labels) // 2
    knn = KNeighborsClassifier(5, metric="cosine").fit(features[:half], labels[:half])
    return float(knn.score(features[half:], labels[half:]))


@UNFINISHED
@pytest.mark.parametrize(
    ("objective", "n", "epochs"),
    [
        ("simclr", 20, 40),
        ("simclr", 1000, 14),
        ("simclr", 5500, 6),
        ("simclr", 20_000, 3),
        ("mae", 1000, 40),
        ("mae", 5500, 12),
    ],
)
def test_epochs_follow_from_the_number_of_images(objective: str, n: int, epochs: int) -> None:
    assert epochs_for(objective, n) == epochs


def test_training_beats_the_same_network_untrained() -> None:
    """Nearest neighbours by the learned half alone: the thumbnail does not help here."""
    images, labels = digits(300)
    untrained = pretrain(images, epochs=1, max_seconds=1e-9, size=8)
    trained = pretrain(images, epochs=6, batch_size=50, size=8)
    assert accuracy_of(trained, images, labels) > accuracy_of(untrained, images, labels) + 0.02


@pytest.mark.parametrize(("objective", "patience"), [("simclr", 2), ("dino", 0)])
def test_lightning_trains_to_the_same_weights(
    objective: str, patience: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain loop and the Trainer, whole or interrupted, that ends early too."""
    monkeypatch.setattr(convergence, "IMAGES_PER_CHECK", 1)
    settings: dict[str, Any] = {"objective": objective, "epochs": 10, "batch_size": 5, "size": 16, "patience": patience}
    settings |= {"learning_rate": 1e-12} if patience else {"epochs": 3}  # nothing changes
    plain = pretrain(noise(30), **settings)
    assert (plain.epochs < settings["epochs"]) == (patience > 0)

    def die(done: int, planned: int) -> None:
        if done == 15:
            raise KilledError

    trainer, state = {"logger": False}, tmp_path / "state"
    with pytest.raises(KilledError):
        pretrain(noise(30), progress=die, partial=state, trainer=trainer, **settings)
    with pytest.raises(AuditFileError, match="with other settings"):
        pretrain(noise(30), partial=state, **settings)
    resumed = pretrain(noise(30), partial=state, trainer=trainer, **settings)
    assert resumed.epochs == plain.epochs
    assert bytes_of(resumed) == bytes_of(plain)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_learns_the_same_twice(objective: str) -> None:
    n, size, epochs = (90, 16, 12) if objective == "dino" else (60, 8, 6)  # the slow teacher takes its time
    images, labels = digits(n)
    losses: list[float] = []

    class Losses(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            losses.append(float(outputs["loss"]))

    settings: dict[str, Any] = {"objective": objective, "epochs": epochs, "batch_size": 15, "size": size, "patience": 0}
    trained = pretrain(images, trainer={"callbacks": [Losses()]}, **settings)
    steps = n // 15
    assert len(losses) == steps * epochs
    assert np.mean(losses[-steps:]) < np.mean(losses[:steps])
    assert accuracy_of(trained, images, labels) > 0.2  # ten classes
    first, again = (pretrain(images[:30], **{**settings, "epochs": 1}) for _ in range(2))
    assert torch.equal(embed(first, images), embed(again, images))


class KilledError(Exception):
    pass


def test_a_training_that_was_killed_goes_on_to_the_same_end(tmp_path: Path) -> None:
    images, _ = digits(60)
    partial = tmp_path / "state"
    settings: dict[str, Any] = {"epochs": 4, "batch_size": 20, "size": 16, "objective": "dino", "patience": 3}
    whole = pretrain(images, **settings)

    def die(done: int, planned: int) -> None:
        if done == 8:
            raise KilledError

    with pytest.raises(KilledError):
        pretrain(images, progress=die, partial=partial, **settings)
    assert partial.exists()
    with pytest.raises(AuditFileError, match="of other data or with other settings"):
        pretrain(images[:-1], partial=partial, **settings)
    seen: list[int] = []
    resumed = pretrain(images, partial=partial, progress=lambda done, _: seen.append(done), **settings)
    assert seen[0] == 7  # two epochs of three steps were kept
    assert torch.equal(embed(whole, images), embed(resumed, images))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "other").write_bytes(b"no training")
    with pytest.raises(AuditFileError, match="is no training that was interrupted"):
        pretrain(images, partial=tmp_path / "other", **settings)
    assert (tmp_path / "other").read_bytes() == b"no training"


def test_an_interrupt_is_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt(done: int, planned: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(noise(8), epochs=2, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_ends_early_where_nothing_changes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "IMAGES_PER_CHECK", 1)
    images, _ = digits(30)
    still: dict[str, Any] = {"epochs": 14, "batch_size": 5, "size": 16, "learning_rate": 1e-12}
    assert 4 <= pretrain(images, patience=3, **still).epochs < 14  # batch norm comes to rest first
    assert pretrain(images, patience=0, **still).epochs == 14


def bytes_of(trained: Pretrained) -> bytes:
    return b"".join(value.numpy().tobytes() for value in trained.encoder.state_dict().values())


def test_a_slow_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = digits(60)
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 20, "size": 16}
    fast, hours = pretrain(images, **settings), itertools.count(0.0, 600.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(hours))
    assert bytes_of(pretrain(images, **settings)) == bytes_of(fast)


@pytest.mark.parametrize("objective", ["simclr", "mae"])
def test_the_number_of_threads_changes_nothing(objective: str) -> None:
    images = noise(100, (28, 28, 3))  # enough for torch to share the work out
    before, found = torch.get_num_threads(), set[bytes]()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.add(bytes_of(pretrain(images, epochs=1, batch_size=100, objective=objective)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def test_the_learning_rate_follows_the_steps_alone() -> None:
    rates: list[float] = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    pretrain(noise(40), epochs=10, batch_size=20, patience=0, learning_rate=0.5, trainer={"callbacks": [Rates()]})
    share = np.arange(20) / 20
    up, down = (share + 1e-3) / 0.15, (share - 0.15) / 0.85
    wanted = np.where(share < 0.15, 1 - np.cos(np.pi * up), 1 + np.cos(np.pi * down)) / 4
    np.testing.assert_allclose(rates, wanted, atol=1e-9)


def test_a_training_that_is_unfinished_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(20)
    words = r"the training stopped after \d+ s and 0 whole epochs, before its end: the encoder depends on the speed"
    with pytest.warns(DataWarning, match=words):
        trained = pretrain(images, epochs=3, batch_size=4, max_seconds=1e-9)
    files.save(trained, tmp_path / "e.safetensors")
    assert files.load(tmp_path / "e.safetensors").warning == trained.warning
    found = audit([(image, 0) for image in images], tmp_path / "e.safetensors", progress=False)
    assert any(trained.warning in note for note in found.provenance["notes"])
    monkeypatch.setattr(self_supervised, "Recipe", partial(Recipe, max_seconds=1e-9))
    with pytest.warns(DataWarning, match="the training stopped"):
        found = audit([(image, 0) for image in images], "self-supervised", progress=False)
    assert any("before its end" in note for note in found.provenance["notes"])
    assert pretrain(images, epochs=1, batch_size=20, max_seconds=1e-9).warning == ""  # its only step is the last
